"""Fruits-360: classes and frames off the paths, and arcs that keep neighbours apart."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import data_file
from hypothesis import given
from hypothesis import strategies as st

from seedbed.data import dataset
from seedbed.data.fruits import Fruits, arcs, series_and_frames
from seedbed.data.sources import TEST, TRAIN, UNSPLIT, VAL
from seedbed.errors import UserError

OPTIONS = {"val_fraction": 0.1, "test_fraction": 0.2, "split_seed": 0, "subset": None, "on_bad_image": "fail"}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["x/Apple 6/12_100.jpg", "r_12_100.jpg", "r0_312_100.jpg", "r_100.jpg", "100.jpg"],
         [("", 12), ("r", 12), ("r0", 312), ("r", -1), ("", -1)]),
        (["x/Apple 10/r0_103.jpg", "r2_7.jpg", "12.png"], [("r0", 103), ("r2", 7), ("", 12)]),
    ],
    ids=["100x100", "original-size"],
)  # fmt: skip
def test_rotation_and_frame_of_each_packaging(names, expected):
    assert series_and_frames(names) == expected


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1_100.jpg", "IMG_7.jpg"], r"cannot know the frame of IMG_7\.jpg"),
        (["1_100.jpg", "2_64.jpg"], "the last numbers of two differ"),
        (["1_100.jpg", "r_100.jpg", "sub/r_100.jpg"], r"frames of r_100\.jpg, sub/r_100\.jpg"),
    ],
)  # fmt: skip
def test_arcs_refuse_frames_that_cannot_be_known(names, message):
    with pytest.raises(UserError, match=message):
        arcs(names, np.zeros(len(names), np.int64), seed=0, margin=0, test_fraction=0.2, val_fraction=0.1)


@given(st.integers(30, 200), st.integers(0, 5), st.integers(0, 100))
def test_arcs_are_contiguous_and_a_margin_apart(n, margin, seed):
    names = [f"A/{frame}_100.jpg" for frame in np.random.default_rng(seed).permutation(n)]
    parts = arcs(names, np.zeros(n, np.int64), seed=seed, margin=margin, test_fraction=0.2, val_fraction=0.1)
    circle = parts[np.argsort([frame for _, frame in series_and_frames(names)])]
    if n - round(n * 0.2) - round(n * 0.1) - 4 * margin < 2:
        assert (parts == TRAIN).all()
        return
    assert (circle == TEST).sum() == round(n * 0.2) and (circle == VAL).sum() == round(n * 0.1)
    assert (circle == UNSPLIT).sum() == 4 * margin
    for part in (TEST, VAL):
        inside = circle == part
        assert (inside & ~np.roll(inside, 1)).sum() == 1, "one arc"
        for distance in range(1, margin + 1):
            for shift in (distance, -distance):
                near = np.roll(circle, shift)[inside]
                assert set(near.tolist()) <= {part, UNSPLIT}


def test_arcs_depend_on_the_seed_alone():
    names, labels = [f"A/r_{i}_100.jpg" for i in range(100)], np.zeros(100, np.int64)
    options = {"margin": 3, "test_fraction": 0.2, "val_fraction": 0.1}
    first = arcs(names, labels, seed=0, **options)
    assert np.array_equal(first, arcs(names, labels, seed=0, **options))
    assert not np.array_equal(first, arcs(names, labels, seed=1, **options))


def test_the_real_zip_is_read_as_published():
    source = Fruits(data_root="nowhere", root=str(data_file("fruits-360.zip")))
    listing = source.listing()
    assert len(listing.classes) == 141 and listing.classes[0] == "Apple 6" and "Zucchini dark 1" in listing.classes
    assert (listing.parts == TRAIN).sum() == 28_597 and (listing.parts == TEST).sum() == 9_531
    assert {series for series, _ in series_and_frames(listing.names)} == {"", "r", "r0", "r1", "r2", "r3"}
    parts = arcs(listing.names, listing.labels, seed=0, margin=3, test_fraction=0.2, val_fraction=0.1)
    for part in (TRAIN, VAL, TEST):
        assert len(set(listing.labels[parts == part].tolist())) == 141
    assert 0.15 < (parts == TEST).mean() < 0.2


@given(st.integers(12, 200), st.integers(0, 5), st.integers(0, 100))
def test_without_a_test_arc_validation_is_one_arc_a_margin_from_training(n, margin, seed):
    names = [f"A/{frame}_100.jpg" for frame in np.random.default_rng(seed).permutation(n)]
    parts = arcs(names, np.zeros(n, np.int64), seed=seed, margin=margin, test_fraction=0, val_fraction=0.2)
    circle = parts[np.argsort([frame for _, frame in series_and_frames(names)])]
    if n - round(n * 0.2) - 2 * margin < 2:
        assert (parts == TRAIN).all()
        return
    assert (circle == VAL).sum() == round(n * 0.2) and (circle == UNSPLIT).sum() == 2 * margin
    assert not (circle == TEST).any()
    inside = circle == VAL
    assert (inside & ~np.roll(inside, 1)).sum() == 1, "one arc"
    near = [np.roll(circle, shift)[inside] for d in range(1, margin + 1) for shift in (d, -d)]
    assert {part for side in near for part in side.tolist()} <= {VAL, UNSPLIT}


def test_official_arcs_keeps_the_official_test_frames_and_takes_validation_from_training_alone():
    source = Fruits(data_root="nowhere", root=str(data_file("fruits-360.zip")), split="official_arcs")
    listing = source.listing()
    fractions = {"test_fraction": 0.2, "val_fraction": 0.1}
    parts = source.assign(listing.names, listing.labels, listing.parts, seed=0, **fractions)
    assert np.array_equal(parts == TEST, listing.parts == TEST)
    assert (listing.parts[parts == VAL] == TRAIN).all() and (listing.parts[parts == UNSPLIT] == TRAIN).all()
    assert 0.08 < (parts == VAL).sum() / (listing.parts == TRAIN).sum() < 0.11
    assert len(set(listing.labels[parts == TRAIN].tolist())) == 141


def test_arcs_never_fall_back_on_a_random_split(tmp_path):
    names = [f"Training/{c}/r0_{i}_100.jpg" for c in "ab" for i in range(40)]
    labels, parts = np.repeat([0, 1], 40), np.zeros(80, np.int8)
    for split, message in (
        ("arcs", r"split=arcs: no rotation is long enough for a test and a validation arc .*margin=30"),
        ("official_arcs", r"split=official_arcs: .* long enough for a validation arc .*margin=30"),
    ):
        source = Fruits("nowhere", str(tmp_path), split, margin=30)
        with pytest.raises(UserError, match=message):
            source.assign(names, labels, parts, seed=0, test_fraction=0.2, val_fraction=0.1)
    with pytest.raises(UserError, match=r"dataset\.margin"):
        Fruits("nowhere", margin=-1)


@pytest.mark.parametrize("split", ["official", "official_arcs"])
def test_a_folder_without_training_says_what_it_should_hold(picture_tree, cache, split):
    root = picture_tree({f"Apple {c}/{i}_100.jpg": (i, 9, 9) for c in "12" for i in range(8)})
    with pytest.raises(UserError, match=r"holds no Training/.*dataset\.split=arcs"):
        dataset.load(Fruits("nowhere", str(root), split), size=8, cache_root=str(cache), **OPTIONS)
