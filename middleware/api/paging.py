"""Pages: signed, opaque keyset cursors. They name a position, so nothing is skipped or repeated
when rows are added while somebody reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from fastapi import Query, Request

from middleware.domain.problems import InvalidError
from middleware.flows.seal import BrokenSealError, Seal

LARGEST_PAGE = 200
LONGEST_CURSOR = 2000

Limit = Annotated[
    int, Query(ge=1, le=LARGEST_PAGE, description="How many items the page holds at most.")
]
Cursor = Annotated[
    str | None,
    Query(
        max_length=LONGEST_CURSOR,
        description="`next_cursor` of the page before; leave it out for the first page.",
    ),
]

T = TypeVar("T")


class Cursors:
    """Writes and reads cursors. One that was altered, or was made for another list, is refused."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    def write(self, purpose: str, position: Sequence[str | int]) -> str:
        return self._seal.write(f"page {purpose}", list(position))

    def read(self, purpose: str, text: str) -> list[Any]:
        """The position in a cursor; raises InvalidError for one that was not made for this."""
        try:
            position: list[Any] = self._seal.read(f"page {purpose}", text)
        except BrokenSealError:
            raise _not_ours() from None
        return position


def _not_ours() -> InvalidError:
    return InvalidError(
        "The cursor was not made by this list with these filters.",
        errors=[
            {
                "pointer": "/query/cursor",
                "code": "cursor",
                "detail": "take `next_cursor` of the page before, with the same filters",
            }
        ],
    )


@dataclass(frozen=True)
class Turn:
    """One turn of a page: from where, and how many to fetch to know whether more follow."""

    purpose: str
    position: list[Any] | None
    limit: int

    @property
    def fetch(self) -> int:
        return self.limit + 1

    @property
    def text(self) -> str | None:
        """The position of lists that go by one id."""
        return None if self.position is None else str(self.position[0])


def turn(
    cursors: Cursors, request: Request, *, cursor: str | None, limit: int, **filters: Any
) -> Turn:
    """Where this request's page begins. `filters` bind the cursor to the question."""
    given = {name: str(value) for name, value in sorted(filters.items()) if value is not None}
    purpose = f"{request.url.path}?{urlencode(given)}"
    position = None if cursor is None else cursors.read(purpose, cursor)
    return Turn(purpose, position, limit)


def leaf(
    cursors: Cursors,
    here: Turn,
    rows: Sequence[T],
    position_of: Callable[[T], Sequence[str | int]],
) -> tuple[list[T], str | None]:
    """The rows of this page, and the cursor of the next one where there is one."""
    shown = list(rows[: here.limit])
    if len(rows) <= here.limit:
        return shown, None
    return shown, cursors.write(here.purpose, position_of(shown[-1]))


def link_header(request: Request, next_cursor: str | None) -> dict[str, str]:
    """The `Link` header of RFC 8288 that names the next page."""
    if next_cursor is None:
        return {}
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    query = urlencode([*kept, ("cursor", next_cursor)])
    return {"Link": f'<{request.url.path}?{query}>; rel="next"'}
