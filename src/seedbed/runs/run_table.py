"""Earlier runs, read from their folders."""

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
NEUTRAL = ("seed:", "name:", "data_", "output_", "cache_")  # lines of config.yaml in which alike runs may differ


@dataclass(frozen=True)
class Run:
    """What the files of a run folder say of it; empty where one is missing.

    Attributes:
        name: of the folder, below the one that was searched.
        typed: the overrides that the user typed, but for the seed; `swept` those that the sweep varies.
        alike: what runs share that differ in the seed alone: configuration, code, device.
    """

    name: str
    folder: Path
    status: str
    started: str
    result: dict[str, Any]
    environment: dict[str, Any]
    typed: tuple[str, ...]
    swept: dict[str, str]
    seed: str
    alike: str

    def metric(self, split: str, key: str) -> float | None:
        """A metric of `val` or `test`, or None where the run has not come so far."""
        return self.result.get(split, {}).get(key)

    @property
    def metrics(self) -> dict[str, float | None]:
        """Those of METRICS."""
        return {name: self.metric(*name.split("_", 1)) for name in METRICS}


def find(root: Path, holding: Sequence[str] = ()) -> list[Run]:
    """All runs below a folder, the oldest first; only those whose name, title or overrides hold each text."""
    runs = []
    for path in root.rglob("result.json"):
        try:
            run = _read(root, path.parent)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s: left out, not readable as a run's (%s)", path.parent, error)
            continue
        text = " ".join([run.name, run.result.get("title", ""), *run.typed, f"seed={run.seed}"])
        if all(part in text for part in holding):
            runs.append(run)
    return sorted(runs, key=lambda run: (run.started, run.name))


def _read(root: Path, folder: Path) -> Run:
    paths = (folder / name for name in ("result.json", "environment.json", "overrides.json"))
    contents = [json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {} for path in paths]
    if not all(isinstance(content, dict) for content in contents):
        raise ValueError("not written by seedbed")
    result, environment, saved = contents
    config = folder / "config.yaml"
    lines = config.read_text(encoding="utf-8").splitlines() if config.is_file() else [folder.name]
    seed = next((line.partition(": ")[2] for line in lines if line.startswith("seed: ")), "")
    machine = " ".join(str(environment.get(key)) for key in ("git", "device", "gpu", "precision"))
    alike = "\n".join([*(line for line in lines if not line.startswith(NEUTRAL)), machine])
    typed = tuple(override for override in saved.get("overrides", []) if not override.startswith("seed="))
    run = Run(
        folder.relative_to(root).as_posix(), folder, result.get("status", ""), environment.get("started", ""),
        result, environment, typed, saved.get("swept", {}), seed, alike,
    )  # fmt: skip
    if run.status == "finished" and None in run.metrics.values():
        raise ValueError("finished without metrics")
    return run


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics.csv, one a finished epoch; none where the file is missing."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def differing(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """Of each run the overrides that not all of them have."""
    shared = set.intersection(*(set(run.typed) for run in runs)) if runs else set()
    return [tuple(override for override in run.typed if override not in shared) for run in runs]


def over_seeds(runs: Iterable[Run]) -> list[tuple[list[Run], dict[str, tuple[float, float]]]]:
    """Finished runs that differ in the seed alone, two or more, with mean and sample deviation of their metrics."""
    groups: dict[str, dict[str, Run]] = {}
    for run in sorted(runs, key=lambda run: run.started):
        if run.status == "finished":
            groups.setdefault(run.alike, {})[run.seed] = run  # of two with one seed the later one
    spreads = []
    for group in (list(of_seed.values()) for of_seed in groups.values() if len(of_seed) > 1):
        values = {name: [run.metrics[name] for run in group] for name in METRICS}
        spreads.append((group, {name: (statistics.mean(v), statistics.stdev(v)) for name, v in values.items()}))
    return spreads
