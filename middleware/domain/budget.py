"""What an order may still be made good with: over all remedies, in every system.

A line has a budget in pieces and, where its price is known, in money; the order has one in money.
A replacement gives goods worth their price, a credit gives money, a return that is refunded does
so once the goods are in, and a voucher is money too: all of them draw on the same budget. What is
sent back has a budget of its own, in pieces: it can't be more than was ordered.

Remedies that people made in the remote are counted as the remote reports them. A credit note that
follows from a return is the same remedy as the return, and counts once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

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
    Money,
    Order,
    OrderLine,
    OrderStatus,
    Record,
    Return,
    ReturnStatus,
)

WHOLE = ""
"""The line under which money is taken of the order as a whole."""
SHIPPING = "shipping"
"""The line under which the order's shipping is given back."""

NOTHING = Decimal(0)


@dataclass(frozen=True)
class Take:
    """What one remedy takes of one line: pieces made good, pieces sent back, and their worth.

    `amount` is in the order's currency, and None where no price is known.
    """

    line: str
    quantity: Decimal = NOTHING
    returned: Decimal = NOTHING
    amount: Decimal | None = None
    by: str = ""
    """The id of the action, or the reference of the record in the remote."""


@dataclass(frozen=True)
class Exceeded:
    """A take that the budget does not allow: of which line, what is left of it, and who has it."""

    line: str
    what: str
    """pieces, returned or money."""
    wanted: Decimal
    left: Decimal
    whole: Decimal
    """What there was before anybody took of it."""
    by: tuple[str, ...] = ()

    @property
    def taken(self) -> bool:
        """Whether others took what is missing; False when there never was so much."""
        return bool(self.by)


@dataclass(frozen=True)
class Budget:
    """An order's budget, and what has been taken of it."""

    order: Order
    takes: tuple[Take, ...] = ()

    @property
    def currency(self) -> str | None:
        prices = [line.unit_price for line in self.order.lines if line.unit_price is not None]
        known = [m for m in (self.order.total, *prices) if m is not None]
        return known[0].currency if known else None

    def whole(self, line: str, what: str) -> Decimal | None:
        """What there was of a line, or with `WHOLE` of the order; None where it is not known."""
        if line in (WHOLE, SHIPPING):
            if what != "money":
                return None
            if line == WHOLE:
                return self._paid()
            return self.order.shipping.amount if self.order.shipping is not None else None
        ordered = next(found for found in self.order.lines if found.id == line)
        if what != "money":
            return ordered.quantity
        price = ordered.unit_price
        return price.amount * ordered.quantity if price is not None else None

    def _paid(self) -> Decimal | None:
        """What the order is worth: its total, or its lines' prices where a discount makes it less.

        A discounted order can still be replaced as a whole.
        """
        if self.order.total is None:
            return None
        lines = [self.whole(line.id, "money") for line in self.order.lines]
        return max(self.order.total.amount, sum((v for v in lines if v is not None), NOTHING))

    def taken(self, line: str, what: str) -> tuple[Decimal, tuple[str, ...]]:
        """How much of it is taken, and by whom; of `WHOLE`, money over all lines."""
        parts = [
            (_part(take, what), take.by)
            for take in self.takes
            if take.line == line or (line == WHOLE and what == "money")
        ]
        by = dict.fromkeys(by for amount, by in parts if amount > 0)
        return sum((amount for amount, _ in parts), NOTHING), tuple(by)

    def left(self, line: str, what: str) -> Decimal | None:
        """What is left of it, never below nothing; None where it is not known."""
        whole = self.whole(line, what)
        return None if whole is None else max(whole - self.taken(line, what)[0], NOTHING)

    def plus(self, takes: Iterable[Take]) -> Budget:
        return Budget(self.order, (*self.takes, *takes))

    def exceeded(self, takes: Sequence[Take]) -> Exceeded | None:
        """The first thing that these takes ask too much of; None when the budget allows them."""
        lines = dict.fromkeys(take.line for take in takes)
        wanted = Budget(self.order, tuple(takes))
        for line, what in (
            *((line, "pieces") for line in lines),
            *((line, "returned") for line in lines),
            *((line, "money") for line in lines if line != WHOLE),
            (WHOLE, "money"),
        ):
            whole = self.whole(line, what)
            asked, _ = wanted.taken(line, what)
            if whole is None or asked <= 0:
                continue
            already, by = self.taken(line, what)
            if asked > whole - already:
                left = max(whole - already, NOTHING)
                return Exceeded(line, what, asked, left, whole, by)
        return None


