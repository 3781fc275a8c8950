"""How a layout is read: the truth, or a refusal that names two readings; never a third thing."""

from __future__ import annotations

import re
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedbed.data.layout import read
from seedbed.data.reading_words import is_excluded
from seedbed.data.sources import TEST, TRAIN, UNSPLIT, VAL
from seedbed.data.split_names import split_folders, split_word
from seedbed.errors import UserError

PARTS = {"train": TRAIN, "val": VAL, "test": TEST}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train", (TRAIN, ())), ("Training_Set", (TRAIN, ())), ("trainset", (TRAIN, ())), ("TrainImages", (TRAIN, ())),
        ("x_train", (TRAIN, ())), ("train2017", (TRAIN, ())), ("val-images", (VAL, ())), ("dataset.test", (TEST, ())),
        ("seg_test", (TEST, ("seg",))), ("test-multiple_fruits", (TEST, ("multiple", "fruits"))),
        ("bullet train", (TRAIN, ("bullet",))), ("valve", None), ("trained", None), ("contest", None),
        ("train_test", None), ("Äpfel", None), ("2017", None), ("", None),
    ],
)  # fmt: skip
def test_what_a_name_says_of_a_split(name, expected):
    assert split_word(name) == expected


@pytest.mark.parametrize(
    ("siblings", "expected"),
    [
        (["seg_train", "seg_test", "seg_pred"], {"seg_train": TRAIN, "seg_test": TEST}),
        (["train2017", "val2017"], {"train2017": TRAIN, "val2017": VAL}),
        (["train", "test_set", "notes"], {"train": TRAIN, "test_set": TEST}),
        (["bullet train", "test tube", "car"], {}), (["test_set", "val_set"], {}), (["training_set", "cats"], {}),
        (["train", "cats"], {"train": TRAIN}),
    ],
)  # fmt: skip
def test_an_affix_needs_a_second_split_that_has_it(siblings, expected):
    assert split_folders(siblings) == expected


def files(*folders: str) -> list[str]:
    return [f"{folder}/{i}.png" for folder in folders for i in range(2)]


def product(splits: str, classes: str, form: str = "{s}/{c}") -> list[str]:
    return [form.format(s=s, c=c) for s in splits.split() for c in classes.split()]


DOUBTFUL = {
    "a copy inside": files("no", "yes", "scans/no", "scans/yes"),
    "the same folder again": files("cats", "dogs", "set/cats", "set/dogs"),
    "a sample beside": files(*product("train test", "a b"), *product("sample/train sample/test", "a b")),
    "a sample of classes": files(*product("train test", "a b"), "sample/a", "sample/b"),
    "two sets": files("full/a", "full/b", "sample/a", "sample/b"),
    "two packagings": files(*product("x/Training x/Test", "a b"), *product("y/z/Training y/z/Test", "a b")),
    "a set in itself": files(*product("train test", "a b"), *product("train/train", "a b")),
    "years": files(*product("train2014 train2017 val2017", "a b")),
    "a split of an unknown name": files(*product("train holdout", "a b")),
    "unknown names": files(*product("dev_a holdout", "a b")),
    "classes of a split's name": files("train/loco", "train/metro", "car/sedan"),
    "only some have splits below": files("a/train", "a/test", "b/train", "c"),
    "splits below, apart": files(*product("train test", "animals/cat plants/rose", "{c}/{s}")),
    "labels elsewhere": files("train_images", "test_images"),
}


@pytest.mark.parametrize("names", DOUBTFUL.values(), ids=DOUBTFUL)
def test_a_doubtful_layout_is_refused_and_each_advice_works(names):
    with pytest.raises(UserError, match=r"\(1\).*\(2\)") as caught:
        read(names)
    words = re.findall(r"'dataset\.\w+=[^']*'|dataset\.splits=none", str(caught.value))
    advised = [shlex.split(word)[0] for word in words if "FOLDER" not in word]
    assert advised
    for word in advised:
        key, _, value = word.partition("=")
        if key == "dataset.exclude":
            out = [pattern.strip('"') for pattern in value.strip("[]").split(",")]
            kept = [n for n in names if not any(is_excluded(n[:i], out) for i, c in enumerate(n) if c == "/")]
            assert 0 < len(kept) < len(names)
            reading = read(kept)
        else:
            reading = read(names, value if value == "none" else mapping(value))
        assert len({cls for cls in reading.classes if cls}) > 1


