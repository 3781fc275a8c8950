"""A sweep: every job is checked before the first one begins, none of them raises, and a leaderboard ends it."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedbed.types import RunResult, UserError

if TYPE_CHECKING:
    from seedbed.experiment import Request

log = logging.getLogger(__name__)


def folder_listener() -> Any:
    """A callback for Hydra, which makes the folder of a sweep before it looks at the jobs: it notes where that lies."""
    from hydra.experimental.callback import Callback

    class FolderListener(Callback):
        def on_multirun_start(self, config: Any, **_: Any) -> None:
            global _place
            _place = Path(config.hydra.sweep.dir)

    return FolderListener()


_place: Path | None = None


def forget_folder() -> None:
    """Remove the folder of a sweep if no job has begun: it holds what Hydra wrote and nothing else."""
    global _place
    if _place is not None and [path.name for path in _inside(_place)] == ["multirun.yaml"]:
        (_place / "multirun.yaml").unlink()
        _place.rmdir()
    _place = None


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


class Sweep:
    """The jobs of one command.

    Args:
        folder: of their run folders.
        dispatch: runs one job.
    """

    def __init__(self, folder: Path, dispatch: Callable[[Request], RunResult]):
        self.folder = folder
        self.dispatch = dispatch
        self.results: list[RunResult] = []
        self.not_begun: list[str] = []

    @property
    def interrupted(self) -> bool:
        return any(result.status == "interrupted" for result in self.results)

    def run(self, number: int, words: list[str], make_request: Callable[[], Request]) -> None:
        """One job. It never raises: the others go on, and the sweep is closed in good order."""
        if self.interrupted:
            self.not_begun.append(f"job {number}: {', '.join(words)}")
            return
        request, there = None, set(_inside(self.folder))
        try:
            request = make_request()
            log.info("job %d: %s", number, ", ".join(f"{k}={v}" for k, v in request.swept.items()))
            self.results.append(self.dispatch(request))
            return
        except UserError as error:
            message = str(error)
        except Exception:
            message = traceback.format_exc()
        log.error("job %d failed: %s", number, message)
        if request is not None:
            self._note_failure(number, request, message, there)
        self.results.append(RunResult("failed", "", {}, message))

    def _note_failure(self, number: int, request: Request, message: str, there: set[Path]) -> None:
        from seedbed.results.record import note_failure

        try:
            note_failure(self.folder, number, request.overrides, request.swept, message, there)
        except (OSError, UserError) as error:
            log.error("job %d: its failure could not be written down: %s", number, error)

    def close(self) -> None:
        """Write the leaderboard, and say what did not begin."""
        from seedbed.results.report import leaderboard

        ranking = leaderboard(self.folder)
        failed = sum(result.status == "failed" for result in self.results)
        if ranking:
            log.info("sweep, best validation accuracy first\n\n%s\n", ranking)
        for job in self.not_begun:
            log.info("not begun: %s", job)
        rest = f", {len(self.not_begun)} not begun" if self.not_begun else ""
        log.info("%d jobs, %d failed%s; sweep folder: %s", len(self.results), failed, rest, self.folder)


def swept(typed: list[str]) -> dict[str, str]:
    """Of the words of a job those that name several values on the command line: key -> its value."""
    several = {word.split("=", 1)[0] for word in _words() if _names_several(word)}
    return dict(word.split("=", 1) for word in typed if word.split("=", 1)[0] in several)


def jobs() -> list[list[str]]:
    """The words of every job of this command, by the rules of Hydra's own sweeper."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    words = [word for word in sys.argv[1:] if "=" in word or word.startswith("~")]
    (batch,) = BasicSweeper.split_arguments(parser.parse_overrides([w for w in words if not w.startswith("-")]), None)
    return batch


def _words() -> list[str]:
    return [word for word in sys.argv[1:] if "=" in word and not word.startswith("-")]


def _names_several(word: str) -> bool:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(word).is_sweep_override()
