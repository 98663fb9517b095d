"""The durable engine: what is owed is owed in our transaction, run, and outlives its worker."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from middleware.flows import engine as engine_module
from middleware.flows.engine import QUEUES, Engine, LeaseLostError, WorkerRunningError
from middleware.store.database import Database
from tests.flows import node
from tests.flows.node import REFUSED, Diary, Node, lapse, until


@pytest.fixture
def engine(database: Database) -> Iterator[Engine]:
    made = Engine(database, lease=timedelta(seconds=30), poll=timedelta(milliseconds=50))
    yield made
    made.stop(grace=timedelta(0))


@pytest.fixture
def diary(tmp_path: Path) -> Diary:
    return Diary(tmp_path / "diary")


@pytest.fixture
def start(database_url: str, diary: Diary) -> Iterator[Callable[[], Node]]:
    """Starts nodes on the test's database."""
    nodes: list[Node] = []

    def begin() -> Node:
        nodes.append(Node(database_url, diary))
        return nodes[-1]

    yield begin
    diary.let_go()
    for one in nodes:
        one.stop()


class Ran:
    """A flow that only notes its arguments."""

    def __init__(self) -> None:
        self.arguments: list[tuple[str, ...]] = []

    def __call__(self, *arguments: str) -> None:
        self.arguments.append(arguments)

    def wait(self, count: int = 1) -> list[tuple[str, ...]]:
        until(lambda: len(self.arguments) >= count, otherwise=lambda: str(self.arguments))
        return self.arguments


def owe(
    engine: Engine, name: str, flow: str = "receive", *arguments: str, delay: float = 0
) -> None:
    with engine._database.begin() as uow:
        engine.enqueue(uow, flow, *arguments, name=name, delay=timedelta(seconds=delay))


# --- owing -----------------------------------------------------------------------------------


def test_what_is_rolled_back_was_never_owed(engine: Engine) -> None:
    with pytest.raises(RuntimeError), engine._database.begin() as uow:
        engine.enqueue(uow, "receive", "x", name="lost")
        raise RuntimeError
    owe(engine, "kept")
    assert engine.pending("kept")
    assert not engine.pending("lost")
    ran = Ran()
    engine.work({"receive": lambda *a: ran(*a)})
    ran.wait()
    time.sleep(0.5)
    assert ran.arguments == [()]


def test_the_first_enqueue_of_a_process_is_part_of_its_transaction(database: Database) -> None:
    """The engine's client is made on first use; making it must not commit what is under way."""
    engine = Engine(database)
    with pytest.raises(RuntimeError), database.begin() as uow:
        uow.people.add_person(display_name="Kim", at=uow.nodes.database_time())
        engine.enqueue(uow, "receive", name="first")
        raise RuntimeError
    assert not engine.pending("first")
    with database.engine.connect() as connection:
        assert connection.scalar(sa.text("select count(*) from person")) == 0
        connection.rollback()
    engine.stop()


def test_the_same_name_is_owed_once(engine: Engine) -> None:
    ran = Ran()
    owe(engine, "once", "receive", "1")
    owe(engine, "once", "receive", "2")
    with engine._database.begin() as uow:
        engine.enqueue(uow, "receive", "3", name="once")
        engine.enqueue(uow, "receive", "3", name="once")
    engine.work({"receive": ran})
    ran.wait()
    until(lambda: not engine.pending("once"))
    owe(engine, "once", "receive", "4")
    owe(engine, "another", "receive", "5")
    ran.wait(2)
    time.sleep(0.3)
    assert ran.arguments == [("1",), ("5",)]


def test_two_nodes_owe_the_same_name_at_once(engine: Engine, database_url: str) -> None:
    """The second waits for the first's transaction and finds it owed; neither fails."""
    other = Engine(Database(database_url))
    errors: list[BaseException] = []

    def in_thread() -> None:
        try:
            owe(other, "same", "receive", "theirs")
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=in_thread)
    with engine._database.begin() as uow:
        engine.enqueue(uow, "receive", "ours", name="same")
        uow.session.flush()
        thread.start()
        time.sleep(0.3)
    thread.join()
    assert errors == []
    ran = Ran()
    engine.work({"receive": ran})
    ran.wait()
    time.sleep(0.3)
    assert ran.arguments == [("ours",)]
    other.stop()
    other._database.close()


