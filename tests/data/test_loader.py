"""The size of batches by epoch, and grey images in three channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import image_split
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from seedbed.data.loader import Loader
from seedbed.data.preprocess import Preprocess

CPU = torch.device("cpu")


def made(images: np.ndarray, size: int, channels: int = 1, **options) -> Loader:
    preprocess = Preprocess(size, tuple(0.1 * (c + 1) for c in range(channels)), (0.5,) * channels)
    return Loader(image_split(images, np.arange(len(images)) % 3), preprocess, batch_size=4, device=CPU, **options)


@given(st.integers(1, 3), st.integers(0, 4), st.sampled_from([1, 3]), st.booleans())
@settings(max_examples=40)
def test_the_first_epochs_are_those_of_a_loader_of_that_size(epochs, epoch, channels, channels_last):
    pixels = np.random.default_rng(epochs).integers(0, 256, (10, channels, 12, 12), np.uint8)
    options = {"channels": channels, "seed": 3, "channels_last": channels_last}
    growing = made(pixels, 12, initial=(8, epochs), **options)
    expected = made(pixels, 8 if epoch < epochs else 12, **options)
    for (x, y), (images, labels) in zip(growing.epoch(epoch, start=1), expected.epoch(epoch, start=1), strict=True):
        assert x.shape[-1] == (8 if epoch < epochs else 12)
        assert torch.equal(x, images) and torch.equal(y, labels) and x.stride() == images.stride()


@pytest.mark.parametrize("size", [6, 12, 20])
def test_a_grey_image_becomes_three_channels_each_normalised_by_its_own_numbers(size):
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 12, 12), np.uint8)
    ((x, _),) = made(images, size, channels=3).epoch()
    grey = torch.from_numpy(images).float()
    if size != 12:
        grey = F.interpolate(grey, (size, size), mode="bilinear", antialias=True)
    for channel in range(3):
        torch.testing.assert_close(x[:, channel], (grey[:, 0] / 255 - 0.1 * (channel + 1)) / 0.5)


def test_a_device_named_with_its_number_is_the_one_named_without():
    """`cuda` and `cuda:0` compare as different, as `cpu` and `cpu:0` do: every run on a GPU failed because of it."""
    split = image_split(np.random.default_rng(0).integers(0, 256, (7, 1, 8, 8), np.uint8), np.arange(7) % 3)
    plain, numbered = (
        Loader(split, Preprocess(8, (0.5,), (0.5,)), batch_size=4, device=torch.device(name), seed=0).first(4)
        for name in ("cpu", "cpu:0")
    )
    assert torch.equal(plain[0], numbered[0]) and torch.equal(plain[1], numbered[1])
