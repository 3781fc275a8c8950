"""From descriptors to one histogram an image, in batches."""

from __future__ import annotations

from typing import Literal

import numpy as np

from seedbed.features.descriptors import Descriptors
from seedbed.features.vocabulary import nearest_word, squared_distances

Assignment = Literal["hard", "soft"]
Norm = Literal["l1", "l2", "none"]


def soft_memberships(X: np.ndarray, words: np.ndarray) -> np.ndarray:
    """How much each descriptor belongs to each word, float32 `[M, K]`: max(0, mean distance - distance).

    Words nearer than the average count, the nearer the more (Coates, Lee and Ng, "An Analysis of Single-Layer Networks
    in Unsupervised Feature Learning", 2011, section 3.2.2).
    """
    distances = squared_distances(X, words)
    np.sqrt(distances, out=distances)
    np.subtract(distances.mean(1, keepdims=True), distances, out=distances)
    return np.maximum(distances, 0, out=distances)


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
        assignment: hard adds 1 to the nearest word; soft adds `soft_memberships`.
        levels: cells a side of each level; (1,) is one histogram of the whole image.
        power: each count to this power, before the norm; 1 changes nothing.
        norm: of each image's whole vector.

    Returns:
        float32 `[N, K * sum of levels squared]`; cells of a level row by row, words within a cell.
    """
    n, k = len(descriptors), len(words)
    out = np.empty((n, sum(level**2 for level in levels), k), np.float32)
    hard = assignment == "hard"
    amounts = nearest_word(descriptors.values, words) if hard else soft_memberships(descriptors.values, words)
    images, at = descriptors.images, 0
    for level in levels:
        place = np.minimum((descriptors.positions * level).astype(int), level - 1)
        cell = place[:, 1] * level + place[:, 0]
        own = out[:, at : at + level**2]
        if hard:
            address = (images * level**2 + cell) * k + amounts
            own[:] = np.bincount(address, minlength=own.size).reshape(own.shape)
        else:
            _pool(amounts, images, cell, descriptors.counts, own)
        at += level**2
    out = out.reshape(n, -1)
    if power != 1:
        np.power(out, power, out=out)
    if norm != "none":
        length = out.sum(1) if norm == "l1" else np.sqrt(np.einsum("ij,ij->i", out, out))
        out /= np.maximum(length, 1e-12)[:, None]
    return out


def _pool(amounts: np.ndarray, images: np.ndarray, cell: np.ndarray, counts: np.ndarray, out: np.ndarray) -> None:
    """Sum float32 `[M, K]` over the descriptors of each image and cell into `out` `[N, cells, K]`."""
    n, cells, _ = out.shape
    count = int(counts[0]) if n else 0
    if (counts == count).all() and (cell.reshape(n, -1) == cell[:count]).all():
        # One grid for all images: pooling is a product with a matrix of zeros and ones.
        pool = (cell[:count] == np.arange(cells)[:, None]).astype(np.float32)
        np.matmul(pool, amounts.reshape(n, count, -1), out=out)
    else:
        out[:] = 0
        np.add.at(out, (images, cell), amounts)
