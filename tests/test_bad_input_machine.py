"""What the machine refuses: paths that cannot be written, full disks, a missing GPU; and a loss that explodes late."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from bad_input import CACHE, left, one_message, refused
from safetensors.torch import load_file

from seedbed.training.checkpoint import load_best, load_last

pytestmark = pytest.mark.slow

SHORT = ("dataset=digits", "device.threads=1")


def test_cuda_where_there_is_none(seedbed, tmp_path):
    if torch.cuda.is_available():
        return
    names = ("device=cuda", "use device=cpu, or device=auto")
    refused(seedbed, tmp_path, "device=cuda", "dataset=digits", names=names)


@pytest.mark.parametrize(
    ("key", "variable"), [("output_root", "SEEDBED_OUTPUTS"), ("cache_root", "SEEDBED_CACHE")], ids=["output", "cache"]
)
@pytest.mark.parametrize("below", ["", "/deeper/down"], ids=["the_file", "below_it"])
def test_a_path_under_a_regular_file(seedbed, tmp_path, key, variable, below):
    (tmp_path / "file").write_text("a file")
    path = f"{tmp_path / 'file'}{below}"
    names = (f"{key}: cannot", path, f"set {key} (or {variable})", "can be written")
    refused(seedbed, tmp_path, *SHORT, "train.epochs=1", f"{key}={path}", names=names)
    assert (tmp_path / "file").read_text() == "a file"


def test_a_loss_that_explodes_after_a_good_epoch(seedbed, tmp_path):
    # A schedule that is harmless for one epoch.
    steep = "scheduler={_target_:torch.optim.lr_scheduler.ExponentialLR,_partial_:true,gamma:1e30}"
    done = seedbed(*SHORT, "train.epochs=3", "scheduler=none", steep)
    (folder,) = done.folders
    one_message(done, "in epoch 2, step ", "the state after epoch 1 is kept", str(folder), "optimizer.lr")
    assert done.result["status"] == "failed" and done.result["epochs"] == 1
    state = load_last(folder / "last.pt")
    weights, metadata = load_best(folder / "best.safetensors")
    assert state["epoch"] == 1 and len(state["history"]) == 1
    assert metadata["config"]["scheduler"]["gamma"] == 1e30
    for tensors in (weights, state["model"], state["best"]):
        assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert len((folder / "metrics.csv").read_text().splitlines()) == 2
    assert not list(tmp_path.rglob("*.tmp"))
    seedbed("task=evaluate", f"checkpoint={folder}/best.safetensors").check()


@pytest.fixture
def small_disk(tmp_path):
    """Make a file system of so many KiB; None where mounting is not allowed."""
    mounted = []

    def make(size: int) -> Path | None:
        folder = tmp_path / "disk"
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", folder], capture_output=True)
        if done.returncode:
            return None
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


# Where nothing can be mounted, writes past a limit fail as they do on a full disk, at the same calls.
FULL = """
import errno, io, os, sys
import pathlib
space, folder = int(sys.argv[1]) * 1024, sys.argv[2]
del sys.argv[1:3]
real_open = pathlib.Path.open
class Short:
    def __init__(self, file, path): self.__dict__.update(file=file, path=path)
    def __getattr__(self, name): return getattr(self.file, name)
    def __enter__(self): return self
    def __exit__(self, *error): return self.file.__exit__(*error)
    def write(self, content):
        held = sum(p.stat().st_size for p in pathlib.Path(folder).rglob("*") if p.is_file())
        if held + len(content) > space:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(content)
def opened(path, mode="r", *a, **k):
    file = real_open(path, mode, *a, **k)
    return Short(file, path) if "w" in mode and str(path).startswith(folder) else file
pathlib.Path.open = opened
from seedbed.cli import main
sys.exit(main())
"""


def on_a_full_disk(seedbed, tmp_path: Path, small_disk, size: int, epochs: int) -> Path:
    """Run with an output folder of so many KiB, which is too little; return that folder."""
    disk, folder = small_disk(size), tmp_path / "disk"
    overrides = (*SHORT, f"train.epochs={epochs}")
    program = ("-m", "run") if disk is not None else ("-c", FULL, str(size), str(folder))
    done = seedbed.process(
        *overrides, program=program, SEEDBED_CACHE=str(tmp_path / CACHE), SEEDBED_OUTPUTS=str(folder)
    )  # fmt: skip
    one_message(done, str(folder), "No space left")
    assert not list(folder.rglob("*.tmp"))
    return folder


@pytest.mark.parametrize("source", ["array", "files"])
def test_no_space_left_for_the_cache(seedbed, tmp_path, small_disk, picture_tree, source):
    overrides = SHORT
    if source == "files":
        root = picture_tree({f"train/{c}/{i}.png": 9 * i for c in "ab" for i in range(12)})
        overrides = ("dataset=folder", f"dataset.root={root}", "dataset.image_size=128", "device.threads=1")
    disk = small_disk(256)
    if disk is None:
        return
    before = left(tmp_path)
    done = seedbed(*overrides, "train.epochs=1", f"cache_root={disk}")
    one_message(done, "cache_root", str(disk), "SEEDBED_CACHE", "room")
    assert not [p for p in disk.rglob("*") if p.is_file() and p.suffix != ".lock"], "nothing half-decoded is left"
    assert {p for p in left(tmp_path) if not p.startswith("disk")} == {p for p in before if not p.startswith("disk")}


def test_no_space_left_in_the_middle_of_a_run(seedbed, tmp_path, small_disk):
    """Room for the files of one epoch, not for a second copy of `last.pt` beside the first."""
    disk = on_a_full_disk(seedbed, tmp_path, small_disk, 4600, epochs=3)
    (folder,) = (path for path in disk.iterdir() if path.is_dir())
    state = load_last(folder / "last.pt")
    assert state["epoch"] >= 1
    assert load_file(folder / "best.safetensors")
    assert len((folder / "metrics.csv").read_text().splitlines()) >= 2


def test_no_space_left_for_the_first_files_of_a_run(seedbed, tmp_path, small_disk):
    disk = on_a_full_disk(seedbed, tmp_path, small_disk, 40, epochs=1)
    assert not list(disk.rglob("*.png")), "no half a picture"
