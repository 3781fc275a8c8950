"""Training images as the model sees them, and how many images each class has."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from seedbed.plots.figure import TRAIN_COLOUR, VAL_COLOUR, draw_image, save

COLUMNS = 8
SIDE, ROW = 0.95, 1.16  # of an image, of a row; a column is 1 wide


def draw_samples(
    images: np.ndarray, labels: Sequence[str], counts: Mapping[str, Sequence[int]], title: str, path: Path
) -> None:
    """A grid of training images, float `[N, C, S, S]` in [0, 1], with their labels; beside it the size of each class.

    `counts` has the number of training, validation and test images by class name.
    """
    rows, k = -(-len(images) // COLUMNS), len(counts)
    height = max(1.45 * rows + 0.6, min(0.1 * k, 14) + 1.4, 5)
    figure = Figure(figsize=(14.4 + 0.075 * max(map(len, counts)), height), layout="constrained")
    grid, bars = figure.subplots(1, 2, width_ratios=(10, 4))
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        left, top = number % COLUMNS, number // COLUMNS * ROW
        draw_image(grid, image, left, top, SIDE)
        # What tells long names apart may stand at their end.
        name = label if len(label) < 18 else f"{label[:8]}…{label[-8:]}"
        grid.text(left + SIDE / 2, top - 0.02, name, fontsize=7, ha="center", va="bottom", in_layout=False)
    grid.set(xlim=(0, COLUMNS), ylim=(rows * ROW, -0.2), anchor="NW")
    grid.set_axis_off()
    grid.set_title(title, fontsize=10, loc="left")
    base = np.zeros(k)
    parts = (("training", TRAIN_COLOUR), ("validation", VAL_COLOUR), ("test", "#8a8a8a"))
    for (part, colour), values in zip(parts, np.array([*counts.values()]).T, strict=True):
        bars.barh(range(k), values, left=base, color=colour, label=f"{part} {values.sum():,}")
        base += values
    bars.set_yticks(range(k), counts, fontsize=min(9, 54 * (height - 1.3) / k))
    bars.tick_params(axis="y", length=0, pad=2)
    bars.set(ylim=(k - 0.5, -0.5), xlabel="images a class")
    above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1)}
    bars.legend(frameon=False, fontsize=8, ncols=3, columnspacing=0.8, handlelength=1, **above)
    save(figure, path, tight=False)
