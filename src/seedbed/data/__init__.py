"""Data sources, the store of decoded images, splits, augmentation, and the loader."""

from seedbed.errors import UserError


def require(condition: object, message: str) -> None:
    """Raise UserError with this message unless the condition holds."""
    if not condition:
        raise UserError(message)
