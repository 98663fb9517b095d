"""Complaints of whom nobody knows who wrote them, looked at again when a sync has brought records
that may say it: the contact that was made after they wrote, or whose address was put right.

Whether anything is different now is found without asking a remote. Only a complaint of which it is
gets a new look, as one does whose person has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from middleware.contract.canonical import Kind
from middleware.domain.arrivals import Author
from middleware.domain.identity import Candidate
from middleware.domain.understanding import Understanding
from middleware.flows import link as links
from middleware.flows import lookup
from middleware.flows.hub import Hub
from middleware.flows.reviews import things_of
from middleware.store.database import UnitOfWork
from middleware.store.tables import ComplaintRow

FLOW = "receive.waiting"
EVERY_S = 60
"""However many runs end, so often at most."""
WRITTEN_WITHIN = timedelta(days=30)
MOST = 2_000
"""Complaints that are looked at, the newest."""
PAGE = 100
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
