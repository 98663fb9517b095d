"""Records: bulk writes, unchanged ones, identifiers, owners, quarantine."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from middleware.contract.canonical import (
    Contact,
    Kind,
    Money,
    Order,
    OrderLine,
    OrderStatus,
    Ref,
    Shipment,
)
from middleware.contract.capabilities import Quarantined
from middleware.store import bulk
from middleware.store.database import Database
from middleware.store.tables import RecordRow

T0 = datetime(2026, 11, 1, tzinfo=UTC)


def ref(kind: Kind, id_: str) -> Ref:
    return Ref(connection="erp", kind=kind, id=id_)


def contact(id_: str = "1", email: str = "kim@example.com") -> Contact:
    return Contact(ref=ref(Kind.CONTACT, id_), display_name="Kim", emails=(email,))


def order(number: int, *, account: str = "A", day: int = 0) -> Order:
    return Order(
        ref=ref(Kind.ORDER, str(number)),
        number=f"SO-{number}",
        account=ref(Kind.ACCOUNT, account),
        status=OrderStatus.SHIPPED,
        placed_at=T0 + timedelta(days=day),
        total=Money(amount=Decimal("49.90"), currency="EUR"),
        lines=(OrderLine(id="1", sku="LMP", quantity=Decimal(2)),),
    )


def test_a_record_comes_back_as_it_was_stored(database: Database) -> None:
    stored = order(1)
    with database.begin() as uow:
        uow.records.store([(stored, [])], as_of=T0)
    with database.read() as uow:
        found = uow.records.get(stored.ref)
    assert found is not None
    assert found.record == stored
    assert found.as_of == T0


def test_counts_tell_new_changed_and_unchanged(database: Database) -> None:
    with database.begin() as uow:
        counts = uow.records.store([(contact(), []), (order(1), [])], as_of=T0)
        assert (counts.seen, counts.new, counts.changed, counts.unchanged) == (2, 2, 0, 0)
    later = T0 + timedelta(hours=1)
    with database.begin() as uow:
        counts = uow.records.store(
            [(contact(), []), (order(1, day=3), []), (order(2), [])], as_of=later
        )
        assert (counts.new, counts.changed, counts.unchanged) == (1, 1, 1)
    with database.read() as uow:
        unchanged = uow.records.get(contact().ref)
    assert unchanged is not None
    assert unchanged.as_of == later


def test_an_older_reading_leaves_a_newer_one_alone(database: Database) -> None:
    with database.begin() as uow:
        uow.records.store([(contact(email="new@example.com"), [])], as_of=T0)
        uow.records.store([(contact(email="old@example.com"), [])], as_of=T0 - timedelta(hours=1))
        found = uow.records.get(contact().ref)
    assert found is not None
    assert found.record.emails == ("new@example.com",)  # type: ignore[attr-defined]


def test_the_last_of_a_repeated_record_wins(database: Database) -> None:
    with database.begin() as uow:
        counts = uow.records.store(
            [(contact(email="a@example.com"), []), (contact(email="b@example.com"), [])], as_of=T0
        )
        found = uow.records.get(contact().ref)
    assert counts.new == 1
    assert found is not None
    assert found.record.emails == ("b@example.com",)  # type: ignore[attr-defined]


def test_identifiers_follow_the_record(database: Database) -> None:
    with database.begin() as uow:
        uow.records.store([(contact(), [("email", "kim@example.com")])], as_of=T0)
        uow.records.store(
            [(contact(email="k@example.com"), [("email", "k@example.com")])],
            as_of=T0 + timedelta(1),
        )
    with database.read() as uow:
        assert uow.records.bearing([("email", "kim@example.com")]) == {}
        assert uow.records.bearing([("email", "k@example.com"), ("phone", "+1")]) == {
            contact().ref: {("email", "k@example.com")}
        }


def test_orders_of_a_customer_come_newest_first(database: Database) -> None:
    with database.begin() as uow:
        orders = [order(n, day=n % 7) for n in range(20)]
        uow.records.store([(o, []) for o in (*orders, order(99, account="B"))], as_of=T0)
    with database.read() as uow:
        found = uow.records.orders_of([ref(Kind.ACCOUNT, "A")], limit=5)
    placed = [stored.record.placed_at for stored in found]  # type: ignore[attr-defined]
    assert len(found) == 5
    assert placed == sorted(placed, reverse=True)
    assert placed[0] == T0 + timedelta(days=6)


def test_shipments_are_found_by_their_orders(database: Database) -> None:
    shipment = Shipment(ref=ref(Kind.SHIPMENT, "S"), order=ref(Kind.ORDER, "1"))
    with database.begin() as uow:
        uow.records.store([(order(1), []), (shipment, [])], as_of=T0)
    with database.read() as uow:
        found = uow.records.of_orders(Kind.SHIPMENT, [ref(Kind.ORDER, "1")])
        assert [s.record.ref for s in found] == [shipment.ref]
        assert uow.records.of_orders(Kind.SHIPMENT, [ref(Kind.ORDER, "2")]) == []


def test_a_deleted_record_is_not_read_and_comes_back_when_stored_again(database: Database) -> None:
    with database.begin() as uow:
        uow.records.store([(order(1), [])], as_of=T0)
        assert uow.records.delete([order(1).ref, order(2).ref], as_of=T0 + timedelta(1)) == 1
        assert uow.records.get(order(1).ref) is None
        assert uow.records.numbered(Kind.ORDER, ["SO-1"]) == []
    with database.begin() as uow:
        counts = uow.records.store([(order(1), [])], as_of=T0 + timedelta(2))
        assert counts.changed == 1
        assert uow.records.get(order(1).ref) is not None


def test_a_record_leaves_quarantine_when_it_maps_again(database: Database) -> None:
    item = Quarantined(kind=Kind.ORDER, id="1", field="total", reason="not a number", place="a:1:2")
    with database.begin() as uow:
        assert uow.records.quarantine([item, item], connection="erp", at=T0) == 2
        (row,) = uow.records.quarantined(connection="erp")
        assert (row.field, row.place) == ("total", "a:1:2")
    with database.begin() as uow:
        uow.records.store([(order(1), [])], as_of=T0)
        assert uow.records.quarantined() == []


def test_what_is_known_of_a_page_is_looked_up_by_the_key(database: Database) -> None:
    """Also in a table that PostgreSQL has not analyzed yet, as in the first minute of a load."""
    if database.sqlite:
        pytest.skip("SQLite has one index for it")
    contacts = [contact(str(number)) for number in range(2000)]
    with database.begin() as uow:
        uow.records.store([(one, ()) for one in contacts], as_of=T0)
    ids = [one.ref.id for one in contacts[:500]]
    text = bulk._select(RecordRow, ("content_hash",), 0)
    with database.read() as uow:
        driver: Any = uow.session.connection().connection.driver_connection
        for mode in ("force_custom_plan", "force_generic_plan"):
            driver.execute(f"set local plan_cache_mode = {mode}")
            rows = driver.execute(f"explain {text}", (ids, "erp", "contact")).fetchall()
            plan = "\n".join(row[0] for row in rows)
            assert re.search(r"Index Cond: .*asked\.id", plan), plan
        known = bulk.known(uow.session, RecordRow, ("content_hash",), map(_key, contacts))
    assert len(known) == len(contacts)


def _key(record: Contact) -> tuple[str, str, str]:
    return record.ref.connection, record.ref.kind.value, record.ref.id
