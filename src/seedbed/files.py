"""Whole files and folders or none: made under a temporary name beside the place, flushed, renamed. Locks on files."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable
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
            # A file name that is not UTF-8 may be part of a text.
            file.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)
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


def make_once(folder: Path, fill: Callable[[Path], None], is_stale: Callable[[], bool] = lambda: False) -> None:
    """Make a folder of files that a killed or a second process cannot spoil, unless it is there.

    It is filled under a private name and renamed. A lock saves a second process the same work; where there are none,
    both do it and the first one's stays.

    Args:
        fill: writes the files into the private folder that it is given.
        is_stale: whether a folder that is there should be made anew.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("a") as file:
        if lock(file, wait=True):
            # Whoever began these is gone: it held the lock that is now ours.
            for orphan in folder.parent.glob(f".{folder.name}.*.tmp"):
                shutil.rmtree(orphan, ignore_errors=True)
        if folder.is_dir() and not is_stale():
            return
        private = folder.with_name(f".{folder.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        private.mkdir()
        try:
            fill(private)
            for path in private.iterdir():
                with path.open("rb") as written:
                    os.fsync(written.fileno())
            try:
                if folder.is_dir() and is_stale():
                    folder.rename(private.with_suffix(".old.tmp"))
                private.rename(folder)
            except OSError:
                if not folder.is_dir():
                    raise
        finally:
            for own in (private, private.with_suffix(".old.tmp")):
                shutil.rmtree(own, ignore_errors=True)
