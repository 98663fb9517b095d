"""Complaints of whom nobody knows who wrote them, looked at again when a sync has brought records
that may say it: the contact that was made after they wrote, or whose address was put right.

Whether anything is different now is found without asking a remote. Only a complaint of which it is
gets a new look, as one does whose person has changed. And the other way round: where an account is
taken off a person, somebody is asked about those that are theirs by it alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from middleware.contract.canonical import Kind
from middleware.domain.arrivals import Author
from middleware.domain.identity import Basis, Candidate, EvidenceKind
from middleware.domain.understanding import Understanding
from middleware.flows import link as links
from middleware.flows import lookup, reviews
from middleware.flows.hub import Hub
from middleware.flows.reviews import things_of
from middleware.resolution.exact import CONCLUSIVE
from middleware.store.database import UnitOfWork, giving_way
from middleware.store.tables import ComplaintRow, LinkRow

FLOW = "receive.waiting"
EVERY_S = 60
"""However many runs end, so often at most."""
WRITTEN_WITHIN = timedelta(days=30)
MOST = 2_000
"""Complaints that are looked at, the newest."""
PAGE = 100
BEFORE = EvidenceKind.WROTE_BEFORE
ON_FILE = CONCLUSIVE - {BEFORE}
"""Kinds of evidence on which a link stands that no other account's link is needed for."""
TELLING = (Kind.CONTACT, Kind.ACCOUNT, Kind.ORDER)
"""Kinds that may say who somebody is; an order by its number."""
COMPARED = 3
"""Of the likeliest candidates, what speaks for them decides what becomes of a complaint."""


def owe(hub: Hub, uow: UnitOfWork, counts: Mapping[str, Any]) -> None:
    """Owe a look at those who wait, if a run with these counts brought anything that may tell."""
    brought = (counts.get(kind.value, {}) for kind in TELLING)
    if not any(one.get(what) for one in brought for what in ("new", "changed", "deleted")):
        return
    now = hub.clock().timestamp()
    minute = int(now) // EVERY_S + 1
    hub.engine.enqueue(
        uow, FLOW, name=f"{FLOW}:{minute}", delay=timedelta(seconds=minute * EVERY_S - now)
    )


def run(hub: Hub) -> None:
    """Have those complaints looked at again about whose writer the store has more to say now."""
    since = hub.clock() - WRITTEN_WITHIN
    last: str | None = None
    for _ in range(MOST // PAGE):
        with hub.database.read() as uow:
            page = uow.complaints.of_nobody(since=since, before=last, limit=PAGE)
        for complaint in page:
            hub.rush.give_way()
            if _differs(hub, complaint):
                with hub.database.begin() as uow:
                    links.look_again(hub, uow, [complaint.id])
        if len(page) < PAGE:
            return
        last = page[-1].id


@giving_way
def look_at_sharing(hub: Hub, identity_id: str) -> None:
    """Have open complaints of accounts that are nobody's looked at again that share an address or a
    number with this account, which was linked."""
    with hub.database.begin() as uow:
        waits: list[str] = []
        for other in uow.people.sharing(identity_id):
            held = uow.people.links_of_identity(other)
            if all(link.basis == Basis.PROVISIONAL for link in held):
                theirs = uow.complaints.of_identity(other)
                waits += [row.id for row in theirs if row.state == "open"]
        links.look_again(hub, uow, waits)


@giving_way
def ask(hub: Hub, identity_id: str, person_id: str) -> None:
    """Ask about the accounts that the hub has linked to a person for what they have in common with
    another one, which was theirs until somebody ended that."""
    why = "linked by what an account of theirs wrote with, which is not theirs any more"
    with hub.database.begin() as uow:
        person = uow.ledger.now(person_id)
        for other in uow.people.sharing(identity_id):
            uow.people.identity_by_id(other, lock=True)
            link = _theirs(uow, other, person)
            if link is None or _stands(link):
                continue
            beside = (_theirs(uow, one, person) for one in uow.people.sharing(other))
            if not any(one is not None and _stands(one) for one in beside):
                reviews.ask_about(hub, uow, link, (), why)


def _theirs(uow: UnitOfWork, identity_id: str, person_id: str) -> LinkRow | None:
    """The link of an account, if it is this person's."""
    link = next(iter(uow.people.links_of_identity(identity_id)), None)
    return link if link is not None and uow.ledger.now(link.person_id) == person_id else None


def _stands(link: LinkRow) -> bool:
    """Whether a link stands by itself, and not on that of another account alone."""
    kinds = {one["kind"] for one in link.evidence}
    return link.decided_by != "hub" or BEFORE not in kinds or bool(kinds & ON_FILE)


def _differs(hub: Hub, complaint: ComplaintRow) -> bool:
    """Whether other candidates, or other evidence, speak now than when it was last looked at."""
    if complaint.resolution is None or complaint.understanding is None:
        return False  # it is looked at anyway
    entities = Understanding.model_validate(complaint.understanding).entities
    with hub.database.read() as uow:
        wrote = [
            arrival
            for arrival in uow.complaints.arrivals_of(complaint.id)
            if not arrival.outgoing and arrival.deleted_at is None
        ]
    if not wrote:
        return False
    given = {k: v for k, v in (wrote[-1].author or {}).items() if k != "order_numbers"}
    author = Author.model_validate(given)
    asked = lookup.asked_by(hub, author, entities)
    looked = hub.database.look(asked.wanted, asked.words)
    with hub.database.read() as uow:
        _, now = lookup.considered(hub, uow, author, entities, asked, looked)
    before = map(Candidate.model_validate, complaint.resolution["candidates"][:COMPARED])
    return _told(now[:COMPARED]) != _told(before)


def _told(candidates: Iterable[Candidate]) -> Sequence[object]:
    """Who it may be and what speaks for it, whatever that weighs: how rare a name is changes."""
    return [(things_of(one), {e.kind for e in one.evidence}) for one in candidates]
