"""Selection by a forest."""

from __future__ import annotations

import numpy as np
import pytest
from examples import scikit_learns_checks
from sklearn.base import clone

from seedbed.errors import UserError
from seedbed.features.selection import ForestSelection


@scikit_learns_checks(ForestSelection(sizes=(1,), trees=5))
def test_scikit_learns_contract(estimator, check):
    check(clone(estimator))


def columns(n: int = 60, noise: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Noise, and the labels themselves in columns 3 and 7."""
    y = np.arange(n) % 2
    X = np.random.default_rng(0).normal(size=(n, noise)).astype(np.float32)
    X[:, 3] = X[:, 7] = y
    return X, y


@pytest.mark.parametrize("sizes", [(2,), (6, 2), (10, 5, 2)])
def test_what_tells_the_classes_apart_is_kept(sizes):
    X, y = columns()
    chosen = ForestSelection(sizes, trees=20).fit(X, y)
    assert chosen.kept_.tolist() == [3, 7] == chosen.get_support(indices=True).tolist()
    assert np.array_equal(chosen.transform(X), X[:, [3, 7]])
    assert chosen.importances_.shape == (10,) and chosen.importances_.sum() == pytest.approx(1)


def test_the_same_seed_keeps_the_same():
    X, y = columns(noise=30)
    kept = [ForestSelection((8,), trees=5, samples=20, random_state=s).fit(X, y).kept_ for s in (0, 0, 1)]
    assert np.array_equal(kept[0], kept[1]) and not np.array_equal(kept[0], kept[2])
    assert (np.diff(kept[0]) > 0).all()


def test_a_forest_sees_no_more_images_than_asked_for(monkeypatch):
    from sklearn.ensemble import RandomForestClassifier

    shapes, fit = [], RandomForestClassifier.fit
    monkeypatch.setattr(RandomForestClassifier, "fit", lambda self, X, y: shapes.append(X.shape) or fit(self, X, y))
    X, y = columns()
    ForestSelection((6, 2), trees=3, samples=15).fit(X, y)
    ForestSelection((6,), trees=3, samples=1000).fit(X, y)
    assert shapes == [(15, 10), (15, 6), (60, 10)]


@pytest.mark.parametrize("sizes", [(), (0,), (2, 4)])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(UserError, match=r"features\.selection\.sizes"):
        ForestSelection(sizes, trees=3).fit(*columns())


@pytest.mark.parametrize("sizes", [(64,), (12, 11)])
def test_a_selection_larger_than_the_vocabulary_keeps_all_and_says_so(sizes, caplog):
    selection = ForestSelection(sizes, trees=3).fit(*columns())
    assert selection.kept_.tolist() == list(range(10))
    assert f"asks for {sizes[-1]} features, there are 10: all kept" in caplog.text


def test_one_class_alone_is_no_error():
    X, _ = columns()
    assert len(ForestSelection((4,), trees=3).fit(X, np.zeros(len(X), int)).kept_) == 4
