"""Jobs: flows with a schedule, and the runs that prove what was seen and stored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from middleware.api import examples, paging
from middleware.api.answers import answer
from middleware.api.describe import operation
from middleware.api.door import Asking, Route, TheDoor
from middleware.api.paging import Cursor, Limit
from middleware.api.schemas import operations as schemas
from middleware.contract.canonical import Kind
from middleware.domain.problems import InvalidError, NotFoundError
from middleware.flows import pause, receipts, resolve, sync
from middleware.flows.due import next_due, tick_of, trigger_of
from middleware.flows.hub import Hub
from middleware.flows.keys import Scope
from middleware.store import queries

router = APIRouter(route_class=Route, tags=["jobs"])


@router.get(
    "/v1/jobs",
    response_model=schemas.JobPage,
    **operation(
        Scope.JOBS_READ,
        says="One page, by name.",
        headers={"Link": 'The next page, `rel="next"`, where there is one.'},
        example=examples.JOB_PAGE,
    ),
)
def list_jobs(
    request: Request, door: TheDoor, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List the jobs, by name, each with its last run."""
    here = paging.turn(door.cursors, request, cursor=cursor, limit=limit)
    now = door.hub.clock()
    with door.hub.database.read() as uow:
        jobs = uow.jobs.page(after=here.text, limit=here.fetch)
        rows, following = paging.leaf(door.cursors, here, jobs, lambda row: [row.name])
        last = uow.jobs.last_runs([row.name for row in rows])
        alarms = queries.alarms(uow)
        shown = [_job(row, last.get(row.name), alarms, now) for row in rows]
    page = schemas.JobPage(data=shown, next_cursor=following, has_more=following is not None)
    return answer(request, page, headers=paging.link_header(request, following))


@router.get(
    "/v1/jobs/{name}",
    response_model=schemas.JobShown,
    **operation(
        Scope.JOBS_READ, "not-found", headers={"ETag": "Its version."}, example=examples.JOB
    ),
)
def get_job(name: str, request: Request, door: TheDoor) -> Response:
    """Show one job with its schedule and its last run."""
    return _job_answer(request, door.hub, name)


