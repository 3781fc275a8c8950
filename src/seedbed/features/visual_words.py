"""Bags of visual words: images to histograms over a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import ThreadpoolController

from seedbed.errors import UserError
from seedbed.features.descriptors import CHUNK, Descriptor, Descriptors, cores
from seedbed.features.encoding import Assignment, Norm, encode
from seedbed.features.limits import at_least
from seedbed.features.vocabulary import IncrementalKMeans, Vocabulary

THREADS = ThreadpoolController()


class BagOfVisualWords(TransformerMixin, BaseEstimator):
    """Describes images, learns words from some of them, and counts the words over a spatial pyramid.

    Args:
        descriptor: what is described.
        vocabulary: how words are found.
        assignment: hard counts the nearest word; soft all that are nearer than the average.
        levels: cells a side of each level of the pyramid.
        power: exponent of the counts.
        norm: of an image's vector.
        images: drawn at random to learn the words from; None: all.
        sample: descriptors drawn at random from theirs; None: all.
        random_state: seed of both draws.

    Attributes:
        words_: float32 `[K, D]`.
        n_features_: K times the number of cells.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        vocabulary: Vocabulary,
        assignment: Assignment = "soft",
        levels: Sequence[int] = (1,),
        power: float = 0.5,
        norm: Norm = "l2",
        images: int | None = 3000,
        sample: int | None = 60_000,
        random_state: int | None = 0,
    ):
        self.descriptor = descriptor
        self.vocabulary = vocabulary
        self.assignment = assignment
        self.levels = levels
        self.power = power
        self.norm = norm
        self.images = images
        self.sample = sample
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: None = None) -> BagOfVisualWords:
        """Args: X: uint8 `[N, C, H, W]`.

        Raises:
            UserError: impossible levels or power, or a patch larger than the images.
        """
        if not self.levels or min(self.levels) < 1 or self.power <= 0:
            raise UserError(
                f"features: expected levels of at least one cell and a positive power, got levels {list(self.levels)} "
                f"and power {self.power}"
            )
        at_least(1, self, "images", "sample")
        at_least(0, self, "random_state")
        rng = np.random.default_rng(self.random_state)
        rows = _some(rng, len(X), self.images)
        found = self.descriptor.describe(X[rows])
        drawn = _some(rng, len(found.values), self.sample)
        vocabulary = clone(self.vocabulary)
        extra = {"images": found.images[drawn]} if isinstance(vocabulary, IncrementalKMeans) else {}
        # One thread, so that the words do not depend on the number of cores.
        with THREADS.limit(limits=1):
            return self._keep(vocabulary.fit(found.values[drawn], **extra).words_)

    def _keep(self, words: np.ndarray) -> BagOfVisualWords:
        self.words_ = words
        self.n_features_ = len(words) * sum(level**2 for level in self.levels)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """uint8 `[N, C, H, W]` -> float32 `[N, n_features_]`."""
        return self.histograms(X)[0]

    def histograms(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What `transform` gives, and bool `[N]`: which images have key points."""
        check_is_fitted(self)
        out = np.empty((len(X), self.n_features_), np.float32)
        found = np.empty(len(X), dtype=bool)

        def chunk(start: int) -> None:
            stop = min(start + CHUNK, len(X))
            described = self.descriptor.describe_chunk(X[start:stop])
            out[start:stop] = self.encode(described)
            found[start:stop] = described.found

        # One chunk a core, from pixels to histograms: the descriptors of all images never exist at once. The matrix
        # products' own threads would fight these.
        with THREADS.limit(limits=1, user_api="blas"), ThreadPoolExecutor(cores()) as pool:
            list(pool.map(chunk, range(0, len(X), CHUNK)))
        return out, found

    def encode(self, descriptors: Descriptors) -> np.ndarray:
        """Descriptors of N images -> float32 `[N, n_features_]`.

        Raises:
            UserError: the words are not words of such descriptors.
        """
        if self.words_.ndim != 2 or self.words_.shape[1] != descriptors.values.shape[1]:
            raise UserError(
                f"features: words of shape {self.words_.shape} for descriptors of {descriptors.values.shape[1]} numbers"
            )
        return encode(descriptors, self.words_, self.assignment, tuple(self.levels), self.power, self.norm)


def _some(rng: np.random.Generator, n: int, wanted: int | None) -> np.ndarray:
    """Indices of all, or of so many drawn at random, ascending."""
    return np.arange(n) if wanted is None or wanted >= n else np.sort(rng.choice(n, wanted, replace=False))
