"""The SOAP adapter against the sandbox's ERP, beyond what every adapter must do."""

from __future__ import annotations

import json
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from adapters.soap.adapter import SoapAdapter
from middleware.contract.actions import (
    CreditRequest,
    Operation,
    ReplacementOrderRequest,
    ReturnRequest,
    Speed,
    StoreCreditRequest,
    Then,
    WithdrawalRequest,
)
from middleware.contract.canonical import (
    Address,
    Handle,
    InvoiceType,
    Kind,
    Money,
    OrderStatus,
    ShipmentStatus,
)
from middleware.contract.capabilities import (
    CAPABILITIES,
    Clue,
    Connection,
    OpensCases,
    SchedulesCallBacks,
    WritesNotes,
    capabilities_of,
)
from middleware.contract.errors import (
    Ambiguous,
    Duplicated,
    NotOffered,
    Permanent,
    Rejected,
    Transient,
    Unauthorised,
)
from middleware.contract.mapping import Severity
from middleware.contract.mapping.lint import lint_paths
from middleware.sandbox import ledger
from middleware.sandbox.erp import PATH_12, build_erp
from middleware.sandbox.server import SandboxServer
from tests.adapters.soap.peer import MAPPINGS, NAME, PASSWORD, ErpPeer


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ErpPeer]:
    made = ErpPeer(tmp_path_factory.mktemp("erp"))
    yield made
    made.close()


@pytest.fixture
def adapter(peer: ErpPeer) -> Iterator[Any]:
    opened = SoapAdapter.open(connection_of(peer))
    yield opened
    opened.close()


def connection_of(peer: ErpPeer, **settings: Any) -> Connection:
    return peer.connection(**settings)


def key() -> str:
    return f"amends-{uuid.uuid4().hex}"


def request(peer: ErpPeer, **changes: Any) -> ReplacementOrderRequest:
    made = peer.samples().requests[Operation.REPLACEMENT_ORDER]
    assert isinstance(made, ReplacementOrderRequest)
    return made.model_copy(update=changes)


def test_it_can_do_what_the_erp_can(adapter: Any) -> None:
    missing = {OpensCases, SchedulesCallBacks, WritesNotes}
    assert set(capabilities_of(type(adapter))) == set(CAPABILITIES) - missing
    with pytest.raises(NotOffered):
        adapter.key_traits(Operation.CASE)


def test_its_mapping_files_fit_the_wsdl(adapter: Any) -> None:
    found = lint_paths([MAPPINGS], adapter.describe())
    assert [str(one) for one in found if one.severity is Severity.ERROR] == []


def test_people_who_share_an_address_are_both_found(peer: ErpPeer, adapter: Any) -> None:
    couple = adapter.find_contacts(Clue(emails=("FAMILIE.BRANDT@example.net",)))
    assert [(c.given_name, c.account.id) for c in couple] == [
        ("Tobias", "C-1003"), ("Katrin", "C-1004"),
    ]  # fmt: skip
    tobias = peer.world.customer("C-1003")
    by_phone = adapter.find_accounts(Clue(phones=(tobias.phone,)))
    assert [account.number for account in by_phone] == ["C-1003", "C-1004"]
    by_both = adapter.find_contacts(Clue(emails=(tobias.email,), phones=(tobias.phone,)))
    assert len(by_both) == 2, "each once"


def test_people_are_found_by_handle_and_number(peer: ErpPeer, adapter: Any) -> None:
    maria = peer.world.customer("C-1001")
    handle = maria.handles["x"]
    (found,) = adapter.find_contacts(Clue(handles=(Handle(network="x", handle=handle.handle),)))
    assert found.external_ids == {"customer_number": "C-1001"}
    assert Handle(network="x", handle=handle.handle, native_id=handle.native_id) in found.handles
    other = Clue(handles=(Handle(network="instagram", handle=handle.handle),))
    assert adapter.find_contacts(other) == ()
    (account,) = adapter.find_accounts(Clue(external_ids={"customer_number": "C-1005"}))
    assert account.name == "Nordlicht Buchhandlung GmbH"
    assert adapter.find_accounts(Clue(external_ids={"crm": "C-1005"})) == ()


