"""Reading a rule book from a YAML file or from JSON, with the place of every mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from middleware.domain import calendars, rulebook
from middleware.domain.policy_file import Mistake, checked, names_in, placed, plain_of, yaml_of
from middleware.domain.rulebook import RuleBook

NAMES = names_in(rulebook) | names_in(calendars)


def read_rulebook(path: Path, file: str | None = None) -> RuleBook:
    """Read a rule book (YAML 1.2; JSON is YAML too). Raises PolicyUnreadableError."""
    plain, root = plain_of(path, file)
    return checked(RuleBook, plain if plain is not None else {}, root, names=NAMES)


def rulebook_of(body: Any) -> RuleBook:
    """Read a rule book from plain JSON. Raises PolicyUnreadableError with JSON Pointers."""
    return checked(RuleBook, body, None, names=NAMES)


def warnings_of(book: RuleBook, path: Path | None = None) -> tuple[Mistake, ...]:
    """What is in order and looks mistyped, with its places in the file it was read from."""
    return placed(book.warnings(), plain_of(path)[1] if path is not None else None)


def body_of(book: RuleBook) -> dict[str, Any]:
    """A rule book as plain JSON; what it leaves out is the default."""
    return book.model_dump(mode="json", exclude_defaults=True)


def full_body_of(book: RuleBook) -> dict[str, Any]:
    """A rule book with everything that it says and everything that it leaves to the default."""
    return book.model_dump(mode="json")


def text_of(book: RuleBook) -> str:
    """A rule book with all of its figures, as the text of a file."""
    return yaml_of(full_body_of(book))
