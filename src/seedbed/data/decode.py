"""Image files to arrays: one file, one chunk of files, all files over the cores."""

from __future__ import annotations

import errno
import io
import multiprocessing
import os
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from seedbed.errors import UserError

LARGEST_PIXELS = 64_000_000
LARGEST_FILE = 256 * 2**20
# By content, not by name: Pillow's other readers are many, and the one for PostScript starts a program.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
CHUNK = 512


class Unread(NamedTuple):
    """Why an image could not be read, and whether that is of the disk or the machine, not of the image: it may pass."""

    reason: str
    may_pass: bool = False


class BadImage(Exception):
    """An image that cannot be read; the message says why."""


@contextmanager
def reader(container: Path) -> Iterator[Callable[[str], bytes]]:
    """A function from a path inside a folder or a zip to the file's bytes."""
    if container.is_dir():
        yield lambda name: (container / name).read_bytes()
    else:
        with zipfile.ZipFile(container) as archive:

            def read(name: str) -> bytes:
                # What an entry says of its size need not be true.
                with archive.open(name) as file:
                    content = file.read(LARGEST_FILE + 1)
                if len(content) > LARGEST_FILE:
                    raise BadImage(f"unpacks to more than {LARGEST_FILE:,} bytes")
                return content

            yield read


@contextmanager
def opened(content: bytes) -> Iterator[Image.Image]:
    """A Pillow image from bytes; all that can be wrong with it becomes BadImage."""
    try:
        with warnings.catch_warnings():
            # The size is checked just below; Pillow's own warning would only repeat it.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.width * image.height > LARGEST_PIXELS:
                    raise BadImage(f"{image.width} x {image.height} pixels, at most {LARGEST_PIXELS:,} are read")
                yield image
    except Image.UnidentifiedImageError:
        raise BadImage("not an image in a known format" if content else "an empty file") from None
    except (BadImage, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise whatever the bytes lead them to
        raise BadImage(str(error) or type(error).__name__) from error


def decode(content: bytes, channels: int, size: int) -> np.ndarray:
    """Decode an image, make it grey or RGB, and resize it (bilinear, antialiased, aspect not kept).

    Transparent pixels are laid on white; 16-bit greys are scaled to 8 bits. Greys of 32 bits or of real numbers are
    refused: what is white in them is not said.

    Returns:
        uint8 `[channels, size, size]`.

    Raises:
        BadImage: unreadable, truncated or too large.
    """
    with opened(content) as image:
        image.load()
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        elif image.mode in ("I", "F"):
            raise BadImage(f"a grey image of {image.mode} mode, whose white is not known; save it with 8 or 16 bits")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("L" if channels == 1 else "RGB")
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        array = np.asarray(image)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def resize_arrays(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 `[N, C, H, W]` -> uint8 `[N, C, size, size]`, by the same filter as `decode`."""
    n, channels, height, width = images.shape
    if (height, width) == (size, size):
        return images
    planes = images.reshape(-1, height, width)
    out = np.empty((len(planes), size, size), np.uint8)
    for i, plane in enumerate(planes):
        out[i] = Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR)
    return out.reshape(n, channels, size, size)


def is_colour(container: Path, names: Sequence[str]) -> bool:
    """Whether any image has a colour mode, by the headers alone; unreadable ones do not count."""
    with reader(container) as read:
        for name in names:
            try:
                with opened(read(name)) as image:
                    if image.mode not in ("1", "L", "LA", "I", "F") and not image.mode.startswith("I;16"):
                        return True
            except Exception:  # decoding will say what is wrong with it
                continue
    return False


def decode_all(
    container: Path, names: Sequence[str], out: Path, progress: Callable[[int], object]
) -> dict[int, Unread]:
    """Decode files into the rows of an existing `.npy` array, over the cores.

    Args:
        out: a uint8 `[N, C, S, S]` array on disk; C is 1 or 3.
        progress: called with the number of images that each finished chunk held.

    Returns:
        row -> why, for every image that could not be read; its row is left zero.
    """
    chunks = [(start, names[start : start + CHUNK]) for start in range(0, len(names), CHUNK)]
    bad: dict[int, Unread] = {}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(cores, len(chunks))
    if workers <= 1:
        with reader(container) as read:
            rows = np.load(out, mmap_mode="r+")
            for start, part in chunks:
                bad |= decode_rows(read, part, rows, start)
                progress(len(part))
            rows.flush()
        return bad
    # Fresh processes: forking one that has started torch's threads can hang.
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(workers, spawn, _Worker.open, (container, out)) as pool:
            jobs = {pool.submit(_Worker.run, part, start): len(part) for start, part in chunks}
            try:
                for job in as_completed(jobs):
                    bad |= job.result()
                    progress(jobs[job])
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # or all the others would be decoded first
                raise
    except BrokenProcessPool as error:
        raise UserError(
            f"{container}: a process that decodes images was killed, perhaps for want of memory; start again with "
            "more memory free"
        ) from error
    return bad


def decode_rows(read: Callable[[str], bytes], names: Sequence[str], rows: np.ndarray, start: int) -> dict[int, Unread]:
    """Decode files into `rows[start:]`, uint8 `[N, C, S, S]`; return row -> why for the unreadable ones."""
    _, channels, size, _ = rows.shape
    bad = {}
    for row, name in enumerate(names, start):
        try:
            rows[row] = decode(read(name), channels, size)
        except BadImage as error:
            bad[row] = Unread(str(error))
        except Exception as error:  # of the disk; of the zip: damaged, encrypted, packed by an unknown method
            bad[row] = Unread(f"cannot be read: {str(error) or type(error).__name__}", _may_pass(error))
    return bad


def _may_pass(error: Exception) -> bool:
    """Whether reading may go well another time though the file stays the same."""
    if isinstance(error, OSError):  # a link that leads nowhere stays one; bzip2's complaints have no number
        return error.errno not in (None, errno.ENOENT, errno.ELOOP)
    return isinstance(error, MemoryError)


class _Worker:
    """What a worker process keeps open: listing a large zip anew for every chunk would cost more than decoding."""

    read: Callable[[str], bytes]
    rows: np.ndarray

    @classmethod
    def open(cls, container: Path, out: Path) -> None:
        cls._reader = reader(container)  # kept: a reader that is collected closes its zip
        cls.read = staticmethod(cls._reader.__enter__())
        cls.rows = np.load(out, mmap_mode="r+")
        threading.Thread(target=cls._end_with_parent, daemon=True).start()

    @staticmethod
    def _end_with_parent() -> None:
        """Whoever is killed cannot send its workers home."""
        multiprocessing.parent_process().join()
        os._exit(1)

    @classmethod
    def run(cls, names: Sequence[str], start: int) -> dict[int, Unread]:
        bad = decode_rows(cls.read, names, cls.rows, start)
        cls.rows.flush()
        return bad
