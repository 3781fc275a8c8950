"""The gains of a pretrained model's batch norms, which weight decay has made small, brought back to where they began.

A model whose gains can be scaled has `scales()`: groups of norms whose outputs add up, and every layer that takes what
a group gives, once. Between them stand ReLUs, sums and pooling alone, which a positive factor passes through.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn

from seedbed.types import UserError

SMALLEST = 1e-6  # mean size of gains below which a group is dead: it stays


@torch.no_grad()
def scale_gains(model: nn.Module, new: Collection[nn.Module] = ()) -> None:
    """Scale each group of norms so that the mean size of its gains is 1, as in a new model; what it computes stays.

    Gains and biases are divided by the size, and the weights of the layers that take them multiplied by it, which
    gives the same outputs but for rounding. By SGD these layers then change by 1 / size^2 as much of themselves a step,
    gains and biases by size^2, and a new head, which sees larger features, by 1 / size.

    Args:
        new: layers whose weights are not of the pretrained model, and are left alone.

    Raises:
        UserError: the model does not say what scales together.
    """
    if not hasattr(model, "scales"):
        raise UserError(
            f"model.unit_gains: {type(model).__name__} does not say which norms scale together, as ResNet18 does; "
            "leave it false"
        )
    for norms, takers in model.scales():
        size = torch.cat([norm.weight for norm in norms]).abs().mean()
        if size < SMALLEST:
            continue
        for norm in norms:
            norm.weight /= size
            norm.bias /= size
        for layer in takers:
            if layer not in new:
                layer.weight *= size
