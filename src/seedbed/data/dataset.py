"""From a source to an `ImageData`: stored, split, cut to size; each class keeps its share in every split."""

import hashlib
import logging
from collections.abc import Mapping

import numpy as np
from numpy.random import Generator, default_rng

from seedbed.data.cache import Store, open_store
from seedbed.data.pixels import sentences
from seedbed.data.sources import TEST, TRAIN, UNSPLIT, VAL, Source
from seedbed.errors import require
from seedbed.types import ImageData, Split

Halves = tuple[np.ndarray, np.ndarray]
log = logging.getLogger(__name__)
SAMPLED_IMAGES, NAMED_CLASSES = 64, 5
TEST_DRAW, SUBSET_DRAW, VAL_DRAW = 1, 2, 3  # beside the split seed, so that no draw changes another


def load(
    source: Source, *, size: int, val_fraction: float, test_fraction: float, split_seed: int, subset: int | None,
    on_bad_image: str, cache_root: str | None, for_test: bool = False, bits: int | None = None,
) -> ImageData:  # fmt: skip
    """Open a source's store and draw the splits, deterministically in `split_seed`.

    A source without a test split gives up `test_fraction` of its images, one without a validation split
    `val_fraction` of its training images, both stratified. `subset` keeps that many training images (before the
    validation images are drawn from them), and at most as many validation and test images. With `for_test` a source
    without any split gives all its images to the test. `bits` is for `open_store`. Raises UserError if a split would be
    empty, and as `open_store`.
    """
    store = open_store(source, size, cache_root, on_bad_image, bits)
    labels, parts = store.labels, store.parts.copy()

    def halves(rows: np.ndarray, fraction: float, draw: int) -> Halves:
        return stratified_split(labels, rows, fraction, default_rng([split_seed, draw]))

    if hasattr(source, "assign"):
        fractions = {"test_fraction": test_fraction, "val_fraction": val_fraction}
        parts = np.array(source.assign(store.names, labels, parts, seed=split_seed, **fractions))
    elif (parts == UNSPLIT).all():
        rows = np.arange(len(parts))
        train, test = (rows[:0], rows) if for_test else halves(rows, test_fraction, TEST_DRAW)
        parts[train], parts[test] = TRAIN, TEST
    parts[list(store.bad)] = UNSPLIT
    train, val, test = (np.flatnonzero(parts == part) for part in (TRAIN, VAL, TEST))
    if subset is not None:
        rng = default_rng([split_seed, SUBSET_DRAW])
        train, val, test = (stratified_choice(labels, rows, subset, rng) for rows in (train, val, test))
    if not len(val) and not for_test:
        train, val = halves(train, val_fraction, VAL_DRAW)
    if not len(test):
        train, test = halves(train, test_fraction, TEST_DRAW)
    for name, rows, least, key in (
        ("training", train, 2, "subset"), ("validation", val, 1, "val_fraction"), ("test", test, 1, "test_fraction"),
    ):  # fmt: skip
        enough = len(rows) >= least or (for_test and name != "test")
        require(enough, f"{source.name}: {len(rows)} {name} images are left; raise dataset.{key}")
    digest = hashlib.sha256("\0".join([*store.classes, *store.names]).encode("utf-8", "surrogateescape"))
    for array in (labels, train, val, test):
        digest.update(array.astype(np.int64).tobytes())
    # Not all pixels: that would cost each start a second or more.
    sample = np.ascontiguousarray(store.images[:: max(1, len(labels) // SAMPLED_IMAGES)])
    return ImageData(
        *(Split(store.images, labels, rows) for rows in (train, val, test)), classes=store.classes, names=store.names,
        fingerprint=digest.hexdigest(), store=store.key, pixels=hashlib.sha256(sample).hexdigest(),
        skipped=tuple(f"{store.names[row]}: {reason}" for row, reason in sorted(store.bad.items())),
        reading=_reading(store, parts, {"training": train, "validation": val, "test": test}), bits=store.bits,
    )  # fmt: skip


def _reading(store: Store, parts: np.ndarray, rows: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """How a source was read, in three lines."""
    more = f", and {len(store.classes) - NAMED_CLASSES} more" if len(store.classes) > NAMED_CLASSES else ""
    splits = []
    for part, (name, index) in enumerate(rows.items()):
        folders = [folder for folder, of in store.splits.items() if of == part]
        if folders:
            source = f" from {', '.join(folders)}"
        elif (store.parts == UNSPLIT).all():
            source = " drawn"
        else:
            source = "" if (parts[index] == part).all() else " drawn from training"
        splits.append(f"{len(index):,} {name}{source}")
    out = store.left_out[:NAMED_CLASSES] + ["and more"] * (len(store.left_out) > NAMED_CLASSES)
    return (
        f"{len(store.classes)} classes: {', '.join(store.classes[:NAMED_CLASSES])}{more}",
        f"images: {'; '.join(splits)}",
        f"left out: {'; '.join(out) or 'nothing'}",
        *sentences(store.notes, store.names, store.bits),
    )


def warn_of_missing_classes(data: ImageData, title: str) -> None:
    """Say which classes have no images in a split: the model cannot learn them, or nothing tests them."""
    for name, split in data.splits.items():
        present = set(split.targets.tolist())
        missing = [cls for label, cls in enumerate(data.classes) if label not in present]
        if missing:
            some = f"{len(missing)} of {len(data.classes)} classes, such as {', '.join(missing[:NAMED_CLASSES])}"
            log.warning("%s: no %s images of %s", title, name, some)


def stratified_choice(labels: np.ndarray, index: np.ndarray, n: int, rng: Generator, leave: int = 0) -> np.ndarray:
    """Choose `n` of the rows `index`, every class in proportion (largest remainders; at random where they tie).

    `labels`, int64 `[M]`, are those of all rows. `leave` rows of each class are not chosen as long as other classes
    have some to spare. Returns int64 `[min(n, len(index))]`, in ascending order.
    """
    if n >= len(index):
        return np.sort(index)
    chosen_from = labels[index]
    rows = np.bincount(chosen_from)
    shares = rows * (n / len(index))
    take = np.floor(shares).astype(int)
    order = np.lexsort((rng.random(len(shares)), -(shares - take)))
    take[order[: n - take.sum()]] += 1
    take = _leave_some(take, rows, order, leave)
    chosen = [rng.permutation(index[chosen_from == label])[:count] for label, count in enumerate(take) if count]
    return np.sort(np.concatenate(chosen)) if chosen else index[:0]


def _leave_some(take: np.ndarray, rows: np.ndarray, order: np.ndarray, leave: int) -> np.ndarray:
    """The same number in all, taken from classes that have rows to spare, the first in `order` before others."""
    kept = np.minimum(take, np.maximum(rows - leave, 0))
    short = take.sum() - kept.sum()
    for left in (leave, 0):
        while short and (room := kept < rows - left).any():
            more = order[room[order]][:short]
            kept[more] += 1
            short -= len(more)
    return kept


def stratified_split(labels: np.ndarray, index: np.ndarray, fraction: float, rng: Generator) -> Halves:
    """Split the rows `index` into (rest, part), with `fraction` of each class, and of all, in `part`.

    Where two rows exist, each side gets one at least. No class lies in `part` alone if that can be avoided.
    """
    n = len(index)
    size = min(max(round(n * fraction), 1), n - 1) if n > 1 and fraction > 0 else 0
    part = stratified_choice(labels, index, size, rng, leave=1)
    return np.setdiff1d(index, part, assume_unique=True), part
