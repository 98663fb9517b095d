"""Why two things are one customer to the hub, or why not: evidence, words, and thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from middleware.contract.canonical import Account, Contact
from middleware.domain import ledger
from middleware.domain.arrivals import Author
from middleware.domain.identity import Basis, Decision, Evidence
from middleware.domain.ledger import Thing
from middleware.domain.problems import InvalidError, NotFoundError
from middleware.domain.understanding import Entity, Understanding
from middleware.flows import lookup
from middleware.flows.hub import Hub
from middleware.flows.weigh import Weighed, likeliest
from middleware.resolution.batch.model import ModelUnreadableError
from middleware.resolution.exact import Known, decide
from middleware.store import queries
from middleware.store.database import UnitOfWork
from middleware.store.ledger import thing_of
from middleware.store.records import Stored
from middleware.store.tables import CannotLinkRow, LabelRow, LinkRow

MOST_RECORDS = 20


@dataclass(frozen=True)
class Side:
    """One of the two things, and whose it is now."""

    thing: Thing
    person_id: str | None
    link: LinkRow | None
    """By which it is that person's; None for a person itself."""
    ended: tuple[LinkRow, ...] = ()
    """Links that it had before."""
    gone: bool = False
    """Whether it is a record that its system has no more; what was said of it stays."""


@dataclass(frozen=True)
class Why:
    """All that bears on whether two things are one customer."""

    one: Side
    other: Side
    together: bool
    cannot_links: tuple[CannotLinkRow, ...] = ()
    """What somebody said that keeps them apart, also through what else is linked to each."""
    evidence: tuple[Evidence, ...] = ()
    """What speaks for and against the pair, as the hub has it now; it adds up to the score."""
    score: float | None = None
    decision: Decision | None = None
    """What the hub would decide now about the author; None where neither is an identity."""
    weighed: Weighed | None = None
    """Where neither is an identity: what a run of resolution makes of their likeliest records."""
    labels: tuple[LabelRow, ...] = ()
    """What people said of the pair."""
    says: str = ""
    """The answer in one sentence."""
    rules: dict[str, float | bool | str] = field(default_factory=dict)
    """The thresholds that decide, with their version."""


def why(hub: Hub, one: str, other: str) -> Why:
    """Explain a pair: persons, identities, contacts, accounts, in any combination.

    Raises InvalidError for what is nobody, or the same twice; NotFoundError for what the hub does
    not hold and of which nothing was ever said.
    """
    things = [ledger.checked(one, "/query/one"), ledger.checked(other, "/query/other")]
    if things[0] == things[1]:
        raise InvalidError(
            "The two are the same.",
            errors=[{"pointer": "/query/other", "code": "same", "detail": "must be another one"}],
        )
    # An identity first: evidence is what speaks for an author's being somebody.
    things.sort(key=lambda thing: not ledger.is_identity(thing))
    with hub.database.read() as uow:
        left, right = (_side(uow, thing) for thing in things)
        together = left.person_id is not None and left.person_id == right.person_id
        apart = () if together else tuple(_apart(uow, left, right))
        records = _records(uow, right)
        wrote = _wrote(uow, left.thing) if ledger.is_identity(left.thing) else None
        known = _known(hub, uow, records) if wrote is not None else []
        own = _records(uow, left) if wrote is None else []
        weighed, unreadable = _weighed(hub, uow, own, records)
        names = {left.thing, right.thing}
        labels = tuple(row for row in uow.ledger.labels_of(names) if {row.one, row.other} == names)
    evidence: tuple[Evidence, ...] = ()
    score: float | None = None
    decision: Decision | None = None
    if wrote is not None:
        evidence, score, decision = _of_author(hub, wrote, known, right)
    elif weighed is not None:
        evidence, score = weighed.evidence, weighed.bits
    rules = hub.options.auto_link
    says = _says(left, right, together, apart, score, decision, rules.link_from)
    if weighed is not None and not together and not apart:
        says = weighed.says
    says += unreadable
    gone = "".join(f"; {s.thing} is gone from its system" for s in (left, right) if s.gone)
    return Why(
        one=left,
        other=right,
        together=together,
        cannot_links=apart,
        evidence=evidence,
        score=score,
        decision=decision,
        weighed=weighed,
        labels=labels,
        says=says + gone,
        rules={**rules.model_dump(mode="json"), "version": rules.version},
    )


def _side(uow: UnitOfWork, thing: Thing) -> Side:
    if ledger.is_person(thing):
        person = uow.people.person(thing)
        if person is None:
            raise NotFoundError(f"No person has the id {thing}.")
        return Side(thing=thing, person_id=person.id, link=None)
    ref = ledger.record(thing)
    if ref is not None:
        links = uow.people.links_of_records((ref,), ended=True)
        gone = uow.records.get(ref) is None
        if gone and not links and not uow.ledger.cannot_links_of({thing}, ended=True):
            raise NotFoundError(f"The hub holds no record {thing}.")
    else:
        gone = False
        if uow.people.identity_by_id(thing) is None:
            raise NotFoundError(f"No identity has the id {thing}.")
        links = uow.people.links_of_identity(thing, ended=True)
    held = next((link for link in links if link.valid_to is None), None)
    ended = tuple(link for link in links if link.valid_to is not None)
    person_id = held.person_id if held is not None else None
    return Side(thing=thing, person_id=person_id, link=held, ended=ended, gone=gone)


