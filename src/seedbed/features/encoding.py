"""From descriptors to one histogram an image, in batches."""

from __future__ import annotations

from typing import Literal

import numpy as np

from seedbed.features.descriptors import Descriptors
from seedbed.features.vocabulary import squared_distances

Assignment = Literal["hard", "soft"]
Norm = Literal["l1", "l2", "none"]


def memberships(X: np.ndarray, words: np.ndarray, assignment: Assignment) -> np.ndarray:
    """How much each descriptor belongs to each word, float32 `[M, K]`.

    hard: 1 for the nearest word. soft: the triangle, max(0, mean distance - distance): words nearer than the average
    count, the nearer the more (Coates, Lee and Ng, "An Analysis of Single-Layer Networks in Unsupervised Feature
    Learning", 2011, section 3.2.2).
    """
    distances = squared_distances(X, words)
    if assignment == "hard":
        out = np.zeros_like(distances)
        out[np.arange(len(X)), distances.argmin(1)] = 1
        return out
    np.sqrt(distances, out=distances)
    return np.maximum(distances.mean(1, keepdims=True) - distances, 0, out=distances)


def encode(
    descriptors: Descriptors,
    words: np.ndarray,
    assignment: Assignment,
    levels: tuple[int, ...],
    power: float,
    norm: Norm,
) -> np.ndarray:
    """Histograms of words over the cells of a spatial pyramid.

    Args:
        words: float32 `[K, D]`.
        levels: cells a side of each level; (1,) is one histogram of the whole image.
        power: each count to this power, before the norm; 1 changes nothing.
        norm: of each image's whole vector.

    Returns:
        float32 `[N, K * sum of levels squared]`; cells of a level row by row, words within a cell.
    """
    n, cells = len(descriptors), sum(level**2 for level in levels)
    amounts = memberships(descriptors.values, words, assignment)
    out = np.empty((n, cells, len(words)), np.float32)
    same = len(set(descriptors.counts.tolist())) == 1
    at = 0
    for level in levels:
        place = np.minimum((descriptors.positions * level).astype(int), level - 1)
        cell = place[:, 1] * level + place[:, 0]
        own = out[:, at : at + level**2]
        count = int(descriptors.counts[0]) if n else 0
        if same and (cell.reshape(n, count) == cell[:count]).all():
            # One grid for all images: pooling is a product with a matrix of zeros and ones.
            pool = (cell[:count] == np.arange(level**2)[:, None]).astype(np.float32)
            np.matmul(pool, amounts.reshape(n, count, -1), out=own)
        else:
            own[:] = 0
            np.add.at(own, (descriptors.images, cell), amounts)
        at += level**2
    out = out.reshape(n, -1)
    if power != 1:
        np.power(out, power, out=out)
    if norm != "none":
        length = np.abs(out).sum(1) if norm == "l1" else np.sqrt((out**2).sum(1))
        out /= np.maximum(length, 1e-12)[:, None]
    return out
