"""Deliveries while the hub is killed: what was answered 2xx is in the inbox, and handled once."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
import sqlmodel

from middleware.contract import http
from middleware.inlets.generic import sign
from middleware.store.database import Database
from middleware.store.tables import ArrivalRow, ComplaintRow, EventRow, InboxRow
from tests import databases
from tests.chaos.hubs import Hub, Killer, Times, prepare, until, write_settings

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

KILLS = 4
SENDERS = 6
SECRET_FILE = "secrets/generic"


@dataclass
class Sender:
    """Posts deliveries one after another, each until it is accepted, as webhook senders do."""

    url: str
    secret: str
    stop: threading.Event
    accepted: dict[str, str] = field(default_factory=dict)
    """The messages that were answered 2xx, by delivery: what the hub must not lose."""
    answers: Counter[int] = field(default_factory=Counter)
    repeated: int = 0

    def run(self) -> None:
        dice = random.Random(id(self))
        with http.client(http.Limits(connect_s=2, total_s=10), base_url=self.url) as client:
            while not self.stop.is_set():
                delivery, message = f"msg_{uuid.uuid4().hex}", uuid.uuid4().hex
                body = _event(message)
                while not self._sent(client, delivery, body):
                    time.sleep(0.1)
                self.accepted[delivery] = message
                if dice.random() < 0.2:
                    # The 2xx got lost on its way: the sender knows no better than to repeat.
                    self.repeated += 1
                    while not self._sent(client, delivery, body):
                        time.sleep(0.1)
                time.sleep(dice.uniform(0, 0.05))

    def _sent(self, client: httpx2.Client, delivery: str, body: bytes) -> bool:
        at = int(time.time())
        headers = {
            "webhook-id": delivery,
            "webhook-timestamp": str(at),
            "webhook-signature": sign(self.secret, delivery, at, body),
            "content-type": "application/json",
        }
        try:
            answer = client.post("/v1/inlets/listening", content=body, headers=headers)
        except httpx2.HTTPError:
            return False
        self.answers[answer.status_code] += 1
        return answer.is_success


def _event(message: str) -> bytes:
    data = {
        "id": message,
        "author": {"network": "x", "native_id": f"9{message}", "handle": f"h{message[:12]}"},
        "text": "My lamp SO-10001 arrived broken, and nobody answers.",
    }
    event = {
        "type": "message.created",
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": data,
    }
    return json.dumps(event).encode()


@pytest.fixture(params=databases.BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    made = databases.migrated(request.param, tmp_path)
    yield made
    databases.drop(made)


def everything(database: Database) -> tuple[list[InboxRow], list[ArrivalRow], list[ComplaintRow]]:
    with database.read() as uow:
        session = uow.session
        return (
            list(session.exec(sqlmodel.select(InboxRow))),
            list(session.exec(sqlmodel.select(ArrivalRow))),
            list(session.exec(sqlmodel.select(ComplaintRow))),
        )


def events_of(database: Database, type_: str) -> list[EventRow]:
    with database.read() as uow:
        query = sqlmodel.select(EventRow).where(EventRow.type == type_)
        return list(uow.session.exec(query))


def test_what_was_accepted_is_handled_once(url: str, tmp_path: Path) -> None:
    config = write_settings(tmp_path, database_url=url, remotes=None, times=Times(lease_s=4))
    prepare(config)
    hub = Hub(config, "hub")
    hub.start()
    stop = threading.Event()
    secret = (tmp_path / SECRET_FILE).read_text()
    senders = [Sender(hub.url, secret, stop) for _ in range(SENDERS)]
    threads = [threading.Thread(target=sender.run, daemon=True) for sender in senders]
    database = Database(url)
    try:
        hub.ready()
        for thread in threads:
            thread.start()
        killer = Killer([hub], kills=KILLS, seed=20261121)
        killer.start()
        killer.join()
        assert killer.error is None
        hub.ready()
        time.sleep(1)
        stop.set()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
        until(
            lambda: all(row.state != "stored" for row in everything(database)[0]),
            seconds=240,
            what="every delivery is handled",
        )
    finally:
        stop.set()
        hub.close()
    accepted: dict[str, str] = {}
    for sender in senders:
        accepted |= sender.accepted
    answers: Counter[int] = sum((sender.answers for sender in senders), Counter())
    assert len(accepted) > 50, answers
    assert set(answers) <= {200, 202, 503}, answers
    assert answers[200] >= sum(sender.repeated for sender in senders) > 0

    inbox, arrivals, complaints = everything(database)
    enriched = events_of(database, "complaint.enriched")
    database.close()
    stored = {row.message_id.removeprefix("webhook:"): row for row in inbox}
    assert len(stored) == len(inbox), "one row for each delivery"
    assert set(accepted) - set(stored) == set(), "answered 2xx and not in the inbox"
    assert Counter(row.state for row in inbox) == {"handled": len(inbox)}
    # Handled once: one arrival and one complaint for each message, and one event that says so.
    seen = Counter(row.source_id for row in arrivals)
    assert [message for message, count in seen.items() if count > 1] == []
    assert set(accepted.values()) <= set(seen)
    assert len(complaints) == len(arrivals) == len(inbox)
    assert all(c.understanding is not None and not c.stale for c in complaints)
    told = Counter(event.subject for event in enriched)
    assert told == {complaint.id: 1 for complaint in complaints}
