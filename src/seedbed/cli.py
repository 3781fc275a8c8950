"""The command line: compose a configuration, hand it to its task, and settle the exit code.

Nothing here imports torch: `--help` and `--cfg job` answer at once.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedbed import __version__
from seedbed.errors import UserError, explain, options_of
from seedbed.sweep import Plan, Sweep, plan
from seedbed.types import RunResult

if TYPE_CHECKING:
    from seedbed.request import Request

PATHS = ("checkpoint", "resume", "images", "predictions", "table", "curves")
TAKE_A_VALUE = ("--cfg", "-c", "--package", "-p", "--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp")
SHOWN_BY_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
NO_JOB = "no job comes of these words; a glob() finds the options of a group, but not those in folders below it"
WITH_TILDE = ("data_root", "output_root", "cache_root", *PATHS)


def conf_folder() -> Path:
    """The configuration: inside the installed package, or beside `src/` in a clone."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "conf"


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
    words = sys.argv[1:] = flags_first(sys.argv[1:])
    if {"-h", "--help"} & set(words):
        from seedbed.help import page

        print(page(conf_folder()))
        return 0
    if words == ["--version"]:
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
            return _run_hydra()
    except KeyboardInterrupt:
        return 130
    except SystemExit as error:
        if not error.code:
            return 0
        flags = " ".join(word for word in words if word.startswith("-"))
        _complain(f"{flags}: no such flag, or one that lacks its value; see --help")
    except Exception as error:
        message = explain(error, words, conf_folder())
        if message is None or before not in (None, "", "0"):
            raise
        _complain(message)
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before
    return 1


def flags_first(words: list[str]) -> list[str]:
    """Hydra's parser takes flags before or after the overrides, not between them."""
    flags, others, words = [], [], list(words)
    while words:
        word = words.pop(0)
        is_flag = word.startswith("-")
        (flags if is_flag else others).append(word)
        if is_flag and words and word in TAKE_A_VALUE:
            flags.append(words.pop(0))
        elif word in ("--info", "-i"):  # an override behind it would be taken for what it shows
            flags[-1] = f"--info={words.pop(0) if words and words[0] in SHOWN_BY_INFO else 'all'}"
    return [*flags, *others]


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


def _complain(message: object) -> None:
    print(f"error: {message}", file=sys.stderr)


def _run_hydra() -> int:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import DictConfig, OmegaConf

    OmegaConf.register_new_resolver("sweep_token", lambda: secrets.token_hex(2), use_cache=True, replace=True)
    OmegaConf.register_new_resolver("expanded", lambda path: str(Path(path).expanduser()), replace=True)
    vars(plan).update(vars(Plan()))
    results: list[RunResult] = []
    sweep: Sweep | None = None

    def job(composed: DictConfig) -> None:
        nonlocal sweep
        own = HydraConfig.get()
        if own.mode != RunMode.MULTIRUN:
            try:
                results.append(_dispatch(_request(composed, own, None)))
            except UserError as error:  # past Hydra, which would add a line of its own
                results.append(_refused(error))
            return
        if sweep is None:
            if results:
                return
            try:
                _check_jobs(own.job.config_name)
            except UserError as error:
                results.append(_refused(error))
                return
            sweep = Sweep(Path(own.sweep.dir), _dispatch)
        sweep.run(own.job.num, lambda: _request(composed, own, sweep.folder))

    try:
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")(job)()
        if plan.jobs == []:
            results.append(_refused(UserError(f"{' '.join(plan.words)}: {NO_JOB}")))
    finally:
        if sweep is None:
            plan.forget_folder()
        else:
            sweep.close()
            results += sweep.results
    signals = [result.signal for result in results if result.signal]
    if signals:
        return 128 + signals[0]
    return int(any(result.status == "failed" for result in results))


def _refused(error: UserError) -> RunResult:
    _complain(error)
    return RunResult("failed", "", {}, str(error))


def _check_jobs(config_name: str) -> None:
    """Check all jobs of a sweep before the first one begins: a slip in the last would show after hours."""
    from hydra import compose

    from seedbed import build, config

    for number, words in enumerate(plan.jobs or []):
        try:
            wanted = _plain(compose(config_name, words))
            given = [key for key in ("checkpoint", "resume", "images") if wanted.get(key) is not None]
            for key in given:
                if not Path(wanted[key]).exists():
                    raise UserError(f"{key}: {wanted[key]} is not there")
            if wanted["task"] == "train" and not given:
                build.rehearse(config.check(wanted), words)
        except UserError as error:
            values = ", ".join(f"{key}={value}" for key, value in plan.swept(words).items())
            raise UserError(f"job {number} ({values}): {error}; no job was begun") from error


def _plain(composed: Any) -> dict[str, Any]:
    """A composed configuration as plain dicts and lists, resolved, the ~ of its places expanded."""
    from omegaconf import MissingMandatoryValue, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        config = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = getattr(error, "full_key", None) or "a key"
        raise UserError(f"{key}: must be given, as {key}=…") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key or 'a key'}: {str(error).strip().splitlines()[0]}") from error
    for key in PATHS:
        if not isinstance(config.get(key), str | None):
            raise UserError(
                f"{key}: expected a path, got {config[key]!r}; a name that is a number needs two pairs of quotes: "
                f"'{key}=\"{config[key]}\"'"
            )
    tasks = options_of(conf_folder() / "task")
    if config.get("task") not in tasks:
        raise UserError(f"task: expected one of {', '.join(tasks)}, got {config.get('task')!r}; give task=…")
    places = [(config, key) for key in WITH_TILDE] + [(config.get("dataset"), "root")]
    for holder, key in places:
        # A shell leaves the ~ of KEY=~/path as it is.
        if isinstance(holder, dict) and isinstance(holder.get(key), str):
            holder[key] = str(Path(holder[key]).expanduser())
    return config


def _request(composed: Any, own: Any, sweep: Path | None) -> Request:
    from seedbed.request import Request

    config = _plain(composed)  # first: its complaint of an interpolation is ours
    choices = {k: v for k, v in own.runtime.choices.items() if "/" not in k}
    typed = list(own.overrides.task)
    place = (sweep, own.job.num) if sweep is not None else None
    return Request(config, choices, typed, plan.swept(typed) if place else {}, place)


def _dispatch(request: Request) -> RunResult:
    task = importlib.import_module(f"seedbed.tasks.{request.config['task']}")
    return task.run(request)


def _log_to_terminal() -> None:
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be UTF-8, nor a terminal
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("seedbed")
    logger.setLevel(logging.INFO)
    logger.handlers = [handler]
    logger.propagate = False
