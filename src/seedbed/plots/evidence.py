"""Test images with the evidence for their predicted class over them: some that a model got right, some it did not."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from seedbed.data.loader import Loader
from seedbed.plots.figure import TRAIN_COLOUR, VAL_COLOUR, draw_image, drawable, save
from seedbed.plots.grad_cam import evidence_layer, grad_cam
from seedbed.runs.text_tables import short
from seedbed.types import Split

HEAT = "plasma"  # even steps, and its bright end is a strong yellow: inferno's pales into a white background
OPAQUE = 0.85  # where the heat is 1
LUMINANCE = np.array([0.299, 0.587, 0.114])
SIDE, SEAM, PAIR = 1.2, 0.03, 2.71  # inches: an image, between two of a pair, from one pair to the next
COLUMNS = 4  # pairs a row


def choose(labels: np.ndarray, predictions: np.ndarray, n: int = 8) -> np.ndarray:
    """Which images to show: up to `n` that were predicted right, then up to `n` wrong ones.

    Of each group the first image of every class, class by class, then the second of every class, and so on: the
    choice, int64 indices, depends on the order of the images alone, not on how well they look.
    """
    right = labels == predictions
    counters: defaultdict = defaultdict(itertools.count)
    rank_in_class = [next(counters[pair]) for pair in zip(labels.tolist(), right.tolist(), strict=True)]
    order = np.lexsort((labels, rank_in_class))
    return np.concatenate([order[right[order]][:n], order[~right[order]][:n]])


def draw_evidence(
    model: nn.Module, split: Split, make_loader: Callable[..., Loader], labels: np.ndarray, predictions: np.ndarray,
    autocast: Callable, classes: Sequence[str], title: str, path: Path,
) -> None:  # fmt: skip
    """Draw where a model found its evidence in some images of a split; nothing for one whose maps are too small.

    Args:
        make_loader: (split, batch_size=...) -> its batches.
        labels, predictions: int `[N]`, in the split's order.
        autocast: makes the context that sets the precision.
    """
    if not hasattr(model, "stages"):
        return
    rows = choose(labels, predictions)
    labels, predictions = labels[rows], predictions[rows]
    loader = make_loader(replace(split, index=split.index[rows]), batch_size=len(rows))
    x, _ = loader.first(len(rows))
    evidence = evidence_layer(model, x)
    if evidence is None:
        return
    stage, layer, (height, width) = evidence
    of_class = torch.from_numpy(predictions).to(x.device)
    maps = grad_cam(model, layer, x, of_class).numpy()
    with torch.no_grad(), autocast():
        confidences = model(x).float().softmax(1).gather(1, of_class[:, None])[:, 0].cpu().numpy()
    images = loader.preprocess.undo(x).cpu().numpy()
    where, classes = f"{stage} ({height} x {width})", drawable(classes)
    draw_overlays(images, maps, labels, predictions, confidences, classes, where, title, path)


def draw_overlays(
    images: np.ndarray, maps: np.ndarray, labels: np.ndarray, predictions: np.ndarray, confidences: np.ndarray,
    classes: Sequence[str], stage: str, title: str, path: Path,
) -> None:  # fmt: skip
    """A plot of pairs, those predicted right above the wrong ones: the image, and its evidence over it in grey.

    Args:
        images: float `[N, C, H, W]` in [0, 1], N > 0, C 1 or 3, as the model sees them but not normalised.
        maps: float `[N, H, W]` in [0, 1], from `grad_cam` for the predicted classes.
        confidences: float `[N]`, the softmax probability of each prediction.
        stage: where the evidence was taken, like "layer3 (4 x 4)".
    """
    if not len(images):
        raise ValueError("draw_overlays: no images")
    figure = Figure()
    axes = figure.add_axes((0, 0, 1, 1))  # coordinates are inches, from the top left corner
    axes.set_axis_off()
    axes.text(0, 0.22, title, fontsize=11)
    line = f"evidence for the predicted class, with its probability; Grad-CAM at {stage}"
    axes.text(0, 0.5, line, fontsize=9, color="#444444")
    _draw_scale(axes, 0.68)
    # Not up to white: the heat has to stand out on a white background.
    greys = 0.8 * (images if images.shape[1] == 1 else np.tensordot(images, LUMINANCE, (1, 0))[:, None])
    bottom, width = 0.82, 0.0
    for group, colour in (("right", TRAIN_COLOUR), ("wrong", VAL_COLOUR)):
        rows = np.flatnonzero((labels == predictions) == (group == "right"))
        if not len(rows):
            continue
        axes.text(0, bottom + 0.33, group, fontsize=10, color=colour, weight="bold")
        first, row_height = bottom + 0.33, SIDE + (0.34 if group == "right" else 0.48)
        for number, i in enumerate(rows):
            left, bottom = number % COLUMNS * PAIR, first + (number // COLUMNS + 1) * row_height
            top, middle, right = bottom - SIDE, left + SIDE + SEAM, left + 2 * SIDE + SEAM
            width = max(width, right)
            caption = short(classes[predictions[i]], 31)
            if group == "wrong":
                caption = f"{short(classes[labels[i]], 30)},\ntaken for {short(classes[predictions[i]], 21)}"
            axes.text(left, top - 0.04, caption, fontsize=8, va="bottom")
            axes.text(right, top - 0.04, f"{confidences[i]:.2f}", fontsize=8, va="bottom", ha="right", color="#666666")
            draw_image(axes, images[i], left, top, SIDE)
            draw_image(axes, greys[i], middle, top, SIDE)
            # Clear where there is no heat, so that what the model did not look at stays visible.
            heat = {"cmap": HEAT, "alpha": OPAQUE * maps[i], "interpolation": "bilinear"}
            draw_image(axes, maps[i : i + 1], middle, top, SIDE, **heat)
            if not maps[i].any():
                grey = {"color": "white", "backgroundcolor": "#444444"}
                axes.text(middle + SIDE / 2, bottom - 0.1, "no evidence", ha="center", fontsize=6.5, **grey)
    axes.set(xlim=(0, width), ylim=(bottom, 0))
    figure.set_size_inches(width, bottom)
    save(figure, path)


def _draw_scale(axes: Axes, top: float) -> None:
    """A small bar of the colours as they lie on grey, from no evidence to an image's most."""
    scale = np.linspace(0, 1, 128)[None]
    bar = {"vmin": 0, "vmax": 1, "extent": (0.33, 1.63, top + 0.12, top)}
    axes.imshow(0 * scale + 0.45, cmap="gray", **bar)
    axes.imshow(scale, cmap=HEAT, alpha=OPAQUE * scale, **bar)
    axes.text(0, top + 0.1, "none", fontsize=7.5, color="#666666")
    axes.text(1.69, top + 0.1, "the most in this image", fontsize=7.5, color="#666666")
