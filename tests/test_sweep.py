"""Sweeps, `-m`: what is refused before the first job, what is recorded of each, and their leaderboard."""

from __future__ import annotations

import csv
import re

import pytest
from bad_input import one_message


def test_sweep_of_four_with_a_leaderboard_and_a_failure_recorded(seedbed):
    done = seedbed("-m", "dataset=digits", "train=smoke", "optimizer.lr=1e-2,1e-3", "augment=none,flip").check()
    (sweep,) = done.outputs.iterdir()
    with (sweep / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(r["optimizer.lr"], r["augment"]) for r in rows} == {
        (lr, a) for lr in ("0.01", "0.001") for a in ("none", "flip")
    }
    accuracies = [float(r["val_accuracy"]) for r in rows]
    assert accuracies == sorted(accuracies, reverse=True)

    exploding = ("optimizer=sgd", "model.batch_norm=false", "scheduler=none", "optimizer.lr=1e-2,1e30")
    done = seedbed("-m", "dataset=digits", "train=smoke", *exploding)
    assert done.code == 1 and "the training loss became" in done.out and "2 jobs, 1 failed" in done.out
    sweep = max(done.outputs.iterdir())
    with (sweep / "leaderboard.csv").open() as file:
        assert [row["val_accuracy"] == "failed" for row in csv.DictReader(file)] == [False, True]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.epochs=1,0"], "job 1 (train.epochs=0): train.epochs: expected a number >= 1, got 0; no job was begun"),
        (["optimizer.lr=1e-3,le-4"], "job 1 (optimizer.lr=le-4): optimizer.lr: expected a number"),
        (["optimizer.lr=1e-3,-1", "seed=0,1"], "job 2 (optimizer.lr=-1, seed=0): optimizer"),
        (["model.dropout=0.1,2"], "job 1 (model.dropout=2): model"),
        (["optimizer.lrr=1,2"], "optimizer.lrr: no such key; did you mean 'optimizer.lr'"),
        (["augment=none,flipp"], "augment=flipp: no such option; did you mean 'flip'"),
        (["optimizer.lr=interval(1,2)"], "a sweep runs listed values: optimizer.lr=A,B,C or range(…)"),
        (["augment=glob(nothing*)"], "augment=glob(nothing*): no job comes of these overrides"),
        (["seed=0,1", "hydra.launcher._target_=mine.Launcher"], "hydra.launcher._target_: jobs run one after another"),
        (["seed=0,1", "task=evaluate", "checkpoint=nowhere"], "job 0 (seed=0): checkpoint: nowhere is not there"),
        (["seed=0,1", "output_root=/dev/null"], "output_root: cannot make /dev/null/"),
        (["optimizer.lr=1,2", "--cfg", "job"], "-m --cfg: these do not go together"),
    ],
)  # fmt: skip
def test_a_mistake_in_any_job_of_a_sweep_is_found_before_the_first(seedbed, tmp_path, overrides, message):
    done = seedbed("-m", "dataset=digits", "train=smoke", *overrides)
    one_message(done, message)
    assert "job 0" not in done.out
    assert not list((tmp_path / "outputs").glob("*")), "no folder of a sweep that did not begin"


def test_a_stopped_sweep_says_what_did_not_begin_and_its_leaderboard_follows_a_resumed_run(seedbed):
    overrides = ("dataset=digits", "train.epochs=40", "train.patience=null", "augment=original", "seed=0,1,2")
    folder, out = seedbed.stopped("-m", *overrides, after="*/*/metrics.csv")
    assert "1 jobs, 0 failed, 2 not begun" in out and re.search("not begun: job 2: .*seed=2", out), out

    def ranked() -> list[str]:
        with (folder.parent / "leaderboard.csv").open() as file:
            return [row["val_accuracy"] for row in csv.DictReader(file)]

    assert ranked() == ["interrupted"]
    accuracy = seedbed(f"resume={folder}").check().result["val"]["accuracy"]
    assert ranked() == [f"{accuracy:.4f}"]


def test_values_may_come_from_a_preset(seedbed, tmp_path):
    (tmp_path / "my_conf/experiment").mkdir(parents=True)
    text = "# @package _global_\n# Two seeds\nhydra:\n  sweeper:\n    params:\n      seed: 0,1\n"
    (tmp_path / "my_conf/experiment/seeds.yaml").write_text(text)
    done = seedbed("-m", "--config-dir", "my_conf", "experiment=seeds", "dataset=digits", "train=smoke").check()
    assert "job 1: seed=1" in done.out and "2 jobs, 0 failed" in done.out


def test_a_job_that_fails_unexpectedly_is_recorded_and_the_next_one_runs(seedbed):
    broken = """
from seedbed.experiment import Experiment
test = Experiment.test
def fails_once(experiment):
    Experiment.test = test
    raise RuntimeError("no such kernel")
Experiment.test = fails_once
"""
    done = seedbed("-m", "dataset=digits", "train=smoke", "seed=0,1", before=broken)
    assert done.code == 1 and "2 jobs, 1 failed" in done.out and "RuntimeError: no such kernel" in done.out
    (sweep,) = done.outputs.iterdir()
    with (sweep / "leaderboard.csv").open() as file:
        assert [row["val_accuracy"] == "failed" for row in csv.DictReader(file)] == [False, True]
    assert [result.parent.name[:3] for result in sorted(sweep.glob("*/result.json"))] == ["000", "001"]
