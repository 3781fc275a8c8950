"""Fruits-360, with splits by arcs beside the official one.

Each fruit was filmed while it turned on a shaft. In some rotations official test frames lie between training frames,
in others in arcs of their own. Validation frames drawn from training always have neighbours there, so a model that
remembers neighbours looks perfect. Arcs cut out of each rotation prevent that.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Literal

import numpy as np

from seedbed.annotations import Whole
from seedbed.data.image_folder import ImageFolder
from seedbed.data.sources import TEST, TRAIN, UNSPLIT, VAL
from seedbed.errors import require

SplitRule = Literal["official", "arcs", "official_arcs"]
PATHS = ("fruits-360.zip", "fruits-360", "fruits-360_100x100", "fruits-360-100x100.zip")
FRAME = re.compile(r"^(?:(?P<series>r\d*)_)?(?:(?P<frame>\d+)_)?(?P<last>\d+)\.\w+$")


class Fruits(ImageFolder):
    """Fruits-360 (Oltean and Muresan) from a folder or a zip with `Training/` and `Test/` at any depth.

    `split` arcs pools both splits and takes one contiguous arc of every rotation for test, one for validation.
    official_arcs keeps the official test frames and takes an arc of the training frames for validation, to choose
    settings by. `margin` frames are dropped at every border between two arcs.
    """

    def __init__(
        self, data_root: str, root: str | None = None, split: SplitRule = "official", margin: Whole = 3,
        splits: str | Mapping[str, str | Sequence[str]] = "auto", exclude: Sequence[str] = (),
    ):  # fmt: skip
        require(margin >= 0, f"dataset.margin: expected a number >= 0, got {margin}")
        super().__init__("fruits", data_root, PATHS, root, channels=3, splits=splits, exclude=exclude)
        self.split, self.margin = split, margin

    def assign(
        self, names: Sequence[str], labels: np.ndarray, parts: np.ndarray,
        *, seed: int, test_fraction: float, val_fraction: float,
    ) -> np.ndarray:  # fmt: skip
        """The official parts, or arcs. Raises UserError without training images, or rotations long enough for arcs."""
        require(
            self.split == "arcs" or (parts == TRAIN).any(),
            f"{self.container}: holds no Training/ with the classes below it; give the folder or zip that holds "
            "Training/ and Test/, dataset.root=PATH, or split what is there by dataset.split=arcs",
        )
        if self.split == "official":
            return parts
        wanted, fractions = "a validation arc", f"dataset.val_fraction={val_fraction:g}"
        pooled = np.flatnonzero(parts == TRAIN)
        if self.split == "arcs":
            wanted, fractions = "a test and " + wanted, f"dataset.test_fraction={test_fraction:g} and {fractions}"
            pooled = np.arange(len(parts))
        cut = parts.copy()
        cut[pooled] = arcs(
            [names[row] for row in pooled], labels[pooled], seed=seed, margin=self.margin, val_fraction=val_fraction,
            test_fraction=test_fraction if self.split == "arcs" else 0,
        )  # fmt: skip
        # A random draw instead would put neighbouring frames on both sides, and nobody would notice.
        require(
            (cut == TEST).any() and (cut == VAL).any(),
            f"dataset.split={self.split}: no rotation is long enough for {wanted} with dataset.margin={self.margin} "
            f"and {fractions}",
        )
        return cut


def series_and_frames(names: Sequence[str]) -> list[tuple[str, int]]:
    """The rotation ("" for the first axis) and the frame number of each image; -1: before all others of its rotation.

    `…/r0_12_100.jpg` -> ("r0", 12): frame and size. `…/r0_12.jpg` -> ("r0", 12) in the packaging of original sizes,
    whose names have no size. Raises UserError where a frame's number cannot be known.
    """
    matches = [FRAME.match(PurePosixPath(name).name) for name in names]
    unknown = next((name for name, match in zip(names, matches, strict=True) if not match), None)
    expected = "expected names such as r0_12_100.jpg or r0_12.jpg, with the number of the frame"
    require(unknown is None, f"dataset.split: arcs cannot know the frame of {unknown}; {expected}; use official")
    sizes = {match["last"] for match in matches if match["frame"]}
    require(len(sizes) < 2, f"dataset.split: the frames are not known: the last numbers of two differ; {expected}")
    has_sizes = bool(sizes)
    return [(m["series"] or "", int((m["frame"] or -1) if has_sizes else m["last"])) for m in matches]


def arcs(
    names: Sequence[str], labels: np.ndarray, *, seed: int, margin: int, test_fraction: float, val_fraction: float
) -> np.ndarray:
    """Cut each filmed rotation, frames ordered as a circle, into a test arc, a validation arc and training.

    Round the circle lie the test arc, training frames, the validation arc, training frames; `margin` frames are
    dropped at every border and become UNSPLIT. `test_fraction` 0 makes no test arc. Where the first arc starts is drawn
    from (seed, class, series). A rotation too short for that is all training: it shares no frames with any other.
    """
    held_out = [(TEST, test_fraction), (VAL, val_fraction)] if test_fraction else [(VAL, val_fraction)]
    rotations: dict[tuple[int, str], list[tuple[int, int]]] = defaultdict(list)
    known = series_and_frames(names)
    for row, ((series, frame), label) in enumerate(zip(known, labels.tolist(), strict=True)):
        rotations[label, series].append((frame, row))
    parts = np.full(len(names), TRAIN, np.int8)
    for (label, series), frames in rotations.items():
        n, unknown = len(frames), [names[row] for frame, row in frames if frame < 0]
        require(len(unknown) < 2, f"dataset.split: arcs cannot know the frames of {', '.join(unknown)}; use official")
        sizes = [round(n * fraction) for _, fraction in held_out]
        train = n - sum(sizes) - 2 * margin * len(held_out)
        if min(sizes) < 1 or train < 2:
            continue
        circle = np.array([row for _, row in sorted(frames)])
        rng = np.random.default_rng([seed, label, *series.encode()])
        circle = np.roll(circle, -int(rng.integers(n)))
        pieces = []
        for i, ((part, _), size) in enumerate(zip(held_out, sizes, strict=True)):
            between = train * (i + 1) // len(held_out) - train * i // len(held_out)
            pieces += [(part, size), (UNSPLIT, margin), (TRAIN, between), (UNSPLIT, margin)]
        values, counts = zip(*pieces, strict=True)
        parts[circle] = np.repeat(values, counts)
    return parts
