"""What POSIX alone has is not needed, so that Windows can follow."""

from __future__ import annotations

HIDDEN = """
import importlib, os, pkgutil, sys
sys.modules |= {"fcntl": None, "resource": None}
if hasattr(os, "posix_fallocate"):
    del os.posix_fallocate
import seedbed
for module in pkgutil.walk_packages(seedbed.__path__, "seedbed."):
    importlib.import_module(module.name)
from seedbed.cli import main
sys.exit(main())
"""


def test_every_module_is_imported_and_a_run_finished_without_what_posix_alone_has(seedbed, tmp_path):
    overrides = ("dataset=digits", "train=smoke")
    done = seedbed.process(*overrides, program=("-c", HIDDEN), SEEDBED_CACHE=str(tmp_path / "cache")).check()
    assert done.result["status"] == "finished"
