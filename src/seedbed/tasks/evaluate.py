"""task=evaluate: test a trained model again."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from seedbed.errors import UserError
from seedbed.request import Request
from seedbed.runs.text_tables import table
from seedbed.trained import TrainedExperiment, read
from seedbed.training.evaluate import test
from seedbed.types import ImageData, RunResult

log = logging.getLogger(__name__)


def run(request: Request) -> RunResult:
    """Test `checkpoint` on the test split, or `split=val` on the validation split, of the data that it was trained on.

    The run's own configuration wins; what the user typed counts on top of it. Another data set is brought to the size
    that the run's had; without splits of its own it is tested whole. Its classes may be some of the run's. Writes
    nothing but the cache of decoded images.

    Raises:
        UserError: the file is no checkpoint of ours, asks for code or paths that are not, or does not fit the data.
    """
    which = request.config.get("split", "test")
    if which not in ("test", "val"):
        raise UserError(f"split: expected test or val, got {which!r}")
    trained = read(request)
    data, of_run = _load(trained, which)
    if not of_run:
        log.warning(
            "%s: these are not the images and splits of its run; it may have learned from some of them", trained.path
        )
    split = getattr(_with_classes_of(trained, data), which)
    log.info("%s: %s images", which, f"{len(split):,}")
    samples = trained.samples(split)
    evaluation = test(
        trained.model, trained.loader(samples), trained.loss, trained.device.autocast, len(trained.classes),
        trained.settings.train.tta,
    )  # fmt: skip
    _show(trained.path, which, evaluation.summary, of_run)
    return RunResult("finished", str(trained.path.parent), evaluation.summary)


def _load(trained: TrainedExperiment, which: str) -> tuple[ImageData, bool]:
    """The images, and whether they and their splits are those of the run, as far as its file says."""
    elsewhere = which == "test" and trained.uses_elsewhere
    try:
        data = trained.images
        expected = trained.metadata
        of_run = all(expected.get(k, v) == v for k, v in (("data", data.fingerprint), ("pixels", data.pixels)))
    except UserError:
        if not elsewhere:
            raise
        of_run = False  # few images, say: they may do for a test
    if elsewhere and not of_run:
        subset = trained.settings.dataset.subset if "dataset.subset" in trained.typed else None
        data = trained.load_images(subset=subset, for_test=True)
    return data, of_run


def _with_classes_of(trained: TrainedExperiment, data: ImageData) -> ImageData:
    """The same images, labelled by the numbers that the classes have in the checkpoint."""
    channels = trained.metadata["channels"]
    known = {name: number for number, name in enumerate(trained.classes)}
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
    return replace(data, classes=tuple(trained.classes), **splits)


def _show(path: Path, which: str, summary: dict[str, dict[str, float]], of_run: bool) -> None:
    """The metrics as a table; of the run's own test images, too, whether they are those that it recorded."""
    metrics = summary["test"]
    header = (which, *(key for key in metrics if key != "loss"), "loss")
    names = {"test": str(path), "test_without_tta": "  its images as they are"}
    rows = [(names[kind], *(f"{values[key]:.4f}" for key in header[1:])) for kind, values in summary.items()]
    log.info("\n%s\n", table(header, rows))
    if which != "test" or not of_run:
        return
    recorded = path.parent / "result.json"
    expected = json.loads(recorded.read_text(encoding="utf-8")).get("test") if recorded.is_file() else None
    if expected:
        other = [f"{key} {was} recorded, {metrics[key]} now" for key, was in expected.items() if was != metrics[key]]
        log.info("; ".join(other) if other else "identical to the metrics that the run recorded")
