"""What the names of folders say of splits: train, training_set, seg_test, val2017."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise

from seedbed.data.sources import TEST, TRAIN, VAL

SPLIT_NAMES = dict.fromkeys(("train", "training", "trn"), TRAIN) | dict.fromkeys(("test", "testing", "tst"), TEST)
SPLIT_NAMES |= dict.fromkeys(("val", "valid", "validation", "dev"), VAL)
# What a name of a split may have around it and still be one: training_set, val-images, x_train.
AROUND = (
    "set",
    "sets",
    "data",
    "dataset",
    "split",
    "splits",
    "folder",
    "dir",
    "images",
    "image",
    "imgs",
    "img",
    "pics",
)
AROUND += ("pic", "photos", "photo", "files", "file", "jpg", "jpeg", "png", "x")
WORD = re.compile(r"[^\W\d_]+|\d+")
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
GLUED = re.compile(rf"(?:{'|'.join(AROUND)})?({'|'.join(SPLIT_NAMES)})(?:{'|'.join(AROUND)})?")


def split_word(name: str) -> tuple[int, tuple[str, ...]] | None:
    """The split that a folder's name says, and the words in it that no name of a split needs; None: it says none.

    `seg_train` -> TRAIN, ("seg",); `val2017` -> VAL, (); `valve` -> None.
    """
    words = [word.lower() for word in WORD.findall(CAMEL.sub(" ", name))]
    said = [match[1] for word in words if (match := GLUED.fullmatch(word))]
    others = (word for word in words if not (GLUED.fullmatch(word) or word.isdecimal() or word in AROUND))
    return (SPLIT_NAMES[said[0]], tuple(others)) if len(said) == 1 else None


def split_folders(siblings: Iterable[str], typed: Mapping[str, int] | None = None) -> dict[str, int]:
    """Those of some folders beside each other that are splits -> their parts.

    A usual name is one for itself; any other needs a second that says another split and differs in nothing else.
    """
    if typed is not None:
        return {name: typed[name] for name in siblings if name in typed}
    said = {name: word for name in siblings if (word := split_word(name))}
    kinds = defaultdict(set)
    for part, others in said.values():
        kinds[others].add(part)
    return {
        name: part
        for name, (part, others) in said.items()
        if name.lower() in SPLIT_NAMES or (TRAIN in kinds[others] and len(kinds[others]) > 1)
    }


def place(folder: str) -> tuple[int | None, str | None]:
    """The first split that a path's folders say, and the folder below it: a split's class, where they are classes."""
    folders = [*folder.strip("/").split("/"), None]
    for name, below in pairwise(folders):
        if word := split_word(name):
            return word[0], below
    return None, None
