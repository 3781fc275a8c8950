"""Test images with the evidence for their predicted class over them: some that a model got right, some it did not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from torch import nn

from seedbed.data.loader import Loader
from seedbed.plots.grad_cam import evidence_layer, grad_cam, map_sizes
from seedbed.plots.page import Page
from seedbed.plots.run_plots import TRAIN_COLOUR, VAL_COLOUR, save
from seedbed.runs.text_tables import short

GROUPS = (("right", TRAIN_COLOUR), ("wrong", VAL_COLOUR))
HEAT = "plasma"  # even steps, and its bright end is a strong yellow: inferno's pales into a white background
OPAQUE = 0.85  # where the heat is 1
LUMINANCE = np.array([0.299, 0.587, 0.114])
COLUMNS, CELL, SEAM, GAP = 4, 1.2, 0.03, 0.28  # pairs a row; inches: an image, within a pair, between two


def choose(labels: np.ndarray, predictions: np.ndarray, n: int = 8) -> np.ndarray:
    """Which images to show: up to `n` that were predicted right, then up to `n` wrong ones.

    Of each group the first image of every class, class by class, then the second of every class, and so on: what is
    shown depends on the order of the images alone, not on how well they look.

    Args:
        labels, predictions: int `[N]`.

    Returns:
        int64 `[M]`, M <= 2n, indices into both.
    """
    right = labels == predictions
    return np.concatenate([_spread(labels, np.flatnonzero(group))[:n] for group in (right, ~right)])


def _spread(labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows in the order of their number within their own class, then of the class."""
    rows = rows[np.argsort(labels[rows], kind="stable")]
    _, starts, counts = np.unique(labels[rows], return_index=True, return_counts=True)
    number = np.arange(len(rows)) - np.repeat(starts, counts)
    return rows[np.argsort(number, kind="stable")]


def draw_evidence(
    model: nn.Module,
    shown: Loader,
    labels: np.ndarray,
    predictions: np.ndarray,
    autocast: Callable,
    names: Sequence[str],
    title: str,
    path: Path,
) -> None:
    """Draw where a model found its evidence; nothing for one whose maps are too small to say.

    Args:
        shown: the `N` images, in batches of all of them.
        labels, predictions: int `[N]`.
        autocast: makes the context that sets the precision.
        names, title: as in `draw_overlays`.
    """
    x, _ = shown.first(len(labels))
    found = evidence_layer(model, x)
    if found is None:
        return
    stage, layer = found
    ((height, width),) = map_sizes(model, [layer], x)
    classes = torch.from_numpy(predictions).to(x.device)
    maps = grad_cam(model, layer, x, classes).numpy()
    with torch.no_grad(), autocast():
        confidences = model(x).float().softmax(1).gather(1, classes[:, None])[:, 0].cpu().numpy()
    images = shown.preprocess.undo(x).cpu().numpy()
    draw_overlays(
        images, maps, labels, predictions, confidences, names, f"{stage} ({height} x {width})", title, path
    )  # fmt: skip


def draw_overlays(
    images: np.ndarray,
    maps: np.ndarray,
    labels: np.ndarray,
    predictions: np.ndarray,
    confidences: np.ndarray,
    names: Sequence[str],
    stage: str,
    title: str,
    path: Path,
) -> None:
    """A picture of pairs, those predicted right above the wrong ones: the image, and its evidence over it in grey.

    Args:
        images: float `[N, C, H, W]` in [0, 1], C 1 or 3, as the model sees them but not normalised.
        maps: float `[N, H, W]` in [0, 1], from `grad_cam` for the predicted classes.
        labels, predictions: int `[N]`.
        confidences: float `[N]`, the softmax probability of each prediction.
        names: class names in label order.
        stage: where the evidence was taken, like "layer3 (4 x 4)".
        title: of the picture.

    Raises:
        ValueError: there are no images.
    """
    if not len(images):
        raise ValueError("draw_overlays: no images")
    right = labels == predictions
    groups = [
        (*group, rows) for group, own in zip(GROUPS, (right, ~right), strict=True) if len(rows := own.nonzero()[0])
    ]
    columns = min(COLUMNS, max(len(rows) for *_, rows in groups))
    pair, header = 2 * CELL + SEAM, 0.95
    blocks = [0.4 + -(-len(rows) // columns) * _row_height(name) for name, _, rows in groups]
    page = Page(columns * (pair + GAP) - GAP, header + sum(blocks))
    page.text(0, 0.22, title, fontsize=11)
    line = f"evidence for the predicted class, with its probability; Grad-CAM at {stage}"
    page.text(0, 0.5, line, fontsize=9, color="#444444")
    _scale(page, 0.68)
    top = header
    for (name, colour, rows), block in zip(groups, blocks, strict=True):
        page.text(0, top + 0.2, name, fontsize=10, color=colour, weight="bold")
        for place, i in enumerate(rows):
            row, column = divmod(place, columns)
            left, base = column * (pair + GAP), top + 0.32 + (row + 1) * _row_height(name) - 0.12 - CELL
            caption = short(names[predictions[i]], 31)
            if name == "wrong":
                page.text(left, base - 0.2, f"{short(names[labels[i]], 30)},", fontsize=8)
                caption = f"taken for {short(names[predictions[i]], 21)}"
            page.text(left, base - 0.06, caption, fontsize=8)
            page.text(left + pair, base - 0.06, f"{confidences[i]:.2f}", ha="right", color="#666666", fontsize=8)
            _plain(page.axes(left, base, CELL, CELL), images[i])
            _overlay(page.axes(left + CELL + SEAM, base, CELL, CELL), images[i], maps[i])
        top += block
    save(page.picture, path)


def _row_height(group: str) -> float:
    return CELL + (0.48 if group == "wrong" else 0.34)


def _plain(axes: Axes, image: np.ndarray) -> None:
    pixels = np.repeat(image, 3, 0) if len(image) == 1 else image
    axes.imshow(np.clip(pixels.transpose(1, 2, 0), 0, 1), interpolation="nearest")


def _overlay(axes: Axes, image: np.ndarray, heat: np.ndarray) -> None:
    grey = image[0] if len(image) == 1 else np.tensordot(LUMINANCE, image, 1)
    # Not up to white: the heat has to stand out on a white background.
    axes.imshow(0.8 * grey, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.imshow(heat, cmap=HEAT, vmin=0, vmax=1, alpha=_alpha(heat), interpolation="bilinear")
    if not heat.any():
        axes.text(
            0.5, 0.04, "no evidence", transform=axes.transAxes, ha="center", fontsize=6.5, color="white",
            bbox={"facecolor": "#444444", "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip


def _alpha(heat: np.ndarray) -> np.ndarray:
    """Clear where there is no heat, so that what the model did not look at stays visible."""
    return OPAQUE * np.clip(heat, 0, 1)


def _scale(page: Page, top: float) -> None:
    """A small bar of the colours as they lie on grey, from no evidence to an image's most."""
    heat = np.linspace(0, 1, 128)
    alpha = _alpha(heat)[:, None]
    colours = alpha * colormaps[HEAT](heat)[:, :3] + (1 - alpha) * 0.45
    page.text(0, top + 0.1, "none", fontsize=7.5, color="#666666")
    page.axes(0.33, top, 1.3, 0.12).imshow(colours[None], aspect="auto")
    page.text(1.69, top + 0.1, "the most in this image", fontsize=7.5, color="#666666")
