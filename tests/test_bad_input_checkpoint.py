"""Checkpoints and run folders that are none, are damaged, or hold code: one message, and nothing of theirs is run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from bad_input import CACHE, left, one_message, refused
from conftest import Command
from safetensors import safe_open
from safetensors.torch import load_file, save_file

pytestmark = pytest.mark.slow

SHORT = ("dataset=digits", "train.epochs=2", "device.threads=1")


@pytest.fixture(scope="module")
def good_run(command_server, tmp_path_factory) -> Path:
    """A finished run that can be resumed: its folder."""
    folder = tmp_path_factory.mktemp("good")
    return Command(command_server, folder, folder / "cache")(*SHORT, "train.keep_last=true").check().folders[-1]


@pytest.fixture
def run_folder(good_run, tmp_path) -> Path:
    """A copy of it, to be spoilt."""
    return shutil.copytree(good_run, tmp_path / "run")


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file but the log, which may grow."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "train.log"}


class Code:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def malicious(path: Path, marker: Path, by_torch: bool) -> None:
    """Write a pickle with code in it, having seen that it runs where it is believed."""
    if by_torch:
        torch.save({"format_version": 1, "model": Code(marker)}, path.with_name("x.pt"))
        torch.load(path.with_name("x.pt"), weights_only=False)
        path.with_name("x.pt").replace(path)
    else:
        path.write_bytes(pickle.dumps(Code(marker)))
        pickle.loads(path.read_bytes())
    marker.unlink()


def spoil(path: Path, how: str, marker: Path) -> None:
    """Damage a file in one of the usual ways."""
    raw = path.read_bytes()
    if how in ("pickle", "torch_pickle"):
        malicious(path, marker, how == "torch_pickle")
    else:
        path.write_bytes({
            "text": b"weights, they said\n", "empty": b"", "bytes": bytes(range(256)) * 40,
            "truncated": raw[: len(raw) // 2], "first_bytes": raw[:6], "without_end": raw[:-20],
        }[how])  # fmt: skip


# Damage of every usual kind, and pickles with code in them.
WAYS = ["text", "empty", "bytes", "truncated", "first_bytes", "pickle", "torch_pickle"]


@pytest.mark.parametrize("how", WAYS)
def test_a_checkpoint_that_is_none(seedbed, tmp_path, run_folder, how):
    path, marker = run_folder / "best.safetensors", tmp_path / "ran"
    spoil(path, how, marker)
    names = (f"checkpoint: {path} is not a readable safetensors file",)
    refused(seedbed, tmp_path, "task=evaluate", f"checkpoint={path}", names=names)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["last.pt", "config.yaml", "loss.png"])
def test_another_file_of_a_run_is_no_checkpoint(seedbed, tmp_path, run_folder, name):
    names = ("checkpoint", str(run_folder / name), "safetensors")
    refused(seedbed, tmp_path, "task=evaluate", f"checkpoint={run_folder / name}", names=names)


def rewritten(path: Path, change) -> Path:
    """A checkpoint whose metadata is changed by `change(metadata)`, weights as they were."""
    with safe_open(path, framework="pt") as file:
        metadata = json.loads(file.metadata()["seedbed"])
    target = path.with_name("changed.safetensors")
    changed = change(metadata)
    save_file(load_file(path), target, {"seedbed": json.dumps(metadata if changed is None else changed)})
    return target


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda m: {"format_version": 1}, ()),
        (lambda m: {"format_version": 99}, ("format version 99",)),
        (lambda m: [1, 2], ("holds weights, but not what seedbed saves",)),
        (lambda m: m.update(config=3), ()),
        (lambda m: m.update(preprocess={"size": 1}), ()),
        (lambda m: m["config"].pop("train") and None, ("train",)),
        (lambda m: m["config"]["model"].update(widths=[7]), ("weights do not fit",)),
        (lambda m: m["classes"].pop() and None, ("classes",)),
        (
            lambda m: m["config"]["model"].update(_target_="seedbed.models.mlp.MPL"),
            ("model is seedbed.models.mlp.MPL, which is none of seedbed's",),
        ),
    ],
    ids=["no_metadata", "version", "list", "config", "preprocess", "no_train", "other_widths", "classes", "target"],
)
def test_a_checkpoint_with_other_metadata(seedbed, tmp_path, run_folder, change, names):
    path = rewritten(run_folder / "best.safetensors", change)
    refused(seedbed, tmp_path, "task=evaluate", f"checkpoint={path}", names=names or (str(path),))


@pytest.mark.parametrize("group", ["model", "dataset", "augment", "optimizer"])
def test_a_checkpoint_that_names_other_code(seedbed, tmp_path, run_folder, group):
    marker = tmp_path / "ran"

    def change(metadata):
        node = {"_target_": "subprocess.getoutput", "cmd": f"touch {marker}"}
        before = metadata["config"][group]
        scalars = {k: v for k, v in before.items() if k in ("image_size", "mean", "std")}
        metadata["config"][group] = node | scalars if group != "dataset" else before | node

    path = rewritten(run_folder / "best.safetensors", change)
    done = seedbed("task=evaluate", f"checkpoint={path}")
    assert not marker.exists(), "code of the checkpoint's choice ran"
    # What evaluating does not build may name what it likes.
    if group in ("model", "dataset"):
        one_message(done, group)


@pytest.mark.parametrize("how", [*WAYS, "without_end"])
def test_a_last_checkpoint_that_is_none(seedbed, tmp_path, run_folder, how):
    path, marker = run_folder / "last.pt", tmp_path / "ran"
    spoil(path, how, marker)
    kept = files_of(run_folder)
    message = refused(seedbed, tmp_path, f"resume={run_folder}", "train.epochs=3", names=(str(path),))
    assert "torch.load" not in message, "torch's own advice, to load it all the same, is not ours"
    assert not marker.exists()
    assert files_of(run_folder) == kept


@pytest.mark.parametrize(
    ("state", "names"),
    [
        ({"format_version": 1}, ()),
        ({"format_version": 99}, ("format version 99",)),
        ([1, 2], ("not a checkpoint that seedbed wrote",)),
        (torch.zeros(3), ("not a checkpoint that seedbed wrote",)),
    ],
    ids=["no_state", "version", "list", "tensor"],
)
def test_a_last_checkpoint_of_something_else(seedbed, tmp_path, run_folder, state, names):
    torch.save(state, run_folder / "last.pt")
    names = (str(run_folder / "last.pt"), *names)
    refused(seedbed, tmp_path, f"resume={run_folder}", "train.epochs=3", names=names)


def test_a_last_checkpoint_of_another_model(seedbed, tmp_path, run_folder):
    text = (run_folder / "config.yaml").read_text()
    (run_folder / "config.yaml").write_text(text.replace("- 75", "- 76"))
    names = (str(run_folder / "last.pt"), "does not fit")
    refused(seedbed, tmp_path, f"resume={run_folder}", "train.epochs=3", names=names)


def test_a_run_without_a_last_checkpoint(seedbed, tmp_path, run_folder):
    (run_folder / "last.pt").unlink()
    (run_folder / "result.json").unlink()
    refused(seedbed, tmp_path, f"resume={run_folder}", names=(str(run_folder / "last.pt"), "is not there"))


@pytest.mark.parametrize("what", ["empty_folder", "file", "other_folder"])
def test_a_folder_that_is_no_run(seedbed, tmp_path, run_folder, what):
    folder = {"empty_folder": tmp_path / "empty", "file": run_folder / "last.pt", "other_folder": tmp_path}[what]
    (tmp_path / "empty").mkdir()
    refused(seedbed, tmp_path, f"resume={folder}", names=(f"resume: {folder} is not a run folder",))


SPOILT = [
    *(("config.yaml", content) for content in (b"\x00\xff\xfe\x80" * 50, b"{a: [", b"", b"- 1\n", b"3", b'{"a": 1}')),
    *(("overrides.json", content) for content in (b"\x00\xff", b"{a: [", b"", b"[]")),
    *(("result.json", content) for content in (b"\x00\xff", b"{a: [", b"[]")),
]


@pytest.mark.parametrize(("name", "content"), SPOILT, ids=[f"{name}-{content[:8]!r}" for name, content in SPOILT])
def test_a_run_folder_with_a_spoilt_file(seedbed, tmp_path, run_folder, name, content):
    (run_folder / name).write_bytes(content)
    kept = files_of(run_folder)
    refused(seedbed, tmp_path, f"resume={run_folder}", "train.epochs=3", names=(str(run_folder / name),))
    assert files_of(run_folder) == kept


@pytest.mark.parametrize("epochs", ["ten", "null", "1.5"])
def test_a_number_of_epochs_that_is_none(seedbed, tmp_path, run_folder, epochs):
    overrides = (f"resume={run_folder}", f"train.epochs={epochs}")
    refused(seedbed, tmp_path, *overrides, names=("train.epochs: expected a whole number",))


def test_a_run_folder_whose_configuration_names_code(seedbed, tmp_path, run_folder):
    """YAML can name Python objects; such tags are refused like any other garbage."""
    marker = tmp_path / "ran"
    (run_folder / "config.yaml").write_text(f'seed: !!python/object/apply:os.system ["touch {marker}"]\n')
    refused(seedbed, tmp_path, f"resume={run_folder}", names=(str(run_folder / "config.yaml"),))
    assert not marker.exists()


def test_evaluating_leaves_nothing(seedbed, tmp_path, run_folder):
    before = left(tmp_path)
    seedbed("task=evaluate", f"checkpoint={run_folder}/best.safetensors", SEEDBED_CACHE=str(tmp_path / CACHE)).check()
    assert left(tmp_path) == before
