"""The database and the unit of work: one request or pass, one transaction."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pydantic_core
import sqlalchemy as sa
from sqlmodel import Session

from middleware.domain.likeness import Looked, Wanted
from middleware.store.actions import Actions
from middleware.store.articles import Articles
from middleware.store.audit import Audit
from middleware.store.claims import Claims
from middleware.store.complaints import Complaints
from middleware.store.connections import Connections
from middleware.store.events import Events
from middleware.store.followed import Followed
from middleware.store.gathering import Gathering
from middleware.store.inbox import Inbox
from middleware.store.incidents import Incidents
from middleware.store.jobs import Jobs
from middleware.store.keys import Keys
from middleware.store.ledger import Ledger
from middleware.store.likeness import LikenessIndex, look
from middleware.store.nodes import Nodes
from middleware.store.people import People
from middleware.store.policies import Policies
from middleware.store.queue import Queue
from middleware.store.receipts import Receipts
from middleware.store.records import Records
from middleware.store.reviews import Reviews
from middleware.store.shared import SharedCommits
from middleware.store.together import write_together
from middleware.store.understandings import Understandings
from middleware.store.vectors import Vectors

LONGEST_SILENCE_S = 15.0
"""After how long PostgreSQL ends a session that is silent within a transaction: its process may be
frozen, or its machine gone, and what it locked would hold up every other one. None of ours calls
anybody within a transaction."""


MAPPED = 2**31 - 2**16
"""Bytes of a SQLite file that are mapped into memory: the most that SQLite allows."""

TRIES = 5
"""How often a transaction that gave way to another one is begun, at most."""

P = ParamSpec("P")
T = TypeVar("T")


def gave_way(error: BaseException) -> bool:
    """Whether PostgreSQL ended a transaction because another one and this waited for each other:
    nothing of it was written, and the same again may pass."""
    return isinstance(error, sa.exc.DBAPIError) and getattr(error.orig, "sqlstate", None) in (
        "40P01",  # deadlock_detected
        "40001",  # serialization_failure
    )


def giving_way(transaction: Callable[P, T]) -> Callable[P, T]:
    """Have a function that is one transaction and nothing besides begin anew where it gave way: the
    other one is done with what both wanted, or this one waits for it."""

    @wraps(transaction)
    def again(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(TRIES - 1):
            try:
                return transaction(*args, **kwargs)
            except sa.exc.DBAPIError as error:
                if not gave_way(error):
                    raise
        return transaction(*args, **kwargs)

    return again


class UnitOfWork:
    """One transaction and the repositories that work in it. Nobody commits halfway."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.actions = Actions(session)
        self.articles = Articles(session)
        self.audit = Audit(session)
        self.claims = Claims(session)
        self.complaints = Complaints(session)
        self.connections = Connections(session)
        self.events = Events(session)
        self.followed = Followed(session)
        self.gathering = Gathering(session)
        self.inbox = Inbox(session)
        self.incidents = Incidents(session)
        self.jobs = Jobs(session)
        self.keys = Keys(session)
        self.ledger = Ledger(session)
        self.likeness = LikenessIndex(session)
        self.nodes = Nodes(session)
        self.people = People(session)
        self.policies = Policies(session)
        self.queue = Queue(session)
        self.receipts = Receipts(session)
        self.records = Records(session)
        self.reviews = Reviews(session)
        self.understandings = Understandings(session)
        self.vectors = Vectors(session)

    def end(self) -> None:
        """Write what is written last: what was changed, its history, and at the very end events."""
        last = [*self.audit.entries, *self.events.told()]
        if last:
            self.session.flush()
            write_together(self.session.connection(), last)

    def written_at_the_end(self) -> AbstractContextManager[object]:
        """Write what changed when the transaction ends, and not before each query on the way.

        For those whose queries do not look for what they themselves have changed.
        """
        return self.session.no_autoflush


