"""docs/configuration.md says what conf/ and the schemas say."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

import pytest

from seedbed.config import SCHEMAS
from seedbed.keys import TASK_KEYS

DOCS = Path(__file__).parents[1] / "docs"
sys.path.append(str(DOCS))
import generate_configuration  # noqa: E402


def test_the_page_is_what_the_generator_writes():
    written = generate_configuration.page()
    assert (DOCS / "configuration.md").read_text() == written, "run: python docs/generate_configuration.py"


@pytest.mark.parametrize(("group", "schema"), SCHEMAS.items())
def test_the_page_has_every_key_of_a_schema(group, schema):
    page = (DOCS / "configuration.md").read_text()
    assert [spec.name for spec in fields(schema) if f"\n| `{group}.{spec.name}` |" not in page] == []


def test_the_page_has_every_key_of_a_task():
    page = (DOCS / "configuration.md").read_text()
    assert [key for key in TASK_KEYS if f"\n| `{key}` |" not in page] == ["task"]


def test_a_comment_describes_the_key_that_it_stands_beside_above_or_goes_on_from(tmp_path):
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
    entries = generate_configuration.read(path, "group").entries
    assert {key: entry.comment for key, entry in entries.items()} == {
        "group.first": "of the first, in two lines",
        "group.second.third": "above the second of the third",
        "group.fourth": "",
    }
