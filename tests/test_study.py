"""The studies behind docs/: rows that are found, resumed or run, and the tables that are made of them."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[1]
STUDIES = sorted((ROOT / "studies").glob("*.yaml"))
FAKE_RUN = """
import json, os, signal, sys, time
from pathlib import Path
def end(status, code):
    (folder / "result.json").write_text(json.dumps({"status": status}))
    sys.exit(code)
word = sys.argv[1]
folder = Path(word.partition("=")[2]) if word.startswith("resume=") else Path(os.environ["SEEDBED_OUTPUTS"]) / "run"
folder.mkdir(parents=True, exist_ok=True)
signal.signal(signal.SIGTERM, lambda *_: end("interrupted", 143))
(folder / "config.yaml").write_text("")
if "name=fails" in sys.argv:
    end("failed", 1)
if "name=waits" in sys.argv:
    time.sleep(60)
end("finished", 0)
"""


@pytest.fixture(scope="module")
def scripts():
    """scripts/study.py and scripts/tables.py as modules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        import study
        import tables

        yield study, tables


@pytest.fixture
def study(scripts, monkeypatch, tmp_path):
    """scripts/study.py, keeping its runs below `tmp_path`, and `python -m run` a fake one."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "run.py").write_text(FAKE_RUN)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "fake"), str(ROOT / "scripts")]))
    monkeypatch.setattr(scripts[0], "KEPT", tmp_path / "kept")
    return scripts[0]


def made_run(folder: Path, status: str = "finished", **environment) -> Path:
    """A folder as a run leaves it: two epochs, of which the second reached 0.8 in validation."""
    folder.mkdir(parents=True)
    test = {"accuracy": 0.75, "f1": 0.7, "recall": 0.7, "precision": 0.8}
    result = {
        "status": status, "test": test, "val": {"accuracy": 0.8}, "best_epoch": 2, "epochs": 2, "seconds": 5.0,
        "parameters": 10, "test_without_tta": {**test, "accuracy": 0.7},
    }  # fmt: skip
    machine = {
        "gpu": None, "cpu": "abacus", "cores": 2, "precision": "float32", "device": "cpu", "threads": 2,
        "git": {"commit": "0123456789abcdef", "changed": False}, "started": "2026-11-25T01:02:03", **environment,
    }  # fmt: skip
    (folder / "config.yaml").write_text("{seed: 3, train: {tta: 6}}")
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "environment.json").write_text(json.dumps(machine))
    (folder / "metrics.csv").write_text("epoch,val_accuracy,seconds\n1,0.5,2\n2,0.8,3\n")
    return folder


def made_study(study, tmp_path: Path, rows: str, **given: str):
    """A study with its CSV and its page below `tmp_path`."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- made.yaml -->\n<!-- end -->\nafter\n")
    path, keys = tmp_path / "made.yaml", {"csv": tmp_path / "made.csv", "pages": f"[{page}]", **given}
    path.write_text("\n".join(f"{key}: {value}" for key, value in keys.items()) + f"\nrows:\n{rows}")
    return study.Study(path)


def line(accuracy: str, command: str, **changed: str) -> dict[str, str]:
    return {
        "accuracy": accuracy, "f1": accuracy, "recall": accuracy, "precision": accuracy, "seconds": "60", "tta": "1",
        "accuracy_without_tta": accuracy, "feature_seconds": "", "wall_seconds": "90", "seconds_to_paper": "12",
        "machine": "abacus", "threads": "2", "precision_used": "float32", "device": "cpu",
        "seed": re.search(r"seed=(\d)", command)[1], "command": f"python -m run {command}", **changed,
    }  # fmt: skip


@pytest.fixture
def report(scripts):
    return scripts[0].Study(ROOT / "studies" / "report.yaml")


def test_the_report_s_study_has_every_preset(report):
    names = {
        f"{kind}/{path.stem}" for kind in ("original", "best") for path in (ROOT / "conf/experiment" / kind).glob("*")
    }
    assert {row.preset for row in report.rows} == names and len({row.group for row in report.rows}) == 10


