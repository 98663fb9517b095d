"""docs/mapping.md: its examples run, and it leaves no word of the vocabulary out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from middleware.contract.mapping import MappingSet, fixtures, schema
from middleware.contract.mapping.codes import CODES
from middleware.contract.mapping.lint import lint_paths
from middleware.contract.mapping.steps import STEPS
from middleware.contract.mapping.values import TYPES
from middleware.contract.mapping.vocabulary import (
    FIELD,
    FILE,
    FIXTURE,
    ON_ERROR,
    OUTCOMES,
    Keys,
)

GUIDE = (Path(__file__).parents[3] / "docs" / "mapping.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(
    r'^```(?:yaml|csv) title="(?P<path>[^"]+)"\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL
)


@pytest.fixture
def mappings(tmp_path: Path) -> Path:
    """The guide's examples as files."""
    tree = tmp_path / "mappings"
    for example in EXAMPLE.finditer(GUIDE):
        path = tree / example["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(example["text"], encoding="utf-8")
    return tree


def test_every_yaml_example_has_a_title_and_is_run():
    assert len(EXAMPLE.findall(GUIDE)) == GUIDE.count("```yaml") + GUIDE.count("```csv") == 9


def test_the_examples_are_clean(mappings):
    assert [str(issue) for issue in lint_paths([mappings])] == []


def test_the_examples_do_what_their_fixtures_say(mappings):
    results = fixtures.test_paths([mappings])
    assert len(results) == 5
    assert [str(result) for result in results if not result.ok] == []


def test_the_examples_name_the_schema(mappings):
    for path in mappings.rglob("*.map.yaml"):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        assert first == f"{schema.COMMENT}../{schema.NAME}"


def test_the_examples_work_as_sets(mappings):
    assert MappingSet.load(mappings / "erp").has_push("replacement_order")
    assert MappingSet.load(mappings / "crm").has_pull("contact")


def test_the_first_example_is_short():
    example = next(EXAMPLE.finditer(GUIDE))
    assert len(example["text"].splitlines()) == 10


@pytest.mark.parametrize("word", sorted({
    *FILE.keys, *FIELD.keys, *FIXTURE.keys, *STEPS, *TYPES, *ON_ERROR, *OUTCOMES,
    *(name for key in FILE.keys.values() if isinstance(key.shape, Keys) for name in key.shape.keys),
}))  # fmt: skip
def test_every_word_of_the_vocabulary_is_explained(word):
    assert re.search(rf"`[^`\n]*\b{re.escape(word)}\b[^`\n]*`", GUIDE)


def test_every_code_has_its_line_with_the_remedy():
    rows = re.findall(r"^\| ([MR]\d{3}) \| (.+?) \| (.+?) \|$", GUIDE, re.MULTILINE)
    assert [code for code, *_ in rows] == list(CODES)
    assert all(meaning and remedy for _, meaning, remedy in rows)
