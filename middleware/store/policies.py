"""Versions of the policy, and what was done already within a cap's window."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from middleware.domain.policy import GIVEN_BACK, HUB, Scope, Subject
from middleware.store.tables import ActionRow, PolicyRow
from middleware.store.versions import Versions

MICRO = 1_000_000
"""SQLite has no decimals: money is added up there in millionths, which are whole numbers."""


@dataclass(frozen=True)
class Span:
    """Which actions are counted: one scope's, within one window.

    `as_of` names an action of the past: counted is what stood when it was asked for.
    """

    per: Scope
    whose: str | None
    """The agent, role or brand; None also means those without one."""
    customers: Sequence[str]
    """All that a customer's actions may be kept under."""
    since: datetime
    as_of: ActionRow | None = None


class Policies:
    def __init__(self, session: Session) -> None:
        self._session = session
        self.versions = Versions(session, PolicyRow)

    def take_turns(self, names: Iterable[str]) -> None:
        """Wait until no other transaction holds one of these names, and hold them to our end.

        What was committed by whoever held them is seen by the next statement. SQLite has one
        writer at a time anyway.
        """
        if self._session.get_bind().dialect.name != "postgresql":
            return
        # Sorted, so that two that want the same names never wait for each other.
        for number in sorted({_number(name) for name in names}):
            self._session.connection().execute(
                sa.text("select pg_advisory_xact_lock(:number)"), {"number": number}
            )

    def used(self, subject: Subject, span: Span) -> tuple[int, dict[str, Decimal]]:
        """How many actions count, and what they are worth together in each currency."""
        value = col(ActionRow.value)
        currency = value["currency"].as_string()
        amount = value["amount"].as_string()
        sqlite = self._session.get_bind().dialect.name == "sqlite"
        total = (
            sa.func.sum(sa.cast(sa.func.round(sa.cast(amount, sa.Float) * MICRO), sa.BigInteger))
            if sqlite
            else sa.func.sum(sa.cast(amount, sa.Numeric))
        )
        rows = self._session.connection().execute(
            sa.select(currency, sa.func.count(), total)
            .where(*_meant(subject), *_within(span))
            .group_by(currency)
        )
        count = 0
        sums: dict[str, Decimal] = {}
        for name, number, sum_ in rows:
            count += number
            if name is not None:
                sums[name] = Decimal(sum_) / MICRO if sqlite else Decimal(sum_)
        return count, sums

    def judged(
        self, *, since: datetime, until: datetime, after: tuple[datetime, str] | None, limit: int
    ) -> list[ActionRow]:
        """Actions asked for in a time, oldest first, with the verdict each was accepted under."""
        query = select(ActionRow).where(
            col(ActionRow.created_at) >= since, col(ActionRow.created_at) < until
        )
        if after is not None:
            query = query.where(sa.tuple_(col(ActionRow.created_at), col(ActionRow.id)) > after)
        query = query.order_by(col(ActionRow.created_at), col(ActionRow.id)).limit(limit)
        return list(self._session.exec(query))


def _meant(subject: Subject) -> Iterable[sa.ColumnElement[bool]]:
    """What a cap counts, by what was known of each action when it was judged."""
    facts = col(ActionRow.policy)["facts"]
    if subject.operations:
        yield col(ActionRow.kind).in_([operation.value for operation in subject.operations])
    if subject.roles:
        yield sa.or_(col(ActionRow.role).in_(subject.roles), col(ActionRow.role).is_(None))
    if subject.connections:
        yield facts["connection"].as_string().in_(subject.connections)
    if subject.brands:
        yield facts["brand"].as_string().in_(subject.brands)
    if subject.reasons:
        yield facts["reason"].as_string().in_([reason.value for reason in subject.reasons])


def _within(span: Span) -> Iterable[sa.ColumnElement[bool]]:
    created_at: Any = col(ActionRow.created_at)
    if span.per is Scope.CUSTOMER:
        # Out of reach for the index: one customer's few actions are found by theirs.
        created_at = sa.func.coalesce(created_at, created_at)
    yield created_at > span.since
    yield col(ActionRow.requested_by) != HUB
    yield from _whose(span)
    undoing = aliased(ActionRow)
    undone = sa.exists().where(
        col(undoing.id) == col(ActionRow.undone_by), col(undoing.state) == "done"
    )
    given_back = col(ActionRow.state).in_(GIVEN_BACK)
    at = span.as_of
    if at is None:
        yield sa.not_(given_back)
        yield sa.not_(undone)
        return
    # An action that has ended was last changed when it ended.
    yield sa.or_(
        col(ActionRow.created_at) < at.created_at,
        sa.and_(col(ActionRow.created_at) == at.created_at, col(ActionRow.id) < at.id),
    )
    yield sa.not_(sa.and_(given_back, col(ActionRow.updated_at) <= at.created_at))
    yield sa.not_(undone.where(col(undoing.updated_at) <= at.created_at))


def _whose(span: Span) -> Iterable[sa.ColumnElement[bool]]:
    match span.per:
        case Scope.CUSTOMER:
            mine, theirs = aliased(ActionRow), aliased(ActionRow)
            yield col(ActionRow.id).in_(
                sa.union(
                    sa.select(col(mine.id)).where(col(mine.customer).in_(span.customers)),
                    sa.select(col(theirs.id)).where(col(theirs.person_id).in_(span.customers)),
                )
            )
        case Scope.AGENT:
            yield col(ActionRow.requested_by) == span.whose
        case Scope.ROLE:
            yield col(ActionRow.role) == span.whose
        case Scope.BRAND:
            brand = col(ActionRow.policy)["facts"]["brand"].as_string()
            yield brand == span.whose if span.whose is not None else brand.is_(None)
        case Scope.DOMAIN:
            return


def _number(name: str) -> int:
    """The name of a turn as PostgreSQL's advisory locks want it."""
    digest = hashlib.sha256(f"amends {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
