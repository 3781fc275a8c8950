"""Spellings of version 0.1: what to type today, and configurations that it wrote."""

from collections.abc import Mapping
from typing import Any

REPORT_MLP, REPORT_CONVNET = "seedbed.models.report.ReportMLP", "seedbed.models.report.ReportConvNet"
RENAMED = {
    "model.unit_gains": "model.rescale_batchnorm",
    "model.freeze_norms": "model.freeze_batchnorm",
    "train.test_views": "train.tta",
    "features.words": "features.visual_words",
    "dataset.places": "dataset.paths",
}
OF_THE_PAPER = {
    "model.softmax_output": REPORT_MLP,
    **dict.fromkeys(("model.share_blocks", "model.norm_order", "model.normalize_training"), REPORT_CONVNET),
}
MOVED = {
    "seedbed.data.tree.ImageTree": "seedbed.data.image_folder.ImageFolder",
    "seedbed.features.words.BagOfWords": "seedbed.features.visual_words.BagOfVisualWords",
}


def renamed(key: str) -> str | None:
    """The message for a key of version 0.1; None for any other."""
    if key in OF_THE_PAPER:
        return f"{key}: only models of the paper have it; type model._target_={OF_THE_PAPER[key]}"
    old = next((old for old in RENAMED if key == old or key.startswith(f"{old}.")), None)
    return old and f"{key}: was renamed; type {RENAMED[old]}{key[len(old) :]}"


def upgraded(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a run, in today's spelling; the argument stays as it is."""
    config = _moved(config)
    for old, new in RENAMED.items():
        group, _, name = old.partition(".")
        node = config.get(group)
        if isinstance(node, dict) and name in node:
            node[new.partition(".")[2]] = node.pop(name)
    if isinstance(config.get("model"), dict):
        _upgrade_model(config["model"])
    return config


def _moved(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {k: MOVED.get(v, v) if k == "_target_" and isinstance(v, str) else _moved(v) for k, v in node.items()}
    return [_moved(item) for item in node] if isinstance(node, list) else node


def _upgrade_model(model: dict[str, Any]) -> None:
    """What were switches of every model are arguments of the paper's models today."""
    if model.pop("softmax_output", False):
        model["_target_"] = REPORT_MLP
    usual = {"share_blocks": False, "norm_order": "norm_relu", "normalize_training": True}
    changed = any(model.get(key, value) != value for key, value in usual.items())
    if changed and str(model.get("_target_")).endswith(".convnet.ConvNet"):
        model.update({**usual, **model, "_target_": REPORT_CONVNET})
    if model.get("_target_") != REPORT_CONVNET:
        for key in [key for key, value in usual.items() if model.get(key) == value]:
            del model[key]
