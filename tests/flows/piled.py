"""A pile-on while the hub is killed: is every customer served once, and none lost?

`python -m tests.flows.piled [--database postgresql] [--customers 12] [--points …]` measures; the
tests call `served`. The node is a whole hub in a process of its own, that looks for bursts, says
yes to what it finds and sends what each customer may get. It ends by SIGKILL at a point of the
journey and is started again, until the journey is over. Whoever decides repeats what they asked for
under the same keys; the ERP keeps its books in a file.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlmodel import col, func, select

from adapters.memory.remote import Remote
from middleware.app import Application, handlers, owe_reconcile
from middleware.contract.actions import Operation
from middleware.contract.canonical import Account, Kind, Money, Order, OrderLine, OrderStatus, Ref
from middleware.domain import bursts
from middleware.domain.problems import ConflictError
from middleware.flows import baselines, correct, decide, eligibility, incidents, receive
from middleware.flows.engine import Engine
from middleware.flows.hub import Asker, Hub
from middleware.inlets import Delivery
from middleware.resolution.profiles import found_by
from middleware.settings import Settings
from middleware.store.incidents import Incidents
from middleware.store.tables import (
    ActionRow,
    EventRow,
    IncidentMemberRow,
    IncidentRow,
    SignalCountRow,
)
from tests.flows.punctual import ROOT, migrated
from tests.flows.test_receive import event

SKU = "KTL-7"
LEASE = timedelta(seconds=1)


def _nth(owner: Any, name: str, n: int, *, after: bool) -> None:
    """End this process by SIGKILL at the n-th call of something, before it or once it is done."""
    real: Callable[..., Any] = getattr(owner, name)
    calls = iter(range(1, 1 << 30))

    def called(*given: Any, **more: Any) -> Any:
        mine = next(calls)
        if mine == n and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = real(*given, **more)
        if mine == n:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(owner, name, called)


POINTS: dict[str, Callable[[], None]] = {
    # Counted in a transaction that is not committed.
    "counting": lambda: _nth(incidents, "count_in", 3, after=True),
    # The burst was seen; nothing says so yet.
    "detecting": lambda: _nth(incidents, "_answer_for", 1, after=False),
    # The incident is written and told in a transaction that is not committed.
    "opening": lambda: _nth(incidents, "_answer_for", 1, after=True),
    # The incident is there; its counts are not marked as looked at.
    "opened": lambda: _nth(Incidents, "mark_read", 1, after=False),
    # A part of those concerned is listed.
    "listing": lambda: _nth(eligibility, "_having", 1, after=True),
    # Some customers' remedies are asked for, and the others' not.
    "deciding": lambda: _nth(correct, "create", 3, after=True),
    # The ERP has done it, and nobody noted so.
    "carrying": lambda: _nth(Remote, "write", 2, after=True),
    # And once more, with others under way.
    "carrying_on": lambda: _nth(Remote, "write", 2, after=True),
}


@dataclass(frozen=True)
class Served:
    """What became of a pile-on."""

    customers: int
    kills: int
    incidents: int
    told: int
    """Events that an incident opened."""
    members: int
    counted: int
    """Complaints under the article's key, by its counts."""
    actions: int
    done: int
    replaced: int
    """Orders that the ERP has a replacement of."""
    twice: int
    """Orders that it has more than one of."""
    seconds: float


def served(url: str, books: Path, *, customers: int = 8, points: Sequence[str] = ()) -> Served:
    """Have so many customers complain about one article, and kill the hub that serves them at each
    of these `POINTS` in turn.

    `url` is a migrated database, `books` a file that is not there yet. Raises AssertionError where
    a point was not reached, or not all is done within two minutes of the last kill.
    """
    began = time.monotonic()
    orders = _begun(url, books, customers)
    application = Application(_settings(url))
    nodes = _Nodes(url, books)
    try:
        for point in points:
            nodes.start(point)
            status = nodes.ended()
            assert status == -signal.SIGKILL, f"{point}: the node ended with {status}"
        nodes.start("")
        end = time.monotonic() + 120
        while _done(application) < customers:
            assert time.monotonic() < end, f"{_done(application)} of {customers} are served"
            time.sleep(0.05)
    finally:
        nodes.close()
        found = _found(application, books, orders)
        application.close()
    return Served(
        customers=customers, kills=len(points), seconds=round(time.monotonic() - began, 1), **found
    )


