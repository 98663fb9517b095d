"""Links: made and ended by agents, explained, and asked about as of a date."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from middleware.api import examples, paging
from middleware.api.answers import answer, etag, hold_to_version
from middleware.api.describe import IfMatch, IfNoneMatch, operation
from middleware.api.door import Asking, Route, TheDoor
from middleware.api.paging import Cursor, Limit
from middleware.api.schemas import people as schemas
from middleware.api.schemas.base import RefText, When
from middleware.contract.canonical import Ref
from middleware.domain.identity import Basis
from middleware.domain.problems import InvalidError, NotFoundError
from middleware.flows import link as links
from middleware.flows.hub import Hub
from middleware.flows.keys import Scope
from middleware.store import queries

router = APIRouter(route_class=Route, tags=["links"])


_PUT: dict[str, Any] = operation(
    Scope.LINKS_WRITE,
    "malformed-body",
    "body-too-large",
    "not-found",
    "conflict",
    status=201,
    says="The link is made.",
    headers={"Location": "The link.", "ETag": "Its version."},
    example=examples.LINK,
    request={
        "identity": {
            "person_id": examples.PERSON_ID,
            "identity": {"network": "x", "native_id": "42"},
            "basis": "customer_confirmed",
            "reason": "She named order SO-10001 and her postcode on the phone.",
        },
        "record": {
            "person_id": examples.PERSON_ID,
            "record": "crm:contact:003A1",
            "reason": "Same postal address and bank account.",
        },
    },
)
_PUT["responses"][200] = {
    "description": "The link was there.",
    "content": {
        "application/json": {
            "schema": {"$ref": "#/components/schemas/LinkShown"},
            "example": examples.LINK,
        }
    },
}


@router.put("/v1/links", response_model=schemas.LinkShown, **_PUT)
def put_link(
    wanted: schemas.LinkWanted, request: Request, door: TheDoor, asker: Asking
) -> Response:
    """Link a person to an identity or a record, on your word.

    The same link again answers 200 with the one that is there. What is linked to somebody else, or
    was taken apart before, is a conflict: look at the history first.
    """
    link_id, new = links.put_link(door.hub, asked_link(wanted), asker)
    with door.hub.database.read() as uow:
        row = uow.people.link(link_id)
    assert row is not None, "a link that was put is there"
    return answer(
        request,
        link_shown(row),
        status=201 if new else 200,
        version=row.version,
        headers={"Location": f"/v1/links/{row.id}"},
    )


@router.get(
    "/v1/links",
    response_model=schemas.LinkPage,
    **operation(
        Scope.PEOPLE_READ,
        says="One page, oldest first.",
        headers={"Link": 'The next page, `rel="next"`, where there is one.'},
        example=examples.LINK_PAGE,
    ),
)
def list_links(
    request: Request,
    door: TheDoor,
    limit: Limit = 50,
    cursor: Cursor = None,
    person_id: Annotated[str | None, Query(max_length=100)] = None,
    identity_id: Annotated[str | None, Query(max_length=100)] = None,
    record: Annotated[RefText | None, Query(description="`connection:kind:id`")] = None,
    as_of: Annotated[
        When | None, Query(description="Those that held at this moment, in place of now.")
    ] = None,
    history: Annotated[bool, Query(description="Ended ones too.")] = False,
) -> Response:
    """List the links of a person, an identity or a record: now, as of a date, or all there were.

    The id of a person that was merged finds those of whoever they were merged into; with `as_of`,
    of whoever the id led to then; with `history`, also its own of before.
    """
    if person_id is None and identity_id is None and record is None:
        raise InvalidError(
            "Say whose links: person_id, identity_id or record.",
            errors=[{"pointer": "/query/person_id", "code": "missing", "detail": "is required"}],
        )
    here = paging.turn(
        door.cursors,
        request,
        cursor=cursor,
        limit=limit,
        person_id=person_id,
        identity_id=identity_id,
        record=record,
        as_of=as_of,
        history=history,
    )
    with door.hub.database.read() as uow:
        rows = queries.links(
            uow,
            persons=None
            if person_id is None
            else queries.persons_of(uow, person_id, as_of=as_of, history=history),
            identity_id=identity_id,
            record=Ref.parse(record) if record else None,
            as_of=as_of,
            history=history,
            after=here.text,
            limit=here.fetch,
        )
    rows, following = paging.leaf(door.cursors, here, rows, lambda row: [row.id])
    page = schemas.LinkPage(
        data=[link_shown(row) for row in rows],
        next_cursor=following,
        has_more=following is not None,
    )
    return answer(request, page, headers=paging.link_header(request, following))


@router.get(
    "/v1/links/{link_id}",
    response_model=schemas.LinkExplained,
    **operation(
        Scope.PEOPLE_READ,
        "not-found",
        headers={"ETag": "The link's version, for `If-Match`."},
        also={304: "What you have is still right."},
        example=examples.LINK_EXPLAINED,
    ),
)
def get_link(
    link_id: str, request: Request, door: TheDoor, if_none_match: IfNoneMatch = None
) -> Response:
    """Explain a link, and list what was shown, done and written on its strength so far."""
    shown = shown_link(door.hub, link_id)
    # What stands on it grows without the link changing, so nobody is told that theirs is right.
    return answer(
        request,
        shown,
        headers={"ETag": etag(shown.link.version), "Cache-Control": "private, no-cache"},
    )


@router.post(
    "/v1/links/{link_id}/revoke",
    response_model=schemas.LinkExplained,
    **operation(
        Scope.LINKS_WRITE,
        "malformed-body",
        "body-too-large",
        "not-found",
        "conflict",
        "stale-version",
        "version-required",
        says="Ended; what was done on its strength.",
        headers={"ETag": "The link's new version."},
        example=examples.LINK_REVOKED,
        request={"reason": {"reason": "He is her brother; they share the account."}},
    ),
)
def revoke_link(
    link_id: str,
    revoked: schemas.LinkRevoked,
    request: Request,
    door: TheDoor,
    asker: Asking,
    if_match: IfMatch = None,
) -> Response:
    """End a link: it was wrong. Answers what was shown, done and written while it held.

    Nothing of that is undone by itself. The link stays in the history, and the two are held apart:
    the hub will not link them again; an agent can, by saying so.
    """
    with door.hub.database.read() as uow:
        row = uow.people.link(link_id)
    if row is None:
        raise NotFoundError(f"No link has the id {link_id}.")
    hold_to_version(if_match, row.version)
    ended, strength = links.revoke_link(
        door.hub, link_id, version=row.version, reason=revoked.reason, asker=asker
    )
    return answer(request, explained_shown(ended, strength), version=ended.version)


@router.post(
    "/v1/links/{link_id}/restore",
    response_model=schemas.LinkShown,
    **operation(
        Scope.LINKS_WRITE,
        "malformed-body",
        "body-too-large",
        "not-found",
        "conflict",
        status=201,
        says="It holds again, as a link of its own that carries the first one on.",
        headers={"Location": "The link.", "ETag": "Its version."},
        example=examples.LINK,
        request={"reason": {"reason": "I had the wrong tab open."}},
    ),
)
def restore_link(
    link_id: str, restored: schemas.LinkRestored, request: Request, door: TheDoor, asker: Asking
) -> Response:
    """Take the ending of a link back: it holds again with the evidence it had.

    The cannot-link that came with the ending is lifted. It is a conflict where the identity or the
    record is somebody else's by now.
    """
    row = links.restore_link(door.hub, link_id, reason=restored.reason, asker=asker)
    return answer(
        request,
        link_shown(row),
        status=201,
        version=row.version,
        headers={"Location": f"/v1/links/{row.id}"},
    )


def asked_link(wanted: schemas.LinkWanted) -> links.LinkAsked:
    """What is asked for, in the words of the flow."""
    return links.LinkAsked(
        person_id=wanted.person_id,
        reason=wanted.reason,
        basis=wanted.basis,
        display_name=wanted.display_name,
        identity_id=wanted.identity_id,
        identity=(wanted.identity.network, wanted.identity.native_id) if wanted.identity else None,
        record=Ref.parse(wanted.record) if wanted.record else None,
        although_revoked=wanted.although_revoked,
    )


def shown_link(hub: Hub, link_id: str) -> schemas.LinkExplained:
    """A link, and what was done on its strength so far. Raises NotFoundError."""
    with hub.database.read() as uow:
        row = uow.people.link(link_id)
        if row is None:
            raise NotFoundError(f"No link has the id {link_id}.")
        return explained_shown(row, queries.done_on_strength_of(uow, row))


def link_shown(row: queries.LinkRow) -> schemas.LinkShown:
    record = queries.record_of(row)
    return schemas.LinkShown(
        id=row.id,
        person_id=row.person_id,
        identity_id=row.identity_id,
        record=str(record) if record else None,
        basis=Basis(row.basis),
        confidence=row.confidence,
        evidence=[
            schemas.LinkEvidenceShown(**{"compared": None, "rarity": None, "at": None, **evidence})
            for evidence in row.evidence
        ],
        decided_by=row.decided_by,
        valid_from=row.valid_from,
        valid_to=row.valid_to,
        revoked_by=row.revoked_by,
        revoked_reason=row.revoked_reason,
        origin=row.origin,
        change_id=row.change_id,
        decided_under=row.decided_under,
        version=row.version,
    )


def explained_shown(row: queries.LinkRow, strength: queries.Strength) -> schemas.LinkExplained:
    return schemas.LinkExplained(
        link=link_shown(row),
        done_on_its_strength=schemas.StrengthShown(
            complaints=list(strength.complaints),
            orders=list(strength.orders),
            actions=list(strength.actions),
            notes=list(strength.notes),
        ),
    )
