"""What travels between the modules: plain dataclasses."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Split:
    """Rows of an image array that belong together.

    Attributes:
        images: uint8 `[M, C, H, W]`, shared by all splits of a data set, usually a memory map.
        labels: int64 `[M]`.
        index: int64 `[N]`, the rows of this split.
    """

    images: np.ndarray
    labels: np.ndarray
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Some images of this split, gathered: the split stands for an array `[N, C, H, W]` that is never made."""
        return self.images[self.index[rows]]

    @property
    def targets(self) -> np.ndarray:
        """int64 `[N]`: the labels of this split, in its order."""
        return self.labels[self.index]


@dataclass(frozen=True)
class ImageData:
    """A data set, decoded and split.

    Attributes:
        train, val, test: the three splits; each label indexes `classes`.
        classes: class names in label order.
        names: one name an image (its path in the source), row by row of `train.images`.
        fingerprint: changes with the classes, the images' names and labels, and the splits.
        store: changes with the images' content and size.
        pixels: changes with the images' size and the pixels of some.
        skipped: unreadable images that were left out, as `name: reason`.
        bits: those that images of 16 bits really have; None without such images.
        reading: lines for the user on how the source was read: classes, splits, what was left out.
    """

    train: Split
    val: Split
    test: Split
    classes: tuple[str, ...]
    names: Sequence[str]
    fingerprint: str
    store: str
    pixels: str = ""
    skipped: tuple[str, ...] = ()
    reading: tuple[str, ...] = ()
    bits: int | None = None

    @property
    def channels(self) -> int:
        """Of the images: 1 or 3."""
        return self.train.images.shape[1]

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by their names in messages."""
        return {"training": self.train, "validation": self.val, "test": self.test}


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        status: finished, failed or interrupted.
        folder: the run folder, "" where there is none.
        metrics: what result.json holds, of a finished run.
        error: of a failed one.
        signal: number of the signal that interrupted it.
    """

    status: str
    folder: str
    metrics: dict
    error: str | None = None
    signal: int | None = None
