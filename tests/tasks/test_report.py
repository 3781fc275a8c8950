"""task=report, by the command, on real runs."""

from __future__ import annotations

import csv
import re

import pytest
from bad_input import one_message


def test_a_sweep_in_a_table_a_file_and_a_picture(seedbed, tmp_path):
    seedbed("-m", "dataset=digits", "train=smoke", "optimizer.lr=1e-2,1e-3", "seed=0,1").check()
    exploding = ("optimizer=sgd", "optimizer.lr=1e30", "model.batch_norm=false", "scheduler=none")
    seedbed("dataset=digits", "train=smoke", *exploding)
    out = seedbed("task=report", "sort=val_accuracy", "table=all.csv", "curves=all.png").check().out
    assert "5 runs in" in out and len(re.findall(r"sweep_\w+/00\d_", out)) == 4
    assert re.search(r"digits_mlp +failed .* 0  optimizer=sgd", out), out
    assert len(re.findall(r"digits mlp  +0\.\d{4} ± 0\.\d{4}", out)) == 2
    with (tmp_path / "all.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["finished"] * 4 + ["failed"]
    accuracies = [float(row["val_accuracy"]) for row in rows[:4]]
    assert accuracies == sorted(accuracies, reverse=True) and all(
        row["typed"].startswith("dataset=digits") for row in rows
    )
    assert {row["seed"] for row in rows[:4]} == {"0", "1"}
    assert (tmp_path / "all.png").stat().st_size > 10_000
    seedbed("dataset=digits", "train=smoke", "optimizer.lr=1e-2").check()
    assert "1 run in" in seedbed("task=report", "runs=1e-2").check().out
    few = seedbed("task=report", "runs=[lr-0.001,seed-1]").check().out
    assert "1 run in" in few


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "runs: there is no run in "),
        (["runs=nothing"], "runs: there is no run that holds 'nothing' in "),
        (["dataset=digits"], "dataset=digits: says nothing to task=report; runs=TEXT chooses"),
        (["sort=best"], "sort: expected one of started, val_accuracy, test_accuracy, test_f1, got 'best'"),
    ],
)
def test_mistakes_are_one_message(seedbed, tmp_path, overrides, message):
    one_message(seedbed("task=report", *overrides), message)
    assert not list(tmp_path.iterdir())


def test_a_picture_of_too_many_runs_is_refused(seedbed, tmp_path):
    for number in range(21):
        folder = tmp_path / f"outputs/run-{number}"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text('{"status": "interrupted"}')
        (folder / "metrics.csv").write_text("epoch,val_accuracy,val_loss\n1,0.5,1\n")
    done = seedbed("task=report", "curves=all.png")
    assert done.code == 1 and "curves: 21 runs have some" in done.err and not (tmp_path / "all.png").exists()
    assert "no/where is no folder" in seedbed("task=report", "table=no/where/x.csv").err
    seedbed("task=report", "runs=run-1", "curves=some.png").check()
    assert (tmp_path / "some.png").exists()
