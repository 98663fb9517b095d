"""The sandbox's ERP, asked by zeep as any SOAP client would, without our adapter in between."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import zeep
from zeep.exceptions import Fault
from zeep.wsse.username import UsernameToken

from middleware.sandbox.erp import PATH_11, PATH_12, Erp, build_erp
from middleware.sandbox.ledger import (
    CHANGES_SIZE,
    PAGE_SIZE,
    Ledger,
    Request,
    WantedLine,
    delivery_date,
)
from middleware.sandbox.server import SandboxServer
from middleware.sandbox.world import World, build


@pytest.fixture(scope="module")
def world() -> World:
    return build()


@pytest.fixture
def erp(world: World) -> Iterator[Erp]:
    made = build_erp(world)
    yield made
    made.close()


@pytest.fixture
def server(erp: Erp) -> Iterator[SandboxServer]:
    with SandboxServer(erp) as made:
        yield made
        assert made.errors == []


@pytest.fixture
def service(server: SandboxServer) -> Any:
    return connect(server)


def connect(server: SandboxServer, path: str = PATH_11, password: str = "sandbox") -> Any:
    token = UsernameToken("amends", password)
    return zeep.Client(f"{server.url}{path}?wsdl", wsse=token).service


def order(erp: Erp, world: World, **changes: Any) -> dict[str, Any]:
    """A replacement order for a delivered order of the first customer."""
    theirs = world.orders_of("C-1001", status="delivered")[0]
    row = erp.ledger.order_by_number(theirs.number)
    assert row is not None
    line = {"OriginLine": row["lines"][0]["line"], "Sku": "BULB-600", "Qty": 1, "Uom": "BX"}
    asked = {"Ref": "key-1", "Order": row["id"], "Reason": "R10", "Lines": {"Line": [line]}}
    return {**asked, **changes}


def fault(call: Any) -> tuple[str, str]:
    with pytest.raises(Fault) as caught:
        call()
    code = str(caught.value.code).rpartition(":")[2]
    detail = caught.value.detail
    return code, "" if detail is None else str(detail.findtext("Field") or "")


def test_every_operation_asks_for_credentials(server: SandboxServer) -> None:
    client = zeep.Client(f"{server.url}{PATH_11}?wsdl")
    names = [name for name, _ in client.service]
    assert {"GetCustomer", "CreateReplacementOrder", "ListChanges", "CancelOrder"} <= set(names)
    assert fault(client.service.GetSystemInfo)[0] == "Client.Authentication"
    wrong = connect(server, password="wrong")
    assert fault(wrong.GetSystemInfo)[0] == "Client.Authentication"
    assert fault(lambda: client.service.Login("amends", "wrong"))[0] == "Client.Authentication"


def test_a_session_works_like_a_token(server: SandboxServer) -> None:
    client = zeep.Client(f"{server.url}{PATH_11}?wsdl")
    session = client.service.Login("amends", "sandbox")
    info = client.service.GetSystemInfo(_soapheaders={"SessionHeader": {"SessionId": session}})
    assert info.User == "amends"


def test_a_digest_made_for_another_password_is_wrong(server: SandboxServer) -> None:
    client = zeep.Client(
        f"{server.url}{PATH_11}?wsdl", wsse=UsernameToken("amends", "wrong", use_digest=True)
    )
    assert fault(client.service.GetSystemInfo)[0] == "Client.Authentication"


def test_it_lies_about_credentials_when_told_to(server: SandboxServer) -> None:
    post(server, "/_sandbox/erp", {"lies": True})
    assert fault(connect(server, password="wrong").GetSystemInfo)[0] == "Server.ConcurrencyLimit"
    connect(server).GetSystemInfo()


def test_customers(service: Any, world: World) -> None:
    maria = world.customer("C-1001")
    found = service.GetCustomer("C-1001")
    assert (found.Name, found.Email, found.Address.City) == (maria.name, maria.email, "Berlin")
    both = service.FindCustomers(email="Familie.Brandt@example.net")
    assert [customer.Number for customer in both.Customer] == ["C-1003", "C-1004"]
    handle = maria.handles["x"].handle
    (one,) = service.FindCustomers(network="x", handle=f"@{handle}").Customer
    assert one.Number == "C-1001"
    assert service.FindCustomers(email="%") is None
    assert fault(service.FindCustomers) == ("Client.Validation", "email")
    assert fault(lambda: service.GetCustomer("C-9"))[0] == "Client.NotFound"


def test_orders_come_in_pages_newest_first(service: Any, erp: Erp, world: World) -> None:
    for number in range(PAGE_SIZE):
        service.CreateReplacementOrder(order(erp, world, Ref=f"key-{number}"))
    first = service.ListOrders("C-1001")
    second = service.ListOrders("C-1001", page=first.NextPage)
    assert len(first.Orders.Order) == PAGE_SIZE
    assert second.NextPage is None
    everything = first.Orders.Order + second.Orders.Order
    assert first.Total == len(everything) == len({row.Id for row in everything})
    placed = [row.PlacedAt for row in everything]
    assert placed == sorted(placed, reverse=True)


def test_an_order_has_its_shipment_and_its_invoice(service: Any, world: World) -> None:
    theirs = world.orders_of("C-1001", status="delivered")[0]
    found = service.FindOrderByNumber(theirs.number)
    assert found.Total == theirs.total
    assert service.GetOrder(found.Id).Number == theirs.number
    (shipment,) = service.ListShipments(found.Id).Shipment
    assert (shipment.TrackingNo, shipment.Status) == (theirs.tracking, "DELIVERED")
    (invoice,) = service.ListInvoices(found.Id).Invoice
    assert (invoice.Total, invoice.Status) == (theirs.total, "PAID")
    assert service.FindOrderByNumber("SO-1") is None
    assert fault(lambda: service.GetOrder(1))[0] == "Client.NotFound"


def test_a_replacement_order(service: Any, erp: Erp, world: World) -> None:
    before = erp.ledger.totals()
    made = service.CreateReplacementOrder(order(erp, world, Priority="RUSH"))
    assert (made.Status, made.Ref, made.Error) == ("OK", "key-1", None)
    (found,) = service.FindOrderByRef("key-1").Orders.Order
    assert (found.Type, found.Total, found.Customer) == ("REPLACEMENT", Decimal("0.00"), "C-1001")
    assert found.RequestedDelivery == delivery_date(datetime.now(UTC), "RUSH", "DE")
    (shipment,) = service.ListShipments(found.Id).Shipment
    assert (shipment.Status, shipment.PlannedFor) == ("PLANNED", found.RequestedDelivery)
    after = erp.ledger.totals()
    assert after["replacement_orders"] == before["replacement_orders"] + 1


def test_the_same_reference_twice_is_two_orders_unless_told_otherwise(
    service: Any, erp: Erp, world: World, server: SandboxServer
) -> None:
    for _ in range(2):
        service.CreateReplacementOrder(order(erp, world))
    assert erp.ledger.rows_by_ref("key-1")["orders"] == 2
    assert erp.ledger.totals()["repeated_order_refs"] == 1
    post(server, "/_sandbox/erp", {"unique_refs": True})
    again = order(erp, world)
    assert fault(lambda: service.CreateReplacementOrder(again))[0] == "Client.Duplicate"
    assert erp.ledger.rows_by_ref("key-1")["orders"] == 2


def line(**changes: Any) -> dict[str, Any]:
    asked = {"OriginLine": 10, "Sku": "BULB-600", "Qty": 1, "Uom": "BX"}
    return {"Lines": {"Line": [{**asked, **changes}]}}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"Order": 1}, "Order"),
        ({"Customer": "C-1002"}, "Customer"),
        (line(OriginLine=99), "Lines.Line.OriginLine"),
        (line(Qty=0), "Lines.Line.Qty"),
        (line(Qty=1000), "Lines.Line.Qty"),
        (line(Sku="NOPE"), "Lines.Line.Sku"),
        (line(Uom="KG"), "Lines.Line.Uom"),
        ({"Lines": {"Line": []}}, "Lines"),
        ({"ShipTo": {"Name": "x"}}, "ShipTo"),
    ],
)
def test_a_wrong_request_is_a_fault_that_names_the_field(
    wrong: dict[str, Any], field: str, service: Any, erp: Erp, world: World
) -> None:
    before = erp.ledger.totals()
    asked = order(erp, world, **wrong)
    assert fault(lambda: service.CreateReplacementOrder(asked)) == ("Client.Validation", field)
    assert fault(lambda: service.SimulateReplacementOrder(asked)) == ("Client.Validation", field)
    assert erp.ledger.totals() == before


@pytest.mark.parametrize("wrong", [{"Reason": "R77"}, {"Ref": ""}, {"Priority": "SOON"}])
def test_a_request_of_the_wrong_form_is_refused_by_the_schema(
    wrong: dict[str, Any], service: Any, erp: Erp, world: World
) -> None:
    asked = order(erp, world, **wrong)
    code, _ = fault(lambda: service.CreateReplacementOrder(asked))
    assert code == "Client.SchemaValidationError"


def test_what_the_business_refuses_is_an_error_in_a_200(
    service: Any, erp: Erp, world: World
) -> None:
    short = order(erp, world, **line(Sku="SPKR-520", Uom="EA"))
    answer = service.CreateReplacementOrder(short)
    assert (answer.Error.Code, answer.Id) == ("OUT_OF_STOCK", None)
    assert erp.ledger.rows_by_ref("key-1")["orders"] == 0
    simulated = service.SimulateReplacementOrder(short)
    assert simulated.Warnings.Warning == ["SPKR-520 is out of stock"]


def test_stock_goes_down_and_a_simulation_leaves_nothing(
    service: Any, erp: Erp, world: World
) -> None:
    def stock() -> Decimal:
        (available,) = service.SimulateReplacementOrder(order(erp, world)).Stock.Availability
        return Decimal(available.InStock)

    before, rows = stock(), erp.ledger.totals()
    stock()
    assert erp.ledger.totals() == rows
    service.CreateReplacementOrder(order(erp, world))
    assert stock() == before - 1


def test_rush_is_earlier_everywhere() -> None:
    monday = datetime(2026, 11, 16, 12, tzinfo=UTC)
    assert delivery_date(monday, "RUSH", "DE") == date(2026, 11, 17)
    assert delivery_date(monday, "STANDARD", "DE") == date(2026, 11, 20)
    friday = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert delivery_date(friday, "RUSH", "DE") == date(2026, 11, 23), "not on a weekend"
    for country in ("DE", "US", "FR", "JP"):
        rush, standard = (delivery_date(monday, p, country) for p in ("RUSH", "STANDARD"))
        assert monday.date() < rush < standard


def test_returns(service: Any, erp: Erp, world: World) -> None:
    asked = order(erp, world)
    made = service.CreateReturn(asked)
    assert made.Number.startswith("RMA-")
    (row,) = service.FindReturnByRef("key-1").Return
    assert (row.Status, row.Lines.Line[0].Sku) == ("AUTHORISED", "BULB-600")
    open_order = service.CreateReplacementOrder(order(erp, world, Ref="key-2"))
    not_shipped = {**asked, "Ref": "key-3", "Order": open_order.Id, **line()}
    assert service.CreateReturn(not_shipped).Error.Code == "NOT_SHIPPED"


def test_credits_go_up_to_what_was_paid(service: Any, erp: Erp, world: World) -> None:
    asked = order(erp, world)
    total = world.orders_of("C-1001", status="delivered")[0].total
    by_line = {key: asked[key] for key in ("Ref", "Order", "Reason")} | {
        "Lines": {"Line": [{**asked["Lines"]["Line"][0], "Qty": 1}]}
    }
    first = service.CreateCredit(by_line)
    assert first.Number.startswith("CN-")
    price = world.orders_of("C-1001", status="delivered")[0].lines[0].unit_price
    money = {key: by_line[key] for key in ("Order", "Reason")} | {"Currency": "EUR"}
    over = service.CreateCredit({**money, "Ref": "key-2", "Amount": total - price + 1})
    assert over.Error.Code == "OVER_CREDIT"
    rest = service.CreateCredit({**money, "Ref": "key-3", "Amount": total - price})
    assert rest.Error is None
    (credit,) = service.FindCreditByRef("key-3").Invoice
    assert (credit.Type, credit.Total) == ("CREDIT", total - price)
    wrong = {**money, "Ref": "key-4", "Amount": 1, "Currency": "USD"}
    assert fault(lambda: service.CreateCredit(wrong)) == ("Client.Validation", "Currency")


def test_cancelling_is_for_what_has_not_left(service: Any, erp: Erp, world: World) -> None:
    made = service.CreateReplacementOrder(order(erp, world))
    cancelled = service.CancelOrder(made.Id, "R99", "key-c")
    assert cancelled.Status == "OK"
    assert service.CancelOrder(made.Id, "R99", "key-c").Error is None, "the same again is fine"
    assert service.CancelOrder(made.Id, "R99", "key-d").Error.Code == "ALREADY_CANCELLED"
    row = service.GetOrder(made.Id)
    assert (row.Status, row.CancelRef) == ("CANCELLED", "key-c")
    (shipment,) = service.ListShipments(made.Id).Shipment
    assert shipment.Status == "CANCELLED"
    delivered = order(erp, world)["Order"]
    assert service.CancelOrder(delivered, "R99", "key-e").Error.Code == "ALREADY_SHIPPED"


def walk(service: Any, kind: str, element: str, since: datetime, **more: Any) -> list[str]:
    """The identifiers of all changed rows, over all pages."""
    ids: list[str] = []
    token = None
    for _ in range(50):
        page = service.ListChanges(kind, since=since, pageToken=token, **more)
        rows = getattr(page, element)
        ids += [str(getattr(row, "Id", None) or row.Number) for row in (next(iter(
            rows.__values__.values())) if rows is not None else [])]  # fmt: skip
        token = page.NextPageToken
        if token is None:
            return ids
    raise AssertionError("it does not end")


def test_changes_come_in_pages_and_none_is_skipped(service: Any, erp: Erp, world: World) -> None:
    beginning = datetime(2000, 1, 1, tzinfo=UTC)
    assert len(world.orders) > 2 * CHANGES_SIZE
    ids = walk(service, "order", "Orders", beginning)
    assert len(ids) == len(set(ids)) == len(world.orders)
    assert len(walk(service, "customer", "Customers", beginning)) == len(world.customers)
    since = datetime.now(UTC)
    assert walk(service, "order", "Orders", since) == []
    touched = erp.ledger.touch("order")
    assert walk(service, "order", "Orders", since) == [touched]
    assert walk(service, "order", "Orders", beginning, until=since) == [
        row for row in ids if row != touched
    ]


def test_rows_that_change_between_pages_make_none_slip(service: Any, erp: Erp) -> None:
    beginning = datetime(2000, 1, 1, tzinfo=UTC)
    first = service.ListChanges("order", since=beginning)
    seen = {row.Id for row in first.Orders.Order}
    for row_id in list(seen)[:5]:
        erp.ledger.touch("order", str(row_id))
    token = first.NextPageToken
    while token:
        page = service.ListChanges("order", since=beginning, pageToken=token)
        seen |= {row.Id for row in page.Orders.Order}
        token = page.NextPageToken
    assert seen == {row["id"] for row in erp.ledger._all("SELECT id FROM orders")}


def test_deleted_orders_are_listed(service: Any, erp: Erp, world: World) -> None:
    draft = next(row for row in world.orders if row.status == "draft")
    row = erp.ledger.order_by_number(draft.number)
    assert row is not None
    since = datetime.now(UTC)
    erp.ledger.delete_order(row["id"])
    page = service.ListChanges("order", since=since)
    assert page.Deleted.Id == [str(row["id"])]
    assert fault(lambda: service.GetOrder(row["id"]))[0] == "Client.NotFound"


def test_a_foreign_page_token_is_refused(service: Any) -> None:
    def call() -> Any:
        return service.ListChanges("order", since=datetime.now(UTC), pageToken="AAAA")

    assert fault(call) == ("Client.Validation", "pageToken")


def test_soap_1_2(server: SandboxServer, erp: Erp, world: World) -> None:
    service = connect(server, PATH_12)
    assert service.CreateReplacementOrder(order(erp, world)).Status == "OK"
    with pytest.raises(Fault) as caught:
        service.CreateReplacementOrder(order(erp, world, Order=1))
    assert str(caught.value.code).endswith(":Sender")
    assert [name.localname for name in caught.value.subcodes] == ["Validation"]


def test_rows_outlive_the_process(world: World, tmp_path: Path) -> None:
    first = build_erp(world, tmp_path / "erp.sqlite")
    with SandboxServer(first) as server:
        connect(server).CreateReplacementOrder(order(first, world))
    # Not closed: as if it had been killed.
    second = Ledger(build(8), tmp_path / "erp.sqlite")
    assert second.rows_by_ref("key-1")["orders"] == 1
    assert second.customer("C-1010")["email"] == world.customer("C-1010").email, "not seeded anew"
    second.close()
    first.close()


def test_many_at_once(erp: Erp, world: World) -> None:
    """Threads do not get in each other's way: no stock is sold twice, no number given twice."""
    erp.ledger.restock("BULB-600", 10)
    asked = order(erp, world)
    results: list[str] = []

    def create(number: int) -> None:
        wanted = asked["Lines"]["Line"][0]
        line = WantedLine(wanted["OriginLine"], wanted["Sku"], Decimal(1), wanted["Uom"])
        request = Request(f"k-{number}", asked["Order"], None, "R10", None, (line,))
        try:
            results.append(erp.ledger.create_replacement(request)["number"])
        except Exception as error:
            results.append(getattr(error, "code", repr(error)))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [result for result in results if result.startswith("RO-")]
    assert len(made) == len(set(made)) == 10
    assert results.count("OUT_OF_STOCK") == 14


