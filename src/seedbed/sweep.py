"""A sweep: every job is checked before the first one begins, none of them raises, and a leaderboard ends it."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedbed.errors import UserError
from seedbed.types import RunResult

if TYPE_CHECKING:
    from seedbed.request import Request

log = logging.getLogger(__name__)


@dataclass
class Plan:
    """What Hydra is about to run; empty where this process runs no sweep.

    Attributes:
        folder: of the sweep.
        was_there: whether somebody had made it before.
        words: as they were typed, before they are taken apart into jobs, with those of Hydra's sweeper.
        jobs: the words of each job; None where another sweeper makes them up as it goes, or another launcher runs
            them elsewhere.
    """

    folder: Path | None = None
    was_there: bool = False
    words: list[str] = field(default_factory=list)
    jobs: list[list[str]] | None = None

    def swept(self, typed: list[str]) -> dict[str, str]:
        """Of the words of a job those that name several values in the sweep: key -> its value."""
        several = {word.split("=", 1)[0] for word in self.words if _names_several(word)}
        return dict(word.split("=", 1) for word in typed if word.split("=", 1)[0] in several)

    def forget_folder(self) -> None:
        """Remove the folder that Hydra made before it looked at the jobs, none of which has begun."""
        if self.folder is not None and not self.was_there:
            with contextlib.suppress(OSError):
                if [path.name for path in self.folder.iterdir()] == ["multirun.yaml"]:
                    (self.folder / "multirun.yaml").unlink()
                    self.folder.rmdir()


plan = Plan()


def listener() -> Any:
    """A callback for Hydra that makes the plan: nothing else hears of a sweep before its folder is made."""
    from hydra.experimental.callback import Callback

    class Listener(Callback):
        def on_multirun_start(self, config: Any, **_: Any) -> None:
            own = config.hydra
            plan.folder = Path(own.sweep.dir)
            plan.was_there = plan.folder.exists()
            params = (own.sweeper.get("params") or {}).items()
            plan.words = [*(f"{key}={value}" for key, value in params), *own.overrides.task]
            if own.sweeper._target_.endswith(".BasicSweeper") and own.launcher._target_.endswith(".BasicLauncher"):
                plan.jobs = _jobs(plan.words)

    return Listener()


def _jobs(words: list[str]) -> list[list[str]] | None:
    """The words of every job, by the rules of Hydra's own sweeper; None where it will complain about them."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parser = OverridesParser.create(GlobalHydra.instance().config_loader())
        (batch,) = BasicSweeper.split_arguments(parser.parse_overrides(words), None)
    except HydraException:
        return None
    return batch


def _names_several(word: str) -> bool:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(word).is_sweep_override()


class Sweep:
    """The jobs of one command, each of which leaves a result.

    Args:
        folder: of their run folders.
        dispatch: runs one job.
    """

    def __init__(self, folder: Path, dispatch: Callable[[Request], RunResult]):
        self.folder = folder
        self.dispatch = dispatch
        self.results: list[RunResult] = []
        self.begun = 0

    @property
    def interrupted(self) -> bool:
        return any(result.status == "interrupted" for result in self.results)

    def run(self, number: int, make_request: Callable[[], Request]) -> None:
        """One job. It never raises: the others go on, and the sweep is closed in good order."""
        if self.interrupted:
            return
        self.begun += 1
        request, there = None, set(self.folder.glob("*"))
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
        from seedbed.runs.run_folder import note_failure

        try:
            note_failure(self.folder, number, request.overrides, request.swept, message, there)
        except (OSError, UserError) as error:
            log.error("job %d: its failure could not be written down: %s", number, error)

    def close(self) -> None:
        """Write the leaderboard, and say what did not begin."""
        from seedbed.runs.text_tables import leaderboard

        ranking = leaderboard(self.folder)
        failed = sum(result.status == "failed" for result in self.results)
        if ranking:
            log.info("sweep, best validation accuracy first\n\n%s\n", ranking)
        rest = list(enumerate(plan.jobs or []))[self.begun :]
        for number, words in rest:
            log.info("not begun: job %d: %s", number, ", ".join(f"{k}={v}" for k, v in plan.swept(words).items()))
        not_begun = f", {len(rest)} not begun" if rest else ""
        log.info("%d jobs, %d failed%s; sweep folder: %s", self.begun, failed, not_begun, self.folder)
