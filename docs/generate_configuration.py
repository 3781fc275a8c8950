"""Write docs/configuration.md, the table of all keys, from conf/ and the schemas: python docs/generate_configuration.py

The comment behind a key in conf/ is its description. It goes on in the lines below that stand in the same column. Other
lines of comments describe the key below them; those above the first key describe the file.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from seedbed.annotations import describe, ranges
from seedbed.compose import CONF
from seedbed.config import SCHEMAS, locate, parameters_of
from seedbed.errors import options_of
from seedbed.keys import ALL, GROUPS, KEYS, declared
from seedbed.settings import RootSettings

PAGE = Path(__file__).with_name("configuration.md")
LINE = re.compile(r"(?P<indent> *)(?P<key>[\w-]+):(?P<value>.*?)(?:\s+# (?P<comment>.*))?")
GLOBAL = "# @package _global_"
WIDEST = 40  # letters of a default
TITLES = {"": "Keys without a group", "task": "`task`: what to do", "experiment": "`experiment`: presets"}
HEAD = """\
# All keys

`python docs/generate_configuration.py` writes this page from `conf/` and the code. A test compares them.

- `GROUP=OPTION` chooses an option of a group: `model=convnet`. The options in bold are the defaults.
- `KEY=VALUE` changes one key: `train.epochs=5`.
- `+KEY=VALUE` adds a key that the option lacks. `~KEY` takes one away.
- `--cfg job` prints the whole configuration of a command and runs nothing.

