"""Requests that change a remote system, and the receipt that proves one did."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from middleware.contract.canonical import Address, Frozen, Instant, Money, Ref, Text

Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{7,63}$")]
"""An idempotency key that the hub mints and commits before the first send.

At most 64 characters of letters, digits, `-` and `_`: it fits an external-id field, a reference
field of most ERPs, and a marker in a note. Adapters whose field is shorter hash it themselves.
"""


class Operation(StrEnum):
    """What can be asked for; each is one capability, a do/find pair, but for the `COMPOSED`."""

    REPLACEMENT_ORDER = "replacement_order"
    RETURN = "return"
    CREDIT = "credit"
    STORE_CREDIT = "store_credit"
    CANCELLATION = "cancellation"
    CASE = "case"
    CALL_BACK = "call_back"
    NOTE = "note"
    WITHDRAWAL = "withdrawal"
    INVITATION = "invitation"
    UNDO = "undo"


COMPOSED = frozenset({Operation.INVITATION, Operation.UNDO})
"""Operations that no remote knows: the hub makes them of others."""


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
    WEBSITE = "website"
    """The shop, the app, the account: ordering itself does not work."""
    STOCK = "stock"
    """Sold out, no longer made, or cancelled by the seller."""
    OTHER = "other"


class Speed(StrEnum):
    STANDARD = "standard"
    RUSH = "rush"


class Then(StrEnum):
    """What the customer gets once returned goods are back."""

    REFUND = "refund"
    REPLACEMENT = "replacement"
    NOTHING = "nothing"


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
    deliver_by: date | None = None
    """The day by which it is promised; None means as the speed has it: the earliest for a rush."""
    reason: Reason = Reason.OTHER
    ship_to: Address | None = None
    note: str | None = None
    case: Ref | None = None
    """The case in the same remote that this order answers, where there is one."""


class ReturnRequest(Frozen):
    """Let the customer send goods back.

    `then` says what they get for them: a refund is the remote's to make when the goods are in, a
    replacement is ordered at once beside the return.
    """

    order: Ref
    account: Ref | None = None
    lines: Annotated[tuple[WantedLine, ...], Field(min_length=1)]
    then: Then = Then.REFUND
    reason: Reason = Reason.OTHER
    note: str | None = None


class CreditRequest(Frozen):
    """Give money back: for lines of an order, its shipping, all of it, or a fixed amount.

    An amount together with one line is a part of what that line cost.
    """

    order: Ref
    account: Ref | None = None
    lines: tuple[WantedLine, ...] = ()
    amount: Money | None = None
    shipping: bool = False
    full: bool = False
    reason: Reason = Reason.OTHER
    note: str | None = None

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not (self.lines or self.amount or self.shipping or self.full):
            raise ValueError("name lines, an amount, the shipping, or all of the order")
        if self.full and (self.lines or self.amount or self.shipping):
            raise ValueError("all of the order leaves nothing to name besides")
        if self.amount is not None and self.amount.amount <= 0:
            raise ValueError("an amount is more than nothing")
        if self.amount is not None and (self.shipping or len(self.lines) > 1):
            raise ValueError("an amount goes alone or with one line")
        return self


class StoreCreditRequest(Frozen):
    """Give a voucher to spend later, for an order that went wrong."""

    order: Ref
    account: Ref | None = None
    contact: Ref | None = None
    amount: Money
    expires_on: date | None = None
    reason: Reason = Reason.OTHER
    note: str | None = None

    @model_validator(mode="after")
    def _is_worth_something(self) -> Self:
        if self.amount.amount <= 0:
            raise ValueError("a voucher is worth more than nothing")
        return self


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
    order_number: str | None = None
    """What the customer calls the order, which may live in another system than the case."""
    origin: str | None = None
    """The channel the complaint came through, such as `x` or `chatwoot`."""


class CallBackRequest(Frozen):
    """Have somebody call the customer within a time slot."""

    subject: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]
    slot_from: Instant
    slot_to: Instant
    phone: Text | None = None
    """E.164; None means the number on file."""
    description: str | None = None
    reason: Reason = Reason.OTHER
    priority: Annotated[str, StringConstraints(pattern="^(low|normal|high|urgent)$")] = "normal"
    contact: Ref | None = None
    account: Ref | None = None
    order: Ref | None = None
    order_number: str | None = None
    """What the customer calls the order, which may live in another system."""
    case: Ref | None = None

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.slot_to <= self.slot_from:
            raise ValueError("the slot ends after it begins")
        return self


class InvitationRequest(Frozen):
    """Give the customer a signed link to a private channel, for what is not said in public."""

    valid_hours: Annotated[int, Field(ge=1, le=24 * 30)] = 72
    on: Ref | None = None
    """The conversation whose agents get the link; None means the complaint's."""


class WithdrawalRequest(Frozen):
    """Take back what the hub made: cancel the order or return, void the credit, close the case."""

    of: Ref
    """The remote record that was made."""
    made_by: Operation
    made_under: Key
    """The key it bears."""
    reason: Reason = Reason.OTHER
    note: str | None = None

    @model_validator(mode="after")
    def _was_a_write(self) -> Self:
        if self.made_by in COMPOSED or self.made_by is Operation.WITHDRAWAL:
            raise ValueError(f"a {self.made_by} leaves nothing in a remote to take back")
        return self


class UndoRequest(Frozen):
    """Take back an action, step by step from the last, as far as each remote lets us."""

    action: Text
    """The id of the action that is taken back."""
    note: str | None = None


class NoteRequest(Frozen):
    """Write a note for agents on a conversation or case; customers never see it."""

    on: Ref
    text: Text


ActionRequest = (
    ReplacementOrderRequest
    | ReturnRequest
    | CreditRequest
    | StoreCreditRequest
    | CancellationRequest
    | CaseRequest
    | CallBackRequest
    | NoteRequest
    | WithdrawalRequest
    | InvitationRequest
    | UndoRequest
)

REQUESTS: dict[Operation, type[Frozen]] = {
    Operation.REPLACEMENT_ORDER: ReplacementOrderRequest,
    Operation.RETURN: ReturnRequest,
    Operation.CREDIT: CreditRequest,
    Operation.STORE_CREDIT: StoreCreditRequest,
    Operation.CANCELLATION: CancellationRequest,
    Operation.CASE: CaseRequest,
    Operation.CALL_BACK: CallBackRequest,
    Operation.NOTE: NoteRequest,
    Operation.WITHDRAWAL: WithdrawalRequest,
    Operation.INVITATION: InvitationRequest,
    Operation.UNDO: UndoRequest,
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


PREVIEW_KEY = "preview-only"
"""What stands where the key will, in a payload that is only shown."""


class Preview(Frozen):
    """What a write would do, without doing it. `exact` is False where it was worked out by us."""

    effects: tuple[Effect, ...]
    warnings: tuple[str, ...] = ()
    exact: bool = False
    payload: dict[str, object] = Field(default_factory=dict)
    """What would be sent, secrets and personal data masked."""
