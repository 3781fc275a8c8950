"""From a checked configuration to its parts: data, preprocessing, model, optimizer, schedule."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import nn

from seedbed import config
from seedbed.config import Settings
from seedbed.data import dataset
from seedbed.data.loader import Preprocess, channel_numbers, pixel_statistics
from seedbed.errors import UserError
from seedbed.models.fine_tuning import (
    find,
    freeze,
    groups,
    load_pretrained,
    normalization,
    require_weights,
    rescale_batchnorm,
)
from seedbed.tensors import in_short
from seedbed.training import device, startup
from seedbed.types import ImageData

if TYPE_CHECKING:
    from seedbed.features.pipeline import FeaturePipeline

log = logging.getLogger(__name__)


def instance(node: Mapping[str, Any] | None, group: str, **supplied: Any) -> Any:
    """Instantiate a group's node that `config.check` has passed; a partial is completed by `supplied`."""
    if node is None:
        return None
    try:
        made = instantiate(dict(node), _convert_="all", **({} if node.get("_partial_") else supplied))
        return made(**supplied) if node.get("_partial_") else made
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        if error.__cause__ is not None:
            raise UserError(f"{group} ({node['_target_']}): {error.__cause__}") from error
        raise
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{group} ({node['_target_']}): {error}") from error


def load_data(settings: Settings, for_test: bool = False) -> ImageData:
    """The data set, stored at `stored_size`, or at the size that the model takes; `for_test`: whole, if unsplit."""
    own = settings.dataset
    return dataset.load(
        instance(settings.dataset_node, "dataset", data_root=settings.root.data_root),
        size=own.stored_size or image_size(settings),
        val_fraction=own.val_fraction,
        test_fraction=own.test_fraction,
        split_seed=own.split_seed,
        subset=own.subset,
        on_bad_image=own.on_bad_image,
        cache_root=settings.root.cache_root,
        for_test=for_test,
    )


def image_size(settings: Settings) -> int:
    return settings.dataset.image_size or settings.model.image_size


def make_preprocess(settings: Settings, data: ImageData) -> Preprocess:
    """Size and normalisation of a model's input; what is null is measured on the training split."""
    mean, std = settings.model.mean, settings.model.std
    if mean is None or std is None:
        measured = pixel_statistics(data.train)
        mean, std = (m if given is None else given for given, m in zip((mean, std), measured, strict=True))
    most = max(len(v) if isinstance(v, list) else 1 for v in (mean, std))
    mean, std = (channel_numbers(v, max(most, data.channels)) for v in (mean, std))
    allowed = {data.channels, 3 if data.channels == 1 else data.channels}
    for name, value in (("mean", mean), ("std", std)):
        if len(value) not in allowed or len(value) != len(mean):
            raise UserError(
                f"model.{name}: {len(value)} numbers for images of {data.channels} channels; give one number, or "
                "one for each channel"
            )
    if settings.train.tta == 6 and image_size(settings) < 2:
        raise UserError("train.tta: images of one pixel cannot be moved by a pixel; give 1 or 2")
    if min(std) <= 0:
        raise UserError(f"model.std: expected positive numbers, got {list(std)}")
    return Preprocess(image_size(settings), mean, std)


def training_preprocess(settings: Settings, preprocess: Preprocess | None) -> Preprocess | None:
    """That of training images, which stay in [0, 1] where `model.normalize_training` is false."""
    if preprocess is None or settings.model.normalize_training:
        return preprocess
    channels = len(preprocess.mean)
    return replace(preprocess, mean=(0.0,) * channels, std=(1.0,) * channels)


def make_features(settings: Settings) -> FeaturePipeline | None:
    """The pipeline that stands before the model, not fitted, or None for a model of pixels."""
    if settings.features_node is None:
        return None
    if any(settings.augment_node.get(key) for key in ("steps", "policy", "mix")):
        raise UserError("augment: features are extracted once, from images as they are; use augment=none")
    if not settings.model.normalize_training:
        raise UserError("model.normalize_training: features are made of pixels as they are; leave it true")
    if settings.train.tta > 1:
        raise UserError("train.tta: features are extracted once, from images as they are; leave it 1")
    if settings.train.initial_size:
        raise UserError("train.initial_size: features are extracted once, from images of one size; leave it null")
    # OpenCV and scikit-learn: half a second that other runs are spared.
    from seedbed.features.pipeline import FeaturePipeline

    pipeline = instance(settings.features_node, "features")
    if not isinstance(pipeline, FeaturePipeline):
        raise UserError(f"features._target_: expected a FeaturePipeline, got {settings.features_node['_target_']}")
    return pipeline


def require_vectors(settings: Settings) -> None:
    """Raise UserError, before features are extracted, if the model takes images only."""
    try:
        instance(settings.model_node, "model", input_shape=(1,), classes=2)
    except UserError as error:
        raise UserError(f"{error}; features go with model=features_mlp, images with features=none") from error


def input_shape(data: ImageData, preprocess: Preprocess | None) -> tuple[int, ...]:
    """Shape of one sample as the model gets it; without `preprocess`, a vector of features."""
    if preprocess is None:
        return data.train.images.shape[1:]
    return preprocess.channels(data.channels), preprocess.image_size, preprocess.image_size


