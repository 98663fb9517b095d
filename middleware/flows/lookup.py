"""Looking people and orders up: in the store first, then in the remotes, under a deadline.

What a remote answers is stored like a synced record, so that the next look-up needs no remote.
A remote that fails or is slow is named in the answer; it never holds the answer up.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from middleware.contract.canonical import Account, Contact, Handle, Kind, Order, Record, Ref
from middleware.contract.capabilities import (
    Clue,
    FindsAccounts,
    FindsContacts,
    ReadsOrders,
    ReadsShipments,
)
from middleware.contract.errors import RemoteError
from middleware.domain.arrivals import Author
from middleware.domain.identity import Basis, Candidate, Decision
from middleware.domain.likeness import Identifier, Looked
from middleware.domain.orders import number_key
from middleware.domain.turns import Urgency
from middleware.domain.understanding import Entity, EntityType
from middleware.flows.hub import Hub
from middleware.resolution import normalise
from middleware.resolution.exact import Before, Known, decide, score
from middleware.resolution.identifiers import (
    CUSTOMER_NUMBER,
    country_of,
    identifiers_mentioned,
    identifiers_of_author,
    written_with,
)
from middleware.resolution.likely import Likely, likely, with_companies, with_others
from middleware.resolution.profiles import Asking, Profile, asking, profile_of
from middleware.store.database import UnitOfWork
from middleware.store.ledger import thing_of
from middleware.store.people import record_of
from middleware.store.records import Stored
from middleware.store.tables import LinkRow

log = logging.getLogger(__name__)

Call = Callable[[], Iterable[Record]]

MOST_FOUND = 50
"""Records that one look-up considers."""

MOST_ORDERS = 100
"""Orders, the newest of all who are considered, whose postal codes are theirs, too."""


@dataclass(frozen=True)
class Source:
    """What one remote contributed to an answer."""

    connection: str
    status: str
    """complete, partial (too slow), or failed."""
    why: str | None = None


@dataclass(frozen=True)
class Resolution:
    """Who somebody may be, with the reasons, and what could not be asked."""

    decision: Decision
    candidates: tuple[Candidate, ...]
    sources: tuple[Source, ...] = ()


@dataclass
class Found:
    """What the remotes answered in time."""

    records: list[Record] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)


def resolve(
    hub: Hub,
    author: Author,
    mentioned: Sequence[Entity] = (),
    *,
    deadline: timedelta | None = None,
    urgency: Urgency = Urgency.AGENT,
    written_at: datetime | None = None,
) -> Resolution:
    """Who may this be? Asks the store, and where it knows nobody, the remotes.

    By exact identifiers first; then by likeness, among all contacts and accounts of the store.
    `written_at` is when the text was written that `mentioned` are of.
    """
    asked = asked_by(hub, author, mentioned)
    sources: tuple[Source, ...] = ()
    on_file, candidates = _considered(hub, author, mentioned, asked, written_at)
    if not on_file:
        found = find_people(hub, author, mentioned, deadline=deadline, urgency=urgency)
        sources = tuple(found.sources)
        if found.records:
            _, candidates = _considered(hub, author, mentioned, asked, written_at)
    decision = decide(
        candidates,
        auto=hub.options.auto_link,
        network=author.network,
        model=hub.options.likeness,
    )
    return Resolution(decision=decision, candidates=tuple(candidates), sources=sources)


def asked_by(hub: Hub, author: Author, mentioned: Sequence[Entity]) -> Asking:
    """What an author looks like, without what is nobody's."""
    blocked = hub.options.blocked
    return asking(blocked.author(author), blocked.mentioned(mentioned))


def _considered(
    hub: Hub,
    author: Author,
    mentioned: Sequence[Entity],
    asked: Asking,
    written_at: datetime | None,
) -> tuple[list[Known], list[Candidate]]:
    """Who bears an identifier, and all who it may be, as far as the store knows."""
    looked = hub.database.look(asked.wanted, asked.words) if asked.wanted else Looked(0)
    with hub.database.read() as uow:
        return considered(hub, uow, author, mentioned, asked, looked, written_at=written_at)


