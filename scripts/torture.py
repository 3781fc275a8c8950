"""Kill real commands at random moments, go on with them, and compare every byte with one that was left alone.

    python scripts/torture.py 100 [train | predict | sweep] [--jobs 2] [--seed 0]

Each trial sends SIGKILL at random moments. A run (with dropout, augmentation, a plateau schedule) and a sweep of three
go on by `resume=`, predict by the same command. All files must be equal, seconds apart; what was finished stays. In a
control the optimizer's moments, or weights, are damaged. Exit code 0: every trial is identical, the control not.
"""

import argparse
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
from types import SimpleNamespace as Namespace

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

CPU = ["device=cpu", "device.threads=1"]
COMMON = [*CPU, "dataset=digits", "augment=flip_crop", "scheduler=plateau", "scheduler.patience=0",
          "train.patience=null", "train.batch_size=32"]  # fmt: skip
MLP = [*COMMON, "model=mlp", "model.dropout=0.2"]
CONVNET = [*COMMON, "model=convnet", "model.base_depth=4", "model.dropout=0.3", "train.epochs=5"]
PREDICT = [*CPU, "task=predict", "images={place}/../images", "checkpoint={place}", "predictions={place}/table.csv"]
KILLED_AGAIN, WHILE_STARTING, WHILE_WRITING = 0.3, 0.25, 0.1


KINDS = {  # marks are files that tell how far a command has come; of phases the last one first
    "train": Namespace(
        commands={"mlp": [*MLP, "train.epochs=40"], "convnet": CONVNET}, begun="*/config.yaml", damaged="*/last.pt",
        moment="", cold_cache=0.1, phases={
            "*/per_class.csv": "in the test, the plots or later", "*/metrics.csv": "between two epochs' checkpoints",
            "*/config.yaml": "before its first checkpoint"}),
    "predict": Namespace(
        commands={"predict": PREDICT}, begun="cache/store/.*.tmp", damaged="cache/store/.*.tmp", moment=".table.*",
        cold_cache=0.7, phases={
            "table.csv": "with its table whole", ".table.*": "in writing its table",
            "cache/store/.*.tmp": "in decoding", "cache/store/*/images.npy": "after decoding"}),
    "sweep": Namespace(
        commands={"sweep": ["-m", *MLP, "train.epochs=4", "seed=0,1,2"]}, begun="[!.]*/sweep.json",
        damaged="*/*/last.pt", moment=".sweep.*.tmp", cold_cache=0.1, phases={
            "*/leaderboard.csv": "in the leaderboard or later", "*/002_*": "in job 2", "*/001_*": "in job 1",
            "*/000_*": "in job 0", "[!.]*/sweep.json": "before job 0", ".sweep.*.tmp": "in making its folder"}),
}  # fmt: skip


def folders(place: Path) -> list[Path]:  # of runs and sweeps that can be resumed
    return [path.parent for mark in ("*/config.yaml", "[!.]*/sweep.json") for path in place.glob(mark)]


def run(overrides: list[str], place: Path, cache: Path, seconds=1e9, file="", code=0) -> tuple[bool, float, float]:
    """Run a command, or go on with it; kill it so long after a file is there. Whether it was killed, and both times."""
    if not place.is_dir():
        place.mkdir()
        for weights in place.parent.glob("*.safetensors"):
            shutil.copy(weights, place)
    overrides = [f"resume={folder}" for folder in folders(place)] or [text.format(place=place) for text in overrides]
    environment, log = (
        os.environ | {"SEEDBED_OUTPUTS": place, "SEEDBED_CACHE": cache},
        (place / "log").open("a", encoding="utf-8"),
    )
    options = {"env": environment, "stdout": log, "stderr": log, "start_new_session": True}
    process = subprocess.Popen([sys.executable, "-m", "run", *overrides], **options)
    begun = since = time.monotonic()
    while process.poll() is None and (file or time.monotonic() < since + seconds):
        if file and next(place.glob(file), None):
            since, file = time.monotonic(), ""
        time.sleep(0.0005)
    if killed := process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    elif process.returncode != code:
        raise SystemExit((place / "log").read_text(encoding="utf-8"))
    process.wait()
    return killed, since - begun, time.monotonic() - since


def content(path: Path) -> object:
    """What must be equal of a file: bytes, or metrics without the clock; of others that they are there."""
    if path.suffix in (".csv", ".safetensors", ".json") and path.name not in ("sweep.json", "environment.json"):
        lines = [line for line in path.read_bytes().splitlines() if b'"seconds"' not in line]
        return [line.rpartition(b",")[0] for line in lines] if lines[0].endswith(b",seconds") else lines
    return None


