"""Early stopping: which epoch is best, and when waiting for a better one ends."""

import math
from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """Watches one validation metric, epoch by epoch."""

    monitor: str  # val_accuracy (higher is better) or val_loss (lower is better)
    patience: int | None  # epochs without a better value after which to stop; None: never
    best: float = math.nan  # the best value so far
    best_epoch: int = 0  # its epoch, from 1; 0 before the first
    waited: int = 0  # epochs since

    def update(self, epoch: int, value: float) -> bool:
        """Note the value of an epoch (from 1); return whether it is the best so far."""
        better = value > self.best if self.monitor == "val_accuracy" else value < self.best
        if better or not self.best_epoch:
            self.best, self.best_epoch, self.waited = value, epoch, 0
            return True
        self.waited += 1
        return False

    @property
    def exhausted(self) -> bool:
        """Whether patience has ended."""
        return self.patience is not None and self.waited >= self.patience

    def state_dict(self) -> dict:
        """What `update` has noted."""
        return {"best": self.best, "best_epoch": self.best_epoch, "waited": self.waited}

    def load_state_dict(self, state: dict) -> None:
        """Take over what `state_dict` gave."""
        self.best, self.best_epoch, self.waited = state["best"], state["best_epoch"], state["waited"]
