"""Tables drawn from what runs wrote."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from seedbed.files import write_atomically


def table(header: Sequence[str], rows: Sequence[Sequence[str]], last_left: bool = False) -> str:
    """Plain text columns, the first to the left, the others to the right, but for the last one with `last_left`."""
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = []
    for first, *others in cells:
        padded = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        line = [first.ljust(widths[0]), *padded]
        lines.append("  ".join([*line[:-1], others[-1]] if last_left else line).rstrip())
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{seconds:.1f} s"


def summary(result: dict) -> str:
    """The short table that a run ends with."""
    header = ("test", "accuracy", "F1", "recall", "precision", "best epoch", "time", "parameters")
    row = (
        result["title"],
        *_shown(result["test"]),
        f"{result['best_epoch']} of {result['epochs']}",
        duration(result["seconds"]),
        f"{result['parameters']:,}",
    )
    single = result.get("test_without_tta")
    return table(header, [row, *([("  its images as they are", *_shown(single), "", "", "")] if single else [])])


def _shown(test: dict[str, float]) -> list[str]:
    return [f"{test[key]:.4f}" for key in ("accuracy", "f1", "recall", "precision")]


def leaderboard(folder: Path) -> str | None:
    """Rank the runs of a sweep by validation figure; write leaderboard.csv beside them.

    Settings are chosen on validation figures, so that is what it ranks by; the test figure stands beside.

    Returns:
        the table as text, or None if no run left a result.
    """
    found = []
    for path in sorted(folder.glob("*/result.json")):
        result = json.loads(path.read_text())
        overrides = path.parent / "overrides.json"
        swept = json.loads(overrides.read_text())["swept"] if overrides.exists() else {}
        found.append((path.parent.name, result, swept))
    if not found:
        return None
    key = lambda item: -(item[1].get("val", {}).get("accuracy", -1.0))  # noqa: E731
    found.sort(key=key)
    names = list(dict.fromkeys(name for _, _, swept in found for name in swept))
    header = ["run", *names, "val_accuracy", "test_accuracy", "test_f1", "seconds"]
    rows = []
    for run, result, swept in found:
        figures = (
            (result["val"]["accuracy"], result["test"]["accuracy"], result["test"]["f1"])
            if result["status"] == "finished"
            else ()
        )
        rows.append([
            run, *(swept.get(n, "") for n in names),
            *([f"{f:.4f}" for f in figures] or [result["status"], "", ""]), f"{result.get('seconds', 0):.1f}",
        ])  # fmt: skip
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(folder / "leaderboard.csv", text.getvalue())
    return table(header, rows)
