"""The queue of complaints: rule books, scores, clocks, escalation steps, and what scores go by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from middleware.contract.canonical import Kind, Money, OrderStatus, Ref
from middleware.store.tables import (
    ComplaintRow,
    EscalationRow,
    LinkRow,
    ReachRow,
    RecordRow,
    RulebookRow,
    SlaClockRow,
)

ORDERS_COUNTED = 200
"""Orders of a year, the newest, that are added up for one customer: a score goes by magnitudes."""
MOST_BOUND = 100
"""Records that are looked for in one statement."""
OTHERS_COUNTED = 50
REACH_KEPT = 200

_OPEN = (OrderStatus.CONFIRMED.value, OrderStatus.PROCESSING.value, OrderStatus.SHIPPED.value)
_NOT_SOLD = (OrderStatus.CANCELLED.value, OrderStatus.DRAFT.value)


@dataclass(frozen=True)
class Bought:
    """What somebody's stored orders say of them."""

    amounts: tuple[Money, ...]
    """What was bought since a moment, without what was cancelled."""
    open_orders: int
    first_at: datetime | None
    """When the first order that is known was placed."""


def _others() -> Any:
    """How many other complaints an identity or a person has; made once, as it is asked often."""
    mine = (
        (col(ComplaintRow.identity_id), sa.bindparam("identity", type_=sa.String())),
        (col(ComplaintRow.person_id), sa.bindparam("person", type_=sa.String())),
    )
    found = sa.union(
        *(
            sa.select(
                sa.select(col(ComplaintRow.id))
                .where(
                    owner == whose,
                    col(ComplaintRow.id) != sa.bindparam("own"),
                    col(ComplaintRow.opened_at) >= sa.bindparam("since"),
                    col(ComplaintRow.state) != "deleted",
                )
                .limit(OTHERS_COUNTED)
                .subquery()
            )
            for owner, whose in mine
        )
    ).subquery()
    return sa.select(sa.func.count()).select_from(found)


def _bought(owner: Any) -> Any:
    """An owner's newest orders since a moment, and their first one; each from an index."""
    body: Any = col(RecordRow.body)
    orders = sa.select(
        col(RecordRow.connection),
        col(RecordRow.id),
        col(RecordRow.sorted_at).label("placed_at"),
        body["status"].as_string().label("status"),
        body["total"]["amount"].as_string().label("amount"),
        body["total"]["currency"].as_string().label("currency"),
    ).where(
        col(RecordRow.connection) == sa.bindparam("connection"),
        owner == sa.bindparam("owner"),
        col(RecordRow.kind) == Kind.ORDER.value,
        col(RecordRow.deleted_at).is_(None),
        col(RecordRow.sorted_at).is_not(None),
    )
    newest = (
        orders.where(col(RecordRow.sorted_at) >= sa.bindparam("since"))
        .order_by(col(RecordRow.sorted_at).desc())
        .limit(ORDERS_COUNTED)
    )
    first = orders.order_by(col(RecordRow.sorted_at)).limit(1)
    return sa.union(sa.select(newest.subquery()), sa.select(first.subquery()))


_OTHERS = _others()
_BOUGHT = {
    Kind.ACCOUNT: _bought(col(RecordRow.account_id)),
    Kind.CONTACT: _bought(col(RecordRow.contact_id)),
}


