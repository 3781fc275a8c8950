"""task=report: what has been run, in one table, and the curves in one plot."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seedbed.errors import UserError
from seedbed.files import require_file, write_csv, write_or_keep
from seedbed.keys import Override, refuse_unread
from seedbed.request import Request
from seedbed.runs import run_table
from seedbed.runs.run_table import METRICS, Run
from seedbed.runs.text_tables import duration, short, table
from seedbed.types import RunResult

log = logging.getLogger(__name__)
SORTS = ("started", *METRICS)
WIDEST = 60  # letters of a settings column
HEADER = ("run", "val acc", "test acc", "test F1", "best epoch", "time", "seed", "settings")
SEEDS_HEADER = ("runs", "val acc", "test acc", "test F1", "seeds", "settings")
COLUMNS = (
    "run", "title", "started", "status", "seed", "val_accuracy", "test_accuracy", "test_f1", "test_recall",
    "test_precision", "best_epoch", "epochs", "seconds", "parameters", "commit", "typed",
)  # fmt: skip


def run(request: Request) -> RunResult:
    """List the runs below `output_root`, those of sweeps too; `runs` narrows, `sort` orders them.

    Runs that differ in their seed alone are summed up below, mean ± sample deviation. `table` names a CSV file for
    all of it, `curves` a PNG, PDF or SVG for the validation curves; existing files are replaced.

    Raises:
        UserError: no such run, an unknown order, or more runs than a plot can show.
    """
    refuse_unread("report", request.overrides, "runs=TEXT chooses runs by folder, title and settings")
    config, root = request.config, Path(request.config["output_root"])
    if config["sort"] not in SORTS:
        raise UserError(f"sort: expected one of {', '.join(SORTS)}, got {config['sort']!r}")
    wanted = _texts(request)
    for key, endings in (("table", (".csv",)), ("curves", (".png", ".pdf", ".svg"))):
        if config[key]:
            require_file(key, Path(config[key]), endings)
    runs = run_table.find(root, wanted)
    if not runs:
        below = f" that holds {' and '.join(map(repr, wanted))}" if wanted else ""
        raise UserError(f"runs: there is no run{below} in {root} (output_root)")
    if config["sort"] != "started":
        runs.sort(key=lambda run: -(run.metrics[config["sort"]] or -1.0))
    settings = run_table.differing(runs)
    log.info("\n%s\n", table(HEADER, list(map(_row, runs, settings)), last_left=True))
    of_run = {run.folder: overrides for run, overrides in zip(runs, settings, strict=True)}
    groups = [_over_seeds(group, spread, of_run[group[0].folder]) for group, spread in run_table.over_seeds(runs)]
    if groups:
        log.info("alike but for the seed\n\n%s\n", table(SEEDS_HEADER, groups, last_left=True))
    log.info("%d run%s in %s", len(runs), "s" * (len(runs) > 1), root)
    if config["table"]:
        write_or_keep("table", Path(config["table"]), lambda path: write_csv(path, COLUMNS, map(_columns, runs)))
        log.info("table: %s", config["table"])
    if config["curves"]:
        write_or_keep("curves", Path(config["curves"]), lambda path: _draw(runs, settings, path))
        log.info("curves: %s", config["curves"])
    return RunResult("finished", str(root), {})


def _texts(request: Request) -> list[str]:
    """What `runs` asks for, as it was typed: 1e-2 is not to become 0.01."""
    typed = [override.value for override in map(Override, request.overrides) if override.key == "runs"]
    if typed:
        return [text.strip(" '\"") for text in typed[-1].strip("[]").split(",") if text not in ("", "null")]
    given = request.config["runs"]
    return [str(text) for text in (given if isinstance(given, list) else [] if given is None else [given])]


def _row(run: Run, settings: Sequence[str]) -> tuple[str, ...]:
    differing = short(" ".join(settings), WIDEST)
    if run.status != "finished":
        return run.name, run.status, "", "", "", "", run.seed, differing
    metrics = (f"{metric:.4f}" for metric in run.metrics.values())
    best = f"{run.result['best_epoch']} of {run.result['epochs']}"
    return run.name, *metrics, best, duration(run.result["seconds"]), run.seed, differing


def _over_seeds(
    group: Sequence[Run], spread: dict[str, tuple[float, float]], settings: Sequence[str]
) -> tuple[str, ...]:
    shown = (f"{mean:.4f} ± {deviation:.4f}" for mean, deviation in spread.values())
    seeds = ", ".join(sorted((run.seed for run in group), key=int))
    return group[0].result.get("title", ""), *shown, seeds, short(" ".join(settings), WIDEST)


def _columns(run: Run) -> Iterator[Any]:
    yield from (run.name, run.result.get("title", ""), run.started, run.status, run.seed)
    for split, key in (("val", "accuracy"), *(("test", key) for key in ("accuracy", "f1", "recall", "precision"))):
        metric = run.metric(split, key)
        yield "" if metric is None else f"{metric:.6g}"
    yield from (run.result.get(key, "") for key in ("best_epoch", "epochs", "seconds", "parameters"))
    yield (run.environment.get("git") or {}).get("commit", "")
    yield " ".join(run.typed)


def _draw(runs: Sequence[Run], settings: Sequence[Sequence[str]], path: Path) -> None:
    from seedbed.plots.curves import MOST_RUNS, draw_comparison

    named = [
        (" ".join([*overrides, f"seed={run.seed} ", run.name]), run_table.read_history(run.folder / "metrics.csv"))
        for run, overrides in zip(runs, settings, strict=True)
    ]
    histories = {name: rows for name, rows in named if rows}
    if not 0 < len(histories) <= MOST_RUNS:
        raise UserError(f"curves: {len(histories)} runs have some, a plot shows 1 to {MOST_RUNS}; runs=TEXT chooses")
    draw_comparison(histories, path)
