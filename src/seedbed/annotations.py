"""Whether a value from a yaml fits a type annotation, and the annotation in the words of a message."""

import inspect
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, Union

UNIONS = (Union, types.UnionType)
LISTS = (list, tuple, set, frozenset, Sequence, Iterable, Collection)
# What a yaml's value is -> in words. A number may be whole; neither may be true or false.
SCALARS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", types.NoneType: "null"}


def accepts(value: Any, annotation: Any) -> bool:
    """Whether a value from a yaml fits a type annotation; a node with a `_target_` fits where an object may."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    kind = origin or annotation
    if annotation in (Any, inspect.Parameter.empty) or isinstance(annotation, typing.TypeVar):
        return True
    if origin in UNIONS:
        return any(accepts(value, arg) for arg in args)
    if origin is typing.Annotated:
        return accepts(value, args[0])
    if origin is Literal:
        return any(value == arg and type(value) is type(arg) for arg in args)
    if annotation is None or annotation in SCALARS:
        return _is_scalar(value, annotation)
    if inspect.isclass(kind) and issubclass(kind, Mapping):
        # Values that are objects are checked one by one, each under its own name.
        free = len(args) < 2 or holds_objects(annotation)
        return isinstance(value, Mapping) and (
            free or "_target_" in value or all(accepts(item, args[1]) for item in value.values())
        )
    if kind in LISTS:
        if kind is tuple and args and args[-1] is not Ellipsis:
            return _is_list(value) and len(value) == len(args) and all(map(accepts, value, args))
        return _is_list(value) and (not args or all(accepts(item, args[0]) for item in value))
    return isinstance(value, str if hasattr(kind, "__fspath__") else Mapping)


def _is_scalar(value: Any, kind: type | None) -> bool:
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return value is None if kind in (None, types.NoneType) else isinstance(value, kind)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def holds_objects(annotation: Any) -> bool:
    """Whether a mapping's values are objects to be built, each from a node of its own."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    is_mapping = inspect.isclass(origin) and issubclass(origin, Mapping) and len(args) == 2
    return is_mapping and inspect.isclass(args[1]) and args[1] not in (int, float, str, bool, dict, list)


def is_object(annotation: Any) -> bool:
    """Whether a value is an object of a class to be built from a node, or None."""
    kinds = [kind for kind in typing.get_args(annotation) if kind is not types.NoneType] or [annotation]
    return all(inspect.isclass(kind) and getattr(kind, "_is_protocol", False) for kind in kinds)


def describe(annotation: Any) -> str:
    """An annotation in the words of a message."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in SCALARS:
        return SCALARS[annotation]
    if origin in UNIONS:
        return " or ".join(map(describe, args))
    if origin is Literal:
        return " or ".join(map(str, args))
    if origin in LISTS:
        items = dict.fromkeys(describe(arg) for arg in args if arg is not Ellipsis)
        return f"a list of {' and '.join(items)}" if items else "a list"
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return "a group of keys"
    if getattr(annotation, "_is_protocol", False):
        return "a group with a _target_"
    return getattr(annotation, "__name__", str(annotation))
