"""Features are learned from the training images alone, computed once, and kept under a key of all that makes them."""

from __future__ import annotations

import importlib
import logging
from dataclasses import replace

import numpy as np
import pytest
from examples import KINDS, data_set, everything_learned, pictures, same, small_pipeline
from sklearn.base import clone

from seedbed.errors import UserError
from seedbed.features import cache
from seedbed.features.cache import extract
from seedbed.features.pipeline import FeaturePipeline


@pytest.fixture(params=KINDS)
def pipeline(request) -> FeaturePipeline:
    return KINDS[request.param]()


# What is learned comes from the training images.


def test_nothing_of_the_validation_and_test_images_is_learned(pipeline, tmp_path):
    images, labels = pictures(channels=3)
    first = extract(pipeline, data_set(images, labels), {}, str(tmp_path / "a"))
    learned = everything_learned(pipeline)
    others = images.copy()
    others[20:] = np.random.default_rng(9).integers(0, 256, others[20:].shape)
    assert (others[20:] != images[20:]).any() and np.array_equal(others[:20], images[:20])
    second = extract(again := clone(pipeline), data_set(others, labels), {}, str(tmp_path / "b"))
    assert same(learned, everything_learned(again))
    rows = first.train.index
    assert np.array_equal(first.train.images[rows], second.train.images[rows])
    assert not np.array_equal(first.test.images[first.test.index], second.test.images[second.test.index])
    # Nor of their labels.
    turned = np.concatenate([labels[:20], 1 - labels[20:]])
    extract(again := clone(pipeline), data_set(images, turned), {}, str(tmp_path / "c"))
    assert same(learned, everything_learned(again))


def test_the_training_images_are_what_is_learned(pipeline, tmp_path):
    images, labels = pictures(channels=3)
    extract(pipeline, data_set(images, labels), {}, str(tmp_path / "a"))
    learned = everything_learned(pipeline)
    others = images.copy()
    others[:20] = np.random.default_rng(9).integers(0, 256, others[:20].shape)
    extract(again := clone(pipeline), data_set(others, labels), {}, str(tmp_path / "b"))
    assert not same(learned, everything_learned(again))


def test_splits_are_read_by_their_index(tmp_path):
    """Training rows that are neither first nor in order."""
    images, labels = pictures(channels=3)
    order = np.random.default_rng(1).permutation(30)
    data = data_set(images, labels)
    shuffled = data_set(images[order], labels[order])
    back = np.argsort(order)
    shuffled = replace(
        shuffled, **{n: replace(getattr(shuffled, n), index=back[getattr(data, n).index]) for n in data.__annotations__
                     if n in ("train", "val", "test")},
    )  # fmt: skip
    extracted = [extract(small_pipeline(), d, {}, str(tmp_path / str(i))) for i, d in enumerate((data, shuffled))]
    for name in ("train", "val", "test"):
        one, other = (getattr(features, name) for features in extracted)
        assert np.array_equal(one.images[one.index], other.images[other.index])
        assert np.array_equal(one.targets, other.targets) and np.array_equal(one.targets, getattr(data, name).targets)


# The cache.


@pytest.fixture
def fits(monkeypatch) -> list[int]:
    """One entry for each time that a pipeline is fitted."""
    calls, fit = [], FeaturePipeline.fit_transform

    def counted(self, X, *arguments):
        calls.append(len(X))
        return fit(self, X, *arguments)

    monkeypatch.setattr(FeaturePipeline, "fit_transform", counted)
    return calls


def test_features_are_computed_once(pipeline, tmp_path, fits, caplog):
    caplog.set_level(logging.INFO)
    data = data_set(*pictures(channels=3))
    first = extract(pipeline, data, {"a": 1, "b": [2]}, str(tmp_path))
    assert fits == [20] and "extracting features of 30 images" in caplog.text
    caplog.clear()
    second = extract(again := clone(pipeline), data, {"a": 1, "b": [2]}, str(tmp_path))
    assert fits == [20] and not caplog.text
    assert same(everything_learned(pipeline), everything_learned(again))
    for name in ("train", "val", "test"):
        one, other, of_images = getattr(first, name), getattr(second, name), getattr(data, name)
        assert np.array_equal(one.images[one.index], other.images[other.index])
        assert one.images.dtype == np.float32 and one.images.ndim == 2 and np.isfinite(one.images).all()
        assert np.array_equal(one.targets, of_images.targets) and len(one) == len(of_images)
        expected = again.transform(of_images.images[of_images.index])
        np.testing.assert_allclose(one.images[one.index], expected, atol=1e-4)
    assert (first.classes, first.fingerprint, first.store) == (data.classes, data.fingerprint, data.store)


@pytest.mark.parametrize("what", ["parameters", "order", "store", "fingerprint", "code", "cv2", "sklearn"])
def test_whatever_changes_them_is_part_of_the_key(what, tmp_path, fits, monkeypatch):
    data, parameters = data_set(*pictures()), {"visual_words": {"hog": {"power": 0.5}, "colours": {}}}
    extract(small_pipeline(), data, parameters, str(tmp_path))
    if what == "parameters":
        parameters = {"visual_words": {"hog": {"power": 1.0}, "colours": {}}}
    elif what == "order":
        parameters = {"visual_words": dict(reversed(parameters["visual_words"].items()))}
    elif what in ("store", "fingerprint"):
        data = replace(data, **{what: "another"})
    elif what == "code":
        monkeypatch.setattr(cache, "code", lambda parameters: "another")
    else:
        monkeypatch.setattr(getattr(cache, what), "__version__", "0")
    extract(small_pipeline(), data, parameters, str(tmp_path))
    assert len(fits) == 2


def test_the_users_own_code_is_part_of_the_key(tmp_path, monkeypatch):
    (tmp_path / "of_mine.py").write_text("class Descriptor: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("of_mine")
    parameters = {"visual_words": [{"descriptor": {"_target_": "of_mine.Descriptor", "size": 3}}]}
    before = cache.code(parameters)
    assert before == cache.code(parameters) != cache.code({"visual_words": []})
    (tmp_path / "of_mine.py").write_text("class Descriptor: size = 4\n")
    assert cache.code(parameters) != before


def test_a_failed_extraction_leaves_nothing(tmp_path, monkeypatch, fits):
    data = data_set(*pictures())
    with monkeypatch.context() as m, pytest.raises(RuntimeError):
        m.setattr(
            FeaturePipeline, "transform_with_found", lambda self, *_: (_ for _ in ()).throw(RuntimeError("killed"))
        )
        extract(small_pipeline(), data, {}, str(tmp_path))
    assert not [p for p in (tmp_path / "features").iterdir() if p.is_dir()]
    extract(small_pipeline(), data, {}, str(tmp_path))
    assert len(fits) == 2


def test_a_cache_that_cannot_be_written_is_one_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cache_root"):
        extract(small_pipeline(), data_set(*pictures()), {}, str(tmp_path / "file"))
