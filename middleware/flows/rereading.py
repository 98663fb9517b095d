"""Reading again beside the ordinary cursor: everything, with a sweep, or a window of the past.

A full run reads a kind from the beginning, then what changed meanwhile, and marks each record that
it sees. What is stored, and was not seen, is gone from the source: a sweep marks it as deleted.
Seen is also what another run has read since, so that a sweep may come late and full runs may cross.
Two things keep a sweep from believing a source that shows too little: it deletes nothing where more
than a share of the records would go, and it asks for some of the records one by one first, taken
from all of them at random.

Where a reading stands is kept in its run, with the page; the ordinary cursor stays where it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from middleware.contract.canonical import Kind, Record, Ref
from middleware.contract.capabilities import ListsChangesBetween, Page, ReadsRecords
from middleware.contract.errors import Missing, Permanent, RemoteError
from middleware.contract.mapping import MappingError
from middleware.domain.problems import NotOfferedError
from middleware.domain.turns import Urgency
from middleware.flows import deliver, merged, prioritise, receipts, watch
from middleware.flows.hub import Hub
from middleware.store.database import UnitOfWork
from middleware.store.records import Counts, Swept
from middleware.store.tables import CursorRow, RunRow

log = logging.getLogger(__name__)

ASKED_SINGLY = 200
"""How many of the records that seem gone are asked for one by one before a sweep."""
SWEPT_AT_ONCE = 1000
MOST_DELETED = 0.2

Read = Callable[[str | None], Page]
"""Reads one page from a cursor, patiently; raises where the worker is to stop."""
State = dict[str, Any]


class CarriedOn(Exception):
    """Another worker carries on with this very run, or has ended it."""


@dataclass(frozen=True)
class Rereading:
    """One kind of one run that goes by a cursor of its own."""

    hub: Hub
    run_id: str
    connection: str
    kind: Kind
    read: Read
    add: Callable[[dict[str, Any], Kind, Counts], dict[str, Any]]
    """Adds a page's counts to a run's."""
    marks: bool
    """Whether the records seen are marked: those of a full run."""
    most_deleted: float

    def state(self) -> State:
        with self.hub.database.read() as uow:
            row = uow.jobs.run(self.run_id)
            assert row is not None
            return dict((row.progress or {}).get(self.kind.value) or {})

    def everything(self, *, expired: str | None = None, why: str | None = None) -> None:
        """Read all there is and sweep; `expired` is an ordinary cursor that this one replaces,
        `why` is what an ordinary run does it for."""
        begin = self._anew(expired, why)
        state = self.state() or self._begun(begin)
        while state["phase"] != "done":
            if state["phase"] == "sweep":
                state = self._sweep(state)
                continue
            page = self.read(state["cursor"])
            phase = state["phase"]
            if not page.more:
                # What changes while everything is read may slip through: it is read afterwards.
                phase = "since" if phase == "all" else "sweep"
            state = self._keep(state, {**state, "phase": phase, "cursor": page.cursor}, page)

    def clock_back(self, to: datetime, *, expired: str) -> None:
        """Read all there is and sweep nothing: the source's clock went back.

        What it stamped meanwhile lies behind the ordinary cursor, and what it stamped before lies
        in its future, where no reading looks.
        """
        why = "the source's clock went back"
        state = {**self._anew(expired, why), "clock_back": True}
        with self.hub.database.begin() as uow:
            row = self._mine(uow, {})
            uow.records.date_back(self.connection, self.kind, as_of=to)
            saved = uow.jobs.cursor(self.connection, self.kind.value)
            if saved is not None:
                saved.as_of = to
            state["as_of"] = to.isoformat()
            row.progress = {**(row.progress or {}), self.kind.value: state}
        self.everything()

    def window(self, since: datetime, until: datetime) -> None:
        """Read the records that changed from `since` until `until`, as they are now."""
        state = self.state()
        if not state:
            remote = self.hub.gate.remote(self.connection, Urgency.BATCH)
            adapter = self.hub.registry.adapter(self.connection)
            if not isinstance(adapter, ListsChangesBetween):
                raise NotOfferedError(
                    f"the connection {self.connection!r} can't read a window of the past; "
                    "a full run reads everything"
                )
            begin = remote.cursor_between(self.kind, since, until)
            state = self._begun({"phase": "window", "cursor": begin})
        while state["phase"] != "done":
            page = self.read(state["cursor"])
            phase = "window" if page.more else "done"
            state = self._keep(state, {**state, "phase": phase, "cursor": page.cursor}, page)

    def _anew(self, expired: str | None, why: str | None) -> State:
        read_by = self.hub.registry.reads_by(self.connection, self.kind)
        begin = {"phase": "all", "cursor": None, "expired": expired, "read_by": read_by}
        return begin if why is None else {**begin, "why": why}

    def _begun(self, state: State) -> State:
        with self.hub.database.read() as uow:
            saved = uow.jobs.cursor(self.connection, self.kind.value)
        return {**state, "as_of": saved.as_of.isoformat() if saved else None}

    def _keep(self, before: State, after: State, page: Page) -> State:
        """Store a page with the place that follows it."""
        now = self.hub.clock()
        records = [(record, partial(self.hub.found_by, record)) for record in page.records]
        with self.hub.database.begin() as uow:
            row = self._mine(uow, before)
            saved = uow.jobs.cursor(self.connection, self.kind.value)
            # What is read now is at least as new as what the ordinary cursor has passed.
            as_of = max(page.as_of, _floor(before))
            counts = uow.records.store(
                records, as_of=as_of, seen_by=self.run_id if self.marks else None
            )
            name = f"{self.run_id}:{after['phase']}:{page.cursor}"
            if counts.changed:
                prioritise.owe_accounts(self.hub, uow, page.records, name=name)
            counts.deleted = merged.delete(
                self.hub, uow, page, as_of=as_of, name=name, unless_newer=True
            )
            counts.quarantined = uow.records.quarantine(
                page.quarantined, connection=self.connection, at=now
            )
            row.counts = self.add(row.counts, self.kind, counts)
            row.windows = receipts.widened(
                row.windows, self.kind, began=None, page=page, counts=counts
            )
            after = {
                **after,
                "as_of": saved.as_of.isoformat() if saved else None,
                # Whatever another run reads as of later is there, though this one has not seen it.
                "read_until": None if before.get("expired") else page.as_of.isoformat(),
            }
            row.progress = {**(row.progress or {}), self.kind.value: after}
            if after["phase"] == "sweep":
                self._put_cursor(uow, page, after, saved, now)
        return after

    def _put_cursor(
        self, uow: UnitOfWork, page: Page, state: State, saved: CursorRow | None, now: datetime
    ) -> None:
        """Where nothing else goes on from, or the cursor has expired, go on from the end. All that
        is there has been read by what the run began with."""
        expired, read_by = state.get("expired"), state.get("read_by")
        if saved is not None and saved.value != expired:
            saved.read_by = read_by
            return
        moved = CursorRow(
            connection=self.connection,
            kind=self.kind.value,
            value=page.cursor,
            as_of=page.as_of,
            run_id=self.run_id,
            saved_at=now,
            read_by=read_by,
            remote=uow.connections.remote(self.connection),
        )
        uow.jobs.move_cursor(moved, from_=expired)

    def _mine(self, uow: UnitOfWork, before: State) -> RunRow:
        """The run, held until the transaction ends; raises CarriedOn if somebody moved it on."""
        row = uow.jobs.run(self.run_id, lock=True)
        if row is None or row.state != "running":
            raise CarriedOn
        stands = (row.progress or {}).get(self.kind.value)
        if stands is not None and stands != before:
            raise CarriedOn
        return row

    # The sweep.

    def _sweep(self, state: State) -> State:
        """Mark as deleted what was not seen, or say why not."""
        with self.hub.database.read() as uow:
            row = uow.jobs.run(self.run_id)
            assert row is not None
            read_until = state.get("read_until")
            swept = Swept(
                id=self.run_id,
                connection=self.connection,
                kind=self.kind,
                since=row.started_at or row.queued_at,
                read_until=datetime.fromisoformat(read_until) if read_until else None,
            )
            some = uow.records.some_unseen(swept, limit=ASKED_SINGLY)
            count = uow.records.count_unseen(swept)
            live = uow.records.live(self.connection, self.kind)
        refused: dict[str, Any] | None = None
        there: list[Ref | Record] = []
        if state.get("clock_back"):
            why = "the source's clock went back"
            refused = {"count": count, "of": live, "why": why} if count else None
        elif count and count > live * self.most_deleted:
            why = f"over {self.most_deleted:g} of the records would go"
            refused = {"count": count, "of": live, "why": why}
        elif some:
            there = self._still_there(some)
            if there and count > len(some):
                why = f"{len(there)} of {len(some)} that were asked for are still there"
                refused = {"count": count, "of": live, "why": why}
        if refused is None:
            with self.hub.database.begin() as uow:
                self._mark(uow, there)
            self._delete(state, swept)
        after = {**state, "phase": "done", "refused": refused}
        with self.hub.database.begin() as uow:
            row = self._mine(uow, state)
            if refused is None:
                uow.records.release_unseen(swept)
            else:
                # Not before: whoever sweeps again must find them among what seems gone.
                self._mark(uow, there)
            row.progress = {**(row.progress or {}), self.kind.value: after}
            self._tell(uow, row, refused)
        return after

    def _still_there(self, ids: list[str]) -> list[Ref | Record]:
        """Those of the records that the source has all the same; the reference of one that can't
        be mapped."""
        if not isinstance(self.hub.registry.adapter(self.connection), ReadsRecords):
            return []
        remote = self.hub.gate.remote(self.connection, Urgency.BATCH)
        there: list[Ref | Record] = []
        for id_ in ids:
            ref = Ref(connection=self.connection, kind=self.kind, id=id_)
            try:
                there.append(remote.read_record(ref))
            except Missing:
                continue
            except MappingError:
                there.append(ref)
            except RemoteError:
                raise
            except Exception as error:
                log.exception("adapter failed", extra={"connection": self.connection})
                raise Permanent(
                    f"the adapter failed with {type(error).__name__}; see the log",
                    system=self.connection,
                    operation="read_record",
                ) from error
        return there

    def _mark(self, uow: UnitOfWork, there: list[Ref | Record]) -> None:
        """Store the records anew as seen."""
        saved = uow.jobs.cursor(self.connection, self.kind.value)
        as_of = saved.as_of if saved is not None else self.hub.clock()
        found = [
            (one, partial(self.hub.found_by, one)) for one in there if not isinstance(one, Ref)
        ]
        uow.records.store(found, as_of=as_of, seen_by=self.run_id)
        unread = [one for one in there if isinstance(one, Ref)]
        uow.records.mark_seen(unread, seen_by=self.run_id)

    def _delete(self, state: State, swept: Swept) -> None:
        more = True
        while more:
            with self.hub.database.begin() as uow:
                row = self._mine(uow, state)
                ids = uow.records.unseen(swept, limit=SWEPT_AT_ONCE)
                saved = uow.jobs.cursor(self.connection, self.kind.value)
                gone = [Ref(connection=self.connection, kind=self.kind, id=id_) for id_ in ids]
                as_of = saved.as_of if saved is not None else self.hub.clock()
                deleted = uow.records.delete(gone, as_of=as_of)
                row.counts = self.add(row.counts, self.kind, Counts(deleted=deleted))
                more = len(ids) == SWEPT_AT_ONCE

    def _tell(self, uow: UnitOfWork, row: RunRow, refused: dict[str, Any] | None) -> None:
        """Raise the alarm of a sweep that was refused, or clear it."""
        now = self.hub.clock()
        subject = f"{self.connection}:{self.kind}"
        detail = {"run": self.run_id, "job": row.job, **(refused or {})}
        if refused is None:
            watch.cleared(self.hub, uow, "sweep", subject, at=now)
            return
        if watch.raised(self.hub, uow, "sweep", subject, detail, at=now):
            deliver.tell(
                self.hub,
                uow,
                "sync.sweep.refused",
                subject=self.run_id,
                data={
                    "id": self.run_id,
                    "job": row.job,
                    "connection": self.connection,
                    "kind": self.kind.value,
                    **refused,
                },
                at=now,
            )


def _floor(state: State) -> datetime:
    """As of when the ordinary cursor stood before the page was asked for."""
    known = state.get("as_of")
    return datetime.fromisoformat(known) if known else datetime.min.replace(tzinfo=UTC)
