"""From canonical requests to Tryton's values: what a mapping copies, and the wire's types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

from adapters.tryton.client import SYSTEM, Client, Row
from middleware.contract.canonical import Money
from middleware.contract.errors import NotOffered, Rejected
from middleware.contract.mapping import Mapping as MappingFile
from middleware.contract.mapping.fields import FieldRule

ORIGINAL = "original"
"""What push mappings call the record that the new one is made after."""


def copied(mapping: MappingFile, *inside: str) -> set[str]:
    """The fields of the original that a push mapping copies; `inside` a list, those of its lines.

    `copied(m)` is what `original.x` names, `copied(m, "lines")` what it names below `each: lines`.
    """
    rules: Iterable[FieldRule] = mapping.fields
    for name in inside:
        rules = [
            below
            for rule in rules
            if rule.origin == "each" and rule.sources[0].segments == (name,)
            for below in rule.fields
        ]
    return {
        ".".join(path.segments[1:])
        for rule in rules
        for path in rule.read_paths()
        if path.segments[:1] == (ORIGINAL,) and len(path) > 1
    }


def stamped(mapping: MappingFile, values: Mapping[str, Any], key: str, operation: str) -> str:
    """The field that bears the key; raises NotOffered where the mapping does not put it there.

    Only a field of the record itself can be searched for, so a path into a list cannot bear it.
    """
    field = mapping.idempotency.field if mapping.idempotency is not None else ""
    if values.get(field) != key:
        raise NotOffered(
            f"{mapping.path.name} does not put the key, whole, into a field of {mapping.object}; "
            "write idempotency: {field: reference} and reference: {from: key}",
            system=SYSTEM,
            operation=operation,
        )
    return field


def wired(client: Client, model: str, values: Mapping[str, Any], *, operation: str) -> Row:
    """Values in the types that Tryton says its fields have; lists become records to create.

    Raises NotOffered for a field that the model does not have.
    """
    known = client.fields(model, operation=operation)
    out: Row = {}
    for name, value in values.items():
        if name not in known:
            raise NotOffered(
                f"{model} has no field {name}; correct the mapping, or activate its module",
                system=SYSTEM,
                operation=operation,
                field=name,
            )
        try:
            out[name] = _wired(client, known[name], value, operation)
        except (ValueError, TypeError, KeyError, InvalidOperation):
            raise Rejected(
                f"{model}.{name} takes a value of type {known[name]['type']}",
                system=SYSTEM,
                operation=operation,
                field=name,
            ) from None
    return out


def _wired(client: Client, field: Row, value: Any, operation: str) -> Any:
    match field["type"]:
        case "one2many":
            relation = field["relation"]
            rows = [wired(client, relation, one, operation=operation) for one in value]
            return [["create", rows]]
        case "many2many":
            return [["add", [int(one) for one in value]]]
        case "many2one":  # nested where the mapping also copies a field of it
            return int(value["id"] if isinstance(value, Mapping) else value)
        case "integer":
            return int(value)
        case "float":
            return float(value)
        case "numeric":
            return Decimal(str(value))
        case "boolean":
            return bool(value)
        case "date":
            return value if isinstance(value, date) else date.fromisoformat(value)
        case "char" | "text" | "selection" | "reference":
            return str(value)
    return value


# Money back.


@dataclass(frozen=True)
class Piece:
    """A part of an invoice line to be credited; a `unit_price` of None is the line's own."""

    line: Row
    quantity: Decimal
    unit_price: Decimal | None = None

    @property
    def price(self) -> Decimal:
        return self.unit_price if self.unit_price is not None else Decimal(self.line["unit_price"])

    def values(self) -> Row:
        """As the mapping sees it."""
        shown: Row = {"id": self.line["id"], "quantity": self.quantity}
        return shown if self.unit_price is None else {**shown, "unit_price": self.unit_price}


PRICE = Decimal("0.0001")
"""Tryton keeps unit prices with four decimals (`product.price_decimal`, its default)."""


