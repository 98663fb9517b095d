"""Corrective actions: at most one effect in each remote, and never silently none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from adapters.memory.adapter import MemoryAdapter
from adapters.memory.remote import Fault, Remote
from middleware.contract.actions import (
    REQUESTS,
    CancellationRequest,
    Operation,
    Preview,
    Receipt,
    ReplacementOrderRequest,
    ReturnRequest,
)
from middleware.contract.canonical import Frozen, Kind
from middleware.contract.capabilities import KeyTraits
from middleware.contract.errors import Ambiguous
from middleware.domain.actions import CaseWanted, Wanted
from middleware.domain.policy import built_in
from middleware.domain.problems import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    KeyReusedError,
    NotFoundError,
)
from middleware.flows import carry, correct, plan, reconcile
from middleware.flows.engine import LeaseLostError
from middleware.flows.hub import Asker
from middleware.store.tables import CursorRow, LinkRow, RecordRow
from tests.flows.conftest import Stage, silent

ALL_STEPS = [("replacement_order", "done"), ("case", "done")]


@pytest.fixture
def free(known: Stage) -> Stage:
    """No approvals asked for."""
    return known.with_options(policy=built_in(approval_of_strangers=False))


def only(stage: Stage, operation: Operation, remote: Remote, expected: int = 1) -> None:
    assert remote.count(operation) == expected


def test_an_action_makes_each_of_its_records_once(free: Stage, asker: Asker) -> None:
    action_id, new = correct.create(free.hub, free.wanted(), asker)
    assert new
    assert free.state(action_id) == "queued"
    free.run_due()
    assert free.state(action_id) == "done"
    assert free.steps(action_id) == ALL_STEPS
    only(free, Operation.REPLACEMENT_ORDER, free.erp)
    only(free, Operation.CASE, free.crm)
    assert free.events() == ["action.requested", "action.done"]


def test_the_key_is_committed_before_the_remote_is_called(free: Stage, asker: Asker) -> None:
    action_id, _ = correct.create(free.hub, free.wanted(case=None), asker)
    with free.hub.database.read() as uow:
        (step,) = uow.actions.steps_of(action_id)
    free.run_due()
    assert free.erp.count(Operation.REPLACEMENT_ORDER, step.key) == 1


SAYS_NOTHING_WAS_DONE = (Fault.BUSY, Fault.DOWN, Fault.DENIED)
STRIKES = [
    (fault, phase)
    for fault in Fault
    for phase in ("before", "after")
    if not (fault in SAYS_NOTHING_WAS_DONE and phase == "after")
    and not (fault is Fault.DUPLICATE and phase == "before")
]
"""A remote that says it did nothing did nothing; one that says it has our key has it."""


@pytest.mark.parametrize(("fault", "phase"), STRIKES)
@pytest.mark.parametrize("operation", ["replacement_order", "case"])
def test_whatever_happens_to_one_send_there_is_one_record(
    free: Stage, asker: Asker, fault: Fault, phase: str, operation: str
) -> None:
    remote = free.erp if operation == "replacement_order" else free.crm
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    remote.script.arm(fault, operation=operation, phase=phase)  # type: ignore[arg-type]
    free.run_all()
    if fault is Fault.DENIED:
        assert free.state(action_id) == (
            "refused" if operation == "replacement_order" else "partial"
        )
        assert remote.count(Operation(operation)) == 0
        return
    assert free.state(action_id) == "done"
    only(free, Operation.REPLACEMENT_ORDER, free.erp)
    only(free, Operation.CASE, free.crm)


def test_a_late_commit_is_waited_for(free: Stage, asker: Asker) -> None:
    """The remote commits after we gave up; "not found" before it settled would be no evidence."""
    action_id, _ = correct.create(free.hub, free.wanted(case=None), asker)
    free.erp.script.arm(Fault.DROP, operation="replacement_order", phase="after")
    free.run_due()
    assert free.state(action_id) == "waiting"
    (owed,) = free.engine.owed
    assert (owed.due - free.time.now).total_seconds() >= 5
    free.time.pass_(seconds=4)
    assert free.run_due() == 0
    assert free.erp.calls["find_replacement_order"] == 0
    free.time.pass_(seconds=2)
    free.run_due()
    assert free.state(action_id) == "done"
    only(free, Operation.REPLACEMENT_ORDER, free.erp)


def test_a_remote_settles_from_when_it_was_given_up(
    free: Stage, asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call hung longer than the remote takes to settle; what was given up may still land."""
    action_id, _ = correct.create(free.hub, free.wanted(case=None), asker)
    adapter = free.hub.registry.adapter(free.names["erp"])

    def hangs(request: ReplacementOrderRequest, *, key: str) -> Receipt:
        free.time.pass_(seconds=12)
        raise Ambiguous("no answer", system="memory", operation="replacement_order")

    with monkeypatch.context() as patch:
        patch.setattr(adapter, "create_replacement_order", hangs)
        free.run_due()
    free.time.pass_(seconds=4)
    assert free.run_due() == 0
    assert free.erp.calls["find_replacement_order"] == 0
    free.time.pass_(seconds=1)
    free.run_due()
    assert free.state(action_id) == "done"
    only(free, Operation.REPLACEMENT_ORDER, free.erp)


