"""The run folder: made exclusively, written whole file by whole file, complete without anything outside it."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seedbed.errors import UserError
from seedbed.files import lock, write_atomically
from seedbed.training.evaluate import Metrics
from seedbed.types import ImageData

FORMAT_VERSION = 1


def slug(text: str) -> str:
    """Text fit for a folder name and for Hydra's override grammar: letters, digits, `.`, `_` and `-`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:100] or "run"


def make_folder(parent: Path, name: str) -> Path:
    """Make a folder that nobody else has: `name`, or `name-2`, `name-3`, … where it is taken.

    Raises:
        UserError: the place cannot be written.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, 10_000):
            folder = parent / (name if attempt == 1 else f"{name}-{attempt}")
            try:
                folder.mkdir()
            except FileExistsError:
                if not folder.exists():
                    raise
                continue
            return folder
    except OSError as error:
        raise UserError(
            f"output_root: cannot make a run folder in {parent}: {error.strerror or error}; set output_root "
            "(or SEEDBED_OUTPUTS) to a folder that can be written"
        ) from error
    raise UserError(f"output_root: {parent} holds too many folders named {name}")


def note_failure(
    sweep: Path, number: int, overrides: Sequence[str], swept: dict[str, str], message: str, there: set[Path]
) -> None:
    """RunFolder that a job of a sweep failed, in a folder of its own if it did not come so far as to have one.

    Args:
        there: what the sweep's folder held when the job began: another sweep may have the same one.
    """
    own = sorted(set(sweep.glob(f"{number:03d}_*")) - there)
    with RunFolder(own[0] if own else make_folder(sweep, f"{number:03d}_failed")) as record:
        if not (record.folder / "overrides.json").exists():
            record.write_json("overrides.json", {"overrides": list(overrides), "swept": swept})
        record.write_json("result.json", {"status": "failed", "error": message})


class _LogFile(logging.FileHandler):
    """A log that a full disk cuts short instead of ending the run: the files that count complain for themselves."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


class RunFolder:
    """Writes the files of one run.

    Args:
        folder: the run folder, already made. It is this process's until `close`; what a killed run left
            half-written in it is removed.

    Attributes:
        status: what result.json says of the run since this process has it.

    Raises:
        UserError: another process works in the folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.status: str | None = None
        self.handler = _LogFile(folder / "train.log", encoding="utf-8", errors="backslashreplace")
        try:
            lock(self.handler.stream)
        except BlockingIOError:
            self.handler.close()
            raise UserError(f"{folder}: another process works in this run folder; wait for it or stop it") from None
        for orphan in folder.glob(".*.tmp"):
            orphan.unlink(missing_ok=True)
        self.handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logging.getLogger("seedbed").addHandler(self.handler)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        logging.getLogger("seedbed").removeHandler(self.handler)
        self.handler.close()

    def failure(self, message: str, epochs: int) -> None:
        """Say in result.json what ends the run, and in the log with every line of the exception under way."""
        lines = logging.LogRecord("seedbed", logging.ERROR, __file__, 0, message, (), sys.exc_info())
        self.handler.handle(lines)
        with contextlib.suppress(OSError):
            self.write_json("result.json", {"status": "failed", "error": message, "epochs": epochs})

    def environment(self, facts: dict[str, Any], resumed: bool) -> None:
        """environment.json: of the first start, and under `resumed` of those that went on with the run."""
        path = self.folder / "environment.json"
        if resumed and path.exists():
            first = json.loads(path.read_text())
            facts = {**first, "resumed": [*first.get("resumed", []), facts]}
        self.write_json("environment.json", facts)

    def write(self, name: str, content: str | bytes) -> None:
        write_atomically(self.folder / name, content)

    def write_json(self, name: str, facts: dict[str, Any]) -> None:
        self.write(name, json.dumps({"format_version": FORMAT_VERSION, **facts}, indent=2) + "\n")
        if name == "result.json":
            self.status = facts["status"]

    def write_csv(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
        self.write(name, text.getvalue())

    def history(self, rows: list[dict[str, Any]]) -> None:
        """metrics.csv: the whole history each time, so that it and `last.pt` cannot disagree for long."""
        self.write_csv("metrics.csv", list(rows[0]), [[_digits(v) for v in row.values()] for row in rows])

    def test_tables(self, classes: Sequence[str], metrics: Metrics) -> None:
        """per_class.csv and confusion.csv."""
        rows = zip(classes, metrics.confusion.sum(1).tolist(), metrics.per_class.tolist(), strict=True)
        self.write_csv(
            "per_class.csv",
            ("class", "images", "precision", "recall", "f1"),
            ((name, images, *map(_digits, figures)) for name, images, figures in rows),
        )
        rows = zip(classes, metrics.confusion.tolist(), strict=True)
        self.write_csv("confusion.csv", ("label", *classes), ((name, *counts) for name, counts in rows))


def class_counts(data: ImageData) -> dict[str, list[int]]:
    """Class name -> number of training, validation and test images."""
    counts = [
        np.bincount(split.targets, minlength=len(data.classes)).tolist() for split in (data.train, data.val, data.test)
    ]
    return dict(zip(data.classes, map(list, zip(*counts, strict=True)), strict=True))


def _digits(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