def test_an_order_as_it_was_placed(peer: ErpPeer, adapter: Any) -> None:
    theirs = peer.world.orders_of("C-1001", status="delivered")[0]
    order = adapter.find_order(theirs.number)
    assert order.status is OrderStatus.DELIVERED
    assert order.placed_at == theirs.placed
    assert order.total == Money(amount=theirs.total, currency="EUR")
    assert [(line.sku, line.quantity, line.unit_price.amount) for line in order.lines] == list(
        theirs.lines
    )
    assert order.ship_to.country == "DE"
    (shipment,) = adapter.shipments_of(order.ref)
    assert (shipment.tracking_number, shipment.delivered_at) == (theirs.tracking, theirs.delivered)
    assert shipment.status is ShipmentStatus.DELIVERED
    (invoice,) = adapter.invoices_of(order.ref)
    assert (invoice.type, invoice.total) == (InvoiceType.INVOICE, order.total)


def credit(peer: ErpPeer, number: str = "", **what: Any) -> CreditRequest:
    """A credit for the known order, or for the one with this number."""
    row = peer.erp.ledger.order_by_number(number) if number else peer.order
    assert row is not None
    return CreditRequest(order=peer.ref(Kind.ORDER, row["id"]), **what)


def euros(amount: str) -> Money:
    return Money(amount=Decimal(amount), currency="EUR")


def test_shipping_is_read_and_given_back(peer: ErpPeer, adapter: Any) -> None:
    theirs = next(o for o in peer.world.orders if o.status == "delivered" and o.shipping)
    order = adapter.find_order(theirs.number)
    assert order.shipping == Money(amount=theirs.shipping, currency="EUR")
    asked = credit(peer, theirs.number, shipping=True)
    adapter.create_credit(asked, key=key())
    assert adapter.invoices_of(order.ref)[-1].total == order.shipping
    with pytest.raises(Rejected) as caught:
        adapter.create_credit(asked, key=key())
    assert caught.value.code == "OVER_CREDIT"


def test_all_of_an_order_is_given_back(peer: ErpPeer, adapter: Any) -> None:
    number = peer.world.orders_of("C-1003", status="delivered")[0].number
    order = adapter.find_order(number)
    adapter.create_credit(credit(peer, number, full=True), key=key())
    (given,) = [one for one in adapter.invoices_of(order.ref) if one.type is InvoiceType.CREDIT]
    assert given.total == order.total


def test_a_part_of_what_a_line_cost_is_given_back(peer: ErpPeer, adapter: Any) -> None:
    theirs = peer.world.orders_of("C-1004", status="delivered")[0]
    order = adapter.find_order(theirs.number)
    line = peer.line(sku=order.lines[0].sku, unit=order.lines[0].unit).model_copy(
        update={"line": order.lines[0].id}
    )
    our_key = key()
    adapter.create_credit(
        credit(peer, theirs.number, lines=(line,), amount=euros("1.50")), key=our_key
    )
    given = adapter.invoices_of(order.ref)[-1]
    assert (given.total, given.extra["key"]) == (euros("1.50"), our_key)
    (row,) = peer.erp.ledger.credits_by_ref(our_key)
    assert [(p["origin"], p["amount"]) for p in row["pieces"]] == [(int(line.line), "1.50")]


def test_a_voucher_is_seen_as_a_credit_of_its_order(peer: ErpPeer, adapter: Any) -> None:
    asked = StoreCreditRequest(
        order=credit(peer, full=True).order, amount=euros("3"), expires_on=date(2099, 1, 1)
    )
    receipt = adapter.create_store_credit(asked, key=key())
    assert receipt.number.startswith("GV-")
    (seen,) = [one for one in adapter.invoices_of(asked.order) if one.ref == receipt.ref]
    assert (seen.type, seen.total) == (InvoiceType.CREDIT, euros("3.00"))
    assert (seen.extra["document"], seen.extra["expires_on"]) == ("voucher", "2099-01-01")
    with pytest.raises(Rejected):
        expired = asked.model_copy(update={"expires_on": date(2020, 1, 1)})
        adapter.create_store_credit(expired, key=key())


