"""The sandbox's ERP: a SOAP service over the ledger, with the manners of the real ones.

It speaks SOAP 1.1 at `/soap/erp` and SOAP 1.2 at `/soap12/erp` (add `?wsdl`), and behaves as
SOAP ERPs do:

- a request that is wrong is a fault `Client.Validation` whose detail names the field; a request
  that the business refuses is an `Error` element inside an answer with status 200;
- references are not unique, unless it is told so: the same order sent twice is two orders;
- times are UTC, decimals have as many digits as they need, arrays come with a wrapper element;
- credentials come in a WS-Security UsernameToken (plain or digest) or in a session header that
  `Login` gave. Wrong ones are a fault `Client.Authentication`, or while `lies` is set one that
  looks like a limit on concurrent requests, which is what some vendors answer.

Under a `masked` fault of the server (`masked:<variant>`) it answers like systems that lie:
`error` applies the request and then says that it failed inside, `duplicate` applies it and then
says that the reference was already there, `shuffled` applies it and answers with the elements in
another order, `dtd` applies it and answers with a DOCTYPE; `unauthorised` and `busy` refuse it with
a fault, `app_fault` with an error in the application's own namespace, `login` with a login page
under status 200.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import logging
import secrets
import sys
import warnings
from collections.abc import Callable, Iterable
from datetime import date, datetime
from decimal import Decimal
from importlib.util import spec_from_loader
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from lxml import etree

from middleware.sandbox import ledger as books
from middleware.sandbox.ledger import Ledger, Row
from middleware.sandbox.world import World

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

with warnings.catch_warnings():
    # spyne carries a copy of six whose importer is from before Python's `find_spec`.
    warnings.simplefilter("ignore")
    from spyne import (
        Application,
        Array,
        Boolean,
        ComplexModel,
        Date,
        DateTime,
        Enum,
        Fault,
        Integer,
        Service,
        Unicode,
        const,
        rpc,
    )
    from spyne import Decimal as Numeric
    from spyne.protocol.soap import Soap11, Soap12
    from spyne.server.wsgi import WsgiApplication


# It would collect garbage once a second, in the middle of an answer: seconds of everybody's time in
# a process that holds much, such as a hub beside the sandbox, or a run of tests.
const.MIN_GC_INTERVAL = float("inf")


def _teach_importer() -> None:
    """Give spyne's importer the protocol that Python asks for, or every missing module warns."""
    for finder in sys.meta_path:
        if type(finder).__module__ != "spyne.util.six" or hasattr(finder, "find_spec"):
            continue

        def find_spec(self: Any, name: str, path: object = None, target: object = None) -> Any:
            return spec_from_loader(name, self) if name in self.known_modules else None

        kind: Any = type(finder)
        kind.find_spec = find_spec
        kind.create_module = lambda self, spec: self.load_module(spec.name)
        kind.exec_module = lambda self, module: None


_teach_importer()

NAMESPACE = "urn:sandbox:erp"
VERSION = "7.3"
PATH_11 = "/soap/erp"
PATH_12 = "/soap12/erp"

_WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
_WSU = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
_DIGEST = (
    "http://docs.oasis-open.org/wss/2004/01/"
    "oasis-200401-wss-username-token-profile-1.0#PasswordDigest"
)

# spyne logs each request and each fault with its whole content.
logging.getLogger("spyne").setLevel(logging.CRITICAL)


# What goes over the wire.


Needed = Unicode(min_len=1, min_occurs=1, nullable=False, type_name="NonEmpty")


class _Model(ComplexModel):  # type: ignore[misc]
    __namespace__ = NAMESPACE


class SessionHeader(_Model):
    SessionId = Unicode


class Error(_Model):
    """Why the business says no, inside an answer with status 200."""

    Code = Needed
    Message = Unicode
    Field = Unicode


class Address(_Model):
    Name = Unicode
    Street = Unicode
    City = Unicode
    PostalCode = Unicode
    Country = Unicode(2, min_len=2)


class SocialHandle(_Model):
    Network = Needed
    Handle = Unicode
    NativeId = Unicode


class Customer(_Model):
    Number = Needed
    Name = Unicode
    GivenName = Unicode
    FamilyName = Unicode
    Company = Unicode
    Email = Unicode
    Phone = Unicode
    Address = Address
    Handles = Array(SocialHandle)
    ChangedAt = DateTime


UnitCode = Enum(*books.UNITS.values(), type_name="UnitCode")
ReasonCode = Enum(*books.REASONS, type_name="ReasonCode")
PriorityCode = Enum(*books.PRIORITIES, type_name="PriorityCode")
KindCode = Enum(*books.KINDS, type_name="KindCode")
ThenCode = Enum(*books.THEN, type_name="ThenCode")
Reference = Unicode(64, min_len=1, min_occurs=1, nullable=False, type_name="Reference")
for _type in (Needed, Reference):
    _type.__namespace__ = NAMESPACE


class OrderLine(_Model):
    LineNo = Integer(min_occurs=1, nullable=False)
    Sku = Unicode
    Name = Unicode
    Qty = Numeric
    Uom = Unicode
    UnitPrice = Numeric
    OriginLine = Integer


