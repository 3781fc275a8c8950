"""Vocabularies: k-means finds the visual words that descriptors are counted as."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.utils.validation import validate_data

from seedbed.annotations import Count, Seed, Width
from seedbed.features.descriptors import at_least
from seedbed.features.parts import parts_of


class Vocabulary(BaseEstimator):
    """Base of the two: visual words are the centres that a subclass finds in `_centres(X, images)`.

    Attributes:
        words_: float32 `[K, D]`; fewer than asked for where fewer descriptors are distinct.
    """

    def fit(self, X: np.ndarray, y: None = None, images: np.ndarray | None = None) -> Vocabulary:
        """Learn the visual words.

        Args:
            X: float32 `[M, D]`, descriptors.
            images: int `[M]`, ascending, the image of each descriptor; None: each is an image of its own.
        """
        at_least(0, self, "random_state")
        X = validate_data(self, X, dtype=np.float32)
        centres = self._centres(X, np.arange(len(X)) if images is None else images)
        self.words_ = distinct(centres)
        return self


class SampledKMeans(Vocabulary):
    """Mini-batch k-means on descriptors, all at once.

    Args:
        words: number of centres.
        random_state: seed.
    """

    def __init__(self, words: Width = 256, random_state: Seed | None = 0):
        self.words = words
        self.random_state = random_state

    def _centres(self, X: np.ndarray, images: np.ndarray) -> np.ndarray:
        at_least(1, self, "words")
        words = min(self.words, len(np.unique(X, axis=0)))
        means = MiniBatchKMeans(words, batch_size=4096, n_init=1, max_iter=20, random_state=self.random_state)
        return means.fit(X).cluster_centers_


class IncrementalKMeans(Vocabulary):
    """The paper's vocabulary: every batch of images is clustered by itself, and its centres join (section 1).

    Args:
        words: the vocabulary's size; what joins beyond it is left out.
        words_a_batch: centres of each batch.
        batch: images a batch.
        random_state: seed.
    """

    def __init__(
        self, words: Width = 1500, words_a_batch: Width = 10, batch: Count = 200, random_state: Seed | None = 0
    ):
        self.words = words
        self.words_a_batch = words_a_batch
        self.batch = batch
        self.random_state = random_state

    def fit_batches(self, batches: Iterable[np.ndarray]) -> IncrementalKMeans:
        """Learn from the descriptors of one batch of images after another, float32 `[M, D]`, until it is full."""
        at_least(0, self, "random_state")
        self.words_ = distinct(self._join(validate_data(self, X, dtype=np.float32) for X in batches))
        return self

    def _centres(self, X: np.ndarray, images: np.ndarray) -> np.ndarray:
        at_least(1, self, "batch")
        ends = (np.searchsorted(images, (rows.start, rows.stop)) for rows in parts_of(int(images[-1]) + 1, self.batch))
        return self._join(X[low:high] for low, high in ends if low < high)

    def _join(self, batches: Iterable[np.ndarray]) -> np.ndarray:
        at_least(1, self, "words", "words_a_batch")
        joined, room = [], self.words
        for X in batches:
            centres = min(self.words_a_batch, len(np.unique(X, axis=0)), room)
            means = KMeans(centres, n_init=1, random_state=self.random_state)
            joined.append(means.fit(X).cluster_centers_)
            room -= centres
            if not room:
                break
        return np.concatenate(joined)


def distinct(centres: np.ndarray) -> np.ndarray:
    """Visual words of centres: float32, each once, in ascending order."""
    return np.unique(centres.astype(np.float32), axis=0)
