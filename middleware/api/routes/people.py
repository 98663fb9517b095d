"""People: who somebody may be, with reasons, and who a person of the hub is."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from middleware.api import examples, paging, picture
from middleware.api.answers import answer
from middleware.api.describe import IfNoneMatch, operation
from middleware.api.door import Route, TheDoor, deadline_of
from middleware.api.paging import Cursor, Limit
from middleware.api.routes.complaints import candidate_of
from middleware.api.routes.links import link_shown
from middleware.api.schemas import complaints as complaint_schemas
from middleware.api.schemas import people as schemas
from middleware.api.schemas.base import When
from middleware.domain.arrivals import Author
from middleware.domain.ledger import standing_at
from middleware.domain.problems import NotFoundError
from middleware.domain.survivorship import Chosen
from middleware.domain.understanding import Entity, EntityType
from middleware.flows import golden, lookup, provisional
from middleware.flows.hub import Hub
from middleware.flows.keys import Scope
from middleware.store import queries
from middleware.store.queries import IdentityRow, PersonRow, thing_of

router = APIRouter(route_class=Route, tags=["people"])

MOST_OF_ANYTHING = 50


@router.post(
    "/v1/people/resolve",
    response_model=schemas.ResolvedShown,
    **operation(
        Scope.PEOPLE_READ,
        "malformed-body",
        "body-too-large",
        example=examples.RESOLVED,
        request={
            "handle": {"network": "x", "handle": "kim_w", "order_numbers": ["SO-10001"]},
            "profile": {
                "network": "x",
                "handle": "kim_w",
                "name": "Kim Wexler",
                "location": "Albuquerque",
            },
            "email": {"emails": ["kim@example.com"], "deadline_ms": 1500},
        },
    ),
)
def resolve_person(clue: schemas.ClueAsked, request: Request, door: TheDoor) -> Response:
    """Find out who somebody may be: ranked candidates with the evidence that adds up.

    The store is asked first; where it knows nobody, the remotes are, no longer than `deadline_ms`.
    What did not answer in time is named in `sources`. Nothing is linked.
    """
    return answer(request, shown_resolved(door.hub, clue))


def shown_resolved(hub: Hub, clue: schemas.ClueAsked) -> schemas.ResolvedShown:
    """Who somebody may be, by what is known about them."""
    author = Author(
        network=clue.network,
        native_id=clue.native_id,
        handle=clue.handle.removeprefix("@") if clue.handle else None,
        display_name=clue.name,
        emails=tuple(clue.emails),
        phones=tuple(clue.phones),
        external_ids=clue.external_ids,
        location=clue.location,
        bio=clue.bio,
        url=clue.url,
    )
    named = [
        Entity(
            type=type_,
            value=value.upper(),
            start=0,
            end=0,
            confidence=1.0,
            why="given by the caller",
        )
        for type_, values in (
            (EntityType.ORDER_NUMBER, clue.order_numbers),
            (EntityType.POSTCODE, clue.postcodes),
        )
        for value in values
    ]
    found = lookup.resolve(
        hub, author, named, deadline=deadline_of(clue.deadline_ms), written_at=hub.clock()
    )
    decision = found.decision
    resolution = complaint_schemas.ResolutionShown(
        outcome=decision.outcome,
        why=decision.why,
        margin=decision.margin,
        candidates=[candidate_of(c.model_dump(mode="json")) for c in found.candidates[:10]],
        sources=[
            complaint_schemas.SourceShown.model_validate(
                {"connection": s.connection, "status": s.status, "why": s.why}
            )
            for s in found.sources
        ],
        decided_at=None,
        version=decision.version,
    )
    return schemas.ResolvedShown(resolution=resolution)


@router.get(
    "/v1/people",
    response_model=schemas.PersonPage,
    **operation(
        Scope.PEOPLE_READ,
        says="One page, by when they expire or did.",
        headers={"Link": 'The next page, `rel="next"`, where there is one.'},
        example=examples.PERSON_PAGE,
    ),
)
def list_people(
    request: Request,
    door: TheDoor,
    limit: Limit = 50,
    cursor: Cursor = None,
    standing: Annotated[
        Literal["provisional", "expired"], Query(description="Which of them.")
    ] = "provisional",
) -> Response:
    """List the accounts of which nobody knows whose they are: provisional persons, whoever expires
    first first, or those that expired."""
    here = paging.turn(door.cursors, request, cursor=cursor, limit=limit, standing=standing)
    rows = provisional.listed(
        door.hub,
        expired=standing == "expired",
        after=(datetime.fromisoformat(here.position[0]), str(here.position[1]))
        if here.position
        else None,
        limit=here.fetch,
    )
    rows, following = paging.leaf(door.cursors, here, rows, _position)
    page = schemas.PersonPage(
        data=[
            schemas.PersonListed(
                id=person.id,
                standing=person.standing,
                provisional_until=person.provisional_until,
                expired_at=person.expired_at,
                display_name=person.display_name,
                created_at=person.created_at,
                identity_id=identity.id,
                network=identity.network,
                native_id=identity.native_id,
                last_seen_at=identity.last_seen_at,
            )
            for person, identity in rows
        ],
        next_cursor=following,
        has_more=following is not None,
    )
    return answer(request, page, headers=paging.link_header(request, following))


@router.get(
    "/v1/people/{person_id}",
    response_model=schemas.PersonShown,
    **operation(
        Scope.PEOPLE_READ,
        "not-found",
        headers={"ETag": "The version of what is shown."},
        also={304: "What you have is still right."},
        example=examples.PERSON,
    ),
)
def get_person(
    person_id: str,
    request: Request,
    door: TheDoor,
    if_none_match: IfNoneMatch = None,
    as_of: Annotated[
        When | None, Query(description="Who they were to the hub at this moment, in place of now.")
    ] = None,
) -> Response:
    """Show a person: identities with their handles, records, links, complaints and actions.

    A person that was merged answers with the one it was merged into, and `redirected_from`. With
    `as_of`, the links that held then are shown, with complaints opened and actions asked for until
    then; what the records say is what they say now.
    """
    return answer(request, shown_person(door.hub, person_id, as_of), tagged=True)


def shown_person(hub: Hub, person_id: str, as_of: datetime | None = None) -> dict[str, Any]:
    """A person as `PersonShown` describes them, now or at a moment. Raises NotFoundError."""
    with hub.database.read() as uow:
        person = (
            uow.people.person(person_id)
            if as_of is None
            else uow.ledger.person_as_of(person_id, as_of)
        )
        if person is None:
            raise NotFoundError(f"No person has the id {person_id}.")
        if as_of is not None and person.created_at > as_of:
            since = person.created_at.isoformat()
            raise NotFoundError(f"No person had the id {person_id} then; one has it since {since}.")
        links = uow.people.links_of_person(person.id, as_of=as_of)
        customers = lookup.customers(uow, links)
        seen = picture.of(uow, person, links, customers, now=hub.clock())
        standing = person.standing
        if as_of is not None:
            queries.as_it_was(uow, seen, as_of)
            changes = [(row.made_at, row.kind) for row in uow.ledger.standings_of(person.id)]
            standing = standing_at(standing, changes, as_of)
    linked = {thing_of(link) for link in links}
    counted = golden.view(
        hub,
        [stored for stored in customers if str(stored.record.ref) in linked],
        seen.identities,
        seen.handles,
    )
    return {
        "id": person.id,
        "redirected_from": person_id if person_id != person.id else None,
        "standing": standing,
        "provisional_until": person.provisional_until if as_of is None else None,
        "expired_at": person.expired_at if as_of is None else None,
        "display_name": person.display_name,
        "created_at": person.created_at,
        "as_of": as_of,
        "golden": [chosen_shown(one) for one in counted],
        "identities": picture.identities(seen),
        "records": [picture.customer(kept) for kept in seen.customers],
        "links": [link_shown(link) for link in links],
        "complaints": [
            {
                "id": row.id,
                "state": row.state,
                "order": row.order_ref,
                "opened_at": row.opened_at,
            }
            for row in seen.complaints[:MOST_OF_ANYTHING]
        ],
        "actions": [
            {
                "id": row.id,
                "kind": row.kind,
                "state": row.state,
                "order": row.order_ref,
                "created_at": row.created_at,
            }
            for row in seen.actions[:MOST_OF_ANYTHING]
            if row.requested_by != "hub"
        ],
    }


def _position(row: tuple[PersonRow, IdentityRow]) -> list[str | int]:
    person = row[0]
    moment = person.provisional_until or person.expired_at
    assert moment is not None, "only those that have one of them are listed"
    return [moment.isoformat(), person.id]


def chosen_shown(one: Chosen) -> schemas.GoldenShown:
    return schemas.GoldenShown(
        field=one.field,
        value=one.value,
        source=one.source,
        at=one.at,
        verified=one.verified,
        why=one.why,
        others=[
            schemas.OtherValueShown(
                value=other.value, source=other.source, at=other.at, verified=other.verified
            )
            for other in one.others
        ],
    )
