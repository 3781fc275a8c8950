"""Early stopping: which epoch is best, and when waiting for a better one ends."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass
class EarlyStopping:
    """Watches one validation metric, epoch by epoch.

    Where a value equals the best so far, `ties` decides which epoch is kept: `loss`, the one with the lower validation
    loss; `first`, the earlier one. A tie never sets patience back, so that a run is as long under either rule. NaN is
    worse than any number.
    """

    monitor: str  # val_accuracy (higher is better) or val_loss (lower is better)
    patience: int | None  # epochs without a better value after which to stop; None: never
    ties: Literal["loss", "first"] = "loss"
    best: float = math.nan  # the best value so far
    best_loss: float = math.nan  # the validation loss of its epoch
    best_epoch: int = 0  # its epoch, from 1; 0 before the first
    waited: int = 0  # epochs since the best value was first reached

    def update(self, epoch: int, value: float, loss: float) -> bool:
        """Note value and validation loss of an epoch (from 1); return whether it is the best so far."""
        sign = 1 if self.monitor == "val_accuracy" else -1
        ahead = _compare(sign * value, sign * self.best) if self.best_epoch else 1
        self.waited = 0 if ahead > 0 else self.waited + 1
        tie_won = ahead == 0 and self.ties == "loss" and _compare(-loss, -self.best_loss) > 0
        if ahead <= 0 and not tie_won:
            return False
        self.best, self.best_loss, self.best_epoch = value, loss, epoch
        return True

    @property
    def exhausted(self) -> bool:
        """Whether patience has ended."""
        return self.patience is not None and self.waited >= self.patience

    def state_dict(self) -> dict:
        """What `update` has noted."""
        return {key: getattr(self, key) for key in ("best", "best_loss", "best_epoch", "waited")}

    def load_state_dict(self, state: dict) -> None:
        """Take over what `state_dict` gave."""
        for key in self.state_dict():
            setattr(self, key, state[key])


def _compare(a: float, b: float) -> int:
    """1, 0 or -1: whether `a` is above, equal to or below `b`; NaN is below any number."""
    a, b = (-math.inf if math.isnan(x) else x for x in (a, b))
    return (a > b) - (a < b)
