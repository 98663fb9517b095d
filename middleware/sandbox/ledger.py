"""The rows and rules behind the sandbox's ERP: what an ERP knows, without the way it is asked.

Everything lies in SQLite, in a file or in memory. Each change is one transaction that is committed
before it is answered, so that a process which is killed has lost nothing it said yes to.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from middleware.sandbox.world import World

UNITS = {"piece": "EA", "box": "BX", "kg": "KG"}
REASONS = {
    "R10": "damaged",
    "R11": "defective",
    "R20": "missing item",
    "R30": "wrong item",
    "R40": "late",
    "R50": "lost",
    "R60": "billing",
    "R70": "service",
    "R99": "other",
}
STATUSES = {
    "draft": "DRAFT",
    "processing": "OPEN",
    "shipped": "SHIPPED",
    "delivered": "DELIVERED",
    "cancelled": "CANCELLED",
}
PRIORITIES = ("STANDARD", "RUSH")
KINDS = ("customer", "order", "shipment", "invoice", "return")
THEN = ("REFUND", "REPLACEMENT", "NOTHING")
"""What a customer gets for goods that come back."""

_PREFIX = {"CREDIT": "CN", "VOUCHER": "GV"}

PAGE_SIZE = 20
CHANGES_SIZE = 50
_TRANSIT_DAYS = {"DE": 1, "AT": 2, "CH": 2, "NL": 2, "FR": 2, "US": 4}
_CARRIERS = {"STANDARD": "DHL", "RUSH": "DHL Express"}

_SCHEMA = """
CREATE TABLE customers (
    number TEXT PRIMARY KEY, given_name TEXT, family_name TEXT, company TEXT, email TEXT,
    phone TEXT, street TEXT, city TEXT, postal_code TEXT, country TEXT, changed_at TEXT NOT NULL
);
CREATE TABLE handles (customer TEXT, network TEXT, handle TEXT, native_id TEXT);
CREATE TABLE products (
    sku TEXT PRIMARY KEY, name TEXT, price TEXT, currency TEXT, unit TEXT, stock TEXT
);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY AUTOINCREMENT, number TEXT UNIQUE, ref TEXT, type TEXT, customer TEXT,
    origin INTEGER, status TEXT, placed_at TEXT, currency TEXT, total TEXT, shipping TEXT,
    ship_name TEXT, street TEXT, city TEXT, postal_code TEXT, country TEXT, priority TEXT,
    requested TEXT, reason TEXT, note TEXT, cancel_ref TEXT, cancel_reason TEXT,
    changed_at TEXT NOT NULL
);
CREATE INDEX orders_ref ON orders (ref);
CREATE INDEX orders_customer ON orders (customer, id);
CREATE TABLE order_lines (
    order_id INTEGER, line INTEGER, sku TEXT, name TEXT, quantity TEXT, unit TEXT, price TEXT,
    origin INTEGER, PRIMARY KEY (order_id, line)
);
CREATE TABLE shipments (
    id INTEGER PRIMARY KEY AUTOINCREMENT, number TEXT, order_id INTEGER, status TEXT,
    carrier TEXT, tracking TEXT, planned_for TEXT, shipped_at TEXT, delivered_at TEXT,
    changed_at TEXT NOT NULL
);
CREATE INDEX shipments_order ON shipments (order_id);
CREATE TABLE invoices (
    id INTEGER PRIMARY KEY AUTOINCREMENT, number TEXT, ref TEXT, type TEXT, order_id INTEGER,
    customer TEXT, status TEXT, currency TEXT, total TEXT, shipping TEXT, issued_on TEXT,
    expires_on TEXT, reason TEXT, note TEXT, cancel_ref TEXT, cancel_reason TEXT,
    changed_at TEXT NOT NULL
);
CREATE TABLE credit_lines (
    invoice_id INTEGER, origin INTEGER, sku TEXT, quantity TEXT, unit TEXT, amount TEXT
);
CREATE INDEX invoices_order ON invoices (order_id);
CREATE INDEX invoices_ref ON invoices (ref);
CREATE TABLE returns (
    id INTEGER PRIMARY KEY AUTOINCREMENT, number TEXT, ref TEXT, order_id INTEGER, customer TEXT,
    status TEXT, next TEXT, reason TEXT, note TEXT, cancel_ref TEXT, cancel_reason TEXT,
    created_at TEXT, changed_at TEXT NOT NULL
);
CREATE INDEX returns_ref ON returns (ref);
CREATE TABLE return_lines (
    return_id INTEGER, line INTEGER, sku TEXT, quantity TEXT, unit TEXT, origin INTEGER
);
CREATE TABLE deleted (kind TEXT, id TEXT, changed_at TEXT NOT NULL);
INSERT INTO sqlite_sequence (name, seq) VALUES
    ('orders', 70000), ('shipments', 30000), ('invoices', 50000), ('returns', 20000);
"""

Row = dict[str, Any]


class NotBooked(Exception):
    """The books were not changed."""


class Invalid(NotBooked):
    """The request itself is wrong; the ERP answers a fault that names the field."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class Unknown(NotBooked):
    """What the request refers to does not exist."""


