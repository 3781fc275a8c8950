"""The names of a zip's entries as their owner reads them: of any encoding and separator, the last of two alike."""

import zipfile


def entries_of(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Name -> entry; folders end with a slash. An entry that is there twice counts as the last."""
    return {plain(name_of(entry)): entry for entry in archive.infolist()}


def name_of(entry: zipfile.ZipInfo) -> str:
    """An entry's name: Python takes one that is not flagged as UTF-8 for cp437, though most programs write UTF-8."""
    name = entry.orig_filename.partition("\0")[0]
    if not is_flagged(entry) and not name.isascii():
        try:
            return name.encode("cp437").decode("utf-8")
        except UnicodeError:
            pass
    return name


def is_flagged(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry says that its name is UTF-8."""
    return bool(entry.flag_bits & 0x800)


def is_guessed(entry: zipfile.ZipInfo) -> bool:
    """Whether no encoding explains an entry's name: it is neither flagged nor UTF-8, nor ASCII."""
    name = entry.orig_filename
    return not is_flagged(entry) and not name.isascii() and name_of(entry) == name.partition("\0")[0]


def plain(name: str) -> str:
    """A name with slashes between its parts, and without empty ones and dots."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    return "/".join(parts) + "/" * name.endswith(("/", "\\"))
