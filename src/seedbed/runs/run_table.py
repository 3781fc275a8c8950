"""Runs that are there already, read from their folders."""

from __future__ import annotations

import csv
import json
import logging
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
METRICS = ("val_accuracy", "test_accuracy", "test_f1")
FILES = ("result.json", "environment.json", "overrides.json")


@dataclass(frozen=True)
class Run:
    """What the files of a run folder say of it.

    Attributes:
        name: of the folder, below the one that was searched.
        folder: where it lies.
        result: result.json.
        environment: environment.json; empty where it is not there yet.
        typed: what the user typed, word by word, but for the seed.
        seed: as its configuration has it; empty where that is not there yet.
        alike: what runs share that differ in the seed alone: configuration, code, device.
    """

    name: str
    folder: Path
    result: dict[str, Any]
    environment: dict[str, Any]
    typed: tuple[str, ...]
    seed: str
    alike: str

    @property
    def status(self) -> str:
        return self.result.get("status", "")

    @property
    def started(self) -> str:
        """As it was noted, `2026-01-31T23:59:59+0000`."""
        return self.environment.get("started", "")

    def metric(self, split: str, key: str) -> float | None:
        """A figure of `val` or `test`, or None where the run has not come so far."""
        return self.result.get(split, {}).get(key)


def find(root: Path, holding: Sequence[str] = ()) -> list[Run]:
    """All runs below a folder, the oldest first.

    Args:
        holding: texts that a run's name, title or typed words must hold, each of them.
    """
    found = []
    for path in root.rglob("result.json"):
        try:
            run = _read(root, path.parent)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s: left out, not readable as a run's (%s)", path.parent, error)
            continue
        text = " ".join([run.name, run.result.get("title", ""), *run.typed, f"seed={run.seed}"])
        if all(part in text for part in holding):
            found.append(run)
    return sorted(found, key=lambda run: (run.started, run.name))


def _read(root: Path, folder: Path) -> Run:
    result, environment, saved = (_json(folder / name) for name in FILES)
    if result.get("status") == "finished" and None in (
        result[key.partition("_")[0]].get("accuracy") for key in METRICS
    ):
        raise ValueError("finished without figures")
    config = folder / "config.yaml"
    lines = config.read_text().splitlines() if config.is_file() else [folder.name]
    seeds = [line.partition(": ")[2] for line in lines if line.startswith("seed: ")]
    alike = "\n".join(line for line in lines if not line.startswith(("seed:", "name:", "data_", "output_", "cache_")))
    alike += "\n" + " ".join(str(environment.get(key)) for key in ("git", "device", "gpu", "precision"))
    typed = tuple(word for word in saved.get("overrides", []) if not word.startswith("seed="))
    name = folder.relative_to(root).as_posix()
    return Run(name, folder, result, environment, typed, seeds[0] if seeds else "", alike)


def _json(path: Path) -> dict[str, Any]:
    facts = json.loads(path.read_text()) if path.is_file() else {}
    if not isinstance(facts, dict):
        raise ValueError(f"{path.name} is none that seedbed wrote")
    return facts


def history(run: Run) -> list[dict[str, float]]:
    """The rows of metrics.csv, one a finished epoch."""
    path = run.folder / "metrics.csv"
    if not path.is_file():
        return []
    with path.open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def differing(runs: Iterable[Run]) -> list[tuple[str, ...]]:
    """Of each run the typed words that not all of them have."""
    runs = list(runs)
    shared = set.intersection(*(set(run.typed) for run in runs)) if runs else set()
    return [tuple(word for word in run.typed if word not in shared) for run in runs]


def over_seeds(runs: Iterable[Run]) -> list[tuple[list[Run], dict[str, tuple[float, float]]]]:
    """Finished runs that differ in the seed alone, two or more, with mean and sample deviation of their figures."""
    groups: dict[str, dict[str, Run]] = {}
    for run in sorted(runs, key=lambda run: run.started):
        if run.status == "finished":
            groups.setdefault(run.alike, {})[run.seed] = run  # of two with one seed the later one
    several = [list(group.values()) for group in groups.values() if len(group) > 1]
    return [(group, {key: _spread(group, *key.split("_", 1)) for key in METRICS}) for group in several]


def _spread(runs: Sequence[Run], split: str, key: str) -> tuple[float, float]:
    values = [run.metric(split, key) for run in runs]
    return statistics.mean(values), statistics.stdev(values)
