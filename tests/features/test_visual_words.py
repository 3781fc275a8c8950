"""Histograms of visual words, against a reference that takes one descriptor and one word at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seedbed.features.descriptors import Descriptors
from seedbed.features.visual_words import BagOfVisualWords, nearest_word, soft_memberships

# Whole numbers have exact distances: with others, rounding near 0 would be blown up by the square root.
WHOLE = st.integers(-6, 6).map(float)
POSITION = st.floats(0, 1, exclude_max=True, width=32)


NUMBERS = st.floats(-4, 4, width=32)


def encode(described: Descriptors, words: np.ndarray, assignment, levels, power, norm) -> np.ndarray:
    return BagOfVisualWords(None, None, assignment, levels, power, norm).restore(words).encode(described)


@st.composite
def descriptors_and_words(draw, kind: str):
    """Descriptors of a few images: a grid, as many for each image but elsewhere, or ragged."""
    n, d = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    if kind == "ragged":
        counts = draw(st.lists(st.integers(1, 5), min_size=n, max_size=n))
    else:
        counts = [draw(st.integers(1, 6))] * n
    m = sum(counts)
    positions = draw(arrays(np.float32, (counts[0] if kind == "grid" else m, 2), elements=POSITION))
    if kind == "grid":
        positions = np.tile(positions, (n, 1))
    values = draw(arrays(np.float32, (m, d), elements=WHOLE))
    words = draw(arrays(np.float32, (draw(st.integers(1, 5)), d), elements=WHOLE))
    return Descriptors(values, positions, np.array(counts), np.ones(n, dtype=bool)), words


def naive(described: Descriptors, words: np.ndarray, assignment: str, levels, power: float, norm: str) -> np.ndarray:
    rows, at = [], 0
    for count in described.counts:
        pyramid = []
        for level in levels:
            cells = [[0.0] * len(words) for _ in range(level**2)]
            for value, (x, y) in zip(
                described.values[at : at + count], described.positions[at : at + count], strict=True
            ):
                far = [math.dist(value.tolist(), word.tolist()) for word in words]
                cell = min(int(y * level), level - 1) * level + min(int(x * level), level - 1)
                for k in range(len(words)):
                    if assignment == "hard":
                        cells[cell][k] += k == far.index(min(far))
                    else:
                        cells[cell][k] += max(0.0, sum(far) / len(far) - far[k])
            pyramid += [amount for cell in cells for amount in cell]
        at += count
        pyramid = [amount**power for amount in pyramid]
        # Words all equally far: what is left is rounding, which a norm would blow up.
        assume(all(amount == 0 or amount > 0.02**power for amount in pyramid))
        assume(assignment == "hard" or len(words) == 1 or max(pyramid) > 0)
        length = {"l1": sum(pyramid), "l2": math.sqrt(sum(a * a for a in pyramid)), "none": 1.0}[norm]
        rows.append([amount / max(length, 1e-12) for amount in pyramid])
    return np.array(rows)


@pytest.mark.parametrize("assignment", ["hard", "soft"])
@pytest.mark.parametrize("kind", ["grid", "moved", "ragged"])
@given(data=st.data())
@settings(max_examples=60)
def test_encode_is_the_naive_reference(kind, assignment, data):
    described, words = data.draw(descriptors_and_words(kind))
    levels = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    power, norm = data.draw(st.sampled_from([1, 0.5, 0.3, 2.0])), data.draw(st.sampled_from(["l1", "l2", "none"]))
    expected = naive(described, words, assignment, levels, power, norm)
    ours = encode(described, words, assignment, levels, power, norm)
    assert ours.shape == (len(described), len(words) * sum(level**2 for level in levels)) and ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=2e-3, atol=2e-3)


@given(descriptors_and_words("ragged"))
def test_hard_counts_every_descriptor_once_in_each_level(drawn):
    described, words = drawn
    out = encode(described, words, "hard", (1, 2, 3), 1, "none").reshape(len(described), 14, len(words))
    for level in np.split(out, [1, 5], axis=1):
        assert (level.sum((1, 2)) == described.counts).all()


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("assignment", ["hard", "soft"])
def test_the_norm_is_one_over_the_whole_pyramid(assignment, norm):
    rng = np.random.default_rng(0)
    described = Descriptors(
        rng.normal(size=(12, 3)).astype(np.float32), rng.random((12, 2), np.float32), np.array([5, 1, 6]), np.ones(3)
    )
    out = encode(described, rng.normal(size=(4, 3)).astype(np.float32), assignment, (1, 2, 3), 0.5, norm)
    assert np.allclose(np.linalg.norm(out, 1 if norm == "l1" else 2, axis=1), 1, atol=1e-5)


def test_one_word_softly_assigned_is_nothing_and_no_nan():
    described = Descriptors(
        np.ones((3, 2), np.float32), np.zeros((3, 2), np.float32), np.array([1, 2]), np.ones(2, dtype=bool)
    )
    for norm in ("l1", "l2", "none"):
        assert (encode(described, np.zeros((1, 2), np.float32), "soft", (2,), 0.5, norm) == 0).all()


def test_a_grid_and_a_list_of_positions_are_pooled_alike():
    """The two ways of pooling: with one more image that has fewer descriptors, the other way is taken."""
    rng = np.random.default_rng(0)
    values, positions = rng.normal(size=(18, 3)).astype(np.float32), rng.random((9, 2), np.float32)
    words = rng.normal(size=(5, 3)).astype(np.float32)
    grid = Descriptors(values, np.tile(positions, (2, 1)), np.array([9, 9]), np.ones(2, dtype=bool))
    more = Descriptors(
        np.concatenate([values, values[:1]]), np.concatenate([grid.positions, positions[:1]]), np.array([9, 9, 1]),
        np.ones(3, dtype=bool),
    )  # fmt: skip
    arguments = (words, "soft", (1, 3), 0.5, "l2")
    np.testing.assert_allclose(encode(more, *arguments)[:2], encode(grid, *arguments), rtol=1e-5, atol=1e-6)


@st.composite
def points_and_words(draw):
    m, k, d = draw(st.integers(0, 9)), draw(st.integers(1, 6)), draw(st.integers(1, 5))
    return draw(arrays(np.float32, (m, d), elements=NUMBERS)), draw(arrays(np.float32, (k, d), elements=NUMBERS))


def naive_squares(X: np.ndarray, words: np.ndarray) -> np.ndarray:
    squares = [[sum((float(a) - float(b)) ** 2 for a, b in zip(x, w, strict=True)) for w in words] for x in X]
    return np.reshape(squares, (len(X), len(words)))


@given(points_and_words())
def test_soft_memberships_are_the_naive_ones(drawn):
    X, words = drawn
    before = X.copy(), words.copy()
    ours, distances = soft_memberships(X, words), np.sqrt(naive_squares(X, words))
    naive = np.maximum(0, distances.mean(1, keepdims=True) - distances)
    # The square root blows up what rounding leaves of a distance of 0.
    np.testing.assert_allclose(ours, naive, atol=2e-2)
    assert ours.dtype == np.float32 and (ours >= 0).all()
    assert np.array_equal(X, before[0]) and np.array_equal(words, before[1])


@given(points_and_words())
def test_the_nearest_word_is_the_naive_one(drawn):
    # Whole numbers: their distances are exact, and the first of several nearest words wins.
    X, words = (np.rint(array).astype(np.float32) for array in drawn)
    assert np.array_equal(nearest_word(X, words), naive_squares(X, words).argmin(1))
