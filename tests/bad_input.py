"""What the tests of bad input share: a refusal is exit code 1, one message, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

CACHE = "cache"


def left(folder: Path) -> set[str]:
    """Every path below a test's folder, but for what a cache may keep."""
    return {name for path in folder.rglob("*") if not (name := str(path.relative_to(folder))).startswith(CACHE)}


def one_message(done, *names: str) -> str:
    """The message of a command that ended with exit code 1: one line on stderr that holds all of `names`."""
    assert done.code == 1, f"exit code {done.code}\n{done.out}\n{done.err}"
    assert "Traceback" not in done.out + done.err, done.out + done.err
    assert done.err.startswith("error: ") and len(done.err.strip().splitlines()) == 1, done.err
    message = done.err.strip()
    for name in names:
        assert name in message, f"{name!r} is not in: {message}"
    return message


def refused(seedbed, tmp_path: Path, *overrides: str, names: tuple[str, ...], **env: str) -> str:
    """Run the command; it has to refuse before it writes anything; return its message."""
    before = left(tmp_path)
    done = seedbed(*overrides, **{"SEEDBED_CACHE": str(tmp_path / CACHE), **env})
    message = one_message(done, *names)
    assert left(tmp_path) == before
    assert not list(tmp_path.rglob("*.tmp"))
    return message
