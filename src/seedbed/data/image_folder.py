"""Image files in a folder or a zip, with their classes and splits read off the paths."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import stat
import struct
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from seedbed.data.decode import LARGEST_FILE
from seedbed.data.sources import TEST, TRAIN, UNSPLIT, VAL, Listing
from seedbed.errors import UserError

log = logging.getLogger(__name__)
LEFT_BEHIND = {"__MACOSX", "lost+found", "System Volume Information", "$RECYCLE.BIN"}
SAMPLED, SAMPLED_BYTES = 64, 2**16
EXTENSIONS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "trn"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VAL),
    **dict.fromkeys(("test", "testing", "tst"), TEST),
}


class ImageFolder:
    """Images in a folder or a zip: `…/<split>/<class>/…/<image>`, or `…/<class>/…/<image>` without splits.

    A split folder bears a usual name (train, training; val, valid, validation, dev; test, testing), in any case
    and at any depth; the folder below it is the class. `…/<class>/<split>/<image>` is understood, too.

    Args:
        name: what the store and the run folder call it.
        places: looked for in turn under `data_root` when `root` is None.
        channels: 1 or 3; None makes the images grey if every one of them is.
    """

    def __init__(
        self,
        name: str,
        data_root: str,
        places: Sequence[str] = (),
        root: str | None = None,
        channels: int | None = None,
    ):
        if channels not in (None, 1, 3):
            raise UserError(f"dataset.channels: expected 1, 3 or null, got {channels}")
        self.name = name
        self.channels = channels
        self.container = self._find(root, data_root, places)
        self._files: list[tuple[str, str]] | None = None

    def _find(self, root: str | None, data_root: str, places: Sequence[str]) -> Path:
        if root is not None:
            if not Path(root).exists():
                raise UserError(f"dataset.root: {root} is not there; give a folder or a zip of images")
            return Path(root)
        for place in places:
            if (Path(data_root) / place).exists():
                return Path(data_root) / place
        if not places:
            raise UserError("dataset.root: give the folder or the zip with the images, dataset.root=PATH")
        raise UserError(
            f"{self.name}: no {' or '.join(places)} in {data_root} (data_root); put the images there, or name "
            "the folder or zip that holds them: dataset.root=PATH"
        )

    def files(self) -> list[tuple[str, str]]:
        """Path inside the container and a mark of its content, for every image, sorted by path."""
        if self._files is None:
            walk = walk_folder if self.container.is_dir() else walk_zip
            self._files = sorted(f for f in walk(self.container) if _is_image(f[0]))
        return self._files

    def fingerprint(self) -> str:
        digest = hashlib.sha256(str(self.channels).encode())
        directory = None if self.container.is_dir() else central_directory(self.container)
        if directory is not None:
            digest.update(directory)
        else:
            for entry in self.files():
                digest.update("\0".join(entry).encode("utf-8", "surrogateescape"))
            if self.container.is_dir():
                self._sample(digest)
        return digest.hexdigest()

    def _sample(self, digest: hashlib._Hash) -> None:
        """Some of the bytes: another folder may have the same names, sizes and times."""
        files = self.files()
        for name, _ in files[:: max(1, len(files) // SAMPLED)]:
            # One that cannot be read is named when it is decoded.
            with contextlib.suppress(OSError), (self.container / name).open("rb") as file:
                digest.update(file.read(SAMPLED_BYTES))

    def listing(self) -> Listing:
        names = [name for name, _ in self.files()]
        if not names:
            raise UserError(f"{self.container}: holds no images ({', '.join(sorted(EXTENSIONS))})")
        found = [place_of(name) for name in names]
        # A class may bear a split's name: CIFAR-100 has one called train.
        split = any(part == TRAIN and below is not None for part, below in found)
        if not split and splits_below_classes(names):
            split, found = True, [place_below_class(name) for name in names]
        if not split:
            found = [(UNSPLIT, c) for c in classes_by_folder(names, self.container)]
            self._refuse_splits_as_classes({below for _, below in found})
            self._warn_of_unused_splits(names)
        kept = [i for i, (part, cls) in enumerate(found) if cls is not None and (part != UNSPLIT or not split)]
        if len(kept) < len(names):
            stray = names[min(set(range(len(names))) - set(kept))]
            log.warning(
                "%s: %d of %d images lie in no class folder of a split and are left out, such as %s",
                self.container, len(names) - len(kept), len(names), stray,
            )  # fmt: skip
        if self.container.is_dir():
            self._refuse_empty_classes(names)
        classes = tuple(sorted({found[i][1] for i in kept}))
        for name in classes:
            if any("\ud800" <= letter <= "\udfff" for letter in name):  # what is not UTF-8 comes as these
                raise UserError(f"{self.container}: the class folder {name!r} has a name that is not UTF-8; rename it")
        if len(classes) < 2:
            raise UserError(
                f"{self.container}: expected one folder a class, at least two of them, with or without "
                f"train/ val/ test/ above; found {', '.join(classes) or 'no class folders'}"
            )
        number = {c: i for i, c in enumerate(classes)}
        labels = np.array([number[found[i][1]] for i in kept], np.int64)
        parts = np.array([found[i][0] for i in kept], np.int8)
        if split:
            untaught = set(range(len(classes))) - set(labels[parts == TRAIN].tolist())
            if untaught:
                raise UserError(
                    f"{self.container}: no training images of {', '.join(classes[i] for i in sorted(untaught))}"
                )
        return Listing(classes, labels, parts, [names[i] for i in kept], None, self.container, self.channels)

    def _refuse_splits_as_classes(self, classes: set[str]) -> None:
        """Folders of images named train and test, say: their labels lie elsewhere, in a table."""
        parts = {SPLIT_NAMES.get(name.lower()) for name in classes}
        if None not in parts or len(parts - {None}) > 1:
            raise UserError(
                f"{self.container}: expected one folder a class, with or without train/ val/ test/ above; found no "
                f"class folders below {', '.join(sorted(name for name in classes if name.lower() in SPLIT_NAMES))}"
            )

    def _warn_of_unused_splits(self, names: Iterable[str]) -> None:
        folders = {folder for name in names for folder in PurePosixPath(name).parts[:-1]}
        unused = sorted(folder for folder in folders if folder.lower() in SPLIT_NAMES)
        if unused:
            log.warning(
                "%s: the folders %s are taken for no splits; all images are split anew",
                self.container,
                ", ".join(unused),
            )

    def _refuse_empty_classes(self, names: Iterable[str]) -> None:
        """A class folder without one readable name is a mistake to report, not a class to drop in silence."""
        filled = {parent for name in names for parent in PurePosixPath(name).parents}
        siblings = {PurePosixPath(name).parent.parent for name in names}
        for parent in siblings:
            for folder in sorted((self.container / parent).iterdir()):
                inside = PurePosixPath(folder.relative_to(self.container).as_posix())
                if folder.is_dir() and not _is_hidden(inside) and inside not in filled:
                    raise UserError(f"{folder}: a class folder without images; fill it or remove it")


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in EXTENSIONS and not _is_hidden(path)


def _is_hidden(path: PurePosixPath) -> bool:
    """Whether it lies in what programs and systems leave behind: `.ipynb_checkpoints`, `.Trashes`, `lost+found`."""
    return any(part.startswith(".") or part in LEFT_BEHIND for part in path.parts)


def place_of(name: str) -> tuple[int, str | None]:
    """The split that the first folder of a usual name says, and the class folder below it."""
    folders = PurePosixPath(name).parts[:-1]
    for i, folder in enumerate(folders):
        if folder.lower() in SPLIT_NAMES:
            return SPLIT_NAMES[folder.lower()], folders[i + 1] if i + 1 < len(folders) else None
    return UNSPLIT, None


def place_below_class(name: str) -> tuple[int, str | None]:
    """The same where the split is the image's own folder and the class the one above: `…/<class>/<split>/<image>`."""
    *_, above, folder = ("", "", *PurePosixPath(name).parts[:-1])
    part = SPLIT_NAMES.get(folder.lower(), UNSPLIT)
    return part, above if part != UNSPLIT and above else None


