"""The confusion matrix."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from seedbed.plots.figure import drawable, save

ANNOTATED = 20  # the most classes whose counts are written into the cells


def draw_confusion(counts: np.ndarray, classes: Sequence[str], title: str, path: Path) -> None:
    """Confusion matrix `[K, K]`, rows are labels, coloured by the share of each label's images.

    A small one has the counts in its cells. In a large one every class is still named at the edges, and the most
    frequent confusions are listed beside it.
    """
    classes = drawable(classes)
    k, small = len(classes), len(classes) <= ANNOTATED
    side = max(4.5, 0.62 * k) if small else min(max(0.12 * k, 6), 60)  # inches
    figure = Figure(figsize=(side, side))
    axes = figure.add_axes((0, 0, 1, 1))
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    # Square-root colours: a share of 0.02 is an error worth seeing, and linear ones would hide it.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    font, size = (9, 10) if small else (52 * side / k, 14)
    axes.set_xticks(range(k), classes, rotation=90, fontsize=font)
    axes.set_yticks(range(k), classes, fontsize=font)
    axes.tick_params(length=0, pad=2)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted", fontsize=size)
    axes.set_ylabel("label", fontsize=size)
    axes.set_title(title, fontsize=1.15 * size)
    if small:
        for i, j in np.argwhere(counts):
            colour = "white" if shares[i, j] > 0.4 else "black"
            axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", fontsize=8, color=colour)
        ticks = {"ticks": [0, 0.05, 0.25, 0.5, 1], "format": lambda share, _: f"{share:.0%}"}
        bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, label="share of the label's images", **ticks)
        bar.outline.set_visible(False)
    else:
        edges = np.arange(k + 1) - 0.5
        for draw_lines in (axes.hlines, axes.vlines):
            draw_lines(edges, -0.5, k - 0.5, colors="#e4e4e4", linewidths=0.3)
        text = "\n".join(_most_frequent(counts, classes)[: int(4 * side)])  # four lines an inch
        axes.text(1.01, 1, text, transform=axes.transAxes, va="top", fontsize=11, linespacing=1.5)
    save(figure, path)


def _most_frequent(counts: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Lines that say how many are wrong and which confusions are the most frequent."""
    wrong = counts * (1 - np.eye(len(classes), dtype=int))
    heading = f"{wrong.sum():,} of {counts.sum():,} wrong. The most frequent confusions:"
    pairs = [divmod(int(n), len(classes)) for n in np.argsort(-wrong, axis=None, kind="stable")[:40]]
    lines = [f"{wrong[i, j]:>4}   {classes[i]}  →  {classes[j]}" for i, j in pairs if wrong[i, j]]
    return [heading, "(images, label → predicted)", "", *(lines or ["none"])]