def _part(take: Take, what: str) -> Decimal:
    match what:
        case "pieces":
            return take.quantity
        case "returned":
            return take.returned
        case _:
            return take.amount or NOTHING


class NotInTheOrderError(Exception):
    """A request names something that the order does not have."""

    def __init__(self, pointer: str, code: str, detail: str) -> None:
        super().__init__(detail)
        self.pointer = pointer
        self.code = code
        self.detail = detail


def takes_of(request: ActionRequest, order: Order) -> tuple[Take, ...]:
    """What a remedy takes of an order; raises NotInTheOrderError with the place in the request."""
    match request:
        case ReplacementOrderRequest():
            return _of_lines(request.lines, order, goods=True, back=False)
        case ReturnRequest():
            return _of_lines(request.lines, order, goods=request.then is Then.REFUND, back=True)
        case CreditRequest():
            return _of_credit(request, order)
        case StoreCreditRequest():
            return (Take(WHOLE, amount=_amount(request.amount, order)),)
        case _:
            return ()


def _of_lines(
    lines: Sequence[WantedLine], order: Order, *, goods: bool, back: bool
) -> tuple[Take, ...]:
    takes: dict[str, Take] = {}
    for index, wanted in enumerate(lines):
        ordered = _line(order, wanted.line, index)
        quantity = wanted.quantity
        before = takes.get(wanted.line, Take(wanted.line))
        price = ordered.unit_price
        worth = price.amount * quantity if goods and price is not None else None
        takes[wanted.line] = Take(
            wanted.line,
            quantity=before.quantity + (quantity if goods else NOTHING),
            returned=before.returned + (quantity if back else NOTHING),
            amount=worth if before.amount is None else before.amount + (worth or NOTHING),
        )
    return tuple(takes.values())


def _of_credit(request: CreditRequest, order: Order) -> tuple[Take, ...]:
    if request.full:
        whole = order.total
        return (
            *(Take(line.id, quantity=line.quantity) for line in order.lines),
            Take(WHOLE, amount=whole.amount if whole is not None else None),
        )
    if request.amount is not None:
        amount = _amount(request.amount, order)
        if not request.lines:
            return (Take(WHOLE, amount=amount),)
        _line(order, request.lines[0].line, 0)
        return (Take(request.lines[0].line, amount=amount),)
    takes = _of_lines(request.lines, order, goods=True, back=False)
    if request.shipping:
        if order.shipping is None:
            raise NotInTheOrderError(
                "/request/shipping",
                "unknown_shipping",
                "what its shipping cost is not known; name an amount instead",
            )
        takes = (*takes, Take(SHIPPING, amount=order.shipping.amount))
    return takes


def _line(order: Order, line: str, index: int) -> OrderLine:
    for found in order.lines:
        if found.id == line:
            return found
    names = ", ".join(found.id for found in order.lines) or "none"
    raise NotInTheOrderError(
        f"/request/lines/{index}/line", "unknown_line", f"its lines are {names}"
    )


def _amount(money: Money, order: Order) -> Decimal:
    currency = Budget(order).currency
    if currency is not None and money.currency != currency:
        raise NotInTheOrderError(
            "/request/amount/currency", "other_currency", f"the order is in {currency}"
        )
    return money.amount


# --- what people did in the remotes ------------------------------------------------------------


