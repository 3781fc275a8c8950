"""Overlays: which images are chosen, and that any choice of them is drawn."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from conftest import image_split
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from seedbed.data.loader import Loader, Preprocess
from seedbed.models.mlp import MLP
from seedbed.models.resnet import ResNet18
from seedbed.plots import evidence as grad_cam_plot
from seedbed.plots.evidence import choose, draw_evidence, draw_overlays

CPU = torch.device("cpu")
LONG = [f"a class of quite some length, as they come, number {i}" for i in range(141)]

pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=80)


@given(pairs, st.integers(0, 12))
def test_choice(drawn, n):
    labels, predictions = np.array(drawn, np.int64).reshape(-1, 2).T
    rows = choose(labels, predictions, n)
    assert rows.dtype == np.int64 and len(set(rows.tolist())) == len(rows)
    right = labels == predictions
    taken = int(min(right.sum(), n))
    assert right[rows[:taken]].all() and not right[rows[taken:]].any()
    assert len(rows) == taken + min((~right).sum(), n)
    for own, group in ((rows[:taken], right), (rows[taken:], ~right)):
        # No class is shown twice more than one of which there is another image.
        there = np.bincount(labels[group], minlength=7)
        shown = np.bincount(labels[own], minlength=7)
        assert all(shown[k] >= min(shown.max() - 1, there[k]) for k in range(7))
        for k in range(7):  # the first ones, in order
            first = np.flatnonzero(group & (labels == k))[: shown[k]]
            assert own[labels[own] == k].tolist() == first.tolist()


def test_choice_goes_round_the_classes():
    labels = np.array([2, 2, 0, 0, 1, 0, 1, 2])
    predictions = np.array([2, 2, 0, 0, 1, 1, 2, 0])
    assert choose(labels, predictions).tolist() == [2, 4, 0, 3, 1, 5, 6, 7]
    assert choose(labels, predictions, 2).tolist() == [2, 4, 5, 6]
    assert choose(labels, labels, 1).tolist() == [2]
    assert choose(labels[:0], labels[:0]).tolist() == []


def drawn(path, labels, predictions, *, channels=1, size=28, names=LONG, heat=None):
    """Draw noise under these labels; the picture's pixels."""
    rng = np.random.default_rng(0)
    labels, predictions = np.array(labels), np.array(predictions)
    images = rng.random((len(labels), channels, size, size)).astype(np.float32)
    maps = rng.random((len(labels), size, size)).astype(np.float32) if heat is None else heat
    draw_overlays(
        images, maps, labels, predictions, np.linspace(0.25, 1, len(labels)), names, "layer3 (4 x 4)", "a run", path
    )
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.fixture
def texts(monkeypatch):
    """What is written on the pictures that a test draws, and the pictures."""
    found: list[str] = []
    figures: list[Figure] = []
    real = grad_cam_plot.save

    def save(figure, path):
        figures.append(figure)
        found.extend(text.get_text() for text in figure.texts)
        found.extend(text.get_text() for axes in figure.axes for text in axes.texts)
        real(figure, path)

    monkeypatch.setattr(grad_cam_plot, "save", save)
    return found, figures


