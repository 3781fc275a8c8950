"""Fine-tuning: pretrained weights, frozen stages, learning rates by depth, and the scale of BatchNorm weights.

A model that can be fine-tuned has `stages()`: its modules by name, from the input to the head, every parameter once.
One whose BatchNorm weights can be rescaled has `scales()`: groups of BatchNorm layers whose outputs add up, and every
layer that takes what a group gives, once. Between them stand ReLUs, sums and pooling alone, which let a positive factor
pass.
"""

from __future__ import annotations

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
from seedbed.models.convolution import replace_modules
from seedbed.tensors import in_short, load_tensors

log = logging.getLogger(__name__)
SHIPPED = Path(__file__).parents[1] / "weights"
LISTED = 12  # keys of a mismatch that are named
SMALLEST = 1e-6  # mean size of BatchNorm weights below which a group is dead: it stays
Weights = dict[str, torch.Tensor]


def prepare(
    model: nn.Module, *, pretrained: str | None, rescale: bool, freeze_up_to: str | None, freeze_bn: bool,
    normalization: tuple[list[float], list[float]] | None, begins: bool,
) -> None:  # fmt: skip
    """Where training begins, load pretrained weights and rescale them; freeze what is to stay.

    Args:
        pretrained: as in `load_pretrained`, or None or "none".
        normalization: mean and standard deviation of the images here. Weights of images that were normalised in
            another way are taken, and a warning says so: the model has to learn the shift.
        begins: false for a model that gets weights of its own later.
    """
    fresh: list[str] = []
    if begins and pretrained not in (None, "none"):
        fresh = load_pretrained(model, pretrained)
        log.info("weights of %s%s", pretrained, f", but for {', '.join(fresh)}" if fresh else "")
        theirs = normalization_of(find_weights(model, pretrained))
        if theirs and normalization and theirs != normalization:
            log.warning(
                "model.pretrained: %s was trained on images normalised by mean %s, std %s, which are here %s, %s; to "
                "keep them give model.mean, model.std",
                pretrained, *(", ".join(f"{v:.4g}" for v in values) for values in (*theirs, *normalization)),
            )  # fmt: skip
    if begins and rescale:
        rescale_batchnorm(model, new=[model.get_submodule(key.rpartition(".")[0]) for key in fresh])
    freeze(model, freeze_up_to, freeze_bn)


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
    head = _last_layer(model)
    weights, current = read_weights(find_weights(model, source)), model.state_dict()
    fresh = head if _is_of_other_classes(head, weights, current) else []
    wrong = {
        # Files of before 2018 lack the counters, which only a BatchNorm layer without momentum reads.
        "missing": [key for key in current if key not in weights and not key.endswith("num_batches_tracked")],
        "unknown": [key for key in weights if key not in current],
        "of another shape": [
            f"{key} {_shape(weights[key])} instead of {_shape(tensor)}"
            for key, tensor in current.items()
            if key in weights and key not in fresh and weights[key].shape != tensor.shape
        ],
    }
    listed = [
        f"{what}: {', '.join(keys[:LISTED])}" + (f" and {len(keys) - LISTED} more" if len(keys) > LISTED else "")
        for what, keys in wrong.items()
        if keys
    ]
    if listed:
        raise UserError(f"model.pretrained: {source} does not fit {type(model).__name__}: {'; '.join(listed)}")
    model.load_state_dict({key: value for key, value in weights.items() if key not in fresh}, strict=False)
    return fresh


def find_weights(model: nn.Module, source: str) -> Path:
    """The file of shipped weights, its SHA-256 checked, or the path that was given."""
    kind = f"_{type(model).__name__.lower()}.safetensors"
    names = sorted(path.name.removesuffix(kind) for path in SHIPPED.glob(f"*{kind}"))
    if source not in names:
        return _file(source, names)
    shipped = SHIPPED / f"{source}{kind}"
    expected = shipped.with_suffix(".sha256")
    digest = hashlib.sha256(shipped.read_bytes()).hexdigest()
    if not expected.is_file() or expected.read_text().split()[:1] != [digest]:
        raise UserError(f"model.pretrained: {shipped} is not the file that was shipped; install seedbed again")
    return shipped


def require_weights(source: str) -> None:
    """Raise UserError if it is neither the name of shipped weights, for whatever model, nor a file."""
    names = sorted({path.name.rpartition("_")[0] for path in SHIPPED.glob("*.safetensors")})
    if source not in names:
        _file(source, names)


def _file(source: str, names: list[str]) -> Path:
    try:
        path = Path(source).expanduser()
        exists = path.is_file()
    except (OSError, RuntimeError, ValueError):  # no such user, too long a name, a zero byte
        exists = False
    if not exists:
        raise UserError(
            f"model.pretrained: {source} is not there; give {', '.join([*names, 'none'])}, or a file: safetensors or a "
            "state dict"
        )
    return path


def read_weights(path: Path) -> Weights:
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
    prefix = "module." if weights and all(key.startswith("module.") for key in weights) else ""
    return {key.removeprefix(prefix): value for key, value in weights.items()}


