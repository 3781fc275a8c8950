"""Kill real runs at random moments, go on with them, and compare every byte with a run that was left alone.

    python scripts/torture.py 100 [--jobs 2] [--seed 0]

Each trial starts `python -m run` with dropout, augmentation and a plateau schedule, sends SIGKILL at a random moment
(a quarter of them while it starts, the others between its folder's appearance and its end), resumes it, may kill it
again, and compares what the run left, wall-clock columns apart. A control damages the optimizer's moments in
`last.pt`: the comparison must then fail. Exit code 0 if every trial is identical and the control differs.
"""

from __future__ import annotations

import argparse
import collections
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

COMMON = (
    "dataset=digits", "augment=flip_crop", "scheduler=plateau", "scheduler.patience=0", "train.patience=null",
    "train.batch_size=32", "device=cpu", "device.threads=1",
)  # fmt: skip
RUNS = {
    "mlp": ("model=mlp", "model.dropout=0.2", "train.epochs=40"),
    "convnet": ("model=convnet", "model.base_depth=4", "model.dropout=0.3", "train.epochs=5"),
}
KILLED_AGAIN, COLD_CACHE, WHILE_STARTING = 0.3, 0.1, 0.25


@dataclass
class Timing:
    """Of a run left alone, in seconds: until its folder appeared, and until its end."""

    folder: float
    end: float


def start(words: tuple[str, ...], place: Path, cache: Path) -> subprocess.Popen:
    environment = {**os.environ, "SEEDBED_OUTPUTS": str(place), "SEEDBED_CACHE": str(cache)}
    log = (place / "terminal.log").open("a")
    return subprocess.Popen(
        [sys.executable, "-m", "run", *words], env=environment, stdout=log, stderr=log, start_new_session=True
    )


def run_folder(place: Path) -> Path | None:
    """The newest folder of a run under `place` that can be resumed."""
    return max((p.parent for p in place.glob("*/config.yaml")), default=None, key=lambda p: p.stat().st_mtime_ns)


def fingerprint(folder: Path) -> dict[str, object]:
    """All that must be equal: bytes of weights and tables, figures without the clock."""
    with (folder / "metrics.csv").open() as file:
        metrics = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
    result = json.loads((folder / "result.json").read_text())
    result.pop("seconds", None)
    files = {name: (folder / name).read_bytes() for name in ("best.safetensors", "per_class.csv", "confusion.csv")}
    return {**files, "metrics.csv": metrics, "result.json": result, "files": sorted(p.name for p in folder.iterdir())}


def left_alone(words: tuple[str, ...], place: Path, cache: Path) -> tuple[dict[str, object], Timing]:
    place.mkdir(parents=True)
    begun, appeared = time.monotonic(), None
    process = start(words, place, cache)
    while process.poll() is None:
        if appeared is None and run_folder(place):
            appeared = time.monotonic() - begun
        time.sleep(0.01)
    if process.returncode:
        sys.exit((place / "terminal.log").read_text())
    return fingerprint(run_folder(place)), Timing(appeared, time.monotonic() - begun)


def phase(folder: Path | None) -> str:
    """How far a killed run had come, read off its folder."""
    if folder is None:
        return "before its folder was a run's"
    if json.loads((folder / "result.json").read_text())["status"] == "finished":
        return "when it had finished"
    if not (folder / "metrics.csv").exists():
        return "before its first checkpoint"
    return "in the test and the plots" if (folder / "per_class.csv").exists() else "between two epochs' checkpoints"


def kill_at(process: subprocess.Popen, place: Path, moment: float, after_folder: bool) -> bool:
    """Send SIGKILL to the whole process group `moment` seconds from now, or from the folder's appearance."""
    while after_folder and process.poll() is None and not run_folder(place):
        time.sleep(0.005)
    deadline = time.monotonic() + moment
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    killed = process.poll() is None
    if killed:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return killed