class Refused(NotBooked):
    """The request is understood and the business says no."""

    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field


class TakenRef(NotBooked):
    """The reference is already in use, and this ERP was told to keep references unique."""


@dataclass(frozen=True, slots=True)
class WantedLine:
    """A line of an order to send again, take back or credit."""

    origin_line: int
    sku: str
    quantity: Decimal
    unit: str


@dataclass(frozen=True, slots=True)
class Request:
    """What the creating operations share; only a credit or a voucher may go without `lines`.

    A credit is for lines, for `shipping`, for an amount, for an amount of one line, or for all of
    the order (`full`).
    """

    ref: str
    order: int
    customer: str | None
    reason: str
    note: str | None
    lines: tuple[WantedLine, ...]
    priority: str = "STANDARD"
    ship_to: Row | None = None
    deliver_by: date | None = None
    amount: Decimal | None = None
    currency: str | None = None
    shipping: bool = False
    full: bool = False
    expires_on: date | None = None
    then: str = "REFUND"


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a replacement order would come to; nothing of it is kept."""

    goods_value: Decimal
    charged: Decimal
    currency: str
    delivery: date
    rush_delivery: date
    """The earliest day on which it can arrive at all."""
    in_time: bool
    """Whether it arrives by the day that was asked for."""
    priority: int
    availability: tuple[tuple[str, Decimal, Decimal], ...]
    """SKU, wanted, in stock."""


@dataclass(frozen=True, slots=True)
class Changes:
    """One page of changed rows and deleted ids, oldest change first."""

    rows: tuple[Row, ...]
    deleted: tuple[str, ...]
    next_token: str | None
    as_of: datetime


class Ledger:
    """The ERP's books over `world`; with a `state_path` that has books already, over those."""

    def __init__(self, world: World, state_path: Path | None = None) -> None:
        self.unique_refs = False
        """Whether a reference may be used once only; real ERPs mostly do not mind."""
        self.ahead = timedelta(0)
        """How far the ERP's clock is ahead of this machine's."""
        self._lock = threading.RLock()
        self._db = sqlite3.connect(
            state_path or ":memory:", check_same_thread=False, isolation_level=None, timeout=30
        )
        self._db.row_factory = sqlite3.Row
        if state_path is not None:
            self._db.execute("PRAGMA journal_mode=WAL")
        if not self._all("SELECT 1 FROM sqlite_master WHERE name = 'orders'"):
            self._seed(world)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def now(self) -> datetime:
        """The ERP's clock."""
        return datetime.now(UTC) + self.ahead

    # Reading.

    def customer(self, number: str) -> Row:
        return self._with_handles(self._one("SELECT * FROM customers WHERE number = ?", number))

    def find_customers(
        self,
        *,
        email: str | None = None,
        phone: str | None = None,
        number: str | None = None,
        handle: tuple[str, str] | None = None,
        changed_since: datetime | None = None,
    ) -> list[Row]:
        """Customers that fit every given part; a request without any part is invalid."""
        where: list[str] = []
        values: list[str] = []
        for column, value in (("email", email), ("phone", phone), ("number", number)):
            if value is not None:
                where.append(f"lower({column}) = lower(?)")
                values.append(value)
        if handle is not None:
            where.append(
                "number IN (SELECT customer FROM handles"
                " WHERE network = ? AND lower(handle) = lower(?))"
            )
            values += [handle[0], handle[1].removeprefix("@")]
        if changed_since is not None:
            where.append("changed_at >= ?")
            values.append(_stamp(changed_since))
        if not where:
            raise Invalid("give at least one thing to look by", "email")
        sql = f"SELECT * FROM customers WHERE {' AND '.join(where)} ORDER BY number LIMIT 100"  # noqa: S608
        return [self._with_handles(row) for row in self._all(sql, *values)]

    def order(self, order_id: int) -> Row:
        return self._with_lines(self._one("SELECT * FROM orders WHERE id = ?", order_id))

    def order_by_number(self, number: str) -> Row | None:
        rows = self._all("SELECT * FROM orders WHERE number = ?", number)
        return self._with_lines(rows[0]) if rows else None

    def orders_by_ref(self, ref: str) -> list[Row]:
        rows = self._all("SELECT * FROM orders WHERE ref = ? ORDER BY id", ref)
        return [self._with_lines(row) for row in rows]

    def orders_of(
        self, customer: str, *, changed_since: datetime | None, page: int
    ) -> tuple[list[Row], int]:
        """One page of a customer's orders, newest first, and how many there are in all."""
        self._one("SELECT * FROM customers WHERE number = ?", customer)
        where, values = "customer = ?", [customer]
        if changed_since is not None:
            where += " AND changed_at >= ?"
            values.append(_stamp(changed_since))
        total = self._all(f"SELECT count(*) AS n FROM orders WHERE {where}", *values)[0]["n"]  # noqa: S608
        rows = self._all(
            f"SELECT * FROM orders WHERE {where} ORDER BY placed_at DESC, id DESC"  # noqa: S608
            " LIMIT ? OFFSET ?",
            *values,
            PAGE_SIZE,
            (page - 1) * PAGE_SIZE,
        )
        return [self._with_lines(row) for row in rows], total

    def shipments_of(self, order_id: int) -> list[Row]:
        self._one("SELECT * FROM orders WHERE id = ?", order_id)
        return self._all("SELECT * FROM shipments WHERE order_id = ? ORDER BY id", order_id)

    def invoices_of(self, order_id: int) -> list[Row]:
        self._one("SELECT * FROM orders WHERE id = ?", order_id)
        rows = self._all("SELECT * FROM invoices WHERE order_id = ? ORDER BY id", order_id)
        return [self._with_pieces(row) for row in rows]

    def invoice(self, invoice_id: int) -> Row:
        """A bill, a credit note or a voucher."""
        return self._with_pieces(self._one("SELECT * FROM invoices WHERE id = ?", invoice_id))

    def credits_by_ref(self, ref: str) -> list[Row]:
        return self._invoices_by_ref("CREDIT", ref)

    def vouchers_by_ref(self, ref: str) -> list[Row]:
        return self._invoices_by_ref("VOUCHER", ref)

    def goods_return(self, return_id: int) -> Row:
        return self._with_goods(self._one("SELECT * FROM returns WHERE id = ?", return_id))

    def returns_by_ref(self, ref: str) -> list[Row]:
        rows = self._all("SELECT * FROM returns WHERE ref = ? ORDER BY id", ref)
        return [self._with_goods(row) for row in rows]

    def changes(
        self, kind: str, *, since: datetime, until: datetime | None, token: str | None
    ) -> Changes:
        """Rows of one kind whose last change lies in [since, until), a page at a time.

        The token says after which change and row to go on, so that rows which change while
        somebody reads are neither skipped nor make others slip.
        """
        if kind not in KINDS:
            raise Invalid(f"kind is one of {', '.join(KINDS)}", "kind")
        as_of = self.now()
        after, after_id = _stamp(since), ""
        if token is not None:
            after, _, after_id = token.partition("|")
            if not after_id:
                raise Invalid("that is no page token of this server", "pageToken")
        key = "number" if kind == "customer" else "id"
        rows = self._all(
            f"SELECT *, CAST({key} AS TEXT) AS row_id FROM {kind}s"  # noqa: S608
            f" WHERE (changed_at, CAST({key} AS TEXT)) > (?, ?) AND changed_at < ?"
            f" ORDER BY changed_at, CAST({key} AS TEXT) LIMIT ?",
            *(after, after_id, _stamp(until or as_of), CHANGES_SIZE + 1),
        )
        more, rows = len(rows) > CHANGES_SIZE, rows[:CHANGES_SIZE]
        deleted = []
        if token is None:
            deleted = self._all(
                "SELECT id FROM deleted WHERE kind = ? AND changed_at >= ? AND changed_at < ?",
                *(kind, _stamp(since), _stamp(until or as_of)),
            )
        whole = {
            "customer": self._with_handles,
            "order": self._with_lines,
            "invoice": self._with_pieces,
            "return": self._with_goods,
        }.get(kind, dict)
        return Changes(
            rows=tuple(whole(row) for row in rows),
            deleted=tuple(row["id"] for row in deleted),
            next_token=f"{rows[-1]['changed_at']}|{rows[-1]['row_id']}" if more else None,
            as_of=as_of,
        )

    # Writing.

    def simulate(self, request: Request) -> Simulated:
        """What `create_replacement` would do; raises what it would raise, but for stock."""
        with self._lock:
            order = self._check(request)
            products = self._products(request.lines)
            value = sum(
                (line.quantity * Decimal(products[line.sku]["price"]) for line in request.lines),
                Decimal(0),
            )
            country = (request.ship_to or order)["country"]
            now = self.now()
            arrives = delivery_date(now, request.priority, country)
            return Simulated(
                goods_value=value.quantize(Decimal("0.01")),
                charged=Decimal("0.00"),
                currency=order["currency"],
                delivery=arrives,
                rush_delivery=delivery_date(now, "RUSH", country),
                in_time=request.deliver_by is None or arrives <= request.deliver_by,
                priority=_priority(request.priority),
                availability=tuple(
                    (line.sku, line.quantity, Decimal(products[line.sku]["stock"]))
                    for line in request.lines
                ),
            )

    def create_replacement(self, request: Request) -> Row:
        """Book a replacement order at no charge, take the goods out of stock, plan a shipment."""
        with self._changing() as now:
            order = self._check(request)
            self._free("orders", request.ref)
            products = self._products(request.lines)
            for line in request.lines:
                stock = Decimal(products[line.sku]["stock"])
                if stock < line.quantity:
                    raise Refused(
                        "OUT_OF_STOCK", f"{line.sku}: {stock} left, {line.quantity} wanted", "Lines"
                    )
            place = request.ship_to or {**order, "name": order["ship_name"]}
            arrives = delivery_date(self.now(), request.priority, place["country"])
            if request.deliver_by is not None and arrives > request.deliver_by:
                raise Refused(
                    "TOO_LATE",
                    f"with priority {request.priority} it arrives on {arrives}, not by"
                    f" {request.deliver_by}",
                    "DeliverBy",
                )
            new_id = self._insert(
                "orders",
                ref=request.ref,
                type="REPLACEMENT",
                customer=order["customer"],
                origin=order["id"],
                status="OPEN",
                placed_at=now,
                currency=order["currency"],
                total="0.00",
                shipping="0.00",
                ship_name=place["name"],
                street=place["street"],
                city=place["city"],
                postal_code=place["postal_code"],
                country=place["country"],
                priority=request.priority,
                requested=(request.deliver_by or arrives).isoformat(),
                reason=request.reason,
                note=request.note,
                changed_at=now,
            )
            self._db.execute(
                "UPDATE orders SET number = ? WHERE id = ?", (f"RO-{new_id - 50000}", new_id)
            )
            for number, line in enumerate(request.lines, start=1):
                product = products[line.sku]
                self._insert(
                    "order_lines",
                    order_id=new_id,
                    line=number * 10,
                    sku=line.sku,
                    name=product["name"],
                    quantity=str(line.quantity),
                    unit=line.unit,
                    price="0.00",
                    origin=line.origin_line,
                )
                left = Decimal(product["stock"]) - line.quantity
                self._db.execute(
                    "UPDATE products SET stock = ? WHERE sku = ?", (str(left), line.sku)
                )
            self._insert(
                "shipments",
                number=f"SH-{new_id}",
                order_id=new_id,
                status="PLANNED",
                carrier=_CARRIERS[request.priority],
                planned_for=arrives.isoformat(),
                changed_at=now,
            )
            return self.order(new_id)

    def create_return(self, request: Request) -> Row:
        """Authorise goods to come back; only what has left the house can."""
        with self._changing() as now:
            order = self._returnable(request)
            self._free("returns", request.ref)
            new_id = self._insert(
                "returns",
                ref=request.ref,
                order_id=order["id"],
                customer=order["customer"],
                status="AUTHORISED",
                next=request.then,
                reason=request.reason,
                note=request.note,
                created_at=now,
                changed_at=now,
            )
            self._db.execute(
                "UPDATE returns SET number = ? WHERE id = ?", (f"RMA-{new_id}", new_id)
            )
            for number, line in enumerate(request.lines, start=1):
                self._insert(
                    "return_lines",
                    return_id=new_id,
                    line=number * 10,
                    sku=line.sku,
                    quantity=str(line.quantity),
                    unit=line.unit,
                    origin=line.origin_line,
                )
            return self.goods_return(new_id)

    def simulate_return(self, request: Request) -> tuple[Decimal, str]:
        """What the customer would get for the goods once they are back, and the currency."""
        with self._lock:
            order = self._returnable(request)
            prices = {line["line"]: Decimal(line["price"]) for line in order["lines"]}
            refund = sum((w.quantity * prices[w.origin_line] for w in request.lines), Decimal(0))
            if request.then != "REFUND":
                refund = Decimal(0)
            return refund.quantize(Decimal("0.01")), order["currency"]

    def _returnable(self, request: Request) -> Row:
        order = self._check(request)
        if order["status"] not in ("SHIPPED", "DELIVERED"):
            raise Refused("NOT_SHIPPED", "the order has not left the warehouse", "Order")
        return order

    def create_credit(self, request: Request) -> Row:
        """Book a credit note, up to what the order, its lines and its shipping came to."""
        with self._changing() as now:
            order, pieces, shipping, amount, _ = self._worth(request)
            self._free("invoices", request.ref)
            return self._booked(
                request, order, "CREDIT", amount, now, shipping=shipping, pieces=pieces
            )

    def simulate_credit(self, request: Request) -> tuple[Decimal, Decimal, str]:
        """What `create_credit` would give, what could be credited after it, and the currency."""
        with self._lock:
            order, _, _, amount, left = self._worth(request)
            return amount, left - amount, order["currency"]

    def _worth(self, request: Request) -> tuple[Row, list[Row], Decimal, Decimal, Decimal]:
        """The order of a credit, the lines that it is for, the shipping in it, what it comes to,
        and what can be credited; raises what `create_credit` raises."""
        asked = request.amount is not None or request.shipping or request.full
        order = self._check(request, lines_needed=not asked)
        before = self._credited(order["id"], "CREDIT")
        pieces, shipping = self._pieces(request, order, before)
        amount = shipping + sum((Decimal(piece["amount"]) for piece in pieces), Decimal(0))
        if request.full:
            amount, shipping = Decimal(order["total"]), Decimal(order["shipping"])
        elif not pieces and not shipping:
            amount = request.amount or Decimal(0)
        if amount <= 0:
            raise Invalid("a credit is more than nothing", "Amount")
        return order, pieces, shipping, amount, self._within(order, before, amount)

    def create_voucher(self, request: Request) -> Row:
        """Give a voucher for an order, up to what the order came to."""
        with self._changing() as now:
            order = self._check(request, lines_needed=False)
            self._free("invoices", request.ref)
            amount = self._money(request, order)
            if request.expires_on is not None and request.expires_on <= self.now().date():
                raise Refused("EXPIRED", "a voucher is good for a day at least", "ExpiresOn")
            self._within(order, self._credited(order["id"], "VOUCHER"), amount)
            return self._booked(request, order, "VOUCHER", amount, now)

    def _money(self, request: Request, order: Row) -> Decimal:
        if request.amount is None or request.amount <= 0:
            raise Invalid("it is worth more than nothing", "Amount")
        if request.currency != order["currency"]:
            raise Invalid(f"the order is in {order['currency']}", "Currency")
        return request.amount

    def _within(self, order: Row, before: Sequence[Row], amount: Decimal) -> Decimal:
        """What can be given back of the order; raises Refused where that is less."""
        left = Decimal(order["total"]) - sum((Decimal(row["total"]) for row in before), Decimal(0))
        if amount > left:
            raise Refused("OVER_CREDIT", f"{left} of this order can be credited", "Amount")
        return left

    def _credited(self, order_id: int, kind: str) -> list[Row]:
        """What was given back before and still stands."""
        return [
            row
            for row in self.invoices_of(order_id)
            if row["type"] == kind and row["status"] != "CANCELLED"
        ]

    def _pieces(
        self, request: Request, order: Row, before: Sequence[Row]
    ) -> tuple[list[Row], Decimal]:
        """The lines that a credit is for, each with its amount, and what of it is shipping."""
        if request.full and (request.lines or request.shipping or request.amount is not None):
            raise Invalid("all of the order leaves nothing to name besides", "Full")
        if request.amount is not None:
            self._money(request, order)
            if request.shipping or len(request.lines) > 1:
                raise Invalid("an amount goes alone or with one line", "Amount")
        ordered = {line["line"]: line for line in order["lines"]}
        pieces: list[Row] = []
        for line in request.lines:
            bought = ordered[line.origin_line]
            amount = request.amount or line.quantity * Decimal(bought["price"])
            earlier = [
                Decimal(piece["amount"])
                for row in before
                for piece in row["pieces"]
                if piece["origin"] == line.origin_line
            ]
            cost = Decimal(bought["quantity"]) * Decimal(bought["price"])
            left = cost - sum(earlier, Decimal(0))
            if amount > left:
                raise Refused(
                    "OVER_CREDIT",
                    f"{left} of line {line.origin_line} can be credited",
                    "Lines.Line.OriginLine",
                )
            pieces.append(
                {
                    "origin": line.origin_line,
                    "sku": line.sku,
                    "quantity": str(line.quantity),
                    "unit": line.unit,
                    "amount": str(amount.quantize(Decimal("0.01"))),
                }
            )
        shipping = Decimal(order["shipping"]) if request.shipping else Decimal(0)
        if request.shipping:
            given = sum((Decimal(row["shipping"] or 0) for row in before), Decimal(0))
            if shipping <= 0 or given > 0:
                raise Refused(
                    "OVER_CREDIT", "no shipping of this order can be credited", "Shipping"
                )
        return pieces, shipping

    def _booked(
        self,
        request: Request,
        order: Row,
        kind: str,
        amount: Decimal,
        now: str,
        *,
        shipping: Decimal = Decimal(0),
        pieces: Sequence[Row] = (),
    ) -> Row:
        new_id = self._insert(
            "invoices",
            ref=request.ref,
            type=kind,
            order_id=order["id"],
            customer=order["customer"],
            status="POSTED",
            currency=order["currency"],
            total=str(amount.quantize(Decimal("0.01"))),
            shipping=str(shipping.quantize(Decimal("0.01"))),
            issued_on=self.now().date().isoformat(),
            expires_on=request.expires_on.isoformat() if request.expires_on else None,
            reason=request.reason,
            note=request.note,
            changed_at=now,
        )
        number = f"{_PREFIX[kind]}-{new_id}"
        self._db.execute("UPDATE invoices SET number = ? WHERE id = ?", (number, new_id))
        for piece in pieces:
            self._insert("credit_lines", invoice_id=new_id, **piece)
        return self.invoice(new_id)

    def cancel(self, order_id: int, reason: str, ref: str) -> Row:
        """Stop an order that has not shipped; asking again under the same reference is fine, and
        the row then says `repeated`."""
        with self._changing() as now:
            order = self.order(order_id)
            too_late = ("ALREADY_SHIPPED", "the order has left the warehouse")
            gone = {"SHIPPED": too_late, "DELIVERED": too_late}
            stopped = self._stop("orders", order, gone, "order", reason, ref, now)
            if stopped:
                self._db.execute(
                    "UPDATE shipments SET status = 'CANCELLED', changed_at = ? WHERE order_id = ?",
                    (now, order_id),
                )
                if order["type"] == "REPLACEMENT":
                    self._put_back(order["lines"])
            return {**self.order(order_id), "repeated": not stopped}

    def cancel_return(self, return_id: int, reason: str, ref: str) -> Row:
        """Call off a return of which nothing has come in."""
        with self._changing() as now:
            row = self.goods_return(return_id)
            too_late = ("ALREADY_RECEIVED", "the goods are back")
            gone = {"RECEIVED": too_late, "CLOSED": too_late}
            stopped = self._stop("returns", row, gone, "rma", reason, ref, now)
            return {**self.goods_return(return_id), "repeated": not stopped}

    def void(self, kind: str, invoice_id: int, reason: str, ref: str) -> Row:
        """Take back a credit note that is not paid out, or a voucher that is not spent."""
        with self._changing() as now:
            row = self.invoice(invoice_id)
            if row["type"] != kind:
                raise Unknown(f"there is no {kind.lower()} {invoice_id}")
            gone = {"PAID": ("ALREADY_PAID", "the money has been paid out")}
            if kind == "VOUCHER":
                gone = {"PAID": ("ALREADY_SPENT", "the voucher has been spent")}
            stopped = self._stop("invoices", row, gone, kind.lower(), reason, ref, now)
            return {**self.invoice(invoice_id), "repeated": not stopped}

    def _stop(
        self,
        table: str,
        row: Row,
        gone: dict[str, tuple[str, str]],
        field: str,
        reason: str,
        ref: str,
        now: str,
    ) -> bool:
        """Mark a row cancelled unless it is too late; False if this reference did it before."""
        if not ref:
            raise Invalid("a reference is needed", "ref")
        if reason not in REASONS:
            raise Invalid(f"{reason!r} is no reason code", "reason")
        if row["status"] == "CANCELLED":
            if row["cancel_ref"] == ref:
                return False
            raise Refused("ALREADY_CANCELLED", f"the {field} was cancelled before", field)
        if row["status"] in gone:
            raise Refused(*gone[row["status"]], field)
        self._db.execute(
            f"UPDATE {table} SET status = 'CANCELLED', cancel_ref = ?, cancel_reason = ?,"  # noqa: S608
            " changed_at = ? WHERE id = ?",
            (ref, reason, now, row["id"]),
        )
        return True

    def _put_back(self, lines: Sequence[Row]) -> None:
        for line in lines:
            (product,) = self._all("SELECT stock FROM products WHERE sku = ?", line["sku"])
            stock = Decimal(product["stock"]) + Decimal(line["quantity"])
            self._db.execute(
                "UPDATE products SET stock = ? WHERE sku = ?", (str(stock), line["sku"])
            )

    # What an auditor and a test may do, that a client may not.

    def rows_by_ref(self, ref: str) -> dict[str, int]:
        """How many rows bear this reference, by what they are."""
        return {
            "orders": len(self._all("SELECT 1 FROM orders WHERE ref = ?", ref)),
            "returns": len(self._all("SELECT 1 FROM returns WHERE ref = ?", ref)),
            "credits": len(self.credits_by_ref(ref)),
            "vouchers": len(self.vouchers_by_ref(ref)),
            "cancellations": len(self._all("SELECT 1 FROM orders WHERE cancel_ref = ?", ref)),
            "withdrawals": sum(
                len(self._all(f"SELECT 1 FROM {table} WHERE cancel_ref = ?", ref))  # noqa: S608
                for table in ("orders", "returns", "invoices")
            ),
        }

    def totals(self) -> dict[str, int]:
        """How many rows there are, and how many references are borne by more than one."""
        count = "SELECT count(*) AS n FROM "
        repeated = "(SELECT ref FROM {} WHERE ref IS NOT NULL GROUP BY ref HAVING count(*) > 1)"
        return {
            name: self._all(count + source)[0]["n"]
            for name, source in (
                ("customers", "customers"),
                ("orders", "orders"),
                ("replacement_orders", "orders WHERE type = 'REPLACEMENT'"),
                ("returns", "returns"),
                ("credits", "invoices WHERE type = 'CREDIT'"),
                ("vouchers", "invoices WHERE type = 'VOUCHER'"),
                ("cancellations", "orders WHERE cancel_ref IS NOT NULL"),
                ("repeated_order_refs", repeated.format("orders")),
                ("repeated_return_refs", repeated.format("returns")),
                ("repeated_credit_refs", repeated.format("invoices")),
            )
        }

    def touch(self, kind: str, row_id: str | None = None) -> str:
        """Change a row as a colleague at the ERP would: a phone number, a note, a carrier."""
        tables = {
            "customer": ("customers", "number", "street", "Neuer Weg 1"),
            "order": ("orders", "id", "note", "looked at by the warehouse"),
            "shipment": ("shipments", "id", "carrier", "UPS"),
            "invoice": ("invoices", "id", "note", "asked about"),
            "return": ("returns", "id", "note", "the parcel is late"),
        }
        table, key, column, value = tables[kind]
        with self._changing() as now:
            if row_id is None:
                newest = f"SELECT {key} AS row_id FROM {table} ORDER BY {key} LIMIT 1"  # noqa: S608
                found = self._all(newest)
                if not found:
                    raise Unknown(f"there is no {kind} yet")
                row_id = str(found[0]["row_id"])
            done = self._db.execute(
                f"UPDATE {table} SET {column} = ?, changed_at = ? WHERE {key} = ?",  # noqa: S608
                (value, now, row_id),
            )
            if not done.rowcount:
                raise Unknown(f"{kind} {row_id}")
        return row_id

    def book(self, kind: str, request: Request) -> Row:
        """Make what a colleague at the ERP makes without asking the hub."""
        made = {
            "replacement": self.create_replacement,
            "return": self.create_return,
            "credit": self.create_credit,
            "voucher": self.create_voucher,
        }
        if kind not in made:
            raise Unknown(f"a colleague makes {', '.join(made)}")
        return made[kind](request)

    def advance(self, kind: str, row_id: int) -> str:
        """What happens next to a row: an order ships, goods come in, a credit is paid, a voucher
        spent. Answers its new status; raises Unknown where nothing comes next."""
        steps = {
            "order": ("orders", {"OPEN": "SHIPPED", "SHIPPED": "DELIVERED"}),
            "return": ("returns", {"AUTHORISED": "RECEIVED", "RECEIVED": "CLOSED"}),
            "credit": ("invoices", {"POSTED": "PAID"}),
            "voucher": ("invoices", {"POSTED": "PAID"}),
        }
        if kind not in steps:
            raise Unknown(f"what goes on is one of {', '.join(steps)}")
        table, following = steps[kind]
        with self._changing() as now:
            row = self._one(f"SELECT * FROM {table} WHERE id = ?", row_id)  # noqa: S608
            status = following.get(row["status"])
            if status is None or (table == "invoices" and row["type"] != kind.upper()):
                raise Unknown(f"{kind} {row_id}, {row['status']}, goes no further")
            self._db.execute(
                f"UPDATE {table} SET status = ?, changed_at = ? WHERE id = ?",  # noqa: S608
                (status, now, row_id),
            )
            if kind == "order":
                column = "shipped_at" if status == "SHIPPED" else "delivered_at"
                self._db.execute(
                    f"UPDATE shipments SET status = ?, {column} = ?, changed_at = ?"  # noqa: S608
                    " WHERE order_id = ?",
                    (status, now, now, row_id),
                )
        return status

    def restock(self, sku: str, stock: int) -> None:
        """Count the warehouse anew."""
        with self._changing():
            self._db.execute("UPDATE products SET stock = ? WHERE sku = ?", (str(stock), sku))

    def delete_order(self, order_id: int) -> None:
        """Delete a draft, as a colleague at the ERP may."""
        with self._changing() as now:
            if self.order(order_id)["status"] != "DRAFT":
                raise Refused("NOT_A_DRAFT", "only drafts can be deleted")
            self._db.execute("DELETE FROM order_lines WHERE order_id = ?", (order_id,))
            self._db.execute("DELETE FROM orders WHERE id = ?", (order_id,))
            self._insert("deleted", kind="order", id=str(order_id), changed_at=now)

    # How it is done.

    @contextlib.contextmanager
    def _changing(self) -> Iterator[str]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield _stamp(self.now())
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _all(self, sql: str, *values: object) -> list[Row]:
        with self._lock:
            return [dict(row) for row in self._db.execute(sql, values).fetchall()]

    def _one(self, sql: str, key: object) -> Row:
        rows = self._all(sql, key)
        if not rows:
            raise Unknown(f"there is no {key}")
        return rows[0]

    def _insert(self, table: str, **values: object) -> int:
        marks = ", ".join("?" * len(values))
        done = self._db.execute(
            f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})",  # noqa: S608
            tuple(values.values()),
        )
        return int(done.lastrowid or 0)

    def _with_lines(self, order: Row) -> Row:
        lines = self._all("SELECT * FROM order_lines WHERE order_id = ? ORDER BY line", order["id"])
        return {**order, "lines": lines}

    def _with_pieces(self, invoice: Row) -> Row:
        sql = "SELECT * FROM credit_lines WHERE invoice_id = ? ORDER BY rowid"
        return {**invoice, "pieces": self._all(sql, invoice["id"])}

    def _with_goods(self, row: Row) -> Row:
        sql = "SELECT * FROM return_lines WHERE return_id = ? ORDER BY line"
        return {**row, "lines": self._all(sql, row["id"])}

    def _invoices_by_ref(self, kind: str, ref: str) -> list[Row]:
        sql = "SELECT * FROM invoices WHERE ref = ? AND type = ? ORDER BY id"
        return [self._with_pieces(row) for row in self._all(sql, ref, kind)]

    def _with_handles(self, customer: Row) -> Row:
        handles = self._all(
            "SELECT * FROM handles WHERE customer = ? ORDER BY network", customer["number"]
        )
        return {**customer, "handles": handles}

    def _products(self, lines: Sequence[WantedLine]) -> dict[str, Row]:
        return {
            line.sku: self._one("SELECT * FROM products WHERE sku = ?", line.sku) for line in lines
        }

    def _free(self, table: str, ref: str) -> None:
        taken = self._all(f"SELECT 1 FROM {table} WHERE ref = ?", ref)  # noqa: S608
        if self.unique_refs and taken:
            raise TakenRef(ref)

    def _check(self, request: Request, *, lines_needed: bool = True) -> Row:
        """The order that a request is about; raises Invalid with the field that is wrong."""
        if not request.ref or len(request.ref) > 64:
            raise Invalid("a reference has 1 to 64 characters", "Ref")
        if request.reason not in REASONS:
            raise Invalid(f"{request.reason!r} is no reason code", "Reason")
        if request.priority not in PRIORITIES:
            raise Invalid(f"priority is one of {', '.join(PRIORITIES)}", "Priority")
        if request.then not in THEN:
            raise Invalid(f"what comes then is one of {', '.join(THEN)}", "Then")
        try:
            order = self.order(request.order)
        except Unknown:
            raise Invalid(f"there is no order {request.order}", "Order") from None
        if request.customer not in (None, order["customer"]):
            raise Invalid("the order belongs to another customer", "Customer")
        if lines_needed and not request.lines:
            raise Invalid("at least one line is needed", "Lines")
        ordered = {line["line"]: line for line in order["lines"]}
        for line in request.lines:
            origin = ordered.get(line.origin_line)
            if origin is None:
                raise Invalid(f"the order has no line {line.origin_line}", "Lines.Line.OriginLine")
            if line.quantity <= 0 or line.quantity > Decimal(origin["quantity"]):
                raise Invalid(
                    f"{origin['quantity']} {origin['unit']} were ordered", "Lines.Line.Qty"
                )
            products = self._all("SELECT * FROM products WHERE sku = ?", line.sku)
            if not products:
                raise Invalid(f"there is no product {line.sku}", "Lines.Line.Sku")
            if line.unit != products[0]["unit"]:
                raise Invalid(f"{line.sku} is sold by {products[0]['unit']}", "Lines.Line.Uom")
        return order

    def _seed(self, world: World) -> None:
        products = {product.sku: product for product in world.products}
        names = {customer.number: customer for customer in world.customers}
        latest = datetime.now(UTC)

        def changed(moment: datetime) -> str:
            # A row cannot have changed in the future, even where the world's `now` lies there.
            return _stamp(min(moment, latest))

        self._db.executescript(_SCHEMA)
        with self._changing():
            for product in world.products:
                self._insert(
                    "products",
                    sku=product.sku,
                    name=product.name,
                    price=str(product.price),
                    currency=product.currency,
                    unit=UNITS[product.unit],
                    stock=str(product.stock),
                )
            for customer in world.customers:
                self._insert(
                    "customers",
                    number=customer.number,
                    given_name=customer.given_name,
                    family_name=customer.family_name,
                    company=customer.company,
                    email=customer.email,
                    phone=customer.phone,
                    street=customer.street,
                    city=customer.city,
                    postal_code=customer.postal_code,
                    country=customer.country,
                    changed_at=changed(world.now - timedelta(days=120)),
                )
                for network, handle in customer.handles.items():
                    self._insert(
                        "handles",
                        customer=customer.number,
                        network=network,
                        handle=handle.handle,
                        native_id=handle.native_id,
                    )
            for order in world.orders:
                buyer = names[order.customer]
                last = order.delivered or order.shipped or order.placed
                order_id = self._insert(
                    "orders",
                    number=order.number,
                    type="SALE",
                    customer=order.customer,
                    status=STATUSES[order.status],
                    placed_at=_stamp(order.placed),
                    currency="EUR",
                    total=str(order.total.quantize(Decimal("0.01"))),
                    shipping=str(order.shipping),
                    ship_name=buyer.name,
                    street=buyer.street,
                    city=buyer.city,
                    postal_code=buyer.postal_code,
                    country=buyer.country,
                    priority="STANDARD",
                    changed_at=changed(last),
                )
                for number, line in enumerate(order.lines, start=1):
                    product = products[line.sku]
                    self._insert(
                        "order_lines",
                        order_id=order_id,
                        line=number * 10,
                        sku=line.sku,
                        name=product.name,
                        quantity=str(line.quantity),
                        unit=UNITS[product.unit],
                        price=str(line.unit_price),
                    )
                if order.shipped is not None:
                    self._insert(
                        "shipments",
                        number=f"SH-{order_id}",
                        order_id=order_id,
                        status="DELIVERED" if order.delivered else "SHIPPED",
                        carrier=order.carrier,
                        tracking=order.tracking,
                        planned_for=order.shipped.date().isoformat(),
                        shipped_at=_stamp(order.shipped),
                        delivered_at=_stamp(order.delivered) if order.delivered else None,
                        changed_at=changed(last),
                    )
                    self._insert(
                        "invoices",
                        number=f"IN-{order_id}",
                        type="INVOICE",
                        order_id=order_id,
                        customer=order.customer,
                        status="PAID" if order.delivered else "POSTED",
                        currency="EUR",
                        total=str(order.total.quantize(Decimal("0.01"))),
                        issued_on=order.shipped.date().isoformat(),
                        changed_at=changed(last),
                    )


def delivery_date(now: datetime, priority: str, country: str) -> date:
    """The day a parcel booked now arrives: rush is twice as fast and skips the packing queue."""
    transit = _TRANSIT_DAYS.get(country, 5)
    days = transit if priority == "RUSH" else 2 * transit + 2
    day = now.date()
    while days:
        day += timedelta(days=1)
        days -= day.weekday() < 5
    return day


def _priority(name: str) -> int:
    return 1 if name == "RUSH" else 5


def _stamp(moment: datetime) -> str:
    """Fixed width, so that text sorts as time does."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")
