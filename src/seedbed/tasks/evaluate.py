"""task=evaluate: rebuild a trained model from one file and test it again."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from torch import nn

from seedbed import config, experiment
from seedbed.config import Settings
from seedbed.data.loader import Loader, Preprocess
from seedbed.engine import checkpoint, device
from seedbed.engine.evaluate import measure, predict
from seedbed.results.report import table
from seedbed.types import RunResult, UserError

log = logging.getLogger(__name__)


def run(request: experiment.Request) -> RunResult:
    """Test `checkpoint` on the test split of the data set that it was trained on.

    The run's own configuration wins; what the user typed counts on top of it. Writes nothing.

    Raises:
        UserError: the file is no checkpoint of ours, or does not fit the data.
    """
    path = Path(request.config["checkpoint"])
    weights, facts = checkpoint.load_best(path)
    settings = config.check(experiment.with_typed(facts["config"], request))
    device.require(settings.device.name)
    _refuse_other_code(settings)
    data = experiment.build_data(settings)
    if list(data.classes) != facts["classes"] or data.channels != facts["channels"]:
        raise UserError(
            f"{path}: was trained on {len(facts['classes'])} classes and {facts['channels']} channels; this data set "
            f"has {len(data.classes)} and {data.channels}, or other class names"
        )
    preprocess = Preprocess(**facts["preprocess"])
    model, on = experiment.build_model(settings, preprocess, data)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{path}: its weights do not fit the model it names: {error}") from error
    loader = Loader(
        data.test, preprocess, batch_size=settings.train.eval_batch_size, device=on.torch,
        channels_last=on.channels_last,
    )  # fmt: skip
    loss = nn.CrossEntropyLoss(label_smoothing=settings.train.label_smoothing)
    mean_loss, predictions, labels = predict(model, loader, loss, on.autocast)
    figures = experiment.figures_of(mean_loss, measure(labels, predictions, len(data.classes)))
    _show(path, figures)
    return RunResult("finished", str(path.parent), {"test": figures})


def _refuse_other_code(settings: Settings) -> None:
    """A checkpoint from elsewhere may name any callable: only a model and a data source, of plain values, are built."""
    nodes = {"model": settings.model_node, "dataset": settings.dataset_node}
    for group, node in nodes.items():
        target = config.locate(node["_target_"], f"{group}._target_")
        fits = isinstance(target, type) and (
            issubclass(target, nn.Module) if group == "model" else hasattr(target, "listing")
        )
        if not fits or "_target_" in str([value for key, value in node.items() if key != "_target_"]):
            raise UserError(f"checkpoint: its {group} is {node['_target_']}, which is no {group}; nothing was run")


def _show(path: Path, figures: dict[str, float]) -> None:
    header = ("test", *(key for key in figures if key != "loss"), "loss")
    log.info("\n%s\n", table(header, [(str(path), *(f"{figures[key]:.4f}" for key in header[1:]))]))
    recorded = path.parent / "result.json"
    if recorded.is_file():
        expected = json.loads(recorded.read_text()).get("test", {})
        other = [
            f"{key} {expected[key]} recorded, {figures[key]} now" for key in expected if expected[key] != figures[key]
        ]
        log.info("; ".join(other) if other else "identical to the figures that the run recorded")
