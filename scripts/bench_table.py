"""What bench.py measured, as a Markdown table under the machine's description."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch


@dataclass
class Result:
    """Seconds of every round: of the usual way, and by precision of ours and of the floor.

    Attributes:
        workers: of the usual way.
        trial: by number of workers, the seconds by which `workers` was chosen.
    """

    model: str
    data: str
    images: int
    workers: int
    trial: dict[int, float]
    usual: list[float] = field(default_factory=list)
    ours: dict[str, list[float]] = field(default_factory=dict)
    floor: dict[str, list[float]] = field(default_factory=dict)


def describe_machine(*packages: str) -> str:
    """The processor, and the versions of these distributions."""
    facts = {}
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    has = {"AMX": "amx_tile" in flags, "avx512_bf16": "avx512_bf16" in flags, "avx512f": "avx512f" in flags}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return "\n".join([
        f"- CPU: {facts.get('model name') or platform.processor() or platform.machine()}; {cores} cores, "
        f"{torch.get_num_threads()} threads; " + ", ".join(f"{k} {'yes' if v else 'no'}" for k, v in has.items()),
        f"- {', '.join(f'{package} {version(package)}' for package in packages)}, Python "
        f"{platform.python_version()}, {platform.system()}",
    ])  # fmt: skip


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def figures(seconds: list[float], images: int) -> list[str]:
    median = statistics.median(seconds)
    return [f"{median:.3g}" if median < 100 else f"{median:.0f}", f"{images / median:,.0f}"]


def row(result: Result, precision: str) -> str:
    ours, floor, images = result.ours[precision], result.floor[precision], result.images
    cells = [
        result.model, result.data, f"{images:,}", precision,
        *figures(ours, images), *figures(result.usual, images), str(result.workers), *figures(floor, images)[:1],
        spread([u / o for u, o in zip(result.usual, ours, strict=True)]),
        spread([o / f for o, f in zip(ours, floor, strict=True)]),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def report(results: list[Result], batch: int, rounds: int, notes: list[str]) -> str:
    head = (
        "case", "data", "images", "our precision", "ours s/epoch", "ours images/s", "usual s/epoch", "usual images/s",
        "usual workers", "floor s/epoch", "usual / ours", "ours / floor",
    )  # fmt: skip
    trials = "; ".join(
        f"{r.model} " + ", ".join(f"{seconds:.3g} s with {workers}" for workers, seconds in r.trial.items())
        for r in results
    )
    return "\n".join([
        describe_machine("torch", "torchvision", "lightning"),
        f"- batch {batch}; {rounds} round{'s' * (rounds > 1)} in turn after a warm-up; medians; ratios are those of "
        "each round (lowest to highest)",
        "- the usual way: Lightning, torchvision's transforms image by image, DataLoader; float32, contiguous; the "
        f"better number of workers, by a warm epoch: {trials}",
        *(f"- {note}" for note in notes),
        "",
        f"| {' | '.join(head)} |",
        "| --- | --- " + "| ---: | --- " + "| ---: " * (len(head) - 4) + "|",
        *(row(result, precision) for result in results for precision in result.ours),
    ]) + "\n"  # fmt: skip
