"""Augmentation policies: what changes an image as a whole, by an operation that is drawn for it from a list."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import torch

from seedbed.types import UserError

Operation = Callable[[torch.Tensor, float], torch.Tensor]


class Policy(Protocol):
    """Changes images by what it drew for each of them."""

    def draw(self, rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
        """Parameters for `n` samples: arrays `[n]`."""

    def apply(self, images: torch.Tensor, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Images of the same size and type."""


class TrivialAugment:
    """One operation of 14 and one of 31 strengths an image, both uniform: no policy to search for.

    The operations are torchvision's, those of its `TrivialAugmentWide`, which draws one for a whole batch; turned,
    sheared and moved images are read bilinearly here.

    Source: Müller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", 2021, and its wide
    ranges.

    Args:
        strength: share of the wide ranges, in (0, 1]: at 1 images are turned by up to 135 degrees, moved by up to 32
            pixels, sheared by up to 0.99, and made darker, brighter or greyer by up to 99 %.
        fill: byte that stands where a turned, sheared or moved image leaves a gap.
    """

    LEVELS = 31

    def __init__(self, strength: float = 1.0, fill: int = 0):
        if not 0 < strength <= 1:
            raise UserError(f"augment.policy: TrivialAugment's strength must lie in (0, 1], got {strength}")
        if not 0 <= fill <= 255:
            raise UserError(f"augment.policy: TrivialAugment's fill is a byte, 0 to 255, got {fill}")
        self.strength = strength
        self.operations = _operations(float(fill))

    def draw(self, rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
        """Parameters for `n` samples: the operation's number and how far it goes, float32 in ±`strength`."""
        operation = rng.integers(len(self.operations), size=n)
        level = rng.integers(self.LEVELS, size=n) * rng.choice([-1, 1], size=n)
        return {"operation": operation, "level": (level / (self.LEVELS - 1) * self.strength).astype(np.float32)}

    def apply(self, images: torch.Tensor, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Change each image by its own operation.

        Args:
            images: uint8 `[B, C, S, S]`, C is 1 or 3.
            parameters: what `draw` gave, as tensors, the rows of this batch: `[B]` each.

        Returns:
            uint8 `[B, C, S, S]`.
        """
        alike = defaultdict(list)
        for row, drawn in enumerate(zip(parameters["operation"].tolist(), parameters["level"].tolist(), strict=True)):
            alike[drawn].append(row)
        out = images.clone()
        for (operation, level), rows in alike.items():
            own = torch.tensor(rows, device=images.device)
            out[own] = self.operations[operation](images[own], level)
        return out


def _operations(fill: float) -> tuple[Operation, ...]:
    """(uint8 images `[N, C, S, S]`, level in [-1, 1]) -> images; those without a direction take the level's size."""
    # Needed where a policy is chosen only, and slow to import.
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional as F

    how = {"interpolation": InterpolationMode.BILINEAR, "fill": fill}

    def move(images: torch.Tensor, x: float = 0, y: float = 0) -> torch.Tensor:
        return F.affine(images, 0, [int(x), int(y)], 1.0, [0, 0], **how)

    def shear(images: torch.Tensor, x: float = 0, y: float = 0) -> torch.Tensor:
        degrees = [math.degrees(math.atan(part)) for part in (x, y)]
        return F.affine(images, 0, [0, 0], 1.0, degrees, center=[0, 0], **how)

    return (
        lambda images, level: images,
        lambda images, level: shear(images, x=0.99 * level),
        lambda images, level: shear(images, y=0.99 * level),
        lambda images, level: move(images, x=32 * level),
        lambda images, level: move(images, y=32 * level),
        lambda images, level: F.rotate(images, 135 * level, **how),
        lambda images, level: F.adjust_brightness(images, 1 + 0.99 * level),
        lambda images, level: F.adjust_saturation(images, 1 + 0.99 * level),
        lambda images, level: F.adjust_contrast(images, 1 + 0.99 * level),
        lambda images, level: F.adjust_sharpness(images, 1 + 0.99 * level),
        lambda images, level: F.posterize(images, 8 - round(6 * abs(level))),
        # Without a level it would still turn white black.
        lambda images, level: F.solarize(images, 255 * (1 - abs(level))) if level else images,
        lambda images, level: F.autocontrast(images),
        lambda images, level: F.equalize(images),
    )