def test_a_native_key_is_waited_for_too(free: Stage, asker: Asker) -> None:
    """A second send that is refused says nothing of the first, which lands late."""
    late: list[Callable[[], object]] = []
    free.erp.later = lambda _seconds, work: late.append(work)
    lines = free.wanted().request.lines  # type: ignore[union-attr]
    wanted = Wanted(
        operation=Operation.RETURN, request=ReturnRequest(order=free.order.ref, lines=lines)
    )
    action_id, _ = correct.create(free.hub, wanted, asker)
    free.erp.script.arm(Fault.DROP, operation="return", phase="late", seconds=4)
    free.run_due()
    free.erp.script.arm(Fault.BUSY, operation="return", times=100)
    free.time.pass_(seconds=1)
    free.run_due()
    with pytest.raises(ConflictError):
        correct.cancel(free.hub, action_id, asker)
    (work,) = late
    work()
    free.run_all()
    assert free.state(action_id) == "done"
    only(free, Operation.RETURN, free.erp)


def test_a_control_that_resends_at_once_would_duplicate(free: Stage, asker: Asker) -> None:
    """Proves that the fault above is one: without looking first there are two orders."""
    action_id, _ = correct.create(free.hub, free.wanted(case=None), asker)
    free.erp.script.arm(Fault.DROP, operation="replacement_order", phase="after")
    free.run_due()
    with free.hub.database.read() as uow:
        (step,) = uow.actions.steps_of(action_id)
    adapter = free.hub.registry.adapter(step.connection)
    adapter.create_replacement_order(
        plan.load(Operation.REPLACEMENT_ORDER, step.request or {}), key=step.key
    )
    only(free, Operation.REPLACEMENT_ORDER, free.erp, expected=2)


def crash(*_: object, **__: object) -> None:
    raise SystemExit("killed")


