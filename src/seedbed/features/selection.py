"""Selection of features by the importance that a random forest gives them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from seedbed.annotations import Count, Range, Seed
from seedbed.cpu import cores
from seedbed.errors import UserError
from seedbed.features.descriptors import at_least
from seedbed.features.parts import Allocate, in_memory, parts_of

Trees = Annotated[int, Range(1, 100_000)]
TREE_BYTES = 2**29  # for trees that are kept at once
log = logging.getLogger(__name__)


class ForestSelection(SelectorMixin, BaseEstimator):
    """Keeps the features that matter most to a random forest, in one stage or several (the paper, section 1).

    Args:
        sizes: features left after each stage, descending; the forest of a stage sees what the one before has left.
            A stage that asks for more than it gets keeps all; the last one says so.
        trees: of each forest.
        samples: images that each forest learns from, drawn at random; None: all.
        random_state: seed.

    Attributes:
        kept_: int64 `[F']`, ascending: indices of the kept features.
        importances_: float64 `[F]`: those of the first stage's forest.
    """

    def __init__(
        self,
        sizes: Sequence[Count] = (64,),
        trees: Trees = 100,
        samples: Count | None = None,
        random_state: Seed | None = 0,
    ):
        self.sizes = sizes
        self.trees = trees
        self.samples = samples
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: np.ndarray, allocate: Allocate = in_memory) -> ForestSelection:
        """Select from columns `[N, F]` by labels `[N]`; `allocate` makes the forests' own tables."""
        at_least(1, self, "trees", "samples")
        at_least(0, self, "random_state")
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        sizes = [*self.sizes]
        if not sizes or sizes != sorted(sizes, reverse=True) or sizes[-1] < 1:
            raise UserError(f"features.selection.sizes: expected descending positive numbers, got {sizes}")
        if sizes[-1] > X.shape[1]:
            # Few images give few words: a first try on a small subset runs with what it has.
            log.warning("features.selection.sizes asks for %d features, there are %d: all kept", sizes[-1], X.shape[1])
        rng = np.random.default_rng(self.random_state)
        self.kept_ = np.arange(X.shape[1])
        for stage, size in enumerate(sizes):
            rows = np.arange(len(X))
            if self.samples is not None and self.samples < len(X):
                rows = np.sort(rng.choice(len(X), self.samples, replace=False))
            # Column by column, as a tree reads it.
            table = allocate((len(self.kept_), len(rows))).T
            for part in parts_of(len(rows)):
                table[part] = X[rows[part]][:, self.kept_]
            importances = forest_importances(table, y[rows], self.trees, int(rng.integers(2**31)))
            del table
            if stage == 0:
                self.importances_ = importances
            self.kept_ = np.sort(self.kept_[np.argsort(-importances, kind="stable")[:size]])
        return self

    def _get_support_mask(self) -> np.ndarray:
        check_is_fitted(self)
        return np.isin(np.arange(self.n_features_in_), self.kept_)


def forest_importances(X: np.ndarray, y: np.ndarray, trees: int, seed: int) -> np.ndarray:
    """float64 `[F]`: a random forest's `feature_importances_`, without the whole forest in memory.

    A tree of many classes is large, up to a node an image with a number a class, and only its importances are used.
    """
    at_once = max(cores(), TREE_BYTES // (8 * len(X) * len(np.unique(y))))
    forest, importances = RandomForestClassifier(n_jobs=-1, random_state=seed, min_samples_leaf=2, warm_start=True), []
    for grown in parts_of(trees, at_once):
        forest.set_params(n_estimators=grown.stop).fit(X, y)
        for tree in forest.estimators_[grown]:
            if tree.tree_.node_count > 1:
                importances.append(tree.feature_importances_)
            tree.tree_ = None
    if not importances:
        return np.zeros(X.shape[1])
    mean = np.mean(importances, axis=0, dtype=np.float64)
    return mean / mean.sum()
