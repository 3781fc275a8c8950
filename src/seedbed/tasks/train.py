"""task=train: train a model, or go on with a run."""

from __future__ import annotations

from seedbed import experiment
from seedbed.types import RunResult


def run(request: experiment.Request) -> RunResult:
    return experiment.train(request)