@pytest.mark.parametrize("where", ["_send", "_settle", "_announce"])
def test_a_death_anywhere_leaves_one_record(
    free: Stage, asker: Asker, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(carry, where, crash)
        free.run_due()
    # The engine hands the same pass out again, as it does after a restart.
    free.handlers["correct"](action_id, "1")
    free.run_all()
    assert free.state(action_id) == "done"
    only(free, Operation.REPLACEMENT_ORDER, free.erp)
    only(free, Operation.CASE, free.crm)


def test_after_a_death_nobody_looks_before_the_remote_has_settled(
    free: Stage, asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    action_id, _ = correct.create(free.hub, free.wanted(case=None), asker)
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(carry, "_send", crash)
        free.run_due()
    free.handlers["correct"](action_id, "1")
    assert free.state(action_id) == "waiting"
    assert free.erp.calls["find_replacement_order"] == 0
    free.time.pass_(seconds=5)
    free.run_due()
    assert free.erp.calls["find_replacement_order"] == 1
    assert free.state(action_id) == "done"


def test_a_death_with_the_engines_row_lost_is_taken_up_by_reconcile(
    free: Stage, asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(carry, "_settle", crash)
        free.run_due()
    assert free.engine.owed == []
    reconcile.run(free.hub, "t1")
    assert free.engine.owed == []
    free.time.pass_(minutes=5)
    reconcile.run(free.hub, "t2")
    free.run_all()
    assert free.state(action_id) == "done"
    only(free, Operation.REPLACEMENT_ORDER, free.erp)


def test_an_overtaken_pass_touches_nothing(free: Stage, asker: Asker) -> None:
    """A node that was frozen wakes up after another has finished its work."""
    action_id, _ = correct.create(free.hub, free.wanted(case=None), asker)
    sending = carry._announce(free.hub, action_id, 1)
    assert sending is not None
    sent = carry._send(free.hub, action_id, 1, sending)
    free.time.pass_(minutes=5)
    reconcile.run(free.hub, "t")
    free.run_all()
    assert free.state(action_id) == "done"
    with pytest.raises(carry.StaleStepError):
        carry._settle(free.hub, 1, sending, sent)
    only(free, Operation.REPLACEMENT_ORDER, free.erp)


def test_a_node_without_its_lease_does_not_send(free: Stage, asker: Asker) -> None:
    action_id, _ = correct.create(free.hub, free.wanted(case=None), asker)

    def lost() -> None:
        raise LeaseLostError("node")

    free.engine.guards.append(lost)
    with pytest.raises(LeaseLostError):
        free.run_due()
    only(free, Operation.REPLACEMENT_ORDER, free.erp, expected=0)
    free.engine.guards.clear()
    free.handlers["correct"](action_id, "1")
    free.run_all()
    assert free.state(action_id) == "done"
    only(free, Operation.REPLACEMENT_ORDER, free.erp)


def test_a_remote_that_is_down_is_waited_for_and_asked_later(free: Stage, asker: Asker) -> None:
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    free.erp.script.arm(Fault.DOWN, operation="replacement_order", times=6)
    free.run_due()
    assert free.state(action_id) == "waiting"
    free.run_all()
    assert free.state(action_id) == "done"
    only(free, Operation.REPLACEMENT_ORDER, free.erp)


@pytest.mark.parametrize("skew", [-1, 0, 1])
def test_an_order_is_read_anew_once_after_a_long_wait(
    free: Stage, asker: Asker, monkeypatch: pytest.MonkeyPatch, skew: int
) -> None:
    """Whatever the remote's clock says; and it is dated by that one, as its pages are."""
    theirs = free.time.now + timedelta(hours=skew)
    cursor = CursorRow(
        connection=free.names["erp"],
        kind=Kind.ORDER.value,
        value="c",
        as_of=theirs,
        run_id="run_1",
        saved_at=free.time.now,
    )
    with free.hub.database.begin() as uow:
        uow.session.add(cursor)
        uow.session.execute(sa.update(RecordRow).values(as_of=theirs))
    reads = []
    read_anew = carry._read_anew
    monkeypatch.setattr(carry, "_read_anew", lambda *args: reads.append(args) or read_anew(*args))
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    free.time.pass_(minutes=10)
    free.run_all()
    assert free.state(action_id) == "done"
    assert len(reads) == 1
    with free.hub.database.read() as uow:
        stored = uow.records.get(free.order.ref)
    assert stored is not None
    assert stored.as_of - theirs == timedelta(minutes=10)


def test_an_action_that_expires_while_its_remote_is_down_sends_nothing_more(
    free: Stage, asker: Asker
) -> None:
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    free.erp.script.arm(Fault.DOWN, times=100_000)
    free.run_all(hours=30)
    assert free.state(action_id) in ("expired", "unknown")
    free.erp.script.disarm()
    free.time.pass_(hours=1)
    reconcile.run(free.hub, "t")
    free.run_all()
    assert free.state(action_id) == "expired"
    only(free, Operation.REPLACEMENT_ORDER, free.erp, expected=0)


def test_two_records_under_one_key_wait_for_a_person(free: Stage, asker: Asker) -> None:
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    free.erp.script.arm(Fault.DROP, operation="replacement_order", phase="after")
    free.run_due()
    with free.hub.database.read() as uow:
        step = uow.actions.steps_of(action_id)[0]
    adapter = free.hub.registry.adapter(step.connection)
    request = plan.load(Operation.REPLACEMENT_ORDER, step.request or {})
    adapter.create_replacement_order(request, key=step.key)
    free.run_all()
    assert free.state(action_id) == "unknown"
    assert free.steps(action_id) == [("replacement_order", "unknown"), ("case", "planned")]
    only(free, Operation.CASE, free.crm, expected=0)
    assert free.events()[-1] == "action.unknown"


@pytest.mark.parametrize("first", [True, False], ids=["settled", "under-way"])
def test_what_a_sleeper_made_beside_another_is_told(free: Stage, asker: Asker, first: bool) -> None:
    """The one moment that no fence covers: frozen between the last look and the wire."""
    action_id, _ = correct.create(free.hub, free.wanted(case=None), asker)
    sending = carry._announce(free.hub, action_id, 1)
    assert sending is not None
    with free.hub.database.read() as uow:
        step = uow.actions.steps_of(action_id)[0]
    adapter = free.hub.registry.adapter(step.connection)
    free.time.pass_(minutes=5)
    reconcile.run(free.hub, "t")

    def wakes_up() -> None:
        receipt = adapter.create_replacement_order(sending.request, key=sending.key)
        with pytest.raises(carry.StaleStepError):
            carry._settle(free.hub, 1, sending, carry.Sent(receipt, looking=False))
        carry._belated(free.hub, action_id, sending, receipt)

    if first:
        free.run_all()
        wakes_up()
    else:
        free.engine.guards.append(lambda: (free.engine.guards.clear(), wakes_up())[0])
        free.run_all()
    only(free, Operation.REPLACEMENT_ORDER, free.erp, expected=2)
    assert free.state(action_id) == "done"
    assert "action.duplicated" in free.events()
    with free.hub.database.read() as uow:
        (step,) = uow.actions.steps_of(action_id)
        told = [e for e in uow.audit.about(action_id) if e.action == "step.duplicated"]
    assert step.error is not None
    assert step.error["class"] == "Duplicated"
    assert len(told) == 1
    assert len(told[0].detail["refs"]) == 2


@pytest.mark.parametrize("lands", [True, False])
def test_a_refusal_is_not_believed_while_an_earlier_send_may_land(
    free: Stage, asker: Asker, monkeypatch: pytest.MonkeyPatch, lands: bool
) -> None:
    """The worker is killed in the call, the next send is refused, and the first commits late."""
    traits = KeyTraits(native=True, settle=timedelta(seconds=60))
    monkeypatch.setattr(MemoryAdapter, "key_traits", lambda *_: traits)
    action_id, _ = correct.create(free.hub, free.wanted(case=None), asker)
    killed = carry._announce(free.hub, action_id, 1)
    assert killed is not None
    free.time.pass_(seconds=1)
    free.erp.permissions = frozenset()
    free.handlers["correct"](action_id, "1")
    assert free.state(action_id) == "waiting", "refused, but the first may still land"
    free.erp.permissions = frozenset(Operation)
    if lands:
        adapter = free.hub.registry.adapter(killed.connection)
        adapter.create_replacement_order(killed.request, key=killed.key)
    free.erp.permissions = frozenset()
    free.run_all()
    assert free.state(action_id) == ("done" if lands else "refused")
    only(free, Operation.REPLACEMENT_ORDER, free.erp, expected=1 if lands else 0)


def test_an_unknown_outcome_is_settled_by_a_later_look_up(free: Stage, asker: Asker) -> None:
    """The answer is lost and the remote stays away until the action has expired."""
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    free.erp.script.arm(Fault.DROP, operation="replacement_order", phase="after")
    free.erp.script.arm(Fault.DOWN, operation="find_replacement_order", times=10_000)
    free.run_all(hours=30)
    assert free.state(action_id) == "unknown"
    free.erp.script.disarm()
    free.time.pass_(minutes=11)
    reconcile.run(free.hub, "t")
    free.run_all()
    assert free.state(action_id) == "done"
    only(free, Operation.REPLACEMENT_ORDER, free.erp)
    only(free, Operation.CASE, free.crm)


def test_a_refusal_ends_it_and_gives_the_lines_back(free: Stage, asker: Asker) -> None:
    free.erp.permissions = frozenset()
    action_id, _ = correct.create(free.hub, free.wanted(quantity=2), asker)
    free.run_due()
    assert free.state(action_id) == "refused"
    free.erp.permissions = frozenset(Operation)
    again, _ = correct.create(free.hub, free.wanted(quantity=2), asker)
    free.run_due()
    assert free.state(again) == "done"


def test_a_case_that_is_refused_leaves_a_named_state(free: Stage, asker: Asker) -> None:
    free.crm.permissions = frozenset()
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    free.run_due()
    assert free.state(action_id) == "partial"
    assert free.steps(action_id) == [("replacement_order", "done"), ("case", "refused")]


# --- one line, one remedy --------------------------------------------------------------------


def test_a_line_is_put_right_once(free: Stage, asker: Asker) -> None:
    first, _ = correct.create(free.hub, free.wanted(quantity=2), asker)
    with pytest.raises(ConflictError) as conflict:
        correct.create(free.hub, free.wanted(quantity=1), asker)
    assert conflict.value.more["actions"] == [first]


def test_a_line_may_be_put_right_in_parts(free: Stage, asker: Asker) -> None:
    correct.create(free.hub, free.wanted(quantity=1), asker)
    correct.create(free.hub, free.wanted(quantity=1), asker)
    with pytest.raises(ConflictError):
        correct.create(free.hub, free.wanted(quantity=1), asker)


def test_more_than_was_ordered_is_refused_with_the_place(free: Stage, asker: Asker) -> None:
    with pytest.raises(InvalidError) as wrong:
        correct.create(free.hub, free.wanted(quantity=3), asker)
    assert wrong.value.errors[0]["pointer"] == "/request/lines/0/quantity"


def test_an_unknown_line_is_refused_with_the_lines_there_are(free: Stage, asker: Asker) -> None:
    with pytest.raises(InvalidError) as wrong:
        correct.create(free.hub, free.wanted(line="9"), asker)
    assert wrong.value.errors[0]["detail"] == "its lines are 1, 2"


def test_two_at_once_for_the_last_piece(free: Stage, asker: Asker) -> None:
    outcomes: list[str] = []

    def ask(n: int) -> None:
        try:
            correct.create(
                free.hub, free.wanted(quantity=2), replace(asker, key=f"k{n}", body_hash="b")
            )
            outcomes.append("won")
        except ConflictError:
            outcomes.append("conflict")

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict"] * 5 + ["won"]


# --- keys of the client ----------------------------------------------------------------------


def test_the_same_key_answers_the_same_action(free: Stage, asker: Asker) -> None:
    keyed = replace(asker, key="k1", body_hash="b1")
    first, new = correct.create(free.hub, free.wanted(), keyed)
    again, new_again = correct.create(free.hub, free.wanted(), keyed)
    assert (new, new_again) == (True, False)
    assert first == again
    free.run_due()
    only(free, Operation.REPLACEMENT_ORDER, free.erp)


def test_the_same_key_with_another_body_is_refused(free: Stage, asker: Asker) -> None:
    correct.create(free.hub, free.wanted(), replace(asker, key="k1", body_hash="b1"))
    with pytest.raises(KeyReusedError):
        correct.create(free.hub, free.wanted(), replace(asker, key="k1", body_hash="b2"))


def test_keys_belong_to_their_principal(free: Stage) -> None:
    first, _ = correct.create(free.hub, free.wanted(), Asker("a", key="k", body_hash="b"))
    other, new = correct.create(free.hub, free.wanted(), Asker("b", key="k", body_hash="b"))
    assert new
    assert first != other


# --- approval, cancelling --------------------------------------------------------------------


def test_over_the_limit_waits_for_somebody_else(free: Stage, asker: Asker) -> None:
    stage = free.with_options(
        policy=built_in(approval_of_strangers=False, approval_over={"EUR": Decimal(40)})
    )
    action_id, _ = correct.create(stage.hub, stage.wanted(), asker)
    assert stage.state(action_id) == "awaiting_approval"
    assert stage.run_due() == 0
    with pytest.raises(ForbiddenError):
        correct.approve(stage.hub, action_id, asker, grant=True, reason=None)
    correct.approve(stage.hub, action_id, Asker("key_boss"), grant=True, reason="ok")
    stage.run_due()
    assert stage.state(action_id) == "done"
    with pytest.raises(ConflictError):
        correct.approve(stage.hub, action_id, Asker("key_boss"), grant=True, reason="again")


def test_a_stranger_to_the_order_needs_approval(known: Stage, asker: Asker) -> None:
    with known.hub.database.read() as uow:
        made = plan.plan(known.hub, uow, known.wanted(), Asker("key_agent"))
    assert made.approval is not None
    assert made.approval.startswith("approval_of_strangers")


def test_a_rejected_action_sends_nothing_and_gives_its_lines_back(
    known: Stage, asker: Asker
) -> None:
    action_id, _ = correct.create(known.hub, known.wanted(quantity=2), asker)
    correct.approve(known.hub, action_id, Asker("key_boss"), grant=False, reason="no")
    known.run_all()
    assert known.state(action_id) == "rejected"
    correct.create(known.hub, known.wanted(quantity=2), asker)


def test_nobody_approved_in_time(known: Stage, asker: Asker) -> None:
    action_id, _ = correct.create(known.hub, known.wanted(), asker)
    known.time.pass_(hours=25)
    reconcile.run(known.hub, "t")
    assert known.state(action_id) == "expired"


def test_an_action_is_called_off_before_it_is_sent(free: Stage, asker: Asker) -> None:
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    correct.cancel(free.hub, action_id, asker)
    free.run_all()
    assert free.state(action_id) == "cancelled"
    only(free, Operation.REPLACEMENT_ORDER, free.erp, expected=0)


def test_an_action_that_was_sent_is_not_called_off(free: Stage, asker: Asker) -> None:
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    free.erp.script.arm(Fault.DROP, operation="replacement_order", phase="before")
    free.run_due()
    with pytest.raises(ConflictError):
        correct.cancel(free.hub, action_id, asker)


# --- what is asked for -----------------------------------------------------------------------


def test_an_order_that_the_hub_does_not_hold_is_not_found(stage: Stage, asker: Asker) -> None:
    with pytest.raises(NotFoundError):
        correct.create(stage.hub, stage.wanted(), asker)


def test_a_preview_writes_nothing(free: Stage) -> None:
    made, previews = plan.preview(free.hub, free.wanted(), Asker("key_agent"))
    assert made.value is not None
    assert str(made.value) == "49.90 EUR"
    assert [p.step.operation for p in previews] == [Operation.REPLACEMENT_ORDER, Operation.CASE]
    assert previews[0].preview.exact
    assert free.erp.count(Operation.REPLACEMENT_ORDER) == 0
    with free.hub.database.read() as uow:
        assert uow.actions.page(before=None, limit=10) == []


def test_an_order_is_cancelled_once(free: Stage, asker: Asker) -> None:
    order = free.order.model_copy(update={"status": "confirmed"})
    free.erp.put(order)
    wanted = Wanted(operation=Operation.CANCELLATION, request=CancellationRequest(order=order.ref))
    action_id, _ = correct.create(free.hub, wanted, asker)
    free.erp.script.arm(Fault.DROP, operation="cancellation", phase="after")
    free.run_all()
    assert free.state(action_id) == "done"


@pytest.mark.parametrize("operation", [Operation.RETURN, Operation.CREDIT])
def test_other_remedies_may_have_a_case_too(
    free: Stage, asker: Asker, operation: Operation
) -> None:
    lines = free.wanted().request.lines  # type: ignore[union-attr]
    wanted = Wanted(
        operation=operation,
        request=REQUESTS[operation](order=free.order.ref, lines=lines),  # type: ignore[arg-type]
        case=CaseWanted(),
    )
    assert Wanted.model_validate(wanted.model_dump(mode="json")) == wanted
    action_id, _ = correct.create(free.hub, wanted, asker)
    free.run_due()
    assert free.steps(action_id) == [(operation.value, "done"), ("case", "done")]


def test_a_cancellation_may_have_a_case_too(free: Stage, asker: Asker) -> None:
    free.erp.put(free.order.model_copy(update={"status": "confirmed"}))
    request = CancellationRequest(order=free.order.ref)
    wanted = Wanted(operation=Operation.CANCELLATION, request=request, case=CaseWanted())
    action_id, _ = correct.create(free.hub, wanted, asker)
    free.run_due()
    assert free.state(action_id) == "done"


def test_a_preview_does_not_wait_for_a_remote_beyond_its_deadline(free: Stage) -> None:
    stage = free.with_options(read_deadline=timedelta(milliseconds=50))
    with silent(stage.erp, "preview"):
        _made, previews = plan.preview(stage.hub, stage.wanted(), Asker("key_agent"))
    assert not previews[0].preview.exact
    assert "no answer within" in previews[0].preview.warnings[0]


def test_every_step_of_a_preview_is_asked_for_at_once(
    free: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those whose request tells of what came before, as far as that is known."""
    both = threading.Barrier(2)
    alone = MemoryAdapter.preview

    def together(self: MemoryAdapter, operation: Operation, request: Frozen) -> Preview:
        both.wait(timeout=20)
        return alone(self, operation, request)

    monkeypatch.setattr(MemoryAdapter, "preview", together)
    _made, previews = plan.preview(free.hub, free.wanted(note="Done."), Asker("key_agent"))
    said = {one.step.operation: one.preview for one in previews}
    assert said[Operation.REPLACEMENT_ORDER].exact
    assert said[Operation.CASE].exact
    assert [effect.what for effect in said[Operation.CASE].effects] == ["a case would be made"]
    only(free, Operation.CASE, free.crm, expected=0)


def test_a_step_that_cannot_be_asked_for_is_worked_out(free: Stage) -> None:
    free.crm.script.arm(Fault.DOWN, operation="preview")
    _made, (order, case) = plan.preview(free.hub, free.wanted(), Asker("key_agent"))
    assert order.preview.exact
    assert not case.preview.exact
    assert "create a case" in case.preview.effects[0].what
    assert "could not simulate it" in case.preview.warnings[0]


def test_the_case_says_what_was_done(free: Stage, asker: Asker) -> None:
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    free.run_due()
    with free.hub.database.read() as uow:
        order, case = uow.actions.steps_of(action_id)
    assert order.receipt is not None
    assert case.request is not None
    assert order.receipt["number"] in case.request["subject"]
    assert "rush replacement order for 1 × LMP-100" in case.request["description"]


def test_a_person_who_owns_the_order_needs_no_approval(known: Stage, asker: Asker) -> None:
    with known.hub.database.begin() as uow:
        person = uow.people.add_person(display_name="Kim", at=known.time.now)
        uow.people.add_link(
            LinkRow(
                id="lnk_1",
                person_id=person.id,
                connection=known.names["erp"],
                kind=Kind.ACCOUNT.value,
                record_id="A1",
                basis="crm_record",
                confidence=1.0,
                evidence=[],
                decided_by="hub",
                valid_from=known.time.now,
            )
        )
    action_id, _ = correct.create(known.hub, known.wanted(person_id=person.id), asker)
    assert known.state(action_id) == "queued"
