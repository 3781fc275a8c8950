"""The one loop: train, validate, schedule, keep the best, stop.

`fit` yields after every epoch, and once more if it is asked to stop within one; whoever drives it writes the
record and the checkpoint. All that the loop will need again lies in `State`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from seedbed import randomness
from seedbed.data.loader import Batch, Loader, hard_labels
from seedbed.training.early_stopping import EarlyStopping
from seedbed.training.evaluate import measure, predict


class NonFiniteLoss(Exception):
    """The training loss of a step, or the validation loss after the last one, became infinite or NaN."""

    def __init__(self, which: str, epoch: int, step: int, value: float):
        super().__init__(f"the {which} loss became {value} in epoch {epoch}, step {step}")


@dataclass
class State:
    """Everything that training changes, and therefore everything that resuming needs.

    Attributes:
        schedule: stepped after every epoch, or after every batch with `schedule_batches`; None: constant rate.
        epoch: finished epochs.
        step: finished steps of the epoch under way; its sums stand in `losses` and `hits`.
        losses, hits: of each step of the epoch: mean loss, number of right predictions.
        rate: the learning rate that the epoch began with.
        history: a row for each finished epoch.
        best: weights of the best epoch, on the CPU.
        seconds: of training and validation in the epoch under way, before this start.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Any
    stopping: EarlyStopping
    schedule_batches: bool = False
    epoch: int = 0
    step: int = 0
    losses: torch.Tensor | None = None
    hits: torch.Tensor | None = None
    rate: float = 0.0
    history: list[dict] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def improved(self) -> bool:
        """Whether the last finished epoch is the best so far."""
        return self.epoch > 0 and self.stopping.best_epoch == self.epoch

    def state_dict(self) -> dict:
        """Plain containers and tensors only, so that it loads with `weights_only=True`."""
        within = self.step > 0
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule is not None else None,
            "stopping": self.stopping.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "losses": self.losses[: self.step].cpu() if within else None,
            "hits": self.hits[: self.step].cpu() if within else None,
            "rate": self.rate,
            "history": self.history,
            "best": self.best,
            "seconds": self.seconds if within else 0.0,
            "generator": torch.get_rng_state(),
            "cuda_generators": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, own in self.optimizer.state.items():
            for key, value in own.items():
                # The fused kernels take moments to lie in memory as their weights do, which another device or
                # memory format may have changed.
                if torch.is_tensor(value) and value.shape == parameter.shape:
                    own[key] = torch.empty_like(parameter).copy_(value)
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        self.stopping.load_state_dict(state["stopping"])
        for key in ("epoch", "step", "losses", "hits", "rate", "history", "best", "seconds"):
            setattr(self, key, state[key])
        torch.set_rng_state(state["generator"])
        if torch.cuda.is_available() and len(state["cuda_generators"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda_generators"])


def fit(
    state: State,
    train: Loader,
    val: Loader,
    *,
    epochs: int,
    seed: int,
    classes: int,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    autocast: Callable,
    forward: Callable[[torch.Tensor], torch.Tensor] | None = None,
    grad_clip: float | None = None,
    progress: Callable[[Iterable[Batch], int, int, int], Iterable[Batch]] = lambda batches, *_: batches,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[State]:
    """Train until `epochs` are done or patience ends; yield the state after every epoch.

    Args:
        state: where to begin; changed in place.
        classes: number of classes.
        loss: (logits, targets) -> mean loss of a batch.
        autocast: makes the context that sets the precision.
        forward: the model compiled; None: the model itself.
        grad_clip: largest norm of the gradient.
        progress: wraps the batches of an epoch; given epoch, first step and number of steps.
        stop: asked after every step; once true, the state is yielded within the epoch and the loop ends.

    Raises:
        NonFiniteLoss: names the epoch and the step. The weights are then spoilt; the last yield was good.
    """
    model, optimizer = state.model, state.optimizer
    forward = forward or model
    parameters = [p for p in model.parameters() if p.requires_grad]
    # Reading a loss back waits for the GPU: there it is done rarely, and the step found afterwards.
    check_every = 1 if train.device.type == "cpu" else 50

    while state.epoch < epochs and not state.stopping.exhausted:
        begun = time.perf_counter() - state.seconds
        if state.step == 0:
            randomness.seed_torch(seed, state.epoch, randomness.DROPOUT)
            state.rate = optimizer.param_groups[0]["lr"]
        losses, hits = torch.zeros(len(train), device=train.device), torch.zeros(len(train), device=train.device)
        if state.step:
            losses[: state.step] = state.losses.to(train.device)
            hits[: state.step] = state.hits.to(train.device)
        state.losses, state.hits = losses, hits
        sizes = []

        model.train()
        batches = train.epoch(state.epoch, state.step)
        for x, y in progress(batches, state.epoch, state.step, len(train)):
            with autocast():
                logits = forward(x)
            value = loss(logits.float(), y)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            if grad_clip is not None:
                nn.utils.clip_grad_norm_(parameters, grad_clip)
            optimizer.step()
            if state.schedule_batches:
                state.schedule.step()
            losses[state.step] = value.detach()
            hits[state.step] = (logits.detach().argmax(1) == hard_labels(y)).sum()
            state.step += 1
            sizes.append(len(y))
            stopping = state.step < len(train) and stop()
            if state.step % check_every == 0 or state.step == len(train) or stopping:
                _check_finite(losses, state.step - check_every, state.step, state.epoch)
            if stopping:
                state.seconds = time.perf_counter() - begun
                yield state
                return

        val_loss, predictions, labels = predict(model, val, loss, autocast)
        if not math.isfinite(val_loss):
            raise NonFiniteLoss("validation", state.epoch + 1, state.step, val_loss)
        metrics = measure(labels, predictions, classes)
        weights = torch.full((len(train),), float(train.batch_size), device=train.device)
        weights[-1] = sizes[-1]
        row = {
            "epoch": state.epoch + 1,
            "lr": state.rate,
            "train_loss": ((losses * weights).double().sum() / weights.sum()).item(),
            "train_accuracy": (hits.double().sum() / weights.sum()).item(),
            "val_loss": val_loss,
            "val_accuracy": metrics.accuracy,
            "val_f1": metrics.f1,
        }
        if isinstance(state.schedule, ReduceLROnPlateau):
            state.schedule.step(val_loss if state.schedule.mode == "min" else metrics.accuracy)
        elif state.schedule is not None and not state.schedule_batches:
            state.schedule.step()
        if state.stopping.update(state.epoch + 1, row[state.stopping.monitor]):
            state.best = {k: v.detach().to("cpu", copy=True) for k, v in model.state_dict().items()}
        state.epoch, state.step, state.seconds = state.epoch + 1, 0, 0.0
        state.history.append({**row, "seconds": time.perf_counter() - begun})
        yield state


def _check_finite(losses: torch.Tensor, start: int, end: int, epoch: int) -> None:
    for step, value in enumerate(losses[max(start, 0) : end].tolist(), max(start, 0)):
        if not math.isfinite(value):
            raise NonFiniteLoss("training", epoch + 1, step + 1, value)
