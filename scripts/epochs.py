"""Training within a script, for what a run cannot be asked for: goes on after the last finished epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from composed import Parts
from torch import nn

from seedbed import build
from seedbed.config import Settings
from seedbed.data.loader import Loader
from seedbed.files import lock
from seedbed.training import checkpoint
from seedbed.training.early_stopping import EarlyStopping
from seedbed.training.loop import State, fit


def trained(
    settings: Settings, run: Parts, place: Path, train: Loader, val: Loader, after: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Train by the settings' optimizer, schedule and early stopping, or find that done.

    Args:
        place: where the state is kept after every epoch.
        after: called after every epoch; what it returns is kept.

    Returns:
        a row for each epoch: `history`, as metrics.csv has it, and `noted`, what `after` returned.

    Raises:
        SystemExit: another process trains at this place.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("a") as file:
        try:
            lock(file)
        except BlockingIOError:
            raise SystemExit(f"error: {place}: another process trains this") from None
        own, noted = settings.train, []
        optimizer = build.make_optimizer(settings, run.model)
        schedule, by_batch = build.make_schedule(settings, optimizer, own.epochs * len(train))
        state = State(run.model, optimizer, schedule, EarlyStopping(own.monitor, own.patience), by_batch)
        if place.is_file():
            saved = checkpoint.load_last(place)
            state.load_state_dict(saved)
            noted = saved["noted"]
        for _ in fit(
            state, train, val, epochs=own.epochs, seed=settings.root.seed, classes=len(run.data.classes),
            loss=nn.CrossEntropyLoss(label_smoothing=own.label_smoothing), autocast=run.on.autocast,
            grad_clip=own.grad_clip,
        ):  # fmt: skip
            noted.append(after())
            checkpoint.save_last(place, {**state.state_dict(), "noted": noted})
            print(place.stem, state.epoch, noted[-1], flush=True)
    return {"history": state.history, "noted": noted}
