"""task=predict, by the command: every image gets a line, whatever holds it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from bad_input import one_message
from conftest import Command, zipped
from PIL import Image

COLOURS = {"cat": (200, 0, 0), "dog": (0, 0, 200), "emu": (0, 200, 0)}


def predictions(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def trained(seedbed, picture_tree) -> Path:
    root = picture_tree({f"{c}/{i}.png": colour for c, colour in COLOURS.items() for i in range(20)})
    overrides = ("train.epochs=15", "train.batch_size=8", "train.tta=2", "augment=flip")
    return seedbed("dataset=folder", f"dataset.root={root}", *overrides).check().folders[-1]


def test_a_folder_a_zip_and_a_file(seedbed, tmp_path, trained, picture_tree):
    root = picture_tree({f"deep/er/{c}-{i}.png": COLOURS[c] for c in ("emu", "cat") for i in range(9)}, root="new")
    Image.new("L", (7, 9), 5).save(root / "grey.png")
    done = seedbed("task=predict", f"checkpoint={trained}", "images=new").check()
    rows = predictions(tmp_path / "predictions.csv")
    assert "19 images: " in done.out and "… and 7 more" in done.out
    assert [row["file"] for row in rows] == sorted(row["file"] for row in rows) and len(rows) == 19
    assert all(row["class"] == Path(row["file"]).name[:3] for row in rows if row["file"] != "grey.png")
    assert all(1 / 3 <= float(row["probability"]) <= 1 for row in rows)

    again = ("task=predict", f"checkpoint={trained}/best.safetensors")
    seedbed(*again, f"images={zipped(root)}", "predictions=of_zip.csv").check()
    assert [tuple(row.values())[1:] for row in predictions(tmp_path / "of_zip.csv")] == [
        tuple(row.values())[1:] for row in rows
    ]
    done = seedbed(*again, f"images={root}/grey.png", "predictions=one.csv").check()
    (row,) = predictions(tmp_path / "one.csv")
    assert row == next(row for row in rows if row["file"] == "grey.png") and row["class"] in done.out

    (root / "bad.png").write_bytes(b"none")
    refused = seedbed(*again, "images=new", "predictions=two.csv")
    assert refused.code == 1 and "cannot read bad.png" in refused.err and not (tmp_path / "two.csv").exists()
    done = seedbed(*again, "images=new", "predictions=two.csv", "dataset.on_bad_image=skip").check()
    left_out = [{"file": "bad.png", "class": "", "probability": ""}]
    assert "left out: bad.png" in done.out and predictions(tmp_path / "two.csv") == rows + left_out


def test_images_that_are_not_read_are_counted_and_have_a_line(seedbed, tmp_path, trained, picture_tree):
    root = picture_tree({f"{i}.png": COLOURS["cat"] for i in range(2)}, root="new")
    (root / "a.heic").write_bytes(b"x")
    (root / "notes.txt").write_bytes(b"\xff\xd8\xff")
    Image.new("RGB", (4, 4)).save(root / "photo", "JPEG")
    done = seedbed("task=predict", f"checkpoint={trained}", "images=new").check()
    assert "left out: 1 .heic files" in done.out and "left out: 1 JPEG files without its ending" in done.out
    rows = predictions(tmp_path / "predictions.csv")
    assert [row["file"] for row in rows] == ["0.png", "1.png", "a.heic", "photo"]
    assert [bool(row["class"]) for row in rows] == [True, True, False, False]


def test_probabilities_are_those_of_the_model(seedbed, tmp_path):
    """A model that ends in probabilities is not made flat by a second softmax."""
    root = tmp_path / "one"
    root.mkdir()
    Image.new("L", (8, 8), 90).save(root / "a.png")
    for name, kind in (("logits", "mlp.MLP"), ("probabilities", "report.ReportMLP")):
        model = f"model._target_=seedbed.models.{kind}"
        folder = seedbed("dataset=digits", "train.epochs=12", model).check().folders[-1]
        seedbed("task=predict", f"checkpoint={folder}", "images=one", f"predictions={name}.csv").check()
        (row,) = predictions(tmp_path / f"{name}.csv")
        assert float(row["probability"]) > 0.25, "a softmax of ten probabilities is at most 0.232"


def test_the_data_set_of_the_run_is_not_needed(seedbed, tmp_path):
    (tmp_path / "mine.py").write_text("from seedbed.data.digits import Digits\nclass Mine(Digits): pass\n")
    folder = seedbed("dataset=digits", "train=smoke", "dataset._target_=mine.Mine").check().folders[-1]
    (tmp_path / "mine.py").unlink()
    (tmp_path / "new").mkdir()
    Image.new("L", (8, 8), 90).save(tmp_path / "new/a.png")
    seedbed("task=predict", f"checkpoint={folder}", "images=new").check()
    assert len(predictions(tmp_path / "predictions.csv")) == 1


@pytest.mark.slow
def test_a_model_of_features_has_them_made(seedbed, tmp_path, trained, picture_tree):
    root = picture_tree({f"{c}/{i}.png": colour for c, colour in COLOURS.items() for i in range(20)}, size=24)
    overrides = ("model=features_mlp", "dataset=folder", f"dataset.root={root}", "dataset.image_size=24",
                 "train.epochs=2")  # fmt: skip
    folder = seedbed(*overrides).check().folders[-1]
    seedbed("task=predict", f"checkpoint={folder}", f"images={root}").check()
    assert len(predictions(tmp_path / "predictions.csv")) == 60


@pytest.fixture(scope="module")
def digits_run(command_server, tmp_path_factory, cache) -> Path:
    """A short run on digits, for tests that write nothing into it."""
    return (
        Command(command_server, tmp_path_factory.mktemp("digits"), cache)("dataset=digits", "train=smoke")
        .check()
        .folders[-1]
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["images=nowhere"], "images: nowhere is not there"),
        (["images=empty"], "images: empty holds none (.apng"),
        (["images=empty", "predictions=there.csv"], "predictions: there.csv is there already"),
        (["images=empty", "predictions=no/where.csv"], "predictions: no is no folder"),
        (["images=empty", "dataset.root=empty"], "dataset.root=empty: says nothing to task=predict"),
        ([], "images: must be given, as images=…"),
    ],
)
def test_mistakes_are_one_message(seedbed, tmp_path, digits_run, overrides, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "there.csv").write_text("mine")
    one_message(seedbed("task=predict", f"checkpoint={digits_run}", *overrides), message)
    assert (tmp_path / "there.csv").read_text() == "mine" and not (tmp_path / "predictions.csv").exists()
