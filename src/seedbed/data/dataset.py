"""From a source to an `ImageData`: stored, split, cut to size."""

from __future__ import annotations

import hashlib
import logging

import numpy as np

from seedbed.data.cache import open_store
from seedbed.data.sources import TEST, TRAIN, UNSPLIT, VAL, Source
from seedbed.data.split import stratified_choice, stratified_split
from seedbed.errors import UserError
from seedbed.types import ImageData, Split

log = logging.getLogger(__name__)
COMPARED = 64  # images
NAMED = 5  # classes


def load(
    source: Source,
    *,
    size: int,
    val_fraction: float,
    test_fraction: float,
    split_seed: int,
    subset: int | None,
    on_bad_image: str,
    cache_root: str | None,
    for_test: bool = False,
) -> ImageData:
    """Open a source's store and draw the splits, deterministically in `split_seed`.

    A source without a test split gives up `test_fraction` of its images, one without a validation split
    `val_fraction` of its training images, both stratified. `subset` keeps that many training images (before the
    validation images are drawn from them), and at most as many validation and test images. With `for_test` a source
    without any split gives all its images to the test.

    Raises:
        UserError: no data, an unreadable image, or a split that would be empty.
    """
    store = open_store(source, size, cache_root, on_bad_image)
    labels, parts = store.labels, store.parts.copy()
    if hasattr(source, "assign"):
        parts = source.assign(
            store.names, labels, parts, seed=split_seed, test_fraction=test_fraction, val_fraction=val_fraction
        )
        train, val, test = (np.flatnonzero(parts == part) for part in (TRAIN, VAL, TEST))
    elif for_test and (parts == UNSPLIT).all():
        test = np.arange(len(parts))
        train = val = test[:0]
    elif (parts == UNSPLIT).all():
        everything = np.arange(len(parts))
        train, test = stratified_split(labels, everything, test_fraction, np.random.default_rng([split_seed, 1]))
        val = everything[:0]
    else:
        train, val, test = (np.flatnonzero(parts == part) for part in (TRAIN, VAL, TEST))
    bad = np.array(sorted(store.bad), np.int64)
    train, val, test = (np.setdiff1d(rows, bad) for rows in (train, val, test))

    rng = np.random.default_rng([split_seed, 2])
    if subset is not None:
        train, val, test = (stratified_choice(labels, rows, subset, rng) for rows in (train, val, test))
    if not len(val) and not for_test:
        train, val = stratified_split(labels, train, val_fraction, np.random.default_rng([split_seed, 3]))
    if not len(test):
        train, test = stratified_split(labels, train, test_fraction, np.random.default_rng([split_seed, 1]))
    for name, rows, hint in (
        ("training", train, "dataset.subset"),
        ("validation", val, "dataset.val_fraction"),
        ("test", test, "dataset.test_fraction"),
    ):
        if for_test and name != "test":
            continue
        if len(rows) < (2 if name == "training" else 1):
            raise UserError(f"{source.name}: {len(rows)} {name} images are left; raise {hint}")
    splits = (Split(store.images, labels, rows) for rows in (train, val, test))
    skipped = tuple(f"{store.names[row]}: {reason}" for row, reason in sorted(store.bad.items()))
    digest = hashlib.sha256("\0".join([*store.classes, *store.names]).encode("utf-8", "surrogateescape"))
    for array in (labels, train, val, test):
        digest.update(array.astype(np.int64).tobytes())
    # Of the pixels some: all would cost each start a second or more.
    pixels = hashlib.sha256(np.ascontiguousarray(store.images[:: max(1, len(labels) // COMPARED)])).hexdigest()
    return ImageData(
        *splits, classes=store.classes, names=store.names, fingerprint=digest.hexdigest(), store=store.key,
        pixels=pixels, skipped=skipped,
    )  # fmt: skip


def warn_of_missing(data: ImageData, source: str) -> None:
    """Say which classes have no images in a split: what is not taught, or not tested."""
    for split, own in data.splits.items():
        there = set(own.targets.tolist())
        missing = [name for label, name in enumerate(data.classes) if label not in there]
        if missing:
            log.warning(
                "%s: no %s images of %d of %d classes, such as %s", source, split, len(missing), len(data.classes),
                ", ".join(missing[:NAMED]),
            )  # fmt: skip
