"""What stands between stored bytes and a model: size and normalisation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from seedbed.errors import require
from seedbed.types import Split

Numbers = float | Sequence[float]


@dataclass(frozen=True)
class Preprocess:
    """Size and normalisation, saved with the weights."""

    image_size: int  # side of the model's input in pixels
    mean: tuple[float, ...]  # one number a channel, of pixels in [0, 1]; three give a grey image three channels
    std: tuple[float, ...]

    def channels(self, stored: int) -> int:
        """Channels of the model's input, for images stored with so many."""
        return max(stored, len(self.mean))

    def constants(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Factor and offset, `[1, C, 1, 1]`, that normalise bytes: x * factor + offset."""
        mean, std = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (self.mean, self.std))
        return 1 / (255 * std), -mean / std

    def __call__(self, images: torch.Tensor, constants: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """uint8 `[B, C, S, S]` -> float32 `[B, C', image_size, image_size]`, normalised."""
        x = images.to(torch.float32)
        if x.shape[-1] != self.image_size:
            x = F.interpolate(x, (self.image_size, self.image_size), mode="bilinear", antialias=True)
        factor, offset = constants
        # Grey images become three channels last, so that one channel is resized and not three.
        x = x * factor if x.shape[1] < factor.shape[1] else x.mul_(factor)
        return x.add_(offset)

    def undo(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised images -> pixels in [0, 1], for looking at."""
        factor, offset = self.constants(x.device)
        return ((x - offset) / (255 * factor)).clamp(0, 1)


def make_preprocess(split: Split, image_size: int, mean: Numbers | None, std: Numbers | None) -> Preprocess:
    """For a model of images of that size; None is measured on the split. Raises UserError if numbers do not fit."""
    channels = split.images.shape[1]
    if mean is None or std is None:
        measured = pixel_statistics(split)
        mean, std = (m if given is None else given for given, m in zip((mean, std), measured, strict=True))
    most = max(channels, *(len(v) if isinstance(v, Sequence) else 1 for v in (mean, std)))
    mean, std = channel_numbers(mean, most), channel_numbers(std, most)
    for name, value in (("mean", mean), ("std", std)):
        fits = len(value) == len(mean) and len(value) in (channels, 3 if channels == 1 else channels)
        numbers = f"{len(value)} numbers for images of {channels} channels"
        require(fits, f"model.{name}: {numbers}; give one number, or one for each channel")
    require(min(std) > 0, f"model.std: expected positive numbers, got {list(std)}")
    return Preprocess(image_size, mean, std)


def channel_numbers(value: Numbers, channels: int) -> tuple[float, ...]:
    """One number, or one a channel, as one a channel."""
    return tuple(value) if isinstance(value, Sequence) else (float(value),) * channels


def pixel_statistics(split: Split) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel over a split, of pixels in [0, 1]."""
    channels = split.images.shape[1]
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(split), 4096):
        images = split.images[split.index[start : start + 4096]]
        for c in range(channels):
            counts[c] += np.bincount(images[:, c].ravel(), minlength=256)
    share = counts / counts.sum(1, keepdims=True)
    values = np.arange(256) / 255
    mean = share @ values
    std = np.sqrt(share @ values**2 - mean**2)
    return mean.tolist(), np.maximum(std, 1e-3).tolist()
