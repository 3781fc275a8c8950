"""Local descriptors: what they share, and those on a dense grid, gradients and colours. Those at key points: `orb`.

Each class is stateless and takes uint8 images `[N, C, H, W]`; a chunk of images is the work of one thread (OpenCV
frees the interpreter while it computes).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from sklearn.base import BaseEstimator

from seedbed.errors import UserError
from seedbed.features.limits import at_least

CHUNK = 32  # images: their distances to all words stay in the cache
CELLS, BINS = 2, 8  # HoG of 2 x 2 cells with 8 orientations: 32 numbers (report, section 1)
cv2.setNumThreads(1)  # the chunks are what runs in parallel


@dataclass(frozen=True)
class Descriptors:
    """Descriptors of `N` images, those of an image one after another.

    Attributes:
        values: float32 `[M, D]`.
        positions: float32 `[M, 2]`, x and y of each patch's centre, as shares of the image's side in `[0, 1)`.
        counts: int64 `[N]`, descriptors of each image; at least 1.
        found: bool `[N]`, whether they stand at key points; a dense grid always is.
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


def join(parts: list[Descriptors]) -> Descriptors:
    return Descriptors(*(np.concatenate([getattr(p, f) for p in parts]) for f in Descriptors.__dataclass_fields__))


class Descriptor(BaseEstimator):
    """What the descriptors share: chunks of images over the cores."""

    def describe(self, images: np.ndarray) -> Descriptors:
        """uint8 `[N, C, H, W]` -> their descriptors.

        Raises:
            UserError: a patch is larger than the images.
        """
        chunks = [images[start : start + CHUNK] for start in range(0, len(images), CHUNK)]
        with ThreadPoolExecutor(cores()) as pool:
            return join(list(pool.map(self.describe_chunk, chunks)))

    def _refuse(self, shape: tuple[int, ...]) -> None:
        at_least(1, self, "stride")
        self._refuse_patch(min(shape[2:]))

    def _refuse_patch(self, size: int) -> None:
        if not 2 <= self.patch <= size or self.patch % CELLS:
            raise UserError(
                f"features: a patch of {self.patch} pixels on images of {size}; choose an even number of 2 to {size}"
            )

    def describe_chunk(self, images: np.ndarray) -> Descriptors:
        """The same for a few images, in one thread."""
        raise NotImplementedError


class DenseHog(Descriptor):
    """HoG of every patch of a regular grid.

    Args:
        patch: side of a patch in pixels, even.
        stride: distance of neighbouring patches.
        bins: orientations of a cell.
        signed: tell dark-to-bright from bright-to-dark: the bins share out 360 degrees instead of 180.
    """

    def __init__(self, patch: int = 12, stride: int = 2, bins: int = BINS, signed: bool = False):
        self.patch = patch
        self.stride = stride
        self.bins = bins
        self.signed = signed

    def _refuse(self, shape: tuple[int, ...]) -> None:
        at_least(1, self, "bins")
        super()._refuse(shape)

    def describe_chunk(self, images: np.ndarray) -> Descriptors:
        self._refuse(images.shape)
        describe, stride = hog(self.patch, self.bins, self.signed), (self.stride, self.stride)
        values = np.stack([describe.compute(to_grey(image), winStride=stride) for image in images])
        return on_grid(values, images.shape, self.patch, self.stride)


class DenseColour(Descriptor):
    """Mean colour (CIE Lab, each channel in about [-1, 1]) of the 2 x 2 cells of every patch of a regular grid.

    Args:
        patch: side of a patch in pixels, even.
        stride: distance of neighbouring patches.
    """

    def __init__(self, patch: int = 8, stride: int = 4):
        self.patch = patch
        self.stride = stride

    def _refuse(self, shape: tuple[int, ...]) -> None:
        super()._refuse(shape)
        if shape[1] != 3:
            raise UserError("features: colour words need colour images; leave features.visual_words.colour out")

    def describe_chunk(self, images: np.ndarray) -> Descriptors:
        self._refuse(images.shape)
        cell = self.patch // CELLS
        values = []
        for image in images:
            lab = cv2.cvtColor(image.transpose(1, 2, 0).astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
            lab = (lab - (50, 0, 0)).astype(np.float32) / (50, 100, 100)
            means = cv2.boxFilter(lab.astype(np.float32), -1, (cell, cell), anchor=(0, 0))
            steps = np.arange(0, image.shape[-1] - self.patch + 1, self.stride)
            corners = [means[np.ix_(steps + dy, steps + dx)] for dy in (0, cell) for dx in (0, cell)]
            values.append(np.concatenate(corners, -1))
        return on_grid(np.stack(values), images.shape, self.patch, self.stride)


def on_grid(values: np.ndarray, shape: tuple[int, ...], patch: int, stride: int) -> Descriptors:
    """Values of all patches, image by image and row by row, with their places on the grid."""
    n, _, height, width = shape
    ys, xs = ((np.arange(0, side - patch + 1, stride) + patch / 2) / side for side in (height, width))
    grid = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2).astype(np.float32)
    values = values.reshape(n * len(grid), -1).astype(np.float32)
    return Descriptors(values, np.tile(grid, (n, 1)), np.full(n, len(grid)), np.ones(n, dtype=bool))


def hog(side: int, bins: int = BINS, signed: bool = False) -> cv2.HOGDescriptor:
    """HoG of one square: 2 x 2 cells, one block; 4 * bins numbers of length 1 (0 on a flat patch)."""
    cell = side // CELLS
    window = (cell * CELLS, cell * CELLS)
    # The six between are OpenCV's defaults: aperture, sigma, L2-Hys, its threshold, gamma, levels.
    return cv2.HOGDescriptor(window, window, (cell, cell), (cell, cell), bins, 1, -1.0, 0, 0.2, True, 64, signed)


def to_grey(image: np.ndarray) -> np.ndarray:
    """uint8 `[C, H, W]` -> uint8 `[H, W]`."""
    return (
        np.ascontiguousarray(image[0])
        if len(image) == 1
        else cv2.cvtColor(image.transpose(1, 2, 0), cv2.COLOR_RGB2GRAY)
    )


def resized(grey: np.ndarray, size: int | None) -> np.ndarray:
    return grey if size in (None, grey.shape[0]) else cv2.resize(grey, (size, size), interpolation=cv2.INTER_LINEAR)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
