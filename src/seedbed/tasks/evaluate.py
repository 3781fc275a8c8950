"""task=evaluate: rebuild a trained model from one file and test it again."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from seedbed import build, config
from seedbed.config import Settings
from seedbed.data.loader import Loader, Preprocess
from seedbed.engine import checkpoint, device
from seedbed.engine.evaluate import test
from seedbed.experiment import FEATURES
from seedbed.request import Request, with_typed
from seedbed.results.report import table
from seedbed.tensors import in_short
from seedbed.types import ImageData, RunResult, Split, UserError

log = logging.getLogger(__name__)


# What decides which code runs and which places are read or written: never taken from a file.
OWN_TO_THE_INSTALLATION = ("augment", "optimizer", "scheduler")
KEYS_OF_THE_FILE = (
    "model.mean", "model.std", "model.normalize_training", "model.pretrained", "model.unit_gains", "model.freeze",
    "model.freeze_norms", "model.lr_decay", "dataset.image_size",
)  # fmt: skip
SIZES, DRAW = ("image_size", "stored_size"), ("val_fraction", "test_fraction", "split_seed")
KEYS_OF_TESTING = ("train.eval_batch_size", "train.test_views")


def run(request: Request) -> RunResult:
    """Test `checkpoint` on the test split, or `split=val` on the validation split, of the data that it was trained on.

    The run's own configuration wins; what the user typed counts on top of it. Another data set is brought to the size
    that the run's had. Writes nothing but the store of decoded images, where it is not there yet.

    Other images without a split are tested whole; their classes may be some of the run's.

    Raises:
        UserError: the file is no checkpoint of ours, asks for code or places that are not, or does not fit the data.
    """
    path, which = Path(request.config["checkpoint"]), request.config.get("split", "test")
    if path.is_dir():
        path = path / "best.safetensors"
    if which not in ("test", "val"):
        raise UserError(f"split: expected test or val, got {which!r}")
    weights, facts = checkpoint.load_best(path)
    for key, kind in (("config", dict), ("classes", list), ("channels", int), ("preprocess", dict | None)):
        if not isinstance(facts.get(key), kind):
            raise UserError(f"checkpoint: {path} does not say its {key}; it was not written by a run of seedbed")
    for word in request.overrides:
        key = word.partition("=")[0].lstrip("+~")
        group = key.partition(".")[0]
        if key in KEYS_OF_THE_FILE or (
            group in (*OWN_TO_THE_INSTALLATION, "train", "features") and key not in KEYS_OF_TESTING
        ):
            raise UserError(f"{word}: says nothing to task=evaluate; a checkpoint brings its weights and size along")
    typed = {word.partition("=")[0].lstrip("+~") for word in request.overrides}
    _refuse_foreign(path, facts["config"], typed)
    for group in OWN_TO_THE_INSTALLATION:
        facts["config"][group] = request.config.get(group)
    wanted = with_typed(facts["config"], request)
    if "dataset" in typed:
        _keep_of_dataset(facts, wanted["dataset"], typed)
    settings = config.check(wanted)
    device.require(settings.device.name)
    data, own = _load(settings, facts, which, elsewhere=bool(typed & {"dataset", "dataset.root"}))
    if not own:
        log.warning("%s: these are not the images and splits of its run; it may have learned from some of them", path)
    data = _with_classes_of(path, facts, data)
    try:
        preprocess = Preprocess(**facts["preprocess"]) if facts["preprocess"] else None
    except TypeError as error:
        raise UserError(f"{path}: its preprocessing is not one that this seedbed knows ({error})") from error
    split: Split = getattr(data, which)
    log.info("%s: %s images", which, f"{len(split):,}")
    learned = {k.removeprefix(FEATURES): weights.pop(k).numpy() for k in list(weights) if k.startswith(FEATURES)}
    if preprocess is None:
        split = _features(settings, learned, split)
    shape = build.input_shape(replace(data, train=split), preprocess)
    model, on = build.make_model(settings, shape, len(data.classes))
    # torch takes other kernels for frozen weights: the same ones here
    build.prepare_tuning(settings, model, preprocess, begins=False)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{path}: its weights do not fit the model it names: {in_short(error)}") from error
    loader = Loader(
        split, preprocess, batch_size=settings.train.eval_batch_size, device=on.torch,
        channels_last=on.channels_last,
    )  # fmt: skip
    loss = nn.CrossEntropyLoss(label_smoothing=settings.train.label_smoothing)
    figures = test(model, loader, loss, on.autocast, len(data.classes), settings.train.test_views).figures
    _show(path, which, figures, own)
    return RunResult("finished", str(path.parent), figures)


def _keep_of_dataset(facts: dict[str, Any], wanted: dict[str, Any], typed: set[str]) -> None:
    """What a newly chosen data set keeps of the run's: sizes, channels; of the same one the draw of its splits, too."""
    own = facts["config"]["dataset"]
    same = all(own.get(key) == wanted.get(key) for key in ("_target_", "name"))
    for key in (*SIZES, *(DRAW if same else ())):
        if key in own and f"dataset.{key}" not in typed:
            wanted[key] = own[key]
    if wanted.get("channels", 0) is None:
        wanted["channels"] = facts["channels"]


