"""Complaints sent in, one by one or in batches, edited and deleted, and what became of each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Path, Query, Request
from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response

from middleware.api import examples, problems
from middleware.api.answers import answer
from middleware.api.describe import Prefer, operation
from middleware.api.door import Door, Route, TheDoor, seconds_to_wait
from middleware.api.schemas import complaints as schemas
from middleware.api.schemas.base import When
from middleware.domain.problems import (
    InvalidError,
    KeyReusedError,
    NotFoundError,
    ProblemError,
)
from middleware.flows import arrive
from middleware.flows.intake import Accepted, BusyError
from middleware.flows.keys import Scope
from middleware.store import queries

router = APIRouter(route_class=Route, tags=["complaints"])

ConnectionPath = Annotated[str, Path(max_length=63, examples=["helpdesk"])]
SourceIdPath = Annotated[str, Path(max_length=180, description="The message's own id.")]

_Sent: TypeAdapter[schemas.ComplaintSent] = TypeAdapter(schemas.ComplaintSent)


@router.post(
    "/v1/complaints",
    response_model=schemas.AcceptedShown,
    **operation(
        Scope.COMPLAINTS_WRITE,
        "malformed-body",
        "body-too-large",
        "idempotency-key-reused",
        status=202,
        says="Stored; its handling is owed.",
        headers={"Location": "Where to see what it becomes."},
        example=examples.ACCEPTED,
        request={"complaint": examples.COMPLAINT_SENT},
    ),
)
async def post_complaint(
    sent: schemas.ComplaintSent, request: Request, door: TheDoor, prefer: Prefer = None
) -> Response:
    """Send in what somebody wrote to you.

    It is stored and its handling owed before the answer. The same event (connection, type, id and
    timestamp) is accepted once; again it is answered the same, and with another body 422. `Prefer:
    wait=N` waits until it was handled.
    """
    accepted = await _accepted(door, sent)
    shown = _accepted_shown(accepted)
    wait = seconds_to_wait(request)
    headers = {"Location": shown.location}
    if wait:
        await door.until(
            lambda: _delivery(door, accepted.inbox_id),
            lambda seen: seen.state != "stored",
            wait,
        )
        headers["Preference-Applied"] = f"wait={wait}"
    return answer(request, shown, status=202, headers=headers)


@router.post(
    "/v1/complaints/batch",
    response_model=schemas.BatchShown,
    **operation(
        Scope.COMPLAINTS_WRITE,
        "malformed-body",
        "body-too-large",
        status=202,
        says="Each item's own result.",
        example=examples.BATCH,
        request={"batch": {"complaints": [examples.COMPLAINT_SENT]}},
    ),
)
async def post_complaints(
    sent: schemas.ComplaintsSent, request: Request, door: TheDoor
) -> Response:
    """Send in up to 500 events. Each is checked, stored and answered by itself."""
    results = await asyncio.gather(
        *(_item(door, index, item) for index, item in enumerate(sent.complaints))
    )
    refused = sum(result.problem is not None for result in results)
    shown = schemas.BatchShown(
        results=list(results), accepted=len(results) - refused, refused=refused
    )
    return answer(request, shown, status=202)


@router.patch(
    "/v1/arrivals/{connection}/{source_id:path}",
    response_model=schemas.AcceptedShown,
    **operation(
        Scope.COMPLAINTS_WRITE,
        "malformed-body",
        "body-too-large",
        "not-found",
        "idempotency-key-reused",
        status=202,
        says="Stored; its handling is owed.",
        headers={"Location": "Where to see what it becomes."},
        example=examples.ACCEPTED,
        request={"edit": {"text": "It came, but broken.", "changed_at": "2026-11-21T10:05:00Z"}},
    ),
)
async def patch_arrival(
    connection: ConnectionPath,
    source_id: SourceIdPath,
    edited: schemas.MessageEdited,
    request: Request,
    door: TheDoor,
) -> Response:
    """Tell that a message was edited at its source. An older edit never overwrites a newer one."""
    return await _changed(
        door, request, connection, source_id, "message.edited", edited.changed_at, edited.text
    )


@router.delete(
    "/v1/arrivals/{connection}/{source_id:path}",
    response_model=schemas.AcceptedShown,
    **operation(
        Scope.COMPLAINTS_WRITE,
        "not-found",
        "idempotency-key-reused",
        status=202,
        says="Stored; its handling is owed.",
        headers={"Location": "Where to see what it becomes."},
        example=examples.ACCEPTED,
    ),
)
async def delete_arrival(
    connection: ConnectionPath,
    source_id: SourceIdPath,
    request: Request,
    door: TheDoor,
    changed_at: Annotated[
        When | None, Query(description="When it was deleted at its source; by default now.")
    ] = None,
) -> Response:
    """Tell that a message was deleted at its source. Its text is emptied here too."""
    at = changed_at or door.hub.clock()
    return await _changed(door, request, connection, source_id, "message.deleted", at, None)


async def _changed(
    door: Door,
    request: Request,
    connection: str,
    source_id: str,
    type_: Literal["message.edited", "message.deleted"],
    at: Any,
    text: str | None,
) -> Response:
    def known() -> tuple[queries.ArrivalRow, str] | None:
        with door.hub.database.read() as uow:
            row = uow.complaints.arrival(connection, source_id)
            complaint = uow.complaints.get(row.complaint_id) if row is not None else None
            return (row, complaint.conversation) if row is not None and complaint else None

    found = await run_sync(known)
    if found is None:
        raise NotFoundError(
            f"No message {source_id!r} of {connection} was handled yet. Where events may overtake "
            "each other, send them to POST /v1/complaints: it takes edits and deletions too."
        )
    row, conversation = found
    author = {k: v for k, v in (row.author or {}).items() if k in schemas.AuthorSent.model_fields}
    if not any(author.get(k) for k in ("native_id", "handle", "emails", "phones")):
        # The inlet wants to know somebody; whom an edit is by does not matter any more.
        author["handle"] = author.get("display_name") or "unknown"
    event = {
        "type": type_,
        "timestamp": at.isoformat(),
        "data": {
            "id": source_id,
            "conversation": conversation,
            "author": author,
            "text": text,
            "outgoing": row.outgoing,
            "internal": row.internal,
            "automatic": row.automatic,
        },
    }
    accepted = await _stored(door, connection, event)
    shown = _accepted_shown(accepted)
    return answer(request, shown, status=202, headers={"Location": shown.location})


async def _item(door: Door, index: int, item: Any) -> schemas.BatchResult:
    try:
        accepted = await _accepted(door, _Sent.validate_python(item))
    except ValidationError as error:
        found = problems.field_problems(
            error.errors(include_url=False, include_input=False),
            item,
            schemas.ComplaintSent,
            prefix=f"/complaints/{index}",
        )
        unknown = all(one["code"] == "unknown" for one in found)
        slug = "unknown-field" if unknown else "validation"
        return _refused(index, slug, problems.SLUGS[slug].title, found)
    except ProblemError as error:
        found = [{**one, "pointer": f"/complaints/{index}{one['pointer']}"} for one in error.errors]
        return _refused(index, error.slug, error.detail, found)
    status = 202 if accepted.new else 200
    return schemas.BatchResult(
        index=index, status=status, accepted=_accepted_shown(accepted), problem=None
    )


def _refused(
    index: int, slug: str, detail: str, errors: Sequence[dict[str, str]]
) -> schemas.BatchResult:
    return schemas.BatchResult(
        index=index,
        status=problems.SLUGS[slug].status,
        accepted=None,
        problem=schemas.BatchProblem(
            code=slug,
            detail=detail,
            errors=[schemas.BatchFieldProblem(**one) for one in errors],
        ),
    )


async def _accepted(door: Door, sent: schemas.ComplaintSent) -> Accepted:
    """Store one event; raises a ProblemError that says why it is refused."""
    if sent.connection != arrive.API and sent.connection not in door.hub.options.inlets:
        raise InvalidError(
            f"There is no connection {sent.connection!r} that complaints arrive through.",
            errors=[
                {
                    "pointer": "/connection",
                    "code": "unknown_connection",
                    "detail": "must be a connection with an inlet, or `api`",
                }
            ],
        )
    _meaningful(sent)
    event = sent.model_dump(mode="json", exclude={"connection"}, exclude_none=True)
    return await _stored(door, sent.connection, event)


def _meaningful(sent: schemas.ComplaintSent) -> None:
    """Refuse at the door what the inlet could only quarantine."""
    author = sent.data.author
    if not (author.native_id or author.handle or author.emails or author.phones):
        raise InvalidError(
            "One of native_id, handle, emails or phones is needed.",
            errors=[{"pointer": "/data/author", "code": "missing", "detail": "names nobody"}],
        )
    said = sent.type in ("message.created", "message.edited")
    if said and not (sent.data.text or "").strip():
        raise InvalidError(
            "A message needs a text.",
            errors=[{"pointer": "/data/text", "code": "missing", "detail": "is required"}],
        )


async def _stored(door: Door, connection: str, event: dict[str, Any]) -> Accepted:
    try:
        future = arrive.hand_in_event(
            door.intake, event, connection=connection, at=door.hub.clock()
        )
    except BusyError:
        raise problems.busy() from None
    accepted = await asyncio.wrap_future(future)
    if not accepted.same_body:
        raise KeyReusedError(
            "This event (type, id and timestamp) was accepted with another body; an edit has a "
            "type and a time of its own."
        )
    return accepted


def _accepted_shown(accepted: Accepted) -> schemas.AcceptedShown:
    return schemas.AcceptedShown(
        delivery_id=accepted.inbox_id,
        new=accepted.new,
        location=f"/v1/deliveries/{accepted.inbox_id}",
    )


@router.get(
    "/v1/deliveries/{delivery_id}",
    response_model=schemas.DeliveryShown,
    **operation(Scope.COMPLAINTS_READ, "not-found", example=examples.DELIVERY),
)
def get_delivery(delivery_id: str, request: Request, door: TheDoor) -> Response:
    """What became of something that was sent in: whether it was handled, and into which complaints
    it went."""
    return answer(request, _delivery(door, delivery_id))


def _delivery(door: Door, delivery_id: str) -> schemas.DeliveryShown:
    with door.hub.database.read() as uow:
        row = uow.inbox.get(delivery_id)
        if row is None:
            raise NotFoundError(f"No delivery has the id {delivery_id}.")
        sources = arrive.source_ids(row)
        complaints = queries.complaints_of_sources(uow, row.connection, sources)
    return schemas.DeliveryShown(
        id=row.id,
        connection=row.connection,
        trust=row.trust,
        state=row.state,
        problems=[
            schemas.PlaceShown(place=p["place"], reason=p["reason"]) for p in places_of(row.problem)
        ],
        complaints=complaints,
        received_at=row.received_at,
        handled_at=row.handled_at,
        replays=row.replays,
    )


def places_of(problem: dict[str, Any] | None) -> list[dict[str, str]]:
    """The places and reasons that are kept with a delivery."""
    if problem is None:
        return []
    found = problem.get("problems", [problem])
    return [{"place": str(p.get("place", "")), "reason": str(p.get("reason", ""))} for p in found]
