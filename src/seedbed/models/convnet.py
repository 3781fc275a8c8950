"""DeepConvNet: the report's bottleneck network (section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Literal

import torch
from torch import nn

from seedbed.errors import UserError
from seedbed.models.convolution import Conv2d

NormOrder = Literal["norm_relu", "relu_norm"]


def activated(width: int, order: NormOrder) -> list[nn.Module]:
    """Batch norm and ReLU, in the usual order or in the report's."""
    pair = [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return pair if order == "norm_relu" else pair[::-1]


class Bottleneck(nn.Module):
    """1x1 down to `width`, 3x3, 1x1 up again; the input is added, then a ReLU.

    In the usual order (`norm_relu`) the last convolution's ReLU comes after the sum alone; the report's
    (`relu_norm`) has one before the last norm too.

    Args:
        channels: of input and output.
        width: of the bottleneck.
    """

    def __init__(self, channels: int, width: int, order: NormOrder):
        super().__init__()
        last = activated(channels, order)
        self.body = nn.Sequential(
            Conv2d(channels, width, 1, bias=False),
            *activated(width, order),
            Conv2d(width, width, 3, padding=1, bias=False),
            *activated(width, order),
            Conv2d(width, channels, 1, bias=False),
            *(last[:1] if order == "norm_relu" else last),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + x)


class Stage(nn.Module):
    """Bottlenecks one after another; with `share` a single one, passed `repeats` times."""

    def __init__(self, channels: int, width: int, repeats: int, share: bool, order: NormOrder):
        super().__init__()
        self.passes = repeats if share else 1
        self.blocks = nn.Sequential(*(Bottleneck(channels, width, order) for _ in range(1 if share else repeats)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.passes):
            x = self.blocks(x)
        return x


class ConvNet(nn.Module):
    """The report's DeepConvNet. With d(k) = base_depth * expansion^k: a 7x7 stride-2 stem to d0 and d1, three stages
    of bottlenecks at d1, d2 and d3, each followed by a 1x1 stride-2 convolution, global average pooling, and a
    linear classifier d4 -> d2 -> classes.

    As the report wrote it (`share_blocks`, `relu_norm`) it has 6,729,050 parameters for one channel and ten classes.
    For three channels and 141 classes the report counts 10,173,181, more than it describes: as many as this has with a
    classifier d4 -> d3 -> d2 -> classes (`head_widths` 1024, 256).

    Args:
        input_shape: `(C, H, W)`.
        classes: number of outputs.
        stem_kernel, stem_stride: of the first convolution; the side of its kernel is odd.
        blocks: bottlenecks a stage.
        share_blocks: one bottleneck a stage, repeated with shared weights.
        norm_order: batch norm before the ReLU, or the report's ReLU before the norm.
        dropout: probability, between the classifier's layers.
        head_widths: outputs of each of the classifier's layers but the last; None: d2, one layer.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        classes: int,
        base_depth: int = 16,
        expansion: int = 4,
        stem_kernel: int = 7,
        stem_stride: int = 2,
        blocks: int = 2,
        share_blocks: bool = False,
        norm_order: NormOrder = "norm_relu",
        dropout: float = 0.3,
        head_widths: Sequence[int] | None = None,
    ):
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
            layers += [
                Stage(wide, narrow, blocks, share_blocks, norm_order),
                Conv2d(wide, wider, 1, stride=2, bias=False),
                *activated(wider, norm_order),
            ]
        self.features = nn.Sequential(*layers)
        widths = [depth[4], *(depth[2:3] if head_widths is None else head_widths)]
        hidden = [(nn.Linear(n, m), nn.Dropout(dropout)) for n, m in pairwise(widths)]
        self.classifier = nn.Sequential(*chain.from_iterable(hidden), nn.Linear(widths[-1], classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, C, H, W]` -> logits `[B, classes]`."""
        return self.classifier(self.features(x).mean((2, 3)))

    def stages(self) -> dict[str, list[nn.Module]]:
        """Its modules by name and depth, from the input to the head; a stage's map is what its last module gives."""
        layers = [*self.features]
        starts = [i for i, layer in enumerate(layers) if isinstance(layer, Stage)]
        deeper = {
            f"stage{n}": layers[start:end]
            for n, (start, end) in enumerate(zip(starts, [*starts[1:], len(layers)], strict=True), 1)
        }
        return {"stem": layers[: starts[0]], **deeper, "head": [self.classifier]}
