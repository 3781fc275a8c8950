"""Augmentation policies: what changes the pixels of an image, by an operation that is drawn for it from a list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional as F

from seedbed.errors import UserError

# (uint8 images `[N, C, S, S]`, levels `[N]` in [-1, 1]) -> uint8 images of the same shape
Operation = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Policy(Protocol):
    """Changes images by what it drew for each of them."""

    def draw(self, rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
        """Parameters for `n` samples: arrays `[n]`."""

    def change(self, images: torch.Tensor, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Images of the same shape and type."""


class TrivialAugment:
    """One operation of 14 and one of 31 levels an image, both uniform: no policy to search for.

    The same as torchvision's `TrivialAugmentWide`, which draws one operation for a whole batch, but that moved images
    are read bilinearly. At strength 1 an image is sheared by up to 0.99, moved by up to 32 pixels (an image of 28
    leaves its frame then) or turned by up to 135 degrees; its brightness, saturation, contrast or sharpness changes by
    up to 99 %; its bytes keep as few as two bits; or its bright pixels are inverted, at most all of them. Two
    operations have no level and are whole at any strength: contrast stretched to the range of a byte, and histogram
    equalised. Grey images have no saturation to change.

    Source: Müller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", 2021, and its wide
    ranges.

    Args:
        strength: share of these ranges, in (0, 1].
        fill: byte that stands where a sheared, moved or turned image leaves a gap.
    """

    LEVELS = 31

    def __init__(self, strength: float = 1.0, fill: int = 0):
        if not 0 < strength <= 1:
            raise UserError(f"augment.policy: TrivialAugment's strength must lie in (0, 1], got {strength}")
        if not 0 <= fill <= 255:
            raise UserError(f"augment.policy: TrivialAugment's fill is a byte, 0 to 255, got {fill}")
        self.strength = strength
        self.operations = _operations(fill)

    def draw(self, rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
        """Parameters for `n` samples: the operation's place among `operations`, and a level, float32 in ±`strength`."""
        operation = rng.integers(len(self.operations), size=n)
        level = rng.integers(self.LEVELS, size=n) * rng.choice([-1, 1], size=n)
        return {"operation": operation, "level": (level / (self.LEVELS - 1) * self.strength).astype(np.float32)}

    def change(self, images: torch.Tensor, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Change each image by its own operation.

        Args:
            images: uint8 `[B, C, S, S]`, C is 1 or 3.
            parameters: what `draw` gave, as tensors, the rows of this batch: `[B]` each.

        Returns:
            uint8 `[B, C, S, S]`.
        """
        out = images.clone()
        for place, operation in enumerate(self.operations.values()):
            rows = (parameters["operation"] == place).nonzero().flatten()
            if len(rows):
                out[rows] = operation(images[rows], parameters["level"][rows])
        return out


def _operations(fill: int) -> dict[str, Operation]:
    """By torchvision's names. Those without a direction take the level's size."""
    # Needed where a policy is chosen only, and slow to import.
    from torchvision.transforms.v2 import functional as TF

    def half(images: torch.Tensor) -> float:
        return images.shape[-1] / 2

    def mean_grey(images: torch.Tensor) -> torch.Tensor:
        return _each(TF.rgb_to_grayscale(images).float().mean((1, 2, 3)))

    return {
        "Identity": lambda images, level: images,
        # The corner stays where it is.
        "ShearX": lambda images, level: _warp(images, fill, xy=0.99 * level, x=0.99 * level * half(images)),
        "ShearY": lambda images, level: _warp(images, fill, yx=0.99 * level, y=0.99 * level * half(images)),
        "TranslateX": lambda images, level: _warp(images, fill, x=-(32 * level).trunc()),
        "TranslateY": lambda images, level: _warp(images, fill, y=-(32 * level).trunc()),
        "Rotate": lambda images, level: _turn(images, fill, torch.deg2rad(135 * level)),
        "Brightness": lambda images, level: _blend(images, torch.zeros_like(images), level),
        "Color": lambda images, level: _blend(images, TF.adjust_saturation(images, 0.0), level),
        "Contrast": lambda images, level: _blend(images, mean_grey(images), level),
        "Sharpness": lambda images, level: _blend(images, TF.adjust_sharpness(images, 0.0), level),
        "Posterize": lambda images, level: images & (256 - 2 ** _each(6 * level.abs()).round().int()).to(torch.uint8),
        "Solarize": lambda images, level: torch.where(images >= _each(_bright(level)), 255 - images, images),
        "AutoContrast": lambda images, level: TF.autocontrast(images),
        "Equalize": lambda images, level: TF.equalize(images),
    }


def _each(values: torch.Tensor) -> torch.Tensor:
    """`[N]` -> `[N, 1, 1, 1]`."""
    return values[:, None, None, None]


def _bright(level: torch.Tensor) -> torch.Tensor:
    """The byte from which on pixels are inverted; without a level, none is, though white is 255."""
    return torch.where(level == 0, 256, 255 * (1 - level.abs()))


def _blend(images: torch.Tensor, without: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """More or less, by up to 99 %, of what images have and images `without` have not."""
    share = 1 + 0.99 * _each(level)
    return (images * share + without * (1 - share)).round_().clamp_(0, 255).to(torch.uint8)


def _turn(images: torch.Tensor, fill: int, angle: torch.Tensor) -> torch.Tensor:
    """Counter-clockwise about the centre; radians."""
    cos, sin = angle.cos(), angle.sin()
    return _warp(images, fill, xx=cos, xy=-sin, yx=sin, yy=cos)


def _warp(images: torch.Tensor, fill: int, **entries: torch.Tensor) -> torch.Tensor:
    """Read the output's pixel (u, v) at (xx u + xy v + x, yx u + yy v + y), in pixels from the image's centre.

    Args:
        entries: `[N]` each; those left out are the identity's.
    """
    theta = torch.eye(2, 3, device=images.device).repeat(len(images), 1, 1)
    for row, axis in enumerate("xy"):
        for column, name in enumerate((f"{axis}x", f"{axis}y", axis)):
            if name in entries:
                theta[:, row, column] = entries[name]
    theta[:, :, 2] *= 2 / images.shape[-1]
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    # What lies outside counts as 0 to grid_sample.
    moved = F.grid_sample(images.float() - fill, grid, mode="bilinear", align_corners=False) + fill
    return moved.round_().to(torch.uint8)
