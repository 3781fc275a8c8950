"""A sweep: every job is checked before the first one begins, none of them raises, and a leaderboard ends it."""

from __future__ import annotations

import itertools
import json
import logging
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seedbed.compose import CONF, as_text, choices_of, compose
from seedbed.errors import UserError
from seedbed.files import output_errors, require_file, try_folder, write_atomically
from seedbed.keys import of_task
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

    def __str__(self) -> str:
        values = ", ".join(f"{key}={value}" for key, value in self.swept.items())
        return f"job {self.number}: {values}" if values else f"job {self.number}"


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


class Sweep:
    """The jobs of one command, each of which leaves a result.

    Args:
        overrides: of the command.
        dispatch: runs one job.

    Raises:
        UserError: the overrides mean no job, or one of them is wrong; nothing was begun.
    """

    def __init__(self, overrides: list[str], dispatch: Callable[[Request], RunResult]):
        self.overrides, self.dispatch = overrides, dispatch
        self.results: list[RunResult] = []
        self.targets: list[str] = []
        self.begun = 0
        overrides = [as_text(override, sweeps=True) for override in overrides]
        self.jobs = jobs_of(overrides)
        if not self.jobs:
            raise UserError(f"{' '.join(overrides)}: {NO_JOB}")
        _, hydra = compose(self.jobs[0].overrides)
        for kind in ("sweeper", "launcher"):  # with others a failed job would pass for a good one
            if not hydra[kind]._target_.endswith(f".Basic{kind.capitalize()}"):
                raise UserError(f"hydra/{kind}: leave it out: jobs run one after another, and {hydra[kind]._target_} "
                                "would hide those that fail")  # fmt: skip
        if hydra.sweeper.get("params"):
            self.jobs = jobs_of([*(f"{key}={value}" for key, value in hydra.sweeper.params.items()), *overrides])
        self.folder = Path(hydra.sweep.dir)
        with output_errors(str(self.folder)):
            try_folder(self.folder)
        self.requests = [
            self._checked(job, *compose([*job.overrides, f"hydra.job.num={job.number}"])) for job in self.jobs
        ]

    def _checked(self, job: Job, config: dict[str, Any], hydra: Any) -> Request:
        """The request of a job, all checked that needs no images: a slip in the last job would show after hours."""
        from seedbed.experiment import Experiment
        from seedbed.preflight import check
        from seedbed.request import Request

        try:
            given = [key for key in ("checkpoint", "resume") if config.get(key) is not None]
            for key in given:
                if not Path(config[key]).exists():
                    raise UserError(f"{key}: {config[key]} is not there")
            if config["task"] == "predict":
                self._check_prediction(config)
            if config["task"] == "train" and not given:
                check(Experiment(config), job.overrides)
        except UserError as error:
            values = ", ".join(f"{key}={value}" for key, value in job.swept.items())
            job_name = f"job {job.number} ({values})" if values else f"job {job.number}"
            raise UserError(f"{job_name}: {error}; no job was begun") from error
        return Request(config, choices_of(hydra), of_task(job.overrides), job.swept, (self.folder, job.number))

    def _check_prediction(self, config: dict[str, Any]) -> None:
        from seedbed.data.unlabelled import expand

        target = config["predictions"]
        if target in self.targets:
            way = (
                "several images are one list, images=A,B without -m; run others one by one, each with predictions=FILE"
            )
            raise UserError(f"predictions: an earlier job writes {target}, too; {way}")
        self.targets.append(target)
        require_file("predictions", Path(target), (".csv",))
        if config["images"] == "-":
            raise UserError("images=-: standard input can be read once only; leave -m out")
        expand(config["images"])

    def run(self) -> list[RunResult]:
        """Run the jobs, and rank them. A job that fails is recorded; one that is interrupted ends the sweep."""
        with output_errors(str(self.folder)):
            self.folder.mkdir(parents=True, exist_ok=True)
            content = {"format_version": 1, "overrides": self.overrides}
            write_atomically(self.folder / SWEEP_FILE, json.dumps(content, indent=2) + "\n")
        try:
            for job, request in zip(self.jobs, self.requests, strict=True):
                self.results.append(self._run(job, request))
                if self.results[-1].status == "interrupted":
                    break
        finally:
            self._close()
        return self.results

    def _run(self, job: Job, request: Request) -> RunResult:
        """One job. It never raises: the others go on, and the sweep is closed in good order."""
        from seedbed.runs.run_folder import record_failure

        self.begun += 1
        before = set(self.folder.glob("*"))
        log.info("%s", job)
        try:
            return self.dispatch(request)
        except UserError as error:
            message = str(error)
        except Exception:
            message = traceback.format_exc()
        log.error("job %d failed: %s", job.number, message)
        try:
            record_failure(self.folder, job.number, request.overrides, request.swept, message, before)
        except (OSError, UserError) as error:
            log.error("job %d: its failure could not be written down: %s", job.number, error)
        return RunResult("failed", "", {}, message)

    def _close(self) -> None:
        """Write the leaderboard, and say what did not begin."""
        from seedbed.runs.leaderboard import leaderboard

        ranking = leaderboard(self.folder)
        if ranking:
            log.info("sweep, best validation accuracy first\n\n%s\n", ranking)
        begun, failed = self.begun, sum(result.status == "failed" for result in self.results)
        for job in self.jobs[begun:]:
            log.info("not begun: %s", job)
        left = f", {len(self.jobs) - begun} not begun" if begun < len(self.jobs) else ""
        log.info("%d jobs, %d failed%s; sweep folder: %s", begun, failed, left, self.folder)


def is_sweep(folder: Path) -> bool:
    """Whether a folder holds the runs of a sweep; version 0.1 wrote Hydra's own file there."""
    return (folder / SWEEP_FILE).is_file() or (folder / "multirun.yaml").is_file()
