"""Measure this project against the usual way to write the same job.

    python scripts/bench.py epoch [--case mlp convnet resnet18] [--rounds 5] [--out FILE.md]
    python scripts/bench.py features [--recipe dense original] [--data fashion_mnist] [--rounds 5] [--out FILE.md]

epoch: an epoch of our loop, against the usual way and against the floor. The usual way is a Lightning job with
torchvision's transforms and a DataLoader (usual_way.py), in float32. The floor is the same model and optimizer as ours,
fed one constant batch. All run in turn, on the CPU; medians and the ratios of each round are written as a Markdown
table under the machine's description. An epoch includes its training figures; validation is left out of all. Needs the
bench extra: pip install -e '.[bench]'

features: extraction and encoding of a bag of words, against a loop over images (bench_features.py).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from bench_table import Result, report
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn

from seedbed import build, cli, config, randomness
from seedbed.config import Settings
from seedbed.data.loader import Loader, Preprocess
from seedbed.errors import UserError
from seedbed.models.convolution import replace_convolutions
from seedbed.training import device
from seedbed.training.device import Device
from seedbed.training.early_stopping import EarlyStopping
from seedbed.training.loop import State, fit
from seedbed.types import ImageData, Split

if TYPE_CHECKING:
    import usual_way

BATCH = 100
NATIVE_SIZE = {"fashion_mnist": 28, "cifar10": 32}
RECIPES = ["dense", "original"]


@dataclass(frozen=True)
class Case:
    """A job. By default every data set has the size that the model takes, so that no image is resized."""

    model: str
    data: str
    images: int
    augment: str
    precisions: tuple[str, ...]

    @property
    def overrides(self) -> list[str]:
        overrides = [f"model={self.model}", f"dataset={self.data}", f"augment={self.augment}", "device=cpu"]
        if self.data == "fashion_mnist":
            overrides.append(f"dataset.val_fraction={5000 / 60_000}")
        return overrides


CASES = {
    case.model: case
    for case in (
        Case("mlp", "fashion_mnist", 55_000, "none", ("float32",)),
        Case("convnet", "fashion_mnist", 5_000, "flip_crop", ("float32", "bfloat16")),
        Case("resnet18", "cifar10", 5_000, "flip_crop", ("float32", "bfloat16")),
    )
}


def settings_of(case: Case, *more: str) -> Settings:
    return composed(*case.overrides, *more)


def composed(*overrides: str) -> Settings:
    return config.check(OmegaConf.to_container(compose("config", list(overrides)), resolve=True))


def load(settings: Settings, images: int) -> ImageData:
    """The data set with `images` training images, and one for validation: what is compared is training."""
    data = build.load_data(settings)
    if images > len(data.train):
        raise UserError(f"--images {images}: there are {len(data.train):,} training images")
    rows = np.sort(np.random.default_rng(0).choice(data.train.index, images, replace=False))
    train = Split(data.train.images, data.train.labels, rows)
    val = Split(data.val.images, data.val.labels, data.val.index[:1])
    return replace(data, train=train, val=val)


class Ours:
    """This project's loop and its floor, in one precision."""

    def __init__(self, settings: Settings, data: ImageData):
        preprocess = build.make_preprocess(settings, data)
        self.classes = len(data.classes)
        self.state, self.on = _make(settings, preprocess, data)
        self.floor_state, _ = _make(settings, preprocess, data)
        loader = partial(
            Loader, preprocess=preprocess, batch_size=BATCH, device=self.on.torch, channels_last=self.on.channels_last
        )
        self.train = loader(data.train, seed=0, augment=build.instance(settings.augment_node, "augment"))
        self.val = loader(data.val)
        self.constant = next(self.train.epoch())

    def epoch(self) -> float:
        begun = time.perf_counter()
        next(
            fit(self.state, self.train, self.val, epochs=self.state.epoch + 1, seed=0, classes=self.classes,
                loss=nn.CrossEntropyLoss(), autocast=self.on.autocast)
        )  # fmt: skip
        return time.perf_counter() - begun

    def floor(self) -> float:
        loss, (x, y) = nn.CrossEntropyLoss(), self.constant
        model, optimizer = self.floor_state.model, self.floor_state.optimizer
        begun = time.perf_counter()
        model.train()
        for _ in range(len(self.train)):
            with self.on.autocast():
                logits = model(x)
            value = loss(logits.float(), y)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
        return time.perf_counter() - begun


def _make(settings: Settings, preprocess: Preprocess, data: ImageData) -> tuple[State, Device]:
    randomness.seed_torch(0, 0, randomness.WEIGHTS)
    shape = build.input_shape(data, preprocess)
    model, on = build.make_model(settings, shape, len(data.classes))
    optimizer = build.instance(settings.optimizer_node, "optimizer", params=model.parameters())
    return State(model, optimizer, None, EarlyStopping("val_accuracy", None)), on


def make_usual(case: Case, settings: Settings, data: ImageData) -> usual_way.Job:
    """The usual way's job, on the images as the data set has them: resizing, if any, is one of its transforms."""
    import usual_way

    preprocess = build.make_preprocess(settings, data)
    state, _ = _make(settings, preprocess, data)
    native = NATIVE_SIZE[case.data]
    split = load(settings_of(case, f"dataset.stored_size={native}"), case.images).train
    images = split.images[split.index]
    # PIL wants a grey image without a channel axis.
    images = images[:, 0] if images.shape[1] == 1 else np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    transform = usual_way.make_transform(
        native, split.images.shape[1], preprocess.image_size, preprocess.mean, preprocess.std, case.augment != "none"
    )
    make_optimizer = partial(_optimizer, settings)
    dataset = usual_way.Images(images, split.targets, transform)
    return usual_way.Job(
        replace_convolutions(state.model, nn.Conv2d), dataset, BATCH, len(data.classes), make_optimizer
    )


