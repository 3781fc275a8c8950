"""Whether a value from a yaml fits a type annotation, and the annotation in the words of a message."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, Union


def accepts(value: Any, annotation: Any) -> bool:
    """Whether a value from a yaml fits a type annotation; a node with a `_target_` fits where an object may."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any or annotation is inspect.Parameter.empty or isinstance(annotation, typing.TypeVar):
        return True
    if annotation is None or annotation is types.NoneType:
        return value is None
    if origin in (Union, types.UnionType):
        return any(accepts(value, a) for a in args)
    if origin is typing.Annotated:
        return accepts(value, args[0])
    if origin is Literal:
        return any(value == a and type(value) is type(a) for a in args)
    if annotation is bool:
        return isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is str:
        return isinstance(value, str)
    kind = origin or annotation
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return isinstance(value, Mapping) and (
            # Values that are objects are checked one by one, each under its own name.
            len(args) < 2
            or "_target_" in value
            or holds_objects(annotation)
            or all(accepts(v, args[1]) for v in value.values())
        )
    if kind is tuple and args and args[-1] is not Ellipsis:
        return is_list(value) and len(value) == len(args) and all(map(accepts, value, args))
    if kind in (list, tuple, set, frozenset, Sequence, Iterable, Collection):
        return is_list(value) and (not args or all(accepts(v, args[0]) for v in value))
    if inspect.isclass(kind) and hasattr(kind, "__fspath__"):
        return isinstance(value, str)
    return isinstance(value, Mapping)


def is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def holds_objects(annotation: Any) -> bool:
    """Whether a mapping's values are objects to be built, each from a node of its own."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if not (inspect.isclass(origin) and issubclass(origin, Mapping)):
        return False
    return len(args) == 2 and inspect.isclass(args[1]) and args[1] not in (int, float, str, bool, dict, list)


def is_object(annotation: Any) -> bool:
    """Whether a value is an object of a class to be built from a node, or None."""
    kinds = [kind for kind in typing.get_args(annotation) if kind is not types.NoneType] or [annotation]
    return all(inspect.isclass(kind) and getattr(kind, "_is_protocol", False) for kind in kinds)


def describe(annotation: Any) -> str:
    """An annotation in the words of a message."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    plain = {
        int: "a whole number", float: "a number", bool: "true or false", str: "text", types.NoneType: "null",
    }  # fmt: skip
    if annotation in plain:
        return plain[annotation]
    if origin in (Union, types.UnionType):
        return " or ".join(describe(a) for a in args)
    if origin is Literal:
        return " or ".join(str(a) for a in args)
    if origin in (list, Sequence, Iterable, Collection, tuple):
        inner = dict.fromkeys(describe(a) for a in args if a is not Ellipsis)
        return f"a list of {' and '.join(inner)}" if inner else "a list"
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return "a group of keys"
    if getattr(annotation, "_is_protocol", False):
        return "a group with a _target_"
    return getattr(annotation, "__name__", str(annotation))
