"""The folder of a sweep: the list of its jobs in sweep.json, and what is left to do of each."""

import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from seedbed import preflight
from seedbed.data.unlabelled import expand
from seedbed.errors import UserError
from seedbed.experiment import Experiment
from seedbed.files import held, make_whole, output_errors, require_file, write_atomically
from seedbed.keys import ROOTS, declared
from seedbed.request import Request, with_overrides
from seedbed.resume import config_of, resumed_request
from seedbed.runs.run_folder import slug
from seedbed.sweep import SWEEP_FILE, Job

log = logging.getLogger(__name__)


class Saved(NamedTuple):
    """What sweep.json says: the jobs, what each was asked for, and the working folder of the command."""

    jobs: list[Job]
    requests: list[Request]
    working_folder: str


def request_of(folder: Path, job: Job, config: dict[str, Any], choices: Mapping[str, str | None]) -> Request:
    """What a job is asked for; the folder of its run is named by number and values."""
    words = [f"{job.number:03d}", "_".join(f"{key}-{value}" for key, value in job.swept.items())]
    words += [str(config["name"])] if config.get("name") else []
    return Request(config, choices, job.typed, job.swept, folder / slug("_".join(words)))


def check(request: Request, targets: list[str]) -> None:
    """Check all of a job that needs no images: a slip in the last one would show after hours.

    `targets` are the tables that earlier jobs write; this one's is added.
    """
    config = request.config
    given = [key for key in ("checkpoint", "resume") if config.get(key) is not None]
    for key in given:
        if not Path(config[key]).exists():
            raise UserError(f"{key}: {config[key]} is not there")
    if config["task"] == "predict":
        _check_prediction(config, targets)
    if config["task"] == "train" and not given:
        preflight.check(Experiment(config), request.overrides)


def _check_prediction(config: Mapping[str, Any], targets: list[str]) -> None:
    target = config["predictions"]
    if target in targets:
        way = "several images are one list, images=A,B without -m; run others one by one, each with predictions=FILE"
        raise UserError(f"predictions: an earlier job writes {target}, too; {way}")
    targets.append(target)
    require_file("predictions", Path(target), (".csv",))
    if config["images"] == "-":
        raise UserError("images=-: standard input can be read once only; leave -m out")
    expand(config["images"])


def make(folder: Path, overrides: Sequence[str], requests: Sequence[Request]) -> None:
    """Make the folder with its sweep.json. A kill leaves both, or a hidden folder that the next sweep removes.

    Raises:
        UserError: it cannot be made, or holds files.
    """
    jobs = [
        {
            "overrides": request.overrides, "swept": request.swept, "choices": dict(request.choices),
            # As in config.yaml: JSON would make text of keys that are numbers.
            "config": OmegaConf.to_yaml(OmegaConf.create(request.config)),
        }
        for request in requests
    ]  # fmt: skip
    content = {"format_version": 1, "overrides": list(overrides), "working_folder": str(Path.cwd()), "jobs": jobs}
    text = json.dumps(content, indent=2) + "\n"
    with output_errors(str(folder)):
        if folder.exists() and any(folder.iterdir()):
            raise UserError(f"hydra.sweep.dir: {folder} holds files; give a new folder, or go on with resume={folder}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with held(folder.parent / ".sweep.lock") as alone:
            make_whole(folder, lambda private: write_atomically(private / SWEEP_FILE, text), "sweep", alone)


def read(folder: Path) -> Saved:
    """Read sweep.json.

    Raises:
        UserError: it is missing or damaged, or its jobs are of a task that leaves no run.
    """
    path = folder / SWEEP_FILE
    if not path.is_file():
        raise UserError(
            f"resume: {folder} is a sweep of version 0.1, which did not write down its jobs; go on with its runs one "
            "by one, resume=RUN, and give what has not begun as a new sweep"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        jobs = [Job(number, list(job["overrides"]), dict(job["swept"])) for number, job in enumerate(content["jobs"])]
        requests = [
            request_of(folder, job, config_of(path, saved["config"]), dict(saved["choices"]))
            for job, saved in zip(jobs, content["jobs"], strict=True)
        ]
        saved = Saved(jobs, requests, str(content["working_folder"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is not the list of a sweep's jobs; give the sweep's command again") from error
    if not all(request.leaves_a_run for request in requests):
        raise UserError(f"resume: the jobs of {folder} leave no runs to go on with; give the sweep's command again")
    return saved


def enter(working_folder: str, request: Request) -> Request:
    """Go where a sweep began: its paths are seen from there, and the user's own Python files lie there.

    Returns:
        the request, its paths as they are seen from where it was typed.
    """
    here = Path.cwd()
    if not Path(working_folder).is_dir() or here.samefile(working_folder):
        return request
    config = OmegaConf.create(request.config)
    for key in (key for key in request.typed if declared(key).path and OmegaConf.select(config, key)):
        OmegaConf.update(config, key, str(here / OmegaConf.select(config, key)))
    os.chdir(working_folder)
    sys.path.insert(0, working_folder)
    log.info("working folder, as when the sweep began: %s", working_folder)
    return replace(request, config=OmegaConf.to_container(config))


def left_of(of_job: Request, request: Request) -> Request | None:
    """What is left to do of a job, with what was typed now on top; None where its run is finished.

    Raises:
        UserError: something is wrong with it.
    """
    folder, typed = of_job.folder, of_job.typed - request.typed
    roots = {root: of_job.config[root] for root in ROOTS if root in typed}
    request = replace(request, config={**request.config, **roots}, folder=folder)
    if not (folder / "config.yaml").is_file():
        of_job = replace(of_job, config=with_overrides(of_job.config, request))
        check(of_job, [])
        return of_job
    finished = resumed_request(request, folder) is None
    if finished and not (folder / "run.lock").exists():  # one that a kill left goes when the run is opened
        return None
    return replace(request, config={**request.config, "resume": str(folder)})
