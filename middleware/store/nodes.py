"""Leases of the workers."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlmodel import Session, col, delete, select

from middleware.store.tables import NodeRow


class Nodes:
    def __init__(self, session: Session) -> None:
        self._session = session

    def database_time(self) -> datetime:
        """The database's clock: the one that all nodes share."""
        if self._session.get_bind().dialect.name == "sqlite":
            text = self._session.scalar(sa.text("select strftime('%Y-%m-%dT%H:%M:%f+00:00','now')"))
            return datetime.fromisoformat(str(text))
        now = self._session.scalar(sa.text("select clock_timestamp()"))
        assert isinstance(now, datetime)
        return now

    def beat(self, node: str) -> datetime:
        """Renew a node's lease; answers the database's time of it."""
        now = self.database_time()
        row = self._session.get(NodeRow, node)
        if row is None:
            self._session.add(NodeRow(id=node, seen_at=now, started_at=now))
        else:
            row.seen_at = now
        return now

    def leave(self, node: str) -> None:
        """Give the lease back at once, so that others need not wait for it to run out."""
        self._session.exec(delete(NodeRow).where(col(NodeRow.id) == node))

    def alive(self, *, lease: timedelta) -> set[str]:
        """The nodes whose lease has not run out."""
        since = self.database_time() - lease
        return set(self._session.exec(select(NodeRow.id).where(col(NodeRow.seen_at) > since)))

    def forget(self, *, older_than: timedelta) -> None:
        """Delete leases that ran out long ago."""
        since = self.database_time() - older_than
        self._session.exec(delete(NodeRow).where(col(NodeRow.seen_at) < since))
