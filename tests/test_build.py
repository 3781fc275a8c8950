"""The parts that the configuration names, completed."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from test_conf import composed

from seedbed import build, config
from seedbed.errors import UserError
from seedbed.models.convnet import ConvNet


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 10, 20])
@pytest.mark.parametrize("pct_start", [0.1, 0.2, 0.25, 0.3, 0.5, 1.0])
def test_one_cycle_runs_over_however_few_steps(steps, pct_start):
    settings = config.check(composed("scheduler=one_cycle", f"scheduler.pct_start={pct_start}", "optimizer.lr=0.5"))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule, by_batch = build.make_schedule(settings, optimizer, steps)
    assert by_batch
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step() if len(rates) < steps else None
    assert all(0 < rate <= 0.5 for rate in rates)


def test_training_images_may_stay_as_they_are_while_others_are_normalised(seedbed):
    words = "dataset=digits train=smoke model=convnet model.base_depth=2 model.expansion=2 device.precision=float32"
    rows = []
    for more in ("", "model.normalize_training=false", "model.mean=0 model.std=1"):
        done = seedbed(*words.split(), *more.split()).check()
        with (done.folders[-1] / "metrics.csv").open() as file:
            rows.append(next(csv.DictReader(file)))
    usual, reading, neither = rows
    assert reading["train_loss"] == neither["train_loss"] != usual["train_loss"]
    assert reading["val_loss"] != neither["val_loss"]
    run = done.folders[1]
    again = seedbed("task=evaluate", f"checkpoint={run / 'best.safetensors'}").check()
    recorded = json.loads((run / "result.json").read_text())["test"]
    assert f"{recorded['accuracy']:.4f}" in again.out and f"{recorded['f1']:.4f}" in again.out


def test_features_are_not_made_of_images_left_as_they_are(seedbed):
    done = seedbed("dataset=digits", "train=smoke", "model=features_mlp", "+model.normalize_training=false")
    assert done.code == 1 and "model.normalize_training: features are made of pixels as they are" in done.err
    done = seedbed("dataset=digits", "model=features_mlp", "train.tta=2")
    assert done.code == 1 and "train.tta: features are extracted once" in done.err
    done = seedbed("dataset=digits", "model=features_mlp", "train.initial_size=8")
    assert done.code == 1 and "train.initial_size: features are extracted once" in done.err


SMALL = ("dataset=digits", "dataset.image_size=12", "model=convnet", "model.base_depth=4", "train.initial_size=8",
         "train.initial_fraction=0.67", "train.epochs=3", "augment=flip_crop", "optimizer.lr=1e-3")  # fmt: skip


def test_training_images_are_small_at_first(seedbed):
    done = seedbed(*SMALL, "train.keep_last=true").check()
    history = [row.split(",") for row in (done.folders[-1] / "metrics.csv").read_text().splitlines()[1:]]
    usual = seedbed(*SMALL, "train.initial_size=null").check().folders[-1]
    others = [row.split(",") for row in (usual / "metrics.csv").read_text().splitlines()[1:]]
    assert history[0][2] != others[0][2]
    never = seedbed(*SMALL, "train.initial_fraction=0.33").check().folders[-1]
    row = (never / "metrics.csv").read_text().splitlines()[1].split(",")
    assert [row[n] for n in (1, 2, 3)] == [others[0][n] for n in (1, 2, 3)], "a third of three epochs, less a little"
    refused = seedbed(f"resume={done.folders[-1]}", "train.epochs=6")
    assert refused.code == 1 and "train.initial_fraction is a part of a fixed number of epochs" in refused.err


@pytest.mark.parametrize(
    ("fraction", "epochs", "first"), [(0.58, 50, 29), (0.7, 90, 63), (0.5, 1, 0), (0.99, 3, 2), (0.33, 3, 0)]
)
def test_the_number_of_first_epochs(fraction, epochs, first):
    words = ("train.initial_size=9", f"train.initial_fraction={fraction}", f"train.epochs={epochs}", "model=convnet")
    settings = config.check(composed("dataset=digits", *words))
    model = ConvNet((1, 28, 28), 10, base_depth=4)
    assert build.initial_images(settings, model, 1) == (9, first)


def test_the_first_images_are_smaller_ones():
    settings = config.check(composed("dataset=digits", "model=convnet", "train.initial_size=28"))
    with pytest.raises(UserError, match="expected a size below the model's, 28, got 28"):
        build.initial_images(settings, ConvNet((1, 28, 28), 10, base_depth=4), 1)


def test_a_model_of_one_size_takes_no_small_images(seedbed, tmp_path):
    done = seedbed("dataset=digits", "train.initial_size=9")
    assert done.code == 1 and not done.folders
    assert "train.initial_size: MLP, made for images of 28 pixels, takes none of 9" in done.err
