"""The two vocabularies."""

from __future__ import annotations

import numpy as np
import pytest
from examples import scikit_learns_checks
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from seedbed.features.vocabulary import IncrementalKMeans, SampledKMeans


@scikit_learns_checks(SampledKMeans(words=3), IncrementalKMeans(words=3, words_a_batch=3))
def test_scikit_learns_contract(estimator, check):
    check(clone(estimator))


def blobs(n: int = 60, d: int = 4) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n, d)) * 0.1 + np.arange(n)[:, None] % 3 * 5).astype(np.float32)


@pytest.mark.parametrize("vocabulary", [SampledKMeans(words=3), IncrementalKMeans(words=3, words_a_batch=3)])
def test_words_are_the_centres(vocabulary):
    vocabulary.fit(blobs())
    assert vocabulary.words_.dtype == np.float32
    assert np.allclose(np.sort(vocabulary.words_[:, 0]), [0, 5, 10], atol=0.3)
    assert np.allclose(vocabulary.words_, vocabulary.words_[:, :1], atol=0.3)


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
    of_batches = [sum(counts[i : i + batch]) for i in range(0, len(counts), batch)]
    assert len(words) == min(most, sum(min(each, n) for n in of_batches))


def test_later_batches_change_nothing_of_the_first_words():
    X, images = blobs(), np.arange(60)
    first = IncrementalKMeans(words=3, words_a_batch=3, batch=30).fit(X, images=images).words_
    changed = np.concatenate([X[:30], X[30:] + 100])
    assert np.array_equal(
        first, IncrementalKMeans(words=3, words_a_batch=3, batch=30).fit(changed, images=images).words_
    )
