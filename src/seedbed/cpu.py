"""The CPU that this process may use: how many cores, and how long a thread that waits keeps one busy."""

import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def wait_politely() -> None:
    """Let OpenMP's threads sleep soon when they wait, unless the user's environment says how long they spin.

    By default those of libgomp spin for milliseconds on a core that other work could use, and where there is other
    work they keep from it the very thread that they wait for. Works only before libgomp is loaded: before torch is.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = "1000"


def cores() -> int:
    """CPU cores that this process may use: by affinity, by the quotas of its cgroups, by what SLURM gave the task."""
    counts = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    counts += [max(1, round(quota)) for quota in _quotas()]
    if (task := os.environ.get("SLURM_CPUS_PER_TASK", "")).isdecimal() and int(task):
        counts.append(int(task))
    return min(counts)


def _quotas() -> Iterator[float]:
    """CPUs of each quota over this process, of cgroups version 2 (its own and those above) and 1."""
    try:
        lines = OWN_CGROUP.read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, inside = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = CGROUPS / controllers  # version 2 names none
        for folder in (root / inside.lstrip("/"), *(root / inside.lstrip("/")).parents):
            if not folder.is_relative_to(root):
                break
            files = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if controllers else ("cpu.max",)
            try:
                quota, period = " ".join((folder / name).read_text(encoding="utf-8") for name in files).split()
            except (OSError, ValueError):  # the root has none, nor has what a container hides
                continue
            if quota.isdecimal() and int(period) > 0:  # "max" or -1: none
                yield int(quota) / int(period)
