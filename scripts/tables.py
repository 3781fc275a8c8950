"""Tables and plots of a study's CSV, for the pages of docs/.

A page holds a table between `<!-- NAME.yaml -->` and `<!-- end -->`. `<!-- NAME.yaml, in short -->` stands for the
short form of a table that sets the paper's rows beside ours.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

if TYPE_CHECKING:
    from study import Line, Row, Study

METRICS = ("accuracy", "f1", "recall", "precision")
COLUMNS = ("title", "val_accuracy", "test_accuracy", "test_f1", "epochs", "seconds")
HEADS = {"title": "", "val_accuracy": "validation", "test_accuracy": "test", "test_f1": "F1", "seconds": "training s"}
LEGEND = (
    "Metrics of several seeds are means ± sample standard deviations. Minutes are of features, training and "
    "validation, without start, test and plots: the median of the seeds, of those on CPUs where there are any. The "
    "seconds are those until validation first reached the accuracy that the paper has in the test, the median again."
)
TICKS = (0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5)
COLOURS = ("#d1662f", "#3f8f4f", "#3b6fb6")


def with_tables(page: str, study: Study, lines: list[Line]) -> str:
    """The page with the study's tables renewed; it must have a place for one."""
    short, places = f"{study.name}, in short", 0
    for name, make in ((study.name, paper_table if study.rows[0].paper else table), (short, short_table)):
        place = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        page, number = place.subn(lambda match, make=make: f"{match[1]}\n{make(study, lines)}\n{match[2]}", page)
        places += number
    if not places:
        raise SystemExit(f"error: {study.name}: a page that it names has no <!-- {study.name} -->")
    return page


def table(study: Study, lines: list[Line]) -> str:
    """A line for each row: what it gave, over its seeds."""
    out = markdown_head([HEADS.get(column, column) for column in study.show], 1)
    for group, rows in itertools.groupby(study.rows, lambda row: row.group):
        out += [f"| **{group}** |" + " |" * (len(study.show) - 1)] if group else []
        for row in rows:
            if runs := row.lines(lines):
                title = ("- " if row.aside else "") + row.title + (f" (commit {row.commit})" if row.commit else "")
                cells = [spread(numbers(runs, column), column) for column in study.show if column != "title"]
                out.append(f"| {' | '.join([title, *cells])} |")
    return "\n".join(out) + "\n"


def paper_table(study: Study, lines: list[Line]) -> str:
    """The paper's rows, each above its reproduction and ours; below the table what they were measured on."""
    heads = ("row", "", "accuracy", "F1", "recall", "precision", "minutes", "s to its accuracy", "seeds")
    out, notes = markdown_head(heads, 2), [LEGEND, *total_minutes(study, lines)]
    for group, rows in itertools.groupby(study.rows, lambda row: row.group):
        first, *others = rows
        paper = " | ".join(f"{first.paper[metric]:.4g}" for metric in METRICS)
        out.append(f"| {group} | the paper | {paper} | {first.paper['minutes']:g} |  | 1 |")
        for row in (first, *others):
            runs = row.lines(lines)
            out += [paper_line(row.title, runs)] if runs else []
            if views := {run["tta"] for run in runs} - {"1"}:
                notes.append(
                    f"{row.name} averages {' or '.join(views)} views of each test image (test-time augmentation); with "
                    f"one, accuracy {spread(numbers(runs, 'accuracy_without_tta'))}."
                )
    used = sorted({(run["machine"], run["threads"], run["precision_used"]) for run in lines})
    notes.append(
        "\n".join(f"Machine: {machine}, {threads} threads, {precision}." for machine, threads, precision in used)
    )
    return "\n".join(out) + "\n\n" + "\n\n".join(notes) + "\n"


def paper_line(name: str, runs: list[Line]) -> str:
    timed = [run for run in runs if run["device"] != "cuda"] or runs
    minutes = [(float(run["seconds"]) + float(run["feature_seconds"] or 0)) / 60 for run in timed]
    waits = numbers((run for run in timed if run["seconds_to_paper"]), "seconds_to_paper")
    wait = f"{np.median(waits):.0f}" if waits else "never"
    if any(run["device"] == "cuda" for run in runs):
        name += ", on a GPU" if timed is runs else ", partly on a GPU"
    if 0 < len(waits) < len(timed):
        wait += f" ({len(waits)} of {len(timed)})"
    cells = [spread(numbers(runs, metric)) for metric in METRICS]
    return f"| | {name} | {' | '.join(cells)} | {np.median(minutes):.1f} | {wait} | {len(runs)} |"


