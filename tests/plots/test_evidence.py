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
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from seedbed.data.loader import Loader, Preprocess
from seedbed.models.mlp import MLP
from seedbed.models.resnet import ResNet18
from seedbed.plots import evidence as evidence_plot
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
    for chosen, group in ((rows[:taken], right), (rows[taken:], ~right)):
        # No class is chosen twice more often than one that has another image.
        available = np.bincount(labels[group], minlength=7)
        counts = np.bincount(labels[chosen], minlength=7)
        assert all(counts[k] >= min(counts.max() - 1, available[k]) for k in range(7))
        for k in range(7):  # the first ones, in order
            first = np.flatnonzero(group & (labels == k))[: counts[k]]
            assert chosen[labels[chosen] == k].tolist() == first.tolist()


def test_choice_goes_round_the_classes():
    labels = np.array([2, 2, 0, 0, 1, 0, 1, 2])
    predictions = np.array([2, 2, 0, 0, 1, 1, 2, 0])
    assert choose(labels, predictions).tolist() == [2, 4, 0, 3, 1, 5, 6, 7]
    assert choose(labels, predictions, 2).tolist() == [2, 4, 5, 6]
    assert choose(labels, labels, 1).tolist() == [2]
    assert choose(labels[:0], labels[:0]).tolist() == []


def drawn(path, labels, predictions, *, channels=1, size=28, names=LONG, heat=None):
    """Draw noise under these labels; the plot's pixels."""
    rng = np.random.default_rng(0)
    labels, predictions = np.array(labels), np.array(predictions)
    images = rng.random((len(labels), channels, size, size)).astype(np.float32)
    maps = rng.random((len(labels), size, size)).astype(np.float32) if heat is None else heat
    draw_overlays(
        images, maps, labels, predictions, np.linspace(0.25, 1, len(labels)), names, "layer3 (4 x 4)", "a run", path
    )
    with Image.open(path) as plot:
        return np.asarray(plot.convert("RGB"))


@pytest.fixture
def texts(monkeypatch):
    """What is written on the plots that a test draws, and the axes of each."""
    written: list[str] = []
    plots: list[Axes] = []
    real = evidence_plot.save

    def save(figure, path):
        (axes,) = figure.axes
        plots.append(axes)
        written.extend(text.get_text() for text in axes.texts)
        real(figure, path)

    monkeypatch.setattr(evidence_plot, "save", save)
    return written, plots


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
def test_groups_that_exist_are_drawn(tmp_path, texts, labels, predictions, groups, channels):
    pixels = drawn(tmp_path / "cam.png", labels, predictions, channels=channels)
    assert min(pixels.shape[:2]) > 100 and np.ptp(pixels) > 100
    written, (axes,) = texts
    assert [text for text in written if text in ("right", "wrong")] == groups
    # Heat lies on grey: in the scale, and beside each image.
    assert len(axes.get_images()) == 2 + 3 * len(labels)
    assert [p.name for p in tmp_path.iterdir()] == ["cam.png"]


def test_captions_say_what_was_taken_for_what(tmp_path, texts):
    drawn(tmp_path / "cam.png", [1, 0], [1, 2], names=["T-shirt/top", "Trouser", "Shirt"])
    written, _ = texts
    for text in ("a run", "Trouser", "T-shirt/top,\ntaken for Shirt", "0.25", "1.00"):
        assert written.count(text) == 1, text
    assert any("Grad-CAM at layer3 (4 x 4)" in text for text in written)
    assert "no evidence" not in written


def test_two_classes_of_one_name_are_still_two(tmp_path, texts):
    drawn(tmp_path / "cam.png", [0], [1], names=["same", "same"])
    assert "same,\ntaken for same" in texts[0]


def test_long_names_stay_over_their_own_images(tmp_path, texts):
    drawn(tmp_path / "cam.png", [0, 1, 2, 3], [0, 1, 3, 2])
    written, (axes,) = texts
    assert sum(text.count("…") for text in written) == 6
    renderer = FigureCanvasAgg(axes.figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in axes.texts]
    boxes += [image.get_window_extent(renderer) for image in axes.get_images() if image.cmap.name != "gray"]
    for number, box in enumerate(boxes[: len(axes.texts)]):
        assert not any(box.overlaps(other) for other in boxes[number + 1 :]), axes.texts[number].get_text()


