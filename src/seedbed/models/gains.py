"""The gains of a pretrained model's batch norms, which weight decay has made small, brought back to where they began.

A model whose gains can be scaled has `scales()`: the norms whose outputs add up or follow one another through ReLUs
alone, and the layers that take what they give.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn

from seedbed.types import UserError


@torch.no_grad()
def scale_gains(model: nn.Module, new: Collection[nn.Module] = ()) -> None:
    """Scale batch norms together so that the mean size of their gains is 1, as in a new model; the outputs stay.

    Gains and biases of norms are multiplied by a number, the weights of the layers that take their outputs divided
    by it. In between are ReLUs, sums and pooling only, which such a number passes through, so the model computes
    what it did. What it learns by a step does change: the gradient of a layer grows with its input.

    Args:
        new: layers whose weights are not of the pretrained model, and are left alone.

    Raises:
        UserError: the model does not say what scales together.
    """
    if not hasattr(model, "scales"):
        raise UserError(f"model.unit_gains: {type(model).__name__} has norms of other kinds; leave it false")
    for norms, takers in model.scales():
        size = torch.cat([norm.weight for norm in norms]).abs().mean()
        if not size > 0:  # of dead channels alone
            continue
        for norm in norms:
            norm.weight /= size
            norm.bias /= size
        for layer in takers:
            if layer not in new:
                layer.weight *= size
