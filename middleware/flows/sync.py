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

A full run and a backfill read by a cursor of their own: `flows.rereading`. So does an ordinary run
whose cursor its remote no longer knows.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from middleware.contract.canonical import Kind
from middleware.contract.capabilities import ListsChanges, Page
from middleware.contract.errors import Permanent, Rejected, RemoteError, Transient
from middleware.domain.actions import backoff, describe_error
from middleware.domain.breaker import State
from middleware.domain.ids import new_id
from middleware.domain.problems import NotFoundError, NotOfferedError
from middleware.domain.turns import Urgency
from middleware.flows import deliver, merged, prioritise, receipts, rounds, tallies, waiting
from middleware.flows.due import tick_of
from middleware.flows.hub import Asker, Hub
from middleware.flows.rereading import MOST_DELETED, CarriedOn, Rereading
from middleware.store.records import Counts
from middleware.store.tables import CursorRow, JobRow, RunRow

log = logging.getLogger(__name__)

PAGE = 1000
"""Records that are asked for at once; an adapter answers fewer where its remote gives fewer."""
TRIES = 5
"""How often a page is asked for before the run gives up; the next run goes on from there."""
LONGEST_WAIT = timedelta(seconds=30)
CLOCK_BACK = timedelta(minutes=1)
"""How far a source's clock may go back from one run to the next: its servers' may differ a little,
and the overlap makes up for it."""
COUNTED = tuple(one.name for one in fields(Counts) if one.name != "content")


class _Overtaken(Exception):
    """Another run has moved this cursor on."""

    def __init__(self, by: str) -> None:
        super().__init__(by)
        self.by = by


class _Expired(Exception):
    """The remote no longer takes this cursor."""

    def __init__(self, cursor: str) -> None:
        super().__init__("the cursor has expired")
        self.cursor = cursor


class _ClockBack(Exception):
    """The remote's clock went back behind this cursor."""

    def __init__(self, cursor: str, to: datetime) -> None:
        super().__init__("the clock went back")
        self.cursor = cursor
        self.to = to


class _Stopping(Exception):
    """This worker is to stop."""


