"""Vocabularies: the words that descriptors are counted as."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.utils.validation import check_is_fitted, validate_data

from seedbed.features.limits import at_least


class Vocabulary(ClusterMixin, BaseEstimator):
    """Words are the centres of descriptors.

    Attributes:
        words_: float32 `[K, D]`; fewer than asked for where there are fewer distinct descriptors.
        labels_: int64 `[M]`, the nearest word of each descriptor that it was fitted on.
    """

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Index of the nearest word, int64 `[M]`."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float32)
        return nearest_word(X, self.words_)

    def _keep(self, X: np.ndarray, words: np.ndarray) -> Vocabulary:
        self.words_ = np.unique(words.astype(np.float32), axis=0)
        self.labels_ = nearest_word(X, self.words_)
        return self


class SampledKMeans(Vocabulary):
    """Mini-batch k-means on descriptors, all at once.

    Args:
        words: number of centres.
        random_state: seed.
    """

    def __init__(self, words: int = 256, random_state: int | None = 0):
        self.words = words
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: None = None) -> SampledKMeans:
        """Args: X: `[M, D]`."""
        at_least(1, self, "words")
        at_least(0, self, "random_state")
        X = validate_data(self, X, dtype=np.float32)
        words = min(self.words, len(np.unique(X, axis=0)))
        means = MiniBatchKMeans(words, batch_size=4096, n_init=1, max_iter=20, random_state=self.random_state)
        return self._keep(X, means.fit(X).cluster_centers_)


class IncrementalKMeans(Vocabulary):
    """The report's vocabulary: every batch of images is clustered by itself, and its centres join (section 1).

    Args:
        words: the vocabulary's size; what joins beyond it is left out.
        words_a_batch: centres of each batch.
        batch: images a batch.
        random_state: seed.
    """

    def __init__(self, words: int = 1500, words_a_batch: int = 10, batch: int = 200, random_state: int | None = 0):
        self.words = words
        self.words_a_batch = words_a_batch
        self.batch = batch
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: None = None, images: np.ndarray | None = None) -> IncrementalKMeans:
        """Args:
        X: `[M, D]`.
        images: int `[M]`, ascending, the image of each descriptor; None: each is an image of its own.
        """
        at_least(1, self, "words", "words_a_batch", "batch")
        at_least(0, self, "random_state")
        X = validate_data(self, X, dtype=np.float32)
        images = np.arange(len(X)) if images is None else images
        joined, count = [], 0
        for start in range(0, int(images[-1]) + 1, self.batch):
            lo, hi = np.searchsorted(images, (start, start + self.batch))
            if lo == hi or count >= self.words:
                continue
            own = X[lo:hi]
            centres = min(self.words_a_batch, len(np.unique(own, axis=0)), self.words - count)
            joined.append(KMeans(centres, n_init=1, random_state=self.random_state).fit(own).cluster_centers_)
            count += centres
        return self._keep(X, np.concatenate(joined))


def squared_distances(X: np.ndarray, words: np.ndarray) -> np.ndarray:
    """float32 `[M, D]` and `[K, D]` -> `[M, K]`, by one matrix product; never below 0."""
    squares = X @ (-2 * words.T)
    squares += np.einsum("ij,ij->i", X, X)[:, None]
    squares += np.einsum("ij,ij->i", words, words)
    return np.maximum(squares, 0, out=squares)


def nearest_word(X: np.ndarray, words: np.ndarray, chunk: int = 65_536) -> np.ndarray:
    """int64 `[M]`: by squared distances, but for each descriptor's own length, which changes no order."""
    lengths, turned = np.einsum("ij,ij->i", words, words), -2 * words.T
    parts = []
    for start in range(0, len(X), chunk):
        distances = X[start : start + chunk] @ turned
        distances += lengths
        parts.append(distances.argmin(1))
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