def considered(
    hub: Hub,
    uow: UnitOfWork,
    author: Author,
    mentioned: Sequence[Entity],
    asked: Asking,
    looked: Looked,
    *,
    also: Sequence[Known] = (),
    written_at: datetime | None = None,
) -> tuple[list[Known], list[Candidate]]:
    """Who is on file under an identifier of theirs; and all whom it may be, likeliest first:
    these, whose account wrote with the same before, who looks alike, and those given `also`."""
    regions, blocked = hub.options.phone_regions, hub.options.blocked
    own = identifiers_of_author(blocked.author(author), regions=regions)
    named = identifiers_mentioned(blocked.mentioned(mentioned), regions=regions)
    bearing = uow.records.bearing((*own, *named))
    on_file = _known_to(hub, uow, bearing)
    borne = set(chain.from_iterable(bearing.values()))
    before = _wrote_before(hub, uow, author, asked, borne)
    there = {one.ref for one in on_file}
    further = [one for one in (*also, *before.known) if one.ref is None or one.ref not in there]
    known = [*on_file, *further]
    alike = _resembling(hub, uow, asked, looked, known, before.profiles)
    candidates = _candidates_of(hub, uow, author, mentioned, known, alike, written_at)
    return on_file, candidates


@dataclass(frozen=True)
class WroteBefore:
    """Whose accounts bear what the author bears, which nobody on file does; and what records of
    theirs look like with a handle of theirs on another network that is the author's."""

    known: Sequence[Known] = ()
    profiles: Mapping[Ref, Profile] = field(default_factory=dict)


def _wrote_before(
    hub: Hub,
    uow: UnitOfWork,
    author: Author,
    asked: Asking,
    on_file: Collection[Identifier],
) -> WroteBefore:
    called = normalise.handle(author.handle) if author.handle and asked.handle else None
    own = written_with(hub.options.blocked.author(author), regions=hub.options.phone_regions)
    wanted = [one for one in own if one not in on_file]
    network = normalise.network(author.network)
    found = uow.people.wrote_before(network, author.native_id, called, wanted)
    known: list[Known] = []
    profiles: dict[Ref, Profile] = {}
    for person_id in dict.fromkeys(one.person_id for one in found):
        theirs = [one for one in found if one.person_id == person_id]
        said = tuple(
            Before(
                scheme=one.scheme,
                value=one.value,
                network=one.network,
                inferred=one.basis == Basis.INFERRED,
                at=one.seen_at,
            )
            for one in theirs
            if one.scheme != "handle"
        )
        known.append(Known(person_id=person_id, before=said))
        handles = tuple((one.network, asked.handle) for one in theirs if one.scheme == "handle")
        linked = map(record_of, uow.people.links_of_person(person_id))
        for stored in uow.records.get_all(ref for ref in linked if ref is not None):
            known.append(known_as(hub, stored, person_id, ()))
            if handles and isinstance(stored.record, Contact | Account):
                filed = profile_of(hub.options.blocked.record(stored.record))
                profiles[stored.record.ref] = filed._replace(handles=(*filed.handles, *handles))
    return WroteBefore(known, profiles)


def _telling(bearing: Mapping[Ref, Collection[Identifier]]) -> list[Ref]:
    """Those that a look-up considers; of too many those first who bear what the fewest bear, so
    that a switchboard's number hides nobody whose own address agrees."""
    if len(bearing) <= MOST_FOUND:
        return list(bearing)
    bearers = Counter(chain.from_iterable(bearing.values()))
    rarest = {ref: min(map(bearers.__getitem__, borne)) for ref, borne in bearing.items()}
    return sorted(bearing, key=lambda ref: (rarest[ref], str(ref)))[:MOST_FOUND]


@dataclass(frozen=True)
class Alike:
    """Who looks like the author, and those of them that no identifier led to."""

    likely: Likely = field(default_factory=Likely)
    known: tuple[Known, ...] = ()


def _candidates_of(
    hub: Hub,
    uow: UnitOfWork,
    author: Author,
    mentioned: Sequence[Entity],
    known: Sequence[Known],
    alike: Alike,
    written_at: datetime | None,
) -> list[Candidate]:
    """Who it may be among those known, as far as nobody said that it is not them."""
    everybody = [*known, *alike.known]
    if any(entity.type is EntityType.POSTCODE for entity in mentioned):
        everybody = _delivered(uow, everybody)
    author_is, other_owner = _seen(uow, author)
    things = {author_is, *(one.person_id for one in everybody)}
    things |= {str(one.ref) for one in everybody if one.ref is not None}
    apart = uow.ledger.apart(thing for thing in things if thing is not None)
    return score(
        author,
        mentioned,
        everybody,
        apart=apart,
        author_is=author_is,
        regions=hub.options.phone_regions,
        likely=alike.likely,
        model=hub.options.likeness,
        handle_had_other_owner=other_owner,
        written_at=written_at,
    )


