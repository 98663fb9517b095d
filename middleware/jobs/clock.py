"""APScheduler as the clock for the jobs in our own table.

Every node runs one. It fires nothing itself: a tick owes a run whose name is made of the job and
the due time, so that any number of nodes owe it once. The scheduler's own job store is memory:
schedules live in our table, and are read again every few seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from apscheduler.executors.base import BaseExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from middleware.domain.schedules import weekdays_named
from middleware.flows import sync
from middleware.flows.hub import Hub

log = logging.getLogger(__name__)

READ_EVERY = timedelta(seconds=5)
RECONCILE_EVERY = timedelta(seconds=10)
LATE = 24 * 3600
"""Seconds by which a tick may be late and still count; coalesced to one."""

LOOKED_BACK = tuple(timedelta(days=d) for d in (1 / 24, 1, 8, 366))

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
"""Where intervals are counted from, on every node alike."""


class _TickExecutor(BaseExecutor):  # type: ignore[misc]
    """Hands the due time to the job: APScheduler's own executors keep it to themselves.

    Jobs run one after another in a thread of their own, not in the scheduler's: a job that removes
    another one which is due at the same moment would break off the scheduler's round, and with it
    the clock.
    """

    def start(self, scheduler: Any, alias: str) -> None:
        super().start(scheduler, alias)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="clock")

    def shutdown(self, wait: bool = True) -> None:
        self._thread.shutdown(wait=wait, cancel_futures=True)

    def _do_submit_job(self, job: Any, run_times: list[datetime]) -> None:
        self._thread.submit(self._tick, job, run_times[-1])

    def _tick(self, job: Any, due: datetime) -> None:
        try:
            job.func(due)
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
            job_defaults={"misfire_grace_time": LATE, "coalesce": True, "max_instances": 100},
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
            self._remove(name)
            del self._known[name]
        for name, row in jobs.items():
            if self._known.get(name) == row.version:
                continue
            self._known[name] = row.version
            try:
                trigger = trigger_of(row.schedule)
            except (ValueError, KeyError):
                # One wrong line must not stop the other jobs.
                log.exception("a job's schedule can't be read", extra={"job": name})
                self._remove(name)
                continue
            self._add(f"job:{name}", trigger, partial(self._owe_run, name))
            if catch_up:
                self._catch_up(name, trigger, row.last_tick)

    def _catch_up(self, name: str, trigger: BaseTrigger, last_tick: str | None) -> None:
        """Owe one run for all the ticks that were missed while nobody ticked."""
        missed = last_due(trigger, self._hub.clock())
        if missed is not None and tick_of(missed) > (last_tick or ""):
            sync.owe(self._hub, name, tick=tick_of(missed), requested_by="schedule")

    def _owe_run(self, name: str, due: datetime) -> None:
        sync.owe(self._hub, name, tick=tick_of(due), requested_by="schedule")

    def _remove(self, name: str) -> None:
        if self._scheduler.get_job(f"job:{name}") is not None:
            self._scheduler.remove_job(f"job:{name}")

    def _add(self, name: str, trigger: BaseTrigger, func: Callable[[datetime], None]) -> None:
        # The argument given here only satisfies the scheduler; the executor passes the due time.
        self._scheduler.add_job(func, trigger, id=name, args=(EPOCH,), replace_existing=True)


def trigger_of(schedule: dict[str, Any]) -> BaseTrigger:
    """The trigger of a stored schedule: `{"every": seconds}` or `{"cron": …, "timezone": …}`."""
    if schedule.get("every"):
        return _every(timedelta(seconds=float(schedule["every"])))
    return CronTrigger.from_crontab(
        weekdays_named(schedule["cron"]), timezone=schedule.get("timezone") or "UTC"
    )


def last_due(trigger: BaseTrigger, now: datetime) -> datetime | None:
    """The last time until `now` that a trigger was due, looking back a year at most."""
    if isinstance(trigger, IntervalTrigger):
        interval: timedelta = trigger.interval
        return EPOCH + (now - EPOCH) // interval * interval
    # What is due seldom is looked for further back; what is due often is found near.
    for back in LOOKED_BACK:
        last: datetime | None = None
        due = trigger.get_next_fire_time(None, now - back)
        while due is not None and due <= now:
            last = due
            due = trigger.get_next_fire_time(due, due + timedelta(microseconds=1))
        if last is not None:
            return last
    return None


def tick_of(due: datetime) -> str:
    """The name of a tick: its due time in UTC, to the second."""
    return due.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _every(interval: timedelta) -> IntervalTrigger:
    return IntervalTrigger(seconds=int(interval.total_seconds()), start_date=EPOCH, timezone=UTC)
