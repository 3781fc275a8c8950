"""Keys and flags of Hydra's own: heeded, or refused with what does it here; and advice that works when it is typed."""

from __future__ import annotations

import re
import shlex

import pytest
from bad_input import left, one_message

from seedbed.errors import UserError
from seedbed.keys import NOT_HEEDED, refuse_hydras

SHORT = ("dataset=digits", "train=smoke", "device.threads=1")


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("hydra.run.dir=mine", "output_root=PATH"),
        ("hydra.sweep.dir=mine", "output_root=PATH"),
        ("-m hydra.sweep.subdir=a", "name=TEXT"),
        ("hydra.output_subdir=.hydra", "config.yaml"),
        ("hydra.job.chdir=true", "working folder"),
        ("hydra.job.name=mine", "name=TEXT"),
        ("+hydra.job.env_set.A=1", "environment of the shell"),
        ("hydra.mode=MULTIRUN seed=0,1", "-m"),
        ("hydra/launcher=joblib", "leave it out"),
        ("-m hydra/sweeper=basic", "leave it out"),
        ("-m +hydra.sweeper.params.seed=0,1", "behind -m"),
        ("hydra/job_logging=default", "leave it out"),
        ("hydra.verbose=true", "leave it out"),
        ("-m --config-name=other seed=0,1", "leave --config-name=other out"),
    ],
)
def test_a_word_that_is_not_heeded_is_refused(seedbed, tmp_path, typed, says):
    message = one_message(seedbed(*SHORT, *typed.split()), says)
    assert re.search(r"hydra|--config-name", message) and left(tmp_path) == set()


def test_what_takes_their_place_works(seedbed, tmp_path):
    done = seedbed(*SHORT, "output_root=mine", "name=here").check()
    (folder,) = (tmp_path / "mine").iterdir()
    assert folder.name.endswith("_here") and "run folder: mine/" in done.out


def test_every_refusal_says_what_to_do():
    assert all(re.search(r"=PATH|=TEXT|leave it out", way) for way in NOT_HEEDED.values())
    with pytest.raises(UserError):
        refuse_hydras(["hydra@x.run.dir"])
    refuse_hydras(["hydra.searchpath", "hydrate"])
    refuse_hydras(["hydra.sweep.dir"], sweeps=True)


def test_what_is_heeded(seedbed, tmp_path):
    seedbed("-m", *SHORT, "hydra.sweep.dir=mine", "seed=0,1").check()
    assert len(list((tmp_path / "mine").glob("*/result.json"))) == 2


def test_a_preset_that_says_such_a_word_is_refused_without_a_trace(seedbed, tmp_path):
    (tmp_path / "my_conf/experiment").mkdir(parents=True)
    for name, text in {"a": "run: {dir: mine}", "b": "mode: MULTIRUN", "c": "job: {env_set: {A: b}}"}.items():
        (tmp_path / f"my_conf/experiment/{name}.yaml").write_text(f"# @package _global_\n# A\nhydra:\n  {text}\n")
        before = left(tmp_path)
        one_message(seedbed("--config-dir", "my_conf", f"experiment={name}", *SHORT), "hydra.")
        assert left(tmp_path) == before


@pytest.mark.parametrize("name", ["a,b", "[a] {b} 'c' \"d\" $e"])
@pytest.mark.parametrize("sweep", [[], ["-m"]], ids=["one", "sweep"])
def test_a_folder_of_configuration_of_any_name(seedbed, tmp_path, name, sweep):
    for folder, group, text in ((name, "train", "epochs: 1"), ("other", "device", "threads: 1")):
        (tmp_path / folder / group).mkdir(parents=True)
        base = {"train": "default", "device": "cpu"}[group]
        (tmp_path / folder / group / "mine.yaml").write_text(f"# Mine\ndefaults: [{base}, _self_]\n{text}\n")
    flags = [*sweep, "--config-dir", name, f"hydra.searchpath=[file://{tmp_path}/other]"]
    out = seedbed(*flags, "dataset=digits", "train=mine", "device=mine").check().out
    assert "job 0:" not in out and "epoch   1/1" in out and "1 threads" in out
    one_message(seedbed(*flags, "train=mine", "train.epoch=1"), "did you mean 'train.epochs'")


def test_a_glob_finds_options_beside_ours(seedbed, tmp_path):
    (tmp_path / "my_conf/train").mkdir(parents=True)
    for number in (1, 2):
        text = f"# Mine\ndefaults: [default, _self_]\nepochs: {number}\n"
        (tmp_path / f"my_conf/train/mine{number}.yaml").write_text(text)
    done = seedbed("-m", "--config-dir", "my_conf", "dataset=digits", "train=glob(mine*)").check()
    assert "2 jobs, 0 failed" in done.out


def test_empty_variables_are_unset_ones(seedbed, tmp_path):
    empty = dict.fromkeys(("SEEDBED_DATA", "SEEDBED_OUTPUTS", "SEEDBED_CACHE", "XDG_CACHE_HOME"), "")
    page = seedbed("--cfg", "job", "--resolve", **empty).check().out
    assert "output_root: outputs" in page and "data_root: data" in page and "cache_root: null" in page
    one_message(seedbed("output_root=", *SHORT), "output_root: expected a path")
    assert left(tmp_path) == set()


def test_a_key_below_one_that_is_null(seedbed):
    one_message(seedbed(*SHORT, "+train.grad_clip.x=1"), "train.grad_clip: expected a number or null, got {'x': 1}")
    one_message(seedbed("task=report", "+resume.x=1"), "resume")
    one_message(seedbed("-m", *SHORT, "+resume.x=1"), "resume")


ADVISED = [
    ("optimizer.lr=1e-2,1e-3", r"add (-m)", ["-m", "optimizer.lr=1e-2,1e-3"]),
    ("model.widths=9,8", r"a list is (\S+)", ["model.widths=[9,8]"]),
    ("trian.epochs=1", r"did you mean '(\S+)'", ["train.epochs=1"]),
    ("epochs=1", r"did you mean '(\S+)'", ["train.epochs=1"]),
    ("+model.dropuot=0.1", r"did you mean '(\S+)'", ["model.dropout=0.1"]),
    ("model=mlpp", r"did you mean '(\S+)'", ["model=mlp"]),
    ("name=a,b", r"add (-m)", ["-m", "name=a,b"]),
]


@pytest.mark.parametrize(("typed", "pattern", "instead"), ADVISED, ids=[typed for typed, _, _ in ADVISED])
def test_advice_works_when_it_is_typed(seedbed, typed, pattern, instead):
    message = one_message(seedbed(*SHORT, *shlex.split(typed)))
    found = re.search(pattern, message)
    assert found and found[1] in " ".join(instead), message
    seedbed(*SHORT, *instead).check()