def _delivered(uow: UnitOfWork, known: Sequence[Known]) -> list[Known]:
    """The same with the postal codes that orders of theirs went to: a CRM often has none."""
    codes: dict[Ref, list[str]] = {}
    for stored in uow.records.orders_of((one.ref for one in known if one.ref), limit=MOST_ORDERS):
        order = stored.record
        if isinstance(order, Order) and order.ship_to and order.ship_to.postal_code:
            for owner in (order.contact, order.account):
                if owner is not None:
                    codes.setdefault(owner, []).append(order.ship_to.postal_code)
    return [
        one.model_copy(update={"postcodes": (*one.postcodes, *codes[one.ref])})
        if one.ref in codes
        else one
        for one in known
    ]


def _seen(uow: UnitOfWork, author: Author) -> tuple[str | None, bool]:
    """The id of the author's identity, where the hub has seen it; and whether their handle was
    another account's before, as far as the hub has seen."""
    if author.native_id is None:
        return None, False
    handle = normalise.handle(author.handle) if author.handle else None
    return uow.people.seen(normalise.network(author.network), author.native_id, handle)


def _resembling(
    hub: Hub,
    uow: UnitOfWork,
    asked: Asking,
    looked: Looked,
    known: Sequence[Known],
    others: Mapping[Ref, Profile],
) -> Alike:
    """Who of those that the index answered, and of `others`, looks like the author: the model, then
    whole records."""
    model = hub.options.likeness
    found = with_others(likely(asked, looked, model), asked, looked, others, model)
    if not found.nearest:
        return Alike(found)
    there = {one.ref for one in known}
    records = _related(uow, (one.ref for one in found.nearest))
    clean = hub.options.blocked.record
    named = {record.ref: clean(record).name for record, _ in records if isinstance(record, Account)}
    accounts = {
        record.ref: name
        for record, _ in records
        if isinstance(record, Contact) and record.account and (name := named.get(record.account))
    }
    fresh = [stored for record, stored in records if record.ref not in there]
    persons = person_of(uow, [stored.record.ref for stored in fresh])
    return Alike(
        with_companies(found, asked, accounts, model),
        tuple(known_as(hub, stored, persons.get(stored.record.ref), ()) for stored in fresh),
    )


def _known_to(
    hub: Hub, uow: UnitOfWork, bearing: Mapping[Ref, Collection[Identifier]]
) -> list[Known]:
    """Everybody on file among those who bear an identifier, or whose order bears it."""
    refs = _telling(bearing)
    orders: dict[Ref, list[str]] = {}
    owners: list[Ref] = []
    for stored in uow.records.get_all(r for r in refs if r.kind in (Kind.ORDER, Kind.SHIPMENT)):
        record = stored.record
        if not isinstance(record, Order):
            continue
        for owner in (record.contact, record.account):
            if owner is not None:
                orders.setdefault(owner, []).append(record.number or record.ref.id)
                owners.append(owner)
    people = [r for r in refs if r.kind in (Kind.CONTACT, Kind.ACCOUNT)] + owners
    records = [stored for _, stored in _related(uow, people)]
    persons = person_of(uow, [stored.record.ref for stored in records])
    return [
        known_as(hub, stored, persons.get(ref := stored.record.ref), orders.get(ref, ()))
        for stored in records
    ]


def related(uow: UnitOfWork, refs: Iterable[Ref]) -> list[Contact | Account]:
    """These contacts and accounts, the contacts' accounts, and the same accounts elsewhere."""
    return [record for record, _ in _related(uow, refs)]


def _related(uow: UnitOfWork, refs: Iterable[Ref]) -> list[tuple[Contact | Account, Stored]]:
    found: dict[Ref, tuple[Contact | Account, Stored]] = {}

    def add(wanted: Iterable[Ref]) -> None:
        missing = [ref for ref in dict.fromkeys(wanted) if ref not in found]
        for stored in uow.records.get_all(missing):
            if isinstance(stored.record, Contact | Account):
                found[stored.record.ref] = (stored.record, stored)

    add(refs)
    records = [record for record, _ in found.values()]
    add(r.account for r in records if isinstance(r, Contact) and r.account)
    numbers = {
        number
        for record, _ in found.values()
        for number in (record.external_ids.get(CUSTOMER_NUMBER), getattr(record, "number", None))
        if number
    }
    add(
        ref
        for ref in uow.records.bearing((f"external:{CUSTOMER_NUMBER}", n) for n in numbers)
        if ref.kind is Kind.ACCOUNT
    )
    return list(found.values())


