"""Every command of README.md, of the pages in docs/ and of --help works.

A command that trains is composed and checked, as are the jobs of a sweep. Others run in a folder where `outputs/RUN` is
a run and `PATH` holds images.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
from conftest import Command
from documentation import ROOT, blocks, commands
from PIL import Image

from seedbed.experiment import Experiment
from seedbed.help import HEAD
from seedbed.sweep import jobs_of

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINES = [
    *((page.relative_to(ROOT).as_posix(), line) for page in PAGES for language, content in blocks(page)
      if language == "sh" for line in commands(content)),
    *(("--help", line.strip().partition("  ")[0]) for line in HEAD.splitlines()
      if line.startswith("  python -m run") and "…" not in line),
]  # fmt: skip
RUNS = [(source, line) for source, line in LINES if line.startswith(("python -m run", "seedbed"))]
OTHERS = [(source, line) for source, line in LINES if (source, line) not in RUNS]


def overrides_of(line: str) -> list[str]:
    """What follows `python -m run` or `seedbed`."""
    typed = shlex.split(line, comments=True)
    return typed[1 if typed[0] == "seedbed" else 3 :]


@pytest.fixture(scope="module")
def run(command_server, tmp_path_factory, cache) -> Path:
    """A short run that can be made longer."""
    command = Command(command_server, tmp_path_factory.mktemp("run"), cache)
    return command("dataset=digits", "train=smoke", "train.keep_last=true").check().folders[-1]


@pytest.fixture
def folder(run, tmp_path) -> Path:
    """The working folder: `outputs/RUN`, and `PATH` with images of two of its classes."""
    shutil.copytree(run, tmp_path / "outputs/RUN")
    for name in ("0", "1"):
        (tmp_path / "PATH" / name).mkdir(parents=True)
        Image.new("L", (8, 8), 90).save(tmp_path / "PATH" / name / "a.png")
    return tmp_path


@pytest.mark.parametrize(("source", "line"), RUNS, ids=[f"{source}: {line}" for source, line in RUNS])
def test_a_command_is_one_that_works(seedbed, folder, source, line):
    overrides = overrides_of(line)
    flags = [word for word in overrides if word.startswith("-")]
    if flags == ["-m"]:
        jobs = jobs_of([word for word in overrides if word != "-m"])
        assert len(jobs) > 1
        for job in (jobs[0], jobs[-1]):
            assert Experiment.from_overrides(job.overrides).settings
    elif flags or any(word.startswith(("task=", "resume=")) for word in overrides):
        done = seedbed(*overrides)
        # The one run here need not be one that `runs=` looks for.
        assert done.code == 0 or "there is no run that holds" in done.err, done.err
    else:
        assert Experiment.from_overrides(overrides).settings


@pytest.mark.parametrize(("source", "line"), OTHERS, ids=[f"{source}: {line}" for source, line in OTHERS])
def test_what_else_a_command_names_exists(source, line):
    """Scripts and studies."""
    for word in shlex.split(line, comments=True):
        if word.startswith(("scripts/", "studies/", "docs/")):
            assert (ROOT / word).exists(), word
