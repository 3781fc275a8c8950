"""task=evaluate: test a trained model again."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from seedbed import build
from seedbed.errors import UserError
from seedbed.request import Request
from seedbed.runs.text_tables import table
from seedbed.trained import ELSEWHERE, Trained, read
from seedbed.training.evaluate import test
from seedbed.types import ImageData, RunResult

log = logging.getLogger(__name__)


def run(request: Request) -> RunResult:
    """Test `checkpoint` on the test split, or `split=val` on the validation split, of the data that it was trained on.

    The run's own configuration wins; what the user typed counts on top of it. Another data set is brought to the size
    that the run's had; without splits of its own it is tested whole. Its classes may be some of the run's. Writes
    nothing but the store of decoded images, where it is not there yet.

    Raises:
        UserError: the file is no checkpoint of ours, asks for code or places that are not, or does not fit the data.
    """
    which = request.config.get("split", "test")
    if which not in ("test", "val"):
        raise UserError(f"split: expected test or val, got {which!r}")
    trained = read(request)
    data, own = _load(trained, which)
    if not own:
        log.warning(
            "%s: these are not the images and splits of its run; it may have learned from some of them", trained.path
        )
    data = _with_classes_of(trained, data)
    split = getattr(data, which)
    log.info("%s: %s images", which, f"{len(split):,}")
    model, on, loader = trained.model_and_loader(split)
    settings = trained.settings.train
    loss = nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)
    figures = test(model, loader, loss, on.autocast, len(data.classes), settings.tta).summary
    _show(trained.path, which, figures, own)
    return RunResult("finished", str(trained.path.parent), figures)


def _load(trained: Trained, which: str) -> tuple[ImageData, bool]:
    """The images, and whether they and their splits are those of the run, as far as its file says."""
    elsewhere = which == "test" and bool(trained.typed & ELSEWHERE)
    try:
        data = build.load_data(trained.settings)
        marks = (("data", data.fingerprint), ("pixels", data.pixels))
        own = all(trained.facts.get(key, mark) == mark for key, mark in marks)
    except UserError:
        if not elsewhere:
            raise
        own = False  # few images, say: they may do for a test
    if elsewhere and not own:
        dataset = trained.settings.dataset
        if "dataset.subset" not in trained.typed:
            dataset = replace(dataset, subset=None)
        data = build.load_data(replace(trained.settings, dataset=dataset), for_test=True)
    return data, own


def _with_classes_of(trained: Trained, data: ImageData) -> ImageData:
    """The same images, labelled by the numbers that the classes have in the checkpoint."""
    channels = trained.facts["channels"]
    known = {name: number for number, name in enumerate(trained.facts["classes"])}
    unknown = [name for name in data.classes if name not in known]
    if unknown or data.channels != channels:
        named = f"; unknown to it: {', '.join(unknown[:12])}" if unknown else ""
        raise UserError(
            f"{trained.path}: was trained on {len(known)} classes and {channels} channels; this data set has "
            f"{len(data.classes)} and {data.channels}{named}"
        )
    numbers = np.array([known[name] for name in data.classes])
    splits = {name: getattr(data, name) for name in ("train", "val", "test")}
    splits = {name: replace(split, labels=numbers[split.labels]) for name, split in splits.items()}
    return replace(data, classes=tuple(trained.facts["classes"]), **splits)


def _show(path: Path, which: str, tested: dict[str, dict[str, float]], own: bool) -> None:
    figures = tested["test"]
    header = (which, *(key for key in figures if key != "loss"), "loss")
    names = {"test": str(path), "test_without_tta": "  its images as they are"}
    rows = [(names[kind], *(f"{own[key]:.4f}" for key in header[1:])) for kind, own in tested.items()]
    log.info("\n%s\n", table(header, rows))
    if which != "test" or not own:
        return
    recorded = path.parent / "result.json"
    expected = json.loads(recorded.read_text()).get("test") if recorded.is_file() else None
    if expected:
        other = [f"{key} {was} recorded, {figures[key]} now" for key, was in expected.items() if was != figures[key]]
        log.info("; ".join(other) if other else "identical to the figures that the run recorded")
