"""UnlabelledImages and figures of what a feature pipeline has learned: key points, words, importances."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from seedbed.features.descriptors import BINS, CELLS, DenseColour, DenseHog
from seedbed.features.orb import Orb, OrbHog
from seedbed.features.pipeline import FeaturePipeline
from seedbed.features.visual_words import BagOfVisualWords
from seedbed.plots.page import Page
from seedbed.plots.run_plots import TRAIN_COLOUR, VAL_COLOUR, save
from seedbed.runs.text_tables import short

KEPT_COLOUR, NONE_COLOUR, ALL_COLOUR = TRAIN_COLOUR, VAL_COLOUR, "#9a9a9a"
POINT_COLOUR, PATCH_COLOUR, CELL_COLOUR = "#e0218a", "#00b3a4", "#ffb000"
SAMPLES, CIRCLES = 16, 12
SHOWN_WORDS, COLUMNS = 100, 10


def draw(folder: Path, pipeline: FeaturePipeline, images: np.ndarray, names: list[str], title: str) -> None:
    """Draw key_points.png and words.png, and importances.png where they are known.

    Args:
        pipeline: fitted.
        images: uint8 `[n, C, H, W]`, square and of the size that the pipeline was fitted on; the first 16 are drawn.
        names: class of each.
        title: of the run.
    """
    draw_key_points(pipeline, images[:SAMPLES], names[:SAMPLES], title, folder / "key_points.png")
    draw_words(pipeline, title, folder / "words.png")
    if pipeline.importances_ is not None:
        draw_importances(pipeline, title, folder / "importances.png")


def facts(pipeline: FeaturePipeline, found: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What features.json holds: plain numbers.

    Args:
        pipeline: fitted.
        found: split -> bool `[N]`, whether each image has key points; empty where all bags are dense.
    """
    bags = {
        name: {
            "descriptor": type(bag.descriptor).__name__,
            "words": len(bag.words_),
            "cells": _cells(bag),
            "columns": bag.n_features_,
            "kept": int(kept.sum()),
        }
        for name, bag, kept, _ in _by_bag(pipeline)
    }
    without = {
        split: {
            "images": len(own),
            "without": int(np.sum(~own)),
            "share": round(float(np.mean(~own)), 6) if len(own) else 0.0,
        }
        for split, own in ((split, np.asarray(own, dtype=bool)) for split, own in found.items())
    }
    share = kept_share(pipeline)
    return {
        "bags": bags,
        "columns": sum(bag["columns"] for bag in bags.values()),
        "kept": len(pipeline.kept_),
        "kept_importance": share if share is None else round(share, 6),
        "without_key_point": without,
    }


def kept_share(pipeline: FeaturePipeline) -> float | None:
    """Share of the first forest's importance that the kept columns hold, or None where it is not known."""
    if pipeline.importances_ is None:
        return None
    total = float(pipeline.importances_.sum())
    return float(pipeline.importances_[pipeline.kept_].sum()) / total if total else 0.0


