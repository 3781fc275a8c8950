"""The usual way to write what bench.py measures: a training job, and features by a loop over images.

Where there is a choice it is made in the usual way's favour.
"""

from __future__ import annotations

import copy
import logging
import time
import warnings
from collections.abc import Callable

import cv2
import numpy as np
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.cluster import KMeans
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from seedbed.data.preprocess import Preprocess
from seedbed.errors import UserError
from seedbed.features.descriptors import DenseHog, hog, resized, to_grey
from seedbed.features.visual_words import BagOfVisualWords
from seedbed.features.vocabulary import IncrementalKMeans

TIE = 1e-5  # squared distances (of descriptors of length 1) nearer to each other than this may round either way


class Images(Dataset):
    """Images in memory, uint8 `[N, C, H, W]`, each made a PIL image when asked for, as torchvision's CIFAR10 does."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, preprocess: Preprocess, augment: bool):
        # PIL wants a grey image without a channel axis.
        grey = images.shape[1] == 1
        self.images = images[:, 0] if grey else np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        self.labels = labels.tolist()
        # Padding with zeros costs less than the reflection that flip_crop does.
        crop = [transforms.RandomHorizontalFlip(), transforms.RandomCrop(preprocess.image_size, padding=4)]
        normalize = [transforms.ToTensor(), transforms.Normalize(preprocess.mean, preprocess.std)]
        self.transform = transforms.Compose([*(crop if augment else ()), *normalize])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[i])), self.labels[i]


def lightning_epoch(
    model: nn.Module, classes: int, make_optimizer: Callable, dataset: Dataset, batch_size: int, workers: int
) -> float:
    """Train a copy of the model; seconds of the second of two epochs, when the workers have started."""
    try:
        import lightning as L
        from torchmetrics.classification import MulticlassAccuracy
    except ModuleNotFoundError as error:
        raise UserError("lightning is missing; install the bench extra: pip install -e '.[bench]'") from error
    # Lightning's hints name what is meant here: few workers, no logger.
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.")

    class Classifier(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = copy.deepcopy(model)
            # The checks of every batch call torch.unique twice; a careful user turns them off.
            self.accuracy = MulticlassAccuracy(classes, average="micro", validate_args=False)

        def on_train_epoch_start(self) -> None:
            self.begun = time.perf_counter()

        def on_train_epoch_end(self) -> None:
            self.seconds = time.perf_counter() - self.begun

        def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
            x, y = batch
            logits = self.model(x)
            loss = F.cross_entropy(logits, y)
            self.accuracy.update(logits, y)  # `forward` would compute the batch's own accuracy too
            self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(y))
            self.log("train_accuracy", self.accuracy, on_step=False, on_epoch=True, batch_size=len(y))
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return make_optimizer(self.parameters())

    loader = DataLoader(dataset, batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_epochs=2, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    classifier = Classifier()
    trainer.fit(classifier, loader)
    return classifier.seconds


class Features:
    """OpenCV, KMeans.predict and np.bincount for every image, with our visual words and our settings of OpenCV.

    One HoG call an image, float32, the cells of a grid found once. `ours` has bags of visual words by assignment.
    """

    def __init__(self, bag: BagOfVisualWords, images: np.ndarray):
        if isinstance(bag.vocabulary, IncrementalKMeans):  # so many images a batch that these few give all words
            batches = -(-bag.vocabulary.words // bag.vocabulary.words_a_batch)
            bag.vocabulary.set_params(batch=max(1, min(bag.vocabulary.batch, len(images) // batches)))
        self.images, self.bag = images, bag.fit(images)
        self.words = self.bag.words_
        self.ours = {name: clone(bag).restore(self.words) for name in dict.fromkeys(["hard", bag.assignment])}
        for name, ours in self.ours.items():
            ours.set_params(assignment=name)
        self.descriptors = float(bag.descriptor.describe(images[:1000]).counts.mean())
        self.means = KMeans(len(self.words), init=self.words, n_init=1, max_iter=1).fit(self.words)
        self.means.cluster_centers_ = self.words
        kind, size = bag.descriptor, images.shape[-1]
        self.hog, self.cells = hog(kind.patch), [slice(None)]
        if isinstance(kind, DenseHog):
            self.describe = self._describe_grid
            centres = ((np.arange(0, size - kind.patch + 1, kind.stride) + kind.patch / 2) / size).astype(np.float32)
            rows = [np.minimum((centres * level).astype(int), level - 1) for level in bag.levels]
            cells = [(row[:, None] * level + row).ravel() for row, level in zip(rows, bag.levels, strict=True)]
            self.cells = [np.flatnonzero(cell == i) for cell in cells for i in range(cell.max() + 1)]
        else:
            self.orb, self.whole = kind.detector(kind.size or size), hog(kind.whole)
            self.describe = self._describe_key_points

    def transform(self) -> np.ndarray:
        return np.stack([self._histogram(self.describe(image)) for image in self.images])

    def ties(self) -> int:
        """How many images' histograms differ from ours, each for a descriptor as near to one word as to another.

        Raises:
            UserError: one differs without such a descriptor.
        """
        ours = self.ours["hard"].transform(self.images)
        differing = np.flatnonzero(~np.isclose(ours, self.transform(), atol=1e-5).all(1))
        for i in differing:
            described = self.bag.descriptor.describe_chunk(self.images[i : i + 1]).values.astype(np.float64)
            nearest = np.partition(((described[:, None] - self.words) ** 2).sum(2), 1, axis=1)
            if (nearest[:, 1] - nearest[:, 0]).min() > TIE:
                raise UserError(f"image {i}: the histograms of the usual way differ from ours, and no tie explains it")
        return len(differing)

    def _describe_grid(self, image: np.ndarray) -> np.ndarray:
        stride = self.bag.descriptor.stride
        return self.hog.compute(to_grey(image), winStride=(stride, stride)).reshape(-1, 32)

    def _describe_key_points(self, image: np.ndarray) -> np.ndarray:
        kind = self.bag.descriptor
        grey = resized(to_grey(image), kind.size)
        points = sorted(self.orb.detect(grey), key=lambda p: -p.response)[: kind.key_points]
        if not points:
            return self.whole.compute(resized(grey, kind.whole)).reshape(1, -1)
        half = kind.patch // 2
        bordered = cv2.copyMakeBorder(grey, half, half, half, half, cv2.BORDER_REFLECT_101)
        corners = np.rint(cv2.KeyPoint_convert(points)).astype(int).tolist()
        return self.hog.compute(bordered, locations=corners).reshape(-1, 32)

    def _histogram(self, descriptors: np.ndarray) -> np.ndarray:
        words = self.means.predict(descriptors)
        histogram = np.concatenate([np.bincount(words[cell], minlength=len(self.words)) for cell in self.cells])
        histogram = histogram.astype(np.float32) ** self.bag.power
        return histogram / np.linalg.norm(histogram, {"l1": 1, "l2": 2}[self.bag.norm])
