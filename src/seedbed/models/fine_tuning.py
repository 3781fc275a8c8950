"""Fine-tuning: pretrained weights, frozen stages, learning rates by depth, and the scale of BatchNorm weights.

A model that can be fine-tuned has `stages()`: its modules by name, from the input to the head, every parameter once.
A model whose BatchNorm weights can be rescaled has `scales()`: groups of BatchNorm layers whose outputs add up, and
every layer that takes what a group gives, once. Between them stand ReLUs, sums and pooling alone, which a positive
factor passes through.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from seedbed.errors import UserError
from seedbed.tensors import in_short, load_tensors

SHIPPED = Path(__file__).parents[1] / "weights"
LISTED = 12  # keys of a mismatch that are named


def load_pretrained(model: nn.Module, source: str) -> list[str]:
    """Give a model the weights of another one of its kind; a head of another size keeps its own.

    Args:
        source: the name of shipped weights (`cifar10`), or a file: safetensors, or a state dict that loads with
            `weights_only=True`; keys with or without `module.` before them.

    Returns:
        the keys of the head that kept their own weights.

    Raises:
        UserError: no such weights, an unreadable or altered file, or keys or shapes that do not fit.
    """
    last = _last_layer(model)
    weights, own = read_weights(find(model, source)), model.state_dict()
    fresh = _of_other_classes(last, weights, own)
    # Files of before 2018 lack the counters, which only a norm without momentum reads.
    missing = [key for key in own if key not in weights and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in weights if key not in own]
    misshapen = [
        f"{key} {_shape(weights[key])} instead of {_shape(own[key])}"
        for key in own
        if key in weights and key not in fresh and weights[key].shape != own[key].shape
    ]
    wrong = [
        f"{what}: {', '.join(keys[:LISTED])}" + (f" and {len(keys) - LISTED} more" if len(keys) > LISTED else "")
        for what, keys in (("missing", missing), ("unknown", unexpected), ("of another shape", misshapen))
        if keys
    ]
    if wrong:
        raise UserError(f"model.pretrained: {source} does not fit {type(model).__name__}: {'; '.join(wrong)}")
    model.load_state_dict({key: value for key, value in weights.items() if key not in fresh}, strict=False)
    return fresh


def find(model: nn.Module, source: str) -> Path:
    """The file of shipped weights, its SHA-256 checked, or the path that was given."""
    kind = f"_{type(model).__name__.lower()}.safetensors"
    names = sorted(path.name.removesuffix(kind) for path in SHIPPED.glob(f"*{kind}"))
    if source in names:
        shipped = SHIPPED / f"{source}{kind}"
        expected = shipped.with_suffix(".sha256")
        found = hashlib.sha256(shipped.read_bytes()).hexdigest()
        if not expected.is_file() or expected.read_text().split()[:1] != [found]:
            raise UserError(f"model.pretrained: {shipped} is not the file that was shipped; install seedbed again")
        return shipped
    return _file(source, names)


def require_weights(source: str) -> None:
    """Raise UserError if neither weights of that name are shipped, for whatever model, nor such a file is there."""
    names = sorted({path.name.rpartition("_")[0] for path in SHIPPED.glob("*.safetensors")})
    if source not in names:
        _file(source, names)


def _file(source: str, names: list[str]) -> Path:
    try:
        path = Path(source).expanduser()
        there = path.is_file()
    except (OSError, RuntimeError, ValueError):  # no such user, too long a name, a zero byte
        there = False
    if not there:
        raise UserError(
            f"model.pretrained: {source} is not there; give {', '.join([*names, 'none'])}, or a file: safetensors or a "
            "state dict"
        )
    return path


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
    if isinstance(weights, dict) and isinstance(weights.get("state_dict"), dict):
        weights = weights["state_dict"]
    if not isinstance(weights, dict) or not all(isinstance(k, str) and torch.is_tensor(v) for k, v in weights.items()):
        raise UserError(f"model.pretrained: {path} holds no state dict: names with a tensor each")
    if weights and all(key.startswith("module.") for key in weights):
        weights = {key.removeprefix("module."): value for key, value in weights.items()}
    return weights


def normalization(path: Path) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation, one number a channel, of the images that a file's weights were trained on.

    None where the file does not say: only seedbed's own do.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["seedbed"])["preprocess"]
        return list(facts["mean"]), list(facts["std"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None


def _last_layer(model: nn.Module) -> list[str]:
    """Keys of the layer that gives the logits: the last one of the head with weights."""
    head = {id(below) for module in stages_of(model, "model.pretrained")["head"] for below in module.modules()}
    layers = [(name, module) for name, module in model.named_modules() if id(module) in head and module._parameters]
    name, last = layers[-1]
    return sorted(f"{name}.{key}" for key in last.state_dict())


def _of_other_classes(keys: list[str], weights: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> list[str]:
    """The last layer's keys where it differs in its number of classes, alike for all of them, and in nothing else."""
    if not all(key in weights and weights[key].ndim and weights[key].shape[1:] == own[key].shape[1:] for key in keys):
        return []
    theirs, ours = ({len(tensors[key]) for key in keys} for tensors in (weights, own))
    return keys if len(theirs) == 1 and theirs != ours else []


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that always normalises by the statistics it has learned, and never changes them."""

    def train(self, mode: bool = True) -> FrozenBatchNorm2d:
        return super().train(False)


def stages_of(model: nn.Module, key: str) -> dict[str, list[nn.Module]]:
    """The model's stages; UserError, which names `key`, where it has none."""
    if not hasattr(model, "stages"):
        raise UserError(f"{key}: {type(model).__name__} has no stages; it trains as a whole, from the start")
    return model.stages()