def test_names_are_no_formulas(tmp_path, texts):
    drawn(tmp_path / "cam.png", [0, 1], [0, 0], names=["$a^$b", "\\frac $_$"])
    assert "$a^$b" in texts[0] and "\\frac $_$,\ntaken for $a^$b" in texts[0]


def test_the_heat_is_drawn_where_it_is(tmp_path, texts):
    heat = np.zeros((1, 28, 28), np.float32)
    heat[:, :, :10] = 1
    drawn(tmp_path / "cam.png", [0], [0], heat=heat)
    _, (axes,) = texts
    canvas = FigureCanvasAgg(axes.figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    box = axes.get_images()[-1].get_window_extent(canvas.get_renderer())
    top, bottom = (int(len(pixels) - y) for y in (box.y1, box.y0))
    overlay = pixels[top + 2 : bottom - 2, int(box.x0) + 2 : int(box.x1) - 2]
    left, right = overlay[:, : overlay.shape[1] // 4], overlay[:, overlay.shape[1] // 2 :]
    assert np.ptp(right, axis=-1).max() <= 1  # grey, as the image was
    top = 255 * np.array(colormaps[evidence_plot.HEAT](1.0)[:3])
    assert np.abs(left - top).mean() < 40


def test_an_image_without_evidence_says_so(tmp_path, texts):
    drawn(tmp_path / "cam.png", [0], [0], heat=np.zeros((1, 28, 28), np.float32))
    assert texts[0].count("no evidence") == 1


def test_small_images_keep_their_pixels(tmp_path, texts):
    drawn(tmp_path / "cam.png", [0], [1], size=8, channels=3)
    _, (axes,) = texts
    drawn_images = axes.get_images()[2:]
    assert [image.get_interpolation() for image in drawn_images] == ["nearest", "nearest", "bilinear"]


def test_no_images_are_no_picture(tmp_path):
    with pytest.raises(ValueError, match="no images"):
        drawn(tmp_path / "cam.png", [], [])
    assert not [*tmp_path.iterdir()]


def random_split(size: int, channels: int = 3):
    images = np.random.default_rng(0).integers(0, 256, (6, channels, size, size), dtype=np.uint8)
    return image_split(images, np.array([0, 1, 2, 0, 1, 2]))


def loader(split, batch_size: int) -> Loader:
    channels, size = split.images.shape[1:3]
    constants = [0.5] * channels
    return Loader(split, Preprocess(size, constants, constants), batch_size=batch_size, device=CPU)


def evidence_of(model, split, predictions, path, make_loader=loader) -> None:
    predictions = np.array(predictions)
    draw_evidence(model, split, make_loader, split.targets, predictions, contextlib.nullcontext, "abc", "title", path)


def test_a_models_evidence_is_drawn_on_the_images_that_are_chosen(tmp_path, texts):
    path, model, split = tmp_path / "evidence.png", ResNet18((3, 32, 32), 3), random_split(32)
    evidence_of(model, split, [0, 1, 2, 1, 2, 0], path)
    assert path.stat().st_size > 10_000
    assert all(p.grad is None for p in model.parameters())
    written, (axes,) = texts
    # Right ones first, class by class; the image is that of the split, not normalised.
    assert [text for text in written if text in "abc" or text[1:].startswith(",\n")] == [
        "a", "b", "c", "a,\ntaken for b", "b,\ntaken for c", "c,\ntaken for a",
    ]  # fmt: skip
    last = axes.get_images()[-3].get_array()
    assert np.allclose(last, split.images[5].transpose(1, 2, 0) / 255, atol=1e-6)


def test_nothing_is_drawn_of_a_model_without_maps(tmp_path):
    path = tmp_path / "evidence.png"
    no_loader = lambda split, batch_size: pytest.fail("no images are needed")  # noqa: E731
    evidence_of(MLP((3, 8, 8), 3, [8]), random_split(8), [0] * 6, path, no_loader)
    evidence_of(ResNet18((3, 1, 1), 3), random_split(1), [0] * 6, path)
    assert not path.exists()
