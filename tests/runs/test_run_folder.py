"""The run folder belongs to one process at a time, and a killed one's leftovers go."""

from __future__ import annotations

import errno
import json
import logging
import signal
import subprocess
import sys
from pathlib import Path

import filelock
import numpy as np
import pytest

from seedbed.errors import UserError
from seedbed.runs.run_folder import RunFolder, make_folder, record_failure, slug
from seedbed.training.evaluate import measure

HOLDS = "import sys, time, pathlib; from seedbed.runs.run_folder import RunFolder; "
HOLDS += "folder = RunFolder(pathlib.Path(sys.argv[1])); print(1, flush=True); time.sleep(60)"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_slugs_need_no_quoting():
    assert slug("optimizer.lr=1e-2, näh") == "optimizer.lr-1e-2-n-h"
    assert slug("===") == "run"


def test_folders_are_exclusive(tmp_path):
    assert [make_folder(tmp_path, "x").name for _ in range(3)] == ["x", "x-2", "x-3"]
    (tmp_path / "x-4").symlink_to("nowhere")
    assert make_folder(tmp_path, "x").name == "x-5"


def test_a_parent_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"output_root: cannot make a run folder in .*file: "):
        make_folder(tmp_path / "file", "x")


def test_two_processes_do_not_share_a_folder(tmp_path):
    with RunFolder(tmp_path), pytest.raises(UserError, match="another process works in this run folder"):
        RunFolder(tmp_path)
    RunFolder(tmp_path).close()
    assert names_in(tmp_path) == ["train.log"]


def test_a_killed_process_leaves_its_folder_to_others(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDS, tmp_path], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"1\n"
    with pytest.raises(UserError, match="another process works in this run folder; wait for it or stop it"):
        RunFolder(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert names_in(tmp_path) == ["run.lock", "train.log"]
    RunFolder(tmp_path).close()
    assert names_in(tmp_path) == ["train.log"]


def test_a_file_system_without_locks_will_do(tmp_path, monkeypatch):
    def no_locks(self):
        raise OSError(errno.ENOSYS, "no locks")

    monkeypatch.setattr(filelock.FileLock, "_acquire", no_locks)
    with RunFolder(tmp_path) as folder:
        folder.write("x.txt", "x")
    assert names_in(tmp_path) == ["train.log", "x.txt"]


def test_orphans_of_a_killed_run_are_cleared(tmp_path):
    (tmp_path / ".last.pt.123.tmp").write_bytes(b"half")
    (tmp_path / "last.pt").write_bytes(b"whole")
    RunFolder(tmp_path).close()
    assert names_in(tmp_path) == ["last.pt", "train.log"]


def test_environment_keeps_the_first_start_and_lists_the_others(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.write_environment({"cpu": "a"}, resumed=False)
        folder.write_environment({"cpu": "b"}, resumed=True)
        folder.write_environment({"cpu": "c"}, resumed=True)
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["cpu"] == "a" and [one["cpu"] for one in environment["resumed"]] == ["b", "c"]


def test_tables_have_six_digits(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.write_history([{"epoch": 1, "val_loss": 1 / 3}, {"epoch": 2, "val_loss": 12345678.9}])
        folder.write_test_tables(("a, b", "c"), measure(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), 2))
    assert (tmp_path / "metrics.csv").read_bytes() == b"epoch,val_loss\n1,0.333333\n2,1.23457e+07\n"
    assert (tmp_path / "per_class.csv").read_text().splitlines() == [
        "class,images,precision,recall,f1", '"a, b",3,1,0.666667,0.8', "c,1,0.5,1,0.666667",
    ]  # fmt: skip
    assert (tmp_path / "confusion.csv").read_text().splitlines() == ['label,"a, b",c', '"a, b",2,1', "c,0,1"]


def test_the_status_is_that_of_the_result(tmp_path):
    with RunFolder(tmp_path) as folder:
        assert folder.status is None
        folder.write_json("overrides.json", {"overrides": []})
        folder.write_json("result.json", {"status": "running"})
        assert folder.status == "running"
        try:
            raise ValueError("on purpose")
        except ValueError:
            folder.note_failure("it broke", 3)
        assert folder.status == "failed"
    result = json.loads((tmp_path / "result.json").read_text())
    assert result == {"format_version": 1, "status": "failed", "error": "it broke", "epochs": 3}
    log = (tmp_path / "train.log").read_text()
    assert "ERROR it broke\nTraceback" in log and "ValueError: on purpose" in log


def test_a_full_disk_silences_the_log_alone(tmp_path, capfd):
    with RunFolder(tmp_path) as folder:
        folder.handler.stream.close()
        folder.handler.stream = open("/dev/full", "w")  # noqa: SIM115, PTH123
        logging.getLogger("seedbed").warning("lost")
    assert "Traceback" not in capfd.readouterr().err


def test_a_failed_job_is_recorded_where_it_can_be(tmp_path):
    other = make_folder(tmp_path, "003_of-another-sweep")
    record_failure(tmp_path, 3, ["a=1"], {"a": "1"}, "why", {other})
    assert (tmp_path / "003_failed" / "result.json").exists() and not list(other.iterdir())
    made = make_folder(tmp_path, "003_a-2")
    record_failure(tmp_path, 3, ["a=2"], {"a": "2"}, "why", {other, tmp_path / "003_failed"})
    assert json.loads((made / "result.json").read_text())["error"] == "why"
    assert json.loads((made / "overrides.json").read_text())["swept"] == {"a": "2"}
