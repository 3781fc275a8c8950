"""Features of a whole data set, computed once for each set of parameters and kept."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import sklearn

from seedbed.data.cache import cache_errors, cache_folder
from seedbed.features.pipeline import FeaturePipeline
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
        parameters: those of the pipeline, plain values: with the images and the code that they name, they are the key.
        cache_root: where features are kept; None: the user's cache directory.

    Returns:
        the data set with float32 `[N, F]` in place of its images.
    """
    versions = (code(parameters), cv2.__version__, sklearn.__version__)
    # Not sorted: the order of a pipeline's bags is that of its columns.
    key = json.dumps([versions, images.store, images.fingerprint, parameters])
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


def code(parameters: Any) -> str:
    """A digest of the source of this room, and of every module outside it that a `_target_` names."""
    files = {*Path(__file__).parent.glob("*.py"), *_modules(parameters)}
    contents = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file())
    return hashlib.sha256("".join(contents).encode()).hexdigest()


def _modules(node: Any) -> Iterator[Path]:
    """The files of the modules that have been imported for a node and all below it."""
    below = node.values() if isinstance(node, Mapping) else node if isinstance(node, list | tuple) else ()
    if isinstance(node, Mapping) and "_target_" in node:
        file = getattr(sys.modules.get(str(node["_target_"]).rpartition(".")[0]), "__file__", None)
        if file:
            yield Path(file)
    for child in below:
        yield from _modules(child)


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