def owe(
    hub: Hub,
    job: str,
    *,
    tick: str,
    requested_by: str,
    mode: str = "changes",
    wanted: dict[str, Any] | None = None,
) -> tuple[str, bool]:
    """Owe the run of a job that is due at `tick`; answers its id and whether it is new.

    The tick is part of the run's name, so that any number of nodes owe it once. Of two
    runs that overlap, the one that moves the cursor goes on; the other ends as `overtaken`.
    A job that runs after others is held until they have run, when its schedule asks; a person is
    not made to wait. `wanted` narrows a run: `kinds`, `most_deleted`, and a backfill's `since` and
    `until`; a resolution's `allow_changes`.
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        row = uow.jobs.get(job, lock=True)
        if row is None:
            raise NotFoundError(f"there is no job {job!r}")
        if mode == "backfill" and row.flow != "sync":
            raise NotOfferedError(f"the job {job!r} syncs nothing that could be backfilled")
        known = uow.jobs.run_of_tick(job, tick)
        if known is not None:
            return known.id, False
        if mode == "changes":
            row.last_tick = max(row.last_tick or "", tick)
        elif mode == "full" and requested_by == "schedule":
            row.last_full = max(row.last_full or "", tick)
        if mode == "changes" and row.after and requested_by == "schedule":
            run, new = rounds.hold(hub, uow, row, tick=tick, requested_by=requested_by, now=now)
        else:
            run, new = _queued(hub, row, tick, requested_by, mode, wanted, now), True
            uow.jobs.add_run(run)
            hub.engine.enqueue(uow, row.flow, run.id, name=f"{row.flow}:{job}:{tick}")
        uow.audit.write(
            at=now, actor=requested_by, action="run.queue", subject=run.id, job=job, tick=tick
        )
    return run.id, new


def owe_asked(hub: Hub, job: str, asker: Asker, *, mode: str, wanted: dict[str, Any]) -> str:
    """Owe a full run or a backfill that somebody asks for; the same within a second is one."""
    said = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:8]
    tick = f"{tick_of(hub.clock())}/{mode}/{said}"
    run_id, _ = owe(hub, job, tick=tick, requested_by=asker.principal, mode=mode, wanted=wanted)
    return run_id


def _queued(
    hub: Hub,
    job: JobRow,
    tick: str,
    requested_by: str,
    mode: str,
    wanted: dict[str, Any] | None,
    now: datetime,
) -> RunRow:
    return RunRow(
        id=new_id("run"),
        job=job.name,
        tick=tick,
        state="queued",
        mode=mode,
        wanted=wanted,
        requested_by=requested_by,
        counts={},
        queued_at=now,
    )


def run(hub: Hub, run_id: str) -> None:
    """Run a queued sync to its end: `done`, `failed` with the refusal, or `overtaken` by a run."""
    now = hub.clock()
    with hub.database.begin() as uow:
        row = uow.jobs.run(run_id)
        if row is None or row.state not in ("queued", "running"):
            return
        job = uow.jobs.ever(row.job)
        row.state = "running"
        row.started_at = row.started_at or now
        arguments = {**(job.arguments if job else {}), **(row.wanted or {})}
        mode = row.mode
        named = arguments.get("kinds") or row.windows or ()
        kinds = tuple(kind for kind in Kind if kind.value in named)
        taken_out = job is None or job.deleted_at is not None
    connection = arguments.get("connection")
    if connection is None:
        _finish(hub, run_id, "failed", error={"message": receipts.NOT_DECLARED})
        return
    if taken_out:
        told = {"message": "the job was taken out of the configuration"}
        _finish(hub, run_id, "failed", error=told, connection=connection, kinds=kinds)
        return
    overtaken: dict[str, str] = {}
    source: dict[str, dict[str, Any]] = {}
    state, error = "done", None
    try:
        kinds = kinds_of(hub, arguments)
        hub.gate.doubt(connection)
        for kind in kinds:
            try:
                _read_kind(hub, run_id, mode, kind, arguments)
            except _Overtaken as found:
                overtaken[kind.value] = found.by
        if mode != "backfill" and arguments.get("count_source", True):
            source = tallies.compare(hub, connection, kinds)
    except CarriedOn:
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
        by = "; ".join(f"{run} has gone on with {kind}" for kind, run in overtaken.items())
        state, error = "overtaken", {"message": by, "by": overtaken}
    _finish(hub, run_id, state, error=error, connection=connection, kinds=kinds, source=source)


def _read_kind(hub: Hub, run_id: str, mode: str, kind: Kind, arguments: dict[str, Any]) -> None:
    """Read one kind as the run's mode says; an ordinary run may have to begin anew."""
    connection = arguments["connection"]
    again = Rereading(
        hub,
        run_id,
        connection,
        kind,
        read=lambda cursor: _page(hub, connection, kind, cursor),
        add=_added,
        marks=mode != "backfill",
        most_deleted=arguments.get("most_deleted", MOST_DELETED),
    )
    if mode == "full":
        again.everything()
    elif mode == "backfill":
        since, until = (datetime.fromisoformat(arguments[name]) for name in ("since", "until"))
        again.window(since, until)
    elif again.state():
        again.everything()  # it had begun to, when its worker died
    elif (other := _read_from_another(hub, connection, kind)) is not None:
        again.everything(expired=other, why="it is read from another system")
    elif _mapped_anew(hub, connection, kind):
        log.warning("mapping changed", extra={"connection": connection, "kind": kind.value})
        again.everything(why="the mapping has changed")
    else:
        try:
            sync_kind(hub, run_id, connection, kind)
        except _Expired as expired:
            log.warning("cursor expired", extra={"connection": connection, "kind": kind.value})
            again.everything(expired=expired.cursor, why="the cursor has expired")
        except _ClockBack as back:
            log.warning("clock went back", extra={"connection": connection, "kind": kind.value})
            again.clock_back(back.to, expired=back.cursor)


