"""What people do with an action that is done, partly done, or that nobody knows the end of."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from adapters.memory.remote import Fault, Phase
from middleware.contract.actions import (
    CaseRequest,
    CreditRequest,
    NoteRequest,
    Operation,
    ReturnRequest,
    Then,
    UndoRequest,
    WantedLine,
)
from middleware.contract.canonical import (
    Case,
    CaseStatus,
    Invoice,
    InvoiceStatus,
    InvoiceType,
    Kind,
    Money,
    Order,
    OrderStatus,
)
from middleware.domain.actions import Choice, Wanted
from middleware.domain.policy import built_in
from middleware.domain.problems import ConflictError, InvalidError, NotOfferedError
from middleware.flows import correct, plan, reconcile
from middleware.flows.budget import budget_of
from middleware.flows.hub import Asker
from middleware.store.tables import ActionRow, ActionStepRow
from tests.flows.conftest import Stage


@pytest.fixture
def free(known: Stage) -> Stage:
    """Nobody has to approve anything."""
    return known.with_options(policy=built_in(approval_of_strangers=False))


def undo_of(action_id: str, note: str | None = None) -> Wanted:
    return Wanted(operation=Operation.UNDO, request=UndoRequest(action=action_id), note=note)


def row(stage: Stage, action_id: str) -> ActionRow:
    with stage.hub.database.read() as uow:
        found = uow.actions.get(action_id)
        assert found is not None
        return found


def steps(stage: Stage, action_id: str) -> list[ActionStepRow]:
    with stage.hub.database.read() as uow:
        return uow.actions.steps_of(action_id)


def choices(stage: Stage, action_id: str) -> tuple[Choice, ...]:
    return correct.choices_of(row(stage, action_id), steps(stage, action_id))


def done(stage: Stage, asker: Asker, **changes: object) -> str:
    action_id, _ = correct.create(stage.hub, stage.wanted(**changes), asker)  # type: ignore[arg-type]
    stage.run_all()
    assert stage.state(action_id) == "done"
    return action_id


# --- undo ------------------------------------------------------------------------------------


def test_an_undo_takes_back_each_step_from_the_last(free: Stage, asker: Asker) -> None:
    action_id = done(free, asker, quantity=2)
    assert choices(free, action_id) == (Choice.UNDO,)
    undo, _ = correct.create(free.hub, undo_of(action_id), asker)
    assert row(free, action_id).undone_by == undo
    free.run_all()
    assert free.state(undo) == "done"
    assert [(s.operation, (s.request or {})["made_by"]) for s in steps(free, undo)] == [
        ("withdrawal", "case"),
        ("withdrawal", "replacement_order"),
    ]
    made = [s.receipt["ref"]["id"] for s in steps(free, action_id) if s.receipt]
    order = free.erp.get(free.ref("erp", Kind.ORDER, made[0]), Order)
    case = free.crm.get(free.ref("crm", Kind.CASE, made[1]), Case)
    assert order.status is OrderStatus.CANCELLED
    assert case.status is CaseStatus.CLOSED
    assert "action.undone" in free.events()
    # The budget is free again, and the goods can be replaced anew.
    done(free, asker, quantity=2)


def test_an_action_is_undone_once(free: Stage, asker: Asker) -> None:
    action_id = done(free, asker)
    undo, _ = correct.create(free.hub, undo_of(action_id), asker)
    with pytest.raises(ConflictError) as conflict:
        correct.create(free.hub, undo_of(action_id), asker)
    assert conflict.value.more["actions"] == [undo]
    free.run_all()
    with pytest.raises(ConflictError):
        correct.create(free.hub, undo_of(action_id), asker)
    with pytest.raises(InvalidError):
        correct.create(free.hub, undo_of(undo), asker)
    assert choices(free, action_id) == ()
    assert choices(free, undo) == ()


def test_what_was_never_sent_is_not_undone(free: Stage, asker: Asker) -> None:
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    with pytest.raises(ConflictError):
        correct.create(free.hub, undo_of(action_id), asker)


def test_a_step_that_is_too_late_to_undo_does_not_keep_the_others(
    free: Stage, asker: Asker
) -> None:
    """The goods are on their way: the case is closed, the budget stays taken, and both are said."""
    action_id = done(free, asker, quantity=2)
    ref = next(s.receipt["ref"]["id"] for s in steps(free, action_id) if s.receipt)
    made = free.erp.get(free.ref("erp", Kind.ORDER, ref), Order)
    free.erp.put(made.model_copy(update={"status": OrderStatus.SHIPPED}))
    undo, _ = correct.create(free.hub, undo_of(action_id), asker)
    free.run_all()
    assert free.state(undo) == "partial"
    assert [s.state for s in steps(free, undo)] == ["done", "refused"]
    assert choices(free, undo) == (Choice.FINISH, Choice.HAND_OVER)
    with pytest.raises(ConflictError):
        correct.create(free.hub, free.wanted(quantity=1), asker)


def test_the_last_refused_step_is_not_in_the_way_of_those_before(free: Stage, asker: Asker) -> None:
    action_id = done(free, asker)
    case = next(s.receipt["ref"]["id"] for s in steps(free, action_id)[1:] if s.receipt)
    free.crm.permissions = free.crm.permissions - {Operation.WITHDRAWAL}
    undo, _ = correct.create(free.hub, undo_of(action_id), asker)
    free.run_all()
    assert [s.state for s in steps(free, undo)] == ["refused", "done"]
    assert free.state(undo) == "partial"
    assert free.crm.get(free.ref("crm", Kind.CASE, case), Case).status is not CaseStatus.CLOSED
    # The remedy itself is taken back, so that its budget is free again.
    free.crm.permissions = frozenset(Operation)
    correct.finish(free.hub, undo, asker)
    free.run_all()
    assert free.state(undo) == "done"
    done(free, asker, quantity=2)


def test_an_undo_that_changed_nothing_leaves_the_choice(free: Stage, asker: Asker) -> None:
    action_id = done(free, asker)
    free.crm.permissions = free.erp.permissions = frozenset()
    undo, _ = correct.create(free.hub, undo_of(action_id), asker)
    free.run_all()
    assert free.state(undo) == "refused"
    assert row(free, action_id).undone_by is None
    assert choices(free, action_id) == (Choice.UNDO,)


@pytest.mark.parametrize("fault", [Fault.DROP, Fault.GARBAGE, Fault.MASKED])
@pytest.mark.parametrize("phase", ["before", "after", "late"])
def test_whatever_happens_to_an_undo_it_is_one(
    free: Stage, asker: Asker, fault: Fault, phase: Phase
) -> None:
    action_id = done(free, asker)
    free.erp.script.arm(fault, operation="withdrawal", phase=phase)
    undo, _ = correct.create(free.hub, undo_of(action_id), asker)
    free.run_all()
    assert free.state(undo) == "done"
    made = next(s.receipt for s in steps(free, action_id) if s.receipt)
    assert free.erp.withdrawn(free.ref("erp", Kind.ORDER, made["ref"]["id"])) == 1


def test_a_preview_of_an_undo_says_what_stays(free: Stage, asker: Asker) -> None:
    wanted = Wanted(
        operation=Operation.CREDIT,
        request=CreditRequest(
            order=free.order.ref, amount=Money(amount=Decimal(5), currency="EUR")
        ),
        case=None,
    )
    action_id, _ = correct.create(free.hub, wanted, asker)
    free.run_all()
    made, _ = plan.preview(free.hub, undo_of(action_id), asker)
    assert [s.operation for s in made.steps] == [Operation.WITHDRAWAL]
    assert str(made.value) == "5 EUR"
    note, _ = correct.create(
        free.hub,
        Wanted(
            operation=Operation.CASE,
            request=CaseRequest(subject="See to it"),
        ),
        asker,
    )
    free.run_all()
    made, _ = plan.preview(free.hub, undo_of(note), asker)
    assert made.stays == []


def test_a_note_alone_cannot_be_undone(free: Stage, asker: Asker) -> None:
    wanted = Wanted(
        operation=Operation.NOTE,
        request=NoteRequest(on=free.ref("desk", Kind.CONVERSATION, "7"), text="Called."),
    )
    action_id, _ = correct.create(free.hub, wanted, asker)
    free.run_all()
    with pytest.raises(NotOfferedError, match="can't be unread"):
        correct.create(free.hub, undo_of(action_id), asker)


# --- finish and hand over --------------------------------------------------------------------


def test_what_is_left_of_a_partial_action_is_finished(free: Stage, asker: Asker) -> None:
    free.crm.permissions = frozenset()
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    free.run_all()
    assert free.state(action_id) == "partial"
    assert choices(free, action_id) == (Choice.FINISH, Choice.UNDO, Choice.HAND_OVER)
    free.crm.permissions = frozenset(Operation)
    correct.finish(free.hub, action_id, asker, reason="access was granted")
    free.run_all()
    assert free.state(action_id) == "done"
    assert free.erp.count(Operation.REPLACEMENT_ORDER) == 1
    assert free.crm.count(Operation.CASE) == 1


def test_a_handed_over_action_is_left_alone(free: Stage, asker: Asker) -> None:
    free.crm.permissions = frozenset()
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    free.run_all()
    correct.hand_over(free.hub, action_id, asker, reason="by phone")
    assert choices(free, action_id) == (Choice.FINISH, Choice.UNDO)
    assert (row(free, action_id).handed_over or {})["by"] == asker.principal
    with pytest.raises(ConflictError):
        correct.hand_over(free.hub, action_id, asker, reason=None)
    assert "action.handed_over" in free.events()


# --- unknown ---------------------------------------------------------------------------------


def unknown(free: Stage, asker: Asker) -> tuple[str, ActionStepRow]:
    """Two records bear one key: only a person can say which one counts."""
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    free.erp.script.arm(Fault.DROP, operation="replacement_order", phase="after")
    free.run_due()
    step = steps(free, action_id)[0]
    adapter = free.hub.registry.adapter(step.connection)
    request = plan.load(Operation.REPLACEMENT_ORDER, step.request or {})
    adapter.create_replacement_order(request, key=step.key)
    free.run_all()
    assert free.state(action_id) == "unknown"
    return action_id, steps(free, action_id)[0]


def test_a_person_says_which_record_counts_and_the_action_goes_on(
    free: Stage, asker: Asker
) -> None:
    action_id, step = unknown(free, asker)
    assert choices(free, action_id) == (Choice.SETTLE, Choice.HAND_OVER)
    correct.settle(
        free.hub,
        action_id,
        step.id,
        asker,
        made=free.ref("erp", Kind.ORDER, "900"),
        number="SO-900",
        reason="the other one was cancelled by hand",
    )
    free.run_all()
    assert free.state(action_id) == "done"
    settled = steps(free, action_id)[0]
    assert settled.receipt is not None
    assert settled.receipt["number"] == "SO-900"
    assert settled.receipt["status"] == "settled_by_person"
    with free.hub.database.read() as uow:
        (entry,) = [a for a in uow.audit.about(action_id) if a.action == "step.settle"]
    assert entry.actor == asker.principal
    assert entry.detail["reason"] == "the other one was cancelled by hand"


def test_a_person_says_that_nothing_was_made(free: Stage, asker: Asker) -> None:
    action_id, step = unknown(free, asker)
    correct.settle(
        free.hub, action_id, step.id, asker, made=None, number=None, reason="both are cancelled"
    )
    assert free.state(action_id) == "expired"
    with pytest.raises(ConflictError):
        correct.settle(
            free.hub, action_id, step.id, asker, made=None, number=None, reason="once more"
        )


def test_a_record_of_another_system_settles_nothing(free: Stage, asker: Asker) -> None:
    action_id, step = unknown(free, asker)
    with pytest.raises(InvalidError):
        correct.settle(
            free.hub,
            action_id,
            step.id,
            asker,
            made=free.ref("crm", Kind.ORDER, "1"),
            number=None,
            reason="a slip",
        )
    assert free.state(action_id) == "unknown"


def test_whoever_took_it_over_is_not_overtaken_by_a_look_up(free: Stage, asker: Asker) -> None:
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    free.erp.script.arm(Fault.DROP, operation="replacement_order", phase="after")
    free.erp.script.arm(Fault.DOWN, operation="find_replacement_order", times=10_000)
    free.run_all(hours=30)
    assert free.state(action_id) == "unknown"
    correct.hand_over(free.hub, action_id, asker, reason="I am on it")
    free.erp.script.disarm()
    free.time.pass_(minutes=11)
    reconcile.run(free.hub, "t")
    free.run_all()
    assert free.state(action_id) == "unknown"
    assert choices(free, action_id) == (Choice.SETTLE,)


# --- waiting ---------------------------------------------------------------------------------


def test_actions_of_one_customer_keep_their_order(free: Stage, asker: Asker) -> None:
    free.erp.script.arm(Fault.DOWN, operation="replacement_order")
    first, _ = correct.create(free.hub, free.wanted(), asker)
    second, _ = correct.create(free.hub, free.wanted(line="2"), asker)
    free.run_due()
    assert free.state(first) == "waiting"
    assert free.state(second) == "queued"
    assert free.erp.count(Operation.REPLACEMENT_ORDER) == 0
    free.run_all()
    assert (free.state(first), free.state(second)) == ("done", "done")
    sent = [(steps(free, a)[0].settled_at, a) for a in (first, second)]
    assert sent == sorted(sent, key=lambda s: str(s[0]))


def test_an_action_that_waited_is_looked_at_once_more(free: Stage, asker: Asker) -> None:
    """Somebody cancelled the order while the ERP was down."""
    free.erp.script.arm(Fault.DOWN, operation="replacement_order", times=3)
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    later, _ = correct.create(free.hub, free.wanted(line="2"), asker)
    free.time.pass_(minutes=5)
    free.erp.put(free.order.model_copy(update={"status": OrderStatus.CANCELLED}))
    free.run_all()
    for refused in (action_id, later):
        assert free.state(refused) == "refused"
        error = steps(free, refused)[0].error or {}
        assert error["class"] == "NoLongerEligible"
    assert free.erp.count(Operation.REPLACEMENT_ORDER) == 0


def test_a_remedy_made_in_the_erp_meanwhile_counts(free: Stage, asker: Asker) -> None:
    action_id, _ = correct.create(free.hub, free.wanted(quantity=2), asker)
    free.time.pass_(minutes=5)
    free.store(
        Invoice(
            ref=free.ref("erp", Kind.INVOICE, "C77"),
            order=free.order.ref,
            type=InvoiceType.CREDIT,
            status=InvoiceStatus.POSTED,
            total=Money(amount=Decimal("100.00"), currency="EUR"),
        )
    )
    free.run_all()
    assert free.state(action_id) == "refused"
    assert "C77" in (steps(free, action_id)[0].error or {})["message"]


def test_an_action_that_the_remote_refused_for_now_can_still_be_called_off(
    free: Stage, asker: Asker
) -> None:
    free.erp.script.arm(Fault.BUSY, operation="replacement_order", times=100)
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    free.run_due()
    assert free.state(action_id) == "waiting"
    assert choices(free, action_id) == (Choice.CANCEL,)
    correct.cancel(free.hub, action_id, asker)
    free.erp.script.disarm()
    free.run_all()
    assert free.state(action_id) == "cancelled"
    assert free.erp.count(Operation.REPLACEMENT_ORDER) == 0


# --- the budget over kinds and systems -------------------------------------------------------


def test_a_return_for_a_replacement_is_two_steps_and_one_remedy(free: Stage, asker: Asker) -> None:
    lines = (WantedLine(line="1", sku="LMP-100", quantity=Decimal(2)),)
    wanted = Wanted(
        operation=Operation.RETURN,
        request=ReturnRequest(order=free.order.ref, lines=lines, then=Then.REPLACEMENT),
    )
    action_id, _ = correct.create(free.hub, wanted, asker)
    free.run_all()
    assert free.steps(action_id) == [("return", "done"), ("replacement_order", "done")]
    with pytest.raises(ConflictError) as conflict:
        correct.create(free.hub, free.wanted(), asker)
    assert conflict.value.more["actions"] == [action_id]
    undo, _ = correct.create(free.hub, undo_of(action_id), asker)
    free.run_all()
    assert free.state(undo) == "done"
    done(free, asker, quantity=2)


def test_a_credit_beside_a_return_for_a_replacement_is_another_remedy(
    free: Stage, asker: Asker
) -> None:
    """Goods follow the goods that come back: a credit note from the ERP is not their refund."""
    lines = (WantedLine(line="1", sku="LMP-100", quantity=Decimal(2)),)
    wanted = Wanted(
        operation=Operation.RETURN,
        request=ReturnRequest(order=free.order.ref, lines=lines, then=Then.REPLACEMENT),
    )
    correct.create(free.hub, wanted, asker)
    free.run_all()
    free.store(
        Invoice(
            ref=free.ref("erp", Kind.INVOICE, "C78"),
            order=free.order.ref,
            type=InvoiceType.CREDIT,
            status=InvoiceStatus.POSTED,
            total=Money(amount=Decimal("20.00"), currency="EUR"),
        )
    )
    with pytest.raises(ConflictError):
        correct.create(free.hub, free.wanted(line="2"), asker)


def test_a_copy_of_the_order_in_another_system_has_the_same_budget(
    free: Stage, asker: Asker
) -> None:
    done(free, asker, quantity=2)
    copy = free.order.model_copy(
        update={"ref": free.ref("crm", Kind.ORDER, "801"), "account": None}
    )
    free.crm.put(copy)
    free.store(copy)
    lines = (WantedLine(line="1", sku="LMP-100", quantity=Decimal(1)),)
    wanted = Wanted(operation=Operation.CREDIT, request=CreditRequest(order=copy.ref, lines=lines))
    with pytest.raises(ConflictError):
        correct.create(free.hub, wanted, asker)


def test_equal_partial_refunds_under_different_keys(free: Stage, asker: Asker) -> None:
    request = CreditRequest(
        order=free.order.ref,
        amount=Money(amount=Decimal("49.90"), currency="EUR"),
        lines=(WantedLine(line="1", sku="LMP-100", quantity=Decimal(1)),),
    )
    wanted = Wanted(operation=Operation.CREDIT, request=request)
    first, _ = correct.create(free.hub, wanted, Asker("key_a", key="one"))
    again, new = correct.create(free.hub, wanted, Asker("key_a", key="one"))
    assert (again, new) == (first, False)
    correct.create(free.hub, wanted, Asker("key_a", key="two"))
    free.run_all()
    assert free.erp.count(Operation.CREDIT) == 2
    with pytest.raises(ConflictError):
        correct.create(free.hub, wanted, Asker("key_a", key="three"))


def test_a_credit_that_is_noted_under_another_record_counts_once(free: Stage, asker: Asker) -> None:
    """As in Tryton: the receipt names a complaint, and a credit note follows from it."""
    amount = Money(amount=Decimal("49.90"), currency="EUR")
    wanted = Wanted(
        operation=Operation.CREDIT,
        request=CreditRequest(order=free.order.ref, amount=amount),
    )
    action_id, _ = correct.create(free.hub, wanted, asker)
    free.run_all()
    with free.hub.database.begin() as uow:
        (step,) = uow.actions.steps_of(action_id)
        assert step.receipt is not None
        ref = {**step.receipt["ref"], "kind": "case", "id": "4"}
        uow.actions.move(step, receipt={**step.receipt, "ref": ref})
    free.store(
        Invoice(
            ref=free.ref("erp", Kind.INVOICE, "N1"),
            order=free.order.ref,
            type=InvoiceType.CREDIT,
            status=InvoiceStatus.POSTED,
            total=amount,
        )
    )
    with free.hub.database.read() as uow:
        left = budget_of(uow, free.order).left("", "money")
    assert left == Decimal("119.80") - Decimal("49.90")


# --- what the helpdesk is told ---------------------------------------------------------------


def test_how_an_action_ended_stands_in_the_conversation(free: Stage, asker: Asker) -> None:
    complaint = free.complaint()
    free.erp.permissions = frozenset()
    wanted = free.wanted(note="", complaint_id=complaint)
    action_id, _ = correct.create(free.hub, wanted, asker)
    free.run_all()
    assert free.state(action_id) == "refused"
    (text,) = free.notes()
    assert text.startswith("Not put right, refused: rush replacement order for 1 × LMP-100.")
    assert "may not write a replacement_order" in text


def test_the_story_is_told_once(free: Stage, asker: Asker) -> None:
    complaint = free.complaint()
    free.crm.permissions = frozenset()
    wanted = free.wanted(note="", complaint_id=complaint)
    action_id, _ = correct.create(free.hub, wanted, asker)
    free.run_all()
    correct.tell_story(free.hub, action_id, "partial")
    free.run_all()
    (text,) = free.notes()
    assert text.startswith("Only partly put right")
    free.crm.permissions = frozenset(Operation)
    free.time.pass_(minutes=1)
    correct.finish(free.hub, action_id, asker)
    free.run_all()
    assert free.state(action_id) == "done"
    assert len(free.notes()) == 2
    assert free.notes()[-1].startswith("Put right:")


def test_a_note_that_was_not_asked_for_is_not_written(free: Stage, asker: Asker) -> None:
    complaint = free.complaint()
    free.erp.permissions = frozenset()
    correct.create(free.hub, free.wanted(complaint_id=complaint), asker)
    free.run_all()
    assert free.notes() == []


def test_time_is_kept(free: Stage, asker: Asker) -> None:
    """A cooling-off holds the first send back, and it can be called off until then."""
    action_id, _ = correct.create(free.hub, free.wanted(), asker)
    with free.hub.database.begin() as uow:
        action = uow.actions.get(action_id, lock=True)
        assert action is not None
        action.not_before = free.time.now + timedelta(minutes=10)
    free.run_due()
    assert free.state(action_id) == "queued"
    assert choices(free, action_id) == (Choice.CANCEL,)
    free.time.pass_(minutes=9)
    free.run_due()
    assert free.erp.count(Operation.REPLACEMENT_ORDER) == 0
    free.time.pass_(minutes=2)
    free.run_all()
    assert free.state(action_id) == "done"


def test_the_case_bears_the_orders_number(free: Stage, asker: Asker) -> None:
    action_id = done(free, asker)
    assert (steps(free, action_id)[1].request or {})["order_number"] == "SO-10001"
    wanted = Wanted(
        operation=Operation.CASE,
        request=CaseRequest(subject="Late again", order=free.order.ref),
    )
    alone, _ = correct.create(free.hub, wanted, asker)
    free.run_all()
    request = steps(free, alone)[0].request or {}
    assert (request["order"], request["order_number"]) == (None, "SO-10001")