@router.get(
    "/v1/jobs/{name}/runs",
    response_model=schemas.RunPage,
    **operation(
        Scope.JOBS_READ,
        "not-found",
        says="One page, newest first.",
        headers={"Link": 'The next page, `rel="next"`, where there is one.'},
        example=examples.RUN_PAGE,
    ),
)
def list_runs(
    name: str, request: Request, door: TheDoor, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List the runs of a job, newest first: what each saw, stored, skipped and refused."""
    here = paging.turn(door.cursors, request, cursor=cursor, limit=limit)
    with door.hub.database.read() as uow:
        if uow.jobs.get(name) is None:
            raise NotFoundError(f"There is no job {name!r}.")
        rows = uow.jobs.runs_of(name, before=here.text, limit=here.fetch)
    rows, following = paging.leaf(door.cursors, here, rows, lambda row: [row.id])
    page = schemas.RunPage(
        data=[_run(row) for row in rows], next_cursor=following, has_more=following is not None
    )
    return answer(request, page, headers=paging.link_header(request, following))


@router.post(
    "/v1/jobs/{name}/runs",
    response_model=schemas.RunShown,
    **operation(
        Scope.JOBS_RUN,
        "not-found",
        status=202,
        says="The run is owed; it is the same for everybody who asks in the same second.",
        headers={"Location": "The run."},
        example=examples.RUN,
    ),
)
def run_job(name: str, request: Request, door: TheDoor, asker: Asking) -> Response:
    """Run a job now, whatever its schedule says."""
    tick = tick_of(door.hub.clock())
    run_id, _ = sync.owe(door.hub, name, tick=tick, requested_by=asker.principal)
    return _owed(request, door.hub, run_id)


@router.post(
    "/v1/jobs/{name}/full",
    response_model=schemas.RunShown,
    **operation(
        Scope.JOBS_RUN,
        "malformed-body",
        "body-too-large",
        "not-found",
        status=202,
        says="The run is owed.",
        headers={"Location": "The run."},
        example=examples.FULL_RUN,
        request={"all of it": {}, "a kind": {"kinds": ["order"], "most_deleted": 0.5}},
    ),
)
def run_full(
    name: str, wanted: schemas.FullWanted, request: Request, door: TheDoor, asker: Asking
) -> Response:
    """Read everything anew, and mark what is no longer there as deleted.

    Where more than `most_deleted` of a kind's records would go, nothing is deleted: the receipt
    names the gap, and an alarm is raised.
    """
    job = _found_job(door.hub, name)
    asked = _kinds(job, wanted.kinds)
    if wanted.most_deleted is not None:
        asked["most_deleted"] = wanted.most_deleted
    if asked and job.flow != "sync":
        raise InvalidError(
            f"The job {name!r} resolves all records, and deletes none.",
            errors=[
                {"pointer": f"/{field}", "code": "flow", "detail": "is for jobs that sync"}
                for field in asked
            ],
        )
    run_id = sync.owe_asked(door.hub, name, asker, mode="full", wanted=asked)
    return _owed(request, door.hub, run_id)


@router.post(
    "/v1/jobs/{name}/backfill",
    response_model=schemas.RunShown,
    **operation(
        Scope.JOBS_RUN,
        "malformed-body",
        "body-too-large",
        "not-found",
        status=202,
        says="The run is owed.",
        headers={"Location": "The run."},
        example=examples.BACKFILL_RUN,
        request={"a day": {"since": "2026-11-20T00:00:00Z", "until": "2026-11-21T00:00:00Z"}},
    ),
)
def backfill(
    name: str, wanted: schemas.BackfillWanted, request: Request, door: TheDoor, asker: Asking
) -> Response:
    """Read the records that changed in a window of the past again, as they are now.

    The ordinary runs go on from where they are.
    """
    if not wanted.since < wanted.until <= door.hub.clock():
        raise InvalidError(
            "A backfill reads a window of the past.",
            errors=[
                {
                    "pointer": "/until",
                    "code": "window",
                    "detail": "must be later than since, and not later than now",
                }
            ],
        )
    asked = {
        **_kinds(_found_job(door.hub, name), wanted.kinds),
        "since": wanted.since.isoformat(),
        "until": wanted.until.isoformat(),
    }
    run_id = sync.owe_asked(door.hub, name, asker, mode="backfill", wanted=asked)
    return _owed(request, door.hub, run_id)


def _found_job(hub: Hub, name: str) -> queries.JobRow:
    with hub.database.read() as uow:
        row = uow.jobs.get(name)
    if row is None:
        raise NotFoundError(f"There is no job {name!r}.")
    return row


def _kinds(job: queries.JobRow, kinds: Sequence[Kind]) -> dict[str, Any]:
    """The kinds asked for, which are among the job's."""
    named = job.arguments.get("kinds") or []
    for place, kind in enumerate(kinds):
        if named and kind.value not in named:
            detail = f"the job syncs {', '.join(named)}"
            raise InvalidError(
                f"The job {job.name!r} does not sync {kind.value} records.",
                errors=[{"pointer": f"/kinds/{place}", "code": "kind", "detail": detail}],
            )
    return {"kinds": [kind.value for kind in kinds]} if kinds else {}


def _owed(request: Request, hub: Hub, run_id: str) -> Response:
    shown = _found_run(hub, run_id)
    return answer(request, shown, status=202, headers={"Location": f"/v1/runs/{run_id}"})


@router.get(
    "/v1/runs/{run_id}",
    response_model=schemas.RunShown,
    **operation(Scope.JOBS_READ, "not-found", example=examples.RUN),
)
def get_run(run_id: str, request: Request, door: TheDoor) -> Response:
    """Show one run and its receipt: pages, records seen, new, changed, unchanged, deleted and
    quarantined of each kind."""
    return answer(request, _found_run(door.hub, run_id))


@router.get(
    "/v1/runs/{run_id}/receipt",
    response_model=schemas.ReceiptShown,
    **operation(Scope.JOBS_READ, "not-found", example=examples.RECEIPT),
)
def get_receipt(run_id: str, request: Request, door: TheDoor) -> Response:
    """Show what a run that has ended can prove: its window, its gaps, and the receipt it follows.

    `amends sync verify` looks the whole chain through.
    """
    with door.hub.database.read() as uow:
        row = uow.receipts.of_run(run_id)
    if row is None:
        raise NotFoundError(f"No receipt: the run {run_id} has not ended, or there is none.")
    return answer(request, _receipt(row, intact=receipts.intact(door.hub, row)))


@router.get(
    "/v1/runs/{run_id}/report",
    response_model=schemas.ReportShown,
    **operation(Scope.JOBS_READ, "not-found", example=examples.REPORT),
)
def get_report(run_id: str, request: Request, door: TheDoor) -> Response:
    """Show what a resolution changed, or would have changed if it was stopped, and why, by
    reference: `/v1/people/why` tells of any two."""
    found = resolve.report(door.hub, run_id)
    if found is None:
        raise NotFoundError(f"No report: the run {run_id} did not come so far, or there is none.")
    shown = schemas.ReportShown(
        run_id=run_id,
        model=found["model"],
        counts=found["counts"],
        changes=[
            schemas.LinkPlanned(
                change=one["change"],
                record=one["record"],
                person=one["person"],
                was=one["was"],
                beside=one["with"],
            )
            for one in found["changes"]
        ],
        refused=[schemas.KeptApart(**one) for one in found["refused"]],
    )
    return answer(request, shown)


@router.post(
    "/v1/runs/{run_id}/allow",
    response_model=schemas.RunShown,
    **operation(
        Scope.JOBS_RUN,
        "not-found",
        "conflict",
        status=202,
        says="A new run is owed.",
        headers={"Location": "The new run."},
        example=examples.ALLOWED_RUN,
    ),
)
def allow_run(run_id: str, request: Request, door: TheDoor, asker: Asking) -> Response:
    """Let a resolution that was stopped change what its report shows.

    A new run may change as many links, and beside them as many as any run may, because records
    change meanwhile. Refused where the run was not stopped, or a later one of the job ran since.
    """
    return _owed(request, door.hub, resolve.allow(door.hub, run_id, asker))


_PAUSED: dict[str, Any] = operation(
    Scope.JOBS_RUN, "not-found", headers={"ETag": "Its new version."}, example=examples.JOB
)


@router.post("/v1/jobs/{name}/pause", response_model=schemas.JobShown, **_PAUSED)
def pause_job(name: str, request: Request, door: TheDoor, asker: Asking) -> Response:
    """Let a job's schedule rest; it can still be run by hand."""
    pause.set_paused(door.hub, name, asker, paused=True)
    return _job_answer(request, door.hub, name)


@router.post("/v1/jobs/{name}/resume", response_model=schemas.JobShown, **_PAUSED)
def resume_job(name: str, request: Request, door: TheDoor, asker: Asking) -> Response:
    """Let a job's schedule count again."""
    pause.set_paused(door.hub, name, asker, paused=False)
    return _job_answer(request, door.hub, name)


def _job_answer(request: Request, hub: Hub, name: str) -> Response:
    with hub.database.read() as uow:
        row = uow.jobs.get(name)
        if row is None:
            raise NotFoundError(f"There is no job {name!r}.")
        shown = _job(row, queries.last_run(uow, name), queries.alarms(uow), hub.clock())
    # The last run changes without the job's version changing, so nobody is told that theirs is
    # right.
    return answer(request, shown, headers={"ETag": f'"{row.version}"'})


def _found_run(hub: Hub, run_id: str) -> schemas.RunShown:
    with hub.database.read() as uow:
        row = uow.jobs.run(run_id)
    if row is None:
        raise NotFoundError(f"No run has the id {run_id}.")
    return _run(row)


def _job(
    row: queries.JobRow,
    last: queries.RunRow | None,
    alarms: Sequence[queries.AlarmRow],
    now: datetime,
) -> schemas.JobShown:
    connection = str(row.arguments.get("connection") or "")
    about = (row.name, connection)
    return schemas.JobShown(
        name=row.name,
        flow=row.flow,
        arguments=row.arguments,
        schedule=row.schedule or None,
        after=[str(name) for name in row.after or []],
        full=row.full or None,
        paused=row.paused,
        last_tick=row.last_tick,
        next_due=_next_due(row, now),
        alarms=[
            schemas.AlarmShown(
                type=alarm.type,
                subject=alarm.subject,
                detail=alarm.detail,
                raised_at=alarm.raised_at,
            )
            for alarm in alarms
            if alarm.subject in about or alarm.subject.startswith(f"{connection}:")
        ],
        last_run=_run(last) if last is not None else None,
        declared_at=row.declared_at,
        version=row.version,
    )


def _next_due(row: queries.JobRow, now: datetime) -> datetime | None:
    if row.paused or not row.schedule:
        return None
    try:
        return next_due(trigger_of(row.schedule), now)
    except (ValueError, KeyError):
        return None  # an alarm says so


def _run(row: queries.RunRow) -> schemas.RunShown:
    return schemas.RunShown(
        id=row.id,
        job=row.job,
        tick=row.tick,
        mode=row.mode,
        state=row.state,
        wanted=row.wanted,
        waits_for=(row.waits or {}).get("for", {}),
        requested_by=row.requested_by,
        counts=row.counts,
        error=row.error,
        queued_at=row.queued_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def _receipt(row: queries.ReceiptRow, *, intact: bool) -> schemas.ReceiptShown:
    body = row.body
    return schemas.ReceiptShown.model_validate(
        {
            "run": row.run_id,
            "number": row.number,
            "job": row.job,
            "connection": row.connection,
            # Receipts of the first release said neither.
            "mode": body.get("mode", "changes"),
            "state": body["state"],
            "source": {
                kind: {**dict.fromkeys(schemas.SourceShown.model_fields), **said}
                for kind, said in body.get("source", {}).items()
            },
            "windows": {
                kind: {name: window[name] for name in ("since", "until", "complete", "content")}
                for kind, window in body["windows"].items()
            },
            "counts": body["counts"],
            "gaps": [{"count": None, **gap} for gap in body["gaps"]],
            "unusually_empty": body["unusually_empty"],
            "digest": row.digest,
            "previous": row.previous,
            "signature": row.signature,
            "intact": intact,
            "finished_at": body["finished_at"],
        },
        strict=False,
    )
