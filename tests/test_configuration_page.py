"""docs/configuration.md says what conf/ and the schemas say."""

from __future__ import annotations

import importlib.util
from dataclasses import fields
from pathlib import Path

import pytest
from seedbed.config import SCHEMAS
from seedbed.keys import GROUPS, KEYS

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("generate_configuration", DOCS / "generate_configuration.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_generator_writes(generator):
    written = generator.page()
    assert (DOCS / "configuration.md").read_text() == written, "run: python docs/generate_configuration.py"


@pytest.mark.parametrize(("group", "schema"), SCHEMAS.items())
def test_the_page_has_every_key_of_a_schema(group, schema):
    page = (DOCS / "configuration.md").read_text()
    assert [spec.name for spec in fields(schema) if f"\n| `{group}.{spec.name}` |" not in page] == []


def test_the_page_has_every_declared_key():
    page = (DOCS / "configuration.md").read_text()
    keys = set(KEYS) - set(GROUPS) - {"task", "experiment"}
    assert [key for key in sorted(keys) if f"\n| `{key}` |" not in page] == []


def test_a_comment_describes_the_key_that_it_stands_beside_above_or_goes_on_from(generator, tmp_path):
    path = tmp_path / "option.yaml"
    path.write_text(
        "# Of the file\n"
        "first: 1       # of the first,\n"
        "               # in two lines\n"
        "# above the second\n"
        "second:\n"
        "  third: [a]   # of the third\n"
        "fourth: ${seed}\n"
    )
    entries = generator.read(path, "group").entries
    assert {key: entry.comment for key, entry in entries.items()} == {
        "group.first": "of the first, in two lines",
        "group.second.third": "above the second of the third",
        "group.fourth": "",
    }
