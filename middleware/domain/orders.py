"""Which order, and which of its lines, a complaint is about."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Literal

from middleware.contract.actions import Reason
from middleware.contract.canonical import (
    Frozen,
    Money,
    Order,
    OrderLine,
    OrderStatus,
    Ref,
    Shipment,
    ShipmentStatus,
    Text,
)
from middleware.domain.understanding import Confidence, Entity, EntityType, Understanding

NUMBER = 100.0
"""Points for an order number that agrees in full. The rest of the table is below it, so that no
sum of weaker reasons outranks a number that the customer gave."""
TRACKING = 90.0
REFERENCE = 80.0
DIGITS = 70.0
"""The digits agree and the letters around them were left out: 10001 for SO-10001."""
SKU = 40.0
PRODUCT = 25.0
TOTAL = 20.0
FITS = 12.0
ORDERED_ON = 18.0
ORDERED_ABOUT = 6.0
"""The day before or after: time zones, and orders placed at midnight."""
UNIT_PRICE = 8.0
MISFITS = -10.0
PLACED_LATER = -60.0
MOST_RECENT = 8.0
HALF_LIFE = timedelta(days=30)

MARGIN = 12.0
"""What the first must be ahead of the second: more than recency alone can make."""
SURE_NUMBER = 0.6
"""An order number of at least this confidence that is not the person's forbids any guess."""

ARRIVED_LATELY = timedelta(days=30)
STILL_NEW = timedelta(days=21)
WARRANTY = timedelta(days=730)


class Reasoned(Frozen):
    """One reason for a rank, in words for people, and what it adds to the score."""

    what: Text
    points: float


class RankedOrder(Frozen):
    order: Ref
    number: str | None
    score: float
    reasons: tuple[Reasoned, ...]


class RankedLine(Frozen):
    order: Ref
    line: Text
    """The line's id within the order."""
    sku: str | None
    score: float
    reasons: tuple[Reasoned, ...]


class OrderMatch(Frozen):
    """The person's orders, likeliest first; `chosen` only where one stands out."""

    ranked: tuple[RankedOrder, ...] = ()
    chosen: Ref | None = None
    confidence: Confidence = 0.0
    why: Text
    lines: tuple[RankedLine, ...] = ()
    """Lines of the chosen order, likeliest first."""
    chosen_lines: tuple[str, ...] = ()
    """Ids of the lines that are meant; empty where that is open."""
    warnings: tuple[str, ...] = ()


_Kind = Literal["number", "tracking", "goods", "amount", "state", "time"]

_CONFIDENCE: Mapping[str, float] = {
    "number": 0.98,
    "tracking": 0.96,
    "goods": 0.8,
    "amount": 0.7,
    "state": 0.65,
}


class _Point(Frozen):
    kind: _Kind
    what: str
    points: float
    sure: float = 1.0


_NEITHER_LETTERS_NOR_DIGITS = re.compile(r"[\W_]+")
_NO_DIGITS = re.compile(r"\D+")


def number_key(number: str) -> str:
    """An order, tracking or article number for comparing: letters and digits, upper case."""
    return _NEITHER_LETTERS_NOR_DIGITS.sub("", number).upper()


def digits_key(number: str) -> str | None:
    """The digits of a number without zeros in front, where there are at least four."""
    digits = _NO_DIGITS.sub("", number).lstrip("0")
    return digits if len(digits) >= 4 else None


