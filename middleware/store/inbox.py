"""Deliveries, stored once and raw before anything is done with them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from middleware.store.tables import InboxRow


class Inbox:
    def __init__(self, session: Session) -> None:
        self._session = session

    def store_once(self, row: InboxRow) -> InboxRow:
        """Store a delivery unless its message id is there already; answers the row that is.

        The caller compares `id` to see whether it is the new one, and `body_hash` to see whether
        the same id came with another body.
        """
        values = row.model_dump()
        dialect = self._session.get_bind().dialect.name
        insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
        statement = (
            insert(InboxRow)
            .values(**values)
            .on_conflict_do_nothing(index_elements=["connection", "message_id"])
            .returning(col(InboxRow.id))
        )
        if self._session.connection().execute(statement).first() is not None:
            return row
        return self._session.exec(
            select(InboxRow).where(
                InboxRow.connection == row.connection, InboxRow.message_id == row.message_id
            )
        ).one()

    def get(self, inbox_id: str) -> InboxRow | None:
        return self._session.get(InboxRow, inbox_id)

    def settle(
        self, row: InboxRow, state: str, *, at: datetime, problem: dict[str, Any] | None = None
    ) -> None:
        """Say what became of a delivery."""
        row.state = state
        row.problem = problem
        row.handled_at = at
        self._session.add(row)

    def in_state(
        self,
        state: str,
        *,
        connection: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> list[InboxRow]:
        """Deliveries in one state, oldest first, for showing and replaying."""
        query = select(InboxRow).where(InboxRow.state == state)
        if connection is not None:
            query = query.where(InboxRow.connection == connection)
        if after is not None:
            query = query.where(col(InboxRow.id) > after)
        return list(self._session.exec(query.order_by(col(InboxRow.id)).limit(limit)))

    def left_behind(self, *, before: datetime, limit: int) -> list[str]:
        """Ids of deliveries stored before then and still not handled."""
        query = (
            select(InboxRow.id)
            .where(InboxRow.state == "stored", col(InboxRow.received_at) < before)
            .order_by(col(InboxRow.received_at))
            .limit(limit)
        )
        return list(self._session.exec(query))
