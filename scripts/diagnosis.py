"""Why the report's features fail, measured: fills the tables and the plot of docs/features/.

    python scripts/diagnosis.py key_points      how many images have no key point
    python scripts/diagnosis.py fashion_mnist   from the report's pipeline to ours, step by step
    python scripts/diagnosis.py fruits
    python scripts/diagnosis.py page            the Markdown tables and steps.png of what the CSVs hold

The data sets are read from SEEDBED_DATA, as by any run.
"""

from __future__ import annotations

import csv
import itertools
import sys
from pathlib import Path

import numpy as np
from composed import composed
from matplotlib.figure import Figure
from table_of_runs import Row, fill, markdown

from seedbed import build
from seedbed.features.orb import OPENCVS_EDGE, OrbHog
from seedbed.plots.run_plots import save

FOLDER = Path(__file__).parents[1] / "docs" / "features"
LINE = "#3b6fb6"

HOG = "features.visual_words.hog"
REPORT = "experiment=original/fashion_mnist_features"
COUNTING = f"{HOG}.power=1 {HOG}.norm=l1 features.scaling=minmax"
FEW = "features.selection.sizes=[300,64]"
PLAIN = f"{HOG}.descriptor.bins=8 {HOG}.descriptor.signed=false {HOG}.vocabulary.words=128"
BYTES = f"{HOG}.descriptor._target_=seedbed.features.orb.OrbBytes ~{HOG}.descriptor.patch ~{HOG}.descriptor.whole"
WHOLE_HISTOGRAM = f"{HOG}.vocabulary.words=1500 {HOG}.levels=[1] {HOG}.assignment=hard"
ONE_CYCLE = "optimizer=adamw optimizer.weight_decay=2e-2 scheduler=one_cycle ~scheduler.patience ~scheduler.factor"
ONE_LAYER = "model.dropout=0.5 model.softmax_output=false train.label_smoothing=0.1 train.patience=null"
WIDE_MLP = f"{ONE_LAYER} {ONE_CYCLE} model.widths=[1024] optimizer.lr=3e-3 train.epochs=17 train.batch_size=400"
FASHION_MNIST = [
    Row("the report's pipeline", REPORT),
    Row("ORB's bytes as words, not HoG", f"{REPORT} {BYTES}", aside=True),
    Row("images enlarged to 64 x 64 first", f"{REPORT} {HOG}.descriptor.size=64", aside=True),
    Row("the first threshold, 36", f"{REPORT} {HOG}.descriptor.threshold=36", aside=True),
    Row("dense grid", f"{REPORT} features=dense {HOG}.descriptor.patch=16 {WHOLE_HISTOGRAM} {COUNTING} {FEW}"),
    Row("patches of 6 pixels, not 16", f"{REPORT} features=dense {WHOLE_HISTOGRAM} {COUNTING} {FEW}"),
    Row("spatial pyramid: 128 words in 6 x 6 cells", f"{REPORT} features=dense {HOG}.assignment=hard {COUNTING} {FEW}"),
    Row("soft assignment", f"{REPORT} features=dense {COUNTING} {FEW}"),
    Row("roots of counts, L2 norm, standard scaling", f"{REPORT} features=dense {FEW}"),
    Row("2,048 features kept, not 64", f"{REPORT} features=dense"),
    Row("logits instead of Softmax", f"{REPORT} features=dense model.softmax_output=false"),
    Row("learning rate 1e-3", f"{REPORT} features=dense model.softmax_output=false optimizer.lr=1e-3"),
    Row(
        "one wide layer, dropout, one cycle of AdamW",
        f"experiment=best/fashion_mnist_features {PLAIN} features.selection.sizes=[2048]",
    ),
    Row("192 words of 12 signed orientations, 3,072 kept: ours", "experiment=best/fashion_mnist_features"),
    Row("ours, with 64 features", "experiment=best/fashion_mnist_features features.selection.sizes=[64]", aside=True),
    Row("the report's features in our MLP", f"{REPORT} {WIDE_MLP}", aside=True),
]


