"""Incidents: many complaints with one cause, decided together, and what each customer may get."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from middleware.api import incident_examples as examples
from middleware.api import paging
from middleware.api.answers import answer, hold_to_version
from middleware.api.describe import IfMatch, operation
from middleware.api.door import Asking, Route, TheDoor
from middleware.api.examples import COMPLAINT_ID, KEY_ID
from middleware.api.paging import Cursor, Limit
from middleware.api.routes.complaints import listed
from middleware.api.schemas import incidents as schemas
from middleware.api.schemas.base import Page
from middleware.contract.actions import Operation
from middleware.contract.canonical import Ref
from middleware.domain.bursts import begins
from middleware.domain.problems import NotFoundError
from middleware.flows import decide, eligibility, joined
from middleware.flows.eligibility import Eligible
from middleware.flows.hub import Hub
from middleware.flows.keys import Scope
from middleware.store import queries

router = APIRouter(route_class=Route, tags=["incidents"])

_BODY = ("malformed-body", "body-too-large")
_DECIDED = (*_BODY, "not-found", "conflict", "stale-version", "version-required")
_VERSION = {"ETag": "Its new version."}

SAMPLE = 500
"""Characters that are shown of a sample."""

T = TypeVar("T")
State = Literal["open", "confirmed", "dismissed", "closed"]


@router.get(
    "/v1/incidents",
    response_model=schemas.IncidentPage,
    **operation(
        Scope.COMPLAINTS_READ,
        says="One page, newest first.",
        headers={"Link": 'The next page, `rel="next"`, where there is one.'},
        example=examples.INCIDENT_PAGE,
    ),
)
def list_incidents(
    request: Request,
    door: TheDoor,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: Annotated[State | None, Query()] = None,
) -> Response:
    """List pile-ons, newest first: open ones wait for somebody to confirm or dismiss them."""
    here = paging.turn(door.cursors, request, cursor=cursor, limit=limit, state=state)
    with door.hub.database.read() as uow:
        rows = uow.incidents.page(
            before=here.text, limit=here.fetch, states=[state] if state else []
        )
    rows, following = paging.leaf(door.cursors, here, rows, lambda row: [row.id])
    return _page(
        request,
        schemas.IncidentPage,
        [schemas.IncidentShown.model_validate(plain(row)) for row in rows],
        following,
    )


@router.get(
    "/v1/incidents/{incident_id}",
    response_model=schemas.IncidentDetailShown,
    **operation(
        Scope.COMPLAINTS_READ,
        "not-found",
        headers={"ETag": "Its version, for `If-Match`."},
        example=examples.INCIDENT_DETAIL,
    ),
)
def get_incident(incident_id: str, request: Request, door: TheDoor) -> Response:
    """Show an incident: onset, growth, reach, its keys, and how many orders it concerns."""
    return _shown(request, door, incident_id)


@router.get(
    "/v1/incidents/{incident_id}/complaints",
    response_model=schemas.IncidentMemberPage,
    **operation(
        Scope.COMPLAINTS_READ,
        "not-found",
        says="One page, newest first.",
        headers={"Link": 'The next page, `rel="next"`, where there is one.'},
        example=examples.INCIDENT_MEMBER_PAGE,
    ),
)
def list_incident_complaints(
    incident_id: str,
    request: Request,
    door: TheDoor,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List the complaints in an incident, newest first."""
    here = paging.turn(door.cursors, request, cursor=cursor, limit=limit)
    before = (int(here.position[0]), str(here.position[1])) if here.position else None
    with door.hub.database.read() as uow:
        _known(uow.incidents.get(incident_id), incident_id)
        rows = uow.incidents.members(incident_id, before=before, limit=here.fetch)
        complaints = uow.incidents.complaints([row.complaint_id for row in rows])
    rows, following = paging.leaf(
        door.cursors, here, rows, lambda row: [row.bucket, row.complaint_id]
    )
    data = [
        schemas.IncidentMemberShown(
            complaint=listed(complaints[row.complaint_id]), reach=row.reach, put_by=row.put_by
        )
        for row in rows
    ]
    return _page(request, schemas.IncidentMemberPage, data, following)