def test_rows_are_named_by_title_group_preset_and_folder(report):
    def runs(*words: str, seeds: tuple[int, ...] = ()) -> list[str]:
        return [" ".join(overrides) for row in report.named(words) for overrides in row.runs(seeds)]

    assert runs("original/fruits_mlp", seeds=(3, 4)) == ["experiment=original/fruits_mlp seed=0"]
    assert runs("best/fruits_features", seeds=(3, 4)) == [
        "experiment=best/fruits_features seed=3", "experiment=best/fruits_features seed=4",
        "experiment=best/fruits_features dataset.split=arcs seed=0",
    ]  # fmt: skip
    assert runs("Fruits, MLP on pixels: ours, arcs") == ["experiment=best/fruits_mlp dataset.split=arcs seed=0"]
    assert len(runs("ours, arcs")) == 5 and len(runs("Fruits, MLP on pixels")) == 5
    assert len(runs("original/")) == 10 and len(runs("best/")) == 35 and len(runs()) == 45
    with pytest.raises(SystemExit, match="nothing/here: no such row; give a preset, best/, or one of: Fashion-MNIST"):
        report.named(["best/", "nothing/here"])


def test_rows_stand_on_their_bases_and_asides_on_the_row_above(study, tmp_path):
    made = made_study(
        study, tmp_path, base="dataset=digits seed=1", rows="""
  - {title: first, overrides: model=mlp}
  - {title: aside, overrides: [model=convnet, ~a.b +c=1], aside: true}
  - {title: other aside, overrides: seed=2, aside: true}
  - title: group
    base: experiment=x
    rows: [{title: below, overrides: "seed=3 ~a.b"}, {title: aside, overrides: a.b=1, aside: true}]
""")  # fmt: skip
    assert {row.name: " ".join(row.overrides) for row in made.rows} == {
        "first": "dataset=digits seed=1 model=mlp",
        "aside": "dataset=digits seed=1 model=convnet ~a.b +c=1",
        "other aside": "dataset=digits seed=2 model=mlp",
        "group: below": "experiment=x dataset=digits seed=3 ~a.b",
        "group: aside": "experiment=x dataset=digits seed=3 a.b=1",
    }


def test_a_finished_run_is_found_and_not_run_again(study, monkeypatch):
    monkeypatch.setattr(study, "digest", lambda overrides: "12ab")
    folder = made_run(study.KEPT / "a_b_1_12ab" / "2026_run")
    monkeypatch.setattr(study, "run", lambda *_: pytest.fail("nothing is left to run"))
    assert study.complete(["a=b", "1"]) == folder
    assert study.measured(folder, None)["wall_seconds"] == ""


def test_a_whole_run_says_how_long_it_took(study):
    folder = study.complete(["dataset=digits", *(f"model.widths=[{number}]" for number in range(100, 130))])
    assert float((folder / study.WALL).read_text()) >= 0 and len(folder.parent.name) < 255
    assert study.complete(["dataset=digits", "seed=1"]).parent != folder.parent


def test_a_script_that_is_stopped_stops_its_run_and_goes_on_with_it(study, tmp_path):
    """SIGTERM reaches the run; the same overrides then end it in the same folder."""
    program = f"""
import study; from pathlib import Path
study.KEPT = Path({str(study.KEPT)!r}); study.complete(["dataset=digits", "name=waits"])
"""
    script = subprocess.Popen([sys.executable, "-c", program])
    wait_for(lambda: [*tmp_path.glob("kept/*/*/config.yaml")])
    script.terminate()
    assert script.wait(timeout=60) == 143
    (path,) = tmp_path.glob("kept/*/*/result.json")
    assert json.loads(path.read_text())["status"] == "interrupted"
    assert study.complete(["dataset=digits", "name=waits"]) == path.parent and study.finished(path.parent)
    assert not (path.parent / study.WALL).exists(), "what it took before it was stopped is not known"


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def test_a_run_that_fails_ends_the_script(study):
    with pytest.raises(SystemExit) as failure:
        study.complete(["dataset=digits", "name=fails"])
    assert failure.value.code == 1
    with pytest.raises(SystemExit, match=r"error: python -m run trian\.epochs=2: .*trian"):
        study.complete(["trian.epochs=2"])


def test_the_digest_is_of_settings_and_of_the_weights_that_a_run_begins_with(study, monkeypatch, tmp_path):
    plain, tuned = (
        ["dataset=digits", "model=resnet18"],
        ["dataset=digits", "model=resnet18", "model.pretrained=cifar10"],
    )
    assert (
        study.digest(plain) == study.digest([*plain, "output_root=/nowhere"]) != study.digest([*plain, "train.tta=6"])
    )
    before = [study.digest(overrides) for overrides in (plain, tuned)]
    (tmp_path / "src/seedbed/weights").mkdir(parents=True)
    (tmp_path / "src/seedbed/weights/cifar10_resnet18.sha256").write_text("12ab  cifar10_resnet18.safetensors\n")
    monkeypatch.setattr(study, "ROOT", tmp_path)
    after = [study.digest(overrides) for overrides in (plain, tuned)]
    assert before[0] == after[0] and before[1] != after[1]


