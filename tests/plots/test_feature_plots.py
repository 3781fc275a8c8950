"""What is drawn of a feature pipeline is what it computes: glyphs along the edges, swatches of the colours."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import image_split
from PIL import Image

from seedbed.features.descriptors import DenseColour, DenseHog, hog
from seedbed.features.orb import OrbHog
from seedbed.features.pipeline import FeaturePipeline
from seedbed.features.selection import ForestSelection
from seedbed.features.visual_words import BagOfVisualWords
from seedbed.features.vocabulary import IncrementalKMeans, SampledKMeans
from seedbed.plots import features as feature_plots
from seedbed.types import ImageData

PICTURES = {"key_points.png", "words.png", "importances.png"}


def sparse(**options) -> BagOfVisualWords:
    return BagOfVisualWords(
        OrbHog(patch=8, **options), IncrementalKMeans(12, 6, 10), "hard", power=1, norm="l1", images=None, sample=None
    )


def dense(descriptor=None) -> BagOfVisualWords:
    return BagOfVisualWords(descriptor or DenseHog(8, 4), SampledKMeans(12), levels=(1, 2))


class Folder:
    """Of a run folder, what draws in it uses."""

    def __init__(self, path: Path):
        self.path = path

    def write_json(self, name: str, content: dict) -> None:
        (self.path / name).write_text(json.dumps(content))


def pictures(channels: int, count: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Rectangles at random positions, and every fourth image flat: without a key point; labels 0 or 1."""
    rng = np.random.default_rng(0)
    images = np.full((count, channels, 32, 32), 30, np.uint8)
    for number, (y, x) in enumerate(rng.integers(4, 14, (count, 2))):
        if number % 4:
            images[number, :, y : y + 12, x : x + 8] = rng.integers(120, 255, (channels, 1, 1))
    return images, np.arange(count) % 2


def data_set(images: np.ndarray, labels: np.ndarray, val: int = 0) -> ImageData:
    """All images for training but the last `val`; none for testing."""
    rows = np.split(np.arange(len(images)), [len(images) - val, len(images)])
    splits = [image_split(images, labels, index) for index in rows]
    names = [f"{i}.png" for i in range(len(images))]
    return ImageData(*splits, ("a class of quite some length, as they come", "b"), names, "f", "s")


def fitted(bags: dict, channels: int = 1, selection=True) -> tuple[FeaturePipeline, ImageData]:
    images, labels = pictures(channels)
    pipeline = FeaturePipeline(bags, ForestSelection([8, 5], trees=5) if selection else None)
    return pipeline.fit(images, labels), data_set(images, labels)


def drawn(path: Path, pipeline: FeaturePipeline, data: ImageData) -> set[str]:
    """Names of the pictures that describe_features leaves, beside features.json."""
    feature_plots.describe_features(Folder(path), pipeline, data, "a run")
    names = {file.name for file in path.iterdir()}
    assert "features.json" in names
    return names - {"features.json"}


@pytest.mark.parametrize("degrees", [11.25, 33.75, 56.25, 101.25, 146.25, 168.75])
@pytest.mark.parametrize("cell", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_bars_lie_along_the_edges_of_their_cell(degrees, cell):
    row, column = cell
    along = np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])  # x to the right, y down
    y, x = np.mgrid[:32, :32] - 7.5
    x, y = x - 16 * column, y - 16 * row
    # Stripes that fade out, since a sharp patch of them would have edges of its own.
    stripes = np.sin((x * along[1] - y * along[0]) * 2 * np.pi / 8) * np.exp(-(x**2 + y**2) / 2 / 3.5**2)
    image = (128 + 120 * stripes).astype(np.uint8)
    segments, values = feature_plots.bars(8), hog(32).compute(image).ravel()
    middles = segments.mean(1)
    strongest = max(np.unique(middles, axis=0).tolist(), key=lambda m: values[(middles == m).all(1)].sum())
    assert strongest == [(column + 0.5) / 2, (row + 0.5) / 2]
    # HoG clips its largest numbers to the same height, so it is their mean that tells the direction; doubled angles,
    # since a bar has no sense.
    of_cell = (middles == strongest).all(1)
    steps = np.diff(segments[of_cell], axis=1)[:, 0] @ (1, 1j)
    mean = np.angle((values[of_cell] * (steps / np.abs(steps)) ** 2).sum(), deg=True) / 2
    assert abs((mean - degrees + 90) % 180 - 90) < 5


