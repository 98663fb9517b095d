"""A hub over three scripted remotes: an ERP, a CRM and a helpdesk.

The engine's worker is not started: `owed` runs what has been enqueued, in order, one after the
other, so that a test decides when a pass happens and what breaks in between.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from sqlmodel import col, select

from adapters.memory.remote import Remote
from middleware.app import handlers
from middleware.contract.actions import (
    Operation,
    Reason,
    ReplacementOrderRequest,
    Speed,
    WantedLine,
)
from middleware.contract.canonical import (
    Account,
    Contact,
    Handle,
    Kind,
    Money,
    Order,
    OrderLine,
    OrderStatus,
    Record,
    Ref,
)
from middleware.contract.capabilities import Connection
from middleware.contract.mapping import MappingSet
from middleware.domain.actions import CaseWanted, Wanted
from middleware.domain.ids import new_id
from middleware.domain.ledger import Standing
from middleware.flows.hub import Asker, Hub, InletOptions, Options, ResolveOptions
from middleware.registry import Configured, Registry
from middleware.resolution.profiles import found_by
from middleware.store.database import Database, UnitOfWork
from middleware.store.tables import ActionStepRow, ComplaintRow
from middleware.understanding import Rules
from middleware.understanding.pool import Pooled, PoolLimits
from middleware.understanding.trained import Trained
from tests.understanding.small import small_model


class FakeTime:
    """A clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **duration: float) -> None:
        self.now += timedelta(**duration)


@dataclass
class Owed:
    flow: str
    arguments: tuple[str, ...]
    due: datetime


class HandRun:
    """Stands where the engine stands: what is enqueued is run when the test says so."""

    def __init__(self, time: FakeTime) -> None:
        self._time = time
        self._seen: set[str] = set()
        self.owed: list[Owed] = []
        self.guards: list[Callable[[], None]] = []
        self.working = True
        self.stopping = False

    def enqueue(
        self,
        uow: UnitOfWork,
        flow: str,
        *arguments: str,
        name: str,
        delay: timedelta | None = None,
        priority: int = 0,
    ) -> None:
        if name in self._seen:
            return
        owed = Owed(flow, arguments, self._time.now + (delay or timedelta(0)))

        # As the real one does: what is rolled back was never owed.
        def commit(_session: Any) -> None:
            self._seen.add(name)
            self.owed.append(owed)

        import sqlalchemy as sa

        sa.event.listen(uow.session, "after_commit", commit, once=True)

    def guard(self) -> None:
        for check in self.guards:
            check()

    def rest(self, duration: timedelta) -> None:
        self._time.now += duration

    def pending(self, name: str) -> bool:
        return False

    def oldest(self, queue: str) -> datetime | None:
        return None

    def tidy(self, *, older_than: timedelta, limit: int = 1000) -> int:
        return 0

    def stop(self, **_: object) -> None: ...