def make_model(settings: Settings, shape: tuple[int, ...], classes: int) -> tuple[nn.Module, device.Device]:
    """The model, completed from the data, on the device that suits it."""
    model = instance(settings.model_node, "model", input_shape=shape, classes=classes)
    if settings.train.batch_size == 1 and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()):
        raise UserError("train.batch_size: batch norm needs at least 2 images a batch, got 1")
    own = settings.device
    on = device.choose(own.name, own.precision, own.channels_last, own.threads, device.has_convolutions(model))
    return on.place(model), on


def initial_images(settings: Settings, model: nn.Module, channels: int) -> tuple[int, int] | None:
    """Size of the training images of the first epochs, and the number of these; None: all are of the model's size."""
    size = settings.train.initial_size
    if size is None:
        return None
    if size >= image_size(settings):
        raise UserError(f"train.initial_size: expected a size below the model's, {image_size(settings)}, got {size}")
    like = next(model.parameters())
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, channels, size, size, device=like.device))
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"train.initial_size: {type(model).__name__}, made for images of {image_size(settings)} pixels, takes none "
            f"of {size} ({in_short(error)})"
        ) from error
    # 0.58 * 50 is 28.999999999999996
    return size, int(settings.train.initial_fraction * settings.train.epochs + 1e-9)


def prepare_tuning(settings: Settings, model: nn.Module, preprocess: Preprocess | None, begins: bool) -> None:
    """Where training begins, give a model its pretrained weights and scale their gains; freeze what is to stay.

    Weights of images normalised in another way are taken, and a warning says so: the model has to learn the shift.
    """
    own = settings.model
    fresh = []
    if begins and own.pretrained not in (None, "none"):
        fresh = load_pretrained(model, own.pretrained)
        log.info("weights of %s%s", own.pretrained, f", but for {', '.join(fresh)}" if fresh else "")
        theirs = normalization(find(model, own.pretrained))
        ours = preprocess and (list(preprocess.mean), list(preprocess.std))
        if theirs and ours and theirs != ours:
            log.warning(
                "model.pretrained: %s was trained on images normalised by mean %s, std %s, which are here %s, %s; to "
                "keep them give model.mean, model.std",
                own.pretrained, *(", ".join(f"{v:.4g}" for v in values) for values in (*theirs, *ours)),
            )  # fmt: skip
    if begins and own.rescale_batchnorm:
        rescale_batchnorm(model, new=[model.get_submodule(key.rpartition(".")[0]) for key in fresh])
    freeze(model, own.freeze, own.freeze_batchnorm)


def rehearse(settings: Settings, typed: Sequence[str] = ()) -> None:
    """Make what needs no images once for nothing, so that what is wrong with it shows before they are read.

    Args:
        typed: the words of the command.

    Raises:
        UserError: no images or weights where they are said to be, no such device, features that the model cannot take,
            a value that the optimizer or the schedule refuses, or one typed that would not be used.
    """
    device.require(settings.device.name)
    moved = settings.scheduler_node and settings.scheduler_node.get("cycle_momentum")
    word = next((word for word in typed if word.lstrip("+").startswith("optimizer.momentum=")), None)
    if moved and word:
        raise UserError(
            f"{word}: is not used where one cycle moves the momentum, from scheduler.max_momentum to "
            "scheduler.base_momentum and back; to keep it add scheduler.cycle_momentum=false"
        )
    if settings.model.pretrained not in (None, "none"):
        require_weights(settings.model.pretrained)
    instance(settings.dataset_node, "dataset", data_root=settings.root.data_root)
    if make_features(settings):
        require_vectors(settings)
    optimizer = _optimizer(settings, [nn.Parameter(torch.zeros(2, 2))])
    # A list may have a value for each of the model's stages.
    if not any(isinstance(value, list) for value in (settings.scheduler_node or {}).values()):
        make_schedule(settings, optimizer, steps=100)


def make_optimizer(settings: Settings, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of what is not frozen, with a rate for each stage where `model.lr_decay` says so."""
    node, decay = settings.optimizer_node, settings.model.lr_decay
    if decay != 1 and "lr" not in node:
        raise UserError("model.lr_decay: needs optimizer.lr, the rate of the head")
    return _optimizer(settings, groups(model, node.get("lr", 0.0), decay))


def _optimizer(settings: Settings, params: Any) -> torch.optim.Optimizer:
    node = settings.optimizer_node
    if not settings.device.compile:
        startup.keep_compiler_out(config.locate(node["_target_"], "optimizer._target_"))
    return instance(node, "optimizer", params=params)


def make_schedule(settings: Settings, optimizer: torch.optim.Optimizer, steps: int) -> tuple[Any, bool]:
    """The learning-rate schedule, and whether it advances with every batch: one that takes `total_steps` does."""
    node = settings.scheduler_node
    if node is None:
        return None, False
    target = config.locate(node["_target_"], "scheduler._target_")
    by_batch = "total_steps" in config.parameters_of(target)[0]
    rise = node.get("pct_start", 0.3)
    if by_batch and rise * steps == 1:
        # torch divides by the length of the rise less one step, which would be 0: a hair's difference, the same rates.
        node = {**node, "pct_start": rise + (1e-9 if rise < 1 else -1e-9)}
    rates = [group["lr"] for group in optimizer.param_groups]
    if "max_lr" in node and len(rates) > 1 and rates[0] and not isinstance(node["max_lr"], list):
        node = {**node, "max_lr": [node["max_lr"] * rate / rates[0] for rate in rates]}
    return instance(node, "scheduler", optimizer=optimizer, **({"total_steps": steps} if by_batch else {})), by_batch
