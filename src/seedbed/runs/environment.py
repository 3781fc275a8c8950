"""Where and with what a run ran."""

import contextlib
import platform
import re
import subprocess
import sys
import time
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import seedbed
from seedbed.cpu import cores

PACKAGES = (
    "torch", "torchvision", "numpy", "hydra-core", "pillow", "safetensors", "scikit-learn", "opencv-python-headless",
)  # fmt: skip


def environment(device: dict[str, Any]) -> dict[str, Any]:
    """Versions, machine, commit, and what the run chose as `device`: what the comparison with another run needs."""
    versions = {"python": platform.python_version(), "seedbed": seedbed.__version__, **dict.fromkeys(PACKAGES)}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": versions,
        "system": platform.platform(),
        "cpu": _cpu_name(),
        "cores": cores(),
        **device,
        "git": _git(Path(__file__)),
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError):  # elsewhere than on Linux
        if name := re.search(
            r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE
        ):
            return name[1]
    return platform.processor() or platform.machine()


def _git(file: Path) -> dict[str, Any] | None:
    """Commit of the code that runs and whether it was changed; None outside a clone of seedbed."""
    run = partial(
        subprocess.run, cwd=file.parent, capture_output=True, text=True, encoding="utf-8", timeout=10, check=True
    )
    try:
        # Installed into an environment that lies inside some other clone, this file is not tracked there.
        run(["git", "ls-files", "--error-unmatch", str(file)])
        commit, changes = run(["git", "rev-parse", "HEAD"]).stdout, run(["git", "status", "--porcelain"]).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.strip(), "changed": bool(changes.strip())}
