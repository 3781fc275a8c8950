"""idx files: found in turn, verified decompressed, refused when damaged."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import struct
import threading

import numpy as np
import pytest
from conftest import CONF, fashion_mnist_folder
from omegaconf import OmegaConf

from seedbed.data.idx import Idx, parse_idx
from seedbed.errors import UserError


def idx_bytes(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def small():
    rng = np.random.default_rng(0)
    arrays = {
        "train-images": rng.integers(0, 256, (6, 5, 5), dtype=np.uint8),
        "train-labels": np.arange(6, dtype=np.uint8) % 2,
        "t10k-images": rng.integers(0, 256, (4, 5, 5), dtype=np.uint8),
        "t10k-labels": np.arange(4, dtype=np.uint8) % 2,
    }
    return arrays, {name: idx_bytes(array) for name, array in arrays.items()}


def source(files: dict[str, bytes], root, **extra) -> Idx:
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return Idx("small", ["no", "yes"], sha256, ["idx"], data_root=str(root), **extra)


@pytest.mark.parametrize("compressed", [True, False])
def test_found_compressed_or_not(tmp_path, small, compressed):
    arrays, files = small
    (tmp_path / "idx").mkdir()
    for name, content in files.items():
        path = tmp_path / "idx" / (f"{name}.gz" if compressed else name)
        path.write_bytes(gzip.compress(content, 1) if compressed else content)
    listing = source(files, tmp_path).listing()
    assert listing.images.shape == (10, 1, 5, 5)
    assert np.array_equal(listing.images[:6, 0], arrays["train-images"])
    assert listing.parts.tolist() == [0] * 6 + [2] * 4 and listing.labels.dtype == np.int64


def test_downloaded_verified_and_kept(tmp_path, small):
    _, files = small
    site = tmp_path / "site"
    site.mkdir()
    for name, content in files.items():
        (site / f"{name}.gz").write_bytes(gzip.compress(content))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(site))

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        assert len(source(files, tmp_path, url=url).listing().labels) == 10
    finally:
        server.shutdown()
    kept = sorted(p.name for p in (tmp_path / "idx").iterdir())
    assert kept == sorted(f"{name}.gz" for name in files), "whole files, no temporary ones"
    assert len(source(files, tmp_path, url=url).listing().labels) == 10, "no second download"


def test_no_copy_and_no_network_say_the_ways_out(tmp_path, small):
    _, files = small
    made = source(files, tmp_path, url="http://127.0.0.1:9/x", debian_package="dataset-small")
    with pytest.raises(UserError) as caught:
        made.listing()
    for word in ("train-images", "idx", "dataset-small", "dataset.root=PATH", "did not answer"):
        assert word in str(caught.value)
    assert not (tmp_path / "idx").exists()


def test_other_bytes_are_refused(tmp_path, small):
    _, files = small
    (tmp_path / "idx").mkdir()
    for name, content in files.items():
        (tmp_path / "idx" / name).write_bytes(content[:-1] + b"\xff\xff"[:1])
    with pytest.raises(UserError, match="not the train-images of small"):
        source(files, tmp_path).listing()


@pytest.mark.parametrize("content", [b"", b"\0\0\x09\x01\0\0\0\1x", idx_bytes(np.zeros((3, 3), np.uint8))[:-1]])
def test_what_is_no_idx_file(content):
    with pytest.raises(UserError):
        parse_idx(content, "x")


def test_the_real_fashion_mnist():
    settings = OmegaConf.to_container(OmegaConf.load(CONF / "dataset/fashion_mnist.yaml"))
    keys = ("name", "classes", "sha256", "folders", "url", "debian_package")
    source = Idx(**{key: settings[key] for key in keys}, data_root="x", root=str(fashion_mnist_folder()))
    listing = source.listing()
    assert listing.images.shape == (70_000, 1, 28, 28)
    assert np.bincount(listing.labels[:60_000]).tolist() == [6000] * 10
