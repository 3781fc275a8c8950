"""Fine-tuning against training from scratch, at equal time: fills the table and the plot of docs/fine_tuning/.

    python scripts/fine_tuning.py            the runs that runs.csv lacks, then the table and the plot
    python scripts/fine_tuning.py --draw     only the plot and the table's lines again, from runs.csv

All ways take the same steps of the same network, one, two or four epochs of 15,000 images (on Fashion-MNIST less the
tenth for validation), and so the same time; each run has a whole cycle of the rate. From scratch the highest rate is
that of pretraining. With gains of 1 in the backbone, which then learns faster at the same rate, each stage has three
tenths of the rate of the one above it. Fruits-360 is split by arcs: validation images drawn at random are neighbours
of training images, and all are right. A line of runs.csv counts as long as its settings and the shipped weights are
the same; --draw takes all as they are. A killed script goes on where it stopped. The data sets are read from
SEEDBED_DATA, as by any run.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
from pathlib import Path

import numpy as np
from kept_runs import complete, digest
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from table_of_runs import spread, write_table

from seedbed.plots.run_plots import save

FOLDER = Path(__file__).parents[1] / "docs" / "fine_tuning"
# Images of one size, so that every epoch costs and teaches the same.
BUDGET = "dataset.subset=15000 dataset.val_fraction=0.1 model.image_size=32 train.initial_size=null train.tta=1"
DATA = {
    "fashion_mnist": ("Fashion-MNIST", "experiment=best/fashion_mnist_resnet18"),
    "fruits": ("Fruits-360 by arcs", "experiment=best/fruits_resnet18 dataset.split=arcs"),
}
BEGINS = {
    "fine-tuned": ("", "#d1662f"),
    "fine-tuned, gains of 1": (" model.rescale_batchnorm=true model.lr_decay=0.3", "#3f8f4f"),
    "from scratch": (" model.pretrained=none optimizer.lr=0.1", "#3b6fb6"),
}
EPOCHS, SEEDS = (1, 2, 4), (0, 1, 2)
COLUMNS = (
    "data", "begins", "epochs", "seed", "val_accuracy", "test_accuracy", "test_f1", "seconds", "device", "command",
    "digest",
)  # fmt: skip
Runs = list[dict[str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draw", action="store_true", help="run nothing")
    if not parser.parse_args().draw:
        held, rows = {run["command"]: run for run in read()}, []
        for (data, (_, preset)), begins, epochs, seed in itertools.product(DATA.items(), BEGINS, EPOCHS, SEEDS):
            words = f"{preset} {BUDGET}{BEGINS[begins][0]} train.epochs={epochs} seed={seed}"
            row, now = held.pop(f"python -m run {words}", None), digest(words)
            if not row or row["digest"] != now:
                row = {**facts(words), "digest": now}
            rows.append({**row, "data": data, "begins": begins, "seed": seed})
            write_table(FOLDER / "runs.csv", COLUMNS, [*rows, *held.values()])
        write_table(FOLDER / "runs.csv", COLUMNS, rows)
    runs = read()
    print(table(runs))
    draw(runs)


def read() -> Runs:
    if not (FOLDER / "runs.csv").is_file():
        return []
    with (FOLDER / "runs.csv").open() as file:
        return list(csv.DictReader(file))


def facts(words: str) -> dict[str, str | int]:
    """What a line of runs.csv says of the finished run of these words."""
    run = complete(words)
    result = json.loads((run / "result.json").read_text())
    environment = json.loads((run / "environment.json").read_text())
    return {
        "epochs": result["epochs"],
        "val_accuracy": f"{result['val']['accuracy']:.4f}",
        "test_accuracy": f"{result['test']['accuracy']:.4f}",
        "test_f1": f"{result['test']['f1']:.4f}",
        "seconds": f"{result['seconds']:.1f}",
        "device": environment["gpu"] or environment["cpu"],
        "command": f"python -m run {words}",
    }


def figures(runs: Runs, data: str, begins: str, epochs: int, which: str) -> np.ndarray:
    """One figure of each seed."""
    key = (data, begins, str(epochs))
    values = np.array([float(run[which]) for run in runs if (run["data"], run["begins"], run["epochs"]) == key])
    if len(values) != len(SEEDS):
        found = f"{len(values)} of {len(SEEDS)} runs of {', '.join(key)}"
        raise SystemExit(f"error: {FOLDER / 'runs.csv'}: {found}; run it without --draw")
    return values


def table(runs: Runs) -> str:
    """Mean ± sample standard deviation over the seeds, as Markdown."""
    lines = ["| | epochs | begins | validation | test |", "| --- | ---: | --- | ---: | ---: |"]
    for (data, (name, _)), epochs, begins in itertools.product(DATA.items(), EPOCHS, BEGINS):
        of_seeds = (figures(runs, data, begins, epochs, which) for which in ("val_accuracy", "test_accuracy"))
        cells = " | ".join(spread(values) for values in of_seeds)
        lines.append(f"| {name} | {epochs} | {begins} | {cells} |")
    return "\n".join(lines) + "\n"


def draw(runs: Runs) -> None:
    """equal_time.png: test error by epochs, each point a run of its own."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, (data, (name, _)) in zip(figure.subplots(1, len(DATA)), DATA.items(), strict=True):
        ends = {}
        for begins, (_, colour) in BEGINS.items():
            errors = [1 - figures(runs, data, begins, epochs, "test_accuracy") for epochs in EPOCHS]
            for epochs, values in zip(EPOCHS, errors, strict=True):
                axes.plot([epochs] * len(values), values, "o", color=colour, markersize=4, alpha=0.6)
            means = [values.mean() for values in errors]
            axes.plot(EPOCHS, means, color=colour, label=begins)
            ends[means[-1]] = colour
        for end, colour in ends.items():
            # Ends that nearly meet would write their labels over each other.
            near = [other for other in ends if other != end and abs(np.log(other / end)) < 0.06]
            lift = sum(5 if end > other else -5 for other in near)
            axes.annotate(
                f"{end:.2%}", (EPOCHS[-1], end), (8, lift), textcoords="offset points", va="center", color=colour
            )
        axes.set(title=f"{name}, subset of 15,000", xlabel="epochs, each point a run of its own")
        axes.set_ylabel("test error, three seeds")
        axes.set_yscale("log")
        limits = axes.get_ylim()
        axes.set_yticks([0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5], minor=False)
        axes.yaxis.set_major_formatter(lambda error, _: f"{100 * error:.3g}%")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylim(limits)
        axes.set_xticks(EPOCHS)
        axes.set_xlim(0.8, EPOCHS[-1] + 0.7)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, loc="upper right")
    save(figure, FOLDER / "equal_time.png")


if __name__ == "__main__":
    main()
