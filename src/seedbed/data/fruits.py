"""Fruits-360, with splits by arcs beside the official one.

Each fruit was filmed while it turned on a shaft. Official test frames lie between training frames in some rotations,
in arcs of their own in others; validation frames drawn from training have neighbours there always, so a model that
remembers neighbours looks perfect. `split: arcs` cuts whole arcs for both out of each rotation instead;
`official_arcs` keeps the official test frames and cuts validation arcs out of training, to choose settings by.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Literal

import numpy as np

from seedbed.data.image_folder import ImageFolder
from seedbed.data.sources import TEST, TRAIN, UNSPLIT, VAL
from seedbed.errors import UserError

FRAME = re.compile(r"^(?:(?P<series>r\d*)_)?(?:(?P<frame>\d+)_)?\d+\.\w+$")


class Fruits(ImageFolder):
    """Fruits-360 (Oltean and Muresan) from a folder or a zip with `Training/` and `Test/` at any depth.

    Args:
        split: official; or arcs: both splits pooled, and of every filmed rotation one contiguous arc is for
            test and one for validation; or official_arcs: official, and of the training frames of every rotation
            one contiguous arc is for validation.
        margin: frames dropped at every border between two arcs.
    """

    def __init__(
        self,
        data_root: str,
        root: str | None = None,
        split: Literal["official", "arcs", "official_arcs"] = "official",
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
        if self.split != "arcs" and not (parts == TRAIN).any():
            raise UserError(
                f"{self.container}: holds no Training/ with the classes below it; give the folder or zip that holds "
                "Training/ and Test/, dataset.root=PATH, or split what is there by dataset.split=arcs"
            )
        if self.split == "official":
            return parts
        pooled = np.arange(len(parts)) if self.split == "arcs" else np.flatnonzero(parts == TRAIN)
        cut = parts.copy()
        cut[pooled] = arcs(
            [names[row] for row in pooled], labels[pooled], seed=seed, margin=self.margin,
            test_fraction=test_fraction if self.split == "arcs" else 0, val_fraction=val_fraction,
        )  # fmt: skip
        if not (cut == TEST).any() or not (cut == VAL).any():
            # Drawing them at random instead would put neighbouring frames on both sides, unseen.
            wanted, fractions = "a validation arc", f"dataset.val_fraction={val_fraction:g}"
            if self.split == "arcs":
                wanted = "a test and a validation arc"
                fractions = f"dataset.test_fraction={test_fraction:g} and {fractions}"
            raise UserError(
                f"dataset.split={self.split}: no rotation is long enough for {wanted} with "
                f"dataset.margin={self.margin} and {fractions}"
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
    dropped at every border. With `test_fraction` 0 there is no test arc. Where the first arc starts is drawn from
    (seed, class, series). A rotation too short for that goes whole into training: it shares no frames with any other.

    Returns:
        int8 `[N]`: TRAIN, VAL, TEST, or UNSPLIT for the dropped frames.
    """
    held = [(TEST, test_fraction), (VAL, val_fraction)] if test_fraction else [(VAL, val_fraction)]
    rotations: dict[tuple[int, str], list[tuple[int, int]]] = defaultdict(list)
    for row, (name, label) in enumerate(zip(names, labels.tolist(), strict=True)):
        series, frame = series_and_frame(name)
        rotations[label, series].append((frame, row))
    parts = np.full(len(names), TRAIN, np.int8)
    for (label, series), frames in rotations.items():
        n = len(frames)
        sizes = [round(n * fraction) for _, fraction in held]
        train = n - sum(sizes) - 2 * margin * len(held)
        if min(sizes) < 1 or train < 2:
            continue
        circle = np.array([row for _, row in sorted(frames)])
        rng = np.random.default_rng([seed, label, *series.encode()])
        circle = np.roll(circle, -int(rng.integers(n)))
        drop = np.full(margin, UNSPLIT)
        pieces = []
        for i, ((part, _), size) in enumerate(zip(held, sizes, strict=True)):
            between = train * (i + 1) // len(held) - train * i // len(held)
            pieces += [np.full(size, part), drop, np.full(between, TRAIN), drop]
        parts[circle] = np.concatenate(pieces)
    return parts