def person_of(uow: UnitOfWork, refs: Sequence[Ref]) -> dict[Ref, str]:
    """Which person each of these records is linked to."""
    return uow.people.persons_of_records(refs)


def customers_of(uow: UnitOfWork, person_id: str) -> list[Ref]:
    """The contacts and accounts whose orders are a person's, linked or one step away."""
    links = uow.people.links_of_person(person_id)
    return [stored.record.ref for stored in customers(uow, links)]


def customers(uow: UnitOfWork, links: Iterable[LinkRow]) -> list[Stored]:
    """The same by a person's links, with what is stored of them.

    What is one step away and somebody said is not theirs stays out.
    """
    held = list(links)
    linked = [ref for ref in map(record_of, held) if ref is not None]
    found = [stored for _, stored in _related(uow, linked)]
    further = {str(stored.record.ref) for stored in found} - {str(ref) for ref in linked}
    if further:
        theirs = {thing_of(link) for link in held} | {link.person_id for link in held}
        apart = [pair for pair in uow.ledger.apart(further) if pair & theirs]
        barred = {thing for pair in apart for thing in pair & further}
        found = [stored for stored in found if str(stored.record.ref) not in barred]
    return found


T = TypeVar("T")


def once(hub: Hub, orders: Sequence[T], *, named: Callable[[T], tuple[str, str | None]]) -> list[T]:
    """Orders of several systems with each number once, in the order given.

    A CRM often keeps a copy of what the ERP ships. The copy that counts is the one that can be put
    right: of the systems in `orders_from`, else of those that also know the parcels. `named` gives
    an order's connection and number.
    """
    preferred = (*hub.options.orders_from, *hub.registry.offering(ReadsShipments))
    rank = {name: place for place, name in reversed(list(enumerate(preferred)))}
    best: dict[str, tuple[int, int]] = {}
    for place, order in enumerate(orders):
        connection, number = named(order)
        key = number_key(number) if number else f"without number {place}"
        mine = (rank.get(connection, len(rank)), place)
        best[key] = min(best.get(key, mine), mine)
    return [orders[place] for place in sorted(place for _rank, place in best.values())]


def known_as(hub: Hub, stored: Stored, person_id: str | None, orders: Sequence[str]) -> Known:
    """A contact or account as it is compared, without what is nobody's, with the person it is
    linked to and orders of theirs."""
    assert isinstance(stored.record, Contact | Account), "nobody else is known"
    record = hub.options.blocked.record(stored.record)
    external = dict(record.external_ids)
    if isinstance(record, Account) and record.number:
        external.setdefault(CUSTOMER_NUMBER, record.number)
    contact = record if isinstance(record, Contact) else None
    name = contact.display_name or _full_name(contact) if contact else getattr(record, "name", None)
    return Known(
        person_id=person_id,
        ref=record.ref,
        as_of=stored.as_of,
        emails=record.emails,
        phones=record.phones,
        country=country_of(record),
        handles=contact.handles if contact else (),
        external_ids=external,
        name=name,
        account=contact.account if contact else None,
        postcodes=(code,) if record.address and (code := record.address.postal_code) else (),
        order_numbers=tuple(orders),
    )


def _full_name(contact: Contact) -> str | None:
    return " ".join(p for p in (contact.given_name, contact.family_name) if p) or None


# --- asking the remotes ----------------------------------------------------------------------


def find_people(
    hub: Hub,
    author: Author,
    mentioned: Sequence[Entity],
    *,
    deadline: timedelta | None = None,
    urgency: Urgency = Urgency.AGENT,
) -> Found:
    """Ask every connection that finds contacts or accounts, and store what they answer."""
    blocked = hub.options.blocked
    regions = hub.options.phone_regions
    clue = clue_of(blocked.author(author), blocked.mentioned(mentioned), regions=regions)
    if not (clue.emails or clue.phones or clue.handles or clue.external_ids):
        return Found()
    within = _limit(hub, deadline)
    calls: list[tuple[str, Call]] = [
        (name, partial(getattr(hub.gate.remote(name, urgency, within=within), method), clue))
        for capability, method in (
            (FindsContacts, "find_contacts"),
            (FindsAccounts, "find_accounts"),
        )
        for name in hub.registry.offering(capability)
    ]
    return _asked(hub, calls, deadline)