def trial(number: int, seed: int, root: Path, references: dict[str, tuple[dict, Timing]]) -> tuple[list[str], str]:
    """One run killed, perhaps more than once. Returns where each time, and "" or what differed."""
    dice = random.Random(f"{seed} {number}")
    model = list(RUNS)[number % len(RUNS)]
    expected, timing = references[model]
    place = root / f"{number:04d}"
    place.mkdir()
    cache = place / "cache" if dice.random() < COLD_CACHE else root / "cache"
    words, phases, kills = (*COMMON, *RUNS[model]), [], 0
    while kills < 20:
        process = start(words, place, cache)
        if kills == 0 or dice.random() < KILLED_AGAIN:
            starting = dice.random() < WHILE_STARTING
            moment = dice.uniform(0, timing.folder if starting else timing.end - timing.folder)
            # A resumed run has its folder already: there the wait is for as long as it takes to start.
            wait = 0 if starting or not run_folder(place) else timing.folder
            killed = kill_at(process, place, moment + wait, after_folder=not starting)
        else:
            killed = process.wait() != 0
            if killed:
                return [], f"a run failed: see {place / 'terminal.log'}"
        if not killed:
            break
        kills += 1
        folder = run_folder(place)
        phases.append(phase(folder))
        words = (f"resume={folder}",) if folder else words
    folder = run_folder(place)
    found = fingerprint(folder)
    different = [name for name in expected if found[name] != expected[name]]
    orphans = [str(p) for p in (*folder.glob(".*"), *(place / "cache").rglob("*.tmp"))]
    if different or orphans:
        return phases, f"trial {number} differs in {', '.join(different + orphans)}: {place}"
    shutil.rmtree(place)
    return [f"{model} {moment}" for moment in phases], ""


def control(root: Path, cache: Path, expected: dict) -> list[str]:
    """What differs after the optimizer's moments were damaged."""
    import torch

    place = root / "control"
    place.mkdir()
    process = start((*COMMON, *RUNS["mlp"]), place, cache)
    while not list(place.glob("*/last.pt")):
        if process.poll() is not None:
            sys.exit((place / "terminal.log").read_text())
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    folder = run_folder(place)
    state = torch.load(folder / "last.pt", weights_only=True)
    for entry in state["optimizer"]["state"].values():
        entry["exp_avg"].add_(0.01)
    torch.save(state, folder / "last.pt")
    if start((f"resume={folder}",), place, cache).wait():
        sys.exit((place / "terminal.log").read_text())
    found = fingerprint(folder)
    return [name for name in expected if found[name] != expected[name]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", type=int, help="how many runs to kill")
    parser.add_argument("--jobs", type=int, default=2, help="at a time, of one thread each")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="torture-"))
    references = {}
    for model, words in RUNS.items():
        references[model] = left_alone((*COMMON, *words), root / model, root / "cache")
        print(f"{model}: left alone, {references[model][1].end:.1f} s", flush=True)
    again, _ = left_alone((*COMMON, *RUNS["mlp"]), root / "again", root / "cache")
    if again != references["mlp"][0]:
        print("two runs that were left alone differ: nothing can be compared")
        return 1
    different = control(root, root / "cache", references["mlp"][0])
    print(f"control (damaged moments) differs in: {', '.join(different) or 'nothing'}", flush=True)

    where, failures = collections.Counter(), []
    with ThreadPoolExecutor(options.jobs) as pool:
        jobs = [pool.submit(trial, n, options.seed, root, references) for n in range(options.trials)]
        for number, job in enumerate(jobs, 1):
            phases, failure = job.result()
            where.update(phases)
            if failure:
                failures.append(failure)
                print(failure, flush=True)
            if number % 10 == 0:
                print(f"{number} of {options.trials}, {len(failures)} different", flush=True)
    for phases, count in sorted(where.items()):
        print(f"  {count:4d} kills: {phases}")
    print(f"{options.trials - len(failures)} of {options.trials} identical")
    if not failures and different:
        shutil.rmtree(root)
    return int(bool(failures) or not different)


if __name__ == "__main__":
    sys.exit(main())
