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


def parts(erp: Erp, world: World, **changes: Any) -> dict[str, Any]:
    """What a credit or a voucher for the first customer's order begins with."""
    asked = order(erp, world)
    return {**{key: asked[key] for key in ("Ref", "Order", "Reason")}, **changes}


def with_shipping(erp: Erp, world: World) -> tuple[dict[str, Any], Decimal]:
    """The row of a delivered order that paid for its parcel, and what it paid."""
    theirs = next(o for o in world.orders if o.status == "delivered" and o.shipping)
    row = erp.ledger.order_by_number(theirs.number)
    assert row is not None
    return row, theirs.shipping


def test_shipping_is_part_of_the_total_and_given_back_once(
    service: Any, erp: Erp, world: World
) -> None:
    row, shipping = with_shipping(erp, world)
    found = service.GetOrder(row["id"])
    goods = sum(line.Qty * line.UnitPrice for line in found.Lines.Line)
    assert (found.Shipping, found.Total) == (shipping, goods + shipping)
    asked = parts(erp, world, Order=row["id"], Shipping=True)
    assert service.CreateCredit(asked).Error is None
    (credit,) = service.FindCreditByRef("key-1").Invoice
    assert (credit.Total, credit.Shipping) == (shipping, shipping)
    again = service.CreateCredit({**asked, "Ref": "key-2"})
    assert (again.Error.Code, again.Error.Field) == ("OVER_CREDIT", "Shipping")
    free = next(o for o in world.orders if o.status == "delivered" and not o.shipping)
    number = erp.ledger.order_by_number(free.number)
    assert number is not None
    none_paid = service.CreateCredit({**asked, "Ref": "key-3", "Order": number["id"]})
    assert none_paid.Error.Code == "OVER_CREDIT"


def test_all_of_an_order_is_given_back_with_its_shipping(
    service: Any, erp: Erp, world: World
) -> None:
    row, shipping = with_shipping(erp, world)
    asked = parts(erp, world, Order=row["id"], Full=True)
    assert fault(lambda: service.CreateCredit({**asked, "Shipping": True})) == (
        "Client.Validation", "Full",
    )  # fmt: skip
    service.CreateCredit(asked)
    (credit,) = service.FindCreditByRef("key-1").Invoice
    assert (credit.Total, credit.Shipping) == (Decimal(row["total"]), shipping)
    assert service.CreateCredit({**asked, "Ref": "key-2"}).Error.Code == "OVER_CREDIT"


def test_a_part_of_a_line_is_given_back_up_to_what_it_cost(
    service: Any, erp: Erp, world: World
) -> None:
    bought = world.orders_of("C-1001", status="delivered")[0].lines[0]
    asked = parts(erp, world, Currency="EUR", Lines=order(erp, world)["Lines"])
    cost = bought.quantity * bought.unit_price
    service.CreateCredit({**asked, "Amount": cost - 1})
    (credit,) = service.FindCreditByRef("key-1").Invoice
    (piece,) = credit.Lines.Line
    assert (piece.OriginLine, piece.Amount, credit.Total) == (10, cost - 1, cost - 1)
    over = service.CreateCredit({**asked, "Ref": "key-2", "Amount": 2})
    assert (over.Error.Code, over.Error.Field) == ("OVER_CREDIT", "Lines.Line.OriginLine")
    assert service.CreateCredit({**asked, "Ref": "key-3", "Amount": 1}).Error is None
    shipping_too = {**asked, "Ref": "key-4", "Amount": 1, "Shipping": True}
    assert fault(lambda: service.CreateCredit(shipping_too)) == ("Client.Validation", "Amount")


def test_a_voucher_is_a_document_of_the_order(service: Any, erp: Erp, world: World) -> None:
    asked = parts(erp, world, Amount=15, Currency="EUR", ExpiresOn=date(2099, 12, 31))
    made = service.CreateVoucher(asked)
    assert made.Number.startswith("GV-")
    (voucher,) = service.FindVoucherByRef("key-1").Invoice
    assert (voucher.Type, voucher.Status, voucher.Total) == ("VOUCHER", "POSTED", Decimal(15))
    assert voucher.ExpiresOn == date(2099, 12, 31)
    assert service.FindCreditByRef("key-1") is None, "it is no credit note"
    assert voucher.Id in [one.Id for one in service.ListInvoices(asked["Order"]).Invoice]
    expired = {**asked, "Ref": "key-2", "ExpiresOn": date(2020, 1, 1)}
    assert service.CreateVoucher(expired).Error.Code == "EXPIRED"
    assert service.CreateVoucher({**asked, "Amount": 10**6}).Error.Code == "OVER_CREDIT"
    assert fault(lambda: service.CreateVoucher({**asked, "Amount": 0}))[1] == "Amount"


def test_a_line_says_which_line_it_is_about(service: Any, erp: Erp, world: World) -> None:
    made = service.CreateReplacementOrder(order(erp, world))
    assert [row.OriginLine for row in service.GetOrder(made.Id).Lines.Line] == [10]
    made = service.CreateReturn({**order(erp, world), "Then": "REPLACEMENT"})
    found = service.GetReturn(made.Id)
    assert (found.Then, [row.OriginLine for row in found.Lines.Line]) == ("REPLACEMENT", [10])