def _done(application: Application) -> int:
    with application.database.read() as uow:
        query = select(func.count()).where(
            ActionRow.state == "done", ActionRow.kind == Operation.REPLACEMENT_ORDER.value
        )
        return int(uow.session.exec(query).one())


def _found(application: Application, books: Path, orders: Sequence[Ref]) -> dict[str, int]:
    remote = pickle.loads(books.read_bytes())
    replaced = Counter(
        record.origin
        for record in remote["_records"].values()
        if isinstance(record, Order) and record.reference is not None
    )
    with application.database.read() as uow:

        def count(*where: Any) -> int:
            return int(uow.session.exec(select(func.count()).where(*where)).one())

        key = f"sku:{SKU}"
        counted = uow.session.exec(
            select(func.sum(col(SignalCountRow.count))).where(SignalCountRow.key == key)
        ).one()
        kind = ActionRow.kind == Operation.REPLACEMENT_ORDER.value
        return {
            "incidents": count(col(IncidentRow.id).is_not(None)),
            "told": count(EventRow.type == "incident.opened"),
            "members": count(col(IncidentMemberRow.out).is_(False)),
            "counted": int(counted or 0),
            "actions": count(kind),
            "done": count(kind, ActionRow.state == "done"),
            "replaced": sum(replaced[ref] > 0 for ref in orders),
            "twice": sum(n > 1 for n in replaced.values()),
        }


# --- before -------------------------------------------------------------------------------------


def _settings(url: str) -> Settings:
    return Settings.model_validate(
        {
            "database_url": url,
            "lease": LEASE,
            "connections": {
                "erp": {"adapter": "memory"},
                "desk": {"inlet": {"source": "generic"}},
            },
            "understanding": {"rules_only": True},
            "actions": {"note_when_enriched": False},
        }
    )


def _begun(url: str, books: Path, customers: int) -> list[Ref]:
    """Two quiet weeks, the customers with an order each, and their complaints, accepted."""
    application = Application(_settings(url))
    hub = application.hub
    now = datetime.now(UTC)
    remote = Remote.named(f"books {books}")
    records = [record for n in range(customers) for record in customer(n, now)]
    remote.put(*records)
    _write_books(remote, books)
    try:
        application.open()
        with hub.database.begin() as uow:
            uow.records.store([(r, found_by(r)) for r in records], as_of=now)
        hour = bursts.bucket_of(now) // bursts.BUCKETS_AN_HOUR - 6
        with hub.database.begin() as uow:
            baselines.Book(quiet(hour), {}, {}, {baselines.ALL: None}).keep(uow)
        accepted = [application.intake.submit(delivery(n, now)) for n in range(customers)]
        for one in accepted:
            one.result(timeout=60)
    finally:
        application.close()
    return [record.ref for record in records if isinstance(record, Order)]


def quiet(hour: int) -> bursts.Season:
    """Two quiet weeks up to an hour."""
    season = bursts.Season(folded=hour - 14 * 24)
    season.fold(hour, {h * bursts.BUCKETS_AN_HOUR: 1 for h in range(hour - 14 * 24, hour)})
    return season


def customer(n: int, now: datetime) -> tuple[Account, Order]:
    account = Account(
        ref=Ref(connection="erp", kind=Kind.ACCOUNT, id=f"A{n}"),
        name=f"Customer {n}",
        number=f"9{n}",
        emails=(f"k{n}@example.com",),
    )
    price = Money(amount=Decimal("30.00"), currency="EUR")
    order = Order(
        ref=Ref(connection="erp", kind=Kind.ORDER, id=f"O{n}"),
        number=f"SO-{n:05d}",
        account=account.ref,
        status=OrderStatus.DELIVERED,
        placed_at=now - timedelta(days=4),
        total=price,
        lines=(OrderLine(id="1", sku=SKU, name="Kettle", quantity=Decimal(1), unit_price=price),),
    )
    return account, order


def delivery(n: int, now: datetime) -> Any:
    body = event(
        "My kettle arrived broken",
        id=f"m-{n}",
        conversation=f"c-{n}",
        author={"native_id": f"k{n}", "handle": f"k{n}", "emails": [f"k{n}@example.com"]},
    )
    body["timestamp"] = now.isoformat()
    delivery = Delivery(
        method="POST",
        path="/",
        body=json.dumps(body).encode(),
        received_at=now,
        headers={"webhook-id": f"msg_{n}"},
    )
    return receive.row_of(delivery, connection="desk", source="generic", trust="signature")


