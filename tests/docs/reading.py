"""The repository's own text: its tracked files, and its Markdown with headings and links."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
_SKIPPED = {".git", ".venv", "node_modules", "build", "dist", "__pycache__"}


@cache
def files() -> tuple[Path, ...]:
    """Every file of the repository: what git knows, else what lies there."""
    asked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if asked.returncode == 0:
        names = [name for name in asked.stdout.decode().split("\0") if name]
        return tuple(path for name in names if (path := ROOT / name).is_file())
    return tuple(
        path
        for path in ROOT.rglob("*")
        if path.is_file() and not _SKIPPED & set(path.relative_to(ROOT).parts)
    )


def text_of(path: Path) -> str | None:
    """The file's text; None for a file that is none."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def tokens(self) -> list[Token]:
        return MarkdownIt("gfm-like", {"linkify": False}).parse(self.text)

    def inline(self) -> Iterator[tuple[Token, int]]:
        """Every inline token with the line that its block begins on."""
        for block in self.tokens:
            for token in block.children or ():
                yield token, (block.map or [0])[0] + 1

    def links(self) -> Iterator[tuple[str, int]]:
        """Where its links and images point, with their lines."""
        for token, line in self.inline():
            target = token.attrGet("href") or token.attrGet("src")
            if target is not None:
                yield str(target), line

    def prose(self) -> Iterator[tuple[str, int]]:
        """What it says, without code."""
        for token, line in self.inline():
            if token.type == "text":
                yield token.content, line

    def code(self) -> Iterator[str]:
        """What stands between backticks in a line."""
        for token, _ in self.inline():
            if token.type == "code_inline":
                yield token.content

    def fenced(self, language: str) -> Iterator[str]:
        """Its code blocks in one language."""
        for token in self.tokens:
            if token.type == "fence" and token.info.strip() == language:
                yield token.content

    def headings(self) -> Iterator[tuple[int, str]]:
        """Level and plain text of each heading."""
        tokens = self.tokens
        for opening, content in pairwise(tokens):
            if opening.type == "heading_open":
                parts = (token.content for token in content.children or ())
                yield int(opening.tag[1:]), "".join(parts)

    def anchors(self) -> set[str]:
        """The fragments that its headings can be linked by, as GitHub makes them."""
        made: dict[str, int] = {}
        found = set()
        for _, heading in self.headings():
            slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            count = made.get(slug, 0)
            made[slug] = count + 1
            found.add(f"{slug}-{count}" if count else slug)
        return found


@cache
def pages() -> tuple[Page, ...]:
    """README, CHANGELOG, docs and every other Markdown file, in the order of their paths."""
    return tuple(Page(path) for path in sorted(files()) if path.suffix == ".md")
