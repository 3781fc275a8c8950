"""The curves of several runs in one picture, drawn from their metrics.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.figure import Figure

from seedbed.plots.run_plots import save
from seedbed.runs.text_tables import short

MOST = 20  # colours


def draw(histories: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Validation accuracy and loss by epoch, a line a run, the best epoch of each marked.

    Args:
        histories: name of the run -> the rows of its metrics.csv; at most `MOST` of them.
    """
    picture = Figure(figsize=(12, 4.6))
    panels = picture.subplots(1, 2)
    colours = colormaps["tab10" if len(histories) <= 10 else "tab20"].colors
    for (name, rows), colour in zip(histories.items(), colours, strict=False):
        epochs = [row["epoch"] for row in rows]
        for axes, figure, best in zip(panels, ("accuracy", "loss"), (max, min), strict=True):
            values = [row[f"val_{figure}"] for row in rows]
            label = short(name, 110) if figure == "accuracy" else None
            axes.plot(epochs, values, color=colour, linewidth=1.5, marker="o", markersize=2.5, label=label)
            at = values.index(best(values))
            axes.plot([epochs[at]], [values[at]], marker="o", markersize=8, markerfacecolor="none", color=colour)
    for axes, figure in zip(panels, ("accuracy", "loss"), strict=True):
        axes.set(xlabel="epoch", ylabel=f"validation {figure}")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
    picture.legend(loc="upper left", bbox_to_anchor=(0.05, 0.0), frameon=False, fontsize=9)
    save(picture, path)
