"""UnlabelledImages of a run, drawn from the files of its folder alone."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from seedbed.files import write_atomically

# Figures are made without pyplot: it would keep every one of a sweep in memory.
matplotlib.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
# Letters that matplotlib's own font lacks come from the first of these that is there and has them.
OTHER_SCRIPTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "WenQuanYi Zen Hei", "PingFang SC", "Hiragino Sans",
    "Apple SD Gothic Neo", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai", "Unifont",
)  # fmt: skip
_INSTALLED = {font.name for font in fontManager.ttflist}
matplotlib.rcParams["font.family"] = ["DejaVu Sans", *(name for name in OTHER_SCRIPTS if name in _INSTALLED)]
matplotlib.rcParams["text.parse_math"] = False  # a class may be called $x$: no formula is meant
TRAIN_COLOUR, VAL_COLOUR, BEST_COLOUR = "#3b6fb6", "#d1662f", "#666666"
ANNOTATED = 20
LISTED_LINE, LISTED_LETTER = 0.265, 0.086  # inches, of the list beside a large confusion matrix


def save(figure: Figure, path: Path, tight: bool = True) -> None:
    """Write a PNG; `tight` cuts it to what is drawn, which means drawing it twice."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight" if tight else None)
    write_atomically(path, buffer.getvalue())


def draw_run(folder: Path, title: str, best_epoch: int) -> None:
    """Draw loss.png, accuracy.png and confusion.png from metrics.csv and confusion.csv."""
    with (folder / "metrics.csv").open() as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    for figure in ("loss", "accuracy"):
        draw_curves(rows, figure, best_epoch, title, folder / f"{figure}.png")
    with (folder / "confusion.csv").open() as file:
        header, *body = csv.reader(file)
    counts = np.array([[int(v) for v in row[1:]] for row in body])
    draw_confusion(counts, header[1:], title, folder / "confusion.png")


def draw_curves(rows: list[dict[str, float]], figure: str, best: int, title: str, path: Path) -> None:
    """Training and validation by epoch, the best epoch marked."""
    epochs = [row["epoch"] for row in rows]
    picture = Figure(figsize=(6.4, 4.2))
    axes = picture.add_subplot()
    for part, colour, name in (("train", TRAIN_COLOUR, "training"), ("val", VAL_COLOUR, "validation")):
        values = [row[f"{part}_{figure}"] for row in rows]
        axes.plot(epochs, values, color=colour, label=name, marker="o", markersize=3, linewidth=1.5)
    at_best = rows[best - 1][f"val_{figure}"]
    axes.axvline(best, color=BEST_COLOUR, linestyle=":", linewidth=1, label=f"best epoch ({best})")
    axes.plot([best], [at_best], marker="o", markersize=8, markerfacecolor="none", color=BEST_COLOUR)
    text = f"{at_best:.4f}" if figure == "accuracy" else f"{at_best:.3f}"
    late = best > (epochs[0] + epochs[-1]) / 2
    # On the side where the other curve is not.
    up = at_best >= rows[best - 1][f"train_{figure}"]
    axes.annotate(
        text, (best, at_best), (-8 if late else 8, 10 if up else -12), textcoords="offset points",
        ha="right" if late else "left", va="bottom" if up else "top",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
    )  # fmt: skip
    axes.set(xlabel="epoch", ylabel={"loss": "cross-entropy loss", "accuracy": "accuracy"}[figure], title=title)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.margins(y=0.16)  # room for the figure
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    save(picture, path)


def draw_confusion(counts: np.ndarray, classes: list[str], title: str, path: Path) -> None:
    """Confusion matrix, coloured by the share of each label's images.

    A small one has the counts in its cells. In a large one every class is still named at the edges, and the most
    frequent confusions are listed beside it.

    Args:
        counts: int `[K, K]`, rows are labels.
    """
    small = len(classes) <= ANNOTATED
    listed = [] if small else _most_frequent(counts, classes)
    picture, axes, font = _small_frame(classes) if small else _large_frame(classes, listed)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    # Square-root colours: a share of 0.02 is an error worth seeing, and linear ones would hide it.
    image = axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1, interpolation="nearest", aspect="equal")
    axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=font)
    axes.set_yticks(range(len(classes)), classes, fontsize=font)
    axes.tick_params(length=0, pad=2)
    axes.set_xlabel("predicted", fontsize=10 if small else 14)
    axes.set_ylabel("label", fontsize=10 if small else 14)
    axes.set_title(title, fontsize=11 if small else 16)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if small:
        for i, j in np.argwhere(counts):
            colour = "white" if shares[i, j] > 0.4 else "black"
            axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", fontsize=8, color=colour)
        bar = picture.colorbar(image, ax=axes, fraction=0.046, pad=0.03, ticks=np.sqrt([0, 0.05, 0.25, 0.5, 1]))
        bar.ax.set_yticklabels(["0", "5 %", "25 %", "50 %", "100 %"])
        bar.set_label("share of the label's images")
        bar.outline.set_visible(False)
        save(picture, path)
        return
    k = len(classes)
    edges = np.arange(k + 1) - 0.5
    ends = np.full(k + 1, -0.5), np.full(k + 1, k - 0.5)
    lines = [*np.stack([*ends, edges, edges], 1)[:, [2, 0, 3, 1]].reshape(-1, 2, 2)]
    lines += [*np.stack([*ends, edges, edges], 1)[:, [0, 2, 1, 3]].reshape(-1, 2, 2)]
    axes.add_collection(LineCollection(lines, colors="#e4e4e4", linewidths=0.3))
    place, height = axes.get_position(), picture.get_size_inches()[1]
    lines = int(place.y1 * height / LISTED_LINE)
    right = place.x1 + 0.2 / picture.get_size_inches()[0]
    picture.text(right, place.y1, "\n".join(listed[:lines]), va="top", fontsize=11, linespacing=1.5)
    save(picture, path, tight=False)


