"""Whole files and folders or none: made under a temporary name beside the target, flushed, renamed. Locks on files."""

import contextlib
import csv
import io
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock, Timeout


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


def make_once(folder: Path, fill: Callable[[Path], None], is_stale: Callable[[], bool] = lambda: False) -> None:
    """Make a folder of files that a killed or a second process cannot spoil, unless it exists and is not stale.

    `fill` writes them into a private folder, renamed when it is whole. A lock saves a second process the same work.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    held = lock(folder.with_suffix(".lock"), wait=True)
    try:
        if held.is_locked:  # whoever began these is dead: it held this lock
            for orphan in folder.parent.glob(f".{folder.name}.*.tmp"):
                shutil.rmtree(orphan, ignore_errors=True)
        if folder.is_dir() and not is_stale():
            return
        with TemporaryDirectory(".tmp", f".{folder.name}.", folder.parent, ignore_cleanup_errors=True) as temporary:
            private = Path(temporary, "new")  # unlike `temporary` open to other users, as the umask says
            private.mkdir()
            fill(private)
            for path in private.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            try:
                if folder.is_dir() and is_stale():
                    folder.rename(Path(temporary, "old"))
                private.rename(folder)
            except OSError:
                if not folder.is_dir():
                    raise
    finally:
        held.release()
