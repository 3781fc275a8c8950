"""The store: a source's images, decoded once into memory-mapped arrays.

A store is a folder named by the source's fingerprint and the stored size. It is built in a private folder and
renamed into place, so what bears the name is whole; a lock only saves a second process the same work.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from seedbed.data.decode import Unread, decode, decode_all, is_colour, reader, resize_arrays
from seedbed.data.sources import Listing, Source
from seedbed.errors import UserError
from seedbed.files import make_once

FORMAT_VERSION = 3
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """Decoded images: uint8 `[N, C, S, S]` memory map, int64 labels, int8 parts, names, what was unreadable,
    and a key that changes with the images."""

    images: np.ndarray
    labels: np.ndarray
    parts: np.ndarray
    names: list[str]
    classes: tuple[str, ...]
    bad: dict[int, str]
    key: str


def cache_folder(cache_root: str | None) -> Path:
    """Where stores are kept; `cache_root` None: in the user's cache directory."""
    if cache_root:
        return Path(cache_root)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seedbed"


def open_store(source: Source, size: int, cache_root: str | None, on_bad_image: str) -> Store:
    """Open the store of a source at a size, building it first if it is not there.

    Args:
        size: side of the stored images in pixels.
        cache_root: where stores are kept; None: the user's cache directory.
        on_bad_image: fail or skip.

    Raises:
        UserError: an image is unreadable and `on_bad_image` is fail, or the cache cannot be written.
    """
    root = cache_folder(cache_root)
    key = hashlib.sha256(f"{FORMAT_VERSION} {source.fingerprint()} {size}".encode()).hexdigest()[:16]
    folder = root / "store" / f"{re.sub(r'[^A-Za-z0-9_-]', '-', source.name)}-{size}-{key}"
    is_stale = partial(_has_passed, source, size, folder)
    if not folder.is_dir() or is_stale():
        with cache_errors(folder.parent):
            make_once(folder, lambda private: _build(source, size, private), is_stale)
    store = _read(folder)
    if store.bad and on_bad_image == "fail":
        row, reason = next(iter(sorted(store.bad.items())))
        more = f" (and {len(store.bad) - 1} more)" if len(store.bad) > 1 else ""
        raise UserError(
            f"{source.name}: cannot read {store.names[row]}: {reason}{more}; mend or remove it, or leave such "
            "images out with dataset.on_bad_image=skip"
        )
    return store


def _read(folder: Path) -> Store:
    facts = json.loads((folder / "store.json").read_text())
    return Store(
        # Copy-on-write: torch refuses to wrap an array it could not write to without a warning.
        np.load(folder / "images.npy", mmap_mode="c"),
        np.load(folder / "labels.npy"),
        np.load(folder / "parts.npy"),
        facts["names"],
        tuple(facts["classes"]),
        {int(row): reason for row, reason in facts["bad"].items()},
        folder.name,
    )


def _has_passed(source: Source, size: int, folder: Path) -> bool:
    """Whether an image can be read that could not when the store was built, though its file is the same."""
    facts = json.loads((folder / "store.json").read_text())
    if not facts["may_pass"]:
        return False
    channels = np.load(folder / "images.npy", mmap_mode="r").shape[1]
    with reader(_list(source).container) as read:
        for row in facts["may_pass"]:
            with contextlib.suppress(Exception):
                decode(read(facts["names"][row]), channels, size)
                return True
    return False


def _list(source: Source) -> Listing:
    try:
        return source.listing()
    except OSError as error:
        raise UserError(f"{error.filename or source.name}: cannot be read: {error.strerror or error}") from error


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


def _build(source: Source, size: int, private: Path) -> None:
    started = time.perf_counter()
    listing = _list(source)
    bad = _fill(private / "images.npy", listing, size, source.name)
    np.save(private / "labels.npy", listing.labels)
    np.save(private / "parts.npy", listing.parts)
    facts = {
        "format_version": FORMAT_VERSION,
        "source": source.name,
        "classes": listing.classes,
        "bad": {row: unread.reason for row, unread in bad.items()},
        "may_pass": [row for row, unread in bad.items() if unread.may_pass],
        "names": list(listing.names),
    }
    (private / "store.json").write_text(json.dumps(facts))
    log.info("decoded %s images in %.1f s", f"{len(listing.labels):,}", time.perf_counter() - started)


def _fill(path: Path, listing: Listing, size: int, name: str) -> dict[int, Unread]:
    """Write all images at one size; return row -> why for the unreadable ones."""
    n = len(listing.labels)
    if listing.images is not None:
        np.save(path, resize_arrays(listing.images, size))
        return {}
    channels = listing.channels or (3 if is_colour(listing.container, listing.names) else 1)
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (n, channels, size, size))
    array.flush()
    if hasattr(os, "posix_fallocate"):
        # Without it a full disk would show as a bus error in the middle of decoding.
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    log.info("decoding %s images of %s, once", f"{n:,}", name)
    with tqdm(total=n, desc=f"decoding {name}", unit=" images", disable=not sys.stderr.isatty()) as bar:
        return decode_all(listing.container, listing.names, path, bar.update)
