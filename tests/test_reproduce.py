"""The scripts behind docs/: runs that are found, resumed or begun, and the table that is made of them."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from seedbed import build, files
from seedbed.training import loop
from seedbed.training.early_stopping import EarlyStopping
from seedbed.training.evaluate import predict

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


@pytest.fixture(scope="module")
def scripts_once():
    """The scripts on the path, for a property that hypothesis tries many times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        yield


def made_run(place: Path, status: str, **result) -> Path:
    place.mkdir(parents=True)
    (place / "config.yaml").write_text("")
    (place / "result.json").write_text(json.dumps({"status": status, **result}))
    return place


def test_every_preset_of_the_table_is_there(scripts):
    _, reproduce = scripts
    names = {f"{kind}/{path.stem}" for kind in ("original", "best") for path in (reproduce.PRESETS / kind).glob("*")}
    assert names == set(reproduce.chosen(["original/", "best/"]))
    assert {f"{kind}/{row.preset}" for kind in ("original", "best") for row in reproduce.ROWS} == names


def test_what_is_chosen_and_planned(scripts):
    _, reproduce = scripts
    assert reproduce.chosen(["best/fruits_features"]) == ["best/fruits_features"]
    assert reproduce.planned(["original/fruits_mlp"], [3, 4]) == [("original/fruits_mlp", "official", 0)]
    assert reproduce.planned(["best/fruits_features"], [3, 4]) == [
        ("best/fruits_features", "official", 3), ("best/fruits_features", "official", 4),
        ("best/fruits_features", "arcs", 3),
    ]  # fmt: skip
    assert reproduce.planned(["best/fruits_mlp"], [3, 4], ["arcs"]) == [("best/fruits_mlp", "arcs", 3)]
    with pytest.raises(SystemExit, match="only best/ presets of Fruits-360 are run by arcs"):
        reproduce.planned(["best/fashion_mnist_mlp", "original/fruits_mlp"], None, ["arcs"])
    with pytest.raises(SystemExit, match="nothing/here: no such preset; give original/, best/"):
        reproduce.chosen(["nothing/here"])


def test_a_finished_run_is_found_and_not_run_again(scripts, monkeypatch):
    kept_runs, _ = scripts
    monkeypatch.setattr(kept_runs, "digest", lambda words: "12ab")
    run = made_run(kept_runs.KEPT / "a_b_1_12ab" / "2026_run", "finished")
    monkeypatch.setattr(kept_runs, "_run", lambda *_: pytest.fail("nothing is left to run"))
    assert kept_runs.complete("a=b 1") == run
    assert kept_runs.wall_seconds(run) is None


def test_new_weights_make_another_run_of_those_alone_that_begin_with_them(scripts, monkeypatch, tmp_path):
    kept_runs, _ = scripts
    monkeypatch.setattr(kept_runs, "SHIPPED", tmp_path)
    words = ("dataset=digits model=resnet18 model.pretrained=cifar10", "dataset=digits model=resnet18")
    before = [kept_runs.digest(word) for word in words]
    (tmp_path / "cifar10_resnet18.sha256").write_text("12ab  cifar10_resnet18.safetensors\n")
    after = [kept_runs.digest(word) for word in words]
    assert before[0] != after[0] and before[1] == after[1]
    assert kept_runs.begins_with("fashion_mnist_resnet18", ["model:", "  pretrained: fashion_mnist"])
    assert not kept_runs.begins_with("cifar10_resnet18", ["  pretrained: none"])


def test_a_whole_run_says_how_long_it_took(scripts):
    kept_runs, _ = scripts
    words = "dataset=digits train=smoke"
    run = kept_runs.complete(words)
    assert kept_runs.wall_seconds(run) > 0 and len(kept_runs.history(run / "metrics.csv")) == 1
    other = kept_runs.digest(f"{words} optimizer.lr=2e-3")
    assert kept_runs.digest(words) == kept_runs.digest(f"{words} output_root=/nowhere") != other


