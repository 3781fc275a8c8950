"""A model by depth: stages that are frozen, and learning rates that fall towards the input.

A model that can be fine-tuned has `stages()`: its modules by name, from the input to the head, every parameter once.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from seedbed.types import UserError


class StillBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that always normalises by the statistics it has learned, and never changes them."""

    def train(self, mode: bool = True) -> StillBatchNorm2d:
        return super().train(False)


def stages_of(model: nn.Module, key: str) -> dict[str, list[nn.Module]]:
    """The model's stages; UserError, which names `key`, where it has none."""
    if not hasattr(model, "stages"):
        raise UserError(f"{key}: {type(model).__name__} has no stages; it trains as a whole, from the start")
    return model.stages()


def freeze(model: nn.Module, upto: str | None, norms: bool) -> None:
    """Keep weights, or the statistics of batch norms, as they are.

    Args:
        upto: a stage; the weights and statistics of all stages from the input to this one stay.
        norms: whether the statistics of all others stay, too (their weights are trained).

    Raises:
        UserError: no such stage.
    """
    if norms:
        stages_of(model, "model.freeze_norms")
    still = {id(module) for module in model.modules()} if norms else set()
    if upto is not None:
        stages = stages_of(model, "model.freeze")
        names = [*stages][:-1]
        if upto not in names:
            raise UserError(f"model.freeze: expected null or one of {', '.join(names)}, got {upto!r}")
        for name in names[: names.index(upto) + 1]:
            for module in stages[name]:
                module.requires_grad_(False)
                still |= {id(below) for below in module.modules()}
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d) and id(child) in still:
                setattr(parent, name, _take_over(child))


def groups(model: nn.Module, rate: float, decay: float) -> list[dict[str, Any]]:
    """Parameters for an optimizer, the head's first; each stage learns at `decay` times the rate of the one above it.

    Frozen ones are left out.
    """
    if decay == 1:
        return [{"params": [p for p in model.parameters() if p.requires_grad]}]
    found = []
    for modules in reversed(stages_of(model, "model.lr_decay").values()):
        own = [p for module in modules for p in module.parameters() if p.requires_grad]
        if own:
            found.append({"params": own, "lr": rate * decay ** len(found)})
    return found


def _take_over(old: nn.BatchNorm2d) -> StillBatchNorm2d:
    new = StillBatchNorm2d(
        old.num_features, old.eps, old.momentum, old.affine, old.track_running_stats, device="meta"
    )  # fmt: skip
    for key, value in (*old.named_parameters(), *old.named_buffers()):
        setattr(new, key, value)
    return new.train()
