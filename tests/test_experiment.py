"""An experiment: a checked configuration and its parts, made from overrides."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from seedbed.config import build
from seedbed.errors import UserError
from seedbed.experiment import Experiment
from seedbed.models.convnet import ConvNet
from seedbed.optimization import build_scheduler

SMALL_CONVNET = ("model=convnet", "model.base_depth=2", "model.expansion=2", "device.precision=float32")


def rows_of(folder: Path) -> list[dict[str, str]]:
    """The epochs of a run, without the seconds that they took."""
    with (folder / "metrics.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def test_it_has_its_parts_once(tmp_path):
    """Made from overrides alone, as studies and the Python API do."""
    overrides = ("dataset=digits", "train=smoke", *SMALL_CONVNET, "scheduler=one_cycle", "augment=flip_crop")
    experiment = Experiment.from_overrides([*overrides, f"cache_root={tmp_path}"])
    assert experiment.settings.train.epochs == 1 and experiment.data is experiment.images
    assert len(experiment.data.train) == 288 and len(experiment.classes) == 10
    assert isinstance(experiment.model, ConvNet) and experiment.model is experiment.model
    assert (
        experiment.preprocess.image_size == 28 and experiment.device.torch == next(experiment.model.parameters()).device
    )
    parameters = {id(p) for group in experiment.optimizer.param_groups for p in group["params"]}
    assert parameters == {id(p) for p in experiment.model.parameters()}
    assert experiment.train_loader.augment is experiment.augment
    assert experiment.val_loader.augment is None and experiment.test_loader.augment is None
    assert [len(loader) for loader in (experiment.train_loader, experiment.val_loader, experiment.test_loader)] == [
        9,
        1,
        1,
    ]
    (state,) = experiment.fit()
    assert state is experiment.state and state.epoch == 1 and state.optimizer is experiment.optimizer
    assert experiment.test().summary["test"]["accuracy"] >= 0


@pytest.mark.parametrize("override", ["train.epochs=0", "model._target_=seedbed.models.mlp.MPL", "+model.nodes=3"])
def test_what_is_wrong_is_refused_before_anything_is_made(override):
    with pytest.raises(UserError, match=r"^(train\.epochs|model\._target_|model\.nodes): "):
        Experiment.from_overrides(["dataset=digits", override])


def test_a_node_is_built_with_what_it_takes_of_what_is_supplied():
    node = {"_target_": "seedbed.models.mlp.MLP", "_partial_": True, "widths": [4]}
    model = build(node, "model", input_shape=(1, 8, 8), classes=3)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    assert build(None, "scheduler") is None
    with pytest.raises(UserError, match=r"^model \(torch\.nn\.Linear\): "):
        build({"_target_": "torch.nn.Linear", "in_features": -1, "out_features": 1}, "model", classes=3)


@pytest.mark.parametrize("pct_start", [0.1, 0.2, 0.25, 0.3, 0.5, 1.0])
def test_one_cycle_runs_over_however_few_steps(pct_start):
    overrides = ["scheduler=one_cycle", f"scheduler.pct_start={pct_start}", "optimizer.lr=0.5"]
    settings = Experiment.from_overrides(overrides).settings
    for steps in (1, 2, 3, 4, 5, 10, 20):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
        scheduler, per_batch = build_scheduler(settings, optimizer, steps)
        assert per_batch
        lrs = []
        for _ in range(steps):
            lrs.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step() if len(lrs) < steps else None
        assert all(0 < lr <= 0.5 for lr in lrs), steps


def test_training_images_may_stay_as_they_are_while_others_are_normalised(seedbed):
    of_paper = ("model._target_=seedbed.models.report.ReportConvNet", "+model.share_blocks=false",
                "+model.norm_order=norm_relu")  # fmt: skip
    rows = []
    for more in (
        ["+model.normalize_training=true"],
        ["+model.normalize_training=false"],
        ["model.mean=0", "model.std=1"],
    ):
        done = seedbed("dataset=digits", "train=smoke", *SMALL_CONVNET, *of_paper, *more).check()
        rows += rows_of(done.folders[-1])
    usual, literal, neither = rows
    assert literal["train_loss"] == neither["train_loss"] != usual["train_loss"]
    assert literal["val_loss"] != neither["val_loss"]
    run = done.folders[1]
    again = seedbed("task=evaluate", f"checkpoint={run / 'best.safetensors'}").check()
    recorded = json.loads((run / "result.json").read_text())["test"]
    assert f"{recorded['accuracy']:.4f}" in again.out and f"{recorded['f1']:.4f}" in again.out


@pytest.mark.parametrize("override", ["train.tta=2", "train.initial_size=8"])
def test_features_take_no_changed_images(seedbed, override):
    done = seedbed("dataset=digits", "model=features_mlp", override)
    assert done.code == 1 and f"{override.partition('=')[0]}: features are extracted once" in done.err


def test_training_images_are_small_at_first(seedbed):
    overrides = (
        "dataset=digits", "dataset.subset=100", "dataset.image_size=12", *SMALL_CONVNET, "train.initial_size=8",
        "train.initial_fraction=0.67", "train.epochs=3", "augment=flip_crop", "optimizer.lr=1e-3",
    )  # fmt: skip
    done = seedbed(*overrides, "train.keep_last=true").check()
    small = rows_of(done.folders[-1])
    usual = rows_of(seedbed(*overrides, "train.initial_size=null").check().folders[-1])
    assert small[0]["train_loss"] != usual[0]["train_loss"]
    never = rows_of(seedbed(*overrides, "train.initial_fraction=0.33").check().folders[-1])
    assert never == usual, "a third of three epochs, less a little"
    refused = seedbed(f"resume={done.folders[-1]}", "train.epochs=6")
    assert refused.code == 1 and "train.initial_fraction is a part of a fixed number of epochs" in refused.err


@pytest.mark.parametrize(
    ("fraction", "epochs", "first"), [(0.58, 50, 29), (0.7, 90, 63), (0.5, 1, 0), (0.99, 3, 2), (0.33, 3, 0)]
)
def test_the_number_of_first_epochs(fraction, epochs, first):
    overrides = ("train.initial_size=9", f"train.initial_fraction={fraction}", f"train.epochs={epochs}")
    assert Experiment.from_overrides(["dataset=digits", *overrides, "model=convnet"]).initial_images == (9, first)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=convnet", "train.initial_size=28"], "expected a size below the model's, 28, got 28"),
        (["model=mlp", "train.initial_size=9"], "MLP, made for images of 28 pixels, takes none of 9"),
    ],
)
def test_the_first_images_are_smaller_ones_that_the_model_takes(seedbed, overrides, message):
    done = seedbed("dataset=digits", *overrides)
    assert done.code == 1 and not done.folders and f"train.initial_size: {message}" in done.err