def test_what_colleagues_made_is_listed_with_its_order_and_line(
    peer: ErpPeer, adapter: Any
) -> None:
    assert peer.order is not None
    order = peer.ref(Kind.ORDER, peer.order["id"])
    line = peer.line()
    cursors = {}
    for kind in (Kind.RETURN, Kind.ORDER, Kind.INVOICE):
        page = adapter.changed_since(kind, None)
        while page.more:
            page = adapter.changed_since(kind, page.cursor)
        cursors[kind] = page.cursor
    made = {
        Kind.RETURN: peer.colleague("return", (line,), then="NOTHING"),
        Kind.ORDER: peer.colleague("replacement", (line,)),
        Kind.INVOICE: peer.colleague("credit", amount=Decimal("0.50"), currency="EUR"),
    }
    found = {
        kind: next(
            record
            for record in adapter.changed_since(kind, cursors[kind]).records
            if record.ref == peer.ref(kind, row)
        )
        for kind, row in made.items()
    }
    returned, replaced, given = (found[k] for k in (Kind.RETURN, Kind.ORDER, Kind.INVOICE))
    assert (returned.order, [one.origin for one in returned.lines]) == (order, [line.line])
    assert (replaced.origin, [one.origin for one in replaced.lines]) == (order, [line.line])
    assert (given.order, given.type, given.total) == (order, InvoiceType.CREDIT, euros("0.50"))


def test_a_return_says_what_comes_then(peer: ErpPeer, adapter: Any) -> None:
    assert peer.order is not None
    order = peer.ref(Kind.ORDER, peer.order["id"])
    asked = ReturnRequest(order=order, lines=(peer.line(),), then=Then.REPLACEMENT)
    receipt = adapter.create_return(asked, key=key())
    assert peer.erp.ledger.goods_return(int(receipt.ref.id))["next"] == "REPLACEMENT"


def test_a_day_that_cannot_be_kept_is_foreseen_and_refused(peer: ErpPeer, adapter: Any) -> None:
    rush = ledger.delivery_date(datetime.now(UTC), "RUSH", "DE")
    slow = request(peer, speed=Speed.STANDARD, deliver_by=rush)
    (warning,) = adapter.preview(Operation.REPLACEMENT_ORDER, slow).warnings
    assert f"not by {rush}; a rush arrives on {rush}" in warning
    with pytest.raises(Rejected) as caught:
        adapter.create_replacement_order(slow, key=key())
    assert caught.value.code == "TOO_LATE"
    fast = request(peer, speed=Speed.RUSH, deliver_by=rush)
    assert adapter.preview(Operation.REPLACEMENT_ORDER, fast).warnings == ()
    assert adapter.create_replacement_order(fast, key=key()).status == "accepted"


def test_what_a_credit_comes_to_is_seen_beforehand(peer: ErpPeer, adapter: Any) -> None:
    theirs = next(
        o for o in peer.world.orders if o.status == "delivered" and o.shipping and len(o.lines) > 1
    )
    before = peer.erp.ledger.totals()
    (effect,) = adapter.preview(
        Operation.CREDIT, credit(peer, theirs.number, shipping=True)
    ).effects
    assert effect.amount == Money(amount=theirs.shipping, currency="EUR")
    left = theirs.goods.quantize(Decimal("0.01"))
    assert effect.what == f"A credit note, after which {left} EUR of the order can be credited"
    assert peer.erp.ledger.totals() == before
    with pytest.raises(Rejected) as caught:
        too_much = credit(peer, theirs.number, amount=euros("100000"))
        adapter.preview(Operation.CREDIT, too_much)
    assert caught.value.code == "OVER_CREDIT"


