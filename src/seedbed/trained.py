"""A trained model, rebuilt from one file: what a run left in `best.safetensors`, with what the user typed on top."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from seedbed import build, config
from seedbed.config import Settings
from seedbed.data.loader import Loader, Preprocess
from seedbed.errors import UserError
from seedbed.experiment import FEATURES
from seedbed.request import Request, with_typed
from seedbed.tensors import in_short
from seedbed.training import checkpoint, device
from seedbed.training.device import Device
from seedbed.types import Split

log = logging.getLogger(__name__)

# What decides which code runs and which places are read or written: never taken from a file.
OWN_TO_THE_INSTALLATION = ("augment", "optimizer", "scheduler")
KEYS_OF_THE_FILE = (
    "model.mean", "model.std", "model.normalize_training", "model.pretrained", "model.rescale_batchnorm",
    "model.freeze", "model.freeze_batchnorm", "model.lr_decay", "dataset.image_size",
)  # fmt: skip
KEYS_OF_USE = ("train.eval_batch_size", "train.tta", "dataset.on_bad_image")
ELSEWHERE = {"dataset", "dataset.root"}  # keys that lead to other images
SCALARS = [spec.name for spec in dataclasses.fields(config.DatasetSettings)]
SIZES, DRAW = ("image_size", "stored_size"), ("val_fraction", "test_fraction", "split_seed")


@dataclass(frozen=True)
class Trained:
    """What a file holds, checked, before anything is built.

    Attributes:
        path: of the file.
        settings: the run's own, with what the user typed on top.
        facts: what the file says besides: classes, channels, marks of its images.
        preprocess: size and normalisation; None for a model of features.
        weights: of the model.
        learned: arrays of the feature pipeline, by name.
        typed: the keys that the user typed.
    """

    path: Path
    settings: Settings
    facts: dict[str, Any]
    preprocess: Preprocess | None
    weights: dict[str, torch.Tensor]
    learned: dict[str, np.ndarray]
    typed: set[str]

    def model_and_loader(self, split: Split) -> tuple[nn.Module, Device, Loader]:
        """The model with its weights, where it runs, and batches of a split of images.

        Raises:
            UserError: the weights do not fit the model that the file names.
        """
        if self.preprocess is None:
            split = self._as_features(split)
        sample = split.images.shape[1:]
        if self.preprocess is not None:
            size = self.preprocess.image_size
            sample = (self.preprocess.channels(sample[0]), size, size)
        model, on = build.make_model(self.settings, tuple(sample), len(self.facts["classes"]))
        # torch takes other kernels for frozen weights: the same ones here
        build.prepare_tuning(self.settings, model, self.preprocess, begins=False)
        try:
            model.load_state_dict(self.weights)
        except RuntimeError as error:
            raise UserError(f"{self.path}: its weights do not fit the model it names: {in_short(error)}") from error
        loader = Loader(
            split, self.preprocess, batch_size=self.settings.train.eval_batch_size, device=on.torch,
            channels_last=on.channels_last,
        )  # fmt: skip
        return model, on, loader

    def _as_features(self, split: Split) -> Split:
        """A split as vectors of features, by what the file holds of the pipeline."""
        pipeline = build.make_features(self.settings)
        if pipeline is None:
            raise UserError("checkpoint: says nothing of its input; it was not written by a run of seedbed")
        samples = pipeline.restore(self.learned).transform(split.images[split.index])
        return Split(samples, split.targets, np.arange(len(samples)))


def read(request: Request, idle: Sequence[str] = (), source: Mapping[str, Any] | None = None) -> Trained:
    """Read the file that `checkpoint=` names, or the one in the run folder that it names.

    Args:
        idle: groups that say nothing to this task, beside those that say nothing to any.
        source: what to take images from, `_target_` and arguments, in place of the run's own data set.

    Raises:
        UserError: the file is no checkpoint of ours, or asks for code or places that are not; an override that would
            be ignored.
    """
    path, task = Path(request.config["checkpoint"]), request.config["task"]
    if path.is_dir():
        path = path / "best.safetensors"
    weights, facts = checkpoint.load_best(path)
    for key, kind in (("config", dict), ("classes", list), ("channels", int), ("preprocess", dict | None)):
        if not isinstance(facts.get(key), kind):
            raise UserError(f"checkpoint: {path} does not say its {key}; it was not written by a run of seedbed")
    groups = (*OWN_TO_THE_INSTALLATION, "train", "features", *idle)
    for word in request.overrides:
        key = word.partition("=")[0].lstrip("+~")
        if key in KEYS_OF_THE_FILE or (key.partition(".")[0] in groups and key not in KEYS_OF_USE):
            raise UserError(f"{word}: says nothing to task={task}; a checkpoint brings its weights and size along")
    typed = {word.partition("=")[0].lstrip("+~") for word in request.overrides}
    if source is not None:
        own = facts["config"].get("dataset") or {}
        facts["config"]["dataset"] = {**{key: own[key] for key in SCALARS if key in own}, **source}
    _refuse_foreign(path, facts["config"], typed)
    for group in OWN_TO_THE_INSTALLATION:
        facts["config"][group] = request.config.get(group)
    wanted = with_typed(facts["config"], request)
    if "dataset" in typed:
        _keep_of_dataset(facts["config"]["dataset"], wanted["dataset"], typed)
    if typed & ELSEWHERE and wanted["dataset"].get("channels", 0) is None:
        wanted["dataset"]["channels"] = facts["channels"]
    settings = config.check(wanted)
    device.require(settings.device.name)
    try:
        preprocess = Preprocess(**facts["preprocess"]) if facts["preprocess"] else None
    except TypeError as error:
        raise UserError(f"{path}: its preprocessing is not one that this seedbed knows ({error})") from error
    learned = {k.removeprefix(FEATURES): weights.pop(k).numpy() for k in list(weights) if k.startswith(FEATURES)}
    return Trained(path, settings, facts, preprocess, weights, learned, typed)


def _keep_of_dataset(own: dict[str, Any], wanted: dict[str, Any], typed: set[str]) -> None:
    """What a newly chosen data set keeps of the run's: sizes; of the same one the draw of its splits, too."""
    same = all(own.get(key) == wanted.get(key) for key in ("_target_", "name"))
    for key in (*SIZES, *(DRAW if same else ())):
        if key in own and f"dataset.{key}" not in typed:
            wanted[key] = own[key]


