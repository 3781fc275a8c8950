"""The runs of a sweep, the best first."""

from pathlib import Path

from seedbed.files import write_csv
from seedbed.runs.run_table import METRICS, find
from seedbed.runs.text_tables import table


def leaderboard(folder: Path) -> str | None:
    """Rank the runs of a sweep by validation accuracy: leaderboard.csv, and as text, None if no run left a result."""
    runs = sorted(find(folder), key=lambda run: (-run.result.get("val", {}).get("accuracy", -1.0), run.name))
    if not runs:
        return None
    keys = list(dict.fromkeys(key for run in runs for key in run.swept))
    rows = []
    for run in runs:
        finished = run.status == "finished"
        metrics = [f"{metric:.4f}" for metric in run.metrics.values()] if finished else [run.status, "", ""]
        swept, seconds = [run.swept.get(key, "") for key in keys], f"{run.result.get('seconds', 0):.1f}"
        rows.append([run.name, *swept, *metrics, seconds])
    header = ["run", *keys, *METRICS, "seconds"]
    write_csv(folder / "leaderboard.csv", header, rows)
    return table(header, rows)