class Invoiced:
    """A posted invoice, of which Tryton itself works out what a part of it is worth."""

    def __init__(self, client: Client, invoice: Row, operation: str) -> None:
        self._client = client
        self._invoice = invoice
        self._operation = operation
        self._cent = Decimal(1).scaleb(-int(invoice["currency"]["digits"]))

    @property
    def id(self) -> int:
        return int(self._invoice["id"])

    @property
    def lines(self) -> list[Row]:
        return [line for line in self._invoice["lines"] if line["type"] == "line"]

    @property
    def currency(self) -> str:
        return str(self._invoice["currency"]["code"])

    @property
    def total(self) -> Decimal:
        return Decimal(self._invoice["total_amount"])

    def worth(self, pieces: Sequence[Piece]) -> Decimal:
        """The total with taxes: the form's own arithmetic, which stores nothing."""
        if not pieces:
            return Decimal(0)
        company = self._invoice["company"]
        currency = self._invoice["currency"]["id"]
        shared = {"type": "line", "currency": currency, "company": company, "invoice_type": "out"}
        lines = [
            {
                **shared,
                "quantity": float(piece.quantity),
                "unit_price": piece.price,
                "amount": (piece.quantity * piece.price).quantize(self._cent, ROUND_HALF_EVEN),
                "taxes": piece.line["taxes"],
            }
            for piece in pieces
        ]
        form = {
            "type": "out",
            "company": company,
            "currency": currency,
            "party": self._invoice["party"],
            "lines": lines,
        }
        changes = self._client.call(
            "model.account.invoice.on_change", form, ["lines"], operation=self._operation
        )
        return Decimal(changes["total_amount"])

    def pieces(self, amount: Money, among: Sequence[Row]) -> list[Piece]:
        """Lines, whole and in part, that are worth exactly this much; raises Rejected.

        The largest lines are taken whole while they fit; a part of the next makes up the rest.
        Taxes round, so some amounts cannot be reached to the cent.
        """
        if amount.currency != self.currency:
            raise self._refused(f"the invoice is in {self.currency}, not in {amount.currency}")
        if amount.amount <= 0 or amount.amount != amount.amount.quantize(self._cent):
            raise self._refused("the amount is not one that can be paid")
        taken: list[Piece] = []
        reached = Decimal(0)
        for line in sorted(among, key=lambda line: Decimal(line["amount"]), reverse=True):
            whole = Piece(line, Decimal(str(line["quantity"])))
            if whole.quantity <= 0 or whole.price <= 0:
                continue
            with_it = self.worth([*taken, whole])
            if with_it <= amount.amount:
                taken, reached = [*taken, whole], with_it
                if reached == amount.amount:
                    return taken
                continue
            rest = (amount.amount - reached) / (with_it - reached)
            return [*taken, self._part(whole, rest, taken, amount.amount)]
        raise self._refused(f"that is more than the {reached} {self.currency} that were invoiced")

    def _part(self, whole: Piece, share: Decimal, taken: list[Piece], wanted: Decimal) -> Piece:
        net = (whole.quantity * whole.price * share).quantize(self._cent, ROUND_HALF_EVEN)
        nearest: set[Decimal] = set()
        for cents in (0, 1, -1, 2, -2):
            piece = _priced(whole, net + cents * self._cent)
            if piece is None:
                continue
            worth = self.worth([*taken, piece])
            if worth == wanted:
                return piece
            nearest.add(worth)
        reachable = " or ".join(
            str(one) for one in sorted(nearest, key=lambda n: abs(n - wanted))[:2]
        )
        raise self._refused(f"taxes round past that amount; {reachable} {self.currency} can be had")

    def _refused(self, why: str) -> Rejected:
        return Rejected(why, system=SYSTEM, operation=self._operation, field="amount")


def _priced(whole: Piece, net: Decimal) -> Piece | None:
    """A quantity of the line at a price that comes to `net`, no dearer than the line's own."""
    if net <= 0:
        return None
    if net <= whole.price and whole.quantity >= 1:
        return Piece(whole.line, Decimal(1), net)
    exact = (net / whole.quantity).quantize(PRICE, ROUND_HALF_EVEN)
    return Piece(whole.line, whole.quantity, exact)
