"""Small images and pipelines that the tests of this package share."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from conftest import image_split
from sklearn.utils.estimator_checks import estimator_checks_generator

from seedbed.features.descriptors import DenseColour, DenseHog
from seedbed.features.orb import OrbHog
from seedbed.features.pipeline import FeaturePipeline
from seedbed.features.selection import ForestSelection
from seedbed.features.visual_words import BagOfVisualWords
from seedbed.features.vocabulary import IncrementalKMeans, SampledKMeans
from seedbed.types import ImageData


def pictures(n: int = 30, channels: int = 1, size: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noisy bars, upright or lying: uint8 `[N, C, S, S]` and labels 0 or 1."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (n, channels, size, size))
    labels = np.arange(n) % 2
    for image, label, start in zip(images, labels, rng.integers(2, size - 4, n), strict=True):
        bar = (slice(None), slice(start, start + 3), slice(2, -2))
        image[bar if label else (bar[0], bar[2], bar[1])] += 150
    return images.astype(np.uint8), labels


def bag(descriptor: Any = None, vocabulary: Any = None, **arguments: Any) -> BagOfVisualWords:
    return BagOfVisualWords(
        descriptor or DenseHog(patch=6, stride=3), vocabulary or SampledKMeans(words=8), **arguments
    )


def small_pipeline(**arguments: Any) -> FeaturePipeline:
    selection = ForestSelection(sizes=(12, 6), trees=5)
    return FeaturePipeline(**{"visual_words": {"hog": bag(levels=(2,))}, "selection": selection, **arguments})


def data_set(images: np.ndarray, labels: np.ndarray, train: int = 20, val: int = 5, store: str = "s") -> ImageData:
    """The first images for training, the next for validation, the others for testing; in one shared array."""
    rows = np.split(np.arange(len(images)), [train, train + val])
    splits = [image_split(images, labels, index) for index in rows]
    names = [f"{i}.png" for i in range(len(images))]
    return ImageData(*splits, classes=("lying", "upright"), names=names, fingerprint="f", store=store)


KINDS = {
    "dense": lambda: small_pipeline(),
    "everything": lambda: small_pipeline(
        visual_words={"hog": bag(levels=(1, 2)), "colour": bag(DenseColour(6, 5), assignment="hard", norm="l1")},
        selection=None, scaling="minmax",
    ),
    "original": lambda: small_pipeline(
        visual_words={
            "hog": bag(
                OrbHog(threshold=5, patch=8), IncrementalKMeans(20, 5, 4), assignment="hard", power=1, norm="l1",
                images=None, sample=None,
            )
        },
        scaling="minmax",
    ),
}  # fmt: skip


def everything_learned(pipeline: FeaturePipeline) -> dict[str, np.ndarray]:
    importances = {} if pipeline.importances_ is None else {"importances": pipeline.importances_}
    return {**pipeline.arrays(), **importances}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


# Ours compute in numpy alone. scikit-learn itself skips this one without SCIPY_ARRAY_API.
DOES_NOT_APPLY = {"check_array_api_input"}


def scikit_learns_checks(*estimators: Any) -> pytest.MarkDecorator:
    """All of scikit-learn's checks of estimators, one a test; none of those that apply is expected to fail."""
    pairs = [pair for estimator in estimators for pair in estimator_checks_generator(estimator, mark=None)]
    applying = [
        pytest.param(estimator, check, id=f"{type(estimator).__name__}-{_name(check)}")
        for estimator, check in pairs
        if _name(check) not in DOES_NOT_APPLY
    ]
    return pytest.mark.parametrize(("estimator", "check"), applying)


def _name(check: Any) -> str:
    return check.func.__name__ if isinstance(check, partial) else check.__name__