def total_minutes(study: Study, lines: list[Line]) -> list[str]:
    """How long all of ours take, for each seed that ran on CPUs alone."""
    ours, totals = [row for row in study.rows if row.title == "ours"], []
    for seed in sorted({line["seed"] for line in lines}, key=int):
        runs = [run for row in ours for run in row.lines(lines) if run["seed"] == seed and run["device"] != "cuda"]
        if len(runs) == len(ours):
            known = all(run["wall_seconds"] for run in runs)
            minutes = (
                f"{sum(numbers(runs, 'wall_seconds')) / 60:.1f} minutes"
                if known
                else "not known, since some were resumed,"
            )
            totals.append(f"{minutes} with seed {seed}")
    text = f"The ten of ours, each command from start to end: {', '.join(totals)} (the paper: 181 minutes)."
    return [text] if totals else []


def short_table(study: Study, lines: list[Line]) -> str:
    """Accuracies in the test alone, a line for each of the paper's rows."""
    out = markdown_head(["test accuracy", "the paper", "its settings", "ours"], 1)
    for group, rows in itertools.groupby(study.rows, lambda row: row.group):
        ways = {row.title: row for row in rows}
        cells = [spread(numbers(ways[title].lines(lines), "accuracy")) for title in ("its settings", "ours")]
        out.append(f"| {group} | {ways['ours'].paper['accuracy']:.4g} | {' | '.join(cells)} |")
    return "\n".join(out) + "\n"


def markdown_head(heads: Sequence[str], texts: int) -> list[str]:
    """Two lines; all columns after the first `texts` hold numbers."""
    return [f"| {' | '.join(heads)} |", "|" + " --- |" * texts + " ---: |" * (len(heads) - texts)]


def numbers(runs: Iterable[Line], column: str) -> list[float]:
    return [float(run[column]) for run in runs]


def spread(values: Sequence[float], column: str = "accuracy") -> str:
    """Mean ± sample standard deviation, or the one value; of what is no metric the median."""
    if not column.endswith(METRICS):
        return f"{np.median(values):.0f}"
    deviation = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{deviation}" if values else ""


def draw(study: Study, lines: list[Line], path: Path) -> None:
    """The study's plot: test error over a column, a curve for each title; or test accuracy, a line for each row."""
    groups = [(title, list(rows)) for title, rows in itertools.groupby(study.rows, lambda row: row.group)]
    if "x" in study.plot:
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        for axes, (title, rows) in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
            draw_errors(axes, rows, lines, study.plot["x"])
            axes.set_title(title)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    else:
        figure = Figure(figsize=(7, 0.34 * len(study.rows) + 1), layout="constrained")
        draw_steps(figure.subplots(), [(row, runs) for row in study.rows if (runs := row.lines(lines))])
    figure.savefig(path, dpi=120, bbox_inches="tight")


def draw_errors(axes: Axes, rows: list[Row], lines: list[Line], column: str) -> None:
    """Each run a point, means joined; their last ones in numbers, apart where they nearly meet."""
    ends = {}
    for title, colour in zip(dict.fromkeys(row.title for row in rows), COLOURS, strict=False):
        runs = [run for row in rows if row.title == title for run in row.lines(lines)]
        x, errors = np.array(numbers(runs, column)), 1 - np.array(numbers(runs, "test_accuracy"))
        means = [errors[x == value].mean() for value in np.unique(x)]
        axes.plot(x, errors, "o", color=colour, markersize=4, alpha=0.6)
        axes.plot(np.unique(x), means, color=colour, label=title)
        ends[means[-1]] = colour
    for end, colour in ends.items():
        near = [other for other in ends if other != end and abs(np.log(other / end)) < 0.06]
        lift = sum(5 if end > other else -5 for other in near)
        axes.annotate(f"{end:.2%}", (x.max(), end), (8, lift), textcoords="offset points", va="center", color=colour)
    axes.set(xlabel=f"{column}, each point a run", ylabel="test error", yscale="log", xlim=(0.8, x.max() + 0.7))
    limits = axes.get_ylim()
    axes.set_yticks(TICKS, [f"{tick:.3g}" for tick in TICKS])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set(ylim=limits, xticks=np.unique(x))
    axes.grid(alpha=0.25)


def draw_steps(axes: Axes, rows: Sequence[tuple[Row, list[Line]]]) -> None:
    """Test accuracy down the rows; asides as open marks."""
    values = np.array([100 * np.mean(numbers(runs, "test_accuracy")) for _, runs in rows])
    aside, place = np.array([row.aside for row, _ in rows]), np.arange(len(rows))
    axes.plot(values[~aside], place[~aside], "o-", color=COLOURS[2])
    axes.plot(values[aside], place[aside], "o", color=COLOURS[2], markerfacecolor="white")
    for value, at in zip(values, place, strict=True):
        axes.annotate(f"{value:.1f}", (value, at), (7, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(place, [("- " if row.aside else "") + row.title for row, _ in rows], fontsize=8)
    axes.set(xlabel="test accuracy, %", ylim=(len(rows) - 0.5, -0.5))
    axes.margins(x=0.12)
    axes.grid(axis="x", alpha=0.25)
