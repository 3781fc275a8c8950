"""Fine-tuning: pretrained weights, frozen stages, learning rates by depth, and the scale of BatchNorm weights.

A model that can be fine-tuned has `stages()`: its modules by name, from the input to the head, every parameter once.
One whose BatchNorm weights can be rescaled has `scales()`: groups of BatchNorm layers whose outputs add up, and every
layer that takes what a group gives, once. Between them stand ReLUs, sums and pooling, which pass a positive factor on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from seedbed.errors import UserError
from seedbed.tensors import in_short, load_tensors

SHIPPED = Path(__file__).parents[1] / "weights"  # NAME_MODEL.safetensors and its sum, NAME_MODEL.sha256
LISTED = 12  # keys of a mismatch that are named
SMALLEST = 1e-6  # mean size of BatchNorm weights below which a group is dead: it stays
Normalization = tuple[list[float], list[float]]  # mean and standard deviation, one number a channel
log = logging.getLogger(__name__)


def prepare(
    model: nn.Module, *, pretrained: str | None, rescale: bool, freeze_up_to: str | None, freeze_bn: bool,
    normalization: Normalization | None, begins: bool,
) -> None:  # fmt: skip
    """Load pretrained weights and rescale BatchNorm weights where training `begins`; freeze what is to stay.

    `normalization` is that of our images. Weights of images normalised otherwise are taken, and a warning says so.
    """
    fresh = []
    if begins and pretrained not in (None, "none"):
        fresh = load_pretrained(model, pretrained)
        log.info("weights of %s%s", pretrained, f", but for {', '.join(fresh)}" if fresh else "")
        _warn_of_shift(model, pretrained, normalization)
    if begins and rescale:
        rescale_batchnorm(model, new=[model.get_submodule(key.rpartition(".")[0]) for key in fresh])
    freeze(model, freeze_up_to, freeze_bn)


def _warn_of_shift(model: nn.Module, source: str, ours: Normalization | None) -> None:
    theirs = normalization(find_weights(model, source))
    if theirs and ours and theirs != ours:
        log.warning(
            "model.pretrained: %s was trained on images normalised by mean %s, std %s, which are here %s, %s; to keep "
            "them give model.mean, model.std",
            source, *(", ".join(f"{v:.4g}" for v in values) for values in (*theirs, *ours)),
        )  # fmt: skip


def load_pretrained(model: nn.Module, source: str) -> list[str]:
    """Give a model the weights of another of its kind; a head of another size keeps its own: its keys are returned.

    `source` is the name of shipped weights (`cifar10`), or a file: safetensors, or a state dict that loads with
    `weights_only=True`; keys with or without `module.` before them. UserError: no such weights, an unreadable or
    altered file, or keys or shapes that do not fit.
    """
    weights, fresh = fitting_weights(model, source)
    model.load_state_dict(weights, strict=False)
    return fresh


def fitting_weights(model: nn.Module, source: str) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The weights of `source` that a model takes, and the keys of its own head; UserError as `load_pretrained`."""
    stages_of(model, "model.pretrained")
    weights, current = read_weights(find_weights(model, source)), model.state_dict()
    fresh = _of_other_classes(model, weights, current)
    theirs, ours = ({k: "x".join(map(str, v.shape)) or "one number" for k, v in d.items()} for d in (weights, current))
    other = [key for key in ours if key not in fresh and theirs.get(key, ours[key]) != ours[key]]
    mismatches = {
        # Files of before 2018 lack the counters, which only a BatchNorm layer without momentum reads.
        "missing": [key for key in ours if key not in theirs and not key.endswith("num_batches_tracked")],
        "unknown": [key for key in theirs if key not in ours],
        "of another shape": [f"{key} {theirs[key]} instead of {ours[key]}" for key in other],
    }
    wrong = [
        f"{what}: {', '.join(keys[:LISTED])}" + (f" and {len(keys) - LISTED} more" if len(keys) > LISTED else "")
        for what, keys in mismatches.items() if keys
    ]  # fmt: skip
    if wrong:
        raise UserError(f"model.pretrained: {source} does not fit {type(model).__name__}: {'; '.join(wrong)}")
    return {key: value for key, value in weights.items() if key not in fresh}, fresh


def _of_other_classes(model: nn.Module, weights: dict, current: dict) -> list[str]:
    """Keys of the layer that gives the logits, where its number of classes differs, alike for all, and nothing else."""
    head = {below for module in stages_of(model, "model.pretrained")["head"] for below in module.modules()}
    name, last = [(name, m) for name, m in model.named_modules() if m in head and m._parameters][-1]
    keys = sorted(f"{name}.{key}" for key in last.state_dict())
    if not all(k in weights and weights[k].ndim and weights[k].shape[1:] == current[k].shape[1:] for k in keys):
        return []
    theirs, ours = ({len(tensors[key]) for key in keys} for tensors in (weights, current))
    return keys if len(theirs) == 1 and theirs != ours else []


