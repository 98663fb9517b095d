"""`amends jobs` and `amends sync`: what is scheduled, how it goes, and runs by hand."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from middleware.app import Application, handlers
from middleware.commands import resolve
from middleware.commands.console import (
    ConfigOption,
    JsonOption,
    err,
    fail,
    moment,
    opened,
    out,
    say,
)
from middleware.contract.canonical import Kind
from middleware.flows import pause, receipts, sync, watch
from middleware.flows.due import next_due, tick_now, trigger_of
from middleware.flows.engine import WorkerRunningError
from middleware.flows.hub import Asker
from middleware.store.tables import JobRow, RunRow

commands = typer.Typer(help="Scheduled jobs: when they run, and how it went.", no_args_is_help=True)
syncs = typer.Typer(help="Syncs.", no_args_is_help=True)

JobArgument = Annotated[str, typer.Argument(help="A job of the configuration.")]
KindOption = Annotated[
    list[Kind] | None, typer.Option("--kind", help="Only these; may be given several times.")
]
ME = Asker(principal="cli")


@commands.command("list")
def list_jobs(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """List the jobs: what they wait for, when they are due, and the alarms that are up."""
    with opened(config) as application:
        hub = application.hub
        now = hub.clock()
        found = watch.find(hub, now)
        with application.database.read() as uow:
            rows = uow.jobs.all()
            last = uow.jobs.last_runs([row.name for row in rows])
            shown = [_told(row, last.get(row.name), now) for row in rows]
            alarms = [
                {"type": a.type, "subject": a.subject, "why": a.detail.get("why")}
                for a in uow.jobs.alarms()
                if a.type not in watch.EVENTS
            ]
    alarms += [{"type": one.type, "subject": one.subject, "why": one.why} for one in found]
    if as_json:
        out.print_json(json.dumps({"jobs": shown, "alarms": alarms}))
        return
    table = Table(Column("job", no_wrap=True), "schedule", "after", "next due", "last run", "how")
    for job in shown:
        table.add_row(
            job["name"],
            job["schedule"],
            ", ".join(job["after"]),
            "paused" if job["paused"] else job["next_due"] or "",
            job["last_run"]["tick"] if job["last_run"] else "",
            job["last_run"]["told"] if job["last_run"] else "",
        )
    out.print(table)
    for alarm in alarms:
        say(f"! {alarm['type']}: {alarm['subject']}: {alarm['why']}", "yellow")


def _told(row: JobRow, last: RunRow | None, now: datetime) -> dict[str, Any]:
    due = None
    with suppress(ValueError, KeyError):  # an alarm says so
        due = next_due(trigger_of(row.schedule), now) if row.schedule else None
    return {
        "name": row.name,
        "flow": row.flow,
        "connection": row.arguments.get("connection"),
        "schedule": _schedule(row.schedule),
        "full": _schedule(row.full),
        "after": row.after or [],
        "paused": row.paused,
        "next_due": due.astimezone(UTC).isoformat(timespec="minutes") if due else None,
        "last_run": _run(last) if last is not None else None,
    }


def _schedule(stored: dict[str, Any] | None) -> str:
    """A stored schedule in a few words."""
    if not stored:
        return ""
    if stored.get("every"):
        told = f"every {stored['every']:g} s"
    elif stored.get("calendar"):
        told = ", ".join(f"{name} {value}" for name, value in stored["calendar"].items() if value)
    else:
        told = str(stored["cron"])
    zone = stored.get("timezone", "UTC")
    told += f" {zone}" if zone != "UTC" else ""
    return told + (", with blackouts" if stored.get("blackouts") else "")


def _run(row: RunRow) -> dict[str, Any]:
    waits = (row.waits or {}).get("for", {})
    # A resolution counts by its steps, a sync by kinds of record.
    counted = (resolve.told if "step" in row.counts else told_counts)(row.counts)
    told = f"{row.state} {counted}".rstrip()
    if waits and row.state == "held":
        told = "held: " + "; ".join(f"{name} {why}" for name, why in waits.items())
    elif row.error:
        told = f"{row.state}: {row.error.get('message')}"
    return {
        "id": row.id,
        "tick": row.tick,
        "mode": row.mode,
        "state": row.state,
        "counts": row.counts,
        "waits_for": waits,
        "told": told,
    }


@commands.command("runs")
def list_runs(
    job: JobArgument,
    config: ConfigOption = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the runs of a job, newest first: what each saw, stored, or waits for."""
    with opened(config) as application, application.database.read() as uow:
        if uow.jobs.get(job) is None:
            fail(f"there is no job {job!r}")
        rows = [_run(row) for row in uow.jobs.runs_of(job, limit=limit)]
    if as_json:
        out.print_json(json.dumps(rows))
        return
    for row in rows:
        say(f"{row['id']} {row['tick']} {row['mode']}: {row['told']}")


