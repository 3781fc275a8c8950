"""How Fruits-360's official test frames lie among its training frames: alone, or in arcs that training lacks.

    python scripts/official_split.py

The frames of each filmed rotation are put in order, both splits together; counted are the test frames by how many of
them follow each other without a training frame between. The data set is read from SEEDBED_DATA, as by any run.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter, defaultdict

from seedbed.data.fruits import Fruits, series_and_frame
from seedbed.data.sources import TEST

GROUPS = ((1, 1), (2, 4), (5, 9), (10, 10**6))


def main() -> None:
    listing = Fruits(os.environ.get("SEEDBED_DATA", "data")).listing()
    rotations = defaultdict(list)
    for name, label, part in zip(listing.names, listing.labels.tolist(), listing.parts.tolist(), strict=True):
        series, frame = series_and_frame(name)
        rotations[label, series].append((frame, part == TEST))
    counts = Counter()
    for frames in rotations.values():
        for length in runs([is_test for _, is_test in sorted(frames)]):
            counts[next(group for group in GROUPS if group[0] <= length <= group[1])] += length
    total = sum(counts.values())
    for low, high in GROUPS:
        length = f"{low}" if low == high else f"{low} or more" if high == GROUPS[-1][1] else f"{low} to {high}"
        share = counts[low, high] / total
        print(f"{counts[low, high]:,} of {total:,} test frames ({share:.0%}) in runs of {length}")


def runs(tests: list[bool]) -> list[int]:
    """Lengths of the runs of true."""
    return [len(list(group)) for is_test, group in itertools.groupby(tests) if is_test]


if __name__ == "__main__":
    main()
