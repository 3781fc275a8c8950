"""`resume=`: a stopped run is finished to the same bytes, and stays the run that it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from bad_input import one_message
from conftest import Command

STOPPED_EARLY = """
import os, signal
from seedbed.record import TrainingRecord
describe = TrainingRecord.describe
def stopped(self):
    describe(self)
    os.kill(os.getpid(), signal.SIGTERM)
TrainingRecord.describe = stopped
"""


def test_a_stop_while_the_run_is_described_saves_too(seedbed):
    done = seedbed("dataset=digits", "train.epochs=3", before=STOPPED_EARLY)
    (folder,) = done.folders
    assert done.code == 143 and f"resume={folder}" in done.out, done.err
    assert "in epoch 1, step 1" in done.out and (folder / "last.pt").exists()


def test_asked_to_stop_it_saves_and_goes_on(seedbed, tmp_path):
    overrides = ("dataset=digits", "train.epochs=40", "train.patience=null", "model.dropout=0.1", "augment=original")
    whole = seedbed(*overrides).check().folders[-1]
    folder, out = seedbed.stopped(*overrides, outputs=tmp_path / "stopped")
    assert f"resume={folder}" in out and (folder / "last.pt").exists()
    seedbed(f"resume={folder}").check()
    assert (folder / "best.safetensors").read_bytes() == (whole / "best.safetensors").read_bytes()
    assert json.loads((folder / "result.json").read_text())["status"] == "finished"
    assert "nothing to go on with" in seedbed(f"resume={folder}").check().out
    refused = seedbed(f"resume={folder}", "optimizer.lr=1")
    assert refused.code == 1 and "keeps its own settings" in refused.err


@pytest.fixture(scope="module")
def finished(command_server, tmp_path_factory, cache) -> Path:
    """A finished run of two epochs, with the state that it could be made longer from."""
    command = Command(command_server, tmp_path_factory.mktemp("finished"), cache)
    overrides = ("dataset=digits", "dataset.subset=100", "train.epochs=2", "train.keep_last=true")
    return command(*overrides).check().folders[-1]


@pytest.fixture
def run(finished, tmp_path) -> Path:
    return shutil.copytree(finished, tmp_path / "outputs/run")


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{old} in {path}"
    path.write_text(text.replace(old, new))


def test_a_finished_run_can_be_made_longer(seedbed, run):
    history = (run / "metrics.csv").read_text()
    seedbed(f"resume={run}", "train.epochs=3").check()
    assert (run / "metrics.csv").read_text().startswith(history)
    assert json.loads((run / "result.json").read_text())["epochs"] == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=1", "optimizer.lr=1: a resumed run keeps its own settings"),
        ("train.epochs=1", "train.epochs=1: a resumed run may only be made longer; this one has 2 epochs"),
        ("experiment=best/fruits_mlp", "experiment=best/fruits_mlp: a run keeps its own configuration"),
    ],
)
def test_what_would_make_it_another_run_is_refused(seedbed, run, override, message):
    before = {path: path.read_bytes() for path in run.iterdir()}
    one_message(seedbed(f"resume={run}", override), message)
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_what_cannot_be_made_longer_says_why(seedbed, run):
    longer = (f"resume={run}", "train.epochs=3")
    config, result = run / "config.yaml", run / "result.json"
    edited(result, '"stopped_early": false', '"stopped_early": true')
    one_message(seedbed(*longer), "cannot be made longer: it stopped early")
    edited(result, '"stopped_early": true', '"stopped_early": false')
    edited(config, "split_seed: 0", "split_seed: 1")
    one_message(seedbed(*longer), f"the images or their splits are not those that {run} began with")
    edited(config, "split_seed: 1", "split_seed: 0")
    (run / "last.pt").unlink()
    one_message(seedbed(*longer), "its last.pt was not kept, as train.keep_last=true would")


def test_a_one_cycle_schedule_cannot_be_made_longer(seedbed):
    run = seedbed("dataset=digits", "train=smoke", "train.keep_last=true", "scheduler=one_cycle").check().folders[-1]
    one_message(
        seedbed(f"resume={run}", "train.epochs=3"), "a one-cycle schedule is drawn over a fixed number of epochs"
    )
