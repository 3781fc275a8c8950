"""Every file of a folder or a zip, and text that changes with its content; nothing is ever unpacked."""

import contextlib
import itertools
import os
import stat
import struct
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from seedbed.data.decode import LARGEST_FILE
from seedbed.data.split_names import place
from seedbed.data.zip_names import entries_of, is_guessed, name_of
from seedbed.errors import UserError

# What systems, NAS and programs keep beside the user's files; folders of a leading dot are skipped, too.
LEFT_BEHIND = {
    "__MACOSX", "__pycache__", "lost+found", "System Volume Information", "$RECYCLE.BIN", "RECYCLER", "RECYCLED",
    "@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "@tmp", "@sharebin", "Network Trash Folder",
    "Temporary Items", "TheVolumeSettingsFolder", "node_modules", "lightning_logs", "mlruns", "wandb",
}  # fmt: skip
LEFT_BEHIND_LOWER = {name.lower() for name in LEFT_BEHIND}
OF_A_RUN = ({"config.yaml", "result.json"}, {"config.yaml", "overrides.json"}, {"sweep.json"})
LOOKED_AT = 500  # entries of skipped folders, to say whether images lie there
Entry = tuple[str, str]  # the path inside a folder or a zip, and text that changes with the file's content


@dataclass
class Found:
    """What a folder or a zip holds."""

    files: list[Entry] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)  # folders that were not looked into
    empty: list[str] = field(default_factory=list)  # folders without anything in them
    guessed: list[str] = field(default_factory=list)  # names in a zip that no encoding explains


def is_hidden(name: str) -> bool:
    """Whether programs and systems leave a file or folder of that name behind: `.Trashes`, `@eaDir`, `lost+found`."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND_LOWER


def is_run(names: set[str]) -> bool:
    """Whether a folder of such files is that of a run or a sweep of seedbed."""
    return any(files <= names for files in OF_A_RUN)


def walk(container: Path) -> Found:
    """Every file of a folder or a zip but for what is skipped. Raises UserError if it cannot be listed or trusted."""
    found = Found()
    if container.is_dir():
        _walk_folder(container, found, "", (), set())
    else:
        _sort_out(walk_zip(container, found.guessed), found)
    return found


def _walk_folder(folder: Path, found: Found, inside: str, above: tuple, seen: set) -> None:
    """Links are followed; a folder counts once for each class of each split that it is reached in.

    `inside` is the path so far, `above` the folders on it, and `seen` what the walk has seen.
    """
    try:
        status = folder.stat()
        identity = status.st_dev, status.st_ino
        visit = place(inside), identity
        if identity in above or visit in seen:  # a link to a folder above would go round for ever
            return
        seen.add(visit)
        with os.scandir(folder) as entries:
            # Real ones first: what links lead to a second time is left out.
            entries = sorted(entries, key=lambda entry: (entry.is_symlink(), entry.name))
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed: {error.strerror}; mend that, or take it away") from error
    if inside and is_run({entry.name for entry in entries}):
        found.skipped.append(inside[:-1])
        return
    if not entries:
        found.empty.append(inside[:-1])
    for entry in entries:
        path = f"{inside}{entry.name}"
        if is_hidden(entry.name):
            if not PurePosixPath(path).suffix or entry.is_dir():
                found.skipped.append(path)
            continue
        try:
            status = entry.stat()
        except OSError as error:
            if PurePosixPath(path).suffix:
                found.files.append((path, "?"))  # if it bears an image's name, decoding will name it
                continue
            raise UserError(f"{entry.path}: a link that leads nowhere ({error.strerror}); mend or remove it") from error
        if stat.S_ISDIR(status.st_mode):
            _walk_folder(Path(entry.path), found, f"{path}/", (*above, identity), seen)
        else:
            found.files.append((path, f"{status.st_size} {status.st_mtime_ns}"))


def _sort_out(entries: Iterable[Entry], found: Found) -> None:
    """Files, skipped folders and empty folders among a zip's entries."""
    entries = [*entries]
    inside: dict[str, set[str]] = defaultdict(set)
    for path, _ in entries:
        folder, _, name = path.rstrip("/").rpartition("/")
        inside[folder].add(name)
    runs = {folder for folder, names in inside.items() if folder and is_run(names)}
    skipped: dict[str, None] = {}
    for path, content in entries:
        parts = path.rstrip("/").split("/")
        folders = ("/".join(parts[: depth + 1]) for depth in range(len(parts)))
        left = next((f for f, name in zip(folders, parts, strict=True) if is_hidden(name) or f in runs), None)
        if left is not None:
            skipped[left] = None
        elif not path.endswith("/"):
            found.files.append((path, content))
        elif path[:-1] not in inside:
            found.empty.append(path[:-1])
    found.skipped = [*skipped]


def images_in(container: Path, folder: str, is_image: Callable[[str], bool]) -> int:
    """How many images lie in a skipped folder, as far as a short look tells."""
    if not container.is_dir():
        with zipfile.ZipFile(container) as archive:
            return sum(is_image(name) for name in entries_of(archive) if name.startswith(f"{folder}/"))
    looked, images, left = 0, 0, [container / folder]
    while left and looked < LOOKED_AT:
        with contextlib.suppress(OSError), os.scandir(left.pop()) as entries:
            for entry in itertools.islice(entries, LOOKED_AT):
                looked += 1
                images += is_image(entry.name)
                if entry.is_dir(follow_symlinks=False):
                    left.append(Path(entry.path))
    return images


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


def walk_zip(path: Path, guessed: list[str]) -> Iterator[Entry]:
    """Every entry of a zip, with its size and CRC; folders end with a slash. Raises UserError if it is not safe."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = entries_of(archive)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: neither a folder nor a readable zip ({error})") from error
    for name, entry in entries.items():
        if not name.strip("/"):
            continue
        written = name_of(entry)
        if written.startswith(("/", "\\")) or PureWindowsPath(written).drive or ".." in name.split("/"):
            raise UserError(f"{path}: the entry {written!r} leaves the archive's root; this zip is not to be trusted")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise UserError(f"{path}: the entry {written!r} is a link; pack the image itself")
        if entry.file_size > LARGEST_FILE:
            raise UserError(f"{path}: the entry {written!r} unpacks to {entry.file_size:,} bytes; too large an image")
        if is_guessed(entry):
            guessed.append(name)
        yield name, f"{entry.file_size} {entry.CRC:08x}"
