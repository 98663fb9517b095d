"""Records that somebody merged into others in their remote: the ledger follows.

Whoever tidies up a CRM makes one contact of two; the one that is left over is deleted, and the
remote says which one it is now. The person of the deleted record keeps their id and has the other
one from then on. Where that one is somebody else's already, the two persons are merged, which can
be undone. What somebody said of the deleted record is said of the other one, too; where it forbids
the rest, everything stays as it is, and whoever's accounts hang on it is asked about.

A merge is followed once, when the hub is told of it: what people change of it afterwards stays.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from middleware.contract.canonical import Ref
from middleware.contract.capabilities import Merged, Page
from middleware.domain.identity import (
    Candidate,
    Evidence,
    EvidenceKind,
)
from middleware.domain.ids import new_id
from middleware.domain.ledger import SOMEBODY, Thing, is_identity, is_person, record
from middleware.domain.problems import ConflictError
from middleware.flows import link as links
from middleware.flows import lookup, merge, reviews, turns
from middleware.flows.hub import Asker, Hub
from middleware.resolution.exact import WEIGHTS
from middleware.store.database import UnitOfWork, giving_way
from middleware.store.tables import LinkRow

log = logging.getLogger(__name__)

FLOW = "receive.merged"
"""Beside the arrivals, whose authors are found by what is followed here."""
BY = "sync"
"""Who decided what follows from a merge in a remote."""
TRIES = 3
PAUSE_S = 0.2
AGAIN_AFTER = timedelta(minutes=1)
AGAIN_AT_LATEST = timedelta(hours=1)
MOST_OFTEN = 12
"""How often one that failed is begun anew: for half a day."""


def delete(
    hub: Hub,
    uow: UnitOfWork,
    page: Page,
    *,
    as_of: datetime,
    name: str,
    unless_newer: bool = False,
) -> int:
    """Mark what a page says is gone, and owe, under a name, to follow those of them that were
    merged and had been there until now; answers how many are gone."""
    gone = page.gone
    into = {m.gone: m.into for m in page.merged if m.gone.kind in SOMEBODY and m.gone in gone}
    there = _live(uow, into)
    deleted = uow.records.delete(gone, as_of=as_of, unless_newer=unless_newer)
    told = [
        (str(ref), str(_last(into, ref)))
        for ref in sorted(there - _live(uow, there), key=str)
        if _last(into, ref) != ref
    ]
    if told:
        parts = [part for pair in told for part in pair]
        hub.engine.enqueue(uow, FLOW, "1", *parts, name=f"{FLOW}:{name}")
    return deleted


def _live(uow: UnitOfWork, refs: Iterable[Ref]) -> set[Ref]:
    return {stored.record.ref for stored in uow.records.get_all(refs)}


def _last(into: Mapping[Ref, Ref], ref: Ref) -> Ref:
    """Which one it is after all merges of a page."""
    seen = {ref}
    while ref in into and into[ref] not in seen:
        ref = into[ref]
        seen.add(ref)
    return ref


def run(hub: Hub, begun: str, *told: str) -> None:
    """Follow merges, told as one that is gone and which one it is now, in turn.

    One that fails does not keep the others, and is begun anew later; `begun` says how often these
    were.
    """
    refs = [Ref.parse(one) for one in told]
    for gone, into in zip(refs[::2], refs[1::2], strict=True):
        for tries_left in reversed(range(TRIES)):
            try:
                follow(hub, Merged(gone=gone, into=into))
            except Exception:
                if not tries_left:
                    log.exception("merge not followed", extra={"gone": gone.id, "into": into.id})
                    _owe_again(hub, int(begun) + 1, gone, into)
                    break
                time.sleep(PAUSE_S)
            else:
                break


def _owe_again(hub: Hub, begun: int, gone: Ref, into: Ref) -> None:
    if begun > MOST_OFTEN:
        return
    wait = min(AGAIN_AFTER * 2 ** (begun - 2), AGAIN_AT_LATEST)
    pair = (str(gone), str(into))
    name = f"{FLOW}:{':'.join(pair)}:{new_id('again')}"
    with hub.database.begin() as uow:
        hub.engine.enqueue(uow, FLOW, str(begun), *pair, name=name, delay=wait)


def follow(hub: Hub, one: Merged) -> None:
    """Have the person of a merged record be that of the one that it was merged into.

    Doing it twice changes nothing the second time. Orders that the hub holds as the merged one's
    are read anew: a remote need not stamp them as changed.
    """
    if _ledger_follows(hub, one):
        lookup.refresh_orders(hub, [one.into])


@giving_way
def _ledger_follows(hub: Hub, one: Merged) -> bool:
    """Have links, persons and what was said follow; answers whether orders are to be read anew."""
    with hub.database.begin() as uow:
        turns.take(uow)
        why = f"{one.gone.connection} merged {one.gone.kind} {one.gone.id} into {one.into.id}"
        for ref in sorted((one.gone, one.into), key=str):
            uow.records.get(ref, lock=True)
        link, other = (_link_of(uow, ref) for ref in (one.gone, one.into))
        _say_too(hub, uow, one, other, why)
        if link is None:
            return False
        if other is None:
            _carry(hub, uow, one, link, why)
        else:
            _merge(hub, uow, one, link, other, why)
        return bool(uow.records.orders_of([one.gone], limit=1))


def _link_of(uow: UnitOfWork, ref: Ref) -> LinkRow | None:
    return next(iter(uow.people.links_of_records([ref])), None)


def _carry(hub: Hub, uow: UnitOfWork, one: Merged, link: LinkRow, why: str) -> None:
    """The link leads to the other record from now on, by the same word."""
    now = hub.clock()
    person = uow.people.person(link.person_id, lock=True)
    assert person is not None, "a link has its person"
    bars = uow.ledger.bars(person.id, {str(one.into)})
    if bars:
        _ask(hub, uow, one, link, None, f"{why}, but somebody said it is not ({bars[0].id})")
        return
    link.valid_to, link.revoked_reason = now, why
    link.version += 1
    uow.session.flush()
    made = links.carried(link, person.id, at=now, change_id=None)
    made.connection, made.kind, made.record_id = one.into.connection, one.into.kind, one.into.id
    made.evidence = [_evidence(why, now).model_dump(mode="json"), *link.evidence]
    uow.people.add_link(made)
    links.look_again(hub, uow, uow.complaints.open_of([person.id]))
    links.tell(hub, uow, "identity.unlinked", link, now)
    links.tell(hub, uow, "identity.linked", made, now)
    uow.audit.write(
        at=now,
        actor=BY,
        action="link.followed",
        subject=made.id,
        was=link.id,
        person=person.id,
        gone=str(one.gone),
        into=str(one.into),
    )


def _merge(hub: Hub, uow: UnitOfWork, one: Merged, link: LinkRow, other: LinkRow, why: str) -> None:
    """Both records are somebody's: the two persons are one."""
    goes, stays = (uow.ledger.now(row.person_id) for row in (link, other))
    if goes == stays:
        return
    try:
        merge.merge_in(hub, uow, stays, goes, reason=why, asker=Asker(BY))
    except ConflictError as error:
        _ask(hub, uow, one, link, stays, f"{why}, but {error.detail}")


