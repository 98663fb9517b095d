"""Corrective actions: what is asked for, what it would do, and what became of it."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import Field, Strict, StringConstraints, model_validator

from middleware.api.schemas.base import (
    Amount,
    Asked,
    HubId,
    Long,
    Moment,
    MoneyShown,
    Page,
    RefShown,
    RefText,
    Short,
    Shown,
    When,
)
from middleware.api.schemas.policy import JudgedShown
from middleware.contract.actions import Operation, Reason, Speed, Then
from middleware.domain.actions import ActionState, Choice, StepState

MOST_LINES = 200

SpeedAsked = Annotated[Speed, Strict(False)]
ReasonAsked = Annotated[Reason, Strict(False)]
EvidenceAsked = Annotated[
    str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00-\x20]+$")
]
ThenAsked = Annotated[Then, Strict(False)]
DayAsked = Annotated[date, Strict(False)]


class LineAsked(Asked):
    """What to send, take back or credit: a line of the order and how much of it."""

    line: Short
    """The id of the order's line."""
    sku: Short
    """What is to be sent; another than the line's for a substitute."""
    quantity: Amount
    unit: Short | None = None


Lines = Annotated[list[LineAsked], Field(min_length=1, max_length=MOST_LINES)]


class AddressAsked(Asked):
    name: Short | None = None
    street: Annotated[str, Field(max_length=500)] | None = None
    city: Short | None = None
    postal_code: Short | None = None
    region: Short | None = None
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] | None = None


class MoneyAsked(Asked):
    amount: Amount
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class ReplacementOrderAsked(Asked):
    """Send goods again, at no charge."""

    order: RefText
    lines: Lines
    speed: SpeedAsked = Speed.STANDARD
    deliver_by: DayAsked | None = None
    """The day by which it is promised; `null` means as the speed has it."""
    reason: ReasonAsked = Reason.OTHER
    ship_to: AddressAsked | None = None
    """`null` means the order's own address."""
    note: Long | None = None
    case: RefText | None = None


class ReturnAsked(Asked):
    """Let the customer send goods back."""

    order: RefText
    lines: Lines
    then: ThenAsked = Then.REFUND
    """What they get for it: a refund when the goods are in, a replacement at once, or nothing."""
    reason: ReasonAsked = Reason.OTHER
    note: Long | None = None


class CreditAsked(Asked):
    """Give money back: for lines of the order, its shipping, all of it, or a fixed amount."""

    order: RefText
    lines: Annotated[list[LineAsked], Field(max_length=MOST_LINES, default_factory=list)]
    amount: MoneyAsked | None = None
    """By itself for the order, or with one line for a part of what that line cost."""
    shipping: bool = False
    full: bool = False
    reason: ReasonAsked = Reason.OTHER
    note: Long | None = None

    @model_validator(mode="after")
    def _for_something(self) -> Self:
        if not (self.lines or self.amount or self.shipping or self.full):
            raise ValueError("needs lines, an amount, shipping or full")
        return self


class StoreCreditAsked(Asked):
    """Give a voucher to spend later."""

    order: RefText
    amount: MoneyAsked
    expires_on: DayAsked | None = None
    reason: ReasonAsked = Reason.OTHER
    note: Long | None = None


class CancellationAsked(Asked):
    """Stop an order that has not shipped."""

    order: RefText
    reason: ReasonAsked = Reason.OTHER
    note: Long | None = None


class CaseAsked(Asked):
    """Open a case: something a department must look at."""

    subject: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]
    description: Long | None = None
    reason: ReasonAsked = Reason.OTHER
    priority: Literal["low", "normal", "high", "urgent"] = "normal"
    contact: RefText | None = None
    account: RefText | None = None
    order: RefText | None = None
    origin: Short | None = None


class CallBackAsked(Asked):
    """Have somebody call the customer within a time slot."""

    subject: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]
    slot_from: When
    slot_to: When
    phone: Short | None = None
    """E.164; `null` means the number on file."""
    description: Long | None = None
    reason: ReasonAsked = Reason.OTHER
    priority: Literal["low", "normal", "high", "urgent"] = "normal"
    contact: RefText | None = None
    account: RefText | None = None
    order: RefText | None = None
    case: RefText | None = None


class InvitationAsked(Asked):
    """Give the customer a signed link to a private channel."""

    valid_hours: Annotated[int, Field(ge=1, le=24 * 30)] = 72
    on: RefText | None = None
    """The conversation whose agents get the link; `null` means the complaint's."""


class UndoAsked(Asked):
    """Take an action back, as far as each remote lets us."""

    action: HubId
    note: Long | None = None


class NoteAsked(Asked):
    """Write a note for agents on a conversation or case; customers never see it."""

    on: RefText
    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000)]


class CaseBeside(Asked):
    """The case that is opened beside a remedy; parts left out are filled from the complaint."""

    subject: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    description: Long | None = None
    priority: Literal["low", "normal", "high", "urgent"] = "normal"


Why = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=1000)]


