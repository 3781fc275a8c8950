"""Multilayer perceptron."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from seedbed.annotations import Probability, Width
from seedbed.errors import UserError


class MLP(nn.Module):
    """Linear, batch norm, ReLU, dropout for each hidden layer; a linear layer to the classes.

    Args:
        input_shape: of one sample: `(C, H, W)` or `(D,)`.
        widths: units of the hidden layers.
        batch_norm: for all hidden layers, or one flag for each.
        dropout: probability, after each hidden layer.
    """

    def __init__(
        self, input_shape: Sequence[int], classes: int, widths: Sequence[Width],
        batch_norm: bool | Sequence[bool] = True, dropout: Probability = 0.0,
    ):  # fmt: skip
        super().__init__()
        norms = [batch_norm] * len(widths) if isinstance(batch_norm, bool) else list(batch_norm)
        if len(norms) != len(widths):
            raise UserError(f"model.batch_norm: {len(norms)} flags for {len(widths)} hidden layers")
        if min(widths, default=1) < 1:
            raise UserError(f"model.widths: expected positive numbers, got {list(widths)}")
        if not 0 <= dropout < 1:
            raise UserError(f"model.dropout: expected a probability below 1, got {dropout}")
        layers: list[nn.Module] = [nn.Flatten()]
        before = math.prod(input_shape)
        for width, norm in zip(widths, norms, strict=True):
            layers.append(nn.Linear(before, width))
            if norm:
                layers.append(nn.BatchNorm1d(width))
            layers.append(nn.ReLU(inplace=True))
            if dropout:
                layers.append(nn.Dropout(dropout))
            before = width
        self.layers = nn.Sequential(*layers, nn.Linear(before, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, *input_shape]` -> logits `[B, classes]`."""
        return self.layers(x)
