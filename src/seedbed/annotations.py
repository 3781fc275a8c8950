"""Whether a value from a yaml fits a type annotation, and the annotation in the words of a message."""

import inspect
import math
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

UNIONS = (Union, types.UnionType)
LISTS = (list, tuple, set, frozenset, Sequence, Iterable, Collection)
# What a yaml's value is -> in words. A number may be whole; neither may be true or false.
SCALARS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", types.NoneType: "null"}


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; `open` leaves the first, the second or both of them out: "(", ")", "()"."""

    low: float = -math.inf
    high: float = math.inf
    open: str = ""

    def __contains__(self, number: float) -> bool:
        inside = self.low <= number <= self.high and math.isfinite(number)
        return inside and not ((number == self.low and "(" in self.open) or (number == self.high and ")" in self.open))

    def words(self, value: float = 0) -> str:
        """The range in the words of a message; a bound of millions, as most counts have, where a value is beyond it."""
        low, high = ">" if "(" in self.open else ">=", "<" if ")" in self.open else "<="
        shown = [f"{low} {self.low}"] if abs(self.low) < 1e6 or (math.isfinite(self.low) and value < self.low) else []
        if abs(self.high) < 1e6 or (math.isfinite(self.high) and value > self.high):
            shown.append(f"{high} {self.high}")
        return " and ".join(shown) or "that is finite"


FINITE, INTEGERS = Range(), Range(-(2**63), 2**63 - 1)  # of numbers whose annotation says no more
Count = Annotated[int, Range(1, 2**31 - 1)]
Whole = Annotated[int, Range(0, 2**31 - 1)]
Few = Annotated[int, Range(1, 256)]
Width = Annotated[int, Range(1, 2**20)]
Pixels = Annotated[int, Range(1, 4096)]
Share = Annotated[float, Range(0, 1)]
Probability = Annotated[float, Range(0, 1, ")")]
Seed = Annotated[int, Range(0, 2**32 - 1)]  # as scikit-learn takes them


def ranges(annotation: Any) -> Iterator[Range]:
    """Every range in an annotation."""
    if isinstance(annotation, Range):
        yield annotation
    for part in typing.get_args(annotation):
        yield from ranges(part)


def range_missed(value: Any, annotation: Any) -> Range | None:
    """The range that a number, or one of a list, lies outside of; None where all is well."""
    if isinstance(value, list | tuple):
        return next((missed for item in value if (missed := range_missed(item, annotation))), None)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    allowed = next(ranges(annotation), INTEGERS if isinstance(value, int) else FINITE)
    return None if value in allowed else allowed


def accepts(value: Any, annotation: Any) -> bool:
    """Whether a value from a yaml fits a type annotation; a node with a `_target_` fits where an object may."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    kind = origin or annotation
    if annotation in (Any, inspect.Parameter.empty) or isinstance(annotation, typing.TypeVar):
        return True
    if origin in UNIONS:
        return any(accepts(value, arg) for arg in args)
    if origin is Annotated:
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
    if origin is Annotated:
        return describe(args[0])
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
