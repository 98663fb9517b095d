"""Claims: who works on what. Taken, renewed, handed over, given up; the second asker hears it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from middleware.api import coordination_examples as examples
from middleware.api import paging
from middleware.api.answers import answer
from middleware.api.describe import operation
from middleware.api.door import Asking, Route, TheDoor
from middleware.api.paging import Cursor, Limit
from middleware.api.schemas import claims as schemas
from middleware.api.schemas.base import RefText
from middleware.contract.canonical import Ref
from middleware.domain.claims import Subject
from middleware.domain.problems import InvalidError, NotFoundError
from middleware.flows import claim
from middleware.flows.hub import Hub
from middleware.flows.keys import Scope
from middleware.store import queries

router = APIRouter(route_class=Route, tags=["claims"])

_BODY = ("malformed-body", "body-too-large")


@router.post(
    "/v1/claims",
    response_model=schemas.ClaimShown,
    **operation(
        Scope.COMPLAINTS_WRITE,
        *_BODY,
        "not-found",
        "claimed",
        status=201,
        says="It is yours until it expires.",
        headers={"Location": "The claim."},
        also={200: "It was yours already, and lasts longer now."},
        example=examples.CLAIM,
        request={"complaint": examples.CLAIM_ASKED, "order line": examples.LINE_ASKED},
    ),
)
def take_claim(
    asked: schemas.ClaimAsked, request: Request, door: TheDoor, asker: Asking
) -> Response:
    """Claim an issue, so that nobody else solves it meanwhile; again to keep it for longer.

    Claims overlap when they may be about the same issue: the same complaint, the same order line, a
    line and its order, an order and the complaint about it, anything of a person and the person.
    Whoever asks second is answered 409 `claimed`, with who holds it, where, since and until when,
    and what was promised. `force` takes it all the same.
    """
    row, new = claim.take(
        door.hub,
        claim.Asked(
            subject=subject_of(asked.complaint_id, asked.person_id, asked.order, asked.line),
            agent=asked.agent,
            tool=asked.tool,
            note=asked.note,
            lease=_minutes(asked.minutes),
            force=asked.force,
        ),
        asker,
    )
    headers = {"Location": f"/v1/claims/{row.id}"}
    return answer(request, _shown(door.hub, row), status=201 if new else 200, headers=headers)


@router.get(
    "/v1/claims",
    response_model=schemas.ClaimPage,
    **operation(
        Scope.COMPLAINTS_READ,
        "not-found",
        says="One page, newest first.",
        headers={"Link": 'The next page, `rel="next"`, where there is one.'},
        example=examples.CLAIM_PAGE,
    ),
)
def list_claims(
    request: Request,
    door: TheDoor,
    limit: Limit = 50,
    cursor: Cursor = None,
    holder: Annotated[str | None, Query(max_length=300, description="`key` or `key/agent`")] = None,
    complaint_id: Annotated[str | None, Query(max_length=100)] = None,
    person_id: Annotated[str | None, Query(max_length=100)] = None,
    order: Annotated[RefText | None, Query(description="`connection:order:id`")] = None,
) -> Response:
    """List claims that have not run out. With a complaint, a person or an order: those that are
    about it in any way."""
    subjects = [x for x in (complaint_id, person_id, order) if x is not None]
    if subjects:
        rows = claim.about(door.hub, subject_of(complaint_id, person_id, order, None))
        rows = [row for row in rows if holder is None or row.holder == holder]
        page = schemas.ClaimPage(data=_all(door.hub, rows), next_cursor=None, has_more=False)
        return answer(request, page)
    here = paging.turn(door.cursors, request, cursor=cursor, limit=limit, holder=holder)
    with door.hub.database.read() as uow:
        rows = uow.claims.page(
            before=here.text, limit=here.fetch, holder=holder, now=door.hub.clock()
        )
    rows, following = paging.leaf(door.cursors, here, rows, lambda row: [row.id or ""])
    page = schemas.ClaimPage(
        data=_all(door.hub, rows), next_cursor=following, has_more=following is not None
    )
    return answer(request, page, headers=paging.link_header(request, following))


@router.get(
    "/v1/claims/{claim_id}",
    response_model=schemas.ClaimShown,
    **operation(Scope.COMPLAINTS_READ, "not-found", example=examples.CLAIM),
)
def get_claim(claim_id: str, request: Request, door: TheDoor) -> Response:
    """Show a claim; 404 once it was given up or has run out."""
    with door.hub.database.read() as uow:
        row = uow.claims.get(claim_id)
    if row is None or row.expires_at <= door.hub.clock():
        raise NotFoundError(f"No claim has the id {claim_id}; it was given up or has run out.")
    return answer(request, _shown(door.hub, row))


@router.post(
    "/v1/claims/{claim_id}/renew",
    response_model=schemas.ClaimShown,
    **operation(
        Scope.COMPLAINTS_WRITE,
        *_BODY,
        "not-found",
        example=examples.CLAIM,
        request={"an hour more": {"agent": "anna", "minutes": 60}},
    ),
)
def renew_claim(
    claim_id: str, asked: schemas.ClaimRenewed, request: Request, door: TheDoor, asker: Asking
) -> Response:
    """Keep a claim for longer, counted from now."""
    row = claim.renew(
        door.hub,
        claim_id,
        agent=asked.agent,
        lease=_minutes(asked.minutes),
        note=asked.note,
        asker=asker,
    )
    return answer(request, _shown(door.hub, row))


@router.post(
    "/v1/claims/{claim_id}/release",
    response_model=None,
    **operation(
        Scope.COMPLAINTS_WRITE,
        *_BODY,
        "not-found",
        status=204,
        says="It is anybody's again.",
        request={"agent": {"agent": "anna"}},
    ),
)
def release_claim(
    claim_id: str, asked: schemas.ClaimReleased, request: Request, door: TheDoor, asker: Asking
) -> Response:
    """Give a claim up before its time is over."""
    claim.release(door.hub, claim_id, agent=asked.agent, asker=asker)
    return Response(status_code=204)


@router.post(
    "/v1/claims/{claim_id}/hand-over",
    response_model=schemas.ClaimShown,
    **operation(
        Scope.COMPLAINTS_WRITE,
        *_BODY,
        "not-found",
        example=examples.CLAIM_OFFERED,
        request={
            "offer": {"agent": "anna", "to": "ben", "note": "She waits for a call until five."},
            "at once": {"agent": "anna", "to": "ben", "direct": True},
        },
    ),
)
def hand_over_claim(
    claim_id: str, asked: schemas.ClaimHandedOver, request: Request, door: TheDoor, asker: Asking
) -> Response:
    """Hand a claim over: at once with `direct`, else when they accept it."""
    row = claim.hand_over(
        door.hub,
        claim_id,
        agent=asked.agent,
        to=asked.to,
        direct=asked.direct,
        note=asked.note,
        asker=asker,
    )
    return answer(request, _shown(door.hub, row))


@router.post(
    "/v1/claims/{claim_id}/accept",
    response_model=schemas.ClaimShown,
    **operation(
        Scope.COMPLAINTS_WRITE,
        *_BODY,
        "not-found",
        example=examples.CLAIM_HANDED_OVER,
        request={"agent": {"agent": "ben"}},
    ),
)
def accept_claim(
    claim_id: str, asked: schemas.ClaimReleased, request: Request, door: TheDoor, asker: Asking
) -> Response:
    """Take over a claim that was offered to you."""
    row = claim.accept(door.hub, claim_id, agent=asked.agent, asker=asker)
    return answer(request, _shown(door.hub, row))


def subject_of(
    complaint_id: str | None, person_id: str | None, order: str | None, line: str | None
) -> Subject:
    """What is claimed; raises InvalidError unless it is one thing."""
    try:
        ref = Ref.parse(order) if order is not None else None
        return Subject(complaint=complaint_id, person=person_id, order=ref, line=line)
    except ValidationError as error:
        why = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise InvalidError(
            "Name one of complaint_id, person_id and order; line goes with order.",
            errors=[{"pointer": "", "code": "subject", "detail": why}],
        ) from None


def _minutes(given: int | None) -> timedelta | None:
    # A number that no lease can have is refused with the limits, not with an overflow.
    return None if given is None else timedelta(minutes=max(-1, min(given, 10**6)))


def _shown(hub: Hub, row: queries.ClaimRow) -> schemas.ClaimShown:
    return _all(hub, [row])[0]


def _all(hub: Hub, rows: list[queries.ClaimRow]) -> list[schemas.ClaimShown]:
    with hub.database.read() as uow:
        held = claim.told(uow, rows)
    return [
        schemas.ClaimShown(
            **one.model_dump(),
            kind=row.kind,
            complaint_id=row.complaint_id,
            person_id=row.person_id,
            order=row.order_ref,
            offered_to=row.offered_to,
            version=row.version,
        )
        for row, one in zip(rows, held, strict=True)
    ]
