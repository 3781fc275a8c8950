"""A trained model: the experiment of a `best.safetensors`, with what the user typed on top."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import numpy as np
import torch
from torch import nn

from seedbed.data.cache import cache_errors, cache_folder
from seedbed.data.preprocess import Preprocess
from seedbed.errors import UserError
from seedbed.experiment import FEATURES, Experiment
from seedbed.keys import refuse_unread
from seedbed.request import Request, with_overrides
from seedbed.settings import DatasetSettings
from seedbed.tensors import in_short
from seedbed.training import checkpoint
from seedbed.training.device import require_device
from seedbed.types import Split
from seedbed.upgrade import upgraded

if TYPE_CHECKING:
    from seedbed.features.pipeline import FeaturePipeline

# What decides which code runs and which paths are read or written: never taken from a file.
OF_THE_INSTALLATION = ("augment", "optimizer", "scheduler")
SCALARS = [spec.name for spec in fields(DatasetSettings)]
SIZES, DRAW = ("image_size", "stored_size"), ("val_fraction", "test_fraction", "split_seed")


class TrainedExperiment(Experiment):
    """An experiment whose preprocessing, classes, features and weights are those of a file.

    Attributes:
        path: of the file.
        metadata: what the file says: classes, channels, fingerprints of its images.
        typed: the keys that the user typed.
    """

    def __init__(
        self, path: Path, composed: Mapping[str, Any], metadata: dict[str, Any], weights: dict[str, torch.Tensor],
        typed: set[str],
    ):  # fmt: skip
        super().__init__(composed, metadata.get("choices"), begins=False)
        self.path, self.metadata, self.weights, self.typed = path, metadata, weights, typed
        arrays = [name for name in weights if name.startswith(FEATURES)]
        self._learned = {name.removeprefix(FEATURES): weights.pop(name).numpy() for name in arrays}
        try:
            self.preprocess = Preprocess(**metadata["preprocess"]) if metadata["preprocess"] else None
        except TypeError as error:
            raise UserError(f"{path}: its preprocessing is not one that this seedbed knows ({error})") from error

    @property
    def classes(self) -> Sequence[str]:
        """Class names in label order, those of the file; earlier files may have accents apart."""
        return [normalize("NFC", name) for name in self.metadata["classes"]]

    @property
    def bits(self) -> int:
        """By which images of 16 bits are scaled, as in training."""
        return self.metadata.get("bits") or 16

    @property
    def uses_elsewhere(self) -> bool:
        """Whether the user named other images than the run's."""
        return bool(self.typed & {"dataset", "dataset.root"})

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample as the model gets it."""
        if self.preprocess is None:
            return self._learned["kept"].shape if "kept" in self._learned else (0,)
        size = self.preprocess.image_size
        return self.preprocess.channels(self.metadata["channels"]), size, size

    @cached_property
    def fitted_pipeline(self) -> FeaturePipeline:
        """The feature pipeline with what the file holds of it."""
        if self.pipeline is None:
            raise UserError("checkpoint: says nothing of its input; it was not written by a run of seedbed")
        return self.pipeline.restore(self._learned)

    def samples(self, split: Split) -> Split:
        """A split of images as the model takes them: as they are, or as vectors of features."""
        if self.preprocess is not None:
            return split
        from seedbed.features.parts import in_files

        folder = cache_folder(self.settings.root.cache_root)
        with cache_errors(folder):
            samples = self.fitted_pipeline.transform(split, in_files(folder))
        return Split(samples, split.targets, np.arange(len(samples)))

    @cached_property
    def model(self) -> nn.Module:
        """The model with the file's weights, on its device."""
        if self.preprocess is None:
            self.fitted_pipeline  # noqa: B018 (refuses arrays that are none of a pipeline's)
        model = Experiment.model.func(self)
        try:
            model.load_state_dict(self.weights)
        except RuntimeError as error:
            raise UserError(f"{self.path}: its weights do not fit the model it names: {in_short(error)}") from error
        return model


