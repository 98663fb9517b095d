"""Context: what the store has, and a fresh look that never waits longer than it may."""

from __future__ import annotations

from datetime import timedelta

import pytest

from middleware.contract.canonical import Kind, Order
from middleware.domain.identity import Basis
from middleware.domain.problems import NotFoundError
from middleware.flows import context, link
from middleware.flows.hub import Asker
from tests.flows.conftest import Stage, silent


@pytest.fixture
def kim(known: Stage, asker: Asker) -> str:
    """A person who is the stage's account."""
    asked = link.LinkAsked(
        person_id=None,
        reason="she said so",
        basis=Basis.CUSTOMER_CONFIRMED,
        display_name="Kim Berg",
        record=known.account.ref,
    )
    link_id, _ = link.put_link(known.hub, asked, asker)
    with known.hub.database.read() as uow:
        row = uow.people.link(link_id)
        assert row is not None
        return row.person_id


def numbers(found: context.Context) -> list[str]:
    assert found.picture is not None
    return [kept.body["number"] for kept in found.picture.orders]


def of_erp(found: context.Context, stage: Stage) -> context.BlockSource:
    return next(s for s in found.sources[Kind.ORDER] if s.connection == stage.names["erp"])


def test_the_store_answers_without_asking_anybody(known: Stage, kim: str) -> None:
    before = known.erp.calls.copy()
    found = context.of_person(known.hub, kim)
    assert numbers(found) == ["SO-10001"]
    assert known.erp.calls == before
    assert of_erp(found, known).status == "partial"


def test_a_remote_that_hangs_is_not_waited_for(known: Stage, kim: str) -> None:
    soon = timedelta(milliseconds=20)
    with silent(known.erp, "orders_of"):
        found = context.of_person(known.hub, kim, refresh=True, deadline=soon)
    assert numbers(found) == ["SO-10001"]
    assert (of_erp(found, known).status, of_erp(found, known).as_of) == ("partial", None)
    assert "no answer within" in (of_erp(found, known).why or "")


def test_a_fresh_look_is_stored(known: Stage, kim: str) -> None:
    order = known.order
    newer = Order(
        ref=order.ref.model_copy(update={"id": "O2"}),
        number="SO-10002",
        account=order.account,
        placed_at=known.time(),
    )
    known.erp.put(newer)
    fresh = context.of_person(known.hub, kim, refresh=True)
    assert numbers(fresh) == ["SO-10002", "SO-10001"]
    assert of_erp(fresh, known).status == "complete"
    assert numbers(context.of_person(known.hub, kim)) == ["SO-10002", "SO-10001"]


def test_a_connection_that_cannot_be_opened_is_named(known: Stage, kim: str) -> None:
    known.hub.registry.close()
    name = known.names["erp"]
    slot = known.hub.registry._slot(name)
    broken = slot.configured.connection.model_copy(update={"settings": {"nonsense": 1}})
    slot.configured = slot.configured.__class__(adapter="memory", connection=broken)
    source = of_erp(context.of_person(known.hub, kim), known)
    assert (source.status, source.as_of) == ("failed", None)
    assert "nonsense" in (source.why or "")


def test_nobody_and_nothing(known: Stage) -> None:
    with pytest.raises(NotFoundError):
        context.of_person(known.hub, "per_none")
    with pytest.raises(NotFoundError):
        context.of_complaint(known.hub, "cmp_none")
