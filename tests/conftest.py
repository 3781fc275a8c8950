"""What all tests share: a cache, the real data, and the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from command_server import LONGEST, CommandServer
from hypothesis import settings
from PIL import Image

CONF = Path(__file__).parents[1] / "conf"
FORKS = hasattr(os, "fork") and not os.environ.get("SEEDBED_NO_FORK")
AS_A_MODULE = "\nimport runpy\nrunpy.run_module('run', run_name='__main__', alter_sys=True)"
# A machine that is busy with something else fails no test.
settings.register_profile("seedbed", deadline=None)
settings.load_profile("seedbed")


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """One cache for the whole session: real data sets are decoded once."""
    return tmp_path_factory.mktemp("cache")


@dataclass
class Outcome:
    """What a command left: exit code, output, and the folder of its runs."""

    code: int
    out: str
    err: str
    outputs: Path

    @property
    def folders(self) -> list[Path]:
        """Run folders, oldest first: their names begin with the time."""
        return sorted(p.parent for p in self.outputs.rglob("config.yaml"))

    @property
    def result(self) -> dict:
        return json.loads((self.folders[-1] / "result.json").read_text())

    def check(self) -> Outcome:
        assert self.code == 0, self.out + self.err
        return self


@pytest.fixture(scope="session")
def command_server() -> Iterator[CommandServer]:
    """One for the whole session: what a command imports is imported once."""
    server = CommandServer()
    yield server
    server.close()


class Command:
    """`python -m run OVERRIDES`, with runs and cache where the test has them.

    Args:
        folder: of the test; commands run there, and write into its `outputs`.
    """

    def __init__(self, server: CommandServer, folder: Path, cache: Path):
        self.server, self.folder, self.cache = server, folder, cache
        self.outputs = folder / "outputs"

    def __call__(self, *overrides: str, cwd: Path | None = None, before: str = "", **env: str) -> Outcome:
        """The command in a fork of the session's server; `before` is code that runs first, in the same process.

        With SEEDBED_NO_FORK, and on Windows, each command is a new process: slow, and the same.
        """
        if not FORKS:
            return self.process(*overrides, cwd=cwd, program=("-c", before + AS_A_MODULE), **env)
        done = self.server.run(overrides, cwd or self.folder, self._environment(env), before)
        return Outcome(*done, self.outputs)

    def process(
        self, *overrides: str, cwd: Path | None = None, program: Sequence[str] = ("-m", "run"), **env: str
    ) -> Outcome:
        """The command in a new process: for a test of how processes begin and end, or how much they take."""
        done = subprocess.run(
            [sys.executable, *program, *overrides], cwd=cwd or self.folder, env=self._environment(env),
            capture_output=True, text=True, timeout=LONGEST,
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout, done.stderr, self.outputs)

    def stopped(self, *overrides: str, after: str = "*/metrics.csv", outputs: Path | None = None) -> tuple[Path, str]:
        """Run in a new process until a file like `after` is below `outputs`, then stop it by SIGTERM.

        Returns:
            the file's folder, and stdout.
        """
        outputs = outputs or self.outputs
        process = subprocess.Popen(
            [sys.executable, "-m", "run", *overrides], cwd=self.folder, stdout=subprocess.PIPE, text=True,
            env=self._environment({"SEEDBED_OUTPUTS": str(outputs)}),
        )  # fmt: skip
        deadline = time.monotonic() + 300
        while not (files := list(outputs.glob(after))) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 128 + signal.SIGTERM, out
        return files[0].parent, out

    def _environment(self, env: Mapping[str, str]) -> dict[str, str]:
        return {**os.environ, "SEEDBED_CACHE": str(self.cache), "SEEDBED_OUTPUTS": str(self.outputs), **env}


@pytest.fixture
def seedbed(command_server, tmp_path, cache) -> Command:
    """Call the command, `seedbed("dataset=digits", …)`, in a folder of its own."""
    return Command(command_server, tmp_path, cache)


def data_file(name: str) -> Path:
    """A file under the data root; the test is skipped where it is not (CI counts such a skip as a failure)."""
    root = os.environ.get("SEEDBED_DATA", "data")
    path = Path(root) / name
    if not path.exists():
        pytest.skip(f"no {name} in {root}; set SEEDBED_DATA to a folder that has it")
    return path.resolve()


def fashion_mnist_folder() -> Path:
    name = "train-images-idx3-ubyte.gz"
    for folder in (
        Path(os.environ.get("SEEDBED_DATA", "data")) / "fashion-mnist",
        Path("/usr/share/datasets/fashion-mnist"),
    ):
        if (folder / name).exists():
            return folder.resolve()
    pytest.skip("no Fashion-MNIST; install Debian's dataset-fashion-mnist or run scripts/quickstart.sh")


@pytest.fixture
def picture_tree(tmp_path):
    """Make a tree of small real files: `picture_tree({"train/a/1.png": (255, 0, 0), …})` -> its folder."""

    def make(files: dict[str, tuple[int, ...] | int], size: int = 12, root: str = "pictures") -> Path:
        folder = tmp_path / root
        for name, colour in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            mode = "L" if isinstance(colour, int) else "RGB"
            Image.new(mode, (size, size), colour).save(path)
        return folder

    return make


def zipped(folder: Path) -> Path:
    """The same tree as a zip, entries stored."""
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder.parent))
    return target


def image_split(images: np.ndarray, labels: np.ndarray, index: np.ndarray | None = None):
    from seedbed.types import Split

    return Split(images, labels.astype(np.int64), np.arange(len(labels)) if index is None else index)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("gpu"):
            import torch

            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """With SEEDBED_NO_SKIPS, which CI sets, a skip is a failure; a GPU alone may be missing."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("SEEDBED_NO_SKIPS") and not item.get_closest_marker("gpu"):
        report.outcome = "failed"
        report.longrepr = f"skipped where it should run: {report.longrepr}"
