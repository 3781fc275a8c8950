"""From images to the MLP's input, and back from a file of arrays."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from examples import KINDS, bag, everything_learned, pictures, same, small_pipeline
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from seedbed.errors import UserError
from seedbed.features import descriptors, visual_words
from seedbed.features.descriptors import DenseColour, DenseHog
from seedbed.features.orb import OrbHog
from seedbed.features.pipeline import FeaturePipeline, mean_and_deviation
from seedbed.features.selection import ForestSelection
from seedbed.features.visual_words import BagOfVisualWords
from seedbed.features.vocabulary import IncrementalKMeans, SampledKMeans


@pytest.fixture(params=KINDS)
def pipeline(request) -> FeaturePipeline:
    return KINDS[request.param]()


def test_fit_transform_is_fit_and_transform(pipeline):
    images, labels = pictures(channels=3)
    out = pipeline.fit_transform(images, labels)
    assert np.array_equal(out, pipeline.transform(images)) and out.dtype == np.float32 and np.isfinite(out).all()
    assert np.array_equal(out, clone(pipeline).fit(images, labels).transform(images))


def test_arrays_bring_it_back(pipeline):
    images, labels = pictures(channels=3)
    fresh, _ = pictures(seed=5, channels=3)
    pipeline.fit(images, labels)
    kept = pipeline.arrays()
    assert all(isinstance(a, np.ndarray) and a.dtype != object for a in kept.values())
    again = clone(pipeline).restore(kept)
    assert np.array_equal(again.transform(fresh), pipeline.transform(fresh)) and same(again.arrays(), kept)


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("extra", lambda a: np.zeros(1)), ("offset", lambda a: a[:2]), ("factor", lambda a: a[:, None]),
        ("kept", lambda a: a + 1000), ("kept", lambda a: a - 1000), ("kept", lambda a: a.astype(np.float32)),
        ("words.hog", lambda a: a[0]),
    ],
)  # fmt: skip
def test_arrays_of_another_pipeline_are_refused(key, change):
    kept = small_pipeline().fit(*pictures()).arrays()
    with pytest.raises(UserError, match="features"):
        small_pipeline().restore({**kept, key: change(kept.get(key))})


def test_words_of_other_descriptors_are_refused():
    kept = small_pipeline().fit(*pictures()).arrays()
    with pytest.raises(UserError, match="features"):
        small_pipeline().restore({**kept, "words.hog": kept["words.hog"][:, :5]}).transform(pictures()[0])


def test_nothing_before_fitting(pipeline):
    from sklearn.exceptions import NotFittedError

    for call in (pipeline.arrays, lambda: pipeline.transform(pictures()[0]), lambda: bag().transform(pictures()[0])):
        with pytest.raises(NotFittedError):
            call()


def test_scaling_is_that_of_the_training_images():
    images, labels = pictures()
    standard = small_pipeline().fit_transform(images, labels)
    assert np.allclose(standard.mean(0), 0, atol=1e-5) and np.allclose(standard.std(0), 1, atol=1e-3)
    shares = small_pipeline(scaling="minmax").fit_transform(images, labels)
    assert np.allclose(shares.min(0), 0, atol=1e-6) and np.allclose(shares.max(0), 1, atol=1e-5)


@given(st.integers(1, 40), st.integers(1, 5), st.floats(-1e3, 1e3), st.integers(0, 2**31))
def test_mean_and_deviation_are_numpys(n, wide, centre, seed):
    columns = (np.random.default_rng(seed).normal(centre, 1, (n, wide))).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seedbed.features.pipeline.BLOCK", 7)
        mean, deviation = mean_and_deviation(columns)
    # A block's sum is rounded as its values are, not as their mean, which may be nearly 0.
    assert np.allclose(mean, columns.mean(0, dtype=np.float64), rtol=0, atol=1e-6 * (1 + abs(centre)))
    assert np.allclose(deviation, columns.std(0, dtype=np.float64), rtol=1e-4, atol=1e-3)


def test_chunks_and_threads_change_nothing(pipeline, monkeypatch):
    images, labels = pictures(channels=3)
    results = []
    for n in (1, 2):
        for module in (descriptors, visual_words):
            monkeypatch.setattr(module, "cores", lambda n=n: n)
        monkeypatch.setattr(visual_words, "CHUNK", 7)
        fresh = clone(pipeline)
        results.append((fresh.fit_transform(images, labels), everything_learned(fresh)))
    assert np.array_equal(results[0][0], results[1][0]) and same(results[0][1], results[1][1])


CORES = """
import hashlib, os, sys
cores = int(sys.argv[1])
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
os.environ.pop("OMP_NUM_THREADS", None)
import numpy as np
from sklearn.datasets import load_digits
from test_pipeline import KINDS
from seedbed.features.descriptors import cores as usable
assert usable() == cores
images = np.repeat(np.kron(load_digits().images[:600] * 15.9, np.ones((2, 2))).astype(np.uint8)[:, None], 3, axis=1)
for kind in ("dense", "original"):
    pipeline = KINDS[kind]().set_params(selection__sizes=(12,))
    if kind == "original":  # batches large enough for scikit-learn to share them out
        pipeline.visual_words["hog"].vocabulary.set_params(words=40, words_a_batch=10, batch=200)
    out = pipeline.fit_transform(images, load_digits().target[:600])
    for name, array in {"out": out, **pipeline.arrays()}.items():
        print(kind, name, hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:8])
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_one_core_and_two_give_the_same_numbers():
    """Real processes with all their libraries' threads: a run can be repeated on another machine."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores")
    path = os.pathsep.join(p for p in sys.path if p)
    outs = [
        subprocess.run(
            [sys.executable, "-c", CORES, n], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": path},
        ).stdout
        for n in ("1", "2")
    ]  # fmt: skip
    assert outs[0] == outs[1]


# Odd input.


def test_fewer_images_than_words():
    images, labels = pictures(3)
    pipeline = small_pipeline(visual_words={"hog": bag(vocabulary=SampledKMeans(words=1000))}, selection=None)
    assert np.isfinite(pipeline.fit_transform(images, labels)).all()
    pipeline = small_pipeline(visual_words={"hog": bag(OrbHog(5, 8), IncrementalKMeans(1000, 500, 2))}, selection=None)
    assert np.isfinite(pipeline.fit_transform(images, labels)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0, 128, 255])
def test_constant_images_give_numbers(kind, value):
    pipeline = KINDS[kind]().set_params(selection=None)
    images, labels = pictures(channels=3)
    for train in (images, np.full_like(images, value)):
        out = pipeline.fit_transform(train, labels)
        assert np.isfinite(out).all() and np.isfinite(pipeline.transform(np.full_like(images, value))).all()
        assert np.isfinite(pipeline.transform(images)).all()
    assert (out == 0).all(), "a feature that never varies stays at 0"


def test_a_single_image_is_transformed_as_among_others(pipeline):
    images, labels = pictures(channels=3)
    pipeline.fit(images, labels)
    together = pipeline.transform(images)
    np.testing.assert_allclose(pipeline.transform(images[:1]), together[:1], atol=1e-4)
    np.testing.assert_allclose(pipeline.transform(images[-1:]), together[-1:], atol=1e-4)


def test_no_key_points_anywhere():
    images, labels = pictures()
    pipeline = small_pipeline(visual_words={"hog": bag(OrbHog(threshold=255, patch=8))}, selection=None)
    out = pipeline.fit_transform(images, labels)
    assert np.isfinite(out).all() and not pipeline.bags_["hog"].descriptor.describe(images).found.any()


def test_a_single_visual_word_softly_assigned():
    images, labels = pictures()
    out = small_pipeline(visual_words={"hog": bag(vocabulary=SampledKMeans(words=1))}, selection=None).fit_transform(
        images, labels
    )
    assert np.isfinite(out).all() and out.shape == (30, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"visual_words": {"colour": bag(DenseColour(6, 4))}}, "need colour images"),
        ({"visual_words": {"hog": bag(DenseHog(patch=20))}}, "patch of 20 pixels on images of 16"),
        ({"visual_words": {}}, "at least one bag"),
        ({"visual_words": {"hog": bag(levels=())}}, "levels"),
        ({"visual_words": {"hog": bag(levels=(2, 0))}}, "levels"),
        ({"visual_words": {"hog": bag(power=0)}}, "power"),
        ({"visual_words": {"hog": bag(DenseHog(6, stride=0))}}, "stride"),
        ({"visual_words": {"hog": bag(DenseHog(6, stride=-2))}}, "stride"),
        ({"visual_words": {"hog": bag(OrbHog(size=0, patch=8))}}, "size|patch"),
        ({"visual_words": {"hog": bag(OrbHog(key_points=-1, patch=8))}}, "key_points"),
        ({"visual_words": {"hog": bag(vocabulary=SampledKMeans(words=0))}}, "words"),
        ({"visual_words": {"hog": bag(vocabulary=IncrementalKMeans(words=0))}}, "words"),
        ({"visual_words": {"hog": bag(vocabulary=IncrementalKMeans(words_a_batch=0))}}, "words_a_batch"),
        ({"visual_words": {"hog": bag(vocabulary=IncrementalKMeans(batch=0))}}, "batch"),
        ({"visual_words": {"hog": bag(images=0)}}, "images"),
        ({"visual_words": {"hog": bag(sample=0)}}, "sample"),
        ({"selection": ForestSelection(sizes=(2,), trees=0)}, "trees"),
        ({"selection": ForestSelection(sizes=(2,), samples=0)}, "samples"),
    ],
)
def test_impossible_parameters_are_one_message(arguments, message):
    """A yaml can say any of these: none may end in a traceback."""
    with pytest.raises(UserError, match=message):
        small_pipeline(**arguments).fit_transform(*pictures())


# scikit-learn's manners.


@pytest.mark.parametrize(
    "estimator",
    [
        small_pipeline(), bag(), OrbHog(threshold=3), DenseHog(patch=4), DenseColour(stride=1), SampledKMeans(words=2),
        IncrementalKMeans(batch=3), ForestSelection(sizes=(3,)),
    ],
    ids=lambda e: type(e).__name__,
)  # fmt: skip
def test_parameters_survive_get_set_and_clone(estimator):
    given = estimator.get_params(deep=False)
    copy = clone(estimator)
    assert repr(copy) == repr(estimator) and type(estimator)(**given).get_params(deep=False) == given
    assert clone(estimator).set_params(**given).get_params(deep=False).keys() == given.keys()
    assert not [name for name in vars(copy) if name.endswith("_")]


def test_nested_parameters_are_set_by_their_path():
    changed = bag().set_params(descriptor__patch=4, vocabulary__words=3, power=1.0)
    assert (changed.descriptor.patch, changed.vocabulary.words, changed.power) == (4, 3, 1.0)
    assert changed.get_params()["descriptor__stride"] == 3 and clone(changed).vocabulary.words == 3
    assert small_pipeline().set_params(selection__trees=2).selection.trees == 2


def test_fitting_leaves_the_arguments_alone():
    images, labels = pictures()
    pipeline = small_pipeline()
    before = repr(pipeline)
    pipeline.fit(images, labels)
    assert repr(pipeline) == before
    parts = (*pipeline.visual_words.values(), pipeline.selection, pipeline.visual_words["hog"].vocabulary)
    assert not [name for part in parts for name in vars(part) if name.endswith("_")]
    copy = clone(pipeline)
    assert not hasattr(copy, "kept_") and not hasattr(copy.visual_words["hog"], "words_")
    assert np.array_equal(copy.fit_transform(images, labels), pipeline.transform(images))


def test_it_composes_in_scikit_learns_pipeline():
    images, labels = pictures()
    theirs = Pipeline([("bag", bag(levels=(2,))), ("forest", ForestSelection((12, 6), 5)), ("scale", StandardScaler())])
    out = theirs.fit_transform(images, labels)
    np.testing.assert_allclose(out, small_pipeline().fit_transform(images, labels), atol=1e-4)
    other = clone(theirs).set_params(bag__descriptor__patch=4, bag__vocabulary__words=4, forest__sizes=(3,))
    assert other.fit(images, labels).transform(images[:2]).shape == (2, 3)
    assert other["bag"].descriptor.patch == 4 and theirs["bag"].descriptor.patch == 6


def test_words_are_learned_from_as_many_images_and_descriptors_as_asked_for(monkeypatch):
    sizes = []
    fit = SampledKMeans.fit
    monkeypatch.setattr(SampledKMeans, "fit", lambda self, X, images: sizes.append(len(X)) or fit(self, X))
    images, _ = pictures()
    each = DenseHog(6, 3).describe(images[:1]).counts[0]
    for arguments in ({"images": 4, "sample": None}, {"images": None, "sample": 17}, {"images": None, "sample": None}):
        bag(**arguments).fit(images)
    assert sizes == [4 * each, 17, 30 * each]
    draws = [bag(images=4, random_state=s).fit(images).words_ for s in (0, 0, 1)]
    assert np.array_equal(draws[0], draws[1]) and not np.array_equal(draws[0], draws[2])


def test_transforming_learns_nothing():
    images, _ = pictures()
    words = BagOfVisualWords(DenseHog(6, 3), SampledKMeans(8)).fit(images)
    names = set(vars(words))
    words.transform(images)
    assert set(vars(words)) == names
