"""torch's compiler stays out of a run that compiles nothing, and the steps are the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys, torch
from seedbed.training.startup import keep_compiler_out
make = lambda: torch.optim.{name}([torch.nn.Parameter(torch.arange(1.0, 4.0))], **{options})
def train(optimizer):
    schedulers = [torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0),
                  torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=20)]
    (p,) = optimizer.param_groups[0]["params"]
    for _ in range(3):
        (p ** 2).sum().backward()
        optimizer.step()
        assert p.requires_grad and torch.is_grad_enabled()
        schedulers[0].step(1.0)
        schedulers[1].step()
        optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
    return p.tolist()
stock_step = torch.optim.{name}.step
keep_compiler_out(torch.optim.{name})
ours = train(make())
assert "torch._dynamo" not in sys.modules
torch.optim.{name}.step = stock_step
assert train(make()) == ours
assert "torch._dynamo" in sys.modules
"""


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Adam", {"lr": 0.1, "fused": True}), ("AdamW", {"lr": 0.1, "weight_decay": 0.1}),
        ("SGD", {"lr": 0.1, "momentum": 0.5}),
    ],
)  # fmt: skip
def test_the_steps_are_the_stock_ones(name, options):
    subprocess.run([sys.executable, "-c", CODE.format(name=name, options=options)], check=True)
