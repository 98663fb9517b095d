"""Replays: what lay in quarantine is tried again, after a mapping or our code was mended."""

from __future__ import annotations

from datetime import timedelta

from middleware.contract.canonical import Kind, Order, Ref
from middleware.contract.capabilities import ReadsOrders
from middleware.contract.errors import Transient
from middleware.domain.problems import ConflictError, NotFoundError, NotOfferedError
from middleware.domain.turns import Urgency
from middleware.flows.hub import Asker, Hub
from middleware.resolution.identifiers import identifiers_of
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
    """Read a quarantined record from its remote again and store it.

    The remote is asked, rather than the kept payload mapped: it may have changed since, and an
    adapter adds to a payload what the mapping alone does not know. Raises NotFoundError,
    NotOfferedError where the adapter reads no single record of that kind, and what the remote
    answers, such as Rejected when it still does not map.
    """
    with hub.database.read() as uow:
        known = queries.quarantined_record(uow, ref)
    if known is None:
        raise NotFoundError(f"no record {ref} is in quarantine")
    if ref.kind is not Kind.ORDER or not hub.registry.offers(ref.connection, ReadsOrders):
        raise NotOfferedError(
            f"the connection {ref.connection} reads no single {ref.kind}; its next sync takes the "
            "record once it was changed there"
        )
    asked_at = hub.clock()
    remote = hub.gate.remote(ref.connection, Urgency.AGENT, within=DEADLINE)
    try:
        read: Order = hub.readers.submit(remote.read_order, ref).result(DEADLINE.total_seconds())
    except TimeoutError:
        raise Transient(
            f"no answer within {DEADLINE.total_seconds():g} s",
            system=hub.registry.adapter_name(ref.connection),
            operation="read_order",
        ) from None
    now = hub.clock()
    with hub.database.begin() as uow:
        uow.records.store([(read, identifiers_of(read))], as_of=asked_at)
        uow.audit.write(
            at=now,
            actor=asker.principal,
            action="record.replay",
            subject=str(ref),
            request_id=asker.request_id,
        )
