"""Mistakes in what is typed: keys, options, values, targets and keywords. Each is one message, before any work."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from bad_input import CACHE, left, one_message, refused
from conftest import Command
from hypothesis import example, given, settings
from hypothesis import strategies as st

RANGES = [
    (f"{key}={value}", (key, ">= 1", value))
    for key in ("train.epochs", "train.batch_size", "train.eval_batch_size", "dataset.subset")
    for value in ("0", "-1")
]
CASES = [
    ("trian.epochs=3", ("trian.epochs: no such key", "train.epochs")),
    ("+nonsense=1", ("nonsense: no such key",)),
    ("model=convnt", ("model=convnt: no such option", "'convnet'", "convnet, features_mlp, mlp, resnet18")),
    ("train.epochs=ten", ("train.epochs: expected a whole number", "'ten'")),
    ("augment.steps=[1]", ("augment.steps: expected a group",)),
    ("train=null", ("train",)),
    ("device.threads=0", ("device.threads: expected a number >= 1", "0")),
    ("model._target_=seedbed.models.mlp.MPL", ("model._target_", "no 'MPL'; did you mean 'MLP'")),
    ("+model._traget_=x", ("model._traget_: no such key", "'_target_'")),
    ("+model.dropuot=0.1", ("model.dropuot", "MLP takes no 'dropuot'; did you mean 'dropout'")),
    ("resume=nowhere", ("resume: nowhere is not a run folder",)),
    ("--nonsense", ("--nonsense", "--help")),
    ("~model", ("model",)),
    ("optimizer.lrr=1", ("optimizer.lrr: no such key", "'optimizer.lr'")),
    ("lr=0.1", ("lr: no such key; did you mean 'optimizer.lr'",)),
    ("modle=mlp", ("modle: no such key", "'model'")),
    ("nonsense=1", ("nonsense: no such key",)),
    ("+train.nonsense=1", ("train.nonsense: no such key",)),
    ("dataset=fashion_minst", ("dataset=fashion_minst: no such option", "'fashion_mnist'", "cifar10, ", "fruits")),
    ("augment=flipcrop", ("'flip_crop'", "flip, flip_crop, flip_crop_cutmix, ", "flip_crop_trivial, flip_zoom, none")),
    ("+augment.policy._target_=seedbed.data.augment.Erase", ("augment.policy.side: missing",)),
    ("+augment.policy._target_=seedbed.data.mix.CutMix", ("augment.policy: CutMix is no policy",)),
    ("+augment.mix._target_=seedbed.data.policy.TrivialAugment", ("augment.mix: TrivialAugment does not mix images",)),
    ("augment=flip_crop_trivial augment.policy.strength=2", ("augment.policy.strength", "> 0 and <= 1, got 2")),
    ("experiment=orignal/fashion_mnist_mlp", ("no such option", "original/fashion_mnist_mlp")),
    ("train.tta=3", ("train.tta: expected 1 or 2 or 6", "3")),
    ("train.epochs=null", ("train.epochs: expected a whole number", "None")),
    ("optimizer.lr=fast", ("optimizer.lr: expected a number", "'fast'")),
    ("optimizer.betas=[0.9]", ("optimizer.betas: expected a list of", "[0.9]")),
    ("seed=1.5", ("seed: expected a whole number", "1.5")),
    ("seed=-1", ("seed: expected a number >= 0", "-1")),
    ("augment.steps=nonsense", ("augment.steps: expected a group", "'nonsense'")),
    ("+augment.steps.flip=3", ("augment.steps.flip: expected a group with a _target_", "3")),
    ("+augment.steps.flip._target_=seedbed.data.augment.Flip", ("augment.steps.flip._target_", "no 'Flip'")),
    ("+augment.mix.p=0.3", ("augment.mix", "no _target_")),
    ("+augment.mix=0.3", ("augment.mix: expected a group with a _target_ or null", "0.3")),
    ("+augment.mix={}", ("augment.mix", "no _target_")),
    ("+augment.mix._target_=seedbed.data.augment.HorizontalFlip", ("augment.mix: HorizontalFlip does not mix",)),
    ("+augment.steps.mix._target_=seedbed.data.mix.CutMix", ("augment.steps.mix: CutMix is no step",)),
    ("+augment.mix={_target_:seedbed.data.mix.CutMix,p:1.5}", ("augment.mix.p: expected a number", "1.5")),
    (
        "experiment=original/fashion_mnist_mlp scheduler=none",
        ("scheduler: has no _target_", "to have none, delete", "~scheduler.patience ~scheduler.factor"),
    ),
    ("model=3", ("model",)),
    ("device.name=gpu", ("device.name: expected auto or cpu or cuda", "'gpu'")),
    *RANGES,
    ("train.patience=-1", ("train.patience: expected a number >= 1", "-1")),
    ("dataset.val_fraction=1.5", ("dataset.val_fraction: expected a number >= 0 and < 1", "1.5")),
    ("dataset.val_fraction=0", ("dataset.val_fraction",)),
    ("optimizer.lr=-1", ("optimizer", "-1")),
    ("model.widths=[0]", ("model", "0")),
    ("model.std=0", ("model.std: expected a number > 0", "0")),
    ("model._target_=seedbed.modles.mlp.MLP", ("model._target_", "cannot import 'seedbed.modles.mlp'")),
    ("optimizer._target_=torch.optim.Adamm", ("optimizer._target_", "no 'Adamm'; did you mean 'Adam'")),
    ("train.epochs", ("'train.epochs'", "KEY=VALUE")),
    ("optimizer.lr=1e-2,1e-3", ("optimizer.lr=1e-2,1e-3: several values", "add -m")),
    ("model.widths=9,8", ("model.widths=9,8: several values", "add -m; a list is model.widths=[9,8]")),
    ("optimizer.lr=choice(1,2)", ("optimizer.lr=choice(1,2): several values", "add -m")),
    ("hydra/launcher=joblib", ("hydra/launcher: jobs run one after another", "leave it out")),
    ("--config-name=foo", ("--config-name=foo: no such configuration", "--config-dir")),
    ("--config-path=nowhere", ("--config-path=nowhere: no such configuration",)),
    ("--resolve", ("--resolve: these do not go together",)),
    ("resume=5", ("resume: 5 is not a run folder",)),
    ("task=evaluate checkpoint=5", ("checkpoint", "5 is not there")),
    ("~task", ("task: expected one of evaluate, predict, report, train",)),
    ("model=resnet18 model.pretrained=typo.pt", ("model.pretrained: typo.pt is not there; give cifar10, none",)),
    ("optimizer=sgd scheduler=one_cycle optimizer.momentum=0.8", ("optimizer.momentum=0.8", "cycle_momentum=false")),
    # Keys of version 0.1.
    ("model=resnet18 model.unit_gains=true", ("model.unit_gains: was renamed", "model.rescale_batchnorm")),
    ("model=resnet18 +model.unit_gains=true", ("model.unit_gains: was renamed", "model.rescale_batchnorm")),
    ("model=convnet model.freeze_norms=true", ("model.freeze_norms: was renamed", "model.freeze_batchnorm")),
    ("train.test_views=2", ("train.test_views: was renamed", "train.tta")),
    ("+train.test_views=2", ("train.test_views: was renamed", "train.tta")),
    (
        "model=features_mlp features.words.hog.power=1",
        ("features.words.hog.power: was renamed", "features.visual_words.hog.power"),
    ),
    ("model.softmax_output=true", ("model.softmax_output", "model._target_=seedbed.models.report.ReportMLP")),
    ("+model.softmax_output=true", ("model.softmax_output", "model._target_=seedbed.models.report.ReportMLP")),
    *(
        (f"model=convnet model.{key}={value}", (f"model.{key}", "model._target_=seedbed.models.report.ReportConvNet"))
        for key, value in (("share_blocks", "true"), ("norm_order", "relu_norm"), ("normalize_training", "false"))
    ),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "names"), CASES, ids=[typed for typed, _ in CASES])
def test_a_mistake_is_one_message(seedbed, tmp_path, typed, names):
    refused(seedbed, tmp_path, "dataset=digits", *typed.split(), names=names)


IN_A_PROCESS = ("trian.epochs=3", "+model.dropuot=0.1", "--nonsense")


@pytest.mark.parametrize(("typed", "names"), [case for case in CASES if case[0] in IN_A_PROCESS], ids=IN_A_PROCESS)
def test_a_mistake_is_one_message_of_a_new_process(seedbed, tmp_path, typed, names):
    refused(seedbed.process, tmp_path, "dataset=digits", typed, names=names)


def test_a_misspelt_keyword_of_a_class_that_is_not_ours(seedbed, tmp_path):
    names = ("optimizer.momentun", "torch.optim.SGD takes no 'momentun'; did you mean 'momentum'")
    refused(seedbed, tmp_path, "dataset=digits", "optimizer=sgd", "+optimizer.momentun=0.9", names=names)


@pytest.mark.parametrize(
    "name",
    ["my photos (1)", "2024", "007", "1e3", "true", "a,b", "[a]", "{a}", "a=b", "#1", "50%", "it's", 'a"b', "été", "~x",
     "$x", "a\\"],
)  # fmt: skip
def test_a_path_is_taken_as_it_is_typed(seedbed, tmp_path, picture_tree, name):
    root = picture_tree({f"train/{c}/{i}.png": 9 * i for c in "ab" for i in range(12)}, root=name)
    done = seedbed("dataset=folder", f"dataset.root={name}", f"name={name}", "train.epochs=1", cwd=root.parent).check()
    assert done.result["status"] == "finished"


def test_the_quoting_that_is_shown_works(seedbed, tmp_path):
    value = 'a(b"c'
    message = refused(seedbed, tmp_path, "dataset=digits", f"model.freeze={value}", "model=convnet",
                      names=("two pairs of quotes",))  # fmt: skip
    (shown,) = re.findall(r"shell: (.*)", message)
    assert "null or one of stem" in refused(seedbed, tmp_path, "dataset=digits", "model=convnet", *shlex.split(shown),
                                            names=(repr(value),))  # fmt: skip


KEYS = [
    "seed", "name", "data_root", "output_root", "cache_root", "dataset", "dataset.root", "dataset.subset", "model",
    "dataset.val_fraction", "dataset._target_", "dataset.channels", "model.widths", "model.dropout", "model._target_",
    "model.mean", "model._partial_", "augment", "augment.steps", "augment.steps.flip", "optimizer", "optimizer.lr",
    "optimizer.betas", "scheduler", "scheduler.factor", "scheduler._target_", "device", "device.threads", "train",
    "train.epochs", "train.patience", "train.monitor", "features", "task", "resume", "checkpoint", "experiment",
]  # fmt: skip
VALUES = [
    "", "null", "true", "-1", "0", "1.5", "1e400", "nan", "ten", "[]", "[1,2]", "{}", "{a:1}", "${seed}", "${nowhere}",
    "${oc.env:NOWHERE}", "???", "none", "digits", "folder", "mlp", "cuda", "smoke", "'a b'", "../..", "os.system", ".",
]  # fmt: skip


@st.composite
def override(draw) -> str:
    """A real key, perhaps spoilt, with any text for a value."""
    key = draw(st.sampled_from(KEYS))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(key)))
        put = draw(st.sampled_from(["", ".", "_", "@", "=", " ", "/", "é", "x"]))
        key = key[:at] + put + key[at + draw(st.integers(0, 1)) :]
    text = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)
    value = draw(st.sampled_from(VALUES) | st.from_regex(r"[\w.,:$\[\]{}'\"()=-]{0,10}", fullmatch=True) | text)
    return (
        draw(st.sampled_from(["", "", "", "+", "++", "~"])) + key + draw(st.sampled_from(["=", "=", "=", ""])) + value
    )


# Whatever was typed before, these come after it: the data set is nowhere, so nothing is ever trained.
NOWHERE = ("dataset=fruits", "dataset.root=/nowhere/at/all", "task=train")


TYPED = st.lists(override(), min_size=1, max_size=3)


def assert_answered(command_server, folder: Path, typed: list[str]) -> None:
    """By exit code 0, or by one message; and nothing is left behind."""
    folder.mkdir(exist_ok=True)
    done = Command(command_server, folder, folder / CACHE)(*typed, *NOWHERE)
    assert done.code in (0, 1) and left(folder) == set(), (typed, done)
    if done.code == 1:
        one_message(done)


@settings(max_examples=50, derandomize=True)
@given(typed=TYPED)
@example(typed=["name=${nowhere}"])
@example(typed=["seed=???"])
@example(typed=["train.epochs=${oc.env:NOWHERE}"])
@example(typed=["model._target_=[]"])
@example(typed=["+model.image_size.x=1"])
@example(typed=["features=none"])
@example(typed=["dataset._target_=builtins.exit"])
@example(typed=["hydra.run.dir=${nowhere}"])
def test_whatever_is_typed_is_answered(command_server, tmp_path_factory, typed):
    assert_answered(command_server, tmp_path_factory.getbasetemp() / "whatever", typed)


@pytest.mark.slow
@settings(max_examples=300, derandomize=True)
@given(typed=TYPED)
def test_whatever_more_is_typed_is_answered(command_server, tmp_path_factory, typed):
    assert_answered(command_server, tmp_path_factory.getbasetemp() / "more", typed)


def test_several_mistakes_are_still_one_message(seedbed):
    one_message(seedbed("modle=x", "train.epochs=ten", "model=nothing"), "no such")
