"""Trees of image files, in a folder or a zip: which files are images, their splits and their classes."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np

from seedbed.data.sources import TEST, TRAIN, UNSPLIT, VAL, Listing
from seedbed.data.walk import Entry, central_directory, is_hidden, walk_folder, walk_zip
from seedbed.errors import UserError, require

log = logging.getLogger(__name__)
SAMPLED, SAMPLED_BYTES = 64, 2**16
EXTENSIONS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
SPLIT_NAMES = dict.fromkeys(("train", "training", "trn"), TRAIN) | dict.fromkeys(("test", "testing", "tst"), TEST)
SPLIT_NAMES |= dict.fromkeys(("val", "valid", "validation", "dev"), VAL)
PartAndClass = tuple[int, str | None]


class ImageFolder:
    """Images in a folder or a zip: `…/<split>/<class>/…/<image>`, or `…/<class>/…/<image>` without splits.

    A split folder bears one of `SPLIT_NAMES`, in any case and at any depth; the folder below it is the class.
    `…/<class>/<split>/<image>` is understood, too. The container is `root`, or the first of `paths` that `data_root`
    has. `channels` None makes the images grey if all of them are.
    """

    def __init__(
        self, name: str, data_root: str, paths: Sequence[str] = (), root: str | None = None, channels: int | None = None
    ):
        require(channels in (None, 1, 3), f"dataset.channels: expected 1, 3 or null, got {channels}")
        self.name, self.channels = name, channels
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

    def files(self) -> list[Entry]:
        """Every image, sorted by path."""
        if self._files is None:
            is_folder = self.container.is_dir()
            entries = walk_folder(self.container, split_above_class) if is_folder else walk_zip(self.container)
            paths = ((PurePosixPath(entry[0]), entry) for entry in entries)
            self._files = sorted(e for path, e in paths if path.suffix.lower() in EXTENSIONS and not is_hidden(path))
        return self._files

    def fingerprint(self) -> str:
        """Of the channels; of names, sizes and times of a folder and some of its bytes, or of a zip's directory."""
        digest = hashlib.sha256(str(self.channels).encode())
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
        located = [(name, *pair) for name, pair in zip(names, self._parts_and_classes(names), strict=True)]
        strays = [name for name, _, cls in located if cls is None]
        if strays:
            left_out = f"{len(strays)} of {len(names)} images lie in no class folder of a split and are left out"
            log.warning("%s: %s, such as %s", self.container, left_out, strays[0])
        if self.container.is_dir():
            self._refuse_empty_classes(names)
        kept, parts, of_class = zip(*(image for image in located if image[2] is not None), strict=True)
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
        require(not missing, f"{self.container}: no training images of {missing}")
        label_of = {cls: label for label, cls in enumerate(classes)}
        labels = np.array([label_of[cls] for cls in of_class], np.int64)
        return Listing(classes, labels, np.array(parts, np.int8), kept, None, self.container, self.channels)

    def _parts_and_classes(self, names: Sequence[str]) -> list[PartAndClass]:
        """The split and the class of each image; class None: it lies in no class folder of a split."""
        pairs = [split_above_class(name) for name in names]
        # A class may bear a split's name: CIFAR-100 has one called train.
        if any(part == TRAIN and cls is not None for part, cls in pairs):
            return pairs
        pairs = [split_below_class(name) for name in names]
        parts, classes = (set(values) for values in zip(*pairs, strict=True))
        if UNSPLIT not in parts and TRAIN in parts and None not in classes and len(classes) > 1:
            return pairs
        folders = [PurePosixPath(name).parts[:-1] for name in names]
        # The class is the first folder below those that all images share; a single class shares all of its path.
        shared = len(os.path.commonprefix(folders))  # noqa: RUF071 (of tuples: whole folders, not characters)
        shared -= len(set(folders)) == 1 and shared > 0
        stray = next((name for name, parts in zip(names, folders, strict=True) if len(parts) <= shared), None)
        require(stray is None, f"{self.container}: {stray} lies in no class folder; move it into one")
        classes = {parts[shared] for parts in folders}
        named = {SPLIT_NAMES.get(cls.lower()) for cls in classes}
        # Folders of images named train and test, say: their labels lie elsewhere, in a table.
        require(
            None in named and len(named) <= 2,
            f"{self.container}: expected one folder a class, with or without train/ val/ test/ above; found no "
            f"class folders below {', '.join(sorted(cls for cls in classes if cls.lower() in SPLIT_NAMES))}",
        )
        unused = ", ".join(sorted({folder for parts in folders for folder in parts if folder.lower() in SPLIT_NAMES}))
        if unused:
            log.warning("%s: the folders %s are taken for no splits; all images are split anew", self.container, unused)
        return [(UNSPLIT, parts[shared]) for parts in folders]

    def _refuse_empty_classes(self, names: Iterable[str]) -> None:
        """A class folder without one readable name is a mistake to report, not a class to drop in silence."""
        filled = {parent for name in names for parent in PurePosixPath(name).parents}
        for parent in sorted({PurePosixPath(name).parent.parent for name in names}):
            for folder in sorted((self.container / parent).iterdir()):
                inside = PurePosixPath(folder.relative_to(self.container).as_posix())
                if folder.is_dir() and not is_hidden(inside) and inside not in filled:
                    raise UserError(f"{folder}: a class folder without images; fill it or remove it")


def split_above_class(name: str) -> PartAndClass:
    """The split that the first folder of a usual name says, and the class folder below it."""
    for folder, below in pairwise((*PurePosixPath(name).parts[:-1], None)):
        if folder.lower() in SPLIT_NAMES:
            return SPLIT_NAMES[folder.lower()], below
    return UNSPLIT, None


def split_below_class(name: str) -> PartAndClass:
    """The same where the split is the image's own folder and the class the one above: `…/<class>/<split>/<image>`."""
    *_, above, folder = ("", "", *PurePosixPath(name).parts[:-1])
    part = SPLIT_NAMES.get(folder.lower(), UNSPLIT)
    return part, above if part != UNSPLIT and above else None
