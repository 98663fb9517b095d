"""The context of a known person, against a bare endpoint that does the same three indexed reads.

Both read the same database, which holds as many contacts and orders as a shop of some size. One
client asks the two in turn, one request after the other, so that what disturbs one disturbs both.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

from middleware.contract.canonical import (
    Account,
    Address,
    Contact,
    Kind,
    Money,
    Order,
    OrderLine,
    OrderStatus,
    Record,
    Ref,
    Shipment,
    ShipmentStatus,
)
from middleware.domain.ids import new_id
from middleware.resolution.identifiers import identifiers_of
from middleware.store.database import Database
from middleware.store.records import columns_of, hash_of
from middleware.store.tables import CursorRow, LinkRow
from tests.bench import places
from tests.bench.load import alternate, percentile, request

CRM, ERP = "crm", "erp"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
THEIR_ORDERS = 50

MORE = """
[connections.crm]
adapter = "memory"

[connections.erp]
adapter = "memory"
"""


@dataclass(frozen=True)
class Size:
    contacts: int
    orders: int
    pairs: int
    """Requests to each of the two."""


FULL = Size(contacts=100_000, orders=500_000, pairs=3000)
SHORT = Size(contacts=2_000, orders=10_000, pairs=200)


def run(database: str, folder: Path, size: Size) -> dict[str, Any]:
    """p50 and p99 of both, and the ratio."""
    with places.database(database, folder) as url:
        began = time.monotonic()
        person = fill(url, size)
        loaded = time.monotonic() - began
        places.say(f"context, {database}: loaded in {loaded:.0f} s")
        with (
            places.bare(folder, url, "reads") as bare_port,
            places.hub(folder, url, more=MORE) as (hub, key),
        ):
            query = f"crm={CRM}&contact=K0&erp={ERP}&account=A0"
            asked = (
                (bare_port, request("GET", f"/people/{person}?{query}", {})),
                (
                    hub.port,
                    request(
                        "GET", f"/v1/people/{person}/context", {"Authorization": f"Bearer {key}"}
                    ),
                ),
            )
            alternate(asked, folder, pairs=max(50, size.pairs // 10))  # warm
            bare, context = alternate(asked, folder, pairs=size.pairs)
    if bare.failed or context.failed:
        raise RuntimeError(f"requests failed: {bare.failed} and {context.failed}")
    figures: dict[str, Any] = {"requests": context.ok, "loaded_s": round(loaded)}
    for name, measured in (("bare", bare), ("context", context)):
        figures[f"{name}_p50_ms"] = round(statistics.median(measured.taken) * 1000, 1)
        figures[f"{name}_p99_ms"] = round(percentile(measured.taken, 0.99) * 1000, 1)
        figures[f"{name}_bytes"] = measured.size
    for share in ("p50", "p99"):
        ratio = figures[f"context_{share}_ms"] / figures[f"bare_{share}_ms"]
        figures[f"ratio_{share}"] = round(ratio, 2)
    return figures


# --- filling the store ---------------------------------------------------------------------------


def fill(url: str, size: Size) -> str:
    """Fill a migrated database; answers the id of the person who is asked for."""
    load = _sqlite(url) if url.startswith("sqlite") else _postgresql(url)
    load(size)
    database = Database(url)
    try:
        return _known_person(database)
    finally:
        database.close()


def _known_person(database: Database) -> str:
    """One person with contact, account, fifty orders and their shipments, through the store."""
    records: list[Record] = [contact(0), account(0)]
    for number in range(THEIR_ORDERS):
        made = order(10_000_000 + number, 0, NOW - timedelta(days=number))
        records.append(made)
        if number % 5:
            records.append(shipment(made))
    with database.begin() as uow:
        uow.records.store([(r, identifiers_of(r)) for r in records], as_of=NOW)
        person = uow.people.add_person(display_name="Maya Brandt", at=NOW)
        for record in records[:2]:
            uow.people.add_link(_link(person.id, record.ref))
        for connection, kind in ((CRM, "contact"), (ERP, "account"), (ERP, "order")):
            uow.session.add(
                CursorRow(
                    connection=connection,
                    kind=kind,
                    value="x",
                    as_of=NOW,
                    run_id="run_x",
                    saved_at=NOW,
                )
            )
    return person.id


def _link(person: str, ref: Ref) -> LinkRow:
    return LinkRow(
        id=new_id("lnk"),
        person_id=person,
        connection=ref.connection,
        kind=ref.kind.value,
        record_id=ref.id,
        basis="crm_record",
        confidence=1.0,
        evidence=[],
        decided_by="hub",
        valid_from=NOW,
    )


def contact(number: int) -> Contact:
    return Contact(
        ref=Ref(connection=CRM, kind=Kind.CONTACT, id=f"K{number}"),
        given_name="Maya",
        family_name=f"Brandt {number}",
        emails=(f"maya{number}@example.com",),
        phones=(f"+1202555{number:07}",),
        account=Ref(connection=ERP, kind=Kind.ACCOUNT, id=f"A{number}"),
        external_ids={"customer_number": f"C-{number}"},
        updated_at=NOW,
    )


def account(number: int) -> Account:
    return Account(
        ref=Ref(connection=ERP, kind=Kind.ACCOUNT, id=f"A{number}"),
        name=f"Maya Brandt {number}",
        number=f"C-{number}",
        updated_at=NOW,
    )


def order(number: int, owner: int, placed: datetime) -> Order:
    def line(id_: str, sku: str, price: str) -> OrderLine:
        return OrderLine(
            id=id_,
            sku=sku,
            name=f"The {sku}",
            quantity=Decimal(2),
            unit="piece",
            unit_price=Money(amount=Decimal(price), currency="EUR"),
        )

    return Order(
        ref=Ref(connection=ERP, kind=Kind.ORDER, id=str(number)),
        number=f"SO-{number}",
        account=Ref(connection=ERP, kind=Kind.ACCOUNT, id=f"A{owner}"),
        status=OrderStatus.DELIVERED,
        placed_at=placed,
        total=Money(amount=Decimal("109.80"), currency="EUR"),
        lines=(line("1", "LAMP-101", "49.90"), line("2", "BULB-600", "5.00")),
        ship_to=Address(street="Am Anger 2", city="Leipzig", postal_code="04103", country="DE"),
        updated_at=placed,
    )


def shipment(of: Order) -> Shipment:
    return Shipment(
        ref=Ref(connection=ERP, kind=Kind.SHIPMENT, id=f"S{of.ref.id}"),
        order=of.ref,
        status=ShipmentStatus.DELIVERED,
        carrier="DHL",
        tracking_number=f"00340434{of.ref.id}",
        delivered_at=of.placed_at,
        updated_at=of.placed_at,
    )


COLUMNS = (
    *("connection", "kind", "id", "number", "account_id", "contact_id", "order_id", "sorted_at"),
    *("body", "content_hash", "as_of"),
)
Row = tuple[Any, ...]


def _rows(size: Size) -> Iterator[Row]:
    """The record rows of everybody else, as the store would write them.

    Bodies are made from one that the store's own code made; a hundred thousand validations would
    measure pydantic.
    """
    yield from _like(contact, size.contacts, lambda n: n)
    yield from _like(
        lambda n: order(n, n % size.contacts, NOW), size.orders, lambda n: n % size.contacts
    )


def _like(
    make: Callable[[int], Record], count: int, owner_of: Callable[[int], int]
) -> Iterator[Row]:
    """Rows like the one made for a marked number, with the numbers put in."""
    mark = 987_654_321
    record = make(mark)
    row = columns_of(record)
    body = json.dumps(record.model_dump(mode="json"))
    digest = hash_of(record.model_dump(mode="json"))
    owned_by = f'"A{owner_of(mark)}"'
    for number in range(1, count):
        owner, own = f"A{owner_of(number)}", str(number)
        yield (
            record.ref.connection,
            record.ref.kind.value,
            record.ref.id.replace(str(mark), own),
            row["number"] and row["number"].replace(str(mark), own),
            row["account_id"] and owner,
            row["contact_id"],
            row["order_id"],
            NOW - timedelta(minutes=number),
            body.replace(str(mark), own).replace(owned_by, f'"{owner}"'),
            digest,
            NOW,
        )


def _identifiers(size: Size) -> Iterator[Row]:
    for number in range(1, size.contacts):
        key = (CRM, "contact", f"K{number}")
        yield ("email", f"maya{number}@example.com", *key)
        yield ("external:customer_number", f"C-{number}", *key)


def _persons(size: Size) -> Iterator[Row]:
    for number in range(1, size.contacts):
        yield (f"per_bench{number}", f"Maya Brandt {number}", NOW)


def _links(size: Size) -> Iterator[Row]:
    for number in range(1, size.contacts):
        yield (
            *(f"lnk_bench{number}", f"per_bench{number}", CRM, "contact", f"K{number}"),
            *("crm_record", 1.0, "[]", "hub", NOW, 1),
        )


TABLES: tuple[tuple[str, tuple[str, ...], Callable[[Size], Iterable[Row]]], ...] = (
    ("record", COLUMNS, _rows),
    ("record_identifier", ("scheme", "value", "connection", "kind", "id"), _identifiers),
    ("person", ("id", "display_name", "created_at"), _persons),
    (
        "link",
        (
            *("id", "person_id", "connection", "kind", "record_id", "basis", "confidence"),
            *("evidence", "decided_by", "valid_from", "version"),
        ),
        _links,
    ),
)


def _sqlite(url: str) -> Callable[[Size], None]:
    def text(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.replace(tzinfo=None).isoformat(" ", "microseconds")
        return value

    def load(size: Size) -> None:
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")  # of the loading, not of what is measured
        for table, columns, rows in TABLES:
            marks = ", ".join("?" * len(columns))
            statement = f"insert into {table} ({', '.join(columns)}) values ({marks})"
            connection.execute("begin")
            connection.executemany(statement, ([text(v) for v in row] for row in rows(size)))
            connection.execute("commit")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()

    return load


def _postgresql(url: str) -> Callable[[Size], None]:
    def load(size: Size) -> None:
        with psycopg.connect(url) as connection, connection.cursor() as cursor:
            for table, columns, rows in TABLES:
                with cursor.copy(f"copy {table} ({', '.join(columns)}) from stdin") as copy:
                    for row in rows(size):
                        copy.write_row(row)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("vacuum analyze")  # as autovacuum does in its own time

    return load