def _mapped_anew(hub: Hub, connection: str, kind: Kind) -> bool:
    """Whether the mapping reads records in another way than when those stored were read: a remote
    does not send a record again for that."""
    reads_by = hub.registry.reads_by(connection, kind)
    with hub.database.read() as uow:
        saved = uow.jobs.cursor(connection, kind.value)
    return saved is not None and saved.read_by is not None and saved.read_by != reads_by


def _read_from_another(hub: Hub, connection: str, kind: Kind) -> str | None:
    """The cursor of a kind if it was read from another remote than the one that is known now."""
    with hub.database.read() as uow:
        saved, known = uow.jobs.cursor(connection, kind.value), uow.connections.remote(connection)
    if saved is None or saved.remote is None or saved.remote == known:
        return None
    return saved.value


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
        try:
            page = _page(hub, connection, kind, cursor)
        except Rejected as error:
            if error.field != "cursor" or cursor is None:
                raise
            raise _Expired(cursor) from None
        if saved and cursor and not page.more and page.as_of < saved.as_of - CLOCK_BACK:
            raise _ClockBack(cursor, page.as_of)
        _store(hub, run_id, connection, kind, cursor, page)
        cursor, more = page.cursor, page.more


def _page(hub: Hub, connection: str, kind: Kind, cursor: str | None) -> Page:
    """One page, asked for as often as it may come; raises _Stopping where the worker stops."""
    if hub.engine.stopping:
        raise _Stopping
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
            if page.wait is not None:
                hub.engine.rest(min(page.wait, LONGEST_WAIT))
            elif page.more and page.cursor == cursor:
                raise Permanent(
                    "the remote goes on at the same place for ever",
                    system=connection,
                    operation="changed_since",
                )
            return page


def _store(
    hub: Hub, run_id: str, connection: str, kind: Kind, cursor: str | None, page: Page
) -> None:
    now = hub.clock()
    records = [(record, partial(hub.found_by, record)) for record in page.records]
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
            read_by=_read_by(hub, connection, kind, began),
            remote=uow.connections.remote(connection),
        )
        if row is None or row.state != "running":
            raise CarriedOn
        if not uow.jobs.move_cursor(moved, from_=cursor):
            # Two runs of one kind must not leapfrog.
            ahead = uow.jobs.cursor(connection, kind.value)
            if ahead is None or ahead.run_id == run_id:
                raise CarriedOn
            raise _Overtaken(ahead.run_id)
        counts = uow.records.store(records, as_of=page.as_of)
        if counts.changed:
            prioritise.owe_accounts(hub, uow, page.records, name=f"{run_id}:{page.cursor}")
        name = f"{run_id}:{page.cursor}"
        counts.deleted = merged.delete(hub, uow, page, as_of=page.as_of, name=name)
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


def _read_by(hub: Hub, connection: str, kind: Kind, began: CursorRow | None) -> str | None:
    """What all that is stored is read by with one page more; nothing, where another node has read
    everything by another mapping meanwhile: whoever is next reads it anew."""
    mine = hub.registry.reads_by(connection, kind)
    return mine if began is None or began.read_by in (None, mine) else ""


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
    source: dict[str, dict[str, Any]] | None = None,
) -> None:
    """End a run with its receipt; one that nobody knows the connection of has none."""
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
                hub,
                uow,
                row,
                connection=connection,
                kinds=[kind.value for kind in kinds],
                source=source,
            )
            told |= {"receipt": receipt.digest, "gaps": len(receipt.body["gaps"])}
            waiting.owe(hub, uow, row.counts)
        deliver.tell(hub, uow, "sync.run.finished", subject=run_id, data=told, at=now)
        rounds.ended(hub, uow, row, now=now)