def which_order(
    understanding: Understanding,
    orders: Sequence[Order],
    shipments: Sequence[Shipment] = (),
    *,
    at: datetime,
    given: Sequence[str] = (),
    elsewhere: Collection[str] = (),
) -> OrderMatch:
    """Rank one person's orders by what a complaint says; choose one only where it stands out.

    `orders` are the person's own and nobody else's. `at` is when the complaint was written,
    `given` are order numbers from structured fields of the source, `elsewhere` are mentioned
    numbers that the store knows as somebody else's orders: they are no evidence for this person,
    and a number that is not the person's stops every guess from weaker signs.
    """
    if at.tzinfo is None:
        raise ValueError("which_order needs an aware time")
    mentioned = _mentioned(understanding, given)
    by_order = _by_order(orders, shipments)
    taken = {number_key(n) for order in orders for n in (order.number, order.reference) if n}
    points = {
        order.ref: [*_points(order, by_order[order.ref], understanding, mentioned, taken, at)]
        for order in orders
    }
    ranked = sorted(
        (
            RankedOrder(
                order=order.ref,
                number=order.number,
                score=round(sum(p.points for p in points[order.ref]), 3),
                reasons=tuple(Reasoned(what=p.what, points=p.points) for p in points[order.ref]),
            )
            for order in orders
        ),
        key=lambda r: (-r.score, str(r.order)),
    )
    warnings, foreign = _foreign(mentioned, orders, elsewhere)
    chosen, confidence, why = _choose(ranked, points, foreign=foreign)
    lines: tuple[RankedLine, ...] = ()
    chosen_lines: tuple[str, ...] = ()
    if chosen is not None:
        order = next(o for o in orders if o.ref == chosen)
        lines, chosen_lines = which_lines(order, understanding)
    return OrderMatch(
        ranked=tuple(ranked),
        chosen=chosen,
        confidence=confidence,
        why=why,
        lines=lines,
        chosen_lines=chosen_lines,
        warnings=warnings,
    )


def which_lines(
    order: Order, understanding: Understanding
) -> tuple[tuple[RankedLine, ...], tuple[str, ...]]:
    """Rank an order's lines, and say which are meant: the named ones, or the only one.

    A parcel that is late or lost concerns every line, unless one is named.
    """
    goods = [line for line in order.lines if line.quantity > 0 and (line.sku or line.product)]
    ranked: list[RankedLine] = []
    for line in order.lines:
        reasons = [*_line_reasons(line, understanding)]
        ranked.append(
            RankedLine(
                order=order.ref,
                line=line.id,
                sku=line.sku,
                score=sum(r.points for r in reasons),
                reasons=tuple(reasons),
            )
        )
    named = {r.line for r in ranked if r.score > 0}
    whole = understanding.reason.value in (Reason.LATE, Reason.LOST)
    if not named and (len(goods) == 1 or whole):
        what = "it is the only article" if len(goods) == 1 else "the whole parcel did not arrive"
        meant = {line.id for line in goods}
        extra = Reasoned(what=what, points=1.0)
        ranked = [
            r.model_copy(update={"score": r.score + 1.0, "reasons": (*r.reasons, extra)})
            if r.line in meant
            else r
            for r in ranked
        ]
        named = meant
    position = {line.id: index for index, line in enumerate(order.lines)}
    ranked.sort(key=lambda r: (-r.score, position[r.line]))
    return tuple(ranked), tuple(line.id for line in order.lines if line.id in named)


def _line_reasons(line: OrderLine, understanding: Understanding) -> Iterable[Reasoned]:
    names = {line.name.casefold()} if line.name else set()
    sku = number_key(line.sku) if line.sku else None
    for entity in _distinct(understanding, EntityType.SKU):
        if sku and number_key(entity.value) == sku:
            yield Reasoned(what=f"the article number {line.sku} is named", points=SKU)
    for entity in _distinct(understanding, EntityType.PRODUCT):
        if (sku and number_key(entity.value) == sku) or entity.value.casefold() in names:
            yield Reasoned(
                what=f"{line.name or line.sku} is named", points=PRODUCT * entity.confidence
            )
    for entity in _distinct(understanding, EntityType.AMOUNT):
        if line.unit_price is not None and entity.value == _amount(line.unit_price):
            yield Reasoned(what=f"its price of {line.unit_price} is named", points=UNIT_PRICE)


class _Named(Frozen):
    value: str
    confidence: float
    given: bool


