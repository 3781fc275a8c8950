"""Files of tensors from elsewhere: read without running anything of theirs."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch

from seedbed.errors import UserError


def load_tensors(path: Path, complaint: str) -> Any:
    """What `torch.save` wrote: tensors, on the CPU, and plain values.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: `complaint`, and why: unreadable, or it holds anything else, code for one.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is no such file, said by the exception too
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except pickle.UnpicklingError as error:
        # torch's own message advises to load the file unsafely.
        raise UserError(
            f"{complaint}: it holds something other than tensors and plain values; nothing of it was run"
        ) from error
    except Exception as error:  # torch's reader raises what it meets: IndexError, struct.error, AssertionError …
        raise UserError(f"{complaint} ({in_short(error)})") from error


def in_short(error: Exception) -> str:
    """An exception's text on one line, for a message."""
    return " ".join((str(error).strip() or type(error).__name__).split())[:200]
