"""Images without labels: a folder or a zip of them, single files, or several of these."""

import glob
import os
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seedbed.data.formats import EXTENSIONS
from seedbed.data.image_folder import ImageFolder
from seedbed.data.sources import UNSPLIT, Listing
from seedbed.data.walk import Entry
from seedbed.errors import require


def expand(images: str | Sequence[str]) -> list[str]:
    """What `images=` means: a path, a glob, `-` for paths on standard input, one a line, or a list of such.

    Raises:
        UserError: one of them is not there, or there is none.
    """
    paths: list[str] = []
    for given in [images] if isinstance(images, str) else images:
        if given == "-":
            paths += [name for line in sys.stdin.buffer if (name := os.fsdecode(line).rstrip("\r\n"))]
        else:
            matches = [] if Path(given).exists() else glob.glob(given, recursive=True)  # noqa: PTH207 (may be absolute)
            paths += sorted(matches) or [given]
    require(paths, "images: standard input names none; give one file a line, or a path, images=PATH")
    for path in paths:
        way = "give a folder, a zip, files, or a glob such as photos/*.jpg"
        require(Path(path).exists(), f"images: {path} is not there; {way}")
    return paths


class UnlabelledImages(ImageFolder):
    """All images in the folder or zip `path`, sorted by path, or that one file; labels are 0 and mean nothing.

    Of a list of paths, folders and files, each image once, in their order; its name is then its path.
    """

    def __init__(self, path: str | Sequence[str], channels: int | None = None):
        given = Path(path if isinstance(path, str) else ".")
        require(given.exists(), f"images: {path} is not there; give a folder, a zip or a file of images")
        is_image = given.is_file() and given.suffix.lower() in EXTENSIONS
        super().__init__("pictures", data_root="", root=str(given.parent if is_image else given), channels=channels)
        if not isinstance(path, str):
            self._files = list(dict.fromkeys(entry for one in path for entry in _entries(one)))
        elif is_image:
            self._files = [_entry(given, given.name)]
        self.is_whole = self._files is None

    def unread(self) -> dict[str, list[str]]:
        """Images in the folder or zip that are not read; of a list and a single file decoding tells."""
        return super().unread() if self.is_whole else {}

    def listing(self) -> Listing:
        """All images, with label 0 and without a split."""
        names = [name for name, _ in self.files()]
        require(names, f"images: {self.container} holds none ({', '.join(sorted(EXTENSIONS))})")
        labels, parts = np.zeros(len(names), np.int64), np.full(len(names), UNSPLIT, np.int8)
        return Listing(("",), labels, parts, names, None, self.container, self.channels)


def _entry(file: Path, name: str) -> Entry:
    status = file.stat()
    return name, f"{status.st_size} {status.st_mtime_ns}"


def _entries(path: str) -> list[Entry]:
    """Of one of several paths: the images of a folder, or a file, whatever it is called; decoding will tell."""
    if Path(path).is_dir():
        return [(str(Path(path, name)), mark) for name, mark in UnlabelledImages(path).files()]
    require(not zipfile.is_zipfile(path), f"images: {path} is a zip; give it alone")
    return [_entry(Path(path), path)]
