"""A checkpoint from elsewhere: seedbed's classes are built, and nothing else runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seedbed import trained
from seedbed.errors import UserError
from seedbed.request import Request
from seedbed.tasks import evaluate
from seedbed.training import checkpoint

MODEL = {"_target_": "seedbed.models.mlp.MLP", "_partial_": True, "widths": [4], "image_size": 8, "mean": 0.5,
         "std": 0.5}  # fmt: skip
DATASET = {"_target_": "seedbed.data.digits.Digits", "image_size": None}


def offered(tmp_path: Path, **config) -> Request:
    metadata = {
        "config": {"model": MODEL, "dataset": DATASET, **config}, "classes": ["a", "b"], "channels": 1,
        "preprocess": {"image_size": 8, "mean": [0.5], "std": [0.5]},
    }  # fmt: skip
    path = tmp_path / "best.safetensors"
    checkpoint.save_best(path, {"w": torch.ones(1)}, metadata)
    return Request({"task": "evaluate", "checkpoint": str(path)}, {})


@pytest.mark.parametrize(
    "config",
    [
        {"model": {**MODEL, "_target_": "os.system"}},
        {"model": {**MODEL, "widths": {"_target_": "builtins.open", "file": "ran", "mode": "w"}}},
        {"dataset": {**DATASET, "_target_": "builtins.open"}},
        {"dataset": {**DATASET, "root": "${oc.env:HOME}"}},
        {"dataset": {**DATASET, "root": '${oc.create:${oc.decode:"{_tar${x}_: builtins.open}"}}'}},
        {"model": 3},
        {"model": {**MODEL, "_target_": "seedbed.models.fine_tuning.load_file"}},
        {"model": {**MODEL, "_target_": "seedbed.models.fine_tuning.Path"}},
        {"model": {**MODEL, "_args_": [{"_target_": "seedbed.models.fine_tuning.Path.touch", "_args_": ["ran"]}]}},
        {"model": {**MODEL, "_args_": [[4]]}},
        {"dataset": {**DATASET, "_target_": "seedbed.data.cache.make_once"}},
    ],
)
def test_a_foreign_configuration_runs_nothing(tmp_path, monkeypatch, config):
    monkeypatch.setattr("hydra.utils.instantiate", lambda *a, **k: pytest.fail("built something"))
    monkeypatch.setattr("seedbed.config.locate", lambda *a: pytest.fail("imported something"))
    with pytest.raises(UserError, match=r"nothing was run|names no model"):
        evaluate.run(offered(tmp_path, **config))


def test_addresses_of_a_file_are_not_fetched():
    config = {"model": dict(MODEL), "dataset": {"_target_": "seedbed.data.idx.Idx", "url": "http://elsewhere"}}
    trained._refuse_foreign(Path("x"), config, set())
    assert config["dataset"]["url"] is None


def test_there_is_no_other_split_to_test(tmp_path):
    request = offered(tmp_path)
    request.config["split"] = "train"
    with pytest.raises(UserError, match="split: expected test or val, got 'train'"):
        evaluate.run(request)


@pytest.mark.parametrize(
    "override",
    [
        "model.mean=0.1", "model.normalize_training=false", "dataset.image_size=64", "augment=flip", "train=smoke",
        "augment.steps.flip.p=1", "optimizer.lr=1", "train.epochs=3", "model.rescale_batchnorm=true",
    ],
)  # fmt: skip
def test_what_would_be_ignored_is_refused(tmp_path, override):
    request = offered(tmp_path)
    request.overrides.append(override)
    with pytest.raises(UserError, match="says nothing to task=evaluate"):
        evaluate.run(request)
