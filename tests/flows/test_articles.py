"""Articles that a version without a catalogue has stored are learned of what the store has."""

from __future__ import annotations

from decimal import Decimal

import pytest
from sqlmodel import delete

from middleware.contract.canonical import Kind, Order, OrderLine, OrderStatus, Product
from middleware.flows import articles
from middleware.store import articles as catalogue
from middleware.store.tables import ArticleKeyRow, ArticleRow
from tests.api.conftest import both_databases, database_url
from tests.flows.conftest import Stage

__all__ = ["database_url"]


@both_databases
def test_what_was_stored_before_there_was_a_catalogue_is_learned_in_batches(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.store(
        Product(ref=stage.ref("erp", Kind.PRODUCT, "P"), sku="LMP-204", name="Nordic floor lamp"),
        *(
            Order(
                ref=stage.ref("erp", Kind.ORDER, f"O{n}"),
                status=OrderStatus.SHIPPED,
                lines=(OrderLine(id="1", sku=f"KTL{n}", quantity=Decimal(1)),),
            )
            for n in range(100, 107)
        ),
    )
    with stage.hub.database.begin() as uow:
        uow.session.exec(delete(ArticleKeyRow))
        uow.session.exec(delete(ArticleRow))
    catalogue._remembered.clear()
    text = "The Nordic floor lamp, and " + " ".join(f"KTL{n}" for n in range(100, 107))

    def named() -> int:
        with stage.hub.database.read() as uow:
            return len(uow.articles.named_in(text))

    assert named() == 0
    monkeypatch.setattr(articles, "PAGE", 2)
    monkeypatch.setattr(articles, "PAGES", 2)
    articles.owe(stage.hub)
    articles.owe(stage.hub)
    (owed,) = [one for one in stage.engine.owed if one.flow == articles.FLOW]
    stage.engine.owed.remove(owed)
    stage.handlers[articles.FLOW](*owed.arguments)
    assert 0 < named() < 8, "no more than its batch"
    stage.run_due()
    assert named() == 8