class Database:
    """An engine on SQLite (WAL) or PostgreSQL, and the transactions on it.

    `url` is a SQLAlchemy URL; `postgresql://` means psycopg. On SQLite a writing transaction takes
    the write lock when it begins, so that it never fails halfway for want of it; a reading one
    takes none. SQLite's own waiting is a poll that may starve somebody, so the writers of one
    process take turns before they ask it.
    """

    def __init__(self, url: str, *, pool_size: int = 32) -> None:
        self.url = normal_url(url)
        self.sqlite = self.url.startswith("sqlite")
        if self.sqlite:
            self.engine = sa.create_engine(
                self.url,
                pool_size=pool_size,
                max_overflow=pool_size,
                pool_timeout=30,
                # The connection used last is warm: cached pages, prepared statements.
                pool_use_lifo=True,
                json_deserializer=_from_json,
                # An error's text ends in logs; the values of a statement are people's.
                hide_parameters=True,
                # Looking people up has a statement for each number of keys.
                connect_args={"cached_statements": 512},
            )
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            turns = _Turns()
            sa.event.listen(self.engine, "begin", turns.begin)
            sa.event.listen(self.engine, "checkin", turns.give_back)
            self._shared: SharedCommits | None = SharedCommits(self.engine)
        else:
            self._shared = None
            self.engine = sa.create_engine(
                self.url,
                pool_size=pool_size // 2,
                max_overflow=pool_size // 2,
                pool_timeout=30,
                pool_pre_ping=True,
                pool_use_lifo=True,
                json_deserializer=_from_json,
                hide_parameters=True,
                connect_args={"connect_timeout": 10},
            )
            sa.event.listen(self.engine, "connect", _prepare_postgresql)
        self._reading = self.engine.execution_options(amends_reading=True)
        self._quick = self.engine if self.sqlite else self._for_single_statements(pool_size)

    @property
    def path(self) -> Path | None:
        """The file of a SQLite database."""
        name = sa.make_url(self.url).database
        return Path(name) if self.sqlite and name else None

    @contextmanager
    def begin(self) -> Iterator[UnitOfWork]:
        """A writing transaction: committed at the end, rolled back on any exception."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            uow = UnitOfWork(session)
            yield uow
            uow.end()

    @contextmanager
    def trial(self) -> Iterator[UnitOfWork]:
        """A writing transaction that is always rolled back: what a change would do, held to every
        check that the change itself is held to. It waits for locks as the change would."""
        with Session(self.engine, expire_on_commit=False) as session:
            try:
                yield UnitOfWork(session)
                session.flush()
            finally:
                session.expunge_all()
                session.rollback()

    def write(self, work: Callable[[UnitOfWork], T]) -> T:
        """`work` within a writing transaction; on SQLite it shares a commit with other threads'.

        For what many threads do often. `work` is called once, maybe by another thread; nothing of
        it is written if it raises, and its answer is returned once it is committed.
        """
        if self._shared is None:
            with self.begin() as uow:
                return work(uow)

        def whole(session: Session) -> T:
            uow = UnitOfWork(session)
            answer = work(uow)
            uow.end()
            return answer

        return self._shared.write(whole)

    @contextmanager
    def read(self) -> Iterator[UnitOfWork]:
        """A reading transaction: one consistent view, and nothing is ever written."""
        with Session(self._reading, expire_on_commit=False, autoflush=False) as session:
            try:
                yield UnitOfWork(session)
            finally:
                session.expunge_all()
                session.rollback()

    def look(self, wanted: Wanted, words: Sequence[int] = ()) -> Looked:
        """Who is under any of these keys in the index of likenesses, outside of any transaction.

        What `UnitOfWork.likeness.look` answers, without what a transaction costs. Where the driver
        fails, as on a connection that was lost since it was last used, that way is gone instead.
        """
        try:
            held = self._quick.raw_connection()
            try:
                return look(held.driver_connection, wanted, words)
            except BaseException as error:
                held.invalidate(error)
                raise
            finally:
                held.close()
        except self._quick.dialect.loaded_dbapi.Error:
            with self.read() as uow:
                return uow.likeness.look(wanted, words)

    def _for_single_statements(self, pool_size: int) -> sa.Engine:
        """Connections to PostgreSQL that know no transactions, and are not asked how they are."""
        engine = sa.create_engine(
            self.url,
            pool_size=pool_size // 4,
            max_overflow=pool_size // 4,
            pool_timeout=30,
            pool_use_lifo=True,
            pool_reset_on_return=None,
            hide_parameters=True,
            connect_args={"connect_timeout": 10, "autocommit": True},
        )
        sa.event.listen(engine, "connect", _prepare_single_statements)
        return engine

    def ping(self) -> None:
        """Ask the database for nothing; raises what the driver raises."""
        with self._reading.connect() as connection:
            connection.execute(sa.text("select 1"))

    def close(self) -> None:
        self.engine.dispose()
        self._quick.dispose()


def normal_url(url: str) -> str:
    """The URL with our driver named: psycopg 3 for PostgreSQL."""
    for plain in ("postgresql://", "postgres://"):
        if url.startswith(plain):
            return "postgresql+psycopg://" + url.removeprefix(plain)
    return url


def _from_json(text: str | bytes) -> Any:
    """What a JSON column holds; several times faster than the standard library on whole records."""
    try:
        return pydantic_core.from_json(text)
    except ValueError:
        return json.loads(text)  # which also reads what is nested more than 200 levels deep


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction handling would begin late and plainly; we begin ourselves.
    connection.isolation_level = None
    for pragma in (
        "busy_timeout=30000",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "cache_size=-16384",  # the upper levels of the indexes stay at hand
        f"mmap_size={MAPPED}",  # what the system holds in memory is read without asking it
    ):
        connection.execute(f"PRAGMA {pragma}")


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    # `together` reads times as the driver gives them.
    connection.execute("set timezone to 'UTC'")
    silence_ms = round(LONGEST_SILENCE_S * 1000)
    connection.execute(f"set idle_in_transaction_session_timeout to {silence_ms}")
    connection.commit()


def _prepare_single_statements(connection: Any, _record: Any) -> None:
    # Their arrays are short: planning or compiling one anew takes longer than answering it.
    connection.execute("set plan_cache_mode to force_generic_plan")
    connection.execute("set jit to off")


class _Turns:
    """Who of this process's threads may write to SQLite: one at a time, in order of asking."""

    LONGEST_WAIT_S = 60
    MARK = "amends_turn"

    def __init__(self) -> None:
        self._asking: deque[threading.Event] = deque()
        self._lock = threading.Lock()
        self._taken = False

    def begin(self, connection: sa.Connection) -> None:
        if connection.get_execution_options().get("amends_reading", False):
            connection.exec_driver_sql("BEGIN")
            return
        if not connection.info.get(self.MARK):
            self._take()
            connection.info[self.MARK] = True
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def give_back(self, _connection: Any, record: Any) -> None:
        """A connection goes back to the pool only when its transaction has ended."""
        if record.info.pop(self.MARK, False):
            with self._lock:
                if self._asking:
                    self._asking.popleft().set()
                else:
                    self._taken = False

    def _take(self) -> None:
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Event()
            self._asking.append(mine)
        if mine.wait(self.LONGEST_WAIT_S):
            return
        with self._lock:
            if not mine.is_set():
                self._asking.remove(mine)
                raise TimeoutError(f"no turn to write within {self.LONGEST_WAIT_S} s")
