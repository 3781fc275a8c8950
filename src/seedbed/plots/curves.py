"""Loss and accuracy by epoch, of one run and of several; `Rows` are those of metrics.csv."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seedbed.plots.figure import BEST_COLOUR, TRAIN_COLOUR, VAL_COLOUR, save
from seedbed.runs.text_tables import short

MOST_RUNS = 20  # colours
Rows = Sequence[Mapping[str, float]]


def draw_curves(rows: Rows, metric: str, best_epoch: int, title: str, path: Path) -> None:
    """Training and validation by epoch, the best epoch marked and its validation metric in the legend."""
    figure = Figure(figsize=(6.4, 4.2))
    axes = figure.add_subplot(title=title)
    for split, name, colour in (("train", "training", TRAIN_COLOUR), ("val", "validation", VAL_COLOUR)):
        _draw_curve(axes, rows, f"{split}_{metric}", best_epoch - 1, name, colour)
    best = f"best epoch {best_epoch}: {rows[best_epoch - 1][f'val_{metric}']:.4f}"
    axes.axvline(best_epoch, color=BEST_COLOUR, linestyle=":", linewidth=1, label=best)
    _label(axes, "cross-entropy loss" if metric == "loss" else metric)
    axes.legend(frameon=False)
    save(figure, path)


def draw_comparison(histories: Mapping[str, Rows], path: Path) -> None:
    """Validation accuracy and loss by epoch, the best one marked, of at most `MOST_RUNS` runs: name -> rows."""
    figure = Figure(figsize=(12, 4.6))
    colours = colormaps["tab10" if len(histories) <= 10 else "tab20"].colors
    for axes, metric, best in zip(figure.subplots(1, 2), ("accuracy", "loss"), (np.argmax, np.argmin), strict=True):
        for (name, rows), colour in zip(histories.items(), colours, strict=False):
            marked = int(best([row[f"val_{metric}"] for row in rows]))
            _draw_curve(axes, rows, f"val_{metric}", marked, short(name, 110), colour)
        _label(axes, f"validation {metric}")
    below = {"loc": "upper left", "bbox_to_anchor": (0.05, 0)}
    figure.legend(*axes.get_legend_handles_labels(), **below, frameon=False, fontsize=9)
    save(figure, path)


def _draw_curve(axes: Axes, rows: Rows, column: str, marked: int, name: str, colour: str) -> None:
    epochs, values = [row["epoch"] for row in rows], [row[column] for row in rows]
    axes.plot(epochs, values, color=colour, label=name, marker="o", markersize=3, linewidth=1.5)
    axes.plot(epochs[marked], values[marked], color=colour, marker="o", markersize=8, markerfacecolor="none")


def _label(axes: Axes, metric: str) -> None:
    axes.set(xlabel="epoch", ylabel=metric)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.grid(alpha=0.25)