@pytest.mark.parametrize("then", Then)
def test_what_a_return_comes_to_is_seen_beforehand(peer: ErpPeer, adapter: Any, then: Then) -> None:
    assert peer.order is not None
    price = Decimal(peer.order["lines"][0]["price"])
    order = peer.ref(Kind.ORDER, peer.order["id"])
    asked = ReturnRequest(order=order, lines=(peer.line(),), then=then)
    preview = adapter.preview(Operation.RETURN, asked)
    (effect,) = preview.effects
    assert effect.amount == Money(amount=price if then is Then.REFUND else 0, currency="EUR")
    assert then.upper() in effect.what
    assert preview.exact


def test_taking_back_is_seen_beforehand(peer: ErpPeer, adapter: Any) -> None:
    made = adapter.create_store_credit(
        StoreCreditRequest(order=credit(peer, full=True).order, amount=euros("2")), key=key()
    )
    back = WithdrawalRequest(
        of=made.ref, made_by=Operation.STORE_CREDIT, made_under=made.key, note="asked to"
    )
    preview = adapter.preview(Operation.WITHDRAWAL, back)
    assert [(one.what, one.amount) for one in preview.effects] == [
        (f"{made.number} is void", euros("2.00"))
    ]
    assert (preview.warnings, preview.exact) == ((), False)
    assert preview.payload["voucher"] == made.ref.id
    assert adapter.find_withdrawal(back, key=key()) is None, "nothing was done"
    peer.erp.ledger.advance("voucher", int(made.ref.id))
    assert "the ERP will refuse" in adapter.preview(Operation.WITHDRAWAL, back).warnings[0]
    with pytest.raises(Rejected) as caught:
        adapter.create_withdrawal(back, key=key())
    assert (caught.value.code, "spent" in caught.value.message) == ("ALREADY_SPENT", True)
    other = back.model_copy(update={"made_by": Operation.CASE})
    with pytest.raises(NotOffered, match="no withdrawal of a case"):
        adapter.preview(Operation.WITHDRAWAL, other)


def test_a_long_history_comes_in_pages(peer: ErpPeer, adapter: Any) -> None:
    """Everything that was ordered since a moment, newest first, over the ERP's pages of twenty."""
    for _ in range(25):
        peer.open_order()
    account = peer.ref(Kind.ACCOUNT, "C-1001")
    orders = adapter.orders_of(account, limit=200)
    assert len(orders) > 25
    assert len({order.ref for order in orders}) == len(orders)
    placed = [order.placed_at for order in orders]
    assert placed == sorted(placed, reverse=True)
    recent = adapter.orders_of(account, since=datetime.now(UTC) - timedelta(minutes=5), limit=200)
    assert 25 <= len(recent) < len(orders)
    assert adapter.orders_of(account, limit=3) == orders[:3]


def test_rush_is_faster_and_comes_first(peer: ErpPeer, adapter: Any) -> None:
    shipments = {}
    for speed in Speed:
        receipt = adapter.create_replacement_order(request(peer, speed=speed), key=key())
        (shipments[speed],) = adapter.shipments_of(receipt.ref)
    rush, standard = shipments[Speed.RUSH], shipments[Speed.STANDARD]
    assert rush.planned_for < standard.planned_for
    assert (rush.carrier, standard.carrier) == ("DHL Express", "DHL")


def test_a_replacement_order_says_what_it_replaces(peer: ErpPeer, adapter: Any) -> None:
    our_key = key()
    asked = request(peer, ship_to=Address(name="Frida Falk", city="Leipzig", country="DE"))
    receipt = adapter.create_replacement_order(asked, key=our_key)
    assert receipt.status == "accepted"
    assert receipt.at is not None
    order = adapter.read_order(receipt.ref)
    assert (order.number, order.reference, order.origin) == (receipt.number, our_key, asked.order)
    assert order.total == Money(amount=Decimal("0.00"), currency="EUR")
    assert order.ship_to.name == "Frida Falk"
    assert order.status is OrderStatus.PROCESSING


