"""The check of a whole configuration before any work: every scalar by its schema, every keyword by its signature."""

import importlib
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from seedbed.annotations import Range, accepts, describe, holds_objects, is_object, range_missed
from seedbed.errors import UserError, nearest
from seedbed.keys import GROUPS, OPTIONAL_GROUPS, TASK_KEYS
from seedbed.settings import DatasetSettings, DeviceSettings, ModelSettings, RootSettings, Settings, TrainSettings
from seedbed.upgrade import renamed

# What `Experiment` supplies from the data or the run: a yaml that says it too would say the same fact twice.
SUPPLIED = {
    "dataset": ("data_root",),
    "features": (),
    "model": ("input_shape", "classes"),
    "augment": (),
    "optimizer": ("params",),
    "scheduler": ("optimizer", "total_steps"),
}
SCHEMAS = {"dataset": DatasetSettings, "model": ModelSettings, "device": DeviceSettings, "train": TrainSettings}
# Of what torch's own classes take: torch complains late, without the key, or not at all.
TORCH_RANGES = {
    **dict.fromkeys(("lr", "max_lr", "base_lr", "min_lr", "eps", "weight_decay", "threshold", "gamma"), Range(0)),
    **dict.fromkeys(("div_factor", "final_div_factor"), Range(0, open="(")),
    **dict.fromkeys(("momentum", "dampening", "pct_start"), Range(0, 1)),
    **dict.fromkeys(("betas", "base_momentum", "max_momentum", "factor"), Range(0, 1, ")")),
    **dict.fromkeys(("patience", "cooldown"), Range(0, 2**31 - 1)),
    **dict.fromkeys(("step_size", "T_max", "T_0"), Range(1, 2**31 - 1)),
}
HYDRA_KEYS = ("_target_", "_partial_", "_convert_", "_recursive_", "_args_")


def check(config: Mapping[str, Any]) -> Settings:
    """Check a composed, resolved configuration (plain dicts and lists) whole, without touching data.

    Raises:
        UserError: names the key, what was expected, and the nearest valid spelling.
    """
    root_keys = [spec.name for spec in fields(RootSettings)]
    for group in GROUPS:
        if group not in config:
            raise UserError(f"{group}: missing; give one of its options, {group}=…")
    for key in config:
        if key not in (*GROUPS, *root_keys, *TASK_KEYS):
            raise UserError(f"{key}: no such key{nearest(key, [*GROUPS, *root_keys])}")
    settings = {"root": _scalars(RootSettings, {key: config[key] for key in root_keys if key in config}, "")}
    if config["features"] and settings["root"].seed >= 2**32:
        raise UserError(f"seed: scikit-learn, which makes features, takes less than {2**32}, got {config['seed']}")
    for group, schema in SCHEMAS.items():
        node, scalars = config[group], config[group]
        if group in SUPPLIED:  # scalars of our own beside the arguments of a `_target_`
            names = {spec.name for spec in fields(schema)}
            scalars = {key: value for key, value in node.items() if key in names}
            settings[f"{group}_node"] = {key: value for key, value in node.items() if key not in names}
        settings[group] = _scalars(schema, scalars, f"{group}.")
    for group in SUPPLIED.keys() - SCHEMAS.keys():
        # Where a preset sets keys of a group that is then none, and these are deleted, an empty one is left.
        emptied = group in OPTIONAL_GROUPS and config[group] == {}
        settings[f"{group}_node"] = None if emptied else config[group]
    settings["dataset_node"] = _without_root(settings["dataset_node"])
    for group, supplied in SUPPLIED.items():
        node = settings[f"{group}_node"]
        if node is not None or group not in OPTIONAL_GROUPS:
            _check_node(node, group, supplied, needs_target=True)
    return Settings(**settings)


def _without_root(node: dict[str, Any]) -> dict[str, Any]:
    """Every data set has `root`, null unless typed; a source that is at one place only need not take it."""
    if "_target_" in node and "root" in node:
        parameters, open_ended = parameters_of(locate(node["_target_"], "dataset._target_"))
        if "root" not in parameters and not open_ended:
            if node["root"] is not None:
                raise UserError(f"dataset.root: {node['_target_']} takes no root; leave it null")
            return {key: value for key, value in node.items() if key != "root"}
    return node


def _scalars(schema: type, values: Any, prefix: str) -> Any:
    """Build a settings dataclass from a yaml node, checking names, types and ranges."""
    if not isinstance(values, Mapping):
        raise UserError(f"{prefix[:-1]}: expected a group of keys, got {values!r}")
    hints = typing.get_type_hints(schema, include_extras=True)
    for key in values:
        if key not in hints:
            raise UserError(renamed(prefix + key) or f"{prefix}{key}: no such key{nearest(key, hints)}")
    for spec in fields(schema):
        key = f"{prefix}{spec.name}"
        if spec.name not in values:
            if spec.default is MISSING:
                raise UserError(f"{key}: missing")
            continue
        value = values[spec.name]
        _check_value(value, key, hints[spec.name])
    return schema(**values)


