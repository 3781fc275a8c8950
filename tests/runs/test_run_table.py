"""Earlier runs: read from their files alone, beside whatever else a folder holds."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from seedbed.runs import run_table
from seedbed.runs.leaderboard import leaderboard
from seedbed.runs.text_tables import summary, table


def make_run(
    root: Path,
    name: str,
    overrides: list[str],
    accuracy: float | None = None,
    started: str = "2026-01-01",
    swept: dict[str, str] | None = None,
) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    result: dict = {"status": "running"}
    if accuracy is not None:
        metrics = {"accuracy": accuracy, "f1": accuracy - 0.1}
        result = {
            "status": "finished",
            "title": "digits mlp",
            "val": metrics,
            "test": metrics,
            "best_epoch": 1,
            "epochs": 2,
        }
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "environment.json").write_text(json.dumps({"started": started}))
    (folder / "overrides.json").write_text(json.dumps({"overrides": overrides, "swept": swept or {}}))
    seed = next((override for override in overrides if override.startswith("seed=")), "seed=0").replace("=", ": ")
    others = "\n".join(text.replace("=", ": ") for text in sorted(overrides) if not text.startswith("seed="))
    (folder / "config.yaml").write_text(f"{seed}\noutput_root: {folder}\n{others}\n")
    return folder


def test_they_are_found_below_and_chosen_by_what_they_hold(tmp_path, caplog):
    make_run(tmp_path, "2_folder_pets", ["dataset=folder", "optimizer.lr=1e-3"], 0.5, "2026-01-02")
    make_run(tmp_path, "sweep/000_lr", ["dataset=digits", "optimizer.lr=1e-3"], 0.7, "2026-01-01")
    make_run(tmp_path, "sweep/001_lr", ["dataset=digits", "optimizer.lr=1e-2"], started="2026-01-03")
    spoilt = make_run(tmp_path, "spoilt", [])
    (spoilt / "result.json").write_text("[]")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/result.json").write_text('{"mine": ')
    (tmp_path / "alien").mkdir()
    (tmp_path / "alien/result.json").write_text('{"status": "finished", "val": {"accuracy": 1}}')
    runs = run_table.find(tmp_path)
    assert [run.name for run in runs] == ["sweep/000_lr", "2_folder_pets", "sweep/001_lr"]
    assert all(f"{name}: left out" in caplog.text for name in ("spoilt", "other", "alien"))
    assert [run.metric("val", "accuracy") for run in runs] == [0.7, 0.5, None]
    assert [run.status for run in runs] == ["finished", "finished", "running"]
    assert [run.name for run in run_table.find(tmp_path, ["sweep"])] == ["sweep/000_lr", "sweep/001_lr"]
    assert [run.name for run in run_table.find(tmp_path, ["digits mlp", "pets"])] == ["2_folder_pets"]
    assert run_table.find(tmp_path, ["lr=1e-2", "pets"]) == []
    assert run_table.differing(runs) == [
        ("dataset=digits", "optimizer.lr=1e-3"), ("dataset=folder", "optimizer.lr=1e-3"),
        ("dataset=digits", "optimizer.lr=1e-2"),
    ]  # fmt: skip
    assert run_table.differing(runs[:1]) == [()] and run_table.differing([]) == []


def test_seeds_are_summed_up_where_nothing_else_differs(tmp_path):
    for seed, accuracy in ((0, 0.8), (1, 0.9), (2, 1.0)):
        make_run(tmp_path, f"a{seed}", ["optimizer.lr=1e-3", f"seed={seed}"], accuracy)
    make_run(tmp_path, "again", ["seed=2", "optimizer.lr=1e-3"], 0.7, "2026-01-02")
    make_run(tmp_path, "unfinished", ["optimizer.lr=1e-3", "seed=3"])
    make_run(tmp_path, "other", ["optimizer.lr=1e-2"], 0.1)
    ((group, metrics),) = run_table.over_seeds(run_table.find(tmp_path))
    assert [run.name for run in group] == ["a0", "a1", "again"], "of two runs with one seed the later one"
    assert metrics["val_accuracy"] == pytest.approx((0.8, 0.1)) and metrics["test_f1"] == pytest.approx((0.7, 0.1))


def test_a_history_is_read_as_numbers(tmp_path):
    assert run_table.read_history(tmp_path / "metrics.csv") == []
    (tmp_path / "metrics.csv").write_text("epoch,lr,val_loss\n1,0.001,2.5\n2,0.001,nan\n")
    first, second = run_table.read_history(tmp_path / "metrics.csv")
    assert first == {"epoch": 1.0, "lr": 0.001, "val_loss": 2.5} and second["val_loss"] != second["val_loss"]


def test_a_leaderboard_ranks_by_validation(tmp_path):
    assert leaderboard(tmp_path) is None
    make_run(tmp_path, "000_a", [], 0.0, "2026-01-02", {"a": "1"})
    make_run(tmp_path, "001_b", [], 0.9, "2026-01-01", {"a": "2", "b": "x"})
    make_run(tmp_path, "002_c", [])
    text = leaderboard(tmp_path)
    with (tmp_path / "leaderboard.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["run", "a", "b", "val_accuracy", "test_accuracy", "test_f1", "seconds"],
        ["001_b", "2", "x", "0.9000", "0.9000", "0.8000", "0.0"],
        ["000_a", "1", "", "0.0000", "0.0000", "-0.1000", "0.0"],
        ["002_c", "", "", "running", "", "", "0.0"],
    ]
    assert [line.split()[0] for line in text.splitlines()[2:]] == ["001_b", "000_a", "002_c"]


@pytest.mark.parametrize("key", ["test_without_tta", "test_single_view"])
def test_a_run_ends_with_a_short_table(key):
    metrics = {"accuracy": 0.5, "f1": 0.25, "recall": 0.75, "precision": 1.0}
    result = {"title": "digits mlp", "test": metrics, "best_epoch": 3, "epochs": 9, "seconds": 65, "parameters": 12345}
    lines = summary(result).splitlines()
    assert " ".join(lines[2].split()) == "digits mlp 0.5000 0.2500 0.7500 1.0000 3 of 9 1:05 min 12,345"
    assert len(lines) == 3
    lines = summary({**result, key: {**metrics, "f1": 0.125}}).splitlines()
    assert len(lines) == 4 and " ".join(lines[3].split()) == "its images as they are 0.5000 0.1250 0.7500 1.0000"


def test_columns_are_aligned():
    rows = [("x", "1", "long text"), ("yy", "22", "s")]
    assert table(("a", "bbb", "c"), rows).splitlines() == [
        "a   bbb          c", "------------------", "x     1  long text", "yy   22          s",
    ]  # fmt: skip
    assert table(("a", "bbb", "c"), rows, last_left=True).splitlines()[3] == "yy   22  s"
