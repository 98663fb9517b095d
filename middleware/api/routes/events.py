"""Events: what the hub tells others, to read in order for those who prefer asking to being told."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from middleware.api import examples
from middleware.api.answers import answer
from middleware.api.describe import operation
from middleware.api.door import LONGEST_WAIT, Route, TheDoor
from middleware.api.paging import Limit
from middleware.api.schemas import operations as schemas
from middleware.domain.problems import InvalidError
from middleware.flows.hub import Hub
from middleware.flows.keys import Scope
from middleware.store import queries

router = APIRouter(route_class=Route, tags=["events"])

# A position in the feed is no secret, and whoever keeps one keeps it for longer than a process
# lives: it is written plainly, in place of the signed cursors of lists.
_CURSOR = re.compile(r"e(\d{1,18})")
_TYPE = re.compile(r"[a-z_]{1,40}(\.[a-z_]{1,40}){0,3}(\.\*)?")


@router.get(
    "/v1/events",
    response_model=schemas.EventFeed,
    **operation(
        Scope.EVENTS_READ,
        says="What happened after the cursor, in order.",
        example=examples.EVENT_FEED,
    ),
)
async def list_events(
    request: Request,
    door: TheDoor,
    limit: Limit = 100,
    cursor: Annotated[
        str | None,
        Query(
            max_length=20,
            description="`next_cursor` of the answer before; leave it out to begin at the start.",
            examples=["e1041"],
        ),
    ] = None,
    types: Annotated[
        str | None,
        Query(
            max_length=1000,
            description="Only these types, separated by commas; `action.*` is all of a family.",
            examples=["action.*,complaint.enriched"],
        ),
    ] = None,
    wait: Annotated[
        int,
        Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait when there is nothing new."),
    ] = 0,
) -> Response:
    """Read events in the order in which they were committed.

    `next_cursor` is where to go on, also when nothing is new; keep it with what you did. With
    `wait` the answer is held back until something happens.
    """
    seq = _position(cursor)
    wanted = _types(types)
    rows = await door.until(
        lambda: _since(door.hub, seq, wanted, limit + 1), lambda found: bool(found), wait
    )
    shown = rows[:limit]
    feed = schemas.EventFeed(
        data=[
            schemas.EventShown(
                id=row.id, type=row.type, subject=row.subject, timestamp=row.at, data=row.data
            )
            for row in shown
        ],
        next_cursor=f"e{shown[-1].seq if shown else seq}",
        has_more=len(rows) > limit,
    )
    return answer(request, feed)


def _since(hub: Hub, seq: int, types: list[str], limit: int) -> list[queries.EventRow]:
    with hub.database.read() as uow:
        return queries.events_since(uow, seq, types=types, limit=limit)


def _position(cursor: str | None) -> int:
    if cursor is None:
        return 0
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise InvalidError(
            "The cursor is none of this feed.",
            errors=[
                {
                    "pointer": "/query/cursor",
                    "code": "cursor",
                    "detail": "take `next_cursor` of the answer before",
                }
            ],
        )
    return int(found[1])


def _types(text: str | None) -> list[str]:
    if not text:
        return []
    types = [part.strip() for part in text.split(",")]
    if not all(_TYPE.fullmatch(part) for part in types):
        raise InvalidError(
            "Types are names such as action.done or action.*, separated by commas.",
            errors=[{"pointer": "/query/types", "code": "pattern", "detail": "names no type"}],
        )
    return types
