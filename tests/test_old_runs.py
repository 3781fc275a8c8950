"""Run folders that version 0.1 wrote, as it left them: they evaluate, predict, resume and show in the run table."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from PIL import Image

from seedbed.experiment import Experiment
from seedbed.upgrade import upgraded

OLD = Path(__file__).parent / "old_runs"
STATUS = {path.parent.name: json.loads(path.read_text())["status"] for path in sorted(OLD.glob("*/result.json"))}
FINISHED = [name for name, status in STATUS.items() if status == "finished"]


@pytest.fixture(autouse=True)
def outputs(tmp_path) -> Path:
    """Copies of all of them."""
    return shutil.copytree(OLD, tmp_path / "outputs")


def test_there_is_one_of_each():
    assert {"finished", "interrupted"} <= STATUS.keys()
    assert STATUS["interrupted"] == "interrupted" and STATUS["finished"] == "finished"


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_run_is_evaluated(seedbed, outputs, name):
    before = {path: path.read_bytes() for path in (outputs / name).iterdir()}
    out = seedbed("task=evaluate", f"checkpoint=outputs/{name}", "device.threads=1").check().out
    assert "test: 359 images" in out and "these are not the images" not in out
    # A CPU with other vector instructions, or none for bfloat16, rounds differently.
    differing = re.findall(r"(\w+) ([\d.e-]+) recorded, ([\d.e-]+) now", out)
    assert differing or "identical to the metrics that the run recorded" in out
    for metric, recorded, now in differing:
        assert float(now) == pytest.approx(float(recorded), rel=0.02, abs=0.02), metric
    assert {path: path.read_bytes() for path in (outputs / name).iterdir()} == before


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_run_predicts(seedbed, tmp_path, name):
    (tmp_path / "images").mkdir()
    for number in range(3):
        Image.new("L", (16, 16), 90 * number).save(tmp_path / f"images/{number}.png")
    seedbed("task=predict", f"checkpoint=outputs/{name}/best.safetensors", "images=images").check()
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["0.png", "1.png", "2.png"]
    assert all(row["class"] in "0123456789" and 0.1 <= float(row["probability"]) <= 1 for row in rows)


def test_an_interrupted_run_is_resumed_and_its_sweep_ranked_anew(seedbed, outputs):
    sweep = outputs / "sweep"
    sweep.mkdir()
    (sweep / "multirun.yaml").write_text("hydra: {}\n")
    folder = Path(shutil.move(outputs / "interrupted", sweep / "000_seed-0"))
    history = (folder / "metrics.csv").read_text()
    done = seedbed(f"resume={folder}", "device.threads=1").check()
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "finished" and result["epochs"] == 20 and result["test"]["accuracy"] > 0.5
    resumed = (folder / "metrics.csv").read_text()
    assert resumed.startswith(history) and len(resumed.splitlines()) == 21
    assert f"{result['val']['accuracy']:.4f}" in (sweep / "leaderboard.csv").read_text()
    assert "begins anew" not in done.out
    assert (
        "identical to the metrics" in seedbed("task=evaluate", f"checkpoint={folder}", "device.threads=1").check().out
    )
    assert "nothing to go on with" in seedbed(f"resume={folder}").check().out


@pytest.mark.parametrize("name", STATUS)
def test_they_keep_the_first_of_equal_epochs_as_they_began(name):
    config = yaml.safe_load((OLD / name / "config.yaml").read_text())
    assert "ties" not in config["train"] and Experiment(upgraded(config)).settings.train.ties == "first"


def test_all_show_in_the_run_table(seedbed, tmp_path):
    out = seedbed("task=report", "table=all.csv", "curves=all.png").check().out
    assert f"{len(STATUS)} runs in" in out
    with (tmp_path / "all.csv").open() as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert {name: row["status"] for name, row in rows.items()} == STATUS
    for name in FINISHED:
        recorded = json.loads((OLD / name / "result.json").read_text())
        assert float(rows[name]["test_accuracy"]) == pytest.approx(recorded["test"]["accuracy"], abs=1e-6)
        assert rows[name]["title"] == recorded["title"] and rows[name]["typed"].startswith("dataset=digits")
    assert (tmp_path / "all.png").stat().st_size > 10_000
