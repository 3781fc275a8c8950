"""Image files to arrays: one file, one chunk of files, all files over the cores."""

import errno
import io
import multiprocessing
import os
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from seedbed.cpu import cores
from seedbed.data.formats import FORMATS
from seedbed.data.pixels import BLANK, DEEP, Notes, blank, eight_bits, note_frames, opaque, upright
from seedbed.data.zip_names import entries_of
from seedbed.errors import UserError

LARGEST_PIXELS = 64_000_000
LARGEST_FILE = 256 * 2**20
CHUNK = 512
Read = Callable[[str], bytes]


@dataclass
class Decoded:
    """What was noticed of decoded images."""

    # Row -> why it could not be read, and whether it may be another time: the disk or the machine was the cause.
    bad: dict[int, tuple[str, bool]] = field(default_factory=dict)
    notes: dict[int, list[str]] = field(default_factory=dict)  # row -> what is to be said of it, keys of SENTENCES
    largest: int = 0  # of all numbers of 16 bits
    bits: int | None = None  # that images of 16 bits really have; None without such images


class BadImage(Exception):
    """An image that cannot be read; the message says why."""


@contextmanager
def reader(container: Path) -> Iterator[Read]:
    """A function from a path inside a folder or a zip to the file's bytes."""
    if container.is_dir():
        yield lambda name: (container / name).read_bytes()
        return
    with zipfile.ZipFile(container) as archive:
        entries = entries_of(archive)

        def read(name: str) -> bytes:
            # What an entry says of its size need not be true.
            with archive.open(entries[name]) as file:
                content = file.read(LARGEST_FILE + 1)
            if len(content) > LARGEST_FILE:
                raise BadImage(f"unpacks to more than {LARGEST_FILE:,} bytes")
            return content

        yield read


