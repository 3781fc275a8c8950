"""Image folders and zips that are missing, broken or not to be trusted: each is one message that names the file."""

from __future__ import annotations

import io
import stat
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from bad_input import CACHE, left, one_message, refused
from conftest import Outcome, zipped
from PIL import Image

pytestmark = pytest.mark.slow

SHORT = ("dataset=folder", "train.epochs=1", "device.threads=1")


@pytest.fixture
def pictures(picture_tree) -> Path:
    """A small good tree, to be spoilt."""
    return picture_tree({f"train/{c}/{i}.png": 9 * i for c in "ab" for i in range(12)})


@pytest.mark.parametrize("dataset", ["fruits", "folder", "fashion_mnist", "cifar10"])
def test_a_data_root_that_is_not_there(seedbed, tmp_path, dataset):
    overrides = (f"dataset={dataset}", "dataset.root=nowhere")
    message = refused(seedbed, tmp_path, *overrides, names=("dataset.root", "nowhere"))
    assert "give a folder or a zip" in message or "put the four files" in message


@pytest.mark.parametrize("classes", ["a", "ac"], ids=["one_filled", "two_filled"])
def test_an_empty_class_folder(seedbed, tmp_path, picture_tree, classes):
    root = picture_tree({f"train/{c}/{i}.png": 9 * i for c in classes for i in range(12)})
    (root / "train/b").mkdir()
    names = ("train/b: a class folder without images", "fill it or remove it")
    refused(seedbed, tmp_path, *SHORT, f"dataset.root={root}", names=names)


def test_a_folder_without_images(seedbed, tmp_path):
    (tmp_path / "pictures/train/a").mkdir(parents=True)
    (tmp_path / "pictures/train/a/notes.txt").write_text("nothing")
    refused(seedbed, tmp_path, *SHORT, "dataset.root=pictures", names=("pictures: holds no images", ".png"))


def truncate_a_photo(root: Path) -> None:
    """A real photograph, cut in the middle of its data."""
    from sklearn.datasets import _base

    photo = (Path(_base.__file__).parent / "images/china.jpg").read_bytes()
    (root / "train/b/photo.jpg").write_bytes(photo[: len(photo) // 2])


def test_a_truncated_jpeg_is_named(seedbed, tmp_path, pictures):
    truncate_a_photo(pictures)
    names = ("train/b/photo.jpg", "truncated", "dataset.on_bad_image=skip")
    refused(seedbed, tmp_path, *SHORT, f"dataset.root={pictures}", names=names)
    # The store is built by now: the answer stays the same.
    refused(seedbed, tmp_path, *SHORT, f"dataset.root={pictures}", names=names)


def test_a_truncated_jpeg_is_skipped(seedbed, tmp_path, pictures):
    truncate_a_photo(pictures)
    done = seedbed(*SHORT, f"dataset.root={pictures}", "dataset.on_bad_image=skip").check()
    (line,) = (done.folders[-1] / "skipped.txt").read_text().splitlines()
    assert line.startswith("train/b/photo.jpg: ") and "truncated" in line
    assert sum(done.result["images"].values()) == 24


# All is imported before memory is limited to what that took and a little more.
FRUGAL = """
import resource, sys
import seedbed.tasks.train, sklearn.datasets, seedbed.data.image_folder, seedbed.plots.run_plots
from seedbed.cli import main
import seedbed.errors
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 600 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(main())
"""


def frugally(seedbed, tmp_path: Path, *overrides: str) -> Outcome:
    """The command in a process that cannot take 600 MiB more than its imports did."""
    return seedbed.process(*overrides, program=("-c", FRUGAL), SEEDBED_CACHE=str(tmp_path / CACHE))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_a_header_of_a_billion_pixels_is_refused_without_the_memory(seedbed, tmp_path, pictures):
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(40_001)))
    (pictures / "train/a/huge.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")
    )
    before = left(tmp_path)
    done = frugally(seedbed, tmp_path, *SHORT, f"dataset.root={pictures}")
    one_message(done, "train/a/huge.png", "1600000000 pixels", "dataset.on_bad_image=skip")
    assert left(tmp_path) == before and not list(tmp_path.rglob("*.tmp"))


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (12, 12), 7).save(buffer, "png")
    return buffer.getvalue()


def archive_with(pictures: Path, entry: zipfile.ZipInfo, content: bytes) -> Path:
    """A good zip of pictures, and one more entry."""
    path = zipped(pictures)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry, content)
    return path


@pytest.mark.parametrize("name", ["../evil.png", "train/../../evil.png", "/abs.png", "C:\\x.png", "..\\evil.png"])
def test_a_zip_with_a_path_out_of_it(seedbed, tmp_path, pictures, name):
    path = archive_with(pictures, zipfile.ZipInfo(name), png())
    names = (str(path), repr(name), "leaves the archive's root")
    refused(seedbed, tmp_path, *SHORT, f"dataset.root={path}", names=names)
    assert not list(tmp_path.parent.rglob("evil.png")) and not Path("/abs.png").exists()


def test_a_zip_with_a_link(seedbed, tmp_path, pictures):
    entry = zipfile.ZipInfo("pictures/train/a/link.png")
    entry.create_system = 3
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = archive_with(pictures, entry, b"/etc/passwd")
    names = (str(path), "'pictures/train/a/link.png' is a link", "pack the image itself")
    refused(seedbed, tmp_path, *SHORT, f"dataset.root={path}", names=names)


