"""The command, on real data; what matters of a process, in new processes."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bad_input import one_message
from conftest import data_file, fashion_mnist_folder

RUN_FILES = {
    "config.yaml", "overrides.json", "environment.json", "train.log", "metrics.csv", "result.json",
    "best.safetensors", "loss.png", "accuracy.png", "confusion.png", "confusion.csv", "per_class.csv", "samples.png",
}  # fmt: skip


def test_help_names_every_group_and_imports_no_torch(seedbed):
    code = (
        "import sys; sys.argv = ['run', '--help']; from seedbed.cli import main; main(); "
        "print(sorted({'torch', 'hydra', 'matplotlib'} & set(sys.modules)))"
    )
    help_page, _, heavy = seedbed.process(program=("-c", code)).check().out.rstrip().rpartition("\n")
    assert heavy == "[]"
    for name in ("fashion_mnist", "resnet18", "flip_crop", "one_cycle", "cuda", "smoke", "evaluate", "-m optimizer.lr"):
        assert name in help_page
    assert seedbed("--help").check().out.strip() == help_page.strip()


def test_a_reader_who_has_had_enough_is_no_mistake():
    done = subprocess.run(
        f"{sys.executable} -m run --help | head -1", shell=True, executable="/bin/bash", capture_output=True, text=True
    )
    assert done.stdout.startswith("seedbed trains") and done.stderr == ""


def test_cfg_job_prints_and_runs_nothing(seedbed):
    done = seedbed("dataset=digits", "--cfg", "job").check()
    assert "seedbed.data.digits.Digits" in done.out
    assert not done.outputs.exists()


def test_a_run_leaves_a_complete_folder_and_nothing_else(seedbed, tmp_path):
    done = seedbed.process("dataset=digits", "train.epochs=8", "seed=0").check()
    (folder,) = done.folders
    assert {p.name for p in folder.iterdir()} == RUN_FILES
    assert {p.name for p in tmp_path.iterdir()} == {"outputs"}, "Hydra writes nothing of its own"
    result = done.result
    assert result["status"] == "finished" and result["test"]["accuracy"] > 0.9
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_f1", "seconds",
    ]  # fmt: skip
    assert len(rows) == result["epochs"] == 8
    best = max(rows, key=lambda row: float(row["val_accuracy"]))
    assert int(best["epoch"]) == result["best_epoch"]
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["versions"]["torch"] and environment["threads"] >= 1 and "cpu_vectors" in environment
    assert not set("=, ") & set(folder.name)
    assert "accuracy" in done.out and str(folder) in done.out

    evaluation = ("task=evaluate", f"checkpoint={folder}/best.safetensors", "train.eval_batch_size=500")
    assert "identical to the metrics" in seedbed.process(*evaluation).check().out


def test_a_convolutional_model_shows_its_evidence_too(seedbed):
    small = ("model=convnet", "model.base_depth=2", "model.expansion=2", "dataset.subset=64", "train.epochs=1")
    (folder,) = seedbed("dataset=digits", *small).check().folders
    assert {p.name for p in folder.iterdir()} == RUN_FILES | {"evidence.png"}


def test_tta_is_of_the_test_alone_and_the_metrics_without_it_stand_beside(seedbed):
    """Validation, and with it the weights that are kept, are the same; any checkpoint can be tested with TTA."""
    overrides = ("dataset=digits", "train.epochs=2", "augment=flip")
    plain = seedbed(*overrides).check()
    one, (first,) = plain.result, plain.folders
    averaged = seedbed(*overrides, "train.tta=6").check()
    six = averaged.result
    assert "test_without_tta" not in one and six["test_without_tta"] == one["test"] != six["test"]
    assert six["val"] == one["val"] and six["best_epoch"] == one["best_epoch"]
    assert "its images as they are" in averaged.out
    with (averaged.folders[-1] / "per_class.csv").open() as file:
        recalls = [float(row["recall"]) for row in csv.DictReader(file)]
    assert sum(recalls) / len(recalls) == pytest.approx(six["test"]["recall"], abs=1e-4)

    folder = averaged.folders[-1]
    again = seedbed("task=evaluate", f"checkpoint={folder}/best.safetensors").check()
    assert "identical to the metrics" in again.out
    validation = seedbed("task=evaluate", f"checkpoint={folder}/best.safetensors", "split=val").check()
    assert f"{one['val']['accuracy']:.4f}" in validation.out and "recorded" not in validation.out
    other = seedbed("task=evaluate", f"checkpoint={first}/best.safetensors", "train.tta=6").check()
    assert f"loss {one['test']['loss']} recorded, {six['test']['loss']} now" in other.out


def test_two_runs_are_equal_but_for_the_clock(seedbed):
    """One of them in a new process, whose sets have another order; and with two threads."""
    overrides = ("dataset=digits", "train.epochs=2", "augment=original", "model.dropout=0.2", "device.threads=2")
    seedbed(*overrides).check()
    one, two = seedbed.process(*overrides).check().folders
    assert (one / "best.safetensors").read_bytes() == (two / "best.safetensors").read_bytes()
    first, second = (
        [line.rpartition(",")[0] for line in (folder / "metrics.csv").read_text().splitlines()] for folder in (one, two)
    )
    assert first == second


def test_fashion_mnist_learns(seedbed):
    folder = fashion_mnist_folder()
    done = seedbed(f"dataset.root={folder}", "dataset.subset=10000", "train.epochs=3").check()
    assert done.result["test"]["accuracy"] > 0.80


BROKEN = """
from seedbed.experiment import Experiment
def broken(*_, **__):
    raise {error}
