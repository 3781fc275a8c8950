"""Bags of visual words: images to histograms over a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Literal

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import ThreadpoolController

from seedbed.annotations import Count, Few, Range, Seed
from seedbed.cpu import cores
from seedbed.errors import UserError
from seedbed.features.descriptors import CHUNK, Descriptor, Descriptors, at_least
from seedbed.features.parts import in_memory, parts_of
from seedbed.features.vocabulary import IncrementalKMeans, Vocabulary
from seedbed.types import Split

Assignment = Literal["hard", "soft"]
Norm = Literal["l1", "l2", "none"]
Power = Annotated[float, Range(0, 10, "(")]
THREADS = ThreadpoolController()


class BagOfVisualWords(TransformerMixin, BaseEstimator):
    """Describes images, learns visual words from some of them, and counts the words over a spatial pyramid.

    Args:
        descriptor: what is described.
        vocabulary: how visual words are learned.
        assignment: hard adds 1 to the nearest word; soft adds `soft_memberships`.
        levels: cells a side of each level of the pyramid; (1,) is one histogram of the whole image.
        power: each count to this power, before the norm; 1 changes nothing.
        norm: of each image's whole vector.
        images: drawn at random to learn the words from; None: all.
        sample: descriptors drawn at random from theirs; None: all.
        random_state: seed of both draws.

    Attributes:
        words_: float32 `[K, D]`.
        n_features_: K times the number of cells.
    """

    def __init__(
        self, descriptor: Descriptor, vocabulary: Vocabulary, assignment: Assignment = "soft",
        levels: Sequence[Few] = (1,), power: Power = 0.5, norm: Norm = "l2", images: Count | None = 3000,
        sample: Count | None = 60_000, random_state: Seed | None = 0,
    ):  # fmt: skip
        self.descriptor = descriptor
        self.vocabulary = vocabulary
        self.assignment = assignment
        self.levels = levels
        self.power = power
        self.norm = norm
        self.images = images
        self.sample = sample
        self.random_state = random_state

    def fit(self, X: np.ndarray | Split, y: None = None) -> BagOfVisualWords:
        """Learn the visual words from uint8 `[N, C, H, W]`.

        The descriptors of the drawn images are in memory at once, unless the vocabulary learns batch by batch and
        `sample` is None.

        Raises:
            UserError: impossible levels or power, or a patch larger than the images.
        """
        if not self.levels or min(self.levels) < 1 or self.power <= 0:
            got = f"levels {list(self.levels)} and power {self.power}"
            raise UserError(f"features: expected levels of at least one cell and a positive power, got {got}")
        at_least(1, self, "images", "sample")
        at_least(0, self, "random_state")
        rng = np.random.default_rng(self.random_state)
        drawn, vocabulary = _draw(rng, len(X), self.images), clone(self.vocabulary)
        # One thread, so that the words do not depend on the number of cores.
        with THREADS.limit(limits=1):
            if self.sample is None and isinstance(vocabulary, IncrementalKMeans):
                at_least(1, vocabulary, "batch")
                parts = parts_of(len(drawn), vocabulary.batch)
                vocabulary.fit_batches(self.descriptor.describe(X[drawn[part]]).values for part in parts)
            else:
                described = self.descriptor.describe(X[drawn])
                rows = _draw(rng, len(described.values), self.sample)
                vocabulary.fit(described.values[rows], images=described.images[rows])
        return self.restore(vocabulary.words_)

    def restore(self, words: np.ndarray) -> BagOfVisualWords:
        """Take over the visual words, float32 `[K, D]`, that another bag of the same arguments has learned."""
        self.words_ = words
        self.n_features_ = len(words) * sum(level**2 for level in self.levels)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """uint8 `[N, C, H, W]` -> float32 `[N, n_features_]`."""
        return self.histograms(X)[0]

    def histograms(
        self, X: np.ndarray | Split, rows: slice = slice(None), out: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """What `transform` gives for these rows, in `out` if given, and bool `[N]`: which images have key points."""
        check_is_fitted(self)
        first, end, _ = rows.indices(len(X))
        n = end - first
        histograms, found = in_memory((n, self.n_features_)) if out is None else out, np.empty(n, dtype=bool)

        def fill(chunk: slice) -> None:
            described = self.descriptor.describe_chunk(X[first + chunk.start : first + chunk.stop])
            histograms[chunk], found[chunk] = self.encode(described), described.found

        # One chunk a core, from pixels to histograms: the descriptors of all images never exist at once. The matrix
        # products' own threads would fight these.
        with THREADS.limit(limits=1, user_api="blas"), ThreadPoolExecutor(cores()) as pool:
            list(pool.map(fill, parts_of(n, CHUNK)))
        return histograms, found

    def encode(self, described: Descriptors) -> np.ndarray:
        """Descriptors of N images -> float32 `[N, n_features_]`: level by level, cells row by row, words within a cell.

        Raises:
            UserError: the visual words are not those of such descriptors.
        """
        values, images, (n, k) = described.values, described.images, (len(described), len(self.words_))
        if self.words_.shape[1:] != values.shape[1:]:
            shape, numbers = self.words_.shape, values.shape[1]
            raise UserError(f"features: visual words of shape {shape} for descriptors of {numbers} numbers")
        hard = self.assignment == "hard"
        amounts = nearest_word(values, self.words_) if hard else soft_memberships(values, self.words_)
        out, first = np.empty((n, self.n_features_ // k, k), np.float32), 0
        for level in self.levels:
            column, row = np.minimum((described.positions * level).astype(int), level - 1).T
            cell = row * level + column
            pooled = out[:, first : first + level**2]
            if hard:
                address = (images * level**2 + cell) * k + amounts
                pooled[:] = np.bincount(address, minlength=pooled.size).reshape(pooled.shape)
            else:
                _pool(amounts, images, cell, described.counts, pooled)
            first += level**2
        out = out.reshape(n, -1)
        if self.power != 1:
            np.power(out, self.power, out=out)
        if self.norm != "none":
            length = out.sum(1) if self.norm == "l1" else np.sqrt(np.einsum("ij,ij->i", out, out))
            out /= np.maximum(length, 1e-12)[:, None]
        return out


def nearest_word(X: np.ndarray, words: np.ndarray) -> np.ndarray:
    """int64 `[M]`: by squared distances without each descriptor's own length, which changes no order."""
    distances = X @ (-2 * words.T)
    distances += np.einsum("ij,ij->i", words, words)
    return distances.argmin(1)


def soft_memberships(X: np.ndarray, words: np.ndarray) -> np.ndarray:
    """How much each descriptor belongs to each word, float32 `[M, K]`: max(0, mean distance - distance).

    Words nearer than the average count, the nearer the more (Coates, Lee and Ng, "An Analysis of Single-Layer Networks
    in Unsupervised Feature Learning", 2011, section 3.2.2).
    """
    distances = X @ (-2 * words.T)  # squared, by one matrix product; in place, since they are many
    distances += np.einsum("ij,ij->i", X, X)[:, None]
    distances += np.einsum("ij,ij->i", words, words)
    np.sqrt(np.maximum(distances, 0, out=distances), out=distances)
    np.subtract(distances.mean(1, keepdims=True), distances, out=distances)
    return np.maximum(distances, 0, out=distances)


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


def _draw(rng: np.random.Generator, n: int, wanted: int | None) -> np.ndarray:
    """Indices of all, or of so many drawn at random, ascending."""
    return np.arange(n) if wanted is None or wanted >= n else np.sort(rng.choice(n, wanted, replace=False))
