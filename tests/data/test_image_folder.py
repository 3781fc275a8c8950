"""Folders and zips of images: splits, classes, channels, and what cannot be read."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import data_file, zipped
from PIL import Image

from seedbed.data import dataset
from seedbed.data.image_folder import ImageFolder
from seedbed.data.sources import TEST, TRAIN
from seedbed.data.walk import central_directory
from seedbed.errors import UserError
from seedbed.files import write_atomically

OPTIONS = {"val_fraction": 0.25, "test_fraction": 0.25, "split_seed": 0, "subset": None, "on_bad_image": "fail"}


def tree(root, **extra) -> ImageFolder:
    return ImageFolder("folder", data_root="nowhere", root=str(root), **extra)


def load(source, cache, **changed):
    return dataset.load(source, size=8, cache_root=str(cache), **{**OPTIONS, **changed})


@pytest.mark.parametrize("pack", [lambda f: f, zipped], ids=["folder", "zip"])
def test_splits_of_usual_names(picture_tree, cache, pack):
    files = {f"set/{s}/{c}/{i}.{x}": (10 * i, 0, v)
             for s in ("Train", "val", "Testing") for c, v in (("cat", 0), ("dog", 255))
             for i, x in enumerate(("png", "jpg", "bmp", "gif"))}  # fmt: skip
    data = load(tree(pack(picture_tree(files))), cache)
    assert data.classes == ("cat", "dog")
    assert [len(s) for s in data.splits.values()] == [8, 8, 8]
    assert data.train.images.shape[1:] == (3, 8, 8)
    for split in data.splits.values():
        blue = split.images[split.index][:, 2].reshape(len(split), -1).mean(1)
        assert np.array_equal(blue > 100, split.targets == 1)


def test_one_folder_a_class_is_split_by_fractions(picture_tree, cache):
    files = {f"{c}/{i}.png": 20 * i for c in "abc" for i in range(12)}
    data = load(tree(picture_tree(files)), cache)
    assert data.channels == 1, "grey if every image is"
    assert [len(s) for s in data.splits.values()] == [20, 7, 9]
    rows = np.concatenate([s.index for s in data.splits.values()])
    assert len(set(rows.tolist())) == 36
    again = load(tree(picture_tree(files)), cache)
    assert np.array_equal(again.test.index, data.test.index)


def test_one_colour_image_makes_all_colour(picture_tree, cache):
    files: dict = {f"{c}/{i}.png": 20 * i for c in "ab" for i in range(6)}
    assert load(tree(picture_tree({**files, "a/9.png": (1, 2, 3)})), cache).channels == 3


def test_a_changed_file_makes_a_new_store(picture_tree, cache):
    files = {f"{c}/{i}.png": 50 for c in "ab" for i in range(4)}
    root = picture_tree(files)
    before = tree(root).fingerprint()
    assert tree(root).fingerprint() == before
    Image.new("L", (30, 30), 200).save(root / "a/0.png")
    assert tree(root).fingerprint() != before
    data = load(tree(root), cache)
    assert data.train.images.max() == 200


def test_zips_differ_by_content(picture_tree):
    one = zipped(picture_tree({"a/1.png": 1, "b/1.png": 2}, root="one"))
    other = zipped(picture_tree({"a/1.png": 1, "b/1.png": 3}, root="two"))
    assert tree(one).fingerprint() != tree(other).fingerprint()


def spoilt(picture_tree):
    root = picture_tree({f"{c}/{i}.jpg": (i, 9, 9) for c in "ab" for i in range(8)}, size=40)
    whole = (root / "b/3.jpg").read_bytes()
    (root / "b/3.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "a/5.jpg").write_bytes(b"")
    return root


def test_an_unreadable_image_is_named(picture_tree, cache):
    with pytest.raises(UserError, match=r"a/5\.jpg: an empty file \(and 1 more\).*on_bad_image=skip"):
        load(tree(spoilt(picture_tree)), cache)


def test_unreadable_images_can_be_skipped(picture_tree, cache):
    data = load(tree(spoilt(picture_tree)), cache, on_bad_image="skip")
    assert sum(len(s) for s in data.splits.values()) == 14
    assert [s.split(":")[0] for s in data.skipped] == ["a/5.jpg", "b/3.jpg"]
    used = {data.names[row] for s in data.splits.values() for row in s.index}
    assert not used & {"a/5.jpg", "b/3.jpg"}


def test_a_header_of_a_billion_pixels_is_not_decoded(picture_tree, cache):
    root = picture_tree({f"{c}/{i}.png": 5 for c in "ab" for i in range(4)})
    raw = bytearray((root / "a/1.png").read_bytes())
    raw[16:24] = (40_000).to_bytes(4, "big") * 2
    import zlib

    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    (root / "a/1.png").write_bytes(raw)
    with pytest.raises(UserError, match=r"a/1\.png: .*1600000000 pixels"):
        load(tree(root), cache)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no images"), ({"a/1.png": 1}, "at least two"), ({"a/1.png": 1, "2.png": 2}, "in no class folder"),
        ({"train/a/1.png": 1, "train/b/1.png": 1, "test/c/1.png": 1}, "no training images of c"),
        ({"caf\udce9/1.png": 1, "b/1.png": 1}, "caf.*not UTF-8; rename it"),
    ],
)  # fmt: skip
def test_trees_that_make_no_data_set(picture_tree, tmp_path, files, message):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(UserError, match=message):
        tree(picture_tree(files)).listing()


def test_an_empty_class_folder_is_named(picture_tree):
    root = picture_tree({f"train/{c}/1.png": 1 for c in "ab"})
    (root / "train/c").mkdir()
    with pytest.raises(UserError, match="train/c: a class folder without images"):
        tree(root).listing()


@pytest.mark.parametrize(
    ("name", "mode", "message"),
    [("../../etc/1.png", 0o644, "leaves the archive"), ("/a/1.png", 0o644, "leaves"), ("a/1.png", 0o120777, "link")],
)
def test_a_zip_not_to_be_trusted_is_refused(tmp_path, name, mode, message):
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16 | (0o120000 << 16 if mode == 0o120777 else 0)
        archive.writestr(entry, b"x")
    with pytest.raises(UserError, match=message):
        tree(path).listing()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip"])
def test_neither_a_folder_nor_a_zip(tmp_path, content):
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    with pytest.raises(UserError, match="neither a folder nor a readable zip"):
        tree(path).fingerprint()


def test_what_is_missing_is_said():
    with pytest.raises(UserError, match=r"cifar-10\.zip.*dataset\.root=PATH"):
        ImageFolder("cifar10", data_root="nowhere", paths=["cifar-10.zip"])
    with pytest.raises(UserError, match="nowhere/x is not there"):
        ImageFolder("folder", data_root=".", root="nowhere/x")


def test_the_real_cifar10_zip():
    listing = ImageFolder("cifar10", data_root="x", root=str(data_file("cifar-10.zip")), channels=3).listing()
    assert listing.classes[:2] == ("airplane", "automobile") and len(listing.classes) == 10
    assert (listing.parts == TRAIN).sum() == 50_000 and (listing.parts == TEST).sum() == 10_000


def test_what_a_killed_build_left_is_cleared(picture_tree, tmp_path):
    root = picture_tree({f"{c}/{i}.png": 5 for c in "ab" for i in range(4)})
    load(tree(root), tmp_path / "one")
    (store,) = (tmp_path / "one/store").glob("folder-*[!k]")
    orphan = tmp_path / f"two/store/.{store.name}.99999.abcd.tmp"
    other = tmp_path / "two/store/.folder-8-another.1.abcd.tmp"
    for folder in (orphan, other):
        folder.mkdir(parents=True)
        (folder / "images.npy").write_bytes(b"half")
    load(tree(root), tmp_path / "two")
    assert not orphan.exists() and other.exists(), "its own alone: another store may be under way"


def test_a_bad_image_whose_name_is_not_utf_8_is_left_out(picture_tree, cache):
    root = picture_tree({f"{c}/{i}.png": 5 for c in "ab" for i in range(6)})
    (root / "a/caf\udce9.png").write_bytes(b"")
    (skipped,) = load(tree(root), cache, on_bad_image="skip").skipped
    write_atomically(root / "skipped.txt", skipped)
    assert (root / "skipped.txt").read_text().startswith("a/caf\\udce9.png: ")


def test_a_folder_of_the_same_names_sizes_and_times_is_another(picture_tree):
    roots = [picture_tree({"a/1.bmp": 10, "b/1.bmp": grey}, root=f"grey-{grey}") for grey in (10, 200)]
    for path in (path for root in roots for path in root.rglob("*.bmp")):
        os.utime(path, (0, 0))
    assert sorted(tree(roots[0]).files()) == sorted(tree(roots[1]).files())
    assert tree(roots[0]).fingerprint() != tree(roots[1]).fingerprint()


def test_an_error_of_the_disk_is_not_remembered(picture_tree, cache, monkeypatch):
    root = picture_tree({f"{c}/{i}.png": 5 for c in "ab" for i in range(6)})
    read = Path.read_bytes

    def refuse(path):
        if path.name == "3.png":
            raise PermissionError(13, "Permission denied")
        return read(path)

    with monkeypatch.context() as m:
        m.setattr(Path, "read_bytes", refuse)
        for _ in range(2):
            with pytest.raises(UserError, match=r"a/3\.png: cannot be read: .*Permission denied \(and 1 more\)"):
                load(tree(root), cache)
        assert len(load(tree(root), cache, on_bad_image="skip").skipped) == 2
    assert not load(tree(root), cache).skipped


def test_a_link_to_a_folder_beside_it_adds_nothing(picture_tree):
    root = picture_tree({f"v2/Training/{c}/{i}.png": 5 for c in "ab" for i in range(2)})
    (root / "v2/train").symlink_to(root / "v2/Training")
    (root / "current").symlink_to(root / "v2")
    assert [name for name, _ in sorted(tree(root).files())] == [
        f"v2/Training/{c}/{i}.png" for c in "ab" for i in range(2)
    ]


@pytest.mark.parametrize("name", ["lost+found", ".Trash-0", ".git", "@eaDir"])
def test_a_hidden_folder_that_cannot_be_listed_is_no_mistake(picture_tree, monkeypatch, name):
    root = picture_tree({f"{c}/1.png": 1 for c in "ab"})
    (root / name).mkdir()
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith(name):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert tree(root).listing().classes == ("a", "b")


@pytest.mark.parametrize("link", ["test", "train/c"])
def test_a_split_or_class_behind_a_link_that_leads_nowhere_is_named(picture_tree, link):
    root = picture_tree({f"train/{c}/{i}.png": 5 for c in "ab" for i in range(2)})
    (root / link).symlink_to("/nowhere/at/all")
    with pytest.raises(UserError, match=f"{link}: a link that leads nowhere"):
        tree(root).listing()


def test_splits_may_lie_below_the_classes(picture_tree, cache):
    files = {
        f"set/{c}/{s}/{i}.png": 20 * i
        for c in "ab"
        for s, n in (("Train", 6), ("val", 3), ("test", 2))
        for i in range(n)
    }
    data = load(tree(picture_tree(files)), cache)
    assert data.classes == ("a", "b") and [len(s) for s in data.splits.values()] == [12, 6, 4]


def test_folders_of_splits_that_are_used_as_none_are_named(picture_tree, cache):
    files = {f"{c}/{i}.png": 20 * i for c in ("a/test", "b") for i in range(6)}
    assert "the folders test are taken for no splits" in load(tree(picture_tree(files)), cache).reading[2]


@pytest.mark.parametrize("folder", ["", "a/"])
def test_images_without_class_folders_are_one_message(picture_tree, folder):
    root = picture_tree({f"{folder}{i}.png": 5 for i in range(5)})
    with pytest.raises(UserError, match=r"lies in no class folder|at least two of them"):
        tree(root).listing()


def test_for_a_test_a_source_without_splits_is_taken_whole(picture_tree, cache):
    root = picture_tree({f"{c}/{i}.png": 20 * i for c in "ab" for i in range(2)})
    data = load(tree(root), cache, for_test=True)
    assert [len(s) for s in data.splits.values()] == [0, 0, 4]
    root = picture_tree({f"test/{c}/{i}.png": 20 * i for c in "ab" for i in range(2)}, root="only-test")
    assert len(load(tree(root), cache, for_test=True).test) == 4
    files = {f"{s}/{c}/{i}.png": 20 * i for s in ("train", "test") for c in "ab" for i in range(3)}
    assert len(load(tree(picture_tree(files, root="split")), cache, for_test=True).test) == 6


@pytest.mark.parametrize(
    "names",
    [
        ["train/1.png", "train/2.png", "test/1.png"], ["train/1.png", "test/a/1.png", "test/b/1.png"],
        ["train/1.png", "train/2.png"], ["bus/1.png", "train/1.png", "test/1.png"],
    ],
)  # fmt: skip
def test_splits_are_no_classes(picture_tree, names):
    with pytest.raises(UserError, match=r"expected one folder a class, .*found no class folders below"):
        tree(picture_tree(dict.fromkeys(names, 3))).listing()


@pytest.mark.parametrize("links", [("val", "test"), ("test", "val")])
def test_two_splits_may_be_one_folder(picture_tree, cache, links):
    link, target = links
    files = {f"{s}/{c}/{i}.png": 20 * i for s in ("train", target) for c in "ab" for i in range(8)}
    root = picture_tree(files)
    (root / link).symlink_to(root / target)
    assert [len(s) for s in load(tree(root), cache).splits.values()] == [16, 16, 16]


def test_a_folder_that_cannot_be_listed_is_named(picture_tree, monkeypatch):
    root = picture_tree({f"{s}/{c}/1.png": 1 for s in ("train", "test") for c in "ab"})
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith("test"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match="test: cannot be listed: Permission denied"):
        tree(root).listing()


def test_what_programs_leave_behind_is_no_class(picture_tree, cache):
    files = {f"train/{c}/{i}.png": 20 * i for c in "ab" for i in range(8)}
    left = {f"train/{path}/1.png": 1 for path in (".ipynb_checkpoints", "a/.thumbnails", "__MACOSX/b")}
    data = load(tree(picture_tree({**files, **left})), cache)
    assert data.classes == ("a", "b") and sum(len(s) for s in data.splits.values()) == 16


def test_a_class_may_be_called_train(picture_tree, cache):
    files = {f"{c}/{i}.png": 20 * i for c in ("bus", "car", "train") for i in range(8)}
    assert load(tree(picture_tree(files)), cache).classes == ("bus", "car", "train")
    files = {f"train/{name}": grey for name, grey in files.items()}
    assert load(tree(picture_tree(files, root="split")), cache).classes == ("bus", "car", "train")


def test_classes_without_training_images_are_named(picture_tree, cache, caplog):
    files = {f"{c}/{i}.png": 20 * i for c in "abcdef" for i in range(8)}
    with caplog.at_level("WARNING", "seedbed"):
        dataset.warn_of_missing_classes(load(tree(picture_tree(files)), cache, subset=9), "folder")
    assert "no training images of" not in caplog.text
    assert "no validation images of" in caplog.text and "of 6 classes, such as" in caplog.text


def test_other_pixels_are_other_data(picture_tree, tmp_path):
    files = {f"{c}/{i}.png": 20 * i for c in "ab" for i in range(8)}
    one = load(tree(picture_tree(files)), tmp_path / "cache")
    other = load(tree(picture_tree({**files, "b/3.png": 61}, root="other")), tmp_path / "cache")
    assert (one.names, one.fingerprint) == (other.names, other.fingerprint) and one.pixels != other.pixels


def test_a_directory_that_lies_elsewhere_is_not_guessed(picture_tree, tmp_path):
    path = zipped(picture_tree({f"{c}/1.png": 5 for c in "ab"}))
    raw = path.read_bytes()
    assert central_directory(path).startswith(b"PK\x01\x02")
    path.write_bytes(b"#!/bin/sh\nexit\n" + raw)
    assert central_directory(path) is None
    # Beyond 4 GiB, all of them a hole in the file, an end says of the offset that it does not fit.
    end = bytearray(raw[raw.rindex(b"PK\x05\x06") :])
    end[16:20] = b"\xff" * 4
    with path.open("wb") as file:
        file.seek(2**32 + 2**16)
        file.write(end)
    assert central_directory(path) is None


def test_a_link_that_goes_round_is_followed_once(picture_tree):
    root = picture_tree({f"{c}/{i}.png": 5 for c in "ab" for i in range(2)})
    (root / "a" / "up").symlink_to(root)
    assert len(tree(root).files()) == 4


def test_images_outside_any_split_are_counted_aloud(picture_tree):
    root = picture_tree(
        {f"{s}/{c}/1.png": 1 for s in ("train", "test") for c in "ab"} | {"papers/1.png": 3, "logo.png": 3}
    )
    (root / "papers/a.pdf").write_bytes(b"%PDF")
    assert list(tree(root).listing().left_out) == [
        "1 in the top folder, in no class folder of a split", "1 in papers, in no class folder of a split",
    ]  # fmt: skip


def test_the_three_lines(picture_tree, cache):
    files = {f"{s}/{c}/{i}.png": 20 * i for s in ("training_set", "test_set") for c in "abcdef" for i in range(4)}
    root = picture_tree({**files, "test_set/loose.png": 1, "training_set/a/@eaDir/1.png": 1})
    (root / "training_set/b/x.heic").write_bytes(b"x")
    assert load(tree(root), cache).reading[:3] == (
        "6 classes: a, b, c, d, e, and 1 more",
        "images: 18 training from training_set; 6 validation drawn from training; 24 test from test_set",
        "left out: 1 in test_set, in no class folder of a split; 1 .heic files, whose format is not read "
        "(pip install pillow-heif reads them); "
        "1 in training_set/a/@eaDir, of programs or runs",
    )


def test_images_of_one_colour_are_named(picture_tree, cache):
    root = picture_tree({f"{c}/{i}.png": 5 for c in "ab" for i in range(6)})
    for path in root.glob("*/[0-4].png"):
        noise = np.random.default_rng(0).integers(0, 255, (30, 30), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    line = load(tree(root), cache).reading[3]
    assert line.startswith("2 of 12 images are blank, all of one colour") and line.endswith("such as a/5.png, b/5.png")


def test_a_later_data_set_is_scaled_as_the_first(picture_tree, tmp_path):
    cache = tmp_path / "cache"
    root = picture_tree({f"{c}/{i}.png": 5 for c in "ab" for i in range(6)})
    for path in root.glob("*/*.png"):
        Image.fromarray(np.full((30, 30), 700, np.uint16)).save(path)
    largest = [load(tree(root), cache, bits=bits).train.images.max() for bits in (None, 10, 12)]
    assert largest == [700 >> 2, 700 >> 2, 700 >> 4]
    assert len(list((cache / "store").glob("folder-8-*[!k]"))) == 2, "10 bits are what was measured"


DAMAGE = {
    "store.json is empty": lambda store: (store / "store.json").write_text(""),
    "store.json is no mapping": lambda store: (store / "store.json").write_text("[1]"),
    "store.json lacks keys": lambda store: (store / "store.json").write_text("{}"),
    "labels are gone": lambda store: (store / "labels.npy").unlink(),
    "labels are cut": lambda store: (store / "labels.npy").write_bytes((store / "labels.npy").read_bytes()[:-8]),
    "parts are too few": lambda store: np.save(store / "parts.npy", np.zeros(3, np.int8)),
    "images are cut": lambda store: os.truncate(store / "images.npy", (store / "images.npy").stat().st_size - 50),
    "images are no array": lambda store: (store / "images.npy").write_bytes(b"\x93NUMPY nonsense"),
    "images are empty": lambda store: (store / "images.npy").write_bytes(b""),
    "images are of another kind": lambda store: np.save(store / "images.npy", np.zeros((12, 1, 8, 8), np.float64)),
    "it is a file": lambda store: [shutil.rmtree(store), store.write_text("x")],
    "it is empty": lambda store: [path.unlink() for path in store.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_store_is_made_again_with_one_line(picture_tree, tmp_path, caplog, damage):
    cache = tmp_path / "cache"
    root = picture_tree({f"{c}/{i}.png": 20 * i for c in "ab" for i in range(6)})
    whole = np.array(load(tree(root), cache).train.images)
    (store,) = (cache / "store").glob("folder-*[!k]")
    damage(store)
    with caplog.at_level("WARNING", "seedbed"):
        again = load(tree(root), cache)
        load(tree(root), cache)
    assert np.array_equal(again.train.images, whole)
    assert sum("was damaged" in record.message for record in caplog.records) == 1
    assert [path.name for path in (cache / "store").iterdir() if path.is_dir()] == [store.name]


@pytest.mark.parametrize("pack", [lambda f: f, zipped], ids=["folder", "zip"])
def test_a_class_of_formats_that_are_not_read_does_not_vanish(picture_tree, pack):
    root = picture_tree({f"{s}/{c}/1.png": 1 for s in ("train", "test") for c in "ab"})
    for split in ("train", "test"):
        (root / split / "c").mkdir()
        (root / split / "c/1.heic").write_bytes(b"x")
    with pytest.raises(
        UserError, match=r"test/c: .*1 \.heic files, which are not read.*dataset\.exclude=\[/(pictures/)?test/c\]"
    ):
        tree(pack(root)).listing()
    left = tree(pack(root), exclude=["c"]).listing()
    assert left.classes == ("a", "b") and "dataset.exclude=c" in left.left_out


@pytest.mark.parametrize("pack", [lambda f: f, zipped], ids=["folder", "zip"])
def test_annotations_and_papers_beside_images_are_no_classes(picture_tree, pack):
    root = picture_tree({f"{s}/{c}/1.png": 1 for s in ("Training", "Test") for c in "ab"})
    for path in ("Training/a/Annotations/1.xml", "Training/labels/a.txt", "papers/a.pdf", "Meta/a.csv", "LICENSE"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    assert tree(pack(root)).listing().classes == ("a", "b")


@pytest.mark.parametrize("pack", [lambda f: f, zipped], ids=["folder", "zip"])
def test_seedbeds_own_runs_are_not_looked_into(picture_tree, pack):
    root = picture_tree({f"{f}/{i}.png": 1 for f in ("a", "outputs", "runs/x", "runs/sweep/0") for i in range(2)})
    for path in ("runs/x/config.yaml", "runs/x/result.json", "runs/sweep/sweep.json"):
        (root / path).write_text("{}")
    listing = tree(pack(root)).listing()
    assert listing.classes == ("a", "outputs"), "a class may be called so"
    (left_out,) = listing.left_out
    assert left_out.replace("pictures/", "") == "4 in runs/sweep, runs/x, of programs or runs"
