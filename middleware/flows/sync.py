"""Syncs: vendor ▸ adapter ▸ mapping ▸ canonical ▸ store, page by page.

A page and the cursor that follows it are committed together, so that a run that dies goes on
where it stopped, and the cursor never passes what was not stored. Three things can happen to a run
between two pages:

- Its worker dies, or is frozen and wakes up: the engine has the run carried on elsewhere, from the
  cursor. Whoever finds a cursor that this very run has moved is the one too many, and says nothing.
- Its worker is told to stop: the rest of the run is owed anew before the worker lets go of it, so
  that the next worker takes it up at once.
- Another run moves its cursor: what is left of that kind is that run's. This one goes on with its
  other kinds, and ends as `overtaken`, naming the run.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from middleware.contract.canonical import Kind
from middleware.contract.capabilities import ListsChanges, Page
from middleware.contract.errors import Permanent, RemoteError, Transient
from middleware.domain.actions import backoff, describe_error
from middleware.domain.breaker import State
from middleware.domain.ids import new_id
from middleware.domain.problems import NotFoundError, NotOfferedError
from middleware.domain.turns import Urgency
from middleware.flows import deliver, receipts
from middleware.flows.hub import Hub
from middleware.resolution.identifiers import identifiers_of
from middleware.store.records import Counts
from middleware.store.tables import CursorRow, RunRow

log = logging.getLogger(__name__)

PAGE = 200
TRIES = 5
"""How often a page is asked for before the run gives up; the next run goes on from there."""
LONGEST_WAIT = timedelta(seconds=30)
COUNTED = tuple(one.name for one in fields(Counts) if one.name != "content")


class _Overtaken(Exception):
    """Another run has moved this cursor on."""

    def __init__(self, by: str) -> None:
        super().__init__(by)
        self.by = by


class _CarriedOn(Exception):
    """Another worker carries on with this very run, or has ended it."""


class _Stopping(Exception):
    """This worker is to stop."""


def owe(
    hub: Hub, job: str, *, tick: str, requested_by: str, options: dict[str, Any] | None = None
) -> tuple[str, bool]:
    """Owe the run of a job that is due at `tick`; answers its id and whether it is new.

    `options` are of this run alone, for its flow to read.

    The tick is part of the run's name, so that any number of nodes owe it once. Of two
    runs that overlap, the one that moves the cursor goes on; the other ends as `overtaken`.
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        row = uow.jobs.get(job, lock=True)
        if row is None:
            raise NotFoundError(f"there is no job {job!r}")
        known = uow.jobs.run_of_tick(job, tick)
        if known is not None:
            return known.id, False
        run = RunRow(
            id=new_id("run"),
            job=job,
            tick=tick,
            state="queued",
            requested_by=requested_by,
            counts={},
            windows={"options": options} if options else None,
            queued_at=now,
        )
        uow.jobs.add_run(run)
        row.last_tick = max(row.last_tick or "", tick)
        hub.engine.enqueue(uow, row.flow, run.id, name=f"{row.flow}:{job}:{tick}")
        uow.audit.write(
            at=now, actor=requested_by, action="run.queue", subject=run.id, job=job, tick=tick
        )
    return run.id, True


def run(hub: Hub, run_id: str) -> None:
    """Run a queued sync to its end: `done`, `failed` with the refusal, or `overtaken` by a run."""
    now = hub.clock()
    with hub.database.begin() as uow:
        row = uow.jobs.run(run_id)
        if row is None or row.state not in ("queued", "running"):
            return
        job = uow.jobs.get(row.job)
        row.state = "running"
        row.started_at = row.started_at or now
        arguments = dict(job.arguments) if job else {}
    if not arguments:
        _finish(hub, run_id, "failed", error={"message": "the job is no longer declared"})
        return
    connection = arguments["connection"]
    kinds: tuple[Kind, ...] = ()
    overtaken: dict[str, str] = {}
    state, error = "done", None
    try:
        kinds = kinds_of(hub, arguments)
        for kind in kinds:
            try:
                sync_kind(hub, run_id, connection, kind)
            except _Overtaken as found:
                overtaken[kind.value] = found.by
    except _CarriedOn:
        log.info("run is carried on elsewhere", extra={"run": run_id})
        return
    except _Stopping:
        _owe_rest(hub, run_id)
        return
    except RemoteError as failed:
        state, error = "failed", describe_error(failed)
    except NotOfferedError as failed:
        state, error = "failed", {"message": failed.detail}
    if overtaken and error is None:
        told = "; ".join(f"{run} has gone on with {kind}" for kind, run in overtaken.items())
        state, error = "overtaken", {"message": told, "by": overtaken}
    _finish(hub, run_id, state, error=error, connection=connection, kinds=kinds)


def _owe_rest(hub: Hub, run_id: str) -> None:
    """Owe what is left of a run, for the next worker."""
    with hub.database.begin() as uow:
        row = uow.jobs.run(run_id)
        if row is not None and row.state == "running":
            # Under the name that the run was owed by, so that it is seen to be under way.
            name = f"sync:{row.job}:{row.tick}:{new_id('rest')}"
            hub.engine.enqueue(uow, "sync", run_id, name=name)


