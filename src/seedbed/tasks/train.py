"""task=train: train a model, or go on with a run that was stopped."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from seedbed import config, experiment
from seedbed.config import OF_TASKS
from seedbed.errors import UserError
from seedbed.request import PLACES, Request, with_typed
from seedbed.runs.run_folder import RunFolder
from seedbed.runs.text_tables import leaderboard
from seedbed.types import RunResult

log = logging.getLogger(__name__)


def run(request: Request) -> RunResult:
    """Train, or with `resume=FOLDER` go on from the last checkpoint of that run, under its own configuration.

    Raises:
        UserError: the folder is no run's, or an override would change what the run is.
    """
    if request.config.get("resume") is None:
        return experiment.train(request)
    folder = Path(request.config["resume"])
    if not (folder / "config.yaml").is_file():
        raise UserError(f"resume: {folder} is not a run folder (it holds no config.yaml)")
    with RunFolder(folder) as record:
        result = _go_on(request, record)
    sweep = folder.resolve().parent
    if (sweep / "multirun.yaml").is_file():
        leaderboard(sweep)
    return result


def _go_on(request: Request, record: RunFolder) -> RunResult:
    folder = record.folder
    own, result, saved = (
        _config(folder / "config.yaml"),
        _json(folder / "result.json"),
        _json(folder / "overrides.json"),
    )
    wanted = with_typed(own, request)
    _refuse_changes(request, own, wanted)
    if result.get("status") == "finished":
        if wanted["train"]["epochs"] == own["train"]["epochs"]:
            log.info("%s is finished: nothing to go on with", folder)
            if not own["train"]["keep_last"]:
                (folder / "last.pt").unlink(missing_ok=True)  # a kill just before the end left it
            return RunResult("finished", str(folder), result)
        # A run that stopped early stays stopped, whatever its number of epochs.
        if result["stopped_early"] or not (folder / "last.pt").is_file():
            why = (
                "it stopped early"
                if result["stopped_early"]
                else "its last.pt was not kept, as train.keep_last=true would"
            )
            raise UserError(f"train.epochs: {folder} is finished and cannot be made longer: {why}; start a new run")
    resumed = dataclasses.replace(
        request,
        config=wanted,
        choices=saved.get("choices", {}),
        overrides=saved.get("overrides", []),
        swept=saved.get("swept", {}),
    )
    return experiment.train(resumed, record)


def _config(path: Path) -> dict:
    try:
        own = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, OmegaConfBaseException, YAMLError) as error:
        raise UserError(f"{path}: not a readable configuration ({str(error).splitlines()[0]})") from error
    if not isinstance(own, dict) or not isinstance(own.get("train"), dict) or "epochs" not in own["train"]:
        raise UserError(f"{path}: not the configuration of a run")
    return own


def _json(path: Path) -> dict:
    try:
        facts = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise UserError(f"{path}: not readable ({error})") from error
    if not isinstance(facts, dict):
        raise UserError(f"{path}: not written by a run of seedbed")
    return facts


def _refuse_changes(request: Request, own: dict, wanted: dict) -> None:
    """Device, the place of the images and a larger number of epochs may differ; anything else would be another run."""
    for word in request.overrides:
        key = word.partition("=")[0].lstrip("+~")
        if key in (
            *OF_TASKS,
            *PLACES,
            "device",
            "dataset.root",
            "train.epochs",
        ) or key.startswith("device."):
            continue
        raise UserError(
            f"{word}: a resumed run keeps its own settings; only device.*, dataset.root and a larger train.epochs "
            "may differ"
        )
    if "train.epochs" in [word.partition("=")[0].lstrip("+~") for word in request.overrides]:
        config.check(wanted)
    before, after = own["train"]["epochs"], wanted["train"]["epochs"]
    if after < before:
        raise UserError(f"train.epochs={after}: a resumed run may only be made longer; this one has {before} epochs")
    if after > before and "OneCycle" in str((own.get("scheduler") or {}).get("_target_")):
        raise UserError("train.epochs: a one-cycle schedule is drawn over a fixed number of epochs; start a new run")
    if after > before and own["train"].get("initial_size"):
        raise UserError("train.epochs: train.initial_fraction is a part of a fixed number of epochs; start a new run")
