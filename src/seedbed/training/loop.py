"""The one loop: train, validate, schedule, keep the best, stop.

`fit` yields after every epoch, and once more if it is asked to stop within one; whoever drives it writes the files. All
that the loop will need again lies in `State`.
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
from seedbed.training.evaluate import measure, predict


class NonFiniteLoss(Exception):
    """The training loss of a step, or the validation loss after the last one, became infinite or NaN."""

    def __init__(self, which: str, epoch: int, step: int, value: float):
        super().__init__(f"the {which} loss became {value} in epoch {epoch}, step {step}")


@dataclass
class State:
    """Everything that training changes, and therefore everything that resuming needs.

    Attributes:
        scheduler: stepped after every epoch, or after every batch with `scheduler_per_batch`; None: constant rate.
        epoch: finished epochs.
        step: finished steps of the epoch under way; its sums stand in `losses` and `hits`.
        losses, hits: of each step of the epoch: mean loss, number of right predictions.
        lr: the learning rate that the epoch began with.
        history: a row for each finished epoch.
        best: weights of the best epoch, on the CPU.
        seconds: of training and validation in the epoch under way, before this start.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    stopping: EarlyStopping
    scheduler_per_batch: bool = False
    epoch: int = 0
    step: int = 0
    losses: torch.Tensor | None = None
    hits: torch.Tensor | None = None
    lr: float = 0.0
    history: list[dict] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def improved(self) -> bool:
        """Whether the last finished epoch is the best so far."""
        return self.epoch > 0 and self.stopping.best_epoch == self.epoch

    def state_dict(self) -> dict:
        """Plain containers and tensors only, so that it loads with `weights_only=True`; the keys of version 0.1."""
        within = self.step > 0
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.scheduler.state_dict() if self.scheduler is not None else None,
            "stopping": self.stopping.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "losses": self.losses[: self.step].cpu() if within else None,
            "hits": self.hits[: self.step].cpu() if within else None,
            "rate": self.lr,
            "history": self.history,
            "best": self.best,
            "seconds": self.seconds if within else 0.0,
            "generator": torch.get_rng_state(),
            "cuda_generators": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state: dict) -> None:
        """Take over what `state_dict` gave, generators too."""
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
        self.stopping.load_state_dict(state["stopping"])
        for key in ("epoch", "step", "losses", "hits", "history", "best", "seconds"):
            setattr(self, key, state[key])
        self.lr = state["rate"]
        torch.set_rng_state(state["generator"])
        if torch.cuda.is_available() and len(state["cuda_generators"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda_generators"])

    def begin_epoch(self, seed: int, steps: int, device: torch.device) -> None:
        """Make room for the steps of an epoch, and keep those of one that was stopped."""
        if self.step == 0:
            randomness.seed_torch(seed, self.epoch, randomness.DROPOUT)
            self.lr = self.optimizer.param_groups[0]["lr"]
        for name in ("losses", "hits"):
            all_steps = torch.zeros(steps, device=device)
            if self.step:
                all_steps[: self.step] = getattr(self, name).to(device)
            setattr(self, name, all_steps)

    def end_epoch(self, row: dict[str, Any], begun: float) -> None:
        """Step the scheduler, keep the best weights, and note the row of metrics."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(row["val_loss"] if self.scheduler.mode == "min" else row["val_accuracy"])
        elif self.scheduler is not None and not self.scheduler_per_batch:
            self.scheduler.step()
        if self.stopping.update(self.epoch + 1, row[self.stopping.monitor]):
            self.best = {k: v.detach().to("cpu", copy=True) for k, v in self.model.state_dict().items()}
        self.epoch, self.step, self.seconds = self.epoch + 1, 0, 0.0
        self.history.append({**row, "seconds": time.perf_counter() - begun})


def fit(
    state: State, train: Loader, val: Loader, *, epochs: int, seed: int, classes: int,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], autocast: Callable,
    forward: Callable[[torch.Tensor], torch.Tensor] | None = None, grad_clip: float | None = None,
    progress: Callable[[Iterable[Batch], int, int, int], Iterable[Batch]] = lambda batches, *_: batches,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[State]:  # fmt: skip
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
    model, optimizer, forward, steps = state.model, state.optimizer, forward or state.model, len(train)
    parameters = [p for p in model.parameters() if p.requires_grad]
    # Reading a loss back waits for the GPU: there it is done rarely, and the step found afterwards.
    check_every = 1 if train.device.type == "cpu" else 50

    while state.epoch < epochs and not state.stopping.exhausted:
        begun = time.perf_counter() - state.seconds
        state.begin_epoch(seed, steps, train.device)
        model.train()
        for x, y in progress(train.epoch(state.epoch, state.step), state.epoch, state.step, steps):
            with autocast():
                logits = forward(x)
            value = loss(logits.float(), y)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            if grad_clip is not None:
                nn.utils.clip_grad_norm_(parameters, grad_clip)
            optimizer.step()
            if state.scheduler_per_batch:
                state.scheduler.step()
            state.losses[state.step] = value.detach()
            state.hits[state.step] = (logits.detach().argmax(1) == hard_labels(y)).sum()
            state.step += 1
            stopping = state.step < steps and stop()
            if state.step % check_every == 0 or state.step == steps or stopping:
                _check_finite(state, check_every)
            if stopping:
                state.seconds = time.perf_counter() - begun
                yield state
                return
        state.end_epoch(_validated(state, train, val, classes, loss, autocast), begun)
        yield state


def _validated(
    state: State, train: Loader, val: Loader, classes: int, loss: Callable, autocast: Callable
) -> dict[str, Any]:
    """The metrics of an epoch whose training steps are done."""
    val_loss, predictions, labels = predict(state.model, val, loss, autocast)
    if not math.isfinite(val_loss):
        raise NonFiniteLoss("validation", state.epoch + 1, state.step, val_loss)
    metrics = measure(labels, predictions, classes)
    weights = torch.full((len(train),), float(train.batch_size), device=train.device)
    weights[-1] = min(train.samples - (len(train) - 1) * train.batch_size, train.batch_size)
    return {
        "epoch": state.epoch + 1,
        "lr": state.lr,
        "train_loss": ((state.losses * weights).double().sum() / weights.sum()).item(),
        "train_accuracy": (state.hits.double().sum() / weights.sum()).item(),
        "val_loss": val_loss,
        "val_accuracy": metrics.accuracy,
        "val_f1": metrics.f1,
    }


def _check_finite(state: State, last: int) -> None:
    """Raise NonFiniteLoss for the first of the last steps whose loss is not finite."""
    start = max(state.step - last, 0)
    for step, value in enumerate(state.losses[start : state.step].tolist(), start):
        if not math.isfinite(value):
            raise NonFiniteLoss("training", state.epoch + 1, step + 1, value)
