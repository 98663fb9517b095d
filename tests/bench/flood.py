"""A pile-on as a whole: ten thousand signed deliveries within a minute, to a hub that works.

What is measured: whether all of them are stored and handled, how long a source waits for its 2xx
meanwhile, where in the order of handling the urgent ones come, and when the alarm is told.
"""

from __future__ import annotations

import json
import random
import statistics
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlmodel import col

from middleware.inlets.generic import sign
from middleware.store.database import Database
from middleware.store.tables import EventRow, InboxRow
from middleware.understanding.glance import Haste, haste
from tests.bench import places
from tests.bench.load import measure, percentile, request

CONNECTIONS = 64
URGENT_SHARE = 0.01
MOST_P99_MS = 1000
MOST_ALARM_S = 60


@dataclass(frozen=True)
class Size:
    deliveries: int
    patience_s: float


FULL = Size(deliveries=10_000, patience_s=1500)
SHORT = Size(deliveries=600, patience_s=240)

_URGENT = (
    "Your kettle started smoking and burned my hand, somebody will get hurt! #kettlegate",
    "The kettle exploded and my daughter is in hospital",
    "Der Wasserkocher hat Feuer gefangen, das ist gefährlich",
)
_USUAL = (
    "My kettle arrived broken, what a mess. #kettlegate {n}",
    "Another one with a broken kettle here, please send a new one {n} #kettlegate",
    "Kettle came damaged, box crushed. Nobody answers the phone {n}",
    "Where is my parcel? It should have been here on Monday {n}",
)


def run(database: str, folder: Path, size: Size) -> dict[str, Any]:
    """Send them, wait until all are handled, and read from the inbox in which order."""
    with (
        places.database(database, folder) as url,
        places.hub(folder, url) as (hub, _),
    ):
        secret = (folder / "secrets" / "generic").read_text()
        sent = deliveries(secret, count=size.deliveries)
        began = datetime.now(UTC)
        measured = measure(hub.port, sent, folder, connections=CONNECTIONS, seconds=300)
        store = Database(url)
        try:
            waited = _until_handled(store, size)
            figures = _figures(store, began)
        finally:
            store.close()
    accepted = len(measured.taken)
    return {
        "sent": size.deliveries,
        "accepted": accepted,
        "refused": measured.failed,
        "stored": figures.pop("stored"),
        "lost": accepted - figures["handled"] - figures["unhandled"],
        "sending_s": round(measured.seconds, 1),
        "accept_p50_ms": round(statistics.median(measured.taken) * 1000, 1),
        "accept_p99_ms": round(percentile(list(measured.taken), 0.99) * 1000, 1),
        "handled_in_s": round(waited + measured.seconds, 1),
        **figures,
    }


def missed(figures: dict[str, Any]) -> list[str]:
    """Which of what is promised was not kept."""
    found = []
    for database, measured in figures.items():
        if measured["lost"] or measured["refused"] or measured["unhandled"]:
            found.append(f"flood on {database}: something was lost or not handled")
        if measured["sending_s"] > 60:
            found.append(f"flood on {database}: accepting took {measured['sending_s']} s")
        if measured["urgent_wait_max_s"] > measured["usual_wait_median_s"]:
            found.append(f"flood on {database}: an urgent one waited longer than a usual one")
        if measured["alarm_s"] is None or measured["alarm_s"] > MOST_ALARM_S:
            found.append(f"flood on {database}: the alarm came after {measured['alarm_s']} s")
    return found


def deliveries(secret: str, *, count: int) -> list[bytes]:
    """Signed deliveries by different people; every hundredth is one of danger."""
    dice = random.Random(1)
    made = []
    for n in range(count):
        urgent = dice.random() < URGENT_SHARE
        text = dice.choice(_URGENT if urgent else _USUAL).format(n=n)
        at, message = int(time.time()), uuid.uuid4().hex
        event = {
            "type": "message.created",
            "timestamp": datetime.fromtimestamp(at, UTC).isoformat(),
            "data": {
                "id": message,
                "conversation": f"c-{message}",
                "author": {
                    "network": "x",
                    "native_id": message,
                    "handle": f"h{message[:10]}",
                    "display_name": f"Customer {n}",
                    "followers": dice.randrange(2000),
                },
                "text": text,
            },
        }
        body = json.dumps(event).encode()
        headers = {
            "Content-Type": "application/json",
            "webhook-id": f"msg_{message}",
            "webhook-timestamp": str(at),
            "webhook-signature": sign(secret, f"msg_{message}", at, body),
        }
        made.append(request("POST", "/v1/inlets/listening", headers, body))
    return made


def _until_handled(store: Database, size: Size) -> float:
    """Wait until nothing is stored and not handled; answers for how long."""
    began = time.monotonic()
    while time.monotonic() - began < size.patience_s:
        left = _left(store)
        if not left:
            break
        places.say(f"flood: {left} are left to be handled")
        time.sleep(2 if left < 500 else 10)
    return time.monotonic() - began


def _left(store: Database) -> int:
    with store.read() as uow:
        query = sa.select(sa.func.count()).where(col(InboxRow.state) == "stored")
        return int(uow.session.connection().execute(query).scalar_one())


def _figures(store: Database, began: datetime) -> dict[str, Any]:
    with store.read() as uow:
        rows = list(
            uow.session.connection().execute(
                sa.select(
                    col(InboxRow.body),
                    col(InboxRow.state),
                    col(InboxRow.received_at),
                    col(InboxRow.handled_at),
                )
            )
        )
        opened = (
            uow.session.connection()
            .execute(
                sa.select(sa.func.min(col(EventRow.at))).where(
                    col(EventRow.type) == "incident.opened"
                )
            )
            .scalar_one()
        )
    handled = sorted((r for r in rows if r.handled_at is not None), key=lambda r: r.handled_at)
    urgent = [r for r in handled if haste(r.body) is Haste.DANGER]
    usual = [r for r in handled if haste(r.body) is Haste.USUAL]
    # Usual ones that were handled while an urgent one waited.
    before = [sum(r.received_at <= u.handled_at <= r.handled_at for u in usual) for r in urgent]
    waiting = [sum(u.received_at <= r.received_at < u.handled_at for u in usual) for r in urgent]

    def waits(found: list[Any]) -> list[float]:
        return [(r.handled_at - r.received_at) / timedelta(seconds=1) for r in found]

    return {
        "stored": len(rows),
        "handled": len(handled),
        "unhandled": len(rows) - len(handled),
        "urgent": len(urgent),
        "urgent_wait_median_s": round(statistics.median(waits(urgent)), 1),
        "urgent_wait_max_s": round(max(waits(urgent)), 1),
        "usual_wait_median_s": round(statistics.median(waits(usual)), 1),
        "usual_wait_max_s": round(max(waits(usual)), 1),
        "usual_waiting_most": max(waiting),
        "usual_handled_before_an_urgent_one_median": statistics.median(before),
        "usual_handled_before_an_urgent_one_most": max(before),
        "alarm_s": round((opened - began).total_seconds(), 1) if opened is not None else None,
    }