@pytest.mark.slow
def test_a_real_run_fills_every_column(scripts, report, tmp_path, monkeypatch):
    monkeypatch.setattr(scripts[0], "KEPT", tmp_path / "kept")
    study = scripts[0]
    folder = study.complete(["dataset=digits", "train=smoke"])
    values = study.measured(folder, 0.01)
    assert set(report.columns) - set(values) == {"title", "command", "digest"}
    assert float(values["wall_seconds"]) > 0 and values["seconds_to_paper"] != "" and values["epochs"] == "1"
    assert list(folder.parent.iterdir()) == [folder]


def test_what_a_line_says_of_a_run(study, tmp_path):
    values = study.measured(made_run(tmp_path / "a", cpu_vectors="AVX512"), 0.8)
    assert values["machine"] == "abacus (AVX512), 2 cores" and values["commit"] == "0123456789"
    assert values["seconds_to_paper"] == "5" and values["feature_seconds"] == "" and values["seed"] == "3"
    assert (values["accuracy"], values["accuracy_without_tta"], values["tta"]) == ("0.7500", "0.7000", "6")
    changed = {"commit": "0123456789abcdef", "changed": True}
    values = study.measured(made_run(tmp_path / "b", gpu="loom", device="cuda:0", git=changed), 0.9)
    assert (values["machine"], values["device"], values["commit"]) == ("loom", "cuda", "0123456789+")
    assert values["seconds_to_paper"] == ""
    values = study.measured(made_run(tmp_path / "c", git=None), None)
    assert values["machine"] == "abacus, 2 cores" and values["commit"] == "" == values["seconds_to_paper"]


ROWS = """
  - {title: gone, overrides: a=0, commit: 12ab34c}
  - {title: first, overrides: a=1}
  - {title: other, overrides: b=2, aside: true}
"""


def test_a_study_runs_what_its_csv_lacks_and_keeps_the_order_of_its_rows(study, monkeypatch, tmp_path, capsys):
    made, ran, digests = made_study(study, tmp_path, ROWS), [], {}
    folder = made_run(tmp_path / "run")
    monkeypatch.setattr(study, "digest", lambda overrides: digests.get(" ".join(overrides), "12ab"))
    monkeypatch.setattr(study, "complete", lambda overrides: ran.append(" ".join(overrides)) or folder)
    made.csv.write_text(
        "title,val_accuracy,test_accuracy,test_f1,epochs,seconds,command,digest\n"
        "old title,0.1,0.2,0.3,4,5,python -m run a=0,\n"
    )
    study.fill(made, ["other"])
    assert ran == ["a=1 b=2"] and "seed 3: test_accuracy 0.7000; committed: none" in capsys.readouterr().out
    study.fill(made)
    assert ran == ["a=1 b=2", "a=1"]
    lines = made.read()
    assert [row["title"] for row in lines] == ["gone", "first", "other"]
    assert [row["digest"] for row in lines] == ["", "12ab", "12ab"]
    assert lines[0]["test_f1"] == "0.3" and lines[1]["test_accuracy"] == "0.7000" and lines[1]["seconds"] == "5.0"
    digests["a=1"] = "34cd"
    study.fill(made)
    assert ran[2:] == ["a=1"], "a row whose preset has changed is run again"
    made.csv.write_text(made.csv.read_text().replace("34cd", ""))
    study.fill(made)
    assert ran[3:] == [], "a row without a digest is taken as it is"
    study.fill(made, ["first"])
    assert ran[3:] == ["a=1"], "a row that is named is run"
    made.write_docs()
    text = (tmp_path / "page.md").read_text()
    assert text.startswith("before\n<!-- made.yaml -->\n\n|  | validation | test | F1 | epochs | training s |\n")
    assert "| gone (commit 12ab34c) | 0.1000 | 0.2000 | 0.3000 | 4 | 5 |\n" in text
    assert text.endswith("| - other | 0.8000 | 0.7000 | 0.7000 | 2 | 5 |\n\n<!-- end -->\nafter\n")
    (tmp_path / "page.md").write_text("no place")
    with pytest.raises(SystemExit, match=r"a page that it names has no <!-- made.yaml -->"):
        made.write_docs()


