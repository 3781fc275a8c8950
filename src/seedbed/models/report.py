"""What only the student's report does: for its own presets, `experiment=original/…`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from torch import nn

from seedbed.data.preprocess import Preprocess
from seedbed.models.convnet import Bottleneck, ConvNet, Stage
from seedbed.models.mlp import MLP


class ReportMLP(MLP):
    """An MLP that ends in Softmax, before a loss that takes logits (sections 1 and 2); arguments as those of `MLP`.

    With three hidden layers of 150, 150 and 75 units on 28x28 pixels it has the report's 153,235 parameters.
    """

    outputs_probabilities = True

    def __init__(
        self, input_shape: Sequence[int], classes: int, widths: Sequence[int],
        batch_norm: bool | Sequence[bool] = True, dropout: float = 0.0,
    ):  # fmt: skip
        super().__init__(input_shape, classes, widths, batch_norm, dropout)
        self.layers.append(nn.Softmax(dim=1))


class ReportConvNet(ConvNet):
    """The DeepConvNet as the report wrote it (section 3): 6,729,050 parameters for one channel and ten classes.

    For three channels and 141 classes the report counts 10,173,181, more than it describes: as many as this has with a
    classifier d4 -> d3 -> d2 -> classes (`head_widths` 1024, 256).

    Args:
        share_blocks: one bottleneck a stage, passed `blocks` times with the same weights.
        norm_order: the report's ReLU before BatchNorm, or the usual order.
        normalize_training: false: training images stay in [0, 1], one reading of the report; others are normalised.
        arguments: those of `ConvNet`.
    """

    def __init__(
        self, input_shape: Sequence[int], classes: int, base_depth: int = 16, expansion: int = 4, stem_kernel: int = 7,
        stem_stride: int = 2, blocks: int = 2, dropout: float = 0.3, head_widths: Sequence[int] | None = None,
        share_blocks: bool = True, norm_order: Literal["norm_relu", "relu_norm"] = "relu_norm",
        normalize_training: bool = True,
    ):  # fmt: skip
        # Before the stages are built.
        self.share_blocks, self.normalize_training = share_blocks, normalize_training
        self.relu_first = norm_order == "relu_norm"
        super().__init__(
            input_shape, classes, base_depth, expansion, stem_kernel, stem_stride, blocks, dropout, head_widths
        )

    def build_stage(self, channels: int, width: int, blocks: int) -> Stage:
        """The bottlenecks of a stage, or one that is passed as often."""
        new, passes = (1, blocks) if self.share_blocks else (blocks, 1)
        return Stage([Bottleneck(channels, width, self.relu_first) for _ in range(new)], passes)

    def train_preprocess(self, preprocess: Preprocess) -> Preprocess:
        """The preprocessing of training images."""
        channels = len(preprocess.mean)
        unchanged = replace(preprocess, mean=(0.0,) * channels, std=(1.0,) * channels)
        return preprocess if self.normalize_training else unchanged
