"""What the memory adapter's remote decides about remedies: what they are worth, when it is late."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters.memory.adapter import MemoryAdapter
from middleware.contract.actions import (
    CancellationRequest,
    CaseRequest,
    CreditRequest,
    Operation,
    Receipt,
    ReplacementOrderRequest,
    ReturnRequest,
    Speed,
    StoreCreditRequest,
    Then,
    WantedLine,
    WithdrawalRequest,
)
from middleware.contract.canonical import (
    Frozen,
    Invoice,
    InvoiceStatus,
    InvoiceType,
    Kind,
    Money,
    Order,
    OrderLine,
    OrderStatus,
    Ref,
    Return,
    ReturnStatus,
)
from middleware.contract.errors import Missing, NotOffered, Rejected
from tests.adapters.memory.peer import MemoryPeer

KEY = "amends-remedy-1"
YESTERDAY = date(2026, 1, 31)


def euros(amount: str) -> Money:
    return Money(amount=Decimal(amount), currency="EUR")


def wanted(line: str, quantity: int = 1, sku: str = "MUG-RED") -> WantedLine:
    return WantedLine(line=line, sku=sku, quantity=Decimal(quantity))


@pytest.fixture
def peer() -> MemoryPeer:
    return MemoryPeer()


@pytest.fixture
def adapter(peer: MemoryPeer) -> MemoryAdapter:
    return MemoryAdapter.open(peer.connection())


@pytest.fixture
def order(peer: MemoryPeer) -> Ref:
    """Two mugs at 12.50, a tray at 20, and 4.90 for shipping."""
    ref = Ref(connection=peer.name, kind=Kind.ORDER, id="O-77")
    lines = (
        OrderLine(id="1", sku="MUG-RED", quantity=Decimal(2), unit_price=euros("12.50")),
        OrderLine(id="2", sku="TRAY", quantity=Decimal(1), unit_price=euros("20")),
    )
    peer.remote.put(
        Order(
            ref=ref,
            number="SO-77",
            account=peer.account,
            status=OrderStatus.DELIVERED,
            total=euros("49.90"),
            shipping=euros("4.90"),
            lines=lines,
        )
    )
    return ref


def withdrawal(made: Receipt, made_by: Operation) -> WithdrawalRequest:
    return WithdrawalRequest(of=made.ref, made_by=made_by, made_under=made.key)


@pytest.mark.parametrize(
    ("asked", "worth"),
    [
        ({"full": True}, "49.90"),
        ({"shipping": True}, "4.90"),
        ({"lines": (wanted("1", 2),)}, "25.00"),
        ({"lines": (wanted("2"),), "shipping": True}, "24.90"),
        ({"lines": (wanted("1", 2),), "amount": euros("5")}, "5"),
        ({"amount": euros("49.90")}, "49.90"),
    ],
)
def test_what_a_credit_is_worth(
    peer: MemoryPeer, adapter: MemoryAdapter, order: Ref, asked: dict[str, Any], worth: str
) -> None:
    request = CreditRequest(order=order, **asked)
    assert adapter.preview(Operation.CREDIT, request).effects[0].amount == euros(worth)
    made = adapter.create_credit(request, key=KEY)
    credit = peer.remote.get(made.ref, Invoice)
    assert (credit.type, credit.order, credit.total) == (InvoiceType.CREDIT, order, euros(worth))


@pytest.mark.parametrize(
    "asked",
    [
        {"amount": euros("49.91")},
        {"amount": Money(amount=Decimal(1), currency="USD")},
        {"lines": (wanted("1"),), "amount": euros("12.51")},
        {"lines": (wanted("9"),)},
    ],
)
def test_a_credit_beyond_what_was_paid_is_refused(
    peer: MemoryPeer, adapter: MemoryAdapter, order: Ref, asked: dict[str, Any]
) -> None:
    with pytest.raises(Rejected):
        adapter.create_credit(CreditRequest(order=order, **asked), key=KEY)
    assert peer.remote.count(Operation.CREDIT, KEY) == 0


@pytest.mark.parametrize("asked", [{"shipping": True}, {"full": True}])
def test_what_an_order_does_not_name_cannot_be_given_back(
    peer: MemoryPeer, adapter: MemoryAdapter, asked: dict[str, Any]
) -> None:
    ref = Ref(connection=peer.name, kind=Kind.ORDER, id="O-78")
    peer.remote.put(Order(ref=ref))
    with pytest.raises(Rejected):
        adapter.create_credit(CreditRequest(order=ref, **asked), key=KEY)


def test_a_voucher_is_told_as_a_credit_of_its_order(adapter: MemoryAdapter, order: Ref) -> None:
    """So that whoever adds up what an order was compensated with sees it."""
    cursor = adapter.changed_since(Kind.INVOICE, None).cursor
    request = StoreCreditRequest(order=order, amount=euros("10"))
    made = adapter.create_store_credit(request, key=KEY)
    (told,) = adapter.changed_since(Kind.INVOICE, cursor).records
    assert isinstance(told, Invoice)
    assert (told.ref, told.type, told.order) == (made.ref, InvoiceType.CREDIT, order)
    assert told.total == euros("10")
    adapter.create_withdrawal(withdrawal(made, Operation.STORE_CREDIT), key="amends-remedy-2")
    (told,) = adapter.changed_since(Kind.INVOICE, cursor).records
    assert isinstance(told, Invoice)
    assert told.status is InvoiceStatus.CANCELLED


@pytest.mark.parametrize(
    "more",
    [
        {"amount": euros("50")},
        {"amount": Money(amount=Decimal(1), currency="USD")},
        {"amount": euros("1"), "expires_on": date(2026, 1, 31)},
    ],
)
def test_a_voucher_beyond_reason_is_refused(
    adapter: MemoryAdapter, order: Ref, more: dict[str, Any]
) -> None:
    with pytest.raises(Rejected):
        adapter.create_store_credit(StoreCreditRequest(order=order, **more), key=KEY)


@pytest.mark.parametrize("then", list(Then))
def test_a_return_is_told_by_original_line_and_refunds_where_promised(
    peer: MemoryPeer, adapter: MemoryAdapter, order: Ref, then: Then
) -> None:
    returns = adapter.changed_since(Kind.RETURN, None).cursor
    invoices = adapter.changed_since(Kind.INVOICE, None).cursor
    request = ReturnRequest(order=order, lines=(wanted("1", 2), wanted("2")), then=then)
    made = adapter.create_return(request, key=KEY)
    (told,) = adapter.changed_since(Kind.RETURN, returns).records
    assert isinstance(told, Return)
    assert [(line.origin, str(line.quantity)) for line in told.lines] == [("1", "2"), ("2", "1")]
    peer.remote.receive(made.ref)
    (told,) = adapter.changed_since(Kind.RETURN, returns).records
    assert isinstance(told, Return)
    assert told.status is ReturnStatus.RECEIVED
    told_since = adapter.changed_since(Kind.INVOICE, invoices).records
    worth = [(c.order, c.total) for c in told_since if isinstance(c, Invoice)]
    assert worth == ([(order, euros("45.00"))] if then is Then.REFUND else [])


def test_a_replacement_names_the_lines_it_replaces(
    peer: MemoryPeer, adapter: MemoryAdapter, order: Ref
) -> None:
    request = ReplacementOrderRequest(order=order, lines=(wanted("2", sku="TRAY-NEW"),))
    made = adapter.create_replacement_order(request, key=KEY)
    (line,) = peer.remote.get(made.ref, Order).lines
    assert (line.origin, line.sku) == ("2", "TRAY-NEW")


@pytest.mark.parametrize(
    ("speed", "promised", "days"),
    [(Speed.STANDARD, None, 5), (Speed.RUSH, None, 1), (Speed.RUSH, 3, 3)],
)
def test_a_preview_says_when_it_would_arrive(
    adapter: MemoryAdapter, order: Ref, speed: Speed, promised: int | None, days: int
) -> None:
    today = datetime.now(UTC).date()
    by = None if promised is None else today + timedelta(days=promised)
    request = ReplacementOrderRequest(order=order, lines=(wanted("1"),), speed=speed, deliver_by=by)
    preview = adapter.preview(Operation.REPLACEMENT_ORDER, request)
    told = preview.effects[1].what
    tomorrow = today + timedelta(days=1)  # the test may run at midnight
    arrivals = {day + timedelta(days=days) for day in (today, tomorrow)}
    assert told in {f"it would arrive on {day}" for day in arrivals}
    assert preview.warnings == ()


def test_a_preview_warns_of_what_cannot_be_kept(
    peer: MemoryPeer, adapter: MemoryAdapter, order: Ref
) -> None:
    peer.remote.stock["MUG-RED"] = Decimal(1)
    request = ReplacementOrderRequest(order=order, lines=(wanted("1", 2),), deliver_by=YESTERDAY)
    stock, day = adapter.preview(Operation.REPLACEMENT_ORDER, request).warnings
    assert stock == "1 of MUG-RED are in stock, 2 are wanted"
    assert day.startswith("the soonest delivery is on ")


def test_a_slot_in_the_past_is_refused(peer: MemoryPeer, adapter: MemoryAdapter) -> None:
    """A call-back that waited in a queue for too long must not land in yesterday's diary."""
    hour = timedelta(hours=1)
    late = peer.call_back().model_copy(
        update={"slot_from": datetime.now(UTC) - 2 * hour, "slot_to": datetime.now(UTC) - hour}
    )
    with pytest.raises(Rejected, match="slot"):
        adapter.create_call_back(late, key=KEY)


