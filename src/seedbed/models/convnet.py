"""DeepConvNet: a network of bottleneck blocks."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import chain, pairwise

import torch
from torch import nn

from seedbed.annotations import Few, Probability, Width
from seedbed.errors import UserError
from seedbed.models.convolution import Conv2d


class Bottleneck(nn.Module):
    """1x1 down to `width`, 3x3, 1x1 up again; the input is added, then a ReLU. `activated` follows the first two."""

    def __init__(self, channels: int, width: int, activated: Callable[[int], list[nn.Module]]):
        super().__init__()
        self.body = nn.Sequential(
            Conv2d(channels, width, 1, bias=False),
            *activated(width),
            Conv2d(width, width, 3, padding=1, bias=False),
            *activated(width),
            Conv2d(width, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, channels, H, W]` -> the same shape."""
        return torch.relu(self.body(x) + x)


class ConvNet(nn.Module):
    """DeepConvNet. With d(k) = base_depth * expansion^k: a 7x7 stride-2 stem to d0 and d1; three stages of bottlenecks
    at d1, d2 and d3, each followed by a 1x1 stride-2 convolution; global average pooling; a linear classifier
    d4 -> d2 -> classes.

    Args:
        input_shape: `(C, H, W)`.
        stem_kernel, stem_stride: of the first convolution; the side of its kernel is odd.
        blocks: bottlenecks a stage.
        dropout: probability, between the classifier's layers.
        head_widths: outputs of each of the classifier's layers but the last; None: d2, one layer.
    """

    def __init__(
        self, input_shape: Sequence[int], classes: int, base_depth: Width = 16, expansion: Few = 4,
        stem_kernel: Few = 7, stem_stride: Few = 2, blocks: Few = 2, dropout: Probability = 0.3,
        head_widths: Sequence[Width] | None = None,
    ):  # fmt: skip
        super().__init__()
        if len(input_shape) != 3:
            raise UserError(f"model: a convnet needs images, got samples of shape {tuple(input_shape)}")
        if min(base_depth, expansion, blocks, stem_stride) < 1:
            raise UserError("model: base_depth, expansion, blocks and stem_stride must be at least 1")
        if stem_kernel < 1 or stem_kernel % 2 == 0:
            raise UserError(f"model.stem_kernel: expected an odd number >= 1, got {stem_kernel}")
        if not 0 <= dropout < 1:
            raise UserError(f"model.dropout: expected a probability below 1, got {dropout}")
        if head_widths is not None and any(width < 1 for width in head_widths):
            raise UserError(f"model.head_widths: expected positive numbers, got {list(head_widths)}")
        depth = [base_depth * expansion**k for k in range(5)]
        layers: list[nn.Module] = [
            Conv2d(input_shape[0], depth[0], stem_kernel, stride=stem_stride, padding=stem_kernel // 2, bias=False),
            nn.ReLU(inplace=True),
            Conv2d(depth[0], depth[1], 1, bias=False),
            nn.BatchNorm2d(depth[1]),
        ]
        for narrow, wide, wider in zip(depth, depth[1:], depth[2:], strict=False):
            layers += [self.stage(wide, narrow, blocks), Conv2d(wide, wider, 1, stride=2, bias=False)]
            layers += self.activated(wider)
        self.features = nn.Sequential(*layers)
        widths = [depth[4], *(depth[2:3] if head_widths is None else head_widths)]
        hidden = [(nn.Linear(n, m), nn.Dropout(dropout)) for n, m in pairwise(widths)]
        self.classifier = nn.Sequential(*chain.from_iterable(hidden), nn.Linear(widths[-1], classes))

    def activated(self, width: int) -> list[nn.Module]:
        """What follows a convolution."""
        return [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]

    def stage(self, channels: int, width: int, blocks: int) -> nn.Sequential:
        """Bottlenecks one after another, in its `blocks`."""
        bottlenecks = (Bottleneck(channels, width, self.activated) for _ in range(blocks))
        return nn.Sequential(OrderedDict(blocks=nn.Sequential(*bottlenecks)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, C, H, W]` -> logits `[B, classes]`."""
        return self.classifier(self.features(x).mean((2, 3)))

    def stages(self) -> dict[str, list[nn.Module]]:
        """Its modules by name and depth, from the input to the head; a stage's map is what its last module gives."""
        parts = [[*self.features[start : start + 4]] for start in (0, 4, 8, 12)]
        return dict(zip(("stem", "stage1", "stage2", "stage3", "head"), [*parts, [self.classifier]], strict=True))