class _ActionAsked(Asked):
    complaint_id: HubId | None = None
    """What it answers; its conversation gets the note, its person is the customer."""
    person_id: HubId | None = None
    case: CaseBeside | None = None
    """Open a case beside it, in the CRM."""
    note: Long | None = None
    """Text for the conversation; empty means the hub's own sentence, `null` means no note."""
    evidence: Annotated[list[EvidenceAsked], Field(max_length=20, default_factory=list)]
    """Where the proof lies: addresses of photos and documents that the agent has seen."""
    override: Why | None = None
    """Why it is done although somebody else has claimed the issue; they are told. Without it a
    claim of another key is a 409."""
    preview_token: Annotated[str, Field(max_length=20_000)] | None = None
    """Of a preview of this very request: if what it showed has changed, nothing is done (409)."""


class ReplacementOrderAction(_ActionAsked):
    """A replacement order."""

    operation: Literal[Operation.REPLACEMENT_ORDER]
    request: ReplacementOrderAsked


class ReturnAction(_ActionAsked):
    """A return."""

    operation: Literal[Operation.RETURN]
    request: ReturnAsked


class CreditAction(_ActionAsked):
    """A credit."""

    operation: Literal[Operation.CREDIT]
    request: CreditAsked


class StoreCreditAction(_ActionAsked):
    """A voucher."""

    operation: Literal[Operation.STORE_CREDIT]
    request: StoreCreditAsked


class CallBackAction(_ActionAsked):
    """A call-back."""

    operation: Literal[Operation.CALL_BACK]
    request: CallBackAsked


class InvitationAction(_ActionAsked):
    """An invitation."""

    operation: Literal[Operation.INVITATION]
    request: InvitationAsked


class UndoAction(_ActionAsked):
    """An undo."""

    operation: Literal[Operation.UNDO]
    request: UndoAsked


class CancellationAction(_ActionAsked):
    """A cancellation."""

    operation: Literal[Operation.CANCELLATION]
    request: CancellationAsked


class CaseAction(_ActionAsked):
    """A case by itself."""

    operation: Literal[Operation.CASE]
    request: CaseAsked


class NoteAction(_ActionAsked):
    """A note by itself."""

    operation: Literal[Operation.NOTE]
    request: NoteAsked


ActionAsked = Annotated[
    ReplacementOrderAction
    | ReturnAction
    | CreditAction
    | StoreCreditAction
    | CancellationAction
    | CaseAction
    | CallBackAction
    | NoteAction
    | InvitationAction
    | UndoAction,
    Field(discriminator="operation"),
]
"""What an agent asks for: one remedy, and what is to be written down beside it."""


class UndoWanted(Asked):
    """Why an action is taken back, and what the conversation is told."""

    reason: Annotated[str, Field(max_length=1000)] | None = None
    note: Long | None = None
    """Text for the conversation; empty means the hub's own sentence, `null` means no note."""
    override: Why | None = None
    """Why it is done although somebody else has claimed the issue."""


class Settlement(Asked):
    """What became of a step whose outcome was unknown, and how that is known."""

    made: RefText | None
    """The record that it made, as `connection:kind:id`; `null` when it made none."""
    number: Short | None = None
    """What people call that record."""
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=1000)]


class Decision(Asked):
    """Why an action is approved or rejected."""

    reason: Annotated[str, Field(max_length=1000)] | None = None


# --- what is shown -----------------------------------------------------------------------------


class EffectShown(Shown):
    what: str
    amount: MoneyShown | None


class StepPreviewShown(Shown):
    """What one write would do."""

    position: int
    connection: str
    operation: Operation
    effects: list[EffectShown]
    warnings: list[str]
    exact: bool
    """True when the remote worked it out, false when the hub did."""
    payload: dict[str, Any]
    """What would be sent, secrets and personal data masked."""


class BudgetShown(Shown):
    """What there was of one thing, what is taken of it, and what this action wants and leaves."""

    line: str
    """The line's id; empty for the order as a whole, `shipping` for its shipping."""
    what: Literal["pieces", "returned", "money"]
    whole: str
    taken: str
    wanted: str
    left: str
    """What is left of it after this action."""
    currency: str | None
    """Of money."""
    by: list[str]
    """Who has taken of it: actions, and records that people made in the remote."""


class ActionPreviewShown(Shown):
    """What an action would do in each system. Nothing was written anywhere."""

    operation: Operation
    order: RefShown | None
    person_id: str | None
    value: MoneyShown | None
    """What it is worth at the order's prices, where they are known."""
    needs_approval: str | None
    """The rules that ask for somebody else's approval."""
    policy: JudgedShown | None
    """What the policy in force says to it."""
    takes: dict[str, str]
    """How many pieces of each line of the order it makes good."""
    budget: list[BudgetShown]
    """What the order may still be made good with, over all systems."""
    stays: list[str]
    """Of an undo: what can't be taken back, and why."""
    steps: list[StepPreviewShown]
    warnings: list[str]
    preview_token: str
    """Send it along with the same request, to have done what was shown or nothing."""
    good_until: Moment


