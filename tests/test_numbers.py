"""Every number of conf/ goes through a range: it is taken, or refused by name before images are read."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from seedbed.compose import CONF, compose
from seedbed.errors import UserError, options_of
from seedbed.experiment import Experiment
from seedbed.keys import GROUPS
from seedbed.preflight import check

NASTY = (-1, 0, 1e30, float("nan"), float("inf"), 2**63, 2**32, "text", True)
# What else must be chosen for an option to fit the digits.
BESIDE = {
    "features=dense": ["model=features_mlp"], "features=original": ["model=features_mlp", "features=original"],
    "model=features_mlp": ["features=dense"], "augment=flip_zoom": ["dataset.image_size=12"],
    "scheduler=one_cycle": ["optimizer=sgd"], "augment=flip_crop_erase": ["dataset.image_size=12"],
}  # fmt: skip


def options() -> list[str]:
    return [f"{group}={option}" for group in GROUPS for option in options_of([CONF], group) if option != "none"]


def composed(option: str, cache: Path) -> dict:
    return compose(["dataset=digits", option, *BESIDE.get(option, []), f"cache_root={cache}", "device.name=cpu"])[0]


def numbers(node: object, path: tuple = ()) -> Iterator[tuple]:
    """The way to each number in a configuration, or to a null that may be one."""
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from numbers(value, (*path, key))
    elif (isinstance(node, int | float) and not isinstance(node, bool)) or node is None:
        yield path


def answer(config: dict) -> str | None:
    """The message of a configuration that is refused, None for one that is taken."""
    try:
        check(Experiment(config))
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("option", options())
def test_every_number_is_taken_or_refused_by_name(option, tmp_path):
    config = composed(option, tmp_path)
    group, absent = option.partition("=")[0], answer(config)  # a data set that is not on this machine
    assert absent is None or group == "dataset"
    for path in numbers(config):
        if path[0] != group and path != ("seed",):
            continue
        for value in NASTY:
            changed = copy.deepcopy(config)
            node = changed
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = value
            message = answer(changed)
            keys = [key for key in path if isinstance(key, str)]
            if message is None:
                assert isinstance(value, str) or math.isfinite(value), f"{path}={value} was taken"
            elif message != absent:
                assert ".".join(keys) in message or keys[-1] in message, f"{path}={value}: {message}"


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["dataset.image_size=100000"], "dataset.image_size: expected a number >= 1 and <= 4096"),
        (["model.widths=[1000000,1000000]"], "lower model.widths"),
        (["model=features_mlp", "seed=4294967296"], "seed: "),
        (["optimizer.lr=.nan"], "optimizer.lr"),
        (["optimizer.lr=.inf"], "optimizer.lr"),
        (["train.batch_size=1"], "train.batch_size: BatchNorm"),
        (["model=resnet18", "model.pretrained=cifar10", "model._target_=seedbed.models.convnet.ConvNet"], "model"),
        (["+model.rescale_batchnorm=true"], "model.rescale_batchnorm: MLP"),
        (["dataset=fruits", "dataset.root=ROOT", "dataset.split=arcs", "dataset.val_fraction=0.8"], "no arc is left"),
        (["model=features_mlp", "features.visual_words.hog.descriptor.patch=40"], "descriptor.patch: a patch of 40"),
    ],
)  # fmt: skip
def test_it_is_refused_before_images_are_read(overrides, names, tmp_path, monkeypatch):
    monkeypatch.setattr(Experiment, "images", property(lambda self: pytest.fail("images were read")))
    overrides = [override.replace("ROOT", str(tmp_path)) for override in overrides]
    with pytest.raises(UserError, match=re.escape(names)):
        check(Experiment.from_overrides(["dataset=digits", f"cache_root={tmp_path}", *overrides]))


def test_a_model_that_gives_no_logits_is_named(tmp_path, monkeypatch):
    (tmp_path / "flat_model.py").write_text(
        "from torch import nn\nclass Flat(nn.Module):\n"
        "    def __init__(self, input_shape, classes):\n        super().__init__()\n        self.a = nn.Linear(1, 1)\n"
        "    def forward(self, x):\n        return x.flatten(1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    overrides = ["dataset=digits", "~model.widths", "~model.batch_norm", "~model.dropout"]
    with pytest.raises(UserError, match=r"model: Flat gives \(2, 2352\) for 2 images of 2 classes"):
        check(Experiment.from_overrides([*overrides, "model._target_=flat_model.Flat", f"cache_root={tmp_path}"]))
