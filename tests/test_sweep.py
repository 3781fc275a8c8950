"""Sweeps, `-m`: what is refused before the first job, what is recorded of each, and their leaderboard."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from bad_input import left, one_message
from conftest import Command

from seedbed.files import held

SMALL = ("dataset=digits", "dataset.subset=200", "train.epochs=2", "seed=0,1,2")
# Moments of job 1: after its first epoch; before it has a config.yaml, files, a folder; after its result is written.
ENDS = {
    "epoch": "seedbed.record.TrainingRecord.write_epoch, after, '/001_' in str(a[0].folder.path)",
    "begun": "seedbed.runs.run_folder.RunFolder.write, before, '/001_' in str(a[0].path) and a[1] == 'config.yaml'",
    "empty": "seedbed.runs.run_folder.RunFolder.__init__, before, '/001_' in str(a[1])",
    "no folder": "seedbed.tasks.train.new_folder, before, '/001_' in str(a[0].folder)",
    "ended": "seedbed.runs.run_folder.RunFolder.write, after, '/001_' in str(a[0].path) and 'finished' in str(a[2])",
    "leaderboard": "seedbed.runs.leaderboard.write_csv, before, True",
}


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


KILLED, STOPPED = "os._exit(9)", "os.kill(os.getpid(), signal.SIGTERM)"


def at(moment: str, does: str) -> str:
    """Code that does something at a moment of ENDS."""
    name, when, condition = ENDS[moment].split(", ", 2)
    owner, _, function = name.rpartition(".")
    return f"""
import os, pkgutil, signal
owner = pkgutil.resolve_name({owner!r})
original = owner.{function}
def patched(*a):
    if {when == "before"} and {condition}:
        {does}
    result = original(*a)
    if {when == "after"} and {condition}:
        {does}
    return result
