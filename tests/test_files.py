"""Folders that are made once."""

from __future__ import annotations

from pathlib import Path

from seedbed.files import make_once


def writes(text: str, before=lambda: None):
    def fill(private: Path) -> None:
        (private / "x").write_text(text)
        before()

    return fill


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
