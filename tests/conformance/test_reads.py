"""Reads give whole canonical records, nothing for nobody, and Missing for what is not there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from middleware.contract.canonical import (
    Account,
    Contact,
    Frozen,
    Invoice,
    Kind,
    Money,
    Order,
    Record,
    Ref,
    Shipment,
)
from middleware.contract.capabilities import (
    Clue,
    FindsAccounts,
    FindsContacts,
    PreviewsActions,
    ReadsInvoices,
    ReadsOrders,
    ReadsShipments,
)
from middleware.contract.errors import Missing, NotOffered, Permanent, Rejected
from tests.conformance.calls import READ_CALLS, attempt, customer_of, judge, nowhere, order_of
from tests.conformance.peer import Peer, Samples
from tests.conformance.peers import every_peer_that, every_read

HOSTILE = [
    Clue(emails=("%@example.com", "*@example.com", "_@example.com")),
    Clue(emails=("' OR '1'='1", "nobody@example.com' OR Name LIKE '%")),
    Clue(emails=("a@example.com\\", 'a"@example.com', "]]></x><y>", "&amp;;\x00\r\nX: y")),
    Clue(phones=("%", "*", "+", "")),
    Clue(external_ids={"crm": "%", "' --": "x"}),
    Clue(emails=("",)),
]


def sound(record: Any, kind: type[Record], peer: Peer) -> None:
    """A record of the right class whose references all name this connection."""
    assert isinstance(record, kind)
    connection = peer.connection().name
    for ref in references(record):
        assert ref.connection == connection, f"{ref} does not name its connection"


def references(value: Any) -> list[Ref]:
    if isinstance(value, Ref):
        return [value]
    if isinstance(value, Frozen):
        return [
            ref for name in type(value).model_fields for ref in references(getattr(value, name))
        ]
    if isinstance(value, (tuple, list)):
        return [ref for item in value for ref in references(item)]
    return []


@every_read()
def test_read(
    peer: Peer, adapter: Any, samples: Samples, read: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Every reading method answers, in time, and logs no secret."""
    outcome = attempt(lambda: READ_CALLS[read][1](adapter, samples))
    judge(outcome, peer, caplog)
    assert outcome.error is None, outcome.error


@every_peer_that(FindsContacts)
def test_find_contacts(peer: Peer, adapter: Any, samples: Samples) -> None:
    found = adapter.find_contacts(samples.known_clue)
    assert found
    for contact in found:
        sound(contact, Contact, peer)
        assert contact.ref.kind is Kind.CONTACT
    assert len(adapter.find_contacts(samples.known_clue, limit=1)) == 1
    assert adapter.find_contacts(samples.unknown_clue) == ()


@every_peer_that(FindsAccounts)
def test_find_accounts(peer: Peer, adapter: Any, samples: Samples) -> None:
    found = adapter.find_accounts(samples.known_clue)
    assert found
    for account in found:
        sound(account, Account, peer)
        assert account.ref.kind is Kind.ACCOUNT
    assert len(adapter.find_accounts(samples.known_clue, limit=1)) == 1
    assert adapter.find_accounts(samples.unknown_clue) == ()


@every_peer_that(FindsContacts)
def test_an_empty_clue_finds_no_contact(peer: Peer, adapter: Any) -> None:
    assert adapter.find_contacts(Clue()) == ()


@every_peer_that(FindsAccounts)
def test_an_empty_clue_finds_no_account(peer: Peer, adapter: Any) -> None:
    assert adapter.find_accounts(Clue()) == ()


@every_peer_that(FindsContacts)
def test_clues_are_no_patterns_and_no_code_for_contacts(peer: Peer, adapter: Any) -> None:
    for clue in HOSTILE:
        outcome = attempt(partial(adapter.find_contacts, clue))
        assert outcome.answer == () or isinstance(outcome.error, Rejected), (clue, outcome)


@every_peer_that(FindsAccounts)
def test_clues_are_no_patterns_and_no_code_for_accounts(peer: Peer, adapter: Any) -> None:
    for clue in HOSTILE:
        outcome = attempt(partial(adapter.find_accounts, clue))
        assert outcome.answer == () or isinstance(outcome.error, Rejected), (clue, outcome)


