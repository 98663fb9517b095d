"""The catalogue: what orders and products named is found in a text, at a cost the text sets."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
import sqlalchemy as sa

from middleware.contract.canonical import Kind, Order, OrderLine, OrderStatus, Product, Record, Ref
from middleware.store.articles import MOST_BEARERS, MOST_FOUND
from middleware.store.database import Database

T0 = datetime(2026, 11, 1, tzinfo=UTC)


def product(sku: str, name: str | None, connection: str = "erp") -> Product:
    return Product(
        ref=Ref(connection=connection, kind=Kind.PRODUCT, id=f"p{sku}"), sku=sku, name=name
    )


def order(id_: str, *lines: tuple[str, str | None]) -> Order:
    return Order(
        ref=Ref(connection="erp", kind=Kind.ORDER, id=id_),
        status=OrderStatus.SHIPPED,
        lines=tuple(
            OrderLine(id=str(n), sku=sku, name=name, quantity=Decimal(1))
            for n, (sku, name) in enumerate(lines)
        ),
    )


def store(database: Database, *records: Record) -> None:
    with database.begin() as uow:
        uow.records.store([(record, []) for record in records], as_of=T0)


def named(database: Database, text: str) -> dict[str, str]:
    with database.read() as uow:
        return uow.articles.named_in(text)


def test_articles_are_found_by_number_and_by_the_first_words_of_their_names(
    database: Database,
) -> None:
    store(
        database,
        product("LMP-204", "Nordic floor lamp, brass"),
        order("1", ("KTL9", "Rapid kettle 1.7 l"), ("900812", None)),
    )
    assert named(database, "my lmp204 is dead") == {"LMP-204": "Nordic floor lamp, brass"}
    assert named(database, "the nordic floor lamps flicker") == {
        "LMP-204": "Nordic floor lamp, brass"
    }
    assert named(database, "Rapid kettle leaks, and 900812 too") == {
        "KTL9": "Rapid kettle 1.7 l",
        "900812": "900812",
    }
    assert named(database, "a lamp, a kettle, thank you very much") == {}
    assert named(database, "") == {}


def test_an_article_that_is_named_anew_is_found_by_both_names(database: Database) -> None:
    store(database, product("A-1", "Garden spade"))
    store(database, order("1", ("A-1", None)))
    assert named(database, "garden spade bent") == {"A-1": "Garden spade"}
    store(database, order("2", ("A-1", "Border shovel")))
    assert named(database, "garden spade bent") == {"A-1": "Border shovel"}
    assert named(database, "border shovel bent") == {"A-1": "Border shovel"}


def test_words_that_many_articles_share_name_none_of_them(database: Database) -> None:
    store(database, *(product(f"H-{n}", f"Rubber hose {n} metres") for n in range(40)))
    assert named(database, "my rubber hose is split") == {}
    assert named(database, "my rubber hose 12 metres is split") == {"H-12": "Rubber hose 12 metres"}
    with database.read() as uow:
        most = uow.session.connection().scalar(
            sa.text(
                "select max(n) from (select count(*) as n from article_key group by key) as counted"
            )
        )
    assert most == MOST_BEARERS


def test_what_was_rolled_back_is_learned_again(database: Database) -> None:
    lamp = product("LMP-204", "Nordic floor lamp")
    with pytest.raises(RuntimeError, match="stop"), database.begin() as uow:
        uow.records.store([(lamp, [])], as_of=T0)
        raise RuntimeError("stop")
    assert named(database, "LMP-204") == {}
    store(database, lamp)
    assert named(database, "LMP-204") == {"LMP-204": "Nordic floor lamp"}


def test_a_look_up_reads_an_index_and_ends(database: Database) -> None:
    store(database, *(product(f"SKU{n:04}", f"Thing number{n}") for n in range(120)))
    everything = " ".join(f"SKU{n:04}" for n in range(120))
    assert len(named(database, everything)) == MOST_FOUND
    if database.sqlite:
        with database.read() as uow:
            plan = uow.session.connection().execute(
                sa.text(
                    "explain query plan select key, connection, sku from article_key"
                    " where key in (select value from json_each('[\"s:A1\"]'))"
                )
            )
            assert not [row for row in plan if "SCAN article_key" in str(row)]