def post(server: SandboxServer, path: str, body: object) -> Any:
    request = urllib.request.Request(
        server.url + path, data=json.dumps(body).encode(), method="POST"
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_controls(server: SandboxServer, erp: Erp) -> None:
    touched = post(server, "/_sandbox/touch", {"kind": "customer", "id": "C-1002"})
    assert touched == {"id": "C-1002"}
    assert erp.ledger.customer("C-1002")["street"] == "Neuer Weg 1"
    assert post(server, "/_sandbox/erp", {}) == {"unique_refs": False, "lies": False}
    for path, body in (
        ("/_sandbox/touch", {"kind": "nothing"}),
        ("/_sandbox/touch", {"kind": "order", "id": "1"}),
        ("/_sandbox/erp", {"lies": "yes"}),
        ("/_sandbox/erp", {"moods": True}),
        ("/_sandbox/erp", []),
        ("/_sandbox/nowhere", {}),
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(server, path, body)
        caught.value.close()


def test_no_service_elsewhere(server: SandboxServer) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{server.url}/other")
    caught.value.close()


def test_nothing_changed_in_the_future(world: World) -> None:
    """Even if the world's `now` lies ahead of this machine's clock."""
    ahead = build(now=datetime.now(UTC) + timedelta(days=30))
    ledger = Ledger(ahead)
    page = ledger.changes("order", since=datetime(2000, 1, 1, tzinfo=UTC), until=None, token=None)
    assert page.rows
    rows = ledger._all("SELECT max(changed_at) AS latest FROM orders")
    assert datetime.fromisoformat(rows[0]["latest"]) <= datetime.now(UTC)
    ledger.close()
