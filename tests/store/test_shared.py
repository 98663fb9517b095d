"""Writes that share a commit: each whole or not at all, and none answered before it is stored."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlmodel import SQLModel

from middleware.store.database import Database, UnitOfWork
from middleware.store.shared import SharedCommits
from middleware.store.tables import PersonRow

T0 = datetime(2026, 7, 1, 12, tzinfo=UTC)


def _adding(name: str, *, fails: bool = False) -> Callable[[UnitOfWork], str]:
    def work(uow: UnitOfWork) -> str:
        uow.session.add(PersonRow(id=f"per_{name}", display_name=name, created_at=T0))
        uow.session.flush()
        if fails:
            raise LookupError(name)
        return name

    return work


def _stored(database: Database) -> set[str]:
    with database.read() as uow:
        return set(uow.session.connection().execute(sa.text("select id from person")).scalars())


def test_what_is_answered_is_stored(database: Database) -> None:
    assert database.write(_adding("one")) == "one"
    assert _stored(database) == {"per_one"}


def test_of_many_at_once_each_is_whole_or_not_there(database: Database) -> None:
    names = [f"n{number}" for number in range(120)]

    def write(name: str) -> str:
        try:
            return database.write(_adding(name, fails=name.endswith("3")))
        except LookupError as error:
            return f"failed {error.args[0]}"

    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(write, names))

    good = [name for name in names if not name.endswith("3")]
    assert [a for a in answers if not a.startswith("failed")] == good
    assert [a for a in answers if a.startswith("failed")] == [
        f"failed {name}" for name in names if name.endswith("3")
    ]
    assert _stored(database) == {f"per_{name}" for name in good}


def test_a_statement_that_fails_leaves_its_neighbours(database: Database) -> None:
    database.write(_adding("there"))
    with ThreadPoolExecutor(4) as threads:
        again = threads.submit(database.write, _adding("there"))
        others = [threads.submit(database.write, _adding(f"o{n}")) for n in range(20)]
        with pytest.raises(sa.exc.IntegrityError):
            again.result()
        assert [other.result() for other in others] == [f"o{n}" for n in range(20)]
    assert len(_stored(database)) == 21


class _Watched:
    """A SQLite database whose commits are counted, held up, and made to fail."""

    def __init__(self, database: Database) -> None:
        self.commits = 0
        self.fails = False
        self.shared = SharedCommits(database.engine)
        sa.event.listen(database.engine, "commit", self._count)

    def _count(self, _connection: sa.Connection) -> None:
        self.commits += 1
        if self.fails:
            raise OSError("the disk is full")


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    """PostgreSQL's writers do not wait for each other, and share no commit."""
    made = Database(f"sqlite:///{tmp_path}/hub.db")
    SQLModel.metadata.create_all(made.engine)
    yield made
    made.close()


@pytest.fixture
def watched(sqlite: Database) -> _Watched:
    return _Watched(sqlite)


def _held(watched: _Watched, names: list[str]) -> list[object]:
    """A first write that waits within its transaction, and others that come meanwhile."""
    began, goes_on = threading.Event(), threading.Event()
    outcomes: list[object] = []

    def first(session: object) -> None:
        began.set()
        assert goes_on.wait(60)

    def write(name: str) -> None:
        try:
            outcomes.append(watched.shared.write(lambda s: _adding(name)(UnitOfWork(s))))
        except (OSError, sa.exc.IntegrityError) as error:
            outcomes.append(error)

    leading = threading.Thread(target=watched.shared.write, args=(first,))
    leading.start()
    assert began.wait(60)
    others = [threading.Thread(target=write, args=(name,)) for name in names]
    for other in others:
        other.start()
    while len(watched.shared._waiting) < len(names):
        threading.Event().wait(0.01)
    goes_on.set()
    for thread in (leading, *others):
        thread.join(60)
        assert not thread.is_alive()
    return outcomes


def test_those_who_wait_share_a_commit(sqlite: Database, watched: _Watched) -> None:
    names = [f"n{number}" for number in range(SharedCommits.MOST)]
    outcomes = _held(watched, names)
    assert sorted(map(str, outcomes)) == sorted(names)
    assert watched.commits == 2
    assert _stored(sqlite) == {f"per_{name}" for name in names}


def test_a_statement_that_fails_in_the_midst_leaves_those_before_and_after_it(
    sqlite: Database, watched: _Watched
) -> None:
    sqlite.write(_adding("there"))
    outcomes = _held(watched, ["one", "there", "two", "there", "three"])
    assert sorted(o for o in outcomes if isinstance(o, str)) == ["one", "three", "two"]
    assert sum(isinstance(o, sa.exc.IntegrityError) for o in outcomes) == 2
    assert watched.commits == 2 + 1
    assert _stored(sqlite) == {"per_there", "per_one", "per_two", "per_three"}


def test_nobody_is_told_of_a_commit_that_failed(sqlite: Database, watched: _Watched) -> None:
    def break_it(session: object) -> None:
        watched.fails = True

    with pytest.raises(OSError, match="disk is full"):
        watched.shared.write(break_it)
    with pytest.raises(OSError, match="disk is full"):
        watched.shared.write(lambda s: _adding("lost")(UnitOfWork(s)))
    watched.fails = False
    assert watched.shared.write(lambda s: _adding("kept")(UnitOfWork(s))) == "kept"
    assert _stored(sqlite) == {"per_kept"}


def test_a_turn_that_never_comes_fails_all_who_wait(
    watched: _Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_turn() -> None:
        raise TimeoutError("no turn to write")

    monkeypatch.setattr(watched.shared._engine, "connect", no_turn)
    for _ in range(2):  # the lead is handed on, so that the next one is told, too
        with pytest.raises(TimeoutError, match="no turn"):
            watched.shared.write(lambda s: None)


def test_a_write_within_a_write_is_told_and_not_waited_for(watched: _Watched) -> None:
    with pytest.raises(RuntimeError, match="within a write"):
        watched.shared.write(lambda outer: watched.shared.write(lambda inner: None))
    assert watched.shared.write(lambda s: "goes on") == "goes on"
