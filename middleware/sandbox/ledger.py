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
KINDS = ("customer", "order", "shipment", "invoice")

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
    origin INTEGER, status TEXT, placed_at TEXT, currency TEXT, total TEXT, ship_name TEXT,
    street TEXT, city TEXT, postal_code TEXT, country TEXT, priority TEXT, requested TEXT,
    reason TEXT, note TEXT, cancel_ref TEXT, cancel_reason TEXT, changed_at TEXT NOT NULL
);
CREATE INDEX orders_ref ON orders (ref);
CREATE INDEX orders_customer ON orders (customer, id);
CREATE TABLE order_lines (
    order_id INTEGER, line INTEGER, sku TEXT, name TEXT, quantity TEXT, unit TEXT, price TEXT,
    PRIMARY KEY (order_id, line)
);
CREATE TABLE shipments (
    id INTEGER PRIMARY KEY AUTOINCREMENT, number TEXT, order_id INTEGER, status TEXT,
    carrier TEXT, tracking TEXT, planned_for TEXT, shipped_at TEXT, delivered_at TEXT,
    changed_at TEXT NOT NULL
);
CREATE INDEX shipments_order ON shipments (order_id);
CREATE TABLE invoices (
    id INTEGER PRIMARY KEY AUTOINCREMENT, number TEXT, ref TEXT, type TEXT, order_id INTEGER,
    customer TEXT, status TEXT, currency TEXT, total TEXT, issued_on TEXT, reason TEXT, note TEXT,
    changed_at TEXT NOT NULL
);
CREATE INDEX invoices_order ON invoices (order_id);
CREATE INDEX invoices_ref ON invoices (ref);
CREATE TABLE returns (
    id INTEGER PRIMARY KEY AUTOINCREMENT, number TEXT, ref TEXT, order_id INTEGER, customer TEXT,
    status TEXT, reason TEXT, note TEXT, changed_at TEXT NOT NULL
);
CREATE INDEX returns_ref ON returns (ref);
CREATE TABLE return_lines (
    return_id INTEGER, line INTEGER, sku TEXT, quantity TEXT, unit TEXT
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
    """What the three creating operations share; `lines` may be empty for a credit only."""

    ref: str
    order: int
    customer: str | None
    reason: str
    note: str | None
    lines: tuple[WantedLine, ...]
    priority: str = "STANDARD"
    ship_to: Row | None = None
    amount: Decimal | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a replacement order would come to; nothing of it is kept."""

    goods_value: Decimal
    charged: Decimal
    currency: str
    delivery: date
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
        return self._all("SELECT * FROM invoices WHERE order_id = ? ORDER BY id", order_id)

    def credits_by_ref(self, ref: str) -> list[Row]:
        return self._all("SELECT * FROM invoices WHERE ref = ? AND type = 'CREDIT'", ref)

    def returns_by_ref(self, ref: str) -> list[Row]:
        rows = self._all("SELECT * FROM returns WHERE ref = ? ORDER BY id", ref)
        for row in rows:
            row["lines"] = self._all(
                "SELECT * FROM return_lines WHERE return_id = ? ORDER BY line", row["id"]
            )
        return rows

    def changes(
        self, kind: str, *, since: datetime, until: datetime | None, token: str | None
    ) -> Changes:
        """Rows of one kind whose last change lies in [since, until), a page at a time.

        The token says after which change and row to go on, so that rows which change while
        somebody reads are neither skipped nor make others slip.
        """
        tables = {"customer": "number", "order": "id", "shipment": "id", "invoice": "id"}
        if kind not in tables:
            raise Invalid(f"kind is one of {', '.join(KINDS)}", "kind")
        as_of = datetime.now(UTC)
        after, after_id = _stamp(since), ""
        if token is not None:
            after, _, after_id = token.partition("|")
            if not after_id:
                raise Invalid("that is no page token of this server", "pageToken")
        key = tables[kind]
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
        if kind == "customer":
            rows = [self._with_handles(row) for row in rows]
        if kind == "order":
            rows = [self._with_lines(row) for row in rows]
        return Changes(
            rows=tuple(rows),
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
            return Simulated(
                goods_value=value.quantize(Decimal("0.01")),
                charged=Decimal("0.00"),
                currency=order["currency"],
                delivery=delivery_date(datetime.now(UTC), request.priority, country),
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
            requested = delivery_date(datetime.now(UTC), request.priority, place["country"])
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
                ship_name=place["name"],
                street=place["street"],
                city=place["city"],
                postal_code=place["postal_code"],
                country=place["country"],
                priority=request.priority,
                requested=requested.isoformat(),
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
                planned_for=requested.isoformat(),
                changed_at=now,
            )
            return self.order(new_id)

    def create_return(self, request: Request) -> Row:
        """Authorise goods to come back; only what has left the house can."""
        with self._changing() as now:
            order = self._check(request)
            self._free("returns", request.ref)
            if order["status"] not in ("SHIPPED", "DELIVERED"):
                raise Refused("NOT_SHIPPED", "the order has not left the warehouse", "Order")
            new_id = self._insert(
                "returns",
                ref=request.ref,
                order_id=order["id"],
                customer=order["customer"],
                status="AUTHORISED",
                reason=request.reason,
                note=request.note,
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
                )
            return self.returns_by_ref(request.ref)[-1]

    def create_credit(self, request: Request) -> Row:
        """Book a credit note for an amount or for lines, up to what the order came to."""
        with self._changing() as now:
            order = self._check(request, lines_needed=request.amount is None)
            self._free("invoices", request.ref)
            amount = request.amount
            if amount is None:
                prices = {line["line"]: Decimal(line["price"]) for line in order["lines"]}
                amount = sum(
                    (line.quantity * prices[line.origin_line] for line in request.lines), Decimal(0)
                )
            elif request.currency != order["currency"]:
                raise Invalid(f"the order is in {order['currency']}", "Currency")
            if amount <= 0:
                raise Invalid("a credit is more than nothing", "Amount")
            given = sum(
                (Decimal(row["total"]) for row in self.invoices_of(order["id"])
                 if row["type"] == "CREDIT"),
                Decimal(0),
            )  # fmt: skip
            left = Decimal(order["total"]) - given
            if amount > left:
                raise Refused("OVER_CREDIT", f"{left} of this order can be credited", "Amount")
            new_id = self._insert(
                "invoices",
                ref=request.ref,
                type="CREDIT",
                order_id=order["id"],
                customer=order["customer"],
                status="POSTED",
                currency=order["currency"],
                total=str(amount.quantize(Decimal("0.01"))),
                issued_on=datetime.now(UTC).date().isoformat(),
                reason=request.reason,
                note=request.note,
                changed_at=now,
            )
            self._db.execute(
                "UPDATE invoices SET number = ? WHERE id = ?", (f"CN-{new_id}", new_id)
            )
            return self.credits_by_ref(request.ref)[-1]

    def cancel(self, order_id: int, reason: str, ref: str) -> Row:
        """Stop an order that has not shipped; asking again under the same reference is fine."""
        with self._changing() as now:
            order = self.order(order_id)
            if not ref:
                raise Invalid("a reference is needed", "ref")
            if reason not in REASONS:
                raise Invalid(f"{reason!r} is no reason code", "reason")
            if order["status"] == "CANCELLED":
                if order["cancel_ref"] == ref:
                    return order
                raise Refused("ALREADY_CANCELLED", "the order was cancelled before", "order")
            if order["status"] in ("SHIPPED", "DELIVERED"):
                raise Refused("ALREADY_SHIPPED", "the order has left the warehouse", "order")
            self._db.execute(
                "UPDATE orders SET status = 'CANCELLED', cancel_ref = ?, cancel_reason = ?,"
                " changed_at = ? WHERE id = ?",
                (ref, reason, now, order_id),
            )
            self._db.execute(
                "UPDATE shipments SET status = 'CANCELLED', changed_at = ? WHERE order_id = ?",
                (now, order_id),
            )
            return self.order(order_id)

    # What an auditor and a test may do, that a client may not.

    def rows_by_ref(self, ref: str) -> dict[str, int]:
        """How many rows bear this reference, by what they are."""
        return {
            "orders": len(self._all("SELECT 1 FROM orders WHERE ref = ?", ref)),
            "returns": len(self._all("SELECT 1 FROM returns WHERE ref = ?", ref)),
            "credits": len(self.credits_by_ref(ref)),
            "cancellations": len(self._all("SELECT 1 FROM orders WHERE cancel_ref = ?", ref)),
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
            "invoice": ("invoices", "id", "status", "PAID"),
        }
        table, key, column, value = tables[kind]
        with self._changing() as now:
            if row_id is None:
                newest = f"SELECT {key} AS row_id FROM {table} ORDER BY {key} LIMIT 1"  # noqa: S608
                row_id = str(self._all(newest)[0]["row_id"])
            done = self._db.execute(
                f"UPDATE {table} SET {column} = ?, changed_at = ? WHERE {key} = ?",  # noqa: S608
                (value, now, row_id),
            )
            if not done.rowcount:
                raise Unknown(f"{kind} {row_id}")
        return row_id

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
                yield _stamp(datetime.now(UTC))
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
