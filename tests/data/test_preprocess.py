"""Size and normalisation: given in any form, or measured, or refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import image_split

from seedbed.data.preprocess import Preprocess, channel_numbers, make_preprocess, pixel_statistics
from seedbed.errors import UserError


def split_of(channels: int):
    pixels = np.random.default_rng(0).integers(0, 256, (12, channels, 6, 6), np.uint8)
    return image_split(pixels, np.zeros(12), np.arange(3, 9))


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_are_those_of_the_splits_pixels(channels):
    split = split_of(channels)
    pixels = split.images[split.index] / 255
    mean, std = pixel_statistics(split)
    np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)))
    np.testing.assert_allclose(std, pixels.std((0, 2, 3)))


@pytest.mark.parametrize("channels", [1, 3])
def test_one_number_is_that_of_every_channel_and_null_is_measured(channels):
    split = split_of(channels)
    mean, std = pixel_statistics(split)
    assert make_preprocess(split, 6, 0.5, 0.25) == Preprocess(6, (0.5,) * channels, (0.25,) * channels)
    assert make_preprocess(split, 6, None, None) == Preprocess(6, tuple(mean), tuple(std))
    assert make_preprocess(split, 6, None, 0.25) == Preprocess(6, tuple(mean), (0.25,) * channels)
    assert make_preprocess(split, 6, 0.5, None) == Preprocess(6, (0.5,) * channels, tuple(std))


def test_three_numbers_give_a_grey_image_three_channels():
    preprocess = make_preprocess(split_of(1), 6, [0.1, 0.2, 0.3], 0.5)
    assert preprocess == Preprocess(6, (0.1, 0.2, 0.3), (0.5,) * 3) and preprocess.channels(1) == 3
    x = preprocess(torch.full((2, 1, 6, 6), 51, dtype=torch.uint8), preprocess.constants(torch.device("cpu")))
    torch.testing.assert_close(x[0, :, 0, 0], torch.tensor([0.2, 0.0, -0.2]))
    torch.testing.assert_close(preprocess.undo(x), torch.full((2, 3, 6, 6), 0.2))


@pytest.mark.parametrize(
    ("channels", "mean", "std", "message"),
    [
        (3, [0.5, 0.5], 0.5, r"model\.mean: 2 numbers for images of 3 channels; give one number, or one for each"),
        (1, [0.5] * 3, [0.5] * 2, r"model\.std: 2 numbers for images of 1 channels"),
        (1, None, [0.5] * 3, r"model\.std: 3 numbers for images of 1 channels"),
        (3, 0.5, [0.5, 0.0, 0.5], r"model\.std: expected positive numbers, got \[0\.5, 0\.0, 0\.5\]"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(channels, mean, std, message):
    with pytest.raises(UserError, match=message):
        make_preprocess(split_of(channels), 6, mean, std)


def test_channel_numbers():
    assert channel_numbers(1, 3) == (1.0, 1.0, 1.0) and channel_numbers([1.0, 2.0], 3) == (1.0, 2.0)
