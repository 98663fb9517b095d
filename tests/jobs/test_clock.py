"""The clock: a tick is owed once by any number of nodes, and a standstill owes one run."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from middleware.app import owe_reconcile
from middleware.domain.schedules import weekdays_named
from middleware.flows import pause, sync
from middleware.flows.due import EPOCH, last_due, tick_of, trigger_of
from middleware.flows.engine import Engine
from middleware.flows.hub import Asker, Hub, Options
from middleware.jobs import clock as clock_module
from middleware.jobs.clock import Clock
from middleware.registry import Registry
from middleware.store.database import Database
from middleware.store.tables import RunRow
from middleware.understanding import Rules

EVERY_SECOND = {"every": 1}
READINGS: Counter[Clock] = Counter()
"""How often each clock has read the jobs."""


@pytest.fixture
def hub(database: Database) -> Iterator[Hub]:
    """A hub that owes work and does none of it."""
    made = Hub(
        database=database,
        registry=Registry(()),
        engine=Engine(database),
        understands=Rules(),
        options=Options(),
    )
    yield made
    made.engine.stop()


@pytest.fixture
def clocks(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Clock]]:
    """Starts clocks, each on a node of its own, that read the jobs every second."""
    monkeypatch.setattr(clock_module, "READ_EVERY", timedelta(seconds=1))
    monkeypatch.setattr(clock_module, "RECONCILE_EVERY", timedelta(seconds=1))
    read = Clock._read_jobs

    def counted(self: Clock, **more: Any) -> None:
        read(self, **more)
        READINGS[self] += 1

    monkeypatch.setattr(Clock, "_read_jobs", counted)
    started: list[tuple[Clock, Database, Engine]] = []

    def start() -> Clock:
        database = Database(hub.database.url)
        node = replace(hub, database=database, engine=Engine(database))
        made = Clock(node, lambda tick: owe_reconcile(node, tick))
        started.append((made, database, node.engine))
        made.start()
        return made

    yield start
    for made, database, engine in started:
        made.stop()
        engine.stop()
        database.close()


def declare(hub: Hub, schedule: dict[str, Any] | None, *, last_tick: str | None = None) -> None:
    """Declare the job `erp`, or with None no job at all."""
    spec = {"flow": "sync", "arguments": {"connection": "erp"}, "schedule": schedule}
    with hub.database.begin() as uow:
        uow.jobs.declare({"erp": spec} if schedule is not None else {}, at=hub.clock())
        uow.session.flush()
        row = uow.jobs.get("erp")
        if row is not None and last_tick is not None:
            row.last_tick = last_tick


def declare_with_a_missed_full_run(hub: Hub) -> None:
    """Declare the job `erp` as it was nine days ago, with a full run every day."""
    spec = {"flow": "sync", "arguments": {"connection": "erp"}, "full": {"every": 86400}}
    declared = {**spec, "schedule": {"every": 7 * 86400}}
    with hub.database.begin() as uow:
        uow.jobs.declare({"erp": declared}, at=hub.clock() - timedelta(days=9))


def runs(hub: Hub) -> list[RunRow]:
    """The runs owed so far, oldest first."""
    with hub.database.read() as uow:
        return uow.jobs.runs_of("erp", limit=1000)[::-1]


def ticks(hub: Hub) -> list[str]:
    return [run.tick for run in runs(hub)]


def owed(hub: Hub, prefix: str) -> list[str]:
    """The names that the engine owes work under."""
    table = "workflow_status" if hub.database.sqlite else "dbos.workflow_status"
    with hub.database.engine.connect() as connection:
        rows = connection.execute(
            sa.text(f"select workflow_uuid from {table} where workflow_uuid like '{prefix}%'")
        )
        found = [str(row[0]) for row in rows]
        connection.rollback()
    return found


def wait_for(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def has_read(clock: Clock) -> None:
    """Wait until the clock goes by the jobs as they are now, whenever that is."""
    before = READINGS[clock]
    wait_for(lambda: READINGS[clock] >= before + 2)  # one may have begun already


# --- when a job is due -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "now", "due"),
    [
        ({"every": 60}, "2026-11-21T12:00:30Z", "2026-11-21T12:00:00Z"),
        ({"every": 60}, "2026-11-21T12:01:00Z", "2026-11-21T12:01:00Z"),
        ({"every": 86400}, "2026-11-21T23:59:59Z", "2026-11-21T00:00:00Z"),
        ({"every": 7 * 86400}, "2026-11-21T12:00:00Z", "2026-11-16T00:00:00Z"),
        # Further back than anything else is looked for.
        ({"every": 500 * 86400}, "2026-09-26T00:00:00Z", "2025-05-15T00:00:00Z"),
        ({"cron": "*/15 * * * *"}, "2026-11-21T12:14:59Z", "2026-11-21T12:00:00Z"),
        ({"cron": "0 9 * * *", "timezone": "UTC"}, "2026-11-21T08:59:00Z", "2026-11-20T09:00:00Z"),
        ({"cron": "0 9 * * *", "timezone": "UTC"}, "2026-11-21T09:00:00Z", "2026-11-21T09:00:00Z"),
        # Nine in Berlin is eight in Greenwich in winter and seven in summer.
        (
            {"cron": "0 9 * * *", "timezone": "Europe/Berlin"},
            "2026-11-21T08:30:00Z",
            "2026-11-21T08:00:00Z",
        ),
        (
            {"cron": "0 9 * * *", "timezone": "Europe/Berlin"},
            "2026-07-21T08:30:00Z",
            "2026-07-21T07:00:00Z",
        ),
        # Half past two does not exist in the night that summer begins: it is half past three.
        (
            {"cron": "30 2 * * *", "timezone": "Europe/Berlin"},
            "2026-03-29T12:00:00Z",
            "2026-03-29T01:30:00Z",
        ),
        # Sunday, seen from Thursday: further back than a day.
        ({"cron": "0 3 * * 0"}, "2026-11-19T12:00:00Z", "2026-11-15T03:00:00Z"),
        ({"cron": "0 3 * * 7"}, "2026-11-19T12:00:00Z", "2026-11-15T03:00:00Z"),
        ({"cron": "0 3 * * mon-fri"}, "2026-11-22T12:00:00Z", "2026-11-20T03:00:00Z"),
        ({"cron": "0 0 1 1 *"}, "2026-11-21T12:00:00Z", "2026-01-01T00:00:00Z"),
    ],
)
def test_the_last_time_a_job_was_due(schedule: dict[str, Any], now: str, due: str) -> None:
    found = last_due(trigger_of(schedule), datetime.fromisoformat(now))
    assert found is not None
    assert tick_of(found) == due


def test_what_was_never_due_owes_nothing() -> None:
    leap_day = trigger_of({"cron": "0 0 29 2 *"})
    assert last_due(leap_day, datetime(2026, 11, 21, tzinfo=UTC)) is None


def test_every_node_counts_intervals_from_the_same_moment() -> None:
    """However late a node starts, its ticks are those of the others."""
    trigger = trigger_of({"every": 420})
    after = [
        trigger.get_next_fire_time(None, datetime(2026, 11, 21, 12, minute, 13, tzinfo=UTC))
        for minute in range(7)
    ]
    assert len(set(after)) <= 2
    assert all((due - EPOCH).total_seconds() % 420 == 0 for due in after)


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("0", "sun"),
        ("7", "sun"),
        ("1", "mon"),
        ("SAT", "sat"),
        ("1-5", "mon,tue,wed,thu,fri"),
        ("5-7", "sun,fri,sat"),
        ("fri-mon", "sun,mon,fri,sat"),
        ("*/2", "sun,tue,thu,sat"),
        ("1/2", "mon,wed,fri"),
        ("1,3,sun", "sun,mon,wed"),
        ("0-6", "*"),
        ("*", "*"),
    ],
)
def test_weekdays_are_those_of_a_crontab(written: str, named: str) -> None:
    assert weekdays_named(f"0 3 * * {written}") == f"0 3 * * {named}"


@pytest.mark.parametrize(
    "wrong", ["0 3 * *", "0 3 * * 8", "0 3 * * someday", "0 3 * * 1-", "* " * 6]
)
def test_a_line_that_is_no_crontab_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError):
        weekdays_named(wrong)


# --- once --------------------------------------------------------------------------------------


def test_two_clocks_owe_each_tick_once(hub: Hub, clocks: Callable[[], Clock]) -> None:
    declare(hub, EVERY_SECOND)
    first = clocks()
    clocks()
    wait_for(lambda: len(runs(hub)) >= 4)
    first.stop()  # the other one goes on alone
    until = ticks(hub)[-1]
    wait_for(lambda: len([tick for tick in ticks(hub) if tick > until]) >= 2)
    assert [tick for tick, count in Counter(ticks(hub)).items() if count > 1] == []
    assert sorted(ticks(hub)) == ticks(hub)
    assert len(owed(hub, "sync:erp:")) == len(runs(hub))
    reconciles = owed(hub, "reconcile:")
    assert len(reconciles) >= 2
    assert len(set(reconciles)) == len(reconciles)


def test_nodes_that_owe_a_tick_at_the_same_moment_owe_one_run(hub: Hub) -> None:
    """No run is left behind that reconcile would take for one that died."""
    declare(hub, EVERY_SECOND)
    nodes = [replace(hub, database=Database(hub.database.url)) for _ in range(3)]
    nodes = [replace(node, engine=Engine(node.database)) for node in nodes]
    answers: list[tuple[str, bool]] = []
    for number in range(8):
        barrier = threading.Barrier(len(nodes))

        def owe(node: Hub, tick: str, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            answers.append(sync.owe(node, "erp", tick=tick, requested_by="schedule"))

        threads = [threading.Thread(target=owe, args=(n, f"tick-{number}")) for n in nodes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 24
    assert sum(new for _, new in answers) == 8
    assert len(runs(hub)) == len({run_id for run_id, _ in answers}) == 8
    for node in nodes:
        node.engine.stop()
        node.database.close()


# --- catching up -------------------------------------------------------------------------------


def test_after_a_standstill_one_run_is_owed(hub: Hub, clocks: Callable[[], Clock]) -> None:
    declare(hub, {"every": 3600}, last_tick="2026-01-01T00:00:00Z")
    clocks()
    clocks()
    (run,) = runs(hub)
    due = last_due(trigger_of({"every": 3600}), hub.clock())
    assert due is not None
    assert run.tick == tick_of(due)
    assert run.requested_by == "schedule"
    assert owed(hub, "sync:") == [f"sync:erp:{run.tick}"]


def test_a_seldom_job_is_caught_up_too(hub: Hub, clocks: Callable[[], Clock]) -> None:
    weekly = {"cron": "0 3 * * 0", "timezone": "Europe/Berlin"}
    declare(hub, weekly, last_tick="2026-01-04T02:00:00Z")
    clocks()
    (run,) = runs(hub)
    assert datetime.fromisoformat(run.tick).weekday() == 6


def test_a_job_that_never_ran_is_run_at_once(hub: Hub, clocks: Callable[[], Clock]) -> None:
    declare(hub, {"every": 24 * 3600})
    clocks()
    assert len(runs(hub)) == 1


def test_nothing_is_caught_up_when_nothing_was_missed(
    hub: Hub, clocks: Callable[[], Clock]
) -> None:
    hourly = {"every": 3600}
    last = last_due(trigger_of(hourly), hub.clock())
    assert last is not None
    declare(hub, hourly, last_tick=tick_of(last))
    clocks()
    assert ticks(hub) in ([], [tick_of(last + timedelta(hours=1))])


# --- changes while it ticks --------------------------------------------------------------------


def test_a_paused_job_owes_nothing_and_a_resumed_one_does(
    hub: Hub, clocks: Callable[[], Clock]
) -> None:
    declare(hub, EVERY_SECOND)
    clock = clocks()
    wait_for(lambda: len(runs(hub)) >= 2)
    pause.set_paused(hub, "erp", Asker("key_admin"), paused=True)
    has_read(clock)
    before = ticks(hub)
    time.sleep(2.5)
    assert ticks(hub) == before
    pause.set_paused(hub, "erp", Asker("key_admin"), paused=False)
    wait_for(lambda: len(runs(hub)) > len(before))
    gap = datetime.fromisoformat(ticks(hub)[len(before)]) - datetime.fromisoformat(before[-1])
    assert gap >= timedelta(seconds=2.5), "what was due while it was paused is not made up for"


def test_a_paused_job_is_not_caught_up(hub: Hub, clocks: Callable[[], Clock]) -> None:
    declare(hub, {"every": 3600}, last_tick="2026-01-01T00:00:00Z")
    pause.set_paused(hub, "erp", Asker("key_admin"), paused=True)
    clocks()
    assert runs(hub) == []


def test_a_job_that_is_no_longer_declared_owes_nothing(
    hub: Hub, clocks: Callable[[], Clock]
) -> None:
    declare(hub, EVERY_SECOND)
    clock = clocks()
    wait_for(lambda: len(runs(hub)) >= 2)
    declare(hub, None)
    has_read(clock)
    before = ticks(hub)
    time.sleep(2.5)
    assert ticks(hub) == before


def test_a_changed_schedule_counts_from_the_next_reading(
    hub: Hub, clocks: Callable[[], Clock]
) -> None:
    declare(hub, {"every": 7 * 86400})
    clocks()
    assert len(runs(hub)) == 1
    declare(hub, EVERY_SECOND)
    wait_for(lambda: len(runs(hub)) >= 3)


def test_a_tick_that_fails_does_not_stop_the_clock(
    hub: Hub, clocks: Callable[[], Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database was away for a moment."""
    declare(hub, EVERY_SECOND)
    clocks()
    wait_for(lambda: len(runs(hub)) >= 1)
    failed = threading.Event()

    def away(*args: Any, **more: Any) -> Any:
        failed.set()
        raise OSError("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(sync, "owe", away)
        assert failed.wait(30)
    before = len(runs(hub))
    wait_for(lambda: len(runs(hub)) > before)


def test_a_schedule_that_cannot_be_read_does_not_keep_the_others(
    hub: Hub, clocks: Callable[[], Clock]
) -> None:
    """The configuration refuses such a line; a row of an older version may hold one."""
    spec = {"flow": "sync", "arguments": {"connection": "erp"}, "schedule": EVERY_SECOND}
    broken = {**spec, "schedule": {"cron": "61 * * * *", "timezone": "UTC"}}
    with hub.database.begin() as uow:
        uow.jobs.declare({"broken": broken, "erp": spec}, at=hub.clock())
    clocks()
    wait_for(lambda: len(runs(hub)) >= 2)


def test_a_full_run_is_owed_at_its_own_times(hub: Hub, clocks: Callable[[], Clock]) -> None:
    with hub.database.begin() as uow:
        spec = {"flow": "sync", "arguments": {"connection": "erp"}, "full": EVERY_SECOND}
        uow.jobs.declare({"erp": {**spec, "schedule": {"every": 7 * 86400}}}, at=hub.clock())
    clocks()
    clocks()
    wait_for(lambda: sum(run.mode == "full" for run in runs(hub)) >= 2)
    full = [run for run in runs(hub) if run.mode == "full"]
    assert all(run.tick.endswith("/full") for run in full)
    assert len({run.tick for run in full}) == len(full)
    assert [run.mode for run in runs(hub)].count("changes") == 1


def test_a_full_run_that_was_missed_is_caught_up_once(
    hub: Hub, clocks: Callable[[], Clock]
) -> None:
    declare_with_a_missed_full_run(hub)
    clocks()
    clocks()
    assert [run.mode for run in runs(hub)].count("full") == 1


def test_a_full_run_that_was_due_during_a_pause_is_not_caught_up(
    hub: Hub, clocks: Callable[[], Clock]
) -> None:
    declare_with_a_missed_full_run(hub)
    pause.set_paused(hub, "erp", Asker("key_admin"), paused=True)
    pause.set_paused(hub, "erp", Asker("key_admin"), paused=False)
    has_read(clocks())
    assert [run.mode for run in runs(hub)].count("full") == 0


def test_what_was_missed_is_caught_up_after_a_blackout(
    hub: Hub, clocks: Callable[[], Clock]
) -> None:
    now = hub.clock()
    until = now + timedelta(seconds=8)
    window = {"since": (now - timedelta(seconds=1)).isoformat(), "until": until.isoformat()}
    weekly = {"every": 7 * 86400, "blackouts": [window]}
    declare(hub, weekly, last_tick="2026-01-01T00:00:00Z")
    has_read(clocks())
    assert runs(hub) == []
    wait_for(lambda: len(runs(hub)) == 1)
    assert runs(hub)[0].queued_at >= until
    due = last_due(trigger_of(weekly), hub.clock())
    assert due is not None
    assert ticks(hub) == [tick_of(due)]


def test_what_was_due_during_a_pause_is_not_caught_up_after_a_restart(
    hub: Hub, clocks: Callable[[], Clock]
) -> None:
    declare(hub, {"every": 3600}, last_tick="2026-01-01T00:00:00Z")
    pause.set_paused(hub, "erp", Asker("key_admin"), paused=True)
    pause.set_paused(hub, "erp", Asker("key_admin"), paused=False)
    clocks()
    assert [t for t in ticks(hub) if t < tick_of(hub.clock() - timedelta(seconds=30))] == []


def test_a_paused_job_stays_paused_over_a_restart_and_the_audit_says_who(
    hub: Hub, clocks: Callable[[], Clock]
) -> None:
    declare(hub, EVERY_SECOND, last_tick="2026-01-01T00:00:00Z")
    pause.set_paused(hub, "erp", Asker("key_admin"), paused=True)
    first = clocks()
    first.stop()
    declare(hub, EVERY_SECOND)  # as the next start does
    has_read(clocks())
    assert runs(hub) == []
    with hub.database.read() as uow:
        assert [(row.actor, row.action) for row in uow.audit.about("erp")] == [
            ("key_admin", "job.pause")
        ]


def test_a_clock_ticks_around_blackouts(hub: Hub, clocks: Callable[[], Clock]) -> None:
    now = hub.clock()
    window = {
        "since": (now - timedelta(hours=1)).isoformat(),
        "until": (now + timedelta(seconds=4)).isoformat(),
    }
    declare(hub, {**EVERY_SECOND, "blackouts": [window]}, last_tick=tick_of(now))
    clocks()
    wait_for(lambda: len(runs(hub)) >= 2)
    assert min(ticks(hub)) >= tick_of(now + timedelta(seconds=4))
