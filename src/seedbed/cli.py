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
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedbed import __version__
from seedbed.types import RunResult, UserError

if TYPE_CHECKING:
    from seedbed.experiment import Request

log = logging.getLogger(__name__)
PLACES = ("data_root", "output_root", "cache_root", "checkpoint", "resume")


def conf_folder() -> Path:
    """The configuration: inside the installed package, or beside `src/` in a clone."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "conf"


def main() -> int:
    """Run the command in `sys.argv`; return the exit code (0; 1 for an error; 130 or 143 when asked to stop)."""
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        from seedbed.help import page

        print(page(conf_folder()))
        return 0
    if words == ["--version"]:
        print(f"seedbed {__version__}")
        return 0
    _log_to_terminal()
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
        from seedbed.mistakes import explain

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
    results: list[RunResult] = []
    sweeps: set[Path] = set()

    def job(composed: DictConfig) -> None:
        own = HydraConfig.get()
        sweep = Path(own.sweep.dir) if own.mode == RunMode.MULTIRUN else None
        if any(result.status == "interrupted" for result in results):
            return
        if sweep is None:
            try:
                results.append(_dispatch(_request(composed, own, None)))
            except UserError as error:  # past Hydra, which would add a line of its own
                _complain(error)
                results.append(RunResult("failed", "", {}, str(error)))
            return
        sweeps.add(sweep)
        results.append(_dispatch_in_sweep(composed, own, sweep))

    try:
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")(job)()
    finally:
        for sweep in sweeps:
            _close_sweep(sweep, results)
    signals = [result.signal for result in results if result.signal]
    if signals:
        return 128 + signals[0]
    return int(any(result.status == "failed" for result in results))


def _request(composed: Any, own: Any, sweep: Path | None) -> Request:
    from omegaconf import MissingMandatoryValue, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from seedbed.experiment import Request

    try:
        config = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = getattr(error, "full_key", None) or "a key"
        raise UserError(f"{key}: must be given, as {key}=…") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key or 'a key'}: {str(error).strip().splitlines()[0]}") from error
    places = [(config, key) for key in PLACES] + [(config.get("dataset"), "root")]
    for holder, key in places:
        # A shell leaves the ~ of KEY=~/path as it is.
        if isinstance(holder, dict) and isinstance(holder.get(key), str):
            holder[key] = str(Path(holder[key]).expanduser())
    choices = {k: v for k, v in own.runtime.choices.items() if "/" not in k}
    typed = list(own.overrides.task)
    swept = {}
    if sweep is not None:
        words = [word for word in sys.argv[1:] if "=" in word and not word.startswith("-")]
        several = {word.split("=", 1)[0] for word in words if _sweeps(word)}
        swept = dict(word.split("=", 1) for word in typed if word.split("=", 1)[0] in several)
    return Request(config, choices, typed, swept, (sweep, own.job.num) if sweep is not None else None)


def _sweeps(word: str) -> bool:
    """Whether an override names several values."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(word).is_sweep_override()


def _dispatch(request: Request) -> RunResult:
    task = importlib.import_module(f"seedbed.tasks.{request.config['task']}")
    return task.run(request)


def _dispatch_in_sweep(composed: Any, own: Any, sweep: Path) -> RunResult:
    """One job of a sweep. It never raises: the others go on, and the sweep is closed in good order."""
    request = None
    try:
        request = _request(composed, own, sweep)
        log.info("job %d: %s", own.job.num, ", ".join(f"{k}={v}" for k, v in request.swept.items()))
        return _dispatch(request)
    except UserError as error:
        message = str(error)
    except Exception:
        message = traceback.format_exc()
    log.error("job %d failed: %s", own.job.num, message)
    if request is not None:
        from seedbed.results.record import note_failure

        try:
            note_failure(sweep, own.job.num, request.overrides, request.swept, message)
        except (OSError, UserError) as error:
            log.error("job %d: its failure could not be written down: %s", own.job.num, error)
    return RunResult("failed", "", {}, message)


def _close_sweep(sweep: Path, results: list[RunResult]) -> None:
    from seedbed.results.report import leaderboard

    ranking = leaderboard(sweep)
    failed = sum(result.status == "failed" for result in results)
    if ranking:
        log.info("sweep, best validation accuracy first\n\n%s\n", ranking)
    log.info("%d jobs, %d failed; sweep folder: %s", len(results), failed, sweep)


def _log_to_terminal() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("seedbed")
    logger.setLevel(logging.INFO)
    logger.handlers = [handler]
    logger.propagate = False
