"""An experiment: a checked configuration, assembled once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from seedbed import config, randomness
from seedbed.compose import choices_of, compose
from seedbed.config import build
from seedbed.data import dataset
from seedbed.data.augment import Chain
from seedbed.data.loader import Loader
from seedbed.data.preprocess import Preprocess, make_preprocess
from seedbed.errors import UserError
from seedbed.keys import settings_of
from seedbed.models import fine_tuning
from seedbed.optimization import build_optimizer, build_scheduler, groups_of
from seedbed.training import device
from seedbed.training.early_stopping import EarlyStopping
from seedbed.training.evaluate import Evaluation, test
from seedbed.training.loop import State, fit
from seedbed.types import ImageData, Split

if TYPE_CHECKING:
    from seedbed.features.pipeline import FeaturePipeline

FEATURES = "features:"  # before the names of a feature pipeline's arrays in best.safetensors


class Experiment:
    """A checked configuration, and all that it names: data, features, model, optimizer, scheduler, loaders, state.

    Each part is made when it is first asked for, and once.

    Args:
        composed: a whole configuration, resolved: plain dicts and lists.
        choices: group -> the option that was chosen.
        begins: whether training begins here; a resumed run and a trained model have weights of their own.

    Raises:
        UserError: the configuration names something that does not exist or does not fit; no data is read for that.
    """

    def __init__(self, composed: Mapping[str, Any], choices: Mapping[str, Any] | None = None, begins: bool = True):
        self.composed, self.choices, self.begins = composed, choices or {}, begins
        self.settings = config.check(composed)

    @classmethod
    def from_overrides(cls, overrides: Sequence[str]) -> Experiment:
        """That of `python -m run OVERRIDES`."""
        composed, hydra = compose(overrides)
        return cls(composed, choices_of(hydra))

    # Data

    @property
    def image_size(self) -> int:
        """Side of the model's input in pixels."""
        return self.settings.dataset.image_size or self.settings.model.image_size

    @cached_property
    def images(self) -> ImageData:
        """The images and their splits, stored at `dataset.stored_size`, or at the size that the model takes."""
        return self.load_images()

    @property
    def bits(self) -> int | None:
        """By which images of 16 bits are scaled; None: by what their numbers really have."""
        return None

    def load_images(self, **changes: Any) -> ImageData:
        """The images and their splits; changes are arguments of `data.dataset.load`."""
        settings = self.settings.dataset
        source = build(self.settings.dataset_node, "dataset", data_root=self.settings.root.data_root)
        arguments = {
            "size": settings.stored_size or self.image_size, "val_fraction": settings.val_fraction,
            "test_fraction": settings.test_fraction, "split_seed": settings.split_seed, "subset": settings.subset,
            "on_bad_image": settings.on_bad_image, "cache_root": self.settings.root.cache_root, "bits": self.bits,
            **changes,
        }  # fmt: skip
        return dataset.load(source, **arguments)

    @cached_property
    def pipeline(self) -> FeaturePipeline | None:
        """The features before the model, not fitted until `data` is read; None for a model of pixels."""
        node = self.settings.features_node
        if node is None:
            return None
        # OpenCV and scikit-learn: half a second that other runs are spared.
        from seedbed.features.pipeline import FeaturePipeline

        pipeline = build(node, "features")
        if not isinstance(pipeline, FeaturePipeline):
            raise UserError(f"features._target_: expected a FeaturePipeline, got {node['_target_']}")
        return pipeline

    @cached_property
    def data(self) -> ImageData:
        """What the model takes: the images, or features in their place, extracted once and kept in the cache."""
        if not self.pipeline:
            return self.images
        from seedbed.features.cache import extract

        return extract(self.pipeline, self.images, self.settings.features_node, self.settings.root.cache_root)

    @cached_property
    def augment(self) -> Chain:
        """The augmentation of training images."""
        return build(self.settings.augment_node, "augment")

    @cached_property
    def preprocess(self) -> Preprocess | None:
        """Size and normalisation of the model's images; None where it takes features."""
        return None if self.pipeline else self.image_preprocess

    @cached_property
    def image_preprocess(self) -> Preprocess:
        """Size and normalisation of images, for a model or, before features, for looking at."""
        return make_preprocess(self.images.train, self.image_size, self.settings.model.mean, self.settings.model.std)

    @property
    def train_preprocess(self) -> Preprocess | None:
        """That of training images, which a model may want otherwise."""
        own = getattr(self.model, "train_preprocess", None)
        return own(self.preprocess) if own and self.preprocess else self.preprocess

    def loader(self, split: Split, **arguments: Any) -> Loader:
        """Batches of a split, as the model takes them."""
        arguments = {
            "preprocess": self.preprocess, "batch_size": self.settings.train.eval_batch_size,
            "device": self.device.torch, "channels_last": self.device.channels_last, **arguments,
        }  # fmt: skip
        return Loader(split, **arguments)

    @cached_property
    def train_loader(self) -> Loader:
        """Training batches: shuffled, augmented."""
        return self.loader(
            self.data.train, preprocess=self.train_preprocess, batch_size=self.settings.train.batch_size,
            seed=self.settings.root.seed, augment=self.augment, classes=len(self.data.classes),
            initial=self.initial_images,
        )  # fmt: skip

    @cached_property
    def sample_loader(self) -> Loader:
        """Training images as the model sees them; before features, as they are."""
        if not self.pipeline:
            return self.train_loader
        settings = self.settings
        return self.loader(
            self.images.train, preprocess=self.image_preprocess, batch_size=settings.train.batch_size,
            seed=settings.root.seed,
        )  # fmt: skip

    @cached_property
    def val_loader(self) -> Loader:
        """Validation batches."""
        return self.loader(self.data.val)

    @cached_property
    def test_loader(self) -> Loader:
        """Test batches: for once, after training."""
        return self.loader(self.data.test)

    # Model

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample as the model gets it: an image, or a vector of features."""
        stored = self.data.train.images.shape[1:]
        if self.preprocess is None:
            return stored
        return self.preprocess.channels(stored[0]), self.preprocess.image_size, self.preprocess.image_size

    def build_model(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """A new model for samples of a shape."""
        return build(self.settings.model_node, "model", input_shape=input_shape, classes=classes)

    @cached_property
    def model(self) -> nn.Module:
        """The model on its device, pretrained weights loaded, frozen stages frozen."""
        settings, tuning, shape = self.settings, self.settings.model, self.input_shape
        randomness.seed_torch(settings.root.seed, 0, randomness.WEIGHTS)
        model = self.build_model(shape, len(self.classes))
        self.require_batches(model)
        self.device = device.choose(
            model, settings.device.name, settings.device.precision, settings.device.channels_last,
            settings.device.threads,
        )  # fmt: skip
        model = self.device.place(model)
        fine_tuning.prepare(
            model, pretrained=tuning.pretrained, rescale=tuning.rescale_batchnorm, freeze_up_to=tuning.freeze,
            freeze_bn=tuning.freeze_batchnorm, begins=self.begins,
            normalization=self.preprocess and (list(self.preprocess.mean), list(self.preprocess.std)),
        )  # fmt: skip
        return model

    def require_batches(self, model: nn.Module) -> None:
        """Raise UserError where BatchNorm would get batches of one image."""
        batch_norms = (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
        if self.settings.train.batch_size == 1 and any(batch_norms):
            raise UserError("train.batch_size: BatchNorm needs at least 2 images a batch, got 1")

    @cached_property
    def device(self) -> device.Device:
        """Where the model computes, in which precision and memory format: what it is made of decides that."""
        self.model  # noqa: B018
        return self.__dict__["device"]

    @property
    def classes(self) -> Sequence[str]:
        """Class names in label order."""
        return self.data.classes

    @property
    def initial_images(self) -> tuple[int, int] | None:
        """Size of the training images of the first epochs, and the number of these; None: all are of one size."""
        settings = self.settings.train
        if settings.initial_size is None:
            return None
        # 0.58 * 50 is 28.999999999999996
        return settings.initial_size, int(settings.initial_fraction * settings.epochs + 1e-9)

    # Training

    @cached_property
    def loss(self) -> nn.Module:
        """(logits, labels or probabilities) -> mean loss of a batch."""
        return nn.CrossEntropyLoss(label_smoothing=self.settings.train.label_smoothing)

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of what is not frozen."""
        return build_optimizer(self.settings, groups_of(self.settings, self.model))

    @cached_property
    def state(self) -> State:
        """All that training changes, before its first step."""
        settings, steps = self.settings.train, self.settings.train.epochs * len(self.train_loader)
        scheduler, per_batch = build_scheduler(self.settings, self.optimizer, steps)
        stopping = EarlyStopping(settings.monitor, settings.patience, settings.ties)
        return State(self.model, self.optimizer, scheduler, stopping, per_batch)

    def fit(self, stop: Callable[[], bool] = lambda: False, **arguments: Any) -> Iterator[State]:
        """Train; yields the state after every epoch. Further arguments are those of `training.loop.fit`."""
        settings = self.settings.train
        forward = torch.compile(self.model) if self.settings.device.compile else None
        return fit(
            self.state, self.train_loader, self.val_loader, epochs=settings.epochs, seed=self.settings.root.seed,
            classes=len(self.classes), loss=self.loss, autocast=self.device.autocast, forward=forward,
            grad_clip=settings.grad_clip, stop=stop, **arguments,
        )  # fmt: skip

    def test(self) -> Evaluation:
        """The model on the test split."""
        return test(
            self.model, self.test_loader, self.loss, self.device.autocast, len(self.classes), self.settings.train.tta
        )

    @property
    def fingerprints(self) -> dict[str, str]:
        """What changes with the images and their splits; every checkpoint holds it."""
        return {"data": self.data.fingerprint, "pixels": self.data.pixels}

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What stands in best.safetensors beside the weights: all that prediction needs."""
        return {
            "config": settings_of(self.composed),
            "choices": dict(self.choices),
            "classes": self.classes,
            "channels": self.images.channels,
            "bits": self.images.bits,
            **self.fingerprints,
            "preprocess": asdict(self.preprocess) if self.preprocess else None,
        }

    @cached_property
    def feature_arrays(self) -> dict[str, torch.Tensor]:
        """What the feature pipeline has learned, by the names that it has in best.safetensors."""
        arrays = self.pipeline.arrays() if self.pipeline else {}
        return {f"{FEATURES}{name}": torch.from_numpy(array) for name, array in arrays.items()}

    @property
    def parameters(self) -> int:
        """Number of the model's parameters, frozen ones too."""
        return sum(p.numel() for p in self.model.parameters())
