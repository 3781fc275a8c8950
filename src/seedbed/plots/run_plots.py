"""The plots of a finished run, from the files of its folder alone."""

import csv
from pathlib import Path

import numpy as np

from seedbed.plots.confusion import draw_confusion
from seedbed.plots.curves import draw_curves
from seedbed.runs.run_table import read_history


def draw_run(folder: Path, title: str, best_epoch: int) -> None:
    """Draw loss.png, accuracy.png and confusion.png from metrics.csv and confusion.csv."""
    rows = read_history(folder / "metrics.csv")
    for metric in ("loss", "accuracy"):
        draw_curves(rows, metric, best_epoch, title, folder / f"{metric}.png")
    with (folder / "confusion.csv").open(encoding="utf-8", newline="") as file:
        (_, *classes), *body = csv.reader(file)
    draw_confusion(np.array([row[1:] for row in body], int), classes, title, folder / "confusion.png")
