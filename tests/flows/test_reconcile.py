"""Reconcile: whatever was promised and is not under way is taken up, and only that."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
import sqlmodel

from adapters.memory.remote import Fault
from middleware.contract.actions import CaseRequest, Operation
from middleware.domain.actions import Wanted
from middleware.domain.policy import built_in
from middleware.domain.problems import ConflictError
from middleware.flows import correct, plan, reconcile
from middleware.flows.hub import Asker
from middleware.store.tables import AuditRow, IdempotencyRow, LineHoldRow, NodeRow, RunRow
from tests.flows.conftest import Stage


@pytest.fixture
def free(known: Stage) -> Stage:
    """No approvals asked for."""
    return known.with_options(policy=built_in(approval_of_strangers=False))


def unknown(stage: Stage, asker: Asker, *, applied: bool) -> str:
    """An action whose first step's outcome was not known when it expired."""
    action_id, _ = correct.create(stage.hub, stage.wanted(quantity=2), asker)
    stage.erp.script.arm(
        Fault.DROP, operation="replacement_order", phase="after" if applied else "before"
    )
    stage.erp.script.arm(Fault.DOWN, operation="find_replacement_order", times=10_000)
    stage.run_all(hours=30)
    assert stage.state(action_id) == "unknown"
    stage.erp.script.disarm()
    return action_id


def lookups(stage: Stage) -> int:
    return stage.erp.calls["find_replacement_order"]


# --- unknown outcomes ---------------------------------------------------------------------------


def test_what_is_not_there_is_called_off_and_gives_its_lines_back(
    free: Stage, asker: Asker
) -> None:
    action_id = unknown(free, asker, applied=False)
    with pytest.raises(ConflictError):
        correct.create(free.hub, free.wanted(quantity=1), asker)
    reconcile.look_up(free.hub, action_id)
    assert free.state(action_id) == "expired"
    assert free.steps(action_id) == [("replacement_order", "cancelled"), ("case", "cancelled")]
    free.run_all()
    assert free.erp.count(Operation.REPLACEMENT_ORDER) == 0
    assert free.events()[-1] == "action.expired"
    correct.create(free.hub, free.wanted(quantity=2), asker)


def test_what_is_there_is_done_and_the_rest_follows(free: Stage, asker: Asker) -> None:
    action_id = unknown(free, asker, applied=True)
    reconcile.look_up(free.hub, action_id)
    free.run_all()
    assert free.steps(action_id) == [("replacement_order", "done"), ("case", "done")]
    assert free.erp.count(Operation.REPLACEMENT_ORDER) == 1
    assert free.crm.count(Operation.CASE) == 1


def test_a_remote_that_does_not_answer_leaves_it_unknown(free: Stage, asker: Asker) -> None:
    action_id = unknown(free, asker, applied=True)
    free.erp.script.arm(Fault.BUSY, operation="find_replacement_order")
    reconcile.look_up(free.hub, action_id)
    assert free.state(action_id) == "unknown"
    with free.hub.database.read() as uow:
        step = uow.actions.steps_of(action_id)[0]
        audit = [row.action for row in uow.session.exec(sqlmodel.select(AuditRow))]
    assert step.error is not None
    assert step.error["class"] == "Transient"
    assert "step.look_up" in audit


def test_two_of_them_stay_unknown_however_often_they_are_looked_up(
    free: Stage, asker: Asker
) -> None:
    action_id = unknown(free, asker, applied=True)
    with free.hub.database.read() as uow:
        step = uow.actions.steps_of(action_id)[0]
    adapter = free.hub.registry.adapter(step.connection)
    request = plan.load(Operation.REPLACEMENT_ORDER, step.request or {})
    adapter.create_replacement_order(request, key=step.key)
    for _ in range(3):
        reconcile.look_up(free.hub, action_id)
    free.run_all()
    assert free.state(action_id) == "unknown"
    with free.hub.database.read() as uow:
        error = uow.actions.steps_of(action_id)[0].error
    assert error is not None
    assert error["class"] == "Duplicated"


