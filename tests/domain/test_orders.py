"""Which order is meant: a table of complaints against one person's orders."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.contract.actions import Reason
from middleware.contract.canonical import (
    Kind,
    Money,
    Order,
    OrderLine,
    OrderStatus,
    Ref,
    Shipment,
    ShipmentStatus,
)
from middleware.domain.orders import OrderMatch, digits_key, number_key, which_lines, which_order
from middleware.domain.understanding import Entity, EntityType, Judgement, Understanding

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
T = EntityType


def order_ref(number: str) -> Ref:
    return Ref(connection="erp", kind=Kind.ORDER, id=number)


def order(
    number: str,
    *,
    days_ago: float,
    status: OrderStatus = OrderStatus.DELIVERED,
    skus: Sequence[str] = ("BL-500",),
    total: str = "100.00",
    reference: str | None = None,
) -> Order:
    return Order(
        ref=order_ref(number),
        number=number,
        reference=reference,
        status=status,
        placed_at=NOW - timedelta(days=days_ago),
        total=Money(amount=Decimal(total), currency="EUR"),
        lines=tuple(
            OrderLine(
                id=str(place),
                sku=sku,
                name=f"Name of {sku}",
                quantity=Decimal(1),
                unit_price=Money(amount=Decimal("12.5"), currency="EUR"),
            )
            for place, sku in enumerate(skus, start=1)
        ),
    )


def shipment(
    number: str,
    *,
    shipped: float | None = None,
    delivered: float | None = None,
    tracking: str | None = None,
    planned: date | None = None,
) -> Shipment:
    status = ShipmentStatus.SHIPPED if shipped is not None else ShipmentStatus.PLANNED
    return Shipment(
        ref=Ref(connection="erp", kind=Kind.SHIPMENT, id=f"sh-{number}"),
        order=order_ref(number),
        status=ShipmentStatus.DELIVERED if delivered is not None else status,
        tracking_number=tracking,
        planned_for=planned,
        shipped_at=None if shipped is None else NOW - timedelta(days=shipped),
        delivered_at=None if delivered is None else NOW - timedelta(days=delivered),
    )


def said(reason: Reason | None = None, *entities: tuple[EntityType, str, float]) -> Understanding:
    return Understanding(
        reason=Judgement[Reason](value=reason, confidence=0.8 if reason else 0.0),
        entities=tuple(
            Entity(type=t, value=v, start=i, end=i + 1, confidence=c, why="test")
            for i, (t, v, c) in enumerate(entities)
        ),
        by="test",
    )


def named(number: str, sure: float = 0.9) -> tuple[EntityType, str, float]:
    return (T.ORDER_NUMBER, number, sure)


NEW = order("SO-10003", days_ago=2, status=OrderStatus.PROCESSING, skus=("LMP-100",))
MIDDLE = order("SO-10002", days_ago=12, skus=("BL-500", "KTL-1"), total="87.50")
OLD = order("SO-10001", days_ago=90, skus=("TST-1",), reference="PO-77/8")
ORDERS = (NEW, MIDDLE, OLD)
SHIPMENTS = (
    shipment("SO-10002", shipped=10, delivered=8, tracking="1Z9763EF1210861375"),
    shipment("SO-10001", shipped=88, delivered=85),
)


def match(
    understanding: Understanding,
    orders: Sequence[Order] = ORDERS,
    shipments: Sequence[Shipment] = SHIPMENTS,
    **options: object,
) -> OrderMatch:
    return which_order(understanding, orders, shipments, at=NOW, **options)  # type: ignore[arg-type]


CASES: dict[str, tuple[Understanding, str | None, float]] = {
    "its number": (said(None, named("so 10001")), "SO-10001", 0.95),
    "its digits": (said(None, named("10001")), "SO-10001", 0.85),
    "its digits with zeros": (said(None, named("0010001")), "SO-10001", 0.85),
    "the customer's own reference": (said(None, named("po77-8")), "SO-10001", 0.9),
    "its tracking number": (
        said(None, (T.TRACKING_NUMBER, "1Z9763EF1210861375", 0.97)),
        "SO-10002",
        0.9,
    ),
    "its article": (said(None, (T.SKU, "TST-1", 0.9)), "SO-10001", 0.7),
    "its article's name": (said(None, (T.PRODUCT, "Name of KTL-1", 0.9)), "SO-10002", 0.7),
    "its total": (said(None, (T.AMOUNT, "87.50 EUR", 0.9)), "SO-10002", 0.6),
    "the day it was placed": (said(None, (T.DATE, "2026-11-08", 0.9)), "SO-10002", 0.6),
    "the day it came": (said(None, (T.DATE, "2026-11-12", 0.9)), "SO-10002", 0.6),
    "the day after": (said(None, (T.DATE, "2026-11-13", 0.9)), None, 0),
    "no day at all": (said(None, (T.DATE, "soon", 0.9)), None, 0),
    "late is what has not arrived": (said(Reason.LATE), "SO-10003", 0.6),
    "damaged is what arrived lately": (said(Reason.DAMAGED), "SO-10002", 0.6),
    "wrong is what arrived lately": (said(Reason.WRONG_ITEM), "SO-10002", 0.6),
    "the number says more than the state": (
        said(Reason.LATE, named("SO-10001")),
        "SO-10001",
        0.9,
    ),
    "the number says more than the article": (
        said(Reason.DAMAGED, named("SO-10001"), (T.SKU, "BL-500", 0.9)),
        "SO-10001",
        0.9,
    ),
    "nothing is told": (said(), None, 0),
    "service is about no order": (said(Reason.SERVICE), None, 0),
    "two numbers": (said(None, named("SO-10001"), named("SO-10002")), None, 0),
    "a number and the digits of another": (
        said(None, named("SO-10001"), named("10002")),
        None,
        0,
    ),
    "a number that is nobody's": (said(Reason.LATE, named("SO-99999")), None, 0),
    "a number that may be no number": (said(Reason.LATE, named("2026", 0.5)), "SO-10003", 0.6),
    "a defect may be in either": (said(Reason.DEFECTIVE), None, 0),
}


@pytest.mark.parametrize("name", CASES)
def test_chosen(name: str) -> None:
    understanding, number, sure = CASES[name]
    found = match(understanding)
    assert found.chosen == (order_ref(number) if number else None), found.why
    assert found.confidence >= sure
    assert (found.confidence > 0) == (found.chosen is not None)
    assert len(found.ranked) == len(ORDERS)
    assert found.why
    if found.chosen:
        assert found.ranked[0].order == found.chosen
        assert any(reason.what == found.why for reason in found.ranked[0].reasons)


def test_a_number_that_agrees_in_full_is_no_other_orders_digits() -> None:
    bare = order("10001", days_ago=5)
    found = match(said(None, named("10001")), orders=(bare, OLD))
    assert found.chosen == bare.ref
    assert all("digits" not in r.what for ranked in found.ranked for r in ranked.reasons)


def test_the_score_is_the_sum_of_its_reasons() -> None:
    found = match(said(Reason.DAMAGED, named("SO-10002"), (T.SKU, "BL-500", 0.9)))
    for ranked in found.ranked:
        assert ranked.score == pytest.approx(sum(r.points for r in ranked.reasons), abs=0.01)


def test_a_number_in_a_field_of_the_source_counts() -> None:
    found = match(said(Reason.DAMAGED), given=["so-10001"])
    assert found.chosen == order_ref("SO-10001")
    assert "field of the source" in found.why


def test_somebody_elses_number_is_no_evidence_and_stops_guesses() -> None:
    found = match(said(Reason.LATE, named("SO-20001")), elsewhere={"so20001"})
    assert found.chosen is None
    assert found.warnings == (
        "order SO-20001 belongs to somebody else; it says nothing about this person",
    )
    assert all("20001" not in r.what for ranked in found.ranked for r in ranked.reasons)


def test_somebody_elses_number_beside_the_own_one_is_only_a_warning() -> None:
    found = match(said(None, named("SO-20001"), named("SO-10002")), elsewhere={"SO-20001"})
    assert found.chosen == order_ref("SO-10002")
    assert len(found.warnings) == 1


def test_an_unsure_number_of_somebody_else_stops_guesses_too() -> None:
    assert match(said(Reason.LATE, named("20001", 0.5)), elsewhere={"20001"}).chosen is None


def test_without_orders_there_is_nothing_to_choose() -> None:
    found = match(said(Reason.LATE), orders=())
    assert (found.chosen, found.ranked) == (None, ())
    assert found.why == "no orders of this person are known"


def test_the_only_order_is_chosen_with_some_doubt() -> None:
    found = match(said(), orders=(MIDDLE,))
    assert found.chosen == MIDDLE.ref
    assert 0.5 <= found.confidence <= 0.7


def test_the_only_order_is_not_chosen_where_it_does_not_fit() -> None:
    """Nothing was delivered yet, so nothing arrived broken."""
    assert match(said(Reason.DAMAGED), orders=(NEW,), shipments=()).chosen is None
    assert match(said(Reason.LATE), orders=(OLD,)).chosen is None


def test_an_order_placed_after_the_complaint_is_not_meant() -> None:
    future = order("SO-10009", days_ago=-1, status=OrderStatus.PROCESSING)
    assert match(said(Reason.LATE), orders=(future,), shipments=()).chosen is None
    found = match(said(Reason.LATE), orders=(future, NEW), shipments=())
    assert found.chosen == NEW.ref
    # Unless it is named: then clocks or time zones are wrong, not the customer.
    assert match(said(None, named("SO-10009")), orders=(future,)).chosen == future.ref


def test_two_of_a_kind_are_not_guessed() -> None:
    twins = (
        order("SO-10005", days_ago=3, status=OrderStatus.SHIPPED),
        order("SO-10006", days_ago=4, status=OrderStatus.SHIPPED),
    )
    found = match(said(Reason.LATE), orders=twins, shipments=())
    assert found.chosen is None
    assert "SO-10005" in found.why
    assert "SO-10006" in found.why


STATES: dict[str, tuple[Reason, OrderStatus, Shipment | None, int]] = {
    # reason, status, shipment, sign of what the state adds
    "late, not shipped": (Reason.LATE, OrderStatus.PROCESSING, None, 1),
    "late, delivered long ago": (
        Reason.LATE,
        OrderStatus.DELIVERED,
        shipment("SO-1", shipped=30, delivered=20),
        -1,
    ),
    "late, but delivered this week": (
        Reason.LATE,
        OrderStatus.DELIVERED,
        shipment("SO-1", shipped=30, delivered=2),
        0,
    ),
    "late, cancelled": (Reason.LATE, OrderStatus.CANCELLED, None, -1),
    "lost, on its way": (Reason.LOST, OrderStatus.SHIPPED, shipment("SO-1", shipped=9), 1),
    "lost, marked as delivered": (
        Reason.LOST,
        OrderStatus.DELIVERED,
        shipment("SO-1", shipped=5, delivered=3),
        1,
    ),
    "lost, delivered long ago": (
        Reason.LOST,
        OrderStatus.DELIVERED,
        shipment("SO-1", shipped=90, delivered=80),
        -1,
    ),
    "lost, not shipped": (Reason.LOST, OrderStatus.PROCESSING, None, -1),
    "damaged, delivered": (
        Reason.DAMAGED,
        OrderStatus.SHIPPED,
        shipment("SO-1", shipped=5, delivered=3),
        1,
    ),
    "damaged, delivered long ago": (
        Reason.DAMAGED,
        OrderStatus.DELIVERED,
        shipment("SO-1", shipped=90, delivered=80),
        -1,
    ),
    "defective, delivered long ago": (
        Reason.DEFECTIVE,
        OrderStatus.DELIVERED,
        shipment("SO-1", shipped=90, delivered=80),
        1,
    ),
    "damaged, not delivered": (Reason.DAMAGED, OrderStatus.PROCESSING, None, -1),
    "damaged, delivered after it was written": (
        Reason.DAMAGED,
        OrderStatus.DELIVERED,
        shipment("SO-1", shipped=1, delivered=-1),
        -1,
    ),
    "damaged, nothing known": (Reason.DAMAGED, OrderStatus.UNKNOWN, None, 0),
    "billing, whatever": (Reason.BILLING, OrderStatus.CANCELLED, None, 0),
    "cancelled for want of stock": (Reason.STOCK, OrderStatus.CANCELLED, None, 1),
    "the shop is down": (Reason.WEBSITE, OrderStatus.CANCELLED, None, 0),
}


@pytest.mark.parametrize("name", STATES)
def test_what_the_state_says(name: str) -> None:
    reason, status, parcel, sign = STATES[name]
    one = order("SO-1", days_ago=100, status=status)
    plain, judged = (
        which_order(said(given_reason), [one], [parcel] if parcel else [], at=NOW).ranked[0].score
        for given_reason in (None, reason)
    )
    difference = judged - plain
    assert (difference > 0) - (difference < 0) == sign


def test_an_overdue_parcel_is_likelier_late() -> None:
    due = shipment("SO-10005", shipped=5, planned=date(2026, 11, 15))
    later = shipment("SO-10006", shipped=5, planned=date(2026, 11, 25))
    orders = [order(n, days_ago=9, status=OrderStatus.SHIPPED) for n in ("SO-10006", "SO-10005")]
    found = which_order(said(Reason.LATE), orders, [due, later], at=NOW)
    assert found.ranked[0].order == order_ref("SO-10005")


# Lines.


def lines_of(understanding: Understanding, *skus: str) -> tuple[str, ...]:
    _, chosen = which_lines(order("SO-1", days_ago=1, skus=skus), understanding)
    return chosen


@pytest.mark.parametrize(
    ("understanding", "skus", "chosen"),
    [
        (said(None, (T.SKU, "ktl1", 0.9)), ("BL-500", "KTL-1"), ("2",)),
        (said(None, (T.PRODUCT, "KTL-1", 0.6)), ("BL-500", "KTL-1"), ("2",)),
        (said(None, (T.PRODUCT, "name of bl-500", 0.6)), ("BL-500", "KTL-1"), ("1",)),
        (
            said(None, (T.SKU, "KTL-1", 0.9), (T.SKU, "BL-500", 0.9)),
            ("BL-500", "KTL-1", "X"),
            ("1", "2"),
        ),
        (said(Reason.DAMAGED), ("BL-500",), ("1",)),
        (said(Reason.DAMAGED), ("BL-500", "KTL-1"), ()),
        (said(Reason.LOST), ("BL-500", "KTL-1"), ("1", "2")),
        (said(Reason.LATE, (T.SKU, "KTL-1", 0.9)), ("BL-500", "KTL-1"), ("2",)),
        (said(), (), ()),
    ],
)
def test_lines(
    understanding: Understanding, skus: tuple[str, ...], chosen: tuple[str, ...]
) -> None:
    assert lines_of(understanding, *skus) == chosen


def test_postage_is_no_article() -> None:
    one = order("SO-1", days_ago=1, skus=("BL-500",))
    postage = OrderLine(id="9", name="Shipping", quantity=Decimal(1))
    returned = OrderLine(id="8", sku="KTL-1", quantity=Decimal(-1))
    with_postage = one.model_copy(update={"lines": (*one.lines, postage, returned)})
    ranked, chosen = which_lines(with_postage, said(Reason.DAMAGED))
    assert chosen == ("1",)
    assert [r.line for r in ranked] == ["1", "9", "8"]
    assert ranked[0].reasons[0].what == "it is the only article"


@pytest.mark.parametrize(
    ("text", "key", "digits"),
    [
        ("SO-10001", "SO10001", "10001"),
        ("# so_100 01", "SO10001", "10001"),
        ("00123", "00123", None),
        ("0000", "0000", None),
        ("AB-12", "AB12", None),
        ("—", "", None),
    ],
)
def test_keys(text: str, key: str, digits: str | None) -> None:
    assert (number_key(text), digits_key(text)) == (key, digits)


def test_time_needs_a_zone() -> None:
    with pytest.raises(ValueError):
        which_order(said(), ORDERS, at=NOW.replace(tzinfo=None))


ENTITIES = st.lists(
    st.tuples(
        st.sampled_from(list(EntityType)),
        st.sampled_from(["SO-1000", "SO-1001", "1000", "BL-500", "12.50 EUR", "100.00 EUR", "#"]),
        st.floats(0, 1),
    ),
    max_size=5,
)
SOME_ORDERS = st.lists(
    st.builds(
        order,
        st.sampled_from(["SO-1000", "SO-1001", "SO-1002"]),
        days_ago=st.floats(-2, 900),
        status=st.sampled_from(list(OrderStatus)),
        skus=st.lists(st.sampled_from(["BL-500", "KTL-1"]), max_size=2, unique=True),
    ),
    max_size=4,
    unique_by=lambda o: o.ref,
)


@given(st.sampled_from([None, *Reason]), ENTITIES, SOME_ORDERS, st.sets(st.just("SO-1001")))
def test_whatever_is_said(
    reason: Reason | None,
    entities: list[tuple[EntityType, str, float]],
    orders: list[Order],
    elsewhere: set[str],
) -> None:
    own = {o.number for o in orders}
    understanding = said(reason, *entities)
    found = which_order(understanding, orders, at=NOW, elsewhere=elsewhere - own)
    backwards = which_order(understanding, orders[::-1], at=NOW, elsewhere=elsewhere - own)
    assert found == backwards, "the order of the orders must not matter"
    assert {r.order for r in found.ranked} == {o.ref for o in orders}
    scores = [r.score for r in found.ranked]
    assert scores == sorted(scores, reverse=True)
    if found.chosen is not None:
        assert found.chosen == found.ranked[0].order
        assert 0 < found.confidence <= 1
        if len(scores) > 1:
            assert scores[0] - scores[1] >= 12
    else:
        assert found.chosen_lines == ()
