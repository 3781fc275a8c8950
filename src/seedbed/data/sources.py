"""What a data source is: something with a name, a fingerprint, and either an array or a list of image files.

A source knows where its images are, what they are called and which official split they belong to. Decoding,
resizing and keeping them is the store's work; drawing further splits is the splitter's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

TRAIN, VAL, TEST, UNSPLIT = 0, 1, 2, -1


@dataclass(frozen=True)
class Listing:
    """All images of a source, in one order.

    Attributes:
        classes: class names in label order.
        labels: int64 `[N]`.
        parts: int8 `[N]`: TRAIN, VAL, TEST, or UNSPLIT where the source has no split of its own.
        names: one name an image; for files the path inside the source.
        images: uint8 `[N, C, H, W]` for a source that holds arrays, else None.
        container: the folder or zip that holds the files, else None.
        channels: 1 or 3 for files; None: to be found from the files themselves.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    parts: np.ndarray
    names: Sequence[str]
    images: np.ndarray | None = None
    container: Path | None = None
    channels: int | None = None


class Source(Protocol):
    name: str

    def fingerprint(self) -> str:
        """Text that changes whenever the images or their labels do; cheap to compute."""

    def listing(self) -> Listing:
        """Read or list the images.

        Raises:
            UserError: the data is not there, says what to put where.
        """

    def assign(
        self,
        names: Sequence[str],
        labels: np.ndarray,
        parts: np.ndarray,
        *,
        seed: int,
        test_fraction: float,
        val_fraction: float,
    ) -> np.ndarray:
        """Optional: the parts by a rule of the source's own, int8 `[N]`; rows in none of them are UNSPLIT."""