def _optimizer(settings: Settings, parameters: object) -> torch.optim.Optimizer:
    return build.instance(settings.optimizer_node, "optimizer", params=parameters)


def measure(case: Case, rounds: int) -> Result:
    settings = settings_of(case, "device.precision=float32")
    data = load(settings, case.images)
    usual = make_usual(case, settings, data)
    say(f"{case.model}: how many workers suit the usual way")
    trial = usual.trial()
    result = Result(case.model, case.data, case.images, min(trial, key=trial.get), trial)
    turns: list[tuple[list[float], Callable[[], float]]] = []
    for precision in case.precisions:
        ours = Ours(settings_of(case, f"device.precision={precision}"), data)
        turns.append((result.ours.setdefault(precision, []), ours.epoch))
        turns.append((result.floor.setdefault(precision, []), ours.floor))

    def others() -> None:
        for seconds, run in turns:
            seconds.append(run())
        done = len(turns[0][0]) - 1
        say(f"{case.model}: " + (f"round {done} of {rounds}" if done else "warm-up"))

    result.usual = usual.run(result.workers, rounds + 1, others)
    for seconds in (result.usual, *(seconds for seconds, _ in turns)):
        del seconds[0]  # the warm-up
    return result


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    epoch = what.add_parser("epoch", help="an epoch of training")
    epoch.add_argument("--case", nargs="+", choices=list(CASES), default=list(CASES))
    epoch.add_argument("--images", type=int, help="training images; default 55,000 for mlp, else 5,000")
    epoch.add_argument("--data", choices=list(NATIVE_SIZE), help="of convnet (fashion_mnist) and resnet18 (cifar10)")
    epoch.add_argument("--force-bf16", action="store_true", help="measure bfloat16 where the CPU is slow at it, too")
    features = what.add_parser("features", help="extraction and encoding of a bag of words")
    features.add_argument("--recipe", nargs="+", choices=RECIPES, default=RECIPES, help="of conf/features")
    features.add_argument("--images", type=int, default=2000, help="training images; default 2,000")
    features.add_argument("--data", choices=["fashion_mnist", "fruits"], default="fashion_mnist")
    for one in (epoch, features):
        one.add_argument("--rounds", type=int, default=5)
        one.add_argument("--out", type=Path, help="write the table to this file, too, after every case")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds: at least 1")
    if arguments.images is not None and arguments.images < 1:
        parser.error("--images: at least 1")
    if arguments.what == "epoch" and (arguments.images or 0) % BATCH:
        parser.error(f"--images: a multiple of {BATCH}, so that all batches are alike")
    return arguments


def chosen(arguments: argparse.Namespace) -> tuple[list[Case], list[str]]:
    """The cases to measure, and what the report has to say of those left out."""
    slow = not device.has_fast_bfloat16(torch.device("cpu")) and not arguments.force_bf16
    cases, notes = [], []
    for name in arguments.case:
        case = CASES[name]
        if arguments.images:
            case = replace(case, images=arguments.images)
        if arguments.data and "bfloat16" in case.precisions:
            case = replace(case, data=arguments.data)
        if slow and "bfloat16" in case.precisions:
            case = replace(case, precisions=("float32",))
            notes = ["bfloat16 left out: this CPU has neither AMX nor avx512_bf16 (--force-bf16 measures it anyway)"]
        cases.append(case)
    return cases, notes


def epochs(arguments: argparse.Namespace) -> Iterator[str]:
    """The report after every case."""
    try:
        import usual_way
    except ModuleNotFoundError as error:
        if error.name not in ("lightning", "torchmetrics"):
            raise
        raise UserError("lightning is missing; install the bench extra: pip install -e '.[bench]'") from error
    usual_way.hush()
    cases, notes = chosen(arguments)
    results: list[Result] = []
    for case in cases:
        results.append(measure(case, arguments.rounds))
        yield report(results, BATCH, arguments.rounds, notes)


def features(arguments: argparse.Namespace) -> Iterator[str]:
    """The report after every recipe."""
    import bench_features

    results = []
    for recipe in arguments.recipe:
        # The model brings a recipe and the images' size along.
        settings = composed("model=features_mlp", f"features={recipe}", f"dataset={arguments.data}", "device=cpu")
        train = load(settings, arguments.images).train
        bag, images = build.make_features(settings).words["hog"], train.images[train.index]
        results.append(bench_features.measure(recipe, arguments.data, bag, images, arguments.rounds, say))
        yield bench_features.report(results, arguments.rounds)


def main() -> None:
    arguments = parse()
    table = ""
    try:
        with initialize_config_dir(str(cli.conf_folder()), version_base="1.3"):
            for table in {"epoch": epochs, "features": features}[arguments.what](arguments):
                if arguments.out:
                    arguments.out.write_text(table)
    except UserError as error:
        sys.exit(f"error: {error}")
    finally:
        # A case that fails late should not cost the hours of those before it.
        print(table, end="")


if __name__ == "__main__":
    main()