def _refuse_foreign(path: Path, own: dict[str, Any], typed: set[str]) -> None:
    """A checkpoint from elsewhere may name any callable and any address: ours alone are built, and none is fetched."""
    if "${" in json.dumps(own):
        raise UserError(f"{path}: its configuration holds ${{…}}, which would be evaluated; nothing was run")
    for group, room in _ROOMS.items():
        if group == "features" and own.get(group) in (None, {}):
            continue
        if not isinstance(own.get(group), dict):
            raise UserError(f"{path}: names no {group}; it was not written by a run of seedbed")
        # Another class is fine where the user named it: model=mine on the command line.
        foreign = [target for target in _targets(own[group]) if not _is_class_of(target, f"seedbed.{room}")]
        if group not in typed and (foreign or "_target_" not in own[group]):
            raise UserError(
                f"{path}: its {group} is {foreign[0] if foreign else None}, which is none of seedbed's; nothing was "
                f"run. If it is yours, name it: {group}=…"
            )
    if "dataset" not in typed and "url" in own["dataset"]:
        own["dataset"]["url"] = None


def _is_class_of(target: str, room: str) -> bool:
    """Whether it names a class that was written there: not a function, nor what a module imports from elsewhere."""
    module, _, name = target.rpartition(".")
    if not f"{module}.".startswith(f"{room}."):
        return False
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return False
    return inspect.isclass(found) and found.__module__ == module


def _targets(node: Any) -> Iterator[str]:
    """Every `_target_` in a node and below it; arguments without a name, which nothing checks, count as one, too."""
    below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if isinstance(node, dict) and "_args_" in node:
        yield "_args_"
    if isinstance(node, dict) and "_target_" in node:
        yield str(node["_target_"])
    for child in below:
        yield from _targets(child)


_ROOMS = {"model": "models", "dataset": "data", "features": "features"}