def test_a_preview_leaves_nothing_behind(peer: ErpPeer, adapter: Any) -> None:
    asked = request(peer, ship_to=Address(name="Frida Falk", city="Leipzig", country="DE"))
    before = peer.erp.ledger.totals()
    preview = adapter.preview(Operation.REPLACEMENT_ORDER, asked)
    assert peer.erp.ledger.totals() == before
    first, second = preview.effects
    day = date.fromisoformat(first.what.rpartition(" ")[2])
    assert day > datetime.now(UTC).date()
    assert first.amount == Money(amount=Decimal("0.00"), currency="EUR")
    assert second.amount == Money(amount=Decimal("31.90"), currency="EUR")
    assert (preview.exact, preview.warnings) == (True, ())
    sent: Any = preview.payload["order"]
    assert sent["ShipTo"] == {"Name": "•••", "City": "•••", "Country": "DE"}
    assert sent["Priority"] == "RUSH"


def test_a_preview_warns_of_what_stands_against_it(peer: ErpPeer, adapter: Any) -> None:
    short = request(peer, lines=(peer.line(sku="SPKR-520", unit="piece"),))
    preview = adapter.preview(Operation.REPLACEMENT_ORDER, short)
    assert preview.warnings == ("SPKR-520: 1 wanted, 0 in stock",)
    with pytest.raises(Rejected) as caught:
        adapter.create_replacement_order(short, key=key())
    assert caught.value.code == "OUT_OF_STOCK"
    assert "SPKR-520" in caught.value.message
    with pytest.raises(NotOffered):
        adapter.preview(Operation.CANCELLATION, peer.samples().requests[Operation.CANCELLATION])


def test_a_fault_names_the_field(peer: ErpPeer, adapter: Any) -> None:
    wrong = request(peer, lines=(peer.line(quantity="99999"),))
    with pytest.raises(Rejected) as caught:
        adapter.create_replacement_order(wrong, key=key())
    assert (caught.value.code, caught.value.field) == ("Client.Validation", "Lines.Line.Qty")


def test_the_erp_makes_two_of_the_same_and_we_say_so(peer: ErpPeer, adapter: Any) -> None:
    """References are not unique there: that is why the hub looks first."""
    our_key, asked = key(), request(peer)
    first = adapter.create_replacement_order(asked, key=our_key)
    second = adapter.create_replacement_order(asked, key=our_key)
    assert first.ref != second.ref
    assert not adapter.key_traits(Operation.REPLACEMENT_ORDER).native
    with pytest.raises(Duplicated):
        adapter.find_replacement_order(asked, key=our_key)


def test_an_erp_with_unique_references(peer: ErpPeer, adapter: Any) -> None:
    our_key, asked = key(), request(peer)
    peer.erp.ledger.unique_refs = True
    try:
        first = adapter.create_replacement_order(asked, key=our_key)
        again = adapter.create_replacement_order(asked, key=our_key)
    finally:
        peer.erp.ledger.unique_refs = False
    assert (again.ref, again.already_existed) == (first.ref, True)
    assert peer.count(Operation.REPLACEMENT_ORDER, our_key) == 1


def test_the_answer_comes_too_late(peer: ErpPeer, adapter: Any) -> None:
    """The line drops, and the ERP books it a moment later: looking at once finds nothing."""
    our_key, asked = key(), request(peer)
    peer.server.faults.arm("late_commit", match="CreateReplacementOrder", seconds=600)
    with pytest.raises(Ambiguous):
        adapter.create_replacement_order(asked, key=our_key)
    assert adapter.find_replacement_order(asked, key=our_key) is None
    assert peer.server.settle(60, now=True)
    assert adapter.find_replacement_order(asked, key=our_key) is not None
    settle = adapter.key_traits(Operation.REPLACEMENT_ORDER).settle
    assert settle == timedelta(seconds=30)