def normalization_of(path: Path) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation, one number a channel, of the images that a file's weights were trained on.

    None where the file does not say: only seedbed's own do.
    """
    try:
        with safe_open(path, framework="pt") as file:
            preprocess = json.loads((file.metadata() or {})["seedbed"])["preprocess"]
        return list(preprocess["mean"]), list(preprocess["std"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None


def _last_layer(model: nn.Module) -> list[str]:
    """Keys of the layer that gives the logits: the last one of the head with weights."""
    head = {id(below) for module in stages_of(model, "model.pretrained")["head"] for below in module.modules()}
    layers = [(name, module) for name, module in model.named_modules() if id(module) in head and module._parameters]
    name, last = layers[-1]
    return sorted(f"{name}.{key}" for key in last.state_dict())


def _is_of_other_classes(keys: list[str], weights: Weights, current: Weights) -> bool:
    """Whether the last layer differs in its number of classes, alike for all its keys, and in nothing else."""
    if not all(
        key in weights and weights[key].ndim and weights[key].shape[1:] == current[key].shape[1:] for key in keys
    ):
        return False
    theirs, ours = ({len(tensors[key]) for key in keys} for tensors in (weights, current))
    return len(theirs) == 1 and theirs != ours


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm that always normalises by the statistics it has learned, and never changes them."""

    def train(self, mode: bool = True) -> FrozenBatchNorm2d:
        """Stay in eval mode."""
        return super().train(False)


def stages_of(model: nn.Module, key: str) -> dict[str, list[nn.Module]]:
    """The model's stages; UserError, which names `key`, where it has none."""
    if not hasattr(model, "stages"):
        raise UserError(f"{key}: {type(model).__name__} has no stages; it trains as a whole, from the start")
    return model.stages()


def freeze(model: nn.Module, up_to: str | None, batchnorm: bool) -> None:
    """Keep weights, or the statistics of BatchNorm layers, as they are.

    Args:
        up_to: a stage; the weights and statistics of all stages from the input to this one stay.
        batchnorm: whether the statistics of all others stay, too (their weights are trained).

    Raises:
        UserError: no such stage.
    """
    frozen: set[nn.Module] = set()
    if batchnorm:
        stages_of(model, "model.freeze_batchnorm")
        frozen |= {*model.modules()}
    if up_to is not None:
        stages = stages_of(model, "model.freeze")
        names = [*stages][:-1]
        if up_to not in names:
            raise UserError(f"model.freeze: expected null or one of {', '.join(names)}, got {up_to!r}")
        for module in (module for name in names[: names.index(up_to) + 1] for module in stages[name]):
            module.requires_grad_(False)
            frozen |= {*module.modules()}
    replace_modules(model, lambda module: _frozen(module) if module in frozen else module)


def _frozen(old: nn.Module) -> nn.Module:
    if not isinstance(old, nn.BatchNorm2d):
        return old
    new = FrozenBatchNorm2d(
        old.num_features, old.eps, old.momentum, old.affine, old.track_running_stats, device="meta"
    )  # fmt: skip
    for key, value in (*old.named_parameters(), *old.named_buffers()):
        setattr(new, key, value)
    return new.train()


def parameter_groups(model: nn.Module, lr: float, decay: float) -> list[dict[str, Any]]:
    """Parameters for an optimizer, the head's first; each stage learns at `decay` times the rate of the one above it.

    Frozen ones are left out.
    """
    if decay == 1:
        return [{"params": [p for p in model.parameters() if p.requires_grad]}]
    groups: list[dict[str, Any]] = []
    for modules in reversed(stages_of(model, "model.lr_decay").values()):
        trained = [p for module in modules for p in module.parameters() if p.requires_grad]
        if trained:
            groups.append({"params": trained, "lr": lr * decay ** len(groups)})
    return groups


@torch.no_grad()
def rescale_batchnorm(model: nn.Module, new: Collection[nn.Module] = ()) -> None:
    """Scale BatchNorm weights, which weight decay has made small, to a mean size of 1; what the model computes stays.

    Weights and biases of a group are divided by their mean size, and the weights of the layers that take what the group
    gives are multiplied by it, which gives the same outputs but for rounding. By SGD these layers then change by
    1 / size^2 as much of themselves a step, BatchNorm weights and biases by size^2, and a new head, which sees larger
    features, by 1 / size.

    Args:
        new: layers whose weights are not of the pretrained model; they stay.

    Raises:
        UserError: the model does not say what scales together.
    """
    if not hasattr(model, "scales"):
        raise UserError(
            f"model.rescale_batchnorm: {type(model).__name__} does not say which BatchNorm layers scale together, as "
            "ResNet18 does; leave it false"
        )
    for batchnorms, takers in model.scales():
        size = torch.cat([layer.weight for layer in batchnorms]).abs().mean()
        if size < SMALLEST:
            continue
        for layer in batchnorms:
            layer.weight /= size
            layer.bias /= size
        for layer in takers:
            if layer not in new:
                layer.weight *= size