def find_orders(
    hub: Hub,
    numbers: Sequence[str],
    *,
    deadline: timedelta | None = None,
    urgency: Urgency = Urgency.AGENT,
) -> Found:
    """Ask every connection that reads orders for these numbers, and store what they answer."""
    within = _limit(hub, deadline)
    calls: list[tuple[str, Call]] = [
        (name, partial(_order_numbered, hub.gate.remote(name, urgency, within=within), number))
        for name in hub.registry.offering(ReadsOrders)
        for number in numbers
    ]
    return _asked(hub, calls, deadline)


def _order_numbered(remote: Any, number: str) -> list[Record]:
    order = remote.find_order(number)
    return [] if order is None else [order]


def refresh_orders(
    hub: Hub, customers: Sequence[Ref], *, deadline: timedelta | None = None
) -> Found:
    """Read the orders of these customers anew, with their shipments where they can be read."""
    within = _limit(hub, deadline)
    calls: list[tuple[str, Call]] = [
        (name, partial(_orders_of, hub, name, customer, within))
        for name in hub.registry.offering(ReadsOrders)
        for customer in customers
        if customer.connection == name
    ]
    return _asked(hub, calls, deadline)


def _orders_of(hub: Hub, name: str, customer: Ref, within: timedelta) -> list[Record]:
    remote = hub.gate.remote(name, Urgency.AGENT, within=within)
    orders: list[Record] = list(remote.orders_of(customer))
    if hub.registry.offers(name, ReadsShipments):
        for order in list(orders):
            orders += remote.shipments_of(order.ref)
    return orders


def clue_of(author: Author, mentioned: Sequence[Entity], *, regions: Sequence[str] = ()) -> Clue:
    """The exact parts of what is known, as adapters look people up by."""

    def of(type_: EntityType) -> tuple[str, ...]:
        return tuple(e.value for e in mentioned if e.type is type_)

    emails = (*author.emails, *of(EntityType.EMAIL))
    given = (*author.phones, *of(EntityType.PHONE))
    phones = [number for text in given for number in normalise.phones(text, regions=regions)]
    network = normalise.network(author.network)
    named = author.handle is not None or author.native_id is not None
    return Clue(
        emails=tuple(dict.fromkeys(e for e in map(normalise.email, emails) if e)),
        phones=tuple(dict.fromkeys(phones)),
        handles=(Handle(network=network, handle=author.handle, native_id=author.native_id),)
        if named and network != "email"
        else (),
        external_ids=author.external_ids,
        name=author.display_name,
    )


def _limit(hub: Hub, deadline: timedelta | None) -> timedelta:
    return hub.options.read_deadline if deadline is None else deadline


def _asked(
    hub: Hub,
    calls: Sequence[tuple[str, Call]],
    deadline: timedelta | None,
) -> Found:
    """Make the calls side by side, wait until the deadline, store what came."""
    found = Found()
    if not calls:
        return found
    asked_at = hub.clock()
    futures: dict[Future[Iterable[Record]], str] = {
        hub.readers.submit(call): name for name, call in calls
    }
    limit = _limit(hub, deadline).total_seconds()
    done, late = wait(futures, timeout=limit)
    states: dict[str, Source] = {}
    for future in done:
        name = futures[future]
        error = future.exception()
        if error is None:
            found.records += future.result()
            states.setdefault(name, Source(name, "complete"))
        else:
            if not isinstance(error, RemoteError):
                log.error("a look-up failed", extra={"connection": name}, exc_info=error)
            message = error.message if isinstance(error, RemoteError) else type(error).__name__
            states[name] = Source(name, "failed", message)
    for future in late:
        future.cancel()
        name = futures[future]
        states[name] = Source(name, "partial", f"no answer within {limit:g} s")
    found.sources = list(states.values())
    if found.records:
        read: dict[tuple[str, Kind], list[Record]] = {}
        for record in found.records:
            read.setdefault((record.ref.connection, record.ref.kind), []).append(record)
        with hub.database.begin() as uow:
            for (connection, kind), records in sorted(read.items()):
                as_of = uow.jobs.theirs(connection, kind, asked_at)
                uow.records.store([(r, hub.found_by(r)) for r in records], as_of=as_of)
    return found
