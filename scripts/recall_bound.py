"""The highest accuracy that the report's mean recalls allow on Fruits-360's test set, whoever predicts.

    python scripts/recall_bound.py

With a mean recall over classes of R, accuracy is highest where all images of the largest classes are right and none of
the others': of so many classes that their share is R. Sizes are those of the whole release's test set
(docs/results/fruits_test_sizes.csv). The report gives whole percents: its recall may be half a percent above.
Prints a Markdown table.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "docs" / "results"
# row, the report's accuracy and mean recall
ROWS = (
    ("features", 0.29, 0.17),
    ("MLP on pixels", 0.95, 0.92),
    ("convnet, augmented", 0.91, 0.88),
    ("convnet, not augmented", 0.86, 0.85),
    ("ResNet-18", 0.92, 0.89),
)
ROUNDING = 0.005


def main() -> None:
    with (FOLDER / "fruits_test_sizes.csv").open() as file:
        sizes = [int(row["images"]) for row in csv.DictReader(file)]
    print("| | the report's mean recall | highest accuracy | the report's accuracy |\n| --- | ---: | ---: | ---: |")
    for name, accuracy, recall in ROWS:
        print(f"| {name} | {recall} | {highest(sizes, recall + ROUNDING):.3f} | {accuracy} |")


def highest(sizes: Sequence[int], recall: float) -> float:
    """The highest accuracy on classes of these sizes with this mean recall, in 0 to 1."""
    recalled, total = recall * len(sizes), 0.0
    for size in sorted(sizes, reverse=True):
        share = min(1.0, max(0.0, recalled))
        total += size * share
        recalled -= share
    return total / sum(sizes)


if __name__ == "__main__":
    main()