class Order(_Model):
    Id = Integer(min_occurs=1, nullable=False)
    Number = Unicode
    Ref = Unicode
    Type = Unicode
    Customer = Unicode
    Origin = Integer
    Status = Unicode
    PlacedAt = DateTime
    Currency = Unicode
    Total = Numeric
    Shipping = Numeric
    ShipTo = Address
    Priority = Unicode
    RequestedDelivery = Date
    Reason = Unicode
    Note = Unicode
    CancelRef = Unicode
    Lines = Array(OrderLine, member_name="Line")
    ChangedAt = DateTime


class Shipment(_Model):
    Id = Integer(min_occurs=1, nullable=False)
    Number = Unicode
    Order = Integer
    Status = Unicode
    Carrier = Unicode
    TrackingNo = Unicode
    PlannedFor = Date
    ShippedAt = DateTime
    DeliveredAt = DateTime
    ChangedAt = DateTime


class CreditLine(_Model):
    """What of an order's line a credit note gives back."""

    OriginLine = Integer
    Sku = Unicode
    Qty = Numeric
    Uom = Unicode
    Amount = Numeric


class Invoice(_Model):
    """A bill, a credit note or a voucher, by its Type."""

    Id = Integer(min_occurs=1, nullable=False)
    Number = Unicode
    Ref = Unicode
    Type = Unicode
    Order = Integer
    Customer = Unicode
    Status = Unicode
    Currency = Unicode
    Total = Numeric
    Shipping = Numeric
    IssuedOn = Date
    ExpiresOn = Date
    CancelRef = Unicode
    Lines = Array(CreditLine, member_name="Line")
    ChangedAt = DateTime


class ReturnLine(_Model):
    LineNo = Integer
    Sku = Unicode
    Qty = Numeric
    Uom = Unicode
    OriginLine = Integer


class Return(_Model):
    Id = Integer(min_occurs=1, nullable=False)
    Number = Unicode
    Ref = Unicode
    Order = Integer
    Customer = Unicode
    Status = Unicode
    Then = Unicode
    Reason = Unicode
    CancelRef = Unicode
    Lines = Array(ReturnLine, member_name="Line")
    CreatedAt = DateTime
    ChangedAt = DateTime


class RequestLine(_Model):
    OriginLine = Integer(min_occurs=1, nullable=False)
    Sku = Needed
    Qty = Numeric(min_occurs=1, nullable=False)
    Uom = UnitCode(min_occurs=1, nullable=False)


class ReplacementOrder(_Model):
    Ref = Reference
    Order = Integer(min_occurs=1, nullable=False)
    Customer = Unicode
    Reason = ReasonCode(min_occurs=1, nullable=False)
    Priority = PriorityCode
    DeliverBy = Date
    ShipTo = Address
    Note = Unicode(255)
    Lines = Array(RequestLine, member_name="Line", min_occurs=1, nullable=False)


class ReturnOrder(_Model):
    Ref = Reference
    Order = Integer(min_occurs=1, nullable=False)
    Customer = Unicode
    Reason = ReasonCode(min_occurs=1, nullable=False)
    Then = ThenCode
    Note = Unicode(255)
    Lines = Array(RequestLine, member_name="Line", min_occurs=1, nullable=False)


class CreditNote(_Model):
    Ref = Reference
    Order = Integer(min_occurs=1, nullable=False)
    Customer = Unicode
    Reason = ReasonCode(min_occurs=1, nullable=False)
    Note = Unicode(255)
    Amount = Numeric
    Currency = Unicode(3, min_len=3)
    Shipping = Boolean
    Full = Boolean
    Lines = Array(RequestLine, member_name="Line")


class Voucher(_Model):
    Ref = Reference
    Order = Integer(min_occurs=1, nullable=False)
    Customer = Unicode
    Reason = ReasonCode(min_occurs=1, nullable=False)
    Note = Unicode(255)
    Amount = Numeric(min_occurs=1, nullable=False)
    Currency = Unicode(3, min_len=3, min_occurs=1, nullable=False)
    ExpiresOn = Date


class Created(_Model):
    Id = Integer
    Number = Unicode
    Ref = Unicode
    Status = Unicode
    CreatedAt = DateTime
    Repeated = Boolean
    Error = Error


class CustomerAnswer(_Model):
    Customer = Customer


class CustomerList(_Model):
    Customers = Array(Customer)


class OrderAnswer(_Model):
    Order = Order


class OrderList(_Model):
    Orders = Array(Order)
    Total = Integer
    NextPage = Integer


class ShipmentList(_Model):
    Shipments = Array(Shipment)


class InvoiceList(_Model):
    Invoices = Array(Invoice)


class InvoiceAnswer(_Model):
    Invoice = Invoice


class ReturnAnswer(_Model):
    Return = Return


class ReturnList(_Model):
    Returns = Array(Return)


class DeletedIds(_Model):
    Id = Unicode(max_occurs="unbounded")


class WarningList(_Model):
    Warning = Unicode(max_occurs="unbounded")


class ChangeList(_Model):
    Customers = Array(Customer)
    Orders = Array(Order)
    Shipments = Array(Shipment)
    Invoices = Array(Invoice)
    Returns = Array(Return)
    Deleted = DeletedIds
    NextPageToken = Unicode
    AsOf = DateTime


