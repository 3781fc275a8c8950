"""The CPU is shared: threads that wait sleep, and there are no more of them than this process may use."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from seedbed import cpu
from seedbed.training.device import choose, is_small

TINY = ("dataset=digits", "train=smoke", "dataset.subset=64", "device=cpu")


def run(tmp_path: Path, *overrides: str, begin: str = "pass", **environment: str) -> tuple[dict, str]:
    """environment.json of a run in a process of its own, and what it wrote on stderr."""
    paths = {"SEEDBED_OUTPUTS": str(tmp_path), "SEEDBED_CACHE": str(tmp_path / "cache")}
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "SLURM_"))}
    code = f"import os, sys; {begin}; sys.argv = ['run', *{list(overrides)!r}]; from seedbed.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean | paths | environment, capture_output=True, text=True, check=True
    )
    (file,) = tmp_path.glob("*/environment.json")
    return json.loads(file.read_text()), done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="libgomp is Linux's")
@pytest.mark.parametrize(("typed", "reached"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_the_time_that_a_thread_waits_reaches_libgomp(tmp_path, typed, reached):
    _, stderr = run(tmp_path, *TINY, OMP_DISPLAY_ENV="VERBOSE", **typed)
    spins = re.findall(r"GOMP_SPINCOUNT = '(\w+)'", stderr)
    assert spins, "libgomp was not loaded"
    assert set(spins) == {reached}


def test_the_users_own_policy_of_waiting_stays(monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    cpu.wait_politely()
    assert "GOMP_SPINCOUNT" not in os.environ


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_threads_follow_the_affinity(tmp_path):
    begin = "os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])"
    environment, _ = run(tmp_path, *TINY, "device.threads=null", begin=begin)
    assert environment["threads"] == environment["cores"] == 1


def test_threads_follow_slurm(tmp_path):
    environment, _ = run(tmp_path, *TINY, "device.threads=null", SLURM_CPUS_PER_TASK="1")
    assert environment["threads"] == environment["cores"] == 1


VERSION_2, VERSION_1 = "0::/a/b\n", "4:memory:/c\n3:cpu,cpuacct:/c\n"


@pytest.mark.parametrize(
    ("own", "files", "quotas"),
    [
        (VERSION_2, {"a/b/cpu.max": "150000 100000\n", "a/cpu.max": "max 100000\n"}, [1.5]),
        (VERSION_2, {"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000", "cpu.max": "300000 100000"}, [0.5, 3]),
        (VERSION_2, {}, []),
        (VERSION_2, {"a/b/cpu.max": "nonsense"}, []),
        ("0::/\n", {"cpu.max": "200000 100000"}, [2]),
        (VERSION_1, {"cpu,cpuacct/c/cpu.cfs_quota_us": "400000", "cpu,cpuacct/c/cpu.cfs_period_us": "100000"}, [4]),
        (VERSION_1, {"cpu,cpuacct/c/cpu.cfs_quota_us": "-1", "cpu,cpuacct/c/cpu.cfs_period_us": "100000"}, []),
    ],
)
def test_quotas_of_cgroups(tmp_path, monkeypatch, own, files, quotas):
    for name, text in {"own": own, **{f"root/{name}": text for name, text in files.items()}}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(cpu, "OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(cpu, "CGROUPS", tmp_path / "root")
    assert list(cpu._quotas()) == quotas
    assert cpu.cores() == min([max(1, round(quota)) for quota in quotas] + [len(os.sched_getaffinity(0))])


def test_a_small_model_has_one_thread_and_others_have_all(monkeypatch):
    monkeypatch.setattr("seedbed.training.device._ALL_THREADS", 3)
    before = torch.get_num_threads()
    small, large, convolutional = nn.Linear(10, 10), nn.Linear(1000, 1001), nn.Conv2d(1, 2, 3)
    try:
        threads = [choose(model, "cpu", "float32", False, "auto").threads for model in (small, large, convolutional)]
        assert threads == [1, 3, 3]
        assert [choose(small, "cpu", "float32", False, typed).threads for typed in (None, 2)] == [3, 2]
    finally:
        torch.set_num_threads(before)
    assert [is_small(model) for model in (small, large, convolutional)] == [True, False, False]
