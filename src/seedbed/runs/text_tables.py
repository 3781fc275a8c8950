"""Tables as text."""

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]], last_left: bool = False) -> str:
    """Plain text columns, the first to the left, the others to the right, but for the last one with `last_left`."""
    cells = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    sides = ["<", *">" * (len(widths) - 2), "<" if last_left else ">"]
    template = "  ".join(f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True))
    lines = [template.format(*row).rstrip() for row in cells]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def short(text: str, most: int) -> str:
    """At most so many letters of a text."""
    return text if len(text) <= most else text[: most - 1] + "…"


def duration(seconds: float) -> str:
    """Like `1:05 min` or `3.2 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{seconds:.1f} s"


def summary(result: dict) -> str:
    """The short table that a run ends with, from its result.json."""
    header = ("test", "accuracy", "F1", "recall", "precision", "best epoch", "time", "parameters")
    of_epochs = f"{result['best_epoch']} of {result['epochs']}"
    costs = of_epochs, duration(result["seconds"]), f"{result['parameters']:,}"
    rows = [(result["title"], *_metrics(result["test"]), *costs)]
    # Version 0.1 called it test_single_view.
    if plain := result.get("test_without_tta") or result.get("test_single_view"):
        rows.append(("  its images as they are", *_metrics(plain), "", "", ""))
    return table(header, rows)


def _metrics(test: dict[str, float]) -> list[str]:
    return [f"{test[key]:.4f}" for key in ("accuracy", "f1", "recall", "precision")]
