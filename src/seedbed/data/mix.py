"""Training images made of two: pixels and labels in the same shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch

from seedbed.errors import UserError


class Mix(Protocol):
    """Makes an image and a label of two."""

    def draw(self, rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
        """Parameters for `n` samples: arrays `[n]`; of them `partner`, the sample that each is mixed with."""

    def apply(
        self, images: torch.Tensor, others: torch.Tensor, parameters: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The mixed images, and the share of each label that is now its partner's, float32 `[B]`."""


class CutMix:
    """With probability `p`, paste a rectangle of another training image over an image; the label is shared by area.

    The rectangle has the image's proportions and, before what overhangs is cut off, an area uniform in [0, 1]; its
    centre is uniform. Like all parameters its own are drawn for the samples of an epoch at once: a sample's partner
    is a sample of the epoch, not of the batch.

    Source: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", 2019.
    """

    def __init__(self, p: float = 0.5):
        if not 0 <= p <= 1:
            raise UserError(f"augment.mix: CutMix's p must lie in [0, 1], got {p}")
        self.p = p

    def draw(self, rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
        """Parameters for `n` samples: arrays `[n]`; those that are not mixed have a rectangle without area."""
        mixed = rng.random(n) < self.p
        return {
            "partner": rng.permutation(n),
            "side": np.where(mixed, np.sqrt(rng.random(n)), 0).astype(np.float32),
            "y": rng.random(n).astype(np.float32),
            "x": rng.random(n).astype(np.float32),
        }

    def apply(
        self, images: torch.Tensor, others: torch.Tensor, parameters: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Paste.

        Args:
            images, others: `[B, C, S, S]`, any type.
            parameters: what `draw` gave, as tensors, the rows of this batch: `[B]` each.

        Returns:
            `[B, C, S, S]` of the same type, and the share of each image that is now its partner's, float32 `[B]`.
        """
        size = images.shape[-1]
        within = []
        line = torch.arange(size, device=images.device)
        for centre in (parameters["y"], parameters["x"]):
            start = ((centre - parameters["side"] / 2) * size).round()[:, None]
            within.append((line >= start) & (line < start + (parameters["side"] * size).round()[:, None]))
        rectangle = within[0][:, :, None] & within[1][:, None, :]
        return torch.where(rectangle[:, None], others, images), rectangle.float().mean((1, 2))


def shared_labels(labels: torch.Tensor, others: torch.Tensor, share: torch.Tensor, classes: int) -> torch.Tensor:
    """int64 `[B]` twice and the share of the second -> probabilities, float32 `[B, classes]`."""
    own = torch.zeros(len(labels), classes, device=labels.device).scatter_(1, labels[:, None], 1 - share[:, None])
    return own.scatter_add_(1, others[:, None], share[:, None])
