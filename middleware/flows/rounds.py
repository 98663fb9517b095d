"""Jobs that run after others: a run is held until those have done theirs of the same round.

A round of a job with a schedule begins at its tick: each job it runs after must have done the run
that was due by then, and one that no earlier round went by. A job without a schedule begins a round
whenever one of those it runs after ends a run. One run of a job is held at a time; later ticks
join it. What it waits for stands in the run, and whoever looks at the job sees it.
"""

from __future__ import annotations

from datetime import datetime

from middleware.domain.blackouts import span_at
from middleware.domain.ids import new_id
from middleware.flows.due import last_due, moment_of, tick_of, trigger_of, windows_of
from middleware.flows.hub import Hub
from middleware.flows.receipts import NOT_DECLARED
from middleware.store.database import UnitOfWork
from middleware.store.jobs import ENDED
from middleware.store.tables import JobRow, RunRow

LOOKED_AT = 50
"""How many runs back the one is looked for that went by the last round."""


def hold(
    hub: Hub, uow: UnitOfWork, job: JobRow, *, tick: str, requested_by: str, now: datetime
) -> tuple[RunRow, bool]:
    """The run of a round, held or released at once; and whether it is new."""
    held = uow.jobs.held_run(job.name)
    new = held is None
    if held is None:
        held = RunRow(
            id=new_id("run"),
            job=job.name,
            tick=tick,
            state="held",
            requested_by=requested_by,
            counts={},
            queued_at=now,
        )
        uow.jobs.add_run(held)
    release(hub, uow, job, held, now=now)
    return held, new


def release(hub: Hub, uow: UnitOfWork, job: JobRow, run: RunRow, *, now: datetime) -> None:
    """Queue a held run if all that it waits for is done; else write down what it waits for."""
    waits: dict[str, str] = {}
    upon: dict[str, str] = {}
    gone_by = _gone_by(uow, job)
    for name in job.after or []:
        done, why = _done(uow, job, name, run, gone_by.get(name))
        if done is not None:
            upon[name] = done.id
        else:
            waits[name] = why
    if job.paused:
        waits["schedule"] = "the job is paused"
    blackout = span_at(windows_of(job.schedule or {}), now)
    if blackout is not None:
        waits["schedule"] = f"a blackout until {tick_of(blackout[1])}"
    if waits:
        run.waits = {"for": waits, "upon": {}}
        return
    run.state, run.queued_at = "queued", now
    run.waits = {"for": {}, "upon": upon}
    hub.engine.enqueue(uow, job.flow, run.id, name=f"{job.flow}:{job.name}:{run.tick}")


def _gone_by(uow: UnitOfWork, job: JobRow) -> dict[str, str]:
    """The runs that the job's last round went by."""
    for run in uow.jobs.runs_of(job.name, limit=LOOKED_AT):
        if run.waits and run.waits["upon"]:
            return dict(run.waits["upon"])
    return {}


def _done(
    uow: UnitOfWork, job: JobRow, name: str, run: RunRow, gone_by: str | None
) -> tuple[RunRow | None, str]:
    """The done run that counts for this round, or why there is none."""
    earlier = uow.jobs.get(name)
    if earlier is None:
        return None, "is no longer declared"
    due: str | None = None
    if earlier.schedule and job.schedule:
        at = moment_of(run.tick, otherwise=run.queued_at)
        last = last_due(trigger_of(earlier.schedule), at)
        due = tick_of(last) if last is not None else None
    done = uow.jobs.last_of(name, states=("done",))
    if done is not None and done.id != gone_by and (due is None or done.tick >= due):
        return done, ""
    newest = uow.jobs.last_of(name, states=("held", "queued", "running", *ENDED))
    if newest is None or newest.state == "done":
        return None, "is paused" if earlier.paused else "has not run yet"
    if newest.state in ENDED:
        why = (newest.error or {}).get("message", "")
        return None, f"its run {newest.id} {newest.state}: {why}".rstrip(": ")
    return None, f"its run {newest.id} is {newest.state}"


def ended(hub: Hub, uow: UnitOfWork, run: RunRow, *, now: datetime) -> None:
    """A run has ended: begin the rounds that it begins, and release what waited for it. One of a
    part of its job, a window or some kinds, is nobody's round."""
    if run.mode == "backfill" or (run.wanted or {}).get("kinds"):
        return
    for follower in uow.jobs.all():
        if run.job not in (follower.after or []):
            continue
        job = uow.jobs.get(follower.name, lock=True)
        if job is None:
            continue
        held = uow.jobs.held_run(job.name)
        if held is not None:
            release(hub, uow, job, held, now=now)
        elif not job.schedule and not job.paused:
            tick = run.tick.partition("/")[0]
            if uow.jobs.run_of_tick(job.name, tick) is None:
                hold(hub, uow, job, tick=tick, requested_by=f"job:{run.job}", now=now)
                job.last_tick = max(job.last_tick or "", tick)


def look_again(hub: Hub) -> None:
    """Release whatever waits for nothing any more: a blackout that is over, a resumed job."""
    with hub.database.read() as uow:
        held = uow.jobs.held()
    for run in held:
        now = hub.clock()
        with hub.database.begin() as uow:
            job = uow.jobs.get(run.job, lock=True)
            row = uow.jobs.run(run.id)
            if row is None or row.state != "held":
                continue
            if job is None:
                row.state, row.finished_at = "failed", now
                row.error = {"message": NOT_DECLARED}
            else:
                release(hub, uow, job, row, now=now)
