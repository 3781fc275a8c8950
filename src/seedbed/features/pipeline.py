"""The whole way from images to the MLP's input: visual words, selection, scaling; and back from a file of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from seedbed.errors import UserError
from seedbed.features.parts import Allocate, in_memory, parts_of
from seedbed.features.selection import ForestSelection
from seedbed.features.visual_words import BagOfVisualWords
from seedbed.types import Split

BLOCK = 1024


class FeaturePipeline(TransformerMixin, BaseEstimator):
    """Histograms of one or more bags of visual words, the columns that a forest keeps, scaled.

    Where a method takes images, a `Split` stands for its own, gathered a few at a time. `allocate` makes the large
    arrays: in memory, or with `parts.in_files` on the disk, so that memory does not grow with the number of images.

    Args:
        visual_words: name -> bag of visual words; their histograms are laid side by side.
        selection: None keeps every column.
        scaling: standard: mean 0 and variance 1 on the training images; minmax: to [0, 1] there.

    Attributes:
        bags_: the fitted bags, by name.
        kept_: int64 `[F]`, the selected columns.
        offset_, factor_: float32 `[F]`; a feature becomes (x - offset) * factor.
        found_: bool `[N]`, which of the images it was fitted on have key points in every bag that looks for them.
        importances_: float64, those of the first forest for every column, or None.
    """

    def __init__(
        self, visual_words: Mapping[str, BagOfVisualWords], selection: ForestSelection | None = None,
        scaling: Literal["standard", "minmax"] = "standard",
    ):  # fmt: skip
        self.visual_words = visual_words
        self.selection = selection
        self.scaling = scaling

    def fit(self, X: np.ndarray, y: np.ndarray) -> FeaturePipeline:
        """Learn from uint8 `[N, C, H, W]`, training images only, and their labels `[N]`."""
        self.fit_transform(X, y)
        return self

    def fit_transform(self, X: np.ndarray | Split, y: np.ndarray, allocate: Allocate = in_memory) -> np.ndarray:
        """Fit, and return float32 `[N, F]`: what `transform` would give for the same images."""
        if not self.visual_words:
            raise UserError("features.visual_words: expected at least one bag of visual words")
        self.bags_ = {name: clone(bag).fit(X) for name, bag in self.visual_words.items()}
        columns = allocate((len(X), sum(bag.n_features_ for bag in self.bags_.values())))
        self.found_ = self._histograms(X, slice(None), columns)
        self.importances_, self.kept_ = None, np.arange(columns.shape[1])
        if self.selection is not None:
            selection = clone(self.selection).fit(columns, y, allocate)
            self.kept_, self.importances_ = selection.kept_, selection.importances_
            every, columns = columns, allocate((len(X), len(self.kept_)))
            for rows in parts_of(len(X)):
                np.take(every[rows], self.kept_, axis=1, out=columns[rows])
            del every
        standard = self.scaling == "standard"
        offset, spread = mean_and_deviation(columns) if standard else (columns.min(0), np.ptp(columns, 0))
        # A feature that never varies stays at 0.
        factor = np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-6), 0)
        self.offset_, self.factor_ = offset.astype(np.float32), factor.astype(np.float32)
        for rows in parts_of(len(X)):
            self._scale(columns[rows])
        return columns

    def transform(self, X: np.ndarray | Split, allocate: Allocate = in_memory) -> np.ndarray:
        """uint8 `[N, C, H, W]` -> float32 `[N, F]`, finite."""
        return self.transform_with_found(X, allocate)[0]

    def transform_with_found(
        self, X: np.ndarray | Split, allocate: Allocate = in_memory
    ) -> tuple[np.ndarray, np.ndarray]:
        """What `transform` gives, and bool `[N]`: which images have key points."""
        check_is_fitted(self, "kept_")
        features, found = allocate((len(X), len(self.kept_))), np.empty(len(X), dtype=bool)
        width = sum(bag.n_features_ for bag in self.bags_.values())
        for rows in parts_of(len(X)):
            columns = in_memory((rows.stop - rows.start, width))
            found[rows] = self._histograms(X, rows, columns)
            np.take(columns, self.kept_, axis=1, out=features[rows])
            self._scale(features[rows])
        return features, found

    def _histograms(self, X: np.ndarray | Split, rows: slice, out: np.ndarray) -> np.ndarray:
        """Fill `out` with the histograms of these images; bool, which have key points."""
        ends = np.cumsum([bag.n_features_ for bag in self.bags_.values()])
        parts = zip(self.bags_.values(), np.split(out, ends[:-1], axis=1), strict=True)
        return np.all([bag.histograms(X, rows, part)[1] for bag, part in parts], axis=0)

    def _scale(self, columns: np.ndarray) -> None:
        """In place."""
        columns -= self.offset_
        columns *= self.factor_

    def arrays(self) -> dict[str, np.ndarray]:
        """All that was learned, as arrays; `restore` makes a fitted pipeline of them."""
        check_is_fitted(self, "kept_")
        words = {f"words.{name}": bag.words_ for name, bag in self.bags_.items()}
        return {**words, "kept": self.kept_, "offset": self.offset_, "factor": self.factor_}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> FeaturePipeline:
        """Take over what another fitted pipeline of the same arguments has learned.

        Raises:
            UserError: the arrays are not those of such a pipeline.
        """
        expected = {*(f"words.{name}" for name in self.visual_words), "kept", "offset", "factor"}
        if set(arrays) != expected:
            raise UserError(f"features: expected the arrays {', '.join(sorted(expected))}, got {', '.join(arrays)}")
        words = {name: arrays[f"words.{name}"] for name in self.visual_words}
        kept, offset, factor = (arrays[key] for key in ("kept", "offset", "factor"))
        if (
            any(array.ndim != 2 or not array.size for array in words.values())
            or kept.ndim != 1 or not np.issubdtype(kept.dtype, np.integer) or kept.min(initial=0) < 0
            or not offset.shape == factor.shape == kept.shape
            or not all(np.isfinite(array).all() for array in (offset, factor, *words.values()))
        ):  # fmt: skip
            raise UserError("features: the arrays are not those that such a pipeline learns")
        self.bags_ = {name: clone(bag).restore(words[name]) for name, bag in self.visual_words.items()}
        if kept.max(initial=-1) >= sum(bag.n_features_ for bag in self.bags_.values()):
            raise UserError("features: the selection does not fit the vocabulary")
        self.kept_, self.offset_, self.factor_, self.importances_ = kept, offset, factor, None
        return self


def mean_and_deviation(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 `[N, F]` -> of each column, float64; by blocks of rows that fit the processor's cache."""
    n, zeros = len(columns), np.zeros(columns.shape[1])
    blocks = [columns[start : start + BLOCK] for start in range(0, n, BLOCK)]
    mean = sum((block.sum(0) / n for block in blocks), zeros)
    away = (block - mean.astype(np.float32) for block in blocks)
    return mean, np.sqrt(sum((np.einsum("ij,ij->j", block, block) / n for block in away), zeros))
