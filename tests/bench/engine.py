"""An action's step through the durable engine, against a plain committed insert.

An action has three steps: a return, the replacement beside it, and a case. The remote is the memory
adapter: it answers at once, so that what is measured is ours. The insert is measured before and
after, on the same database, through the same pool.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, func, select

from adapters.memory.remote import Remote
from middleware.app import handlers, spare_the_collector
from middleware.contract.actions import Operation, ReturnRequest, Then, WantedLine
from middleware.contract.canonical import Kind, Money, Order, OrderLine, OrderStatus, Ref
from middleware.contract.capabilities import Connection
from middleware.contract.mapping import MappingSet
from middleware.domain.actions import CaseWanted, Wanted
from middleware.domain.policy import built_in
from middleware.flows import correct
from middleware.flows.engine import Engine
from middleware.flows.hub import Asker, Hub, Options
from middleware.registry import Configured, Registry
from middleware.store.database import Database
from middleware.store.tables import ActionRow, PersonRow
from middleware.understanding import Rules
from tests.bench import places

STEPS = 3
LOOKS_S = 0.25
"""How often it is looked whether all is done: looking takes its share of what is measured."""


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
        options=Options(cases_to=name, policy=built_in(approval_of_strangers=False)),
    )
    try:
        yield made
    finally:
        made.engine.stop()
        made.readers.shutdown()
        database.close()


def run(database: str, folder: Path, *, actions: int, rounds: int = 3) -> dict[str, Any]:
    """What a step costs in inserts: the middle one of some rounds, each on a database of its own.

    On PostgreSQL a step's processor time differs by half from round to round of the same work, as
    the worker's threads hand Python's lock from core to core or do not.
    """
    told = []
    for number in range(rounds):
        (own := folder / str(number)).mkdir()
        told.append(_round(database, own, actions))
        places.say(f"engine, {database}: {told[-1]}")
    told.sort(key=lambda one: float(one["ratio"]))
    return told[rounds // 2] | {"ratios": [one["ratio"] for one in told]}


def _round(database: str, folder: Path, actions: int) -> dict[str, Any]:
    """Rows and actions per second, and what a step costs in inserts."""
    with places.database(database, folder) as url, hub(url) as made:
        _stock(made, actions)
        before = _rate(actions, lambda n: _insert(made, n))
        accepted = _rate(actions, lambda n: _accept(made, n))
        spare_the_collector()
        made.engine.work(handlers(made))
        # The engine looks for its queues a second after its start: nobody waits for that again.
        while _left(made) == actions:
            time.sleep(LOOKS_S / 25)
        cpu, began, left = time.process_time(), time.perf_counter(), _left(made)
        while _left(made):
            time.sleep(LOOKS_S)
        took = time.perf_counter() - began
        cpu = time.process_time() - cpu
        after = _rate(actions, lambda n: _insert(made, actions + n))
    inserted = 2 / (1 / before + 1 / after)
    step_ms = took / left / STEPS * 1000
    return {
        "inserts_per_s": round(inserted),
        "actions_accepted_per_s": round(accepted),
        "actions_done_per_s": round(left / took, 1),
        "cpu_ms_per_step": round(cpu / left / STEPS * 1000, 1),
        "step_ms": round(step_ms, 2),
        "insert_ms": round(1000 / inserted, 2),
        "ratio": round(step_ms * inserted / 1000, 2),
    }


def _rate(count: int, once: Any) -> float:
    began = time.perf_counter()
    for number in range(count):
        once(number)
    return float(count / (time.perf_counter() - began))


def _insert(made: Hub, number: int) -> None:
    with Session(made.database.engine) as session:
        session.add(PersonRow(id=f"per_{number}", display_name="x" * 200, created_at=made.clock()))
        session.commit()


def _stock(made: Hub, actions: int) -> None:
    """An order for each action, in the remote and in the store."""
    (name,) = made.registry.names()
    orders = [
        Order(
            ref=Ref(connection=name, kind=Kind.ORDER, id=str(number)),
            number=f"SO-{number}",
            account=Ref(connection=name, kind=Kind.ACCOUNT, id=f"A{number}"),
            status=OrderStatus.DELIVERED,
            total=Money(amount=Decimal("49.90"), currency="EUR"),
            lines=(
                OrderLine(
                    id="1",
                    sku="LMP-100",
                    quantity=Decimal(1),
                    unit_price=Money(amount=Decimal("49.90"), currency="EUR"),
                ),
            ),
        )
        for number in range(actions)
    ]
    Remote.named(name).put(*orders)
    with made.database.begin() as uow:
        uow.records.store([(order, ()) for order in orders], as_of=made.clock())


def _accept(made: Hub, number: int) -> None:
    (name,) = made.registry.names()
    request = ReturnRequest(
        order=Ref(connection=name, kind=Kind.ORDER, id=str(number)),
        lines=(WantedLine(line="1", sku="LMP-100", quantity=Decimal(1)),),
        then=Then.REPLACEMENT,
    )
    wanted = Wanted(operation=Operation.RETURN, request=request, case=CaseWanted())
    correct.create(made, wanted, Asker("bench", key=str(number)))


def _left(made: Hub) -> int:
    """How many actions are not done yet."""
    alive = col(ActionRow.state).in_(("queued", "running", "waiting"))
    with made.database.read() as uow:
        return uow.session.exec(select(func.count()).select_from(ActionRow).where(alive)).one()
