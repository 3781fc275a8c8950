"""Images in the idx files of MNIST and its relatives: found, or downloaded, and verified."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import struct
import urllib.request
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from seedbed.data.sources import TEST, TRAIN, Listing
from seedbed.errors import UserError
from seedbed.files import write_atomically


class Idx:
    """Four idx files (training and test, images and labels), compressed by gzip or not.

    Looked for in `root` if given, else in each of `folders` (relative ones under `data_root`), else downloaded
    from `url` into the first of them.

    Args:
        sha256: file name without `.gz` -> SHA-256 of its decompressed bytes, in the order training images,
            training labels, test images, test labels.
        debian_package: named in the message when nothing is found.
    """

    def __init__(
        self,
        name: str,
        classes: Sequence[str],
        sha256: Mapping[str, str],
        folders: Sequence[str],
        data_root: str,
        root: str | None = None,
        url: str | None = None,
        debian_package: str | None = None,
    ):
        if any(set("/\\") & set(key) for key in sha256):
            raise UserError(f"dataset.sha256: expected plain file names, got {', '.join(sha256)}")
        self.name = name
        self.classes = tuple(classes)
        self.sha256 = dict(sha256)
        self.folders = [Path(data_root) / f for f in folders]
        self.root = Path(root) if root else None
        self.url = url
        self.debian_package = debian_package

    def fingerprint(self) -> str:
        # The bytes are verified against these when they are read, so a store built from them stays good.
        return hashlib.sha256(repr((list(self.sha256.values()), self.classes)).encode()).hexdigest()

    def listing(self) -> Listing:
        arrays = [parse_idx(self._bytes(name), name) for name in self.sha256]
        images = np.concatenate([arrays[0], arrays[2]])[:, None]
        labels = np.concatenate([arrays[1], arrays[3]]).astype(np.int64)
        if len(labels) != len(images) or labels.max() >= len(self.classes):
            raise UserError(
                f"dataset.classes: {len(self.classes)} names for labels up to {labels.max()}, {len(labels):,} labels "
                f"for {len(images):,} images"
            )
        parts = np.repeat(np.array([TRAIN, TEST], np.int8), [len(arrays[1]), len(arrays[3])])
        names = [f"train/{i:05d}" for i in range(len(arrays[1]))]
        names += [f"test/{i:05d}" for i in range(len(arrays[3]))]
        return Listing(self.classes, labels, parts, names, images=images)

    def _bytes(self, name: str) -> bytes:
        """The decompressed, verified bytes of one file."""
        for folder in [self.root] if self.root else self.folders:
            for path in (folder / name, folder / f"{name}.gz"):
                if path.is_file():
                    content = path.read_bytes()
                    return self._verified(_decompress(content, path), name, path)
        if self.root is None and self.url:
            return self._download(name)
        raise UserError(self._ways_out(name, f"{name}[.gz] is not there"))

    def _verified(self, content: bytes, name: str, path: Path | str) -> bytes:
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256[name]:
            raise UserError(
                f"{path}: not the {name} of {self.name} (its decompressed bytes have SHA-256 {found[:16]}…, "
                f"expected {self.sha256[name][:16]}…); remove it, or point dataset.root at a good copy"
            )
        return content

    def _download(self, name: str) -> bytes:
        address, target = f"{self.url}/{name}.gz", self.folders[0] / f"{name}.gz"
        try:
            with urllib.request.urlopen(address, timeout=15) as answer:
                content = answer.read()
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise UserError(self._ways_out(name, f"and {address} did not answer ({error})")) from error
        plain = self._verified(_decompress(content, address), name, address)
        # The bytes are in memory and good: a read-only data root costs the next start a download, no more.
        with contextlib.suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            # One process downloads at a time, under the store's lock: these are of killed ones.
            for orphan in target.parent.glob(f".{target.name}.*.tmp"):
                orphan.unlink()
            write_atomically(target, content)
        return plain

    def _ways_out(self, name: str, what: str) -> str:
        looked = [self.root] if self.root else self.folders
        ways = [f"put the four files ({', '.join(self.sha256)}; .gz or not) into {looked[0]}"]
        if not self.root and self.debian_package:
            ways.append(f"or install Debian's package {self.debian_package}")
        ways.append("or name a folder that has them: dataset.root=PATH")
        return f"{self.name}: {name} not found in {', '.join(map(str, looked))}; {what}. {'; '.join(ways)}"


def _decompress(content: bytes, path: Path | str) -> bytes:
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"{path}: a damaged gzip file ({error}); remove it and start again") from error


def parse_idx(content: bytes, name: str) -> np.ndarray:
    """Read an idx file of unsigned bytes.

    Returns:
        uint8 array of the shape that the header gives.
    """
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise UserError(f"{name}: not an idx file of unsigned bytes")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) - start != int(np.prod(shape)):
        raise UserError(f"{name}: its header says {shape}, but {len(content) - start} bytes follow")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
