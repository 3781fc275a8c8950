"""Where the arithmetic happens, and in which precision."""

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from seedbed.errors import UserError


@dataclass(frozen=True)
class Device:
    """A chosen device.

    Attributes:
        torch: the torch device.
        precision: float32 or bfloat16 (autocast; weights stay float32).
        channels_last: memory format of images and convolutions.
        threads: of the CPU.
    """

    torch: torch.device
    precision: str
    channels_last: bool
    threads: int

    def __str__(self) -> str:
        return f"{self.torch}, {self.precision}, {self.threads} threads"

    def metadata(self) -> dict[str, Any]:
        """What environment.json says of it."""
        gpu = torch.cuda.get_device_name(self.torch) if self.torch.type == "cuda" else None
        return {
            "device": str(self.torch),
            "gpu": gpu,
            "cpu_vectors": cpu_vectors(),
            "precision": self.precision,
            "channels_last": self.channels_last,
            "threads": self.threads,
        }

    def autocast(self) -> contextlib.AbstractContextManager:
        """A context that computes in this precision."""
        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.torch.type, dtype=torch.bfloat16)

    def place(self, model: nn.Module) -> nn.Module:
        """Move a model here, in this memory format."""
        if self.channels_last:
            model = model.to(memory_format=torch.channels_last)
        return model.to(self.torch)


def has_convolutions(model: nn.Module) -> bool:
    """Whether a model has a convolution of images."""
    return any(isinstance(module, nn.Conv2d) for module in model.modules())


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is a gain: on CUDA from Ampere on, on CPUs with AMX or AVX512-bf16."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def cpu_vectors() -> str | None:
    """The widest vector instructions of this CPU that torch uses; metrics differ in the last digits between them."""
    for name, supported in (
        ("AMX", torch.cpu._is_amx_tile_supported),
        ("AVX512-bf16", torch.cpu._is_avx512_bf16_supported),
        ("AVX512", torch.cpu._is_avx512_supported),
        ("AVX2", torch.cpu._is_avx2_supported),
    ):
        if supported():
            return name
    return None


def require(name: str) -> None:
    """Raise UserError if CUDA is asked for and there is none; cheap, so that it can come before all work."""
    if name == "cuda" and not torch.cuda.is_available():
        built = "this torch has no CUDA support" if torch.version.cuda is None else "torch finds no CUDA device"
        raise UserError(f"device=cuda: {built}; use device=cpu, or device=auto to take what there is")


def choose(name: str, precision: str, channels_last: bool | str, threads: int | None, convolutional: bool) -> Device:
    """Choose the device and settle every `auto`. Sets torch's thread count, for this job.

    Args:
        name: auto, cpu or cuda.
        precision: auto, float32 or bfloat16; auto is bfloat16 for convolutional nets where it is fast.
        channels_last: true, false or auto; auto is true for convolutional nets: faster on CPUs and GPUs alike.
        threads: of the CPU; None: as many as torch finds cores.

    Raises:
        UserError: CUDA is asked for and there is none.
    """
    require(name)
    device = torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
    torch.set_num_threads(threads or _ALL_THREADS)
    if precision == "auto":
        precision = "bfloat16" if convolutional and has_fast_bfloat16(device) else "float32"
    if channels_last == "auto":
        channels_last = convolutional
    return Device(device, precision, bool(channels_last), torch.get_num_threads())


# Read once, before any job of a sweep changes it.
_ALL_THREADS = torch.get_num_threads()
