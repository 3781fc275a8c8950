"""What the report's settings would have on the whole test set of Fruits-360, whose classes differ in size.

    python scripts/whole_test_set.py

Our part of it has 68 test and 204 training images of nearly every class. Here the recall of each class counts as
often as the whole release (2024.08.04.0) has test images of it, 47 to 328: docs/results/fruits_test_sizes.csv. Since
a network also learns which classes are large, the features are trained once more on classes of unequal sizes: of each
as many of our training images as fit its test images' share of the largest class's. These are half of ours, so the
vocabulary takes its ten words from batches half as large, and there are as many steps as with ours; and once more, as
many as the report's 100 epochs of the whole data set have, at a rate that stays. Prints a Markdown table and
writes docs/results/whole_test_set.csv. The runs are found under outputs/kept, or made; the data set is read from
SEEDBED_DATA, the smaller one is written beside outputs/kept once.
"""

from __future__ import annotations

import csv
import os
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from kept_runs import KEPT, complete
from table_of_runs import write_table

FOLDER = Path(__file__).parents[1] / "docs" / "results"
UNEQUAL = KEPT.parent / "fruits_of_unequal_classes.zip"
COLUMNS = ("run", "mean_recall", "by_size", "command")
FEATURES = f"experiment=original/fruits_features dataset.root={UNEQUAL} features.visual_words.hog.vocabulary.batch=100"
RUNS = (
    ("features", "experiment=original/fruits_features seed=0"),
    ("features, trained on classes of unequal sizes", f"{FEATURES} train.epochs=193"),
    (
        "features, trained so, in as many steps as the whole data set gives, the rate never lowered",
        f"{FEATURES} scheduler.patience=475 train.epochs=475",
    ),
    ("MLP on pixels", "experiment=original/fruits_mlp seed=0"),
    ("convnet, augmented", "experiment=original/fruits_convnet_augmented seed=0"),
    (
        "convnet, augmented, as many parameters as the report counts",
        "experiment=original/fruits_convnet_augmented model.head_widths=[1024,256]",
    ),
    ("convnet, not augmented", "experiment=original/fruits_convnet_not_augmented seed=0"),
)


def main() -> None:
    sizes = {row["class"]: int(row["images"]) for row in table(FOLDER / "fruits_test_sizes.csv")}
    if not UNEQUAL.is_file():
        write_unequal(Path(os.environ.get("SEEDBED_DATA", "data")) / "fruits-360.zip", sizes)
    print("| | mean recall | by size |\n| --- | ---: | ---: |")
    rows = []
    for title, words in RUNS:
        recalls = {row["class"]: float(row["recall"]) for row in table(complete(words) / "per_class.csv")}
        weights = [sizes[name] for name in recalls]
        figures = [f"{np.average([*recalls.values()], weights=w):.4f}" for w in (None, weights)]
        print(f"| {title} | {' | '.join(figures)} |", flush=True)
        rows.append(dict(zip(COLUMNS, (title, *figures, f"python -m run {words}"), strict=True)))
        write_table(FOLDER / "whole_test_set.csv", COLUMNS, rows)


def write_unequal(source: Path, sizes: dict[str, int]) -> None:
    """The data set with all its test images, but with training images of each class in proportion to `sizes`."""
    UNEQUAL.parent.mkdir(parents=True, exist_ok=True)
    unfinished = UNEQUAL.with_suffix(".tmp")
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(unfinished, "w") as copy:
        training = defaultdict(list)
        for entry in whole.infolist():
            parts = entry.filename.split("/")
            if "Training" in parts and not entry.is_dir():
                training[parts[-2]].append(entry)
            else:
                copy.writestr(entry, whole.read(entry))
        most = max(len(entries) for entries in training.values())
        for label, entries in training.items():
            number = min(len(entries), round(most * sizes[label] / max(sizes.values())))
            for position in range(number):
                entry = entries[position * len(entries) // number]
                copy.writestr(entry, whole.read(entry))
    unfinished.replace(UNEQUAL)


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
