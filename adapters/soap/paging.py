"""Answers that come in parts: which part comes next, and how far a stretch of time is read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from adapters.soap.answers import Tree, text
from adapters.soap.bindings import Paging
from adapters.soap.client import Answer


@dataclass(frozen=True, slots=True)
class Position:
    """Which part comes next."""

    first: bool
    page: int
    offset: int
    token: str | None = None
    total: int | None = None

    @classmethod
    def start(cls, paging: Paging | None) -> Position:
        return cls(True, paging.start if paging is not None else 1, 0)

    def after(self, paging: Paging, body: Tree, rows: int) -> Position | None:
        """The part after one with this many rows, or None if it was the last."""
        total = number(body, paging.total)
        token = text(body, paging.next) if paging.next else None
        if paging.done and (text(body, paging.done) or "").lower() in ("true", "1", "yes"):
            return None
        pages = number(body, paging.pages)
        if pages is not None and self.page - paging.start + 1 >= pages:
            return None
        page = self.page + 1
        if paging.style == "token":
            if token is None:
                return None
        elif paging.next:
            if token is None or not token.isdecimal():
                return None
            page = int(token)
        elif rows == 0 or rows < paging.size:
            return None
        read = self.offset + rows
        if total is not None and paging.style != "token" and read >= total:
            return None
        return Position(False, page, read, token, total)


@dataclass(frozen=True, slots=True)
class Part:
    rows: list[Tree]
    answer: Answer
    next: Position | None
    seen: int
    """How many rows there were, with those that `only` passes over."""


class Window:
    """A stretch of time that is being read; a cursor is one in text."""

    def __init__(
        self,
        since: datetime | None,
        until: datetime | None,
        position: Position | None,
        ends: datetime | None = None,
        after: str | None = None,
    ) -> None:
        self.since = since
        self.until = until or datetime.now(UTC)
        self.position = position
        self.ends = ends
        self.after = after
        """The last row of this part that was handed out."""

    def written(self) -> str:
        if self.position is None:
            return json.dumps({"since": self.since.isoformat() if self.since else None})
        at = self.position
        return json.dumps(
            {
                "since": self.since.isoformat() if self.since else None,
                "until": self.until.isoformat(),
                "ends": (self.ends or self.until).isoformat(),
                "at": [at.first, at.page, at.offset, at.token, at.total],
                "after": self.after,
            }
        )

    @classmethod
    def read(cls, cursor: str) -> Window:
        """What `written` wrote; raises ValueError, KeyError or TypeError for anything else."""
        data = json.loads(cursor)
        since = _aware(data["since"]) if data["since"] is not None else None
        if "at" not in data:
            return cls(since, None, None)
        first, page, offset, token, total = data["at"]
        position = Position(bool(first), int(page), int(offset), token, total)
        return cls(since, _aware(data["until"]), position, _aware(data["ends"]), data.get("after"))


def _aware(value: str) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("a cursor's moments have a time zone")
    return moment


def number(body: Tree, path: str) -> int | None:
    stated = text(body, path) if path else None
    return int(stated) if stated is not None and stated.isdecimal() else None
