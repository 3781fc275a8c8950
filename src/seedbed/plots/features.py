"""Pictures and numbers of what a feature pipeline has learned: key points, visual words, importances."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Circle, Rectangle

from seedbed.features.descriptors import BINS, CELLS, LAB_OFFSET, LAB_SPAN, DenseColour, DenseHog
from seedbed.features.orb import OrbHog
from seedbed.features.pipeline import FeaturePipeline
from seedbed.features.visual_words import BagOfVisualWords
from seedbed.plots.figure import TRAIN_COLOUR, VAL_COLOUR, drawable, save
from seedbed.runs.run_folder import RunFolder
from seedbed.runs.text_tables import short
from seedbed.types import ImageData

KEPT_COLOUR, NONE_COLOUR, ALL_COLOUR, TEXT_COLOUR = TRAIN_COLOUR, VAL_COLOUR, "#9a9a9a", "#444444"
POINT_COLOUR, PATCH_COLOUR, CELL_COLOUR = "#e0218a", "#00b3a4", "#ffb000"
SAMPLES, ACROSS, CIRCLES = 16, 4, 12
SHOWN_WORDS, COLUMNS, PITCH = 100, 10, 1.1  # PITCH: from one word to the next, in sides of one


def describe_features(folder: RunFolder, pipeline: FeaturePipeline, images: ImageData, title: str) -> None:
    """Draw what a fitted pipeline learned of these images into the run folder, and write features.json."""
    train = images.train
    # One image of each class first, as far as they go.
    _, first = np.unique(train.targets, return_index=True)
    rows = train.index[np.concatenate([first, np.setdiff1d(np.arange(min(len(train), 64)), first)])[:SAMPLES]]
    classes = drawable(images.classes)
    names = [classes[label] for label in train.labels[rows]]
    draw_key_points(pipeline, train.images[rows], names, title, folder.path / "key_points.png")
    draw_words(pipeline, title, folder.path / "words.png")
    if pipeline.importances_ is not None:
        draw_importances(pipeline, title, folder.path / "importances.png")
    # Last: a run killed before it draws them when it goes on.
    folder.write_json("features.json", metadata(pipeline, images))


def metadata(pipeline: FeaturePipeline, images: ImageData) -> dict[str, Any]:
    """What features.json holds: sizes, and how many images of each split have no key point."""
    bags, without, share = {}, {}, None
    for name, bag, kept, _ in by_bag(pipeline):
        counts = {"words": kept.shape[1], "cells": len(kept), "columns": kept.size, "kept": int(kept.sum())}
        bags[name] = {"descriptor": type(bag.descriptor).__name__, **counts}
    ends = np.cumsum([len(split) for split in images.splits.values()])
    for split, found in zip(images.splits, np.split(pipeline.found_, ends[:-1]), strict=True):
        n, missing = len(found), int(np.sum(~found))
        without[split] = {"images": n, "without": missing, "share": round(missing / max(n, 1), 6)}
    if (importances := pipeline.importances_) is not None:
        share = round(float(importances[pipeline.kept_].sum() / (importances.sum() or 1.0)), 6)
    return {
        "bags": bags, "columns": sum(bag["columns"] for bag in bags.values()), "kept": len(pipeline.kept_),
        "kept_importance": share, "without_key_point": without,
    }  # fmt: skip


def draw_key_points(pipeline: FeaturePipeline, images: np.ndarray, names: list[str], title: str, path: Path) -> None:
    """A block for each bag: the key points of every image, or the grid of patches, the same for all, on one."""
    sparse = [isinstance(bag.descriptor, OrbHog) for bag in pipeline.bags_.values()]
    widths = [1.75 * ACROSS if points else 3.6 for points in sparse]
    height = max(2.1 * -(-len(images) // ACROSS) if points else 4.3 for points in sparse)
    figure = Figure(figsize=(sum(widths), height + 0.7), layout="constrained")
    figure.suptitle(title, x=0, ha="left", fontsize=11)
    blocks = figure.subfigures(1, len(widths), width_ratios=widths, squeeze=False)[0]
    for block, (name, bag), points in zip(blocks, pipeline.bags_.items(), sparse, strict=True):
        text = _key_points(block, bag.descriptor, images, names) if points else _grid(block.subplots(), images[0], bag)
        block.suptitle(f"{name}: {text}", x=0, ha="left", fontsize=9, color=TEXT_COLOUR)
    save(figure, path)


def _key_points(block: SubFigure, descriptor: OrbHog, images: np.ndarray, names: list[str]) -> str:
    """Circles as wide as the described patch, round the strongest alone: all of them would hide a small image."""
    size, patch, described = descriptor.size or images.shape[-1], descriptor.patch, descriptor.describe_chunk(images)
    # ORB counts from the centre of the first pixel.
    positions = np.split(described.positions + 0.5 / size, np.cumsum(described.counts)[:-1])
    grid = block.subplots(-(-len(images) // ACROSS), ACROSS, squeeze=False).ravel()
    for axes in grid[len(images) :]:
        axes.remove()
    for axes, image, name, points, found in zip(grid, images, names, positions, described.found, strict=False):
        count = f"{len(points)} key point{'s' * (len(points) > 1)}"
        note, colour = (count, TEXT_COLOUR) if found else ("no key point", NONE_COLOUR)
        axes.set_title(f"{short(name, 24)}\n{note}", loc="left", fontsize=7, color=colour, pad=3)
        _show(axes, image, 1 if found else 0.45)
        if found:
            for point in points[:CIRCLES]:
                circle = Circle(point, patch / size / 2, fill=False, color=PATCH_COLOUR, linewidth=0.9, alpha=0.8)
                axes.add_patch(circle)
            axes.scatter(*points.T, s=9, color=POINT_COLOUR, edgecolors="white", linewidths=0.4, zorder=3)
        else:  # dimmed and framed: it is described as a whole
            axes.spines[:].set(visible=True, color=NONE_COLOUR, linewidth=1.5)
    resized = f" on {size} x {size} pixels" if descriptor.size else ""
    return f"ORB key points{resized}; circles: patches of {patch} x {patch} pixels round the {CIRCLES} strongest"


def _grid(axes: Axes, image: np.ndarray, bag: BagOfVisualWords) -> str:
    """Where the patches lie, two of them whole, and the finest cells of the pyramid."""
    patch, stride = bag.descriptor.patch, getattr(bag.descriptor, "stride", None)
    centres, half = bag.descriptor.describe_chunk(image[None]).positions, patch / image.shape[-1] / 2
    _show(axes, image, 0.75)
    size = float(np.clip(1800 / len(centres), 1.5, 14))
    axes.scatter(*centres.T, s=size, color=POINT_COLOUR, linewidths=0, zorder=3, label="centre of a patch")
    middle, style = int(np.abs(centres - 0.5).sum(1).argmin()), {"color": PATCH_COLOUR, "zorder": 4}
    for number, line in ((min(middle + 1, len(centres) - 1), ":"), (middle, "-")):
        corner = centres[number] - half
        axes.add_patch(Rectangle(corner, 2 * half, 2 * half, fill=False, linewidth=1.6, linestyle=line, **style))
    x, y = centres[middle]
    axes.vlines(x, y - half, y + half, linewidth=0.9, label="a patch, its cells, and the next", **style)
    axes.hlines(y, x - half, x + half, linewidth=0.9, **style)
    style = {"color": CELL_COLOUR, "linewidth": 0.9, "alpha": 0.8}
    lines = np.arange(1, max(bag.levels)) / max(bag.levels)
    axes.vlines(lines, 0, 1, label="cells of the pyramid's finest level" if len(lines) else None, **style)
    axes.hlines(lines, 0, 1, **style)
    axes.legend(frameon=False, fontsize=7.5, loc="upper left", bbox_to_anchor=(-0.02, 0), markerscale=(8 / size) ** 0.5)
    return f"{len(centres):,} patches of {patch} x {patch} pixels" + (f", every {stride} pixels" if stride else "")


def _show(axes: Axes, image: np.ndarray, strength: float) -> None:
    """An image over the unit square, y downwards, faded towards white."""
    pixels = np.repeat(image, 3, 0) if len(image) == 1 else image
    axes.imshow(1 - strength * (1 - pixels.transpose(1, 2, 0) / 255), extent=(0, 1, 1, 0), interpolation="nearest")
    axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(1, 0), anchor="NW")
    axes.spines[:].set_visible(False)


def draw_words(pipeline: FeaturePipeline, title: str, path: Path) -> None:
    """A block of up to 100 visual words for each bag, the kept and the most important first."""
    rows = max(-(-min(len(bag.words_), SHOWN_WORDS) // COLUMNS) for bag in pipeline.bags_.values())
    figure = Figure(figsize=(7.3 * len(pipeline.bags_), 0.72 * rows + 0.9), layout="constrained")
    figure.suptitle(title, x=0, ha="left", fontsize=11)
    blocks = figure.subplots(1, len(pipeline.bags_), squeeze=False)[0]
    for axes, (name, bag, kept, order) in zip(blocks, by_bag(pipeline), strict=True):
        order, kept = order[:SHOWN_WORDS], kept.any(0)
        text = f"{name}: {len(order):,} of {len(kept):,} visual words"
        text += ", the most important first" if pipeline.importances_ is not None else ""
        text += "\n" + _words(axes, bag, order, kept & ~kept.all())
        if not kept.all():
            first = f"framed, before the others: the {kept.sum():,} that selection kept"
            text += f"; {first}" if kept.any() else "; selection kept none"
        axes.set_title(text, loc="left", fontsize=8.5, color=TEXT_COLOUR)
        axes.set(xlim=(-0.05, PITCH * COLUMNS), ylim=(PITCH * rows, -0.05), aspect="equal", anchor="NW")
        axes.set_axis_off()
    save(figure, path)


def _words(axes: Axes, bag: BagOfVisualWords, order: np.ndarray, framed: np.ndarray) -> str:
    """Draw these visual words of a bag, each in a unit square, and say what they show."""
    bins, signed = getattr(bag.descriptor, "bins", BINS), getattr(bag.descriptor, "signed", False)
    colours = isinstance(bag.descriptor, DenseColour)
    edges = isinstance(bag.descriptor, DenseHog | OrbHog) and bag.words_.shape[1] == bins * CELLS**2
    # White from the highest hundredth on, or one word with a single edge would leave the others in the dark.
    segments, brightest = bars(bins, signed), float(np.quantile(bag.words_, 0.99)) or 1.0
    for number, index in enumerate(order):
        word, y, x = bag.words_[index], *(PITCH * place for place in divmod(number, COLUMNS))
        axes.add_patch(Rectangle((x, y), 1, 1, color="black" if edges else "#f0f0f0", linewidth=0, zorder=-1))
        if colours:
            axes.imshow(swatches(word), extent=(x, x + 1, y + 1, y), interpolation="nearest")
        elif edges:
            rank = np.argsort(word)  # the brightest on top
            style = {"array": word[rank], "cmap": "gray", "clim": (0, brightest), "linewidths": 1.4}
            axes.add_collection(LineCollection(segments[rank] + (x, y), **style))
        else:  # the user's own descriptor: its numbers, one after another
            height = 0.8 * (word - word.min()) / (np.ptp(word) or 1.0)
            axes.plot(x + (np.arange(len(word)) + 0.5) / len(word), y + 0.9 - height, linewidth=0.8, color=KEPT_COLOUR)
        colour, width = (KEPT_COLOUR, 2) if framed[index] else ("#cccccc", 0.5)
        axes.add_patch(Rectangle((x, y), 1, 1, fill=False, edgecolor=colour, linewidth=width, zorder=3))
    if colours:
        return f"mean colour of {CELLS} x {CELLS} cells"
    side = ", each towards its bright side" if signed else ""
    return f"edges in {CELLS} x {CELLS} cells, black is flat{side}" if edges else f"{bag.words_.shape[1]} numbers each"


def bars(bins: int, signed: bool = False) -> np.ndarray:
    """The edges that the numbers of a HoG word stand for, in the unit square: float `[4 * bins, 2, 2]`, ends, x and y.

    OpenCV lays the cells column by column, and bin k of n counts gradients of (k + 1/2) * 180 / n degrees (360 if
    signed), clockwise from x as the image is seen; an edge runs across its gradient, which points to its bright side.
    """
    gradients = (np.arange(bins) + 0.5) * (2 if signed else 1) * np.pi / bins
    towards = np.stack([np.cos(gradients), np.sin(gradients)], -1)
    reach = 0.42 / CELLS * towards[:, ::-1] * (-1, 1)
    middles = (np.arange(CELLS) + 0.5) / CELLS
    cells = np.stack(np.meshgrid(middles, middles, indexing="ij"), -1).reshape(-1, 1, 2)  # x is the slower
    centres = cells + 0.12 * signed * towards
    return np.stack([centres - reach, centres + reach], 2).reshape(-1, 2, 2)


def swatches(word: np.ndarray) -> np.ndarray:
    """A colour word -> float `[2, 2, 3]`, red, green and blue in [0, 1]; undoes DenseColour's scaling of Lab."""
    lab = word.reshape(CELLS, CELLS, 3) * LAB_SPAN + LAB_OFFSET
    return np.clip(cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_Lab2RGB), 0, 1)


