"""What can be wrong with a mapping file, and with a record that passes through one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from middleware.contract.errors import Ambiguous, Permanent


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands in a file; lines and columns count from 1, 0 means the whole file."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Issue:
    """A mistake in a mapping file, with its code from `docs/mapping.md`."""

    code: str
    message: str
    place: Place
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        return f"{self.place}: {self.severity} {self.code} {self.message}"


@dataclass(frozen=True, slots=True)
class Problem:
    """A value that a mapping rule refused.

    `reason` holds no personal data; the value itself is kept apart, and out of every repr.
    """

    field: str
    reason: str
    place: str = ""
    value: Any = dataclasses.field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        told = f"{self.field}: {self.reason}"
        return f"{self.place}: {told}" if self.place else told


class MappingInvalid(ValueError):
    """Mapping files are wrong; `issues` lists every mistake with its place."""

    def __init__(self, issues: Iterable[Issue]) -> None:
        self.issues = tuple(sorted(issues, key=lambda issue: (issue.place, issue.code)))
        super().__init__("\n".join(map(str, self.issues)))


def _told(problems: tuple[Problem, ...]) -> str:
    return "; ".join(map(str, problems))


class MappingError(Permanent):
    """A record does not fit its mapping; nothing was sent, and a person must look."""

    def __init__(
        self, problems: Iterable[Problem], *, system: str = "", operation: str = ""
    ) -> None:
        self.problems = tuple(problems)
        super().__init__(
            _told(self.problems),
            system=system,
            operation=operation,
            code="mapping",
            field=self.problems[0].field if self.problems else None,
        )


class AnswerUnreadable(Ambiguous):
    """The remote answered a write, but not as `response:` expects; look the write up by its key."""

    def __init__(
        self, problems: Iterable[Problem], *, system: str = "", operation: str = ""
    ) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "the answer does not fit the mapping: " + _told(self.problems),
            system=system,
            operation=operation,
            code="mapping",
            field=self.problems[0].field if self.problems else None,
        )


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the closest of `words`, or nothing."""
    limit = max(1, len(word) // 3)
    close = [
        (distance, candidate)
        for candidate in words
        if abs(len(candidate) - len(word)) <= limit
        and (distance := _edits(word.casefold(), candidate.casefold())) <= limit
    ]
    return f" (did you mean {min(close)[1]!r}?)" if close else ""


def _edits(one: str, other: str) -> int:
    """How many letters to insert, delete, change or swap with their neighbour."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        before, last, row = row, before, [i]
        for j, wanted in enumerate(other, start=1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            swapped = i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted
            row.append(min(best, last[j - 2] + 1) if swapped else best)
    return row[-1]