def test_a_delay_is_honoured(engine: Engine) -> None:
    at: dict[str, float] = {}
    engine.work({"receive": lambda name: at.update({name: time.monotonic()})})
    began = time.monotonic()
    owe(engine, "later", "receive", "later", delay=600)
    owe(engine, "soon", "receive", "soon", delay=1)
    owe(engine, "now", "receive", "now")
    until(lambda: len(at) == 2, otherwise=lambda: str(at))
    assert sorted(at) == ["now", "soon"]
    assert at["soon"] - began > 0.9
    assert engine.pending("later")


# --- running ---------------------------------------------------------------------------------


def test_a_flow_that_fails_is_over_and_the_next_one_runs(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    ran = Ran()

    def fail(*_: str) -> None:
        raise RuntimeError("no")

    engine.work({"receive": ran, "correct": fail})
    owe(engine, "bad", "correct", "x")
    until(lambda: not engine.pending("bad"))
    owe(engine, "good", "receive", "y")
    ran.wait()
    assert any(r.message == "flow failed" and r.exc_info for r in caplog.records)


def test_each_queue_keeps_its_own_width(engine: Engine) -> None:
    """One flow of reconcile at a time, however many are owed; the others go on meanwhile."""
    at_once: list[int] = []
    running = 0
    lock = threading.Lock()
    ran = Ran()

    def slow(*_: str) -> None:
        nonlocal running
        with lock:
            running += 1
            at_once.append(running)
        time.sleep(0.15)
        with lock:
            running -= 1

    engine.work({"reconcile": slow, "receive": ran})
    for number in range(4):
        owe(engine, f"r{number}", "reconcile")
    owe(engine, "free")
    ran.wait()
    until(lambda: len(at_once) == 4)
    assert max(at_once) == QUEUES["reconcile"].width == 1


def test_what_is_taken_on_ahead_waits_for_room(engine: Engine) -> None:
    """More actions are taken on than run at a time; each of them runs, and the width at once."""
    at_once: list[int] = []
    running = 0
    lock = threading.Lock()

    full = threading.Event()

    def step(*_: str) -> None:
        nonlocal running
        with lock:
            running += 1
            at_once.append(running)
            if running == width:
                full.set()
        full.wait(60)
        with lock:
            running -= 1

    width, ahead = QUEUES["correct"].width, QUEUES["correct"].ahead
    many = width + ahead + 10
    for number in range(many):
        owe(engine, f"a{number}", "correct")
    engine.work({"correct": step})
    until(lambda: len(at_once) == many)
    assert max(at_once) == width


def test_a_flow_of_no_queue_is_refused(engine: Engine) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        engine.work({"receive": print, "nowhere.at_all": print})


def test_pending_knows_names_by_their_beginning(engine: Engine) -> None:
    owe(engine, "sync:erp:2026-11-21T12:00:00Z:again")
    assert engine.pending("sync:erp:2026-11-21T12:00:00Z")
    assert not engine.pending("sync:crm")


# --- tidying ---------------------------------------------------------------------------------


def rows(database: Database) -> dict[str, int]:
    """How many rows each of the engine's tables has."""
    counts = {}
    with database.engine.connect() as connection:
        for name in engine_tables(database):
            counts[name] = connection.scalar(sa.text(f"select count(*) from {name}")) or 0
        connection.rollback()
    return counts


def engine_tables(database: Database) -> list[str]:
    from middleware.store.tables import TABLES

    inspector = sa.inspect(database.engine)
    if not database.sqlite:
        return [f"dbos.{name}" for name in inspector.get_table_names(schema="dbos")]
    return [n for n in inspector.get_table_names() if n not in (*TABLES.tables, "alembic_version")]


def test_tidy_deletes_what_ended_long_ago_and_nothing_else(
    engine: Engine, database: Database
) -> None:
    ran = Ran()
    engine.work({"receive": ran})
    before = rows(database)
    for number in range(5):
        owe(engine, f"old:{number}", "receive", str(number))
    owe(engine, "unfinished", delay=600)
    ran.wait(5)
    until(lambda: not engine.pending("old"))
    assert engine.tidy(older_than=timedelta(hours=1)) == 0
    soon = timedelta(seconds=-2)  # the engine's times are whole seconds
    assert engine.tidy(older_than=soon, limit=3) == 3
    assert engine.tidy(older_than=soon) == 2
    assert engine.tidy(older_than=soon) == 0
    assert engine.pending("unfinished")
    left = {name: n - before[name] for name, n in rows(database).items() if n != before[name]}
    assert all(n == 1 for n in left.values()), f"rows of finished flows are left: {left}"


# --- surviving -------------------------------------------------------------------------------


def test_work_of_a_killed_worker_is_taken_over(
    engine: Engine, start: Callable[[], Node], diary: Diary, database: Database
) -> None:
    """On SQLite by the next start, on PostgreSQL by another node as soon as the lease ran out."""
    first = start()
    for number in range(8):
        owe(engine, f"w{number}", "correct", str(number))
    diary.wait("began", pid=first.pid, count=8)
    second = None if database.sqlite else start()
    if second is not None:
        diary.wait("ready", pid=second.pid)
    first.kill()
    killed = time.time()
    diary.let_go()
    if second is None:
        again = start()
        diary.wait("ended", pid=again.pid, count=8)
    else:
        lapse(database, first.pid)
        diary.wait("ended", pid=second.pid, count=8)
        assert min(line.at for line in diary.lines("began", pid=second.pid)) > killed
    until(lambda: not engine.pending("w"))
    ended = sorted(line.arguments[0] for line in diary.lines("ended"))
    assert ended == [str(number) for number in range(8)]


def test_a_frozen_worker_that_wakes_up_begins_no_write(
    engine: Engine, start: Callable[[], Node], diary: Diary, database: Database
) -> None:
    """Its lease is renewed the moment it wakes up; what ran before must not profit from that."""
    if database.sqlite:
        pytest.skip("SQLite has one worker; nobody takes over while it is frozen")
    frozen = start()
    diary.wait("ready")
    owe(engine, "w", "correct", "1")
    diary.wait("began", pid=frozen.pid)
    other = start()
    diary.wait("ready", pid=other.pid)
    frozen.signal(signal.SIGSTOP)
    try:
        lapse(database, frozen.pid)
        diary.wait("began", pid=other.pid)
        assert len(living(database)) == 1
        diary.slept(frozen.pid)
    finally:
        frozen.signal(signal.SIGCONT)
    until(lambda: len(living(database)) == 2)  # its heart has beaten again
    diary.let_go()
    diary.wait("refused", pid=frozen.pid)
    diary.wait("ended", pid=other.pid)
    until(lambda: not engine.pending("w"))
    owe(engine, "w2", "correct", "2")
    diary.wait("ended", count=2)
    assert diary.lines("ended", pid=frozen.pid) in ([], [diary.lines("ended")[-1]])


def living(database: Database) -> set[str]:
    with database.read() as uow:
        return uow.nodes.alive(lease=node.LEASE)


def test_sqlite_has_room_for_one_worker(
    engine: Engine, start: Callable[[], Node], diary: Diary, database: Database
) -> None:
    if not database.sqlite:
        diary.let_go()
        pytest.skip("PostgreSQL takes any number of workers")
    first = start()
    diary.wait("ready")
    assert start().status() == REFUSED
    with pytest.raises(WorkerRunningError):
        engine.work({})
    owe(engine, "still", "receive", "served")
    assert diary.wait("ran")[0].pid == first.pid
    first.kill()
    engine.work({})


# --- the lease -------------------------------------------------------------------------------


def test_the_guard_refuses_when_the_lease_was_not_renewed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(database, lease=timedelta(seconds=30), poll=timedelta(milliseconds=50))
    engine._every = timedelta(milliseconds=20)
    away, noticed = threading.Event(), threading.Event()
    beat, now = Engine._beat, 1000.0

    def broken(self: Engine) -> None:
        if away.is_set():
            noticed.set()
            raise OSError("the database is away")
        beat(self)

    monkeypatch.setattr(Engine, "_beat", broken)
    monkeypatch.setattr(engine_module, "_boottime", lambda: now)
    engine.work({})
    try:
        engine.guard()
        away.set()
        if database.sqlite:
            now += 3600
            engine.guard()  # nobody could have taken over
            return
        assert noticed.wait(60)
        now += 17
        engine.guard()
        now += 2
        # Long before the others may think that the lease has run out.
        assert refuses(engine)
        away.clear()
        until(lambda: not refuses(engine))
    finally:
        engine.stop(grace=timedelta(0))


def refuses(engine: Engine) -> bool:
    try:
        engine.guard()
    except LeaseLostError:
        return True
    return False


def test_a_node_that_leaves_gives_its_lease_back(database: Database) -> None:
    engine = Engine(database, lease=timedelta(seconds=30))
    engine.work({})
    with database.read() as uow:
        there = uow.nodes.alive(lease=timedelta(seconds=30))
    assert there == (set() if database.sqlite else {engine.node})
    engine.stop(grace=timedelta(0))
    with database.read() as uow:
        assert uow.nodes.alive(lease=timedelta(seconds=30)) == set()


def test_the_clock_of_the_lease_counts_time_asleep() -> None:
    assert engine_module._boottime() >= time.monotonic() - 1
