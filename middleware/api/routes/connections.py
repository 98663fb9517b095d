"""Connections: what they can do, whether they answer, and how fresh what was read from them is."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from middleware.api import examples, paging
from middleware.api.answers import answer
from middleware.api.describe import operation
from middleware.api.door import Asking, Route, TheDoor
from middleware.api.paging import Cursor, Limit
from middleware.api.schemas import operations as schemas
from middleware.contract.actions import Operation
from middleware.contract.capabilities import WRITES, capabilities_of
from middleware.contract.errors import RemoteError
from middleware.domain.breaker import ALWAYS
from middleware.domain.problems import NotFoundError
from middleware.flows import check
from middleware.flows.gate import Standing, shown_reason
from middleware.flows.hub import Hub
from middleware.flows.keys import Scope
from middleware.store import queries

router = APIRouter(route_class=Route, tags=["connections"])


@router.get(
    "/v1/connections",
    response_model=schemas.ConnectionPage,
    **operation(
        Scope.CONNECTIONS_READ,
        says="One page, by name.",
        headers={"Link": 'The next page, `rel="next"`, where there is one.'},
        example=examples.CONNECTION_PAGE,
    ),
)
def list_connections(
    request: Request, door: TheDoor, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List the connections, by name, with what each can do."""
    here = paging.turn(door.cursors, request, cursor=cursor, limit=limit)
    with door.hub.database.read() as uow:
        rows = uow.connections.page(after=here.text, limit=here.fetch)
    rows, following = paging.leaf(door.cursors, here, rows, lambda row: [row.name])
    standings = door.hub.gate.standings([row.name for row in rows])
    page = schemas.ConnectionPage(
        data=[_shown(door.hub, row, standings.get(row.name, Standing())) for row in rows],
        next_cursor=following,
        has_more=following is not None,
    )
    return answer(request, page, headers=paging.link_header(request, following))


@router.get(
    "/v1/connections/{name}",
    response_model=schemas.ConnectionShown,
    **operation(Scope.CONNECTIONS_READ, "not-found", example=examples.CONNECTION),
)
def get_connection(name: str, request: Request, door: TheDoor) -> Response:
    """Show one connection: its adapter, what it can do, and whether calls go out to it."""
    row = _row(door.hub, name)
    return answer(request, _shown(door.hub, row, door.hub.gate.standing(name)))


@router.post(
    "/v1/connections/{name}/resume",
    response_model=schemas.ConnectionShown,
    **operation(Scope.CONNECTIONS_CHECK, "not-found", example=examples.CONNECTION_RESUMED),
)
def resume_connection(name: str, request: Request, door: TheDoor, asker: Asking) -> Response:
    """Let calls out again to a connection that rests or is stopped.

    One stops when its remote refuses our login twice, since a third time may lock the account:
    mend the credentials first. After that calls go out one at a time until one is let in, and
    another refusal stops it at once. Nothing changes for a connection that is open.
    """
    row = _row(door.hub, name)
    standing = door.hub.gate.resume(name, asker)
    return answer(request, _shown(door.hub, row, standing))


@router.post(
    "/v1/connections/{name}/check",
    response_model=schemas.CheckShown,
    **operation(Scope.CONNECTIONS_CHECK, "not-found", example=examples.CHECK),
)
def check_connection(
    name: str,
    request: Request,
    door: TheDoor,
    deadline_ms: Annotated[
        int, Query(ge=100, le=60_000, description="How long the remote may take.")
    ] = 20_000,
) -> Response:
    """Prove credentials and permissions without touching anything, and keep what was found.

    A remote that refuses or does not answer is a finding with its remedy, not an error. It asks
    also where calls rest or are stopped, and ends a rest if all is well. After one that found
    something wrong the next waits for a while: it may be a login, and too many lock an account.
    """
    health = check.check(door.hub, name, deadline=timedelta(milliseconds=deadline_ms))
    return answer(request, _check(health))


@router.get(
    "/v1/connections/{name}/health",
    response_model=schemas.HealthShown,
    **operation(Scope.CONNECTIONS_READ, "not-found", example=examples.HEALTH),
)
def get_connection_health(name: str, request: Request, door: TheDoor) -> Response:
    """Show whether calls go out, the last check, and how completely records were read."""
    row = _row(door.hub, name)
    with door.hub.database.read() as uow:
        cursors = queries.cursors_of(uow, name)
        quarantined = queries.quarantined_count(uow, name)
    shown = schemas.HealthShown(
        **_standing(door.hub.gate.standing(name)),
        name=name,
        status=status_of(row),
        last_check=_check(row.health),
        synced=[
            schemas.FreshnessShown(
                kind=cursor.kind,
                as_of=cursor.as_of,
                saved_at=cursor.saved_at,
                run_id=cursor.run_id,
            )
            for cursor in cursors
        ],
        quarantined=quarantined,
    )
    return answer(request, shown)


def status_of(row: queries.ConnectionRow) -> Any:
    """ok, failing or unchecked, by the last check."""
    if row.health is None:
        return "unchecked"
    return "ok" if row.health["ok"] else "failing"


def _row(hub: Hub, name: str) -> queries.ConnectionRow:
    with hub.database.read() as uow:
        row = uow.connections.get(name)
    if row is None or row.deleted_at is not None:
        raise NotFoundError(f"There is no connection {name!r}.")
    return row


def _standing(standing: Standing) -> dict[str, Any]:
    """The members of a `StandingShown`."""
    breaker = standing.breaker
    reason = shown_reason(breaker)
    return {
        "state": breaker.state.value,
        "since": None if breaker.since == ALWAYS else breaker.since,
        "until": breaker.until,
        "reason": None if reason is None else schemas.CauseShown(**reason),
        "changed_by": standing.changed_by,
    }


def _shown(hub: Hub, row: queries.ConnectionRow, standing: Standing) -> schemas.ConnectionShown:
    capabilities, problem = _capabilities(hub, row.name)
    inlet = hub.options.inlets.get(row.name)
    return schemas.ConnectionShown(
        **_standing(standing),
        name=row.name,
        adapter=None if row.adapter.startswith("inlet:") else row.adapter,
        inlet=inlet.source if inlet is not None else None,
        capabilities=capabilities,
        problem=problem,
        last_check=_check(row.health),
        declared_at=row.declared_at,
    )


def _capabilities(hub: Hub, name: str) -> tuple[list[str], str | None]:
    """What a connection can do with its mapping; or why it cannot be opened."""
    if name not in hub.registry.names():
        return [], None
    try:
        declared = capabilities_of(type(hub.registry.adapter(name)))
    except RemoteError as error:
        return [], error.message
    writes = {capability: operation_ for operation_, capability in WRITES.items()}
    able = [
        capability
        for capability in declared
        if capability not in writes or hub.registry.offers(name, Operation(writes[capability]))
    ]
    return [capability.__name__ for capability in able], None


def _check(health: dict[str, Any] | None) -> schemas.CheckShown | None:
    return None if health is None else schemas.CheckShown.model_validate(health)