def _load(settings: Settings, facts: dict[str, Any], which: str, elsewhere: bool) -> tuple[ImageData, bool]:
    """The images, and whether they and their splits are those of the run, as far as its file says."""
    try:
        data = build.load_data(settings)
        own = all(facts.get(key, mark) == mark for key, mark in (("data", data.fingerprint), ("pixels", data.pixels)))
    except UserError:
        if not elsewhere or which != "test":
            raise
        own = False  # few images, say: they may do for a test
    if elsewhere and which == "test" and not own:
        data = build.load_data(settings, for_test=True)
    return data, own


def _with_classes_of(path: Path, facts: dict[str, Any], data: ImageData) -> ImageData:
    """The same images, labelled by the numbers that the classes have in the checkpoint."""
    known = {name: number for number, name in enumerate(facts["classes"])}
    unknown = [name for name in data.classes if name not in known]
    if unknown or data.channels != facts["channels"]:
        named = f"; unknown to it: {', '.join(unknown[:12])}" if unknown else ""
        raise UserError(
            f"{path}: was trained on {len(known)} classes and {facts['channels']} channels; this data set has "
            f"{len(data.classes)} and {data.channels}{named}"
        )
    numbers = np.array([known[name] for name in data.classes])
    splits = {name: getattr(data, name) for name in ("train", "val", "test")}
    splits = {name: replace(split, labels=numbers[split.labels]) for name, split in splits.items()}
    return replace(data, classes=tuple(facts["classes"]), **splits)


def _features(settings: Settings, learned: dict[str, np.ndarray], split: Split) -> Split:
    """A split as vectors of features, by what the file holds of the pipeline."""
    pipeline = build.make_features(settings)
    if pipeline is None:
        raise UserError("checkpoint: says nothing of its input; it was not written by a run of seedbed")
    samples = pipeline.restore(learned).transform(split.images[split.index])
    return Split(samples, split.targets, np.arange(len(samples)))


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
        foreign = [t for t in _targets(own[group]) if not t.startswith(f"seedbed.{room}.")]
        if group not in typed and (foreign or "_target_" not in own[group]):
            raise UserError(
                f"{path}: its {group} is {foreign[0] if foreign else None}, which is none of seedbed's; nothing was "
                f"run. If it is yours, name it: {group}=…"
            )
    if "dataset" not in typed and "url" in own["dataset"]:
        own["dataset"]["url"] = None


def _targets(node: Any) -> Iterator[str]:
    """Every `_target_` in a node and below it."""
    below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if isinstance(node, dict) and "_target_" in node:
        yield str(node["_target_"])
    for child in below:
        yield from _targets(child)


_ROOMS = {"model": "models", "dataset": "data", "features": "features"}


def _show(path: Path, which: str, tested: dict[str, dict[str, float]], own: bool) -> None:
    figures = tested["test"]
    header = (which, *(key for key in figures if key != "loss"), "loss")
    names = {"test": str(path), "test_single_view": "  its images as they are"}
    rows = [(names[kind], *(f"{own[key]:.4f}" for key in header[1:])) for kind, own in tested.items()]
    log.info("\n%s\n", table(header, rows))
    if which != "test" or not own:
        return
    recorded = path.parent / "result.json"
    expected = json.loads(recorded.read_text()).get("test") if recorded.is_file() else None
    if expected:
        other = [
            f"{key} {was:.6g} recorded, {figures[key]:.6g} now" for key, was in expected.items() if was != figures[key]
        ]
        log.info("; ".join(other) if other else "identical to the figures that the run recorded")
