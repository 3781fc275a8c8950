"""Fruits-360, with a split by arcs beside the official one.

Each fruit was filmed while it turned on a shaft. Official test frames lie between training frames in some rotations,
in arcs of their own in others; validation frames drawn from training have neighbours there always, so a model that
remembers neighbours looks perfect. `split: arcs` cuts whole arcs for both out of each rotation instead.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Literal

import numpy as np

from seedbed.data.source import TEST, TRAIN, UNSPLIT, VAL
from seedbed.data.tree import ImageTree
from seedbed.types import UserError

FRAME = re.compile(r"^(?:(?P<series>r\d*)_)?(?:(?P<frame>\d+)_)?\d+\.\w+$")


class Fruits(ImageTree):
    """Fruits-360 (Oltean and Muresan) from a folder or a zip with `Training/` and `Test/` at any depth.

    Args:
        split: official, or arcs: both splits pooled, and of every filmed rotation one contiguous arc is for
            test and one for validation.
        margin: frames dropped at every border between two arcs.
    """

    def __init__(
        self,
        data_root: str,
        root: str | None = None,
        split: Literal["official", "arcs"] = "official",
        margin: int = 3,
    ):
        if margin < 0:
            raise UserError(f"dataset.margin: expected a number >= 0, got {margin}")
        places = ("fruits-360.zip", "fruits-360", "fruits-360_100x100", "fruits-360-100x100.zip")
        super().__init__("fruits", data_root, places, root, channels=3)
        self.split = split
        self.margin = margin

    def assign(
        self,
        names: Sequence[str],
        labels: np.ndarray,
        parts: np.ndarray,
        *,
        seed: int,
        test_fraction: float,
        val_fraction: float,
    ) -> np.ndarray:
        if self.split == "official":
            return parts
        cut = arcs(names, labels, seed=seed, margin=self.margin, test_fraction=test_fraction, val_fraction=val_fraction)
        if not (cut == TEST).any() or not (cut == VAL).any():
            # Drawing them at random instead would put neighbouring frames on both sides, unseen.
            raise UserError(
                f"dataset.split=arcs: no rotation is long enough for a test and a validation arc with "
                f"dataset.margin={self.margin}, dataset.test_fraction={test_fraction:g} and "
                f"dataset.val_fraction={val_fraction:g}"
            )
        return cut


def series_and_frame(name: str) -> tuple[str, int]:
    """`…/r0_12_100.jpg` -> ("r0", 12); a name without a frame number comes first in its series.

    Returns:
        The rotation's name ("" for the first axis) and the frame number, or -1.
    """
    match = FRAME.match(PurePosixPath(name).name)
    if not match:
        return PurePosixPath(name).stem, -1
    return match["series"] or "", int(match["frame"]) if match["frame"] else -1


def arcs(
    names: Sequence[str],
    labels: np.ndarray,
    *,
    seed: int,
    margin: int,
    test_fraction: float,
    val_fraction: float,
) -> np.ndarray:
    """Cut each filmed rotation, frames ordered as a circle, into a test arc, a validation arc and training.

    Round the circle lie: the test arc, training frames, the validation arc, training frames; `margin` frames are
    dropped at each of the four borders. Where the test arc starts is drawn from (seed, class, series). A rotation
    too short for that goes whole into training: it shares no frames with any other.

    Returns:
        int8 `[N]`: TRAIN, VAL, TEST, or UNSPLIT for the dropped frames.
    """
    rotations: dict[tuple[int, str], list[tuple[int, int]]] = defaultdict(list)
    for row, (name, label) in enumerate(zip(names, labels.tolist(), strict=True)):
        series, frame = series_and_frame(name)
        rotations[label, series].append((frame, row))
    parts = np.full(len(names), TRAIN, np.int8)
    for (label, series), frames in rotations.items():
        n = len(frames)
        test, val = round(n * test_fraction), round(n * val_fraction)
        train = n - test - val - 4 * margin
        if min(test, val) < 1 or train < 2:
            continue
        circle = np.array([row for _, row in sorted(frames)])
        rng = np.random.default_rng([seed, label, *series.encode()])
        circle = np.roll(circle, -int(rng.integers(n)))
        drop = np.full(margin, UNSPLIT)
        parts[circle] = np.concatenate([
            np.full(test, TEST), drop, np.full(train // 2, TRAIN), drop,
            np.full(val, VAL), drop, np.full(train - train // 2, TRAIN), drop,
        ])  # fmt: skip
    return parts
