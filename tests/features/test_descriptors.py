"""Local descriptors: what they hold, where they stand, and what they refuse."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest
from examples import bag, pictures
from hypothesis import given, settings
from hypothesis import strategies as st

from seedbed.errors import UserError
from seedbed.features import descriptors
from seedbed.features.descriptors import DenseColour, DenseHog, hog
from seedbed.features.orb import OrbHog
from seedbed.features.vocabulary import SampledKMeans


def blank(n: int = 1, channels: int = 1, size: int = 16, value: int = 0) -> np.ndarray:
    return np.full((n, channels, size, size), value, np.uint8)


def is_sound(described: descriptors.Descriptors, n: int) -> bool:
    return (
        len(described) == n == len(described.found)
        and described.counts.min() >= 1
        and described.counts.sum() == len(described.values) == len(described.positions)
        and np.isfinite(described.values).all()
        and described.values.dtype == described.positions.dtype == np.float32
        and ((described.positions >= 0) & (described.positions < 1)).all()
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 28, 32, 64, 100])
def test_orb_describes_each_key_point_by_32_numbers(size, channels):
    images, _ = pictures(4, channels, size)
    described = OrbHog(threshold=5, patch=8).describe(images)
    assert is_sound(described, 4) and described.values.shape[1] == 32
    assert size < 16 or described.found.all()
    lengths = np.linalg.norm(described.values, axis=1)
    assert (np.isclose(lengths, 1, atol=0.02) | (lengths == 0)).all()


def test_orb_stands_where_the_corner_is():
    image = blank(size=64)
    image[..., 8:20, 40:52] = 255
    described = OrbHog().describe(image)
    x, y = described.positions.T * 64
    assert described.found.all() and ((x > 36) & (x < 56) & (y > 4) & (y < 24)).all()


def test_orbs_patch_is_centred_on_its_key_point():
    images, _ = pictures(1, size=64)
    described = OrbHog(threshold=20, patch=8).describe(images)
    inner = [i for i, p in enumerate(described.positions * 64) if p.min() > 6 and p.max() < 58]
    assert inner
    for i in inner[:10]:
        x, y = (round(float(v)) for v in described.positions[i] * 64)
        expected = hog(8).compute(images[0, 0], locations=[(x - 4, y - 4)])
        np.testing.assert_allclose(described.values[i], expected.ravel(), atol=1e-6)


def test_orb_keeps_no_more_points_than_asked_for():
    images, _ = pictures(3, size=64)
    some, one = (OrbHog(threshold=5, patch=8, key_points=n).describe(images) for n in (20, 1))
    assert (some.counts <= 20).all() and (one.counts == 1).all()


def test_orbs_points_are_the_strongest_first():
    image = blank(size=64)
    image[..., 10:20, 10:20] = 255
    image[..., 40:50, 40:50] = 60
    (x, y), *_ = OrbHog(threshold=5, patch=8).describe(image).positions * 64
    assert max(x, y) < 30


@pytest.mark.parametrize("size", [28, 64])
def test_orbs_key_points_are_opencvs_with_a_margin_that_shrinks_with_the_image(size):
    images, _ = pictures(3, size=size)
    described = OrbHog(threshold=5, patch=8).describe(images)
    orb = cv2.ORB_create(edgeThreshold=size // 8, patchSize=size // 8, fastThreshold=5, nlevels=8 if size >= 64 else 3)
    for number, image in enumerate(images):
        expected = cv2.KeyPoint_convert(orb.detect(image[0])) / np.float32(size)
        assert sorted(described.positions[described.images == number].tolist()) == sorted(expected.tolist())


def test_opencvs_own_margin_leaves_no_room_on_a_small_image():
    images, _ = pictures(2, size=28)
    assert OrbHog(threshold=5, patch=8).describe(images).found.all()
    assert not OrbHog(threshold=5, patch=8, edge=31).describe(images).found.any()


def test_an_image_without_key_points_is_described_whole():
    images, _ = pictures(3, size=32)
    images[1] = 90
    images[1, :, :, 16:] = 100  # an edge too faint for a key point
    described = OrbHog(whole=64).describe(images)
    assert is_sound(described, 3) and described.found.tolist() == [True, False, True] and described.counts[1] == 1
    assert described.positions[described.images == 1].tolist() == [[0.5, 0.5]]
    whole = hog(64).compute(cv2.resize(images[1, 0], (64, 64), interpolation=cv2.INTER_LINEAR))
    np.testing.assert_allclose(described.values[described.images == 1], whole.reshape(1, -1), atol=1e-6)


@pytest.mark.parametrize(("patch", "stride", "size"), [(2, 1, 5), (4, 3, 13), (6, 2, 16), (8, 8, 16), (16, 5, 16)])
def test_the_grid_holds_every_patch_in_its_place(patch, stride, size):
    """The whole-image way agrees with a computation of one patch at a time, at the place that is named."""
    images, _ = pictures(2, size=16)
    images = np.ascontiguousarray(images[..., :size, :size])
    described = DenseHog(patch, stride).describe(images)
    aside = (size - patch) // stride + 1
    assert is_sound(described, 2) and described.found.all() and described.counts.tolist() == [aside**2] * 2
    corners = described.positions * size - patch / 2
    for value, (x, y), image in zip(described.values, corners, described.images, strict=True):
        expected = hog(patch).compute(images[image, 0], locations=[(round(float(x)), round(float(y)))])
        np.testing.assert_allclose(value, expected.ravel(), atol=1e-5)
    first = described.positions[: aside**2].reshape(aside, aside, 2)
    assert (np.diff(first[..., 0], axis=1) > 0).all() and (np.diff(first[..., 1], axis=0) > 0).all()


@pytest.mark.parametrize(("row", "column", "cell"), [(0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, 3)])
@pytest.mark.parametrize("describe", [DenseHog(patch=4, stride=2), DenseColour(patch=4, stride=2)])
def test_a_bright_corner_shows_up_in_its_cell(describe, row, column, cell):
    image = blank(channels=3, size=16)
    image[..., row * 10 + 2 : row * 10 + 5, column * 10 + 2 : column * 10 + 5] = 255
    words = bag(
        describe, SampledKMeans(words=3), assignment="hard", levels=(2,), power=1, norm="none", images=None, sample=None
    ).fit(image)
    histogram = words.transform(image).reshape(4, -1)
    flat = histogram.sum(0).argmax()  # the black patches
    assert (np.delete(histogram, flat, 1).sum(1) > 0).tolist() == [i == cell for i in range(4)]


def test_hog_tells_orientations_apart_and_is_nothing_on_a_flat_patch():
    upright, lying = blank(size=8), blank(size=8)
    upright[..., 4:], lying[..., 4:, :] = 200, 200
    a, b, c = (DenseHog(8).describe(x).values[0] for x in (upright, lying, blank(size=8, value=77)))
    assert a @ b < 0.2 < 0.9 < a @ a and (c == 0).all()


def test_colours_tell_red_from_green():
    red, green = blank(channels=3), blank(channels=3)
    red[:, 0] = green[:, 1] = 255
    values = [DenseColour().describe(x).values for x in (red, green)]
    assert values[0].shape[1] == 12 and all(np.abs(v).max() < 1.2 for v in values)
    a = np.arange(12) % 3 == 1  # Lab: from green to red
    assert (values[0][:, a] > 0.5).all() and (values[1][:, a] < -0.5).all()
    words = bag(DenseColour(), SampledKMeans(words=2), assignment="hard").fit(np.concatenate([red, green]))
    assert not np.allclose(words.transform(red), words.transform(green))


@given(st.sampled_from([2, 4, 6, 8]), st.integers(1, 5), st.integers(0, 50))
@settings(max_examples=25)
def test_colours_are_the_cells_means(patch, stride, seed):
    image = np.random.default_rng(seed).integers(0, 256, (1, 3, 11, 11)).astype(np.uint8)
    lab = cv2.cvtColor(image[0].transpose(1, 2, 0).astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    lab = (lab - [50, 0, 0]) / [50, 100, 100]
    cell, naive = patch // 2, []
    for y in range(0, 11 - patch + 1, stride):
        for x in range(0, 11 - patch + 1, stride):
            corners = [lab[y + dy :, x + dx :][:cell, :cell].mean((0, 1)) for dy in (0, cell) for dx in (0, cell)]
            naive.append(np.concatenate(corners))
    described = DenseColour(patch, stride).describe(image)
    np.testing.assert_allclose(described.values, naive, atol=1e-4)
    assert is_sound(described, 1)


@pytest.mark.parametrize("describe", [OrbHog(threshold=5, patch=8), DenseHog(6, 4), DenseColour(6, 4)])
def test_chunks_and_cores_change_nothing(describe, monkeypatch):
    images, _ = pictures(11, channels=3)
    whole = describe.describe(images)
    monkeypatch.setattr(descriptors, "CHUNK", 3)
    for n in (1, 2):
        monkeypatch.setattr(descriptors, "cores", lambda n=n: n)
        described = describe.describe(images)
        assert all(np.array_equal(getattr(described, f), getattr(whole, f)) for f in ("values", "positions", "counts"))


@pytest.mark.parametrize("describe", [OrbHog(patch=16), DenseHog(16), DenseColour(16)])
def test_an_image_smaller_than_the_patch_is_refused_by_their_sizes(describe):
    with pytest.raises(UserError, match="patch of 16 pixels on images of 12"):
        describe.describe(blank(channels=3, size=12))


@pytest.mark.parametrize("describe", [OrbHog(patch=1), DenseHog(0), DenseColour(-2)])
def test_a_patch_of_less_than_two_pixels_is_refused(describe):
    with pytest.raises(UserError, match="patch of"):
        describe.describe(blank(channels=3))


@pytest.mark.parametrize("size", [7, 8, 13])
def test_dense_hog_refuses_an_odd_patch(size):
    """HoG's 2 x 2 cells cover an even window: its grid would not be the one of the named positions."""
    with pytest.raises(UserError, match=r"even|patch"):
        DenseHog(patch=7, stride=1).describe(blank(size=size))


