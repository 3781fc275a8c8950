"""task=train: train a model, or go on with a run that was stopped."""

import logging
from pathlib import Path

from seedbed import preflight
from seedbed.data.dataset import warn_of_missing_classes
from seedbed.experiment import Experiment
from seedbed.files import require_output
from seedbed.record import TrainingRecord, new_folder
from seedbed.request import Request
from seedbed.resume import open_run, restore, resumed_request
from seedbed.runs.leaderboard import leaderboard
from seedbed.runs.run_folder import RunFolder
from seedbed.sweep import is_sweep
from seedbed.training.interrupt import StopRequest
from seedbed.types import RunResult

log = logging.getLogger(__name__)


def run(request: Request) -> RunResult:
    """Train, or with `resume=FOLDER` go on from the last checkpoint of that run, under its own configuration.

    Raises:
        UserError: the configuration or the data is wrong, or an override would change what a resumed run is.
    """
    if request.config.get("resume") is None:
        experiment = Experiment(request.config, request.choices)
        require_output(request.sweep[0] if request.sweep else Path(request.config["output_root"]))
        preflight.check(experiment, request.overrides)
        return train(experiment, request)
    path = Path(request.config["resume"])
    with open_run(path) as folder:
        of_run = resumed_request(request, path)
        if of_run is None:
            return RunResult("finished", str(path), {})
        experiment = Experiment(of_run.config, of_run.choices, begins=not (path / "last.pt").exists())
        result = train(experiment, of_run, folder)
    sweep = path.resolve().parent
    if is_sweep(sweep):
        leaderboard(sweep)
    return result


def train(experiment: Experiment, request: Request, resumed: RunFolder | None = None) -> RunResult:
    """Train, test the best epoch, and leave a run folder.

    Args:
        resumed: the folder of a run to go on with, whose own configuration `request` carries.

    Raises:
        UserError: before anything is written, or when the loss becomes non-finite or the disk full.
    """
    for line in experiment.images.reading:
        log.info("%s", line)
    warn_of_missing_classes(experiment.images, request.title)
    state = experiment.state
    if resumed:
        restore(experiment, resumed.path)
    with resumed or RunFolder(new_folder(request)) as folder:
        record = TrainingRecord(folder, experiment, request, resumed=bool(resumed))
        with record.endings():
            with StopRequest() as stop:  # from here on a stop is heeded after the step under way
                record.describe()
                for _ in experiment.fit(stop, progress=record.progress):
                    record.write_epoch()
                    if stop():
                        return record.interrupted(stop.signal)
            experiment.model.load_state_dict(state.best)
            return record.finish(experiment.test())