def splits_below_classes(names: Sequence[str]) -> bool:
    """Whether every image lies so, in one of at least two classes, and some are for training."""
    found = {place_below_class(name) for name in names}
    parts, classes = ({pair[i] for pair in found} for i in (0, 1))
    return UNSPLIT not in parts and TRAIN in parts and None not in classes and len(classes) > 1


def classes_by_folder(names: Sequence[str], container: Path) -> list[str]:
    """The class of each path: its first folder below those that all paths share.

    Raises:
        UserError: an image lies outside any class folder.
    """
    folders = [PurePosixPath(name).parts[:-1] for name in names]
    shared = len(os.path.commonprefix(folders))  # noqa: RUF071 (of tuples: whole folders, not characters)
    if len(set(folders)) == 1:  # a single class: all of its path is shared
        shared = max(shared - 1, 0)
    for name, parts in zip(names, folders, strict=True):
        if len(parts) <= shared:
            raise UserError(f"{container}: {name} lies in no class folder; move it into one")
    return [parts[shared] for parts in folders]


def walk_folder(root: Path) -> Iterable[tuple[str, str]]:
    """Relative path, and size with modification time, of every file below `root` but for hidden ones.

    Links are followed. A folder counts once for each class of each split that it is reached in.

    Raises:
        UserError: a folder cannot be listed, or a link to one leads nowhere: without its images others would be drawn
            for the split that they make.
    """
    return _walk(root, "", (), set())


