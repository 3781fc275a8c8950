"""Words: the two vocabularies, and the distances to them."""

from __future__ import annotations

import numpy as np
import pytest
from examples import scikit_learns_checks
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone

from seedbed.features.vocabulary import IncrementalKMeans, SampledKMeans, nearest_word, squared_distances

NUMBERS = st.floats(-4, 4, width=32)


@scikit_learns_checks(SampledKMeans(words=3), IncrementalKMeans(words=3, words_a_batch=3))
def test_scikit_learns_contract(estimator, check):
    check(clone(estimator))


@st.composite
def points_and_words(draw):
    m, k, d = draw(st.integers(0, 9)), draw(st.integers(1, 6)), draw(st.integers(1, 5))
    return draw(arrays(np.float32, (m, d), elements=NUMBERS)), draw(arrays(np.float32, (k, d), elements=NUMBERS))


@given(points_and_words())
def test_squared_distances_are_the_naive_ones(drawn):
    X, words = drawn
    before = X.copy(), words.copy()
    ours = squared_distances(X, words)
    naive = [[sum((float(a) - float(b)) ** 2 for a, b in zip(x, w, strict=True)) for w in words] for x in X]
    np.testing.assert_allclose(ours, np.reshape(naive, (len(X), len(words))), atol=1e-4, rtol=1e-4)
    assert ours.dtype == np.float32 and (ours >= 0).all()
    assert np.array_equal(X, before[0]) and np.array_equal(words, before[1])


@given(points_and_words(), st.integers(1, 4))
def test_the_nearest_word_is_the_naive_one(drawn, chunk):
    # Whole numbers: their distances are exact, and the first of several nearest words wins.
    X, words = (np.rint(a).astype(np.float32) for a in drawn)
    naive = []
    for x in X:
        far = [sum((float(a) - float(b)) ** 2 for a, b in zip(x, w, strict=True)) for w in words]
        naive.append(far.index(min(far)))
    assert nearest_word(X, words, chunk).tolist() == naive
    assert nearest_word(X, words).tolist() == naive


def blobs(n: int = 60, d: int = 4) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n, d)) * 0.1 + np.arange(n)[:, None] % 3 * 5).astype(np.float32)


@pytest.mark.parametrize("vocabulary", [SampledKMeans(words=3), IncrementalKMeans(words=3, words_a_batch=3)])
def test_words_are_the_centres(vocabulary):
    vocabulary.fit(blobs())
    assert vocabulary.words_.dtype == np.float32
    assert np.allclose(np.sort(vocabulary.words_[:, 0]), [0, 5, 10], atol=0.3)
    assert np.array_equal(vocabulary.labels_, vocabulary.predict(blobs()))
    assert np.array_equal(vocabulary.words_[vocabulary.labels_][:, 0].round() // 5, np.arange(60) % 3)


@pytest.mark.parametrize("vocabulary", [SampledKMeans(words=50), IncrementalKMeans(words=50, words_a_batch=50)])
def test_no_more_words_than_distinct_descriptors(vocabulary):
    assert len(vocabulary.fit(np.repeat(np.eye(3, dtype=np.float32), 5, axis=0)).words_) == 3
    assert len(vocabulary.fit(np.zeros((7, 4), np.float32)).words_) == 1


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(1, 5), st.integers(1, 3), st.integers(1, 9))
@settings(max_examples=25)
def test_batches_of_images_join_until_the_vocabulary_is_full(counts, batch, each, most):
    images = np.repeat(np.arange(len(counts)), counts)
    X = np.random.default_rng(0).normal(size=(len(images), 3)).astype(np.float32)
    words = IncrementalKMeans(words=most, words_a_batch=each, batch=batch).fit(X, images=images).words_
    own = [sum(counts[i : i + batch]) for i in range(0, len(counts), batch)]
    assert len(words) == min(most, sum(min(each, n) for n in own))


def test_the_first_batch_decides_its_own_words():
    X, images = blobs(), np.arange(60)
    first = IncrementalKMeans(words=3, words_a_batch=3, batch=30).fit(X, images=images).words_
    changed = np.concatenate([X[:30], X[30:] + 100])
    assert np.array_equal(
        first, IncrementalKMeans(words=3, words_a_batch=3, batch=30).fit(changed, images=images).words_
    )