owner.{function} = patched
"""


def ranking(sweep: Path) -> list[list[str]]:
    with (sweep / "leaderboard.csv").open() as file:
        return [row[:-1] for row in csv.reader(file)]


def content(sweep: Path) -> dict[str, bytes | None]:
    """All files, and the bytes of weights, tables and settings; those of metrics.csv and result.json hold the clock."""
    kept = ("best.safetensors", "per_class.csv", "confusion.csv", "overrides.json", "config.yaml")
    files = (path for path in sweep.rglob("*") if path.is_file())
    return {str(path.relative_to(sweep)): path.read_bytes() if path.name in kept else None for path in files}


@pytest.fixture(scope="module")
def undisturbed(command_server, tmp_path_factory, cache) -> Path:
    command = Command(command_server, tmp_path_factory.mktemp("undisturbed"), cache)
    command("-m", *SMALL, SEEDBED_OUTPUTS="outputs").check()
    (sweep,) = command.outputs.iterdir()
    return sweep


@pytest.fixture(scope="module")
def killed(command_server, tmp_path_factory, cache) -> Path:
    """A sweep that was killed in job 1."""
    command = Command(command_server, tmp_path_factory.mktemp("killed"), cache)
    assert command("-m", *SMALL, before=at("epoch", KILLED)).code == 9
    (sweep,) = command.outputs.iterdir()
    return sweep


@pytest.fixture
def stopped(killed, tmp_path) -> Path:
    """A copy of it, elsewhere."""
    return shutil.copytree(killed, tmp_path / "outputs" / killed.name)


@pytest.mark.parametrize(("moment", "end"), [*((moment, KILLED) for moment in ENDS), ("epoch", STOPPED)])
def test_a_sweep_that_was_stopped_anywhere_goes_on_to_what_it_would_have_been(seedbed, undisturbed, moment, end):
    done = seedbed("-m", *SMALL, before=at(moment, end), SEEDBED_OUTPUTS="outputs")
    assert done.code != 0
    (sweep,) = done.outputs.iterdir()
    finished = [*sweep.glob("000_seed-0/*")]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in finished}
    assert finished and json.loads((sweep / "000_seed-0/result.json").read_text())["status"] == "finished"
    again = seedbed(f"resume={sweep}", SEEDBED_OUTPUTS="outputs").check()
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sweep.glob("000_seed-0/*")} == before
    assert "job 0: seed=0: is finished" in again.out and "3 jobs, 0 failed; sweep folder" in again.out
    assert "go on with: " not in again.out
    assert content(sweep) == content(undisturbed) and ranking(sweep) == ranking(undisturbed)
    assert list(done.outputs.iterdir()) == [sweep]


@pytest.mark.parametrize("moment", ["epoch", "no folder"])
def test_a_failed_job_is_tried_again_and_the_exit_code_says_how_it_went(seedbed, undisturbed, moment):
    fails = at(moment, "raise RuntimeError('no such kernel')")
    done = seedbed("-m", *SMALL, before=fails, SEEDBED_OUTPUTS="outputs")
    (sweep,) = done.outputs.iterdir()
    assert done.code == 1 and f"go on with: python -m run resume={sweep.relative_to(seedbed.folder)}" in done.out
    again = seedbed(f"resume={sweep}", before=fails, SEEDBED_OUTPUTS="outputs")
    assert again.code == 1 and "3 jobs, 1 failed" in again.out
    assert [row[2] for row in ranking(sweep)].count("failed") == 1
    seedbed(f"resume={sweep}", SEEDBED_OUTPUTS="outputs").check()
    assert content(sweep) == content(undisturbed) and ranking(sweep) == ranking(undisturbed)


def test_what_was_typed_is_found_from_another_folder_whatever_conf_says_by_then(seedbed, tmp_path, picture_tree):
    picture_tree({f"{name}/{i}.png": (10 * i, 0, 0) for name in "ab" for i in range(9)}, root="pictures")
    (tmp_path / "mine.py").write_text("from seedbed.models.mlp import MLP\n\n\nclass Mine(MLP):\n    pass\n")
    preset = tmp_path / "my_conf/model/mine.yaml"
    preset.parent.mkdir(parents=True)
    shutil.copy(Path(__file__).parents[1] / "conf/model/mlp.yaml", preset)
    preset.write_text(preset.read_text().replace("seedbed.models.mlp.MLP", "mine.Mine"))
    overrides = ("dataset=folder", "dataset.root=pictures", "model=mine", "model.image_size=8", "cache_root=kept")
    done = seedbed("-m", "--config-dir", "my_conf", "train=smoke", "seed=0,1,2", *overrides, before=at("begun", KILLED))
    (sweep,) = done.outputs.iterdir()
    preset.unlink()
    (tmp_path / "elsewhere").mkdir()
    done = seedbed("resume=../outputs/" + sweep.name, "device.threads=1", cwd=tmp_path / "elsewhere").check()
    assert "3 jobs, 0 failed" in done.out and f"working folder, as when the sweep began: {tmp_path}" in done.out
    configs = [path.read_text() for path in sorted(sweep.glob("*/config.yaml"))]
    assert len(configs) == 3 and all("root: pictures" in config for config in configs)
    assert ["threads: 1" in config for config in configs] == [False, True, True]
    assert not list((tmp_path / "elsewhere").iterdir()) and (tmp_path / "kept").is_dir()


def test_only_one_process_works_in_a_sweep(seedbed, stopped):
    with held(stopped / "sweep.lock", "busy"):
        one_message(seedbed(f"resume={stopped}"), f"{stopped}: another process runs this sweep; wait for it or stop it")
    seedbed(f"resume={stopped}").check()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=1", "optimizer.lr=1: a resumed sweep keeps its own settings"),
        ("train.epochs=3", "train.epochs=3: a resumed sweep keeps its own settings"),
        ("seed=3", "seed=3: a resumed sweep keeps its own settings"),
        ("device=gpu", "device=gpu: no such option"),
        ("dataset.root=nowhere", "job 1 (seed=1): dataset.root: seedbed.data.digits.Digits takes no root"),
    ],
)
def test_what_would_make_it_another_sweep_is_refused(seedbed, stopped, override, message):
    before = left(stopped)
    one_message(seedbed(f"resume={stopped}", override), message)
    assert left(stopped) == before - {"sweep.lock"}  # of the killed process


def test_a_folder_that_does_not_say_its_jobs_is_refused(seedbed, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old/multirun.yaml").write_text("hydra: {}\n")
    one_message(seedbed("resume=old"), "is a sweep of version 0.1", "go on with its runs one by one, resume=RUN")
    (tmp_path / "new").mkdir()
    one_message(seedbed("resume=new"), "new is not a run folder (it holds no config.yaml), nor a sweep's (sweep.json)")
    job = '{"overrides": [], "swept": {}, "choices": {}, "config": "%s"}'
    jobs = ("1", "[1]", f"[{job % '['}]", f"[{job % 'a: 1'}]", f"[{job % 'a: ${b}'}]", '[{"overrides": 1}]')
    for text in ("", "[]", "{}", *(f'{{"working_folder": ".", "jobs": {text}}}' for text in jobs)):
        (tmp_path / "new/sweep.json").write_text(text)
        one_message(seedbed("resume=new"), "sweep.json: ")
        assert [path.name for path in (tmp_path / "new").iterdir()] == ["sweep.json"]


def test_jobs_that_leave_no_runs_cannot_be_gone_on_with(seedbed, undisturbed):
    sweep = (f"checkpoint={undisturbed}/000_seed-0", "task=evaluate", "split=val,test")
    done = seedbed("-m", *sweep).check()
    (folder,) = done.outputs.iterdir()
    assert "go on with: " not in done.out
    one_message(seedbed(f"resume={folder}"), f"the jobs of {folder} leave no runs to go on with")


@pytest.mark.parametrize("step", ["mkdir", "rename", "unlink"])
def test_a_kill_while_the_folder_is_made_leaves_a_sweep_or_nothing_that_stays(seedbed, tmp_path, step):
    before = f"""
import os, pathlib
original = pathlib.Path.{step}
def patched(self, *arguments, **named):
    if self.name.startswith(".sweep") and not self.name.startswith(".sweep.json"):
        os._exit(9)
    return original(self, *arguments, **named)
pathlib.Path.{step} = patched
"""
    sweep = ("-m", "dataset=digits", "dataset.subset=200", "train=smoke")
    assert seedbed(*sweep, before=before).code == 9
    found = [path for path in (tmp_path / "outputs").iterdir() if not path.name.startswith(".")]
    assert [path.name for folder in found for path in folder.iterdir()] == (["sweep.json"] if step == "unlink" else [])
    done = seedbed(*sweep).check()
    names = [path.name for path in done.outputs.iterdir()]
    assert len(names) == 1 + len(found) and not [name for name in names if name.startswith(".")]


def test_a_sweep_does_not_begin_in_a_folder_with_files(seedbed, stopped):
    one_message(seedbed("-m", *SMALL, f"hydra.sweep.dir={stopped}"), f"{stopped} holds files", f"resume={stopped}")
