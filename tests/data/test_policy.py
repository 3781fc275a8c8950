"""One operation an image: torchvision's, at the strength that was drawn for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import image_split
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode, v2

from seedbed.data.augment import Chain, HorizontalFlip
from seedbed.data.loader import Loader, Preprocess
from seedbed.data.mix import CutMix
from seedbed.data.policy import TrivialAugment
from seedbed.types import UserError

# In the order of TrivialAugment's operations, by torchvision's names.
NAMES = (
    "Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
    "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize",
)  # fmt: skip
WITHOUT_LEVEL = ("Identity", "AutoContrast", "Equalize")


def pictures(n: int = 3, channels: int = 3, size: int = 32, seed: int = 0) -> torch.Tensor:
    """Smooth ones, since what is read between pixels depends on rounding least there."""
    coarse = torch.from_numpy(np.random.default_rng(seed).random((n, channels, 5, 5), np.float32))
    fine = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)
    return (fine.clamp(0, 1) * 255).round().to(torch.uint8)


def as_drawn(operation: int, level: float, n: int) -> dict[str, torch.Tensor]:
    return {"operation": torch.full((n,), operation), "level": torch.full((n,), level)}


@pytest.mark.parametrize("operation", range(len(NAMES)), ids=NAMES)
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("step", [1, 9, 30])
def test_an_operation_is_torchvisions(operation, sign, step):
    wide, x = v2.TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR), pictures()
    magnitudes, signed = wide._AUGMENTATION_SPACE[NAMES[operation]]
    values = magnitudes(31, 32, 32)
    value = 0.0 if values is None else float(values[step]) * (sign if signed else 1)
    expected = wide._apply_image_or_video_transform(x, NAMES[operation], value, wide.interpolation, {torch.Tensor: 0})
    got = TrivialAugment().apply(x, as_drawn(operation, sign * step / 30, 3))
    assert got.dtype == torch.uint8
    assert (got.int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize("operation", [i for i, name in enumerate(NAMES) if name not in WITHOUT_LEVEL], ids=str)
def test_an_operation_of_no_strength_changes_nothing(operation):
    x = pictures()
    assert torch.equal(TrivialAugment().apply(x, as_drawn(operation, 0.0, 3)), x)


@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([1, 3]), st.integers(4, 30))
@settings(max_examples=25)
def test_images_keep_their_type_and_shape_and_what_was_drawn_for_them_in_any_order(seed, n, channels, size):
    policy, x = TrivialAugment(0.6, fill=128), pictures(n, channels, size, seed)
    before = x.clone()
    drawn = {k: torch.from_numpy(v) for k, v in policy.draw(np.random.default_rng(seed), n).items()}
    out = policy.apply(x, drawn)
    assert out.shape == x.shape and out.dtype == torch.uint8 and torch.equal(x, before)
    order = torch.from_numpy(np.random.default_rng(seed + 1).permutation(n))
    assert torch.equal(policy.apply(x[order], {k: v[order] for k, v in drawn.items()}), out[order])


def test_draws_are_uniform_over_operations_and_strengths_to_both_sides():
    drawn = TrivialAugment(0.5).draw(np.random.default_rng(0), 14_000)
    counts = np.bincount(drawn["operation"], minlength=14)
    assert len(counts) == 14 and abs(counts - 1000).max() < 150
    assert np.abs(drawn["level"]).max() == 0.5 and abs(drawn["level"].mean()) < 0.01
    assert len(np.unique(np.abs(drawn["level"]))) == 31


def test_what_a_turned_image_leaves_open_is_filled():
    out = TrivialAugment(fill=7).apply(torch.full((1, 1, 12, 12), 200, dtype=torch.uint8), as_drawn(5, 1 / 3, 1))
    assert out[0, 0, 0, 0] == 7 and out[0, 0, 6, 6] == 200


@given(st.integers(2, 30), st.integers(0, 5))
@settings(max_examples=10)
def test_the_loader_gives_a_sample_the_same_pixels_whatever_the_batch(batch_size, epoch):
    def whole(size: int) -> torch.Tensor:
        split = image_split(pictures(30, size=12).numpy(), np.arange(30) % 3, np.arange(30))
        loader = Loader(
            split, Preprocess(12, (0.0,), (1.0,)), batch_size=size, device=torch.device("cpu"), seed=0, classes=3,
            augment=Chain({"flip": HorizontalFlip()}, CutMix(0.5), TrivialAugment()),
        )  # fmt: skip
        return torch.cat([images for images, _ in loader.epoch(epoch)])

    one = whole(batch_size)
    assert torch.equal(one, whole(30)[: len(one)])


def test_a_chain_of_a_policy_alone_changes_images():
    chain, x = Chain({}, policy=TrivialAugment()), pictures(20)
    assert chain
    drawn = chain.draw(np.random.default_rng(0), 20, 32)
    out = chain.apply(x, {k: {p: torch.from_numpy(v) for p, v in s.items()} for k, s in drawn.items()})
    assert 10 < sum(not torch.equal(a, b) for a, b in zip(out, x, strict=True)) < 20


@pytest.mark.parametrize("wrong", [{"strength": 0}, {"strength": 1.1}, {"fill": 256}, {"fill": -1}])
def test_what_is_out_of_range_is_refused(wrong):
    with pytest.raises(UserError, match=r"augment\.policy: TrivialAugment's (strength|fill)"):
        TrivialAugment(**wrong)


def test_a_step_is_no_policy():
    with pytest.raises(UserError, match=r"augment\.policy: HorizontalFlip is no policy; steps belong under"):
        Chain({}, policy=HorizontalFlip())
