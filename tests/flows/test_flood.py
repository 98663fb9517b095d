"""While more comes than can be handled: the urgent first, and nothing that waits is given up."""

from __future__ import annotations

import json
import time
from datetime import timedelta

import pytest

from middleware.flows import receive, reconcile
from middleware.flows.engine import Engine
from middleware.flows.intake import Intake
from middleware.inlets import Delivery
from middleware.store.database import Database
from middleware.store.tables import InboxRow
from tests.flows.conftest import HandRun, Stage
from tests.flows.node import until
from tests.flows.test_intake import Gate
from tests.flows.test_receive import event


def row(stage: Stage, n: int, text: str) -> InboxRow:
    body = json.dumps(event(text, id=f"m{n}", conversation=f"c{n}")).encode()
    delivery = Delivery(
        method="POST",
        path="/",
        body=body,
        received_at=stage.time(),
        headers={"webhook-id": f"msg_{n}"},
    )
    return receive.row_of(
        delivery, connection=stage.names["desk"], source="generic", trust="signature"
    )


def test_what_sounds_urgent_is_owed_apart_and_first(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    owed: list[tuple[int, tuple[str, ...]]] = []
    plain = HandRun.enqueue

    def noted(self: HandRun, uow, flow, *arguments, priority=0, **more):  # type: ignore[no-untyped-def]
        owed.append((priority, arguments))
        plain(self, uow, flow, *arguments, priority=priority, **more)

    monkeypatch.setattr(HandRun, "enqueue", noted)
    rows = [row(stage, n, "My lamp is late") for n in range(5)]
    rows.append(row(stage, 5, "It caught fire and burned my hand"))
    intake = Intake(stage.hub)
    try:
        with_gate = Gate(monkeypatch)
        done = [intake.submit(one) for one in rows[:1]]
        with_gate.inside.wait(60)
        done += [intake.submit(one) for one in rows[1:]]
        with_gate.open.set()
        accepted = [future.result(timeout=60).inbox_id for future in done]
    finally:
        intake.close()
    together = [(priority, ids) for priority, ids in owed if accepted[0] not in ids]
    assert together == [(1, (accepted[5],)), (3, tuple(accepted[1:5]))]


def test_the_lowest_priority_is_begun_first_and_the_oldest_is_known(database: Database) -> None:
    engine = Engine(database, lease=timedelta(seconds=30), poll=timedelta(milliseconds=50))
    begun: list[str] = []
    before = time.time()
    try:
        assert engine.oldest("resolve") is None
        for name, priority in (("usual", 3), ("danger", 1), ("high", 2)):
            with database.begin() as uow:
                engine.enqueue(uow, "resolve", name, name=f"resolve:{name}", priority=priority)
        oldest = engine.oldest("resolve")
        assert oldest is not None
        assert abs(oldest.timestamp() - before) < 60
        assert engine.oldest("receive") is None
        engine.work({"resolve": begun.append})
        until(lambda: len(begun) == 3, seconds=30)
    finally:
        engine.stop(grace=timedelta(0))
    assert begun == ["danger", "high", "usual"]


def test_what_waits_in_the_queue_is_not_taken_for_left_behind(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be replayed until it is put in quarantine, without anybody having tried it."""
    one = row(stage, 1, "My lamp is late")
    with stage.hub.database.begin() as uow:
        uow.inbox.store_once(one)
    arrived = stage.time()
    monkeypatch.setattr(HandRun, "oldest", lambda _self, _queue: arrived)
    for _ in range(10):
        stage.time.pass_(minutes=5)
        reconcile.run(stage.hub, f"tick-{stage.time().isoformat()}")
    with stage.hub.database.read() as uow:
        kept = uow.inbox.get(one.id)
        assert kept is not None
        assert (kept.state, kept.replays) == ("stored", 0)
    monkeypatch.setattr(HandRun, "oldest", lambda _self, _queue: None)
    reconcile.run(stage.hub, "later")
    with stage.hub.database.read() as uow:
        kept = uow.inbox.get(one.id)
        assert kept is not None
        assert kept.replays == 1
