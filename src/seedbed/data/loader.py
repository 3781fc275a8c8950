"""Batches straight from the stored array: gathered, augmented, resized and normalised whole, on the device."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from seedbed import randomness
from seedbed.data.augment import MIX, Chain, Parameters
from seedbed.data.mix import shared_labels
from seedbed.data.preprocess import Preprocess
from seedbed.types import Split

Batch = tuple[torch.Tensor, torch.Tensor]


class Loader:
    """Batches of one split.

    `preprocess` None says that the split holds vectors of features, ready to use. `seed` shuffles each epoch and draws
    augmentation by (seed, epoch); None keeps the split's order. A chain that mixes images needs the number of
    `classes`. `initial` is a size in pixels, instead of that of `preprocess`, and the number of first epochs with it.
    """

    def __init__(
        self, split: Split, preprocess: Preprocess | None, *, batch_size: int, device: torch.device,
        seed: int | None = None, augment: Chain | None = None, classes: int | None = None,
        initial: tuple[int, int] | None = None, channels_last: bool = False,
    ):  # fmt: skip
        self.preprocess, self.batch_size, self.device, self.seed = preprocess, batch_size, device, seed
        self.augment, self.mix = augment or None, augment.mix if augment else None
        self.classes, self.initial = classes, initial
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.samples = len(split)
        self.images, self.rows = _place(split, device)
        self.constants = preprocess.constants(device) if preprocess else None
        self.targets = torch.from_numpy(split.targets).to(device)

    def __len__(self) -> int:
        """Batches an epoch. A training batch of a single sample is left out: BatchNorm cannot take it."""
        full, rest = divmod(self.samples, self.batch_size)
        return max(full + (rest > (1 if self.seed is not None else 0)), 1)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Batches from number `start` on: float32 images; int64 labels, or float32 `[B, classes]` of mixed images."""
        order = torch.from_numpy(self.order(epoch)).to(self.device)
        parameters = self._draw(epoch) if self.augment else {}
        mixing = parameters.pop(MIX, {})
        preprocess = self.preprocess
        if preprocess and self.initial and epoch < self.initial[1]:
            preprocess = replace(preprocess, image_size=self.initial[0])
        for step in range(start, len(self)):
            samples = order[step * self.batch_size : (step + 1) * self.batch_size]
            images, labels = self._images(samples, parameters), self.targets[samples]
            if self.mix:
                drawn = {key: values[samples] for key, values in mixing.items()}
                partner = drawn["partner"]
                images, share = self.mix.apply(images, self._images(partner, parameters), drawn)
                labels = shared_labels(labels, self.targets[partner], share, self.classes)
            if preprocess:
                images = preprocess(images, self.constants).contiguous(memory_format=self.memory_format)
            yield images, labels

    def order(self, epoch: int) -> np.ndarray:
        """Which sample stands where in an epoch, int64 `[samples]`: a sampler would be another order, with repeats."""
        if self.seed is None:
            return np.arange(self.samples)
        return randomness.generator(self.seed, epoch, randomness.ORDER).permutation(self.samples)

    def first(self, n: int) -> Batch:
        """The first `n` samples of epoch 0, or as many as exist, with the label that has the largest share."""
        batches = itertools.islice(self.epoch(), -(-n // self.batch_size))
        images, labels = (torch.cat(parts)[:n] for parts in zip(*batches, strict=True))
        return images, hard_labels(labels)

    def _draw(self, epoch: int) -> dict[str, Parameters]:
        """The chain's parameters for all samples of an epoch, on the device."""
        rng = randomness.generator(self.seed or 0, epoch, randomness.AUGMENT)
        drawn = self.augment.draw(rng, self.samples, self.images.shape[-1])
        return {k: {p: torch.from_numpy(v).to(self.device) for p, v in step.items()} for k, step in drawn.items()}

    def _images(self, samples: torch.Tensor, parameters: dict[str, Parameters]) -> torch.Tensor:
        """The images of these samples, each augmented by its own parameters."""
        rows = self.rows[samples]
        # `cuda` and `cuda:0` compare as different devices.
        if self.images.device.type == self.device.type:
            images = self.images.index_select(0, rows)
        else:
            images = self.images.index_select(0, rows.cpu()).pin_memory().to(self.device, non_blocking=True)
        if not parameters:
            return images
        drawn = {k: {p: v[samples] for p, v in step.items()} for k, step in parameters.items()}
        return self.augment.apply(images, drawn)


def _place(split: Split, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The images as a tensor, on the device if they take no more than half of its free memory, and their rows."""
    images, rows = torch.from_numpy(split.images), torch.from_numpy(split.index)
    if device.type == "cuda":
        if len(split) * images[0].nbytes <= torch.cuda.mem_get_info(device)[0] // 2:
            return images.index_select(0, rows).to(device), torch.arange(len(split), device=device)
        rows = rows.to(device)
    return images, rows


def hard_labels(labels: torch.Tensor) -> torch.Tensor:
    """Labels, or probabilities `[B, classes]`, -> labels, int64 `[B]`."""
    return labels if labels.ndim == 1 else labels.argmax(1)
