"""Test-time augmentation (TTA): the logits of several views of each image, averaged.

Six views, and their weights, by Keller Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, section 3.5. He
mirrors the moved images; here the mirror image is moved, so that it is answered as the image is.
"""

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional as F

SHIFT = 1  # pixel, of the model's input


class AveragedTTA(nn.Module):
    """A model that answers with the mean logits of several views of each image: two or six, by `tta`.

    2: the image and its mirror image, left and right. 6: these two, with a weight of 1/4 each, and each of them moved
    by a pixel up and left, and down and right, with a weight of 1/8; edges are reflected.
    """

    def __init__(self, model: nn.Module, tta: int):
        super().__init__()
        if tta not in (2, 6):
            raise ValueError(f"tta: expected 2 or 6, got {tta}")
        self.model, self.tta = model, tta

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """`[B, C, H, W]` -> float32 logits `[B, K]`: the sum would be rounded in bfloat16."""
        return sum(weight * self.model(view).float() for weight, view in self._views(images))

    def _views(self, images: torch.Tensor) -> Iterator[tuple[float, torch.Tensor]]:
        last = images.is_contiguous(memory_format=torch.channels_last)
        height, width = images.shape[-2:]
        for image in (images, images.flip(-1)):
            if self.tta == 2:
                yield 1 / 2, image
                continue
            yield 1 / 4, image
            padded = F.pad(image, (SHIFT,) * 4, mode="reflect")
            for start in (0, 2 * SHIFT):
                moved = padded[..., start : start + height, start : start + width]
                yield 1 / 8, moved.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
