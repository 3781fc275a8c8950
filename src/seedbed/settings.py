"""The settings that seedbed itself reads, typed: what each key may be, and in which range.

Defaults live in the yaml files of conf/. Those that stand here are for keys that only some models have, and that
configurations of earlier runs lack.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from seedbed.annotations import Count, Pixels, Probability, Range

Positive = Annotated[float, Range(0, open="(")]


@dataclass(frozen=True)
class DatasetSettings:
    """How a source's images are stored and split (`conf/dataset/_base.yaml`)."""

    image_size: Pixels | None
    stored_size: Pixels | None
    val_fraction: Probability
    test_fraction: Probability
    split_seed: Annotated[int, Range(0)]
    subset: Count | None
    on_bad_image: Literal["fail", "skip"]


@dataclass(frozen=True)
class ModelSettings:
    """What a model's yaml says of its input: the size it prefers and the normalisation of pixels in [0, 1].

    The keys of fine-tuning, from `pretrained` on, are for models with `stages()`, `rescale_batchnorm` for those with
    `scales()`.
    """

    image_size: Pixels
    mean: float | list[float] | None
    std: Positive | list[Positive] | None
    pretrained: str | None = None
    rescale_batchnorm: bool = False
    freeze: str | None = None
    freeze_batchnorm: bool = False
    lr_decay: Annotated[float, Range(0, 1, "(")] = 1.0


@dataclass(frozen=True)
class DeviceSettings:
    """Where a run computes, and in which precision (`conf/device/`)."""

    name: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "float32", "bfloat16"]
    channels_last: bool | Literal["auto"]
    threads: Annotated[int, Range(1, 1024)] | Literal["auto"] | None
    compile: bool


@dataclass(frozen=True)
class TrainSettings:
    """How long a run trains, and by what it stops (`conf/train/`)."""

    epochs: Count
    batch_size: Count
    eval_batch_size: Count
    monitor: Literal["val_accuracy", "val_loss"]
    patience: Count | None
    label_smoothing: Probability
    grad_clip: Positive | None
    keep_last: bool
    tta: Literal[1, 2, 6] = 1
    initial_size: Pixels | None = None
    initial_fraction: Probability = 0.5
    ties: Literal["loss", "first"] = "first"


@dataclass(frozen=True)
class RootSettings:
    """The keys that no group owns (`conf/config.yaml`)."""

    seed: Annotated[int, Range(0)]
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