FRUITS_REPORT = "experiment=original/fruits_features"
OUR_MLP = f"{ONE_LAYER} {ONE_CYCLE} model.widths=[512] model.batch_norm=true optimizer.lr=2e-3 train.epochs=20"
SMALL = "features=dense dataset.image_size=64"
PATCH = f"{HOG}.descriptor.patch=16 {HOG}.descriptor.stride=6"
COLOUR = "features.visual_words.colour"
LARGE_COLOUR = (
    f"{COLOUR}.descriptor.patch=8 {COLOUR}.descriptor.stride=4 {COLOUR}.vocabulary.words=128 {COLOUR}.assignment=soft"
)
ONE_OF_128 = "features.selection.sizes=[300,128]"
FRUITS = [
    Row("the report's pipeline", FRUITS_REPORT),
    Row("logits, one layer of 512, dropout, one cycle of AdamW", f"{FRUITS_REPORT} {OUR_MLP}"),
    Row("dense grid", f"{FRUITS_REPORT} {OUR_MLP} {SMALL} {PATCH} {WHOLE_HISTOGRAM} {COUNTING} {ONE_OF_128}"),
    Row("soft assignment, roots, L2", f"{FRUITS_REPORT} {OUR_MLP} {SMALL} {PATCH} {HOG}.levels=[1] {ONE_OF_128}"),
    Row(
        "spatial pyramid: 1 and 3 x 3 cells",
        f"{FRUITS_REPORT} {OUR_MLP} {SMALL} {PATCH} {HOG}.levels=[1,3] {ONE_OF_128}",
    ),
    Row(
        "1,024 features kept, not 128",
        f"{FRUITS_REPORT} {OUR_MLP} {SMALL} {PATCH} {HOG}.levels=[1,3] features.selection.sizes=[1024]",
    ),
    Row("128 colour words of 8 pixels, soft", f"experiment=best/fruits_features {LARGE_COLOUR}"),
    Row("256 colour words of 2 pixels, hard: ours", "experiment=best/fruits_features"),
    Row(
        "ours without HoG: colour words alone", "experiment=best/fruits_features ~features.visual_words.hog", aside=True
    ),
    Row("ours, split=arcs", "experiment=best/fruits_features dataset.split=arcs", aside=True),
]


def key_points() -> None:
    """How many of every fourth image have no key point, by data set, side, ORB's margin and threshold."""
    rows = []
    for name, stored in (("fashion_mnist", 28), ("fruits", 100)):
        words = [f"dataset={name}", f"dataset.image_size={stored}"]
        data = build.load_data(composed(words))
        images = np.concatenate([split.images[split.index[::4]] for split in (data.train, data.val, data.test)])
        for size in sorted({28, 64, stored}):
            margins = sorted({OrbHog().edge_on(size), size // 4, size // 3, OPENCVS_EDGE})
            for margin, threshold in itertools.product(margins, (36, 25)):
                described = OrbHog(threshold, size=size, edge=margin).describe(images)
                points = described.counts * described.found
                rows.append({
                    "data": name, "images": len(images), "side": size, "margin": margin, "threshold": threshold,
                    "without": int((points == 0).sum()), "share": f"{(points == 0).mean():.4f}",
                    "key_points_an_image": f"{points.mean():.1f}",
                })  # fmt: skip
                print(*rows[-1].values(), flush=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "key_points.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def draw(tables: dict[str, list[dict[str, str]]], path: Path) -> None:
    """Test accuracy step by step, a panel for each data set; asides as open marks."""
    picture = Figure(figsize=(11, 0.42 * max(map(len, tables.values())) + 1.2), layout="constrained")
    for axes, (title, rows) in zip(picture.subplots(1, len(tables)), tables.items(), strict=True):
        places = np.arange(len(rows))
        values = np.array([100 * float(row["test_accuracy"]) for row in rows])
        aside = np.array([row["step"].startswith("- ") for row in rows])
        axes.plot(values[~aside], places[~aside], color=LINE, marker="o")
        axes.plot(values[aside], places[aside], color=LINE, marker="o", markerfacecolor="white", linestyle="none")
        for value, place in zip(values, places, strict=True):
            axes.annotate(f"{value:.1f}", (value, place), (7, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_yticks(places, [row["step"] for row in rows], fontsize=8)
        axes.set(title=title, xlabel="test accuracy, %", ylim=(len(rows) - 0.5, -0.5))
        axes.margins(x=0.12)
        axes.grid(axis="x", alpha=0.25)
    save(picture, path)


def key_point_table() -> str:
    """A row for each data set, side and margin, a column for each threshold."""
    with (FOLDER / "key_points.csv").open() as file:
        rows = list(csv.DictReader(file))
    lines = [
        "| data | side | margin | none at threshold 36 | none at 25 | key points an image at 25 |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for at_36, at_25 in zip(rows[::2], rows[1::2], strict=True):
        lines.append(
            f"| {at_36['data']} | {at_36['side']} | {at_36['margin']} | {float(at_36['share']):.1%} "
            f"| {float(at_25['share']):.1%} | {at_25['key_points_an_image']} |"
        )
    return "\n".join(lines) + "\n"


def page() -> None:
    print(key_point_table())
    tables = {}
    for name, title in (("fashion_mnist", "Fashion-MNIST"), ("fruits", "Fruits-360")):
        with (FOLDER / f"{name}.csv").open() as file:
            tables[title] = list(csv.DictReader(file))
        print(markdown(tables[title]))
    draw(tables, FOLDER / "steps.png")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["key_points"]:
            key_points()
        case ["fashion_mnist"]:
            fill(FOLDER / "fashion_mnist.csv", FASHION_MNIST)
        case ["fruits"]:
            fill(FOLDER / "fruits.csv", FRUITS)
        case ["page"]:
            page()
        case _:
            raise SystemExit(__doc__)