def test_upright_and_level_edges():
    for axis in (0, 1):
        image = np.zeros((16, 16), np.uint8)
        image[(slice(None), slice(8, None)) if axis else slice(8, None)] = 200
        segments, values = feature_plots.bars(8), hog(16).compute(image).ravel()
        steps = np.abs(np.diff(segments[values > 0.9 * values.max()], axis=1)[:, 0])
        assert (steps[:, axis] > 2 * steps[:, 1 - axis]).all()


def test_bars_stay_in_their_own_cells():
    segments = feature_plots.bars(8)
    assert segments.shape == (32, 2, 2)
    assert segments.min() > 0 and segments.max() < 1
    assert (np.sign(segments[:, 0] - 0.5) == np.sign(segments[:, 1] - 0.5)).all()


def test_swatches_are_the_colours_of_the_cells():
    colours = np.array([[(200, 30, 30), (30, 200, 30)], [(30, 30, 200), (250, 250, 250)]], np.uint8)
    image = colours.repeat(4, 0).repeat(4, 1).transpose(2, 0, 1)
    word = DenseColour(8, 8).describe_chunk(image[None]).values[0]
    assert np.abs(feature_plots.swatches(word) * 255 - colours).max() < 2


def order(kept: list[int], importances: list[float] | None) -> list[int]:
    """In which order the four words of a bag with two cells are drawn."""
    pipeline = FeaturePipeline({})
    pipeline.bags_ = {"hog": BagOfVisualWords(DenseHog(), SampledKMeans(), levels=(1, 1))}
    pipeline.bags_["hog"].restore(np.zeros((4, 32), np.float32))
    pipeline.kept_, pipeline.importances_ = np.array(kept), None if importances is None else np.array(importances)
    ((name, bag, columns, words),) = feature_plots.by_bag(pipeline)
    assert name == "hog" and bag is pipeline.bags_["hog"] and np.flatnonzero(columns).tolist() == sorted(kept)
    return words.tolist()


def test_kept_words_come_first_then_the_important_ones():
    importances = [5, 1, 1, 1, 0, 1, 1, 2.0]
    assert order([2, 7], importances) == [3, 2, 0, 1]
    assert order([2, 7], None) == [2, 3, 0, 1]
    assert order(list(range(8)), None) == [0, 1, 2, 3]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [None, 24])
def test_the_original_is_drawn(tmp_path, channels, size):
    assert drawn(tmp_path, *fitted({"hog": sparse(size=size)}, channels)) == PICTURES
    for path in tmp_path.glob("*.png"):
        with Image.open(path) as picture:
            assert min(picture.size) > 100 and np.ptp(np.asarray(picture.convert("L"))) > 100


def test_several_bags_are_drawn_side_by_side(tmp_path):
    bags = {"hog": dense(), "colour": dense(DenseColour(8, 4)), "orb": sparse()}
    assert drawn(tmp_path, *fitted(bags, 3)) == PICTURES


def test_colours_are_seen_in_the_picture(tmp_path):
    pipeline, _ = fitted({"colour": dense(DenseColour(8, 4))}, 3)
    pipeline.bags_["colour"].restore(np.tile(np.float32([0.2, 0.7, 0.5]), (12, 4)))  # red
    feature_plots.draw_words(pipeline, "a run", tmp_path / "words.png")
    with Image.open(tmp_path / "words.png") as picture:
        red, green, blue = np.asarray(picture.convert("RGB"), int).transpose(2, 0, 1)
    assert ((red > green + 80) & (red > blue + 80)).mean() > 0.2


def test_without_selection_there_are_no_importances(tmp_path):
    pipeline, _ = fitted({"hog": dense()}, selection=False)
    pipeline.found_ = pipeline.found_[:3]
    assert drawn(tmp_path, pipeline, data_set(*(array[:3] for array in pictures(1)))) == PICTURES - {"importances.png"}
    assert json.loads((tmp_path / "features.json").read_text())["kept_importance"] is None


def test_a_restored_pipeline_is_drawn(tmp_path):
    pipeline, data = fitted({"hog": sparse()})
    restored = FeaturePipeline({"hog": sparse()}).restore(pipeline.arrays())
    restored.found_ = pipeline.found_
    assert drawn(tmp_path, restored, data) == PICTURES - {"importances.png"}


