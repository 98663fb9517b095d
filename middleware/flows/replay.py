"""Replays: what lay in quarantine is tried again, after a mapping or our code was mended."""

from __future__ import annotations

from datetime import timedelta

from middleware.contract.canonical import Kind, Record, Ref
from middleware.contract.capabilities import MapsAgain, Quarantined, ReadsOrders, ReadsRecords
from middleware.contract.errors import Transient
from middleware.contract.mapping import MappingError
from middleware.domain.problems import ConflictError, NotFoundError, NotOfferedError
from middleware.domain.turns import Urgency
from middleware.flows.hub import Asker, Hub
from middleware.store import queries

DEADLINE = timedelta(seconds=10)
"""How long somebody who replays a record waits for the remote."""


def delivery(hub: Hub, inbox_id: str, asker: Asker) -> None:
    """Owe a quarantined delivery's handling anew.

    Raises NotFoundError, and ConflictError for one that is not in quarantine.
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        row = uow.inbox.get(inbox_id)
        if row is None:
            raise NotFoundError(f"there is no delivery {inbox_id}")
        if row.state != "quarantined":
            raise ConflictError(f"the delivery is {row.state}; only quarantined ones are replayed")
        row.state, row.problem, row.handled_at, row.replays = "stored", None, None, 0
        hub.engine.enqueue(
            uow, "receive", row.id, name=f"receive:{row.id}:replay:{now.timestamp():.3f}"
        )
        uow.audit.write(
            at=now,
            actor=asker.principal,
            action="delivery.replay",
            subject=row.id,
            request_id=asker.request_id,
        )


def record(hub: Hub, ref: Ref, asker: Asker) -> None:
    """Make a record of a quarantined one, and store it.

    Where its adapter reads single records, the remote is asked: it may have changed since, and a
    mended mapping may want more of it than was kept. Otherwise what was kept is mapped again.
    Raises NotFoundError, NotOfferedError where the adapter can do neither, and what the remote
    answers, or MappingError when it still does not map: it then lies there with the new reason.
    """
    with hub.database.read() as uow:
        known = queries.quarantined_record(uow, ref)
    if known is None:
        raise NotFoundError(f"no record {ref} is in quarantine")
    adapter = hub.registry.adapter(ref.connection)
    now = hub.clock()
    try:
        if isinstance(adapter, ReadsRecords):
            made, as_of = _asked(hub, ref, "read_record"), now
        elif ref.kind is Kind.ORDER and isinstance(adapter, ReadsOrders):
            made, as_of = _asked(hub, ref, "read_order"), now
        elif isinstance(adapter, MapsAgain):
            made, as_of = adapter.map_again(ref, known.payload), known.last_at
        else:
            raise NotOfferedError(
                f"the connection {ref.connection} reads no single {ref.kind}, and does not keep "
                "them whole; its next sync takes the record once it was changed there"
            )
    except MappingError as error:
        _keep(hub, ref, known, error)
        raise
    with hub.database.begin() as uow:
        as_of = uow.jobs.theirs(ref.connection, ref.kind, as_of)
        uow.records.store([(made, hub.found_by(made))], as_of=as_of)
        uow.audit.write(
            at=now,
            actor=asker.principal,
            action="record.replay",
            subject=str(ref),
            request_id=asker.request_id,
        )


def _asked(hub: Hub, ref: Ref, read: str) -> Record:
    """The record as the remote has it now; raises Transient when it takes too long."""
    remote = hub.gate.remote(ref.connection, Urgency.AGENT, within=DEADLINE)
    asking = hub.readers.submit(getattr(remote, read), ref)
    try:
        made: Record = asking.result(DEADLINE.total_seconds())
    except TimeoutError:
        raise Transient(
            f"no answer within {DEADLINE.total_seconds():g} s",
            system=hub.registry.adapter_name(ref.connection),
            operation=read,
        ) from None
    return made


def _keep(hub: Hub, ref: Ref, known: queries.QuarantineRow, error: MappingError) -> None:
    """Leave a record in quarantine for what refuses it now; what was kept of it stays as old."""
    problem = error.problems[0]
    again = Quarantined(
        kind=ref.kind,
        id=ref.id,
        field=problem.field,
        reason=problem.reason,
        place=problem.place,
        payload=known.payload,
    )
    with hub.database.begin() as uow:
        uow.records.quarantine([again], connection=ref.connection, at=known.last_at)
