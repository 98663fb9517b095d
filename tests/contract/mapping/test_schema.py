"""The JSON Schema and the checks are one vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from middleware.contract.mapping import document, schema
from middleware.contract.mapping.lint import find_files
from tests.contract.mapping.sheet import sheet
from tests.contract.mapping.test_mistakes import MISTAKES

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "mappings" / schema.NAME
FILES = find_files([Path(__file__).parent / "files" / "mappings"])
VALIDATOR = Draft202012Validator(schema.json_schema())


def words(text: str) -> Any:
    return document.plain(document.parse(text, "f"))


def test_the_shipped_schema_is_the_one_that_the_code_makes():
    remedy = f"run: python -m middleware.contract.mapping.schema mappings/{schema.NAME}"
    assert SHIPPED.read_text(encoding="utf-8") == schema.written(), remedy


def test_it_is_a_valid_schema():
    Draft202012Validator.check_schema(schema.json_schema())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_mapping_file_satisfies_it(path):
    errors = [error.message for error in VALIDATOR.iter_errors(document.plain(document.read(path)))]
    assert errors == []


BY_MEANING = {"M004", "M005", "M009", "M010", "M013"}
"""Codes that take a file, a grammar or two lines to see."""
BY_TWO_KEYS = ("pairs go", "a table has", "format", "default:", "brace", "no conversion",
               "names no", "has no", "the file's direction", "stands only", "push_to belongs",
               "needs type", "belong together", "a condition is", "no time zone", "unit needs",
               "is not one of code", "reads the unquoted", "max_length is",
               "the table gives")  # fmt: skip
"""Messages of the same kind among the other codes."""


@pytest.mark.parametrize(("direction", "fields", "more", "issue"), MISTAKES)
def test_an_editor_sees_what_a_shape_can_show(direction, fields, more, issue):
    errors = list(VALIDATOR.iter_errors(words(sheet(fields, direction=direction, more=more))))
    if issue.split(" ")[2] not in BY_MEANING and not any(word in issue for word in BY_TWO_KEYS):
        assert errors


def test_editors_are_told_what_each_key_is_for():
    field = schema.json_schema()["$defs"]["fields"]["additionalProperties"]["anyOf"][1]
    assert all(key["description"] for key in field["properties"].values())
    assert field["additionalProperties"] is False
