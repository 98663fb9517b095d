"""What a write consists of, worked out before anything is sent; a preview ends here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TypeVar

from adapters.tryton.client import SYSTEM, Client, Row
from adapters.tryton.records import Records, ids_in, rejected
from adapters.tryton.settings import TrytonSettings
from adapters.tryton.writing import Invoiced, Piece, copied, stamped, wired
from middleware.contract.actions import (
    CancellationRequest,
    CaseRequest,
    CreditRequest,
    Effect,
    Operation,
    Preview,
    ReplacementOrderRequest,
    ReturnRequest,
    Speed,
    Then,
    WantedLine,
)
from middleware.contract.canonical import Address, Frozen, Kind, Money
from middleware.contract.capabilities import Connection
from middleware.contract.errors import Missing, NotOffered
from middleware.contract.mapping import Mapping as MappingFile
from middleware.contract.mapping.preview import masked
from middleware.contract.wire import classifying

SALE = "sale.sale"
COMPLAINT = "sale.complaint"

_HEAD = ("number", "state", "party", "company", "currency.code")

R = TypeVar("R", bound=Frozen)


@dataclass(frozen=True)
class Plan:
    """A write that is ready to be sent."""

    model: str
    values: Row
    """Already in the types of Tryton's wire."""
    field: str
    """The one that bears our key."""
    preview: Preview


@dataclass(frozen=True)
class _Draft:
    """What a mapping is given, and what people are told."""

    given: Row
    effects: tuple[Effect, ...]
    warnings: tuple[str, ...] = ()


