"""task=train: train a model, or go on with a run that was stopped."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

from omegaconf import OmegaConf

from seedbed import experiment
from seedbed.types import RunResult, UserError

log = logging.getLogger(__name__)


def run(request: experiment.Request) -> RunResult:
    """Train, or with `resume=FOLDER` go on from the last checkpoint of that run, under its own configuration.

    Raises:
        UserError: the folder is no run's, or an override would change what the run is.
    """
    if request.config.get("resume") is None:
        return experiment.train(request)
    folder = Path(request.config["resume"])
    if not (folder / "config.yaml").is_file():
        raise UserError(f"resume: {folder} is not a run folder (it holds no config.yaml)")
    own = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    result = _result(folder)
    wanted = experiment.with_typed(own, request)
    _refuse_changes(request, own, wanted)
    # A run that stopped early stays stopped, whatever its number of epochs.
    more = wanted["train"]["epochs"] > own["train"]["epochs"] and not result.get("stopped_early")
    if result.get("status") == "finished" and not (more and (folder / "last.pt").is_file()):
        log.info("%s is finished: nothing to go on with", folder)
        return RunResult("finished", str(folder), result)
    saved = json.loads((folder / "overrides.json").read_text())
    resumed = dataclasses.replace(
        request, config=wanted, choices=saved["choices"], overrides=saved["overrides"], swept=saved["swept"]
    )
    return experiment.train(resumed, folder)


def _result(folder: Path) -> dict:
    path = folder / "result.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _refuse_changes(request: experiment.Request, own: dict, wanted: dict) -> None:
    """Device and a larger number of epochs may differ from the run's own; anything else would be another run."""
    for word in request.overrides:
        key = word.partition("=")[0].lstrip("+~")
        if key in (*experiment.NOT_OF_A_RUN, *experiment.PLACES, "device", "train.epochs") or key.startswith("device."):
            continue
        raise UserError(
            f"{word}: a resumed run keeps its own settings; only device.* and a larger train.epochs may differ"
        )
    before, after = own["train"]["epochs"], wanted["train"]["epochs"]
    if after < before:
        raise UserError(f"train.epochs={after}: a resumed run may only be made longer; this one has {before} epochs")
    if after > before and "OneCycle" in str((own.get("scheduler") or {}).get("_target_")):
        raise UserError("train.epochs: a one-cycle schedule is drawn over a fixed number of epochs; start a new run")