def test_a_file_link_out_of_the_folder(seedbed, tmp_path, pictures):
    """Not a picture that is kept elsewhere, but another file: it is named, and nothing of it is shown."""
    (tmp_path / "secret").write_text("a secret")
    (pictures / "train/a/link.png").symlink_to(tmp_path / "secret")
    message = refused(seedbed, tmp_path, *SHORT, f"dataset.root={pictures}", names=("train/a/link.png",))
    assert "a secret" not in message


def test_a_dangling_link(seedbed, tmp_path, pictures):
    (pictures / "train/a/link.png").symlink_to(tmp_path / "nowhere")
    refused(seedbed, tmp_path, *SHORT, f"dataset.root={pictures}", names=("train/a/link.png", "No such file"))


def test_a_link_back_to_a_folder_above_does_not_multiply_the_images(seedbed, tmp_path, pictures):
    (pictures / "train/a/again").symlink_to(pictures)
    done = seedbed(*SHORT, f"dataset.root={pictures}")
    if done.code:
        one_message(done, "train/a/again")
    else:
        assert sum(done.result["images"].values()) == 24


def zeros(size: int) -> tuple[bytes, int]:
    """A raw deflate stream of so many MiB of zeros, and its checksum, without ever holding them."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bytes(2**20)
    # A full flush makes the bytes of every MiB after the first the same.
    first, again = (deflate.compress(block) + deflate.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    crc = 0
    for _ in range(size):
        crc = zlib.crc32(block, crc)
    return first + again * (size - 1) + deflate.flush(), crc


def bomb(pictures: Path, name: str, claimed: int | None) -> Path:
    """A zip with an entry that inflates to more than a GiB; `claimed`: what its header says of that."""
    content, crc = zeros(1100)
    size = 1100 * 2**20 if claimed is None else claimed
    path = archive_with(pictures, zipfile.ZipInfo(name), content)
    raw = bytearray(path.read_bytes())
    encoded = name.encode()
    # Signature, offsets of the method, the checksum, the inflated size and the name: in the entry, in the directory.
    for signature, method, check, inflated, start in ((b"PK\3\4", 8, 14, 22, 30), (b"PK\1\2", 10, 16, 24, 46)):
        at = raw.rindex(encoded) if start == 46 else raw.index(encoded)
        at -= start
        assert raw[at : at + 4] == signature
        struct.pack_into("<H", raw, at + method, zipfile.ZIP_DEFLATED)
        struct.pack_into("<I", raw, at + check, crc)
        struct.pack_into("<I", raw, at + inflated, size)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("claimed", [None, 500], ids=["honest_header", "lying_header"])
def test_a_zip_bomb(seedbed, tmp_path, pictures, claimed):
    path = bomb(pictures, "pictures/train/a/bomb.png", claimed)
    assert path.stat().st_size < 2 * 2**20
    before = left(tmp_path)
    done = frugally(seedbed, tmp_path, *SHORT, f"dataset.root={path}")
    one_message(done, "pictures/train/a/bomb.png")
    assert left(tmp_path) == before and not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("kind", ["text", "empty", "cut", "cut_in_the_directory", "cut_entry"])
def test_a_zip_that_is_none(seedbed, tmp_path, pictures, kind):
    path = zipped(pictures)
    raw = path.read_bytes()
    spoilt = {
        "text": b"not a zip at all",
        "empty": b"",
        "cut": raw[: len(raw) // 2],
        "cut_in_the_directory": raw[:-60],
        "cut_entry": raw[200:],
    }[kind]
    path.write_bytes(spoilt)
    # The last of them has a directory still: it is the entry that cannot be read.
    names = ("pictures/train/a/0.png", "cannot be read") if kind == "cut_entry" else (str(path), "readable zip")
    refused(seedbed, tmp_path, *SHORT, f"dataset.root={path}", names=names)


def test_a_damaged_entry_is_named(seedbed, tmp_path, pictures):
    path = zipped(pictures)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"pictures/train/b/3.png") + len("pictures/train/b/3.png") + 40
    raw[at] ^= 0xFF
    path.write_bytes(raw)
    names = ("pictures/train/b/3.png", "CRC", "dataset.on_bad_image=skip")
    refused(seedbed, tmp_path, *SHORT, f"dataset.root={path}", names=names)


@pytest.mark.slow
def test_two_starts_at_once_decode_once(tmp_path, picture_tree):
    rng = np.random.default_rng(0)
    root = picture_tree({f"train/{c}/{i}.png": int(rng.integers(256)) for c in "abcd" for i in range(300)})
    where = (f"cache_root={tmp_path / CACHE}", f"output_root={tmp_path / 'outputs'}", f"dataset.root={root}")
    command = [sys.executable, "-m", "run", *SHORT, *where]
    both = []
    for name in ("name=one", "name=two"):
        both.append(
            subprocess.Popen([*command, name], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        time.sleep(0.05)
    outputs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sum("decoding 1,200 images" in out for out, _ in outputs) == 1, outputs
    assert len([p for p in (tmp_path / CACHE / "store").iterdir() if p.is_dir()]) == 1
    assert not list((tmp_path / CACHE).rglob("*.tmp"))
    assert len(list((tmp_path / "outputs").glob("*/result.json"))) == 2
