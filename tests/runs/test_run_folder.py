"""The run folder belongs to one process at a time, and a killed one's leftovers go."""

from __future__ import annotations

import logging

import pytest

from seedbed.errors import UserError
from seedbed.runs.run_folder import RunFolder, make_folder, note_failure, slug


def test_slugs_need_no_quoting():
    assert slug("optimizer.lr=1e-2, näh") == "optimizer.lr-1e-2-n-h"
    assert slug("===") == "run"


def test_folders_are_exclusive(tmp_path):
    assert [make_folder(tmp_path, "x").name for _ in range(3)] == ["x", "x-2", "x-3"]


def test_two_processes_do_not_share_a_folder(tmp_path):
    with RunFolder(tmp_path), pytest.raises(UserError, match="another process works in this run folder"):
        RunFolder(tmp_path)
    RunFolder(tmp_path).close()


def test_orphans_of_a_killed_run_are_cleared(tmp_path):
    (tmp_path / ".last.pt.123.tmp").write_bytes(b"half")
    (tmp_path / "last.pt").write_bytes(b"whole")
    RunFolder(tmp_path).close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", "train.log"]


def test_environment_keeps_the_first_start_and_lists_the_others(tmp_path):
    import json

    with RunFolder(tmp_path) as record:
        record.environment({"cpu": "a"}, resumed=False)
        record.environment({"cpu": "b"}, resumed=True)
        record.environment({"cpu": "c"}, resumed=True)
    facts = json.loads((tmp_path / "environment.json").read_text())
    assert facts["cpu"] == "a" and [f["cpu"] for f in facts["resumed"]] == ["b", "c"]


def test_a_full_disk_silences_the_log_alone(tmp_path, capfd):
    with RunFolder(tmp_path) as record:
        record.handler.stream.close()
        record.handler.stream = open("/dev/full", "w")  # noqa: SIM115, PTH123
        logging.getLogger("seedbed").warning("lost")
    assert "Traceback" not in capfd.readouterr().err


def test_a_failed_job_is_noted_where_it_can_be(tmp_path):
    other = make_folder(tmp_path, "003_of-another-sweep")
    note_failure(tmp_path, 3, ["a=1"], {"a": "1"}, "why", {other})
    assert (tmp_path / "003_failed" / "result.json").exists() and not list(other.iterdir())
    own = make_folder(tmp_path, "003_a-2")
    note_failure(tmp_path, 3, ["a=2"], {"a": "2"}, "why", {other, tmp_path / "003_failed"})
    assert (own / "result.json").exists()
