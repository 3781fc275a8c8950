"""Contract tests over conf/**: every option composes, is checked against the signatures it names, and says what it is.

A new yaml is covered without an edit here.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
from conftest import CONF

from seedbed import config
from seedbed.annotations import accepts
from seedbed.errors import UserError
from seedbed.experiment import Experiment

OPTIONS = [
    (folder.name, path.relative_to(folder).with_suffix("").as_posix())
    for folder in sorted(CONF.iterdir())
    if folder.is_dir() and folder.name != "hydra"
    for path in sorted(folder.rglob("*.yaml"))
    if not path.name.startswith("_")
]


def options_of(group: str) -> list[str]:
    return [option for name, option in OPTIONS if name == group]


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_passes_the_check(group, option):
    needed = {"evaluate": ["checkpoint=x"], "predict": ["checkpoint=x", "images=x"]}.get(option, [])
    assert Experiment.from_overrides([f"{group}={option}", *needed]).settings.train.epochs >= 1


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_says_what_it_is(group, option):
    from seedbed.help import page

    line = next(line for line in page([CONF]).splitlines() if line.strip("* ").startswith(f"{option} "))
    assert len(line.split(maxsplit=2)) >= 2
    text = (CONF / group / f"{option}.yaml").read_text()
    assert any(line.startswith("# ") and not line.startswith("# @") for line in text.splitlines()[:2])


@pytest.mark.parametrize("model", options_of("model"))
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_every_model_ends_in_one_logit_a_class(model, shape):
    import torch

    net = Experiment.from_overrides([f"model={model}"]).build_model(shape, 7).eval()
    assert net(torch.zeros(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("features", [option for option in options_of("features") if option != "none"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_feature_pipeline_gives_finite_numbers(features, channels):
    import numpy as np

    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, channels, 28, 28), dtype=np.uint8), np.arange(60) % 3
    few = ("features.selection.sizes=[8,5]", "features.selection.trees=3")
    pipeline = Experiment.from_overrides(["model=features_mlp", f"features={features}", *few]).pipeline
    out = pipeline.fit(images, labels).transform(images[:7])
    assert out.shape == (7, 5) and np.isfinite(out).all()


@pytest.mark.parametrize("augment", options_of("augment"))
def test_every_augmentation_keeps_type_and_shape(augment):
    import numpy as np
    import torch

    chain = Experiment.from_overrides([f"augment={augment}"]).augment
    images = torch.randint(0, 256, (5, 3, 20, 20), dtype=torch.uint8)
    drawn = chain.draw(np.random.default_rng(0), 5, 20)
    out = chain.apply(images, {k: {p: torch.from_numpy(v) for p, v in s.items()} for k, s in drawn.items()})
    assert out.dtype == torch.uint8 and out.shape == images.shape


@pytest.mark.parametrize("optimizer", options_of("optimizer"))
@pytest.mark.parametrize("scheduler", options_of("scheduler"))
def test_every_optimizer_takes_a_step_under_every_schedule(optimizer, scheduler):
    import torch

    from seedbed.optimization import build_optimizer, build_scheduler

    settings = Experiment.from_overrides([f"optimizer={optimizer}", f"scheduler={scheduler}"]).settings
    weight = torch.nn.Parameter(torch.ones(3))
    made = build_optimizer(settings, [weight])
    schedule, per_batch = build_scheduler(settings, made, 10)
    weight.square().sum().backward()
    made.step()
    assert not torch.equal(weight.detach(), torch.ones(3))
    assert per_batch == (scheduler == "one_cycle")
    assert (schedule is None) == (scheduler == "none")


def test_a_preset_s_schedule_can_be_taken_away():
    overrides = "experiment=original/fashion_mnist_mlp scheduler=none ~scheduler.patience ~scheduler.factor"
    assert Experiment.from_overrides(overrides.split()).settings.scheduler_node is None


@pytest.fixture(scope="module")
def defaults() -> dict[str, Any]:
    return Experiment.from_overrides([]).composed


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"model._target_": "seedbed.models.mlp.MPL"}, ["model._target_", "did you mean 'MLP'"]),
        ({"model._target_": "seedbed.models.mpl.MLP"}, ["model._target_", "cannot import"]),
        ({"model.width": [3]}, ["model.width", "did you mean 'widths'"]),
        ({"model.classes": 10}, ["model.classes", "taken from the data"]),
        ({"model.widths": "150"}, ["model.widths", "a list of a whole number", "'150'"]),
        ({"model.dropout": "much"}, ["model.dropout", "a number"]),
        ({"model._tagret_": "x"}, ["model._tagret_", "did you mean '_target_'"]),
        ({"optimizer.lr": "fast"}, ["optimizer.lr", "a number", "'fast'"]),
        ({"optimizer.betas": [0.9]}, ["optimizer.betas", "list"]),
        ({"augment.steps": {"flip": {"p": 0.5}}}, ["augment.steps.flip", "no _target_"]),
        (
            {"augment.steps": {"flip": {"_target_": "seedbed.data.augment.HorizontalFlip", "q": 0.5}}},
            ["augment.steps.flip.q", "takes no 'q'"],
        ),
        (
            {"augment.steps": {"turn": {"_target_": "seedbed.data.augment.Rotation"}}},
            ["augment.steps.turn.degrees", "missing"],
        ),
        ({"train.epochs": "ten"}, ["train.epochs", "a whole number", "'ten'"]),
        ({"train.epochs": 0}, ["train.epochs", ">= 1", "0"]),
        ({"train.epochs": True}, ["train.epochs", "a whole number"]),
        ({"train.batch_size": -1}, ["train.batch_size", ">= 1"]),
        ({"train.grad_clip": 0}, ["train.grad_clip", "> 0"]),
        ({"dataset.val_fraction": 1.0}, ["dataset.val_fraction", "< 1"]),
        ({"dataset.on_bad_image": "ignore"}, ["dataset.on_bad_image", "fail or skip"]),
        ({"dataset.split_sed": 3}, ["dataset.split_sed", "takes no"]),
        ({"scheduler.mode": "most"}, ["scheduler.mode", "min or max"]),
        ({"seed": -1}, ["seed", ">= 0"]),
        ({"sede": 1}, ["sede", "did you mean 'seed'"]),
        ({"device.name": "gpu"}, ["device.name", "auto or cpu or cuda"]),
        ({"optimizer": None}, ["optimizer", "_target_"]),
    ],
)
def test_a_mistake_is_named_before_any_work(defaults, change, names):
    tree = copy.deepcopy(defaults)
    for key, value in change.items():
        *path, leaf = key.split(".")
        node = tree
        for part in path:
            node = node[part]
        node[leaf] = value
    with pytest.raises(UserError) as caught:
        config.check(tree)
    for name in names:
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("value", "annotation", "fits"),
    [
        (1, float, True), (True, float, False), (1.5, int, False), (None, int | None, True), ("a", list[str], False),
        (["a"], list[str], True), ([1], list[str], False), ([0.9, 0.99], tuple[float, float], True),
        ([1, 2, 3], tuple[int, ...], True), ({"a": 1}, dict[str, int], True), ({"a": "b"}, dict[str, int], False),
    ],
)  # fmt: skip
def test_accepts(value, annotation, fits):
    assert accepts(value, annotation) is fits