def _most_frequent(counts: np.ndarray, classes: list[str]) -> list[str]:
    """Lines that say how many are wrong and which confusions are the most frequent."""
    wrong = counts * (1 - np.eye(len(classes), dtype=int))
    most = [divmod(int(i), len(classes)) for i in np.argsort(-wrong, axis=None, kind="stable")[:40]]
    listed = [f"{wrong[i, j]:>4}   {classes[i]}  →  {classes[j]}" for i, j in most if wrong[i, j]]
    heading = f"{int(wrong.sum()):,} of {int(counts.sum()):,} wrong. The most frequent confusions:"
    return [heading, "(images, label → predicted)", "", *(listed or ["none"])]


def _small_frame(classes: list[str]) -> tuple[Figure, Axes, float]:
    side = max(4.5, 0.62 * len(classes))
    picture = Figure(figsize=(side + 1, side))
    return picture, picture.add_subplot(), 9


def _large_frame(classes: list[str], listed: list[str]) -> tuple[Figure, Axes, float]:
    """A figure whose cells are large enough for one line of text each, with room for the names and the list."""
    side = min(max(0.12 * len(classes), 6), 60)
    names, top = 0.065 * max(map(len, classes)) + 0.7, 0.7
    width, height = names + side + 0.5 + LISTED_LETTER * max(map(len, listed)), names + side + top
    picture = Figure(figsize=(width, height))
    axes = picture.add_axes((names / width, names / height, side / width, side / height))
    return picture, axes, 72 * side / len(classes) * 0.72


def draw_samples(images: np.ndarray, labels: list[str], counts: dict[str, list[int]], title: str, path: Path) -> None:
    """A grid of training images as the model sees them, and beside it how many images each class has.

    Args:
        images: float `[N, C, S, S]` in [0, 1].
        labels: class name of each image.
        counts: class name -> number of training, validation and test images.
    """
    columns, k = 8, len(counts)
    rows = -(-len(images) // columns)
    cell, names = 1.25, 0.075 * max(map(len, counts)) + 0.3
    width, height = columns * cell + 0.4 + names + 4, max(rows * cell * 1.16 + 0.6, min(0.1 * k, 14) + 1.4, 5)
    picture = Figure(figsize=(width, height))
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        row, column = divmod(number, columns)
        left, top = 0.1 + column * cell, height - 0.65 - row * cell * 1.16
        axes = picture.add_axes((left / width, (top - cell * 0.95) / height, cell * 0.95 / width, cell * 0.95 / height))
        axes.set_axis_off()
        pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        # What tells long names apart may stand at their end.
        short = label if len(label) < 18 else f"{label[:8]}…{label[-8:]}"
        picture.text((left + cell * 0.475) / width, (top + 0.02) / height, short, fontsize=7, ha="center", va="bottom")
    picture.text(0.1 / width, 1 - 0.32 / height, title, fontsize=10)
    left = columns * cell + 0.4 + names
    axes = picture.add_axes((left / width, 0.6 / height, 3.7 / width, 1 - 1.3 / height))
    totals, places, base = np.array(list(counts.values())), np.arange(k), np.zeros(k)
    parts = zip(("training", "validation", "test"), (TRAIN_COLOUR, VAL_COLOUR, "#8a8a8a"), totals.T, strict=True)
    for part, colour, values in parts:
        axes.barh(places, values, left=base, color=colour, height=0.8, label=f"{part} {int(values.sum()):,}")
        base += values
    axes.set_yticks(places, counts, fontsize=min(9, 72 * (height - 1.3) / k * 0.75))
    axes.tick_params(axis="y", length=0, pad=2)
    axes.set(ylim=(k - 0.5, -0.5), xlabel="images a class")
    axes.legend(
        frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=0.8,
        handlelength=1,
    )  # fmt: skip
    save(picture, path, tight=False)
