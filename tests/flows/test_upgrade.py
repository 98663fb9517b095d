"""An upgrade strands nothing: what an older release has owed or half done, today's finishes."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from middleware.app import handlers
from middleware.contract.actions import Operation
from middleware.domain.actions import ActionState
from middleware.domain.ids import new_id
from middleware.flows import carry, correct, sync
from middleware.flows import engine as engine_module
from middleware.flows.engine import VERSION, Engine
from middleware.flows.hub import Asker, Hub
from middleware.flows.intake import Intake
from middleware.store.database import Database
from middleware.store.tables import InboxRow
from tests.flows.conftest import Stage
from tests.flows.node import EVERY, LEASE, Diary, Node, lapse, until

OLDER = "0.9"


@pytest.fixture
def diary(tmp_path: Path) -> Diary:
    return Diary(tmp_path / "diary")


@pytest.fixture
def start(database_url: str, diary: Diary) -> Iterator[Callable[[], Node]]:
    """Starts nodes of the older release."""
    nodes: list[Node] = []

    def begin() -> Node:
        nodes.append(Node(database_url, diary, version=OLDER))
        diary.wait("ready", pid=nodes[-1].pid)
        return nodes[-1]

    yield begin
    diary.let_go()
    for node in nodes:
        node.stop()


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """This process stands for the older release until `older.undo()`."""
    with monkeypatch.context() as patch:
        patch.setattr(engine_module, "VERSION", OLDER)
        yield patch


@pytest.fixture
def engine(database: Database) -> Iterator[Engine]:
    """Owes in the older release's name, and becomes a worker of today's."""
    made = Engine(database, lease=LEASE, poll=timedelta(milliseconds=50))
    made._every = EVERY
    yield made
    made.stop()


@pytest.fixture
def hub(known: Stage, engine: Engine) -> Hub:
    """The stage's hub with a real engine, and a clock that moves."""
    began, at = time.monotonic(), known.time.now

    def clock() -> datetime:
        return at + timedelta(seconds=time.monotonic() - began)

    return replace(known.hub, engine=engine, clock=clock)


def act(hub: Hub, stage: Stage, line: str) -> str:
    """A replacement of a line, approved where that is asked for."""
    action_id, _ = correct.create(hub, stage.wanted(line=line), Asker(principal="key_agent"))
    if stage.state(action_id) == ActionState.AWAITING_APPROVAL:
        lead = Asker(principal="key_lead")
        correct.approve(hub, action_id, lead, grant=True, reason="they are right")
    return action_id


def take_in(hub: Hub, stage: Stage) -> str:
    """A delivery that is stored, and whose handling is owed."""
    body = json.dumps(
        {
            "type": "complaint.created",
            "timestamp": hub.clock().isoformat(),
            "data": {"id": "m-1", "author": {"network": "x", "id": "7"}, "text": "It broke."},
        }
    ).encode()
    row = InboxRow(
        id=new_id("inb"),
        connection=stage.names["desk"],
        message_id="m-1",
        body_hash=hashlib.sha256(body).hexdigest(),
        headers={"source": "generic"},
        body=body,
        trust="signature",
        state="stored",
        received_at=hub.clock(),
    )
    intake = Intake(hub)
    accepted = intake.submit(row).result(30)
    intake.close()
    return accepted.inbox_id


def sync_owed(hub: Hub, stage: Stage) -> str:
    with hub.database.begin() as uow:
        arguments = {"connection": stage.names["erp"], "kinds": ["account", "order"]}
        job = {"flow": "sync", "arguments": arguments, "schedule": {"every": 60}}
        uow.jobs.declare({"erp": job}, at=hub.clock())
    run_id, _ = sync.owe(hub, "erp", tick="t", requested_by="test")
    return run_id


def half_send(hub: Hub, action_id: str) -> None:
    """Carry an action out up to where the remote has done it and nobody has written that down."""

    def die(*_: object, **__: object) -> None:
        raise SystemExit("killed")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(carry, "_settle", die)
        carry.run(hub, action_id, "1")


def test_what_an_older_release_began_is_finished(
    known: Stage,
    hub: Hub,
    engine: Engine,
    database: Database,
    older: pytest.MonkeyPatch,
    start: Callable[[], Node],
    diary: Diary,
) -> None:
    half_done = act(hub, known, "1")
    node = start()
    diary.wait("began", pid=node.pid)
    half_send(hub, half_done)
    node.kill()
    assert known.steps(half_done)[0] == ("replacement_order", "sending")
    assert known.erp.count(Operation.REPLACEMENT_ORDER) == 1
    untouched = act(hub, known, "2")
    inbox_id = take_in(hub, known)
    run_id = sync_owed(hub, known)
    with hub.database.begin() as uow:
        later = timedelta(seconds=1)
        engine.enqueue(uow, "reconcile", "later", name="reconcile:later", delay=later)
    older.undo()
    lapse(database, node.pid)

    engine.work(handlers(hub))

    def finished() -> bool:
        with hub.database.read() as uow:
            arrival, run = uow.inbox.get(inbox_id), uow.jobs.run(run_id)
        assert arrival is not None
        assert run is not None
        return (
            known.state(half_done) == known.state(untouched) == "done"
            and arrival.state != "stored"
            and run.state == "done"
        )

    until(finished, otherwise=lambda: f"{known.steps(half_done)} {known.steps(untouched)}")
    assert known.erp.count(Operation.REPLACEMENT_ORDER) == 2
    assert known.crm.count(Operation.CASE) == 2

    def nothing_owed() -> bool:
        lapse(database)  # what was to be done later is due for a while by now
        return not any(map(engine.pending, ("correct:", "reconcile:later", "sync:erp")))

    until(nothing_owed)


def test_nodes_of_the_older_release_keep_what_they_are_at(
    engine: Engine,
    database: Database,
    older: pytest.MonkeyPatch,
    start: Callable[[], Node],
    diary: Diary,
) -> None:
    """While the processes are replaced one by one; when an older one is gone, its work is not."""
    if database.sqlite:
        diary.let_go()
        pytest.skip("SQLite has one worker")
    node = start()
    with database.begin() as uow:
        engine.enqueue(uow, "correct", "a", name="a")
    diary.wait("began", pid=node.pid)
    older.undo()
    ran: list[str] = []
    engine.work({"correct": ran.append})
    lapse(database)
    time.sleep(6 * EVERY.total_seconds())
    assert ran == []
    assert diary.lines("ended") == []
    node.kill()
    lapse(database, node.pid)
    until(lambda: ran == ["a"])
    until(lambda: not engine.pending("a"))


def test_what_was_adopted_runs_once(
    engine: Engine, database: Database, older: pytest.MonkeyPatch
) -> None:
    with database.begin() as uow:
        for name in ("a", "b"):
            engine.enqueue(uow, "receive", name, name=name)
        engine.enqueue(uow, "receive", "c", name="c", delay=timedelta(seconds=1))
    older.undo()
    ran: list[str] = []
    engine.work({"receive": ran.append})

    def all_ran() -> bool:
        lapse(database)
        return len(ran) == 3

    until(all_ran, otherwise=lambda: str(ran))
    engine._adopt(look_around=True)
    time.sleep(0.5)
    assert sorted(ran) == ["a", "b", "c"]
    known = {v["version_name"] for v in engine._ready().list_application_versions()}
    assert known == {VERSION}
