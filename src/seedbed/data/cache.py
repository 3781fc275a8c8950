"""The store: a source's images, decoded once into memory-mapped arrays, in a folder named by fingerprint and size.

A private folder is filled, then renamed into place, so the folder is whole; a lock only saves others the same work.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from seedbed.data.decode import Decoded, decode, decode_all, is_colour, reader, resize_arrays
from seedbed.data.sources import Listing, Source
from seedbed.errors import UserError
from seedbed.files import make_once

FORMAT_VERSION = 4
DAMAGED = (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """A source's decoded images, and what its listing says of them."""

    images: np.ndarray  # uint8 `[N, C, S, S]`, a memory map
    labels: np.ndarray  # int64 `[N]`
    parts: np.ndarray  # int8 `[N]`
    names: list[str]
    classes: tuple[str, ...]
    bad: dict[int, str]  # row -> why, for unreadable images
    may_pass: list[int]  # rows of those that may be readable another time, though their files stay the same
    key: str  # changes with the images
    splits: dict[str, int]  # folder of a split -> its part
    left_out: list[str]  # what the source holds and is not read, and why
    notes: dict[int, list[str]]  # row -> what is to be said of it, keys of `pixels.SENTENCES`
    bits: int | None  # that images of 16 bits really have; None without such images


def cache_folder(cache_root: str | None) -> Path:
    """The folder of all caches: `cache_root`, or one in the user's cache directory where it is None."""
    if cache_root:
        return Path(cache_root)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seedbed"


@contextlib.contextmanager
def cache_errors(folder: Path) -> Iterator[None]:
    """Failures to write below the cache as one message that says what to do."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cache_root: cannot keep anything in {folder}: {error.strerror or error}; set cache_root (or "
            "SEEDBED_CACHE) to a place with room that can be written"
        ) from error


def open_store(source: Source, size: int, cache_root: str | None, on_bad_image: str, bits: int | None = None) -> Store:
    """Open the store of a source at a size in pixels, building it first if it does not exist, or is damaged.

    `bits` are those by which images of 16 bits are scaled; None: what their numbers really have. Raises UserError if an
    image is unreadable and `on_bad_image` is fail, not skip, or if the cache cannot be written.
    """
    store = _store(source, size, cache_root, None)
    if bits and store.bits not in (None, bits):
        store = _store(source, size, cache_root, bits)
    if store.bad and on_bad_image == "fail":
        row, reason = min(store.bad.items())
        more = f" (and {len(store.bad) - 1} more)" if len(store.bad) > 1 else ""
        raise UserError(
            f"{source.name}: cannot read {store.names[row]}: {reason}{more}; mend or remove it, or leave such images "
            "out with dataset.on_bad_image=skip"
        )
    return store


def _store(source: Source, size: int, cache_root: str | None, bits: int | None) -> Store:
    text = f"{FORMAT_VERSION} {source.fingerprint()} {size}" + (f" {bits}" if bits else "")
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    name = f"{re.sub(r'[^A-Za-z0-9_-]', '-', source.name)}-{size}-{key}"
    folder = cache_folder(cache_root) / "store" / name
    return kept(folder, _read, partial(_build, source, size, bits), partial(_is_stale, source, folder))


def _read(folder: Path) -> Store:
    """Raises OSError or one of `DAMAGED` where files are missing, cut, or none of ours."""
    # Copy-on-write: torch refuses to wrap an array it could not write to without a warning.
    images = np.load(folder / "images.npy", mmap_mode="c")
    labels, parts = np.load(folder / "labels.npy"), np.load(folder / "parts.npy")
    saved = json.loads((folder / "store.json").read_text(encoding="utf-8"))
    bad = {int(row): reason for row, reason in saved["bad"].items()}
    if not (images.ndim == 4 and images.dtype == np.uint8) or {*map(len, (labels, parts, saved["names"]))} != {
        len(images)
    }:
        raise ValueError("its arrays do not fit together")
    return Store(
        images, labels, parts, saved["names"], tuple(saved["classes"]), bad, saved["may_pass"], folder.name,
        saved["splits"], saved["left_out"], {int(row): kinds for row, kinds in saved["notes"].items()}, saved["bits"],
    )  # fmt: skip


def _is_stale(source: Source, folder: Path) -> bool:
    """Whether an image can be read that could not when the store was built, though its file is the same."""
    store = _read(folder)
    _, channels, size, _ = store.images.shape
    if store.may_pass:
        with reader(_list(source).container) as read:
            for row in store.may_pass:
                with contextlib.suppress(Exception):
                    decode(read(store.names[row]), channels, size)
                    return True
    return False


def _list(source: Source) -> Listing:
    try:
        return source.listing()
    except OSError as error:
        raise UserError(f"{error.filename or source.name}: cannot be read: {error.strerror or error}") from error


def kept(
    folder: Path,
    read: Callable[[Path], Any],
    fill: Callable[[Path], None],
    is_stale: Callable[[], bool] = lambda: False,
) -> Any:
    """What `read` makes of a folder of the cache, which is made first if it is not there, stale, or damaged."""

    def is_damaged() -> str | None:
        try:
            read(folder)
        except (OSError, UserError, *DAMAGED) as error:
            return str(error).partition("\n")[0] or type(error).__name__
        return None

    damage = is_damaged() if folder.exists() else None
    if damage:
        log.warning("%s was damaged (%s): it is made again", folder, damage)
    if damage or not folder.is_dir() or is_stale():
        with cache_errors(folder.parent):
            make_once(folder, fill, lambda: bool(is_damaged()) or is_stale())
    return read(folder)


def _build(source: Source, size: int, bits: int | None, folder: Path) -> None:
    started = time.perf_counter()
    listing = _list(source)
    path, n, done = folder / "images.npy", len(listing.labels), Decoded()
    if listing.images is not None:
        np.save(path, resize_arrays(listing.images, size))
    else:
        channels = listing.channels or (3 if is_colour(listing.container, listing.names) else 1)
        np.lib.format.open_memmap(path, "w+", np.uint8, (n, channels, size, size)).flush()
        if hasattr(os, "posix_fallocate"):
            # Without it a full disk would show as a bus error in the middle of decoding.
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        log.info("decoding %s images of %s, once", f"{n:,}", source.name)
        with tqdm(total=n, desc=f"decoding {source.name}", unit=" images", disable=None) as bar:  # None: on terminals
            done = decode_all(listing.container, listing.names, path, bar.update, bits)
    np.save(folder / "labels.npy", listing.labels)
    np.save(folder / "parts.npy", listing.parts)
    metadata = {
        "format_version": FORMAT_VERSION, "source": source.name, "classes": listing.classes,
        "bad": {row: reason for row, (reason, _) in done.bad.items()},
        "may_pass": [row for row, (_, may_pass) in done.bad.items() if may_pass],
        "notes": done.notes, "bits": done.bits,
        "names": list(listing.names), "splits": dict(listing.splits), "left_out": list(listing.left_out),
    }  # fmt: skip
    (folder / "store.json").write_text(json.dumps(metadata), encoding="utf-8")
    log.info("decoded %s images in %.1f s", f"{n:,}", time.perf_counter() - started)
