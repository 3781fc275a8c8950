"""Pictures of a run, drawn from the files of its folder alone."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from seedbed.files import write_atomically

# Figures are made without pyplot: it would keep every one of a sweep in memory.
matplotlib.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
TRAIN_COLOUR, VAL_COLOUR, BEST_COLOUR = "#3b6fb6", "#d1662f", "#666666"
ANNOTATED = 20


def save(figure: Figure, path: Path, dpi: int = 120) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight")
    write_atomically(path, buffer.getvalue())


def draw_run(folder: Path) -> None:
    """Draw loss.png, accuracy.png and confusion.png from metrics.csv, result.json and confusion.csv."""
    with (folder / "metrics.csv").open() as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    result = json.loads((folder / "result.json").read_text())
    for figure in ("loss", "accuracy"):
        draw_curves(rows, figure, result["best_epoch"], result["title"], folder / f"{figure}.png")
    with (folder / "confusion.csv").open() as file:
        header, *body = csv.reader(file)
    counts = np.array([[int(v) for v in row[1:]] for row in body])
    draw_confusion(counts, header[1:], result["title"], folder / "confusion.png")


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
    axes.annotate(
        text, (best, at_best), (-8 if late else 8, 8), textcoords="offset points", ha="right" if late else "left"
    )
    axes.set(xlabel="epoch", ylabel={"loss": "cross-entropy loss", "accuracy": "accuracy"}[figure], title=title)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    save(picture, path)


def draw_confusion(counts: np.ndarray, classes: list[str], title: str, path: Path) -> None:
    """Confusion matrix, rows scaled to shares: with counts in the cells of a small one, and for a large one every
    class named at the edges and the most frequent confusions listed beside it.

    Args:
        counts: int `[K, K]`, rows are labels.
    """
    k = len(classes)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    small = k <= ANNOTATED
    side = max(4.5, 0.62 * k) if small else max(12.0, 0.135 * k)
    picture = Figure(figsize=(side + (1 if small else 7), side))
    axes = picture.add_axes((0, 0, side / (side + (1 if small else 7)), 1))
    # Square-root colours: a share of 0.02 is an error worth seeing, and linear ones would hide it.
    image = axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    font = 9 if small else max(3.5, min(8.0, 5.2 * 20 / (0.141 * k)))
    axes.set_xticks(range(k), classes, rotation=90 if not small else 45, fontsize=font,
                    ha="center" if not small else "right", rotation_mode="anchor" if small else "default")  # fmt: skip
    axes.set_yticks(range(k), classes, fontsize=font)
    axes.tick_params(length=0 if not small else 3)
    axes.set_xlabel("predicted", fontsize=10 if small else 16)
    axes.set_ylabel("label", fontsize=10 if small else 16)
    axes.set_title(title, fontsize=11 if small else 18)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if small:
        for i, j in np.argwhere(counts):
            axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", fontsize=8,
                      color="white" if shares[i, j] > 0.4 else "black")  # fmt: skip
    else:
        axes.set_xticks(np.arange(-0.5, k), minor=True)
        axes.set_yticks(np.arange(-0.5, k), minor=True)
        axes.grid(which="minor", color="#e8e8e8", linewidth=0.3)
        axes.tick_params(which="minor", length=0)
        wrong = counts * (1 - np.eye(k, dtype=int))
        top = [divmod(int(i), k) for i in np.argsort(-wrong, axis=None)[:30]]
        lines = [f"{wrong[i, j]:>4}  {classes[i]}  →  {classes[j]}" for i, j in top if wrong[i, j]]
        text = "\n".join(lines) if lines else "none"
        heading = f"{int(wrong.sum()):,} of {int(counts.sum()):,} wrong; the most frequent confusions"
        picture.text(side / (side + 7) + 0.02, 0.98, f"{heading}\n(count, label → predicted)\n\n{text}",
                     va="top", fontsize=11, linespacing=1.5)  # fmt: skip
    if small:
        bar = picture.colorbar(image, ax=axes, fraction=0.046, pad=0.03, ticks=np.sqrt([0, 0.05, 0.25, 0.5, 1]))
        bar.ax.set_yticklabels(["0", "5 %", "25 %", "50 %", "100 %"])
        bar.set_label("share of the label's images")
        bar.outline.set_visible(False)
    save(picture, path, dpi=120 if small else 150)


def draw_samples(
    images: np.ndarray, labels: list[str], counts: dict[str, list[int]], title: str, path: Path
) -> None:
    """A grid of training images as the model sees them, and beside it how many images each class has.

    Args:
        images: float `[N, C, S, S]` in [0, 1].
        labels: class name of each image.
        counts: class name -> number of training, validation and test images.
    """
    columns = 8
    rows = -(-len(images) // columns)
    many = len(counts) > 40
    picture = Figure(figsize=(columns * 1.25 + (6.5 if many else 4.5), max(rows * 1.45, 5.0) + 0.5))
    left, right = picture.subfigures(1, 2, width_ratios=[columns * 1.25, 6.5 if many else 4.5])
    grid = left.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, image, label in zip(grid.flat, images, labels, strict=False):
        pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(label if len(label) < 17 else label[:15] + "…", fontsize=7, pad=2)
    left.suptitle(title, fontsize=10)
    axes = right.add_subplot()
    names, totals = list(counts), np.array(list(counts.values()))
    places, base = np.arange(len(names)), np.zeros(len(names))
    for part, colour, values in zip(
        ("training", "validation", "test"), (TRAIN_COLOUR, VAL_COLOUR, "#8a8a8a"), totals.T, strict=True
    ):
        axes.barh(places, values, left=base, color=colour, height=0.8, label=f"{part} ({int(values.sum()):,})")
        base += values
    axes.set_yticks(places, names, fontsize=9 if not many else max(2.5, 300 / len(names)))
    axes.tick_params(axis="y", length=0)
    axes.set(ylim=(len(names) - 0.5, -0.5), xlabel="images a class")
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.07 if not many else 1.06), ncols=3,
                columnspacing=0.8, handlelength=1)  # fmt: skip
    save(picture, path)
