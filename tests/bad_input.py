"""What the tests of bad input share: a refusal is exit code 1, one message, and nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from conftest import Outcome

CACHE = "own-cache"


def left(folder: Path) -> set[str]:
    """Every path below a test's folder, but for what a cache may keep."""
    return {name for path in folder.rglob("*") if not (name := str(path.relative_to(folder))).startswith(CACHE)}


def one_message(done, *names: str) -> str:
    """The message of a command that ended with exit code 1: one line on stderr that holds all of `names`."""
    assert done.code == 1, f"exit code {done.code}\n{done.out}\n{done.err}"
    assert "Traceback" not in done.out + done.err, done.out + done.err
    assert done.err.startswith("error: ") and len(done.err.strip().splitlines()) == 1, done.err
    message = done.err.strip()
    for name in names:
        assert name in message, f"{name!r} is not in: {message}"
    return message


def refused(seedbed, tmp_path: Path, *words: str, names: tuple[str, ...], **env: str) -> str:
    """Run the command; it has to refuse before it writes anything; return its message."""
    before = left(tmp_path)
    done = seedbed(*words, **{"SEEDBED_CACHE": str(tmp_path / CACHE), **env})
    message = one_message(done, *names)
    assert left(tmp_path) == before
    assert not list(tmp_path.rglob("*.tmp"))
    return message


# One process for many commands: what is imported once need not be imported for every example.
DOOR = """
import contextlib, io, json, os, sys
from seedbed.cli import main
for line in sys.stdin:
    words, folder, environment = json.loads(line)
    os.chdir(folder)
    os.environ.update(environment, HYDRA_FULL_ERROR="0")
    sys.argv = ["run", *words]
    out, err, code = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main()
        except SystemExit as error:
            code = error.code
        except BaseException as error:
            print(f"Traceback: {error!r}", file=err)
    print(json.dumps([code, out.getvalue(), err.getvalue()]), file=sys.__stdout__, flush=True)
"""


class Door:
    """`seedbed.cli.main` in one child process, command after command."""

    def __enter__(self) -> Door:
        self.child = subprocess.Popen(
            [sys.executable, "-c", DOOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_) -> None:
        self.child.stdin.close()
        self.child.wait(timeout=30)
        self.child.stdout.close()

    def into(self, folder: Path):
        """A stand-in for the `seedbed` fixture, for commands in `folder`."""

        def call(*words: str, **env: str) -> Outcome:
            env = {"SEEDBED_OUTPUTS": str(folder / "outputs"), "SEEDBED_CACHE": str(folder / CACHE), **env}
            self.child.stdin.write(json.dumps([words, str(folder), env]) + "\n")
            self.child.stdin.flush()
            answer = self.child.stdout.readline()
            assert answer, f"the process ended at {words}"
            return Outcome(*json.loads(answer), folder / "outputs")

        return call
