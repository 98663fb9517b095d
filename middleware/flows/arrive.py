"""Deliveries at the door: which connection, from whom, and into the inbox."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from concurrent.futures import Future
from datetime import datetime
from typing import Any

from middleware.domain.arrivals import Arrival
from middleware.domain.problems import GoneError, NotFoundError
from middleware.flows import receive
from middleware.flows.hub import Hub, InletOptions
from middleware.flows.intake import Accepted, Intake
from middleware.inlets import INLETS, Answer, Delivery, Inlet, MalformedBody, Verdict, parse_json
from middleware.inlets.delivery import Reading
from middleware.store.tables import InboxRow

log = logging.getLogger(__name__)

API = "api"
"""The connection of complaints that belong to none in particular."""


def inlet_of(hub: Hub, connection: str) -> tuple[Inlet, InletOptions]:
    """The inlet behind a connection; raises NotFoundError, or GoneError for a deleted one."""
    options = hub.options.inlets.get(connection)
    if options is not None:
        return INLETS[options.source], options
    with hub.database.read() as uow:
        row = uow.connections.get(connection)
    if row is not None and row.deleted_at is not None:
        raise GoneError(
            f"The connection {connection} was removed on {row.deleted_at.date().isoformat()}."
        )
    raise NotFoundError(f"There is no connection {connection!r} that takes deliveries.")


def verify(inlet: Inlet, options: InletOptions, delivery: Delivery) -> Verdict:
    """Whether a delivery is from its source, over the bytes as they came."""
    return inlet.verify(delivery, _secrets(options))


def handshake(inlet: Inlet, options: InletOptions, delivery: Delivery) -> Answer | None:
    """The answer to a source's question whether we are we."""
    return inlet.handshake(delivery, _secrets(options))


def hand_in(
    intake: Intake, delivery: Delivery, *, connection: str, source: str, verdict: Verdict
) -> Future[Accepted]:
    """Have a verified delivery stored and its handling owed. Raises BusyError."""
    row = receive.row_of(delivery, connection=connection, source=source, trust=verdict.trust)
    return intake.submit(row)


def hand_in_event(
    intake: Intake, event: Mapping[str, Any], *, connection: str, at: datetime
) -> Future[Accepted]:
    """Have an event in the form of the generic inlet stored, as sent by one of our keys.

    The same event is accepted once: it is known by its type, message and time. Raises BusyError.
    """
    data = event["data"]
    body = json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    delivery = Delivery(
        method="POST",
        path="/v1/complaints",
        body=body,
        received_at=at,
        headers={
            "webhook-id": f"api:{event['type']}:{event['timestamp']}:{data['id']}",
            "content-type": "application/json",
        },
    )
    row = receive.row_of(delivery, connection=connection, source="generic", trust="api_key")
    return intake.submit(row)


def source_ids(row: InboxRow) -> tuple[str, ...]:
    """The messages that a stored delivery holds, as far as it can be read."""
    try:
        payload = parse_json(row.body)
    except MalformedBody:
        return ()
    readings: tuple[Reading, ...] = INLETS[row.headers["source"]].arrivals(payload)
    return tuple(dict.fromkeys(r.source_id for r in readings if isinstance(r, Arrival)))


def _secrets(options: InletOptions) -> list[str]:
    return [secret.get_secret_value() for secret in options.secrets]