The keys of a class, such as `model.widths`, are arguments of its constructor. `+` adds any other argument of it.
"""


@dataclass(frozen=True)
class Entry:
    """A key with its value, as a yaml file has them; its description; what it may be."""

    value: str
    comment: str
    type: str = ""


@dataclass
class Option:
    """What a yaml file says, with the files that it builds on: dotted key -> entry, and dotted key -> class."""

    entries: dict[str, Entry] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)


def read(path: Path, group: str = "") -> Option:
    """Read a yaml file of conf/, and those of its group that it builds on."""
    text, option = path.read_text(encoding="utf-8"), Option()
    for parent in _parents(text):
        inherited = read(path.parent / f"{parent}.yaml", group)
        option.entries.update(inherited.entries)
        option.targets.update(inherited.targets)
    prefix = "" if GLOBAL in text or not group else f"{group}."
    for key, entry in _lines(text):
        holder, _, leaf = f"{prefix}{key}".rpartition(".")
        if leaf == "_target_":
            option.targets[holder] = entry.value
        elif not leaf.startswith("_"):
            option.entries[f"{prefix}{key}"] = entry
    for key, entry in option.entries.items():
        option.entries[key] = Entry(entry.value, entry.comment, _type(key, entry.value, option.targets))
    return option


def _parents(text: str) -> list[str]:
    """Options of the same group in the defaults list."""
    items = (yaml.safe_load(text) or {}).get("defaults", [])
    return [item.partition("@")[0] for item in items if isinstance(item, str) and not item.startswith(("_self_", "/"))]


def _lines(text: str) -> Iterator[tuple[str, Entry]]:
    """Each dotted key that has a value. A mapping whose keys are names of files is one key."""
    entries: dict[str, Entry] = {}
    above: list[tuple[int, str]] = []  # indentation and name of each group that holds the line
    last, column, before = "", -1, ""
    for line in text.splitlines():
        start, stripped = len(line) - len(line.lstrip()), line.strip()
        if stripped.startswith("#"):
            comment = stripped.lstrip("# ")
            if start == column:
                entries[last] = Entry(entries[last].value, f"{entries[last].comment} {comment}")
            elif entries or above:
                before = f"{before} {comment}".strip()
            continue
        match = LINE.fullmatch(line)
        if match:
            above = [(indent, name) for indent, name in above if indent < start]
            holder = ".".join(name for _, name in above)
            value = match["value"].strip()
            if "-" in match["key"]:
                entries.setdefault(holder, Entry("{…}", before))
            elif value:
                last = f"{holder}.{match['key']}".lstrip(".")
                entries[last] = Entry(value, " ".join(filter(None, (before, match["comment"]))))
            else:
                above.append((start, match["key"]))
            column = match.start("comment") - 2 if match["comment"] else -1
            before = "" if value else before
    yield from ((key, entry) for key, entry in entries.items() if not key.startswith("defaults"))


def _type(key: str, value: str, targets: Mapping[str, str]) -> str:
    """What a key may be: by its schema, else by the signature of its class, else as its default is."""
    group, _, name = key.partition(".")
    schema = SCHEMAS.get(group) if name else RootSettings
    spec = next((spec for spec in fields(schema) if spec.name == (name or key)), None) if schema else None
    if spec is not None:
        return _words(typing.get_type_hints(schema, include_extras=True)[spec.name])
    if key in KEYS and KEYS[key].path:
        return "a path"
    holder, _, leaf = key.rpartition(".")
    target = targets.get(holder, "")
    if target.startswith("seedbed."):  # signatures of other packages change with their versions
        parameters, _ = parameters_of(locate(target, key))
        if leaf in parameters:
            return _words(parameters[leaf][0])
    default = None if "$" in value or value in ("???", "{…}") else yaml.safe_load(value)
    return "" if default is None else "a list" if isinstance(default, list) else describe(type(default))


def _words(annotation: Any) -> str:
    """A type in words, with its range."""
    return ", ".join([describe(annotation), *(allowed.words() for allowed in [*ranges(annotation)][:1])])


def _default(value: str) -> str:
    if value == "???":
        return "must be given"
    if match := re.fullmatch(r"\$\{oc\.env:(\w+),(\w+)\}", value):
        return f"`${match[1]}`, else `{match[2]}`"
    if match := re.fullmatch(r"\$\{([\w.]+)\}", value):
        return f"as `{match[1]}`"
    return f"`{value if len(value) <= WIDEST else value[: WIDEST - 1] + '…'}`"


def _by_option(texts: Mapping[str, str]) -> str:
    """Texts of options in one cell: the text where all have the same, else each with its options before it."""
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in _names_by(texts).items() if text)


def _names_by(texts: Mapping[str, str]) -> dict[str, list[str]]:
    """Text -> the names that have it."""
    return {text: [name for name in texts if texts[name] == text] for text in texts.values()}


def _having(names: Sequence[str], of: Sequence[str]) -> str:
    others = [name for name in of if name not in names]
    return "all but " + ", ".join(others) if len(names) > len(others) > 0 else ", ".join(names) if others else "all"


def _readers(keys: Sequence[str]) -> str:
    """Which tasks read the keys, and which keys may be typed with `resume=`."""
    tasks = {f"`{key}`": "all" if declared(key).tasks == ALL else ", ".join(declared(key).tasks) for key in keys}
    (usual, _), *others = sorted(_names_by(tasks).items(), key=lambda item: -len(item[1]))
    sentences = [f"Tasks that read these keys: {usual}."]
    sentences += [f"Tasks that read {', '.join(names)}: {which}." for which, names in others]
    resume = [f"`{key}`" for key in keys if declared(key).resume]
    if resume:
        which = "all keys" if len(resume) == len(keys) else ", ".join(resume)
        sentences.append(f"May be typed with `resume=`: {which}.")
    return "\n".join(sentences)


def _table(options: Mapping[str, Option]) -> Iterator[str]:
    """A row for each key that an option of a group has."""
    column = len(options) > 1
    yield "| key | default | type |" + " options |" * column + " meaning |"
    yield "| --- | --- | --- |" + " --- |" * column + " --- |"
    for key in dict.fromkeys(key for option in options.values() for key in option.entries):
        entries = {name: option.entries[key] for name, option in options.items() if key in option.entries}
        cells = [
            f"`{key}`",
            _by_option({name: _default(entry.value) for name, entry in entries.items()}),
            _by_option({name: entry.type for name, entry in entries.items()}),
            *([_having(list(entries), list(options))] if column else []),
            _by_option({name: entry.comment for name, entry in entries.items()}),
        ]
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |".replace("|  |", "| |")


def _first_comment(path: Path) -> str:
    """What --help says of an option."""
    comments = (line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
    return next(line.lstrip("# ") for line in comments if line != GLOBAL)


def _section(conf: Path, group: str, default: str | None) -> Iterator[str]:
    yield f"## {TITLES.get(group, f'`{group}`')}\n"
    paths = {name: conf / group / f"{name}.yaml" for name in options_of([conf], group)}
    for name, path in paths.items():
        yield f"- {'**' * (name == default)}`{name}`{'**' * (name == default)}: {_first_comment(path)}"
    if group != "experiment":
        options = {name: read(path, group) for name, path in paths.items()}
        for option in options.values():  # the option's name says it
            option.entries.pop(group, None)
        keys = list(dict.fromkeys(key for option in options.values() for key in option.entries))
        yield f"\n{_readers(keys)}\n" if group != "task" else ""
        yield from _table(options)
    yield ""


def page() -> str:
    """The text of docs/configuration.md."""
    conf = CONF
    items = yaml.safe_load((conf / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    defaults = {group: option for item in items if isinstance(item, dict) for group, option in item.items()}
    root = read(conf / "config.yaml")
    root.entries = {spec.name: root.entries[spec.name] for spec in fields(RootSettings)}
    lines = [HEAD, f"## {TITLES['']}\n", f"{_readers(list(root.entries))}\n", *_table({"": root}), ""]
    for group in (*GROUPS, "task", "experiment"):
        lines += _section(conf, group, defaults[group])
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
