"""Alarms about the jobs: raised once, told once, and cleared when it is mended.

- `late`: no run of a job is done that was due longer ago than it may take.
- `unscheduled`: nothing ever runs a job, or no job syncs what a connection has.
- `empty`: a run saw nothing of a kind of which every run before it saw some (`flows.receipts`).
- `sweep`: a full run would have deleted too much, and deleted nothing (`flows.rereading`).

The first two are looked for here, every few seconds on a worker; `amends doctor` looks for itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from middleware.contract.capabilities import ListsChanges
from middleware.contract.errors import Permanent
from middleware.flows import deliver
from middleware.flows.due import moment_of, next_due, tick_of, trigger_of
from middleware.flows.hub import Hub
from middleware.store.database import UnitOfWork
from middleware.store.jobs import ENDED
from middleware.store.tables import AlarmRow, JobRow

log = logging.getLogger(__name__)

LATE_AFTER = timedelta(minutes=30)
"""How long after a tick its run is expected to be done, where the job does not say."""

EVENTS = {"late": "sync.job.late", "unscheduled": "sync.job.unscheduled"}


@dataclass(frozen=True)
class Found:
    """Something that somebody should look at."""

    type: str
    subject: str
    """A job, or a connection."""
    why: str
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stored(self) -> dict[str, Any]:
        return {"why": self.why, **self.detail}


def look(hub: Hub) -> None:
    """Raise what is found, and clear what no longer is."""
    now = hub.clock()
    found = {(one.type, one.subject): one for one in find(hub, now)}
    with hub.database.read() as uow:
        alarms = uow.jobs.alarms()
        synced = _synced(uow.jobs.all())
    open_ = {(row.type, row.subject): row for row in alarms if row.type in EVENTS}
    # Only a run clears what a run has raised; of what no job syncs any more there will be none.
    over = [row for row in alarms if row.type not in EVENTS and not _covers(synced, row.subject)]
    raised_ = {key: row.detail for key, row in open_.items()}
    if not over and {key: one.stored for key, one in found.items()} == raised_:
        return
    with hub.database.begin() as uow:
        for one in found.values():
            if raised(hub, uow, one.type, one.subject, one.stored, at=now):
                data: dict[str, Any] = {
                    "job": None,
                    "connection": None,
                    "kinds": [],
                    "run": None,
                    "due": None,
                }
                data |= one.stored
                deliver.tell(hub, uow, EVENTS[one.type], subject=one.subject, data=data, at=now)
        for type_, subject in open_.keys() - found.keys():
            cleared(hub, uow, type_, subject, at=now)
        for row in over:
            cleared(hub, uow, row.type, row.subject, at=now)


def raised(
    hub: Hub, uow: UnitOfWork, type_: str, subject: str, detail: Mapping[str, Any], *, at: datetime
) -> bool:
    """Raise an alarm; True where it was not up already. Whoever gets True tells it."""
    row = AlarmRow(type=type_, subject=subject, detail=dict(detail), raised_at=at)
    return uow.jobs.raise_alarm(row)


def cleared(hub: Hub, uow: UnitOfWork, type_: str, subject: str, *, at: datetime) -> None:
    """End an alarm that was up, and tell it."""
    if uow.jobs.clear_alarm(type_, subject, at=at):
        data = {"alarm": type_, "subject": subject}
        deliver.tell(hub, uow, "sync.alarm.cleared", subject=subject, data=data, at=at)


def find(hub: Hub, now: datetime) -> list[Found]:
    """Which jobs are late or never run, and what nobody syncs; nothing is changed."""
    with hub.database.read() as uow:
        jobs = {job.name: job for job in uow.jobs.all()}
        declared = {row.name for row in uow.connections.all()}
        late = [one for job in jobs.values() if (one := _late(uow, job, now)) is not None]
    never = [
        Found("unscheduled", job.name, why, {"job": job.name})
        for job in jobs.values()
        if not job.paused and (why := _never_runs(job, jobs, now)) is not None
    ]
    names = {one.subject for one in never}
    return [
        *(one for one in late if one.subject not in names),
        *never,
        *(_uncovered(hub, jobs, declared)),
    ]


def _late(uow: UnitOfWork, job: JobRow, now: datetime) -> Found | None:
    """Whether the first run that was due after the last done one should be done by now."""
    if job.paused:
        return None
    patience = timedelta(seconds=job.late_after) if job.late_after is not None else LATE_AFTER
    newest = uow.jobs.last_of(job.name, states=("held", "queued", "running", *ENDED))
    due: datetime | None
    if job.schedule:
        done = uow.jobs.last_of(job.name, states=("done",))
        since = max(moment for moment in (job.declared_at, job.counts_from) if moment is not None)
        if done is not None:
            since = max(since, moment_of(done.tick, otherwise=done.queued_at))
        try:
            due = next_due(trigger_of(job.schedule), since)
        except (ValueError, KeyError):
            return None  # it never runs, which is another alarm
    else:
        due = newest.queued_at if newest is not None and newest.state != "done" else None
    if due is None or now - due <= patience:
        return None
    why = "not_started"
    if newest is not None and newest.state != "done":
        why = newest.state
    run = newest.id if newest is not None and newest.state != "done" else None
    return Found("late", job.name, why, {"job": job.name, "run": run, "due": tick_of(due)})


def _never_runs(job: JobRow, jobs: Mapping[str, JobRow], now: datetime) -> str | None:
    """Why nothing will ever run a job, if that is so."""
    if job.schedule:
        try:
            due = next_due(trigger_of(job.schedule), now)
        except (ValueError, KeyError):
            return "schedule_unreadable"
        return "never_due" if due is None else None
    if not job.after:
        return "no_schedule"
    if any(name not in jobs for name in job.after):
        return "after_unknown"
    return "after_paused" if any(jobs[name].paused for name in job.after) else None


def _synced(jobs: Iterable[JobRow]) -> dict[str, set[str] | None]:
    """By connection the kinds that jobs sync; None for all that it has."""
    synced: dict[str, set[str] | None] = {}
    for job in jobs:
        connection = job.arguments.get("connection")
        if job.flow != "sync" or connection is None:
            continue
        named, so_far = job.arguments.get("kinds"), synced.get(connection, set())
        synced[connection] = None if not named or so_far is None else so_far | set(named)
    return synced


def _covers(synced: Mapping[str, set[str] | None], subject: str) -> bool:
    """Whether a job syncs a `connection:kind`."""
    connection, _, kind = subject.rpartition(":")
    kinds = synced.get(connection, set())
    return kinds is None or kind in kinds


def _uncovered(hub: Hub, jobs: Mapping[str, JobRow], declared: set[str]) -> list[Found]:
    """The kinds that a connection lists changes of, and no job syncs."""
    found: list[Found] = []
    synced = _synced(jobs.values())
    left_out: dict[str, set[str]] = {}
    for job in jobs.values():
        named = job.arguments.get("not_synced") or ()
        left_out.setdefault(job.arguments.get("connection", ""), set()).update(named)
    for connection in hub.registry.names():
        if connection not in declared or synced.get(connection, set()) is None:
            continue
        try:
            adapter = hub.registry.adapter(connection)
        except Permanent:
            continue  # its check says what is wrong with it
        if not isinstance(adapter, ListsChanges):
            continue
        covered = (synced.get(connection) or set()) | left_out.get(connection, set())
        kinds = [kind.value for kind in adapter.change_kinds if kind.value not in covered]
        if kinds:
            detail = {"connection": connection, "kinds": kinds}
            found.append(Found("unscheduled", connection, "no_job", detail))
    return found
