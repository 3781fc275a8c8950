"""The settings that seedbed itself reads, typed: what each key may be, and in which range.

Defaults live in the yaml files of conf/. Those that stand here are for keys that only some models have, and that
configurations of earlier runs lack.
"""

from dataclasses import dataclass, field
from typing import Any, Literal


def at_least(low: float, **default: Any) -> Any:
    """A dataclass field whose number may not be below `low`."""
    return field(metadata={"valid": lambda v: v >= low, "range": f">= {low}"}, **default)


def between(low: float, high: float, **default: Any) -> Any:
    """A dataclass field whose number lies in `[low, high)`."""
    return field(metadata={"valid": lambda v: low <= v < high, "range": f">= {low} and < {high}"}, **default)


def above(low: float) -> Any:
    """A dataclass field whose number is larger than `low`."""
    return field(metadata={"valid": lambda v: v > low, "range": f"> {low}"})


@dataclass(frozen=True)
class DatasetSettings:
    """How a source's images are stored and split (`conf/dataset/_base.yaml`)."""

    image_size: int | None = at_least(1)
    stored_size: int | None = at_least(1)
    val_fraction: float = between(0, 1)
    test_fraction: float = between(0, 1)
    split_seed: int = at_least(0)
    subset: int | None = at_least(1)
    on_bad_image: Literal["fail", "skip"]


@dataclass(frozen=True)
class ModelSettings:
    """What a model's yaml says of its input: the size it prefers and the normalisation of pixels in [0, 1].

    The keys of fine-tuning, from `pretrained` on, are for models with `stages()`, `rescale_batchnorm` for those with
    `scales()`.
    """

    image_size: int = at_least(1)
    mean: float | list[float] | None
    std: float | list[float] | None
    pretrained: str | None = None
    rescale_batchnorm: bool = False
    freeze: str | None = None
    freeze_batchnorm: bool = False
    lr_decay: float = field(default=1.0, metadata={"valid": lambda v: 0 < v <= 1, "range": "> 0 and <= 1"})


@dataclass(frozen=True)
class DeviceSettings:
    """Where a run computes, and in which precision (`conf/device/`)."""

    name: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "float32", "bfloat16"]
    channels_last: bool | Literal["auto"]
    threads: int | None = at_least(1)
    compile: bool


@dataclass(frozen=True)
class TrainSettings:
    """How long a run trains, and by what it stops (`conf/train/`)."""

    epochs: int = at_least(1)
    batch_size: int = at_least(1)
    eval_batch_size: int = at_least(1)
    monitor: Literal["val_accuracy", "val_loss"]
    patience: int | None = at_least(1)
    label_smoothing: float = between(0, 1)
    grad_clip: float | None = above(0)
    keep_last: bool
    tta: Literal[1, 2, 6] = 1
    ties: Literal["loss", "first"] = "first"
    initial_size: int | None = at_least(1, default=None)
    initial_fraction: float = between(0, 1, default=0.5)


@dataclass(frozen=True)
class RootSettings:
    """The keys that no group owns (`conf/config.yaml`)."""

    seed: int = at_least(0)
    name: str | None
    data_root: str
    output_root: str
    cache_root: str | None


@dataclass(frozen=True)
class Settings:
    """A checked configuration. The `*_node` members are plain dicts with a `_target_`, ready to instantiate."""

    root: RootSettings
    dataset: DatasetSettings
    model: ModelSettings
    device: DeviceSettings
    train: TrainSettings
    dataset_node: dict
    features_node: dict | None
    model_node: dict
    augment_node: dict
    optimizer_node: dict
    scheduler_node: dict | None
