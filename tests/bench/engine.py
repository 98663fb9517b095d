"""An action's step through the durable engine, beside a plain committed insert. Informative.

The remote is the memory adapter: it answers at once, so that what is measured is ours.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlmodel import Session

from middleware.app import handlers
from middleware.contract.actions import CaseRequest, Operation
from middleware.contract.capabilities import Connection
from middleware.contract.mapping import MappingSet
from middleware.domain.actions import Wanted
from middleware.flows import correct
from middleware.flows.engine import Engine
from middleware.flows.hub import Asker, Hub, Options
from middleware.registry import Configured, Registry
from middleware.store.database import Database
from middleware.store.tables import PersonRow
from middleware.understanding import Rules
from tests.bench import places


@contextmanager
def hub(url: str) -> Iterator[Hub]:
    """A hub that opens cases in a remote which answers at once."""
    database = Database(url)
    name = f"crm-{secrets.token_hex(4)}"
    connection = Connection(name=name, settings={}, mappings=MappingSet.empty())
    made = Hub(
        database=database,
        registry=Registry([Configured(adapter="memory", connection=connection)]),
        engine=Engine(database),
        understands=Rules(),
        options=Options(cases_to=name),
    )
    try:
        yield made
    finally:
        made.engine.stop()
        made.readers.shutdown()
        database.close()


def run(database: str, folder: Path, *, actions: int) -> dict[str, Any]:
    """Rows and actions per second."""
    with places.database(database, folder) as url, hub(url) as made:
        inserted = _rate(actions, lambda n: _insert(made, n))
        accepted = _rate(actions, lambda n: _accept(made, n))
        cpu, began = time.process_time(), time.perf_counter()
        made.engine.work(handlers(made))
        while _unfinished(made):
            time.sleep(0.02)
        took = time.perf_counter() - began
        cpu = time.process_time() - cpu
    figures = {
        "inserts_per_s": round(inserted),
        "actions_accepted_per_s": round(accepted),
        "actions_done_per_s": round(actions / took, 1),
        "cpu_ms_per_action": round(cpu / actions * 1000, 1),
    }
    places.say(f"engine, {database}: {figures}")
    return figures


def _rate(count: int, once: Any) -> float:
    began = time.perf_counter()
    for number in range(count):
        once(number)
    return float(count / (time.perf_counter() - began))


def _insert(made: Hub, number: int) -> None:
    with Session(made.database.engine) as session:
        session.add(PersonRow(id=f"per_{number}", display_name="x" * 200, created_at=made.clock()))
        session.commit()


def _accept(made: Hub, number: int) -> None:
    request = CaseRequest(subject=f"Replacement {number}")
    correct.create(
        made, Wanted(operation=Operation.CASE, request=request), Asker("bench", key=str(number))
    )


def _unfinished(made: Hub) -> bool:
    with made.database.read() as uow:
        for state in ("queued", "running", "waiting"):
            if uow.actions.page(before=None, limit=1, state=state):
                return True
    return False
