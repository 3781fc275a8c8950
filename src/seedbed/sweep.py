"""A sweep: every job is checked before the first one begins, none of them raises, and a leaderboard ends it."""

from __future__ import annotations

import itertools
import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seedbed.compose import CONF, as_text, choices_of, compose
from seedbed.errors import UserError
from seedbed.files import held, output_errors, remove_leftovers, try_folder
from seedbed.keys import Override, declared, of_task
from seedbed.types import RunResult

if TYPE_CHECKING:
    from seedbed.request import Request

log = logging.getLogger(__name__)
SWEEP_FILE = "sweep.json"
NO_JOB = "no job comes of these overrides; a glob() finds the options of a group, but not those in folders below it"


class Job(NamedTuple):
    """One run of a sweep.

    Attributes:
        overrides: one value a key.
        swept: key -> value of those that have several in the sweep.
    """

    number: int
    overrides: list[str]
    swept: dict[str, str]

    @property
    def typed(self) -> list[str]:
        """The overrides that are not Hydra's own."""
        return of_task(self.overrides)

    @property
    def values(self) -> str:
        """Those that differ between the jobs."""
        return ", ".join(f"{key}={value}" for key, value in self.swept.items())

    def __str__(self) -> str:
        return f"job {self.number}: {self.values}" if self.values else f"job {self.number}"


