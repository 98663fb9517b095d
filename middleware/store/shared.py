"""Commits that several threads share: most of what a small transaction costs is its own commit."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlmodel import Session

T = TypeVar("T")


_SAVEPOINTS = {
    "do_savepoint": "SAVEPOINT",
    "do_rollback_to_savepoint": "ROLLBACK TO",
    "do_release_savepoint": "RELEASE",
}
"""What is said for each; SQLAlchemy's own are compiled anew each time, as their names change."""


def _as_it_is(written: str) -> Callable[[sa.Connection, str], None]:
    def say(connection: sa.Connection, name: str) -> None:
        driver: Any = connection.connection.driver_connection
        driver.execute(f"{written} {name}")

    return say


class SharedCommits:
    """Writes of many threads, in the order of asking, each whole or not at all, with few commits.

    Whoever comes first writes for all who wait by then, each within a savepoint of its own, and
    commits once; nobody gets an answer before that commit. (Flat combining: Hendler, Incze, Shavit
    and Tzafrir, SPAA 2010.) For SQLite: its writers wait for each other anyway.
    """

    MOST = 16
    """How many share one commit; the last of them waits for all."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        for verb, written in _SAVEPOINTS.items():
            setattr(engine.dialect, verb, _as_it_is(written))
        self._lock = threading.Lock()
        self._waiting: deque[_Write[Any]] = deque()
        self._leader: int | None = None
        """The thread that writes for all now."""

    def write(self, work: Callable[[Session], T]) -> T:
        """What `work` answers, once it is committed. Raises what it raises, and then nothing of it
        is written; or what the database raises, and then nothing of anybody's in that commit is.

        It is called once, maybe by another thread. A write within a write is a RuntimeError.
        """
        mine = _Write(work)
        with self._lock:
            if self._leader == mine.thread:
                raise RuntimeError("a write within a write would wait for itself")
            self._waiting.append(mine)
            leads = self._leader is None
            if leads:
                self._leader = mine.thread
        if not leads:
            mine.woken.acquire()
            leads = mine.leads
        if leads:
            self._lead(mine)
        return mine.result()

    def _lead(self, mine: _Write[Any]) -> None:
        """Commit what waits, one's own first; then hand the lead on."""
        batch: list[_Write[Any]] = []
        try:
            with self._engine.connect() as connection, connection.begin():
                # Only now: more have come while it waited for its turn.
                batch = self._taken()
                for one in batch:
                    one.run(connection)
        except BaseException as error:
            batch = batch or self._taken()
            for one in batch:
                one.failed = one.failed or error
        finally:
            with self._lock:
                following = self._waiting[0] if self._waiting else None
                self._leader = following.thread if following is not None else None
            if following is not None:
                following.leads = True
                following.woken.release()
            for one in batch:
                if one is not mine:
                    one.woken.release()

    def _taken(self) -> list[_Write[Any]]:
        with self._lock:
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), self.MOST))]


class _Write(Generic[T]):
    """One piece of work, and what became of it."""

    def __init__(self, work: Callable[[Session], T]) -> None:
        self._work = work
        self.thread = threading.get_ident()
        self.leads = False
        self.failed: BaseException | None = None
        self._answer: list[T] = []
        self.woken = threading.Lock()
        self.woken.acquire()

    def run(self, connection: sa.Connection) -> None:
        savepoint = connection.begin_nested()
        # A flush that fails rolls back what the session has joined: the savepoint, no more.
        session = Session(connection, expire_on_commit=False, join_transaction_mode="rollback_only")
        try:
            self._answer.append(self._work(session))
            session.commit()
            savepoint.commit()
        except BaseException as error:
            self.failed = error
            if savepoint.is_active:
                savepoint.rollback()
        finally:
            session.close()

    def result(self) -> T:
        if self.failed is not None:
            raise self.failed
        return self._answer[0]