def read(request: Request, source: Mapping[str, Any] | None = None) -> TrainedExperiment:
    """Read the file that `checkpoint=` names, or the one in the run folder that it names.

    `source` has `_target_` and arguments of what to take images from, in place of the run's own data set. A UserError
    says that the file is no checkpoint of ours, asks for foreign code or paths, or that an override would be ignored.
    """
    path, typed = Path(request.config["checkpoint"]), request.typed
    if path.is_dir():
        path = path / "best.safetensors"
    weights, metadata = checkpoint.load_best(path)
    for key, kind in (("config", dict), ("classes", list), ("channels", int), ("preprocess", dict | None)):
        if not isinstance(metadata.get(key), kind):
            raise UserError(f"checkpoint: {path} does not say its {key}; it was not written by a run of seedbed")
    refuse_unread(request.config["task"], request.overrides, "a checkpoint brings its weights and size along")
    config = upgraded(metadata["config"])
    if source is not None:
        dataset = config.get("dataset") or {}
        config["dataset"] = {**{key: dataset[key] for key in SCALARS if key in dataset}, **source}
    _refuse_foreign(path, config, typed)
    for group in OF_THE_INSTALLATION:
        config[group] = request.config.get(group)
    wanted = with_overrides(config, request)
    if "dataset" in typed:
        _keep_of_dataset(config["dataset"], wanted["dataset"], typed)
    if typed & {"dataset", "dataset.root"} and wanted["dataset"].get("channels", 0) is None:
        wanted["dataset"]["channels"] = metadata["channels"]
    experiment = TrainedExperiment(path, wanted, metadata, weights, typed)
    if experiment.preprocess is None and experiment.settings.train.tta > 1:
        raise UserError("train.tta: features are extracted once, from images as they are; leave it 1")
    require_device(experiment.settings.device.name)
    return experiment


def _keep_of_dataset(of_run: dict[str, Any], wanted: dict[str, Any], typed: set[str]) -> None:
    """What a newly chosen data set keeps of the run's: sizes; of the same one the draw of its splits, too."""
    same = all(of_run.get(key) == wanted.get(key) for key in ("_target_", "name"))
    for key in (*SIZES, *(DRAW if same else ())):
        if key in of_run and f"dataset.{key}" not in typed:
            wanted[key] = of_run[key]


def _refuse_foreign(path: Path, config: dict[str, Any], typed: set[str]) -> None:
    """A checkpoint from elsewhere may name any callable and any address: ours alone are built, and none is fetched."""
    if "${" in json.dumps(config):
        raise UserError(f"{path}: its configuration holds ${{…}}, which would be evaluated; nothing was run")
    for group, package in (("model", "models"), ("dataset", "data"), ("features", "features")):
        node = config.get(group)
        if group == "features" and node in (None, {}):
            continue
        if not isinstance(node, dict):
            raise UserError(f"{path}: names no {group}; it was not written by a run of seedbed")
        # Another class is fine where the user named it: model=mine on the command line.
        foreign = [target for target in _targets(node) if not _is_class_of(target, f"seedbed.{package}")]
        if group not in typed and (foreign or "_target_" not in node):
            raise UserError(
                f"{path}: its {group} is {foreign[0] if foreign else None}, which is none of seedbed's; nothing was "
                f"run. If it is yours, name it: {group}=…"
            )
    if "dataset" not in typed and "url" in config["dataset"]:
        config["dataset"]["url"] = None


def _is_class_of(target: str, package: str) -> bool:
    """Whether it names a class that was written there: not a function, nor what a module imports from elsewhere."""
    module, _, name = target.rpartition(".")
    if not f"{module}.".startswith(f"{package}."):
        return False
    try:
        named = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return False
    return inspect.isclass(named) and named.__module__ == module


def _targets(node: Any) -> Iterator[str]:
    """Every `_target_` in a node and below it; arguments without a name, which nothing checks, count as one, too."""
    if isinstance(node, dict):
        if "_args_" in node:
            yield "_args_"
        if "_target_" in node:
            yield str(node["_target_"])
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _targets(child)
