"""Files of tensors from elsewhere: read without running anything of theirs."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch

from seedbed.errors import UserError


def load_tensors(path: Path, complaint: str) -> Any:
    """What `torch.save` wrote: tensors, on the CPU, and plain values. UserError: `complaint`, and why."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is no such file, said by the exception too
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except pickle.UnpicklingError as error:  # torch's own message advises to load the file unsafely
        reason = "it holds something other than tensors and plain values; nothing of it was run"
        raise UserError(f"{complaint}: {reason}") from error
    except Exception as error:  # torch's reader raises what it meets: IndexError, struct.error, AssertionError …
        raise UserError(f"{complaint} ({in_short(error)})") from error


def in_short(error: Exception) -> str:
    """An exception's text on one line, for a message."""
    return " ".join((str(error).strip() or type(error).__name__).split())[:200]
