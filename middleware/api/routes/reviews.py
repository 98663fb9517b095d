"""The review queue: who is this? Listed, claimed, answered, and tried under other thresholds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from middleware.api import ledger_examples as examples
from middleware.api import paging
from middleware.api.answers import answer, hold_to_version
from middleware.api.describe import IfMatch, operation
from middleware.api.door import Asking, Route, TheDoor
from middleware.api.paging import Cursor, Limit
from middleware.api.routes.complaints import candidate_of
from middleware.api.schemas import ledger as schemas
from middleware.domain.problems import InvalidError, NotFoundError
from middleware.flows import rehearse, reviews
from middleware.flows.hub import Hub
from middleware.flows.keys import Scope
from middleware.store import queries

router = APIRouter(route_class=Route, tags=["reviews"])

_BODY = ("malformed-body", "body-too-large")


@router.get(
    "/v1/reviews",
    response_model=schemas.ReviewPage,
    **operation(
        Scope.PEOPLE_READ,
        says="One page, the most urgent first.",
        headers={"Link": 'The next page, `rel="next"`, where there is one.'},
        example=examples.REVIEW_PAGE,
    ),
)
def list_reviews(
    request: Request,
    door: TheDoor,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: Annotated[Literal["open", "answered", "settled"], Query()] = "open",
    kind: Annotated[Literal["review", "audit", "contradiction"] | None, Query()] = None,
) -> Response:
    """List questions about who somebody is: the most informative first, of equal ones the oldest.

    Urgency is reach × severity × uncertainty; each term is shown, and is 1 where nothing is known.
    """
    here = paging.turn(door.cursors, request, cursor=cursor, limit=limit, state=state, kind=kind)
    after = (int(here.position[0]), str(here.position[1])) if here.position else None
    with door.hub.database.read() as uow:
        rows = uow.reviews.page(state=state, kind=kind, after=after, limit=here.fetch)
        claims = uow.ledger.claims([row.id for row in rows], now=door.hub.clock())
    rows, following = paging.leaf(door.cursors, here, rows, lambda row: [row.urgency, row.id])
    page = schemas.ReviewPage(
        data=[review_shown(row, claims.get(row.id)) for row in rows],
        next_cursor=following,
        has_more=following is not None,
    )
    return answer(request, page, headers=paging.link_header(request, following))


@router.get(
    "/v1/reviews/{review_id}",
    response_model=schemas.ReviewShown,
    **operation(
        Scope.PEOPLE_READ,
        "not-found",
        headers={"ETag": "Its version, for `If-Match`."},
        example=examples.REVIEW,
    ),
)
def get_review(review_id: str, request: Request, door: TheDoor) -> Response:
    """Show a question with its candidates, and the answer where there is one."""
    return _shown(request, door, review_id)


@router.post(
    "/v1/reviews/{review_id}/claim",
    response_model=schemas.ReviewClaimShown,
    **operation(
        Scope.LINKS_WRITE,
        *_BODY,
        "not-found",
        "conflict",
        says="It is yours for ten minutes.",
        example=examples.REVIEW_CLAIM,
        request={"agent": {"agent": "anna"}},
    ),
)
def claim_review(
    review_id: str,
    claimed: schemas.ReviewClaimed,
    request: Request,
    door: TheDoor,
    asker: Asking,
) -> Response:
    """Take a question, so that nobody else answers it meanwhile; again to keep it for longer."""
    row = reviews.claim(door.hub, review_id, agent=claimed.agent, asker=asker)
    return answer(request, claim_shown(row))


@router.post(
    "/v1/reviews/{review_id}/release",
    response_model=schemas.ReviewShown,
    **operation(
        Scope.LINKS_WRITE,
        *_BODY,
        "not-found",
        "conflict",
        says="It is anybody's again.",
        headers={"ETag": "Its version."},
        example=examples.REVIEW,
        request={"agent": {"agent": "anna"}},
    ),
)
def release_review(
    review_id: str,
    released: schemas.ReviewClaimed,
    request: Request,
    door: TheDoor,
    asker: Asking,
) -> Response:
    """Give a question back before its time is over."""
    reviews.release(door.hub, review_id, agent=released.agent, asker=asker)
    return _shown(request, door, review_id)


@router.post(
    "/v1/reviews/{review_id}/answer",
    response_model=schemas.ReviewShown,
    **operation(
        Scope.LINKS_WRITE,
        *_BODY,
        "not-found",
        "conflict",
        "stale-version",
        "version-required",
        says="Answered, with what it wrote.",
        headers={"ETag": "Its new version."},
        example=examples.REVIEW_ANSWERED,
        request={
            "this one": {
                "said": "this",
                "candidate": 0,
                "reason": "She names the order in a direct message.",
                "agent": "anna",
            },
            "none of these": {"said": "none", "reason": "Lives in another country."},
            "cannot say": {"said": "unsure"},
        },
    ),
)
def answer_review(
    review_id: str,
    said: schemas.ReviewAnswered,
    request: Request,
    door: TheDoor,
    asker: Asking,
    if_match: IfMatch = None,
) -> Response:
    """Answer a question. The link, the cannot-links and the labels are written together.

    `this` links the author to the candidate; `none` holds the author apart from every candidate
    shown, and of an audit ends the link; `unsure` only closes the question.
    """
    with door.hub.database.read() as uow:
        row = uow.reviews.get(review_id)
    if row is None:
        raise NotFoundError(f"No review has the id {review_id}.")
    hold_to_version(if_match, row.version)
    reviews.answer(
        door.hub,
        review_id,
        reviews.Answered(
            said=said.said, candidate=said.candidate, reason=said.reason, agent=said.agent
        ),
        version=row.version,
        asker=asker,
    )
    return _shown(request, door, review_id)


@router.post(
    "/v1/reviews/backtest",
    response_model=schemas.ReviewBacktestShown,
    **operation(
        Scope.PEOPLE_READ,
        *_BODY,
        example=examples.REVIEW_BACKTEST,
        request={"bolder": {"link_from": 12, "margin": 4}},
    ),
)
def backtest_thresholds(tried: schemas.BacktestAsked, request: Request, door: TheDoor) -> Response:
    """Take the stored decisions again under other thresholds: what would be linked and unlinked,
    and how both stand to what people said. Nothing is written.

    A thousand decisions are looked at in one go; `after` says where to go on.
    """
    changes = tried.model_dump(exclude={"after"}, exclude_none=True)
    rules = door.hub.options.auto_link.model_copy(update=changes)
    if rules.review_from > rules.link_from:
        raise InvalidError(
            "A person can't be asked from more bits than a link needs.",
            errors=[
                {
                    "pointer": "/review_from",
                    "code": "order",
                    "detail": f"must not be more than link_from, {rules.link_from:g}",
                }
            ],
        )
    found = rehearse.rehearse(door.hub, rules, after=tried.after)

    def checked(tally: rehearse.Checked) -> schemas.CheckedShown:
        return schemas.CheckedShown(**asdict(tally), precision=tally.precision)

    return answer(
        request,
        schemas.ReviewBacktestShown(
            version=found.version,
            decided=found.decided,
            reviews=found.reviews,
            links=[_difference(one) for one in found.links],
            unlinks=[_difference(one) for one in found.unlinks],
            was=checked(found.was),
            would=checked(found.would),
            after=found.after,
        ),
    )


def _difference(one: rehearse.Difference) -> schemas.DecisionDiffShown:
    return schemas.DecisionDiffShown(
        complaint_id=one.complaint_id,
        identity_id=one.identity_id,
        was=one.was,
        would=one.would,
        things=list(one.things),
        why=one.why,
        said=one.said,
        decided_under=one.version,
    )


def _shown(request: Request, door: TheDoor, review_id: str) -> Response:
    shown = shown_review(door.hub, review_id)
    headers = {"ETag": f'"{shown.version}"', "Cache-Control": "private, no-cache"}
    # Who holds it changes without its version changing, so nobody is told that theirs is right.
    return answer(request, shown, headers=headers)


def shown_review(hub: Hub, review_id: str) -> schemas.ReviewShown:
    """A question with its candidates, and who holds it. Raises NotFoundError."""
    with hub.database.read() as uow:
        row = uow.reviews.get(review_id)
        claims = uow.ledger.claims([review_id], now=hub.clock())
    if row is None:
        raise NotFoundError(f"No review has the id {review_id}.")
    return review_shown(row, claims.get(row.id))


def claim_shown(row: queries.ClaimRow) -> schemas.ReviewClaimShown:
    return schemas.ReviewClaimShown(
        id=row.subject, holder=row.holder, taken_at=row.taken_at, expires_at=row.expires_at
    )


def review_shown(row: queries.ReviewRow, claim: queries.ClaimRow | None) -> schemas.ReviewShown:
    return schemas.ReviewShown.model_validate(
        {
            "id": row.id,
            "kind": row.kind,
            "state": row.state,
            "identity_id": row.identity_id,
            "complaint_id": row.complaint_id,
            "link_id": row.link_id,
            "candidates": [candidate_of(c) for c in row.candidates],
            "outcome": row.decision["outcome"],
            "why": row.decision["why"],
            "version_decided": row.decision["version"],
            "urgency": row.urgency / 1_000_000,
            "terms": row.terms,
            "claimed_by": claim.holder if claim is not None else None,
            "claimed_until": claim.expires_at if claim is not None else None,
            "answer": row.answer or None,
            "answered_by": row.answered_by,
            "answered_at": row.answered_at,
            "opened_at": row.opened_at,
            "updated_at": row.updated_at,
            "version": row.version,
        }
    )
