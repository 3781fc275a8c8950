"""Trees of image files, in a folder or a zip: which files are images, their splits and their classes."""

import contextlib
import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from unicodedata import normalize

import numpy as np

from seedbed.data.decode import reader
from seedbed.data.formats import EXTENSIONS, UNREAD, is_image, suffix, unread
from seedbed.data.layout import Reading, read
from seedbed.data.reading_words import advice, is_excluded
from seedbed.data.sources import TRAIN, UNSPLIT, Listing
from seedbed.data.split_names import SPLIT_NAMES
from seedbed.data.walk import Entry, Found, central_directory, images_in, walk
from seedbed.errors import UserError, require

SAMPLED, SAMPLED_BYTES, SNIFFED = 64, 2**16, 1000


class ImageFolder:
    """Images in a folder or a zip: `…/<split>/<class>/…/<image>`, or `…/<class>/…/<image>` without splits.

    A split folder bears a usual name (`seedbed.data.split_names`), at any depth; the folder below it is the class.
    `…/<class>/<split>/<image>` is understood, too; `splits` names such folders, or is none: all folders are classes.
    Folders that `exclude` names are left out: by name, or with a slash by path. The container is `root`, or the first
    of `paths` that `data_root` has. `channels` None makes the images grey if all of them are.
    """

    def __init__(
        self, name: str, data_root: str, paths: Sequence[str] = (), root: str | None = None,
        channels: int | None = None, splits: str | Mapping[str, str | Sequence[str]] = "auto",
        exclude: Sequence[str] = (),
    ):  # fmt: skip
        require(channels in (None, 1, 3), f"dataset.channels: expected 1, 3 or null, got {channels}")
        is_word = splits in ("auto", "none") or isinstance(splits, Mapping)
        require(is_word, f"dataset.splits: expected auto, none, or {{train: FOLDER, test: FOLDER}}, got {splits!r}")
        self.name, self.channels, self.splits, self.exclude = name, channels, splits, tuple(exclude)
        candidates = [Path(data_root) / path for path in paths] if root is None else [Path(root)]
        existing = list(filter(Path.exists, candidates))
        require(existing or root is None, f"dataset.root: {root} is not there; give a folder or a zip of images")
        require(existing or paths, "dataset.root: give the folder or the zip with the images, dataset.root=PATH")
        require(
            existing,
            f"{name}: no {' or '.join(paths)} in {data_root} (data_root); put the images there, or name the folder or "
            "zip that holds them: dataset.root=PATH",
        )
        self.container = existing[0]
        self._files: list[Entry] | None = None

    @cached_property
    def found(self) -> Found:
        """All that the container holds, but for what programs leave behind, and for what is excluded."""
        found = walk(self.container)
        if self.exclude:
            out: dict[str, bool] = {"": False}

            def is_out(folder: str) -> bool:
                if folder not in out:
                    out[folder] = is_excluded(folder, self.exclude) or is_out(folder.rpartition("/")[0])
                return out[folder]

            found.files = [entry for entry in found.files if not is_out(entry[0].rpartition("/")[0])]
            found.empty = [folder for folder in found.empty if not is_out(folder)]
        return found

    def files(self) -> list[Entry]:
        """Every image, sorted by path."""
        if self._files is None:
            self._files = sorted(entry for entry in self.found.files if is_image(entry[0]))
        return self._files

    def unread(self) -> dict[str, list[str]]:
        """Images by their names or first bytes that are not read: what they are -> their paths."""
        kinds = defaultdict(list)
        with reader(self.container) as read:
            left = iter(range(SNIFFED))

            def first_bytes(path: str) -> bytes:
                with contextlib.suppress(Exception):  # only those of an image count
                    if next(left, None) is not None:
                        return read(path)[:16]
                return b""

            for path, _ in self.found.files:
                if kind := unread(path, first_bytes):
                    kinds[kind].append(path)
        return kinds

    def fingerprint(self) -> str:
        """Of the channels; of names, sizes and times of a folder and some of its bytes, or of a zip's directory."""
        digest = hashlib.sha256(str(self.channels).encode())
        if self.splits != "auto" or self.exclude:
            digest.update(repr((self.splits, self.exclude)).encode())
        is_folder = self.container.is_dir()
        directory = None if is_folder else central_directory(self.container)
        files = self.files() if directory is None else []
        digest.update(directory or b"")
        for entry in files:
            digest.update("\0".join(entry).encode("utf-8", "surrogateescape"))
        # Some of the bytes, because another folder may have the same names, sizes and times.
        for name, _ in files[:: max(1, len(files) // SAMPLED)] if is_folder else ():
            # A file that cannot be read is named when it is decoded.
            with contextlib.suppress(OSError), (self.container / name).open("rb") as file:
                digest.update(file.read(SAMPLED_BYTES))
        return digest.hexdigest()

    def listing(self) -> Listing:
        """The images with splits and classes. Raises UserError for a tree that makes no data set."""
        names = [name for name, _ in self.files()]
        require(names, f"{self.container}: holds no images ({', '.join(sorted(EXTENSIONS))})")
        try:
            # Of macOS come names with accents apart, which compare as others.
            reading = read([normalize("NFC", name) for name in names], self.splits)
        except UserError as error:
            raise UserError(f"{self.container}: {error}") from error
        self._refuse_vanishing_classes(reading.holders, names)
        located = [image for image in zip(names, reading.parts, reading.classes, strict=True) if image[2] is not None]
        kept, parts, of_class = zip(*located, strict=True)
        classes = tuple(sorted(set(of_class)))
        for cls in classes:
            is_text = not any("\ud800" <= letter <= "\udfff" for letter in cls)  # what is not UTF-8 comes as these
            require(is_text, f"{self.container}: the class folder {cls!r} has a name that is not UTF-8; rename it")
        require(
            len(classes) > 1,
            f"{self.container}: expected one folder a class, at least two of them, with or without train/ val/ test/ "
            f"above; found {', '.join(classes)}",
        )
        trained = {cls for part, cls in zip(parts, of_class, strict=True) if part in (TRAIN, UNSPLIT)}
        missing = ", ".join(sorted(set(classes) - trained))
        ways = "(1) if these are splits, give them some; (2) if all folders are classes: dataset.splits=none"
        require(not missing, f"{self.container}: no training images of {missing}; {ways}")
        label_of = {cls: label for label, cls in enumerate(classes)}
        labels = np.array([label_of[cls] for cls in of_class], np.int64)
        return Listing(
            classes, labels, np.array(parts, np.int8), kept, None, self.container, self.channels,
            splits=reading.splits, left_out=[*self._left_out(names, reading)],
        )  # fmt: skip

    def _refuse_vanishing_classes(self, holders: Collection[str], names: Sequence[str]) -> None:
        """A class folder without an image that is read is a mistake to report, not a class to drop in silence."""
        filled = {folder for name in names for folder in folders_above(name)}
        others: dict[str, Counter] = defaultdict(Counter)
        for path in [*(path for path, _ in self.found.files), *(f"{folder}/" for folder in self.found.empty)]:
            for folder in folders_above(path):
                if folder not in filled and folder.rpartition("/")[0] in holders:
                    others[folder][suffix(path) if path[-1] != "/" else ""] += path[-1] != "/"
        kept = {folder for path in self.found.skipped for folder in folders_above(path)}
        for folder, endings in sorted(others.items()):
            unread = {ending: n for ending, n in endings.items() if ending in UNREAD}
            what = "".join(f" ({n} {ending} files, which are not read)" for ending, n in unread.items())
            mistake = unread or (not endings.total() and folder not in kept)
            require(
                not mistake,
                f"{self.container / folder}: a class folder without images{what}; fill it or remove it, or leave it "
                f"out: {advice([f'/{folder}'])}",
            )

    def _left_out(self, names: Sequence[str], reading: Reading) -> Iterator[str]:
        """What is not read, and why, a text each."""
        located = zip(names, reading.classes, strict=True)
        outside = Counter(name.rpartition("/")[0] for name, cls in located if cls is None)
        for folder, n in sorted(outside.items()):
            yield f"{n:,} in {folder or 'the top folder'}, in no class folder of a split"
        for kind, files in self.unread().items():
            yield f"{len(files):,} {kind}"
        counts = {folder: images_in(self.container, folder, is_image) for folder in self.found.skipped}
        if hidden := [folder for folder, n in counts.items() if n]:
            more = f" and {len(hidden) - 3:,} more folders" if len(hidden) > 3 else ""
            yield f"{sum(counts.values()):,} in {', '.join(hidden[:3])}{more}, of programs or runs"
        unused = sorted({f for name in names for f in name.split("/")[:-1] if f.lower() in SPLIT_NAMES})
        if unused and not reading.splits:
            yield f"nothing, though the folders {', '.join(unused)} are taken for no splits"
        if guessed := self.found.guessed:
            way = "pack the zip again with names in UTF-8, or give the folder"
            yield f"nothing, but {len(guessed):,} names are of an unknown encoding, such as {guessed[0]}: {way}"
        if self.exclude:
            yield f"dataset.exclude={','.join(self.exclude)}"


def folders_above(path: str) -> Iterator[str]:
    """Every folder that a file lies in, the innermost first."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
