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

from middleware.domain.blackouts import span_at
from middleware.flows import prioritise, sync
from middleware.flows.due import (
    EPOCH,
    every,
    full_tick_of,
    last_due,
    tick_of,
    trigger_of,
    windows_of,
)
from middleware.flows.hub import Hub
from middleware.store.tables import JobRow

log = logging.getLogger(__name__)

READ_EVERY = timedelta(seconds=5)
RECONCILE_EVERY = timedelta(seconds=10)
DUE_EVERY = timedelta(seconds=2)
"""How often due escalation steps and scores are looked for: how late they are at most, when nothing
else is in the way."""
LATE = 24 * 3600
"""Seconds by which a tick may be late and still count; coalesced to one."""


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
        self._missed: dict[tuple[str, str], BaseTrigger] = {}
        """What was missed, by job and mode, and waits for the end of a blackout."""
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": _TickExecutor()},
            job_defaults={"misfire_grace_time": LATE, "coalesce": True, "max_instances": 100},
        )

    def start(self) -> None:
        """Catch up with what was missed, then tick."""
        self._read_jobs(catch_up=True)
        self._add("clock:read", every(READ_EVERY), lambda _due: self._read_jobs())
        self._add(
            "clock:reconcile",
            every(RECONCILE_EVERY),
            lambda due: self._owe_reconcile(tick_of(due)),
        )
        self._add(
            "clock:due", every(DUE_EVERY), lambda due: prioritise.owe(self._hub, tick_of(due))
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
        for (name, mode), trigger in list(self._missed.items()):
            if name in jobs and self._known.get(name) == jobs[name].version:
                self._catch_up(jobs[name], mode, trigger)
            else:
                del self._missed[name, mode]
        for name, row in jobs.items():
            if self._known.get(name) == row.version:
                continue
            self._known[name] = row.version
            self._remove(name)
            for mode, schedule in (("changes", row.schedule), ("full", row.full)):
                if not schedule:
                    continue
                try:
                    trigger = trigger_of(schedule)
                except (ValueError, KeyError):
                    # One wrong line must not stop the other jobs.
                    log.exception("a job's schedule can't be read", extra={"job": name})
                    continue
                self._add(f"{mode}:{name}", trigger, partial(self._owe_run, name, mode))
                if catch_up:
                    self._catch_up(row, mode, trigger)

    def _catch_up(self, row: JobRow, mode: str, trigger: BaseTrigger) -> None:
        """Owe one run for all the ticks that were missed while nobody ticked, after a blackout."""
        self._missed.pop((row.name, mode), None)
        now = self._hub.clock()
        missed = last_due(trigger, now)
        if missed is None or _named(missed, mode) <= _caught_up_from(row, mode):
            return
        if span_at(windows_of((row.full if mode == "full" else row.schedule) or {}), now):
            self._missed[row.name, mode] = trigger
        else:
            self._owe_run(row.name, mode, missed)

    def _owe_run(self, name: str, mode: str, due: datetime) -> None:
        tick = _named(due, mode)
        sync.owe(self._hub, name, tick=tick, requested_by="schedule", mode=mode)

    def _remove(self, name: str) -> None:
        for mode in ("changes", "full"):
            if self._scheduler.get_job(f"{mode}:{name}") is not None:
                self._scheduler.remove_job(f"{mode}:{name}")

    def _add(self, name: str, trigger: BaseTrigger, func: Callable[[datetime], None]) -> None:
        # The argument given here only satisfies the scheduler; the executor passes the due time.
        self._scheduler.add_job(func, trigger, id=name, args=(EPOCH,), replace_existing=True)


def _named(due: datetime, mode: str) -> str:
    return full_tick_of(due) if mode == "full" else tick_of(due)


def _caught_up_from(row: JobRow, mode: str) -> str:
    """The tick after which what was missed is made up for: not what was due during a pause."""
    resumed = _named(row.counts_from, mode) if row.counts_from is not None else ""
    if mode == "full":
        return max(row.last_full or full_tick_of(row.declared_at), resumed)
    return max(row.last_tick, resumed) if row.last_tick is not None else ""