@dataclass
class Stage:
    """The hub, its remotes, and levers."""

    hub: Hub
    time: FakeTime
    engine: HandRun
    erp: Remote
    crm: Remote
    desk: Remote
    handlers: dict[str, Callable[..., None]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def run_due(self, *, most: int = 1000) -> int:
        """Run what is due now, and what that owes; answers how many ran.

        A new link has all complaints of an account looked at again: four runs for each of them.
        """
        ran = 0
        while ran < most:
            due = next((o for o in self.engine.owed if o.due <= self.time.now), None)
            if due is None:
                return ran
            self.engine.owed.remove(due)
            self.handlers[due.flow](*due.arguments)
            ran += 1
        raise AssertionError("it never comes to rest")

    def run_all(self, *, hours: float = 24) -> None:
        """Run everything, moving the clock to whatever is due next."""
        until = self.time.now + timedelta(hours=hours)
        self.run_due()
        while self.engine.owed:
            due = min(o.due for o in self.engine.owed)
            if due > until:
                return
            self.time.now = max(due, self.time.now)
            self.run_due()

    def store(self, *records: Record) -> None:
        with self.hub.database.begin() as uow:
            uow.records.store([(r, found_by(r)) for r in records], as_of=self.time.now)

    def state(self, action_id: str) -> str:
        with self.hub.database.read() as uow:
            action = uow.actions.get(action_id)
            assert action is not None
            return action.state

    def steps(self, action_id: str) -> list[tuple[str, str]]:
        with self.hub.database.read() as uow:
            return [(s.operation, s.state) for s in uow.actions.steps_of(action_id)]

    def complaint(self) -> str:
        """A complaint in the desk's conversation 7, from nobody who is known."""
        row = ComplaintRow(
            id=new_id("cmp"),
            connection=self.names["desk"],
            conversation="7",
            network="x",
            state="open",
            opened_at=self.time.now,
            updated_at=self.time.now,
        )
        with self.hub.database.begin() as uow:
            uow.session.add(row)
        return row.id

    def notes(self) -> list[str]:
        """What stands in that conversation, in the desk's own books."""
        with self.hub.database.read() as uow:
            steps = uow.session.exec(
                select(ActionStepRow)
                .where(ActionStepRow.operation == Operation.NOTE.value)
                .order_by(col(ActionStepRow.settled_at))
            ).all()
        written = [self.desk.written(Operation.NOTE, step.key) for step in steps]
        return [note.text for rows in written for _, note in rows]

    def settled(self, person_id: str | None) -> str | None:
        """The person, if the hub knows who they are: None for nobody and for a provisional one."""
        with self.hub.database.read() as uow:
            person = uow.people.person(person_id) if person_id is not None else None
            return person.id if person and person.standing is Standing.SETTLED else None

    def events(self) -> list[str]:
        with self.hub.database.read() as uow:
            return [e.type for e in uow.events.since(0, limit=1000)]

    def with_options(self, **changes: Any) -> Stage:
        hub = replace(self.hub, options=replace(self.hub.options, **changes))
        return replace(self, hub=hub, handlers=handlers(hub))

    def ref(self, connection: str, kind: Kind, id_: str) -> Ref:
        return Ref(connection=self.names[connection], kind=kind, id=id_)

    @property
    def contact(self) -> Contact:
        return Contact(
            ref=self.ref("crm", Kind.CONTACT, "C1"),
            display_name="Kim Berg",
            emails=("kim@example.com",),
            handles=(Handle(network="x", handle="kimberg"),),
            external_ids={"customer_number": "1001"},
        )

    @property
    def account(self) -> Account:
        return Account(
            ref=self.ref("erp", Kind.ACCOUNT, "A1"),
            name="Kim Berg",
            number="1001",
            emails=("kim@example.com",),
        )

    @property
    def order(self) -> Order:
        def line(id_: str, sku: str, quantity: int, price: str) -> OrderLine:
            return OrderLine(
                id=id_,
                sku=sku,
                name=f"The {sku}",
                quantity=Decimal(quantity),
                unit_price=Money(amount=Decimal(price), currency="EUR"),
            )

        return Order(
            ref=self.ref("erp", Kind.ORDER, "O1"),
            number="SO-10001",
            account=self.account.ref,
            status=OrderStatus.DELIVERED,
            placed_at=self.time.now - timedelta(days=5),
            total=Money(amount=Decimal("119.80"), currency="EUR"),
            lines=(line("1", "LMP-100", 2, "49.90"), line("2", "BLB-1", 4, "5.00")),
        )

    def wanted(self, *, line: str = "1", quantity: int = 1, **changes: Any) -> Wanted:
        """A rush replacement with a case and a note."""
        return Wanted(
            operation=Operation.REPLACEMENT_ORDER,
            request=ReplacementOrderRequest(
                order=self.order.ref,
                lines=(WantedLine(line=line, sku="LMP-100", quantity=Decimal(quantity)),),
                speed=Speed.RUSH,
                reason=Reason.DAMAGED,
            ),
            **{"case": CaseWanted(), "person_id": None, **changes},
        )


@contextmanager
def silent(remote: Remote, operation: str | None = None) -> Iterator[None]:
    """The remote answers no call, or none of this operation, until the block ends, however long
    that takes: whoever has a deadline meets it, on any machine."""
    ends, serve = threading.Event(), remote.serve

    def serves(called: str, *given: Any, **more: Any) -> Any:
        if operation in (None, called):
            assert ends.wait(60)
        return serve(called, *given, **more)

    remote.serve = serves  # type: ignore[method-assign]
    try:
        yield
    finally:
        ends.set()
        del remote.serve


@contextmanager
def staged(database: Database) -> Iterator[Stage]:
    """A stage on a migrated database, for as long as the block lasts."""
    time = FakeTime()
    engine = HandRun(time)
    suffix = secrets.token_hex(4)
    names = {name: f"{name}-{suffix}" for name in ("erp", "crm", "desk")}
    settle = {"erp": 5, "crm": 0, "desk": 2}
    registry = Registry(
        Configured(
            adapter="memory",
            connection=Connection(
                name=names[name],
                settings={"settle_s": settle[name], "timeout_s": 0.2},
                mappings=MappingSet.empty(),
            ),
        )
        for name in names
    )
    hub = Hub(
        database=database,
        registry=registry,
        engine=engine,  # type: ignore[arg-type]
        understands=Rules(),
        options=Options(
            inlets={
                names["desk"]: InletOptions(
                    source="generic",
                    secrets=(SecretStr("whsec_" + "a2V5" * 8),),
                    notes_to=names["desk"],
                )
            },
            cases_to=names["crm"],
            # What answers is never late, however long the machine stops for somebody else.
            read_deadline=timedelta(minutes=1),
        ),
        clock=time,
    )
    made = Stage(
        hub=hub,
        time=time,
        engine=engine,
        erp=Remote.named(names["erp"]),
        crm=Remote.named(names["crm"]),
        desk=Remote.named(names["desk"]),
        handlers=handlers(hub),
        names=names,
    )
    made.erp.put(made.account, made.order)
    made.crm.put(made.contact)
    try:
        yield made
    finally:
        hub.readers.shutdown(wait=False)
        registry.close()


@pytest.fixture
def stage(database: Database) -> Iterator[Stage]:
    with staged(database) as made:
        yield made


@pytest.fixture
def known(stage: Stage) -> Stage:
    """The stage with its records already synced."""
    stage.store(stage.account, stage.order, stage.contact)
    return stage


@pytest.fixture
def read(known: Stage) -> Iterator[Stage]:
    """The known stage with a model of its own, which stands for the shipped one."""
    pool = Pooled(Rules(), lambda: Trained(small_model(), Rules()), PoolLimits(timeout_s=60))
    hub = replace(known.hub, understands=pool)
    yield replace(known, hub=hub, handlers=handlers(hub))
    pool.close()


@pytest.fixture
def asker() -> Asker:
    return Asker(principal="key_agent")


@contextmanager
def queries(stage: Stage) -> Iterator[list[str]]:
    """The statements that its database is asked meanwhile."""
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    sa.event.listen(stage.hub.database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(stage.hub.database.engine, "before_cursor_execute", note)


@pytest.fixture
def desk(stage: Stage, tmp_path: Path) -> Stage:
    """The stage with a job that resolves records, in a workspace of its own."""
    with stage.hub.database.begin() as uow:
        uow.jobs.declare(
            {"people": {"flow": "resolve", "arguments": {}, "schedule": {"every": 60}}},
            at=stage.time.now,
        )
    return stage.with_options(resolve=ResolveOptions(workspace=tmp_path))
