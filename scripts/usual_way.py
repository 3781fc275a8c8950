"""The usual way to write a training job: Lightning, torchvision's transforms image by image, a DataLoader.

`bench.py` measures this project's loop against it. Where there is a choice it is made in this job's favour.
"""

from __future__ import annotations

import copy
import logging
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import lightning as L
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MulticlassAccuracy
from torchvision import transforms

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
WORKERS = (0, 2)


class Images(Dataset):
    """Images in memory, each made a PIL image and transformed when asked for, as torchvision's CIFAR10 does.

    Args:
        images: uint8 `[N, H, W, C]`, or `[N, H, W]` for grey ones.
        labels: int64 `[N]`.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable):
        self.images = images
        self.labels = labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[i])), self.labels[i]


def make_transform(stored_size: int, stored_channels: int, size: int, mean: list, std: list, augment: bool) -> Callable:
    """Per-image transforms: only those that have something to do."""
    steps: list[Callable] = []
    if stored_size != size:
        steps.append(transforms.Resize((size, size)))
    if stored_channels != len(mean):
        steps.append(transforms.Grayscale(len(mean)))
    if augment:
        # Padding with zeros costs less than the reflection that flip_crop does.
        steps += [transforms.RandomHorizontalFlip(), transforms.RandomCrop(size, padding=4)]
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(mean, std)])


class Classifier(L.LightningModule):
    """A model with cross entropy, its loss and accuracy logged for each epoch."""

    def __init__(self, model: nn.Module, classes: int, make_optimizer: MakeOptimizer):
        super().__init__()
        self.model = model
        # The checks of every batch call torch.unique twice; a careful user turns them off.
        self.accuracy = MulticlassAccuracy(classes, average="micro", validate_args=False)
        self.make_optimizer = make_optimizer

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
        x, y = batch
        logits = self.model(x)
        loss = F.cross_entropy(logits, y)
        # `update`, because `forward` would compute the batch's own accuracy too.
        self.accuracy.update(logits, y)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(y))
        self.log("train_accuracy", self.accuracy, on_step=False, on_epoch=True, batch_size=len(y))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.parameters())


class Turns(L.Callback):
    """Times every epoch, and lets the others have their turn after it.

    A Trainer cannot be left and entered again without starting its workers anew, so the turns are taken from within.
    """

    def __init__(self, others: Callable[[], None]):
        self.others = others
        self.seconds: list[float] = []

    def on_train_epoch_start(self, *_: object) -> None:
        self.begun = time.perf_counter()

    def on_train_epoch_end(self, *_: object) -> None:
        self.seconds.append(time.perf_counter() - self.begun)
        self.others()


@dataclass(frozen=True)
class Job:
    """What is to be trained, and on what. `model` is copied by every run."""

    model: nn.Module
    dataset: Dataset
    batch_size: int
    classes: int
    make_optimizer: MakeOptimizer

    def run(self, workers: int, epochs: int, others: Callable[[], None] = lambda: None) -> list[float]:
        """Train; return the seconds of every epoch. `others` is called after each."""
        loader = DataLoader(
            self.dataset, self.batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0
        )
        turns = Turns(others)
        trainer = L.Trainer(
            accelerator="cpu", devices=1, max_epochs=epochs, callbacks=[turns], logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(Classifier(copy.deepcopy(self.model), self.classes, self.make_optimizer), loader)
        return turns.seconds

    def trial(self) -> dict[int, float]:
        """Seconds of a warm epoch with each number of workers."""
        return {workers: self.run(workers, epochs=2)[-1] for workers in WORKERS}


def hush() -> None:
    """Lightning's hints name what is meant here: few workers, no logger."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.")