def test_a_study_that_is_stopped_keeps_what_was_done(study, monkeypatch, tmp_path):
    made = made_study(study, tmp_path, ROWS, seeds="[0, 1]", columns="[title, seed, test_accuracy]")
    ran = []

    def complete(overrides):
        if len(ran) == 3:
            raise KeyboardInterrupt
        ran.append(overrides)
        return made_run(tmp_path / f"run_{len(ran)}")

    monkeypatch.setattr(study, "digest", lambda _: "12ab")
    monkeypatch.setattr(study, "complete", complete)
    with pytest.raises(KeyboardInterrupt):
        study.fill(made)
    assert [row["command"] for row in made.read()] == [f"python -m run {' '.join(overrides)}" for overrides in ran]
    monkeypatch.setattr(study, "complete", lambda overrides: ran.append(overrides) or tmp_path / "run_1")
    study.fill(made)
    assert [overrides[-1] for overrides in ran] == ["seed=0", "seed=1", "seed=0", "seed=1"]


def test_curves_of_a_preset_are_copied(study, monkeypatch, tmp_path):
    (tmp_path / "plots").mkdir()
    rows = "  - {title: ours, overrides: experiment=best/x, seeds: [0, 1]}\n  - {title: other, overrides: a=1}"
    made = made_study(study, tmp_path, rows, curves=tmp_path / "plots")
    folder = made_run(tmp_path / "run")
    for name in ("loss.png", "accuracy.png"):
        (folder / name).write_text(name)
    monkeypatch.setattr(study, "digest", lambda _: "12ab")
    monkeypatch.setattr(study, "complete", lambda _: folder)
    study.fill(made)
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["best_x_accuracy.png", "best_x_loss.png"]


def test_the_table_has_means_and_deviations(scripts, report):
    _, tables = scripts
    best, arcs = "experiment=best/fruits_mlp", "experiment=best/fruits_mlp dataset.split=arcs seed=0"
    lines = [
        line("0.9700", f"{best} seed=0"),
        line("0.9800", f"{best} seed=1"),
        line("0.9900", f"{best} seed=2", seconds_to_paper=""),
        line("0.9500", arcs, feature_seconds="30"),
        line("0.9400", "experiment=original/fruits_mlp seed=0", seconds_to_paper=""),
    ]
    out = tables.paper_table(report, lines).splitlines()
    at = next(n for n, text in enumerate(out) if text.startswith("| Fruits, MLP on pixels | the paper | 0.95 |"))
    assert out[at + 1].split(" | ")[1:3] == ["its settings", "0.9400"] and "| never |" in out[at + 1]
    assert out[at + 2].startswith("| | ours | 0.9800 ± 0.0100 | ") and out[at + 2].endswith(
        " | 1.0 | 12 (2 of 3) | 3 |"
    )
    assert out[at + 3].startswith("| | ours, arcs | 0.9500 | ") and out[at + 3].endswith(" | 1.5 | 12 | 1 |")
    assert len({text.count("|") for text in out if text.startswith("|")}) == 1
    assert tables.LEGEND in out
    assert out[-1] == "Machine: abacus, 2 threads, float32." and not [text for text in out if "views" in text]
    assert "| Fruits, MLP on pixels | 0.95 | 0.9400 | 0.9800 ± 0.0100 |" in tables.short_table(report, lines)
    lines[3] |= {"tta": "6", "accuracy_without_tta": "0.9400", "device": "cuda"}
    assert "| | ours, arcs, on a GPU | 0.9500 | " in tables.paper_table(report, lines)
    lines[1] |= {"device": "cuda", "seconds": "1", "seconds_to_paper": "1"}
    out = tables.paper_table(report, lines).splitlines()
    (mixed,) = (text for text in out if "partly on a GPU" in text)
    assert mixed.startswith("| | ours, partly on a GPU | 0.9800 ± 0.0100 | ")
    assert mixed.endswith(" | 1.0 | 12 (1 of 2) | 3 |"), "a GPU's seconds are not among a CPU's"
    (views,) = (text for text in out if "views" in text)
    assert views.startswith("Fruits, MLP on pixels: ours, arcs averages 6 views of each test image")
    assert views.endswith("with one, accuracy 0.9400.")