class Availability(_Model):
    Sku = Unicode
    Wanted = Numeric
    InStock = Numeric
    Enough = Boolean


class Simulation(_Model):
    GoodsValue = Numeric
    Charged = Numeric
    Currency = Unicode
    Delivery = Date
    RushDelivery = Date
    DeliverBy = Date
    InTime = Boolean
    Priority = Integer
    Stock = Array(Availability)
    Warnings = WarningList
    Error = Error


class CreditSimulation(_Model):
    Amount = Numeric
    LeftAfter = Numeric
    Currency = Unicode
    Error = Error


class ReturnSimulation(_Model):
    Refund = Numeric
    Currency = Unicode
    Then = Unicode
    Error = Error


class SystemInfo(_Model):
    System = Unicode
    Version = Unicode
    User = Unicode
    Now = DateTime


class LoginAnswer(_Model):
    SessionId = Unicode


# The operations.

_out = {"_out_variable_name": "Result"}
_stopping = (
    Integer(min_occurs=1, nullable=False),
    ReasonCode(min_occurs=1, nullable=False),
    Reference,
)
"""What cancelling and voiding take: which record, why, and under which reference."""


class ErpService(Service):  # type: ignore[misc]
    __in_header__ = SessionHeader

    @rpc(Needed, Needed, _returns=LoginAnswer, **_out)
    def Login(ctx, user, password):  # type: ignore[no-untyped-def] # noqa: N802, N805
        return LoginAnswer(SessionId=_erp(ctx)._log_in(user, password))

    @rpc(_returns=SystemInfo, **_out)
    def GetSystemInfo(ctx):  # type: ignore[no-untyped-def] # noqa: N802, N805
        return SystemInfo(
            System="Sandbox ERP", Version=VERSION, User=ctx.udc, Now=_books(ctx).now()
        )

    @rpc(Needed, _returns=CustomerAnswer, **_out)
    def GetCustomer(ctx, number):  # type: ignore[no-untyped-def] # noqa: N802, N805
        return CustomerAnswer(Customer=_customer(_books(ctx).customer(number)))

    @rpc(Unicode, Unicode, Unicode, Unicode, Unicode, DateTime, _returns=CustomerList, **_out)
    def FindCustomers(ctx, email, phone, number, network, handle, changedSince):  # type: ignore[no-untyped-def] # noqa: N802, N803, N805
        rows = _books(ctx).find_customers(
            email=email,
            phone=phone,
            number=number,
            handle=(network, handle) if network and handle else None,
            changed_since=changedSince,
        )
        return CustomerList(Customers=[_customer(row) for row in rows])

    @rpc(Needed, DateTime, Integer(ge=1), _returns=OrderList, **_out)
    def ListOrders(ctx, customer, changedSince, page):  # type: ignore[no-untyped-def] # noqa: N802, N803, N805
        page = page or 1
        rows, total = _books(ctx).orders_of(customer, changed_since=changedSince, page=page)
        more = page * books.PAGE_SIZE < total
        return OrderList(
            Orders=[_order(row) for row in rows], Total=total, NextPage=page + 1 if more else None
        )

    @rpc(Integer(min_occurs=1, nullable=False), _returns=OrderAnswer, **_out)
    def GetOrder(ctx, id):  # type: ignore[no-untyped-def] # noqa: A002, N802, N805
        return OrderAnswer(Order=_order(_books(ctx).order(id)))

    @rpc(Needed, _returns=OrderAnswer, **_out)
    def FindOrderByNumber(ctx, number):  # type: ignore[no-untyped-def] # noqa: N802, N805
        row = _books(ctx).order_by_number(number)
        return OrderAnswer(Order=_order(row) if row else None)

    @rpc(Reference, _returns=OrderList, **_out)
    def FindOrderByRef(ctx, ref):  # type: ignore[no-untyped-def] # noqa: N802, N805
        rows = _books(ctx).orders_by_ref(ref)
        return OrderList(Orders=[_order(row) for row in rows], Total=len(rows))

    @rpc(Integer(min_occurs=1, nullable=False), _returns=ShipmentList, **_out)
    def ListShipments(ctx, order):  # type: ignore[no-untyped-def] # noqa: N802, N805
        return ShipmentList(Shipments=[_shipment(row) for row in _books(ctx).shipments_of(order)])

    @rpc(Integer(min_occurs=1, nullable=False), _returns=InvoiceList, **_out)
    def ListInvoices(ctx, order):  # type: ignore[no-untyped-def] # noqa: N802, N805
        return InvoiceList(Invoices=[_invoice(row) for row in _books(ctx).invoices_of(order)])

    @rpc(
        KindCode(min_occurs=1, nullable=False), DateTime(min_occurs=1, nullable=False), DateTime,
        Unicode, _returns=ChangeList, **_out,
    )  # fmt: skip
    def ListChanges(ctx, kind, since, until, pageToken):  # type: ignore[no-untyped-def] # noqa: N802, N803, N805
        page = _books(ctx).changes(str(kind), since=since, until=until, token=_unsealed(pageToken))
        answer = ChangeList(
            Deleted=DeletedIds(Id=list(page.deleted)),
            NextPageToken=_sealed(page.next_token),
            AsOf=page.as_of,
        )
        element, made = {
            "customer": ("Customers", _customer),
            "order": ("Orders", _order),
            "shipment": ("Shipments", _shipment),
            "invoice": ("Invoices", _invoice),
            "return": ("Returns", _return),
        }[str(kind)]
        setattr(answer, element, [made(row) for row in page.rows])
        return answer

    @rpc(ReplacementOrder.customize(min_occurs=1, nullable=False), _returns=Simulation, **_out)
    def SimulateReplacementOrder(ctx, order):  # type: ignore[no-untyped-def] # noqa: N802, N805
        made = _books(ctx).simulate(_request(order))
        short = [sku for sku, wanted, left in made.availability if left < wanted]
        return Simulation(
            GoodsValue=made.goods_value,
            Charged=made.charged,
            Currency=made.currency,
            Delivery=made.delivery,
            RushDelivery=made.rush_delivery,
            DeliverBy=order.DeliverBy,
            InTime=made.in_time,
            Priority=made.priority,
            Stock=[
                Availability(Sku=sku, Wanted=wanted, InStock=left, Enough=left >= wanted)
                for sku, wanted, left in made.availability
            ],
            Warnings=WarningList(Warning=[f"{sku} is out of stock" for sku in short]),
        )

    @rpc(ReplacementOrder.customize(min_occurs=1, nullable=False), _returns=Created, **_out)
    def CreateReplacementOrder(ctx, order):  # type: ignore[no-untyped-def] # noqa: N802, N805
        return _created(lambda: _books(ctx).create_replacement(_request(order)))

    @rpc(ReturnOrder.customize(min_occurs=1, nullable=False), _returns=Created, **_out)
    def CreateReturn(ctx, order):  # type: ignore[no-untyped-def] # noqa: N802, N805
        return _created(lambda: _books(ctx).create_return(_request(order)))

    @rpc(ReturnOrder.customize(min_occurs=1, nullable=False), _returns=ReturnSimulation, **_out)
    def SimulateReturn(ctx, order):  # type: ignore[no-untyped-def] # noqa: N802, N805
        asked = _request(order)
        try:
            refund, currency = _books(ctx).simulate_return(asked)
        except books.Refused as error:
            return ReturnSimulation(Error=_refused(error))
        return ReturnSimulation(Refund=refund, Currency=currency, Then=asked.then)

    @rpc(Reference, _returns=ReturnList, **_out)
    def FindReturnByRef(ctx, ref):  # type: ignore[no-untyped-def] # noqa: N802, N805
        return ReturnList(Returns=[_return(row) for row in _books(ctx).returns_by_ref(ref)])

    @rpc(Integer(min_occurs=1, nullable=False), _returns=ReturnAnswer, **_out)
    def GetReturn(ctx, rma):  # type: ignore[no-untyped-def] # noqa: N802, N805
        return ReturnAnswer(Return=_return(_books(ctx).goods_return(rma)))

    @rpc(Integer(min_occurs=1, nullable=False), _returns=InvoiceAnswer, **_out)
    def GetInvoice(ctx, invoice):  # type: ignore[no-untyped-def] # noqa: N802, N805
        return InvoiceAnswer(Invoice=_invoice(_books(ctx).invoice(invoice)))

    @rpc(CreditNote.customize(min_occurs=1, nullable=False), _returns=Created, **_out)
    def CreateCredit(ctx, credit):  # type: ignore[no-untyped-def] # noqa: N802, N805
        return _created(lambda: _books(ctx).create_credit(_request(credit)))

    @rpc(CreditNote.customize(min_occurs=1, nullable=False), _returns=CreditSimulation, **_out)
    def SimulateCredit(ctx, credit):  # type: ignore[no-untyped-def] # noqa: N802, N805
        try:
            amount, left, currency = _books(ctx).simulate_credit(_request(credit))
        except books.Refused as error:
            return CreditSimulation(Error=_refused(error))
        return CreditSimulation(Amount=amount, LeftAfter=left, Currency=currency)

    @rpc(Reference, _returns=InvoiceList, **_out)
    def FindCreditByRef(ctx, ref):  # type: ignore[no-untyped-def] # noqa: N802, N805
        return InvoiceList(Invoices=[_invoice(row) for row in _books(ctx).credits_by_ref(ref)])

    @rpc(Voucher.customize(min_occurs=1, nullable=False), _returns=Created, **_out)
    def CreateVoucher(ctx, voucher):  # type: ignore[no-untyped-def] # noqa: N802, N805
        return _created(lambda: _books(ctx).create_voucher(_request(voucher)))

    @rpc(Reference, _returns=InvoiceList, **_out)
    def FindVoucherByRef(ctx, ref):  # type: ignore[no-untyped-def] # noqa: N802, N805
        return InvoiceList(Invoices=[_invoice(row) for row in _books(ctx).vouchers_by_ref(ref)])

    @rpc(*_stopping, _returns=Created, **_out)
    def CancelOrder(ctx, order, reason, ref):  # type: ignore[no-untyped-def] # noqa: N802, N805
        return _stopped(lambda: _books(ctx).cancel(order, str(reason), ref), ref)

    @rpc(*_stopping, _returns=Created, **_out)
    def CancelReturn(ctx, rma, reason, ref):  # type: ignore[no-untyped-def] # noqa: N802, N805
        return _stopped(lambda: _books(ctx).cancel_return(rma, str(reason), ref), ref)

    @rpc(*_stopping, _returns=Created, **_out)
    def VoidCredit(ctx, credit, reason, ref):  # type: ignore[no-untyped-def] # noqa: N802, N805
        return _stopped(lambda: _books(ctx).void("CREDIT", credit, str(reason), ref), ref)

    @rpc(*_stopping, _returns=Created, **_out)
    def VoidVoucher(ctx, voucher, reason, ref):  # type: ignore[no-untyped-def] # noqa: N802, N805
        return _stopped(lambda: _books(ctx).void("VOUCHER", voucher, str(reason), ref), ref)


