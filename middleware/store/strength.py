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
from middleware.store.tables import (
    ActionRow,
    ActionStepRow,
    ComplaintRow,
    EventRow,
    LinkRow,
    PersonChangeRow,
)

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
    each was shown with that record's orders, also those that are somebody else's by now. What a
    merge or a split carried over stood on the link before it, too.
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
        query = query.where(_shown_under(uow, persons, since, until))
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


def _shown_under(
    uow: UnitOfWork, persons: Collection[str], since: datetime, until: datetime | None
) -> sa.ColumnElement[bool]:
    """Complaints that are one of these persons', or were so meanwhile: what accounts wrote that
    were linked to them then, and what a change of persons moved."""
    held = select(LinkRow).where(
        col(LinkRow.person_id).in_(persons),
        col(LinkRow.identity_id).is_not(None),
        sa.or_(col(LinkRow.valid_to).is_(None), col(LinkRow.valid_to) > since),
    )
    moved = {
        complaint
        for person in persons
        for change in uow.ledger.changes_of(person)
        if change.made_at > since and (until is None or change.made_at <= until)
        for complaint in change.moved.get("complaints", ())
    }
    written = [
        sa.and_(
            col(ComplaintRow.identity_id) == link.identity_id,
            *([col(ComplaintRow.opened_at) <= link.valid_to] if link.valid_to is not None else []),
        )
        for link in uow.session.exec(held)
        if until is None or link.valid_from <= until
    ]
    return sa.or_(
        col(ComplaintRow.person_id).in_(persons), col(ComplaintRow.id).in_(moved), *written
    )


NOTHING = Strength((), (), ())


def on_which_nothing_stands(uow: UnitOfWork, links: Collection[LinkRow]) -> set[str]:
    """Those of these links of records whose persons have no complaint and no action, and never had
    an account or a change that could have brought some.

    `done_on_strength_of` would answer `NOTHING`; of many links this is asked in six statements.
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
    had_account = sa.select(col(LinkRow.person_id)).where(col(LinkRow.identity_id).is_not(None))
    known: set[str] = set()
    for asked in (
        sa.select(col(ComplaintRow.person_id)),
        sa.select(col(ActionRow.person_id)),
        had_account,
        sa.select(col(PersonChangeRow.person_id)),
        sa.select(col(PersonChangeRow.other_id)),
    ):
        (person,) = asked.selected_columns
        known |= set(uow.session.execute(asked.where(person.in_(everybody))).scalars())
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