def test_a_script_that_is_stopped_stops_its_run_and_goes_on_with_it(scripts, tmp_path):
    """SIGTERM reaches the run, which saves its epochs; the same words then end it in the same folder."""
    kept_runs, _ = scripts
    words = "dataset=digits train=smoke train.epochs=400"
    program = f"""
import sys; sys.path.insert(0, {str(ROOT / "scripts")!r})
import kept_runs; from pathlib import Path
kept_runs.KEPT = Path({str(kept_runs.KEPT)!r}); kept_runs.complete({words!r})
"""
    script = subprocess.Popen([sys.executable, "-c", program])
    wait_for(lambda: [*tmp_path.glob("kept/*/*/last.pt")])
    script.terminate()
    assert script.wait(timeout=60) == 143
    (last,) = tmp_path.glob("kept/*/*/last.pt")
    done = len(kept_runs.history(last.with_name("metrics.csv")))
    assert json.loads(last.with_name("result.json").read_text())["status"] == "interrupted" and done < 400
    # The rest would take a minute: the run that is found is gone on with, which is what is asked here.
    begun = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept_runs, "_run", lambda command, _: begun.extend(command) or finish(last.parent))
        assert kept_runs.complete(words) == last.parent
    assert begun == [f"resume={last.parent}"]
    assert kept_runs.wall_seconds(last.parent) is None, "what it took before it was stopped is not known"


def finish(folder: Path) -> None:
    (folder / "result.json").write_text(json.dumps({"status": "finished"}))


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def test_a_run_that_fails_ends_the_script(scripts):
    kept_runs, _ = scripts
    with pytest.raises(SystemExit) as failure:
        kept_runs.complete("dataset=digits trian.epochs=2")
    assert failure.value.code == 1


def line(accuracy: str, **changed: str) -> dict[str, str]:
    return {
        "accuracy": accuracy, "f1": accuracy, "recall": accuracy, "precision": accuracy, "training_seconds": "60",
        "feature_seconds": "", "wall_seconds": "90", "seconds_to_report": "12", "machine": "abacus", "threads": "2",
        "precision_used": "float32", **changed,
    }  # fmt: skip


def test_the_table_has_means_and_deviations(scripts):
    _, reproduce = scripts
    runs = {
        ("best/fruits_mlp", "official", 0): line("0.9700"),
        ("best/fruits_mlp", "official", 1): line("0.9800"),
        ("best/fruits_mlp", "official", 2): line("0.9900", seconds_to_report=""),
        ("best/fruits_mlp", "arcs", 0): line("0.9500", feature_seconds="30"),
        ("original/fruits_mlp", "official", 0): line("0.9400", seconds_to_report=""),
    }
    lines = reproduce.table(runs).splitlines()
    at = next(n for n, text in enumerate(lines) if text.startswith("| Fruits, MLP on pixels | the report | 0.95 |"))
    assert lines[at + 1].split(" | ")[1:3] == ["its settings", "0.9400"] and "| never |" in lines[at + 1]
    assert lines[at + 2].startswith("| | ours | 0.9800 ± 0.0100 | ") and lines[at + 2].endswith(
        " | 1.0 | 12 (2 of 3) | 3 |"
    )
    assert lines[at + 3].startswith("| | ours, arcs | 0.9500 | ") and lines[at + 3].endswith(" | 1.5 | 12 | 1 |")
    assert len({text.count("|") for text in lines if text.startswith("|")}) == 1
    assert reproduce.LEGEND in lines
    assert lines[-1] == "Machine: abacus, 2 threads, float32." and not [text for text in lines if "views" in text]
    runs["best/fruits_mlp", "arcs", 0] |= {"views": "6", "single_view": "0.9400", "device": "cuda"}
    assert "| | ours, arcs, on a GPU | 0.9500 | " in reproduce.table(runs)
    runs["best/fruits_mlp", "official", 1] |= {"device": "cuda", "training_seconds": "1", "seconds_to_report": "1"}
    (mixed,) = (text for text in reproduce.table(runs).splitlines() if "partly on a GPU" in text)
    assert mixed.startswith("| | ours, partly on a GPU | 0.9800 ± 0.0100 | ")
    assert mixed.endswith(" | 1.0 | 12 (1 of 2) | 3 |"), "a GPU's seconds are not among a CPU's"
    assert (
        "Fruits, MLP on pixels, arcs: ours averages 6 views of each test image; with one, accuracy 0.9400."
        in reproduce.table(runs).splitlines()
    )