def test_the_ten_of_ours_are_added_up(scripts, report):
    _, tables = scripts

    def total(lines) -> str:
        return next(
            (text for text in tables.paper_table(report, lines).splitlines() if "from start to end" in text), ""
        )

    first = [line("0.9", f"{' '.join(row.overrides)} seed=0") for row in report.rows if row.title == "ours"]
    assert total(first).endswith("from start to end: 15.0 minutes with seed 0 (the paper: 181 minutes).")
    second = [run | {"seed": "2", "command": run["command"][:-1] + "2", "wall_seconds": "96"} for run in first]
    assert total(first + second).endswith(
        "15.0 minutes with seed 0, 16.0 minutes with seed 2 (the paper: 181 minutes)."
    )
    first[0]["wall_seconds"] = ""
    assert "end: not known, since some were resumed, with seed 0, 16.0 minutes with seed 2" in total(first + second)
    assert total(first[1:]) == "" == total([run | {"device": "cuda"} for run in first])


@pytest.mark.parametrize(
    ("accuracy", "verdict"), [("0.9750", "within two standard deviations (0.5)"), ("0.9500", "NOT within")]
)
def test_the_verdict_is_of_three_seeds(study, accuracy, verdict):
    committed = [line(f"{0.97 + seed / 100:.4f}", f"a=1 seed={seed}") for seed in range(3)]
    run = line(accuracy, "a=1 seed=0")
    assert verdict in study.compared(run, committed)
    assert study.compared(run, committed[:1]).endswith("committed: 0.9700")
    assert study.compared({**run, "test_accuracy": "0.5"}, []).endswith("committed: none")


def test_both_kinds_of_plots_are_drawn(scripts, tmp_path):
    study, tables = scripts
    for name in ("equal_time", "fruits_features"):
        one = study.Study(ROOT / "studies" / f"{name}.yaml")
        tables.draw(one, one.read(), tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_the_command_refuses_a_row_that_is_not_there(study, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["study.py", str(ROOT / "studies" / "report.yaml"), "best/nothing"])
    with pytest.raises(SystemExit, match="error: best/nothing: no such row"):
        study.main()


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_pages_hold_what_the_csv_gives(scripts, path):
    """`study.py --table` changes nothing, and the CSV has a line for every run, no other."""
    study, tables = scripts
    one = study.Study(path)
    assert all(tables.with_tables(page.read_text(), one, one.read()) == page.read_text() for page in one.pages)
    commands = [study.command(overrides) for row in one.rows for overrides in row.runs()]
    assert [row["command"] for row in one.read()] == commands
    assert [row["title"] for row in one.read()] == [row.name for row in one.rows for _ in row.runs()]


def test_every_row_is_a_configuration(scripts):
    """This breaks when a key or an option goes that a study uses."""
    from seedbed import config

    together: dict[frozenset[str], list[dict[str, str]]] = {}
    for row in (row for path in STUDIES for row in scripts[0].Study(path).rows if row.commit is None):
        options = frozenset(text for text in row.overrides if "." not in text.partition("=")[0] or text[0] in "~+")
        values = {text.partition("=")[0]: text for text in row.overrides if text not in options}
        # Composing takes long: rows of the same options that set other keys are composed as one.
        for others in together.setdefault(options, []):
            if all(others.get(key, text) == text for key, text in values.items()):
                others |= values
                break
        else:
            together[options].append(values)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for options, rows in together.items():
            for values in rows:
                overrides = [*sorted(options), *values.values()]
                config.check(OmegaConf.to_container(compose("config", overrides), resolve=True))


FOUND_ONCE = {
    "results/antialiasing": "results/readings.md", "results/batch_statistics": "results/readings.md",
    "results/whole_test_set": "results/readings.md", "results/head_rate": "results/ablations.md",
    "results/our_settings": "results/our_settings.md", "results/fruits_split": "results/fruits_split.md",
    "fine_tuning/choices": "fine_tuning/README.md",
}  # fmt: skip
UNLISTED = ("the backbone, first part",)  # told in a sentence


@pytest.mark.parametrize("name", FOUND_ONCE)
def test_tables_of_what_was_found_once_are_those_of_their_csv(name):
    page = (ROOT / "docs" / FOUND_ONCE[name]).read_text()
    lines = [text.strip().strip("|").split(" | ") for text in page.splitlines() if text.strip().startswith("|")]
    cells = [[cell.strip() for cell in row] for row in lines]
    with (ROOT / "docs" / f"{name}.csv").open() as file:
        for row in csv.DictReader(file):
            numbers = [value for value in row.values() if re.fullmatch(r"0\.\d+", value or "")]
            if row.get("table") not in UNLISTED:
                assert any(set(numbers) <= set(cell) for cell in cells), row


def test_no_page_has_a_command_of_a_table(scripts):
    """They stand in the CSVs; a page says how to run a preset at most."""
    for page in (ROOT / "docs" / "results").glob("*.md"):
        assert "python -m run" not in page.read_text(), page