class Planner:
    """Reads in Tryton what a request refers to, and puts together what is to be written."""

    def __init__(
        self, client: Client, records: Records, connection: Connection, settings: TrytonSettings
    ) -> None:
        self._client = client
        self._records = records
        self._connection = connection
        self._settings = settings

    def place_of_key(self, what: Operation, operation: str) -> tuple[str, str]:
        """The model and field that bear the key of a write; raises NotOffered."""
        with classifying(write=False, system=SYSTEM, operation=operation):
            mapping = self._connection.mappings.push(str(what))
        if mapping.idempotency is None:
            raise _not_offered(f"{mapping.path.name} names no idempotency field", operation)
        return mapping.object, mapping.idempotency.field

    def plan(
        self, what: Operation, request: Frozen, key: str, operation: str, *, dry: bool = False
    ) -> Plan:
        """What is to be written; only with `dry` it is certain that nothing is written yet.

        Otherwise a new delivery address is made on the way: it must exist before the sale does.
        """
        drafts: dict[Operation, Callable[[Any, MappingFile, str], _Draft]] = {
            Operation.REPLACEMENT_ORDER: self._replacement,
            Operation.RETURN: self._return,
            Operation.CREDIT: self._credit,
            Operation.CASE: self._case,
        }
        if what not in drafts:
            raise _not_offered(f"Tryton takes no {what}", operation)
        with classifying(write=False, system=SYSTEM, operation=operation):
            mapping = self._connection.mappings.push(str(what))
            draft = drafts[what](request, mapping, operation)
            given = {**draft.given, "key": key}
            if not dry and given.get("ship_to_address") is None:
                given["ship_to_address"] = self._made_address(given, operation)
            values = mapping.write(given)
            field = stamped(mapping, values, key, operation)
            sent = wired(self._client, mapping.object, values, operation=operation)
        payload = {"model": mapping.object, **masked(mapping, values)}
        if dry:
            del payload[field]
        preview = Preview(effects=draft.effects, warnings=draft.warnings, payload=payload)
        return Plan(mapping.object, sent, field, preview)

    def cancellation(self, request: Frozen, operation: str) -> Preview:
        """What cancelling would do; raises Rejected where Tryton would refuse."""
        asked = _is(CancellationRequest, request, operation)
        sale = self._records.sale(asked.order, (*_HEAD, "total_amount"), operation)
        warnings = ("the order is cancelled already",) if sale["state"] == "cancelled" else ()
        if not warnings:
            cancellable(sale["state"], operation)
        worth = Money(amount=sale["total_amount"], currency=sale["currency"]["code"])
        effect = Effect(what=f"{_called(sale)} is cancelled", amount=worth)
        return Preview(effects=(effect,), warnings=warnings)

    # One per operation.

    def _replacement(self, request: Frozen, mapping: MappingFile, operation: str) -> _Draft:
        asked = _is(ReplacementOrderRequest, request, operation)
        inside = {f"line_lines.{field}" for field in copied(mapping, "lines")}
        needed = ("line_lines.product", "line_lines.unit", "warehouse", "shipment_party")
        sale = self._records.sale(
            asked.order, {*_HEAD, *needed, *copied(mapping), *inside}, operation
        )
        today = self._today(operation)
        lines: list[Row] = []
        effects: list[Effect] = []
        warnings: list[str] = []
        for number, (wanted, line) in enumerate(_matched(asked.lines, sale, operation)):
            product = self._product(wanted.sku, sale, today, number, operation)
            same = line["product"] == product["id"]
            ids = {
                "product_id": product["id"],
                "unit_id": line["unit"] if same else product["sale_uom"],
            }
            lines.append({**wanted.model_dump(mode="python"), "original": line, **ids})
            there = product["forecast_quantity"]
            goods = self._goods(wanted, product, sale, operation) if operation == "preview" else {}
            ready = goods.get("ready")
            told = "" if there is None else f", of {there:g} in stock"
            told += f", ready to leave on {ready}" if ready is not None else ""
            what = f"{_plain(wanted.quantity)} × {wanted.sku} is sent{told}"
            effects.append(Effect(what=what, amount=goods.get("worth")))
            if ready is not None and asked.deliver_by is not None and ready > asked.deliver_by:
                warnings.append(f"{wanted.sku}: ready on {ready}, promised by {asked.deliver_by}")
            if there is not None and wanted.quantity > Decimal(str(there)):
                warnings.append(
                    f"{wanted.sku}: {_plain(wanted.quantity)} wanted, {there:g} in stock"
                )
        address = None
        if asked.ship_to is not None:
            address = self._known_address(_receiver(sale), asked.ship_to, operation)
            if address is None:
                warnings.append("the party gets a new address")
        case = None
        if asked.case is not None:
            case = self._records.id_of(asked.case, (Kind.CASE,), operation)
        ending = "confirmed at once" if self._settings.confirm else "left as a draft"
        free = Money(amount=Decimal(0), currency=sale["currency"]["code"])
        head = Effect(what=f"a sale without charge for {_called(sale)}, {ending}", amount=free)
        given = {
            **asked.model_dump(mode="python", exclude={"lines"}),
            "original": sale,
            "lines": lines,
            "origin": f"{SALE},{sale['id']}" if case is None else f"{COMPLAINT},{case}",
            "ship_to_address": address,
            "today": today,
            # Tryton plans when goods leave, not when they arrive: a promise makes them leave now.
            "departure": today if asked.speed is Speed.RUSH or asked.deliver_by else None,
            "promise": f"Deliver by {asked.deliver_by}." if asked.deliver_by else None,
        }
        return _Draft(given, (head, *effects), tuple(warnings))

    def _return(self, request: Frozen, mapping: MappingFile, operation: str) -> _Draft:
        asked = _is(ReturnRequest, request, operation)
        fields = {*_HEAD, "line_lines.quantity", "line_lines.unit_price", *copied(mapping)}
        sale = self._records.sale(asked.order, fields, operation)
        if sale["state"] not in _IN_PROCESS:
            raise rejected(
                "the order is not confirmed, so nothing can come back", "order", operation
            )
        worth = Decimal(0)
        effects: list[Effect] = []
        lines: list[Row] = []
        for number, (wanted, line) in enumerate(_matched(asked.lines, sale, operation)):
            _no_more_than(line["quantity"], wanted.quantity, number, operation)
            # Without a price of its own Tryton takes the goods back at what they cost.
            price = line["unit_price"] if asked.then is Then.REFUND else Decimal(0)
            free = {} if asked.then is Then.REFUND else {"unit_price": price}
            lines.append({**wanted.model_dump(mode="python"), **free})
            worth += wanted.quantity * price
            effects.append(Effect(what=f"{_plain(wanted.quantity)} × {wanted.sku} comes back"))
        net = Money(amount=worth.quantize(Decimal("0.01")), currency=sale["currency"]["code"])
        head = Effect(what=f"a return for {_called(sale)}, {self._ending}; before tax", amount=net)
        given = {
            **asked.model_dump(mode="python"),
            **self._complaint(sale, SALE, operation),
            "original": sale,
            "lines": lines,
            "origin": f"{SALE},{sale['id']}",
        }
        return _Draft(given, (head, *effects))

    def _credit(self, request: Frozen, mapping: MappingFile, operation: str) -> _Draft:
        asked = _is(CreditRequest, request, operation)
        if asked.shipping:
            raise _not_offered(
                "a sale in Tryton has no shipping charge of its own; credit the line that charges "
                "for it, or an amount",
                operation,
                field="shipping",
            )
        fields = {*_HEAD, "total_amount", "invoices", "line_lines.invoice_lines", *copied(mapping)}
        sale = self._records.sale(asked.order, fields, operation)
        bills = self._bills(ids_in(sale["invoices"]), operation)
        if not bills:
            raise rejected(
                "no invoice of the order is posted, so there is nothing to credit; cancel the "
                "order, or have its invoice posted",
                "order",
                operation,
            )
        invoice, pieces = self._pieces(asked, sale, bills, operation)
        worth = Money(amount=invoice.worth(pieces), currency=invoice.currency)
        head = Effect(what=f"a credit note for {_called(sale)}, {self._ending}", amount=worth)
        given = {
            **asked.model_dump(mode="python"),
            **self._complaint(sale, "account.invoice", operation),
            "original": sale,
            "origin": f"account.invoice,{invoice.id}",
            "invoice_lines": [piece.values() for piece in pieces],
        }
        return _Draft(given, (head,))

    def _case(self, request: Frozen, mapping: MappingFile, operation: str) -> _Draft:
        asked = _is(CaseRequest, request, operation)
        given = asked.model_dump(mode="python")
        about = "nothing in particular"
        if asked.order is not None:
            sale = self._records.sale(asked.order, {*_HEAD, *copied(mapping)}, operation)
            given |= {**self._complaint(sale, SALE, operation), "original": sale}
            about = _called(sale)
            if sale["state"] in _IN_PROCESS:  # else Tryton takes no complaint about it
                given["origin"] = f"{SALE},{sale['id']}"
        else:
            who = asked.account or asked.contact
            if who is None:
                reason = "a complaint in Tryton is a customer's; name an order, account or contact"
                raise rejected(reason, "account", operation)
            party = self._records.id_of(who, (Kind.ACCOUNT, Kind.CONTACT), operation)
            if not self._records.ids("party.party", [["id", "=", party]], operation, limit=1):
                raise Missing(f"the {who.kind} does not exist", system=SYSTEM, operation=operation)
            company = self._client.log_in(operation=operation).get("company")
            given |= self._complaint({"party": party, "company": company}, SALE, operation)
        ending = "submitted for approval" if self._settings.submit_cases else "left as a draft"
        return _Draft(given, (Effect(what=f"a complaint about {about}, {ending}"),))

    @property
    def _ending(self) -> str:
        return "approved at once" if self._settings.approve else "waiting for approval"

    # What they look up.

    def _complaint(self, sale: Row, about: str, operation: str) -> Row:
        """What every complaint needs, for a sale or its like."""
        domain = [["origin.name", "=", about]]
        types = self._records.ids("sale.complaint.type", domain, operation, limit=1)
        if not types:
            raise _not_offered(
                f"Tryton has no complaint type for {about}; add one in the configuration of sales",
                operation,
            )
        return {
            "customer": sale["party"],
            "company": sale["company"],
            "complaint_type": types[0],
        }

    def _product(self, sku: str, sale: Row, today: date, number: int, operation: str) -> Row:
        """The product to be sent, with what will be in stock of it today."""
        rows = self._client.search_read(
            "product.product",
            [["code", "=", sku]],
            ("sale_uom", "forecast_quantity", "type"),
            operation=operation,
            limit=2,
            context={"locations": ids_in(sale["warehouse"]), "stock_date_end": today},
        )
        if len(rows) != 1:
            what = "several products have" if rows else "no product has"
            raise rejected(f"{what} the code {sku}", f"lines.{number}.sku", operation)
        (row,) = rows
        return row if row["type"] == "goods" else {**row, "forecast_quantity": None}

    def _goods(self, wanted: WantedLine, product: Row, sale: Row, operation: str) -> Row:
        """What the goods are worth before tax, and when they are ready to leave, by the form's own
        arithmetic; neither where Tryton does not know it."""
        form = {
            "type": "line",
            "product": product["id"],
            "quantity": float(wanted.quantity),
            "unit": product["sale_uom"],
            "company": sale["company"],
        }
        price = self._client.call(
            "model.sale.line.on_change", form, ["product"], operation=operation
        ).get("unit_price")
        ready = self._client.call(
            "model.sale.line.on_change_with", form, ["shipping_date"], operation=operation
        ).get("shipping_date")
        known: Row = {"ready": ready} if isinstance(ready, date) else {}
        if isinstance(price, Decimal):
            worth = (price * wanted.quantity).quantize(Decimal("0.01"))
            known["worth"] = Money(amount=worth, currency=sale["currency"]["code"])
        return known

    def _known_address(self, party: int, wanted: Address, operation: str) -> int | None:
        """The party's address that says what is wanted."""
        known = ("street", "city", "postal_code", "country.code", "party_name")
        rows = self._client.search_read(
            "party.address", [["party", "=", party]], known, operation=operation
        )
        return next((int(row["id"]) for row in rows if _same_address(row, wanted)), None)

    def _made_address(self, given: Row, operation: str) -> int | None:
        """A new address for a replacement that goes elsewhere.

        It bears no key and needs none: asked for again, it is found by what it says.
        """
        wanted = given.get("ship_to")
        if not wanted:
            return None
        values: Row = {
            "party": _receiver(given["original"]),
            "party_name": wanted["name"],
            "street": wanted["street"],
            "city": wanted["city"],
            "postal_code": wanted["postal_code"],
        }
        if wanted["country"] is not None:
            domain = [["code", "=", wanted["country"]]]
            countries = self._records.ids("country.country", domain, operation, limit=1)
            if not countries:
                reason = f"Tryton knows no country {wanted['country']}; import its countries"
                raise rejected(reason, "ship_to.country", operation)
            values["country"] = countries[0]
        kept = {name: value for name, value in values.items() if value is not None}
        return self._client.create("party.address", kept, operation=operation)

    def _bills(self, ids: Sequence[int], operation: str) -> list[Invoiced]:
        """The posted invoices among these, largest first."""
        line = ("type", "quantity", "unit_price", "amount", "taxes")
        fields = {
            *("company", "party", "state", "total_amount", "currency.code", "currency.digits"),
            *(f"lines.{name}" for name in line),
        }
        rows = self._client.read("account.invoice", ids, fields, operation=operation)
        posted = [
            Invoiced(self._client, row, operation)
            for row in rows
            if row["state"] in ("posted", "paid") and row["total_amount"] > 0
        ]
        return sorted(posted, key=lambda bill: bill.total, reverse=True)

    def _pieces(
        self, asked: CreditRequest, sale: Row, bills: list[Invoiced], operation: str
    ) -> tuple[Invoiced, list[Piece]]:
        """The invoice that is credited and what of it; Tryton credits one at a time."""
        if asked.full:
            if bills[0].total != sale["total_amount"]:
                raise rejected(
                    f"the order came to {sale['total_amount']} {bills[0].currency} and no single "
                    "posted invoice is for that; credit lines or amounts, one invoice at a time",
                    "full",
                    operation,
                )
            return bills[0], [
                Piece(line, Decimal(str(line["quantity"]))) for line in bills[0].lines
            ]
        if not asked.lines:
            assert asked.amount is not None
            return bills[0], bills[0].pieces(asked.amount, bills[0].lines)
        wanted = _matched(asked.lines, sale, operation)
        for bill in bills:
            billed = {line["id"]: line for line in bill.lines}
            pieces: list[Piece] = []
            for number, (line, ours) in enumerate(wanted):
                found = [billed[id_] for id_ in ids_in(ours["invoice_lines"]) if id_ in billed]
                if not found:
                    break
                _no_more_than(found[0]["quantity"], line.quantity, number, operation)
                pieces.append(Piece(found[0], line.quantity))
            else:
                if asked.amount is None:
                    return bill, pieces
                return bill, bill.pieces(asked.amount, [piece.line for piece in pieces])
        raise rejected(
            "no single posted invoice has all of these lines; credit them one invoice at a time",
            "lines",
            operation,
        )

    def _today(self, operation: str) -> date:
        """The company's date."""
        today = self._client.call("model.ir.date.today", operation=operation)
        return today if isinstance(today, date) else datetime.now(UTC).date()


