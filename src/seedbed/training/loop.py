"""The one loop: train, validate, step the scheduler, keep the best, stop.

`fit` yields after every epoch, and once more if it is asked to stop within one; whoever drives it writes the record and
the checkpoint. All that the loop will need again lies in `State`.
"""

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
from seedbed.training.evaluate import Metrics, measure, predict


class NonFiniteLoss(Exception):
    """The training loss of a step, or the validation loss after the last one, became infinite or NaN."""

    def __init__(self, which: str, epoch: int, step: int, value: float):
        super().__init__(f"the {which} loss became {value} in epoch {epoch}, step {step}")


@dataclass
class State:
    """Everything that training changes, and therefore everything that resuming needs."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any  # None: a constant learning rate
    stopping: EarlyStopping
    scheduler_per_batch: bool = False  # the scheduler steps after every batch, not after every epoch
    epoch: int = 0  # finished epochs
    step: int = 0  # finished steps of the epoch under way
    losses: torch.Tensor | None = None  # mean loss of each step of the epoch
    hits: torch.Tensor | None = None  # number of right predictions in each
    lr: float = 0.0  # the learning rate that the epoch began with
    history: list[dict] = field(default_factory=list)  # a row for each finished epoch
    best: dict[str, torch.Tensor] = field(default_factory=dict)  # weights of the best epoch, on the CPU
    seconds: float = 0.0  # of training and validation in the epoch under way, before this start

    @property
    def improved(self) -> bool:
        """Whether the last finished epoch is the best so far."""
        return self.epoch > 0 and self.stopping.best_epoch == self.epoch

    def state_dict(self) -> dict:
        """Plain containers and tensors only, so that it loads with `weights_only=True`; keys as in version 0.1."""
        within = self.step > 0
        return {
            **{key: getattr(self, key) for key in ("epoch", "step", "history", "best")},
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.scheduler.state_dict() if self.scheduler is not None else None,
            "stopping": self.stopping.state_dict(),
            "losses": self.losses[: self.step].cpu() if within else None,
            "hits": self.hits[: self.step].cpu() if within else None,
            "rate": self.lr,
            "seconds": self.seconds if within else 0.0,
            "generator": torch.get_rng_state(),
            "cuda_generators": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state: dict) -> None:
        """Take over what `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, moments in self.optimizer.state.items():
            for key, value in moments.items():
                # The fused kernels take moments to lie in memory as their weights do, which another device or
                # memory format may have changed.
                if torch.is_tensor(value) and value.shape == parameter.shape:
                    moments[key] = torch.empty_like(parameter).copy_(value)
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["schedule"])
        best_epoch = state["stopping"]["best_epoch"]  # earlier versions noted no loss beside it
        noted = {"best_loss": state["history"][best_epoch - 1]["val_loss"]} if best_epoch else {"best_loss": math.nan}
        self.stopping.load_state_dict({**noted, **state["stopping"]})
        for key in ("epoch", "step", "losses", "hits", "history", "best", "seconds"):
            setattr(self, key, state[key])
        self.lr = state["rate"]
        torch.set_rng_state(state["generator"])
        if torch.cuda.is_available() and len(state["cuda_generators"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda_generators"])


def fit(
    state: State, train: Loader, val: Loader, *, epochs: int, seed: int, classes: int,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],  # logits, targets -> mean loss of a batch
    autocast: Callable,  # makes the context that sets the precision
    forward: Callable[[torch.Tensor], torch.Tensor] | None = None,  # the model compiled; None: the model itself
    grad_clip: float | None = None,  # largest norm of the gradient
    progress: Callable[[Iterable[Batch], int, int, int], Iterable[Batch]] = lambda batches, *_: batches,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[State]:  # fmt: skip
    """Train until `epochs` are done or patience ends; yield the state, changed in place, after every epoch.

    `progress` wraps the batches of an epoch and is given its number, its first step and its number of steps. `stop` is
    asked after every step; once true, the state is yielded within the epoch and the loop ends.

    Raises:
        NonFiniteLoss: names the epoch and the step. The weights are then spoilt; the last yield was good.
    """
    model, optimizer = state.model, state.optimizer
    forward = forward or model
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    # Reading a loss back waits for the GPU: there it is done rarely, and the step found afterwards.
    check_every = 1 if train.device.type == "cpu" else 50
    while state.epoch < epochs and not state.stopping.exhausted:
        started = time.perf_counter() - state.seconds
        _begin_epoch(state, train, seed)
        for x, y in progress(train.epoch(state.epoch, state.step), state.epoch, state.step, len(train)):
            with autocast():
                logits = forward(x)
            value = loss(logits.float(), y)
            for parameter in parameters:  # zero_grad would ask a profiler first: 4 % of a small model's step
                parameter.grad = None
            value.backward()
            if grad_clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
            optimizer.step()
            if state.scheduler_per_batch:
                state.scheduler.step()
            state.losses[state.step] = value.detach()
            state.hits[state.step] = (logits.detach().argmax(1) == hard_labels(y)).sum()
            state.step += 1
            stopping = state.step < len(train) and stop()
            if state.step % check_every == 0 or state.step == len(train) or stopping:
                _check_finite(state, state.step - check_every)
            if stopping:
                state.seconds = time.perf_counter() - started
                yield state
                return

        val_loss, predictions, labels = predict(model, val, loss, autocast)
        if not math.isfinite(val_loss):
            raise NonFiniteLoss("validation", state.epoch + 1, state.step, val_loss)
        row = _epoch_row(state, train, val_loss, measure(labels, predictions, classes))
        _step_scheduler(state, row)
        if state.stopping.update(row["epoch"], row[state.stopping.monitor], val_loss):
            state.best = {k: v.detach().to("cpu", copy=True) for k, v in model.state_dict().items()}
        state.epoch, state.step, state.seconds = state.epoch + 1, 0, 0.0
        state.history.append({**row, "seconds": time.perf_counter() - started})
        yield state


def _begin_epoch(state: State, train: Loader, seed: int) -> None:
    """Begin an epoch, or go on within one after the steps that `state` has done of it."""
    losses, hits = torch.zeros(len(train), device=train.device), torch.zeros(len(train), device=train.device)
    if state.step:
        losses[: state.step], hits[: state.step] = state.losses.to(train.device), state.hits.to(train.device)
    else:
        randomness.seed_torch(seed, state.epoch, randomness.DROPOUT)
        state.lr = state.optimizer.param_groups[0]["lr"]
    state.losses, state.hits = losses, hits
    state.model.train()


def _check_finite(state: State, start: int) -> None:
    start = max(start, 0)
    for step, value in enumerate(state.losses[start : state.step].tolist(), start + 1):
        if not math.isfinite(value):
            raise NonFiniteLoss("training", state.epoch + 1, step, value)


def _epoch_row(state: State, train: Loader, val_loss: float, metrics: Metrics) -> dict[str, float]:
    """The epoch's row of the history; training numbers are means over its samples."""
    sizes = torch.full((len(train),), float(train.batch_size), device=train.device)
    sizes[-1] = min(train.samples - (len(train) - 1) * train.batch_size, train.batch_size)
    return {
        "epoch": state.epoch + 1,
        "lr": state.lr,
        "train_loss": ((state.losses * sizes).double().sum() / sizes.sum()).item(),
        "train_accuracy": (state.hits.double().sum() / sizes.sum()).item(),
        "val_loss": val_loss,
        "val_accuracy": metrics.accuracy,
        "val_f1": metrics.f1,
    }


def _step_scheduler(state: State, row: dict[str, float]) -> None:
    """Step a scheduler that steps after every epoch."""
    if isinstance(state.scheduler, ReduceLROnPlateau):
        state.scheduler.step(row["val_loss"] if state.scheduler.mode == "min" else row["val_accuracy"])
    elif state.scheduler is not None and not state.scheduler_per_batch:
        state.scheduler.step()
