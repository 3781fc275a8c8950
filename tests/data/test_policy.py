"""One operation an image: torchvision's, at the strength that was drawn for it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import image_split
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from seedbed.data.augment import Chain, HorizontalFlip
from seedbed.data.loader import Loader
from seedbed.data.mix import CutMix
from seedbed.data.policy import TrivialAugment
from seedbed.data.preprocess import Preprocess
from seedbed.errors import UserError

BILINEAR = InterpolationMode.BILINEAR
# What each operation is, in torchvision's words; `m` is the level.
EXPECTED = {
    "Identity": lambda x, m: x,
    "ShearX": lambda x, m: sheared(x, [math.degrees(math.atan(0.99 * m)), 0.0]),
    "ShearY": lambda x, m: sheared(x, [0.0, math.degrees(math.atan(0.99 * m))]),
    "TranslateX": lambda x, m: TF.affine(x, 0, [int(32 * m), 0], 1.0, [0, 0], BILINEAR),
    "TranslateY": lambda x, m: TF.affine(x, 0, [0, int(32 * m)], 1.0, [0, 0], BILINEAR),
    "Rotate": lambda x, m: TF.rotate(x, 135 * m, BILINEAR),
    "Brightness": lambda x, m: TF.adjust_brightness(x, 1 + 0.99 * m),
    "Color": lambda x, m: TF.adjust_saturation(x, 1 + 0.99 * m),
    "Contrast": lambda x, m: TF.adjust_contrast(x, 1 + 0.99 * m),
    "Sharpness": lambda x, m: TF.adjust_sharpness(x, 1 + 0.99 * m),
    "Posterize": lambda x, m: TF.posterize(x, 8 - round(6 * abs(m))),
    "Solarize": lambda x, m: TF.solarize(x, 255 * (1 - abs(m))),
    "AutoContrast": lambda x, m: TF.autocontrast(x),
    "Equalize": lambda x, m: TF.equalize(x),
}
NAMES = list(EXPECTED)
WITHOUT_LEVEL = ("Identity", "AutoContrast", "Equalize")


def pictures(n: int = 3, channels: int = 3, size: int = 32, seed: int = 0) -> torch.Tensor:
    """Smooth ones, since what is read between pixels depends on rounding least there."""
    coarse = torch.from_numpy(np.random.default_rng(seed).random((n, channels, 5, 5), np.float32))
    fine = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)
    return (fine.clamp(0, 1) * 255).round().to(torch.uint8)


def as_drawn(operation: int, level: float, n: int) -> dict[str, torch.Tensor]:
    return {"operation": torch.full((n,), operation), "level": torch.full((n,), level)}


def sheared(x: torch.Tensor, shear: list[float]) -> torch.Tensor:
    return TF.affine(x, 0, [0, 0], 1.0, shear, BILINEAR, center=[0, 0])


@pytest.mark.parametrize("name", NAMES)
@given(st.sampled_from([-30, -9, -1, 1, 9, 17, 30]), st.sampled_from([1, 3]), st.sampled_from([12, 32, 33]))
@settings(max_examples=15)
def test_an_operation_is_torchvisions(name, step, channels, size):
    policy, x = TrivialAugment(), pictures(3, channels, size)
    assert list(policy.operations) == NAMES
    expected = EXPECTED[name](x, step / 30)
    got = policy.change(x, as_drawn(NAMES.index(name), step / 30, 3))
    assert got.dtype == torch.uint8
    assert (got.int() - expected.int()).abs().max() <= 1


def test_images_of_one_batch_are_changed_each_by_its_own_level():
    policy, x, levels = TrivialAugment(), pictures(5), [-1, -0.5, 0.0, 0.3, 0.9]
    for index, name in enumerate(NAMES):
        together = policy.change(x, {"operation": torch.full((5,), index), "level": torch.tensor(levels)})
        for image, level, got in zip(x, levels, together, strict=True):
            alone = policy.change(image[None], as_drawn(index, level, 1))[0]
            assert torch.equal(got, alone), f"{name} at {level}"


@pytest.mark.parametrize("operation", [i for i, name in enumerate(NAMES) if name not in WITHOUT_LEVEL], ids=str)
def test_an_operation_of_no_strength_changes_nothing(operation):
    x = pictures()
    assert torch.equal(TrivialAugment().change(x, as_drawn(operation, 0.0, 3)), x)


@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([1, 3]), st.integers(4, 30))
@settings(max_examples=25)
def test_images_keep_their_type_and_shape_and_what_was_drawn_for_them_in_any_order(seed, n, channels, size):
    policy, x = TrivialAugment(0.6, fill=128), pictures(n, channels, size, seed)
    before = x.clone()
    drawn = {k: torch.from_numpy(v) for k, v in policy.draw(np.random.default_rng(seed), n).items()}
    out = policy.change(x, drawn)
    assert out.shape == x.shape and out.dtype == torch.uint8 and torch.equal(x, before)
    order = torch.from_numpy(np.random.default_rng(seed + 1).permutation(n))
    assert torch.equal(policy.change(x[order], {k: v[order] for k, v in drawn.items()}), out[order])


def test_draws_are_uniform_over_operations_and_strengths_to_both_sides():
    drawn = TrivialAugment(0.5).draw(np.random.default_rng(0), 14_000)
    counts = np.bincount(drawn["operation"], minlength=14)
    assert len(counts) == 14 and abs(counts - 1000).max() < 150
    assert np.abs(drawn["level"]).max() == 0.5 and abs(drawn["level"].mean()) < 0.01
    assert len(np.unique(np.abs(drawn["level"]))) == 31


@pytest.mark.parametrize("name", ["ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"])
def test_what_a_moved_image_leaves_open_is_filled(name):
    policy = TrivialAugment(fill=90)
    plain = torch.full((2, 3, 20, 20), 90, dtype=torch.uint8)
    assert torch.equal(policy.change(plain, as_drawn(NAMES.index(name), 0.4, 2)), plain)


def test_corners_of_a_turned_image_are_filled_and_its_centre_is_not():
    out = TrivialAugment(fill=7).change(torch.full((1, 1, 12, 12), 200, dtype=torch.uint8), as_drawn(5, 1 / 3, 1))
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
