"""The report's ten rows, with its settings and with ours: runs them, and writes docs/results/.

    bash scripts/reproduce.sh                             all twenty presets, ours with three seeds
    bash scripts/reproduce.sh best/fashion_mnist_mlp      one preset; best/ and original/ stand for ten
    bash scripts/reproduce.sh best/ --seeds 0             one seed
    bash scripts/reproduce.sh best/ --splits official     Fruits-360 not by arcs
    bash scripts/reproduce.sh --table                     only write the tables again, from what runs.csv holds

Finished runs are kept under outputs/kept and, while their settings stay the same, not run again. A killed script goes
on where it stopped, each run from its last epoch. At the end it prints, for each preset, how far this machine's figure
lies from the committed ones.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from kept_runs import complete, history, wall_seconds
from table_of_runs import spread, write_table

ROOT = Path(__file__).parents[1]
FOLDER, PRESETS = ROOT / "docs" / "results", ROOT / "conf" / "experiment"
SEEDS, SPLITS = (0, 1, 2), ("official", "arcs")
KEY = ("preset", "split", "seed")
FIGURES = ("accuracy", "f1", "recall", "precision")
COLUMNS = (
    *KEY, *FIGURES, "views", "single_view", "val_accuracy", "best_epoch", "epochs", "feature_seconds",
    "training_seconds", "wall_seconds", "seconds_to_report", "parameters", "precision_used", "device", "machine",
    "threads", "commit", "date",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A row of the report's Table 1: shares of 1, and the minutes it took."""

    preset: str
    title: str
    accuracy: float
    f1: float
    recall: float
    precision: float
    minutes: float


ROWS = (
    Row("fashion_mnist_features", "Fashion-MNIST, features → MLP", 0.64, 0.64, 0.64, 0.64, 2.9),
    Row("fashion_mnist_mlp", "Fashion-MNIST, MLP on pixels", 0.88, 0.88, 0.88, 0.88, 4.2),
    Row("fashion_mnist_convnet_augmented", "Fashion-MNIST, convnet, augmented", 0.8194, 0.81, 0.81, 0.82, 24),
    Row("fashion_mnist_convnet_not_augmented", "Fashion-MNIST, convnet, not augmented", 0.77, 0.78, 0.77, 0.80, 17),
    Row("fashion_mnist_resnet18", "Fashion-MNIST, ResNet-18 fine-tuned", 0.89, 0.89, 0.89, 0.89, 28),
    Row("fruits_features", "Fruits, features → MLP", 0.29, 0.16, 0.17, 0.18, 7),
    Row("fruits_mlp", "Fruits, MLP on pixels", 0.95, 0.92, 0.92, 0.94, 6.7),
    Row("fruits_convnet_augmented", "Fruits, convnet, augmented", 0.91, 0.85, 0.88, 0.87, 32.7),
    Row("fruits_convnet_not_augmented", "Fruits, convnet, not augmented", 0.86, 0.83, 0.85, 0.83, 18),
    Row("fruits_resnet18", "Fruits, ResNet-18 fine-tuned", 0.92, 0.89, 0.89, 0.95, 41),
)


LEGEND = (
    "Figures of several seeds are means ± sample standard deviations. Minutes are of features, training and "
    "validation, without start, test and plots: the median of the seeds, of those on CPUs where there are any. The "
    "seconds are those until validation first reached the accuracy that the report has in the test, the median again."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", default=["original/", "best/"], help="default: all twenty")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="of best/ presets; default: 0 1 2")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=SPLITS, help="default: both")
    parser.add_argument("--table", action="store_true", help="run nothing")
    given = parser.parse_args()
    runs = [] if given.table else planned(chosen(given.presets), given.seeds, given.splits)
    verdicts = []
    for preset, split, seed in runs:
        words = f"experiment={preset} seed={seed}" + (" dataset.split=arcs" if split == "arcs" else "")
        folder = complete(words)
        rows = {**read(), (preset, split, seed): facts(folder, preset)}
        write(rows)
        if seed == 0 and split == "official":
            for figure in ("loss", "accuracy"):
                plot = FOLDER / "plots" / f"{preset.replace('/', '_')}_{figure}.png"
                plot.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / f"{figure}.png", plot)
        verdicts.append(beside(preset, split, seed, rows[preset, split, seed]["accuracy"], committed()))
        print(verdicts[-1], flush=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "table.md").write_text(table(read()))
    print("\n".join(["", *verdicts]))
    print(f"written: {FOLDER / 'table.md'}, {FOLDER / 'runs.csv'}, {FOLDER / 'plots'}")


