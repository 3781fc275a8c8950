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
from seedbed.compose import CONF, as_text, choices_of, compose, plain, register_resolvers, search_in
from seedbed.cpu import wait_politely
from seedbed.errors import UserError, explain, require
from seedbed.keys import Override, of_task, refuse_hydras
from seedbed.types import RunResult

if TYPE_CHECKING:
    from seedbed.request import Request

TAKE_A_VALUE = ("--cfg", "-c", "--package", "-p", "--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp")
MANY = {"-m", "--multirun"}
SHOW = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc", "--resolve", "--package", "-p")
SHOWN_BY_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


def main() -> int:
    """Run the command in `sys.argv`; return the exit code (0; 1 for an error; 130 or 143 when asked to stop)."""
    wait_politely()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file's name need not be UTF-8, nor a terminal
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
            return _run(arguments)
    except KeyboardInterrupt:
        return 130
    except SystemExit as error:
        if not error.code:
            return 0
        flags = " ".join(word for word in arguments if word.startswith("-"))
        _complain(f"{flags}: no such flag, or one that lacks its value; see --help")
    except UserError as error:
        _complain(error)
    except Exception as error:
        message = explain(error, arguments, folders, _attempt)
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


def _run(arguments: Sequence[str]) -> int:
    (_, *named), others = folder_flags(arguments)
    flags, typed = [word for word in others if word.startswith("-")], [w for w in others if not w.startswith("-")]
    sweeps, more = bool(set(flags) & MANY), [flag for flag in flags if flag not in MANY]
    if sweeps and more and not any(flag.startswith(SHOW) for flag in more):
        raise UserError(f"{' '.join(flags)}: -m goes with no other flag than --config-dir; leave {' '.join(more)} out")
    for folder in named:
        require(folder.is_dir(), f"--config-dir: {folder} is no folder; make it, or leave the flag out")
    refuse_hydras([override.key for override in map(Override, typed)], sweeps)
    if more:
        results = _by_hydra()
    else:
        search_in(named)
        results = _sweep(typed) if sweeps else [_single(typed)]
    signals = [result.signal for result in results if result.signal]
    return 128 + signals[0] if signals else int(any(result.status == "failed" for result in results))


def _sweep(overrides: list[str]) -> list[RunResult]:
    from seedbed.sweep import Sweep

    try:
        return Sweep(overrides, dispatch).run()
    except UserError as error:
        return [_refused(error)]


def _single(overrides: list[str]) -> RunResult:
    from seedbed.request import Request

    config, hydra = compose(overrides)
    return dispatch(Request(config, choices_of(hydra), of_task(overrides)))


def _by_hydra() -> list[RunResult]:
    """What Hydra's own flags ask for: it shows something, or runs a configuration of another name."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import DictConfig

    from seedbed.request import Request

    results: list[RunResult] = []

    def run(composed: DictConfig) -> None:
        settings = HydraConfig.get()
        try:
            config = plain(composed)  # first: its complaint of an interpolation is ours
            results.append(dispatch(Request(config, choices_of(settings), list(settings.overrides.task))))
        except UserError as error:  # past Hydra, which would add a line of its own
            results.append(_refused(error))

    register_resolvers()
    sys.argv[1:] = map(as_text, sys.argv[1:])
    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(run)()
    return results


def _attempt(overrides: list[str]) -> None:
    from seedbed.config import check

    config, _ = compose(overrides)
    if config["task"] == "train":
        check(config)


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
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("seedbed")
    logger.setLevel(logging.INFO)
    logger.handlers = [handler]
    logger.propagate = False
