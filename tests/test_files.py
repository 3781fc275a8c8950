"""Files and folders that are whole, and locks."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import filelock
import pytest

from seedbed.files import lock, make_once, write_atomically, write_csv


def writes(text: str, before=lambda: None):
    def fill(private: Path) -> None:
        (private / "x").write_text(text)
        before()

    return fill


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "x.txt"
    for content, expected in (("é\udcff", b"\xc3\xa9\\udcff"), (b"\xff", b"\xff"), (memoryview(b"ab"), b"ab")):
        write_atomically(path, content)
        assert path.read_bytes() == expected
    with pytest.raises(OSError) as caught:
        write_atomically(tmp_path / "nowhere" / "x.txt", "")
    assert caught.value.filename == str(tmp_path / "nowhere" / "x.txt")
    assert [one.name for one in tmp_path.iterdir()] == ["x.txt"]


def test_a_table_has_the_same_bytes_on_every_system(tmp_path):
    write_csv(tmp_path / "x.csv", ("a", "b"), [(1, "x, y"), (None, 0.5)])
    assert (tmp_path / "x.csv").read_bytes() == b'a,b\n1,"x, y"\n,0.5\n'


def test_a_lock_is_refused_or_waited_for(tmp_path):
    path, held, free = tmp_path / "x.lock", threading.Event(), threading.Event()

    def hold() -> None:
        first = lock(path)
        held.set()
        free.wait()
        first.release()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    with pytest.raises(filelock.Timeout):
        lock(path)
    threading.Timer(0.2, free.set).start()
    second = lock(path, wait=True)
    assert second.is_locked and free.is_set()
    second.release()
    thread.join()


def test_where_another_process_was_faster_its_folder_stays(tmp_path):
    """Without locks two may fill at once; what one of them has opened must not go from under it."""
    folder = tmp_path / "kept"

    def other() -> None:
        folder.mkdir()
        (folder / "x").write_text("theirs")

    make_once(folder, writes("ours", before=other))
    assert (folder / "x").read_text() == "theirs"
    assert {path.name for path in tmp_path.iterdir()} == {"kept", "kept.lock"}


def test_a_stale_folder_is_made_anew_and_leaves_nothing(tmp_path):
    folder = tmp_path / "kept"
    make_once(folder, writes("old"))
    make_once(folder, writes("unwanted"))
    assert (folder / "x").read_text() == "old"
    make_once(folder, writes("new"), is_stale=lambda: (folder / "x").read_text() == "old")
    assert (folder / "x").read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {"kept", "kept.lock"}


def test_others_may_read_what_is_made(tmp_path):
    (tmp_path / "usual").mkdir()
    make_once(tmp_path / "kept", writes("x"))
    assert (tmp_path / "kept").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_failure_leaves_nothing_and_the_lock_is_free(tmp_path):
    def fail(private: Path) -> None:
        raise KeyboardInterrupt

    (tmp_path / ".kept.of-a-killed-process.tmp").mkdir()
    with pytest.raises(KeyboardInterrupt):
        make_once(tmp_path / "kept", fail)
    assert {path.name for path in tmp_path.iterdir()} == {"kept.lock"}
    make_once(tmp_path / "kept", writes("x"))


def test_a_file_system_without_locks_will_do(tmp_path, monkeypatch):
    def no_locks(self):
        raise OSError(errno.ENOSYS, "no locks")

    monkeypatch.setattr(filelock.FileLock, "_acquire", no_locks)
    (tmp_path / ".kept.of-a-living-process.tmp").mkdir()
    make_once(tmp_path / "kept", writes("x"))
    assert (tmp_path / "kept/x").read_text() == "x" and (tmp_path / ".kept.of-a-living-process.tmp").is_dir()
