"""Names in zips and folders, of any encoding, separator and normal form."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from seedbed.data.image_folder import ImageFolder
from seedbed.data.zip_names import entries_of, plain


def png(grey: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), grey).save(buffer, "PNG")
    return buffer.getvalue()


def pack(path: Path, entries: list[tuple[bytes, int]], flagged: bool = False) -> Path:
    """A zip whose entries have these bytes as names, written as a program of any habits does."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, (_, grey) in enumerate(entries):
            archive.writestr(f"{number:04d}" + "x" * (len(entries[number][0]) - 4), png(grey))
    content = path.read_bytes()
    for number, (name, _) in enumerate(entries):
        content = content.replace(f"{number:04d}".encode() + b"x" * (len(name) - 4), name)
    if flagged:
        content = bytearray(content)
        for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            where = content.find(magic)
            while where >= 0:
                content[where + at + 1] |= 0x08
                where = content.find(magic, where + 4)
    path.write_bytes(bytes(content))
    return path


def listing(path: Path):
    return ImageFolder("folder", data_root="x", root=str(path)).listing()


@pytest.mark.parametrize("flagged", [True, False])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_utf_8_is_read_whether_flagged_or_not(tmp_path, form, flagged):
    names = [normalize(form, f"{cls}/{i}000.png").encode() for cls in ("pâté", "苹果汁") for i in range(2)]
    found = listing(pack(tmp_path / "a.zip", [(name, 9) for name in names], flagged))
    assert found.classes == ("pâté", "苹果汁") and not found.left_out


def test_names_that_no_encoding_explains_are_said(tmp_path):
    names = [f"{cls}/{i}000.png".encode("gbk") for cls in ("苹果", "soup") for i in range(2)]
    found = listing(pack(tmp_path / "a.zip", [(name, 9) for name in names]))
    assert len(found.classes) == 2 and "2 names are of an unknown encoding" in found.left_out[0]


@pytest.mark.parametrize("form", [b"set\\%s\\%d000.png", b"./set//%s/./%d000.png", b"set/%s\\%d000.png"])
def test_separators_and_dots(tmp_path, form):
    entries = [(form % (cls, i), 9) for cls in (b"a", b"b") for i in range(2)]
    found = listing(pack(tmp_path / "a.zip", entries))
    assert found.classes == ("a", "b") and found.names[0] == "set/a/0000.png"


def test_of_two_entries_of_one_name_the_last_is_read(tmp_path, cache):
    from seedbed.data import dataset

    names = [(b"a/0000.png", 10), (b"b/0000.png", 20), (b"b/1000.png", 30), (b"a/1000.png", 50), (b"a\\0000.png", 200)]
    data = dataset.load(
        ImageFolder("folder", data_root="x", root=str(pack(tmp_path / "a.zip", names))), size=8, cache_root=str(cache),
        val_fraction=0.25, test_fraction=0.25, split_seed=0, subset=None, on_bad_image="fail", for_test=True,
    )  # fmt: skip
    greys = dict(zip(data.names, data.test.images[:, 0, 0, 0].tolist(), strict=True))
    assert greys == {"a/0000.png": 200, "a/1000.png": 50, "b/0000.png": 20, "b/1000.png": 30}


@given(st.text(max_size=12))
def test_a_plain_name_stays_as_it_is(name):
    assert plain(plain(name)) == plain(name)
    assert "//" not in plain(name) and "\\" not in plain(name)


def test_folders_of_two_normal_forms_are_one_class(picture_tree):
    names = [normalize("NFC", "train/pâté/1.png"), normalize("NFD", "test/pâté/1.png"), "train/soup/1.png"]
    found = listing(picture_tree(dict.fromkeys(names, 5)))
    assert found.classes == ("pâté", "soup") and np.bincount(found.labels).tolist() == [2, 1]
    root = picture_tree(dict.fromkeys([*names, normalize("NFD", "train/é/1.png")], 5), root="more")
    assert ImageFolder("f", data_root="x", root=str(root), exclude=["é"]).listing().classes == ("pâté", "soup")


def test_entries_are_found_by_their_names(tmp_path):
    path = pack(tmp_path / "a.zip", [(b"a/0000.png", 1), (b"caf\xc3\xa9/0.png", 2)])
    with zipfile.ZipFile(path) as archive:
        assert sorted(entries_of(archive)) == ["a/0000.png", "café/0.png"]
