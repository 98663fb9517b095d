"""Context: person, orders, cases, actions and claims beside a complaint, in one answer."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from middleware.api import examples, picture
from middleware.api.answers import answer
from middleware.api.describe import IfNoneMatch, operation
from middleware.api.door import Route, TheDoor, deadline_of
from middleware.api.picture import Json, block, source
from middleware.api.routes.complaints import listed
from middleware.api.schemas.context import ContextShown
from middleware.contract.canonical import Kind
from middleware.domain.actions import ActionState
from middleware.domain.ledger import Standing
from middleware.flows import context
from middleware.flows.context import BlockSource, Context
from middleware.flows.hub import Hub
from middleware.flows.keys import Scope
from middleware.store import queries

router = APIRouter(route_class=Route, tags=["context"])

DeadlineMs = Annotated[
    int | None,
    Query(
        ge=0,
        le=30_000,
        description="How long remotes may be asked with `refresh`; what is late is named.",
    ),
]
Refresh = Annotated[
    bool, Query(description="Ask the remotes for the orders anew; otherwise the store answers.")
]

NOBODY = "nobody knows yet who this is"
UNLINKED = "no contact or account of a remote is linked to this person"


@router.get(
    "/v1/people/{person_id}/context",
    response_model=ContextShown,
    **operation(
        Scope.PEOPLE_READ,
        "not-found",
        headers={"ETag": "The version of what is shown."},
        also={304: "What you have is still right."},
        example=examples.CONTEXT,
    ),
)
def get_person_context(
    person_id: str,
    request: Request,
    door: TheDoor,
    deadline_ms: DeadlineMs = None,
    refresh: Refresh = False,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Everything beside a person, each block with its sources, `as_of` and `complete`, `partial` or
    `failed`."""
    found = context.of_person(
        door.hub, person_id, refresh=refresh, deadline=deadline_of(deadline_ms)
    )
    return answer(request, _shown(door.hub, found), tagged=True)


@router.get(
    "/v1/complaints/{complaint_id}/context",
    response_model=ContextShown,
    **operation(
        Scope.PEOPLE_READ,
        "not-found",
        headers={"ETag": "The version of what is shown."},
        also={304: "What you have is still right."},
        example=examples.CONTEXT,
    ),
)
def get_complaint_context(
    complaint_id: str,
    request: Request,
    door: TheDoor,
    deadline_ms: DeadlineMs = None,
    refresh: Refresh = False,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Everything beside a complaint's person; where nobody knows who it is, the blocks say so."""
    found = context.of_complaint(
        door.hub, complaint_id, refresh=refresh, deadline=deadline_of(deadline_ms)
    )
    return answer(request, _shown(door.hub, found), tagged=True)


def _shown(hub: Hub, found: Context) -> Json:
    seen, complaint = found.picture, found.complaint
    complaint_id = complaint.id if complaint is not None else None
    if seen is None:
        return _of_nobody(complaint)
    person = seen.person
    with_steps = [a for a in seen.actions if a.requested_by != "hub"]
    with hub.database.read() as uow:
        steps = queries.steps_of_actions(uow, [action.id for action in with_steps])
    people = [*found.sources[Kind.CONTACT], *found.sources[Kind.ACCOUNT]]
    without = UNLINKED if person.standing is Standing.SETTLED else NOBODY
    return {
        "person_id": person.id,
        "complaint_id": complaint_id,
        "person": _block(
            people,
            {
                "id": person.id,
                "standing": person.standing,
                "provisional_until": person.provisional_until,
                "display_name": person.display_name,
                "identities": picture.identities(seen),
                "records": [picture.customer(kept) for kept in seen.customers],
            },
            without,
        ),
        "orders": _block(
            found.sources[Kind.ORDER],
            [picture.order(kept, seen) for kept in seen.orders],
            without,
        ),
        "cases": _block(
            found.sources[Kind.CASE], [picture.case(kept) for kept in seen.cases], without
        ),
        "complaints": _own([listed(row) for row in seen.complaints]),
        "actions": _own([_action(row, steps.get(row.id, [])) for row in with_steps]),
        "claims": _own([picture.claim(row) for row in seen.claims]),
    }


def _of_nobody(complaint: queries.ComplaintRow | None) -> Json:
    empty = block([source("hub", as_of=None, status="partial", why=NOBODY)], [])
    return {
        "person_id": None,
        "complaint_id": complaint.id if complaint is not None else None,
        "person": {**empty, "data": None},
        "orders": empty,
        "cases": empty,
        "complaints": _own([listed(complaint)] if complaint is not None else []),
        "actions": _own([]),
        "claims": _own([]),
    }


def _block(sources: list[BlockSource], data: Any, without: str) -> Json:
    """A block of what remotes hold; two kinds of one connection are one source. `without` says why
    there is none."""
    merged: dict[str, BlockSource] = {}
    for one in sources:
        known = merged.get(one.connection)
        if known is None or _worse(one, known):
            merged[one.connection] = one
    told = [
        source(one.connection, as_of=one.as_of, status=one.status, why=one.why)
        for one in merged.values()
    ]
    return block(told or [source("hub", as_of=None, status="partial", why=without)], data)


def _worse(one: BlockSource, than: BlockSource) -> bool:
    order = ("complete", "partial", "failed")
    if one.status != than.status:
        return order.index(one.status) > order.index(than.status)
    return one.as_of is not None and (than.as_of is None or one.as_of < than.as_of)


def _own(data: list[Any]) -> Json:
    """A block of the hub's own: always complete, and as fresh as the answer."""
    return {
        "source": "hub",
        "as_of": None,
        "status": "complete",
        "why": None,
        "sources": [],
        "data": data,
    }


def _action(row: queries.ActionRow, steps: list[queries.ActionStepRow]) -> Json:
    return {
        "id": row.id,
        "operation": row.kind,
        "state": row.state,
        "open": not ActionState(row.state).ended,
        "order": row.order_ref,
        "steps": [
            {
                "connection": step.connection,
                "operation": step.operation,
                "state": step.state,
                "number": (step.receipt or {}).get("number"),
            }
            for step in steps
        ],
        "created_at": row.created_at,
    }