def _walk(folder: Path, inside: str, above: tuple[tuple[int, int], ...], seen: set) -> Iterable[tuple[str, str]]:
    try:
        facts = folder.stat()
        own = (facts.st_dev, facts.st_ino)
        place = (place_of(f"{inside}image"), own)
        if own in above or place in seen:  # a link to a folder above would go round for ever
            return
        seen.add(place)
        with os.scandir(folder) as entries:
            # Real ones first: what links lead to a second time is left out.
            listed = sorted(entries, key=lambda entry: (entry.is_symlink(), entry.name))
        for entry in listed:
            if _is_hidden(PurePosixPath(entry.name)):
                continue
            try:
                is_folder = entry.is_dir()
                facts = None if is_folder else entry.stat()
            except OSError as error:
                if not PurePosixPath(entry.name).suffix:
                    raise UserError(
                        f"{entry.path}: a link that leads nowhere ({error.strerror}); mend or remove it"
                    ) from error
                is_folder, facts = False, None  # if it bears an image's name, decoding will name it
            if is_folder:
                yield from _walk(Path(entry.path), f"{inside}{entry.name}/", (*above, own), seen)
            else:
                yield f"{inside}{entry.name}", f"{facts.st_size} {facts.st_mtime_ns}" if facts else "?"
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed: {error.strerror}; mend that, or take it away") from error


def central_directory(path: Path) -> bytes | None:
    """The bytes of a zip's central directory, which hold name, size and CRC of every entry.

    Parsing 60,000 entries takes longer than all else that a warm start does. None for what is not a plain zip
    (a zip64, say), which has to be parsed.
    """
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - 66_000, 0))
        tail = file.read()
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or len(tail) < at + 22:
            return None
        size, offset = struct.unpack("<II", tail[at + 12 : at + 20])
        if offset + size > end:
            return None
        file.seek(offset)
        directory = file.read(size)
    # A zip64 has the figures elsewhere; in a program that unpacks itself they count from the archive's begin.
    return directory if directory.startswith(b"PK\x01\x02") else None


def walk_zip(path: Path) -> Iterable[tuple[str, str]]:
    """Path, and size with CRC, of every file of a zip. Nothing is ever unpacked.

    Raises:
        UserError: not a zip, or an entry that is a link, leaves the archive's root, or unpacks to too much.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: neither a folder nor a readable zip ({error})") from error
    for entry in entries:
        name = entry.filename
        if name.endswith("/"):
            continue
        if (
            name.startswith(("/", "\\"))
            or PureWindowsPath(name).drive
            or ".." in PurePosixPath(name.replace("\\", "/")).parts
        ):
            raise UserError(f"{path}: the entry {name!r} leaves the archive's root; this zip is not to be trusted")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise UserError(f"{path}: the entry {name!r} is a link; pack the image itself")
        if entry.file_size > LARGEST_FILE:
            raise UserError(f"{path}: the entry {name!r} unpacks to {entry.file_size:,} bytes; too large an image")
        yield name, f"{entry.file_size} {entry.CRC:08x}"
