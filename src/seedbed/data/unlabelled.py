"""Images without labels: a folder or a zip of them, or a single file."""

from pathlib import Path

import numpy as np

from seedbed.data.formats import EXTENSIONS
from seedbed.data.image_folder import ImageFolder
from seedbed.data.sources import UNSPLIT, Listing
from seedbed.errors import require


class UnlabelledImages(ImageFolder):
    """All images in the folder or zip `path`, or that one file, sorted by path; labels are 0 and mean nothing."""

    def __init__(self, path: str, channels: int | None = None):
        given = Path(path)
        require(given.exists(), f"images: {path} is not there; give a folder, a zip or a file of images")
        is_image = given.is_file() and given.suffix.lower() in EXTENSIONS
        super().__init__("pictures", data_root="", root=str(given.parent if is_image else given), channels=channels)
        if is_image:
            status = given.stat()
            self._files = [(given.name, f"{status.st_size} {status.st_mtime_ns}")]

    def listing(self) -> Listing:
        """All images, with label 0 and without a split."""
        names = [name for name, _ in self.files()]
        require(names, f"images: {self.container} holds none ({', '.join(sorted(EXTENSIONS))})")
        labels, parts = np.zeros(len(names), np.int64), np.full(len(names), UNSPLIT, np.int8)
        return Listing(("",), labels, parts, names, None, self.container, self.channels)
