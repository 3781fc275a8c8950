"""What a user types to choose one reading of a layout: dataset.splits and dataset.exclude."""

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from unicodedata import normalize

from seedbed.data.sources import TEST, TRAIN, VAL

KEYS = {"train": TRAIN, "val": VAL, "test": TEST}
Folder = tuple[str, ...]


def quoted(name: str) -> str:
    """A name as an override takes it inside a list."""
    return name if re.fullmatch(r"[A-Za-z0-9_/.-]+", name) else '"' + name.replace('"', '\\"') + '"'


def listed(names: Collection[str]) -> str:
    """Names as an override's list."""
    return f"[{','.join(map(quoted, names))}]"


def advice(paths: Collection[str]) -> str:
    """What to type to leave folders out."""
    return shlex.quote(f"dataset.exclude={listed(paths)}")


def mapping_of(parts: Mapping[Folder, int | None]) -> str:
    """Folders of splits, by their last names, as dataset.splits takes them."""
    names = {key: sorted({f[-1] for f, part in parts.items() if part == value}) for key, value in KEYS.items()}
    return "{" + ", ".join(f"{key}: {listed(found)}" for key, found in names.items() if found) + "}"


def is_excluded(folder: str, patterns: Sequence[str]) -> bool:
    """Whether a folder is left out: a pattern with a slash is of its whole path, any other of its name."""
    folder, patterns = normalize("NFC", folder), [normalize("NFC", pattern) for pattern in patterns]
    name = folder.rpartition("/")[2]
    return any(fnmatchcase(folder if "/" in p else name, p.strip("/")) for p in patterns)
