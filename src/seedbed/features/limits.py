"""Numbers that an estimator can work with: checked when it begins, since scikit-learn's constructors only store."""

from __future__ import annotations

from typing import Any

from seedbed.errors import UserError


def at_least(low: int, estimator: Any, *names: str) -> None:
    """Raise UserError if one of these parameters is a number below `low`; None passes."""
    for name in names:
        value = getattr(estimator, name)
        if value is not None and value < low:
            raise UserError(f"features: {type(estimator).__name__}.{name}: expected a number >= {low}, got {value}")