@router.get(
    "/v1/incidents/{incident_id}/eligibility",
    response_model=schemas.EligibilityPage,
    **operation(
        Scope.ACTIONS_READ,
        "not-found",
        says="One page, by order. Each is worked out now, as an action would be.",
        headers={"Link": 'The next page, `rel="next"`, where there is one.'},
        example=examples.ELIGIBILITY_PAGE,
    ),
)
def list_eligibility(
    incident_id: str,
    request: Request,
    door: TheDoor,
    asker: Asking,
    limit: Annotated[int, Query(ge=1, le=100, description="How many orders at most.")] = 20,
    cursor: Cursor = None,
    remedy: Annotated[
        Literal["replacement_order", "return", "credit", "cancellation", "case"] | None,
        Query(description="What would be given; by default what is proposed."),
    ] = None,
    complained: Annotated[
        bool | None, Query(description="Only orders somebody complained about, or only the silent.")
    ] = None,
) -> Response:
    """Say what each affected customer may get, the silent too: everybody who bought the article,
    the lot or out of the shipment.

    Each order is held against its budget and the policy, for whoever asks. Nothing is written, and
    no remote is asked; `action` is the body that would give it.
    """
    here = paging.turn(
        door.cursors, request, cursor=cursor, limit=limit, remedy=remedy, complained=complained
    )
    found = eligibility.of_incident(
        door.hub,
        incident_id,
        asker,
        operation=Operation(remedy) if remedy else None,
        complained=complained,
        after=here.text,
        limit=here.fetch,
    )
    found, following = paging.leaf(door.cursors, here, found, lambda one: [str(one.order)])
    return _page(
        request, schemas.EligibilityPage, [eligible_shown(one) for one in found], following
    )


