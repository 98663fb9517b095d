"""Deliveries, stored once and raw before anything is done with them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from middleware.store.tables import InboxRow

_COLUMNS = tuple(InboxRow.model_fields)
# Made once: building and hashing a statement costs more than running it.
_INSERTS = {
    dialect: insert(InboxRow)
    .on_conflict_do_nothing(index_elements=["connection", "message_id"])
    .returning(col(InboxRow.id))
    for dialect, insert in (("postgresql", postgresql.insert), ("sqlite", sqlite.insert))
}


class Inbox:
    def __init__(self, session: Session) -> None:
        self._session = session

    def store_once(self, row: InboxRow) -> InboxRow:
        """Store a delivery unless its message id is there already; answers the row that is.

        The caller compares `id` to see whether it is the new one, and `body_hash` to see whether
        the same id came with another body.
        """
        return self.store_all_once([row])[0]

    def store_all_once(self, rows: Sequence[InboxRow]) -> list[InboxRow]:
        """The same for many deliveries in one statement, in their order."""
        new = self._insert(rows)
        known = self._known([row for row in rows if row.id not in new])
        return [row if row.id in new else known[row.connection, row.message_id] for row in rows]

    def _insert(self, rows: Sequence[InboxRow]) -> set[str]:
        """Insert those whose message id is not there; answers their ids."""
        statement = _INSERTS[self._session.get_bind().dialect.name]
        values = [{name: getattr(row, name) for name in _COLUMNS} for row in rows]
        return set(self._session.connection().execute(statement, values).scalars())

    def _known(self, rows: Sequence[InboxRow]) -> dict[tuple[str, str], InboxRow]:
        """The rows that have the message ids of these."""
        found: dict[tuple[str, str], InboxRow] = {}
        for connection in {row.connection for row in rows}:
            ids = [row.message_id for row in rows if row.connection == connection]
            query = select(InboxRow).where(
                InboxRow.connection == connection, col(InboxRow.message_id).in_(ids)
            )
            found |= {(row.connection, row.message_id): row for row in self._session.exec(query)}
        return found

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