class Queue:
    def __init__(self, session: Session) -> None:
        self._session = session

    # --- rule books ---------------------------------------------------------------------------

    def rulebook(self, number: int | None = None) -> RulebookRow | None:
        """A version, or the one in force; None where there is no such one yet."""
        if number is not None:
            return self._session.get(RulebookRow, number)
        query = select(RulebookRow).order_by(col(RulebookRow.version).desc()).limit(1)
        return self._session.exec(query).first()

    def last_rulebook_of(self, source: str) -> RulebookRow | None:
        query = select(RulebookRow).where(RulebookRow.source == source)
        newest = query.order_by(col(RulebookRow.version).desc()).limit(1)
        return self._session.exec(newest).first()

    def rulebooks(self, *, before: int | None, limit: int) -> list[RulebookRow]:
        """Versions, newest first."""
        query = select(RulebookRow)
        if before is not None:
            query = query.where(col(RulebookRow.version) < before)
        newest = query.order_by(col(RulebookRow.version).desc()).limit(limit)
        return list(self._session.exec(newest))

    def add_rulebook(self, row: RulebookRow) -> None:
        self._session.add(row)
        self._session.flush()

    # --- what is due --------------------------------------------------------------------------

    def due_steps(self, now: datetime, *, limit: int) -> list[tuple[str, str]]:
        """Escalation steps that are due, the longest due first, each with its complaint."""
        query = (
            sa.select(col(EscalationRow.id), col(EscalationRow.complaint_id))
            .where(col(EscalationRow.state) == "due", col(EscalationRow.due_at) <= now)
            .order_by(col(EscalationRow.due_at), col(EscalationRow.id))
            .limit(limit)
        )
        return [(r[0], r[1]) for r in self._session.connection().execute(query)]

    def due_scores(self, now: datetime, *, limit: int) -> list[str]:
        """Complaints whose score is to be made anew, the longest due first."""
        query = (
            sa.select(col(ComplaintRow.id))
            .where(col(ComplaintRow.rescore_at) <= now)
            .order_by(col(ComplaintRow.rescore_at))
            .limit(limit)
        )
        return list(self._session.connection().execute(query).scalars())

    def rescore_at(self, ids: Sequence[str], at: datetime) -> None:
        """Have these scored anew at a time, unless they are to be earlier."""
        statement = (
            sa.update(ComplaintRow)
            .where(
                col(ComplaintRow.id).in_(ids),
                sa.or_(col(ComplaintRow.rescore_at).is_(None), col(ComplaintRow.rescore_at) > at),
            )
            .values(rescore_at=at)
        )
        self._session.connection().execute(statement)

    def open_of(self, records: Sequence[Ref]) -> list[str]:
        """Open complaints of the persons that any of these records is linked to."""
        found: set[str] = set()
        for first in range(0, len(records), MOST_BOUND):
            linked = sa.or_(
                *(
                    sa.and_(
                        col(LinkRow.record_id) == ref.id,
                        col(LinkRow.connection) == ref.connection,
                        col(LinkRow.kind) == ref.kind.value,
                    )
                    for ref in records[first : first + MOST_BOUND]
                )
            )
            query = (
                sa.select(col(ComplaintRow.id))
                .join(LinkRow, col(LinkRow.person_id) == col(ComplaintRow.person_id))
                .where(linked, col(LinkRow.valid_to).is_(None), col(ComplaintRow.state) == "open")
            )
            found |= set(self._session.connection().execute(query).scalars())
        return sorted(found)

    def contacts_of(self, accounts: Sequence[Ref]) -> list[Ref]:
        """The stored contacts that name one of these accounts as theirs."""
        found: list[Ref] = []
        for account in accounts:
            query = sa.select(col(RecordRow.id)).where(
                col(RecordRow.connection) == account.connection,
                col(RecordRow.account_id) == account.id,
                col(RecordRow.kind) == Kind.CONTACT.value,
            )
            found += [
                Ref(connection=account.connection, kind=Kind.CONTACT, id=id_)
                for id_ in self._session.connection().execute(query).scalars()
            ]
        return found

    def put_off(self, complaint_id: str, until: datetime) -> None:
        """Score a complaint no sooner than at a time: it could not be done now."""
        self._session.connection().execute(
            sa.update(ComplaintRow)
            .where(col(ComplaintRow.id) == complaint_id)
            .values(rescore_at=until)
        )

    def open_after(self, last: str | None, *, limit: int) -> list[str]:
        """The open complaints that follow, by id."""
        query = sa.select(col(ComplaintRow.id)).where(col(ComplaintRow.state) == "open")
        if last is not None:
            query = query.where(col(ComplaintRow.id) > last)
        query = query.order_by(col(ComplaintRow.id)).limit(limit)
        return list(self._session.connection().execute(query).scalars())

    # --- clocks and steps ---------------------------------------------------------------------

    def clocks_of(self, complaint_id: str) -> list[SlaClockRow]:
        query = select(SlaClockRow).where(SlaClockRow.complaint_id == complaint_id)
        return list(self._session.exec(query.order_by(col(SlaClockRow.started_at))))

    def steps_of(self, complaint_id: str) -> list[EscalationRow]:
        query = select(EscalationRow).where(EscalationRow.complaint_id == complaint_id)
        return list(self._session.exec(query.order_by(col(EscalationRow.due_at))))

    def step(self, step_id: str) -> EscalationRow | None:
        return self._session.get(EscalationRow, step_id)

    def add(self, rows: Iterable[SlaClockRow | EscalationRow]) -> None:
        """Add clocks, then the steps that name them."""
        new = list(rows)
        self._session.add_all(row for row in new if isinstance(row, SlaClockRow))
        self._session.flush()
        self._session.add_all(row for row in new if isinstance(row, EscalationRow))
        self._session.flush()

    # --- what scores go by --------------------------------------------------------------------

    def note_reach(self, row: ReachRow) -> None:
        """Keep what a source told of a message's reach; the same twice is kept once."""
        dialect = self._session.get_bind().dialect.name
        insert = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(ReachRow)
        self._session.connection().execute(
            insert.values(**row.model_dump()).on_conflict_do_nothing()
        )

    def reach_of(self, complaint_id: str) -> list[ReachRow]:
        """What was told of a complaint's reach, the latest `REACH_KEPT`, oldest first."""
        query = select(ReachRow).where(ReachRow.complaint_id == complaint_id)
        newest = query.order_by(col(ReachRow.at).desc(), col(ReachRow.source_id)).limit(REACH_KEPT)
        return list(self._session.exec(newest))[::-1]

    def others(self, complaint: ComplaintRow, *, since: datetime) -> int | None:
        """How many other complaints there are of the same identity or person, up to
        `OTHERS_COUNTED`; None where it is nobody's that anybody could tell."""
        if complaint.identity_id is None and complaint.person_id is None:
            return None
        given = {
            "identity": complaint.identity_id,
            "person": complaint.person_id,
            "own": complaint.id,
            "since": since,
        }
        counted = self._session.connection().execute(_OTHERS, given)
        return min(int(counted.scalar_one()), OTHERS_COUNTED)

    def bought(self, customers: Iterable[Ref], *, since: datetime) -> Bought | None:
        """What these accounts and contacts bought; None where no order of theirs is stored.

        The newest `ORDERS_COUNTED` of each since the moment, and their very first: both are read
        from an index.
        """
        connection = self._session.connection()
        rows: list[Any] = list(
            dict.fromkeys(
                row
                for ref in dict.fromkeys(customers)
                if ref.kind in _BOUGHT
                for row in connection.execute(
                    _BOUGHT[ref.kind],
                    {"connection": ref.connection, "owner": ref.id, "since": since},
                )
            )
        )
        if not rows:
            return None
        sold = [row for row in rows if row.placed_at >= since and row.status not in _NOT_SOLD]
        return Bought(
            amounts=tuple(
                Money(amount=Decimal(row.amount), currency=row.currency)
                for row in sold
                if row.amount is not None and row.currency is not None
            ),
            open_orders=sum(row.status in _OPEN for row in sold),
            first_at=min(row.placed_at for row in rows),
        )


# --- what simulations go by ---------------------------------------------------------------------


@dataclass(frozen=True)
class Scored:
    """A complaint of the past with what its score was made of."""

    id: str
    opened_at: datetime
    kept: dict[str, Any]


def scored(
    session: Session,
    *,
    since: datetime,
    until: datetime,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Scored]:
    """Complaints that were opened in a time and have a score, oldest first, after a position."""
    opened, id_ = col(ComplaintRow.opened_at), col(ComplaintRow.id)
    query = sa.select(id_, opened, col(ComplaintRow.priority_terms)).where(
        opened >= since, opened < until, col(ComplaintRow.state) != "deleted"
    )
    if after is not None:
        moment, last = after
        query = query.where(sa.or_(opened > moment, sa.and_(opened == moment, id_ > last)))
    rows = session.connection().execute(query.order_by(opened, id_).limit(limit))
    return [Scored(r[0], r[1], cast("dict[str, Any]", r[2] or {})) for r in rows]
