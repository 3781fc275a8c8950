"""The optimizer and the learning-rate scheduler that a checked configuration names."""

from typing import Any

import torch
from torch import nn

from seedbed.config import build, locate, parameters_of
from seedbed.errors import UserError
from seedbed.models.fine_tuning import parameter_groups
from seedbed.settings import Settings
from seedbed.training.startup import keep_compiler_out


def build_optimizer(settings: Settings, params: Any) -> torch.optim.Optimizer:
    """A new optimizer of parameters, or of groups of them."""
    node = settings.optimizer_node
    if not settings.device.compile:
        keep_compiler_out(locate(node["_target_"], "optimizer._target_"))
    return build(node, "optimizer", params=params)


def groups_of(settings: Settings, model: nn.Module) -> list[dict[str, Any]]:
    """What is not frozen, with a learning rate for each stage where `model.lr_decay` says so."""
    node, decay = settings.optimizer_node, settings.model.lr_decay
    if decay != 1 and "lr" not in node:
        raise UserError("model.lr_decay: needs optimizer.lr, the learning rate of the head")
    return parameter_groups(model, node.get("lr", 0.0), decay)


def build_scheduler(settings: Settings, optimizer: torch.optim.Optimizer, steps: int) -> tuple[Any, bool]:
    """The scheduler of a training of so many steps, and whether it advances with every batch.

    One that takes `total_steps` does. None: the learning rate is constant.
    """
    node = settings.scheduler_node
    if node is None:
        return None, False
    per_batch = "total_steps" in parameters_of(locate(node["_target_"], "scheduler._target_"))[0]
    rise = node.get("pct_start", 0.3)
    if per_batch and rise * steps == 1:
        # torch divides by the length of the rise less one step, which would be 0: a hair's difference does it.
        node = {**node, "pct_start": rise + (1e-9 if rise < 1 else -1e-9)}
    lrs = [group["lr"] for group in optimizer.param_groups]
    if "max_lr" in node and len(lrs) > 1 and lrs[0] and not isinstance(node["max_lr"], list):
        node = {**node, "max_lr": [node["max_lr"] * lr / lrs[0] for lr in lrs]}
    return build(node, "scheduler", optimizer=optimizer, **({"total_steps": steps} if per_batch else {})), per_batch