def find_weights(model: nn.Module | None, source: str) -> Path:
    """The file of weights that are shipped for a model (None: for any), its SHA-256 checked, or the path given."""
    kind = "*" if model is None else type(model).__name__.lower()
    shipped = {path.stem.rpartition("_")[0]: path for path in sorted(SHIPPED.glob(f"*_{kind}.safetensors"))}
    if path := shipped.get(source):
        expected, digest = path.with_suffix(".sha256"), hashlib.sha256(path.read_bytes()).hexdigest()
        if not expected.is_file() or expected.read_text(encoding="utf-8").split()[:1] != [digest]:
            raise UserError(f"model.pretrained: {path} is not the file that was shipped; install seedbed again")
        return path
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # no such user, too long a name, a zero byte
        if (path := Path(source).expanduser()).is_file():
            return path
    names = ", ".join([*shipped, "none"])
    raise UserError(f"model.pretrained: {source} is not there; give {names}, or a file: safetensors or a state dict")


def require_weights(source: str) -> None:
    """Raise UserError if no weights of that name are shipped, for whatever model, and no such file exists."""
    find_weights(None, source)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A state dict on the CPU, without `module.` before its keys; no code of the file is run."""
    complaint = f"model.pretrained: {path} is neither safetensors nor a state dict"
    try:
        with path.open("rb") as file:
            begin = file.read(9)
        # torch.save's zip, and the pickle that it wrote before. A safetensors file begins with a length of eight bytes,
        # which may look like either, and then a brace.
        of_torch = begin[8:] != b"{" and (begin[:2] == b"PK" or begin[:1] == b"\x80")
        weights = load_tensors(path, complaint) if of_torch else load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{complaint} ({in_short(error)})") from error
    if isinstance(weights, dict):
        weights = weights.get("state_dict", weights)
    if not isinstance(weights, dict) or not all(isinstance(k, str) and torch.is_tensor(v) for k, v in weights.items()):
        raise UserError(f"model.pretrained: {path} holds no state dict: names with a tensor each")
    prefix = "module." if all(key.startswith("module.") for key in weights) else ""
    return {key.removeprefix(prefix): value for key, value in weights.items()}


def normalization(path: Path) -> Normalization | None:
    """That of the images that a file's weights were trained on; None where the file does not say: only ours do."""
    try:
        with safe_open(path, framework="pt") as file:
            preprocess = json.loads((file.metadata() or {})["seedbed"])["preprocess"]
        return list(preprocess["mean"]), list(preprocess["std"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that always normalises by the statistics it has learned, and never changes them."""

    def train(self, mode: bool = True) -> FrozenBatchNorm2d:
        """Stay in evaluation, whatever the mode."""
        return super().train(False)


def stages_of(model: nn.Module, key: str) -> dict[str, list[nn.Module]]:
    """The model's stages; UserError, which names `key`, where it has none."""
    if not hasattr(model, "stages"):
        raise UserError(f"{key}: {type(model).__name__} has no stages; it trains as a whole, from the start")
    return model.stages()


def freeze(model: nn.Module, up_to: str | None, batchnorm: bool) -> None:
    """Keep the weights and statistics of all stages from the input to `up_to` as they are; UserError: no such stage.

    With `batchnorm` the statistics of all other BatchNorm layers stay too; their weights are trained.
    """
    still = []
    if batchnorm:
        stages_of(model, "model.freeze_batchnorm")
        still = [model]
    if up_to is not None:
        stages = stages_of(model, "model.freeze")
        names = [*stages][:-1]
        if up_to not in names:
            raise UserError(f"model.freeze: expected null or one of {', '.join(names)}, got {up_to!r}")
        still += [module.requires_grad_(False) for name in names[: names.index(up_to) + 1] for module in stages[name]]
    for layer in [layer for module in still for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]:
        layer.__class__ = FrozenBatchNorm2d  # parameters and buffers stay the same objects
        layer.eval()


def parameter_groups(model: nn.Module, lr: float, decay: float) -> list[dict[str, Any]]:
    """Trained parameters for an optimizer, the head's first; each stage has `decay` times the rate of the one above."""
    if decay == 1:
        return [{"params": [p for p in model.parameters() if p.requires_grad]}]
    groups = []
    for modules in reversed(stages_of(model, "model.lr_decay").values()):
        if trained := [p for module in modules for p in module.parameters() if p.requires_grad]:
            groups.append({"params": trained, "lr": lr * decay ** len(groups)})
    return groups


def require_scales(model: nn.Module) -> None:
    """Raise UserError for a model that does not say which layers scale together."""
    if not hasattr(model, "scales"):
        raise UserError(
            f"model.rescale_batchnorm: {type(model).__name__} does not say which layers scale together, as ResNet18 "
            "does; leave it false"
        )


@torch.no_grad()
def rescale_batchnorm(model: nn.Module, new: Collection[nn.Module] = ()) -> None:
    """Scale each group of BatchNorm layers to weights of mean size 1, as in a new model; the model's outputs stay.

    Their weights and biases are divided by the mean size, the weights of the layers that take them multiplied by it. By
    SGD these layers then change by 1 / size^2 as much of themselves a step, BatchNorm weights and biases by size^2. The
    layers in `new`, a new head, keep their weights; they see larger features, and change by 1 / size.
    """
    require_scales(model)
    for norms, takers in model.scales():
        size = torch.cat([norm.weight for norm in norms]).abs().mean()
        if size < SMALLEST:
            continue
        for norm in norms:
            norm.weight /= size
            norm.bias /= size
        for layer in takers:
            if layer not in new:
                layer.weight *= size