def _erp(ctx: Any) -> Erp:
    erp: Erp = ctx.app.erp
    return erp


def _books(ctx: Any) -> Ledger:
    return _erp(ctx).ledger


def _created(create: Callable[[], Row]) -> Created:
    try:
        row = create()
    except books.Refused as error:
        return Created(Error=_refused(error))
    status = {"OPEN": "OK", "AUTHORISED": "OK", "POSTED": "OK", "CANCELLED": "OK"}
    return Created(
        Id=row["id"],
        Number=row["number"],
        Ref=row["ref"],
        Status=status.get(row["status"], "PEND"),
        CreatedAt=_moment(row["changed_at"]),
        Repeated=row.get("repeated"),
    )


def _refused(error: books.Refused) -> Error:
    return Error(Code=error.code, Message=error.message, Field=error.field)


def _stopped(stop: Callable[[], Row], ref: str) -> Created:
    return _created(lambda: {**stop(), "ref": ref})


def _request(given: Any) -> books.Request:
    place = getattr(given, "ShipTo", None)
    if place is not None and not (place.City and place.Country):
        raise books.Invalid("an address needs a city and a country", "ShipTo")
    return books.Request(
        ref=given.Ref,
        order=int(given.Order),
        customer=given.Customer,
        reason=str(given.Reason),
        note=given.Note,
        lines=tuple(
            books.WantedLine(int(line.OriginLine), line.Sku, Decimal(line.Qty), str(line.Uom))
            for line in getattr(given, "Lines", None) or ()
        ),
        priority=str(getattr(given, "Priority", None) or "STANDARD"),
        ship_to=None
        if place is None
        else {
            "name": place.Name,
            "street": place.Street,
            "city": place.City,
            "postal_code": place.PostalCode,
            "country": place.Country,
        },
        deliver_by=getattr(given, "DeliverBy", None),
        amount=getattr(given, "Amount", None),
        currency=getattr(given, "Currency", None),
        shipping=bool(getattr(given, "Shipping", None)),
        full=bool(getattr(given, "Full", None)),
        expires_on=getattr(given, "ExpiresOn", None),
        then=str(getattr(given, "Then", None) or "REFUND"),
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def _customer(row: Row) -> Customer:
    return Customer(
        Number=row["number"],
        Name=row["company"] or f"{row['given_name']} {row['family_name']}",
        GivenName=row["given_name"],
        FamilyName=row["family_name"],
        Company=row["company"],
        Email=row["email"],
        Phone=row["phone"],
        Address=Address(
            Street=row["street"],
            City=row["city"],
            PostalCode=row["postal_code"],
            Country=row["country"],
        ),
        Handles=[
            SocialHandle(Network=h["network"], Handle=h["handle"], NativeId=h["native_id"])
            for h in row["handles"]
        ],
        ChangedAt=_moment(row["changed_at"]),
    )


def _order(row: Row) -> Order:
    return Order(
        Id=row["id"],
        Number=row["number"],
        Ref=row["ref"],
        Type=row["type"],
        Customer=row["customer"],
        Origin=row["origin"],
        Status=row["status"],
        PlacedAt=_moment(row["placed_at"]),
        Currency=row["currency"],
        Total=Decimal(row["total"]),
        Shipping=Decimal(row["shipping"]),
        ShipTo=Address(
            Name=row["ship_name"],
            Street=row["street"],
            City=row["city"],
            PostalCode=row["postal_code"],
            Country=row["country"],
        ),
        Priority=row["priority"],
        RequestedDelivery=_day(row["requested"]),
        Reason=row["reason"],
        Note=row["note"],
        CancelRef=row["cancel_ref"],
        Lines=[
            OrderLine(
                LineNo=line["line"],
                Sku=line["sku"],
                Name=line["name"],
                Qty=Decimal(line["quantity"]),
                Uom=line["unit"],
                UnitPrice=Decimal(line["price"]),
                OriginLine=line["origin"],
            )
            for line in row["lines"]
        ],
        ChangedAt=_moment(row["changed_at"]),
    )


def _shipment(row: Row) -> Shipment:
    return Shipment(
        Id=row["id"],
        Number=row["number"],
        Order=row["order_id"],
        Status=row["status"],
        Carrier=row["carrier"],
        TrackingNo=row["tracking"],
        PlannedFor=_day(row["planned_for"]),
        ShippedAt=_moment(row["shipped_at"]),
        DeliveredAt=_moment(row["delivered_at"]),
        ChangedAt=_moment(row["changed_at"]),
    )


def _invoice(row: Row) -> Invoice:
    return Invoice(
        Id=row["id"],
        Number=row["number"],
        Ref=row["ref"],
        Type=row["type"],
        Order=row["order_id"],
        Customer=row["customer"],
        Status=row["status"],
        Currency=row["currency"],
        Total=Decimal(row["total"]),
        Shipping=Decimal(row["shipping"]) if row["shipping"] else None,
        IssuedOn=_day(row["issued_on"]),
        ExpiresOn=_day(row["expires_on"]),
        CancelRef=row["cancel_ref"],
        Lines=[
            CreditLine(
                OriginLine=piece["origin"],
                Sku=piece["sku"],
                Qty=Decimal(piece["quantity"]),
                Uom=piece["unit"],
                Amount=Decimal(piece["amount"]),
            )
            for piece in row["pieces"]
        ],
        ChangedAt=_moment(row["changed_at"]),
    )


def _return(row: Row) -> Return:
    return Return(
        Id=row["id"],
        Number=row["number"],
        Ref=row["ref"],
        Order=row["order_id"],
        Customer=row["customer"],
        Status=row["status"],
        Then=row["next"],
        Reason=row["reason"],
        CancelRef=row["cancel_ref"],
        Lines=[
            ReturnLine(
                LineNo=line["line"],
                Sku=line["sku"],
                Qty=Decimal(line["quantity"]),
                Uom=line["unit"],
                OriginLine=line["origin"],
            )
            for line in row["lines"]
        ],
        CreatedAt=_moment(row["created_at"]),
        ChangedAt=_moment(row["changed_at"]),
    )


def _sealed(token: str | None) -> str | None:
    return base64.urlsafe_b64encode(token.encode()).decode() if token else None


def _unsealed(token: str | None) -> str | None:
    if not token:
        return None
    try:
        return base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise books.Invalid("that is no page token of this server", "pageToken") from None


# The door.


class _Service(Application):  # type: ignore[misc]
    """A spyne application that asks for credentials and turns the ledger's errors into faults."""

    def __init__(self, erp: Erp, protocol: type[Soap11]) -> None:
        self.erp = erp
        super().__init__(
            [ErpService],
            tns=NAMESPACE,
            name="SandboxErp",
            # spyne's SOAP 1.2 cannot say what the schema validator found.
            in_protocol=protocol(validator="lxml" if protocol is Soap11 else "soft"),
            out_protocol=protocol(),
        )

    def call_wrapper(self, ctx: Any) -> Any:
        if ctx.descriptor.name != "Login":
            ctx.udc = self.erp._authenticate(ctx.in_header_doc)
        try:
            return super().call_wrapper(ctx)
        except books.Invalid as error:
            raise Fault(
                "Client.Validation", error.message, detail={"Field": error.field}
            ) from error
        except books.Unknown as error:
            raise Fault("Client.NotFound", str(error)) from error
        except books.TakenRef as error:
            raise Fault("Client.Duplicate", "the reference is already in use") from error


class Erp:
    """The ERP as a WSGI application, with what tests and auditors need beside it."""

    def __init__(self, world: World, state_path: Path | None, *, user: str, password: str) -> None:
        self.ledger = Ledger(world, state_path)
        self.lies = False
        """Whether wrong credentials look like too many concurrent requests."""
        self._user = user
        self._password = password
        self._sessions: set[str] = set()
        self._doors = {
            PATH_11: WsgiApplication(_Service(self, Soap11)),
            PATH_12: WsgiApplication(_Service(self, Soap12)),
        }

    def close(self) -> None:
        """Close the ledger's file."""
        self.ledger.close()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith("/_sandbox/"):
            return self._control(environ, start_response)
        door = self._doors.get(path)
        if door is None:
            return _plain(start_response, "404 Not Found", "no service lives here")
        if environ["REQUEST_METHOD"] == "POST" and not int(environ.get("CONTENT_LENGTH") or 0):
            # spyne raises over it; a line that breaks before the body makes one.
            return _plain(start_response, "400 Bad Request", "the request is empty")
        variant = environ.get("sandbox.masked")
        if variant is None:
            return door(environ, start_response)  # type: ignore[no-any-return]
        return self._masked(variant, path, door, environ, start_response)

    def _log_in(self, user: str, password: str) -> str:
        if not self._is_user(user, password):
            raise self._refusal()
        session = secrets.token_hex(16)
        self._sessions.add(session)
        return session

    def _is_user(self, user: str | None, password: str | None) -> bool:
        return hmac.compare_digest(user or "", self._user) and hmac.compare_digest(
            password or "", self._password
        )

    def _authenticate(self, headers: Iterable[etree._Element] | None) -> str:
        for header in headers or ():
            session = header.findtext(f"{{{NAMESPACE}}}SessionId")
            if session in self._sessions:
                return self._user
            token = header.find(f"{{{_WSSE}}}UsernameToken")
            if token is not None and self._fits(token):
                return self._user
        raise self._refusal()

    def _fits(self, token: etree._Element) -> bool:
        user = token.findtext(f"{{{_WSSE}}}Username") or ""
        given = token.find(f"{{{_WSSE}}}Password")
        if given is None:
            return False
        if given.get("Type") != _DIGEST:
            return self._is_user(user, given.text)
        try:
            nonce = base64.b64decode(token.findtext(f"{{{_WSSE}}}Nonce") or "")
        except binascii.Error:
            return False
        created = token.findtext(f"{{{_WSU}}}Created") or ""
        digest = hashlib.sha1(  # noqa: S324 - WS-Security 1.0 prescribes it
            nonce + created.encode() + self._password.encode()
        ).digest()
        fits = hmac.compare_digest(base64.b64encode(digest).decode(), (given.text or "").strip())
        return fits and hmac.compare_digest(user, self._user)

    def _refusal(self) -> Fault:
        if self.lies:
            return _busy()
        return Fault("Client.Authentication", "the credentials are wrong or have expired")

    def _masked(
        self,
        variant: str,
        path: str,
        door: WSGIApplication,
        environ: WSGIEnvironment,
        start_response: StartResponse,
    ) -> Iterable[bytes]:
        soap12 = path == PATH_12
        if variant == "login":
            page = "<html><head><title>Log in</title></head><body><form></form></body></html>"
            return _plain(start_response, "200 OK", page, "text/html; charset=utf-8")
        if variant == "busy":
            fault = _fault_document(soap12, "Server.ConcurrencyLimit", "too many requests at once")
            return _xml(start_response, "500 Internal Server Error", fault)
        if variant == "unauthorised":
            fault = _fault_document(
                soap12, "Client.Authentication", "the credentials are wrong or have expired"
            )
            return _xml(start_response, "500 Internal Server Error", fault)
        if variant == "app_fault":
            failure = (
                f'<e:Failure xmlns:e="{NAMESPACE}:failures"><e:Kind>SystemDown</e:Kind>'
                "<e:Text>nightly close of the books</e:Text></e:Failure>"
            )
            return _xml(start_response, "500 Internal Server Error", _envelope(soap12, failure))
        status, body = _capture(door, environ)
        if not status.startswith("200"):
            return _xml(start_response, status, body)
        if variant == "error":
            return _xml(start_response, "200 OK", _with_error(body, "INTERNAL", "posting failed"))
        if variant == "duplicate":
            fault = _fault_document(soap12, "Client.Duplicate", "the reference is already in use")
            return _xml(start_response, "500 Internal Server Error", fault)
        if variant == "shuffled":
            return _xml(start_response, "200 OK", _shuffled(body))
        if variant == "dtd":
            dtd = b'<!DOCTYPE Envelope [<!ENTITY who "somebody">]>'
            declared = body.partition(b"?>")
            return _xml(start_response, "200 OK", declared[0] + b"?>" + dtd + declared[2])
        return _plain(start_response, "500 Internal Server Error", f"no mask is called {variant}")

    def _control(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        try:
            if path == "/_sandbox/rows" and method == "GET":
                refs = parse_qs(environ.get("QUERY_STRING", "")).get("ref")
                answer: dict[str, Any] = (
                    self.ledger.rows_by_ref(refs[0]) if refs else self.ledger.totals()
                )
            elif path == "/_sandbox/touch" and method == "POST":
                asked = _read_json(environ)
                answer = {"id": self.ledger.touch(asked["kind"], asked.get("id"))}
            elif path == "/_sandbox/book" and method == "POST":
                answer = self._book(_read_json(environ))
            elif path == "/_sandbox/advance" and method == "POST":
                asked = _read_json(environ)
                answer = {"status": self.ledger.advance(asked["kind"], int(asked["id"]))}
            elif path == "/_sandbox/erp" and method == "POST":
                for name, value in _read_json(environ).items():
                    self._set(name, value)
                answer = {"unique_refs": self.ledger.unique_refs, "lies": self.lies}
            else:
                return _plain(start_response, "404 Not Found", "no such control")
        except (ArithmeticError, ValueError, KeyError, TypeError, books.NotBooked) as error:
            return _plain(start_response, "400 Bad Request", f"{type(error).__name__}: {error}")
        return _plain(start_response, "200 OK", json.dumps(answer), "application/json")

    def _book(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A colleague's replacement, return, credit or voucher, for a whole order or for lines."""
        order = self.ledger.order_by_number(str(asked["order"]))
        if order is None:
            order = self.ledger.order(int(asked["order"]))
        there = {line["line"]: line for line in order["lines"]}
        lines = []
        for wanted in asked.get("lines", ()):
            bought = there[int(wanted["line"])]
            quantity = Decimal(str(wanted.get("quantity", bought["quantity"])))
            sku, unit = wanted.get("sku", bought["sku"]), wanted.get("unit", bought["unit"])
            lines.append(books.WantedLine(bought["line"], sku, quantity, unit))
        made = self.ledger.book(
            asked["kind"],
            books.Request(
                ref=str(asked.get("ref") or f"desk-{secrets.token_hex(6)}"),
                order=order["id"],
                customer=None,
                reason=str(asked.get("reason", "R99")),
                note="by a colleague",
                lines=tuple(lines),
                amount=Decimal(str(asked["amount"])) if "amount" in asked else None,
                currency=order["currency"],
                shipping=asked.get("shipping") is True,
                full=asked.get("full") is True,
                then=str(asked.get("then", "REFUND")),
            ),
        )
        return {"id": str(made["id"]), "number": made["number"], "ref": made["ref"]}

    def _set(self, name: str, value: object) -> None:
        if not isinstance(value, bool):
            raise TypeError(f"{name} is true or false")
        if name == "unique_refs":
            self.ledger.unique_refs = value
        elif name == "lies":
            self.lies = value
        else:
            raise ValueError(f"{name!r} is none of unique_refs, lies")


def build_erp(
    world: World,
    state_path: Path | None = None,
    *,
    user: str = "amends",
    password: str = "sandbox",  # noqa: S107
) -> Erp:
    """The ERP over `world` as a WSGI application, to be served by `SandboxServer`.

    Rows live in `state_path` (SQLite), which is filled when it is new and kept otherwise, or in
    memory. `GET /_sandbox/rows?ref=…` counts the rows that bear a reference, `GET /_sandbox/rows`
    all rows; `POST /_sandbox/touch {"kind": …}` changes a row; `POST /_sandbox/erp` sets
    `unique_refs` and `lies`. `POST /_sandbox/book {"kind": "replacement"|"return"|"credit"|
    "voucher", "order": number or id, "lines": [{"line", "quantity", "sku"}], "amount", "shipping",
    "full"}` makes what a colleague makes without asking the hub; `POST /_sandbox/advance {"kind":
    "order"|"return"|"credit"|"voucher", "id"}` lets the order ship or arrive, the goods come in,
    the money be paid or the voucher be spent.
    """
    return Erp(world, state_path, user=user, password=password)


def _busy() -> Fault:
    return Fault("Server.ConcurrencyLimit", "too many requests at once")


def _plain(
    start_response: StartResponse, status: str, text: str, kind: str = "text/plain; charset=utf-8"
) -> list[bytes]:
    body = text.encode()
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


def _xml(start_response: StartResponse, status: str, body: bytes) -> list[bytes]:
    start_response(
        status,
        [("Content-Type", "text/xml; charset=utf-8"), ("Content-Length", str(len(body)))],
    )
    return [body]


def _read_json(environ: WSGIEnvironment) -> dict[str, Any]:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    asked = json.loads(environ["wsgi.input"].read(length))
    if not isinstance(asked, dict):
        raise TypeError("send a JSON object")
    return asked


def _capture(door: WSGIApplication, environ: WSGIEnvironment) -> tuple[str, bytes]:
    seen: list[str] = []

    def start_response(status: str, *_: Any) -> Callable[[bytes], object]:
        seen[:] = [status]
        return lambda _: None

    body = b"".join(door(environ, start_response))
    return seen[0], body


def _envelope(soap12: bool, inside: str) -> bytes:
    namespace = (
        "http://www.w3.org/2003/05/soap-envelope"
        if soap12
        else "http://schemas.xmlsoap.org/soap/envelope/"
    )
    return (
        f"<?xml version='1.0' encoding='UTF-8'?>"
        f'<env:Envelope xmlns:env="{namespace}"><env:Body>{inside}</env:Body></env:Envelope>'
    ).encode()


def _fault_document(soap12: bool, code: str, text: str) -> bytes:
    side, _, rest = code.partition(".")
    if soap12:
        side = {"Client": "Sender", "Server": "Receiver"}[side]
        return _envelope(
            True,
            f"<env:Fault><env:Code><env:Value>env:{side}</env:Value><env:Subcode><env:Value>{rest}"
            f"</env:Value></env:Subcode></env:Code><env:Reason>"
            f'<env:Text xml:lang="en">{text}</env:Text></env:Reason></env:Fault>',
        )
    return _envelope(
        False,
        f"<env:Fault><faultcode>env:{code}</faultcode><faultstring>{text}</faultstring>"
        f"</env:Fault>",
    )


def _with_error(body: bytes, code: str, message: str) -> bytes:
    """The answer as if the application had failed after it had committed."""
    root = etree.fromstring(body)
    for result in root.iter(f"{{{NAMESPACE}}}Result"):
        for child in list(result):
            result.remove(child)
        error = etree.SubElement(result, f"{{{NAMESPACE}}}Error")
        etree.SubElement(error, f"{{{NAMESPACE}}}Code").text = code
        etree.SubElement(error, f"{{{NAMESPACE}}}Message").text = message
    return bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8"))


def _shuffled(body: bytes) -> bytes:
    """The answer with every record's elements the other way round."""
    root = etree.fromstring(body)
    for result in root.iter(f"{{{NAMESPACE}}}Result"):
        for element in result.iter():
            children = list(element)
            if len({child.tag for child in children}) == len(children) > 1:
                for child in children:
                    element.insert(0, child)
    return bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8"))
