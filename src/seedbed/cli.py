"""The command line: compose a configuration, hand it to its task, and settle the exit code.

Nothing here imports torch: `--help` and `--cfg job` answer at once.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seedbed import __version__
from seedbed.compose import CONF, choices_of, plain, register_resolvers
from seedbed.errors import UserError, explain, require
from seedbed.types import RunResult

if TYPE_CHECKING:
    from seedbed.request import Request

TAKE_A_VALUE = ("--cfg", "-c", "--package", "-p", "--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp")
SHOWN_BY_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


def main() -> int:
    """Run the command in `sys.argv`; return the exit code (0; 1 for an error; 130 or 143 when asked to stop)."""
    try:
        code = _main()
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads, `head` say, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _main() -> int:
    arguments = sys.argv[1:] = flags_first(sys.argv[1:])
    folders = [folder for folder in folder_flags(arguments)[0] if folder.is_dir()]
    if {"-h", "--help"} & set(arguments):
        from seedbed.help import page

        print(page(folders))
        return 0
    if arguments == ["--version"]:
        print(f"seedbed {__version__}")
        return 0
    _log_to_terminal()
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.append(str(Path.cwd()))  # for a _target_ of the user's own, as `python -m run` has it
    before = os.environ.get("HYDRA_FULL_ERROR")
    # Hydra would print its own account of a mistake and leave; ours names the nearest spelling and the way out.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        with _quiet_usage():
            return _run_hydra(arguments)
    except KeyboardInterrupt:
        return 130
    except SystemExit as error:
        if not error.code:
            return 0
        flags = " ".join(word for word in arguments if word.startswith("-"))
        _complain(f"{flags}: no such flag, or one that lacks its value; see --help")
    except Exception as error:
        message = explain(error, arguments, folders)
        if message is None or before not in (None, "", "0"):
            raise
        _complain(message)
    finally:
        os.environ.pop("HYDRA_FULL_ERROR") if before is None else os.environ.update(HYDRA_FULL_ERROR=before)
    return 1


def flags_first(arguments: Sequence[str]) -> list[str]:
    """Hydra's parser takes flags before or after the overrides, not between them."""
    flags, others, left = [], [], list(arguments)
    while left:
        word = left.pop(0)
        is_flag = word.startswith("-")
        (flags if is_flag else others).append(word)
        if is_flag and left and word in TAKE_A_VALUE:
            flags.append(left.pop(0))
        elif word in ("--info", "-i"):  # an override behind it would be taken for what it shows
            flags[-1] = f"--info={left.pop(0) if left and left[0] in SHOWN_BY_INFO else 'all'}"
    return [*flags, *others]


def folder_flags(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The folders of configuration, ours and those that `--config-dir` adds, and the arguments without them."""
    folders, others, left = [CONF], [], list(arguments)
    while left:
        flag, equals, value = left.pop(0).partition("=")
        if flag in ("--config-dir", "-cd"):
            folders.append(Path(value if equals else left.pop(0) if left else ""))
        else:
            others.append(f"{flag}{equals}{value}")
    return folders, others


@contextlib.contextmanager
def _quiet_usage() -> Iterator[None]:
    """Hold back argparse's page of usage for a wrong flag: ours is one line."""
    from argparse import ArgumentParser

    error = ArgumentParser.error
    ArgumentParser.error = lambda self, message: sys.exit(2)
    try:
        yield
    finally:
        ArgumentParser.error = error


def _run_hydra(arguments: Sequence[str]) -> int:
    named, others = folder_flags(arguments)
    flags = {word for word in others if word.startswith("-")}
    sweeps = bool(flags) and flags <= {"-m", "--multirun"}
    results = _sweep([word for word in others if not word.startswith("-")], named[1:]) if sweeps else _single()
    signals = [result.signal for result in results if result.signal]
    return 128 + signals[0] if signals else int(any(result.status == "failed" for result in results))


def _sweep(overrides: list[str], folders: Sequence[Path]) -> list[RunResult]:
    from seedbed.sweep import begin

    try:
        for folder in folders:
            require(folder.is_dir(), f"--config-dir: {folder} is no folder")
        return begin(overrides, dispatch, folders)
    except UserError as error:
        return [_refused(error)]


def _single() -> list[RunResult]:
    """One run, or what Hydra's own flags show."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import DictConfig

    from seedbed.request import Request

    results: list[RunResult] = []

    def run(composed: DictConfig) -> None:
        settings = HydraConfig.get()
        try:
            if settings.mode == RunMode.MULTIRUN:
                if results:  # said for the first job
                    return
                raise UserError("hydra.mode: a sweep begins with -m, and with no flag beside it but --config-dir")
            config = plain(composed)  # first: its complaint of an interpolation is ours
            results.append(dispatch(Request(config, choices_of(settings), list(settings.overrides.task))))
        except UserError as error:  # past Hydra, which would add a line of its own
            results.append(_refused(error))

    register_resolvers()
    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(run)()
    return results


def dispatch(request: Request) -> RunResult:
    """Run a request's task."""
    task = importlib.import_module(f"seedbed.tasks.{request.config['task']}")
    return task.run(request)


def _refused(error: UserError) -> RunResult:
    _complain(error)
    return RunResult("failed", "", {}, str(error))


def _complain(message: object) -> None:
    print(f"error: {message}", file=sys.stderr)


def _log_to_terminal() -> None:
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be UTF-8, nor a terminal
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("seedbed")
    logger.setLevel(logging.INFO)
    logger.handlers = [handler]
    logger.propagate = False