_IN_PROCESS = ("confirmed", "processing", "done")


def cancellable(state: str, operation: str) -> None:
    """Raises Rejected for a sale that Tryton would not cancel."""
    if state not in ("draft", "quotation", "confirmed"):
        raise rejected(
            f"the order is {state} in Tryton, which cancels only what is not in process yet; "
            "cancel its shipments there, or take the goods back",
            "order",
            operation,
        )


def _matched(
    wanted: Sequence[WantedLine], sale: Row, operation: str
) -> list[tuple[WantedLine, Row]]:
    """Each wanted line with the sale's own; raises Rejected for a line of another order."""
    lines = {str(line["id"]): line for line in sale["line_lines"]}
    for number, one in enumerate(wanted):
        if one.line not in lines:
            raise rejected("that is no line of the order", f"lines.{number}.line", operation)
    return [(one, lines[one.line]) for one in wanted]


def _no_more_than(there: float, wanted: Decimal, number: int, operation: str) -> None:
    if wanted > Decimal(str(there)):
        reason = f"only {there:g} were ordered, {_plain(wanted)} are asked for"
        raise rejected(reason, f"lines.{number}.quantity", operation)


def _receiver(sale: Row) -> int:
    receiver: int = sale["shipment_party"] or sale["party"]
    return receiver


def _same_address(row: Row, wanted: Address) -> bool:
    country = (row["country"] or {}).get("code")
    theirs = (row["street"], row["city"], row["postal_code"], country, row["party_name"])
    ours = (wanted.street, wanted.city, wanted.postal_code, wanted.country, wanted.name)
    return [_folded(text) for text in theirs] == [_folded(text) for text in ours]


def _folded(text: str | None) -> str:
    return " ".join((text or "").split()).casefold()


def _called(sale: Row) -> str:
    return f"order {sale['number']}" if sale["number"] else "the draft order"


def _plain(quantity: Decimal) -> str:
    return f"{quantity.normalize():f}"


def _is(kind: type[R], request: Frozen, operation: str) -> R:
    if not isinstance(request, kind):
        raise rejected(f"a {kind.__name__} was expected", "", operation)
    return request


def _not_offered(message: str, operation: str, *, field: str | None = None) -> NotOffered:
    return NotOffered(message, system=SYSTEM, operation=operation, field=field)