def _decision(example: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a route that decides about an incident under its version."""
    return operation(
        Scope.COMPLAINTS_WRITE, *_DECIDED, headers=_VERSION, example=example, request=request
    )


@router.post(
    "/v1/incidents/{incident_id}/confirm",
    response_model=schemas.IncidentDetailShown,
    **_decision(
        examples.INCIDENT_CONFIRMED,
        {"with its remedy": {"operation": "replacement_order"}, "as proposed": {}},
    ),
)
def confirm_incident(
    incident_id: str,
    said: schemas.IncidentConfirmed,
    request: Request,
    door: TheDoor,
    asker: Asking,
    if_match: IfMatch = None,
) -> Response:
    """Say that it is a pile-on, and which remedy its customers are to get."""
    confirm = partial(decide.confirm, reason=said.reason, operation=said.chosen, asker=asker)
    return _decide(request, door, incident_id, if_match, confirm)


@router.post(
    "/v1/incidents/{incident_id}/dismiss",
    response_model=schemas.IncidentDetailShown,
    **_decision(
        {**examples.INCIDENT_ENDED, "state": "dismissed"},
        {"a reason": {"reason": "A test of our own."}},
    ),
)
def dismiss_incident(
    incident_id: str,
    said: schemas.IncidentEnded,
    request: Request,
    door: TheDoor,
    asker: Asking,
    if_match: IfMatch = None,
) -> Response:
    """Say that it is none. It does not open again for the same burst."""
    dismiss = partial(decide.dismiss, reason=said.reason, asker=asker)
    return _decide(request, door, incident_id, if_match, dismiss)


@router.post(
    "/v1/incidents/{incident_id}/close",
    response_model=schemas.IncidentDetailShown,
    **_decision(examples.INCIDENT_ENDED, {"a reason": {"reason": "The lot is out of the shops."}}),
)
def close_incident(
    incident_id: str,
    said: schemas.IncidentEnded,
    request: Request,
    door: TheDoor,
    asker: Asking,
    if_match: IfMatch = None,
) -> Response:
    """Say that it is dealt with. Nobody need: a day after its burst it is closed by itself."""
    close = partial(decide.close, reason=said.reason, asker=asker)
    return _decide(request, door, incident_id, if_match, close)


@router.post(
    "/v1/incidents/{incident_id}/part",
    response_model=schemas.IncidentDetailShown,
    **_decision(
        {
            **examples.INCIDENT_DETAIL,
            "decided_by": KEY_ID,
            "reason": "Another cause.",
            "version": 3,
        },
        {"a reason": {"reason": "Another cause."}},
    ),
)
def part_incident(
    incident_id: str,
    said: schemas.IncidentEnded,
    request: Request,
    door: TheDoor,
    asker: Asking,
    if_match: IfMatch = None,
) -> Response:
    """Take an incident out of the one that it was found to be a part of (`merged_into`). It is open
    again with its complaints, and nothing joins the two any more.
    """
    part = partial(joined.part, reason=said.reason, asker=asker)
    return _decide(request, door, incident_id, if_match, part)


def _by_hand(request: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a route that puts a complaint in or takes it out."""
    return operation(
        Scope.COMPLAINTS_WRITE,
        *_BODY,
        "not-found",
        "conflict",
        headers=_VERSION,
        example=examples.INCIDENT_DETAIL,
        request=request,
    )


@router.post(
    "/v1/incidents/{incident_id}/complaints/put",
    response_model=schemas.IncidentDetailShown,
    **_by_hand({"it belongs": {"complaint_id": COMPLAINT_ID, "reason": "The same lot."}}),
)
def put_incident_complaint(
    incident_id: str,
    named: schemas.IncidentComplaint,
    request: Request,
    door: TheDoor,
    asker: Asking,
) -> Response:
    """Make a complaint part of an incident by hand. One that is part of it already stays so."""
    decide.put_in(door.hub, incident_id, named.complaint_id, reason=named.reason, asker=asker)
    return _shown(request, door, incident_id)


@router.post(
    "/v1/incidents/{incident_id}/complaints/remove",
    response_model=schemas.IncidentDetailShown,
    **_by_hand({"it does not": {"complaint_id": COMPLAINT_ID, "reason": "Another defect."}}),
)
def remove_incident_complaint(
    incident_id: str,
    named: schemas.IncidentComplaint,
    request: Request,
    door: TheDoor,
    asker: Asking,
) -> Response:
    """Take a complaint out of an incident. Its keys don't put it in again."""
    decide.put_out(door.hub, incident_id, named.complaint_id, reason=named.reason, asker=asker)
    return _shown(request, door, incident_id)


def _page(
    request: Request, model: type[Page[T]], data: Sequence[T], following: str | None
) -> Response:
    page = model(data=list(data), next_cursor=following, has_more=following is not None)
    return answer(request, page, headers=paging.link_header(request, following))


def _decide(
    request: Request,
    door: TheDoor,
    incident_id: str,
    if_match: str | None,
    decided: Callable[..., Any],
) -> Response:
    """Hold a decision to the version that whoever makes it has read, and make it."""
    with door.hub.database.read() as uow:
        row = _known(uow.incidents.get(incident_id), incident_id)
    hold_to_version(if_match, row.version)
    decided(door.hub, incident_id, version=row.version)
    return _shown(request, door, incident_id)


def _known(row: queries.IncidentRow | None, incident_id: str) -> queries.IncidentRow:
    if row is None:
        raise NotFoundError(f"No incident has the id {incident_id}.")
    return row


def _shown(request: Request, door: TheDoor, incident_id: str) -> Response:
    shown = shown_incident(door.hub, incident_id)
    # Whom it concerns is listed without its version changing, so nobody is told theirs is right.
    headers = {"ETag": f'"{shown.version}"', "Cache-Control": "private, no-cache"}
    return answer(request, shown, headers=headers)


def shown_incident(hub: Hub, incident_id: str) -> schemas.IncidentDetailShown:
    """An incident with its keys, words and samples. Raises NotFoundError."""
    with hub.database.read() as uow:
        row = _known(uow.incidents.get(incident_id), incident_id)
        keys = uow.incidents.keys(incident_id)
        affected, silent = uow.incidents.count_affected(incident_id)
        typical = row.typical or {"words": [], "complaints": []}
        texts = uow.vectors.texts_of(typical["complaints"])
    return schemas.IncidentDetailShown.model_validate(
        {
            **plain(row),
            "keys": [
                {"key": key.key, "gives": key.gives, "since": begins(key.since)} for key in keys
            ],
            "words": typical["words"],
            "samples": [
                {"complaint_id": of, "text": texts[of][:SAMPLE]}
                for of in typical["complaints"]
                if of in texts
            ],
            "affected": affected,
            "silent": silent,
            "affected_state": row.affected_state,
        }
    )


def plain(row: queries.IncidentRow) -> dict[str, Any]:
    """An incident as lists show it."""
    names = set(schemas.IncidentShown.model_fields) - {"growth_per_hour"}
    return {name: getattr(row, name) for name in names} | {"growth_per_hour": row.growth}


def eligible_shown(one: Eligible) -> schemas.EligibleShown:
    return schemas.EligibleShown.model_validate(
        {
            "order": str(one.order),
            "number": one.number,
            "lines": list(one.lines),
            "complaint_id": one.complaint_id,
            "person_id": one.person_id,
            "outcome": one.outcome,
            "why": list(one.why),
            "action": action_of(one),
            "worth": {"amount": f"{one.worth.amount:f}", "currency": one.worth.currency}
            if one.worth is not None
            else None,
        }
    )


def action_of(one: Eligible) -> dict[str, Any] | None:
    """The body of `POST /v1/actions` that gives what somebody may get."""
    if one.wanted is None:
        return None
    plain = one.wanted.request.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    request = {
        name: str(Ref.model_validate(value)) if name in ("order", "account", "contact") else value
        for name, value in plain.items()
    }
    body: dict[str, Any] = {"operation": one.wanted.operation.value, "request": request}
    for name in ("complaint_id", "person_id"):
        if getattr(one.wanted, name) is not None:
            body[name] = getattr(one.wanted, name)
    return body
