"""Local descriptors: what they share, and gradients and colours on a dense grid. Those at key points: `orb`.

Each class is stateless and takes uint8 images `[N, C, H, W]`. One thread describes a chunk of images: OpenCV releases
the interpreter lock while it computes.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from sklearn.base import BaseEstimator

from seedbed.annotations import Few, Pixels
from seedbed.cpu import cores
from seedbed.errors import UserError

CHUNK = 32  # images: their distances to all visual words stay in the cache
CELLS, BINS = 2, 8  # HoG of 2 x 2 cells with 8 orientations: 32 numbers (the paper, section 1)
LAB_OFFSET, LAB_SPAN = np.float32([50, 0, 0]), np.float32([50, 100, 100])
cv2.setNumThreads(1)  # the chunks run in parallel


@dataclass(frozen=True)
class Descriptors:
    """Descriptors of `N` images, those of an image one after another.

    Attributes:
        values: float32 `[M, D]`.
        positions: float32 `[M, 2]`, x and y of each patch's centre, as shares of the image's side in `[0, 1)`.
        counts: int64 `[N]`, descriptors of each image; at least 1.
        found: bool `[N]`, whether they stand at key points; always true of a dense grid.
    """

    values: np.ndarray
    positions: np.ndarray
    counts: np.ndarray
    found: np.ndarray

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def images(self) -> np.ndarray:
        """int64 `[M]`: the image of each descriptor."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


class Descriptor(BaseEstimator):
    """Base of all descriptors: shares out chunks of images over the cores. A subclass has a `patch`."""

    def describe(self, images: np.ndarray) -> Descriptors:
        """uint8 `[N, C, H, W]` -> their descriptors.

        Raises:
            UserError: a patch is larger than the images.
        """
        chunks = [images[start : start + CHUNK] for start in range(0, len(images), CHUNK)]
        with ThreadPoolExecutor(cores()) as pool:
            parts = [vars(part).values() for part in pool.map(self.describe_chunk, chunks)]
        return Descriptors(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def describe_chunk(self, images: np.ndarray) -> Descriptors:
        """The same for a few images, in one thread."""
        raise NotImplementedError

    def _check_patch(self, size: int) -> None:
        if not 2 <= self.patch <= size or self.patch % CELLS:
            advice = f"choose an even number of 2 to {size}"
            raise UserError(f"features: a patch of {self.patch} pixels on images of {size}; {advice}")


class Dense(Descriptor):
    """Base of those that describe every patch of a regular grid; what a patch holds, a subclass says in `_values`.

    Args:
        patch: side of a patch in pixels, even.
        stride: distance of neighbouring patches.
    """

    def __init__(self, patch: Pixels = 8, stride: Pixels = 4):
        self.patch = patch
        self.stride = stride

    def describe_chunk(self, images: np.ndarray) -> Descriptors:
        """Describe a few images, row by row of the grid."""
        at_least(1, self, "stride")
        self._check_patch(min(images.shape[2:]))
        n, _, *sides = images.shape
        corners = [np.arange(0, side - self.patch + 1, self.stride) for side in sides]
        ys, xs = ((corner + self.patch / 2) / side for corner, side in zip(corners, sides, strict=True))
        grid = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2).astype(np.float32)
        values = np.stack(self._values(images, *corners)).reshape(n * len(grid), -1)
        return Descriptors(values, np.tile(grid, (n, 1)), np.full(n, len(grid)), np.ones(n, dtype=bool))

    def _values(self, images: np.ndarray, ys: np.ndarray, xs: np.ndarray) -> list[np.ndarray]:
        """Of each image, float32, the numbers of all patches one after another; `ys` and `xs` are their corners."""
        raise NotImplementedError


class DenseHog(Dense):
    """HoG of every patch of a regular grid.

    Args:
        patch, stride: as in `Dense`.
        bins: orientations of a cell.
        signed: tell dark-to-bright from bright-to-dark: the bins share out 360 degrees instead of 180.
    """

    def __init__(self, patch: Pixels = 12, stride: Pixels = 2, bins: Few = BINS, signed: bool = False):
        super().__init__(patch, stride)
        self.bins = bins
        self.signed = signed

    def _values(self, images: np.ndarray, ys: np.ndarray, xs: np.ndarray) -> list[np.ndarray]:
        at_least(1, self, "bins")
        descriptor = hog(self.patch, self.bins, self.signed)
        return [descriptor.compute(to_grey(image), winStride=(self.stride, self.stride)) for image in images]


class DenseColour(Dense):
    """Mean colour (CIE Lab, each channel in about [-1, 1]) of the 2 x 2 cells of every patch of a regular grid."""

    def _values(self, images: np.ndarray, ys: np.ndarray, xs: np.ndarray) -> list[np.ndarray]:
        if images.shape[1] != 3:
            raise UserError("features: colour visual words need colour images; leave features.visual_words.colour out")
        cell, values = self.patch // CELLS, []
        for image in images:
            lab = cv2.cvtColor(image.transpose(1, 2, 0).astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
            means = cv2.boxFilter((lab - LAB_OFFSET) / LAB_SPAN, -1, (cell, cell), anchor=(0, 0))
            cells = [means[np.ix_(ys + dy, xs + dx)] for dy in (0, cell) for dx in (0, cell)]
            values.append(np.concatenate(cells, -1))
        return values


def hog(side: int, bins: int = BINS, signed: bool = False) -> cv2.HOGDescriptor:
    """HoG of one square: 2 x 2 cells, one block; 4 * bins numbers of length 1 (0 on a flat patch)."""
    cell = side // CELLS
    window = (cell * CELLS, cell * CELLS)
    # The six between are OpenCV's defaults: aperture, sigma, L2-Hys, its threshold, gamma, levels.
    return cv2.HOGDescriptor(window, window, (cell, cell), (cell, cell), bins, 1, -1.0, 0, 0.2, True, 64, signed)


def to_grey(image: np.ndarray) -> np.ndarray:
    """uint8 `[C, H, W]` -> uint8 `[H, W]`."""
    if len(image) == 1:
        return np.ascontiguousarray(image[0])
    return cv2.cvtColor(image.transpose(1, 2, 0), cv2.COLOR_RGB2GRAY)


def resized(grey: np.ndarray, size: int | None) -> np.ndarray:
    """A grey image as a square of this side; None: as it is."""
    return grey if size in (None, grey.shape[0]) else cv2.resize(grey, (size, size), interpolation=cv2.INTER_LINEAR)


def at_least(low: int, estimator: Any, *names: str) -> None:
    """Raise UserError if one of these parameters is a number below `low`; None passes.

    Every estimator calls it when it begins: scikit-learn's constructors only store.
    """
    for name in names:
        value = getattr(estimator, name)
        if value is not None and value < low:
            raise UserError(f"features: {type(estimator).__name__}.{name}: expected a number >= {low}, got {value}")
