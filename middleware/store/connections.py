"""Connections, as declared."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from middleware.store.tables import ConnectionRemoteRow, ConnectionRow, ConnectionStateRow


class Connections:
    def __init__(self, session: Session) -> None:
        self._session = session

    def declare(self, declared: dict[str, tuple[str, dict[str, Any]]], *, at: datetime) -> None:
        """Make the table say what the configuration says: `{name: (adapter, settings)}`.

        A connection that is no longer declared is marked deleted, never removed.
        """
        known = {row.name: row for row in self._session.exec(select(ConnectionRow))}
        for name, (adapter, settings) in declared.items():
            row = known.get(name)
            if row is None:
                self._session.add(
                    ConnectionRow(name=name, adapter=adapter, settings=settings, declared_at=at)
                )
            elif (row.adapter, row.settings, row.deleted_at) != (adapter, settings, None):
                row.adapter, row.settings, row.deleted_at = adapter, settings, None
                row.declared_at = at
        for name, row in known.items():
            if name not in declared and row.deleted_at is None:
                row.deleted_at = at

    def get(self, name: str) -> ConnectionRow | None:
        return self._session.get(ConnectionRow, name)

    def all(self) -> list[ConnectionRow]:
        """Every live connection, by name."""
        query = select(ConnectionRow).where(col(ConnectionRow.deleted_at).is_(None))
        return list(self._session.exec(query.order_by(ConnectionRow.name)))

    def page(self, *, after: str | None, limit: int) -> list[ConnectionRow]:
        """Live connections by name, after one of them."""
        query = select(ConnectionRow).where(col(ConnectionRow.deleted_at).is_(None))
        if after is not None:
            query = query.where(col(ConnectionRow.name) > after)
        return list(self._session.exec(query.order_by(ConnectionRow.name).limit(limit)))

    def note_health(self, name: str, health: dict[str, Any]) -> None:
        row = self._session.get(ConnectionRow, name)
        if row is not None:
            row.health = health

    def state(self, name: str) -> ConnectionStateRow | None:
        """Whether a connection is called at all; None while nothing ever happened to it."""
        return self._session.get(ConnectionStateRow, name)

    def states(self, names: Collection[str] | None = None) -> dict[str, ConnectionStateRow]:
        """The same of these, or of all, that something ever happened to, by name."""
        query = select(ConnectionStateRow)
        if names is not None:
            query = query.where(col(ConnectionStateRow.connection).in_(names))
        return {row.connection: row for row in self._session.exec(query)}

    def locked_state(self, name: str, *, at: datetime) -> ConnectionStateRow:
        """The same, held until we commit, so that replicas change it one after another."""
        dialect = self._session.get_bind().dialect.name
        insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
        self._session.connection().execute(
            insert(ConnectionStateRow)
            .values(
                connection=name,
                state="closed",
                since=at,
                failures=0,
                changed_by="hub",
                version=0,
            )
            .on_conflict_do_nothing(index_elements=["connection"])
        )
        row = self._session.get(ConnectionStateRow, name, with_for_update=True)
        assert row is not None, "it was put there above"
        return row

    def remote(self, name: str) -> str | None:
        """Which system a connection's records are of; None where none ever said."""
        row = self._session.get(ConnectionRemoteRow, name)
        return row.identity if row is not None else None

    def know_remote(self, name: str, identity: str, *, at: datetime) -> str:
        """Keep who a connection's remote is, unless it is known; answers who is kept.

        Two replicas that hear of it at once keep one.
        """
        self._put_remote(name, identity, at=at, by="hub", instead=False)
        known = self.remote(name)
        assert known is not None, "it was put there above"
        return known

    def accept_remote(self, name: str, identity: str, *, at: datetime, by: str) -> None:
        """Keep who a connection's remote is, whoever it was before."""
        self._put_remote(name, identity, at=at, by=by, instead=True)

    def _put_remote(
        self, name: str, identity: str, *, at: datetime, by: str, instead: bool
    ) -> None:
        dialect = self._session.get_bind().dialect.name
        insert = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(
            ConnectionRemoteRow
        ).values(connection=name, identity=identity, since=at, known_by=by)
        if instead:
            changed = {"identity": identity, "since": at, "known_by": by}
            put = insert.on_conflict_do_update(index_elements=["connection"], set_=changed)
        else:
            put = insert.on_conflict_do_nothing(index_elements=["connection"])
        self._session.connection().execute(put)
        self._session.expire_all()
