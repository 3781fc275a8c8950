"""Schemas of the scalar keys, and the check of every `_target_` and keyword before any work.

Scalars that seedbed itself reads are typed by the dataclasses here. A node with a `_target_` is typed by the
signature that it names. Defaults live in the yaml files; those that stand here are for keys that only some models
have, and that configurations of earlier runs lack.
"""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal

from seedbed.annotations import accepts, describe, holds_objects, is_object
from seedbed.errors import UserError, nearest


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

    `normalize_training` is false in one reading of the report alone: validation and test images are normalised,
    training images are not (section 3). The keys of fine-tuning, from `pretrained` on, are for models with stages;
    `rescale_batchnorm` is for those with scales.
    """

    image_size: int = at_least(1)
    mean: float | list[float] | None
    std: float | list[float] | None
    normalize_training: bool = True
    pretrained: str | None = None
    rescale_batchnorm: bool = False
    freeze: str | None = None
    freeze_batchnorm: bool = False
    lr_decay: float = field(default=1.0, metadata={"valid": lambda v: 0 < v <= 1, "range": "> 0 and <= 1"})


@dataclass(frozen=True)
class DeviceSettings:
    name: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "float32", "bfloat16"]
    channels_last: bool | Literal["auto"]
    threads: int | None = at_least(1)
    compile: bool


@dataclass(frozen=True)
class TrainSettings:
    epochs: int = at_least(1)
    batch_size: int = at_least(1)
    eval_batch_size: int = at_least(1)
    monitor: Literal["val_accuracy", "val_loss"]
    patience: int | None = at_least(1)
    label_smoothing: float = between(0, 1)
    grad_clip: float | None = above(0)
    keep_last: bool
    tta: Literal[1, 2, 6] = 1
    initial_size: int | None = at_least(1, default=None)
    initial_fraction: float = between(0, 1, default=0.5)


@dataclass(frozen=True)
class RootSettings:
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


# Arguments that the composition root fills in from the data or the run: a yaml that says them too
# would say the same fact twice.
SUPPLIED = {
    "dataset": ("data_root",),
    "features": (),
    "model": ("input_shape", "classes"),
    "augment": (),
    "optimizer": ("params",),
    "scheduler": ("optimizer", "total_steps"),
}
# Keys that tasks bring along and read themselves.
OF_TASKS = ("task", "resume", "checkpoint", "split", "images", "predictions", "runs", "sort", "table", "curves")
# Groups that a run may have none of.
OPTIONAL = ("features", "scheduler")
HYDRA_KEYS = ("_target_", "_partial_", "_convert_", "_recursive_", "_args_")


def check(config: Mapping[str, Any]) -> Settings:
    """Check a composed, resolved configuration (plain dicts and lists) whole, without touching data.

    Raises:
        UserError: names the key, what was expected, and the nearest valid spelling.
    """
    groups = ("dataset", "features", "model", "augment", "optimizer", "scheduler", "device", "train")
    root_keys = [f.name for f in fields(RootSettings)]
    for key in groups:
        if key not in config:
            raise UserError(f"{key}: missing; give one of its options, {key}=…")
    for key in config:
        if key not in (*groups, *root_keys, *OF_TASKS):
            raise UserError(f"{key}: no such key{nearest(key, [*groups, *root_keys])}")
    settings = {
        "root": _scalars(RootSettings, {k: config[k] for k in root_keys if k in config}, ""),
        "device": _scalars(DeviceSettings, config["device"], "device."),
        "train": _scalars(TrainSettings, config["train"], "train."),
    }
    for group, schema in (("dataset", DatasetSettings), ("model", ModelSettings)):
        own = {f.name for f in fields(schema)}
        node = config[group]
        settings[group] = _scalars(schema, {k: v for k, v in node.items() if k in own}, f"{group}.")
        settings[f"{group}_node"] = {k: v for k, v in node.items() if k not in own}
    for group in ("features", "augment", "optimizer", "scheduler"):
        # Where a preset sets keys of a group that is then none, and these are deleted, an empty one is left.
        emptied = group in OPTIONAL and config[group] == {}
        settings[f"{group}_node"] = None if emptied else config[group]
    for group, supplied in SUPPLIED.items():
        node = settings[f"{group}_node"]
        if node is None and group in OPTIONAL:
            continue
        _check_node(node, group, supplied, needs_target=True)
    return Settings(**settings)


def _scalars(schema: type, values: Any, prefix: str) -> Any:
    """Build a settings dataclass from a yaml node, checking names, types and ranges."""
    if not isinstance(values, Mapping):
        raise UserError(f"{prefix[:-1]}: expected a group of keys, got {values!r}")
    hints = typing.get_type_hints(schema)
    for key in values:
        if key not in hints:
            raise UserError(f"{prefix}{key}: no such key{nearest(key, hints)}")
    for spec in fields(schema):
        key = f"{prefix}{spec.name}"
        if spec.name not in values:
            if spec.default is MISSING:
                raise UserError(f"{key}: missing")
            continue
        value = values[spec.name]
        if not accepts(value, hints[spec.name]):
            raise UserError(f"{key}: expected {describe(hints[spec.name])}, got {value!r}")
        valid = spec.metadata.get("valid")
        if valid and value is not None and not valid(value):
            raise UserError(f"{key}: expected a number {spec.metadata['range']}, got {value!r}")
    return schema(**values)


def _check_node(node: Any, path: str, supplied: Sequence[str] = (), needs_target: bool = False) -> None:
    """Bind one node, and all below it, to the signatures that their `_target_` keys name."""
    if isinstance(node, list):
        for i, item in enumerate(node):
            _check_node(item, f"{path}.{i}")
        return
    if not isinstance(node, Mapping):
        if needs_target:
            raise UserError(f"{path}: expected a group with a _target_, got {node!r}")
        return
    for key in node:
        if isinstance(key, str) and key.startswith("_") and key not in HYDRA_KEYS:
            raise UserError(f"{path}.{key}: no such key{nearest(key, HYDRA_KEYS)}")
    if "_target_" not in node:
        if needs_target:
            way = "give the class or function to build, as module.Name"
            if path in OPTIONAL:
                left = " ".join(f"~{path}.{key}" for key in node)
                way = f"choose an option, {path}=…, or, to have none, delete what is left of it: {left}"
            raise UserError(f"{path}: has no _target_; {way}")
        for key, value in node.items():
            _check_node(value, f"{path}.{key}")
        return
    target = locate(node["_target_"], f"{path}._target_")
    arguments = {k: v for k, v in node.items() if k not in HYDRA_KEYS}
    parameters, open_ended = parameters_of(target)
    for key, value in arguments.items():
        if key in supplied:
            raise UserError(f"{path}.{key}: is taken from the data or the run; leave it out")
        if key not in parameters:
            if open_ended:
                continue
            takes = [p for p in parameters if p not in supplied]
            raise UserError(
                f"{path}.{key}: {node['_target_']} takes no {key!r}{nearest(key, takes)} "
                f"(it takes {', '.join(takes) or 'nothing'}; to leave {key} out type ~{path}.{key})"
            )
        annotation = parameters[key][0]
        if not accepts(value, annotation):
            raise UserError(f"{path}.{key}: expected {describe(annotation)}, got {value!r}")
        needs = isinstance(value, Mapping) and "_target_" not in value and holds_objects(annotation)
        for name, item in value.items() if needs else ():
            _check_node(item, f"{path}.{key}.{name}", needs_target=True)
        if not needs:
            _check_node(value, f"{path}.{key}", needs_target=isinstance(value, Mapping) and is_object(annotation))
    missing = [p for p, (_, required) in parameters.items() if required and p not in (*arguments, *supplied)]
    if missing and not (node.get("_partial_") and path not in SUPPLIED):
        raise UserError(f"{path}.{missing[0]}: missing; {node['_target_']} needs it")


def locate(target: Any, path: str) -> Callable:
    """Import what a `_target_` names.

    Raises:
        UserError: at `path`, if there is no such module, or no such name in it.
    """
    if not isinstance(target, str) or "." not in target:
        raise UserError(f"{path}: expected module.Name, got {target!r}")
    module_name, _, name = target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UserError(f"{path}: cannot import {module_name!r}: {error}") from error
    if not hasattr(module, name):
        public = [n for n in vars(module) if not n.startswith("_")]
        raise UserError(f"{path}: {module_name} has no {name!r}{nearest(name, public)}")
    found = getattr(module, name)
    if not callable(found):
        raise UserError(f"{path}: {target} cannot be called")
    return found


def parameters_of(target: Callable) -> tuple[dict[str, tuple[Any, bool]], bool]:
    """Name -> (annotation, required) of a callable's keywords, and whether it takes any keyword at all."""
    signature = inspect.signature(target)
    holder = target.__init__ if inspect.isclass(target) else target
    try:
        hints = typing.get_type_hints(holder)
    except (NameError, TypeError, AttributeError):
        hints = {}
    named = {}
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            named[name] = (hints.get(name, Any), parameter.default is parameter.empty)
    return named, any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
