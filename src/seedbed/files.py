"""Whole files and folders or none: made under a temporary name beside the target, flushed, renamed. Locks on files."""

import contextlib
import csv
import io
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from seedbed.errors import UserError


def write_atomically(path: Path, content: bytes | memoryview | str) -> None:
    """Replace `path` by `content`; a crash at any moment leaves the old file or the new one."""
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


def remove_leftovers(folder: Path, name: str = "*") -> None:
    """Remove what killed processes left of files that they were writing, of those called `name`."""
    for path in folder.glob(f".{name}.*.tmp"):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Replace `path` by a table."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_atomically(path, text.getvalue())


def lock(path: Path, wait: bool = False) -> FileLock:
    """Lock a file against other processes until `release()`; the system frees the lock when the process dies.

    A Timeout where another process holds it and `wait` is false. A file system without locks gives none.
    """
    # A soft lock, the mere existence of a file, would outlive a killed process.
    file_lock = FileLock(path, timeout=-1 if wait else 0, fallback_to_soft=False)
    try:
        file_lock.acquire()
    except OSError as error:
        if isinstance(error, Timeout):
            raise
    return file_lock


@contextlib.contextmanager
def held(path: Path, busy: str | None = None) -> Iterator[bool]:
    """Lock a file, as `lock` does, for the time of a context; the file is gone after it. Yields whether it is locked.

    `busy` is the message where another process holds it, a UserError; None: wait for it.
    """
    try:
        file_lock = lock(path, wait=busy is None)
    except Timeout:
        raise UserError(busy) from None
    try:
        yield file_lock.is_locked
    finally:
        # Before the release, after which the file may be another's. Windows removes it with the release.
        with contextlib.suppress(OSError):
            if file_lock.is_locked:
                path.unlink()
        file_lock.release()


def make_once(folder: Path, fill: Callable[[Path], None], is_stale: Callable[[], bool] = lambda: False) -> None:
    """Make a folder of files that a killed or a second process cannot spoil, unless it exists and is not stale.

    `fill` writes them into a private folder, renamed when it is whole. A lock saves a second process the same work.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    file_lock = lock(folder.with_suffix(".lock"), wait=True)
    try:
        if not folder.is_dir() or is_stale():
            make_whole(folder, fill, folder.name, file_lock.is_locked, is_stale)
    finally:
        file_lock.release()


def make_whole(
    folder: Path, fill: Callable[[Path], None], family: str, alone: bool, is_stale: Callable[[], bool] = lambda: False
) -> None:
    """Make a folder of files under a private name beside it, flush them, and rename it, which is the last step of all.

    Args:
        family: a part of the private name, `.family.*.tmp`.
        alone: whether a lock keeps others from making one of the family; leftovers are then of killed processes.
        is_stale: whether an existing folder is to be replaced.
    """
    if alone:
        for orphan in folder.parent.glob(f".{family}.*.tmp"):
            shutil.rmtree(orphan, ignore_errors=True)
    private, old = (folder.with_name(f".{family}.{secrets.token_hex(4)}{part}.tmp") for part in ("", ".old"))
    private.mkdir()  # not by `tempfile`, whose folders are closed to other users, whatever the umask says
    try:
        fill(private)
        for path in private.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        try:
            if folder.is_dir() and is_stale():
                folder.rename(old)
                shutil.rmtree(old, ignore_errors=True)
            private.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(private, ignore_errors=True)
