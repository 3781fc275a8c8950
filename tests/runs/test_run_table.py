"""Runs found again: by their files alone, whatever else lies there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seedbed.plots import comparison as comparison_plot
from seedbed.runs import run_table as runs


def make_run(
    root: Path, name: str, typed: list[str], accuracy: float | None = None, started: str = "2026-01-01"
) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    result: dict = {"status": "running"}
    if accuracy is not None:
        figures = {"accuracy": accuracy, "f1": accuracy - 0.1}
        result = {
            "status": "finished",
            "title": "digits mlp",
            "val": figures,
            "test": figures,
            "best_epoch": 1,
            "epochs": 2,
        }
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "environment.json").write_text(json.dumps({"started": started}))
    (folder / "overrides.json").write_text(json.dumps({"overrides": typed}))
    seed = next((word for word in typed if word.startswith("seed=")), "seed=0").replace("=", ": ")
    others = "\n".join(word.replace("=", ": ") for word in sorted(typed) if not word.startswith("seed="))
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
    found = runs.find(tmp_path)
    assert [run.name for run in found] == ["sweep/000_lr", "2_folder_pets", "sweep/001_lr"]
    assert "spoilt: left out" in caplog.text and "other: left out" in caplog.text
    assert [run.metric("val", "accuracy") for run in found] == [0.7, 0.5, None]
    assert [run.name for run in runs.find(tmp_path, ["sweep"])] == ["sweep/000_lr", "sweep/001_lr"]
    assert [run.name for run in runs.find(tmp_path, ["digits mlp", "pets"])] == ["2_folder_pets"]
    assert runs.find(tmp_path, ["lr=1e-2", "pets"]) == []
    assert runs.differing(found) == [
        ("dataset=digits", "optimizer.lr=1e-3"), ("dataset=folder", "optimizer.lr=1e-3"),
        ("dataset=digits", "optimizer.lr=1e-2"),
    ]  # fmt: skip
    assert runs.differing(found[:1]) == [()] and runs.differing([]) == []


def test_seeds_are_summed_up_where_nothing_else_differs(tmp_path):
    for seed, accuracy in ((0, 0.8), (1, 0.9), (2, 1.0)):
        make_run(tmp_path, f"a{seed}", ["optimizer.lr=1e-3", f"seed={seed}"], accuracy)
    make_run(tmp_path, "again", ["seed=2", "optimizer.lr=1e-3"], 0.7, "2026-01-02")
    make_run(tmp_path, "unfinished", ["optimizer.lr=1e-3", "seed=3"])
    make_run(tmp_path, "other", ["optimizer.lr=1e-2"], 0.1)
    ((group, figures),) = runs.over_seeds(runs.find(tmp_path))
    assert [run.name for run in group] == ["a0", "a1", "again"], "of two runs with one seed the later one"
    assert figures["val_accuracy"] == pytest.approx((0.8, 0.1)) and figures["test_f1"] == pytest.approx((0.7, 0.1))


def test_curves_of_runs_of_unequal_length_are_drawn(tmp_path):
    rows = [{"epoch": n, "val_accuracy": n / 9, "val_loss": 1 / n} for n in range(1, 8)]
    comparison_plot.draw({"long": rows, "short, $x$ _y": rows[:1]}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000
