"""What the routes of documents with versions share: the policy's, and the rule book's."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from middleware.api import paging
from middleware.api.answers import answer
from middleware.api.door import Door
from middleware.domain.policy_file import PolicyUnreadableError
from middleware.domain.problems import InvalidError, NotFoundError
from middleware.flows.versions import Document, InForce

D = TypeVar("D")


def page(
    document: Document[Any],
    request: Request,
    door: Door,
    *,
    limit: int,
    cursor: str | None,
    shape: type[BaseModel],
) -> Response:
    """One page of a document's versions, newest first, in the `shape` of its answer."""
    here = paging.turn(door.cursors, request, cursor=cursor, limit=limit)
    before = None if here.position is None else int(here.position[0])
    with door.hub.database.read() as uow:
        rows = document.rows(uow).page(before=before, limit=here.fetch)
    rows, following = paging.leaf(door.cursors, here, rows, lambda row: [row.version])
    shown = shape.model_validate(
        {
            "data": [origin(row) for row in rows],
            "next_cursor": following,
            "has_more": following is not None,
        }
    )
    return answer(request, shown, headers=paging.link_header(request, following))


def numbered(document: Document[D], door: Door, text: str) -> InForce[D]:
    """The version that a path names; raises NotFoundError."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise NotFoundError(f"The {document.title} has no version {text[:50]!r}.")
    with door.hub.database.read() as uow:
        return document.version(door.hub, uow, int(text))


def asked(
    document: Document[D], door: Door, body: dict[str, Any] | None, version: int | None, *, at: str
) -> D:
    """What a request wants in force: a body, which it has in its field `at`, or an earlier version.

    Raises InvalidError with the place of every mistake, or NotFoundError.
    """
    if body is None:
        assert version is not None
        with door.hub.database.read() as uow:
            return document.version(door.hub, uow, version).document
    try:
        return document.read(body)
    except PolicyUnreadableError as error:
        raise InvalidError(
            f"The {document.title} does not fit its form.",
            errors=[
                {"pointer": f"/{at}{wrong.pointer}", "code": at, "detail": wrong.message}
                for wrong in error.mistakes[:50]
            ],
        ) from None


def origin(version: Any) -> dict[str, Any]:
    """Who put a version in force, when and why."""
    return {
        name: getattr(version, name)
        for name in ("version", "source", "author", "reason", "created_at")
    }
