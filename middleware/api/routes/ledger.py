"""The link ledger: cannot-links, merges and splits with previews, undoing, and why or why not."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from middleware.api import ledger_examples as examples
from middleware.api import paging
from middleware.api.answers import answer, hold_to_version
from middleware.api.describe import IfMatch, operation
from middleware.api.door import Asking, Route, TheDoor
from middleware.api.examples import IDENTITY_ID, PERSON_ID
from middleware.api.paging import Cursor, Limit
from middleware.api.routes.links import link_shown
from middleware.api.schemas import ledger as schemas
from middleware.api.schemas.people import LinkEvidenceShown
from middleware.contract.canonical import Ref
from middleware.domain.ledger import ChangeKind, Verdict
from middleware.domain.problems import NotFoundError
from middleware.flows import cannot, merge
from middleware.flows import why as reasons
from middleware.flows.hub import Hub
from middleware.flows.keys import Scope
from middleware.flows.weigh import Weighed
from middleware.store import queries

router = APIRouter(route_class=Route)

_BODY = ("malformed-body", "body-too-large")

_PUT: dict[str, Any] = operation(
    Scope.LINKS_WRITE,
    *_BODY,
    "not-found",
    "conflict",
    status=201,
    says="They are held apart.",
    headers={"ETag": "Its version."},
    example=examples.CANNOT_LINK,
    request={
        "identity and person": {
            "one": IDENTITY_ID,
            "other": PERSON_ID,
            "reason": "He is her brother; they share the tablet.",
        }
    },
)
_PUT["responses"][200] = {
    "description": "They were held apart already.",
    "content": {
        "application/json": {
            "schema": {"$ref": "#/components/schemas/CannotLinkShown"},
            "example": examples.CANNOT_LINK,
        }
    },
}


@router.put("/v1/cannot-links", response_model=schemas.CannotLinkShown, tags=["links"], **_PUT)
def put_cannot_link(
    wanted: schemas.CannotLinkWanted, request: Request, door: TheDoor, asker: Asking
) -> Response:
    """Say that two things are not one customer, on your word.

    Nothing automatic links them from now on, whatever speaks for it: no arrival, no sync, no new
    model. Two that are one person now are a conflict: revoke the link or split the person, which
    holds them apart too.
    """
    row, new = cannot.put(door.hub, wanted.one, wanted.other, reason=wanted.reason, asker=asker)
    return answer(request, cannot_shown(row), status=201 if new else 200, version=row.version)


@router.get(
    "/v1/cannot-links",
    response_model=schemas.CannotLinkPage,
    tags=["links"],
    **operation(
        Scope.PEOPLE_READ,
        says="One page, oldest first.",
        headers={"Link": 'The next page, `rel="next"`, where there is one.'},
        example=examples.CANNOT_LINK_PAGE,
    ),
)
def list_cannot_links(
    request: Request,
    door: TheDoor,
    thing: Annotated[
        schemas.ThingText, Query(description="A person, an identity, a contact or an account.")
    ],
    limit: Limit = 50,
    cursor: Cursor = None,
    history: Annotated[bool, Query(description="Lifted ones too.")] = False,
) -> Response:
    """List what somebody said that a thing is not. Of a person, also what was said of those that
    were merged into them."""
    here = paging.turn(
        door.cursors, request, cursor=cursor, limit=limit, thing=thing, history=history
    )
    with door.hub.database.read() as uow:
        things = uow.ledger.family(uow.ledger.now(thing)) if thing.startswith("per_") else {thing}
        rows = uow.ledger.cannot_links_of(things, ended=history, after=here.text, limit=here.fetch)
    rows, following = paging.leaf(door.cursors, here, rows, lambda row: [row.id])
    page = schemas.CannotLinkPage(
        data=[cannot_shown(row) for row in rows],
        next_cursor=following,
        has_more=following is not None,
    )
    return answer(request, page, headers=paging.link_header(request, following))


@router.post(
    "/v1/cannot-links/{cannot_link_id}/lift",
    response_model=schemas.CannotLinkShown,
    tags=["links"],
    **operation(
        Scope.LINKS_WRITE,
        *_BODY,
        "not-found",
        "conflict",
        "stale-version",
        "version-required",
        says="Lifted: they may be linked again.",
        headers={"ETag": "Its new version."},
        example=examples.CANNOT_LINK_LIFTED,
        request={"reason": {"reason": "It is her second account, she wrote from both."}},
    ),
)
def lift_cannot_link(
    cannot_link_id: str,
    lifted: schemas.CannotLinkLifted,
    request: Request,
    door: TheDoor,
    asker: Asking,
    if_match: IfMatch = None,
) -> Response:
    """End a cannot-link. Nothing is linked by this; it may be, from now on."""
    with door.hub.database.read() as uow:
        row = uow.ledger.cannot_link(cannot_link_id)
    if row is None:
        raise NotFoundError(f"No cannot-link has the id {cannot_link_id}.")
    hold_to_version(if_match, row.version)
    ended = cannot.lift(
        door.hub, cannot_link_id, version=row.version, reason=lifted.reason, asker=asker
    )
    return answer(request, cannot_shown(ended), version=ended.version)


@router.post(
    "/v1/people/{person_id}/merge/preview",
    response_model=schemas.ChangePreviewShown,
    tags=["people"],
    **operation(
        Scope.PEOPLE_READ,
        *_BODY,
        "not-found",
        "conflict",
        example=examples.MERGE_PREVIEW,
        request={"other": {"other_id": examples.OTHER_PERSON_ID}},
    ),
)
def preview_merge(
    person_id: str, asked: schemas.MergeAsked, request: Request, door: TheDoor
) -> Response:
    """Show what merging another person into this one would move, and why it may be refused.

    Nothing is written.
    """
    return answer(request, preview_shown(merge.preview_merge(door.hub, person_id, asked.other_id)))


@router.post(
    "/v1/people/{person_id}/merge",
    response_model=schemas.ChangeShown,
    tags=["people"],
    **operation(
        Scope.LINKS_WRITE,
        *_BODY,
        "not-found",
        "conflict",
        "preview-outdated",
        status=201,
        says="They are one.",
        headers={"Location": "The change, to undo it by."},
        example=examples.MERGED,
        request={
            "with preview": {
                "other_id": examples.OTHER_PERSON_ID,
                "reason": "The same customer number and voice.",
                "preview_token": "b07a6f1d2c3e4f5061728394a5b6c7d8",
            }
        },
    ),
)
def merge_people(
    person_id: str,
    wanted: schemas.MergeWanted,
    request: Request,
    door: TheDoor,
    asker: Asking,
) -> Response:
    """Merge another person into this one, who stays. The other's id leads here from now on.

    Nothing is lost: every link is carried over with its evidence, and undoing moves exactly that
    back. It is a conflict where somebody said that something of the one is not something of the
    other, where both have a different id of which a customer has one, or where a system that
    holds nobody twice has both.
    """
    change = merge.merge(
        door.hub,
        person_id,
        wanted.other_id,
        reason=wanted.reason,
        asker=asker,
        token=wanted.preview_token,
    )
    return _made(request, change)


@router.post(
    "/v1/people/{person_id}/split/preview",
    response_model=schemas.ChangePreviewShown,
    tags=["people"],
    **operation(
        Scope.PEOPLE_READ,
        *_BODY,
        "not-found",
        "conflict",
        example=examples.SPLIT_PREVIEW,
        request={"identity": {"identities": [IDENTITY_ID]}},
    ),
)
def preview_split(
    person_id: str, asked: schemas.SplitAskedBody, request: Request, door: TheDoor
) -> Response:
    """Show what splitting a person would move to the new one. Nothing is written."""
    return answer(
        request, preview_shown(merge.preview_split(door.hub, person_id, asked_split(asked)))
    )


@router.post(
    "/v1/people/{person_id}/split",
    response_model=schemas.ChangeShown,
    tags=["people"],
    **operation(
        Scope.LINKS_WRITE,
        *_BODY,
        "not-found",
        "conflict",
        "preview-outdated",
        status=201,
        says="They are two.",
        headers={"Location": "The change, to undo it by."},
        example=examples.SPLIT,
        request={
            "brother": {
                "identities": [IDENTITY_ID],
                "display_name": "Her brother",
                "reason": "He wrote from her account on file.",
            }
        },
    ),
)
def split_person(
    person_id: str,
    wanted: schemas.SplitWanted,
    request: Request,
    door: TheDoor,
    asker: Asking,
) -> Response:
    """Move identities and records of a person to a new one, and hold the two apart.

    Complaints and actions go with the identities that wrote.
    """
    change = merge.split(
        door.hub,
        person_id,
        asked_split(wanted),
        reason=wanted.reason,
        asker=asker,
        token=wanted.preview_token,
    )
    return _made(request, change)


@router.get(
    "/v1/people/{person_id}/changes",
    response_model=schemas.ChangesShown,
    tags=["people"],
    **operation(Scope.PEOPLE_READ, "not-found", example=examples.CHANGES),
)
def list_changes(person_id: str, request: Request, door: TheDoor) -> Response:
    """List the merges and splits that a person was part of, oldest first, undone ones too."""
    return answer(request, schemas.ChangesShown(data=shown_changes(door.hub, person_id)))


@router.get(
    "/v1/changes/{change_id}",
    response_model=schemas.ChangeShown,
    tags=["people"],
    **operation(Scope.PEOPLE_READ, "not-found", example=examples.MERGED),
)
def get_change(change_id: str, request: Request, door: TheDoor) -> Response:
    """Show a merge, a split, or the undoing of one."""
    with door.hub.database.read() as uow:
        row = uow.ledger.change(change_id)
    if row is None:
        raise NotFoundError(f"No change has the id {change_id}.")
    return answer(request, change_shown(row))


@router.post(
    "/v1/changes/{change_id}/undo",
    response_model=schemas.ChangeShown,
    tags=["people"],
    **operation(
        Scope.LINKS_WRITE,
        *_BODY,
        "not-found",
        "conflict",
        status=201,
        says="Undone; the undoing.",
        headers={"Location": "The undoing."},
        example=examples.UNDONE,
        request={"reason": {"reason": "They are mother and daughter."}},
    ),
)
def undo_change(
    change_id: str,
    undone: schemas.ChangeUndone,
    request: Request,
    door: TheDoor,
    asker: Asking,
) -> Response:
    """Undo a merge or a split: what it moved goes back, and what came to it since goes along.

    Where a later merge or split builds upon it, it is a conflict that names that one
    (`blocked_by`). What somebody unlinked in the meantime stays unlinked (`left_out`).
    """
    made = merge.undo(door.hub, change_id, reason=undone.reason, asker=asker)
    return _made(request, made.change, left_out=made.left_out)


@router.get(
    "/v1/people/why",
    response_model=schemas.WhyShown,
    tags=["people"],
    **operation(Scope.PEOPLE_READ, "not-found", example=examples.WHY),
)
def explain_pair(
    request: Request,
    door: TheDoor,
    one: Annotated[
        schemas.ThingText, Query(description="A person, an identity, a contact or an account.")
    ],
    other: Annotated[schemas.ThingText, Query(description="Another one.")],
) -> Response:
    """Explain why two things are one customer to the hub, or why not: links, people's words, the
    evidence as it is now, and the thresholds that decide.

    Of an identity it is what the hub would decide if they wrote now; of records and persons what a
    run of resolution makes of their likeliest records."""
    found = reasons.why(door.hub, one, other)
    decision = None
    if found.decision is not None:
        chosen = found.decision.candidate
        decision = schemas.WhyDecisionShown(
            outcome=found.decision.outcome,
            why=found.decision.why,
            margin=found.decision.margin,
            chosen=[]
            if chosen is None
            else [*([chosen.person_id] if chosen.person_id else []), *map(str, chosen.refs)],
            version=found.decision.version,
        )
    return answer(
        request,
        schemas.WhyShown(
            says=found.says,
            together=found.together,
            one=_side(found.one),
            other=_side(found.other),
            cannot_links=[cannot_shown(row) for row in found.cannot_links],
            evidence=[LinkEvidenceShown(**e.model_dump(mode="json")) for e in found.evidence],
            score=found.score,
            decision=decision,
            weighed=_weighed(found.weighed),
            rules=schemas.RulesShown.model_validate(found.rules),
            labels=[_label(row) for row in found.labels],
        ),
    )


def _weighed(found: Weighed | None) -> schemas.WeighedShown | None:
    if found is None:
        return None
    return schemas.WeighedShown(
        one=str(found.one),
        other=str(found.other),
        bits=found.bits,
        probability=found.probability,
        joins_from=found.joins_from,
        against=found.against,
    )


def cannot_shown(row: queries.CannotLinkRow) -> schemas.CannotLinkShown:
    return schemas.CannotLinkShown(
        id=row.id,
        one=row.one,
        other=row.other,
        reason=row.reason,
        source=row.source,
        decided_by=row.decided_by,
        valid_from=row.valid_from,
        valid_to=row.valid_to,
        lifted_by=row.lifted_by,
        lifted_reason=row.lifted_reason,
        version=row.version,
    )


def shown_changes(hub: Hub, person_id: str) -> list[schemas.ChangeShown]:
    """All that was done to a person, oldest first. Raises NotFoundError."""
    with hub.database.read() as uow:
        if uow.people.person(person_id) is None:
            raise NotFoundError(f"No person has the id {person_id}.")
        return [change_shown(row) for row in uow.ledger.changes_of(person_id)]


def change_shown(
    row: queries.PersonChangeRow, left_out: tuple[str, ...] = ()
) -> schemas.ChangeShown:
    return schemas.ChangeShown(
        id=row.id,
        kind=ChangeKind(row.kind),
        person_id=row.person_id,
        other_id=row.other_id,
        identities=row.moved["identities"],
        records=row.moved["records"],
        complaints=row.moved["complaints"],
        actions=row.moved["actions"],
        left_out=list(left_out),
        reason=row.reason,
        made_by=row.made_by,
        made_at=row.made_at,
        undoes=row.undoes,
        undone_by=row.undone_by,
        undone_at=row.undone_at,
    )


def _made(
    request: Request, row: queries.PersonChangeRow, left_out: tuple[str, ...] = ()
) -> Response:
    return answer(
        request,
        change_shown(row, left_out),
        status=201,
        headers={"Location": f"/v1/changes/{row.id}"},
    )


def preview_shown(shown: merge.ChangePreview) -> schemas.ChangePreviewShown:
    return schemas.ChangePreviewShown.model_validate(
        {
            "kind": shown.kind.value,
            "person_id": shown.person_id,
            "other_id": shown.other_id,
            "moves": asdict(shown.moves),
            "conflicts": [asdict(conflict) for conflict in shown.conflicts],
            "preview_token": shown.token,
        }
    )


def asked_split(asked: schemas.SplitAskedBody) -> merge.SplitAsked:
    return merge.SplitAsked(
        identities=tuple(asked.identities),
        records=tuple(Ref.parse(text) for text in asked.records),
        complaints=tuple(asked.complaints),
        display_name=asked.display_name,
    )


def _side(side: reasons.Side) -> schemas.SideShown:
    return schemas.SideShown(
        thing=side.thing,
        person_id=side.person_id,
        link=link_shown(side.link) if side.link is not None else None,
        ended=[link_shown(link) for link in side.ended],
    )


def _label(row: queries.LabelRow) -> schemas.LabelShown:
    return schemas.LabelShown(
        one=row.one,
        other=row.other,
        verdict=Verdict(row.verdict),
        source=row.source,
        subject=row.subject,
        labelled_by=row.labelled_by,
        labelled_at=row.labelled_at,
    )