def draw_importances(pipeline: FeaturePipeline, title: str, path: Path) -> None:
    """Importance of every column by rank, the kept ones marked."""
    order = np.argsort(-pipeline.importances_, kind="stable")
    values = 100 * pipeline.importances_[order] / (float(pipeline.importances_.sum()) or 1.0)
    ranks, kept = np.arange(1, len(order) + 1), np.isin(order, pipeline.kept_)
    axes = Figure(figsize=(6.4, 4.2)).add_subplot()
    axes.plot(ranks, values, color=ALL_COLOUR, linewidth=1.5, label=f"all {len(order):,} columns")
    label = f"the {kept.sum():,} kept: {values[kept].sum():.0f} % of the importance"
    if len(pipeline.bags_) > 1:
        label += "\n(" + ", ".join(f"{of_bag.sum():,} {name}" for name, _, of_bag, _ in by_bag(pipeline)) + ")"
    axes.scatter(ranks[kept], values[kept], s=12, color=KEPT_COLOUR, linewidths=0, zorder=3, label=label)
    axes.set(xlabel="rank of the column", ylabel="importance to the first forest, %", title=title)
    axes.set(xscale="log", xlim=(0.9, len(order) * 1.1), ylim=(0, None))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    save(axes.figure, path)


def by_bag(pipeline: FeaturePipeline) -> Iterator[tuple[str, BagOfVisualWords, np.ndarray, np.ndarray]]:
    """Name and bag; bool `[cells, words]`, which of its columns are kept; and its words in the order to show them.

    Words of which a column is kept come before the others, then go by importance, summed over the pyramid's cells.
    """
    importances, start = pipeline.importances_, 0
    for name, bag in pipeline.bags_.items():
        columns = np.arange(start, start + bag.n_features_).reshape(-1, len(bag.words_))
        start += bag.n_features_
        kept = np.isin(columns, pipeline.kept_)
        weights = np.zeros(len(bag.words_)) if importances is None else importances[columns].sum(0)
        yield name, bag, kept, np.lexsort((-weights, ~kept.any(0)))
