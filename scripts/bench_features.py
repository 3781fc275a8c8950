"""Images to histograms of words: this project's BagOfVisualWords against the usual way, a loop over images.

The usual way calls OpenCV, scikit-learn's KMeans.predict and np.bincount for every image. Where there is a choice it is
made in its favour: one HoG call an image, float32, the cells of a grid found once. `bench.py features` runs this.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from bench_table import describe_machine, figures, spread
from sklearn.base import clone
from sklearn.cluster import KMeans

from seedbed.errors import UserError
from seedbed.features.descriptors import DenseHog, hog, resized, to_grey
from seedbed.features.orb import OrbHog
from seedbed.features.visual_words import BagOfVisualWords
from seedbed.features.vocabulary import IncrementalKMeans

TIE = 1e-5  # squared distances (of descriptors of length 1) nearer to each other than this may round either way


@dataclass
class FeatureResult:
    """Seconds of every round: of the usual way (hard assignment), and by assignment of ours.

    Attributes:
        words: of the vocabulary.
        descriptors: of an image, on average.
        ties: images whose histograms differ, each for a descriptor that is as near to one word as to another.
    """

    recipe: str
    data: str
    images: int
    size: int
    words: int
    descriptors: float
    ties: int
    usual: list[float] = field(default_factory=list)
    ours: dict[str, list[float]] = field(default_factory=dict)


class Usual:
    """The loop, with the same words and the same settings of OpenCV."""

    def __init__(self, bag: BagOfVisualWords, size: int):
        self.bag = bag
        self.means = KMeans(len(bag.words_), init=bag.words_, n_init=1, max_iter=1).fit(bag.words_)
        self.means.cluster_centers_ = bag.words_
        own = bag.descriptor
        if isinstance(own, DenseHog):
            self.hog, self.describe = hog(own.patch), self.describe_grid
            places = (np.arange(0, size - own.patch + 1, own.stride) + own.patch / 2) / size
            self.cells = [cell for level in bag.levels for cell in grid_cells(places.astype(np.float32), level)]
        elif isinstance(own, OrbHog) and list(bag.levels) == [1]:
            self.orb, self.hog, self.whole = own.detector(own.size or size), hog(own.patch), hog(own.whole)
            self.describe, self.cells = self.describe_key_points, [slice(None)]
        else:
            raise UserError(f"features: no usual way for {type(own).__name__} with levels {list(bag.levels)}")

    def transform(self, images: np.ndarray) -> np.ndarray:
        return np.stack([self.histogram(self.describe(image)) for image in images])

    def describe_grid(self, image: np.ndarray) -> np.ndarray:
        stride = self.bag.descriptor.stride
        return self.hog.compute(to_grey(image), winStride=(stride, stride)).reshape(-1, 32)

    def describe_key_points(self, image: np.ndarray) -> np.ndarray:
        own = self.bag.descriptor
        grey = resized(to_grey(image), own.size)
        points = sorted(self.orb.detect(grey), key=lambda p: -p.response)[: own.key_points]
        if not points:
            return self.whole.compute(resized(grey, own.whole)).reshape(1, -1)
        half = own.patch // 2
        bordered = cv2.copyMakeBorder(grey, half, half, half, half, cv2.BORDER_REFLECT_101)
        corners = np.rint(cv2.KeyPoint_convert(points)).astype(int).tolist()
        return self.hog.compute(bordered, locations=corners).reshape(-1, 32)

    def histogram(self, descriptors: np.ndarray) -> np.ndarray:
        words, count = self.means.predict(descriptors), len(self.bag.words_)
        histogram = np.concatenate([np.bincount(words[cell], minlength=count) for cell in self.cells])
        histogram = histogram.astype(np.float32) ** self.bag.power
        if self.bag.norm == "none":
            return histogram
        return histogram / np.linalg.norm(histogram, {"l1": 1, "l2": 2}[self.bag.norm])


def grid_cells(places: np.ndarray, level: int) -> list[np.ndarray]:
    """Of each spatial cell, the indices of its patches; `places` are those of a row as shares of the side."""
    own = np.minimum((places * level).astype(int), level - 1)
    cell = (own[:, None] * level + own).ravel()
    return [np.flatnonzero(cell == i) for i in range(level**2)]


def compare(bag: BagOfVisualWords, ours: np.ndarray, usual: np.ndarray, images: np.ndarray) -> int:
    """How many images' histograms differ.

    Raises:
        UserError: one of them differs though none of its descriptors is as near to one word as to another.
    """
    differing = np.flatnonzero(~np.isclose(ours, usual, atol=1e-5).all(1))
    for i in differing:
        described = bag.descriptor.describe_chunk(images[i : i + 1]).values.astype(np.float64)
        nearest = np.partition(((described[:, None] - bag.words_) ** 2).sum(2), 1, axis=1)
        if (nearest[:, 1] - nearest[:, 0]).min() > TIE:
            raise UserError(f"image {i}: the histograms of the usual way differ from ours, and no tie explains it")
    return len(differing)


def learn(bag: BagOfVisualWords, images: np.ndarray) -> BagOfVisualWords:
    """Fit the bag on these few images. The report's vocabulary takes as many of them a batch as give all its words."""
    bag = clone(bag)
    vocabulary = bag.vocabulary
    if isinstance(vocabulary, IncrementalKMeans):
        batches = -(-vocabulary.words // vocabulary.words_a_batch)
        vocabulary.set_params(batch=max(1, min(vocabulary.batch, len(images) // batches)))
    return bag.fit(images)


def measure(
    recipe: str, data: str, bag: BagOfVisualWords, images: np.ndarray, rounds: int, say: Callable[[str], None]
) -> FeatureResult:
    """Args: images: uint8 `[N, C, H, W]`; bag: as configured, not fitted."""
    say(f"{recipe}: learning the words")
    bag = learn(bag, images)
    usual = Usual(bag, images.shape[-1])
    bags = {assignment: clone(bag)._keep(bag.words_) for assignment in dict.fromkeys(["hard", bag.assignment])}
    for assignment, own in bags.items():
        own.set_params(assignment=assignment)
    ties = compare(bag, bags["hard"].transform(images), usual.transform(images), images)
    descriptors = bag.descriptor.describe(images[:1000]).counts.mean()
    result = FeatureResult(recipe, data, len(images), images.shape[-1], len(bag.words_), float(descriptors), ties)
    turns = [(result.ours.setdefault(name, []), own.transform) for name, own in bags.items()]
    turns.insert(1, (result.usual, usual.transform))
    for done in range(rounds + 1):
        for seconds, transform in turns:
            begun = time.perf_counter()
            transform(images)
            seconds.append(time.perf_counter() - begun)
        say(f"{recipe}: " + (f"round {done} of {rounds}" if done else "warm-up"))
    for seconds, _ in turns:
        del seconds[0]  # the warm-up
    return result


def row(result: FeatureResult, assignment: str) -> str:
    ours = result.ours[assignment]
    cells = [
        result.recipe, result.data, f"{result.images:,}", str(result.size), f"{result.descriptors:.0f}",
        str(result.words), assignment, *figures(ours, result.images), *figures(result.usual, result.images),
        spread([u / o for u, o in zip(result.usual, ours, strict=True)]),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def report(results: list[FeatureResult], rounds: int) -> str:
    head = (
        "features", "data", "images", "side", "descriptors/image", "words", "our assignment", "ours s",
        "ours images/s", "usual s", "usual images/s", "usual / ours",
    )  # fmt: skip
    ties = "; ".join(f"{r.recipe} {r.ties} of {r.images:,} images differ, by ties" for r in results)
    return "\n".join([
        describe_machine("torch", "numpy", "scikit-learn", "opencv-python-headless"),
        f"- {rounds} round{'s' * (rounds > 1)} in turn after a warm-up; medians; ratios are those of each round "
        "(lowest to highest)",
        "- from uint8 images in memory to histograms, with words learned before; selection and scaling are left out",
        "- the usual way: a loop over images in one process: OpenCV's HoG, scikit-learn's KMeans.predict (hard), "
        f"np.bincount of each cell, power and norm. Its histograms are ours with hard assignment: {ties}",
        "",
        f"| {' | '.join(head)} |",
        "| --- | --- " + "| ---: " * 4 + "| --- " + "| ---: " * (len(head) - 7) + "|",
        *(row(result, assignment) for result in results for assignment in result.ours),
    ]) + "\n"  # fmt: skip