def jobs_of(overrides: Sequence[str]) -> list[Job]:
    """The jobs that the overrides of a sweep mean: every combination of their values, the last key's values fastest."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    with initialize_config_dir(str(CONF), version_base="1.3"):  # its loader knows what a glob() finds
        parsed = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(list(overrides))
        values = {override.get_key_element(): _values(override) for override in parsed}
    several = {override.get_key_element() for override in parsed if override.is_sweep_override()}
    combinations = (list(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values()))
    return [
        Job(number, [f"{key}={value}" for key, value in pairs], {k: v for k, v in pairs if k in several})
        for number, pairs in enumerate(combinations)
    ]


def _values(override: Any) -> list[str]:
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    if override.is_discrete_sweep():
        return list(override.sweep_string_iterator())
    raise UserError(
        f"{override.input_line}: a sweep runs listed values: {override.get_key_element()}=A,B,C or range(…)"
    )


def begin(overrides: list[str], dispatch: Callable[[Request], RunResult]) -> list[RunResult]:
    """Run the sweep of a command.

    Args:
        dispatch: runs one job.

    Raises:
        UserError: the overrides mean no job, or one of them is wrong; nothing was begun.
    """
    typed = [as_text(override, sweeps=True) for override in overrides]
    jobs = jobs_of(typed)
    if not jobs:
        raise UserError(f"{' '.join(overrides)}: {NO_JOB}")
    _, hydra = compose(jobs[0].overrides)
    for kind in ("sweeper", "launcher"):  # with others a failed job would pass for a good one
        if not hydra[kind]._target_.endswith(f".Basic{kind.capitalize()}"):
            raise UserError(f"hydra/{kind}: leave it out: jobs run one after another, and {hydra[kind]._target_} "
                            "would hide those that fail")  # fmt: skip
    if hydra.sweeper.get("params"):
        jobs = jobs_of([*(f"{key}={value}" for key, value in hydra.sweeper.params.items()), *typed])
    from seedbed import sweep_folder  # not before the overrides are known to be right: it imports torch

    folder, requests, targets = Path(hydra.sweep.dir), [], []
    with output_errors(str(folder)):
        try_folder(folder)
    for job in jobs:
        config, of_job = compose([*job.overrides, f"hydra.job.num={job.number}"])
        requests.append(sweep_folder.request_of(folder, job, config, choices_of(of_job)))
        with _naming(job):
            sweep_folder.check(requests[-1], targets)
    sweep_folder.make(folder, overrides, requests)
    with _held(folder):
        return _run(folder, jobs, requests, dispatch)


def resume(request: Request, folder: Path, dispatch: Callable[[Request], RunResult]) -> RunResult:
    """Go on with a sweep that was stopped, in the working folder that it had. What is finished stays as it is.

    Args:
        request: of the command.
        dispatch: runs one job.

    Raises:
        UserError: the folder does not say its jobs, another process runs them, or an override is not for all of them.
    """
    from seedbed import sweep_folder

    for override in map(Override, request.overrides):
        if override.key == "train.epochs" or not declared(override.key).resume:
            raise UserError(
                f"{override.text}: a resumed sweep keeps its own settings; only device.* and dataset.root may differ"
            )
    folder = folder.resolve()
    with _held(folder):
        remove_leftovers(folder)
        saved = sweep_folder.read(folder)
        request, jobs, requests = sweep_folder.enter(saved.working_folder, request), saved.jobs, []
        for job, of_job in zip(jobs, saved.requests, strict=True):
            with _naming(job):
                requests.append(sweep_folder.left_of(of_job, request))
        results = _run(folder, jobs, requests, dispatch)
    worst = min(results, key=lambda result: ("interrupted", "failed", "finished").index(result.status))
    return RunResult(worst.status, str(folder), {}, worst.error, worst.signal)


def _held(folder: Path) -> AbstractContextManager[bool]:
    return held(folder / "sweep.lock", f"{folder}: another process runs this sweep; wait for it or stop it")


@contextmanager
def _naming(job: Job) -> Iterator[None]:
    """Say of which job a mistake is."""
    try:
        yield
    except UserError as error:
        named = f"job {job.number} ({job.values})" if job.values else f"job {job.number}"
        raise UserError(f"{named}: {error}; no job was begun") from error


def _run(
    folder: Path, jobs: Sequence[Job], requests: Sequence[Request | None], dispatch: Callable[[Request], RunResult]
) -> list[RunResult]:
    """Run the jobs that are not finished, and rank all. One that is interrupted ends the sweep."""
    results: list[RunResult] = []
    try:
        for job, request in zip(jobs, requests, strict=True):
            log.info("%s%s", job, "" if request else ": is finished")
            results.append(RunResult("interrupted", "", {}))  # by a second Ctrl-C, if nothing else comes of it
            results[-1] = _run_job(job, request, dispatch) if request else RunResult("finished", str(folder), {})
            if results[-1].status == "interrupted":
                break
    finally:
        _close(folder, jobs, results, all(not request or request.leaves_a_run for request in requests))
    return results


def _run_job(job: Job, request: Request, dispatch: Callable[[Request], RunResult]) -> RunResult:
    """One job. It never raises: a failure is recorded, the others go on, and the sweep is closed in good order."""
    from seedbed.runs.run_folder import record_failure

    try:
        return dispatch(request)
    except UserError as error:
        message = str(error)
    except Exception:
        message = traceback.format_exc()
    log.error("job %d failed: %s", job.number, message)
    try:
        record_failure(request.folder, job.typed, job.swept, message)
    except (OSError, UserError) as error:
        log.error("job %d: its failure could not be written down: %s", job.number, error)
    return RunResult("failed", "", {}, message)


def _close(folder: Path, jobs: Sequence[Job], results: Sequence[RunResult], leaves_runs: bool) -> None:
    """Write the leaderboard, and say what did not begin, and how to go on."""
    from seedbed.runs.leaderboard import leaderboard

    ranking = leaderboard(folder)
    if ranking:
        log.info("sweep, best validation accuracy first\n\n%s\n", ranking)
    begun, failed = len(results), sum(result.status == "failed" for result in results)
    for job in jobs[begun:]:
        log.info("not begun: %s", job)
    left = f", {len(jobs) - begun} not begun" if begun < len(jobs) else ""
    log.info("%d jobs, %d failed%s; sweep folder: %s", begun, failed, left, folder)
    if leaves_runs and sum(result.status == "finished" for result in results) < len(jobs):
        log.info("go on with: python -m run resume=%s", folder)


def is_sweep(folder: Path) -> bool:
    """Whether a folder holds the runs of a sweep; version 0.1 wrote Hydra's own file there."""
    return (folder / SWEEP_FILE).is_file() or (folder / "multirun.yaml").is_file()
