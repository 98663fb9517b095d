"""Cannot-links: a person's word that two things are not one customer.

It survives syncs and new models and wins over every automatic path, because each of them asks
here, or is shown it as evidence, before anything is linked. Lifting one is a person's act too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from middleware.contract.canonical import Ref
from middleware.domain import ledger
from middleware.domain.ledger import Thing, Verdict
from middleware.domain.problems import ConflictError, InvalidError, NotFoundError
from middleware.flows import turns
from middleware.flows.hub import Asker, Hub
from middleware.store.database import UnitOfWork, giving_way
from middleware.store.tables import CannotLinkRow, LinkRow


@giving_way
def put(hub: Hub, one: str, other: str, *, reason: str, asker: Asker) -> tuple[CannotLinkRow, bool]:
    """Hold two things apart; answers the assertion and whether it is new.

    Raises InvalidError for what is nobody, NotFoundError for what the hub does not hold, and
    ConflictError where the two are one person now: unlink or split first, which says it too.
    """
    now = hub.clock()
    things = (ledger.checked(one, "/one"), ledger.checked(other, "/other"))
    with hub.database.begin() as uow:
        turns.take(uow)
        # In the order in which links are made: identities, records, persons.
        for thing in sorted(things, key=lambda t: (not ledger.is_identity(t), ":" not in t, t)):
            _hold(uow, thing)
        left, right = (uow.ledger.now(thing) for thing in things)
        if left == right:
            raise InvalidError(
                f"{things[0]} and {things[1]} are the same thing.",
                errors=[{"pointer": "/other", "code": "same", "detail": "must be something else"}],
            )
        _together(uow, left, right)
        row, new = uow.ledger.add_cannot_link(
            *things, reason=reason, source="agent", by=asker.principal, at=now
        )
        if new:
            say(
                uow,
                things,
                Verdict.DIFFERENT,
                asker,
                now,
                source="cannot_link",
                action="cannot_link.put",
                subject=row.id,
                detail={"one": row.one, "other": row.other},
            )
    return row, new


def say(
    uow: UnitOfWork,
    pair: tuple[Thing, Thing],
    verdict: Verdict,
    asker: Asker,
    now: datetime,
    *,
    source: str,
    action: str,
    subject: str,
    detail: Mapping[str, Any],
    evidence: dict[str, float] | None = None,
    decided_under: str | None = None,
) -> None:
    """Keep a person's word of two things: as a label of the pair, and in the audit trail."""
    uow.ledger.add_label(
        *pair,
        verdict,
        source=source,
        subject=subject,
        by=asker.principal,
        at=now,
        evidence=evidence,
        decided_under=decided_under,
    )
    uow.audit.write(
        at=now,
        actor=asker.principal,
        action=action,
        subject=subject,
        request_id=asker.request_id,
        **detail,
    )


@giving_way
def lift(
    hub: Hub, cannot_id: str, *, version: int | None, reason: str, asker: Asker
) -> CannotLinkRow:
    """End an assertion: the two may be linked again. Nothing is linked by this, and nobody says any
    more that they differ.

    Raises NotFoundError and ConflictError (it was lifted before, or changed since it was read).
    """
    with hub.database.begin() as uow:
        turns.take(uow)
        row = uow.ledger.cannot_link(cannot_id, lock=True)
        if row is None:
            raise NotFoundError(f"there is no cannot-link {cannot_id}")
        if row.valid_to is not None:
            raise ConflictError(f"it was lifted at {row.valid_to.isoformat()} already")
        if version is not None and row.version != version:
            raise ConflictError(f"it is at version {row.version} now")
        end(hub, uow, row, reason=reason, asker=asker)
        uow.ledger.add_label(
            row.one,
            row.other,
            Verdict.UNSURE,
            source="cannot_link",
            subject=row.id,
            by=asker.principal,
            at=hub.clock(),
        )
    return row


def end(hub: Hub, uow: UnitOfWork, row: CannotLinkRow, *, reason: str, asker: Asker) -> None:
    """Lift an assertion in this transaction."""
    now = hub.clock()
    row.valid_to, row.lifted_by, row.lifted_reason = now, asker.principal, reason
    row.version += 1
    uow.audit.write(
        at=now,
        actor=asker.principal,
        action="cannot_link.lift",
        subject=row.id,
        request_id=asker.request_id,
        one=row.one,
        other=row.other,
    )


def refuse(rows: list[CannotLinkRow], what: str) -> None:
    """Raise ConflictError naming the assertions that forbid it, if there are any."""
    if rows:
        told = "; ".join(f"{row.one} is not {row.other} ({row.id}: {row.reason})" for row in rows)
        raise ConflictError(
            f"{what}: {told}; lift that first if it is wrong",
            cannot_links=[row.id for row in rows],
        )


def _hold(uow: UnitOfWork, thing: Thing) -> None:
    """Hold a thing until we commit, so that nobody links it meanwhile."""
    ref: Ref | None = ledger.record(thing)
    if ref is not None:
        found = uow.records.get(ref, lock=True) is not None
    elif ledger.is_identity(thing):
        found = uow.people.identity_by_id(thing, lock=True) is not None
    else:
        found = uow.people.person(thing, lock=True) is not None
    if not found:
        raise NotFoundError(f"the hub does not know {thing}")


def _together(uow: UnitOfWork, left: Thing, right: Thing) -> None:
    """Raise ConflictError if the two are one person now."""
    held = [_link_of(uow, thing) for thing in (left, right)]
    persons = [
        thing if ledger.is_person(thing) else link.person_id if link else None
        for thing, link in zip((left, right), held, strict=True)
    ]
    if persons[0] is None or persons[0] != persons[1]:
        return
    links = [link.id for link in held if link is not None]
    way_out = "revoke that link" if len(links) == 1 else "split the person"
    raise ConflictError(
        f"they are one person now, {persons[0]}; {way_out}, which holds them apart too",
        person=persons[0],
        links=links,
    )


def _link_of(uow: UnitOfWork, thing: Thing) -> LinkRow | None:
    if ledger.is_person(thing):
        return None
    ref = ledger.record(thing)
    if ref is None:
        return next(iter(uow.people.links_of_identity(thing)), None)
    return next(iter(uow.people.links_of_records((ref,))), None)