def differences(place: Path, expected: dict[str, object]) -> dict[str, object]:
    """The files of the run, the sweep or the table, and temporary ones; in which they differ from those expected."""
    temporary = [*place.glob(".*.tmp"), *(place / "cache").rglob(".*.tmp")]
    left = {path.name: content(path) for path in (*temporary, *place.glob("*.csv"))}
    for number, folder in enumerate(folders(place)):
        left |= {f"{number} {path.relative_to(folder)}": content(path) for path in folder.rglob("*")}
    return {name: left.get(name) for name in left | expected if left.get(name, 0) != expected.get(name, 0)}


def finished(place: Path) -> dict[Path, int]:  # the files of a sweep's finished jobs, and when they were written
    jobs = [path.parent for path in place.glob("*/*/result.json") if '"finished"' in path.read_text(encoding="utf-8")]
    jobs = [job for job in jobs if not (job / "run.lock").exists() and not (job / "last.pt").exists()]
    return {path: path.stat().st_mtime_ns for job in jobs for path in job.iterdir()}


def trial(kind: Namespace, number: int, seed: int, root: Path, references: dict[str, tuple]) -> tuple[list[str], bool]:
    """One command killed, perhaps more than once: how far it had come each time, and whether it ended the same."""
    name, dice = list(references)[number % len(references)], random.Random(f"{seed} {number}")
    (expected, appeared, rest), place, phases, untouched = references[name], root / f"{number:04d}", [], {}
    cold = dice.random() < kind.cold_cache
    command = kind.commands[name], place, (place if cold else root / name) / "cache"
    while len(phases) < 20 and not (place / "table.csv").exists():
        # What has begun already shows no beginning: there the wait is for as long as it takes to start.
        begun = list(place.glob(kind.begun)) or (kind is KINDS["predict"] and not cold)
        starting, writing = dice.random() < WHILE_STARTING, dice.random() < WHILE_WRITING
        moment = dice.uniform(0, appeared if starting else rest) + (appeared if begun and not starting else 0)
        when = (0, kind.moment) if writing and kind.moment else (moment, "" if starting or begun else kind.begun)
        if not run(*command, *(() if phases and dice.random() > KILLED_AGAIN else when))[0]:
            break
        phase = next((phase for mark, phase in kind.phases.items() if next(place.glob(mark), None)), "while it starts")
        phases.append(f"{name} {phase}")
        untouched |= finished(place)
    else:
        run(*command, code=1)  # a table that is whole is not replaced
    different = [*differences(place, expected)]
    different += [str(path) for path, written in untouched.items() if path.stat().st_mtime_ns != written]
    if different:
        print(f"differs in {', '.join(different)}: {place}", flush=True)
    return phases, not different


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", type=int, help="how many commands to kill")
    parser.add_argument("kind", nargs="?", choices=KINDS, default="train")
    parser.add_argument("--jobs", type=int, default=2, help="at a time, of one thread each")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    root, kind, references = Path(tempfile.mkdtemp(prefix="torture-")), KINDS[given.kind], {}
    if kind is KINDS["predict"]:  # it takes a trained model, and images that are not decoded at once
        run([*MLP, "train.epochs=3"], root / "model", root / "cache")
        shutil.copy(next((root / "model").glob("*/*.safetensors")), root)
        (root / "images").mkdir()
        for number, digit in enumerate(load_digits().images.astype(np.uint8)[:1000]):
            Image.fromarray(np.kron(digit * 15, np.ones((60, 60), np.uint8))).save(root / f"images/{number}.png")
    for name, overrides in kind.commands.items():
        _, *seconds = run(overrides, root / name, root / name / "cache", file=kind.begun)
        references[name] = differences(root / name, {}), *seconds
    first, place = next(iter(references)), root / "control"
    run(kind.commands[first], place, place / "cache", 0, kind.damaged)
    for path in place.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-4000] + bytes(4000))
    for path in place.glob("**/last.pt"):
        state = torch.load(path, weights_only=True)
        for entry in state["optimizer"]["state"].values():
            entry["exp_avg"].add_(0.01)
        torch.save(state, path)
    run(kind.commands[first], place, place / "cache")
    different = differences(place, references[first][0])
    print(f"control, damaged on purpose, differs in: {', '.join(different) or 'nothing'}", flush=True)
    with ThreadPoolExecutor(given.jobs) as pool:
        trials = pool.map(lambda number: trial(kind, number, given.seed, root, references), range(given.trials))
        phases, same = zip(*trials, strict=True)
    for moment, count in sorted(Counter(moment for run in phases for moment in run).items()):
        print(f"  {count:4d} kills: {moment}")
    print(f"{sum(same)} of {given.trials} identical")
    if passed := all(same) and different:
        shutil.rmtree(root)
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
