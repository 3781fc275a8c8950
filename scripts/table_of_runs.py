"""A table of runs: each row is a command, what it changes, what it gave. A killed table goes on where it stopped."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from kept_runs import complete, digest, history

COLUMNS = ("step", "val_accuracy", "test_accuracy", "test_f1", "epochs", "seconds", "command", "digest")


@dataclass(frozen=True)
class Row:
    """`step` says what is changed; `words` are those after `python -m run`; an aside belongs beside the row before."""

    step: str
    words: str
    aside: bool = False

    @property
    def command(self) -> str:
        return f"python -m run {self.words}"


def fill(path: Path, rows: list[Row]) -> list[dict[str, str]]:
    """Run the rows that the CSV does not hold yet and return all of them, in order.

    A row is held under its command and the digest of its settings, since presets change; rows of before there were
    digests are taken as they are.
    """
    done = {}
    if path.exists():
        with path.open() as file:
            done = {row["command"]: row for row in csv.DictReader(file)}
    for row in rows:
        held = done.get(row.command)
        if not held or (held.get("digest") and held["digest"] != digest(row.words)):
            done[row.command] = {"command": row.command, "digest": digest(row.words), **run(row.words)}
        done[row.command]["step"] = ("- " if row.aside else "") + row.step
        kept = [done[r.command] for r in rows if r.command in done]
        write_table(path, COLUMNS, kept)
    return [done[row.command] for row in rows]


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """A CSV, whole at every moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    unfinished.replace(path)


def spread(values: Sequence[float], digits: int = 4) -> str:
    """Mean ± sample standard deviation, or the one value."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def run(words: str) -> dict[str, str]:
    """What the finished run of these words says, begun or gone on with if need be."""
    folder = complete(words)
    result, metrics = json.loads((folder / "result.json").read_text()), history(folder / "metrics.csv")
    test = result.get("test_without_tta", result["test"])  # as the rows beside it
    return {
        "val_accuracy": f"{result['val']['accuracy']:.4f}",
        "test_accuracy": f"{test['accuracy']:.4f}",
        "test_f1": f"{test['f1']:.4f}",
        "epochs": str(len(metrics)),
        "seconds": f"{sum(row['seconds'] for row in metrics):.0f}",
    }


def markdown(rows: list[dict[str, str]]) -> str:
    """The table, its commands numbered beneath it."""
    head = (
        "| | step | validation | test | F1 | epochs | training s |\n| ---: | --- | ---: | ---: | ---: | ---: | ---: |"
    )
    body = [
        f"| {n} | {r['step']} | {r['val_accuracy']} | {r['test_accuracy']} | {r['test_f1']} | {r['epochs']} "
        f"| {r['seconds']} |"
        for n, r in enumerate(rows)
    ]
    commands = [f"{n}  {r['command']}" for n, r in enumerate(rows)]
    return "\n".join([head, *body, "", "```", *commands, "```"]) + "\n"