def test_words_of_any_other_length_are_drawn(tmp_path):
    pipeline, _ = fitted({"hog": dense()}, selection=False)
    pipeline.bags_["hog"].restore(np.zeros((len(pipeline.bags_["hog"].words_), 10), np.float32))
    feature_plots.draw_words(pipeline, "a run", tmp_path / "words.png")
    assert (tmp_path / "words.png").exists()


def test_no_circle_pushes_an_image_aside(tmp_path, monkeypatch):
    """Every image fills its frame, whatever is drawn over it."""
    figures = []
    monkeypatch.setattr(feature_plots, "save", lambda figure, path: figures.append(figure))
    pipeline, data = fitted({"orb": sparse(), "hog": dense()})
    feature_plots.draw_key_points(pipeline, data.train.images, ["a"] * len(data.train), "a run", tmp_path)
    assert len(figures[0].axes) == len(data.train) + 1
    assert all(axes.get_xlim() == (0, 1) and axes.get_ylim() == (1, 0) for axes in figures[0].axes)


def test_images_without_any_key_point_are_drawn(tmp_path):
    pipeline, data = fitted({"hog": sparse()})
    blank = data_set(np.zeros_like(data.train.images), data.train.labels)
    assert drawn(tmp_path, pipeline, blank) == PICTURES


def test_one_image_of_each_class_is_drawn_first(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(feature_plots, "draw_key_points", lambda pipeline, images, names, *_: calls.append(names))
    pipeline, _ = fitted({"hog": dense()})
    images, _ = pictures(1)
    drawn(tmp_path, pipeline, data_set(images, np.arange(20) >= 18))
    assert len(calls[0]) == 16 and [name == "b" for name in calls[0]] == [False, True] + [False] * 14


def test_features_json_comes_last(tmp_path, monkeypatch):
    """A run that was killed before draws the pictures when it goes on."""
    monkeypatch.setattr(feature_plots, "draw_importances", lambda *_: (_ for _ in ()).throw(RuntimeError("killed")))
    with pytest.raises(RuntimeError):
        drawn(tmp_path, *fitted({"hog": dense()}))
    assert not (tmp_path / "features.json").exists()


def test_metadata_is_plain_numbers():
    pipeline, data = fitted({"hog": dense(), "orb": sparse()})
    data = data_set(data.train.images, data.train.labels, val=4)
    metadata = json.loads(json.dumps(feature_plots.metadata(pipeline, data)))
    hog_words, orb_words = (len(bag.words_) for bag in pipeline.bags_.values())
    assert metadata["bags"]["hog"] == {
        "descriptor": "DenseHog", "words": hog_words, "cells": 5, "columns": 5 * hog_words,
        "kept": metadata["bags"]["hog"]["kept"],
    }  # fmt: skip
    assert metadata["columns"] == 5 * hog_words + orb_words
    assert metadata["kept"] == 5 == sum(bag["kept"] for bag in metadata["bags"].values())
    assert 0 < metadata["kept_importance"] <= 1
    assert metadata["without_key_point"] == {
        "training": {"images": 16, "without": 4, "share": 0.25},
        "validation": {"images": 4, "without": 1, "share": 0.25},
        "test": {"images": 0, "without": 0, "share": 0.0},
    }


@pytest.mark.parametrize(("turns", "towards"), [(0, (1, 0)), (1, (0, -1)), (2, (-1, 0)), (3, (0, 1))])
def test_a_signed_word_lies_on_the_bright_side(turns, towards):
    image = np.zeros((12, 12), np.uint8)
    image[:, 6:] = 200  # bright on the right; each turn is one to the left
    images = np.rot90(image, turns).copy()[None, None]
    (word,) = DenseHog(patch=12, stride=12, bins=12, signed=True).describe(images).values
    segments = feature_plots.bars(12, signed=True)
    middles = segments.mean(1) - np.repeat(np.array([(x, y) for x in (0.25, 0.75) for y in (0.25, 0.75)]), 12, 0)
    leaning = (middles * word[:, None]).sum(0)
    assert leaning @ np.array(towards) > 0.9 * np.linalg.norm(leaning) > 0
