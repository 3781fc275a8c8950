"""Stratified choices and splits."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seedbed.data.dataset import stratified_choice, stratified_split

label_arrays = st.lists(st.integers(0, 6), min_size=2, max_size=300).map(np.array)


@given(label_arrays, st.data())
def test_a_choice_has_its_size_and_every_class_its_share(labels, data):
    n = data.draw(st.integers(0, len(labels)))
    index = np.flatnonzero(labels >= 0)
    chosen = stratified_choice(labels, index, n, np.random.default_rng(0))
    assert len(chosen) == len(set(chosen.tolist())) == n
    for label in set(labels.tolist()):
        share = (labels == label).sum() * n / len(labels)
        assert abs((labels[chosen] == label).sum() - share) < 1


@given(label_arrays, st.floats(0, 0.99), st.integers(0, 1000))
def test_a_split_is_a_partition_and_deterministic(labels, fraction, seed):
    index = np.arange(len(labels))
    rest, part = stratified_split(labels, index, fraction, np.random.default_rng(seed))
    assert sorted([*rest, *part]) == index.tolist()
    again = stratified_split(labels, index, fraction, np.random.default_rng(seed))
    assert np.array_equal(part, again[1])
    assert len(rest) >= 1 and (len(part) >= 1) == (fraction > 0)


@given(label_arrays, st.floats(0.01, 0.99), st.integers(0, 1000))
def test_no_class_is_split_off_whole_while_others_have_rows_to_spare(labels, fraction, seed):
    rest, _ = stratified_split(labels, np.arange(len(labels)), fraction, np.random.default_rng(seed))
    left = np.bincount(labels[rest], minlength=7)
    rows = np.bincount(labels, minlength=7)
    assert ((left > 0) | (rows == 0)).all() or (left <= 1).all()


def test_rare_classes_keep_a_training_image():
    labels = np.array([*np.repeat(np.arange(10), 10), *range(10, 15)])
    for seed in range(50):
        rest, part = stratified_split(labels, np.arange(len(labels)), 0.2, np.random.default_rng(seed))
        assert set(labels[rest]) == set(range(15)) and len(part) == 21


def test_a_subset_smaller_than_the_classes_takes_one_of_some():
    labels = np.repeat(np.arange(141), 20)
    chosen = stratified_choice(labels, np.arange(len(labels)), 50, np.random.default_rng(0))
    assert len(set(labels[chosen])) == 50