# --- the node -----------------------------------------------------------------------------------

KEPT = ("_records", "_written", "_numbers", "log", "times")


def _write_books(remote: Remote, books: Path) -> None:
    fresh = books.with_suffix(".new")
    fresh.write_bytes(pickle.dumps({name: getattr(remote, name) for name in KEPT}))
    fresh.replace(books)


def _with_books(books: Path) -> None:
    """Let the ERP know what it knew, and write down what it does before it answers."""
    remote = Remote.named("erp")
    for name, value in pickle.loads(books.read_bytes()).items():
        setattr(remote, name, value)
    real = Remote.write

    def write(self: Remote, *given: Any, **more: Any) -> Any:
        answer = real(self, *given, **more)
        _write_books(self, books)
        return answer

    Remote.write = write  # type: ignore[method-assign]


class _Nodes:
    """Nodes one after the other, forked off a process that has imported everything already."""

    def __init__(self, url: str, books: Path) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.flows.piled", "--fork", url, str(books)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._living: int | None = None

    def _say(self, word: str) -> str:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(f"{word}\n")
        self._parent.stdin.flush()
        return self._parent.stdout.readline()

    def start(self, point: str) -> None:
        self._living = int(self._say(point))

    def ended(self) -> int:
        """Wait until it has ended, and answer how."""
        status = int(self._say("wait"))
        self._living = None
        return status

    def close(self) -> None:
        if self._living is not None:
            os.kill(self._living, signal.SIGKILL)
            self.ended()
        self._parent.communicate()


def _fork(url: str, books: Path) -> None:
    """Start a node for each line, at the point that it names; `wait` answers how the last ended."""
    node = 0
    for line in sys.stdin:
        if line.strip() == "wait":
            said = os.waitstatus_to_exitcode(os.waitpid(node, 0)[1])
        else:
            node = said = os.fork()
            if node == 0:
                _be_a_node(url, books, line.strip())
                os._exit(1)
        print(said, flush=True)


def _be_a_node(url: str, books: Path, point: str) -> None:
    _with_books(books)
    application = Application(_settings(url))
    application.open()
    if point:
        POINTS[point]()
    # Queues are asked more often than usual, so that nobody waits for a test.
    engine = Engine(application.database, lease=LEASE, poll=timedelta(milliseconds=40))
    hub = replace(application.hub, engine=engine)
    hub.engine.work(handlers(hub))
    threading.Thread(target=_tick, args=(hub,), daemon=True).start()
    threading.Thread(target=_serve, args=(hub,), daemon=True).start()
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)


def _tick(hub: Hub) -> None:
    while True:
        owe_reconcile(hub, datetime.now(UTC).isoformat())
        time.sleep(0.5)


def _serve(hub: Hub) -> None:
    """Say yes to each incident, and send each customer what they may get; over and over, under the
    same keys, as somebody does who does not know how far they came."""
    while True:
        with hub.database.read() as uow:
            rows = uow.incidents.page(before=None, limit=10)
        for row in rows:
            if row.affected_state == "owed":
                continue
            asker = Asker(principal="lead", role="lead")
            if row.state == "open":
                decide.confirm(hub, row.id, reason=None, version=None, asker=asker)
            for one in eligibility.of_incident(hub, row.id, asker, complained=True, limit=1000):
                if one.wanted is None or one.outcome != "allow":
                    continue
                key = f"{row.id}:{one.order}"
                asked = Asker(principal="lead", role="lead", key=key, body_hash=key)
                try:
                    correct.create(hub, one.wanted, asked)
                except ConflictError:
                    continue  # it came in between; the next round says what is left
        time.sleep(0.1)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--fork", nargs=2, metavar=("URL", "BOOKS"))
    asked.add_argument("--customers", type=int, default=12)
    asked.add_argument("--points", nargs="*", default=list(POINTS), choices=list(POINTS))
    asked.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    given = asked.parse_args()
    if given.fork:
        _fork(given.fork[0], Path(given.fork[1]))
        return
    with migrated(given.database) as url, tempfile.TemporaryDirectory() as folder:
        found = served(url, Path(folder, "books"), customers=given.customers, points=given.points)
    sys.stdout.write(json.dumps({"database": given.database, **asdict(found)}) + "\n")


if __name__ == "__main__":
    main()