def draw_key_points(pipeline: FeaturePipeline, images: np.ndarray, names: list[str], title: str, path: Path) -> None:
    """A block for each bag: the key points of every image, or the grid of patches, the same for all, on one."""
    grid, room = 3.4, 0.55
    sparse = [isinstance(bag.descriptor, Orb) for bag in pipeline.bags_.values()]
    columns, cell = 4, 1.75
    rows = -(-len(images) // columns)
    widths = [columns * cell if own else grid for own in sparse]
    height = 1.0 + max(rows * (cell + 0.32) if own else grid + 0.75 for own in sparse)
    page = Page(sum(widths) + room * (len(widths) - 1), height)
    page.text(0, 0.22, title, fontsize=11)
    left = 0.0
    for (name, bag), own, width in zip(pipeline.bags_.items(), sparse, widths, strict=True):
        page.text(left, 0.55, f"{name}: {_describe(bag, images[:1])}", fontsize=9, color="#444444")
        if own:
            described = bag.descriptor.describe_chunk(images)
            ends = np.cumsum(described.counts)
            for number, (image, label) in enumerate(zip(images, names, strict=True)):
                row, column = divmod(number, columns)
                x, y = left + column * cell, 1.05 + row * (cell + 0.32)
                places = described.positions[ends[number] - described.counts[number] : ends[number]]
                places = places if described.found[number] else places[:0]
                note = f"{len(places)} key point{'s' * (len(places) != 1)}" if len(places) else "no key point"
                page.text(x, y - 0.18, short(label, 24), fontsize=7.5)
                page.text(x, y - 0.05, note, fontsize=6.5, color="#666666" if len(places) else NONE_COLOUR)
                _key_points(page.axes(x, y, cell * 0.93), image, places, bag.descriptor)
        else:
            axes = page.axes(left, 0.7, grid)
            _grid(axes, images[0], bag)
            legend = [axes.scatter([], [], s=8, color=POINT_COLOUR, label="centre of a patch")]
            legend.append(axes.plot([], [], color=PATCH_COLOUR, label="a patch, its cells, and the next")[0])
            if _cells(bag) > 1:
                legend.append(axes.plot([], [], color=CELL_COLOUR, label="cells of the pyramid's finest level")[0])
            axes.legend(
                handles=legend, frameon=False, fontsize=7.5, loc="upper left", bbox_to_anchor=(-0.02, 0.0),
                handlelength=1.2, labelspacing=0.3,
            )  # fmt: skip
        left += width + room
    save(page.picture, path)


def _key_points(axes: Axes, image: np.ndarray, places: np.ndarray, descriptor: Orb) -> None:
    """Circles as wide as the described patch, round the strongest alone: all of them would hide a small image.

    An image without any is dimmed: it is described as a whole.
    """
    _show(axes, image, 1 if len(places) else 0.45)
    if not len(places):
        for spine in axes.spines.values():
            spine.set(visible=True, color=NONE_COLOUR, linewidth=1.5)
        return
    size = descriptor.size or image.shape[-1]
    places = places + 0.5 / size  # ORB counts from the centre of the first pixel
    diameter = np.full(min(len(places), CIRCLES), descriptor.patch_on(size) / size)
    circles = EllipseCollection(
        diameter, diameter, 0 * diameter, units="xy", offsets=places[:CIRCLES], offset_transform=axes.transData,
        facecolors="none", edgecolors=PATCH_COLOUR, linewidths=0.9, alpha=0.8,
    )  # fmt: skip
    axes.add_collection(circles)
    axes.scatter(*places.T, s=9, color=POINT_COLOUR, edgecolors="white", linewidths=0.4, zorder=3)


def _grid(axes: Axes, image: np.ndarray, bag: BagOfVisualWords) -> None:
    """Where the patches lie, two of them whole, and the finest cells of the pyramid."""
    described = bag.descriptor.describe_chunk(image[None])
    places, side = described.positions, bag.descriptor.patch / image.shape[-1]
    _show(axes, image, 0.75)
    lines = np.arange(1, max(bag.levels)) / max(bag.levels)
    ends = np.zeros_like(lines), np.ones_like(lines)
    cells = [*np.stack([lines, ends[0], lines, ends[1]], 1).reshape(-1, 2, 2)]
    cells += [*np.stack([ends[0], lines, ends[1], lines], 1).reshape(-1, 2, 2)]
    axes.add_collection(LineCollection(cells, colors=CELL_COLOUR, linewidths=0.9, alpha=0.8))
    axes.scatter(*places.T, s=float(np.clip(1800 / len(places), 1.5, 14)), color=POINT_COLOUR, linewidths=0, zorder=3)
    middle = int(np.abs(places - 0.5).sum(1).argmin())
    for number in (min(middle + 1, len(places) - 1), middle):
        corner = places[number] - side / 2
        style = "-" if number == middle else ":"
        box = Rectangle(
            corner, side, side, fill=False, edgecolor=PATCH_COLOUR, linewidth=1.6, linestyle=style, zorder=4
        )
        axes.add_patch(box)
    x, y = places[middle]
    half = side / 2
    cross = [[(x, y - half), (x, y + half)], [(x - half, y), (x + half, y)]]
    axes.add_collection(LineCollection(cross, colors=PATCH_COLOUR, linewidths=0.9, zorder=4))


def draw_words(pipeline: FeaturePipeline, title: str, path: Path) -> None:
    """A block of up to 100 words for each bag, the kept and most important first."""
    cell, room = 0.7, 0.55
    bags = _by_bag(pipeline)
    shown = [word_order(bag, kept, importances)[:SHOWN_WORDS] for _, bag, kept, importances in bags]
    width = COLUMNS * cell
    height = 1.0 + max(-(-len(order) // COLUMNS) for order in shown) * cell
    page = Page(len(bags) * (width + room) - room, height)
    page.text(0, 0.22, title, fontsize=11)
    for number, ((name, bag, kept, importances), order) in enumerate(zip(bags, shown, strict=True)):
        left = number * (width + room)
        own = kept.any(0)
        which = f"{len(order):,} of {len(own):,} words" if len(order) < len(own) else f"{len(own):,} words"
        frames = not own.all()
        first = (["kept"] if own.any() and frames else []) + (["most important"] if importances is not None else [])
        which += f", the {' and '.join(first)} first" if first else ""
        page.text(left, 0.53, f"{name}: {which}", fontsize=9, color="#444444")
        meaning = _meaning(bag)
        if frames:
            meaning += f"; framed: the {own.sum():,} that selection kept" if own.any() else "; selection kept none"
        page.text(left, 0.72, meaning, fontsize=8, color="#666666")
        # White from the highest hundredth on, or one word with a single edge would leave the others in the dark.
        brightest = float(np.quantile(bag.words_, 0.99)) or 1.0
        for place, word in enumerate(order):
            row, column = divmod(place, COLUMNS)
            axes = page.axes(left + column * cell, 0.84 + row * cell, cell * 0.9)
            _word(axes, bag, bag.words_[word], brightest)
            framed = frames and own[word]
            for spine in axes.spines.values():
                spine.set(visible=True, color=KEPT_COLOUR if framed else "#cccccc", linewidth=2 if framed else 0.5)
    save(page.picture, path)


def _word(axes: Axes, bag: BagOfVisualWords, word: np.ndarray, brightest: float) -> None:
    axes.set(xlim=(0, 1), ylim=(1, 0))
    if isinstance(bag.descriptor, DenseColour):
        axes.imshow(swatches(word), extent=(0, 1, 1, 0), interpolation="nearest")
        return
    axes.set_facecolor("black")
    if not _is_hog(bag):  # somebody's own descriptor: its numbers, one after another
        axes.set_facecolor("#f0f0f0")
        low, span = float(word.min()), float(np.ptp(word)) or 1.0
        axes.plot((np.arange(len(word)) + 0.5) / len(word), 0.9 - 0.8 * (word - low) / span, linewidth=0.8)
        return
    segments, values = bars(word, _signed(bag))
    order = np.argsort(values)  # the brightest on top
    light = np.clip(values[order] / brightest, 0, 1)
    axes.add_collection(LineCollection(segments[order], colors=np.repeat(light[:, None], 3, 1), linewidths=1.4))


def _meaning(bag: BagOfVisualWords) -> str:
    if isinstance(bag.descriptor, DenseColour):
        return f"mean colour of {CELLS} x {CELLS} cells"
    if not _is_hog(bag):
        return f"{bag.words_.shape[1]} numbers each"
    side = ", each towards its bright side" if _signed(bag) else ""
    return f"edges in {CELLS} x {CELLS} cells, black is flat{side}"


def _is_hog(bag: BagOfVisualWords) -> bool:
    bins = getattr(bag.descriptor, "bins", BINS)
    return isinstance(bag.descriptor, DenseHog | OrbHog) and bag.words_.shape[1] == bins * CELLS**2


def _signed(bag: BagOfVisualWords) -> bool:
    return getattr(bag.descriptor, "signed", False)


def bars(word: np.ndarray, signed: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A HoG word as bars along the edges that it stands for, in the unit square with y downwards.

    OpenCV lays the cells column by column, and bin k of n counts gradients of (k + 1/2) * 180 / n degrees (360 if
    signed), clockwise from x as the image is seen; an edge runs across its gradient, which points to its bright side.

    Returns:
        float `[D, 2, 2]`, the ends of each bar, x and y; float `[D]`, its value.
    """
    bins = len(word) // CELLS**2
    gradients = (np.arange(bins) + 0.5) * (2 if signed else 1) * np.pi / bins
    angles = gradients + np.pi / 2
    aside = 0.12 * signed * np.stack([np.cos(gradients), np.sin(gradients)], -1)
    reach = 0.42 / CELLS * np.stack([np.cos(angles), np.sin(angles)], -1)
    middles = (np.arange(CELLS) + 0.5) / CELLS
    centres = np.stack(np.meshgrid(middles, middles, indexing="ij"), -1).reshape(-1, 1, 2)  # x is the slower
    centres = centres + aside
    return np.stack([centres - reach, centres + reach], 2).reshape(-1, 2, 2), np.asarray(word, float)


def swatches(word: np.ndarray) -> np.ndarray:
    """A colour word -> float `[2, 2, 3]`, red, green and blue in [0, 1]; undoes DenseColour's scaling of Lab."""
    lab = word.reshape(CELLS, CELLS, 3) * (50, 100, 100) + (50, 0, 0)
    return np.clip(cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_Lab2RGB), 0, 1)


def word_order(bag: BagOfVisualWords, kept: np.ndarray, importances: np.ndarray | None) -> np.ndarray:
    """Words of which a column is kept before the others, then by importance, summed over the pyramid's cells."""
    weights = np.zeros(len(bag.words_)) if importances is None else importances.sum(0)
    return np.lexsort((-weights, ~kept.any(0)))


def draw_importances(pipeline: FeaturePipeline, title: str, path: Path) -> None:
    """Importance of every column by rank, the kept ones marked."""
    order = np.argsort(-pipeline.importances_, kind="stable")
    values = 100 * pipeline.importances_[order] / (float(pipeline.importances_.sum()) or 1.0)
    ranks = np.arange(1, len(order) + 1)
    kept = np.isin(order, pipeline.kept_)
    picture = Figure(figsize=(6.4, 4.2))
    axes = picture.add_subplot()
    axes.plot(ranks, values, color=ALL_COLOUR, linewidth=1.5, label=f"all {len(order):,} columns")
    label = f"the {kept.sum():,} kept: {100 * kept_share(pipeline):.0f} % of the importance"
    if len(pipeline.bags_) > 1:
        label += "\n(" + ", ".join(f"{own.sum():,} {name}" for name, _, own, _ in _by_bag(pipeline)) + ")"
    axes.scatter(ranks[kept], values[kept], s=12, color=KEPT_COLOUR, linewidths=0, zorder=3, label=label)
    axes.set(xscale="log", xlabel="rank of the column", ylabel="importance to the first forest, %", title=title)
    axes.set(xlim=(0.9, len(order) * 1.1), ylim=(0, None))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    save(picture, path)


def _show(axes: Axes, image: np.ndarray, strength: float) -> None:
    """An image over the unit square, y downwards, faded towards white."""
    pixels = np.repeat(image, 3, 0) if len(image) == 1 else image
    faded = 1 - strength * (1 - pixels.transpose(1, 2, 0) / 255)
    axes.imshow(faded, extent=(0, 1, 1, 0), interpolation="nearest")


def _by_bag(pipeline: FeaturePipeline) -> list[tuple[str, BagOfVisualWords, np.ndarray, np.ndarray | None]]:
    """Name and bag, and `[cells, words]` of its columns: whether each is kept, and its importance."""
    out, start = [], 0
    columns = sum(bag.n_features_ for bag in pipeline.bags_.values())
    kept = np.isin(np.arange(columns), pipeline.kept_)
    for name, bag in pipeline.bags_.items():
        own, shape = slice(start, start + bag.n_features_), (-1, len(bag.words_))
        importances = None if pipeline.importances_ is None else pipeline.importances_[own].reshape(shape)
        out.append((name, bag, kept[own].reshape(shape), importances))
        start += bag.n_features_
    return out


def _cells(bag: BagOfVisualWords) -> int:
    return sum(level**2 for level in bag.levels)


def _describe(bag: BagOfVisualWords, image: np.ndarray) -> str:
    descriptor = bag.descriptor
    orb = isinstance(descriptor, Orb)
    patch = descriptor.patch_on(descriptor.size or image.shape[-1]) if orb else descriptor.patch
    side = f"{patch} x {patch} pixels"
    if orb:
        at = f" on {descriptor.size} x {descriptor.size} pixels" if descriptor.size else ""
        return f"ORB key points{at}; circles: patches of {side} round the {CIRCLES} strongest"
    stride = getattr(descriptor, "stride", None)
    count = int(descriptor.describe_chunk(image).counts[0])
    return f"{count:,} patches of {side}" + (f", every {stride} pixels" if stride else "")
