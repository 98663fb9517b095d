"""Complaints, shown with what was understood and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from middleware.api import examples, paging
from middleware.api.answers import answer
from middleware.api.describe import IfNoneMatch, operation
from middleware.api.door import Route, TheDoor
from middleware.api.paging import Cursor, Limit
from middleware.api.routes.priority import clock_shown, score_shown, step_shown
from middleware.api.schemas import complaints as schemas
from middleware.api.schemas.claims import HeldShown
from middleware.domain.orders import OrderMatch
from middleware.domain.priority import MILLI
from middleware.domain.problems import InvalidError, NotFoundError
from middleware.domain.understanding import Judgement, Understanding
from middleware.flows import claim
from middleware.flows.hub import Hub
from middleware.flows.keys import Scope
from middleware.flows.receive import LONGEST_UNDERSTOOD
from middleware.store import queries

router = APIRouter(route_class=Route, tags=["complaints"])


@router.get(
    "/v1/complaints",
    response_model=schemas.ComplaintPage,
    **operation(
        Scope.COMPLAINTS_READ,
        says="One page, newest first.",
        headers={"Link": 'The next page, `rel="next"`, where there is one.'},
        example=examples.COMPLAINT_PAGE,
    ),
)
def list_complaints(
    request: Request,
    door: TheDoor,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: Annotated[Literal["open", "closed", "deleted"] | None, Query()] = None,
    person_id: Annotated[str | None, Query(max_length=100)] = None,
    connection: Annotated[str | None, Query(max_length=63)] = None,
    incident: Annotated[
        str | None, Query(max_length=100, description="Those that are part of this incident.")
    ] = None,
    sort: Annotated[
        Literal["newest", "priority"],
        Query(
            description="`priority` is the queue: the most urgent first, of equal ones the "
            "oldest; open ones where no state is asked for."
        ),
    ] = "newest",
    brand: Annotated[
        str | None, Query(max_length=200, description="Of the queue: one brand account's.")
    ] = None,
    team: Annotated[
        str | None, Query(max_length=63, description="Of the queue: one team's.")
    ] = None,
) -> Response:
    """List complaints, newest first, or by priority."""
    here = paging.turn(
        door.cursors,
        request,
        cursor=cursor,
        limit=limit,
        state=state,
        person_id=person_id,
        connection=connection,
        incident=incident,
        sort=None if sort == "newest" else sort,
        brand=brand,
        team=team,
    )
    if sort == "priority":
        _only_queued(person_id)
        after = (int(here.position[0]), str(here.position[1])) if here.position else None
        with door.hub.database.read() as uow:
            rows = uow.complaints.queue(
                after=after,
                limit=here.fetch,
                state=state or "open",
                brand=brand,
                team=team,
                connection=connection,
                incident_id=incident,
            )
        rows, following = paging.leaf(door.cursors, here, rows, lambda row: [row.priority, row.id])
    else:
        _only_listed(brand, team)
        with door.hub.database.read() as uow:
            rows = uow.complaints.page(
                before=here.text,
                limit=here.fetch,
                state=state,
                person_id=uow.ledger.now(person_id) if person_id is not None else None,
                connection=connection,
                incident_id=incident,
            )
        rows, following = paging.leaf(door.cursors, here, rows, lambda row: [row.id])
    page = schemas.ComplaintPage(
        data=[listed(row) for row in rows],
        next_cursor=following,
        has_more=following is not None,
    )
    return answer(request, page, headers=paging.link_header(request, following))


def _only_queued(person_id: str | None) -> None:
    if person_id is not None:
        raise _not_with("person_id", "the queue is not kept by person; leave `sort` out")


def _only_listed(brand: str | None, team: str | None) -> None:
    for name, given in (("brand", brand), ("team", team)):
        if given is not None:
            raise _not_with(name, "is a filter of the queue; ask with `sort=priority`")


def _not_with(name: str, why: str) -> InvalidError:
    return InvalidError(
        "These filters do not go together.",
        errors=[{"pointer": f"/query/{name}", "code": "filter", "detail": why}],
    )


@router.get(
    "/v1/complaints/{complaint_id}",
    response_model=schemas.ComplaintShown,
    **operation(
        Scope.COMPLAINTS_READ,
        "not-found",
        headers={"ETag": "The version of what is shown."},
        also={304: "What you have is still right."},
        example=examples.COMPLAINT,
    ),
)
def get_complaint(
    complaint_id: str, request: Request, door: TheDoor, if_none_match: IfNoneMatch = None
) -> Response:
    """Show one complaint: its messages, what was understood, who wrote it and which order is meant,
    each with its reasons.

    Of complaints that are one issue, the one that stands for it shows the messages of all, and
    `merges` says why. One that was merged says where in `merged_into`, and in `Content-Location`.
    """
    shown = shown_complaint(door.hub, complaint_id)
    headers = {}
    if shown.merged_into is not None:
        headers["Content-Location"] = f"/v1/complaints/{shown.merged_into}"
    return answer(request, shown, tagged=True, headers=headers)


def shown_complaint(hub: Hub, complaint_id: str) -> schemas.ComplaintShown:
    """A complaint with all that is the same issue. Raises NotFoundError."""
    with hub.database.read() as uow:
        row = uow.complaints.get(complaint_id)
        if row is None:
            raise NotFoundError(f"No complaint has the id {complaint_id}.")
        clocks = uow.queue.clocks_of(complaint_id)
        steps = uow.queue.steps_of(complaint_id)
        root = uow.complaints.root_of(row)
        issue = uow.complaints.issue_of(row) if root.id == row.id else [row]
        arrivals = {one.id: uow.complaints.arrivals_of(one.id) for one in issue}
        actions = [
            action
            for one in issue
            for action in uow.actions.page(before=None, limit=50, complaint_id=one.id)
        ]
        merges = uow.gathering.of([one.id for one in issue])
        moves = uow.gathering.moves_of(row.id)
        subjects = {one.id for one in issue} | {one.identity_id or "" for one in issue}
        questions = uow.reviews.open_about_any(subjects)
        claims = claim.told(uow, claim.claims_on(hub, uow, row))
    written = [(one, arrival) for one in issue for arrival in arrivals[one.id]]
    written.sort(key=lambda w: (w[1].posted_at or w[1].received_at, w[1].id))
    return schemas.ComplaintShown(
        id=row.id,
        connection=row.connection,
        conversation=row.conversation,
        network=row.network,
        brand_account=row.brand_account,
        team=row.team,
        state=row.state,
        merged_into=root.id if root.id != row.id else None,
        incident_id=row.incident_id,
        merges=[_merge(merge) for merge in merges],
        moves=[_move(move) for move in moves],
        identity_id=row.identity_id,
        person_id=row.person_id,
        order=row.order_ref,
        priority=score_shown(row),
        due_at=row.due_at,
        clocks=[clock_shown(clock) for clock in clocks],
        escalations=[step_shown(step) for step in steps],
        arrivals=[_arrival(one, arrival) for one, arrival in written],
        understanding=understanding_shown(row.understanding, arrivals[row.id]),
        resolution=resolution_of(row.resolution),
        order_match=_order_match(row.order_match),
        actions=sorted((a.id for a in actions if a.requested_by != "hub"), reverse=True),
        questions=[question.id for question in questions],
        claims=[HeldShown.model_validate(held.model_dump()) for held in claims],
        opened_at=row.opened_at,
        updated_at=row.updated_at,
        version=row.version,
    )


def _merge(row: queries.ComplaintMergeRow) -> schemas.MergeShown:
    return schemas.MergeShown.model_validate(
        row.model_dump(include=set(schemas.MergeShown.model_fields))
    )


def _move(row: queries.ComplaintMoveRow) -> schemas.MoveShown:
    return schemas.MoveShown.model_validate(
        row.model_dump(include=set(schemas.MoveShown.model_fields))
    )


def listed(row: queries.ComplaintRow) -> schemas.ComplaintListed:
    """A complaint as lists show it."""
    understood = row.understanding or {}
    decision = (row.resolution or {}).get("decision", {})

    def word(name: str) -> str:
        return str((understood.get(name) or {}).get("value") or "unknown")

    return schemas.ComplaintListed(
        id=row.id,
        connection=row.connection,
        conversation=row.conversation,
        network=row.network,
        state=row.state,
        merged_into=row.merged_into,
        incident_id=row.incident_id,
        person_id=row.person_id,
        order=row.order_ref,
        intent=word("intent"),
        reason=word("reason"),
        severity=word("severity"),
        outcome=decision.get("outcome", "unknown"),
        priority=row.priority / MILLI if row.priority_terms is not None else None,
        due_at=row.due_at,
        team=row.team,
        brand_account=row.brand_account,
        opened_at=row.opened_at,
        updated_at=row.updated_at,
    )


def _arrival(complaint: queries.ComplaintRow, row: queries.ArrivalRow) -> schemas.ArrivalShown:
    author = row.author or {}
    return schemas.ArrivalShown(
        source_id=row.source_id,
        complaint_id=complaint.id,
        connection=row.connection,
        brand_account=row.brand_account or complaint.brand_account,
        outgoing=row.outgoing,
        internal=row.internal,
        automatic=row.automatic,
        network=author.get("network"),
        handle=author.get("handle"),
        display_name=author.get("display_name"),
        text=row.text,
        language=row.language,
        url=row.url,
        posted_at=row.posted_at,
        edited_at=row.edited_at,
        deleted_at=row.deleted_at,
        received_at=row.received_at,
    )


def understanding_shown(
    kept: dict[str, Any] | None, arrivals: Sequence[queries.ArrivalRow]
) -> schemas.UnderstandingShown | None:
    """What was understood of a complaint, with the text that its spans count in."""
    if kept is None:
        return None
    return understanding_of(Understanding.model_validate(kept), understood_text(arrivals))


def understanding_of(understood: Understanding, text: str) -> schemas.UnderstandingShown:
    """What was understood of a text."""
    return schemas.UnderstandingShown(
        intent=_judgement(understood.intent),
        sentiment=_judgement(understood.sentiment),
        reason=_judgement(understood.reason),
        severity=_judgement(understood.severity),
        remedy=_judgement(understood.remedy),
        language=_judgement(understood.language),
        entities=[schemas.EntityShown(**entity.model_dump()) for entity in understood.entities],
        cues=[schemas.CueShown(**cue.model_dump()) for cue in understood.cues],
        shadow=[schemas.ShadowShown(**shadow.model_dump()) for shadow in understood.shadow],
        by=understood.by,
        degraded=understood.degraded,
        text=text,
    )


def understood_text(arrivals: Sequence[queries.ArrivalRow]) -> str:
    """The text that the spans of an understanding count in."""
    incoming = [a.text for a in arrivals if not a.outgoing and a.deleted_at is None]
    return "\n".join(incoming)[-LONGEST_UNDERSTOOD:]


def _judgement(judged: Judgement[Any]) -> schemas.JudgementShown:
    return schemas.JudgementShown(
        value=judged.word,
        confidence=judged.confidence,
        evidence=[schemas.SpanShown(**span.model_dump()) for span in judged.evidence],
        band=judged.band,
        alternatives=[schemas.AlternativeShown(**a.model_dump()) for a in judged.alternatives],
    )


def resolution_of(kept: dict[str, Any] | None) -> schemas.ResolutionShown | None:
    """The decision about who somebody is, as it is kept with a complaint."""
    if kept is None:
        return None
    decision = kept["decision"]
    return schemas.ResolutionShown(
        outcome=decision["outcome"],
        why=decision["why"],
        margin=decision["margin"],
        candidates=[candidate_of(candidate) for candidate in kept["candidates"]],
        sources=[schemas.SourceShown(**source) for source in kept.get("sources", [])],
        decided_at=kept.get("at"),
        version=decision.get("version"),
    )


def candidate_of(kept: dict[str, Any]) -> schemas.CandidateShown:
    return schemas.CandidateShown(
        person_id=kept["person_id"],
        refs=[text for ref in kept["refs"] if (text := queries.ref_text(ref))],
        score=kept["score"],
        probability=kept.get("probability"),
        evidence=[
            schemas.EvidenceShown(**{"compared": None, "rarity": None, "at": None, **evidence})
            for evidence in kept["evidence"]
        ],
    )


def _order_match(kept: dict[str, Any] | None) -> schemas.OrderMatchShown | None:
    if kept is None:
        return None
    match = OrderMatch.model_validate(kept)
    return schemas.OrderMatchShown(
        chosen=str(match.chosen) if match.chosen else None,
        confidence=match.confidence,
        why=match.why,
        ranked=[
            schemas.RankedOrderShown(
                order=str(ranked.order),
                number=ranked.number,
                score=ranked.score,
                reasons=[schemas.ReasonShown(**r.model_dump()) for r in ranked.reasons],
            )
            for ranked in match.ranked
        ],
        lines=[
            schemas.RankedLineShown(
                order=str(line.order),
                line=line.line,
                sku=line.sku,
                score=line.score,
                reasons=[schemas.ReasonShown(**r.model_dump()) for r in line.reasons],
            )
            for line in match.lines
        ],
        chosen_lines=list(match.chosen_lines),
        warnings=list(match.warnings),
    )
