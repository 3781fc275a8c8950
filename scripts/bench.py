"""Measure this project against the usual way to write the same job.

    python scripts/bench.py epoch [--case mlp convnet resnet18] [--rounds 5]
    python scripts/bench.py features [--case dense original] [--rounds 5]

epoch: an epoch of our loop, against the usual way and against the floor. The usual way is a Lightning job with
torchvision's transforms and a DataLoader, in float32. The floor is the same model and optimizer as ours, fed one
constant batch. An epoch includes its training metrics. Needs: pip install -e '.[bench]'

features: images of Fashion-MNIST to histograms of visual words, against a loop over images.

All run in turn, on the CPU. A Markdown table has medians and the ratios of each round, under the machine's description.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn
from usual_way import Features, Images, lightning_epoch

from seedbed.errors import UserError
from seedbed.experiment import Experiment
from seedbed.models.convolution import replace_convolutions
from seedbed.training import device

BATCH, WORKERS = 100, (0, 2)
# The data set has the size and the channels that the model takes; images, augmentation, precisions of ours.
CASES = {
    "mlp": ("fashion_mnist", 55_000, "none", ("float32",)),
    "convnet": ("fashion_mnist", 5_000, "flip_crop", ("float32", "bfloat16")),
    "resnet18": ("cifar10", 5_000, "flip_crop", ("float32", "bfloat16")),
}
EPOCH_HEADS = (
    "case | data | images | our precision | ours s/epoch | ours images/s | usual s/epoch | usual images/s | "
    "usual workers | floor s/epoch | floor images/s | usual / ours | ours / floor"
)
FEATURES_HEADS = (
    "features | images | side | descriptors/image | words | our assignment | ours s | ours images/s | usual s | "
    "usual images/s | usual / ours"
)


def experiment(images: int, *overrides: str) -> Experiment:
    """One of so many training images and one for validation: what is compared is training."""
    return Experiment.from_overrides([
        *overrides, f"dataset.subset={images + 1}", "dataset.val_fraction=1e-6", "device=cpu", "scheduler=none",
        f"train.batch_size={BATCH}", "train.epochs=1000", "train.patience=null",
    ])  # fmt: skip


def floor_epoch(ours: Experiment) -> Callable[[], None]:
    """As many steps of the model and the optimizer on one batch that stays the same."""
    x, y = next(ours.train_loader.epoch())

    def epoch() -> None:
        ours.model.train()
        for _ in range(len(ours.train_loader)):
            with ours.device.autocast():
                logits = ours.model(x)
            loss = ours.loss(logits.float(), y)
            ours.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            ours.optimizer.step()

    return epoch


def usual_epoch(ours: Experiment, augment: bool) -> Callable[[int], float]:
    """The usual way's epoch, given the number of its workers."""
    split, optimizer = ours.images.train, ours.optimizer
    return partial(
        lightning_epoch, replace_convolutions(ours.model, nn.Conv2d), len(ours.classes),
        lambda parameters: type(optimizer)(parameters, **optimizer.defaults),
        Images(split.images[split.index], split.targets, ours.preprocess, augment), BATCH,
    )  # fmt: skip


def in_turn(name: str, turns: dict[str, Callable], rounds: int) -> dict[str, list[float]]:
    """Seconds of each round after a warm-up; what returns a number has timed itself."""
    seconds: dict[str, list[float]] = {turn: [] for turn in turns}
    for done in range(rounds + 1):
        for turn, run in turns.items():
            begun = time.perf_counter()
            timed = run()
            seconds[turn].append(timed if isinstance(timed, float) else time.perf_counter() - begun)
        print(f"{name}: " + (f"round {done} of {rounds}" if done else "warm-up"), file=sys.stderr, flush=True)
    return {turn: values[1:] for turn, values in seconds.items()}


def epoch_case(name: str, given: argparse.Namespace) -> tuple[list[str], str]:
    """Lines of the table, and how the number of workers was chosen."""
    data, images, augment, precisions = CASES[name]
    images = given.images or images
    if not device.has_fast_bfloat16(torch.device("cpu")):
        precisions = precisions[:1]
    make = partial(experiment, images, f"model={name}", f"dataset={data}", f"augment={augment}")
    usual = usual_epoch(make("device.precision=float32"), augment != "none")
    trial = {workers: usual(workers) for workers in WORKERS}
    workers = min(trial, key=trial.get)
    turns: dict[str, Callable] = {"usual": partial(usual, workers)}
    for precision in precisions:
        turns[precision] = partial(next, make(f"device.precision={precision}").fit())
        turns[f"floor {precision}"] = floor_epoch(make(f"device.precision={precision}"))
    seconds = in_turn(name, turns, given.rounds)
    lines = [
        f"{name} | {data} | {images:,} | {precision} | {pace(seconds[precision], images)} | "
        f"{pace(seconds['usual'], images)} | {workers} | {pace(seconds[f'floor {precision}'], images)} | "
        f"{ratio(seconds['usual'], seconds[precision])} | {ratio(seconds[precision], seconds[f'floor {precision}'])}"
        for precision in precisions
    ]
    return lines, f"{name}: " + ", ".join(f"{value:.3g} s with {number} workers" for number, value in trial.items())


