"""Whole files or none: written under a temporary name in the same folder, flushed, renamed. Locks on files."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # not on Windows; two processes at once then go unnoticed
    fcntl = None


def write_atomically(path: Path, content: bytes | memoryview | str) -> None:
    """Replace `path` by `content`; after a crash at any moment the old file or the new one is there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def lock(file: IO, wait: bool = False) -> bool:
    """Lock an open file against other processes until it is closed; the kernel frees it when the process dies.

    Returns:
        whether it is locked: false where the system has no such locks.

    Raises:
        BlockingIOError: somebody else holds it, and `wait` is false.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        return False
    return True
