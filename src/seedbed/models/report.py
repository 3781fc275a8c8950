"""What only the student's report ("the paper") does: Softmax before the loss, shared blocks, ReLU before batch norm."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from seedbed.annotations import Few, Probability, Width
from seedbed.data.preprocess import Preprocess
from seedbed.models.convnet import ConvNet
from seedbed.models.mlp import MLP


class ReportMLP(MLP):
    """The paper's MLP (section 2): it ends in Softmax, though its loss applies another."""

    outputs_probabilities = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, *input_shape]` -> probabilities `[B, classes]`."""
        return super().forward(x).softmax(1)


class Repeated(nn.Sequential):
    """Layers that the input passes so many `times`, with the same weights."""

    def __init__(self, times: int, *layers: nn.Module):
        super().__init__(*layers)
        self.times = times

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A shape that the layers keep."""
        for _ in range(self.times):
            x = super().forward(x)
        return x


class ReportConvNet(ConvNet):
    """The paper's DeepConvNet (section 3): 6,729,050 parameters for one channel and ten classes.

    For three channels and 141 classes the paper counts 10,173,181, more than it describes: as many as this has with a
    classifier d4 -> d3 -> d2 -> classes (`head_widths` 1024, 256).

    Args, beside ConvNet's:
        share_blocks: one bottleneck a stage, repeated with shared weights.
        norm_order: `relu_norm`: each ReLU stands before its norm, and one before a bottleneck's last norm too.
        normalize_training: false is the literal reading of "not augmented": training images alone stay in [0, 1].
    """

    def __init__(
        self, input_shape: Sequence[int], classes: int, base_depth: Width = 16, expansion: Few = 4,
        stem_kernel: Few = 7, stem_stride: Few = 2, blocks: Few = 2, dropout: Probability = 0.3,
        head_widths: Sequence[Width] | None = None, share_blocks: bool = True,
        norm_order: Literal["norm_relu", "relu_norm"] = "relu_norm", normalize_training: bool = True,
    ):  # fmt: skip
        # Before the network is built, which asks for `stage` and `activated`.
        self.share_blocks, self.norm_order, self.normalize_training = share_blocks, norm_order, normalize_training
        options = (base_depth, expansion, stem_kernel, stem_stride, blocks, dropout, head_widths)
        super().__init__(input_shape, classes, *options)

    def activated(self, width: int) -> list[nn.Module]:
        """Batch norm and ReLU in the order asked for."""
        layers = super().activated(width)
        return layers[::-1] if self.norm_order == "relu_norm" else layers

    def stage(self, channels: int, width: int, blocks: int) -> nn.Sequential:
        """Bottlenecks one after another, or a single one passed as often."""
        stage = super().stage(channels, width, 1 if self.share_blocks else blocks)
        for block in stage.blocks if self.norm_order == "relu_norm" else ():
            block.body.insert(-1, nn.ReLU(inplace=True))
        if self.share_blocks:
            stage.blocks = Repeated(blocks, *stage.blocks)
        return stage

    def train_preprocess(self, preprocess: Preprocess) -> Preprocess:
        """How training images are prepared, given how all others are."""
        raw = {"mean": (0.0,) * len(preprocess.mean), "std": (1.0,) * len(preprocess.std)}
        return preprocess if self.normalize_training else replace(preprocess, **raw)
