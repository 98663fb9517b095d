"""Records of CRM and ERP, as answers show them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from middleware.api.schemas.base import Moment, MoneyShown, RefShown, Shown

Status = Literal["complete", "partial", "failed"]


class BlockSource(Shown):
    """Where a block comes from, and up to when that system is known to be completely read."""

    source: Annotated[str, Field(examples=["erp"])]
    as_of: Moment | None
    status: Status
    why: str | None


class AddressShown(Shown):
    name: str | None
    street: str | None
    city: str | None
    postal_code: str | None
    region: str | None
    country: str | None


class ShipmentShown(Shown):
    ref: RefShown
    number: str | None
    status: str
    carrier: str | None
    tracking_number: str | None
    planned_for: str | None
    shipped_at: Moment | None
    delivered_at: Moment | None


class OrderLineShown(Shown):
    """One line; `left` is what corrective actions have not taken of it yet."""

    id: str
    sku: str | None
    name: str | None
    quantity: str
    left: str
    unit: str | None
    unit_price: MoneyShown | None


class OrderShown(Shown):
    ref: RefShown
    number: str | None
    reference: str | None
    status: str
    placed_at: Moment | None
    total: MoneyShown | None
    account: RefShown | None
    contact: RefShown | None
    origin: RefShown | None
    """What this order was made for, such as the order that it replaces."""
    ship_to: AddressShown | None
    lines: list[OrderLineShown]
    shipments: list[ShipmentShown]
    as_of: Moment


class CaseShown(Shown):
    ref: RefShown
    number: str | None
    subject: str | None
    status: str
    priority: str | None
    order: RefShown | None
    opened_at: Moment | None
    as_of: Moment


class HandleOnFile(Shown):
    network: str
    handle: str | None
    native_id: str | None


class CustomerShown(Shown):
    """A contact or account of a CRM or ERP that is this person."""

    ref: RefShown
    name: str | None
    number: str | None
    emails: list[str]
    phones: list[str]
    handles: list[HandleOnFile]
    account: RefShown | None
    tier: str | None
    language: str | None
    address: AddressShown | None
    as_of: Moment
