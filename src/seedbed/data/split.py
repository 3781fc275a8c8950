"""Stratified choices of rows: each class keeps its share."""

from __future__ import annotations

import numpy as np


def stratified_choice(
    labels: np.ndarray, index: np.ndarray, n: int, rng: np.random.Generator, leave: int = 0
) -> np.ndarray:
    """Choose `n` of the rows `index`, every class in proportion (largest remainders; at random where they tie).

    Args:
        labels: int64 `[M]`, the labels of all rows.
        index: int64 `[N]`, the rows to choose from.
        leave: rows of each class that are not to be chosen as long as others have some to spare.

    Returns:
        int64 `[min(n, N)]`, in ascending order.
    """
    if n >= len(index):
        return np.sort(index)
    own = labels[index]
    shares = np.bincount(own) * (n / len(index))
    take = np.floor(shares).astype(int)
    order = np.lexsort((rng.random(len(shares)), -(shares - take)))
    take[order[: n - take.sum()]] += 1
    take = _spared(take, np.bincount(own), order, leave)
    chosen = [rng.permutation(index[own == label])[:count] for label, count in enumerate(take) if count]
    return np.sort(np.concatenate(chosen)) if chosen else index[:0]


def _spared(take: np.ndarray, rows: np.ndarray, order: np.ndarray, leave: int) -> np.ndarray:
    """The same number in all, taken from classes that have rows to spare, the first in `order` before others."""
    kept = np.minimum(take, np.maximum(rows - leave, 0))
    short = take.sum() - kept.sum()
    for left in (leave, 0):
        while short and (room := kept < rows - left).any():
            more = order[room[order]][:short]
            kept[more] += 1
            short -= len(more)
    return kept


def stratified_split(
    labels: np.ndarray, index: np.ndarray, fraction: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Split the rows `index` into (rest, part), with `fraction` of each class, and of all, in `part`.

    At least one row lies on each side where there are two, and no class lies in `part` alone where that can be.
    """
    n = len(index)
    size = min(max(round(n * fraction), 1), n - 1) if n > 1 and fraction > 0 else 0
    part = stratified_choice(labels, index, size, rng, leave=1)
    return np.setdiff1d(index, part, assume_unique=True), part