@pytest.mark.parametrize(
    ("mask", "read", "write", "rows"),
    [
        ("login", Transient, Ambiguous, 0),
        ("busy", Transient, Transient, 0),
        ("app_fault", Transient, Ambiguous, 0),
        ("unauthorised", Unauthorised, Unauthorised, 0),
        ("dtd", Transient, Ambiguous, 1),
        ("error", Rejected, Ambiguous, 1),
    ],
)
def test_systems_that_lie(
    mask: str, read: type, write: type, rows: int, peer: ErpPeer, adapter: Any
) -> None:
    our_key = key()
    peer.server.faults.arm(f"masked:{mask}", match="FindOrderByNumber")
    with pytest.raises(read):
        adapter.find_order("SO-10001")
    peer.server.faults.arm(f"masked:{mask}", match="CreateReplacementOrder")
    with pytest.raises(write):
        adapter.create_replacement_order(request(peer), key=our_key)
    assert peer.count(Operation.REPLACEMENT_ORDER, our_key) == rows


def test_an_answer_in_another_order_is_read(peer: ErpPeer, adapter: Any) -> None:
    straight = adapter.find_order("SO-10001")
    peer.server.faults.arm("masked:shuffled", match="FindOrderByNumber")
    assert adapter.find_order("SO-10001") == straight
    our_key = key()
    peer.server.faults.arm("masked:shuffled", match="CreateReplacementOrder")
    receipt = adapter.create_replacement_order(request(peer), key=our_key)
    assert adapter.find_replacement_order(request(peer), key=our_key).ref == receipt.ref


def test_wrong_credentials_that_look_like_a_limit(peer: ErpPeer) -> None:
    """The ERP lies; whoever reads the message is told that it may."""
    wrong = connection_of(peer).model_copy(
        update={"secrets": {"password": SecretStr("wrong-password-77aa")}}
    )
    adapter = SoapAdapter.open(wrong)
    peer.erp.lies = True
    try:
        with pytest.raises(Transient, match="also answers so when the credentials are wrong"):
            adapter.find_order("SO-10001")
        report = adapter.check()
    finally:
        peer.erp.lies = False
    assert not report.ok
    assert "credentials" in report.findings[-1].detail
    adapter.close()


@pytest.mark.parametrize("digest", [False, True])
@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_both_versions_and_both_sorts_of_password(
    digest: bool, version: str, peer: ErpPeer
) -> None:
    settings: dict[str, Any] = {"digest": digest, "soap_version": version}
    if version == "1.2":
        settings["wsdl"] = f"{peer.server.url}{PATH_12}?wsdl"
    adapter = SoapAdapter.open(connection_of(peer, **settings))
    assert adapter.check().ok
    assert adapter.find_order("SO-10001") is not None
    our_key = key()
    adapter.create_replacement_order(request(peer), key=our_key)
    assert adapter.find_replacement_order(request(peer), key=our_key) is not None
    with pytest.raises(Rejected) as caught:
        adapter.create_replacement_order(
            request(peer, lines=(peer.line(quantity="99999"),)), key=our_key
        )
    assert caught.value.code == "Client.Validation", "the same code in both versions"
    adapter.close()


def test_a_session_in_a_header(peer: ErpPeer) -> None:
    session = peer.erp._log_in("amends", PASSWORD)
    connection = connection_of(
        peer,
        auth="header",
        username=None,
        header={
            "element": "{urn:sandbox:erp}SessionHeader",
            "values": {"SessionId": "secret:session"},
        },
    ).model_copy(update={"secrets": {"session": SecretStr(session)}})
    adapter = SoapAdapter.open(connection)
    assert adapter.find_order("SO-10001") is not None
    adapter.close()
    stale = connection.model_copy(update={"secrets": {"session": SecretStr("x" * 32)}})
    adapter = SoapAdapter.open(stale)
    with pytest.raises(Unauthorised):
        adapter.find_order("SO-10001")
    adapter.close()


