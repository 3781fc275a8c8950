"""task=report: what has been run, in one table, and the curves in one picture."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Sequence
from pathlib import Path

from seedbed.errors import UserError
from seedbed.files import write_atomically
from seedbed.request import Request
from seedbed.runs import run_table as runs
from seedbed.runs.run_table import Run
from seedbed.runs.text_tables import duration, short, table
from seedbed.types import RunResult

log = logging.getLogger(__name__)
OWN = ("task", "runs", "sort", "table", "curves", "output_root", "data_root", "cache_root")
SORTS = ("started", *runs.METRICS)
WIDEST = 60  # letters of a settings column


def run(request: Request) -> RunResult:
    """List the runs below `output_root`, those of sweeps too; `runs` narrows, `sort` orders them.

    Runs that differ in their seed alone are summed up below, mean ± sample deviation. `table` names a CSV file for
    all of it, `curves` a PNG for the validation curves; both are renewed if they are there.

    Raises:
        UserError: no such run, an unknown order, or more runs than a picture can show.
    """
    for word in request.overrides:
        key = word.partition("=")[0].lstrip("+~")
        if key not in OWN:
            raise UserError(
                f"{word}: says nothing to task=report; runs=TEXT chooses runs by folder, title and settings"
            )
    config, root = request.config, Path(request.config["output_root"])
    wanted = _texts(request)
    if config["sort"] not in SORTS:
        raise UserError(f"sort: expected one of {', '.join(SORTS)}, got {config['sort']!r}")
    found = runs.find(root, wanted)
    if not found:
        below = f" that holds {' and '.join(map(repr, wanted))}" if wanted else ""
        raise UserError(f"runs: there is no run{below} in {root} (output_root)")
    if config["sort"] != "started":
        split, _, key = config["sort"].partition("_")
        found.sort(key=lambda run: -(run.metric(split, key) or -1.0))
    settings = runs.differing(found)
    log.info("\n%s\n", table(HEADER, list(map(_row, found, settings)), last_left=True))
    words = {run.folder: own for run, own in zip(found, settings, strict=True)}
    groups = [_summed(group, figures, words[group[0].folder]) for group, figures in runs.over_seeds(found)]
    if groups:
        log.info("alike but for the seed\n\n%s\n", table(SUMMED, groups, last_left=True))
    log.info("%d run%s in %s", len(found), "s" * (len(found) > 1), root)
    if config["table"]:
        write_atomically(_file(config["table"], "table"), _as_csv(found))
        log.info("table: %s", config["table"])
    if config["curves"]:
        _draw(found, settings, _file(config["curves"], "curves"))
        log.info("curves: %s", config["curves"])
    return RunResult("finished", str(root), {})


HEADER = ("run", "val acc", "test acc", "test F1", "best epoch", "time", "seed", "settings")
SUMMED = ("runs", "val acc", "test acc", "test F1", "seeds", "settings")
COLUMNS = (
    "run", "title", "started", "status", "seed", "val_accuracy", "test_accuracy", "test_f1", "test_recall",
    "test_precision", "best_epoch", "epochs", "seconds", "parameters", "commit", "typed",
)  # fmt: skip


def _texts(request: Request) -> list[str]:
    """What `runs` asks for, as it was typed: 1e-2 is not to become 0.01."""
    typed = [word.partition("=")[2] for word in request.overrides if word.lstrip("+").startswith("runs=")]
    if typed:
        return [text.strip(" '\"") for text in typed[-1].strip("[]").split(",") if text not in ("", "null")]
    given = request.config["runs"]
    return [str(text) for text in (given if isinstance(given, list) else [] if given is None else [given])]


def _row(run: Run, words: Sequence[str]) -> tuple[str, ...]:
    own = run.result
    if run.status != "finished":
        return run.name, run.status, "", "", "", "", run.seed, short(" ".join(words), WIDEST)
    figures = (f"{run.metric(*key.split('_', 1)):.4f}" for key in runs.METRICS)
    best = f"{own['best_epoch']} of {own['epochs']}"
    return run.name, *figures, best, duration(own["seconds"]), run.seed, short(" ".join(words), WIDEST)


def _summed(group: Sequence[Run], figures: dict[str, tuple[float, float]], words: Sequence[str]) -> tuple[str, ...]:
    shown = (f"{mean:.4f} ± {deviation:.4f}" for mean, deviation in figures.values())
    seeds = ", ".join(sorted((run.seed for run in group), key=int))
    return group[0].result.get("title", ""), *shown, seeds, short(" ".join(words), WIDEST)


def _as_csv(found: Sequence[Run]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for run in found:
        own = run.result
        figures = [run.metric("val", "accuracy")]
        figures += [run.metric("test", key) for key in ("accuracy", "f1", "recall", "precision")]
        commit = (run.environment.get("git") or {}).get("commit", "")
        sizes = [own.get(key, "") for key in ("best_epoch", "epochs", "seconds", "parameters")]
        shown = ["" if figure is None else f"{figure:.6g}" for figure in figures]
        first = [run.name, own.get("title", ""), run.started, run.status, run.seed]
        writer.writerow([*first, *shown, *sizes, commit, " ".join(run.typed)])
    return text.getvalue()


def _draw(found: Sequence[Run], settings: Sequence[Sequence[str]], path: Path) -> None:
    from seedbed.plots import comparison as comparison_plot

    named = [
        (" ".join([*words, f"seed={run.seed} ", run.name]), runs.history(run))
        for run, words in zip(found, settings, strict=True)
    ]
    histories = {name: rows for name, rows in named if rows}
    if not 0 < len(histories) <= comparison_plot.MOST:
        raise UserError(
            f"curves: {len(histories)} runs have some, a picture shows 1 to {comparison_plot.MOST}; runs=TEXT chooses"
        )
    comparison_plot.draw(histories, path)


def _file(place: str, key: str) -> Path:
    if not Path(place).parent.is_dir():
        raise UserError(f"{key}: {Path(place).parent} is no folder; make it, or give another file")
    return Path(place)