Experiment.test = broken
"""


@pytest.mark.parametrize(
    ("error", "code", "status", "says"),
    [
        ("RuntimeError('no such kernel')", 1, "failed", "no such kernel"),
        ("KeyboardInterrupt", 130, "interrupted", "go on with: python -m run resume="),
        ("MemoryError('14 GiB')", 1, "failed", "out of memory after epoch 1"),
    ],
)
def test_a_run_that_ends_unexpectedly_says_so_in_its_folder(seedbed, error, code, status, says):
    done = seedbed("dataset=digits", "train.epochs=1", before=BROKEN.format(error=error))
    (folder,) = done.folders
    assert done.code == code and says in done.out + done.err
    assert done.result["status"] == status
    log = (folder / "train.log").read_text()
    assert ("Traceback" in log) == (status == "failed") and (folder / "last.pt").exists()
    assert ("Traceback" in done.err) == ("RuntimeError" in error)


def test_classes_in_the_working_folder_are_found_by_both_commands(seedbed, tmp_path):
    (tmp_path / "mine.py").write_text("class Net: pass\n")
    installed = Path(sys.executable).parent / "seedbed"
    for program in (("-m", "run"), ("-c", f"import runpy; runpy.run_path({str(installed)!r}, run_name='__main__')")):
        done = seedbed.process("dataset=digits", "model._target_=mine.Nett", program=program)
        assert done.code == 1 and "mine has no 'Nett'; did you mean 'Net'" in done.err


def test_options_of_a_folder_beside_ours(seedbed, tmp_path):
    """They are chosen, listed by --help, and named in the message for a misspelt one."""
    (tmp_path / "mine.py").write_text("from seedbed.models.mlp import MLP\nclass Net(MLP): pass\n")
    (tmp_path / "my_conf/model").mkdir(parents=True)
    keys = "_target_: mine.Net\n_partial_: true\nwidths: [9]\nimage_size: 8\nmean: 0.5\nstd: 0.5\n"
    (tmp_path / "my_conf/model/tiny.yaml").write_text(f"# Nine hidden units\n{keys}")
    for flags in (["--config-dir", "my_conf"], ["--config-dir=my_conf"]):
        page = seedbed(*flags, "--help").check().out
        assert re.search(r"^ +tiny +Nine hidden units$", page, re.MULTILINE) and "convnet" in page
        message = one_message(seedbed("dataset=digits", *flags, "model=tinny"), "model=tinny: no such option")
        assert "did you mean 'tiny'" in message and "(model has: convnet, features_mlp, mlp, resnet18, tiny)" in message
    done = seedbed("dataset=digits", "train=smoke", *flags, "model=tiny").check()
    assert done.result["title"] == "digits tiny"
    sweep = seedbed("-m", *flags, "dataset=digits", "train=smoke", "model=tiny,mlp").check()
    assert "2 jobs, 0 failed" in sweep.out
    assert "tiny" not in seedbed("--help").check().out


STRIPES = """
import numpy as np
from seedbed.data.sources import UNSPLIT, Listing