def kinds_of(hub: Hub, arguments: dict[str, Any]) -> tuple[Kind, ...]:
    """The kinds a job syncs: those it names, else all that the connection lists changes of."""
    connection = arguments["connection"]
    adapter = hub.registry.adapter(connection)
    if not isinstance(adapter, ListsChanges):
        raise NotOfferedError(f"the connection {connection!r} lists no changes")
    unknown = [kind for kind in arguments.get("kinds") or () if kind not in set(Kind)]
    if unknown:
        raise NotOfferedError(f"there is no kind {unknown[0]!r}; there are {', '.join(Kind)}")
    named = tuple(Kind(kind) for kind in arguments.get("kinds") or ())
    missing = [kind for kind in named if kind not in adapter.change_kinds]
    if missing:
        raise NotOfferedError(f"the connection {connection!r} lists no changes of {missing}")
    return named or adapter.change_kinds


def sync_kind(hub: Hub, run_id: str, connection: str, kind: Kind) -> None:
    """Read the pages of one kind from its cursor on and store each with the next cursor."""
    with hub.database.read() as uow:
        saved = uow.jobs.cursor(connection, kind.value)
    cursor = saved.value if saved else None
    more = True
    while more:
        if hub.engine.stopping:
            raise _Stopping
        page = _page(hub, connection, kind, cursor)
        _store(hub, run_id, connection, kind, cursor, page)
        cursor, more = page.cursor, page.more


def _page(hub: Hub, connection: str, kind: Kind, cursor: str | None) -> Page:
    remote = hub.gate.remote(connection, Urgency.BATCH)
    tries = 0
    while True:
        tries += 1
        try:
            page: Page = remote.changed_since(kind, cursor, limit=PAGE)
        except Transient as error:
            if tries >= TRIES or error.code == State.STOPPED:
                raise
            wait = min(max(backoff(tries), error.retry_after or timedelta(0)), LONGEST_WAIT)
            hub.engine.rest(wait)
            if hub.engine.stopping:
                raise _Stopping from None
        except RemoteError:
            raise
        except Exception as error:
            # An adapter's own mistake: asking again would meet it again.
            log.exception("adapter failed", extra={"connection": connection, "kind": kind.value})
            raise Permanent(
                f"the adapter failed with {type(error).__name__}; see the log",
                system=connection,
                operation="changed_since",
            ) from error
        else:
            return page


def _store(
    hub: Hub, run_id: str, connection: str, kind: Kind, cursor: str | None, page: Page
) -> None:
    now = hub.clock()
    records = [(record, identifiers_of(record)) for record in page.records]
    with hub.database.begin() as uow:
        row = uow.jobs.run(run_id)
        began = uow.jobs.cursor(connection, kind.value)
        if began is not None:
            uow.session.expunge(began)  # it is what it was, whatever the cursor becomes
        moved = CursorRow(
            connection=connection,
            kind=kind.value,
            value=page.cursor,
            as_of=page.as_of,
            run_id=run_id,
            saved_at=now,
        )
        if row is None or row.state != "running":
            raise _CarriedOn
        if not uow.jobs.move_cursor(moved, from_=cursor):
            # Two runs of one kind must not leapfrog.
            ahead = uow.jobs.cursor(connection, kind.value)
            if ahead is None or ahead.run_id == run_id:
                raise _CarriedOn
            raise _Overtaken(ahead.run_id)
        counts = uow.records.store(records, as_of=page.as_of)
        counts.deleted = uow.records.delete(page.deleted, as_of=page.as_of)
        counts.quarantined = uow.records.quarantine(page.quarantined, connection=connection, at=now)
        row.counts = _added(row.counts, kind, counts)
        row.windows = receipts.widened(row.windows, kind, began=began, page=page, counts=counts)
        if counts.quarantined:
            deliver.tell(
                hub,
                uow,
                "mapping.record_quarantined",
                subject=run_id,
                data={"connection": connection, "kind": kind.value, "count": counts.quarantined},
                at=now,
            )


def _added(counts: dict[str, Any], kind: Kind, page: Counts) -> dict[str, Any]:
    """The run's counts with one more page of a kind."""
    before = counts.get(kind.value, {})
    added = {name: before.get(name, 0) + getattr(page, name) for name in COUNTED}
    return {**counts, kind.value: {"pages": before.get("pages", 0) + 1, **added}}


def _finish(
    hub: Hub,
    run_id: str,
    state: str,
    *,
    error: dict[str, Any] | None,
    connection: str | None = None,
    kinds: Sequence[Kind] = (),
) -> None:
    """End a run with its receipt; one whose job is gone has none."""
    now: datetime = hub.clock()
    hub.seal.prepare()
    with hub.database.begin() as uow:
        row = uow.jobs.run(run_id)
        if row is None or row.state != "running":
            return
        row.state = state
        row.error, row.finished_at = error, now
        told: dict[str, Any] = {
            "id": run_id,
            "job": row.job,
            "state": row.state,
            "counts": row.counts,
        }
        if connection is not None:
            receipt = receipts.write(
                hub, uow, row, connection=connection, kinds=[kind.value for kind in kinds]
            )
            told |= {"receipt": receipt.digest, "gaps": len(receipt.body["gaps"])}
        deliver.tell(hub, uow, "sync.run.finished", subject=run_id, data=told, at=now)
