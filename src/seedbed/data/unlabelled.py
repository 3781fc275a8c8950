"""Images without labels: whatever lies in a folder or a zip, or a single file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seedbed.data.image_folder import EXTENSIONS, ImageFolder
from seedbed.data.sources import UNSPLIT, Listing
from seedbed.errors import UserError


class UnlabelledImages(ImageFolder):
    """All images below a folder or in a zip, or one file, sorted by path; their labels are 0 and mean nothing.

    Args:
        place: the folder, zip or file.
        channels: 1 or 3, as the model takes them; None makes the images grey if every one of them is.
    """

    def __init__(self, place: str, channels: int | None = None):
        path = Path(place)
        if not path.exists():
            raise UserError(f"images: {place} is not there; give a folder, a zip or a file of images")
        self.only = path.name if path.is_file() and path.suffix.lower() in EXTENSIONS else None
        super().__init__("pictures", data_root="", root=str(path.parent if self.only else path), channels=channels)

    def files(self) -> list[tuple[str, str]]:
        if self.only and self._files is None:
            facts = (self.container / self.only).stat()
            self._files = [(self.only, f"{facts.st_size} {facts.st_mtime_ns}")]
        return super().files()

    def listing(self) -> Listing:
        names = [name for name, _ in self.files()]
        if not names:
            raise UserError(f"images: {self.container} holds none ({', '.join(sorted(EXTENSIONS))})")
        labels, parts = np.zeros(len(names), np.int64), np.full(len(names), UNSPLIT, np.int8)
        return Listing(("",), labels, parts, names, None, self.container, self.channels)
