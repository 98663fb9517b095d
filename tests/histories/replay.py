"""Sends a history through the hub's own flows, as its tools would, on a clock of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from middleware.app import handlers
from middleware.flows import receive
from middleware.flows.hub import Hub, InletOptions, Options
from middleware.inlets import Delivery
from middleware.registry import Registry
from middleware.resolution.profiles import found_by
from middleware.store.database import Database, UnitOfWork
from middleware.understanding import Rules, Understands
from tests import databases
from tests.histories.company import Company, records_of
from tests.histories.week import CONNECTIONS, START, Received

TOOLS = (*sorted(set(CONNECTIONS.values())), "listening")


@dataclass
class Time:
    """A clock that stands at what was received last."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now


class Owing:
    """Stands where the engine stands: runs what is owed at once, of the flows that it knows."""

    working, stopping = True, False

    def __init__(self) -> None:
        self.flows: dict[str, Callable[..., None]] = {}
        self._owed: list[tuple[str, tuple[str, ...]]] = []
        self._seen: set[str] = set()

    def enqueue(
        self,
        uow: UnitOfWork,
        flow: str,
        *arguments: str,
        name: str,
        delay: timedelta | None = None,
    ) -> None:
        if name in self._seen or flow not in self.flows or delay:
            return

        def commit(_session: Any) -> None:
            self._seen.add(name)
            self._owed.append((flow, arguments))

        sa.event.listen(uow.session, "after_commit", commit, once=True)

    def run(self) -> None:
        while self._owed:
            flow, arguments = self._owed.pop(0)
            self.flows[flow](*arguments)

    def pending(self, name: str) -> bool:
        return False


@dataclass
class Replay:
    hub: Hub
    time: Time
    owing: Owing

    def feed(self, received: Iterable[Received]) -> None:
        """Have deliveries stored and handled one after the other."""
        for one in received:
            self.time.now = max(self.time.now, one.received_at)
            row = receive.row_of(
                delivery_of(one), connection=one.connection, source="generic", trust="signature"
            )
            with self.hub.database.begin() as uow:
                stored = uow.inbox.store_once(row)
            receive.run(self.hub, stored.id)
            self.owing.run()


def delivery_of(one: Received) -> Delivery:
    """What the tool would post to a generic inlet."""
    arrival = one.arrival.model_dump(mode="json", exclude={"event", "source_id", "changed_at"})
    event = {
        "type": "message.created",
        "timestamp": one.received_at.isoformat(),
        "data": {**arrival, "id": one.arrival.source_id},
    }
    return Delivery(
        method="POST",
        path=f"/v1/inlets/{one.connection}",
        body=json.dumps(event).encode(),
        received_at=one.received_at,
        headers={"webhook-id": f"msg_{one.arrival.source_id}"},
    )


@contextmanager
def replay(
    folder: Path,
    company: Company,
    *,
    database: str = "sqlite",
    understands: Understands | None = None,
    **options: Any,
) -> Iterator[Replay]:
    """A hub that knows a company's customers and orders, and has no remotes.

    `options` are those of `middleware.flows.hub.Options`.
    """
    url = databases.migrated(database, folder)
    store = Database(url)
    time, owing = Time(), Owing()
    hub = Hub(
        database=store,
        registry=Registry([]),
        engine=owing,  # type: ignore[arg-type]
        understands=understands or Rules(),
        options=Options(
            **{
                "inlets": {name: InletOptions(source="generic") for name in TOOLS},
                "note_when_enriched": False,
                **options,
            }
        ),
        clock=time,
    )
    flows = handlers(hub)
    owing.flows = {name: flows[name] for name in ("receive.enrich", "gather")}
    try:
        records = [(record, found_by(record)) for record in records_of(company)]
        with store.begin() as uow:
            uow.records.store(records, as_of=START)
        yield Replay(hub, time, owing)
    finally:
        hub.readers.shutdown(wait=False)
        store.close()
        databases.drop(url)
