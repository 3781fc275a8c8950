"""Arrays too large for memory: made part by part, in files whose pages the system may take back."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np

ROWS = 4096
SMALL = 2**26  # bytes that need no file
Allocate = Callable[[tuple[int, int]], np.ndarray]  # shape -> float32, to be filled


def in_memory(shape: tuple[int, int]) -> np.ndarray:
    """An ordinary float32 array."""
    return np.empty(shape, np.float32)


def in_files(folder: Path) -> Allocate:
    """Makes float32 arrays; large ones in nameless files of a folder, which go with the array, or with the process.

    Raises, when it allocates:
        OSError: the disk has no room for the whole array.
    """

    def allocate(shape: tuple[int, int]) -> np.ndarray:
        size = 4 * shape[0] * shape[1]
        if size <= SMALL:
            return in_memory(shape)
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            reserve(file, size)
            return np.asarray(np.memmap(file, np.float32, "w+", shape=shape))

    return allocate


def reserve(file: IO[bytes], size: int) -> None:
    """Take the room for this many bytes: a full disk would show as a bus error when a page is written."""
    if hasattr(os, "posix_fallocate") and size:
        os.posix_fallocate(file.fileno(), 0, size)


def parts_of(n: int, rows: int = ROWS) -> Iterator[slice]:
    """`n` rows, so many at a time."""
    return (slice(start, min(start + rows, n)) for start in range(0, n, rows))
