"""Images in the idx files of MNIST and its relatives: found on disk or downloaded, and verified."""

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
from seedbed.errors import UserError, require
from seedbed.files import write_atomically


class Idx:
    """Four idx files (training and test, images and labels), compressed by gzip or not.

    Looked for in `root` if given, else in each of `folders` (relative ones under `data_root`), else downloaded from
    `url` into the first of them. `sha256` maps a file's name without `.gz` to the SHA-256 of its decompressed bytes,
    in the order training images, training labels, test images, test labels.
    """

    def __init__(
        self, name: str, classes: Sequence[str], sha256: Mapping[str, str], folders: Sequence[str], data_root: str,
        root: str | None = None, url: str | None = None, debian_package: str | None = None,
    ):  # fmt: skip
        plain = not set("/\\") & set("".join(sha256))
        require(plain, f"dataset.sha256: expected plain file names, got {', '.join(sha256)}")
        self.name, self.classes, self.sha256 = name, tuple(classes), dict(sha256)
        self.folders = [Path(root)] if root else [Path(data_root) / folder for folder in folders]
        self.url, self.debian_package = (None, None) if root else (url, debian_package)

    def fingerprint(self) -> str:
        """The checksums and the classes: bytes are verified when they are read, so a store built from them is good."""
        return hashlib.sha256(repr((list(self.sha256.values()), self.classes)).encode()).hexdigest()

    def listing(self) -> Listing:
        """Read or download the files. Raises UserError if one is missing, damaged or not as the yaml says."""
        arrays = [parse_idx(self._bytes(name), name) for name in self.sha256]
        images = np.concatenate(arrays[::2])[:, None]
        labels = np.concatenate(arrays[1::2]).astype(np.int64)
        require(
            len(labels) == len(images) and labels.max() < len(self.classes),
            f"dataset.classes: {len(self.classes)} names for labels up to {labels.max()}, {len(labels):,} labels "
            f"for {len(images):,} images",
        )
        counts = [len(array) for array in arrays[1::2]]
        parts = np.repeat(np.array([TRAIN, TEST], np.int8), counts)
        names = [f"{split}/{i:05d}" for split, n in zip(("train", "test"), counts, strict=True) for i in range(n)]
        return Listing(self.classes, labels, parts, names, images=images)

    def _bytes(self, name: str) -> bytes:
        """The decompressed, verified bytes of one file."""
        for path in (folder / file for folder in self.folders for file in (name, f"{name}.gz")):
            if path.is_file():
                return self._verified(path.read_bytes(), name, path)
        if self.url:
            return self._download(name)
        raise UserError(self._ways_out(name, f"{name}[.gz] is not there"))

    def _verified(self, content: bytes, name: str, origin: Path | str) -> bytes:
        try:
            plain = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise UserError(f"{origin}: a damaged gzip file ({error}); remove it and start again") from error
        digest, expected = hashlib.sha256(plain).hexdigest(), self.sha256[name]
        require(
            digest == expected,
            f"{origin}: not the {name} of {self.name} (its decompressed bytes have SHA-256 {digest[:16]}…, "
            f"expected {expected[:16]}…); remove it, or point dataset.root at a good copy",
        )
        return plain

    def _download(self, name: str) -> bytes:
        address, target = f"{self.url}/{name}.gz", self.folders[0] / f"{name}.gz"
        try:
            with urllib.request.urlopen(address, timeout=15) as answer:
                content = answer.read()
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise UserError(self._ways_out(name, f"and {address} did not answer ({error})")) from error
        plain = self._verified(content, name, address)
        # The bytes are in memory and good: a read-only data root costs the next start a download, no more.
        with contextlib.suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            # One process downloads at a time, under the store's lock: these are of killed ones.
            for orphan in target.parent.glob(f".{target.name}.*.tmp"):
                orphan.unlink()
            write_atomically(target, content)
        return plain

    def _ways_out(self, name: str, problem: str) -> str:
        ways = [f"put the four files ({', '.join(self.sha256)}; .gz or not) into {self.folders[0]}"]
        if self.debian_package:
            ways.append(f"or install Debian's package {self.debian_package}")
        ways.append("or name a folder that has them: dataset.root=PATH")
        return f"{self.name}: {name} not found in {', '.join(map(str, self.folders))}; {problem}. {'; '.join(ways)}"


def parse_idx(content: bytes, name: str) -> np.ndarray:
    """Read an idx file of unsigned bytes: a uint8 array of the shape that its header gives."""
    require(len(content) >= 4 and content[:3] == b"\x00\x00\x08", f"{name}: not an idx file of unsigned bytes")
    start = 4 + 4 * content[3]
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    follow = len(content) - start
    require(follow == int(np.prod(shape)), f"{name}: its header says {shape}, but {follow} bytes follow")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
