"""Augmentation policies: what changes the pixels of an image, by an operation that is drawn for it from a list."""

from collections.abc import Callable, Mapping
from typing import Annotated, Protocol

import numpy as np
import torch
from torch.nn import functional as F

from seedbed.annotations import Range
from seedbed.errors import require


class Policy(Protocol):
    """Changes images by what it drew for each of them."""

    def draw(self, rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
        """Parameters for `n` samples: arrays `[n]`."""

    def change(self, images: torch.Tensor, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """uint8 `[B, C, S, S]`, C is 1 or 3, -> the same, by what `draw` gave: tensors `[B]`, this batch's rows."""


class TrivialAugment(Policy):
    """One operation of 14 and one of 31 levels an image, both uniform: no policy to search for.

    The same as torchvision's `TrivialAugmentWide`, which draws one operation for a whole batch, but that moved images
    are read bilinearly. `strength`, in (0, 1], is the share of its ranges. At 1 an image is sheared by up to 0.99,
    moved by up to 32 pixels (an image of 28 leaves its frame then) or turned by up to 135 degrees. Brightness,
    saturation (not of grey images), contrast or sharpness changes by up to 99 %; bytes keep as few as two bits; bright
    pixels, at most all of them, are inverted. AutoContrast and Equalize have no level and are whole at any strength.
    `fill` is the byte that stands where a sheared, moved or turned image leaves a gap.

    Source: Müller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", 2021.
    """

    def __init__(self, strength: Annotated[float, Range(0, 1, "(")] = 1.0, fill: Annotated[int, Range(0, 255)] = 0):
        require(0 < strength <= 1, f"augment.policy: TrivialAugment's strength must lie in (0, 1], got {strength}")
        require(0 <= fill <= 255, f"augment.policy: TrivialAugment's fill is a byte, 0 to 255, got {fill}")
        self.strength = strength
        self.operations = _operations(fill)

    def draw(self, rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
        """The operation's index among `operations`, and a level, float32 in ±`strength`."""
        operation = rng.integers(len(self.operations), size=n)
        level = rng.integers(31, size=n) * rng.choice([-1, 1], size=n)
        return {"operation": operation, "level": (level / 30 * self.strength).astype(np.float32)}

    def change(self, images: torch.Tensor, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Each image by its own operation."""
        out, levels = images.clone(), parameters["level"][:, None, None, None]
        for index, operation in enumerate(self.operations.values()):
            rows = (parameters["operation"] == index).nonzero().flatten()
            if len(rows):
                out[rows] = operation(images[rows], levels[rows])
        return out


def _operations(fill: int) -> dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]:
    """Operations by torchvision's names: uint8 images `[N, C, S, S]`, levels `[N, 1, 1, 1]` in [-1, 1] -> images.

    Those without a direction take the level's size.
    """
    # Needed where a policy is chosen only, and slow to import.
    from torchvision.transforms.v2 import functional as TF

    def rotate(images: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        angle = torch.deg2rad(135 * level)
        cos, sin = angle.cos(), angle.sin()
        return _warp(images, fill, xx=cos, xy=-sin, yx=sin, yy=cos)

    def solarize(images: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        # Without a level no pixel is inverted, though white is 255.
        threshold = torch.where(level == 0, 256, 255 * (1 - level.abs()))
        return torch.where(images >= threshold, 255 - images, images)

    return {
        "Identity": lambda x, level: x,
        # The corner stays where it is.
        "ShearX": lambda x, level: _warp(x, fill, xy=0.99 * level, x=0.99 * level * (x.shape[-1] / 2)),
        "ShearY": lambda x, level: _warp(x, fill, yx=0.99 * level, y=0.99 * level * (x.shape[-1] / 2)),
        "TranslateX": lambda x, level: _warp(x, fill, x=-(32 * level).trunc()),
        "TranslateY": lambda x, level: _warp(x, fill, y=-(32 * level).trunc()),
        "Rotate": rotate,
        "Brightness": lambda x, level: _blend(x, torch.zeros_like(x), level),
        "Color": lambda x, level: _blend(x, TF.adjust_saturation(x, 0.0), level),
        "Contrast": lambda x, level: _blend(x, TF.rgb_to_grayscale(x).float().mean((1, 2, 3), keepdim=True), level),
        "Sharpness": lambda x, level: _blend(x, TF.adjust_sharpness(x, 0.0), level),
        "Posterize": lambda x, level: x & (256 - 2 ** (6 * level.abs()).round().int()).to(torch.uint8),
        "Solarize": solarize,
        "AutoContrast": lambda x, level: TF.autocontrast(x),
        "Equalize": lambda x, level: TF.equalize(x),
    }


def _blend(images: torch.Tensor, without: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """More or less, by up to 99 %, of what images have and images `without` have not."""
    share = 1 + 0.99 * level
    return (images * share + without * (1 - share)).round_().clamp_(0, 255).to(torch.uint8)


def _warp(images: torch.Tensor, fill: int, **entries: torch.Tensor) -> torch.Tensor:
    """Read the output's pixel (u, v) at (xx u + xy v + x, yx u + yy v + y), in pixels from the image's centre.

    Entries are `[N, 1, 1, 1]` each; those left out are the identity's.
    """
    theta = torch.eye(2, 3, device=images.device).repeat(len(images), 1, 1)
    for name, values in entries.items():
        row, column = "xy".index(name[0]), "xy".index(name[1]) if len(name) == 2 else 2
        theta[:, row, column] = values.flatten()
    theta[:, :, 2] *= 2 / images.shape[-1]
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    # What lies outside counts as 0 to grid_sample.
    moved = F.grid_sample(images.float() - fill, grid, mode="bilinear", align_corners=False) + fill
    return moved.round_().to(torch.uint8)
