"""Batches straight from the stored array: gathered, augmented, resized and normalised whole, on the device."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from seedbed import randomness
from seedbed.data.augment import Chain
from seedbed.data.mix import shared_labels
from seedbed.types import Split

Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Preprocess:
    """What stands between stored bytes and a model: size and normalisation. Saved with the weights.

    Attributes:
        image_size: side of the model's input in pixels.
        mean, std: one number a channel, of pixels in [0, 1]. Three of them turn a grey image into three channels.
    """

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def channels(self, stored: int) -> int:
        """Channels of the model's input, for images stored with so many."""
        return max(stored, len(self.mean))

    def constants(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Factor and offset, `[1, C, 1, 1]`, that normalise bytes: x * factor + offset."""
        mean, std = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (self.mean, self.std))
        return 1 / (255 * std), -mean / std

    def __call__(self, images: torch.Tensor, constants: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """uint8 `[B, C, S, S]` -> float32 `[B, C', image_size, image_size]`, normalised."""
        x = images.to(torch.float32)
        if x.shape[-1] != self.image_size:
            x = F.interpolate(x, (self.image_size, self.image_size), mode="bilinear", antialias=True)
        factor, offset = constants
        # Grey images become three channels at last, so that one is resized and not three.
        x = x * factor if x.shape[1] < factor.shape[1] else x.mul_(factor)
        return x.add_(offset)

    def undo(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised images -> pixels in [0, 1], for looking at."""
        factor, offset = self.constants(x.device)
        return ((x - offset) / (255 * factor)).clamp(0, 1)


def pixel_statistics(split: Split) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel over a split, of pixels in [0, 1]."""
    channels = split.images.shape[1]
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(split), 4096):
        images = split.images[split.index[start : start + 4096]]
        for c in range(channels):
            counts[c] += np.bincount(images[:, c].ravel(), minlength=256)
    share = counts / counts.sum(1, keepdims=True)
    values = np.arange(256) / 255
    mean = share @ values
    std = np.sqrt(share @ values**2 - mean**2)
    return mean.tolist(), np.maximum(std, 1e-3).tolist()


class Loader:
    """Batches of one split.

    Args:
        split: where the images are.
        preprocess: size and normalisation of images; None: the split holds vectors of features, ready to use.
        seed: shuffles each epoch and draws augmentation by (seed, epoch); None keeps the split's order.
        augment: the chain for training images.
        classes: number of classes, which a chain that mixes images must know.
        initial: a size in pixels that images have in so many first epochs, instead of that of `preprocess`.
        channels_last: memory format of the batches.
    """

    def __init__(
        self,
        split: Split,
        preprocess: Preprocess | None,
        *,
        batch_size: int,
        device: torch.device,
        seed: int | None = None,
        augment: Chain | None = None,
        classes: int | None = None,
        initial: tuple[int, int] | None = None,
        channels_last: bool = False,
    ):
        self.preprocess = preprocess
        self.batch_size = batch_size
        self.device = device
        self.seed = seed
        self.augment = augment or None
        self.mix = augment.mix if augment else None
        self.classes = classes
        self.initial = initial
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.samples = len(split)
        self.images, self.rows = _place(split, device)
        self.constants = preprocess.constants(device) if preprocess else None
        self.targets = torch.from_numpy(split.targets).to(device)

    def __len__(self) -> int:
        """Batches an epoch. A training batch of a single sample is left out: batch norm cannot take it."""
        full, rest = divmod(self.samples, self.batch_size)
        return max(full + (rest > (1 if self.seed is not None else 0)), 1)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from batch number `start` on: float32 images and int64 labels.

        Where images are mixed, labels are probabilities, float32 `[B, classes]`.
        """
        order = torch.arange(self.samples, device=self.device)
        if self.seed is not None:
            rng = randomness.generator(self.seed, epoch, randomness.ORDER)
            order = torch.from_numpy(rng.permutation(self.samples)).to(self.device)
        parameters, mixing = self._parameters(epoch) if self.augment else ({}, {})
        preprocess = self.preprocess
        if preprocess and self.initial and epoch < self.initial[1]:
            preprocess = replace(preprocess, image_size=self.initial[0])
        for step in range(start, len(self)):
            samples = order[step * self.batch_size : (step + 1) * self.batch_size]
            images, labels = self._images(samples, parameters), self.targets[samples]
            if self.mix:
                own = {key: values[samples] for key, values in mixing.items()}
                images, share = self.mix.apply(images, self._images(own["partner"], parameters), own)
                labels = shared_labels(labels, self.targets[own["partner"]], share, self.classes)
            if preprocess:
                images = preprocess(images, self.constants).contiguous(memory_format=self.memory_format)
            yield images, labels

    def first(self, n: int) -> Batch:
        """The first `n` samples of epoch 0, or as many as there are, with the label that has the largest share."""
        batches = itertools.islice(self.epoch(), -(-n // self.batch_size))
        images, labels = (torch.cat(parts)[:n] for parts in zip(*batches, strict=True))
        return images, hard_labels(labels)

    def _parameters(self, epoch: int) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
        """Those of the chain's steps, by name, and those of the mixing."""
        rng = randomness.generator(self.seed or 0, epoch, randomness.AUGMENT)
        drawn = self.augment.draw(rng, self.samples, self.images.shape[-1])
        mixing = self.mix.draw(rng, self.samples) if self.mix else {}
        return {name: self._tensors(values) for name, values in drawn.items()}, self._tensors(mixing)

    def _tensors(self, values: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
        return {key: torch.from_numpy(value).to(self.device) for key, value in values.items()}

    def _images(self, samples: torch.Tensor, parameters: dict[str, dict[str, torch.Tensor]]) -> torch.Tensor:
        """The images of these samples, each augmented by its own parameters."""
        images = self._gather(self.rows[samples])
        if not parameters:
            return images
        return self.augment.apply(images, {k: {p: v[samples] for p, v in o.items()} for k, o in parameters.items()})

    def _gather(self, rows: torch.Tensor) -> torch.Tensor:
        # They lie here or on the CPU; `cuda` and `cuda:0` compare as different devices.
        if self.images.device.type == self.device.type:
            return self.images.index_select(0, rows)
        return self.images.index_select(0, rows.cpu()).pin_memory().to(self.device, non_blocking=True)


def _place(split: Split, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The images as a tensor, on the device if they take no more than half of its free memory, and their rows."""
    images, rows = torch.from_numpy(split.images), torch.from_numpy(split.index)
    if device.type == "cuda":
        needed = len(split) * images[0].nbytes
        if needed <= torch.cuda.mem_get_info(device)[0] // 2:
            return images.index_select(0, rows).to(device), torch.arange(len(split), device=device)
        rows = rows.to(device)
    return images, rows


def hard_labels(labels: torch.Tensor) -> torch.Tensor:
    """Labels, or probabilities `[B, classes]`, -> labels, int64 `[B]`."""
    return labels if labels.ndim == 1 else labels.argmax(1)


def channel_numbers(value: float | Sequence[float], channels: int) -> tuple[float, ...]:
    """One number, or one a channel, as one a channel."""
    return tuple(value) if isinstance(value, Sequence) else (float(value),) * channels
