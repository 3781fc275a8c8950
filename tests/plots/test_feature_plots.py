"""What is drawn of a feature pipeline is what it computes: glyphs along the edges, swatches of the colours."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from seedbed.features.descriptors import DenseColour, DenseHog, hog
from seedbed.features.orb import OrbHog
from seedbed.features.pipeline import FeaturePipeline
from seedbed.features.selection import ForestSelection
from seedbed.features.visual_words import BagOfVisualWords
from seedbed.features.vocabulary import IncrementalKMeans, SampledKMeans
from seedbed.plots import features as feature_plots

PICTURES = {"key_points.png", "words.png", "importances.png"}


def sparse(**options) -> BagOfVisualWords:
    return BagOfVisualWords(
        OrbHog(patch=8, **options), IncrementalKMeans(12, 6, 10), "hard", power=1, norm="l1", images=None, sample=None
    )


def dense(descriptor=None) -> BagOfVisualWords:
    return BagOfVisualWords(descriptor or DenseHog(8, 4), SampledKMeans(12), levels=(1, 2))


def pictures(channels: int, count: int = 20) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Rectangles at random places, and every fourth image flat: without a key point."""
    rng = np.random.default_rng(0)
    images = np.full((count, channels, 32, 32), 30, np.uint8)
    for number, (y, x) in enumerate(rng.integers(4, 14, (count, 2))):
        if number % 4:
            images[number, :, y : y + 12, x : x + 8] = rng.integers(120, 255, (channels, 1, 1))
    labels = np.arange(count) % 2
    return images, labels, ["a class of quite some length, as they come", "b"] * (count // 2)


def fitted(bags: dict, channels: int = 1, selection=True) -> tuple[FeaturePipeline, np.ndarray, list[str]]:
    images, labels, names = pictures(channels)
    pipeline = FeaturePipeline(bags, ForestSelection([8, 5], trees=5) if selection else None)
    return pipeline.fit(images, labels), images, names


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
    segments, values = feature_plots.bars(hog(32).compute(image).ravel())
    middles = segments.mean(1)
    strongest = max(np.unique(middles, axis=0).tolist(), key=lambda m: values[(middles == m).all(1)].sum())
    assert strongest == [(column + 0.5) / 2, (row + 0.5) / 2]
    # HoG clips its largest numbers to the same height, so it is their mean that tells the direction; doubled angles,
    # since a bar has no sense.
    own = (middles == strongest).all(1)
    steps = np.diff(segments[own], axis=1)[:, 0] @ (1, 1j)
    mean = np.angle((values[own] * (steps / np.abs(steps)) ** 2).sum(), deg=True) / 2
    assert abs((mean - degrees + 90) % 180 - 90) < 5


def test_upright_and_level_edges():
    for axis in (0, 1):
        image = np.zeros((16, 16), np.uint8)
        image[(slice(None), slice(8, None)) if axis else slice(8, None)] = 200
        segments, values = feature_plots.bars(hog(16).compute(image).ravel())
        steps = np.abs(np.diff(segments[values > 0.9 * values.max()], axis=1)[:, 0])
        assert (steps[:, axis] > 2 * steps[:, 1 - axis]).all()


def test_bars_stay_in_their_own_cells():
    segments, values = feature_plots.bars(np.arange(32))
    assert segments.shape == (32, 2, 2) and (values == np.arange(32)).all()
    assert segments.min() > 0 and segments.max() < 1
    assert (np.sign(segments[:, 0] - 0.5) == np.sign(segments[:, 1] - 0.5)).all()


def test_swatches_are_the_colours_of_the_cells():
    colours = np.array([[(200, 30, 30), (30, 200, 30)], [(30, 30, 200), (250, 250, 250)]], np.uint8)
    image = colours.repeat(4, 0).repeat(4, 1).transpose(2, 0, 1)
    word = DenseColour(8, 8).describe_chunk(image[None]).values[0]
    assert np.abs(feature_plots.swatches(word) * 255 - colours).max() < 2


def test_kept_words_come_first_then_the_important_ones():
    kept, importances = np.array([[0, 0, 1, 0], [0, 0, 0, 1]], bool), np.array([[5, 1, 1, 1], [0, 1, 1, 2.0]])
    bag = dense()._keep(np.zeros((4, 32), np.float32))
    assert feature_plots.word_order(bag, kept, importances).tolist() == [3, 2, 0, 1]
    assert feature_plots.word_order(bag, kept, None).tolist() == [2, 3, 0, 1]
    assert feature_plots.word_order(bag, np.ones_like(kept), None).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [None, 24])
