"""What the state machine believes: plain books, kept without a line of the hub's own rules.

An order has two lines and shipping. A remedy is a shape, a plain dict; `takes` says what it takes
of the order, and `Books` who has taken what.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

D = Decimal
NOTHING = D(0)
LINES: dict[str, tuple[int, Decimal]] = {"1": (2, D("49.90")), "2": (4, D("5.00"))}
"""Pieces and price of each line."""
SHIPPING = D("4.90")
TOTAL = D("124.70")

APPROVED_OVER = D(60)
APPROVED_TWICE_OVER = D(110)
VOUCHERS_WAIT_S = 600

Shape = dict[str, Any]
Taken = dict[tuple[str, str], Decimal]
"""How much by what (`pieces`, `returned`, `money`) and line; `""` is the whole order."""

REMEDIES = ("replacement_order", "return", "credit", "store_credit")


def whole() -> Taken:
    """What there is to take."""
    there: Taken = {("money", ""): TOTAL, ("money", "shipping"): SHIPPING}
    for line, (pieces, price) in LINES.items():
        there |= {
            ("pieces", line): D(pieces),
            ("returned", line): D(pieces),
            ("money", line): pieces * price,
        }
    return there


WHOLE = whole()


def add(into: Taken, what: str, line: str, amount: Decimal) -> None:
    """Count an amount; money of a line is also money of the order."""
    into[what, line] = into.get((what, line), D(0)) + amount
    if what == "money" and line:
        into[what, ""] = into.get((what, ""), D(0)) + amount


def takes(shape: Shape) -> Taken:
    """What a remedy takes of the order."""
    taken: Taken = {}
    kind = shape["kind"]
    if kind not in REMEDIES:
        return taken
    if shape.get("full"):
        for line, (pieces, _price) in LINES.items():
            add(taken, "pieces", line, D(pieces))
        add(taken, "money", "", TOTAL)
        return taken
    if shape.get("amount") is not None:
        add(taken, "money", next(iter(shape.get("lines", {})), ""), D(shape["amount"]))
        return taken
    for line, pieces in shape.get("lines", {}).items():
        if kind == "return":
            add(taken, "returned", line, D(pieces))
        if kind != "return" or shape["then"] != "nothing":
            add(taken, "pieces", line, D(pieces))
            add(taken, "money", line, pieces * LINES[line][1])
    if shape.get("shipping"):
        add(taken, "money", "shipping", SHIPPING)
    return taken


def worth(shape: Shape) -> Decimal:
    """What whoever approves is told that it is worth."""
    if shape["kind"] not in REMEDIES:
        return D(0)
    if shape.get("full"):
        return TOTAL
    if shape.get("amount") is not None:
        return D(shape["amount"])
    parts = (n * LINES[line][1] for line, n in shape.get("lines", {}).items())
    return sum(parts, SHIPPING if shape.get("shipping") else D(0))


def approvals(shape: Shape) -> int:
    """How many people besides whoever asks must say yes."""
    value = worth(shape)
    return (value > APPROVED_OVER) + (value > APPROVED_TWICE_OVER)


def total(parts: Iterable[Taken]) -> Taken:
    summed: Taken = {}
    for part in parts:
        for key, amount in part.items():
            summed[key] = summed.get(key, D(0)) + amount
    return summed


def fits(wanted: Taken, already: Taken) -> bool:
    """Whether there is so much left."""
    return all(
        amount <= WHOLE[key] - already.get(key, D(0)) for key, amount in wanted.items() if amount
    )


def never_was(wanted: Taken) -> bool:
    """Whether there was never so much."""
    return not fits(wanted, {})


@dataclass
class ByHand:
    """A remedy that a colleague made in the ERP, as the hub was last told of it."""

    taken: Taken
    credit: Decimal = NOTHING
    worth_back: Decimal = NOTHING
    """Of a return: what will be refunded for it."""


@dataclass
class Asked:
    """An action that the hub has accepted."""

    id: str
    shape: Shape
    by: str
    at: datetime
    approved_by: list[str] = field(default_factory=list)
    approved_at: datetime | None = None
    held: bool = True


@dataclass
class Books:
    """Who has taken what of the order."""

    asked: dict[str, Asked] = field(default_factory=dict)
    by_hand: dict[str, ByHand] = field(default_factory=dict)
    """Only what the hub was told of, by reference."""

    def taken(self, without: str | None = None) -> Taken:
        """All that is taken, by us and by hand.

        A credit note that refunds a return is the same remedy as the return.
        """
        ours = [a for a in self.asked.values() if a.held and a.id != without]
        due = sum(
            (
                takes(a.shape)["money", ""]
                for a in ours
                if a.shape["kind"] == "return" and a.shape["then"] == "refund"
            ),
            D(0),
        )
        due += sum((hand.worth_back for hand in self.by_hand.values()), D(0))
        credited = sum((hand.credit for hand in self.by_hand.values()), D(0))
        beyond: Taken = {}
        add(beyond, "money", "", max(D(0), credited - due))
        parts = [takes(a.shape) for a in ours] + [hand.taken for hand in self.by_hand.values()]
        return total([*parts, beyond])

    def holders(self) -> set[str]:
        held = {a.id for a in self.asked.values() if a.held and takes(a.shape)}
        return held | set(self.by_hand)
