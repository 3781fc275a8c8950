"""Augmentation: coordinates pulled back, one gather, parameters by sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import image_split
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as TF

from seedbed.data.augment import Chain, Coordinates, Erase, HorizontalFlip, PaddedCrop, ResizedCrop, Rotation, Step
from seedbed.data.loader import Loader
from seedbed.data.preprocess import Preprocess
from seedbed.errors import UserError

images = st.builds(
    lambda seed, n, c, s: torch.from_numpy(
        np.random.default_rng(seed).integers(0, 256, (n, c, s, s), dtype=np.uint8)
    ),
    st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([1, 3]), st.integers(6, 20),
)  # fmt: skip


def constant(n: int, **values: float) -> dict[str, torch.Tensor]:
    return {key: torch.full((n,), value) for key, value in values.items()}


def turned(n: int, degrees: float) -> dict[str, torch.Tensor]:
    angle = torch.deg2rad(torch.tensor(degrees))
    return constant(n, cos=float(torch.cos(angle)), sin=float(torch.sin(angle)))


@given(images)
def test_identity_parameters_change_nothing(x):
    n = len(x)
    steps = {"flip": HorizontalFlip(), "rotate": Rotation(90.0), "zoom": ResizedCrop([0.5, 1]), "crop": PaddedCrop(4)}
    nothing = {"flip": constant(n, flip=False), "rotate": turned(n, 0), "crop": constant(n, top=4, left=4)}
    nothing["zoom"] = constant(n, side=1.0, top=0.0, left=0.0)
    assert torch.equal(Chain(steps).apply(x, nothing), x)


@given(images)
def test_a_flip_twice_is_the_identity(x):
    chain, always = Chain({"flip": HorizontalFlip()}), {"flip": constant(len(x), flip=True)}
    once = chain.apply(x, always)
    assert torch.equal(once, x.flip(-1))
    assert torch.equal(chain.apply(once, always), x)


@given(images, st.data())
def test_erase_blackens_the_square_it_says_and_nothing_else(x, data):
    size = x.shape[-1]
    side = data.draw(st.integers(1, size))
    top, left = data.draw(st.integers(0, size - side)), data.draw(st.integers(0, size - side))
    erase = Chain({"flip": HorizontalFlip(), "erase": Erase(side)})
    out = erase.apply(x, {"flip": constant(len(x), flip=True), "erase": constant(len(x), top=top, left=left)})
    expected = x.flip(-1).clone()
    expected[..., top : top + side, left : left + side] = 0
    assert torch.equal(out, expected)


@given(st.integers(1, 20), st.integers(1, 20))
def test_erase_draws_squares_within_the_image(side, more):
    size = side + more - 1
    drawn = Erase(side).draw(np.random.default_rng(0), 200, size)
    for corner in drawn.values():
        assert corner.min() >= 0
        assert corner.max() <= size - side


def test_erase_refuses_a_square_larger_than_the_image():
    with pytest.raises(UserError, match="a square of 9 needs images"):
        Chain({"erase": Erase(9)}).sizes(8)
    with pytest.raises(UserError, match="side >= 1"):
        Erase(0)


@given(images, st.integers(0, 5), st.data())
def test_a_crop_of_a_padded_image_is_the_slice_it_says(x, padding, data):
    size = x.shape[-1]
    out_size = data.draw(st.integers(1, size + 2 * padding))
    room = size + 2 * padding - out_size
    top, left = data.draw(st.integers(0, room)), data.draw(st.integers(0, room))
    out = Chain({"crop": PaddedCrop(padding, out_size)}).apply(x, {"crop": constant(len(x), top=top, left=left)})
    padded = torch.from_numpy(np.pad(x.numpy(), ((0, 0), (0, 0), (padding, padding), (padding, padding)), "reflect"))
    assert torch.equal(out, padded[..., top : top + out_size, left : left + out_size])


@given(images, st.integers(1, 4), st.data())
def test_a_resized_crop_is_its_square_with_every_pixel_repeated(x, times, data):
    size = x.shape[-1] // times * times
    x, side = x[..., :size, :size], size // times
    top, left = data.draw(st.integers(0, size - side)), data.draw(st.integers(0, size - side))
    drawn = constant(len(x), side=1 / times, top=float(top), left=float(left))
    out = Chain({"zoom": ResizedCrop([0.1, 1.0])}).apply(x, {"zoom": drawn})
    square = x[..., top : top + side, left : left + side]
    assert torch.equal(out, square.repeat_interleave(times, -1).repeat_interleave(times, -2))


@given(st.floats(0.01, 1), st.floats(0, 1), st.integers(1, 40))
def test_resized_crops_are_drawn_within_the_image_and_have_the_areas_asked_for(least, more, size):
    scale = [least, least + more * (1 - least)]
    drawn = ResizedCrop(scale).draw(np.random.default_rng(0), 200, size)
    area = drawn["side"] ** 2
    assert area.min() >= scale[0] - 1e-6 and area.max() <= scale[1] + 1e-6
    for start in (drawn["top"], drawn["left"]):
        assert start.min() >= 0 and (start + drawn["side"] * size).max() <= size + 1e-4


@pytest.mark.parametrize("scale", [[0.0, 1.0], [0.5], [0.8, 0.4], [0.5, 1.2]])
def test_resized_crop_refuses_shares_that_are_none(scale):
    with pytest.raises(UserError, match=r"two rising shares in \(0, 1\]"):
        ResizedCrop(scale)


@given(images, st.sampled_from([90, 180, -90]))
def test_a_quarter_turn_is_exact(x, degrees):
    out = Chain({"rotate": Rotation(180.0)}).apply(x, {"rotate": turned(len(x), float(degrees))})
    assert torch.equal(out, torch.rot90(x, degrees // 90, (2, 3)))


@given(images, st.floats(-90, 90))
def test_rotation_agrees_with_torchvision(x, degrees):
    out = Chain({"rotate": Rotation(90.0)}).apply(x, {"rotate": turned(len(x), degrees)})
    expected = TF.rotate(x, degrees, interpolation=v2.InterpolationMode.NEAREST, fill=0)
    # A pixel whose coordinates fall between two others within float rounding may go either way.
    angle, size = np.deg2rad(degrees), x.shape[-1]
    d = np.arange(size) - (size - 1) / 2
    px = np.cos(angle) * d[None] - np.sin(angle) * d[:, None] + (size - 1) / 2
    py = np.sin(angle) * d[None] + np.cos(angle) * d[:, None] + (size - 1) / 2
    tie = (np.abs(px % 1 - 0.5) < 1e-3) | (np.abs(py % 1 - 0.5) < 1e-3)
    assert torch.equal(out[..., ~torch.from_numpy(tie)], expected[..., ~torch.from_numpy(tie)])


@given(images, st.floats(-180, 180))
def test_rotation_that_goes_on_with_the_edge_is_that_of_an_image_padded_with_it(x, degrees):
    size, room = x.shape[-1], x.shape[-1]
    out = Chain({"rotate": Rotation(180.0, fill="edge")}).apply(x, {"rotate": turned(len(x), degrees)})
    padded = torch.from_numpy(np.pad(x.numpy(), ((0, 0), (0, 0), (room, room), (room, room)), "edge"))
    wide = Chain({"rotate": Rotation(180.0)}).apply(padded, {"rotate": turned(len(x), degrees)})
    angle, d = np.deg2rad(degrees), np.arange(size) - (size - 1) / 2
    px = np.cos(angle) * d[None] - np.sin(angle) * d[:, None] + (size - 1) / 2
    py = np.sin(angle) * d[None] + np.cos(angle) * d[:, None] + (size - 1) / 2
    tie = (np.abs(px % 1 - 0.5) < 1e-3) | (np.abs(py % 1 - 0.5) < 1e-3)
    inner = wide[..., room : room + size, room : room + size]
    assert torch.equal(out[..., ~torch.from_numpy(tie)], inner[..., ~torch.from_numpy(tie)])


def test_rotation_refuses_another_fill():
    with pytest.raises(UserError, match="fill must be zeros or edge, got white"):
        Rotation(90.0, fill="white")


def test_the_chain_does_in_one_gather_what_its_steps_do_in_turn():
    rng = np.random.default_rng(3)
    x = torch.from_numpy(rng.integers(0, 256, (64, 3, 17, 17), dtype=np.uint8))
    steps = {
        "flip": HorizontalFlip(), "rotate": Rotation(90.0), "zoom": ResizedCrop([0.3, 1.0]), "crop": PaddedCrop(4, 13),
    }  # fmt: skip
    drawn = {k: {p: torch.from_numpy(v) for p, v in s.items()} for k, s in Chain(steps).draw(rng, len(x), 17).items()}
    one_by_one = x
    for name, step in steps.items():
        one_by_one = Chain({name: step}).apply(one_by_one, drawn)
    together = Chain(steps).apply(x, drawn)
    assert together.shape == (64, 3, 13, 13)
    assert torch.equal(together, one_by_one)


def test_what_a_rotation_leaves_empty_stays_empty_after_a_later_padded_crop():
    white = torch.full((1, 1, 9, 9), 255, dtype=torch.uint8)
    steps = {"crop": PaddedCrop(2), "rotate": Rotation(45.0)}
    out = Chain(steps).apply(white, {"crop": constant(1, top=0, left=0), "rotate": turned(1, 45.0)})
    assert out[0, 0, 0, 0] == 0 and out[0, 0, 4, 4] == 255


def loader_of(seed: int, batch_size: int, n: int = 23) -> Loader:
    rng = np.random.default_rng(0)
    split = image_split(rng.integers(0, 256, (n, 1, 10, 10), dtype=np.uint8), np.arange(n))
    chain = Chain({
        "flip": HorizontalFlip(), "rotate": Rotation(90.0, "edge"), "zoom": ResizedCrop([0.3, 1]),
        "crop": PaddedCrop(3),
    })  # fmt: skip
    return Loader(
        split, Preprocess(10, (0.5,), (0.5,)), batch_size=batch_size, device=torch.device("cpu"), seed=seed,
        augment=chain,
    )  # fmt: skip


def by_sample(loader: Loader, epoch: int) -> dict[int, torch.Tensor]:
    return {int(y): x for xs, ys in loader.epoch(epoch) for x, y in zip(xs, ys, strict=True)}


@given(st.integers(0, 2**32), st.integers(0, 100), st.integers(2, 23), st.integers(2, 23))
@settings(max_examples=30)
def test_the_same_seed_epoch_and_sample_give_the_same_pixels_whatever_the_batch(seed, epoch, one, other):
    a, b = by_sample(loader_of(seed, one), epoch), by_sample(loader_of(seed, other), epoch)
    for sample in a.keys() & b.keys():
        assert torch.equal(a[sample], b[sample])
    assert len(a) >= 22 and len(b) >= 22


def test_epochs_and_seeds_differ():
    first = by_sample(loader_of(0, 23), 0)
    assert any(not torch.equal(first[s], x) for s, x in by_sample(loader_of(0, 23), 1).items())
    assert any(not torch.equal(first[s], x) for s, x in by_sample(loader_of(1, 23), 0).items())


def test_draws_fill_their_ranges():
    rng = np.random.default_rng(0)
    crop = PaddedCrop(4, 28).draw(rng, 5000, 28)
    assert set(crop["top"]) == set(crop["left"]) == set(range(9))
    assert abs(HorizontalFlip(0.3).draw(rng, 5000, 28)["flip"].mean() - 0.3) < 0.03
    turn = Rotation(90.0).draw(rng, 5000, 28)
    angle = np.rad2deg(np.arctan2(turn["sin"], turn["cos"]))
    assert -90 <= angle.min() < -88 and 88 < angle.max() <= 90 and abs(angle.mean()) < 3
    zoom = ResizedCrop([0.25, 1.0]).draw(rng, 5000, 28)
    area, room = zoom["side"] ** 2, 28 * (1 - zoom["side"])
    assert area.min() < 0.26 and area.max() > 0.99 and abs(area.mean() - 0.625) < 0.02
    for start in (zoom["top"], zoom["left"]):
        assert abs((start / room).mean() - 0.5) < 0.02 and (start / room).max() > 0.98
    assert abs(np.corrcoef(zoom["top"] / room, zoom["left"] / room)[0, 1]) < 0.05


@pytest.mark.parametrize(
    "make",
    [
        lambda: HorizontalFlip(1.5), lambda: Rotation(-1.0), lambda: PaddedCrop(-1), lambda: PaddedCrop(1, 0),
        lambda: Chain({"crop": PaddedCrop(12)}).sizes(12), lambda: Chain({"crop": PaddedCrop(1, 40)}).sizes(28),
    ],
)  # fmt: skip
def test_impossible_parameters_are_refused(make):
    with pytest.raises(UserError):
        make()


def test_a_step_of_ones_own_needs_the_two_methods_that_the_guide_shows():
    class VerticalFlip(Step):
        def draw(self, rng, n, size):
            return {"flip": rng.random(n) < 1}

        def pull(self, at, size, parameters):
            return Coordinates(torch.where(parameters["flip"], size - 1 - at.y, at.y), at.x, at.inside)

    chain = Chain({"flip": VerticalFlip()})
    images = torch.arange(2 * 16, dtype=torch.uint8).reshape(2, 1, 4, 4)
    parameters = chain.draw(np.random.default_rng(0), 2, 4)
    as_tensors = {name: {key: torch.from_numpy(v) for key, v in drawn.items()} for name, drawn in parameters.items()}
    assert torch.equal(chain.apply(images, as_tensors), images.flip(2))

    class Half:
        def pull(self, at, size, parameters):
            return at

    with pytest.raises(UserError, match=r"steps\.half: Half is no step .* it lacks output_size and draw"):
        Chain({"half": Half()})
