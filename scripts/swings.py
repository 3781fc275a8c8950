"""How far the report's unaugmented convnet swings on Fashion-MNIST from epoch to epoch while the rate stays.

    python scripts/swings.py                         two seeds, one after another, then the table and the plot
    python scripts/swings.py --seed 1 --threads 1    one seed on one core and nothing else: another may go beside it

The settings of original/fashion_mnist_convnet_not_augmented with a rate that is never lowered, for twelve epochs. The
weights of every epoch are tested, by the norms' running statistics and by those of shuffled batches of 100 test
images: that shows a range and chooses nothing. Writes docs/results/swings.csv and swings.png and prints a Markdown
table. A killed script goes on after the last finished epoch. The data sets are read from SEEDBED_DATA, as by any run.
"""

from __future__ import annotations

import argparse

import numpy as np
from batch_statistics import tested_in_part_as_trained
from composed import composed, parts
from epochs import trained
from kept_runs import KEPT, digest
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from reproduce import FIGURES, FOLDER, ROWS
from table_of_runs import write_table
from torch import nn

from seedbed.plots.run_plots import save

EPOCHS, SEEDS = 12, (0, 1)
WORDS = (
    "experiment=original/fashion_mnist_convnet_not_augmented scheduler.patience=50 train.patience=null "
    f"train.epochs={EPOCHS}"
)
REPORT = next(row for row in ROWS if row.preset == "fashion_mnist_convnet_not_augmented")
COLUMNS = ("seed", "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", *FIGURES, "batch_statistics")
Rows = list[dict[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="train one seed; no table, no plot")
    parser.add_argument("--threads", type=int, help="default: all cores")
    given = parser.parse_args()
    threads = [f"device.threads={given.threads}"] if given.threads else []
    if given.seed is not None:
        epochs_of(given.seed, threads)
        return
    runs = {seed: epochs_of(seed, threads) for seed in SEEDS}
    write_table(FOLDER / "swings.csv", COLUMNS, [
        {key: f"{value:.4f}" if isinstance(value, float) else value for key, value in {"seed": seed, **row}.items()}
        for seed, rows in runs.items() for row in rows
    ])  # fmt: skip
    print(table(runs))
    draw(runs)


def epochs_of(seed: int, threads: list[str]) -> Rows:
    """A row for each epoch: `COLUMNS` but for the seed."""
    words = f"{WORDS} seed={seed}"
    settings = composed([*words.split(), *threads])
    run = parts(settings)
    train, val, test = (
        run.loader(run.data.train, settings.train.batch_size, seed),
        run.loader(run.data.val, settings.train.eval_batch_size),
        run.loader(run.data.test, settings.train.batch_size, seed),
    )

    def tested() -> dict[str, float]:
        running, batch = (tested_in_part_as_trained(run, test, kinds) for kinds in ((), (nn.BatchNorm2d,)))
        return {name: getattr(running, name) for name in FIGURES} | {"batch_statistics": batch.accuracy}

    kept = trained(settings, run, KEPT / f"swings_{seed}_{digest(words)}.pt", train, val, tested)
    return [
        {key: value for key, value in {**epoch, **figures}.items() if key in COLUMNS}
        for epoch, figures in zip(kept["history"], kept["noted"], strict=True)
    ]


def table(runs: dict[int, Rows]) -> str:
    """What each seed gives by the epoch that is chosen, and the range, as Markdown."""
    lines = [
        f"| seed | weights of | {' | '.join(FIGURES)} | by batch statistics |",
        "| ---: | --- |" + " ---: |" * (len(FIGURES) + 1),
        f"| | the report | {' | '.join(f'{getattr(REPORT, name):.2f}' for name in FIGURES)} | |",
    ]
    for seed, rows in runs.items():
        best = max(rows, key=lambda row: row["val_accuracy"])
        accuracies = sorted(rows, key=lambda row: row["accuracy"])
        chosen = (
            (f"epoch {best['epoch']}: the best in validation", best),
            (f"epoch {rows[-1]['epoch']}: the last", rows[-1]),
            (f"epoch {accuracies[0]['epoch']}: the lowest in the test", accuracies[0]),
            (f"epoch {accuracies[-1]['epoch']}: the highest in the test", accuracies[-1]),
        )
        for name, row in chosen:
            cells = (f"{row[key]:.4f}" for key in (*FIGURES, "batch_statistics"))
            lines.append(f"| {seed} | {name} | {' | '.join(cells)} |")
        lines.append(f"| {seed} | median of {len(rows)} | {np.median([row['accuracy'] for row in rows]):.4f} | | | | |")
    return "\n".join(lines) + "\n"


def draw(runs: dict[int, Rows]) -> None:
    """swings.png: what every epoch's weights have in the test, each seed a colour, beside the report's figure."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    for (seed, rows), colour in zip(runs.items(), ("#3b6fb6", "#d1662f"), strict=True):
        epochs = [row["epoch"] for row in rows]
        for key, style in (("accuracy", "o-"), ("batch_statistics", ":")):
            name = f"seed {seed}{', by batch statistics' if key == 'batch_statistics' else ''}"
            axes.plot(epochs, [row[key] for row in rows], style, markersize=3.5, color=colour, label=name)
    axes.axhline(REPORT.accuracy, color="#555555", linewidth=1, linestyle="--", label="the report")
    axes.set(xlabel="epoch", ylabel="test accuracy of its weights")
    axes.set_title("Fashion-MNIST, the report's convnet, not augmented, rate 1e-4 throughout")
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower right")
    save(figure, FOLDER / "swings.png")


if __name__ == "__main__":
    main()
