"""Fine-tuning against training from scratch, at equal time: fills the table and the plot of docs/fine_tuning/.

    python scripts/fine_tuning.py

Both runs of a data set take the same steps, four epochs of 15,000 images, and so the same time; from scratch the
learning rate is that of pretraining. Fruits-360 is split by arcs: validation images drawn at random are neighbours of
training images, and all are right. Finished runs are kept under outputs/kept; a killed script goes on where it stopped.
The data sets are read from SEEDBED_DATA, as by any run.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import shutil
from pathlib import Path

from kept_runs import complete, history
from matplotlib.figure import Figure

from seedbed.results.plots import save

FOLDER = Path(__file__).parents[1] / "docs" / "fine_tuning"
BUDGET = "dataset.subset=15000 train.epochs=4 seed=0"
SCRATCH = "model.pretrained=none optimizer.lr=0.1"
RUNS = {
    "fashion_mnist": ("Fashion-MNIST, 15,000 images", f"experiment=best/fashion_mnist_resnet18 {BUDGET}"),
    "fruits": ("Fruits-360 by arcs, 15,000 images", f"experiment=best/fruits_resnet18 dataset.split=arcs {BUDGET}"),
}
COLOURS = {"fine_tuned": "#d1662f", "from_scratch": "#3b6fb6"}
COLUMNS = ("data", "begins", "val_accuracy", "test_accuracy", "test_f1", "epochs", "seconds", "command")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows = []
    for (data, (_, words)), begins in itertools.product(RUNS.items(), COLOURS):
        words = f"{words} {SCRATCH}" if begins == "from_scratch" else words
        run = complete(words)
        shutil.copyfile(run / "metrics.csv", FOLDER / f"{data}_{begins}.csv")
        result = json.loads((run / "result.json").read_text())
        test = result.get("test_single_view", result["test"])
        rows.append(
            (data, begins.replace("_", " "), f"{result['val']['accuracy']:.4f}", f"{test['accuracy']:.4f}",
             f"{test['f1']:.4f}", result["epochs"], round(result["seconds"]), f"python -m run {words}")
        )  # fmt: skip
        with (FOLDER / "runs.csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    draw()


def draw() -> None:
    """equal_time.png: validation accuracy by seconds of training, from the curves that were kept."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, (data, (name, _)) in zip(figure.subplots(1, len(RUNS)), RUNS.items(), strict=True):
        for begins, colour in COLOURS.items():
            rows = history(FOLDER / f"{data}_{begins}.csv")
            minutes = [seconds / 60 for seconds in itertools.accumulate(row["seconds"] for row in rows)]
            accuracies = [row["val_accuracy"] for row in rows]
            axes.plot(minutes, accuracies, color=colour, marker="o", markersize=3, label=begins.replace("_", " "))
            above = begins == "fine_tuned"
            axes.annotate(
                f"{accuracies[-1]:.4f}", (minutes[-1], accuracies[-1]), (0, 6 if above else -14),
                textcoords="offset points", ha="right", color=colour,
            )  # fmt: skip
        axes.set(title=name, xlabel="minutes of training", ylabel="validation accuracy")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, loc="lower right")
    save(figure, FOLDER / "equal_time.png")


if __name__ == "__main__":
    main()