def test_what_is_promised_by_a_day_is_kept_or_refused(service: Any, erp: Erp, world: World) -> None:
    now = datetime.now(UTC)
    rush, standard = (delivery_date(now, p, "DE") for p in ("RUSH", "STANDARD"))
    slow = order(erp, world, DeliverBy=rush)
    simulated = service.SimulateReplacementOrder(slow)
    assert (simulated.Delivery, simulated.RushDelivery) == (standard, rush)
    assert (simulated.InTime, simulated.DeliverBy) == (False, rush)
    refused = service.CreateReplacementOrder(slow)
    assert (refused.Error.Code, refused.Error.Field) == ("TOO_LATE", "DeliverBy")
    fast = {**slow, "Priority": "RUSH"}
    assert service.SimulateReplacementOrder(fast).InTime is True
    assert service.CreateReplacementOrder(fast).Error is None
    later = service.CreateReplacementOrder(order(erp, world, DeliverBy=date(2099, 1, 4)))
    assert service.GetOrder(later.Id).RequestedDelivery == date(2099, 1, 4)
    (shipment,) = service.ListShipments(later.Id).Shipment
    assert shipment.PlannedFor == standard


def test_what_a_cancelled_replacement_took_is_in_stock_again(
    service: Any, erp: Erp, world: World
) -> None:
    def stock() -> str:
        (row,) = erp.ledger._all("SELECT stock FROM products WHERE sku = 'BULB-600'")
        return str(row["stock"])

    before = stock()
    made = service.CreateReplacementOrder(order(erp, world))
    assert stock() != before
    for _ in range(2):
        service.CancelOrder(made.Id, "R99", "key-c")
    assert stock() == before


@pytest.mark.parametrize(
    ("kind", "create", "take_back", "element", "too_late"),
    [
        ("return", "CreateReturn", "CancelReturn", "rma", "ALREADY_RECEIVED"),
        ("credit", "CreateCredit", "VoidCredit", "credit", "ALREADY_PAID"),
        ("voucher", "CreateVoucher", "VoidVoucher", "voucher", "ALREADY_SPENT"),
        ("order", "CreateReplacementOrder", "CancelOrder", "order", "ALREADY_SHIPPED"),
    ],
)
def test_it_is_taken_back_until_it_is_too_late(
    kind: str,
    create: str,
    take_back: str,
    element: str,
    too_late: str,
    service: Any,
    erp: Erp,
    world: World,
    server: SandboxServer,
) -> None:
    money = parts(erp, world, Amount=1, Currency="EUR")
    asked = money if kind in ("credit", "voucher") else order(erp, world)

    def back(row: int, ref: str) -> Any:
        answer = service[take_back](**{element: row, "reason": "R99", "ref": ref})
        return answer.Error.Code if answer.Error is not None else answer.Status

    first = service[create]({**asked, "Ref": "key-a"}).Id
    assert (back(first, "key-c"), back(first, "key-c")) == ("OK", "OK"), "the same again is fine"
    assert back(first, "key-d") == "ALREADY_CANCELLED"
    assert erp.ledger.rows_by_ref("key-c")["withdrawals"] == 1
    second = service[create]({**asked, "Ref": "key-b"}).Id
    post(server, "/_sandbox/advance", {"kind": kind, "id": second})
    assert back(second, "key-e") == too_late
    assert erp.ledger.rows_by_ref("key-e")["withdrawals"] == 0
    assert fault(lambda: back(1, "key-f"))[0] == "Client.NotFound"


def test_a_voided_credit_can_be_given_again(service: Any, erp: Erp, world: World) -> None:
    asked = parts(erp, world, Full=True)
    first = service.CreateCredit(asked)
    assert service.CreateCredit({**asked, "Ref": "key-2"}).Error.Code == "OVER_CREDIT"
    service.VoidCredit(first.Id, "R99", "key-c")
    assert service.CreateCredit({**asked, "Ref": "key-3"}).Error is None
    with pytest.raises(Fault):
        service.VoidVoucher(first.Id, "R99", "key-d")


def test_what_colleagues_make_is_listed(
    service: Any, erp: Erp, world: World, server: SandboxServer
) -> None:
    number = world.orders_of("C-1001", status="delivered")[0].number
    since = datetime.now(UTC)
    lines = [{"line": 10, "quantity": "1"}]
    made = {
        kind: post(server, "/_sandbox/book", {"kind": kind, "order": number, **what})["id"]
        for kind, what in {
            "replacement": {"lines": lines},
            "return": {"lines": lines, "then": "NOTHING"},
            "credit": {"amount": "2.50"},
            "voucher": {"amount": "5"},
        }.items()
    }
    assert walk(service, "order", "Orders", since) == [made["replacement"]]
    assert walk(service, "return", "Returns", since) == [made["return"]]
    assert walk(service, "invoice", "Invoices", since) == [made["credit"], made["voucher"]]
    assert erp.ledger.totals()["repeated_credit_refs"] == 0
    later = datetime.now(UTC)
    assert post(server, "/_sandbox/advance", {"kind": "return", "id": made["return"]}) == {
        "status": "RECEIVED"
    }
    assert walk(service, "return", "Returns", later) == [made["return"]]


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
        ("/_sandbox/touch", {"kind": "return"}),
        ("/_sandbox/book", {"kind": "gift", "order": "SO-10001"}),
        ("/_sandbox/book", {"kind": "credit", "order": "SO-1", "amount": "1"}),
        ("/_sandbox/book", {"kind": "credit", "order": "SO-10001", "amount": "much"}),
        ("/_sandbox/advance", {"kind": "credit", "id": 1}),
        ("/_sandbox/advance", {"kind": "moon", "id": 1}),
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


def test_an_empty_request_is_a_bad_one(server: SandboxServer) -> None:
    with pytest.raises(urllib.error.HTTPError, match="400") as caught:
        urllib.request.urlopen(f"{server.url}{PATH_11}", data=b"")
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
