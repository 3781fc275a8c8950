"""Run a study, a list of titled overrides in studies/, and write its tables and plot into docs/.

    python scripts/study.py studies/fruits_mlp.yaml                          run the rows that its CSV lacks
    python scripts/study.py studies/report.yaml best/fruits_mlp --seeds 0    run a row here, compare with the commit
    python scripts/study.py studies/report.yaml best/                        the same for the presets of a folder
    python scripts/study.py studies/report.yaml --table                      run nothing, write the tables again

Finished runs are kept under outputs/kept and found again while their configuration stays the same. A study that was
stopped goes on where it stopped, each run from its last epoch. Named rows run even where the CSV has them.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from hydra.errors import HydraException
from tables import COLUMNS, METRICS, draw, spread, with_tables

from seedbed.compose import compose
from seedbed.errors import UserError

ROOT = Path(__file__).parents[1]
KEPT = Path(os.environ.get("SEEDBED_OUTPUTS", "outputs")) / "kept"
WALL = "wall_seconds"  # a file in the folder of a run that was never stopped: seconds of the whole command
Line = dict[str, str]  # of a CSV


@dataclass(frozen=True)
class Row:
    """`python -m run` with some overrides, once for each seed if it has any.

    Attributes:
        group: the title that it stands under, or "".
        paper: what the paper has for the group.
        aside: changes the row above it; the rows below do not build on it.
        commit: the one whose code ran it, where today's cannot.
    """

    group: str
    paper: Mapping[str, float]
    title: str
    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    aside: bool
    commit: str | None

    @property
    def name(self) -> str:
        return f"{self.group}: {self.title}" if self.group else self.title

    @property
    def preset(self) -> str:
        return next((o.removeprefix("experiment=") for o in self.overrides if o.startswith("experiment=")), "")

    def runs(self, seeds: Sequence[int] | None = None) -> list[tuple[str, ...]]:
        """The overrides of each run; `seeds` replace those of a row that has several."""
        seeds = seeds if seeds and len(self.seeds) > 1 else self.seeds
        return [(*self.overrides, f"seed={seed}") for seed in seeds] or [self.overrides]

    def lines(self, lines: Iterable[Line]) -> list[Line]:
        """The lines of its runs, of any seed."""
        matches = (line for line in lines if re.sub(r" seed=\d+$", "", line["command"]) == command(self.overrides))
        return sorted(matches, key=lambda line: int(line.get("seed") or 0))


class Study:
    """A yaml of studies/: what to run, the CSV of the results, and the pages and the plot that show them."""

    def __init__(self, path: Path):
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
        self.name, self.csv, self.plot = path.name, ROOT / given["csv"], given.get("plot")
        self.pages, self.curves = [ROOT / page for page in given["pages"]], given.get("curves")
        self.show = given.get("show", COLUMNS)
        self.columns = (*given.get("columns", COLUMNS), "command", "digest")
        self.rows: list[Row] = []
        above: tuple[str, ...] = ()
        for group in given["rows"]:
            for row in group.get("rows", [group]):
                aside, base = row.get("aside", False), merged(group.get("base", ""), given.get("base", ""))
                overrides = merged(above if aside else base, row.get("overrides", ""))
                above = above if aside else overrides
                title, seeds = group["title"] if "rows" in group else "", row.get("seeds", given.get("seeds", ()))
                self.rows.append(
                    Row(title, group.get("paper", {}), row["title"], overrides, seeds, aside, row.get("commit"))
                )

    def named(self, words: Sequence[str]) -> list[Row]:
        """The rows that these words name: by a title, a preset, or a folder of presets with a slash at its end."""
        names = {
            row.name: {row.name, row.title, row.group, row.preset, re.sub("/.*", "/", row.preset)} for row in self.rows
        }
        for word in words:
            if not any(word in own for own in names.values()):
                raise SystemExit(f"error: {word}: no such row; give a preset, best/, or one of: {'; '.join(names)}")
        return [row for row in self.rows if not words or names[row.name] & set(words)]

    def read(self) -> list[Line]:
        return list(csv.DictReader(self.csv.read_text(encoding="utf-8").splitlines())) if self.csv.is_file() else []

    def write(self, lines: Iterable[Line]) -> None:
        """Write the CSV, in the order of the rows and whole at every moment."""
        unfinished, lines = self.csv.with_suffix(".tmp"), list(lines)
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.columns, restval="", extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows({**line, "title": row.name} for row in self.rows for line in row.lines(lines))
        unfinished.replace(self.csv)

    def write_docs(self) -> None:
        """Write the tables into the pages, and the plot, from what the CSV holds."""
        for page in self.pages:
            page.write_text(with_tables(page.read_text(encoding="utf-8"), self, self.read()), encoding="utf-8")
        if self.plot:
            draw(self, self.read(), ROOT / self.plot["file"])
        print("written:", *self.pages)


def merged(*overrides: str | Sequence[str]) -> tuple[str, ...]:
    """All overrides, in order; a later one takes the place of an earlier one of its key."""
    texts = " ".join(part if isinstance(part, str) else " ".join(part) for part in overrides).split()
    return tuple({text.partition("=")[0].lstrip("+~"): text for text in texts}.values())


def command(overrides: Sequence[str]) -> str:
    return f"python -m run {' '.join(overrides)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a yaml of studies/")
    parser.add_argument("rows", nargs="*", help="titles, presets, or best/ for all of its; default: what the CSV lacks")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="of rows that have several")
    parser.add_argument("--table", action="store_true", help="run nothing")
    given = parser.parse_args()
    study = Study(given.study)
    if not given.table:
        fill(study, given.rows, given.seeds)
    study.write_docs()


def fill(study: Study, words: Sequence[str] = (), seeds: Sequence[int] | None = None) -> None:
    """Run the named rows, or all that the CSV lacks: a line with an older digest counts as none."""
    lines = {line["command"]: line for line in study.read()}
    git = ["git", "show", f"HEAD:./{study.csv.name}"]
    shown = subprocess.run(git, cwd=study.csv.parent, capture_output=True, text=True, encoding="utf-8").stdout
    committed = list(csv.DictReader(shown.splitlines()))
    todo = ((row, overrides) for row in study.named(words) if not row.commit for overrides in row.runs(seeds))
    for row, overrides in todo:
        key, settings = command(overrides), digest(overrides)
        if not words and key in lines and lines[key].get("digest") in (None, "", settings):
            continue
        folder = complete(overrides)
        lines[key] = {"command": key, "digest": settings, **measured(folder, row.paper.get("accuracy"))}
        study.write(lines.values())
        if study.curves and overrides == (f"experiment={row.preset}", "seed=0"):
            for name in ("loss.png", "accuracy.png"):
                shutil.copyfile(folder / name, ROOT / study.curves / f"{row.preset.replace('/', '_')}_{name}")
        print(f"{row.name}, {compared(lines[key], row.lines(committed))}", flush=True)


def compared(line: Line, committed: list[Line]) -> str:
    """What a run gave, and whether it lies within two standard deviations of the committed runs of its row."""
    metric = "accuracy" if committed and "accuracy" in committed[0] else "test_accuracy"
    text, before = f"seed {line['seed']}: {metric} {line[metric]}", [float(run[metric]) for run in committed]
    if len(before) < 3:
        return f"{text}; committed: {spread(before) if before else 'none'}"
    away = abs(float(line[metric]) - np.mean(before)) / max(np.std(before, ddof=1), 1e-4)
    verdict = "within" if away <= 2 else "NOT within"
    return f"{text}; committed: {spread(before)}; {verdict} two standard deviations ({away:.1f})"


def complete(overrides: Sequence[str]) -> Path:
    """The folder of the finished run: found under `KEPT`, or resumed there, or begun."""
    # File systems take names of 255 bytes; the digest alone tells runs apart.
    place = KEPT / f"{re.sub(r'[^A-Za-z0-9]+', '_', ' '.join(overrides))[:100]}_{digest(overrides)}"
    folders = sorted(path.parent for path in place.glob("*/config.yaml"))
    if not any(map(finished, folders)):
        words = [f"resume={folders[-1]}"] if folders else overrides
        print(command(words), flush=True)
        begun = time.perf_counter()
        run(words, place)
        if not folders:
            (next(filter(finished, place.glob("*"))) / WALL).write_bytes(b"%.1f\n" % (time.perf_counter() - begun))
    return max(filter(finished, place.glob("*")))


def finished(folder: Path) -> bool:
    path = folder / "result.json"
    return path.is_file() and json.loads(path.read_text(encoding="utf-8"))["status"] == "finished"


def digest(overrides: Sequence[str]) -> str:
    """Of the composed configuration without its paths, and of the shipped weights that the run begins with."""
    try:
        config, _ = compose(overrides)
    except (HydraException, UserError) as error:
        raise SystemExit(f"error: {command(overrides)}: {error}") from error
    settings = {key: value for key, value in config.items() if not key.startswith(("data_", "output_", "cache_"))}
    shipped = sorted((ROOT / "src/seedbed/weights").glob(f"{config['model'].get('pretrained')}_*.sha256"))
    text = json.dumps([settings, *(path.read_text(encoding="utf-8") for path in shipped)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def run(words: Sequence[str], outputs: Path) -> None:
    """The command to its end, or SystemExit. A signal stops the run first, which saves and says how to go on."""
    environment = {**os.environ, "SEEDBED_OUTPUTS": str(outputs.resolve())}
    # In a session of its own, or a terminal's Ctrl-C would reach it twice.
    child = subprocess.Popen([sys.executable, "-m", "run", *words], env=environment, start_new_session=True)
    before = {number: signal.signal(number, lambda *_: child.terminate()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if code:
        raise SystemExit(code)


def measured(folder: Path, paper: float | None) -> Line:
    """What a CSV may say of a finished run; `paper` is the accuracy whose first reach in validation is timed."""
    result, machine = (
        json.loads((folder / name).read_text(encoding="utf-8")) for name in ("result.json", "environment.json")
    )
    settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    epochs = list(csv.DictReader((folder / "metrics.csv").read_text(encoding="utf-8").splitlines()))
    one_view, features = result.get("test_without_tta", result["test"]), result.get("feature_seconds", 0)
    passed = [features + seconds for seconds in itertools.accumulate(float(epoch["seconds"]) for epoch in epochs)]
    reached = (s for s, epoch in zip(passed, epochs, strict=True) if paper and float(epoch["val_accuracy"]) >= paper)
    to_paper, git = next(reached, None), machine["git"] or {}
    vectors = f" ({machine['cpu_vectors']})" if machine.get("cpu_vectors") else ""
    return {
        **{metric: f"{result['test'][metric]:.4f}" for metric in METRICS},
        "seed": str(settings["seed"]),
        "tta": str(settings["train"].get("tta", 1)),
        "accuracy_without_tta": f"{one_view['accuracy']:.4f}",
        "test_accuracy": f"{one_view['accuracy']:.4f}",  # studies of one change compare models, without TTA
        "test_f1": f"{one_view['f1']:.4f}",
        "val_accuracy": f"{result['val']['accuracy']:.4f}",
        **{key: str(result[key]) for key in ("best_epoch", "epochs", "parameters")},
        "feature_seconds": f"{features:.0f}" if features else "",
        "seconds": f"{result['seconds']:.1f}",
        "wall_seconds": f"{float((folder / WALL).read_text(encoding='utf-8')):.0f}"
        if (folder / WALL).is_file()
        else "",
        "seconds_to_paper": "" if to_paper is None else f"{to_paper:.0f}",
        "precision_used": machine["precision"],
        "device": machine["device"].partition(":")[0],
        "machine": machine["gpu"] or f"{machine['cpu']}{vectors}, {machine['cores']} cores",
        "threads": str(machine["threads"]),
        "commit": git.get("commit", "")[:10] + ("+" if git.get("changed") else ""),
        "date": machine["started"][:10],
    }


if __name__ == "__main__":
    main()
