"""Canonical records: what remote systems hold, in our words.

Frozen, with aware times, decimal money that names its currency, and references that name their
connection. A field that the remote does not offer is `None` or empty, never a made-up value.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints


class Frozen(BaseModel):
    """An immutable value; unknown fields are an error, so that a typo never vanishes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time is outside the years that can be told") from None


Instant = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A moment with a time zone, held in UTC."""

Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
"""An ISO 4217 code."""

Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
"""An ISO 3166-1 alpha-2 code."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Kind(StrEnum):
    """The kinds of record that the hub stores and refers to."""

    CONTACT = "contact"
    ACCOUNT = "account"
    PRODUCT = "product"
    ORDER = "order"
    SHIPMENT = "shipment"
    RETURN = "return"
    INVOICE = "invoice"
    CASE = "case"
    CONVERSATION = "conversation"
    NOTE = "note"
    TASK = "task"
    """What somebody is to do at some time, such as a call-back. Referred to, not synced."""


class Ref(Frozen):
    """Where a record lives: which connection, what kind, and its id there."""

    connection: Text
    kind: Kind
    id: Text

    def __str__(self) -> str:
        return f"{self.connection}:{self.kind}:{self.id}"

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Read what `str(ref)` wrote; raises ValueError with the expected form."""
        parts = text.split(":", 2)
        if len(parts) != 3 or not all(parts):
            raise ValueError(f"{text!r} is not a reference; expected connection:kind:id")
        return cls(connection=parts[0], kind=Kind(parts[1]), id=parts[2])


class Money(Frozen):
    """An amount in a currency. Amounts in different currencies do not add."""

    amount: Decimal
    currency: Currency

    def __add__(self, other: Money) -> Money:
        if other.currency != self.currency:
            raise ValueError(f"cannot add {other.currency} to {self.currency}")
        return Money(amount=self.amount + other.amount, currency=self.currency)

    def times(self, factor: Decimal) -> Money:
        """This amount `factor` times over, unrounded."""
        return Money(amount=self.amount * factor, currency=self.currency)

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"


class Address(Frozen):
    name: str | None = None
    street: str | None = None
    city: str | None = None
    postal_code: str | None = None
    region: str | None = None
    country: Country | None = None


class Handle(Frozen):
    """A name on a network, as a CRM or ERP has it on file. `native_id` survives renames."""

    network: Text
    handle: str | None = None
    native_id: str | None = None


class Record(Frozen):
    """What every stored record has. `updated_at` is the remote's own time of last change."""

    ref: Ref
    updated_at: Instant | None = None
    extra: dict[str, Any] = Field(default_factory=dict)
    """Mapped fields that the canonical record has no place for, by their path in the mapping."""


class Contact(Record):
    """A person in a CRM, or a party of an ERP that is a person."""

    given_name: str | None = None
    family_name: str | None = None
    display_name: str | None = None
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    """E.164 where the number could be parsed, otherwise as the remote has it."""
    handles: tuple[Handle, ...] = ()
    account: Ref | None = None
    address: Address | None = None
    language: str | None = None
    external_ids: dict[str, str] = Field(default_factory=dict)
    """Ids of the same person elsewhere, by system: a customer number, a CRM id in the ERP."""


class Account(Record):
    """Who buys: an ERP customer, a CRM account."""

    name: str | None = None
    number: str | None = None
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    address: Address | None = None
    tier: str | None = None
    revenue: Money | None = None
    external_ids: dict[str, str] = Field(default_factory=dict)


class Product(Record):
    sku: Text
    name: str | None = None
    unit: str | None = None
    price: Money | None = None
    active: bool = True


class OrderStatus(StrEnum):
    DRAFT = "draft"
    CONFIRMED = "confirmed"
    PROCESSING = "processing"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class OrderLine(Frozen):
    """One line of an order. `id` is the remote's line id, unique within the order."""

    id: Text
    sku: str | None = None
    name: str | None = None
    quantity: Decimal
    unit: str | None = None
    unit_price: Money | None = None
    product: Ref | None = None
    origin: Text | None = None
    """Of a return or a replacement: the id of the original order's line that it is about."""


class Order(Record):
    number: str | None = None
    """What the customer knows it by."""
    reference: str | None = None
    """The customer's own order reference, or the key that we stamped on one we created."""
    account: Ref | None = None
    contact: Ref | None = None
    status: OrderStatus = OrderStatus.UNKNOWN
    placed_at: Instant | None = None
    total: Money | None = None
    shipping: Money | None = None
    """What shipping cost the customer, as part of `total`."""
    lines: tuple[OrderLine, ...] = ()
    ship_to: Address | None = None
    origin: Ref | None = None
    """The case or order that this order was made for, such as what it replaces."""


class ShipmentStatus(StrEnum):
    PLANNED = "planned"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class Shipment(Record):
    order: Ref | None = None
    number: str | None = None
    status: ShipmentStatus = ShipmentStatus.UNKNOWN
    carrier: str | None = None
    tracking_number: str | None = None
    planned_for: date | None = None
    shipped_at: Instant | None = None
    delivered_at: Instant | None = None


class ReturnStatus(StrEnum):
    AUTHORISED = "authorised"
    RECEIVED = "received"
    CLOSED = "closed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class Return(Record):
    order: Ref | None = None
    number: str | None = None
    status: ReturnStatus = ReturnStatus.UNKNOWN
    lines: tuple[OrderLine, ...] = ()


class InvoiceType(StrEnum):
    INVOICE = "invoice"
    CREDIT = "credit"


class InvoiceStatus(StrEnum):
    DRAFT = "draft"
    POSTED = "posted"
    PAID = "paid"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class Invoice(Record):
    """A bill, or with `type=credit` a credit note; amounts are positive in both."""

    type: InvoiceType = InvoiceType.INVOICE
    number: str | None = None
    account: Ref | None = None
    order: Ref | None = None
    status: InvoiceStatus = InvoiceStatus.UNKNOWN
    total: Money | None = None
    issued_on: date | None = None


class CaseStatus(StrEnum):
    NEW = "new"
    OPEN = "open"
    WAITING = "waiting"
    CLOSED = "closed"
    UNKNOWN = "unknown"


class Case(Record):
    number: str | None = None
    subject: str | None = None
    description: str | None = None
    status: CaseStatus = CaseStatus.UNKNOWN
    priority: str | None = None
    contact: Ref | None = None
    account: Ref | None = None
    order: Ref | None = None
    opened_at: Instant | None = None


CANONICAL: dict[Kind, type[Record]] = {
    Kind.CONTACT: Contact,
    Kind.ACCOUNT: Account,
    Kind.PRODUCT: Product,
    Kind.ORDER: Order,
    Kind.SHIPMENT: Shipment,
    Kind.RETURN: Return,
    Kind.INVOICE: Invoice,
    Kind.CASE: Case,
}
"""The record class of each kind that is synced and stored."""
