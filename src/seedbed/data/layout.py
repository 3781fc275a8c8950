"""How a tree of images is meant: which folders are splits, which are classes. Paths in, a reading out; no files.

A tree that can be meant in two ways is refused, with both readings and the words that choose one of them.
"""

import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple
from unicodedata import normalize

from seedbed.data.reading_words import KEYS, Folder, listed, mapping_of, quoted
from seedbed.data.sources import TRAIN, UNSPLIT
from seedbed.data.split_names import split_folders, split_word
from seedbed.errors import UserError, require

NUMBERED = re.compile(r"[\d\W_]+")  # 2020, 12-31: folders that any classes may have in common
NAMED = 5


class Reading(NamedTuple):
    """A reading of a tree."""

    parts: Sequence[int]  # of each image: TRAIN, VAL, TEST or UNSPLIT
    classes: Sequence[str | None]  # of each image; None: it is left out
    splits: dict[str, int]  # folder of a split -> its part
    holders: set[str]  # the folders that hold class folders


class Split(NamedTuple):
    """A folder whose name says a split."""

    parent: Folder
    name: str
    part: int
    top: Folder  # what holds its class folders
    classes: frozenset[str]

    @property
    def path(self) -> str:
        """As text."""
        return "/".join((*self.parent, self.name))


class Tree:
    """The folders of images: how many lie in each of them, and which folders are below."""

    def __init__(self, names: Iterable[str]):
        self.folders = [tuple(name.split("/")[:-1]) for name in names]
        self.direct = Counter(self.folders)
        self.below: dict[Folder, dict[str, None]] = defaultdict(dict)
        for folder in self.direct:
            for depth, name in enumerate(folder):
                self.below[folder[:depth]][name] = None

    def children(self, folder: Folder) -> list[str]:
        """Names of the folders in a folder."""
        return [*self.below.get(folder, ())]

    def inside(self, folder: Folder) -> set[str]:
        """Names of all folders below a folder."""
        names = set(self.children(folder))
        return names.union(*(self.inside((*folder, name)) for name in names))

    def top(self) -> Folder:
        """The folder that all images share, but for that of a single class."""
        top: Folder = ()
        while not self.direct[top] and len(one := self.children(top)) == 1 and self.children((*top, *one)):
            top = (*top, *one)
        return top


def read(names: Sequence[str], splits: str | Mapping[str, str | Sequence[str]] = "auto") -> Reading:
    """The split and the class of each image.

    Args:
        names: paths of images.
        splits: auto; none: all folders are classes; or train, val, test -> the names of such folders.

    Raises:
        UserError: the tree is no data set, or can be meant in two ways.
    """
    tree = Tree(names)
    if splits == "none":
        return _no_splits(tree, names, sure=True)
    typed = None if isinstance(splits, str) else _typed(splits)
    if typed is None and _is_below(tree):
        reading = _splits_below(tree, typed)
    else:
        reading = _splits_above(tree, typed) or _splits_below(tree, typed)
    require(
        reading or typed is None,
        f"dataset.splits: found no training folder {', '.join(typed or ())} with class folders below or above it",
    )
    return reading or _no_splits(tree, names)


def _typed(splits: Mapping[str, str | Sequence[str]]) -> dict[str, int]:
    expected = "dataset.splits: expected auto, none, or {train: FOLDER, val: FOLDER, test: FOLDER}"
    require("train" in splits and splits.keys() <= KEYS.keys(), f"{expected}, got {dict(splits)}")
    lists = {key: [value] if isinstance(value, str) else value for key, value in splits.items()}
    return {normalize("NFC", name): KEYS[key] for key, names in lists.items() for name in names}


def _find(tree: Tree, typed: Mapping[str, int] | None, folder: Folder = ()) -> Iterator[Split]:
    """The outermost folders of splits."""
    named = split_folders(tree.children(folder), typed)
    for name in tree.children(folder):
        top = (*folder, name)
        if name not in named:
            yield from _find(tree, typed, top)
            continue
        # Kaggle's archives hold seg_train/seg_train/<class>.
        while not tree.direct[top] and tree.children(top) == [name] and tree.children((*top, name)):
            top = (*top, name)
        yield Split(folder, name, named[name], top, frozenset(tree.children(top)))