def chosen(words: list[str]) -> list[str]:
    """Presets by name, or all of a folder that is named with a slash at its end."""
    known = [f"{kind}/{row.preset}" for kind, row in itertools.product(("original", "best"), ROWS)]
    known = [preset for preset in known if (PRESETS / f"{preset}.yaml").is_file()]
    for word in words:
        if not any(preset == word or (word.endswith("/") and preset.startswith(word)) for preset in known):
            raise SystemExit(f"error: {word}: no such preset; give original/, best/, or of: {', '.join(known)}")
    return [p for p in known if any(p == word or (word.endswith("/") and p.startswith(word)) for word in words)]


def planned(presets: list[str], seeds: list[int] | None, splits: Sequence[str] = SPLITS) -> list[tuple[str, str, int]]:
    """(preset, split, seed): one seed of the report's settings; of ours three, and Fruits-360 once by arcs."""
    runs = []
    for preset in presets:
        own = [0] if preset.startswith("original/") else seeds or SEEDS
        runs += [(preset, "official", seed) for seed in own]
        if preset.startswith("best/fruits"):
            runs.append((preset, "arcs", own[0]))
    left = [run for run in runs if run[1] in splits]
    if not left:
        raise SystemExit(f"error: --splits {' '.join(splits)}: only best/ presets of Fruits-360 are run by arcs")
    return left


def facts(folder: Path, preset: str) -> dict[str, str]:
    """What a line of runs.csv says beside its key."""
    result = json.loads((folder / "result.json").read_text())
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    environment = json.loads((folder / "environment.json").read_text())
    report = next(row.accuracy for row in ROWS if preset.endswith(f"/{row.preset}"))
    epochs = history(folder / "metrics.csv")
    features = result.get("feature_seconds", 0)
    passed = (features + seconds for seconds in itertools.accumulate(epoch["seconds"] for epoch in epochs))
    reached = (s for s, epoch in zip(passed, epochs, strict=True) if epoch["val_accuracy"] >= report)
    seconds, wall = next(reached, None), wall_seconds(folder)
    return {
        **{figure: f"{result['test'][figure]:.4f}" for figure in FIGURES},
        "views": str(settings["train"].get("tta", 1)),
        "single_view": f"{result.get('test_without_tta', result['test'])['accuracy']:.4f}",
        "val_accuracy": f"{result['val']['accuracy']:.4f}",
        "best_epoch": str(result["best_epoch"]),
        "epochs": str(result["epochs"]),
        "feature_seconds": f"{features:.0f}" if features else "",
        "training_seconds": f"{result['seconds']:.0f}",
        "wall_seconds": "" if wall is None else f"{wall:.0f}",
        "seconds_to_report": "" if seconds is None else f"{seconds:.0f}",
        "parameters": str(result["parameters"]),
        "precision_used": environment["precision"],
        "device": environment["device"].partition(":")[0],
        "machine": machine(environment),
        "threads": str(environment["threads"]),
        "commit": commit(environment["git"] or {}),
        "date": environment["started"][:10],
    }


def machine(environment: dict) -> str:
    """A GPU by its name, a CPU by its name, its vector instructions and the number of its cores."""
    if environment["gpu"]:
        return environment["gpu"]
    vectors = f" ({environment['cpu_vectors']})" if environment.get("cpu_vectors") else ""
    return f"{environment['cpu']}{vectors}, {environment['cores']} cores"


def commit(git: dict) -> str:
    """Its first ten digits, and a plus where files differed from it."""
    return git.get("commit", "")[:10] + ("+" if git.get("changed") else "")


Runs = dict[tuple[str, str, int], dict[str, str]]


def read() -> Runs:
    """runs.csv: (preset, split, seed) -> the rest of the line."""
    path = FOLDER / "runs.csv"
    return _parsed(path.read_text()) if path.is_file() else {}


def committed() -> Runs:
    """runs.csv as the last commit has it: what this machine wrote since says nothing of whether it agrees."""
    shown = subprocess.run(
        ["git", "-C", str(ROOT), "show", "HEAD:docs/results/runs.csv"], capture_output=True, text=True
    )
    return _parsed(shown.stdout) if shown.returncode == 0 else {}


def _parsed(text: str) -> Runs:
    rows = csv.DictReader(io.StringIO(text))
    return {(row.pop("preset"), row.pop("split"), int(row.pop("seed"))): row for row in rows}


