"""Test-time augmentation, held equal to the same sum written out in NumPy."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from conftest import image_split
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from seedbed.data.loader import Loader, Preprocess
from seedbed.models.mlp import MLP
from seedbed.models.report import ReportMLP
from seedbed.training.evaluate import predict, probabilities, test
from seedbed.training.tta import AveragedTTA

test.__test__ = False  # its name is not a test's

shapes = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(2, 9))


def made(shape: tuple[int, int, int], seed: int, dtype: torch.dtype = torch.float32):
    """Images `[B, C, S, S]` and a model that is not linear, so that logits and pixels may not change places."""
    torch.manual_seed(seed)
    batch, channels, side = shape
    model = nn.Sequential(nn.Flatten(), nn.Linear(channels * side**2, 5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)
    return torch.rand(batch, channels, side, side, dtype=dtype), model


@given(shapes, st.integers(0, 10**6), st.booleans())
@settings(max_examples=60)
def test_six_views_are_the_two_and_both_moved_along_a_diagonal(shape, seed, channels_last):
    images, model = made(shape, seed)
    side = shape[2]
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")
    expected = 0
    for offset, weight in ((1, 1 / 4), (0, 1 / 8), (2, 1 / 8)):
        view = padded[:, :, offset : offset + side, offset : offset + side]
        # A mirror image that is moved: seen in the mirror it is moved the other way across, but not up and down.
        across = 2 - offset
        mirrored = padded[:, :, offset : offset + side, across : across + side][..., ::-1]
        for each in (view, mirrored):
            expected = expected + weight * model(torch.from_numpy(each.copy())).detach().numpy()
    with torch.inference_mode():
        np.testing.assert_allclose(AveragedTTA(model, 6)(images).numpy(), expected, atol=1e-5)


@given(shapes, st.integers(0, 10**6), st.sampled_from([2, 6]))
@settings(max_examples=60)
def test_an_image_and_its_mirror_image_are_answered_alike(shape, seed, tta):
    images, model = made(shape, seed)
    averaged = AveragedTTA(model, tta)
    with torch.inference_mode():
        torch.testing.assert_close(averaged(images), averaged(images.flip(-1)))


def test_two_views_are_the_image_and_its_mirror_image():
    images, model = made((3, 2, 6), 0)
    with torch.inference_mode():
        expected = (model(images) + model(images.flip(-1))) / 2
        torch.testing.assert_close(AveragedTTA(model, 2)(images), expected)


def test_bfloat16_logits_are_summed_in_float32():
    images, model = made((3, 2, 6), 0, torch.bfloat16)
    with torch.inference_mode():
        logits = AveragedTTA(model, 6)(images)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float()), "a sum that bfloat16 could hold was rounded"


def test_metrics_average_views_and_predictions_are_of_the_images_as_they_are():
    """A picture of an image shows one view, so it must show the prediction of that view."""
    images, model = made((40, 1, 6), 0)
    split = image_split((images * 255).to(torch.uint8).numpy(), np.arange(40) % 3)
    loader = Loader(split, Preprocess(6, (0.5,), (0.1,)), batch_size=16, device=torch.device("cpu"))
    options = (loader, nn.CrossEntropyLoss(), contextlib.nullcontext, 3)
    one, six = test(model, *options), test(model, *options, tta=6)
    loss, averaged, labels = predict(AveragedTTA(model, 6), *options[:3])
    assert (averaged != one.predictions).any() and np.array_equal(six.predictions, one.predictions)
    assert six.summary["test_without_tta"] == one.summary["test"] and six.summary["test"]["loss"] == loss
    assert six.summary["test"]["accuracy"] == six.metrics.accuracy == (averaged == labels).mean()


def test_no_other_number_of_views():
    with pytest.raises(ValueError, match="2 or 6, got 3"):
        AveragedTTA(nn.Identity(), 3)


@pytest.mark.parametrize("tta", [1, 2, 6])
def test_a_model_that_outputs_probabilities_gets_no_second_softmax(tta):
    images, _ = made((40, 1, 6), 0)
    split = image_split((images * 255).to(torch.uint8).numpy(), np.arange(40) % 3)
    loader = Loader(split, Preprocess(6, (0.5,), (0.1,)), batch_size=16, device=torch.device("cpu"))
    usual, paper = MLP((1, 6, 6), 3, [5]), ReportMLP((1, 6, 6), 3, [5])
    for model, softmax in ((usual, True), (paper, False)):
        averaged = AveragedTTA(model, tta) if tta > 1 else model
        with torch.inference_mode():
            outputs = torch.cat([averaged.eval()(x) for x, _ in loader.epoch()])
        shares = probabilities(model, loader, contextlib.nullcontext, tta)
        np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
        assert np.array_equal(shares, (outputs.softmax(1) if softmax else outputs).numpy())
