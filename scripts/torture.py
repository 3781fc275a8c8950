"""Kill real runs at random moments, go on with them, and compare every byte with a run that was left alone.

    python scripts/torture.py 100 [--jobs 2] [--seed 0]

Each trial starts `python -m run` with dropout, augmentation and a plateau schedule, and sends SIGKILL at a random
moment, a quarter of them while it starts. It resumes the run, may kill it again, and compares what is left, seconds
apart. A control damages the optimizer's moments in `last.pt`. Exit code 0: every trial is identical, the control not.
"""

import argparse
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
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

COMMON = ["dataset=digits", "augment=flip_crop", "scheduler=plateau", "scheduler.patience=0", "train.patience=null",
          "train.batch_size=32", "device=cpu", "device.threads=1"]  # fmt: skip
RUNS = {
    "mlp": [*COMMON, "model=mlp", "model.dropout=0.2", "train.epochs=40"],
    "convnet": [*COMMON, "model=convnet", "model.base_depth=4", "model.dropout=0.3", "train.epochs=5"],
}
KILLED_AGAIN, COLD_CACHE, WHILE_STARTING = 0.3, 0.1, 0.25


def start(overrides: list[str], place: Path, cache: Path) -> subprocess.Popen:
    place.mkdir(exist_ok=True)
    command, paths = [sys.executable, "-m", "run", *overrides], {"SEEDBED_OUTPUTS": place, "SEEDBED_CACHE": cache}
    with (place / "terminal.log").open("a") as log:
        return subprocess.Popen(command, env=os.environ | paths, stdout=log, stderr=log, start_new_session=True)


def run_folder(place: Path) -> Path | None:
    """The newest folder of a run that can be resumed."""
    return max((p.parent for p in place.glob("*/config.yaml")), default=None, key=lambda p: p.stat().st_mtime_ns)


def left_in(folder: Path) -> dict[str, object]:
    """All that must be equal: bytes of weights and tables, metrics without the clock."""
    lines = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    metrics = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
    result = {k: v for k, v in json.loads((folder / "result.json").read_text()).items() if k != "seconds"}
    files = {name: (folder / name).read_bytes() for name in ("best.safetensors", "per_class.csv", "confusion.csv")}
    return {**files, "metrics.csv": metrics, "result.json": result, "files": sorted(p.name for p in folder.iterdir())}


def wait_for(process: subprocess.Popen, place: Path, seconds: float = 1e9, file: str | None = None) -> float:
    """Until the end, or so many seconds after a run's folder has a file like this; returns the seconds passed."""
    begun = since = time.monotonic()
    while process.poll() is None and (file or time.monotonic() < since + seconds):
        if file and list(place.glob(f"*/{file}")):
            since, file = time.monotonic(), None
        time.sleep(0.002)
    if process.returncode:
        raise SystemExit((place / "terminal.log").read_text())
    return time.monotonic() - begun


def phase(folder: Path | None) -> str:
    """How far a killed run had come, read off its folder."""
    if folder is None:
        return "before its folder was a run's"
    if (folder / "per_class.csv").exists():
        return "in the test, the plots or later"
    return "between two epochs' checkpoints" if (folder / "metrics.csv").exists() else "before its first checkpoint"


def left_alone(overrides: list[str], place: Path) -> tuple[dict[str, object], float, float]:
    """What the run leaves; seconds until its folder appears, and from then to its end."""
    process = start(overrides, place, place.parent / "cache")
    seconds = wait_for(process, place, 0, "config.yaml"), wait_for(process, place)
    return left_in(run_folder(place)), *seconds


def trial(number: int, seed: int, root: Path, references: dict[str, tuple]) -> tuple[list[str], bool]:
    """One run killed, perhaps more than once: how far it had come each time, and whether it ended the same."""
    model, dice, place = list(RUNS)[number % len(RUNS)], random.Random(f"{seed} {number}"), root / f"{number:04d}"
    expected, appeared, rest = references[model]
    cache = place / "cache" if dice.random() < COLD_CACHE else root / "cache"
    overrides, phases = RUNS[model], []
    while len(phases) < 20:
        process, resumed = start(overrides, place, cache), run_folder(place)
        if not phases or dice.random() < KILLED_AGAIN:
            starting = dice.random() < WHILE_STARTING
            # A resumed run has its folder already: there the wait is for as long as it takes to start.
            moment = dice.uniform(0, appeared if starting else rest) + (appeared if resumed and not starting else 0)
            wait_for(process, place, moment, None if starting else "config.yaml")
        else:
            wait_for(process, place)
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        phases.append(f"{model} {phase(folder := run_folder(place))}")
        overrides = [f"resume={folder}"] if folder else overrides
    different = [name for name, content in left_in(run_folder(place)).items() if content != expected[name]]
    different += [str(path) for path in (*run_folder(place).glob(".*"), *(place / "cache").rglob("*.tmp"))]
    if different:
        print(f"differs in {', '.join(different)}: {place}", flush=True)
    return phases, not different


def control(place: Path, expected: dict[str, object]) -> list[str]:
    """What differs after the optimizer's moments were damaged."""
    import torch

    process = start(RUNS["mlp"], place, place.parent / "cache")
    wait_for(process, place, 0, "last.pt")
    process.kill()
    process.wait()
    folder = run_folder(place)
    state = torch.load(folder / "last.pt", weights_only=True)
    for entry in state["optimizer"]["state"].values():
        entry["exp_avg"].add_(0.01)
    torch.save(state, folder / "last.pt")
    wait_for(start([f"resume={folder}"], place, place.parent / "cache"), place)
    return [name for name, content in left_in(folder).items() if content != expected[name]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", type=int, help="how many runs to kill")
    parser.add_argument("--jobs", type=int, default=2, help="at a time, of one thread each")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="torture-"))
    references = {model: left_alone(overrides, root / model) for model, overrides in RUNS.items()}
    different = control(root / "control", references["mlp"][0])
    print(f"control (damaged moments) differs in: {', '.join(different) or 'nothing'}", flush=True)
    with ThreadPoolExecutor(given.jobs) as pool:
        trials = pool.map(lambda number: trial(number, given.seed, root, references), range(given.trials))
        phases, same = zip(*trials, strict=True)
    for moment, count in sorted(Counter(moment for run in phases for moment in run).items()):
        print(f"  {count:4d} kills: {moment}")
    print(f"{sum(same)} of {given.trials} identical")
    if not (failed := not (all(same) and different)):
        shutil.rmtree(root)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