def test_a_preview_of_a_withdrawal_names_what_is_taken_back(
    peer: MemoryPeer, adapter: MemoryAdapter, order: Ref
) -> None:
    made = adapter.create_credit(CreditRequest(order=order, full=True), key=KEY)
    preview = adapter.preview(Operation.WITHDRAWAL, withdrawal(made, Operation.CREDIT))
    assert preview.effects[0].what == f"the invoice {made.ref.id} would be taken back"
    assert preview.effects[0].amount == euros("49.90")
    assert peer.remote.withdrawn(made.ref) == 0


def test_a_preview_of_what_is_taken_back_already_says_so(
    peer: MemoryPeer, adapter: MemoryAdapter
) -> None:
    made = adapter.create_case(CaseRequest(subject="Broken mug"), key=KEY)
    request = withdrawal(made, Operation.CASE)
    adapter.create_withdrawal(request, key="amends-remedy-2")
    preview = adapter.preview(Operation.WITHDRAWAL, request)
    assert preview.warnings == ("it is taken back already: closed",)


def test_whoever_took_it_back_it_is_taken_back(peer: MemoryPeer, adapter: MemoryAdapter) -> None:
    """A colleague's cancellation and a deleted record are proof; one that never was is none."""
    request = peer.samples().requests[Operation.WITHDRAWAL]
    assert isinstance(request, WithdrawalRequest)
    adapter.create_cancellation(CancellationRequest(order=request.of), key=KEY)
    found = adapter.find_withdrawal(request, key="amends-remedy-2")
    assert found is not None
    assert (found.status, found.already_existed) == ("cancelled", True)
    peer.remote.delete(request.of)
    found = adapter.find_withdrawal(request, key="amends-remedy-2")
    assert found is not None
    assert found.status == "deleted"
    never = request.model_copy(update={"of": request.of.model_copy(update={"id": "O-never"})})
    with pytest.raises(Missing):
        adapter.find_withdrawal(never, key="amends-remedy-2")


def test_a_return_that_came_in_stays(peer: MemoryPeer, adapter: MemoryAdapter, order: Ref) -> None:
    made = adapter.create_return(ReturnRequest(order=order, lines=(wanted("1"),)), key=KEY)
    peer.remote.receive(made.ref)
    with pytest.raises(Rejected, match="come back"):
        adapter.create_withdrawal(withdrawal(made, Operation.RETURN), key="amends-remedy-2")


def test_a_note_stays(peer: MemoryPeer, adapter: MemoryAdapter) -> None:
    request: Frozen = peer.samples().requests[Operation.NOTE]
    made = adapter.create_note(request, key=KEY)  # type: ignore[arg-type]
    with pytest.raises(NotOffered, match="note"):
        adapter.create_withdrawal(withdrawal(made, Operation.NOTE), key="amends-remedy-2")