def test_the_original_is_drawn(tmp_path, channels, size):
    pipeline, images, names = fitted({"hog": sparse(size=size)}, channels)
    feature_plots.draw(tmp_path, pipeline, images, names, "a run")
    assert {p.name for p in tmp_path.iterdir()} == PICTURES
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            assert min(picture.size) > 100 and np.ptp(np.asarray(picture.convert("L"))) > 100


def test_several_bags_are_drawn_side_by_side(tmp_path):
    pipeline, images, names = fitted({"hog": dense(), "colour": dense(DenseColour(8, 4)), "orb": sparse()}, 3)
    feature_plots.draw(tmp_path, pipeline, images, names, "a run")
    assert {p.name for p in tmp_path.iterdir()} == PICTURES


def test_without_selection_there_are_no_importances(tmp_path):
    pipeline, images, names = fitted({"hog": dense()}, selection=False)
    feature_plots.draw(tmp_path, pipeline, images[:3], names[:3], "a run")
    assert {p.name for p in tmp_path.iterdir()} == PICTURES - {"importances.png"}
    assert feature_plots.facts(pipeline, {})["kept_importance"] is None


def test_a_restored_pipeline_is_drawn(tmp_path):
    pipeline, images, names = fitted({"hog": sparse()})
    restored = FeaturePipeline({"hog": sparse()}).restore(pipeline.arrays())
    feature_plots.draw(tmp_path, restored, images, names, "a run")
    assert {p.name for p in tmp_path.iterdir()} == PICTURES - {"importances.png"}


def test_words_of_any_other_length_are_drawn(tmp_path):
    pipeline, _, _ = fitted({"hog": dense()}, selection=False)
    pipeline.bags_["hog"]._keep(np.zeros((len(pipeline.bags_["hog"].words_), 10), np.float32))
    feature_plots.draw_words(pipeline, "a run", tmp_path / "words.png")
    assert (tmp_path / "words.png").exists()


def test_images_without_any_key_point_are_drawn(tmp_path):
    pipeline, images, names = fitted({"hog": sparse()})
    feature_plots.draw(tmp_path, pipeline, np.zeros_like(images), names, "a run")
    assert (tmp_path / "key_points.png").exists()


def test_facts_are_plain_numbers():
    pipeline, images, _ = fitted({"hog": dense(), "orb": sparse()})
    pipeline.bags_["orb"].transform(images)
    found = {"train": pipeline.found_, "val": np.zeros(0, bool)}
    facts = json.loads(json.dumps(feature_plots.facts(pipeline, found)))
    hog_words, orb_words = (len(bag.words_) for bag in pipeline.bags_.values())
    assert facts["bags"]["hog"]["words"] == hog_words and facts["bags"]["hog"]["columns"] == 5 * hog_words
    assert facts["columns"] == 5 * hog_words + orb_words
    assert facts["kept"] == 5 == sum(bag["kept"] for bag in facts["bags"].values())
    assert 0 < facts["kept_importance"] <= 1
    assert facts["without_key_point"] == {
        "train": {"images": 20, "without": 5, "share": 0.25},
        "val": {"images": 0, "without": 0, "share": 0.0},
    }


@pytest.mark.parametrize(("turns", "towards"), [(0, (1, 0)), (1, (0, -1)), (2, (-1, 0)), (3, (0, 1))])
def test_a_signed_word_lies_on_the_bright_side(turns, towards):
    image = np.zeros((12, 12), np.uint8)
    image[:, 6:] = 200  # bright on the right; each turn is one to the left
    images = np.rot90(image, turns).copy()[None, None]
    (word,) = DenseHog(patch=12, stride=12, bins=12, signed=True).describe(images).values
    segments, values = feature_plots.bars(word, signed=True)
    middles = segments.mean(1) - np.repeat(np.array([(x, y) for x in (0.25, 0.75) for y in (0.25, 0.75)]), 12, 0)
    leaning = (middles * values[:, None]).sum(0)
    assert leaning @ np.array(towards) > 0.9 * np.linalg.norm(leaning) > 0