@dataclass
class Elsewhere:
    """Remedies of one order that a remote reports and that are none of the hub's steps."""

    returns: list[Return] = field(default_factory=list)
    credits: list[Invoice] = field(default_factory=list)
    replacements: list[Order] = field(default_factory=list)


def elsewhere(records: Iterable[Record], *, ours: Iterable[str]) -> Elsewhere:
    """The remedies among an order's records, without those that the hub made (`ours`: refs, keys).

    A key stands in an order's reference, or where a mapping keeps it (`extra.key`). What is
    cancelled gives nothing and is left out.
    """
    known = set(ours)
    found = Elsewhere()
    for record in records:
        if str(record.ref) in known or record.extra.get("key") in known:
            continue
        match record:
            case Return() if record.status is not ReturnStatus.CANCELLED:
                found.returns.append(record)
            case Invoice() if (
                record.type is InvoiceType.CREDIT and record.status is not InvoiceStatus.CANCELLED
            ):
                found.credits.append(record)
            case Order() if (
                record.status is not OrderStatus.CANCELLED and record.reference not in known
            ):
                found.replacements.append(record)
    return found


def takes_elsewhere(order: Order, found: Elsewhere, *, refunds_due: Decimal) -> tuple[Take, ...]:
    """What remedies made in the remote take of the order's budget.

    `refunds_due` is the worth of the hub's own returns that are refunded, and of its credits that
    the remote notes later: a credit note up to that amount is theirs and is not counted again. Nor
    is one that refunds a return made there.
    """
    takes: list[Take] = []
    for returned in found.returns:
        takes += _by_lines(order, returned.lines, by=str(returned.ref), back=True)
    due = refunds_due + sum((take.amount or NOTHING for take in takes), NOTHING)
    for replacement in found.replacements:
        takes += _by_lines(order, replacement.lines, by=str(replacement.ref), back=False)
    currency = Budget(order).currency
    for credit in found.credits:
        if credit.total is None or (currency is not None and credit.total.currency != currency):
            continue
        explained = min(due, credit.total.amount)
        due -= explained
        if credit.total.amount > explained:
            amount = credit.total.amount - explained
            takes.append(Take(WHOLE, amount=amount, by=str(credit.ref)))
    return tuple(takes)


def _by_lines(order: Order, lines: Sequence[OrderLine], *, by: str, back: bool) -> Iterable[Take]:
    """A remote's own lines as takes of the order's: by the line they name, else by article."""
    for line in lines:
        of = _named(order, line)
        quantity = abs(line.quantity)
        if of is None:
            if line.unit_price is not None:
                yield Take(WHOLE, amount=line.unit_price.amount * quantity, by=by)
            continue
        price = of.unit_price
        yield Take(
            of.id,
            quantity=quantity,
            returned=quantity if back else NOTHING,
            amount=price.amount * quantity if price is not None else None,
            by=by,
        )


def _named(order: Order, line: OrderLine) -> OrderLine | None:
    if line.origin is not None:
        return next((found for found in order.lines if found.id == line.origin), None)
    same = [found for found in order.lines if found.sku is not None and found.sku == line.sku]
    return same[0] if len(same) == 1 else None


def of_copy(order: Order, copy: Order, takes: Iterable[Take]) -> tuple[Take, ...]:
    """Takes of a copy of the order in another system, as takes of this one.

    Lines are matched by article where each side has one line of it; what cannot be matched counts
    in money against the whole order.
    """
    articles = {line.id: line for line in copy.lines}
    moved: list[Take] = []
    for take in takes:
        line = articles.get(take.line)
        here = _named(order, line.model_copy(update={"origin": None})) if line else None
        if here is not None:
            moved.append(Take(here.id, take.quantity, take.returned, take.amount, take.by))
        elif take.line == SHIPPING and order.shipping is not None:
            moved.append(take)
        elif take.amount is not None:
            moved.append(Take(WHOLE, amount=take.amount, by=take.by))
    return tuple(moved)
