"""Runs of a script that may be killed at any time: each has its own place and goes on where it stopped."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

WALL = "wall_seconds"


KEPT = Path(os.environ.get("SEEDBED_OUTPUTS", "outputs")) / "kept"


def complete(words: str) -> Path:
    """The folder of the finished run of `python -m run WORDS`: found under `KEPT`, or resumed there, or begun.

    Where the run was never stopped, a file `wall_seconds` in its folder says how long the whole command took.

    Raises:
        SystemExit: the run failed or was interrupted.
    """
    place = KEPT / re.sub(r"\W+", "_", words)
    folders = sorted(path for path in place.glob("*") if (path / "config.yaml").is_file())
    finished = [path for path in folders if _status(path) == "finished"]
    if finished:
        return finished[-1]
    command = f"resume={folders[-1]}" if folders else words
    print(f"python -m run {command}", flush=True)
    environment = {**os.environ, "SEEDBED_OUTPUTS": str(place.resolve())}
    begun = time.perf_counter()
    if code := subprocess.run([sys.executable, "-m", "run", *command.split()], env=environment).returncode:
        raise SystemExit(code)
    run = next(path for path in sorted(place.glob("*"), reverse=True) if _status(path) == "finished")
    if not folders:
        (run / WALL).write_text(f"{time.perf_counter() - begun:.1f}\n")
    return run


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
