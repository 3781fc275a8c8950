"""Features of a whole data set, computed once for each set of parameters and kept."""

import hashlib
import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import sklearn

from seedbed.data.cache import cache_folder, kept
from seedbed.features.parts import in_files, parts_of, reserve
from seedbed.features.pipeline import FeaturePipeline
from seedbed.types import ImageData, Split

log = logging.getLogger(__name__)


def extract(
    pipeline: FeaturePipeline, images: ImageData, parameters: Mapping[str, Any], cache_root: str | None
) -> ImageData:
    """Fit the pipeline on the training split and turn every split into features, or read what was kept of that.

    Args:
        pipeline: not fitted; it is afterwards. Its `found_` is then of all images, training, validation, test, and
            its `seconds_` what fitting and extraction took when they were done.
        parameters: those of the pipeline, plain values: with the images and the code that they name, they are the key.
        cache_root: where features are kept; None: the user's cache directory.

    Returns:
        the data set with float32 `[N, F]` in place of its images.
    """
    versions = (code(parameters), cv2.__version__, sklearn.__version__)
    # Not sorted: the order of a pipeline's bags is that of its columns.
    key = json.dumps([versions, images.store, images.fingerprint, parameters])
    folder = cache_folder(cache_root) / "features" / hashlib.sha256(key.encode()).hexdigest()[:16]
    labels = np.concatenate([split.targets for split in images.splits.values()])
    samples = kept(folder, partial(_read, pipeline, len(labels)), lambda private: _fill(private, pipeline, images))
    ends = np.cumsum([len(split) for split in images.splits.values()])
    train, val, test = (Split(samples, labels, rows) for rows in np.split(np.arange(len(labels)), ends[:-1]))
    return replace(images, train=train, val=val, test=test)


def _read(pipeline: FeaturePipeline, n: int, folder: Path) -> np.ndarray:
    """The kept features, float32 `[n, F]`; the pipeline takes over what was learned."""
    learned = dict(np.load(folder / "learned.npz", allow_pickle=False))
    found, seconds, importances = learned.pop("found"), learned.pop("seconds"), learned.pop("importances", None)
    pipeline.restore(learned)
    pipeline.found_, pipeline.seconds_, pipeline.importances_ = found, float(seconds), importances
    samples = np.load(folder / "samples.npy", mmap_mode="c")
    if samples.shape != (n, len(pipeline.kept_)) or samples.dtype != np.float32 or len(found) != n:
        raise ValueError("its arrays do not fit together")
    return samples


def code(parameters: Any) -> str:
    """A digest of the source of this package, and of every module outside it that a `_target_` names."""
    files = {*Path(__file__).parent.glob("*.py"), *_modules(parameters)}
    return hashlib.sha256(b"".join(sorted(path.read_bytes() for path in files if path.is_file()))).hexdigest()


def _modules(node: Any) -> Iterator[Path]:
    """The files of the modules that have been imported for a node and all below it."""
    if isinstance(node, Mapping):
        module = sys.modules.get(str(node.get("_target_", "")).rpartition(".")[0])
        if file := getattr(module, "__file__", None):
            yield Path(file)
        node = [*node.values()]
    for child in node if isinstance(node, list | tuple) else ():
        yield from _modules(child)


def _fill(private: Path, pipeline: FeaturePipeline, images: ImageData) -> None:
    started = time.perf_counter()
    train, *others = images.splits.values()
    n, allocate = sum(map(len, (train, *others))), in_files(private.parent)
    log.info("extracting features of %s images, once", f"{n:,}")
    features = pipeline.fit_transform(train, train.targets, allocate)
    path, end, found = private / "samples.npy", len(train), [pipeline.found_]
    samples = np.lib.format.open_memmap(path, "w+", np.float32, (n, features.shape[1]))
    with path.open("r+b") as file:
        reserve(file, path.stat().st_size)
    for rows in parts_of(end):
        samples[rows] = features[rows]
    del features
    for split in others:
        part, end = samples[end : end + len(split)], end + len(split)
        found.append(pipeline.transform_with_found(split, lambda _, part=part: part)[1])
    samples.flush()
    learned = {**pipeline.arrays(), "found": np.concatenate(found)}
    if pipeline.importances_ is not None:
        learned["importances"] = pipeline.importances_
    seconds = time.perf_counter() - started
    np.savez(private / "learned.npz", seconds=seconds, **learned)
    log.info("%d features in %.1f s", samples.shape[1], seconds)
