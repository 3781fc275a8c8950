"""The stand-in for new processes: it answers as they do, and nothing of a command is left for the next one."""

from __future__ import annotations

import os
import signal

import pytest
from command_server import CommandServer
from conftest import FORKS

CHANGED = """
import logging, os, random, sys, warnings, signal, types
sys.modules["leak"] = types.ModuleType("leak")
os.environ["LEAK"] = "1"
os.chdir("/")
sys.path.append("/leak")
random.seed(1)
warnings.simplefilter("error")
logging.getLogger("seedbed").addHandler(logging.NullHandler())
signal.signal(signal.SIGTERM, signal.SIG_IGN)
import torch
torch.set_num_threads(7)
torch.manual_seed(3)
"""
LOOKED_AT = """
import logging, os, random, signal, sys, warnings
import torch
print([
    "leak" in sys.modules, "LEAK" in os.environ, os.getcwd(), sys.path[-1],
    random.random() == random.Random(1).random(), warnings.filters[0][0],
    logging.getLogger("seedbed").handlers, signal.getsignal(signal.SIGTERM), torch.get_num_threads(),
    torch.initial_seed() == 3,
])
"""


def test_a_command_leaves_nothing_for_the_next_one(seedbed):
    first = seedbed("--version", before=LOOKED_AT).check().out
    seedbed("--version", before=CHANGED).check()
    assert seedbed("--version", before=LOOKED_AT).check().out == first


@pytest.mark.parametrize(
    "overrides", [("--help",), ("dataset=digits", "--cfg", "job"), ("trian.epochs=3",), ("--nonsense",)]
)
def test_it_answers_as_a_new_process_does(seedbed, overrides):
    one, other = seedbed(*overrides), seedbed.process(*overrides)
    assert (one.code, one.out, one.err) == (other.code, other.out, other.err)


def test_what_processes_of_a_command_write_is_its_output(seedbed):
    done = seedbed("--version", before="import os, sys; os.system('echo out; echo err >&2'); print('late', flush=True)")
    assert done.out.startswith("out\nlate\nseedbed ") and done.err == "err\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [("raise SystemExit(7)", 7), ("raise SystemExit", 0), ("raise SystemExit('no')", 1), ("1 / 0", 1),
     ("import os; os._exit(9)", 9), ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9)],
)  # fmt: skip
def test_the_exit_code(seedbed, code, expected):
    done = seedbed("--version", before=code)
    assert done.code == expected and ("ZeroDivisionError" in done.err) == (code == "1 / 0")
    assert seedbed("--version").check().out.startswith("seedbed ")


@pytest.mark.skipif(not FORKS, reason="nothing forks here")
def test_it_starts_again_where_it_has_died(tmp_path):
    server = CommandServer(imports=False)
    try:
        for _ in range(2):
            code, out, _ = server.run(["--version"], tmp_path, os.environ)
            assert code == 0 and out.startswith("seedbed ")
            server._process.send_signal(signal.SIGKILL)
            server._process.wait()
    finally:
        server.close()