def _check_node(node: Any, path: str, supplied: Sequence[str] = (), needs_target: bool = False) -> None:
    """Bind one node, and all below it, to the signatures that their `_target_` keys name."""
    if isinstance(node, list):
        for i, item in enumerate(node):
            _check_node(item, f"{path}.{i}")
    elif not isinstance(node, Mapping):
        if needs_target:
            raise UserError(f"{path}: expected a group with a _target_, got {node!r}")
    else:
        for key in node:
            if isinstance(key, str) and key.startswith("_") and key not in HYDRA_KEYS:
                raise UserError(f"{path}.{key}: no such key{nearest(key, HYDRA_KEYS)}")
        if "_target_" in node:
            _check_arguments(node, path, supplied)
            return
        if needs_target:
            raise UserError(f"{path}: has no _target_; {_way_to_a_target(node, path)}")
        for key, value in node.items():
            _check_node(value, f"{path}.{key}")


def _way_to_a_target(node: Mapping[str, Any], path: str) -> str:
    if path not in OPTIONAL_GROUPS:
        return "give the class or function to build, as module.Name"
    left = " ".join(f"~{path}.{key}" for key in node)
    return f"choose an option, {path}=…, or, to have none, delete what is left of it: {left}"


def _check_arguments(node: Mapping[str, Any], path: str, supplied: Sequence[str]) -> None:
    """Bind a node's keys to the signature of its `_target_`, and check what lies below them."""
    arguments = {key: value for key, value in node.items() if key not in HYDRA_KEYS}
    parameters, open_ended = parameters_of(locate(node["_target_"], f"{path}._target_"))
    for key, value in arguments.items():
        if key in supplied:
            raise UserError(f"{path}.{key}: is taken from the data or the run; leave it out")
        if key in parameters:
            _check_argument(value, f"{path}.{key}", parameters[key][0])
        elif not open_ended:
            takes = [name for name in parameters if name not in supplied]
            message = (
                f"{path}.{key}: {node['_target_']} takes no {key!r}{nearest(key, takes)} "
                f"(it takes {', '.join(takes) or 'nothing'}; to leave {key} out type ~{path}.{key})"
            )
            raise UserError(renamed(f"{path}.{key}") or message)
    missing = [p for p, (_, required) in parameters.items() if required and p not in (*arguments, *supplied)]
    if missing and not (node.get("_partial_") and path not in SUPPLIED):
        raise UserError(f"{path}.{missing[0]}: missing; {node['_target_']} needs it")


def _check_value(value: Any, path: str, annotation: Any) -> None:
    if not accepts(value, annotation):
        raise UserError(f"{path}: expected {describe(annotation)}, got {value!r}")
    if missed := range_missed(value, annotation):
        beyond = value if isinstance(value, int | float) else 0
        raise UserError(f"{path}: expected a number {missed.words(beyond)}, got {value!r}")


def _check_argument(value: Any, path: str, annotation: Any) -> None:
    of_torch = TORCH_RANGES.get(path.rpartition(".")[2]) if path.startswith(("optimizer.", "scheduler.")) else None
    _check_value(value, path, typing.Annotated[annotation, of_torch] if of_torch else annotation)
    if isinstance(value, Mapping) and "_target_" not in value and holds_objects(annotation):
        for name, item in value.items():
            _check_node(item, f"{path}.{name}", needs_target=True)
    else:
        _check_node(value, path, needs_target=isinstance(value, Mapping) and is_object(annotation))


def locate(target: Any, path: str) -> Callable:
    """Import what a `_target_` names.

    Raises:
        UserError: at `path`, if it names no module, or no callable of one.
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
        hints = typing.get_type_hints(holder, include_extras=True)
    except (NameError, TypeError, AttributeError):
        hints = {}
    named = {
        name: (hints.get(name, Any), parameter.default is parameter.empty)
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    return named, any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())


def build(node: Mapping[str, Any] | None, group: str, **supplied: Any) -> Any:
    """Make what a group's checked node names; a partial is completed by what is supplied, as far as it takes it.

    Raises:
        UserError: what the node names refuses its arguments.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    if node is None:
        return None
    parameters, open_ended = parameters_of(locate(node["_target_"], f"{group}._target_"))
    supplied = {key: value for key, value in supplied.items() if key in parameters or open_ended}
    try:
        if not node.get("_partial_"):
            return instantiate(dict(node), _convert_="all", **supplied)
        return instantiate(dict(node), _convert_="all")(**supplied)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        if error.__cause__ is not None:
            raise UserError(f"{group} ({node['_target_']}): {error.__cause__}") from error
        raise
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{group} ({node['_target_']}): {error}") from error
