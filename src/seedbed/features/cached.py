"""Features of a whole data set, computed once for each set of parameters and kept."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import sklearn

from seedbed.data.store import cache_errors, cache_folder
from seedbed.features.pipeline import VERSION, FeaturePipeline
from seedbed.files import make_once
from seedbed.types import ImageData, Split

log = logging.getLogger(__name__)


def extract(
    pipeline: FeaturePipeline, images: ImageData, parameters: Mapping[str, Any], cache_root: str | None
) -> ImageData:
    """Fit the pipeline on the training split and turn every split into features, or read what was kept of that.

    Args:
        pipeline: not fitted; it is afterwards, its `found_` is of all images, training, validation, test, and its
            `seconds_` what fitting and extraction took when they were done.
        parameters: those of the pipeline, plain values: with the images and the code's version, they are the key.
        cache_root: where features are kept; None: the user's cache directory.

    Returns:
        the data set with float32 `[N, F]` in place of its images.
    """
    versions = (VERSION, cv2.__version__, sklearn.__version__)
    key = json.dumps([versions, images.store, images.fingerprint, parameters], sort_keys=True)
    folder = cache_folder(cache_root) / "features" / hashlib.sha256(key.encode()).hexdigest()[:16]
    if not folder.is_dir():
        with cache_errors(folder.parent):
            make_once(folder, lambda private: _fill(private, pipeline, images))
    kept = dict(np.load(folder / "learned.npz", allow_pickle=False))
    importances, found, seconds = (kept.pop(name) for name in ("importances", "found", "seconds"))
    pipeline.restore(kept)
    pipeline.importances_, pipeline.found_ = importances if len(importances) else None, found
    pipeline.seconds_ = float(seconds)
    samples = np.load(folder / "samples.npy", mmap_mode="c")
    splits, start = {}, 0
    for name in ("train", "val", "test"):
        own: Split = getattr(images, name)
        rows = np.arange(start, start + len(own))
        splits[name] = (rows, own.targets)
        start += len(own)
    labels = np.concatenate([targets for _, targets in splits.values()])
    return replace(images, **{name: Split(samples, labels, rows) for name, (rows, _) in splits.items()})


def _fill(private: Path, pipeline: FeaturePipeline, images: ImageData) -> None:
    started = time.perf_counter()
    train, val, test = (own.images[own.index] for own in (images.train, images.val, images.test))
    log.info("extracting features of %s images, once", f"{len(train) + len(val) + len(test):,}")
    parts, found = [pipeline.fit_transform(train, images.train.targets)], [pipeline.found_]
    for own in (val, test):
        part, own_found = pipeline.transform_with_found(own)
        parts.append(part)
        found.append(own_found)
    np.save(private / "samples.npy", np.concatenate(parts))
    importances = np.zeros(0) if pipeline.importances_ is None else pipeline.importances_
    seconds = time.perf_counter() - started
    np.savez(
        private / "learned.npz", importances=importances, found=np.concatenate(found), seconds=seconds,
        **pipeline.arrays(),
    )  # fmt: skip
    log.info("%d features in %.1f s", parts[0].shape[1], seconds)
