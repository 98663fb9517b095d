"""Every mapping file that we ship is correct, proved, and completed by editors."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from middleware.contract.mapping import document, fixtures, schema
from middleware.contract.mapping.lint import find_files, lint_paths

MAPPINGS = Path(__file__).parents[3] / "mappings"
FILES = find_files([MAPPINGS])


def name(path: Path) -> str:
    return str(path.relative_to(MAPPINGS))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_it_is_correct_and_has_fixtures(path):
    assert [str(issue) for issue in lint_paths([path])] == []


@pytest.mark.parametrize("path", FILES, ids=name)
def test_its_fixtures_pass(path):
    results = fixtures.test_paths([path])
    assert [str(result) for result in results if not result.ok] == []


@pytest.mark.parametrize("path", FILES, ids=name)
def test_an_editor_completes_it(path):
    """The first line names the schema, and the schema agrees with the file."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    assert first.startswith(schema.COMMENT), f"begin it with {schema.COMMENT}../{schema.NAME}"
    named = (path.parent / first.removeprefix(schema.COMMENT)).resolve()
    assert named == (MAPPINGS / schema.NAME).resolve()
    validator = Draft202012Validator(schema.json_schema())
    content = document.plain(document.read(path))
    assert [error.message for error in validator.iter_errors(content)] == []


def test_no_two_files_clash():
    assert [str(issue) for issue in lint_paths([MAPPINGS]) if issue.code == "M014"] == []
