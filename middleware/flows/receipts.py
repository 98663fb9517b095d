"""The receipt of a run: window, counts and content of each kind, gaps, and who it follows.

Written in the transaction that ends the run. A connection's receipts form a chain: each holds the
hash of the one before it, and the hub's signature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from middleware.contract.canonical import Kind
from middleware.contract.capabilities import Page
from middleware.domain import receipts as rules
from middleware.flows import deliver, watch
from middleware.flows.hub import Hub
from middleware.flows.seal import BrokenSealError
from middleware.store.database import UnitOfWork
from middleware.store.jobs import ENDED
from middleware.store.records import Counts
from middleware.store.tables import CursorRow, JobRow, ReceiptRow, RunRow

PURPOSE = "receipt"
NOT_DECLARED = "the job is no longer declared"
"""Why a run ends that has no receipt: it never began, or whose it would be is not known."""
ORDINARY = "changes"
LOOKED_AT = 50
"""How many receipts back the end of a kind's last reading is looked for."""


def widened(
    windows: dict[str, Any] | None,
    kind: Kind,
    *,
    began: CursorRow | None,
    page: Page,
    counts: Counts,
) -> dict[str, Any]:
    """A run's windows with one more page of a kind, which began where the cursor stood."""
    known = (windows or {}).get(kind.value)
    if known is None:
        known = {
            "since": began.as_of.isoformat() if began else None,
            "from": _place(began.value) if began else None,
            "content": "",
        }
    window = {
        **known,
        "until": page.as_of.isoformat(),
        "to": _place(page.cursor),
        "content": rules.chained(known["content"], counts.content),
        "complete": not page.more,
    }
    return {**(windows or {}), kind.value: window}


def _place(cursor: str) -> str:
    """A cursor may hold ids of people's records: its hash says as much about being the same."""
    return hashlib.sha256(cursor.encode()).hexdigest()[:32]


def write(
    hub: Hub,
    uow: UnitOfWork,
    run: RunRow,
    *,
    connection: str,
    kinds: Sequence[str],
    source: Mapping[str, Mapping[str, Any]] | None = None,
) -> ReceiptRow:
    """Seal what a run has seen, in the transaction that ends it.

    `source` holds per kind what the source says that it has, beside what is stored; see
    `flows.tallies`.
    """
    assert run.finished_at is not None, "only a run that has ended has a receipt"
    uow.receipts.hold()
    earlier = uow.receipts.latest(connection, limit=LOOKED_AT)
    last = earlier[0] if earlier else None
    before: dict[str, str | None] = {}
    ordinary = [one for one in earlier if one.body.get("mode", ORDINARY) == ORDINARY]
    # What goes by a cursor of its own begins where it was told to.
    for receipt in ordinary if run.mode == ORDINARY else ():
        for kind, window in receipt.body["windows"].items():
            before.setdefault(kind, window["to"])
    windows = run.windows or {}
    same_job = [
        one.body["counts"] for one in ordinary if one.job == run.job and one.body["state"] == "done"
    ]
    usual = run.state == "done" and run.mode != "backfill"
    empty = rules.unusually_empty(run.counts, same_job) if usual else []
    told = {kind: dict(said) for kind, said in (source or {}).items()}
    gaps = [
        *rules.gaps_of(kinds, windows, before, run.counts),
        *rules.refused_sweeps(run.progress or {}),
        *rules.lasting_differences(told, [one.body.get("source") or {} for one in earlier]),
    ]
    number = last.number + 1 if last else 1
    previous = last.digest if last else None
    body: dict[str, Any] = {
        "number": number,
        "previous": previous,
        "run": run.id,
        "job": run.job,
        "connection": connection,
        "tick": run.tick,
        "mode": run.mode,
        "state": run.state,
        "requested_by": run.requested_by,
        "queued_at": run.queued_at.isoformat(),
        "started_at": run.started_at.isoformat() if run.started_at else None,
        "finished_at": run.finished_at.isoformat(),
        "windows": windows,
        "counts": run.counts,
        "source": told,
        "gaps": gaps,
        "unusually_empty": empty,
        "error": run.error,
    }
    digest = rules.digest_of(body)
    row = ReceiptRow(
        run_id=run.id,
        job=run.job,
        connection=connection,
        number=number,
        body=body,
        digest=digest,
        previous=previous,
        signature=hub.seal.write(PURPOSE, digest),
    )
    uow.receipts.add(row)
    _look_for_emptiness(hub, uow, run, connection, empty)
    return row


def _look_for_emptiness(
    hub: Hub, uow: UnitOfWork, run: RunRow, connection: str, empty: list[str]
) -> None:
    """Raise the alarm for kinds of which nothing was seen, and clear it for those seen again."""
    assert run.finished_at is not None
    detail = {"run": run.id, "job": run.job}
    new = [
        kind
        for kind in empty
        if watch.raised(hub, uow, "empty", f"{connection}:{kind}", detail, at=run.finished_at)
    ]
    if new:
        deliver.tell(
            hub,
            uow,
            "sync.run.empty",
            subject=run.id,
            data={"id": run.id, "job": run.job, "connection": connection, "kinds": new},
            at=run.finished_at,
        )
    for kind, seen in run.counts.items():
        if seen["seen"]:
            watch.cleared(hub, uow, "empty", f"{connection}:{kind}", at=run.finished_at)


@dataclass(frozen=True)
class Checked:
    """A connection's chain, looked through from its beginning."""

    connection: str
    count: int
    broken: str | None


def check(hub: Hub, connection: str) -> Checked:
    """Whether a connection's receipts are all there, as they were written and signed; of the last
    ones, which no other follows, the runs that ended tell."""
    count = 0

    def counted(uow: UnitOfWork) -> Any:
        nonlocal count
        for receipt in uow.receipts.chain(connection):
            count += 1
            yield receipt

    with hub.database.read() as uow:
        found = rules.broken(counted(uow), lambda digest, text: signed(hub, digest, text))
        if found is None and (
            lacking := uow.receipts.lacking(_jobs(uow, connection), but=NOT_DECLARED)
        ):
            found = f"the receipt of run {lacking[0]} is missing"
    return Checked(connection, count, found)


def connections(uow: UnitOfWork) -> list[str]:
    """Those that have receipts, or should have."""
    jobs = [row for row in uow.jobs.all_ever() if _of_sync(row)]
    ran = [row for row in jobs if uow.jobs.last_of(row.name, states=ENDED)]
    return sorted({*uow.receipts.connections(), *(row.arguments["connection"] for row in ran)})


def _jobs(uow: UnitOfWork, connection: str) -> list[str]:
    return [
        row.name
        for row in uow.jobs.all_ever()
        if _of_sync(row) and row.arguments["connection"] == connection
    ]


def _of_sync(row: JobRow) -> bool:
    return row.flow == "sync" and bool(row.arguments.get("connection"))


def intact(hub: Hub, row: ReceiptRow) -> bool:
    """Whether one receipt is as it was written and signed."""
    return rules.digest_of(row.body) == row.digest and signed(hub, row.digest, row.signature)


def signed(hub: Hub, digest: str, signature: str) -> bool:
    try:
        return bool(hub.seal.read(PURPOSE, signature) == digest)
    except BrokenSealError:
        return False