@contextmanager
def opened(content: bytes) -> Iterator[Image.Image]:
    """A Pillow image from bytes; all that can be wrong with it becomes BadImage."""
    try:
        # The size is checked just below; Pillow's own warning would only repeat it.
        quiet = warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning)
        with quiet, Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > LARGEST_PIXELS:
                raise BadImage(f"{image.width} x {image.height} pixels, at most {LARGEST_PIXELS:,} are read")
            yield image
    except Image.UnidentifiedImageError:
        raise BadImage("not an image in a known format" if content else "an empty file") from None
    except (BadImage, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise whatever the bytes lead them to
        raise BadImage(str(error) or type(error).__name__) from error


def decode(content: bytes, channels: int, size: int, bits: int = 16, notes: Notes | None = None) -> np.ndarray:
    """Decode an image to uint8 `[channels, size, size]`, grey or RGB (bilinear, antialiased, aspect not kept).

    It is what a viewer shows: upright, transparent pixels on white; numbers of 16 bits are scaled to 8 by the `bits`
    that the data set has of them. `notes` gets what is to be said of it. Raises BadImage if it is unreadable,
    truncated or too large, or of greys of 32 bits or of real numbers, which do not say which number is white.
    """
    notes = Notes() if notes is None else notes
    with opened(content) as source:
        image = eight_bits(source, content, bits, notes)
        if image.mode in ("I", "F"):
            raise BadImage(f"a grey image of {image.mode} mode, whose white is not known; save it with 8 or 16 bits")
        image = opaque(upright(image, source), notes).convert("L" if channels == 1 else "RGB")
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        array = np.asarray(image)
        note_frames(source, notes)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def resize_arrays(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 `[N, C, H, W]` -> uint8 `[N, C, size, size]`, by the same filter as `decode`."""
    n, channels, height, width = images.shape
    if (height, width) == (size, size):
        return images
    planes = map(Image.fromarray, images.reshape(-1, height, width))
    resized = [np.asarray(plane.resize((size, size), Image.Resampling.BILINEAR)) for plane in planes]
    return np.stack(resized).reshape(n, channels, size, size)


def is_colour(container: Path, names: Sequence[str]) -> bool:
    """Whether any image has a colour mode, by the headers alone; unreadable ones do not count."""
    with reader(container) as read:
        for name in names:
            # Decoding will say what is wrong with an unreadable one.
            with suppress(Exception), opened(read(name)) as image:
                if image.mode not in ("1", "L", "LA", "I", "F") and not image.mode.startswith("I;16"):
                    return True
    return False


def decode_all(
    container: Path, names: Sequence[str], out: Path, progress: Callable[[int], object], bits: int | None = None
) -> Decoded:
    """Decode files into the rows of `out`, an existing `.npy` array, uint8 `[N, C, S, S]`, C 1 or 3, over the cores.

    `progress` is called with the number of images of each finished chunk. Rows of unreadable images are left zero.
    `bits` None: images of 16 bits are scaled by the largest number in all of them.
    """
    done = _decode_chunks(container, names, range(len(names)), out, progress, bits or 16)
    deep = [row for row, kinds in done.notes.items() if DEEP in kinds]
    done.bits = (bits or max(8, done.largest.bit_length())) if deep else None
    if deep and bits is None and done.bits < 16:
        again = _decode_chunks(container, [names[row] for row in deep], deep, out, lambda _: None, done.bits)
        done.notes = {row: kinds for row, kinds in done.notes.items() if DEEP not in kinds} | again.notes
    return done


def _decode_chunks(
    container: Path, names: Sequence[str], rows: Sequence[int], out: Path, progress: Callable[[int], object], bits: int
) -> Decoded:
    starts = range(0, len(names), CHUNK)
    chunks = [(names[start : start + CHUNK], rows[start : start + CHUNK], bits) for start in starts]
    workers = min(cores(), len(chunks))
    done = Decoded()
    try:
        with ExitStack() as stack:
            if workers > 1:
                # Fresh processes: forking one that has started torch's threads can hang.
                spawn = multiprocessing.get_context("spawn")
                pool = stack.enter_context(ProcessPoolExecutor(workers, spawn, _Worker.start, (container, out)))
                # Closing it cancels what has not begun, or all of it would be decoded before an error is raised.
                results = stack.enter_context(closing(pool.map(_Worker.decode, chunks)))
            else:
                read, array = stack.enter_context(reader(container)), np.load(out, mmap_mode="r+")
                results = (decode_rows(read, chunk[0], array, chunk[1], bits) for chunk in chunks)
            for chunk, result in zip(chunks, results, strict=True):
                done.bad |= result.bad
                done.notes |= result.notes
                done.largest = max(done.largest, result.largest)
                progress(len(chunk[0]))
    except BrokenProcessPool as error:
        raise UserError(
            f"{container}: a process that decodes images was killed, perhaps for want of memory; start again with "
            "more memory free"
        ) from error
    return done


def decode_rows(read: Read, names: Sequence[str], array: np.ndarray, rows: Sequence[int], bits: int = 16) -> Decoded:
    """Decode files into rows of an array, uint8 `[N, C, S, S]`."""
    _, channels, size, _ = array.shape
    done = Decoded()
    for row, name in zip(rows, names, strict=True):
        notes = Notes()
        try:
            array[row] = decode(read(name), channels, size, bits, notes)
            kinds = [*notes.kinds, *([BLANK] if blank(array[row][None]).all() else [])]
            if kinds:
                done.notes[row] = kinds
            done.largest = max(done.largest, notes.largest)
        except BadImage as error:
            done.bad[row] = str(error), False
        except Exception as error:  # of the disk; of the zip: damaged, encrypted, packed by an unknown method
            # A link that leads nowhere stays one; bzip2's complaints have no number.
            of_disk = isinstance(error, OSError) and error.errno not in (None, errno.ENOENT, errno.ELOOP)
            may_pass = of_disk or isinstance(error, MemoryError)
            done.bad[row] = f"cannot be read: {str(error) or type(error).__name__}", may_pass
    return done


class _Worker:
    """What a worker process keeps open: listing a large zip anew for every chunk would cost more than decoding."""

    @classmethod
    def start(cls, container: Path, out: Path) -> None:
        cls.reader = reader(container)  # kept: a reader that is collected closes its zip
        cls.read, cls.array = cls.reader.__enter__(), np.load(out, mmap_mode="r+")
        threading.Thread(target=cls.end_with_parent, daemon=True).start()

    @staticmethod
    def end_with_parent() -> None:
        multiprocessing.parent_process().join()  # one that is killed cannot stop its workers
        os._exit(1)

    @classmethod
    def decode(cls, chunk: tuple[Sequence[str], Sequence[int], int]) -> Decoded:
        names, rows, bits = chunk
        return decode_rows(cls.read, names, cls.array, rows, bits)
