"""`python -m run` again and again, without the seconds of imports that each new process takes.

One process imports everything and then forks once for each command. A fork is a process of its own: working folder,
environment, modules, random generators, signals and memory of a command are gone with it.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LONGEST = 600  # seconds of a command
# What modules of seedbed import when they are called.
ALSO = (
    "hydra.core.plugins", "hydra.experimental.callback", "matplotlib.backends.backend_agg", "omegaconf._impl",
    "PIL.Image", "sklearn.datasets.data", "sklearn.datasets.descr", "torch.utils.serialization.config",
)  # fmt: skip


class CommandServer:
    """The process that forks; it starts with the first command, and again where it has died.

    Args:
        imports: whether to import everything first.
    """

    def __init__(self, imports: bool = True) -> None:
        self._imports = imports
        self._holder = tempfile.TemporaryDirectory(prefix="seedbed-commands-")
        self._folder = Path(self._holder.name)
        self._process: subprocess.Popen | None = None

    def run(
        self, overrides: Sequence[str], cwd: Path, environment: Mapping[str, str], before: str = ""
    ) -> tuple[int, str, str]:
        """The exit code, stdout and stderr of a command; the code is negative where a signal ended it.

        Args:
            overrides: what follows `python -m run`.
            before: Python code that runs first, in the command's own process.
        """
        if self._process is None or self._process.poll() is not None:
            self._start()
        out, err = self._folder / "out", self._folder / "err"
        request = {
            "overrides": list(overrides), "cwd": str(cwd), "environment": dict(environment), "before": before,
            "files": [os.devnull, str(out), str(err)],
        }  # fmt: skip
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], LONGEST)[0]:
            self.close()
            raise TimeoutError(f"{overrides} took more than {LONGEST} s")
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the server died at {overrides}:\n{(self._folder / 'log').read_text()}")
        return int(answer), *(path.read_text(errors="backslashreplace") for path in (out, err))

    def _start(self) -> None:
        self.close()
        with (self._folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__, *(["imports"] if self._imports else [])], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
                env={**os.environ, "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES"},  # macOS would end some forks
            )  # fmt: skip

    def close(self) -> None:
        """End the process, and whatever command it still runs."""
        if self._process is not None:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process.stdin.close()
            self._process.stdout.close()
            self._process = None


def _serve() -> None:
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an import prints is no answer
    if "imports" in sys.argv:
        _import_everything()
    gc.collect()
    gc.freeze()  # a fork that collects garbage copies no page for that
    for line in requests:
        child = os.fork()
        if child == 0:
            requests.close()
            answers.close()
            _run(**json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


def _import_everything() -> None:
    """What a command imports, and Hydra's plugins. Nothing computes here: threads would not survive a fork."""
    package = importlib.import_module("seedbed")
    for name in (*ALSO, *(module.name for module in pkgutil.walk_packages(package.__path__, "seedbed."))):
        with contextlib.suppress(Exception):  # the commands that need it will tell
            importlib.import_module(name)
    sys.modules["hydra.core.plugins"].Plugins.instance()
    sys.modules["PIL.Image"].preinit()


def _run(overrides: list[str], cwd: str, environment: dict[str, str], before: str, files: list[str]) -> None:
    """Be `python -m run` in this process, to its end."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for number, (file, flags) in enumerate(zip(files, (os.O_RDONLY, WRITE, WRITE), strict=True)):
        descriptor = os.open(file, flags)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")
    sys.argv, sys.path[0] = ["run", *overrides], cwd
    code: Any = 1
    try:
        exec(before, {})
        runpy.run_module("run", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:  # whatever happens, this process must not go on as a server
            os._exit(code)


WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
if __name__ == "__main__":
    _serve()