def test_a_line_says_what_machine_and_whether_the_code_was_the_commit_s(scripts):
    _, reproduce = scripts
    cpu = {"gpu": None, "cpu": "abacus", "cores": 2}
    assert reproduce.machine(cpu) == "abacus, 2 cores"
    assert reproduce.machine({**cpu, "cpu_vectors": "AVX512"}) == "abacus (AVX512), 2 cores"
    assert reproduce.machine({**cpu, "gpu": "loom"}) == "loom"
    git = {"commit": "0123456789abcdef", "changed": False}
    assert [reproduce.commit({**git, "changed": way}) for way in (False, True)] == ["0123456789", "0123456789+"]
    assert reproduce.commit({}) == ""


def test_a_setting_that_changes_nothing_leaves_a_kept_run_the_same(scripts, monkeypatch):
    kept_runs, _ = scripts
    words = {word: [] for word in kept_runs.NO_CHANGE}
    for settings in (
        ["model=convnet", "scheduler=one_cycle"],
        ["model=resnet18"],
        ["model=features_mlp", "features=original"],
    ):
        command = [sys.executable, "-m", "run", "dataset=digits", *settings, "--cfg", "job"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        lines = [line.strip() for line in shown.splitlines()]
        for word, counts in words.items():
            counts.append(lines.count(word))
    with monkeypatch.context() as patch:
        patch.setattr(kept_runs, "NO_CHANGE", ())
        strict = kept_runs.digest("dataset=digits")
    assert all(max(counts) == 1 for counts in words.values()), "a word that is in no configuration, or stands for two"
    assert kept_runs.digest("dataset=digits") != strict
    assert kept_runs.digest("dataset=digits") != kept_runs.digest("dataset=digits train.tta=6")


def test_the_ten_of_ours_are_added_up(scripts):
    _, reproduce = scripts
    runs = {(f"best/{row.preset}", "official", 0): line("0.9") for row in reproduce.ROWS}
    assert "from start to end: 15.0 minutes with seed 0 (the report: 181 minutes)." in reproduce.table(runs)
    runs |= {(preset, split, 2): {**run, "wall_seconds": "96"} for (preset, split, _), run in runs.items()}
    assert "from start to end: 15.0 minutes with seed 0, 16.0 minutes with seed 2 (" in reproduce.table(runs)
    runs["best/fruits_mlp", "official", 0]["wall_seconds"] = ""
    assert "from start to end: not known, since some were resumed, with seed 0, 16.0 minutes" in reproduce.table(runs)
    del runs["best/fruits_mlp", "official", 0], runs["best/fruits_mlp", "official", 2]
    assert "from start to end" not in reproduce.table(runs)
    runs = {(f"best/{row.preset}", "official", 0): line("0.9", device="cuda") for row in reproduce.ROWS}
    assert "from start to end" not in reproduce.table(runs)


@pytest.mark.parametrize(
    ("accuracy", "verdict"), [("0.9750", "within two standard deviations (0.5)"), ("0.9500", "NOT within")]
)
def test_the_verdict_is_of_three_seeds(scripts, accuracy, verdict):
    _, reproduce = scripts
    runs = {("best/fruits_mlp", "official", seed): line(f"{0.97 + seed / 100:.4f}") for seed in range(3)}
    assert verdict in reproduce.beside("best/fruits_mlp", "official", 0, accuracy, runs)
    one = {key: run for key, run in runs.items() if key[2] == 0}
    assert reproduce.beside("best/fruits_mlp", "official", 0, accuracy, one).endswith("committed: 0.9700")
    assert reproduce.beside("best/fruits_mlp", "arcs", 0, accuracy, runs).endswith("none is committed")


def test_lines_are_kept_in_the_order_of_the_table_and_read_back(scripts):
    _, reproduce = scripts
    full = {column: "1" for column in reproduce.COLUMNS if column not in reproduce.KEY}
    runs = {("best/fruits_mlp", "arcs", 0): full, ("best/fruits_mlp", "official", 2): full,
            ("original/fashion_mnist_mlp", "official", 0): full}  # fmt: skip
    reproduce.write(runs)
    assert list(reproduce.read()) == list(runs)[::-1] and reproduce.read() == runs


@pytest.mark.slow
def test_the_command_refuses_what_it_does_not_know():
    command = [sys.executable, str(ROOT / "scripts" / "reproduce.py"), "best/nothing", "--seeds", "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "best/nothing: no such preset" in done.stderr and "Traceback" not in done.stderr


def test_a_table_of_runs_runs_what_it_lacks_and_keeps_the_order_asked_for(scripts, monkeypatch, tmp_path):
    import table_of_runs
    from table_of_runs import Row, fill

    figures = {"accuracy": 0.5, "f1": 0.4}
    run = made_run(tmp_path / "run", "finished", test=figures, val={"accuracy": 0.125})
    (run / "metrics.csv").write_text("epoch,val_accuracy,seconds\n1,0.25,2\n2,0.125,3\n")
    asked, settings = [], {"a=1": "12ab", "a=2": "34cd"}
    monkeypatch.setattr(table_of_runs, "digest", settings.get)
    monkeypatch.setattr(table_of_runs, "complete", lambda words: asked.append(words) or run)
    path, first, other = tmp_path / "table.csv", Row("first", "a=1"), Row("other", "a=2", aside=True)
    (row,) = fill(path, [other])
    assert (row["val_accuracy"], row["test_accuracy"], row["seconds"]) == ("0.1250", "0.5000", "5")
    rows = fill(path, [first, other])
    assert asked == ["a=2", "a=1"]
    assert [r["step"] for r in rows] == ["first", "- other"]
    assert path.read_text().index("a=1") < path.read_text().index("a=2")
    settings["a=1"] = "56ef"
    fill(path, [first, other])
    assert asked == ["a=2", "a=1", "a=1"], "a row whose preset has changed is run again"


def test_fine_tuning_keeps_lines_whose_settings_are_the_same(scripts, monkeypatch, tmp_path):
    import fine_tuning

    ran, settings = [], {}
    facts = {"epochs": 1, "val_accuracy": 0.5, "test_accuracy": 0.5, "test_f1": 0.4, "seconds": 1, "device": "abacus"}
    monkeypatch.setattr(fine_tuning, "FOLDER", tmp_path)
    monkeypatch.setattr(fine_tuning, "digest", lambda words: settings.get(words, "12ab"))
    monkeypatch.setattr(fine_tuning, "figures", lambda *_: np.array([0.5, 0.5, 0.5]))
    monkeypatch.setattr(sys, "argv", ["fine_tuning.py"])

    def run(words: str) -> dict:
        if len(ran) == number + 4:
            raise KeyboardInterrupt
        ran.append(words)
        return {**facts, "command": f"python -m run {words}"}

    monkeypatch.setattr(fine_tuning, "facts", run)
    number = len(fine_tuning.DATA) * len(fine_tuning.BEGINS) * len(fine_tuning.EPOCHS) * len(fine_tuning.SEEDS)
    fine_tuning.main()
    whole = (tmp_path / "runs.csv").read_text()
    assert len(ran) == number == len(set(ran)) and whole.count("\n") == number + 1
    assert (tmp_path / "equal_time.png").is_file()
    fine_tuning.main()
    assert len(ran) == number and (tmp_path / "runs.csv").read_text() == whole
    settings |= dict.fromkeys(ran[:5], "34cd")
    with pytest.raises(KeyboardInterrupt):
        fine_tuning.main()
    assert ran[number:] == ran[:4], "lines of other settings are run again"
    held = fine_tuning.read()
    assert len(held) == number and [line["digest"] for line in held[:6]] == ["34cd"] * 4 + ["12ab"] * 2


def test_every_command_of_the_scripts_is_a_configuration(scripts):
    import ablation
    import antialiasing
    import batch_statistics
    import fine_tuning
    import head_rate
    import swings
    import whole_test_set
    from composed import composed

    tuning = {
        f"{preset} {fine_tuning.BUDGET}{begins}"
        for _, preset in fine_tuning.DATA.values()
        for begins, _ in fine_tuning.BEGINS.values()
    }
    tables = {row.words for table in ablation.TABLES.values() for row in table}
    single = {words for module in (antialiasing, batch_statistics, whole_test_set) for _, words, *_ in module.RUNS}
    for words in tables | tuning | single | {swings.WORDS, head_rate.PRESET}:
        composed(words.split())


@pytest.fixture
def small_convnet(scripts, tmp_path, monkeypatch):
    """swings.py with a network of a few thousand parameters on digits, and its own places."""
    import swings

    monkeypatch.setattr(swings, "FOLDER", tmp_path)
    monkeypatch.setattr(swings, "KEPT", tmp_path / "kept")
    words = "dataset=digits model=convnet model.base_depth=2 model.expansion=2 optimizer.lr=1e-3 train.batch_size=100"
    monkeypatch.setattr(swings, "WORDS", f"{words} scheduler=plateau scheduler.patience=50 train.epochs=3")
    monkeypatch.setattr(sys, "argv", ["swings.py"])
    return swings


def test_the_weights_of_every_epoch_are_tested_and_stay_as_they_were(small_convnet, tmp_path, capsys, monkeypatch):
    """As the loop alone trains them, though each is tested twice between, and though the second test was stopped."""
    from composed import composed, parts
    from torch import nn

    swings, calls = small_convnet, []
    test = swings.tested_in_part_as_trained

    def stopped(*words):
        calls.append(words)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return test(*words)

    with monkeypatch.context() as patch:
        patch.setattr(swings, "tested_in_part_as_trained", stopped)
        with pytest.raises(KeyboardInterrupt):
            swings.main()
    swings.main()
    assert (tmp_path / "swings.png").is_file() and "| 1 | epoch 3: the last |" in capsys.readouterr().out
    with (tmp_path / "swings.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["seed"], row["epoch"]) for row in rows] == [(s, e) for s in "01" for e in "123"]
    assert len(calls) == 4
    settings = composed([*swings.WORDS.split(), "seed=0"])
    run = parts(settings)
    state = loop.State(
        run.model, build.make_optimizer(settings, run.model), None, EarlyStopping("val_accuracy", None)
    )  # fmt: skip
    for _ in loop.fit(
        state, run.loader(run.data.train, 100, 0), run.loader(run.data.val, 1000), epochs=3, seed=0, classes=10,
        loss=nn.CrossEntropyLoss(), autocast=run.on.autocast,
    ):  # fmt: skip
        pass
    history = [{key: f"{epoch[key]:.4f}" for key in ("train_loss", "val_loss")} for epoch in state.history]
    assert [{key: row[key] for key in history[0]} for row in rows[:3]] == history
    _, predictions, labels = predict(run.model, run.loader(run.data.test, 50), nn.CrossEntropyLoss(), run.on.autocast)
    assert [{key: row[key] for key in history[0]} for row in rows[3:]] != history, "the other seed is another run"
    assert rows[2]["accuracy"] == f"{(predictions == labels).mean():.4f}" != rows[2]["batch_statistics"]


def test_a_seed_is_not_trained_twice_at_once(small_convnet):
    place = small_convnet.KEPT / f"swings_0_{small_convnet.digest(f'{small_convnet.WORDS} seed=0')}.lock"
    place.parent.mkdir()
    with place.open("a") as file:
        assert files.lock(file)
        with pytest.raises(SystemExit, match="another process trains this"):
            small_convnet.main()


def test_classes_of_unequal_sizes_are_in_proportion_and_tested_whole(scripts, monkeypatch, tmp_path):
    import whole_test_set

    source, names = tmp_path / "fruits-360.zip", [("Training", 8), ("Test", 3)]
    with zipfile.ZipFile(source, "w") as archive:
        for part, number in names:
            for label in ("Fig 1", "Kiwi 1", "Plum 3"):
                for frame in range(number):
                    archive.writestr(f"fruits-360/{part}/{label}/{frame}_100.jpg", f"{part} {label} {frame}")
    monkeypatch.setattr(whole_test_set, "UNEQUAL", tmp_path / "outputs" / "unequal.zip")
    whole_test_set.write_unequal(source, {"Fig 1": 50, "Kiwi 1": 100, "Plum 3": 25})
    with zipfile.ZipFile(tmp_path / "outputs" / "unequal.zip") as archive:
        parts = Counter(tuple(name.split("/")[1:3]) for name in archive.namelist())
        assert archive.read("fruits-360/Training/Plum 3/4_100.jpg") == b"Training Plum 3 4"
    assert {label: n for (part, label), n in parts.items() if part == "Training"} == {
        "Fig 1": 4,
        "Kiwi 1": 8,
        "Plum 3": 2,
    }
    assert {n for (part, _), n in parts.items() if part == "Test"} == {3}


@given(st.lists(st.tuples(st.integers(1, 400), st.floats(0, 1)), min_size=1, max_size=20))
def test_no_recalls_of_classes_give_more_accuracy_than_the_bound_of_their_mean(scripts_once, classes):
    from recall_bound import highest

    sizes, recalls = np.array(classes).T
    assert np.average(recalls, weights=sizes) <= highest(sizes, recalls.mean()) + 1e-9


def test_the_bound_is_reached(scripts):
    from recall_bound import highest

    assert highest([10, 60, 30], 0.5) == pytest.approx((60 + 0.5 * 30) / 100)
    assert highest([10, 60, 30], 1.0) == pytest.approx(1)


@pytest.mark.parametrize("side", [28, 32])
def test_jagged_images_are_what_torchvision_makes_of_tensors_without_antialiasing(scripts, tmp_path, side):
    import antialiasing
    import torch
    from torchvision.transforms.v2 import functional

    source, made = tmp_path / "fruits-360.zip", tmp_path / "outputs" / "jagged.zip"
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)).save(content, "jpeg")
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("fruits-360/LICENSE", "free")
        archive.writestr("fruits-360/Test/Fig 1/r0_3_100.jpg", content.getvalue())
    antialiasing.write_jagged(source, made, side)
    with zipfile.ZipFile(made) as archive:
        assert archive.namelist() == ["fruits-360/Test/Fig 1/r0_3_100.png"]
        got = np.asarray(Image.open(io.BytesIO(archive.read(archive.namelist()[0]))))
    pixels = torch.from_numpy(np.asarray(Image.open(content)).copy()).permute(2, 0, 1)
    jagged, smooth = (functional.resize(pixels, [side, side], antialias=way).permute(1, 2, 0) for way in (False, True))
    assert np.abs(got.astype(int) - jagged.numpy()).max() <= 1
    assert np.abs(got.astype(int) - smooth.numpy()).mean() > 20


def test_a_run_of_many_words_has_a_name_that_file_systems_take(scripts, monkeypatch):
    kept_runs, _ = scripts
    monkeypatch.setattr(kept_runs, "_run", lambda _, place: made_run(place / "run", "finished"))
    run = kept_runs.complete("dataset=digits train=smoke " + " ".join(f"model.widths=[{n}]" for n in range(100, 130)))
    assert run.is_dir()


def test_a_backbone_knows_the_runs_that_its_weights_come_from(scripts, tmp_path):
    import ship_backbone

    def run(name: str, pretrained: str) -> Path:
        folder = made_run(tmp_path / name, "finished")
        (folder / "config.yaml").write_text(f"model: {{pretrained: {pretrained}}}")
        return folder

    first = run("first", "none")
    second = run("second", str(first / "best.safetensors"))
    assert ship_backbone.parts(first) == [first]
    assert ship_backbone.parts(second) == [first, second]
    with pytest.raises(SystemExit, match=r"began with cifar10, which is in no run folder"):
        ship_backbone.parts(run("third", "cifar10"))
