"""Runs of a script that may be killed at any time: each has its own place and goes on where it stopped."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from seedbed.models.fine_tuning import SHIPPED

WALL = "wall_seconds"
# What settings that are younger than some kept runs leave as it was, wherever they stand: such runs stay the same ones.
NO_CHANGE = (
    "tta: 1", "initial_size: null", "initial_fraction: 0.5", "head_widths: null", "edge: null",
    "rescale_batchnorm: false", "cycle_momentum: true", "base_momentum: 0.85", "max_momentum: 0.95",
)  # fmt: skip
KEPT = Path(os.environ.get("SEEDBED_OUTPUTS", "outputs")) / "kept"


def complete(words: str) -> Path:
    """The folder of the finished run of `python -m run WORDS`: found under `KEPT`, or resumed there, or begun.

    A run is another one where its settings or the shipped weights are others. Where it was never stopped, a file
    `wall_seconds` in its folder says how long the whole command took.

    Raises:
        SystemExit: the run failed or was interrupted.
    """
    # File systems take names of 255 bytes; the digest alone tells runs apart.
    place = KEPT / f"{re.sub(r'[^A-Za-z0-9]+', '_', words)[:100]}_{digest(words)}"
    folders = sorted(path for path in place.glob("*") if (path / "config.yaml").is_file())
    finished = [path for path in folders if _status(path) == "finished"]
    if finished:
        return finished[-1]
    command = [f"resume={folders[-1]}"] if folders else words.split()
    print("python -m run", *command, flush=True)
    begun = time.perf_counter()
    _run(command, place)
    run = next(path for path in sorted(place.glob("*"), reverse=True) if _status(path) == "finished")
    if not folders:
        (run / WALL).write_text(f"{time.perf_counter() - begun:.1f}\n")
    return run


def digest(words: str) -> str:
    """Of all settings but the places, and of the shipped weights that they begin with, if they do."""
    shown = subprocess.run(
        [sys.executable, "-m", "run", *words.split(), "--cfg", "job"], stdout=subprocess.PIPE, text=True
    )
    if shown.returncode:
        raise SystemExit(shown.returncode)
    settings = [
        line
        for line in shown.stdout.splitlines()
        if not line.startswith(("data_", "output_", "cache_")) and line.strip() not in NO_CHANGE
    ]
    hashes = [path.read_text() for path in sorted(SHIPPED.glob("*.sha256")) if begins_with(path.stem, settings)]
    return hashlib.sha256("\n".join([*settings, *hashes]).encode()).hexdigest()[:8]


def begins_with(weights: str, settings: list[str]) -> bool:
    """Whether a run of these lines of yaml begins with shipped weights, `<name>_<model>`, called by the name."""
    return any(line.strip() == f"pretrained: {weights.rpartition('_')[0]}" for line in settings)


def _run(command: list[str], outputs: Path) -> None:
    """The command to its end. What would stop this script stops the run first, which saves and says how to go on."""
    environment = {**os.environ, "SEEDBED_OUTPUTS": str(outputs.resolve())}
    # In a session of its own, or a terminal's Ctrl-C would reach it twice.
    child = subprocess.Popen([sys.executable, "-m", "run", *command], env=environment, start_new_session=True)
    before = {number: signal.signal(number, lambda *_: child.terminate()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if code:
        raise SystemExit(code)


def wall_seconds(run: Path) -> float | None:
    """Of the whole command, features and plots and all; None where it was resumed."""
    return float((run / WALL).read_text()) if (run / WALL).is_file() else None


def history(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics.csv, one an epoch."""
    with path.open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def _status(folder: Path) -> str | None:
    path = folder / "result.json"
    return json.loads(path.read_text())["status"] if path.is_file() else None