def test_not_found_before_the_remote_has_settled_is_no_answer(free: Stage, asker: Asker) -> None:
    """It was sent just before the action expired; the remote may still carry it out."""
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    with free.hub.database.begin() as uow:
        action = uow.actions.get(action_id)
        assert action is not None
        action.expires_at = free.time.now + timedelta(seconds=1)
    free.erp.script.arm(Fault.DROP, operation="replacement_order", phase="before")
    free.run_due()
    free.time.pass_(seconds=2)
    _number = free.engine.owed[0].arguments[1]
    free.handlers["correct"](action_id, _number)
    assert free.state(action_id) == "unknown"
    reconcile.look_up(free.hub, action_id)
    assert free.state(action_id) == "unknown"
    free.time.pass_(seconds=5)
    reconcile.look_up(free.hub, action_id)
    assert free.state(action_id) == "expired"


def test_a_look_up_that_takes_long_is_dated_by_its_beginning(
    free: Stage, asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does not find may have come while it was answering."""
    action_id = unknown(free, asker, applied=False)
    with free.hub.database.begin() as uow:
        step = uow.actions.steps_of(action_id)[0]
        step.sent_at = free.time.now - timedelta(seconds=1)
    adapter = free.hub.registry.adapter(free.names["erp"])

    def slow(*_: object, **__: object) -> None:
        free.time.pass_(seconds=30)

    monkeypatch.setattr(adapter, "find_replacement_order", slow)
    reconcile.look_up(free.hub, action_id)
    assert free.state(action_id) == "unknown"


def test_remotes_are_not_pestered_about_what_is_not_known(free: Stage, asker: Asker) -> None:
    unknown(free, asker, applied=True)
    free.erp.script.arm(Fault.DOWN, operation="find_replacement_order", times=10_000)
    free.time.pass_(minutes=11)
    before = lookups(free)
    for tick in range(10):
        reconcile.run(free.hub, f"t{tick}")
    assert lookups(free) == before + 1
    free.time.pass_(minutes=10)
    reconcile.run(free.hub, "later")
    assert lookups(free) == before + 2


# --- what nobody carries any more -----------------------------------------------------------------


def test_what_is_under_way_is_left_alone(free: Stage, asker: Asker) -> None:
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    for tick in range(3):
        reconcile.run(free.hub, f"t{tick}")
        free.time.pass_(seconds=20)
    assert [owed.arguments for owed in free.engine.owed] == [(action_id, "1")]


def test_an_action_is_taken_up_once_by_nodes_that_look_at_the_same_time(
    free: Stage, asker: Asker
) -> None:
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    free.engine.owed.clear()
    free.time.pass_(minutes=5)
    now = free.time.now
    with free.hub.database.read() as uow:
        assert [row.id for row in uow.actions.overdue(before=now, limit=10)] == [action_id]
    reconcile.run(free.hub, "node-a")
    reconcile.run(free.hub, "node-b")
    assert [owed.arguments for owed in free.engine.owed] == [(action_id, "2")]
    free.run_all()
    assert free.state(action_id) == "done"


def test_a_waiting_action_whose_timer_is_lost_is_taken_up(free: Stage, asker: Asker) -> None:
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    free.erp.script.arm(Fault.DROP, operation="replacement_order", phase="after")
    free.run_due()
    assert free.state(action_id) == "waiting"
    free.engine.owed.clear()
    free.time.pass_(minutes=5)
    reconcile.run(free.hub, "t")
    free.run_all()
    assert free.state(action_id) == "done"
    assert free.erp.count(Operation.REPLACEMENT_ORDER) == 1


def test_actions_that_ended_are_never_taken_up(free: Stage, asker: Asker) -> None:
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    free.run_all()
    refused = Wanted(
        operation=Operation.CASE, request=CaseRequest(subject="Broken"), complaint_id=None
    )
    free.crm.permissions = frozenset()
    refused_id, _ = correct.create(free.hub, refused, asker)
    free.run_all()
    assert free.state(refused_id) == "refused"
    free.crm.permissions = frozenset(Operation)
    free.time.pass_(hours=30)
    reconcile.run(free.hub, "t")
    free.run_all()
    assert (free.state(action_id), free.state(refused_id)) == ("done", "refused")
    assert free.crm.count(Operation.CASE) == 1


def a_run(stage: Stage, *, state: str, queued: timedelta) -> str:
    with stage.hub.database.begin() as uow:
        uow.jobs.declare(
            {"erp": {"flow": "sync", "arguments": {"connection": "x"}, "schedule": {"every": 60}}},
            at=stage.time.now,
        )
        uow.jobs.add_run(
            RunRow(
                id=f"run_{state}",
                job="erp",
                tick=f"tick-{state}",
                state=state,
                requested_by="schedule",
                counts={},
                queued_at=stage.time.now - queued,
            )
        )
    return f"run_{state}"


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_run_that_died_is_taken_up(stage: Stage, state: str) -> None:
    run_id = a_run(stage, state=state, queued=timedelta(minutes=5))
    reconcile.run(stage.hub, "t")
    assert [(owed.flow, owed.arguments) for owed in stage.engine.owed] == [("sync", (run_id,))]


@pytest.mark.parametrize("state", ["done", "failed"])
def test_a_run_that_ended_is_not(stage: Stage, state: str) -> None:
    a_run(stage, state=state, queued=timedelta(minutes=5))
    reconcile.run(stage.hub, "t")
    assert stage.engine.owed == []


def test_a_run_that_was_owed_just_now_or_is_under_way_is_not(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_run(stage, state="queued", queued=timedelta(seconds=5))
    reconcile.run(stage.hub, "t1")
    assert stage.engine.owed == []
    stage.time.pass_(minutes=5)
    monkeypatch.setattr(stage.engine, "pending", lambda name: name == "sync:erp:tick-queued")
    reconcile.run(stage.hub, "t2")
    assert stage.engine.owed == []


# --- housekeeping ---------------------------------------------------------------------------------


def test_a_clients_key_answers_for_a_day(free: Stage) -> None:
    keyed = Asker("key_agent", key="k1", body_hash="b1")
    action_id, _ = correct.create(free.hub, free.wanted(), keyed)
    free.time.pass_(hours=23)
    reconcile.run(free.hub, "t1")
    assert correct.create(free.hub, free.wanted(), keyed) == (action_id, False)
    free.time.pass_(hours=2)
    reconcile.run(free.hub, "t2")
    with free.hub.database.read() as uow:
        assert list(uow.session.exec(sqlmodel.select(IdempotencyRow))) == []


def test_what_the_engine_finished_is_tidied_and_leases_of_the_dead_forgotten(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[timedelta] = []
    monkeypatch.setattr(
        stage.engine, "tidy", lambda *, older_than, limit=1000: asked.append(older_than)
    )
    with stage.hub.database.begin() as uow:
        now = uow.nodes.database_time()
        for name, age in (("old", timedelta(days=2)), ("new", timedelta(hours=2))):
            uow.session.add(NodeRow(id=name, seen_at=now - age, started_at=now - age))
    reconcile.run(stage.hub, "t")
    assert asked == [stage.hub.options.finished_kept]
    with stage.hub.database.read() as uow:
        assert [row.id for row in uow.session.exec(sqlmodel.select(NodeRow))] == ["new"]


def test_lines_that_are_held_are_held_by_what_may_have_happened(free: Stage, asker: Asker) -> None:
    """An unknown outcome keeps its lines: it may have sent the goods."""
    action_id = unknown(free, asker, applied=True)
    with free.hub.database.read() as uow:
        holds = list(uow.session.exec(sqlmodel.select(LineHoldRow)))
    assert [(h.action_id, Decimal(h.quantity), h.released_at) for h in holds] == [
        (action_id, Decimal(2), None)
    ]