def _splits_above(tree: Tree, typed: Mapping[str, int] | None) -> Reading | None:
    """`…/<split>/<class>/…/<image>`; None where no training split has class folders."""
    found = [*_find(tree, typed)]
    labelled = [split for split in found if split.classes]
    if not any(split.part == TRAIN for split in labelled):
        return None
    if typed is None:
        _refuse_other_sets(labelled)
        _refuse_what_lies_beside(tree, found, labelled)
        for split in labelled:
            _refuse_copies(tree, split.top, f"dataset.splits={_mapping(labelled)}")
    pair_of: dict[Folder, tuple[int, str | None]] = dict.fromkeys(tree.direct, (UNSPLIT, None))
    for split in labelled:
        path, depth = (*split.parent, split.name), len(split.top)
        for folder in tree.direct:
            if folder[: len(path)] == path and len(folder) > depth:
                pair_of[folder] = split.part, folder[depth]
    parts, classes = zip(*(pair_of[folder] for folder in tree.folders), strict=True)
    return Reading(
        parts, classes, {split.path: split.part for split in labelled}, {"/".join(split.top) for split in labelled}
    )


def _refuse_other_sets(labelled: Sequence[Split]) -> None:
    """A split that is there twice: two sets, a set and its copy, or one in pieces."""
    for one, again in combinations(labelled, 2):
        if one.part != again.part:
            continue
        apart = one.parent != again.parent
        without = [
            [f"/{split.path}" for split in labelled if (split.parent != kept.parent if apart else split is dropped)]
            for kept, dropped in ((one, again), (again, one))
        ]
        pieces = None if apart else ("both are pieces of one", f"dataset.splits={_mapping(labelled)}")
        _refuse(
            f"{one.path} and {again.path} are two folders of one split",
            (f"{one.path} alone", f"dataset.exclude={listed(without[0])}"),
            (f"{again.path} alone", f"dataset.exclude={listed(without[1])}"), pieces,
        )  # fmt: skip


def _refuse_what_lies_beside(tree: Tree, found: Sequence[Split], labelled: Sequence[Split]) -> None:
    """Images outside of the splits are left out, but not where they may be a class or a copy of the set."""
    above = {split.parent[:depth] for split in labelled for depth in range(len(split.parent) + 1)}
    names = frozenset().union(*(split.classes for split in labelled if split.part == TRAIN))
    parts = {split.part for split in labelled}
    # Beside train/<class>/ a test/ without class folders is one whose labels lie elsewhere.
    unlabelled = [s for s in found if not s.classes and s.part not in parts and s.name not in names]
    splits = {(*split.parent, split.name) for split in (*labelled, *unlabelled)}
    beside = [(*f, name) for f in above for name in tree.children(f) if (*f, name) not in above | splits]
    sure = len(parts) > 1
    doubtful = sorted(f for f in beside if not sure or f[-1] in names or tree.inside(f) & names)
    if doubtful:
        ours, paths = ", ".join(split.path for split in labelled), ["/" + "/".join(folder) for folder in doubtful]
        _refuse(
            f"{paths[0][1:]} lies beside {ours}",
            (f"{ours}: splits, the rest left out", f"dataset.exclude={listed(paths)}"),
            (f"{ours}, {', '.join(path[1:] for path in paths[:NAMED])}: classes", "dataset.splits=none"),
        )


def _is_below(tree: Tree) -> bool:
    """Whether all images lie right in splits below classes, though a class may bear a split's name."""
    parents = {folder[:-1] for folder in tree.direct if folder}
    below = {(*parent, name) for parent in parents for name in split_folders(tree.children(parent))}
    if not parents or len(parents) < 2 or len({p[:-1] for p in parents if p}) > 1 or tree.direct.keys() - below:
        return False
    named = split_folders({parent[-1]: None for parent in parents if parent})
    if len(named) == len(parents) and TRAIN in named.values():
        _refuse(
            f"{', '.join(named)} and the folders in them have names of splits",
            (f"splits {', '.join(named)}", f"dataset.splits={mapping_of({(n,): part for n, part in named.items()})}"),
            (f"classes {', '.join(named)}", "dataset.splits=none"),
        )
    return True