def mapping(text: str) -> dict[str, list[str]]:
    pairs = re.findall(r"(\w+): (\[[^\]]*\]|[^,}]+)", text)
    return {key: [name.strip('"') for name in value.strip("[]").split(",")] for key, value in pairs}


def test_only_one_reading_is_left_where_the_user_says_it():
    names = files("Training/a", "Training/b", "PublicTest/a", "PrivateTest/b")
    reading = read(names, {"train": "Training", "val": ["PublicTest"], "test": "PrivateTest"})
    pairs = set(zip(reading.parts, reading.classes, strict=True))
    assert pairs == {(TRAIN, "a"), (TRAIN, "b"), (VAL, "a"), (TEST, "b")}
    assert set(read(names, "none").classes) == {"Training", "PublicTest", "PrivateTest"}
    for wrong in ({"test": "a"}, {"train": "a", "rest": "b"}, {"train": "nowhere"}):
        with pytest.raises(UserError, match=r"dataset\.splits"):
            read(names, wrong)


CLASSES = ["cat", "dog", "train", "test", "bullet train", "test tube", "training shoes", "valve", "Äpfel 1", "2020",
           "images", "data", "sample", "a.b", "x's", "val"]  # fmt: skip
AFFIXES = ["{}", "{}_set", "seg_{}", "{}2017", "{}-images", "my {} data", "{}ing", "x_{}"]
LITTER = ["papers/fig.png", "test-multiple_fruits/1.png", "logo.png", "docs/a/b.png", "Meta/train.png"]


@st.composite
def layouts(draw):  # noqa: C901 (one kind after the other)
    """Paths, and what each of them is: (part, class), or None for what is no image of the set."""
    classes = draw(st.lists(st.sampled_from(CLASSES), min_size=2, max_size=4, unique=True))
    top = draw(st.sampled_from(["", "", "set/", "archive/data/", "train it/"]))
    below = draw(st.sampled_from(["", "", "session1/", "sub/"]))
    affix = draw(st.sampled_from(AFFIXES))
    upper = draw(st.booleans())
    kind = draw(st.sampled_from(["above", "above", "below", "none", "none", "inner", "copy", "beside", "two"]))
    splits = ["train", *draw(st.lists(st.sampled_from(["val", "test"]), unique=True))]
    named = {split: affix.format(split.capitalize() if upper else split) for split in splits}
    truth: dict[str, tuple[int, str] | None] = {}

    def add(form: str, parts: list[str], prefix: str = "") -> None:
        for split in parts:
            for cls in classes:
                for i in range(draw(st.integers(1, 2))):
                    path = form.format(s=named.get(split, ""), c=cls)
                    truth[f"{top}{prefix}{path}/{below}{i}.png"] = (PARTS.get(split, UNSPLIT), cls)

    if kind == "none":
        add("{c}", [""])
    elif kind == "below":
        below = ""
        add("{c}/{s}", splits)
    elif kind == "inner":
        add("{s}/{s}/{c}", splits)
    else:
        add("{s}/{c}", splits)
    doubled = kind in ("copy", "beside", "two")
    if kind == "copy":
        add("{s}/{c}", splits, draw(st.sampled_from(["again/", "set/", f"{named['train']}/"])))
    elif kind == "beside":
        truth.clear()
        add("{c}", [""])
        add("{c}", [""], draw(st.sampled_from(["again/", "sample/copy/"])))
    elif kind == "two":
        truth.clear()
        for prefix in ("one/", "two/"):
            add("{s}/{c}", splits, prefix)
    if kind in ("above", "inner"):
        for path in draw(st.lists(st.sampled_from(LITTER), unique=True, max_size=2)):
            truth[top + path] = None
    return truth, doubled


@settings(max_examples=1500, deadline=None)
@given(layouts())
def test_a_reading_is_the_truth_or_a_refusal_of_two(layout):
    truth, doubled = layout
    names = sorted(truth)
    try:
        reading = read(names)
    except UserError as error:
        assert re.search(r"\(1\).*\(2\)|lies in no class folder", str(error)), error
        return
    assert not doubled or len(set(reading.classes) - {None}) < 2, "a set that lies twice was read as one"
    if {part for part, _ in filter(None, truth.values())} == {TRAIN}:  # the same: the others are drawn
        truth = {name: pair and (max(reading.parts), pair[1]) for name, pair in truth.items()}
    of_class = [cls and (part, cls) for part, cls in zip(reading.parts, reading.classes, strict=True)]
    if len(set(reading.classes) - {None}) < 2:  # the source refuses that
        return
    assert dict(zip(names, of_class, strict=True)) == truth