def test_orbs_patch_is_measured_on_the_resized_image():
    images, _ = pictures(3, size=16)
    small = np.ascontiguousarray(images[..., :8, :8])
    assert is_sound(OrbHog(threshold=5, patch=16, size=64).describe(small), 3)
    with pytest.raises(UserError, match="patch of 16 pixels on images of 8"):
        OrbHog(threshold=5, patch=16, size=8).describe(images)


@pytest.mark.parametrize("channels", [1, 3])
def test_constant_images_are_described_by_zeros(channels):
    for describe in (OrbHog(patch=8), DenseHog(6)):
        described = describe.describe(blank(3, channels, value=9))
        assert is_sound(described, 3) and (described.values == 0).all()
    assert not OrbHog(patch=8).describe(blank(3, channels)).found.any()


def test_colour_words_need_colour():
    with pytest.raises(UserError, match="need colour images"):
        DenseColour().describe(blank())


def test_a_whole_of_one_pixel_does_not_end_the_process():
    """In a process of its expected: OpenCV divides by zero, and the whole process goes with it."""
    code = (
        "import numpy as np\nfrom seedbed.features.orb import OrbHog\nfrom seedbed.errors import UserError\n"
        "try: OrbHog(whole=1, patch=4).describe(np.zeros((1, 1, 16, 16), np.uint8))\n"
        "except UserError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "whole" in done.stdout, (done.returncode, done.stderr)
