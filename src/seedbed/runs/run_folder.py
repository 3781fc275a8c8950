"""The run folder: made exclusively, written whole file by whole file, complete without anything outside it."""

import contextlib
import json
import logging
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import Timeout

from seedbed.errors import UserError
from seedbed.files import lock, output_errors, write_atomically, write_csv
from seedbed.training.evaluate import Metrics
from seedbed.types import ImageData

FORMAT_VERSION = 1


def slug(text: str) -> str:
    """Text fit for a folder name and for Hydra's override grammar: letters, digits, `.`, `_` and `-`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:100] or "run"


def make_folder(parent: Path, name: str) -> Path:
    """Make a folder that nobody else has, `name` or `name-2`, `name-3`, …; a UserError where that is impossible."""
    with output_errors(f"a run folder in {parent}"):
        parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10_000):
            folder = parent / (name if number == 1 else f"{name}-{number}")
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
    raise UserError(f"output_root: {parent} holds too many folders named {name}")


def record_failure(
    sweep: Path, number: int, overrides: Sequence[str], swept: dict[str, str], message: str, before: set[Path]
) -> None:
    """Record that a job of a sweep failed: in the run folder that it made, none of those `before`, or in a new one."""
    made = sorted(set(sweep.glob(f"{number:03d}_*")) - before)
    with RunFolder(made[0] if made else make_folder(sweep, f"{number:03d}_failed")) as folder:
        if not (folder.path / "overrides.json").exists():
            folder.write_json("overrides.json", {"overrides": list(overrides), "swept": swept})
        folder.write_json("result.json", {"status": "failed", "error": message})


class RunFolder(contextlib.AbstractContextManager):
    """Writes the files of one run. Its folder is this process's until `close`; leftovers of a killed run are removed.

    Attributes:
        path: the folder, already made; a UserError where another process works in it.
        status: what this process has written in result.json.
    """

    def __init__(self, path: Path):
        self.path = path
        self.status: str | None = None
        self.handler = logging.FileHandler(path / "train.log", encoding="utf-8", errors="backslashreplace")
        # A full disk cuts the log short instead of ending the run: the files that count complain for themselves.
        self.handler.handleError = lambda record: None
        try:
            self.lock = lock(path / "run.lock")
        except Timeout:
            self.handler.close()
            raise UserError(f"{path}: another process works in this run folder; wait for it or stop it") from None
        for orphan in path.glob(".*.tmp"):
            orphan.unlink(missing_ok=True)
        self.handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logging.getLogger("seedbed").addHandler(self.handler)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the log and let other processes in."""
        logging.getLogger("seedbed").removeHandler(self.handler)
        with contextlib.suppress(OSError):
            self.handler.close()
        # Before the release, after which the file may be another's. Windows removes it with the release.
        with contextlib.suppress(OSError):
            if self.lock.is_locked:
                (self.path / "run.lock").unlink()
        self.lock.release()

    def note_failure(self, message: str, epochs: int) -> None:
        """Say in result.json what ends the run, and in the log with every line of the current exception."""
        lines = logging.LogRecord("seedbed", logging.ERROR, __file__, 0, message, (), sys.exc_info())
        self.handler.handle(lines)
        with contextlib.suppress(OSError):
            self.write_json("result.json", {"status": "failed", "error": message, "epochs": epochs})

    def write_environment(self, environment: dict[str, Any], resumed: bool) -> None:
        """environment.json: of the first start, and under `resumed` of those that went on with the run."""
        path = self.path / "environment.json"
        if resumed and path.exists():
            first = json.loads(path.read_text(encoding="utf-8"))
            environment = {**first, "resumed": [*first.get("resumed", []), environment]}
        self.write_json("environment.json", environment)

    def write(self, name: str, content: str | bytes) -> None:
        """Replace a file."""
        write_atomically(self.path / name, content)

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Replace a file, with the version of the format in it."""
        self.write(name, json.dumps({"format_version": FORMAT_VERSION, **content}, indent=2) + "\n")
        if name == "result.json":
            self.status = content["status"]

    def write_csv(self, name: str, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
        """Replace a table; its fractions have six digits."""
        short = ([f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in rows)
        write_csv(self.path / name, header, short)

    def write_history(self, rows: list[dict[str, Any]]) -> None:
        """metrics.csv: the whole history each time, so that it and `last.pt` cannot disagree for long."""
        self.write_csv("metrics.csv", list(rows[0]), (row.values() for row in rows))

    def write_test_tables(self, classes: Sequence[str], metrics: Metrics) -> None:
        """per_class.csv and confusion.csv."""
        rows = zip(classes, metrics.confusion.sum(1).tolist(), *metrics.per_class.T.tolist(), strict=True)
        self.write_csv("per_class.csv", ("class", "images", "precision", "recall", "f1"), rows)
        rows = zip(classes, *metrics.confusion.T.tolist(), strict=True)
        self.write_csv("confusion.csv", ("label", *classes), rows)


def class_counts(data: ImageData) -> dict[str, tuple[int, ...]]:
    """Class name -> number of training, validation and test images."""
    counts = [np.bincount(split.targets, minlength=len(data.classes)).tolist() for split in data.splits.values()]
    return dict(zip(data.classes, zip(*counts, strict=True), strict=True))
