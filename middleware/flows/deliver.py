"""Events on their way out: recorded with the change they tell of, signed, delivered, retried.

Signed by Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`, base string
`id.timestamp.body` (https://www.standardwebhooks.com). Only a 2xx counts as delivered; 3xx is a
failure, 410 ends the endpoint, and five days of nothing but failures disable it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from middleware.contract import http, wire
from middleware.contract.errors import RemoteError, Transient
from middleware.flows import mail
from middleware.flows.hub import EndpointOptions, Hub
from middleware.store.database import UnitOfWork
from middleware.store.tables import DeliveryRow, EventRow

log = logging.getLogger(__name__)

RETRIES = tuple(
    timedelta(seconds=s) for s in (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
)
"""How long to wait after the first, second … failed attempt: 75 h 35 min in all."""

DISABLED_AFTER = timedelta(days=5)
LARGEST_BODY = 20_000
LIMITS = http.Limits(connect_s=5, total_s=15, max_bytes=64 * 1024)


def tell(
    hub: Hub,
    uow: UnitOfWork,
    type_: str,
    *,
    subject: str,
    data: dict[str, Any],
    at: datetime,
    also: Sequence[str] = (),
) -> None:
    """Record an event in this transaction and owe its deliveries: to the endpoints that want it,
    and `also` to these addresses (`flows.mail`)."""
    for delivery in uow.events.append(type_, subject=subject, data=data, at=at, also=also):
        owe(hub, uow, delivery)


def run(hub: Hub, delivery_id: str, attempt: str) -> None:
    """One attempt at one delivery."""
    with hub.database.read() as uow:
        delivery = uow.events.delivery(delivery_id)
        if delivery is None or delivery.state != "waiting" or str(delivery.attempts) != attempt:
            return
        event = uow.events.get(delivery.event_id)
        endpoint = uow.events.endpoint(delivery.endpoint)
    options = hub.options.endpoints.get(delivery.endpoint)
    assert event is not None, "a delivery has its event"
    if delivery.endpoint.startswith(mail.SCHEME):
        _mail(hub, delivery, event)
        return
    if endpoint is None or endpoint.deleted_at is not None or options is None:
        _settle(hub, delivery_id, status=None, error="the endpoint is no longer declared", end=True)
        return
    if not endpoint.enabled:
        _settle(hub, delivery_id, status=None, error=endpoint.disabled_reason, end=True)
        return
    status, error, wait = _post(hub, event, options)
    _settle(hub, delivery_id, status=status, error=error, wait=wait)


def _mail(hub: Hub, delivery: DeliveryRow, event: EventRow) -> None:
    """One attempt at an e-mail; one that was in doubt as often as may be is left alone."""
    if delivery.in_doubt >= mail.MOST_IN_DOUBT:
        error = "no answer told whether it arrived, twice"
        _settle(hub, delivery.id, status=None, error=error, end=True)
        return

    def announce() -> bool:
        with hub.database.begin() as uow:
            return uow.events.put_in_doubt(delivery)

    sent = mail.send(hub, event, delivery.endpoint, announce=announce)
    if sent is None:
        return
    _settle(
        hub,
        delivery.id,
        status=200 if sent.ok else None,
        error=sent.error,
        end=sent.final,
        in_doubt=delivery.in_doubt + sent.in_doubt,
    )


def _post(
    hub: Hub, event: EventRow, options: EndpointOptions
) -> tuple[int | None, str | None, timedelta | None]:
    """Send it once: the status, or why there is none, and how long we were asked to wait."""
    body = body_of(event)
    headers = signed(
        event.id, body, at=hub.clock(), secrets=[s.get_secret_value() for s in options.secrets]
    )
    try:
        with http.client(LIMITS) if options.on_premise else http.public_client(LIMITS) as client:
            answer = client.post(options.url, content=body, headers=headers, follow_redirects=False)
    except Exception as error:
        problem = wire.classify(error, write=False, system="endpoint", operation="deliver")
        return None, problem.message, None
    problem_ = wire.classify_status(
        answer.status_code, answer.headers, write=False, system="endpoint", operation="deliver"
    )
    return answer.status_code, None, _wait_of(problem_)


def _wait_of(problem: RemoteError | None) -> timedelta | None:
    return problem.retry_after if isinstance(problem, Transient) else None


def _settle(
    hub: Hub,
    delivery_id: str,
    *,
    status: int | None,
    error: str | None,
    wait: timedelta | None = None,
    end: bool = False,
    in_doubt: int = 0,
) -> None:
    now = hub.clock()
    with hub.database.begin() as uow:
        delivery = uow.events.delivery(delivery_id)
        if delivery is None or delivery.state != "waiting":
            return
        endpoint = uow.events.endpoint(delivery.endpoint)
        delivery.attempts += 1
        delivery.last_status, delivery.last_error = status, error
        delivery.in_doubt = in_doubt
        if status is not None and 200 <= status < 300:
            delivery.state, delivery.finished_at, delivery.due_at = "delivered", now, None
            if endpoint is not None:
                endpoint.failing_since = None
            return
        if endpoint is not None and not end:
            endpoint.failing_since = endpoint.failing_since or now
            if status == 410:
                endpoint.enabled, endpoint.disabled_reason = False, "it answered 410 Gone"
            elif now - endpoint.failing_since > DISABLED_AFTER:
                endpoint.enabled = False
                endpoint.disabled_reason = f"nothing but failures since {endpoint.failing_since}"
            end = not endpoint.enabled
        if end or delivery.attempts > len(RETRIES):
            delivery.state, delivery.finished_at, delivery.due_at = "failed", now, None
            return
        pause = max(retry_after(delivery.attempts), wait or timedelta(0))
        delivery.due_at = now + pause
        owe(hub, uow, delivery, delay=pause)


def owe(
    hub: Hub,
    uow: UnitOfWork,
    delivery: DeliveryRow,
    *,
    delay: timedelta | None = None,
    again: datetime | None = None,
) -> None:
    """Owe the next attempt; `again` when the one that was owed has not been heard of."""
    name = f"deliver:{delivery.id}:{delivery.attempts}"
    hub.engine.enqueue(
        uow,
        "deliver",
        delivery.id,
        str(delivery.attempts),
        name=name if again is None else f"{name}:{again.timestamp():.0f}",
        delay=delay,
    )


def retry_after(attempts: int) -> timedelta:
    """The documented wait after that many attempts, with up to a tenth of it as jitter."""
    wait = RETRIES[min(attempts, len(RETRIES)) - 1]
    return wait * (1 + random.random() / 10)  # noqa: S311 - spreads load, guards nothing


def body_of(event: EventRow) -> bytes:
    """The event as it is sent: minified, at most 20 kB; a larger one names where to read it."""
    envelope = {"type": event.type, "timestamp": event.at.isoformat(), "data": event.data}
    body = json.dumps(envelope, separators=(",", ":"), ensure_ascii=False).encode()
    if len(body) > LARGEST_BODY:
        envelope["data"] = {"id": event.subject, "too_large": True}
        body = json.dumps(envelope, separators=(",", ":")).encode()
    return body


def signed(message_id: str, body: bytes, *, at: datetime, secrets: Sequence[str]) -> dict[str, str]:
    """The headers of a Standard Webhook, signed with every secret given."""
    timestamp = str(int(at.timestamp()))
    base = f"{message_id}.{timestamp}.".encode() + body
    signatures = []
    for secret in secrets:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        digest = hmac.new(key, base, hashlib.sha256).digest()
        signatures.append("v1," + base64.b64encode(digest).decode())
    return {
        "content-type": "application/json",
        "user-agent": "amends",
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
    }