@every_peer_that(ReadsOrders)
def test_read_order(peer: Peer, adapter: Any, samples: Samples) -> None:
    order = adapter.read_order(order_of(samples))
    sound(order, Order, peer)
    assert order.ref == samples.known_order
    assert order.number == samples.known_order_number
    assert order.lines, "an order has its lines"
    assert len({line.id for line in order.lines}) == len(order.lines), "line ids are unique"
    assert all(isinstance(line.quantity, Decimal) for line in order.lines)
    prices = [order.total, *(line.unit_price for line in order.lines)]
    assert any(isinstance(price, Money) for price in prices), "an order costs something"
    assert customer_of(samples) in (order.account, order.contact)
    assert adapter.read_order(order_of(samples)) == order


@every_peer_that(ReadsOrders)
def test_an_order_that_is_not_there(
    peer: Peer, adapter: Any, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = attempt(lambda: adapter.read_order(nowhere(peer, Kind.ORDER)))
    judge(outcome, peer, caplog)
    assert type(outcome.error) is Missing


@every_peer_that(ReadsOrders)
@pytest.mark.parametrize("text", ["no such order", "../1", "1' OR '1'='1", "%", "<x>&", "0", "-1"])
def test_ids_and_numbers_are_no_code(
    peer: Peer, adapter: Any, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    ref = nowhere(peer, Kind.ORDER).model_copy(update={"id": text})
    outcome = attempt(lambda: adapter.read_order(ref))
    judge(outcome, peer, caplog)
    assert isinstance(outcome.error, Permanent), outcome
    by_number = attempt(lambda: adapter.find_order(text))
    judge(by_number, peer, caplog)
    assert by_number.answer is None
    assert by_number.error is None or isinstance(by_number.error, Rejected)


@every_peer_that(ReadsOrders)
def test_find_order(peer: Peer, adapter: Any, samples: Samples) -> None:
    order = adapter.find_order(samples.known_order_number)
    sound(order, Order, peer)
    assert order.ref == samples.known_order
    assert order.lines
    assert adapter.find_order("SO-no-such-number") is None


@every_peer_that(ReadsOrders)
def test_orders_of(peer: Peer, adapter: Any, samples: Samples) -> None:
    orders = adapter.orders_of(customer_of(samples))
    for order in orders:
        sound(order, Order, peer)
    assert samples.known_order in [order.ref for order in orders]
    assert all(order.lines for order in orders if order.ref == samples.known_order)
    placed = [order.placed_at for order in orders if order.placed_at]
    assert placed == sorted(placed, reverse=True), "newest first"
    assert len(adapter.orders_of(customer_of(samples), limit=1)) == 1
    later = datetime.now(UTC) + timedelta(days=2)
    assert adapter.orders_of(customer_of(samples), since=later) == ()


@every_peer_that(ReadsOrders)
def test_orders_of_nobody(peer: Peer, adapter: Any, samples: Samples) -> None:
    kind = customer_of(samples).kind
    outcome = attempt(lambda: adapter.orders_of(nowhere(peer, kind)))
    assert outcome.answer == () or type(outcome.error) is Missing


@every_peer_that(ReadsShipments)
def test_shipments_of(peer: Peer, adapter: Any, samples: Samples) -> None:
    for shipment in adapter.shipments_of(order_of(samples)):
        sound(shipment, Shipment, peer)
        assert shipment.order == samples.known_order
    outcome = attempt(lambda: adapter.shipments_of(nowhere(peer, Kind.ORDER)))
    assert outcome.answer == () or type(outcome.error) is Missing


@every_peer_that(ReadsInvoices)
def test_invoices_of(peer: Peer, adapter: Any, samples: Samples) -> None:
    for invoice in adapter.invoices_of(order_of(samples)):
        sound(invoice, Invoice, peer)
        assert invoice.order == samples.known_order
    outcome = attempt(lambda: adapter.invoices_of(nowhere(peer, Kind.ORDER)))
    assert outcome.answer == () or type(outcome.error) is Missing


@every_peer_that(PreviewsActions)
def test_preview(peer: Peer, adapter: Any, samples: Samples) -> None:
    """Says something for every operation that it can preview, and refuses the impossible."""
    before = adapter.orders_of(customer_of(samples)) if hasattr(adapter, "orders_of") else ()
    previewed = 0
    for operation, request in samples.requests.items():
        try:
            preview = adapter.preview(operation, request)
        except NotOffered:
            continue
        previewed += 1
        assert preview.effects
        impossible = samples.impossible.get(operation)
        if impossible is not None:
            outcome = attempt(partial(adapter.preview, operation, impossible))
            refused = isinstance(outcome.error, Permanent)
            assert refused or outcome.answer.warnings, f"{operation} cannot be done"
    assert previewed
    after = adapter.orders_of(customer_of(samples)) if hasattr(adapter, "orders_of") else ()
    assert before == after, "a preview leaves nothing behind"