def _mentioned(understanding: Understanding, given: Sequence[str]) -> tuple[_Named, ...]:
    found: dict[str, _Named] = {}
    for number in given:
        found.setdefault(number_key(number), _Named(value=number, confidence=1.0, given=True))
    for entity in _distinct(understanding, EntityType.ORDER_NUMBER):
        found.setdefault(
            number_key(entity.value),
            _Named(value=entity.value, confidence=entity.confidence, given=False),
        )
    found.pop("", None)
    return tuple(found.values())


def _distinct(understanding: Understanding, type_: EntityType) -> tuple[Entity, ...]:
    best: dict[str, Entity] = {}
    for entity in understanding.entities:
        if entity.type is type_:
            seen = best.get(entity.value)
            if seen is None or entity.confidence > seen.confidence:
                best[entity.value] = entity
    return tuple(best.values())


class _Parcel(Frozen):
    """What is known of an order's journey."""

    shipped: datetime | None = None
    delivered: datetime | None = None
    is_shipped: bool = False
    is_delivered: bool = False
    planned_for: date | None = None
    tracking: tuple[str, ...] = ()


def _by_order(orders: Sequence[Order], shipments: Sequence[Shipment]) -> dict[Ref, _Parcel]:
    found: dict[Ref, _Parcel] = {}
    for order in orders:
        own = [
            s for s in shipments if s.order == order.ref and s.status != ShipmentStatus.CANCELLED
        ]
        delivered = [s for s in own if s.delivered_at or s.status is ShipmentStatus.DELIVERED]
        shipped = [s for s in own if s.shipped_at or s.status is ShipmentStatus.SHIPPED]
        found[order.ref] = _Parcel(
            shipped=max((s.shipped_at for s in own if s.shipped_at), default=None),
            delivered=max((s.delivered_at for s in own if s.delivered_at), default=None),
            is_delivered=order.status is OrderStatus.DELIVERED
            or (bool(own) and len(delivered) == len(own)),
            is_shipped=order.status in (OrderStatus.SHIPPED, OrderStatus.DELIVERED)
            or bool(shipped or delivered),
            planned_for=max((s.planned_for for s in own if s.planned_for), default=None),
            tracking=tuple(s.tracking_number for s in own if s.tracking_number),
        )
    return found


def _points(
    order: Order,
    parcel: _Parcel,
    understanding: Understanding,
    mentioned: Sequence[_Named],
    taken: Collection[str],
    at: datetime,
) -> Iterable[_Point]:
    yield from _named(order, mentioned, taken)
    keys = {number_key(t) for t in parcel.tracking}
    for entity in _distinct(understanding, EntityType.TRACKING_NUMBER):
        if number_key(entity.value) in keys:
            yield _Point(
                kind="tracking",
                what=f"its tracking number {entity.value} is named",
                points=TRACKING,
            )
    goods = [r for line in order.lines for r in _line_reasons(line, understanding)]
    if goods:
        best = max(goods, key=lambda r: r.points)
        kind: _Kind = "goods" if best.points > UNIT_PRICE else "amount"
        # Two of the named articles in one order are one reason, a little stronger.
        more = min(len(goods) - 1, 3) * 4.0
        yield _Point(kind=kind, what=best.what, points=best.points + more, sure=0.95)
    yield from _sums(order, understanding)
    yield from _days_named(order, parcel, understanding)
    yield from _state(order, parcel, understanding, at)
    yield from _time(order, at)


def _named(
    order: Order, mentioned: Sequence[_Named], taken: Collection[str] = ()
) -> Iterable[_Point]:
    """Points for numbers of this order. `taken` are numbers that agree in full with an order."""
    own = number_key(order.number) if order.number else None
    reference = number_key(order.reference) if order.reference else None
    digits = {digits_key(n): n for n in (order.reference, order.number) if n and digits_key(n)}
    for named in mentioned:
        key = number_key(named.value)
        how = "stands in a field of the source" if named.given else "is named"
        if key == own:
            yield _Point(kind="number", what=f"its number {order.number} {how}", points=NUMBER)
        elif key == reference:
            yield _Point(
                kind="number",
                what=f"the customer's own reference {order.reference} {how}",
                points=REFERENCE,
                sure=0.97,
            )
        elif key in taken or not key.isdigit():
            continue
        elif (meant := digits.get(digits_key(named.value))) is not None:
            yield _Point(
                kind="number",
                what=f"{named.value} {how}, the digits of {meant}",
                points=DIGITS,
                sure=0.92,
            )


