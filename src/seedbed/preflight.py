"""What is wrong with an experiment though its configuration is well-formed: found before images are read."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from seedbed.config import build
from seedbed.data.cache import cache_errors, cache_folder
from seedbed.errors import UserError
from seedbed.experiment import Experiment
from seedbed.files import try_folder
from seedbed.keys import Override
from seedbed.models.fine_tuning import fitting_weights, freeze, require_scales, require_weights
from seedbed.optimization import build_optimizer, build_scheduler, groups_of
from seedbed.settings import Settings
from seedbed.tensors import in_short
from seedbed.training.device import memory, require_device


def check(experiment: Experiment, overrides: Sequence[str] = ()) -> None:
    """Make what needs no images once for nothing, so that its mistakes show early.

    Args:
        overrides: of the command.

    Raises:
        UserError: no images or weights where they are said to be, no such device, features that the model cannot take,
            a value that the model, the augmentation, the optimizer or the scheduler refuses, or one typed that would
            not be used.
    """
    settings = experiment.settings
    require_device(settings.device.name)
    _refuse_moved_momentum(settings, overrides)
    if settings.model.pretrained not in (None, "none"):
        require_weights(settings.model.pretrained)
    build(settings.dataset_node, "dataset", data_root=settings.root.data_root)
    _check_fractions(settings)
    cache = cache_folder(settings.root.cache_root) / "store"
    if not cache.is_dir():  # what lies there already may be all that is needed
        with cache_errors(cache):
            try_folder(cache)
    experiment.augment.sizes(settings.dataset.stored_size or experiment.image_size)
    if settings.train.tta == 6 and experiment.image_size < 2:
        raise UserError("train.tta: images of one pixel cannot be moved by a pixel; give 1 or 2")
    if experiment.pipeline:
        _check_features(experiment)
    else:
        _check_images(experiment)
    optimizer = build_optimizer(settings, [nn.Parameter(torch.zeros(2, 2))])
    # A list may have a value for each of the model's stages.
    if not any(isinstance(value, list) for value in (settings.scheduler_node or {}).values()):
        build_scheduler(settings, optimizer, steps=100)


def _refuse_moved_momentum(settings: Settings, overrides: Sequence[str]) -> None:
    typed = next((text for text in overrides if Override(text).key == "optimizer.momentum"), None)
    if typed and (settings.scheduler_node or {}).get("cycle_momentum"):
        raise UserError(
            f"{typed}: is not used where one cycle moves the momentum, from scheduler.max_momentum to "
            "scheduler.base_momentum and back; to keep it add scheduler.cycle_momentum=false"
        )


def _check_fractions(settings: Settings) -> None:
    """Arcs for validation and test are cut from the same circle."""
    data = settings.dataset
    if settings.dataset_node.get("split") == "arcs" and data.val_fraction + data.test_fraction >= 1:
        raise UserError(
            f"dataset.val_fraction: with dataset.test_fraction {data.val_fraction + data.test_fraction:g} of the "
            "images; no arc is left for training; lower one of them"
        )


def _check_features(experiment: Experiment) -> None:
    settings, once = experiment.settings, "features are extracted once, from images"
    if any(settings.augment_node.get(key) for key in ("steps", "policy", "mix")):
        raise UserError(f"augment: {once} as they are; use augment=none")
    if settings.train.tta > 1:
        raise UserError(f"train.tta: {once} as they are; leave it 1")
    if settings.train.initial_size:
        raise UserError(f"train.initial_size: {once} of one size; leave it null")
    size = settings.dataset.stored_size or experiment.image_size
    for name, bag in experiment.pipeline.visual_words.items():
        try:
            bag.descriptor.describe_chunk(np.zeros((1, 3, size, size), np.uint8))
        except UserError as error:
            text = str(error).removeprefix("features: ")
            raise UserError(f"features.visual_words.{name}.descriptor.patch: {text}") from error
    try:
        model = _on_meta(experiment, (1,))
    except UserError as error:
        raise UserError(f"{error}; features go with model=features_mlp, images with features=none") from error
    if model is not None:
        _check_model(experiment, model, (1,))


def _check_images(experiment: Experiment) -> None:
    size, initial = experiment.image_size, experiment.initial_images
    if initial and initial[0] >= size:
        raise UserError(f"train.initial_size: expected a size below the model's, {size}, got {initial[0]}")
    refusals = []
    for channels in (3, 1):  # of the images nothing is known yet
        try:
            model = _on_meta(experiment, (channels, size, size))
            if model is not None:
                _check_model(experiment, model, (channels, size, size))
                if initial:
                    _check_small_images(model, channels, size, initial[0])
            return
        except UserError as error:
            refusals.append(error)
    raise refusals[0]


def _check_model(experiment: Experiment, model: nn.Module, shape: tuple[int, ...]) -> None:
    """What a model without numbers tells: whether it fits the machine, the weights, the batches; what it gives."""
    settings, tuning = experiment.settings, experiment.settings.model
    experiment.require_batches(model)
    count = sum(p.numel() for p in model.parameters())
    if 8 * count > memory():  # float32, with its gradient
        sizes = ", ".join(f"model.{key}" for key, value in settings.model_node.items() if key[0] != "_" and value)
        raise UserError(f"model: {count:,} parameters, too many for this machine's memory; lower {sizes}")
    if tuning.pretrained not in (None, "none"):
        fitting_weights(model, tuning.pretrained)
    if tuning.rescale_batchnorm:
        require_scales(model)
    freeze(model, tuning.freeze, tuning.freeze_batchnorm)
    groups_of(settings, model)
    try:
        given = tuple(model.eval()(torch.zeros(2, *shape, device="meta")).shape)
    except Exception:  # a model that needs numbers tells nothing here
        return
    if given != (2, 2):
        raise UserError(f"model: {type(model).__name__} gives {given} for 2 images of 2 classes, not (2, 2)")


def _check_small_images(model: nn.Module, channels: int, size: int, small: int) -> None:
    try:
        model.eval()(torch.zeros(1, channels, size, size, device="meta"))
    except Exception:  # a model that needs numbers tells nothing here
        return
    try:
        model(torch.zeros(1, channels, small, small, device="meta"))
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"train.initial_size: {type(model).__name__}, made for images of {size} pixels, takes none of {small} "
            f"({in_short(error)})"
        ) from error


def _on_meta(experiment: Experiment, input_shape: tuple[int, ...]) -> nn.Module | None:
    """A model without numbers, or None where it cannot be made without them: the run will tell."""
    try:
        with torch.device("meta"):
            return experiment.build_model(input_shape, classes=2)
    except UserError as error:
        cause = getattr(error.__cause__, "__cause__", None) or error.__cause__  # Hydra's exception may stand between
        if cause is None or isinstance(cause, ValueError | TypeError):
            raise
        if "overflow" in str(cause):
            raise UserError(f"model: its layers are larger than any memory ({in_short(cause)})") from error
    except Exception:  # of somebody's own model: an assertion about channels, say
        pass
    return None
