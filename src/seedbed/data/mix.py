"""Training images made of two: pixels and labels in the same shares."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from seedbed.annotations import Share
from seedbed.errors import require


class Mix(Protocol):
    """Makes an image and a label of two."""

    def draw(self, rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
        """Parameters for `n` samples: arrays `[n]`; of them `partner`, the sample that each is mixed with."""

    def apply(self, images: Tensor, others: Tensor, parameters: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """`[B, C, S, S]` twice, any type -> the mixed images, and the share that is now the other's, float32 `[B]`."""


class CutMix(Mix):
    """With probability `p`, paste a rectangle of another training image over an image; the label is shared by area.

    The rectangle has the image's proportions and, before what overhangs is cut off, an area uniform in [0, 1]; its
    centre is uniform. The partner is a sample of the epoch, not of the batch: parameters are drawn for an epoch.

    Source: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", 2019.
    """

    def __init__(self, p: Share = 0.5):
        require(0 <= p <= 1, f"augment.mix: CutMix's p must lie in [0, 1], got {p}")
        self.p = p

    def draw(self, rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
        """Partner, and the rectangle's side and centre; a sample that is not mixed has a rectangle without area."""
        mixed, partner = rng.random(n) < self.p, rng.permutation(n)
        rectangle = {"side": np.where(mixed, np.sqrt(rng.random(n)), 0), "y": rng.random(n), "x": rng.random(n)}
        return {"partner": partner, **{key: values.astype(np.float32) for key, values in rectangle.items()}}

    def apply(self, images: Tensor, others: Tensor, parameters: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Paste the rectangles of `others` over `images`."""
        size, side = images.shape[-1], parameters["side"]
        line, length = torch.arange(size, device=images.device), (side * size).round()[:, None]
        starts = [((parameters[axis] - side / 2) * size).round()[:, None] for axis in ("y", "x")]
        rows, columns = ((line >= start) & (line < start + length) for start in starts)
        rectangle = rows[:, :, None] & columns[:, None, :]
        return torch.where(rectangle[:, None], others, images), rectangle.float().mean((1, 2))


def shared_labels(labels: Tensor, others: Tensor, share: Tensor, classes: int) -> Tensor:
    """int64 `[B]` twice and the share of the second -> probabilities, float32 `[B, classes]`."""
    first = torch.zeros(len(labels), classes, device=labels.device).scatter_(1, labels[:, None], 1 - share[:, None])
    return first.scatter_add_(1, others[:, None], share[:, None])