def _sums(order: Order, understanding: Understanding) -> Iterable[_Point]:
    if order.total is None:
        return
    for entity in _distinct(understanding, EntityType.AMOUNT):
        if entity.value == _amount(order.total):
            yield _Point(kind="amount", what=f"its total of {order.total} is named", points=TOTAL)


def _days_named(order: Order, parcel: _Parcel, understanding: Understanding) -> Iterable[_Point]:
    """A date in the text is often the day of the order, or the day that the parcel came."""
    moments = (("placed", order.placed_at), ("delivered", parcel.delivered))
    best: _Point | None = None
    for entity in _distinct(understanding, EntityType.DATE):
        try:
            named = date.fromisoformat(entity.value)
        except ValueError:
            continue
        for what, moment in moments:
            apart = abs((moment.date() - named).days) if moment is not None else 2
            points = {0: ORDERED_ON, 1: ORDERED_ABOUT}.get(apart, 0.0)
            if points and (best is None or points > best.points):
                when = "on" if apart == 0 else "a day from"
                best = _Point(
                    kind="amount", what=f"it was {what} {when} {named.isoformat()}", points=points
                )
    if best is not None:
        yield best


def _amount(money: Money) -> str:
    """Amounts compare as `12.50 EUR`, the form that the understanding gives them."""
    return f"{money.amount:.2f} {money.currency}"


def _state(
    order: Order, parcel: _Parcel, understanding: Understanding, at: datetime
) -> Iterable[_Point]:
    """Whether the order can have the trouble that is described."""
    reason = understanding.reason.value
    if order.status in (OrderStatus.CANCELLED, OrderStatus.DRAFT):
        if reason is Reason.STOCK and order.status is OrderStatus.CANCELLED:
            yield _Point(kind="state", what="it was cancelled", points=FITS)
        elif reason not in (Reason.BILLING, Reason.SERVICE, Reason.WEBSITE, None):
            yield _Point(kind="state", what=f"it is {order.status}", points=MISFITS)
        return
    age = at - parcel.delivered if parcel.delivered else None
    if reason is Reason.LATE:
        if not parcel.is_delivered:
            overdue = parcel.planned_for is not None and parcel.planned_for < at.date()
            what = "it is overdue" if overdue else "it has not been delivered"
            yield _Point(kind="state", what=what, points=FITS + (3.0 if overdue else 0.0))
        elif age is None or age > timedelta(days=7):
            yield _Point(kind="state", what="it was delivered", points=MISFITS)
    elif reason is Reason.LOST:
        if parcel.is_shipped and not parcel.is_delivered:
            yield _Point(kind="state", what="it is on its way and not delivered", points=FITS)
        elif parcel.is_delivered and age is not None and timedelta(0) <= age <= STILL_NEW:
            yield _Point(kind="state", what="it is marked as delivered lately", points=FITS)
        elif parcel.is_delivered:
            yield _Point(kind="state", what="it was delivered long ago", points=MISFITS)
        elif order.status is not OrderStatus.UNKNOWN:
            yield _Point(kind="state", what="it has not been shipped", points=MISFITS / 2)
    elif reason in (Reason.DAMAGED, Reason.WRONG_ITEM, Reason.MISSING_ITEM):
        yield from _arrived(parcel, age, ARRIVED_LATELY, order)
    elif reason is Reason.DEFECTIVE:
        yield from _arrived(parcel, age, WARRANTY, order)


