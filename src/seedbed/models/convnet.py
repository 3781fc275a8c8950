"""DeepConvNet: the bottleneck network of the student's report (section 3), in the usual order of its layers."""

from collections.abc import Sequence
from itertools import chain, pairwise

import torch
from torch import nn

from seedbed.errors import UserError
from seedbed.models.convolution import Conv2d


class Bottleneck(nn.Module):
    """1x1 down to `width`, 3x3, 1x1 up again; the input is added, then a ReLU.

    Args:
        channels: of input and output.
        width: of the bottleneck.
        relu_first: ReLU before each BatchNorm layer and, unlike the usual order, before the sum as well.
    """

    def __init__(self, channels: int, width: int, relu_first: bool = False):
        super().__init__()
        last = activated(channels, relu_first)
        self.body = nn.Sequential(
            Conv2d(channels, width, 1, bias=False),
            *activated(width, relu_first),
            Conv2d(width, width, 3, padding=1, bias=False),
            *activated(width, relu_first),
            Conv2d(width, channels, 1, bias=False),
            *(last if relu_first else last[:1]),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, channels, H, W]` -> the same shape."""
        return torch.relu(self.body(x) + x)


def activated(width: int, relu_first: bool = False) -> list[nn.Module]:
    """BatchNorm and ReLU, or the other way round."""
    pair = [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return pair[::-1] if relu_first else pair


class Stage(nn.Module):
    """Bottlenecks one after another, all of them `passes` times."""

    def __init__(self, blocks: Sequence[Bottleneck], passes: int = 1):
        super().__init__()
        self.passes = passes
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, C, H, W]` -> the same shape."""
        for _ in range(self.passes):
            x = self.blocks(x)
        return x


class ConvNet(nn.Module):
    """DeepConvNet. With d(k) = base_depth * expansion^k: a 7x7 stride-2 stem to d0 and d1, three stages of bottlenecks
    at d1, d2 and d3, each followed by a 1x1 stride-2 convolution, global average pooling, and a linear classifier
    d4 -> d2 -> classes.

    Args:
        input_shape: `(C, H, W)`.
        classes: number of outputs.
        stem_kernel, stem_stride: of the first convolution; the side of its kernel is odd.
        blocks: bottlenecks a stage.
        dropout: probability, between the classifier's layers.
        head_widths: outputs of each of the classifier's layers but the last; None: d2, one layer.
    """

    relu_first = False

    def __init__(
        self, input_shape: Sequence[int], classes: int, base_depth: int = 16, expansion: int = 4, stem_kernel: int = 7,
        stem_stride: int = 2, blocks: int = 2, dropout: float = 0.3, head_widths: Sequence[int] | None = None,
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
            layers += [
                self.build_stage(wide, narrow, blocks),
                Conv2d(wide, wider, 1, stride=2, bias=False),
                *activated(wider, self.relu_first),
            ]
        self.features = nn.Sequential(*layers)
        widths = [depth[4], *(depth[2:3] if head_widths is None else head_widths)]
        hidden = [(nn.Linear(n, m), nn.Dropout(dropout)) for n, m in pairwise(widths)]
        self.classifier = nn.Sequential(*chain.from_iterable(hidden), nn.Linear(widths[-1], classes))

    def build_stage(self, channels: int, width: int, blocks: int) -> Stage:
        """The bottlenecks of a stage."""
        return Stage([Bottleneck(channels, width) for _ in range(blocks)])

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
