"""Requests that change a remote system, and the receipt that proves one did."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from middleware.contract.canonical import Address, Frozen, Instant, Money, Ref, Text

Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{7,63}$")]
"""An idempotency key that the hub mints and commits before the first send.

At most 64 characters of letters, digits, `-` and `_`: it fits an external-id field, a reference
field of most ERPs, and a marker in a note. Adapters whose field is shorter hash it themselves.
"""


class Operation(StrEnum):
    """The writes that the hub knows; each is one capability, a do/find pair."""

    REPLACEMENT_ORDER = "replacement_order"
    RETURN = "return"
    CREDIT = "credit"
    CANCELLATION = "cancellation"
    CASE = "case"
    NOTE = "note"


class Reason(StrEnum):
    """Why something is put right; value tables in mappings turn it into the remote's code."""

    DAMAGED = "damaged"
    DEFECTIVE = "defective"
    WRONG_ITEM = "wrong_item"
    MISSING_ITEM = "missing_item"
    LATE = "late"
    LOST = "lost"
    BILLING = "billing"
    SERVICE = "service"
    OTHER = "other"


class Speed(StrEnum):
    STANDARD = "standard"
    RUSH = "rush"


class WantedLine(Frozen):
    """What to send, take back or credit: a line of the original order and how much of it."""

    line: Text
    """The id of the original order's line."""
    sku: Text
    """What is to be sent; differs from the original line's for a substitute."""
    quantity: Annotated[Decimal, Field(gt=0)]
    unit: str | None = None


class ReplacementOrderRequest(Frozen):
    """Send goods again, at no charge. `order` is the original; `ship_to` None means its address."""

    order: Ref
    account: Ref | None = None
    lines: Annotated[tuple[WantedLine, ...], Field(min_length=1)]
    speed: Speed = Speed.STANDARD
    reason: Reason = Reason.OTHER
    ship_to: Address | None = None
    note: str | None = None
    case: Ref | None = None
    """The case in the same remote that this order answers, where there is one."""


class ReturnRequest(Frozen):
    """Let the customer send goods back."""

    order: Ref
    account: Ref | None = None
    lines: Annotated[tuple[WantedLine, ...], Field(min_length=1)]
    reason: Reason = Reason.OTHER
    note: str | None = None


class CreditRequest(Frozen):
    """Give money back for lines of an order, or a fixed amount."""

    order: Ref
    account: Ref | None = None
    lines: tuple[WantedLine, ...] = ()
    amount: Money | None = None
    reason: Reason = Reason.OTHER
    note: str | None = None


class CancellationRequest(Frozen):
    """Stop an order that has not shipped."""

    order: Ref
    reason: Reason = Reason.OTHER
    note: str | None = None


class CaseRequest(Frozen):
    """Open a case: something a department must look at."""

    subject: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]
    description: str | None = None
    reason: Reason = Reason.OTHER
    priority: Annotated[str, StringConstraints(pattern="^(low|normal|high|urgent)$")] = "normal"
    contact: Ref | None = None
    account: Ref | None = None
    order: Ref | None = None
    origin: str | None = None
    """The channel the complaint came through, such as `x` or `chatwoot`."""


class NoteRequest(Frozen):
    """Write a note for agents on a conversation or case; customers never see it."""

    on: Ref
    text: Text


ActionRequest = (
    ReplacementOrderRequest
    | ReturnRequest
    | CreditRequest
    | CancellationRequest
    | CaseRequest
    | NoteRequest
)

REQUESTS: dict[Operation, type[Frozen]] = {
    Operation.REPLACEMENT_ORDER: ReplacementOrderRequest,
    Operation.RETURN: ReturnRequest,
    Operation.CREDIT: CreditRequest,
    Operation.CANCELLATION: CancellationRequest,
    Operation.CASE: CaseRequest,
    Operation.NOTE: NoteRequest,
}


class Receipt(Frozen):
    """Proof that a write exists in the remote under our key."""

    ref: Ref
    key: Key
    number: str | None = None
    """What people call it there: an order number, a case number."""
    status: str = "accepted"
    """The remote's state of it in one word; `pending` when the remote works asynchronously."""
    already_existed: bool = False
    """True when this call found it instead of making it."""
    at: Instant | None = None
    """When the remote says it was made, where it says so."""
    url: str | None = None


class Effect(Frozen):
    """One line of a preview: what would change in the remote, in words and figures."""

    what: Text
    amount: Money | None = None


class Preview(Frozen):
    """What a write would do, without doing it. `exact` is False where it was worked out by us."""

    effects: tuple[Effect, ...]
    warnings: tuple[str, ...] = ()
    exact: bool = False
    payload: dict[str, object] = Field(default_factory=dict)
    """What would be sent, secrets and personal data masked."""
