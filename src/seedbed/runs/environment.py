"""Where and with what a run ran."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import seedbed

PACKAGES = (
    "torch", "torchvision", "numpy", "hydra-core", "pillow", "safetensors", "scikit-learn", "opencv-python-headless",
)  # fmt: skip


def environment(device: dict[str, Any]) -> dict[str, Any]:
    """Versions, machine and commit: what one needs to know to compare a run with another.

    Args:
        device: what the run chose: device, precision, threads …
    """
    versions = {"python": platform.python_version(), "seedbed": seedbed.__version__}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": versions,
        "system": platform.platform(),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        **device,
        "git": _git(Path(__file__).parent),
    }


def _cpu_name() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _git(folder: Path) -> dict[str, Any] | None:
    """Commit of the code that runs and whether it was changed; None outside a clone of seedbed."""

    def ask(*words: str) -> str:
        answer = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True
        )
        return answer.stdout.strip()

    try:
        # Installed into an environment that lies inside some other clone, this file is not tracked there.
        ask("ls-files", "--error-unmatch", str(Path(__file__)))
        return {"commit": ask("rev-parse", "HEAD"), "changed": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
