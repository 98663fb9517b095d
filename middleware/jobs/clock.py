"""APScheduler as the clock for the jobs in our own table.

Every node runs one. It fires nothing itself: a tick owes a run whose name is made of the job and
the due time, so that any number of nodes owe it once. The scheduler's own job store is memory:
schedules live in our table, and are read again every few seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from apscheduler.executors.base import BaseExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from middleware.flows import sync
from middleware.flows.hub import Hub

log = logging.getLogger(__name__)

READ_EVERY = timedelta(seconds=5)
RECONCILE_EVERY = timedelta(seconds=10)
LATE = 24 * 3600
"""Seconds by which a tick may be late and still count; coalesced to one."""

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
"""Where intervals are counted from, on every node alike."""


class _TickExecutor(BaseExecutor):  # type: ignore[misc]
    """Hands the due time to the job: APScheduler's own executors keep it to themselves."""

    def _do_submit_job(self, job: Any, run_times: list[datetime]) -> None:
        try:
            job.func(run_times[-1])
        except Exception:
            log.exception("a tick could not be owed", extra={"job": job.id})
        self._run_job_success(job.id, [])


class Clock:
    def __init__(self, hub: Hub, owe_reconcile: Callable[[str], None]) -> None:
        self._hub = hub
        self._owe_reconcile = owe_reconcile
        self._known: dict[str, int] = {}
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": _TickExecutor()},
            job_defaults={"misfire_grace_time": LATE, "coalesce": True, "max_instances": 1},
        )

    def start(self) -> None:
        """Catch up with what was missed, then tick."""
        self._read_jobs(catch_up=True)
        self._add("clock:read", _every(READ_EVERY), lambda _due: self._read_jobs())
        self._add(
            "clock:reconcile",
            _every(RECONCILE_EVERY),
            lambda due: self._owe_reconcile(tick_of(due)),
        )
        self._scheduler.start()

    def stop(self) -> None:
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def _read_jobs(self, *, catch_up: bool = False) -> None:
        """Make the scheduler's jobs those of our table."""
        with self._hub.database.read() as uow:
            jobs = {row.name: row for row in uow.jobs.all() if not row.paused}
        for name in [n for n in self._known if n not in jobs]:
            self._scheduler.remove_job(f"job:{name}")
            del self._known[name]
        for name, row in jobs.items():
            if self._known.get(name) == row.version:
                continue
            trigger = trigger_of(row.schedule)
            self._add(f"job:{name}", trigger, partial(self._owe_run, name))
            self._known[name] = row.version
            if catch_up:
                self._catch_up(name, trigger, row.last_tick)

    def _catch_up(self, name: str, trigger: BaseTrigger, last_tick: str | None) -> None:
        """Owe one run for all the ticks that were missed while nobody ticked."""
        missed = last_due(trigger, self._hub.clock())
        if missed is not None and tick_of(missed) > (last_tick or ""):
            sync.owe(self._hub, name, tick=tick_of(missed), requested_by="schedule")

    def _owe_run(self, name: str, due: datetime) -> None:
        sync.owe(self._hub, name, tick=tick_of(due), requested_by="schedule")

    def _add(self, name: str, trigger: BaseTrigger, func: Callable[[datetime], None]) -> None:
        # The argument given here only satisfies the scheduler; the executor passes the due time.
        self._scheduler.add_job(func, trigger, id=name, args=(EPOCH,), replace_existing=True)


def trigger_of(schedule: dict[str, Any]) -> BaseTrigger:
    """The trigger of a stored schedule: `{"every": seconds}` or `{"cron": …, "timezone": …}`."""
    if schedule.get("every"):
        return _every(timedelta(seconds=float(schedule["every"])))
    return CronTrigger.from_crontab(schedule["cron"], timezone=schedule.get("timezone") or "UTC")


def last_due(trigger: BaseTrigger, now: datetime) -> datetime | None:
    """The last time before `now` that a trigger was due, looking back a day at most."""
    if isinstance(trigger, IntervalTrigger):
        interval: timedelta = trigger.interval
        return EPOCH + (now - EPOCH) // interval * interval
    last = None
    due = trigger.get_next_fire_time(None, now - timedelta(days=1))
    while due is not None and due <= now:
        last = due
        due = trigger.get_next_fire_time(due, due + timedelta(microseconds=1))
    return last


def tick_of(due: datetime) -> str:
    """The name of a tick: its due time in UTC, to the second."""
    return due.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _every(interval: timedelta) -> IntervalTrigger:
    return IntervalTrigger(seconds=int(interval.total_seconds()), start_date=EPOCH, timezone=UTC)
