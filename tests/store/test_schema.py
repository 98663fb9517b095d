"""Migrations: from empty, against the models, and with data in the tables."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from middleware.flows.engine import Engine
from middleware.store import database as database_module
from middleware.store import schema
from middleware.store.database import Database
from middleware.store.tables import TABLES, AuditRow
from tests import databases
from tests.flows.node import until


@pytest.fixture(params=databases.BOTH)
def blank(request: pytest.FixtureRequest, tmp_path: Path):
    url = databases.empty(request.param, tmp_path)
    database = Database(url)
    yield database
    database.close()
    databases.drop(url)


def test_an_empty_database_is_at_no_revision(blank: Database) -> None:
    assert schema.at(blank) is None


def test_migrations_lead_to_the_models(blank: Database) -> None:
    schema.upgrade(blank)
    Engine.migrate(blank)
    assert schema.at(blank) == schema.head()
    with blank.engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "include_object": lambda _o, name, type_, _r, _c: (
                    type_ != "table" or name in TABLES.tables
                ),
            },
        )
        difference = compare_metadata(context, TABLES)
        connection.rollback()
    assert difference == []


def test_migrating_twice_changes_nothing(blank: Database) -> None:
    schema.upgrade(blank)
    with blank.begin() as uow:
        uow.audit.write(at=datetime.now(UTC), actor="a", action="b", subject="c", n=1)
    schema.upgrade(blank)
    with blank.read() as uow:
        assert [row.detail for row in uow.audit.about("c")] == [{"n": 1}]


def test_times_come_back_aware_and_in_utc(database: Database) -> None:
    moment = datetime(2026, 11, 21, 12, 0, tzinfo=timezone(timedelta(hours=5)))
    with database.begin() as uow:
        uow.audit.write(at=moment, actor="a", action="b", subject="t")
    with database.read() as uow:
        (row,) = uow.audit.about("t")
    assert row.at == moment
    assert row.at.utcoffset() == timedelta(0)


def test_a_naive_time_is_refused(database: Database) -> None:
    with pytest.raises(sa.exc.StatementError, match="needs a time zone"), database.begin() as uow:
        uow.session.add(
            AuditRow(id="x", at=datetime(2026, 1, 1), actor="a", action="b", subject="c", detail={})
        )


def test_a_failed_unit_of_work_leaves_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError), database.begin() as uow:
        uow.audit.write(at=datetime.now(UTC), actor="a", action="b", subject="gone")
        raise RuntimeError
    with database.read() as uow:
        assert uow.audit.about("gone") == []


def test_reading_does_not_wait_for_a_writer(database: Database) -> None:
    with database.begin() as writing:
        writing.audit.write(at=datetime.now(UTC), actor="a", action="b", subject="s")
        writing.session.flush()
        with database.read() as reading:
            assert reading.audit.about("s") == []


def test_sqlite_is_in_wal_mode_and_syncs_every_commit(tmp_path: Path) -> None:
    database = Database(databases.migrated("sqlite", tmp_path))
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        connection.rollback()
    database.close()


def test_writers_of_one_process_take_turns_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own waiting polls, and may starve somebody while others come and go."""
    url = databases.migrated("sqlite", tmp_path)
    turns = database_module._Turns()
    monkeypatch.setattr(database_module, "_Turns", lambda: turns)
    database = Database(url)
    order: list[int] = []
    started, ends = threading.Event(), threading.Event()

    def write(n: int) -> None:
        with database.begin() as uow:
            uow.nodes.database_time()
            order.append(n)

    def hold() -> None:
        with database.begin() as uow:
            uow.nodes.database_time()  # a transaction begins with its first statement
            started.set()
            assert ends.wait(60)

    threads = [threading.Thread(target=hold)]
    threads[0].start()
    assert started.wait(60)
    for n in range(8):
        threads.append(threading.Thread(target=write, args=(n,)))
        threads[-1].start()
        until(lambda n=n: len(turns._asking) == n + 1)  # type: ignore[misc]
    ends.set()
    for thread in threads:
        thread.join()
    assert order == list(range(8))
    database.close()


def test_a_failed_writer_gives_its_turn_back(tmp_path: Path) -> None:
    database = Database(databases.migrated("sqlite", tmp_path))
    for _ in range(3):
        with pytest.raises(RuntimeError), database.begin() as uow:
            uow.session.execute(sa.text("select 1"))
            raise RuntimeError
    with pytest.raises(sa.exc.OperationalError), database.begin() as uow:
        uow.session.execute(sa.text("select * from nowhere"))
    with database.begin() as uow:
        uow.audit.write(at=datetime.now(UTC), actor="a", action="b", subject="after")
    database.close()


def test_what_was_taken_apart_before_there_were_cannot_links_stays_apart(blank: Database) -> None:
    schema.upgrade(blank, to="0004")
    ended = datetime(2026, 1, 2, tzinfo=UTC)
    with blank.engine.begin() as connection:
        for person in ("per_a", "per_b"):
            connection.execute(
                sa.text("insert into person (id, created_at) values (:id, :at)"),
                {"id": person, "at": ended},
            )
        for link, person, record, revoked in (
            ("lnk_1", "per_a", "C1", True),
            ("lnk_2", "per_b", "C1", True),
            ("lnk_3", "per_b", "C1", False),
            ("lnk_4", "per_a", "C2", False),
        ):
            connection.execute(
                sa.text(
                    "insert into link (id, person_id, connection, kind, record_id, basis,"
                    " confidence, evidence, decided_by, valid_from, valid_to, revoked_by,"
                    " revoked_reason, version) values (:id, :person, 'crm', 'contact', :record,"
                    " 'agent', 1, '[]', 'hub', :at, :to, :by, 'a namesake', 1)"
                ),
                {
                    "id": link,
                    "person": person,
                    "record": record,
                    "at": ended,
                    "to": ended if revoked else None,
                    "by": "key_1" if revoked else None,
                },
            )
    schema.upgrade(blank)
    with blank.read() as uow:
        (row,) = uow.ledger.cannot_links_of({"crm:contact:C1", "crm:contact:C2"})
        assert (row.one, row.other, row.source) == ("crm:contact:C1", "per_a", "lnk_1")
        assert uow.ledger.bars("per_b", {"crm:contact:C1"}) == []


def test_ticks_of_the_console_begin_with_their_moment(blank: Database) -> None:
    """One that sorts after every moment hid whatever was due after it."""
    schema.upgrade(blank, to="0022")
    at = "2026-11-20T10:00:00.000001+00:00"
    job = sa.table(
        "job",
        *(sa.column(name) for name in ("name", "flow", "paused", "version", "last_tick")),
        *(sa.column(name, sa.JSON()) for name in ("arguments", "schedule")),
        sa.column("declared_at", sa.DateTime(timezone=True)),
    )
    ticks = {"resolve": f"cli:{at}", "sync": "2026-11-21T03:00:00Z", "new": None}
    with blank.engine.begin() as connection:
        for name, tick in ticks.items():
            row = {"name": name, "flow": "sync", "paused": False, "version": 1, "last_tick": tick}
            row |= {
                "arguments": {},
                "schedule": {},
                "declared_at": datetime(2026, 1, 2, tzinfo=UTC),
            }
            connection.execute(sa.insert(job).values(**row))
    schema.upgrade(blank)
    with blank.engine.begin() as connection:
        found = {row.name: row.last_tick for row in connection.execute(sa.select(job))}
    assert found == {**ticks, "resolve": at}
