"""Every file of a folder or a zip, and text that changes with its content; nothing is ever unpacked."""

import os
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from seedbed.data.decode import LARGEST_FILE
from seedbed.errors import UserError

LEFT_BEHIND = {"__MACOSX", "lost+found", "System Volume Information", "$RECYCLE.BIN"}
Entry = tuple[str, str]  # the path inside a folder or a zip, and text that changes with the file's content


def is_hidden(path: PurePosixPath) -> bool:
    """Whether it lies in what programs and systems leave behind: `.ipynb_checkpoints`, `.Trashes`, `lost+found`."""
    return any(part.startswith(".") or part in LEFT_BEHIND for part in path.parts)


def walk_folder(
    folder: Path, place: Callable[[str], object], inside: str = "", above: tuple = (), seen: set | None = None
) -> Iterator[Entry]:
    """Every file below a folder but for hidden ones, with its size and modification time.

    Links are followed; a folder counts once for each `place` of an image's path that it is reached in. The last three
    arguments are the walk's own: the path so far, the folders on it, and what it has seen. Raises UserError if a folder
    cannot be listed or a link leads nowhere.
    """
    seen = set() if seen is None else seen
    try:
        status = folder.stat()
        identity = status.st_dev, status.st_ino
        visit = place(f"{inside}image"), identity
        if identity in above or visit in seen:  # a link to a folder above would go round for ever
            return
        seen.add(visit)
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not is_hidden(PurePosixPath(entry.name))]
            # Real ones first: what links lead to a second time is left out.
            visible.sort(key=lambda entry: (entry.is_symlink(), entry.name))
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed: {error.strerror}; mend that, or take it away") from error
    for entry in visible:
        path = f"{inside}{entry.name}"
        try:
            status = entry.stat()
        except OSError as error:
            if PurePosixPath(path).suffix:
                yield path, "?"  # if it bears an image's name, decoding will name it
                continue
            raise UserError(f"{entry.path}: a link that leads nowhere ({error.strerror}); mend or remove it") from error
        if stat.S_ISDIR(status.st_mode):
            yield from walk_folder(Path(entry.path), place, f"{path}/", (*above, identity), seen)
        else:
            yield path, f"{status.st_size} {status.st_mtime_ns}"


def central_directory(path: Path) -> bytes | None:
    """The bytes of a zip's central directory, which hold name, size and CRC of every entry.

    Parsing 60,000 entries would take longer than the rest of a warm start. None where only parsing helps: a zip64.
    """
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - 66_000, 0))
        tail = file.read()
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or len(tail) < at + 22:
            return None
        size, offset = struct.unpack_from("<II", tail, at + 12)
        if offset + size > end:
            return None
        file.seek(offset)
        directory = file.read(size)
    # A zip64 has the numbers elsewhere; in a program that unpacks itself they count from the archive's begin.
    return directory if directory.startswith(b"PK\x01\x02") else None


def walk_zip(path: Path) -> Iterator[Entry]:
    """Every file of a zip, with its size and CRC; nothing is ever unpacked. Raises UserError if it is not safe."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: neither a folder nor a readable zip ({error})") from error
    for entry in entries:
        name = entry.filename
        if name.endswith("/"):
            continue
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if name.startswith(("/", "\\")) or PureWindowsPath(name).drive or ".." in parts:
            raise UserError(f"{path}: the entry {name!r} leaves the archive's root; this zip is not to be trusted")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise UserError(f"{path}: the entry {name!r} is a link; pack the image itself")
        if entry.file_size > LARGEST_FILE:
            raise UserError(f"{path}: the entry {name!r} unpacks to {entry.file_size:,} bytes; too large an image")
        yield name, f"{entry.file_size} {entry.CRC:08x}"
