"""The house: a lower layer never imports an upper one, few modules know Hydra, and nothing grows past a sitting."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "seedbed"
LAYERS = {
    "__init__": 0, "errors": 0, "upgrade": 0, "keys": 0, "types": 0, "files": 0, "randomness": 0, "tensors": 0,
    "annotations": 0, "cpu": 0, "settings": 0,
    "data": 1, "features": 2, "models": 2, "training": 2, "runs": 3, "plots": 4,
    "config": 5, "compose": 5, "request": 5, "optimization": 5, "experiment": 6,
    "preflight": 7, "record": 7, "resume": 7, "trained": 7, "sweep": 7, "tasks": 8, "help": 8, "cli": 9,
}  # fmt: skip
KNOWS_HYDRA = {"cli", "compose", "config", "errors", "request", "record", "resume", "sweep"}
ENTRY_POINT = ["cli.py", "compose.py", "sweep.py", "help.py", "errors.py", "keys.py", "config.py", "types.py",
               "data/decode.py"]  # fmt: skip
LONGEST_FILE, LONGEST_FUNCTION, ALL_OF_SRC = 300, 60, 9_200
FILES = sorted(SOURCE.rglob("*.py"))


def module_of(path: Path) -> str:
    """The package or module directly below seedbed."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    found = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def runtime_imports(path: Path) -> set[str]:
    """All of them but those for type checkers alone, and those of errors, which explains what upper modules raise."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = [ast.Pass()]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_lower_layers_do_not_import_upper_ones(path):
    module = module_of(path)
    assert module in LAYERS, f"{module}: give the new module a layer"
    for name in runtime_imports(path):
        parts = name.split(".")
        if parts[0] == "seedbed" and len(parts) > 1 and parts[1] in LAYERS:
            assert LAYERS[parts[1]] <= LAYERS[module], f"{path.name} ({module}) imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_few_modules_know_hydra(path):
    names = imports(path)
    assert not {name for name in names if name.startswith("hydra._internal")}
    if module_of(path) not in KNOWS_HYDRA:
        assert not {name for name in names if name.split(".")[0] in ("hydra", "omegaconf")}


@pytest.mark.parametrize("name", ENTRY_POINT)
def test_the_entry_point_imports_no_torch(name):
    heavy = {"torch", "matplotlib", "sklearn", "torchvision", "hydra"}
    assert not {n for n in imports(SOURCE / name, top_level_only=True) if n.split(".")[0] in heavy}


def test_nothing_grows_past_a_sitting():
    lengths = {str(path.relative_to(SOURCE)): len(path.read_text().splitlines()) for path in FILES}
    assert not {name: length for name, length in lengths.items() if length > LONGEST_FILE}
    assert sum(lengths.values()) <= ALL_OF_SRC, "raise the cap on purpose, with a reason, or make room"


def test_no_function_is_longer_than_a_screen():
    long = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = node.body[0].end_lineno - node.body[0].lineno + 1 if ast.get_docstring(node) else 0
                lines = node.end_lineno - node.lineno + 1 - docstring
                if lines > LONGEST_FUNCTION:
                    long[f"{path.relative_to(SOURCE)}:{node.name}"] = lines
    assert not long
