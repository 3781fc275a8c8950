"""Two images in one: pixels and labels in the same shares, partners by sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import image_split
from hypothesis import given, settings
from hypothesis import strategies as st

from seedbed.data.augment import Chain, HorizontalFlip
from seedbed.data.loader import Loader, hard_labels
from seedbed.data.mix import CutMix, shared_labels
from seedbed.data.preprocess import Preprocess
from seedbed.errors import UserError

CLASSES = 4


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(2, 20), st.floats(0, 1))
def test_the_share_is_that_of_the_pixels_and_they_are_one_rectangle(seed, n, size, p):
    drawn = CutMix(p).draw(np.random.default_rng(seed), n)
    black, white = (torch.full((n, 3, size, size), value, dtype=torch.uint8) for value in (0, 1))
    mixed, share = CutMix(p).apply(black, white, {key: torch.from_numpy(value) for key, value in drawn.items()})
    assert mixed.dtype == torch.uint8
    assert torch.allclose(share, mixed.float().mean((1, 2, 3)))
    for image in mixed[:, 0]:
        assert torch.equal(image, image.amax(1, keepdim=True) * image.amax(0, keepdim=True))
        rows, columns = (line.nonzero().flatten() for line in (image.amax(1), image.amax(0)))
        for line in (rows, columns):
            assert len(line) == 0 or line[-1] - line[0] + 1 == len(line)
    assert torch.equal(mixed[:, 0], mixed[:, 2])


@pytest.mark.parametrize(
    ("side", "y", "x", "rows", "columns"),
    [
        (0.5, 0.5, 0.5, (2, 6), (2, 6)), (0.5, 0.0, 1.0, (0, 2), (6, 8)), (0.25, 0.75, 0.125, (5, 7), (0, 2)),
        (1.0, 0.5, 0.5, (0, 8), (0, 8)), (0.0, 0.5, 0.5, (0, 0), (0, 0)),
    ],
)  # fmt: skip
def test_the_rectangle_lies_round_its_centre_and_what_overhangs_is_cut_off(side, y, x, rows, columns):
    black, white = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    mixed, _ = CutMix().apply(black, white, {k: torch.tensor([v]) for k, v in (("side", side), ("y", y), ("x", x))})
    expected = torch.zeros(8, 8)
    expected[slice(*rows), slice(*columns)] = 1
    assert torch.equal(mixed[0, 0], expected)


def test_draws_fill_their_ranges_and_a_partner_is_anybody_once():
    drawn = CutMix(0.3).draw(np.random.default_rng(0), 5000)
    mixed = drawn["side"] > 0
    assert abs(mixed.mean() - 0.3) < 0.03
    area = drawn["side"][mixed] ** 2
    assert area.min() < 0.01 and area.max() > 0.99 and abs(area.mean() - 0.5) < 0.03
    for centre in (drawn["y"], drawn["x"]):
        assert abs(centre.mean() - 0.5) < 0.02 and 0 <= centre.min() < 0.01 and 0.99 < centre.max() <= 1
    assert sorted(drawn["partner"]) == list(range(5000))


def test_labels_are_shared_and_keep_their_sum():
    labels, others = torch.tensor([0, 1, 2]), torch.tensor([3, 1, 0])
    got = shared_labels(labels, others, torch.tensor([0.25, 0.5, 0.0]), CLASSES)
    assert torch.equal(got, torch.tensor([[0.75, 0, 0, 0.25], [0, 1, 0, 0], [0, 0, 1, 0]]))
    assert torch.equal(hard_labels(got), labels)
    assert torch.equal(hard_labels(labels), labels)


def loader_of(p: float, batch_size: int = 8, n: int = 40) -> Loader:
    """Images that say in every pixel which they are."""
    numbers = np.arange(n)
    images = np.broadcast_to(numbers[:, None, None, None].astype(np.uint8), (n, 1, 12, 12)).copy()
    # Rows of the array are not the samples' numbers.
    rows = np.concatenate([images[:7], images[::-1]])
    labels = np.concatenate([numbers[:7], numbers[::-1]]) % CLASSES
    return Loader(
        image_split(rows, labels, np.arange(7, 7 + n)[::-1].copy()), Preprocess(12, (0.0,), (1 / 255,)),
        batch_size=batch_size, device=torch.device("cpu"), seed=0,
        augment=Chain({"flip": HorizontalFlip()}, CutMix(p)), classes=CLASSES,
    )  # fmt: skip


def test_labels_are_the_shares_of_the_pixels():
    several = 0
    for images, labels in loader_of(1.0).epoch(0):
        assert labels.shape == (len(images), CLASSES) and labels.dtype == torch.float32
        for image, label in zip(images, labels, strict=True):
            expected = torch.bincount(image.long().flatten() % CLASSES, minlength=CLASSES) / image.numel()
            assert torch.allclose(label, expected, atol=1e-6)
            several += int((label > 0).sum() == 2)
    assert several > 15


@given(st.integers(2, 40), st.integers(0, 20))
@settings(max_examples=20)
def test_a_sample_has_the_same_partner_whatever_the_batch(batch_size, epoch):
    def whole(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        loader = loader_of(0.7, size)
        images, labels = zip(*loader.epoch(epoch), strict=True)
        return torch.cat(images), torch.cat(labels)

    for one, other in zip(whole(batch_size), whole(40), strict=True):
        assert torch.equal(one, other[: len(one)])


def test_without_mixing_labels_are_certain_and_images_as_they_were():
    for images, labels in loader_of(0.0).epoch(0):
        assert torch.equal(labels.amax(1), torch.ones(len(labels)))
        assert torch.equal(images[:, 0, 0, 0].long() % CLASSES, labels.argmax(1))


def test_an_epoch_begun_in_the_middle_goes_on_with_the_same_batches():
    whole, rest = list(loader_of(0.5).epoch(3)), list(loader_of(0.5).epoch(3, 2))
    assert len(rest) == len(whole) - 2
    for (x, y), (images, labels) in zip(whole[2:], rest, strict=True):
        assert torch.equal(x, images) and torch.equal(y, labels)


def test_first_gives_the_label_with_the_largest_share():
    images, labels = loader_of(1.0).first(10)
    assert labels.dtype == torch.int64
    counts = torch.stack([torch.bincount(x.long().flatten() % CLASSES, minlength=CLASSES) for x in images])
    assert torch.equal(counts.gather(1, labels[:, None]).flatten(), counts.amax(1))


def test_a_share_that_is_none_is_refused():
    with pytest.raises(UserError, match=r"p must lie in \[0, 1\], got 1.5"):
        CutMix(1.5)