def _splits_below(tree: Tree, typed: Mapping[str, int] | None) -> Reading | None:
    """`…/<class>/<split>/<image>`; None where no class has training images so."""
    part_of: dict[Folder, int | None] = {}
    for folder in tree.direct:
        named = split_folders(tree.children(folder[:-1]), typed) if len(folder) > 1 else {}
        part_of[folder] = named.get(folder[-1]) if folder else None
    classes = {folder[:-1] for folder, part in part_of.items() if part is not None}
    if len(classes) < 2 or TRAIN not in part_of.values():
        return None
    ours = ", ".join(sorted("/".join(folder) for folder in classes)[:NAMED])
    outside = ["/".join(folder) or "the top folder" for folder, part in part_of.items() if part is None]
    apart = len({folder[:-1] for folder in classes}) > 1
    if (outside or apart) and typed is None:
        _refuse(
            f"{ours} have folders of splits below; " + (f"{outside[0]} has none" if outside else "they lie apart"),
            ("classes with splits, the rest left out", f"dataset.splits={mapping_of(part_of)}"),
            ("classes without splits", "dataset.splits=none"),
        )
    pairs = [(UNSPLIT, None) if (part := part_of[f]) is None else (part, f[-2]) for f in tree.folders]
    parts, names = zip(*pairs, strict=True)
    splits = {f"*/{f[-1]}": part for f, part in part_of.items() if part is not None}
    return Reading(parts, names, splits, {"/".join(folder[:-1]) for folder in classes})


def _no_splits(tree: Tree, names: Sequence[str], sure: bool = False) -> Reading:
    """`…/<class>/…/<image>`: the class is the first folder below those that all images share."""
    top = tree.top()
    stray = next((name for name, folder in zip(names, tree.folders, strict=True) if folder == top), None)
    require(stray is None, f"{stray} lies in no class folder; move it into one")
    if not sure:
        classes = tree.children(top)
        named = split_folders(classes)
        # Folders of images named train and test, say: their labels lie elsewhere, in a table.
        require(
            len(named) < len(classes) and len(set(named.values())) < 2,
            "expected one folder a class, with or without train/ val/ test/ above; found no class folders below "
            f"{', '.join(sorted(named))}: (1) as splits they need them; (2) as classes: dataset.splits=none",
        )
        for cls in classes:
            if split_word(cls) and len(inner := sorted(tree.inside((*top, cls)))) > 1:
                _refuse(
                    f"{cls} holds {', '.join(inner[:NAMED])}",
                    (f"classes {', '.join(classes[:NAMED])}", "dataset.splits=none"),
                    (f"{cls} is a split", f"dataset.splits={{train: {quoted(cls)}}}"),
                )
        _refuse_copies(tree, top, "dataset.splits=none")
        _refuse_same_insides(tree, top)
    return Reading([UNSPLIT] * len(names), [folder[len(top)] for folder in tree.folders], {}, {"/".join(top)})


def _refuse_copies(tree: Tree, top: Folder, words: str) -> None:
    """A class folder that holds another class's name may be a copy of the whole set."""
    classes = tree.children(top)
    for cls in classes:
        path, again = "/".join((*top, cls)), tree.inside((*top, cls)) & ({*classes} - {cls})
        if again:
            _refuse(
                f"{path} holds a folder {min(again)}, as lies beside it",
                (f"{path} is left out, as a copy", f"dataset.exclude={listed(['/' + path])}"),
                (f"{cls} is a class", words),
            )


def _refuse_same_insides(tree: Tree, top: Folder) -> None:
    """Folders that hold the same folders may be the same classes more than once, or splits of other names."""
    inside = {name: {n for n in tree.inside((*top, name)) if not NUMBERED.fullmatch(n)} for name in tree.children(top)}
    for one, other in combinations([name for name, folders in inside.items() if len(folders) > 1], 2):
        same = sorted(inside[one] & inside[other])
        if len(same) > 1:
            classes, others = ", ".join(same[:NAMED]), [f"/{'/'.join((*top, n))}" for n in inside if n != one]
            _refuse(
                f"{one} and {other} both hold {classes}",
                (f"classes {classes}, of {one} alone", f"dataset.exclude={listed(others)}"),
                (f"classes {', '.join([*inside][:NAMED])}", "dataset.splits=none"),
                ("splits", f"dataset.splits={{train: {quoted(one)}, test: {quoted(other)}}}"),
            )


def _refuse(what: str, *readings: tuple[str, str] | None) -> None:
    ways = "; ".join(f"({n}) {way[0]}: {shlex.quote(way[1])}" for n, way in enumerate(filter(None, readings), 1))
    raise UserError(f"{what}. Choose a reading, or give another dataset.root: {ways}")


def _mapping(splits: Iterable[Split]) -> str:
    return mapping_of({(split.name,): split.part for split in splits})