def write(runs: Runs) -> None:
    order = {f"{kind}/{row.preset}": n for n, (kind, row) in enumerate(itertools.product(("original", "best"), ROWS))}
    keys = sorted(runs, key=lambda key: (order[key[0]], key[1] == "arcs", key[2]))
    write_table(FOLDER / "runs.csv", COLUMNS, ({**dict(zip(KEY, key, strict=True)), **runs[key]} for key in keys))


def beside(preset: str, split: str, seed: int, accuracy: str, committed: Runs) -> str:
    """One line: what a run gave, and whether it lies within two standard deviations of the committed runs."""
    text = f"{preset}, {split}, seed {seed}: test accuracy {accuracy}"
    before = [float(run["accuracy"]) for key, run in committed.items() if key[:2] == (preset, split)]
    if not before:
        return f"{text}; none is committed"
    text = f"{text}; committed: {spread(before)}"
    if len(before) < 3:
        return text
    away = abs(float(accuracy) - np.mean(before)) / max(np.std(before, ddof=1), 1e-4)
    return f"{text}; {'within' if away <= 2 else 'NOT within'} two standard deviations ({away:.1f})"


def table(runs: Runs) -> str:
    """The report beside its reproduction and ours, as Markdown."""
    head = ("row", "", "accuracy", "F1", "recall", "precision", "minutes", "s to its accuracy", "seeds")
    lines = ["| " + " | ".join(head) + " |", "| --- | --- | " + "---: | " * 7]
    for row in ROWS:
        shown = (
            f"{row.accuracy:.4g}",
            f"{row.f1:.4g}",
            f"{row.recall:.4g}",
            f"{row.precision:.4g}",
            f"{row.minutes:g}",
        )
        lines.append(f"| {row.title} | the report | " + " | ".join((*shown, "", "1")) + " |")
        for kind, name in (("original", "its settings"), ("best", "ours")):
            lines += _lines(name, [r for key, r in runs.items() if key[:2] == (f"{kind}/{row.preset}", "official")])
        lines += _lines("ours, arcs", [r for key, r in runs.items() if key[:2] == (f"best/{row.preset}", "arcs")])
    lines += ["", LEGEND]
    totals = []
    for seed in sorted({seed for preset, split, seed in runs if split == "official"}):
        ours = [runs.get((f"best/{row.preset}", "official", seed)) for row in ROWS]
        if all(ours) and not any(on_gpu(run) for run in ours):
            minutes = sum(float(run["wall_seconds"] or "nan") for run in ours) / 60
            total = f"{minutes:.1f} minutes" if np.isfinite(minutes) else "not known, since some were resumed,"
            totals.append(f"{total} with seed {seed}")
    if totals:
        lines += [
            "",
            f"The ten of ours, each command from start to end: {', '.join(totals)} (the report: 181 minutes).",
        ]
    for row in ROWS:
        for split, title in (("official", row.title), ("arcs", f"{row.title}, arcs")):
            own = [run for key, run in runs.items() if key[:2] == (f"best/{row.preset}", split)]
            views = {run.get("views") or "1" for run in own} - {"1"}
            if views:
                single = spread([float(run["single_view"]) for run in own])
                number = " or ".join(views)
                lines += ["", f"{title}: ours averages {number} views of each test image; with one, accuracy {single}."]
    used = sorted({(run["machine"], run["threads"], run["precision_used"]) for run in runs.values()})
    lines += ["", *(f"Machine: {machine}, {threads} threads, {precision}." for machine, threads, precision in used)]
    return "\n".join(lines) + "\n"


def on_gpu(run: dict[str, str]) -> bool:
    return run.get("device") == "cuda"


def _lines(name: str, runs: list[dict[str, str]]) -> list[str]:
    if not runs:
        return []
    timed = [run for run in runs if not on_gpu(run)] or runs
    minutes = [(float(run["training_seconds"]) + float(run["feature_seconds"] or 0)) / 60 for run in timed]
    waits = [float(run["seconds_to_report"]) for run in timed if run["seconds_to_report"]]
    cells = [spread([float(run[figure]) for run in runs]) for figure in FIGURES]
    wait = f"{np.median(waits):.0f}" if waits else "never"
    if any(on_gpu(run) for run in runs):
        name += ", on a GPU" if timed is runs else ", partly on a GPU"
    if 0 < len(waits) < len(timed):
        wait += f" ({len(waits)} of {len(timed)})"
    return [f"| | {name} | " + " | ".join((*cells, f"{np.median(minutes):.1f}", wait, str(len(runs)))) + " |"]


if __name__ == "__main__":
    main()
