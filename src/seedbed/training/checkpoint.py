"""Checkpoints: `last.pt` to go on with a run, `best.safetensors` to use its model.

`last.pt` is loaded with `weights_only=True`; safetensors is tensors and one JSON text. That text names the classes to
build: whoever loads a file from elsewhere decides which of them to trust.
"""

import io
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes

from seedbed.errors import UserError
from seedbed.files import write_atomically
from seedbed.tensors import in_short, load_tensors

FORMAT_VERSION = 2
READ = (1, 2)


def save_last(path: Path, state: dict) -> None:
    """Write a training state (plain containers and tensors) under a temporary name, and rename it."""
    buffer = io.BytesIO()
    torch.save({"format_version": FORMAT_VERSION, **state}, buffer)
    write_atomically(path, buffer.getbuffer())


def load_last(path: Path) -> dict:
    """Read what `save_last` wrote, tensors on the CPU; UserError if missing, damaged, not ours, or too new."""
    try:
        state = load_tensors(path, f"{path}: not a readable seedbed checkpoint")
    except FileNotFoundError:
        raise UserError(f"{path}: is not there; a run can be resumed from its first finished epoch on") from None
    if not isinstance(state, dict) or "format_version" not in state:
        raise UserError(f"{path}: not a checkpoint that seedbed wrote")
    _check_version(path, state["format_version"])
    return state


def save_best(path: Path, weights: dict[str, torch.Tensor], metadata: dict[str, Any]) -> None:
    """Write weights, and as JSON all that prediction needs, under a temporary name, and rename it."""
    text = json.dumps({"format_version": FORMAT_VERSION, **metadata})
    weights = {name: tensor.contiguous() for name, tensor in weights.items()}
    write_atomically(path, safetensors_bytes(weights, {"seedbed": text}))


def load_best(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what `save_best` wrote: weights, on the CPU, and metadata; UserError as `load_last`."""
    if not path.is_file():
        raise UserError(f"checkpoint: {path} is not there; give a run folder's best.safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("seedbed")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        metadata = json.loads(text) if text else None
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"checkpoint: {path} is not a readable safetensors file ({in_short(error)})") from error
    if not isinstance(metadata, dict):
        raise UserError(f"checkpoint: {path} holds weights, but not what seedbed saves beside them")
    _check_version(path, metadata.get("format_version"))
    return weights, metadata


def _check_version(path: Path, version: Any) -> None:
    if version not in READ:
        raise UserError(f"{path}: has format version {version}, this seedbed reads {' and '.join(map(str, READ))}")
