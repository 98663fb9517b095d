"""Quarantine: what could not be read, with the place and the reason, ready to be replayed."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from middleware.api import examples, paging
from middleware.api.answers import answer
from middleware.api.describe import operation
from middleware.api.door import Asking, Route, TheDoor
from middleware.api.paging import Cursor, Limit
from middleware.api.routes.arrivals import places_of
from middleware.api.schemas import operations as schemas
from middleware.contract.canonical import Kind, Ref
from middleware.domain.problems import NotFoundError
from middleware.flows import replay
from middleware.flows.hub import Hub
from middleware.flows.keys import Scope
from middleware.store import queries

router = APIRouter(route_class=Route, tags=["quarantine"])

LONGEST_SHOWN = 64 * 1024

OfConnection = Annotated[str | None, Query(max_length=63, description="Only of this connection.")]


@router.get(
    "/v1/quarantine/deliveries",
    response_model=schemas.QuarantinedDeliveryPage,
    **operation(
        Scope.QUARANTINE_READ,
        says="One page, newest first.",
        headers={"Link": 'The next page, `rel="next"`, where there is one.'},
        example=examples.QUARANTINED_DELIVERIES,
    ),
)
def list_quarantined_deliveries(
    request: Request,
    door: TheDoor,
    limit: Limit = 50,
    cursor: Cursor = None,
    connection: OfConnection = None,
) -> Response:
    """List deliveries that could not be read, newest first."""
    here = paging.turn(door.cursors, request, cursor=cursor, limit=limit, connection=connection)
    with door.hub.database.read() as uow:
        rows = queries.quarantined_deliveries(
            uow, connection=connection, before=here.text, limit=here.fetch
        )
    rows, following = paging.leaf(door.cursors, here, rows, lambda row: [row.id])
    page = schemas.QuarantinedDeliveryPage(
        data=[delivery_shown(row) for row in rows],
        next_cursor=following,
        has_more=following is not None,
    )
    return answer(request, page, headers=paging.link_header(request, following))


@router.get(
    "/v1/quarantine/deliveries/{delivery_id}",
    response_model=schemas.QuarantinedDeliveryBody,
    **operation(Scope.QUARANTINE_READ, "not-found", example=examples.QUARANTINED_DELIVERY),
)
def get_quarantined_delivery(delivery_id: str, request: Request, door: TheDoor) -> Response:
    """Show one with its body, for whoever mends it. Large bodies are cut at 64 KiB."""
    return answer(request, quarantined_delivery(door.hub, delivery_id))


@router.post(
    "/v1/quarantine/deliveries/{delivery_id}/replay",
    response_model=schemas.ReplayedShown,
    **operation(
        Scope.QUARANTINE_WRITE,
        "not-found",
        "conflict",
        status=202,
        says="Its handling is owed anew.",
        headers={"Location": "Where to see what it becomes."},
        example={"id": examples.INBOX_ID, "state": "queued", "problems": []},
    ),
)
def replay_delivery(delivery_id: str, request: Request, door: TheDoor, asker: Asking) -> Response:
    """Handle a delivery anew, after what could not read it was mended."""
    replay.delivery(door.hub, delivery_id, asker)
    shown = schemas.ReplayedShown(id=delivery_id, state="queued", problems=[])
    location = f"/v1/deliveries/{delivery_id}"
    return answer(request, shown, status=202, headers={"Location": location})


@router.get(
    "/v1/quarantine/records",
    response_model=schemas.QuarantinedRecordPage,
    **operation(
        Scope.QUARANTINE_READ,
        says="One page, by connection, kind and id.",
        headers={"Link": 'The next page, `rel="next"`, where there is one.'},
        example=examples.QUARANTINED_RECORDS,
    ),
)
def list_quarantined_records(
    request: Request,
    door: TheDoor,
    limit: Limit = 50,
    cursor: Cursor = None,
    connection: OfConnection = None,
) -> Response:
    """List remote records that could not be mapped, with the rule that refused each."""
    here = paging.turn(door.cursors, request, cursor=cursor, limit=limit, connection=connection)
    after = (here.position[0], here.position[1], here.position[2]) if here.position else None
    with door.hub.database.read() as uow:
        rows = queries.quarantined_records(
            uow, connection=connection, after=after, limit=here.fetch
        )
    rows, following = paging.leaf(
        door.cursors, here, rows, lambda row: [row.connection, row.kind, row.id]
    )
    page = schemas.QuarantinedRecordPage(
        data=[record_shown(row) for row in rows],
        next_cursor=following,
        has_more=following is not None,
    )
    return answer(request, page, headers=paging.link_header(request, following))


@router.post(
    "/v1/quarantine/records/{connection}/{kind}/{record_id:path}/replay",
    response_model=schemas.ReplayedShown,
    **operation(
        Scope.QUARANTINE_WRITE,
        "not-found",
        "not-offered",
        "upstream-unavailable",
        says="It maps now, and is stored.",
        example={"id": "erp:order:1017", "state": "stored", "problems": []},
    ),
)
def replay_record(
    connection: Annotated[str, Path(max_length=63)],
    kind: Kind,
    record_id: Annotated[str, Path(max_length=200)],
    request: Request,
    door: TheDoor,
    asker: Asking,
) -> Response:
    """Take one record again, after the mapping was mended.

    It is read anew where its system reads single records; otherwise what was kept of it is mapped
    again. One that is still refused stays in quarantine, with the new reason.
    """
    if not connection.strip() or not record_id.strip():
        raise NotFoundError("There is no such record.")
    ref = Ref(connection=connection, kind=kind, id=record_id)
    replay.record(door.hub, ref, asker)
    return answer(request, schemas.ReplayedShown(id=str(ref), state="stored", problems=[]))


def quarantined_delivery(hub: Hub, delivery_id: str) -> schemas.QuarantinedDeliveryBody:
    """A delivery in quarantine with its body. Raises NotFoundError."""
    with hub.database.read() as uow:
        row = uow.inbox.get(delivery_id)
    if row is None or row.state != "quarantined":
        raise NotFoundError(f"No delivery {delivery_id} is in quarantine.")
    return schemas.QuarantinedDeliveryBody(
        **_delivery(row, len(row.body)),
        body=row.body[:LONGEST_SHOWN].decode("utf-8", "replace"),
        truncated=len(row.body) > LONGEST_SHOWN,
    )


def quarantined_record(hub: Hub, ref: Ref) -> schemas.QuarantinedRecord:
    """A record in quarantine with what was kept of it. Raises NotFoundError."""
    with hub.database.read() as uow:
        row = queries.quarantined_record(uow, ref)
    if row is None:
        raise NotFoundError(f"No record {ref} is in quarantine.")
    return record_shown(row)


def delivery_shown(row: queries.Quarantined) -> schemas.QuarantinedDelivery:
    return schemas.QuarantinedDelivery(**_delivery(row, row.size))


def _delivery(row: queries.Quarantined | queries.InboxRow, size: int) -> dict[str, Any]:
    return {
        "id": row.id,
        "connection": row.connection,
        "trust": row.trust,
        "problems": [schemas.ProblemPlace(**place) for place in places_of(row.problem)],
        "bytes": size,
        "received_at": row.received_at,
        "quarantined_at": row.handled_at,
        "replays": row.replays,
    }


def record_shown(row: queries.QuarantineRow) -> schemas.QuarantinedRecord:
    return schemas.QuarantinedRecord(
        ref=f"{row.connection}:{row.kind}:{row.id}",
        connection=row.connection,
        kind=row.kind,
        id=row.id,
        field=row.field,
        reason=row.reason,
        place=row.place,
        payload=row.payload,
        first_at=row.first_at,
        last_at=row.last_at,
    )