def _arrived(
    parcel: _Parcel, age: timedelta | None, lately: timedelta, order: Order
) -> Iterable[_Point]:
    if parcel.is_delivered:
        if age is None:
            yield _Point(kind="state", what="it was delivered", points=FITS / 2)
        elif age < timedelta(0):
            yield _Point(
                kind="state", what="it was delivered after this was written", points=MISFITS
            )
        elif age <= lately:
            yield _Point(kind="state", what=f"it was delivered {_days(age)} before", points=FITS)
        else:
            yield _Point(kind="state", what="it was delivered long ago", points=MISFITS / 2)
    elif parcel.is_shipped:
        yield _Point(kind="state", what="it was shipped and may have arrived", points=2.0)
    elif order.status is not OrderStatus.UNKNOWN:
        yield _Point(kind="state", what="it has not been delivered yet", points=MISFITS)


def _days(age: timedelta) -> str:
    return "less than a day" if age.days < 1 else f"{age.days} day{'s' if age.days > 1 else ''}"


def _time(order: Order, at: datetime) -> Iterable[_Point]:
    if order.placed_at is None:
        return
    age = at - order.placed_at
    if age < timedelta(minutes=-5):  # clocks differ a little
        yield _Point(kind="time", what="it was placed after this was written", points=PLACED_LATER)
        return
    points = round(MOST_RECENT * 0.5 ** (max(age, timedelta(0)) / HALF_LIFE), 3)
    yield _Point(
        kind="time", what=f"it was placed {_days(max(age, timedelta(0)))} before", points=points
    )


def _foreign(
    mentioned: Sequence[_Named], orders: Sequence[Order], elsewhere: Collection[str]
) -> tuple[tuple[str, ...], bool]:
    """Warnings about named orders that are not the person's, and whether one was surely meant."""
    strangers = {number_key(number) for number in elsewhere}
    warnings: list[str] = []
    own_named = foreign = False
    for named in mentioned:
        if any(True for order in orders for _ in _named(order, (named,))):
            own_named = True
            continue
        if number_key(named.value) in strangers:
            warnings.append(
                f"order {named.value} belongs to somebody else; it says nothing about this person"
            )
            foreign = True
        elif named.confidence >= SURE_NUMBER:
            warnings.append(f"no order {named.value} of this person is known")
            foreign = True
    return tuple(warnings), foreign and not own_named


def _choose(
    ranked: Sequence[RankedOrder], points: Mapping[Ref, Sequence[_Point]], *, foreign: bool
) -> tuple[Ref | None, float, str]:
    if not ranked:
        return None, 0.0, "no orders of this person are known"
    if foreign:
        return None, 0.0, "an order is named that is not known as this person's"
    numbered = [r for r in ranked if any(p.kind == "number" for p in points[r.order])]
    if len(numbered) > 1:
        names = ", ".join(r.number or str(r.order) for r in numbered)
        return None, 0.0, f"several orders are named: {names}"
    first = ranked[0]
    placed_later = any(p.points == PLACED_LATER for p in points[first.order])
    signs = [p for p in points[first.order] if p.points > 0 and p.kind != "time"]
    if placed_later and not any(p.kind in ("number", "tracking") for p in signs):
        return None, 0.0, "every known order was placed after this was written"
    if len(ranked) == 1:
        if any(p.kind == "state" and p.points <= MISFITS for p in points[first.order]) and not any(
            p.kind in ("number", "tracking", "goods") for p in signs
        ):
            return None, 0.0, "the only known order does not fit what is described"
        if not signs:
            return first.order, 0.6, "it is the only known order"
    if not signs:
        return None, 0.0, "nothing in the text tells the orders apart"
    best = max(signs, key=lambda p: p.points)
    if len(ranked) > 1 and first.score - ranked[1].score < MARGIN:
        other = ranked[1].number or str(ranked[1].order)
        mine = first.number or str(first.order)
        return None, 0.0, f"{mine} and {other} are about as likely"
    confidence = _CONFIDENCE[best.kind] * best.sure
    if len(ranked) == 1:
        confidence = max(confidence, 0.7)
    return first.order, round(confidence, 3), best.what
