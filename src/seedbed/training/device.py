"""The device of a run's arithmetic, and its precision."""

import contextlib
import math
import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from seedbed.cpu import cores
from seedbed.errors import UserError

# Read once, before any job of a sweep changes it. torch knows the user's OMP_NUM_THREADS, but no quota.
_ALL_THREADS = min(torch.get_num_threads(), cores())
FEW_WEIGHTS = 1_000_000  # below which two threads gain at most a sixth alone, and lose all of it beside other work


@dataclass(frozen=True)
class Device:
    """A chosen device."""

    torch: torch.device
    precision: str  # float32 or bfloat16 (autocast; weights stay float32)
    channels_last: bool  # memory format of images and convolutions
    threads: int  # of the CPU

    def __str__(self) -> str:
        return f"{self.torch}, {self.precision}, {self.threads} threads"

    def metadata(self) -> dict[str, Any]:
        """What environment.json says of it."""
        gpu = torch.cuda.get_device_name(self.torch) if self.torch.type == "cuda" else None
        return {
            "device": str(self.torch), "gpu": gpu, "cpu_vectors": cpu_vectors(), "precision": self.precision,
            "channels_last": self.channels_last, "threads": self.threads,
        }  # fmt: skip

    def autocast(self) -> contextlib.AbstractContextManager:
        """A context of this precision."""
        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.torch.type, dtype=torch.bfloat16)

    def place(self, model: nn.Module) -> nn.Module:
        """Move a model here, in this memory format."""
        return (model.to(memory_format=torch.channels_last) if self.channels_last else model).to(self.torch)


def has_convolutions(model: nn.Module) -> bool:
    """Whether bfloat16 and channels_last can make a model faster."""
    return any(isinstance(module, nn.Conv2d) for module in model.modules())


def is_small(model: nn.Module) -> bool:
    """Whether a step of a model is too short to be shared out: the threads would wait for each other."""
    return not has_convolutions(model) and sum(p.numel() for p in model.parameters()) < FEW_WEIGHTS


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is a gain: on CUDA from Ampere on, on CPUs with AMX or AVX512-bf16."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def memory() -> float:
    """Bytes of memory of the machine or of its GPU, whichever has more; infinite where the system does not tell."""
    try:
        of_machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return math.inf
    of_gpu = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0
    return max(of_machine, of_gpu)


def cpu_vectors() -> str | None:
    """The widest vector instructions of this CPU that torch uses; results differ in the last digits between them."""
    checks = {
        "AMX": torch.cpu._is_amx_tile_supported, "AVX512-bf16": torch.cpu._is_avx512_bf16_supported,
        "AVX512": torch.cpu._is_avx512_supported, "AVX2": torch.cpu._is_avx2_supported,
    }  # fmt: skip
    return next((name for name, supported in checks.items() if supported()), None)


def require_device(name: str) -> None:
    """Raise UserError if CUDA is asked for and missing; cheap, so that it can come before all work."""
    if name == "cuda" and not torch.cuda.is_available():
        built = "this torch has no CUDA support" if torch.version.cuda is None else "torch finds no CUDA device"
        raise UserError(f"device=cuda: {built}; use device=cpu, or device=auto to take what there is")


def choose(
    model: nn.Module,
    name: str,  # auto, cpu or cuda
    precision: str,  # float32, bfloat16 or auto: bfloat16 for convolutional nets where it is fast
    channels_last: bool | str,  # or auto: true for convolutional nets, which it makes faster on CPUs and GPUs alike
    threads: int | str | None,  # of the CPU; None: as many as this process may use; auto: one for a small model
) -> Device:
    """Choose the device and settle every `auto`. Sets torch's thread count, for this job."""
    require_device(name)
    device = torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
    if threads == "auto":
        threads = 1 if is_small(model) else None
    torch.set_num_threads(threads or _ALL_THREADS)
    convolutional = has_convolutions(model)
    if precision == "auto":
        precision = "bfloat16" if convolutional and has_fast_bfloat16(device) else "float32"
    if channels_last == "auto":
        channels_last = convolutional
    return Device(device, precision, bool(channels_last), torch.get_num_threads())
