"""The scripts behind docs/: runs that are found, resumed or begun, and the table that is made of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def scripts(monkeypatch, tmp_path):
    """The scripts as modules, writing below `tmp_path`."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import kept_runs
    import reproduce

    monkeypatch.setattr(kept_runs, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(reproduce, "FOLDER", tmp_path / "results")
    return kept_runs, reproduce


def made_run(place: Path, status: str, **result) -> Path:
    place.mkdir(parents=True)
    (place / "config.yaml").write_text("")
    (place / "result.json").write_text(json.dumps({"status": status, **result}))
    return place


def test_every_preset_of_the_table_is_there(scripts):
    _, reproduce = scripts
    names = {f"{kind}/{path.stem}" for kind in ("original", "best") for path in (reproduce.PRESETS / kind).glob("*")}
    assert names == set(reproduce.chosen(["original/", "best/"]))
    assert {f"original/{row.preset}" for row in reproduce.ROWS} <= names


def test_what_is_chosen_and_planned(scripts):
    _, reproduce = scripts
    assert reproduce.chosen(["best/fruits_features"]) == ["best/fruits_features"]
    assert reproduce.planned(["original/fruits_mlp"], [3, 4]) == [("original/fruits_mlp", "official", 0)]
    assert reproduce.planned(["best/fruits_features"], [3, 4]) == [
        ("best/fruits_features", "official", 3), ("best/fruits_features", "official", 4),
        ("best/fruits_features", "arcs", 3),
    ]  # fmt: skip
    with pytest.raises(SystemExit, match="nothing/here: no such preset; give original/, best/"):
        reproduce.chosen(["nothing/here"])


def test_a_finished_run_is_found_and_not_run_again(scripts, monkeypatch):
    kept_runs, _ = scripts
    run = made_run(kept_runs.KEPT / "a_b_1" / "2026_run", "finished")
    monkeypatch.setattr(kept_runs.subprocess, "run", lambda *_, **__: pytest.fail("nothing is left to run"))
    assert kept_runs.complete("a=b 1") == run
    assert kept_runs.wall_seconds(run) is None


def test_a_stopped_run_goes_on_and_a_whole_one_says_how_long_it_took(scripts):
    """By the real command: a run that stops after its first epoch, then one that is begun and ends."""
    kept_runs, _ = scripts
    words = "dataset=digits train=smoke train.epochs=2"
    run = kept_runs.complete(words)
    assert kept_runs.wall_seconds(run) > 0
    assert [row["epoch"] for row in kept_runs.history(run / "metrics.csv")] == [1, 2]

    (run / "result.json").write_text(json.dumps({"status": "interrupted"}))
    (run / kept_runs.WALL).unlink()
    (run / "metrics.csv").unlink()
    assert kept_runs.complete(words) == run, "resumed in its own folder"
    assert json.loads((run / "result.json").read_text())["status"] == "finished"
    assert kept_runs.wall_seconds(run) is None, "what it took before it was stopped is not known"


def test_a_run_that_fails_ends_the_script(scripts):
    kept_runs, _ = scripts
    with pytest.raises(SystemExit) as failure:
        kept_runs.complete("dataset=digits trian.epochs=2")
    assert failure.value.code == 1


def line(accuracy: str, **changed: str) -> dict[str, str]:
    return {
        "accuracy": accuracy, "f1": accuracy, "recall": accuracy, "precision": accuracy, "training_seconds": "60",
        "wall_seconds": "90", "seconds_to_report": "12", **changed,
    }  # fmt: skip


def test_the_table_has_means_and_deviations(scripts):
    _, reproduce = scripts
    runs = {
        ("best/fruits_mlp", "official", 0): line("0.9700"),
        ("best/fruits_mlp", "official", 1): line("0.9800"),
        ("best/fruits_mlp", "official", 2): line("0.9900", seconds_to_report=""),
        ("best/fruits_mlp", "arcs", 0): line("0.9500", wall_seconds=""),
        ("original/fruits_mlp", "official", 0): line("0.9400", seconds_to_report=""),
    }
    lines = reproduce.table(runs).splitlines()
    at = next(n for n, text in enumerate(lines) if text.startswith("| Fruits, MLP on pixels | the report | 0.95 |"))
    assert lines[at + 1].split(" | ")[1:3] == ["its settings", "0.9400"] and "| never |" in lines[at + 1]
    assert lines[at + 2].startswith("| | ours | 0.9800 ± 0.0100 | ") and lines[at + 2].endswith(" | 1.5 | 12 | 3 |")
    assert lines[at + 3].startswith("| | ours, arcs | 0.9500 | ") and lines[at + 3].endswith(" | 1.0 | 12 | 1 |")
    assert len({text.count("|") for text in lines}) == 1


def test_lines_are_kept_in_the_order_of_the_table_and_read_back(scripts):
    _, reproduce = scripts
    full = {column: "1" for column in reproduce.COLUMNS if column not in reproduce.KEY}
    runs = {("best/fruits_mlp", "arcs", 0): full, ("best/fruits_mlp", "official", 2): full,
            ("original/fashion_mnist_mlp", "official", 0): full}  # fmt: skip
    reproduce.write(runs)
    assert list(reproduce.read()) == list(runs)[::-1] and reproduce.read() == runs


@pytest.mark.slow
def test_the_command_refuses_what_it_does_not_know():
    import subprocess

    command = [sys.executable, str(ROOT / "scripts" / "reproduce.py"), "best/nothing"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "best/nothing: no such preset" in done.stderr and "Traceback" not in done.stderr
