"""The highest accuracy that the report's mean recalls allow on Fruits-360's test set, whoever predicts.

    python scripts/recall_bound.py

With a mean recall over classes of R, accuracy is highest where the images of the largest classes are right, of so many
that their share is R (the last one in part), and none of the others. Sizes are those of the whole release's test set
(docs/results/fruits_test_sizes.csv). The report gives whole percents: its recall may be half a percent above. Prints a
Markdown table.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence

from reproduce import FOLDER, ROWS

ROUNDING = 0.005


def main() -> None:
    with (FOLDER / "fruits_test_sizes.csv").open() as file:
        sizes = [int(row["images"]) for row in csv.DictReader(file)]
    print("| | the report's mean recall | highest accuracy | the report's accuracy |\n| --- | ---: | ---: | ---: |")
    for row in ROWS:
        if row.preset.startswith("fruits_"):
            bound = highest(sizes, row.recall + ROUNDING)
            print(f"| {row.title} | {row.recall} | {bound:.3f} | {row.accuracy} |")


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
