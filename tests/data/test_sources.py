"""What a source needs: a name and two methods; a rule for splits if it has one."""

from __future__ import annotations

import numpy as np

from seedbed.data import dataset
from seedbed.data.digits import Digits
from seedbed.data.sources import TEST, TRAIN, UNSPLIT, VAL, Listing

OPTIONS = {"val_fraction": 0.25, "test_fraction": 0.25, "split_seed": 0, "subset": None, "on_bad_image": "fail"}


class Squares:
    name = "squares"

    def fingerprint(self) -> str:
        return "squares 1"

    def listing(self) -> Listing:
        labels = np.arange(12) % 2
        images = (labels * 255).astype(np.uint8)[:, None, None, None].repeat(8, 2).repeat(8, 3)
        names = [f"{i}" for i in range(12)]
        return Listing(("dark", "light"), labels, np.full(12, UNSPLIT, np.int8), names, images=images)


def load(source, cache):
    return dataset.load(source, size=8, cache_root=str(cache), **OPTIONS)


def test_a_name_a_fingerprint_and_a_listing_are_enough(cache):
    data = load(Squares(), cache)
    assert data.classes == ("dark", "light") and [len(s) for s in data.splits.values()] == [7, 2, 3]
    images = data.train.images[data.train.index]
    assert np.array_equal(images[:, 0, 0, 0], data.train.targets * 255)


def test_a_source_may_split_by_a_rule_of_its_own(cache):
    class Ordered(Squares):
        def assign(self, names, labels, parts, *, seed, test_fraction, val_fraction):
            assert (parts == UNSPLIT).all() and (seed, test_fraction, val_fraction) == (0, 0.25, 0.25)
            return np.repeat(np.array([TRAIN, VAL, TEST, UNSPLIT], np.int8), [6, 3, 2, 1])

    data = load(Ordered(), cache)
    assert [s.index.tolist() for s in data.splits.values()] == [[0, 1, 2, 3, 4, 5], [6, 7, 8], [9, 10]]


def test_digits_take_no_folder(cache):
    data = load(Digits(), cache)
    assert data.classes == tuple("0123456789") and sum(len(s) for s in data.splits.values()) == 1797