def _apart(uow: UnitOfWork, left: Side, right: Side) -> list[CannotLinkRow]:
    """What somebody said of the two, of their persons, or of what else is linked to those."""

    def around(side: Side) -> set[Thing]:
        if side.person_id is None:
            return {side.thing}
        return (
            {side.thing} | uow.ledger.things_of(side.person_id) | uow.ledger.family(side.person_id)
        )

    mine, theirs = around(left), around(right)
    return [
        row
        for row in uow.ledger.cannot_links_of(mine)
        if (row.one in mine and row.other in theirs) or (row.other in mine and row.one in theirs)
    ]


def _records(uow: UnitOfWork, side: Side) -> list[Stored]:
    """The customer's records of one side."""
    ref = ledger.record(side.thing)
    if ref is not None:
        refs = [ref]
    elif ledger.is_person(side.thing):
        found = uow.people.links_of_person(side.person_id or "")
        refs = [r for r in map(queries.record_of, found) if r is not None][:MOST_RECORDS]
    else:
        return []
    return [one for one in uow.records.get_all(refs) if isinstance(one.record, Contact | Account)]


def _known(hub: Hub, uow: UnitOfWork, records: Sequence[Stored]) -> list[Known]:
    """The same as they are compared with whoever writes."""
    persons = lookup.person_of(uow, [one.record.ref for one in records])
    return [lookup.known_as(hub, one, persons.get(one.record.ref), ()) for one in records]


def _weighed(
    hub: Hub, uow: UnitOfWork, some: Sequence[Stored], others: Sequence[Stored]
) -> tuple[Weighed | None, str]:
    """What resolution makes of the likeliest two, or why that can't be said."""
    if not some or not others:
        return None, ""
    try:
        return likeliest(hub, uow, some, others), ""
    except ModelUnreadableError as error:
        return None, f"; the model of resolution can't be read: {error}"


class _Wrote(NamedTuple):
    """Somebody as they last wrote, what they mentioned, and when."""

    author: Author
    mentioned: Sequence[Entity] = ()
    at: datetime | None = None


def _wrote(uow: UnitOfWork, identity_id: Thing) -> _Wrote:
    """What is known of an account: what it last wrote with, else its handle."""
    row = uow.people.identity_by_id(identity_id)
    assert row is not None
    for complaint in reversed(uow.complaints.of_identity(identity_id)):
        for arrival in reversed(uow.complaints.arrivals_of(complaint.id)):
            given = {k: v for k, v in (arrival.author or {}).items() if k != "order_numbers"}
            if not arrival.outgoing and given.get("native_id") is not None:
                understood = complaint.understanding
                entities = Understanding.model_validate(understood).entities if understood else ()
                at = arrival.posted_at or arrival.received_at
                return _Wrote(Author.model_validate(given), entities, at)
    handle = uow.people.current_handle(identity_id)
    return _Wrote(
        Author(
            network=row.network,
            native_id=row.native_id,
            handle=handle.handle if handle else None,
            display_name=handle.display_name if handle else None,
        )
    )


def _of_author(
    hub: Hub, wrote: _Wrote, known: Sequence[Known], right: Side
) -> tuple[tuple[Evidence, ...], float | None, Decision]:
    """The evidence for one candidate among all that the hub would consider, and the decision."""
    author, mentioned, written_at = wrote
    asked = lookup.asked_by(hub, author, mentioned)
    looked = hub.database.look(asked.wanted, asked.words)
    with hub.database.read() as uow:
        theirs = (
            {str(one.ref) for one in known}
            | ({right.person_id} if right.person_id is not None else set())
            | {thing_of(link) for link in uow.people.links_of_person(right.person_id or "")}
        )
        _, candidates = lookup.considered(
            hub, uow, author, mentioned, asked, looked, also=known, written_at=written_at
        )
    decision = decide(
        candidates,
        auto=hub.options.auto_link,
        network=author.network,
        model=hub.options.likeness,
    )
    for candidate in candidates:
        if {candidate.person_id, *map(str, candidate.refs)} & theirs:
            return candidate.evidence, candidate.score, decision
    return (), 0.0, decision


def _says(
    left: Side,
    right: Side,
    together: bool,
    apart: Sequence[CannotLinkRow],
    score: float | None,
    decision: Decision | None,
    link_from: float,
) -> str:
    if together:
        link = left.link or right.link
        by = f", decided by {link.decided_by}" if link is not None else ""
        return f"they are one person, {left.person_id}{by}"
    if apart:
        return f"{apart[0].decided_by} said that they are not: {apart[0].reason}"
    settled = left.link is not None and left.link.basis != Basis.PROVISIONAL
    if settled and ledger.is_identity(left.thing):
        return f"the author is linked to somebody else, {left.person_id}"
    if not score:
        return "nothing on file speaks for it"
    told = f"{score:.3g} bits speak for it, a link needs {link_from:g}"
    return f"{told}; {decision.why}" if decision is not None else told
