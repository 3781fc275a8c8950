"""The modules: a lower one never imports an upper one, and only those that compose a run know Hydra."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "seedbed"
LAYERS = {
    "__init__": 0, "errors": 0, "types": 0, "files": 0, "randomness": 0, "tensors": 0, "annotations": 0,
    "data": 1, "features": 1, "models": 1,
    "training": 2, "runs": 3, "plots": 3, "config": 3, "request": 3,
    "build": 4, "experiment": 4, "trained": 4, "tasks": 5,
    "help": 5, "sweep": 5, "cli": 6,
}  # fmt: skip
KNOWS_HYDRA = {"cli", "request", "sweep", "build", "experiment", "errors", "tasks"}
FILES = sorted(SOURCE.rglob("*.py"))


def module_of(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_lower_modules_do_not_import_upper_ones(path):
    own = module_of(path)
    assert own in LAYERS, f"{own}: give the new module a layer"
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "seedbed" and len(parts) > 1 and parts[1] in LAYERS:
            assert LAYERS[parts[1]] <= LAYERS[own], f"{path.name} ({own}) imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_hydra_stays_at_the_entry_point(path):
    if module_of(path) not in KNOWS_HYDRA:
        assert not {n for n in imports(path) if n.split(".")[0] in ("hydra", "omegaconf")}


ENTRY_POINT = ["cli.py", "sweep.py", "help.py", "errors.py", "config.py", "types.py", "data/decode.py"]


@pytest.mark.parametrize("name", ENTRY_POINT)
def test_the_entry_point_imports_no_torch(name):
    heavy = {"torch", "matplotlib", "sklearn", "torchvision", "hydra"}
    assert not {n for n in imports(SOURCE / name, top_level_only=True) if n.split(".")[0] in heavy}


def test_no_file_grows_past_a_sitting():
    long = {str(p.relative_to(SOURCE)): n for p in FILES if (n := len(p.read_text().splitlines())) > 350}
    assert not long