def freeze(model: nn.Module, upto: str | None, norms: bool) -> None:
    """Keep weights, or the statistics of batch norms, as they are.

    Args:
        upto: a stage; the weights and statistics of all stages from the input to this one stay.
        norms: whether the statistics of all others stay, too (their weights are trained).

    Raises:
        UserError: no such stage.
    """
    if norms:
        stages_of(model, "model.freeze_batchnorm")
    still = {id(module) for module in model.modules()} if norms else set()
    if upto is not None:
        stages = stages_of(model, "model.freeze")
        names = [*stages][:-1]
        if upto not in names:
            raise UserError(f"model.freeze: expected null or one of {', '.join(names)}, got {upto!r}")
        for name in names[: names.index(upto) + 1]:
            for module in stages[name]:
                module.requires_grad_(False)
                still |= {id(below) for below in module.modules()}
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d) and id(child) in still:
                setattr(parent, name, _take_over(child))


def groups(model: nn.Module, rate: float, decay: float) -> list[dict[str, Any]]:
    """Parameters for an optimizer, the head's first; each stage learns at `decay` times the rate of the one above it.

    Frozen ones are left out.
    """
    if decay == 1:
        return [{"params": [p for p in model.parameters() if p.requires_grad]}]
    found = []
    for modules in reversed(stages_of(model, "model.lr_decay").values()):
        own = [p for module in modules for p in module.parameters() if p.requires_grad]
        if own:
            found.append({"params": own, "lr": rate * decay ** len(found)})
    return found


def _take_over(old: nn.BatchNorm2d) -> FrozenBatchNorm2d:
    new = FrozenBatchNorm2d(
        old.num_features, old.eps, old.momentum, old.affine, old.track_running_stats, device="meta"
    )  # fmt: skip
    for key, value in (*old.named_parameters(), *old.named_buffers()):
        setattr(new, key, value)
    return new.train()


SMALLEST = 1e-6  # mean size of gains below which a group is dead: it stays


@torch.no_grad()
def rescale_batchnorm(model: nn.Module, new: Collection[nn.Module] = ()) -> None:
    """Scale each group of norms so that the mean size of its gains is 1, as in a new model; what it computes stays.

    Gains and biases are divided by the size, and the weights of the layers that take them multiplied by it, which
    gives the same outputs but for rounding. By SGD these layers then change by 1 / size^2 as much of themselves a step,
    gains and biases by size^2, and a new head, which sees larger features, by 1 / size.

    Args:
        new: layers whose weights are not of the pretrained model, and are left alone.

    Raises:
        UserError: the model does not say what scales together.
    """
    if not hasattr(model, "scales"):
        raise UserError(
            f"model.rescale_batchnorm: {type(model).__name__} does not say which layers scale together, as ResNet18 "
            "does; leave it false"
        )
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
