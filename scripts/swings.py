"""How far the report's unaugmented convnet swings on Fashion-MNIST from epoch to epoch while the rate stays.

    python scripts/swings.py                       seeds 0, 1 and 2, one after another, then the table and the plot
    python scripts/swings.py 1 device.threads=1    one seed on one core, nothing else: another may go beside it

The settings of original/fashion_mnist_convnet_not_augmented with a rate that is never lowered, for as many epochs as
the report's 17 minutes had at the 36 seconds of its augmented epochs. The weights of every epoch are tested: by the
norms' running statistics, and with the statistics of shuffled batches of 100 test images. No epoch is chosen by that.
Writes docs/results/swings.csv and swings.png and prints a Markdown table. A killed script goes on after the last
finished epoch. The data sets are read from SEEDBED_DATA, as by any run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from composed import composed
from kept_runs import KEPT, digest
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from table_of_runs import write_table
from torch import nn

from seedbed import build, randomness
from seedbed.data.loader import Loader
from seedbed.engine import checkpoint
from seedbed.engine.device import Device
from seedbed.engine.early_stopping import EarlyStopping
from seedbed.engine.evaluate import measure
from seedbed.engine.loop import State, fit
from seedbed.results.plots import save

FOLDER = Path(__file__).parents[1] / "docs" / "results"
WORDS = "experiment=original/fashion_mnist_convnet_not_augmented scheduler.patience=50 train.patience=null"
EPOCHS, SEEDS = 28, (0, 1, 2)
FIGURES = ("accuracy", "f1", "recall", "precision")
REPORT = dict(zip(FIGURES, (0.77, 0.78, 0.77, 0.80), strict=True))
SETTLED = 5  # the first epochs, in which validation rises, are left out of the ranges
Rows = list[dict[str, float]]


def main() -> None:
    seeds, words = [w for w in sys.argv[1:] if w.isdigit()], [w for w in sys.argv[1:] if not w.isdigit()]
    runs = {seed: epochs_of(seed, words) for seed in ([int(seed) for seed in seeds] or SEEDS)}
    if not seeds:
        columns = ("seed", *next(iter(runs.values()))[0])
        write_table(FOLDER / "swings.csv", columns, [
            {"seed": seed, **{key: f"{value:.4f}" if key != "epoch" else value for key, value in row.items()}}
            for seed, rows in runs.items() for row in rows
        ])  # fmt: skip
        print(table(runs))
        draw(runs)


def epochs_of(seed: int, words: list[str]) -> Rows:
    """A row for each epoch: what metrics.csv has of it, and what its weights give on the test images."""
    own = f"{WORDS} train.epochs={EPOCHS} seed={seed}"
    place = KEPT / f"swings_{seed}_{digest(own)}.pt"
    saved = checkpoint.load_last(place) if place.is_file() else {"epoch": 0, "tested": []}
    if saved["epoch"] == EPOCHS:
        return joined(saved["history"], saved["tested"])
    settings = composed([*own.split(), *words])
    data = build.load_data(settings)
    preprocess = build.make_preprocess(settings, data)
    randomness.seed_torch(seed, 0, randomness.WEIGHTS)
    model, on = build.make_model(settings, build.input_shape(data, preprocess), len(data.classes))
    train, val, test = (
        Loader(split, preprocess, batch_size=size, device=on.torch, channels_last=on.channels_last, seed=shuffled)
        for split, size, shuffled in (
            (data.train, settings.train.batch_size, seed),
            (data.val, settings.train.eval_batch_size, None),
            (data.test, settings.train.batch_size, seed),
        )
    )
    optimizer = build.make_optimizer(settings, model)
    schedule, _ = build.make_schedule(settings, optimizer, EPOCHS * len(train))
    state = State(model, optimizer, schedule, EarlyStopping(settings.train.monitor, None))
    if saved["epoch"]:
        state.load_state_dict(saved)
    loss, tested = nn.CrossEntropyLoss(), saved["tested"]
    for _ in fit(
        state, train, val, epochs=EPOCHS, seed=seed, classes=len(data.classes), loss=loss, autocast=on.autocast
    ):
        tested.append(figures_of(model, test, on, len(data.classes)))
        place.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save_last(place, {**state.state_dict(), "tested": tested})
        print(seed, state.epoch, *(f"{value:.4f}" for value in tested[-1].values()), flush=True)
    return joined(state.history, tested)


def joined(history: Rows, tested: Rows) -> Rows:
    return [
        {key: value for key, value in row.items() if key not in ("lr", "seconds")} | figures
        for row, figures in zip(history, tested, strict=True)
    ]


@torch.no_grad()
def figures_of(model: nn.Module, test: Loader, on: Device, classes: int) -> dict[str, float]:
    """`FIGURES` by running statistics, and the accuracy by the statistics of each batch; the model stays as it is."""
    kept = {key: value.clone() for key, value in model.state_dict().items()}
    found = []
    for by_batch in (False, True):
        model.eval()
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.train(by_batch)
        with on.autocast():
            pairs = [(model(x).argmax(1), y) for x, y in test.epoch()]
        predictions, labels = (torch.cat(parts).cpu().numpy() for parts in zip(*pairs, strict=True))
        found.append(measure(labels, predictions, classes))
    model.load_state_dict(kept)
    running, batch = found
    return {name: getattr(running, name) for name in FIGURES} | {"batch_statistics": batch.accuracy}


def table(runs: dict[int, Rows]) -> str:
    """By whom the epoch is chosen, and how far it matters: `FIGURES` of each seed, as Markdown."""
    lines = [f"| seed | weights of | {' | '.join(FIGURES)} | batch statistics |", "| ---: | --- |" + " ---: |" * 5]
    for seed, rows in runs.items():
        best = max(rows, key=lambda row: row["val_accuracy"])
        settled = rows[SETTLED:]
        lowest = min(settled, key=lambda row: row["accuracy"])
        chosen = (
            (f"the best validation accuracy, epoch {best['epoch']}", best),
            (f"the last epoch, {rows[-1]['epoch']}", rows[-1]),
            (f"the lowest test accuracy after epoch {SETTLED}, epoch {lowest['epoch']}", lowest),
        )
        for name, row in chosen:
            cells = (f"{row[key]:.4f}" for key in (*FIGURES, "batch_statistics"))
            lines.append(f"| {seed} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(runs: dict[int, Rows]) -> None:
    """swings.png: test accuracy of every epoch's weights, each seed a line, and the report's figure."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    for (seed, rows), colour in zip(runs.items(), ("#3b6fb6", "#d1662f", "#3f8f4f"), strict=True):
        epochs = [row["epoch"] for row in rows]
        axes.plot(epochs, [row["accuracy"] for row in rows], "o-", ms=3.5, color=colour, label=f"seed {seed}")
        axes.plot(epochs, [row["batch_statistics"] for row in rows], ":", color=colour)
    axes.plot([], [], ":", color="#555", label="batch statistics")
    axes.axhline(REPORT["accuracy"], color="#555", lw=1, ls="--", label="the report")
    axes.set(
        xlabel="epoch", ylabel="test accuracy of its weights", title="Fashion-MNIST, convnet, not augmented, rate 1e-4"
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, ncols=3)
    save(figure, FOLDER / "swings.png")


if __name__ == "__main__":
    main()
