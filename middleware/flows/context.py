"""A person's context: what the store has, how fresh that is, and on demand a fresh look.

Nothing here waits on a remote longer than its deadline; what did not answer is named.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from middleware.contract.canonical import Kind
from middleware.contract.capabilities import ListsChanges, ReadsOrders
from middleware.contract.errors import RemoteError
from middleware.domain.problems import NotFoundError
from middleware.flows import lookup
from middleware.flows.hub import Hub
from middleware.store import queries
from middleware.store.queries import ComplaintRow, Picture

NEVER_SYNCED = "it was never read completely; what is shown was looked up"


@dataclass(frozen=True)
class BlockSource:
    """What one connection contributes to a block, and up to when it is known completely."""

    connection: str
    as_of: datetime | None
    status: str
    """complete, partial, failed."""
    why: str | None = None


@dataclass
class Context:
    """The picture of one person, and where each part of it comes from."""

    picture: Picture | None
    complaint: ComplaintRow | None
    read_at: datetime
    sources: dict[Kind, list[BlockSource]] = field(default_factory=dict)


KINDS = (Kind.CONTACT, Kind.ACCOUNT, Kind.ORDER, Kind.CASE)


def of_person(
    hub: Hub, person_id: str, *, refresh: bool = False, deadline: timedelta | None = None
) -> Context:
    """The context of a person; with `refresh` their orders are read anew under the deadline.

    Raises NotFoundError.
    """
    return _context(hub, person_id, None, refresh=refresh, deadline=deadline)


def of_complaint(
    hub: Hub, complaint_id: str, *, refresh: bool = False, deadline: timedelta | None = None
) -> Context:
    """The context of a complaint's person; without one where nobody knows who it is."""
    with hub.database.read() as uow:
        complaint = uow.complaints.get(complaint_id)
    if complaint is None:
        raise NotFoundError(f"No complaint has the id {complaint_id}.")
    if complaint.person_id is None:
        return Context(picture=None, complaint=complaint, read_at=hub.clock())
    return _context(hub, complaint.person_id, complaint, refresh=refresh, deadline=deadline)


def _context(
    hub: Hub,
    person_id: str,
    complaint: ComplaintRow | None,
    *,
    refresh: bool,
    deadline: timedelta | None,
) -> Context:
    asked: dict[str, lookup.Source] = {}
    asked_at = hub.clock()
    if refresh:
        with hub.database.read() as uow:
            person = uow.people.person(person_id)
            customers = lookup.customers_of(uow, person.id) if person is not None else []
        found = lookup.refresh_orders(hub, customers, deadline=deadline)
        asked = {source.connection: source for source in found.sources}
    now = hub.clock()
    with hub.database.read() as uow:
        person = uow.people.person(person_id)
        if person is None:
            raise NotFoundError(f"No person has the id {person_id}.")
        links = uow.people.links_of_person(person.id)
        picture = queries.picture(
            uow,
            person,
            links,
            lookup.customers(uow, links),
            now=now,
            subjects=[complaint.id] if complaint is not None else [],
        )
    picture.orders = lookup.once(
        hub, picture.orders, named=lambda order: (order.connection, order.body.get("number"))
    )
    sources = _sources(hub, picture)
    sources[Kind.ORDER] = [
        _refreshed(source, asked.get(source.connection), asked_at) for source in sources[Kind.ORDER]
    ]
    return Context(picture=picture, complaint=complaint, read_at=now, sources=sources)


def _sources(hub: Hub, picture: Picture) -> dict[Kind, list[BlockSource]]:
    """Per kind, which connections of this person hold such records, and how fresh they are."""
    connections = list(dict.fromkeys(kept.connection for kept in picture.customers))
    return {
        kind: [
            source
            for connection in connections
            if (source := _source(hub, connection, kind, picture)) is not None
        ]
        for kind in KINDS
    }


def _source(hub: Hub, connection: str, kind: Kind, picture: Picture) -> BlockSource | None:
    cursor = picture.cursors.get((connection, kind.value))
    if cursor is not None:
        return BlockSource(connection, cursor.as_of, "complete")
    try:
        adapter = hub.registry.adapter(connection)
    except RemoteError as error:
        return BlockSource(connection, None, "failed", error.message)
    lists = isinstance(adapter, ListsChanges) and kind in adapter.change_kinds
    if lists or (kind is Kind.ORDER and isinstance(adapter, ReadsOrders)):
        return BlockSource(connection, None, "partial", NEVER_SYNCED)
    return None


def _refreshed(
    source: BlockSource, answer: lookup.Source | None, asked_at: datetime
) -> BlockSource:
    """What a source says of itself after it was asked anew."""
    if answer is None:
        return source
    if answer.status == "complete":
        return replace(source, as_of=asked_at, status="complete", why=None)
    return replace(source, status=answer.status, why=answer.why)
