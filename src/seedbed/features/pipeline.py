"""The whole way from images to the MLP's input: words, selection, scaling; and back from a file of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from seedbed.features.selection import ForestSelection
from seedbed.features.words import BagOfWords
from seedbed.types import UserError

VERSION = 2  # of what these rooms compute: a cache of an older one is not read
ROWS = 4096


class FeaturePipeline(TransformerMixin, BaseEstimator):
    """Histograms of one or more bags of words, the features that a forest keeps, scaled.

    Args:
        words: name -> bag of words; their histograms are laid side by side.
        selection: None keeps every feature.
        scaling: standard: mean 0 and variance 1 on the training images; minmax: to [0, 1] there.

    Attributes:
        bags_: the fitted bags, by name.
        kept_: int64 `[F]`, the selected columns.
        offset_, factor_: float32 `[F]`; a feature becomes (x - offset) * factor.
        found_: bool `[N]`, which of the images transformed last have key points in every bag that looks for them.
        importances_: float64, those of the first forest for every column, or None.
    """

    def __init__(
        self,
        words: Mapping[str, BagOfWords],
        selection: ForestSelection | None = None,
        scaling: Literal["standard", "minmax"] = "standard",
    ):
        self.words = words
        self.selection = selection
        self.scaling = scaling

    def fit(self, X: np.ndarray, y: np.ndarray) -> FeaturePipeline:
        """Args: X: uint8 `[N, C, H, W]`, training images only; y: labels `[N]`."""
        self.fit_transform(X, y)
        return self

    def fit_transform(self, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Fit, and return float32 `[N, F]`: what `transform` would give for the same images."""
        if not self.words:
            raise UserError("features.words: expected at least one bag of words")
        self.bags_ = {name: clone(bag).fit(X) for name, bag in self.words.items()}
        columns = self._histograms(X)
        self.importances_, self.kept_ = None, np.arange(columns.shape[1])
        if self.selection is not None:
            chosen = clone(self.selection).fit(columns, y)
            self.kept_, self.importances_ = chosen.kept_, chosen.importances_
            columns = columns[:, self.kept_]
        if self.scaling == "standard":
            self.offset_, spread = columns.mean(0, dtype=np.float64), columns.std(0, dtype=np.float64)
        else:
            self.offset_ = columns.min(0)
            spread = columns.max(0) - self.offset_
        # A feature that never varies stays at 0.
        factor = np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-6), 0)
        self.offset_, self.factor_ = self.offset_.astype(np.float32), factor.astype(np.float32)
        return self._scaled(columns)

    def transform(self, X: np.ndarray) -> np.ndarray:
        """uint8 `[N, C, H, W]` -> float32 `[N, F]`, finite."""
        check_is_fitted(self, "kept_")
        blocks = [X[i : i + ROWS] for i in range(0, len(X), ROWS)]
        parts, found = zip(*((self._histograms(block)[:, self.kept_], self.found_) for block in blocks), strict=True)
        self.found_ = np.concatenate(found)
        return self._scaled(np.concatenate(parts))

    def _histograms(self, X: np.ndarray) -> np.ndarray:
        parts = [bag.transform(X) for bag in self.bags_.values()]
        self.found_ = np.all([bag.found_ for bag in self.bags_.values()], axis=0)
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _scaled(self, columns: np.ndarray) -> np.ndarray:
        return (columns - self.offset_) * self.factor_

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
        expected = {*(f"words.{name}" for name in self.words), "kept", "offset", "factor"}
        if set(arrays) != expected:
            raise UserError(f"features: expected the arrays {', '.join(sorted(expected))}, got {', '.join(arrays)}")
        self.bags_ = {name: clone(bag)._keep(arrays[f"words.{name}"]) for name, bag in self.words.items()}
        self.kept_, self.offset_, self.factor_ = (arrays[key] for key in ("kept", "offset", "factor"))
        self.importances_ = None
        if self.kept_.max(initial=-1) >= sum(bag.n_features_ for bag in self.bags_.values()):
            raise UserError("features: the selection does not fit the vocabulary")
        return self
