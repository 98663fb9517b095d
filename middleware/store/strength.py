"""What stands on a link: what was shown, done and written while it held."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import col, select

from middleware.contract.canonical import Ref
from middleware.store.database import UnitOfWork
from middleware.store.people import record_of
from middleware.store.tables import ActionRow, ActionStepRow, ComplaintRow, EventRow, LinkRow

MOST_ORDERS = 50


@dataclass(frozen=True)
class Strength:
    """What was shown, done and written while a link held."""

    complaints: tuple[str, ...]
    actions: tuple[str, ...]
    notes: tuple[str, ...]
    """Receipts of notes, as `connection:kind:id`."""
    orders: tuple[str, ...] = ()
    """Orders that were shown as theirs: meant, ranked, or acted upon."""


def done_on_strength_of(uow: UnitOfWork, link: LinkRow) -> Strength:
    """What stood on a link since it was first said: complaints shown with it, orders, actions,
    notes. Of one that a person ended, what stood on it then.

    Of an identity's link, the complaints it wrote; of a record's, all of the person's, because
    each was shown with that record's orders. What a merge or a split carried over stood on the
    link before it, too.
    """
    if link.stood:
        return Strength(**{name: tuple(ids) for name, ids in link.stood.items()})
    lineage = uow.ledger.lineage(link)
    since = min(row.valid_from for row in lineage)
    ends = [row.valid_to for row in lineage]
    until = None if None in ends else max(end for end in ends if end is not None)
    persons = {row.person_id for row in lineage}
    query = select(ComplaintRow).where(col(ComplaintRow.updated_at) >= since)
    if link.identity_id is not None:
        query = query.where(ComplaintRow.identity_id == link.identity_id)
    else:
        query = query.where(col(ComplaintRow.person_id).in_(persons))
    if until is not None:
        query = query.where(col(ComplaintRow.opened_at) <= until)
    shown = list(uow.session.exec(query.order_by(col(ComplaintRow.id))))
    complaints = tuple(row.id for row in shown)
    of_person = sa.and_(col(ActionRow.person_id).in_(persons))
    if link.identity_id is not None:
        # What answers another identity's complaint does not stand on this one's link.
        of_person = sa.and_(of_person, col(ActionRow.complaint_id).is_(None))
    rows: dict[str, ActionRow] = {}
    of_complaints = [col(ActionRow.complaint_id).in_(complaints)] if complaints else []
    for condition in (of_person, *of_complaints):
        made = select(ActionRow).where(condition, col(ActionRow.created_at) >= since)
        if until is not None:
            made = made.where(col(ActionRow.created_at) <= until)
        rows |= {row.id: row for row in uow.session.exec(made)}
    written = _notes_of(uow, rows) if rows else []
    orders = {row.order_ref for row in rows.values() if row.order_ref}
    for row in shown:
        if row.person_id in persons:
            ranked = (row.order_match or {}).get("ranked", ())
            orders |= {text for one in ranked if (text := _text(one["order"]))}
    if complaints:
        orders |= _orders_told(uow, complaints, persons, since)
    record = record_of(link)
    if record is not None and shown:
        orders |= {str(s.record.ref) for s in uow.records.orders_of((record,), limit=MOST_ORDERS)}
    return Strength(
        complaints=complaints,
        actions=tuple(sorted(i for i, row in rows.items() if row.kind != "note")),
        notes=tuple(sorted(ref for ref in written if ref)),
        orders=tuple(sorted(orders)),
    )


NOTHING = Strength((), (), ())


def on_which_nothing_stands(uow: UnitOfWork, links: Collection[LinkRow]) -> set[str]:
    """Those of these links of records whose persons have no complaint and no action.

    `done_on_strength_of` would answer `NOTHING`; of many links this is asked in three statements.
    """
    roots = {link.origin or link.id for link in links}
    if not roots:
        return set()
    said = select(LinkRow.id, LinkRow.origin, LinkRow.person_id).where(
        sa.or_(col(LinkRow.id).in_(roots), col(LinkRow.origin).in_(roots))
    )
    persons: dict[str, set[str]] = defaultdict(set)
    for link_id, origin, person_id in uow.session.exec(said):
        persons[origin or link_id].add(person_id)
    everybody = {person for of_root in persons.values() for person in of_root}
    known = set(
        uow.session.exec(
            select(ComplaintRow.person_id).where(col(ComplaintRow.person_id).in_(everybody))
        )
    ) | set(
        uow.session.exec(select(ActionRow.person_id).where(col(ActionRow.person_id).in_(everybody)))
    )
    return {
        link.id
        for link in links
        if link.record_id is not None
        and not link.stood
        and not persons[link.origin or link.id] & known
    }


def _notes_of(uow: UnitOfWork, actions: Collection[str]) -> list[str | None]:
    """Receipts of the notes that actions have written."""
    notes = select(ActionStepRow).where(
        col(ActionStepRow.action_id).in_(actions),
        ActionStepRow.operation == "note",
        ActionStepRow.state == "done",
    )
    return [_text((step.receipt or {}).get("ref")) for step in uow.session.exec(notes)]


def _orders_told(
    uow: UnitOfWork, complaints: Collection[str], persons: Collection[str], since: datetime
) -> set[str]:
    """Orders that events named as what one of these persons meant."""
    told = select(EventRow).where(
        col(EventRow.subject).in_(complaints),
        EventRow.type == "complaint.enriched",
        col(EventRow.at) >= since,
    )
    return {
        event.data["order"]
        for event in uow.session.exec(told)
        if event.data.get("order") and event.data.get("person_id") in persons
    }


def _text(ref: dict[str, Any] | None) -> str | None:
    return str(Ref.model_validate(ref)) if ref else None
