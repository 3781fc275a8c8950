"""Going on with a run: its own configuration, what may differ from it, and the state that it was stopped in."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from seedbed import config
from seedbed.errors import UserError
from seedbed.experiment import Experiment
from seedbed.files import try_folder
from seedbed.keys import Override, declared
from seedbed.request import Request, with_overrides
from seedbed.runs.run_folder import RunFolder
from seedbed.tensors import in_short
from seedbed.training import checkpoint
from seedbed.training.device import require_device
from seedbed.upgrade import upgraded

log = logging.getLogger(__name__)


def open_run(path: Path) -> RunFolder:
    """The folder of a run to go on with.

    Raises:
        UserError: it is no run folder, cannot be written, or another process works in it.
    """
    if not (path / "config.yaml").is_file():
        raise UserError(f"resume: {path} is not a run folder (it holds no config.yaml)")
    try:
        try_folder(path)
    except OSError as error:
        way = "copy the run to a folder that can be written, and go on with that"
        raise UserError(f"resume: nothing can be written into {path} ({error.strerror}); {way}") from error
    return RunFolder(path)


def resumed_request(request: Request, path: Path) -> Request | None:
    """What the run in a folder was asked for, with what may differ on top; None where it is finished.

    Raises:
        UserError: an override would change what the run is, or it cannot be made longer.
    """
    of_run, result = _config(path / "config.yaml"), _json(path / "result.json")
    wanted = with_overrides(of_run, request)
    _refuse_changes(request, of_run, wanted)
    if result.get("status") == "finished":
        if wanted["train"]["epochs"] == of_run["train"]["epochs"]:
            log.info("%s is finished: nothing to go on with", path)
            if not of_run["train"]["keep_last"]:
                (path / "last.pt").unlink(missing_ok=True)  # a kill just before the end left it
            return None
        # A run that stopped early stays stopped, whatever its number of epochs.
        why = "it stopped early" if result["stopped_early"] else None
        if why is None and not (path / "last.pt").is_file():
            why = "its last.pt was not kept, as train.keep_last=true would"
        if why:
            raise UserError(f"train.epochs: {path} is finished and cannot be made longer: {why}; start a new run")
    require_device(config.check(wanted).device.name)
    saved = _json(path / "overrides.json")
    kept = {key: saved[key] for key in ("choices", "overrides", "swept") if key in saved}
    return dataclasses.replace(request, config=wanted, **{"choices": {}, "overrides": [], "swept": {}, **kept})


def restore(experiment: Experiment, folder: Path) -> None:
    """Load `last.pt`, or leave the state at its beginning if the run was killed before its first epoch ended.

    Raises:
        UserError: the checkpoint is damaged, or is another run's, or the images are others.
    """
    path = folder / "last.pt"
    if not path.exists() and not (folder / "metrics.csv").exists():
        log.info("%s holds no checkpoint yet: it begins anew", folder)
        return
    saved = checkpoint.load_last(path)
    if "data" not in saved:
        raise UserError(f"{path}: not a checkpoint that seedbed wrote")
    if any(saved.get(key, value) != value for key, value in experiment.fingerprints.items()):
        raise UserError(f"resume: the images or their splits are not those that {folder} began with; start a new run")
    try:
        experiment.state.load_state_dict(saved)
    except (LookupError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise UserError(
            f"{path}: does not fit the run that {folder / 'config.yaml'} describes ({in_short(error)})"
        ) from error


def _config(path: Path) -> dict[str, Any]:
    try:
        of_run = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, OmegaConfBaseException, YAMLError) as error:
        raise UserError(f"{path}: not a readable configuration ({str(error).splitlines()[0]})") from error
    if not isinstance(of_run, dict) or not isinstance(of_run.get("train"), dict) or "epochs" not in of_run["train"]:
        raise UserError(f"{path}: not the configuration of a run")
    return upgraded(of_run)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise UserError(f"{path}: not readable ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not written by a run of seedbed")
    return content


def _refuse_changes(request: Request, of_run: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Device, the path of the images and a larger number of epochs may differ; all else would make another run."""
    for override in map(Override, request.overrides):
        if not declared(override.key).resume:
            raise UserError(
                f"{override.text}: a resumed run keeps its own settings; only device.*, dataset.root and a larger "
                "train.epochs may differ"
            )
    if "train.epochs" in request.typed:
        config.check(wanted)
    before, after = of_run["train"]["epochs"], wanted["train"]["epochs"]
    if after < before:
        raise UserError(f"train.epochs={after}: a resumed run may only be made longer; this one has {before} epochs")
    if after > before and "OneCycle" in str((of_run.get("scheduler") or {}).get("_target_")):
        raise UserError("train.epochs: a one-cycle schedule is drawn over a fixed number of epochs; start a new run")
    if after > before and of_run["train"].get("initial_size"):
        raise UserError("train.epochs: train.initial_fraction is a part of a fixed number of epochs; start a new run")