@commands.command("pause")
def pause_job(job: JobArgument, config: ConfigOption = None) -> None:
    """Let a job's schedule rest, also over restarts; it can still be run by hand."""
    with opened(config) as application:
        pause.set_paused(application.hub, job, ME, paused=True)
    say(f"{job}: paused")


@commands.command("resume")
def resume_job(job: JobArgument, config: ConfigOption = None) -> None:
    """Let a job's schedule count again; what was due meanwhile is not made up for."""
    with opened(config) as application:
        pause.set_paused(application.hub, job, ME, paused=False)
    say(f"{job}: resumed")


@syncs.command("run")
def run_sync(
    job: JobArgument,
    config: ConfigOption = None,
    *,
    full: Annotated[
        bool, typer.Option("--full", help="Read everything anew; mark what is gone as deleted.")
    ] = False,
    most_deleted: Annotated[
        float | None, typer.Option(min=0, max=1, help="With --full: the share that may be gone.")
    ] = None,
    kind: KindOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a sync now and show what it sees, until it ends."""
    if not full and (most_deleted is not None or kind):
        fail("--most-deleted and --kind go with --full")
    with opened(config) as application:
        hub = application.hub
        _is_sync(application, job)
        if full:
            wanted: dict[str, Any] = {"kinds": [k.value for k in kind]} if kind else {}
            if most_deleted is not None:
                wanted["most_deleted"] = most_deleted
            run_id = sync.owe_asked(hub, job, ME, mode="full", wanted=wanted)
        else:
            tick = tick_now(hub.clock())
            run_id, _ = sync.owe(hub, job, tick=tick, requested_by="cli")
        _until_it_ends(application, job, run_id, as_json=as_json)


def _is_sync(application: Application, job: str) -> None:
    """Stop here if the job is of another flow, and say what runs it."""
    with application.database.read() as uow:
        declared = uow.jobs.get(job)
    if declared is not None and declared.flow != "sync":
        flow = declared.flow
        fail(f"{job} is a job of the flow {flow}; run it with `amends {flow} run`")


@syncs.command("backfill")
def backfill(
    job: JobArgument,
    since: Annotated[str, typer.Option("--from", help="Such as 2026-11-20T00:00:00Z.")],
    until: Annotated[str | None, typer.Option("--to", help="Default: now.")] = None,
    config: ConfigOption = None,
    *,
    kind: KindOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read a window of the past again; the ordinary runs go on from where they are."""
    with opened(config) as application:
        hub = application.hub
        window = moment("--from", since), moment("--to", until) if until else hub.clock()
        if not window[0] < window[1] <= hub.clock():
            fail("--to is later than --from, and not later than now")
        wanted: dict[str, Any] = {"since": window[0].isoformat(), "until": window[1].isoformat()}
        if kind:
            wanted["kinds"] = [k.value for k in kind]
        run_id = sync.owe_asked(hub, job, ME, mode="backfill", wanted=wanted)
        _until_it_ends(application, job, run_id, as_json=as_json)


def _until_it_ends(application: Application, job: str, run_id: str, *, as_json: bool) -> None:
    """Do the work, or watch the worker that does it."""
    try:
        application.hub.engine.work(handlers(application.hub))
    except WorkerRunningError:
        err.print("a worker is running: it does the work, this only watches", style="dim")
    with err.status(f"{job}: queued") as status:
        while True:
            with application.database.read() as uow:
                row = uow.jobs.run(run_id)
            assert row is not None
            status.update(f"{job}: {row.state} {told_counts(row.counts)}")
            if row.state not in ("held", "queued", "running"):
                break
            time.sleep(0.2)
    if as_json:
        out.print_json(json.dumps({"run": row.id, "state": row.state, "counts": row.counts}))
    else:
        say(f"{job}: {row.state} {told_counts(row.counts)}")
        for kind, state in (row.progress or {}).items():
            if state.get("why"):
                say(f"{kind}: {state['why']}, and everything was read anew")
            if state.get("refused"):
                refused = state["refused"]
                say(
                    f"{kind}: {refused['count']} of {refused['of']} records were not seen, and none"
                    f" was marked as deleted: {refused['why']}; look at the source, then repeat it"
                    " with --most-deleted",
                    "yellow",
                )
        if row.error:
            fail(str(row.error.get("message")))
    sys.exit(0 if row.state == "done" else 1)


@syncs.command("receipt")
def show_receipt(
    run: Annotated[str, typer.Argument(help="As `amends jobs runs` shows it.")],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what a run can prove: its windows, counts, what the source says it has, and gaps.

    Fails where digest or signature no longer fit what is stored.
    """
    with opened(config) as application:
        with application.database.read() as uow:
            row = uow.receipts.of_run(run)
        if row is None:
            fail(f"no receipt: the run {run} has not ended, or there is none")
        intact = receipts.intact(application.hub, row)
    if as_json:
        seal = {"digest": row.digest, "previous": row.previous, "signature": row.signature}
        out.print_json(json.dumps({"number": row.number, **row.body, **seal, "intact": intact}))
    else:
        say(f"{row.connection} receipt {row.number}, {row.job} {row.run_id}: {row.body['state']}")
        for kind, counts in row.body["counts"].items():
            window = row.body["windows"].get(kind, {})
            since, until = (window.get(name) or "…" for name in ("since", "until"))
            told = ", ".join(f"{n} {what}" for what, n in counts.items())
            say(f"{kind}: {told}; from {since} to {until}")
            if said := row.body.get("source", {}).get(kind):
                say(f"{kind}: the source says {json.dumps(said)}")
        for gap in row.body["gaps"]:
            say(f"! gap: {json.dumps(gap)}", "yellow")
        if not row.body["gaps"]:
            say("no gaps")
        say(f"digest {row.digest}, {'whole' if intact else 'CHANGED since it was signed'}")
    sys.exit(0 if intact else 1)


@syncs.command("verify")
def verify_receipts(
    connection: Annotated[str | None, typer.Argument(help="Default: every connection.")] = None,
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Look the receipts of all runs through: none is missing, changed, or signed by others."""
    with opened(config) as application:
        with application.database.read() as uow:
            known = receipts.connections(uow)
        if connection is not None and connection not in known:
            fail(f"no run of {connection} has a receipt")
        checked = [receipts.check(application.hub, c) for c in known if connection in (None, c)]
    if as_json:
        out.print_json(json.dumps({"chains": [asdict(one) for one in checked]}))
    for one in checked:
        if not as_json:
            say(f"{one.connection}: {one.count} receipts, {one.broken or 'whole'}")
    sys.exit(1 if any(one.broken for one in checked) else 0)


def told_counts(counts: dict[str, Any]) -> str:
    """`42 orders new, 1 changed; …` of a run's counts."""
    told = []
    for kind, n in counts.items():
        parts = [
            f"{n[what]} {what}" for what in ("new", "changed", "deleted", "quarantined") if n[what]
        ]
        told.append(f"{n['seen']} {kind}s seen" + (f" ({', '.join(parts)})" if parts else ""))
    return "; ".join(told)