# --- what people said --------------------------------------------------------------------------


def _say_too(hub: Hub, uow: UnitOfWork, one: Merged, other: LinkRow | None, why: str) -> None:
    """What is held apart from the merged record is held apart from the one that it is now.

    Where the two are one person by now, a person is asked instead.
    """
    holder = uow.ledger.now(other.person_id) if other is not None else None
    for row in uow.ledger.cannot_links_of({str(one.gone)}):
        third = row.other if row.one == str(one.gone) else row.one
        if third == str(one.into):
            continue
        held = _holding(uow, third)
        if holder is not None and held == holder:
            if other is not None and is_identity(third):
                told = f"{why}, of which somebody said that it is not this account ({row.id})"
                reviews.ask_about(hub, uow, uow.people.links_of_identity(third)[0], (), told)
            continue
        uow.ledger.add_cannot_link(
            third,
            str(one.into),
            reason=row.reason,
            source=row.id,
            by=row.decided_by,
            at=hub.clock(),
        )


def _holding(uow: UnitOfWork, thing: Thing) -> str | None:
    """The person that a thing is, or is linked to."""
    if is_person(thing):
        return uow.ledger.now(thing)
    ref = record(thing)
    held = _link_of(uow, ref) if ref is not None else None
    if ref is None:
        held = next(iter(uow.people.links_of_identity(thing)), None)
    return uow.ledger.now(held.person_id) if held is not None else None


def _ask(
    hub: Hub, uow: UnitOfWork, one: Merged, link: LinkRow, other: str | None, why: str
) -> None:
    """Ask of the accounts of the merged record's person whose they are; nothing else changes."""
    evidence = _evidence(why, hub.clock())
    winner = Candidate(
        person_id=other, refs=(one.into,), score=evidence.weight, evidence=(evidence,)
    )
    person_id = uow.ledger.now(link.person_id)
    for held in uow.people.links_of_person(person_id):
        if held.identity_id is not None:
            reviews.ask_about(hub, uow, held, (winner,), why)
    log.warning("merge not followed", extra={"gone": one.gone.id, "into": one.into.id})
    uow.audit.write(
        at=hub.clock(),
        actor=BY,
        action="link.not_followed",
        subject=link.id,
        person=person_id,
        gone=str(one.gone),
        into=str(one.into),
        why=why,
    )


def _evidence(why: str, at: datetime) -> Evidence:
    weight = WEIGHTS[EvidenceKind.EXTERNAL_ID]
    return Evidence(
        kind=EvidenceKind.EXTERNAL_ID, detail=why, weight=weight.bits, basis=weight.basis, at=at
    )