class Stripes:
    name = "stripes"

    def fingerprint(self):
        return "stripes, version 1"

    def listing(self):
        labels = np.arange(80) % 2
        images = np.random.default_rng(0).integers(0, 60, (80, 1, 8, 8), dtype=np.uint8)
        images[labels == 0, :, ::4] += 150
        names = [str(number) for number in range(80)]
        return Listing(("some", "none"), labels, np.full(80, UNSPLIT, np.int8), names, images=images)
"""


def test_a_data_set_needs_no_root(seedbed, tmp_path):
    """A name, a fingerprint and a listing do; `dataset.root` is then a mistake."""
    (tmp_path / "mine.py").write_text(STRIPES)
    (tmp_path / "my_conf/dataset").mkdir(parents=True)
    text = "# Stripes\ndefaults: [_base, _self_]\n_target_: mine.Stripes\n"
    (tmp_path / "my_conf/dataset/stripes.yaml").write_text(text)
    chosen = ("--config-dir", "my_conf", "dataset=stripes", "train=smoke")
    (folder,) = seedbed(*chosen).check().folders
    evaluation = ("--config-dir", "my_conf", "task=evaluate", f"checkpoint={folder}", "dataset=stripes")
    assert "identical to the metrics" in seedbed(*evaluation).check().out
    one_message(seedbed(*chosen, "dataset.root=x"), "dataset.root: mine.Stripes takes no root")


def test_another_data_set_is_tested_at_the_size_of_the_run(seedbed):
    done = seedbed("dataset=digits", "dataset.image_size=12", "dataset.val_fraction=0.3", "train.epochs=1").check()
    checkpoint = f"checkpoint={done.folders[-1]}/best.safetensors"
    again = seedbed("task=evaluate", checkpoint, "dataset=digits").check()
    assert "identical to the metrics" in again.out and "not the images" not in again.out
    other = seedbed("task=evaluate", checkpoint, "dataset=digits", "dataset.split_seed=1").check()
    assert "these are not the images and splits of its run" in other.out


def test_images_from_elsewhere_are_tested_whole(seedbed, picture_tree):
    """Of some of the classes, too, by the numbers that these had in training; grey ones by a model of colours."""
    colours = {"cat": (200, 0, 0), "dog": (0, 0, 200), "emu": (0, 200, 0)}
    root = picture_tree({f"{c}/{i}.png": colour for c, colour in colours.items() for i in range(30)})
    done = seedbed("dataset=folder", f"dataset.root={root}", "train.epochs=15", "train.batch_size=8").check()
    assert "folder_pictures_mlp" in done.folders[-1].name and done.result["test"]["accuracy"] == 1
    assert done.result["title"] == "folder pictures mlp"
    run = f"checkpoint={done.folders[-1]}"
    some = picture_tree({f"{c}/{i}.png": colours[c] for c in ("dog", "emu") for i in range(2)}, root="elsewhere")
    for overrides in ([f"dataset.root={some}"], ["dataset=folder", f"dataset.root={some}"]):
        out = seedbed("task=evaluate", run, *overrides).check().out
        assert "test: 4 images" in out and "not the images and splits" in out and "recorded" not in out
        assert " 1.0000 " in out, out
    grey = picture_tree({f"{c}/1.png": 5 for c in ("dog", "emu")}, root="grey")
    assert "test: 2 images" in seedbed("task=evaluate", run, "dataset=folder", f"dataset.root={grey}").check().out
    other = picture_tree({f"{c}/1.png": (5, 5, 5) for c in ("dog", "yak")}, root="other")
    done = seedbed("task=evaluate", run, f"dataset.root={other}")
    assert done.code == 1 and "unknown to it: yak" in done.err


def test_flags_may_stand_anywhere(seedbed):
    assert "epochs: 7" in seedbed("dataset=digits", "--cfg", "job", "train.epochs=7").check().out
    done = seedbed("dataset=digits", "train=smoke", "-m", "seed=0,1").check()
    assert "2 jobs, 0 failed" in done.out
    assert "Defaults Tree" in seedbed("dataset=digits", "--info").check().out
    assert "Defaults List" in seedbed("dataset=digits", "--info", "defaults", "seed=1").check().out


def test_a_preset_with_another_data_set_says_so(seedbed):
    done = seedbed("dataset=digits", "experiment=original/fashion_mnist_mlp", "train=smoke").check()
    assert done.result["title"] == "original/fashion_mnist_mlp digits"
    assert done.folders[-1].name.endswith("original-fashion_mnist_mlp_digits")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimzer.lr=1"], "optimzer.lr: no such key; did you mean 'optimizer.lr'"),
        (["train.epoch=3"], "train.epoch: no such key; did you mean 'train.epochs'"),
        (["+optimizer.lrr=1"], "takes no 'lrr'; did you mean 'lr'"),
        (["dataset=fruits", "data_root=nowhere"], "no fruits-360.zip"),
        (["task=evaluate"], "checkpoint"),
        (["task=evaluate", "checkpoint=nowhere"], "nowhere is not there"),
        (["dataset=folder"], "dataset.root"),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_left(seedbed, tmp_path, overrides, message):
    one_message(seedbed(*overrides), message)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_explodes_names_epoch_and_step(seedbed):
    done = seedbed("dataset=digits", "optimizer=sgd", "optimizer.lr=1e30", "model.batch_norm=false", "scheduler=none")
    assert done.code == 1 and "epoch 1, step" in done.err and "optimizer.lr" in done.err
    assert done.result["status"] == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp", "convnet", "resnet18"])
@pytest.mark.parametrize("dataset", ["fashion_mnist", "fruits", "cifar10", "digits", "folder"])
def test_every_model_on_every_dataset(seedbed, dataset, model):
    roots = {
        "fashion_mnist": fashion_mnist_folder, "fruits": lambda: data_file("fruits-360.zip"),
        "cifar10": lambda: data_file("cifar-10.zip"), "folder": lambda: data_file("cifar-10.zip"),
    }  # fmt: skip
    root = [f"dataset.root={roots[dataset]()}"] if dataset in roots else []
    done = seedbed(f"dataset={dataset}", f"model={model}", "train=smoke", *root).check()
    assert done.result["images"]["training"] == 288


@pytest.mark.slow
def test_fruits_by_arcs_and_by_fragments(seedbed):
    root = f"dataset.root={data_file('fruits-360.zip')}"
    done = seedbed("dataset=fruits", "dataset.split=arcs", "train=smoke", "augment=original", root).check()
    assert done.result["images"] == {"training": 320, "validation": 320, "test": 320}
    overrides = ("dataset.stored_size=100", "augment.steps.crop.size=28", "augment=original", "train=smoke")
    seedbed("dataset=fruits", root, *overrides).check()


@pytest.mark.slow
def test_the_wheel_works_from_elsewhere(seedbed, tmp_path):
    clone = Path(__file__).parents[1]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(tmp_path / "wheel"), str(clone)], check=True)
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(tmp_path / "site"), str(wheel)], check=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = seedbed.process("train=smoke", "dataset=digits", cwd=elsewhere, PYTHONPATH=str(tmp_path / "site")).check()
    environment = json.loads((done.folders[-1] / "environment.json").read_text())
    assert environment["git"] is None, "the installed package ran, not the clone"
    backbone = ("model=resnet18", "model.pretrained=cifar10", "train=smoke", "dataset=digits", "dataset.subset=64")
    seedbed.process(*backbone, cwd=elsewhere, PYTHONPATH=str(tmp_path / "site")).check()