def features_case(recipe: str, given: argparse.Namespace) -> tuple[list[str], str]:
    """Lines of the table, and how many images the two ways describe differently."""
    # The model brings a recipe and the images' size along.
    ours = experiment(given.images or 2000, "model=features_mlp", f"features={recipe}", "dataset=fashion_mnist")
    images = ours.images.train.images[ours.images.train.index]
    usual = Features(ours.pipeline.visual_words["hog"], images)
    ties = usual.ties()
    turns = {assignment: partial(bag.transform, images) for assignment, bag in usual.ours.items()}
    seconds, number = in_turn(recipe, {**turns, "usual": usual.transform}, given.rounds), len(images)
    lines = [
        f"{recipe} | {number:,} | {images.shape[-1]} | {usual.descriptors:.0f} | {len(usual.words)} | {assignment} | "
        f"{pace(seconds[assignment], number)} | {pace(seconds['usual'], number)} | "
        f"{ratio(seconds['usual'], seconds[assignment])}"
        for assignment in turns
    ]
    return lines, f"{recipe}: {ties} of {number:,} images differ by hard assignment, all by ties"


def report(packages: Sequence[str], notes: Sequence[str], heads: str, lines: list[str]) -> str:
    """A Markdown table under the description of the machine, of these distributions and of what was measured."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return "\n".join([
        f"- CPU: {[*names, platform.processor()][0]}; {cores} cores, {torch.get_num_threads()} threads; "
        f"{torch.backends.cpu.get_cpu_capability()}; bfloat16 only where it is fast",
        f"- {', '.join(f'{package} {version(package)}' for package in packages)}, Python {platform.python_version()}, "
        f"{platform.system()}",
        "- in turn after a warm-up; medians; ratios are those of each round (lowest to highest)",
        *(f"- {note}" for note in notes),
        "",
        *(f"| {line} |" for line in (heads, " | ".join(["---"] * (heads.count("|") + 1)), *lines)),
    ])  # fmt: skip


def pace(seconds: Sequence[float], images: int) -> str:
    """Median seconds, and images a second."""
    return f"{statistics.median(seconds):.3f} | {images / statistics.median(seconds):,.0f}"


def ratio(slower: Sequence[float], faster: Sequence[float]) -> str:
    """Median, lowest and highest of the rounds."""
    values = [s / f for s, f in zip(slower, faster, strict=True)]
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind, cases in (("epoch", tuple(CASES)), ("features", ("dense", "original"))):
        one = kinds.add_parser(kind)
        one.add_argument("--case", nargs="+", choices=cases, default=cases)
        one.add_argument("--images", type=int, help=f"training images, a multiple of {BATCH}: all batches are alike")
        one.add_argument("--rounds", type=int, default=5)
    given, lines = parser.parse_args(), []
    if given.rounds < 1 or (given.images is not None and (given.images < BATCH or given.images % BATCH)):
        parser.error(f"--rounds: at least 1; --images: a multiple of {BATCH}, so that all batches are alike")
    if given.kind == "epoch":
        measure, heads, packages = epoch_case, EPOCH_HEADS, ("torch", "torchvision", "lightning")
        notes = [f"batch {BATCH}; the usual way: Lightning in float32, the better number of workers by a warm epoch"]
    else:
        measure, heads = features_case, FEATURES_HEADS
        packages = ("torch", "numpy", "scikit-learn", "opencv-python-headless")
        notes = ["from uint8 images in memory to histograms, with words learned before; no selection, no scaling"]
    try:
        for case in given.case:
            more, note = measure(case, given)
            lines, notes = [*lines, *more], [*notes, note]
    except UserError as error:
        sys.exit(f"error: {error}")
    finally:  # a case that fails late should not cost the hours of those before it
        if lines:
            print(report(packages, notes, heads, lines))


if __name__ == "__main__":
    main()
