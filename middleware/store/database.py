"""The database and the unit of work: one request or pass, one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session

from middleware.store.actions import Actions
from middleware.store.audit import Audit
from middleware.store.complaints import Complaints
from middleware.store.connections import Connections
from middleware.store.events import Events
from middleware.store.inbox import Inbox
from middleware.store.jobs import Jobs
from middleware.store.keys import Keys
from middleware.store.nodes import Nodes
from middleware.store.people import People
from middleware.store.records import Records


class UnitOfWork:
    """One transaction and the repositories that work in it. Nobody commits halfway."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.actions = Actions(session)
        self.audit = Audit(session)
        self.complaints = Complaints(session)
        self.connections = Connections(session)
        self.events = Events(session)
        self.inbox = Inbox(session)
        self.jobs = Jobs(session)
        self.keys = Keys(session)
        self.nodes = Nodes(session)
        self.people = People(session)
        self.records = Records(session)


class Database:
    """An engine on SQLite (WAL) or PostgreSQL, and the transactions on it.

    `url` is a SQLAlchemy URL; `postgresql://` means psycopg. On SQLite a writing transaction takes
    the write lock when it begins, so that it never fails halfway for want of it; a reading one
    takes none.
    """

    def __init__(self, url: str, *, pool_size: int = 16) -> None:
        self.url = normal_url(url)
        self.sqlite = self.url.startswith("sqlite")
        if self.sqlite:
            self.engine = sa.create_engine(
                self.url, pool_size=pool_size, max_overflow=pool_size, pool_timeout=30
            )
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)
        else:
            self.engine = sa.create_engine(
                self.url,
                pool_size=pool_size,
                max_overflow=pool_size,
                pool_timeout=30,
                pool_pre_ping=True,
                connect_args={"connect_timeout": 10},
            )
        self._reading = self.engine.execution_options(amends_reading=True)

    @property
    def path(self) -> Path | None:
        """The file of a SQLite database."""
        name = sa.make_url(self.url).database
        return Path(name) if self.sqlite and name else None

    @contextmanager
    def begin(self) -> Iterator[UnitOfWork]:
        """A writing transaction: committed at the end, rolled back on any exception."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield UnitOfWork(session)

    @contextmanager
    def read(self) -> Iterator[UnitOfWork]:
        """A reading transaction: one consistent view, and nothing is ever written."""
        with Session(self._reading, expire_on_commit=False, autoflush=False) as session:
            try:
                yield UnitOfWork(session)
            finally:
                session.expunge_all()
                session.rollback()

    def ping(self) -> None:
        """Ask the database for nothing; raises what the driver raises."""
        with self._reading.connect() as connection:
            connection.execute(sa.text("select 1"))

    def close(self) -> None:
        self.engine.dispose()


def normal_url(url: str) -> str:
    """The URL with our driver named: psycopg 3 for PostgreSQL."""
    for plain in ("postgresql://", "postgres://"):
        if url.startswith(plain):
            return "postgresql+psycopg://" + url.removeprefix(plain)
    return url


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction handling would begin late and plainly; we begin ourselves.
    connection.isolation_level = None
    for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get("amends_reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
