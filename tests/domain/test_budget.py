"""What an order may still be made good with."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.contract.actions import (
    ActionRequest,
    CreditRequest,
    ReplacementOrderRequest,
    ReturnRequest,
    StoreCreditRequest,
    Then,
    WantedLine,
)
from middleware.contract.canonical import (
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
from middleware.domain.budget import (
    SHIPPING,
    WHOLE,
    Budget,
    NotInTheOrderError,
    Take,
    elsewhere,
    of_copy,
    takes_elsewhere,
    takes_of,
)

D = Decimal


def ref(id_: str, kind: Kind = Kind.ORDER, connection: str = "erp") -> Ref:
    return Ref(connection=connection, kind=kind, id=id_)


def eur(amount: str) -> Money:
    return Money(amount=D(amount), currency="EUR")


def line(id_: str, sku: str, quantity: str, price: str | None) -> OrderLine:
    return OrderLine(
        id=id_, sku=sku, quantity=D(quantity), unit_price=eur(price) if price else None
    )


ORDER = Order(
    ref=ref("1"),
    number="SO-1",
    total=eur("105"),
    shipping=eur("5"),
    lines=(line("a", "LAMP", "2", "40"), line("b", "BULB", "4", "5")),
)


def wanted(line_: str, quantity: str, sku: str = "LAMP") -> WantedLine:
    return WantedLine(line=line_, sku=sku, quantity=D(quantity))


def replacement(*lines: WantedLine) -> ReplacementOrderRequest:
    return ReplacementOrderRequest(order=ORDER.ref, lines=lines)


def returned(*lines: WantedLine, then: Then = Then.REFUND) -> ReturnRequest:
    return ReturnRequest(order=ORDER.ref, lines=lines, then=then)


def credit(**parts: object) -> CreditRequest:
    return CreditRequest.model_validate({"order": ORDER.ref, **parts})


def voucher(amount: str) -> StoreCreditRequest:
    return StoreCreditRequest(order=ORDER.ref, amount=eur(amount))


ALL = [
    replacement(wanted("a", "1")),
    returned(wanted("a", "1")),
    credit(lines=(wanted("a", "1"),)),
    credit(amount=eur("40"), lines=(wanted("a", "1"),)),
]


@pytest.mark.parametrize("first", ALL)
@pytest.mark.parametrize("second", ALL)
def test_whatever_the_remedy_a_line_is_made_good_once(
    first: ActionRequest, second: ActionRequest
) -> None:
    """The line has two lamps: any two remedies of one each fit, a third does not."""
    budget = Budget(ORDER)
    for request in (first, second):
        assert budget.exceeded(takes_of(request, ORDER)) is None
        budget = budget.plus(takes_of(request, ORDER))
    for request in ALL:
        over = budget.exceeded(takes_of(request, ORDER))
        assert over is not None
        assert over.line == "a"
        assert over.left == 0


def test_equal_partial_refunds_are_legitimate_while_the_budget_lasts() -> None:
    budget = Budget(ORDER)
    for _ in range(8):
        takes = takes_of(credit(amount=eur("10"), lines=(wanted("a", "1"),)), ORDER)
        assert budget.exceeded(takes) is None
        budget = budget.plus(takes)
    over = budget.exceeded(takes_of(credit(amount=eur("0.01"), lines=(wanted("a", "1"),)), ORDER))
    assert over is not None
    assert (over.line, over.what, over.left, over.whole) == ("a", "money", D(0), D(80))


def test_a_part_refunded_leaves_less_to_replace() -> None:
    budget = Budget(ORDER).plus([Take("a", amount=D(10), by="act_1")])
    over = budget.exceeded(takes_of(replacement(wanted("a", "2")), ORDER))
    assert over is not None
    assert (over.what, over.left, over.by) == ("money", D(70), ("act_1",))
    assert budget.exceeded(takes_of(replacement(wanted("a", "1")), ORDER)) is None


def test_money_for_the_whole_order_counts_against_every_line() -> None:
    budget = Budget(ORDER).plus(takes_of(voucher("100"), ORDER))
    over = budget.exceeded(takes_of(replacement(wanted("b", "2", "BULB")), ORDER))
    assert over is not None
    assert (over.line, over.left) == (WHOLE, D(5))
    assert budget.exceeded(takes_of(replacement(wanted("b", "1", "BULB")), ORDER)) is None


def test_shipping_is_given_back_once() -> None:
    takes = takes_of(credit(shipping=True), ORDER)
    assert takes == (Take(SHIPPING, amount=D(5)),)
    assert Budget(ORDER).exceeded(takes) is None
    assert Budget(ORDER).plus(takes).exceeded(takes) is not None


def test_all_of_the_order_leaves_nothing() -> None:
    budget = Budget(ORDER).plus(takes_of(credit(full=True), ORDER))
    for request in (*ALL, voucher("0.01"), credit(full=True), credit(shipping=True)):
        assert budget.exceeded(takes_of(request, ORDER)) is not None


def test_what_never_was_there_is_told_from_what_others_took() -> None:
    over = Budget(ORDER).exceeded(takes_of(replacement(wanted("a", "3")), ORDER))
    assert over is not None
    assert not over.taken
    budget = Budget(ORDER).plus([Take("a", quantity=D(1), by="act_9")])
    over = budget.exceeded(takes_of(replacement(wanted("a", "2")), ORDER))
    assert over is not None
    assert over.taken


def test_the_same_line_named_twice_is_added_up() -> None:
    takes = takes_of(replacement(wanted("a", "1"), wanted("a", "2")), ORDER)
    assert [t.quantity for t in takes] == [D(3)]
    assert takes[0].amount == D(120)
    assert Budget(ORDER).exceeded(takes) is not None


def test_a_return_for_a_replacement_takes_no_money_by_itself() -> None:
    takes = takes_of(returned(wanted("a", "2"), then=Then.REPLACEMENT), ORDER)
    assert takes == (Take("a", returned=D(2)),)
    both = (*takes, *takes_of(replacement(wanted("a", "2")), ORDER))
    assert Budget(ORDER).exceeded(both) is None
    over = Budget(ORDER).plus(both).exceeded(takes)
    assert over is not None
    assert over.what == "returned"


def test_a_discounted_order_can_be_replaced_as_a_whole() -> None:
    cheap = ORDER.model_copy(update={"total": eur("50")})
    takes = takes_of(replacement(wanted("a", "2"), wanted("b", "4", "BULB")), cheap)
    assert Budget(cheap).exceeded(takes) is None


def test_without_prices_pieces_still_count() -> None:
    bare = Order(ref=ref("2"), lines=(line("a", "LAMP", "1", None),))
    takes = takes_of(replacement(wanted("a", "1")), bare)
    assert takes[0].amount is None
    assert Budget(bare).exceeded(takes) is None
    assert Budget(bare).plus(takes).exceeded(takes) is not None


@pytest.mark.parametrize(
    ("request_", "pointer", "code"),
    [
        (replacement(wanted("a", "1"), wanted("z", "1")), "/request/lines/1/line", "unknown_line"),
        (
            credit(amount=Money(amount=D(1), currency="USD")),
            "/request/amount/currency",
            "other_currency",
        ),
    ],
)
def test_what_the_order_does_not_have_is_named(
    request_: ActionRequest, pointer: str, code: str
) -> None:
    with pytest.raises(NotInTheOrderError) as caught:
        takes_of(request_, ORDER)
    assert (caught.value.pointer, caught.value.code) == (pointer, code)


def test_shipping_of_an_unknown_price_is_not_guessed() -> None:
    with pytest.raises(NotInTheOrderError):
        takes_of(credit(shipping=True), ORDER.model_copy(update={"shipping": None}))


# --- what people did in the remote ---------------------------------------------------------------


def made_return(*lines: OrderLine, status: ReturnStatus = ReturnStatus.RECEIVED) -> Return:
    return Return(ref=ref("R", Kind.RETURN), order=ORDER.ref, status=status, lines=lines)


def made_credit(amount: str, id_: str = "C", **more: object) -> Invoice:
    return Invoice.model_validate(
        {
            "ref": ref(id_, Kind.INVOICE),
            "order": ORDER.ref,
            "type": InvoiceType.CREDIT,
            "status": InvoiceStatus.POSTED,
            "total": eur(amount),
            **more,
        }
    )


def test_remedies_made_in_the_remote_count() -> None:
    replaced = Order(
        ref=ref("7"), origin=ORDER.ref, lines=(line("x", "BULB", "1", "0"),), reference="by hand"
    )
    found = elsewhere(
        [made_return(line("r", "LAMP", "1", "40")), made_credit("10", "C2"), replaced], ours=()
    )
    takes = takes_elsewhere(ORDER, found, refunds_due=D(0))
    budget = Budget(ORDER, takes)
    assert budget.left("a", "pieces") == 1
    assert budget.left("a", "returned") == 1
    assert budget.left("b", "pieces") == 3
    # The credit of ten refunds a part of the return; it is not another remedy.
    assert budget.left(WHOLE, "money") == D(105) - 40 - 5


def test_a_credit_beyond_what_returns_explain_counts() -> None:
    found = elsewhere([made_credit("30")], ours=())
    assert takes_elsewhere(ORDER, found, refunds_due=D(0))[0].amount == D(30)
    assert takes_elsewhere(ORDER, found, refunds_due=D(20))[0].amount == D(10)
    assert takes_elsewhere(ORDER, found, refunds_due=D(40)) == ()


def test_what_is_ours_cancelled_or_a_plain_bill_does_not_count() -> None:
    ours = Order(ref=ref("8"), origin=ORDER.ref, reference="am-key", lines=(ORDER.lines[0],))
    records = [
        made_return(ORDER.lines[0], status=ReturnStatus.CANCELLED),
        made_credit("30", status=InvoiceStatus.CANCELLED),
        made_credit("31", "OURS"),
        made_credit("33", "KEYED", extra={"key": "am-key"}),
        made_credit("32", type=InvoiceType.INVOICE),
        ours,
        ours.model_copy(
            update={"ref": ref("10"), "reference": None, "status": OrderStatus.CANCELLED}
        ),
    ]
    found = elsewhere(records, ours={"erp:invoice:OURS", "am-key"})
    assert takes_elsewhere(ORDER, found, refunds_due=D(0)) == ()


def test_a_line_that_names_its_origin_is_that_line() -> None:
    order = ORDER.model_copy(
        update={"lines": (line("a", "LAMP", "1", "40"), line("b", "LAMP", "1", "30"))}
    )
    named = made_return(line("r", "LAMP", "1", "0").model_copy(update={"origin": "b"}))
    takes = takes_elsewhere(order, elsewhere([named], ours=()), refunds_due=D(0))
    assert [(t.line, t.amount) for t in takes] == [("b", D(30))]
    # Two lines of one article: nobody can say which, so it counts in money.
    unnamed = made_return(line("r", "LAMP", "1", "35"))
    takes = takes_elsewhere(order, elsewhere([unnamed], ours=()), refunds_due=D(0))
    assert [(t.line, t.amount) for t in takes] == [(WHOLE, D(35))]


def test_takes_of_a_copy_count_by_article() -> None:
    copy = Order(ref=ref("X", connection="crm"), lines=(line("801", "LAMP", "2", "40"),))
    takes = of_copy(
        ORDER,
        copy,
        [Take("801", D(1), D(0), D(40), "act_1"), Take("gone", D(1), D(0), D(7), "act_2")],
    )
    assert [(t.line, t.quantity, t.amount) for t in takes] == [("a", 1, 40), (WHOLE, 0, 7)]


requests = st.one_of(
    st.builds(
        lambda line_, quantity: replacement(wanted(line_, str(quantity))),
        st.sampled_from("ab"),
        st.integers(1, 3),
    ),
    st.builds(
        lambda line_, quantity, then: returned(wanted(line_, str(quantity)), then=then),
        st.sampled_from("ab"),
        st.integers(1, 3),
        st.sampled_from(Then),
    ),
    st.builds(lambda cents: credit(amount=eur(str(D(cents) / 100))), st.integers(1, 9000)),
    st.builds(lambda cents: voucher(str(D(cents) / 100)), st.integers(1, 9000)),
    st.just(credit(full=True)),
    st.just(credit(shipping=True)),
)


@given(st.lists(requests, max_size=12))
def test_no_sequence_of_remedies_gives_more_than_the_order_was_worth(
    asked: list[ActionRequest],
) -> None:
    budget = Budget(ORDER)
    for request in asked:
        takes = takes_of(request, ORDER)
        if budget.exceeded(takes) is None:
            budget = budget.plus(takes)
    assert budget.taken(WHOLE, "money")[0] <= D(105)
    for ordered in ORDER.lines:
        assert budget.taken(ordered.id, "pieces")[0] <= ordered.quantity
        assert budget.taken(ordered.id, "returned")[0] <= ordered.quantity
        assert budget.taken(ordered.id, "money")[0] <= D(ordered.quantity) * (
            ordered.unit_price.amount if ordered.unit_price else 0
        )
