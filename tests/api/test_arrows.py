"""The API is a thin door: of the store it knows the queries, and no SQL, settings or engine."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import middleware.api

FOLDER = Path(middleware.api.__file__).parent

FORBIDDEN = (
    "sqlalchemy",
    "sqlmodel",
    "alembic",
    "dbos",
    "middleware.settings",
    "middleware.configuration",
    "middleware.app",
)
OF_THE_STORE = "middleware.store.queries"


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_api_imports_no_more_than_it_may() -> None:
    found = [
        f"{file.relative_to(FOLDER)} imports {name}"
        for file in sorted(FOLDER.rglob("*.py"))
        for name in imported(file)
        if name.startswith(FORBIDDEN)
        or (name.startswith("middleware.store") and not f"{name}.".startswith(f"{OF_THE_STORE}."))
    ]
    assert found == []