@pytest.mark.parametrize(
    ("labels", "predictions", "groups"),
    [
        ([0, 1, 2], [0, 1, 2], ["right"]),
        ([0, 1, 2], [1, 2, 0], ["wrong"]),
        ([0, 1, 2, 2, 1, 0, 3], [0, 1, 2, 0, 1, 0, 3], ["right", "wrong"]),
        ([3], [3], ["right"]),
        ([3], [140], ["wrong"]),
        (range(60, 76), range(80, 64, -1), ["right", "wrong"]),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_groups_that_are_there_are_drawn(tmp_path, texts, labels, predictions, groups, channels):
    pixels = drawn(tmp_path / "cam.png", labels, predictions, channels=channels)
    assert min(pixels.shape[:2]) > 100 and np.ptp(pixels) > 100
    written, (figure,) = texts
    assert [text for text in written if text in ("right", "wrong")] == groups
    assert len(figure.axes) == 2 * len(labels) + 1  # an image and its overlay each, and the scale
    assert [p.name for p in tmp_path.iterdir()] == ["cam.png"]


def test_captions_say_what_was_taken_for_what(tmp_path, texts):
    drawn(tmp_path / "cam.png", [1, 0], [1, 2], names=["T-shirt/top", "Trouser", "Shirt"])
    written, _ = texts
    for text in ("a run", "Trouser", "T-shirt/top,", "taken for Shirt", "0.25", "1.00"):
        assert written.count(text) == 1, text
    assert any("Grad-CAM at layer3 (4 x 4)" in text for text in written)
    assert "no evidence" not in written


def test_two_classes_of_one_name_are_still_two(tmp_path, texts):
    drawn(tmp_path / "cam.png", [0], [1], names=["same", "same"])
    assert "taken for same" in texts[0]


def test_long_names_stay_over_their_own_images(tmp_path, texts):
    drawn(tmp_path / "cam.png", [0, 1, 2, 3], [0, 1, 3, 2])
    written, (figure,) = texts
    assert sum("…" in text for text in written) == 6
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.texts]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[number + 1 :]), figure.texts[number].get_text()


def test_names_are_no_formulas(tmp_path, texts):
    drawn(tmp_path / "cam.png", [0, 1], [0, 0], names=["$a^$b", "\\frac $_$"])
    assert "$a^$b" in texts[0] and "\\frac $_$," in texts[0]


def test_the_heat_is_drawn_where_it_is(tmp_path, texts):
    heat = np.zeros((1, 28, 28), np.float32)
    heat[:, :, :10] = 1
    drawn(tmp_path / "cam.png", [0], [0], heat=heat)
    _, (figure,) = texts
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    box = figure.axes[-1].get_window_extent()  # the overlay
    own = pixels[int(len(pixels) - box.y1) + 2 : int(len(pixels) - box.y0) - 2, int(box.x0) + 2 : int(box.x1) - 2]
    left, right = own[:, : own.shape[1] // 4], own[:, own.shape[1] // 2 :]
    assert np.ptp(right, axis=-1).max() <= 1  # grey, as the image was
    top = 255 * np.array(colormaps[grad_cam_plot.HEAT](1.0)[:3])
    assert np.abs(left - top).mean() < 40


def test_an_image_without_evidence_says_so(tmp_path, texts):
    drawn(tmp_path / "cam.png", [0], [0], heat=np.zeros((1, 28, 28), np.float32))
    assert texts[0].count("no evidence") == 1


def test_small_images_keep_their_pixels(tmp_path, texts):
    drawn(tmp_path / "cam.png", [0], [1], size=8, channels=3)
    _, (figure,) = texts
    _scale, plain, overlay = (axes.get_images() for axes in figure.axes)
    assert [image.get_interpolation() for image in (*plain, *overlay)] == ["nearest", "nearest", "bilinear"]


def test_no_images_are_no_picture(tmp_path):
    with pytest.raises(ValueError, match="no images"):
        drawn(tmp_path / "cam.png", [], [])
    assert not [*tmp_path.iterdir()]


def test_a_models_evidence_is_drawn_on_the_images_of_its_loader(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
    labels = np.array([0, 1, 2, 0, 1, 2])
    shown = Loader(image_split(images, labels), Preprocess(32, [0.5] * 3, [0.5] * 3), batch_size=6, device=CPU)
    path = tmp_path / "evidence.png"
    model = ResNet18((3, 32, 32), 3)
    draw_evidence(model, shown, labels, np.array([0, 1, 2, 1, 2, 0]), contextlib.nullcontext, "abc", "title", path)
    assert path.stat().st_size > 10_000
    assert all(p.grad is None for p in model.parameters())


def test_nothing_is_drawn_of_a_model_without_maps(tmp_path):
    images = np.zeros((2, 1, 28, 28), np.uint8)
    shown = Loader(image_split(images, np.array([0, 1])), Preprocess(28, [0.5], [0.5]), batch_size=2, device=CPU)
    path = tmp_path / "evidence.png"
    draw_evidence(
        MLP((1, 28, 28), 2, [8]), shown, np.array([0, 1]), np.array([0, 1]), contextlib.nullcontext, "ab", "t", path
    )
    assert not path.exists()
