"""Pages that make a promise about code are held to it."""

from __future__ import annotations

import json
import re

import pytest

from middleware.api.problems import SLUGS
from tests.docs.reading import ROOT, Page

PROBLEMS = ROOT / "docs" / "problems"
DECISIONS = ROOT / "docs" / "decisions"


@pytest.mark.parametrize("slug", SLUGS)
def test_every_problem_has_its_page(slug: str) -> None:
    kind, page = SLUGS[slug], Page(PROBLEMS / f"{slug}.md")
    assert next(page.headings()) == (1, slug)
    assert f"**{kind.status} {kind.title}.**" in page.text
    assert [heading for level, heading in page.headings() if level == 2] == [
        "When it happens",
        "What to do",
        "Example",
    ]
    (head,) = page.fenced("http")
    assert re.match(rf"HTTP/1\.1 {kind.status} [A-Z]", head)
    assert "application/problem+json" in head
    (body,) = (json.loads(text) for text in page.fenced("json"))
    assert body["type"] == f"/problems/{slug}"
    assert body["code"] == slug
    assert (body["status"], body["title"], body["retryable"]) == (
        kind.status,
        kind.title,
        kind.retryable,
    )
    assert body["detail"]
    assert body["instance"].startswith("/v1/")
    assert body["request_id"]
    for error in body.get("errors", ()):
        assert set(error) == {"pointer", "detail", "code"}
        assert error["pointer"] == "" or error["pointer"].startswith("/")
    if "upstream" in body:
        assert set(body["upstream"]) == {"system", "operation", "code", "message"}


def test_the_list_of_problems_is_complete() -> None:
    index = Page(PROBLEMS / "README.md")
    listed = [target.removesuffix(".md") for target, _ in index.links()]
    pages = {path.stem for path in PROBLEMS.glob("*.md")} - {"README"}
    assert sorted(listed) == sorted(pages) == sorted(SLUGS)
    for slug, kind in SLUGS.items():
        assert f"| [{slug}]({slug}.md) | {kind.status} | {kind.title} |" in index.text


def test_decisions_are_numbered_listed_and_complete() -> None:
    decisions = sorted(DECISIONS.glob("[0-9]*.md"))
    assert [path.name[:4] for path in decisions] == [
        f"{number:04}" for number in range(1, len(decisions) + 1)
    ]
    listed = [target for target, _ in Page(DECISIONS / "README.md").links()]
    for path in decisions:
        page = Page(path)
        assert path.name in listed, f"{path.name} is not in the index"
        level, title = next(page.headings())
        assert level == 1
        assert title.startswith(f"{path.name[:4]}: ")
        assert "- **State:** " in page.text
        assert [heading for level, heading in page.headings() if level == 2] == [
            "Context",
            "Decision",
            "Consequences",
            "What we did not choose",
        ]


def test_every_guarantee_names_tests_that_exist() -> None:
    page = Page(ROOT / "docs" / "guarantees.md")
    named = sorted({code for code in page.code() if code.startswith("tests/")})
    assert named
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing, f"promised and not there: {', '.join(missing)}"


def test_no_figure_stands_without_its_source() -> None:
    """A filled row of a benchmark names commit, machine and date in its last column."""
    page = Page(ROOT / "docs" / "benchmarks.md")
    for line in page.text.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        if len(cells) > 3 and cells[-1] != "Commit, machine, date" and set(line) - set("|- "):
            assert re.search(r"\b[0-9a-f]{7,}\b.*\b20\d\d-\d\d-\d\d\b", cells[-1]), line


def test_the_glossary_says_one_thing_once() -> None:
    headings = [heading for level, heading in Page(ROOT / "docs" / "glossary.md").headings()]
    assert len(headings) == len(set(headings))