class ReceiptShown(Shown):
    """Proof that a write exists in the remote under our key."""

    ref: RefShown
    number: str | None
    status: str
    already_existed: bool
    """True when it was found there instead of made."""
    at: Moment | None
    url: str | None


class StepErrorShown(Shown):
    """The remote's last refusal or silence."""

    error: str
    """Transient, Busy, Rejected, Unauthorised, Missing, NotOffered, Ambiguous, Duplicated …"""
    system: str
    operation: str
    code: str | None
    field: str | None
    message: str


class StepShown(Shown):
    """One write to one remote, with its own key."""

    id: str
    position: int
    connection: str
    operation: Operation
    state: StepState
    key: str
    """What stands in the remote record, to find it by."""
    attempts: int
    in_doubt: bool
    """True while a send may have happened whose outcome is not known."""
    sent_at: Moment | None
    settled_at: Moment | None
    receipt: ReceiptShown | None
    error: StepErrorShown | None
    stays: str | None
    """Why what it made can't be taken back; `null` when it can, or made nothing."""


class SignatureShown(Shown):
    """One stage of an approval: who may decide until when, and who did."""

    role: str | None
    """`null` means anyone who may approve."""
    delegates: list[str]
    """Roles that may decide instead once the time is over."""
    opened_at: Moment | None
    """When its turn came."""
    ends_at: Moment | None
    delegated_at: Moment | None
    """Since when the delegates may decide."""
    by: str | None
    at: Moment | None
    granted: bool | None
    reason: str | None


class ApprovalShown(Shown):
    """Which rules ask for an approval; then who had the last word, when, and why."""

    rule: str | None
    by: str | None
    at: Moment | None
    granted: bool | None
    reason: str | None
    stages: list[SignatureShown]
    """In order, each by somebody else; the first that is not decided is the open one."""


class MomentShown(Shown):
    """One thing that happened to an action."""

    at: Moment
    what: str
    by: str | None
    """Who did it; `null` for what the hub says of itself."""
    request_id: str | None
    """The request that it was done with, as in its answer and the log."""
    step: str | None
    detail: dict[str, Any]
    """Ids and figures: the connection, the attempt, the outcome, the remote's reference …"""


class InvitationOpen(Shown):
    """An invitation that can still be followed."""

    expires_at: Moment


class MessageFollowed(Shown):
    """One message of the conversation, as the customer sees it."""

    ours: bool
    text: str
    at: Moment


class PromiseFollowed(Shown):
    """A remedy that is done."""

    operation: Operation
    numbers: list[str]
    deliver_by: str | None
    slot_from: str | None
    slot_to: str | None


class InvitationFollowed(Shown):
    """What whoever followed the link may see. It is told once."""

    complaint_id: str
    network: str
    brand_account: str | None
    language: str | None
    messages: list[MessageFollowed]
    """The latest of the conversation, without those that were deleted."""
    promises: list[PromiseFollowed]
    used_at: Moment


class InvitationShown(Shown):
    """The signed link of an invitation, for agents to hand on."""

    link: str
    expires_at: Moment
    revoked_at: Moment | None
    used_at: Moment | None
    """When it was followed, which ended it."""


class HandedOver(Shown):
    """Who took it out of the hub's hands, when, and why."""

    by: str
    at: Moment
    reason: str | None


class ActionListed(Shown):
    """An action in a list."""

    id: Annotated[str, Field(examples=["act_019c9d6f3a5e7c41b1d0a2f4c6e88a51"])]
    operation: Operation
    state: ActionState
    complaint_id: str | None
    person_id: str | None
    order: RefShown | None
    value: MoneyShown | None
    requested_by: str
    created_at: Moment
    updated_at: Moment


class ActionShown(Shown):
    """A corrective action: its steps with keys, receipts and errors, and what happened to it."""

    id: Annotated[str, Field(examples=["act_019c9d6f3a5e7c41b1d0a2f4c6e88a51"])]
    operation: Operation
    state: ActionState
    settled: bool
    """Whether nothing more happens by itself: it ended, or waits for a person."""
    complaint_id: str | None
    person_id: str | None
    order: RefShown | None
    value: MoneyShown | None
    requested_by: str
    role: str | None
    """What whoever asked is to the policy."""
    approval: ApprovalShown | None
    policy: JudgedShown | None
    """What the policy said to it; `null` for what the hub did by itself."""
    request: dict[str, Any]
    """What was asked for."""
    choices: list[Choice]
    """What a person may do with it now."""
    undoes: str | None
    """The action that it takes back."""
    undone_by: str | None
    """The action that takes it back."""
    invitation: InvitationShown | None
    handed_over: HandedOver | None
    not_before: Moment | None
    """The end of a cooling-off: until then it can be called off."""
    next_try_at: Moment | None
    """When it is tried again, of one that waits."""
    steps: list[StepShown]
    timeline: list[MomentShown]
    expires_at: Moment
    created_at: Moment
    updated_at: Moment
    version: int


class ActionPage(Page[ActionListed]):
    """One page of actions, newest first."""