def test_deleted_drafts_are_told(peer: ErpPeer, adapter: Any) -> None:
    draft = next(order for order in peer.world.orders if order.status == "draft")
    row = peer.erp.ledger.order_by_number(draft.number)
    assert row is not None
    page = adapter.changed_since(Kind.ORDER, None)
    while page.more:
        page = adapter.changed_since(Kind.ORDER, page.cursor)
    peer.erp.ledger.delete_order(row["id"])
    page = adapter.changed_since(Kind.ORDER, page.cursor)
    assert peer.ref(Kind.ORDER, row["id"]) in page.deleted


def test_a_record_that_does_not_fit_is_kept_aside(peer: ErpPeer, adapter: Any) -> None:
    order_id = peer.open_order()
    peer.erp.ledger._db.execute("UPDATE orders SET status = 'HELD' WHERE id = ?", (order_id,))
    cursor, aside = None, []
    for _ in range(20):
        page = adapter.changed_since(Kind.ORDER, cursor)
        aside += page.quarantined
        cursor = page.cursor
        if not page.more:
            break
    peer.erp.ledger._db.execute("UPDATE orders SET status = 'OPEN' WHERE id = ?", (order_id,))
    (found,) = aside
    assert (found.id, found.field) == (str(order_id), "status")
    assert found.place.startswith(str(MAPPINGS / "order.map.yaml"))
    assert found.payload["Status"] == "HELD"


def test_it_works_offline_once_the_wsdl_is_kept(tmp_path: Path) -> None:
    """The ERP is down when the hub starts: the connection opens, and works when it is back."""
    world_peer = ErpPeer(tmp_path)
    first = SoapAdapter.open(connection_of(world_peer))
    assert first.check().ok
    first.close()
    connection = connection_of(world_peer)
    port = world_peer.server.port
    world_peer.server.stop()
    adapter = SoapAdapter.open(connection)
    assert adapter.describe().objects
    with pytest.raises(Transient):
        adapter.find_order("SO-10001")
    report = adapter.check()
    assert not report.ok
    with SandboxServer(world_peer.erp, port=port):
        assert adapter.find_order("SO-10001") is not None
    adapter.close()
    world_peer.erp.close()


def test_a_killed_erp_keeps_what_it_said_yes_to(tmp_path: Path) -> None:
    """Another process over the same file finds it, and does not seed the world again."""
    peer = ErpPeer(tmp_path)
    our_key = key()
    adapter = SoapAdapter.open(connection_of(peer))
    adapter.create_replacement_order(request(peer), key=our_key)
    before = peer.erp.ledger.totals()
    peer.server.stop()  # and nothing is closed or flushed
    again = build_erp(peer.world, tmp_path / "erp.sqlite", password=PASSWORD)
    assert again.ledger.totals() == before
    assert again.ledger.rows_by_ref(our_key)["orders"] == 1
    adapter.close()
    again.close()
    peer.erp.close()


def test_an_auditor_counts_over_http(peer: ErpPeer, adapter: Any) -> None:
    our_key = key()
    receipt = adapter.create_replacement_order(request(peer), key=our_key)
    assert receipt.ref.connection == NAME
    with urllib.request.urlopen(f"{peer.server.url}/_sandbox/rows?ref={our_key}") as answer:
        assert json.load(answer)["orders"] == 1
    with urllib.request.urlopen(f"{peer.server.url}/_sandbox/rows") as answer:
        assert json.load(answer)["replacement_orders"] >= 1


def test_a_stranger_on_the_inside_is_not_called(peer: ErpPeer) -> None:
    adapter = SoapAdapter.open(connection_of(peer, on_premise=False))
    with pytest.raises(Permanent, match="on premise"):
        adapter.find_order("SO-10001")
    adapter.close()


def test_the_sandbox_had_no_crash(peer: ErpPeer) -> None:
    assert peer.server.errors == []
