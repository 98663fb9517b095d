"""What the repository says about itself leads somewhere, and nothing of a machine is left in it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.docs.reading import ROOT, Page, files, pages, text_of

SELF = Path(__file__)

every_page = pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)


def missing(page: Page, target: str) -> str | None:
    """What is wrong with a relative link; None when it leads somewhere."""
    path, _, fragment = target.partition("#")
    if path.startswith("/"):
        return "begins with a slash, so it depends on where the page is shown"
    there = (page.path.parent / unquote(path)).resolve() if path else page.path
    if not there.is_relative_to(ROOT):
        return "leads out of the repository"
    if not there.exists():
        return "does not exist"
    if fragment and there.suffix == ".md" and fragment not in Page(there).anchors():
        return f"has no heading #{fragment}"
    return None


@every_page
def test_relative_links_lead_somewhere(page: Page) -> None:
    wrong = [
        f"{page.name}:{line}: {target} {problem}"
        for target, line in page.links()
        if not re.match(r"[a-z][a-z0-9+.-]*:", target) and (problem := missing(page, target))
    ]
    assert not wrong, "\n".join(wrong)


def test_pages_that_code_points_to_exist() -> None:
    wrong = []
    for path in files():
        if path.suffix not in (".py", ".yaml", ".toml") or path == SELF:
            continue
        for found in re.finditer(r"\bdocs/[\w./-]+\.md(#[\w-]+)?", text_of(path) or ""):
            name, _, fragment = found[0].partition("#")
            target = ROOT / name
            if not target.is_file() or (fragment and fragment not in Page(target).anchors()):
                wrong.append(f"{path.relative_to(ROOT)} points to {found[0]}, which does not exist")
    assert not wrong, "\n".join(wrong)


FORBIDDEN = {
    "a path of somebody's machine": (
        r"(?<![\w.\-}/:])/(work|root|home/[a-z]\w*|Users/\w+|opt/pypi)/\w"
    ),
    "a package registry's host": r"pythonhosted\.org|registry\.npmjs|pypi\.org/simple|deb\.debian",
    "an address inside requirements": r"(?m)^(--(extra-)?index-url|--find-links|.* @ https?:)",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_of_a_machine_is_left_in_the_tree(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what])
    wrong = []
    for path in files():
        if path == SELF or ("requirements" in what and not path.name.startswith("requirements")):
            continue
        text = text_of(path)
        for found in pattern.finditer(text or ""):
            line = (text or "").count("\n", 0, found.start()) + 1
            wrong.append(f"{path.relative_to(ROOT)}:{line}: {what}: {found[0]!r}")
    assert not wrong, "\n".join(wrong[:20])


@every_page
def test_pages_are_finished(page: Page) -> None:
    unfinished = [
        f"{page.name}:{line}: {found[0]}"
        for text, line in page.prose()
        if (found := re.search(r"\b(TODO|FIXME|TBD|XXX|lorem ipsum)\b", text))
    ]
    assert not unfinished, "\n".join(unfinished)


@every_page
def test_pages_do_not_belittle(page: Page) -> None:
    """What is simple to whoever wrote the page need not be so to whoever reads it."""
    found = [
        f"{page.name}:{line}: leave out {word[0]!r}"
        for text, line in page.prose()
        if (word := re.search(r"\b(simply|just|obviously)\b", text, re.IGNORECASE))
    ]
    assert not found, "\n".join(found)


def test_every_page_of_the_docs_can_be_reached() -> None:
    """From the README, or from the index of its folder, by links."""
    linked = {
        (page.path.parent / unquote(target.partition("#")[0])).resolve()
        for page in pages()
        for target, _ in page.links()
        if not re.match(r"[a-z][a-z0-9+.-]*:", target)
    }
    lost = [
        page.name
        for page in pages()
        if page.path.is_relative_to(ROOT / "docs")
        and page.path.name != "README.md"
        and page.path.resolve() not in linked
    ]
    assert not lost, f"no page links to {', '.join(lost)}"
