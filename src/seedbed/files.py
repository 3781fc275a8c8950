"""Whole files and folders or none: made under a temporary name beside the target, flushed, renamed. Locks on files."""

import contextlib
import csv
import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile, gettempdir
from typing import Any

from filelock import FileLock, Timeout

from seedbed.errors import UserError, require


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


def try_folder(folder: Path) -> None:
    """Raise OSError where no file can be made in a folder, or in the one that it would have to be made in."""
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    # Permissions do not tell: root may write nearly everywhere, and nobody into what is mounted to be read.
    with TemporaryFile(dir=existing):
        pass


def require_file(key: str, path: Path, endings: Sequence[str]) -> None:
    """Raise UserError where a file that a key names, with one of these endings, cannot be written."""
    way = f"give another file, {key}=PATH"
    wanted = " or ".join(endings)
    require(path.suffix.lower() in endings, f"{key}={path}: expected a file's name that ends in {wanted}; {way}")
    require(not path.is_dir(), f"{key}={path}: is a folder; {way}")
    require(path.parent.is_dir(), f"{key}: {path.parent} is no folder; make it, or {way}")
    try:
        try_folder(path.parent)
    except OSError as error:
        raise UserError(f"{key}={path}: nothing can be written there ({error.strerror}); {way}") from error


@contextlib.contextmanager
def output_errors(what: str) -> Iterator[None]:
    """Failures to make something below output_root as one message that says what to do."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"output_root: cannot make {what}: {error.strerror or error}; set output_root (or SEEDBED_OUTPUTS) to a "
            "folder that can be written"
        ) from error


def require_output(parent: Path) -> None:
    """Raise UserError where no folder can be made in `parent`."""
    with output_errors(f"a run folder in {parent}"):
        try_folder(parent)


def write_or_keep(key: str, path: Path, write: Callable[[Path], None]) -> None:
    """Write a file that a key names; where that fails, write it elsewhere, and say where by UserError."""
    try:
        return write(path)
    except OSError as error:
        message = f"{key}={path}: {error.strerror or error}"
    for folder in (Path.cwd(), Path(gettempdir())):
        kept = folder / f"{path.stem}-{os.getpid()}{path.suffix}"
        with contextlib.suppress(OSError):
            write(kept)
            raise UserError(f"{message}; it is kept in {kept}")
    raise UserError(f"{message}; give another place, {key}=PATH")


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
        if folder.is_file():  # nothing of ours
            folder.unlink()
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
