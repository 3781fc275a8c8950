"""What a data source is: it knows where images are, what they are called, and their classes and official splits.

The store decodes, resizes and keeps the images (`seedbed.data.cache`); `seedbed.data.dataset` draws further splits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

TRAIN, VAL, TEST, UNSPLIT = 0, 1, 2, -1


@dataclass(frozen=True)
class Listing:
    """All images of a source, in one order: either as `images`, or as the names of files in `container`."""

    classes: tuple[str, ...]  # names in label order
    labels: np.ndarray  # int64 `[N]`
    parts: np.ndarray  # int8 `[N]`: TRAIN, VAL, TEST, or UNSPLIT where the source has no split of its own
    names: Sequence[str]  # one an image; of a file the path inside the container
    images: np.ndarray | None = None  # uint8 `[N, C, H, W]`
    container: Path | None = None  # a folder or a zip
    channels: int | None = None  # 1 or 3 for files; None: the files themselves decide
    splits: Mapping[str, int] = field(default_factory=dict)  # folder of a split -> its part, to be said at the start
    left_out: Sequence[str] = ()  # what lies there and is not read, and why


class Source(Protocol):
    """What the class of a dataset yaml must have: a `name` and these two methods, nothing else.

    Its constructor takes the keys of its own yaml. It takes `data_root` and `root` only if it wants them: they are
    passed to a constructor that names them, and to no other. One more method is optional, for splits by a rule of the
    source's own: `assign(names, labels, parts, *, seed, test_fraction, val_fraction)` gets what the listing said and
    returns the new parts; rows that are UNSPLIT then lie in no split.
    """

    name: str

    def fingerprint(self) -> str:
        """Text that changes whenever the images or their labels do; cheap to compute."""

    def listing(self) -> Listing:
        """Read or list the images. Raises UserError where data is missing; the message says what to put where."""
