"""The life of a corrective action: its states, its steps, and what follows each outcome.

An action is `awaiting_approval`, then `queued`, `running`, and perhaps `waiting` for a remote;
it ends as `done`, `refused` (nothing happened), `partial` (some steps did, a later one was
refused), `unknown` (a step's outcome can't be found out by looking), `rejected` (not approved),
`expired` or `cancelled`.

A step is `planned`; `sending` from the moment its intent is committed; then `done`, `refused`,
or `unknown`. A step that may be tried again is `waiting`; `cancelled` ones were never sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from middleware.contract.actions import (
    REQUESTS,
    ActionRequest,
    CancellationRequest,
    CreditRequest,
    Operation,
    StoreCreditRequest,
)
from middleware.contract.canonical import Frozen, Money, Order, Text
from middleware.contract.capabilities import KeyTraits
from middleware.contract.errors import (
    Duplicated,
    Permanent,
    RemoteError,
    Transient,
)


class ActionState(StrEnum):
    AWAITING_APPROVAL = "awaiting_approval"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    REFUSED = "refused"
    PARTIAL = "partial"
    UNKNOWN = "unknown"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in ENDED

    @property
    def changed_nothing(self) -> bool:
        """Whether no remote holds anything of it."""
        return self in (self.REFUSED, self.REJECTED, self.EXPIRED, self.CANCELLED)


ENDED = frozenset(
    {
        ActionState.DONE,
        ActionState.REFUSED,
        ActionState.PARTIAL,
        ActionState.REJECTED,
        ActionState.EXPIRED,
        ActionState.CANCELLED,
    }
)
"""The states that nothing leads out of. `unknown` is not among them: somebody must look."""


class StepState(StrEnum):
    PLANNED = "planned"
    SENDING = "sending"
    WAITING = "waiting"
    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


class CaseWanted(Frozen):
    """The case that is opened beside a remedy; parts left out are filled from the complaint."""

    subject: str | None = None
    description: str | None = None
    priority: Annotated[str, Field(pattern="^(low|normal|high|urgent)$")] = "normal"


class Wanted(Frozen):
    """What an agent asks for: one remedy, and what is to be written down beside it."""

    operation: Operation
    request: ActionRequest
    complaint_id: str | None = None
    person_id: str | None = None
    case: CaseWanted | None = None
    note: str | None = None
    """Text for the conversation; empty means the hub's own sentence, None means no note."""
    evidence: Annotated[tuple[Text, ...], Field(max_length=20)] = ()
    """Where the proof lies: addresses of photos and documents that the asker has seen."""
    override: str | None = None
    """Why it is done although somebody else has claimed the issue."""

    @model_validator(mode="before")
    @classmethod
    def _as_the_operation_says(cls, data: Any) -> Any:
        """Read a stored request as what it is: several kinds look alike."""
        request = data.get("request") if isinstance(data, dict) else None
        if not isinstance(request, dict):
            return data
        kind = REQUESTS[Operation(data["operation"])]
        return {**data, "request": kind.model_validate(request)}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not isinstance(self.request, REQUESTS[self.operation]):
            raise ValueError(f"a {self.operation} needs a {REQUESTS[self.operation].__name__}")  # noqa: TRY004
        return self


class PlannedStep(Frozen):
    """One write that an action will make: which operation on which connection."""

    connection: str
    operation: Operation


def worth(request: Frozen, order: Order | None) -> Money | None:
    """What a remedy is worth at the original order's prices; None where they are not known."""
    if isinstance(request, CreditRequest | StoreCreditRequest) and request.amount is not None:
        return request.amount
    if order is None:
        return None
    if isinstance(request, CancellationRequest) or getattr(request, "full", False):
        return order.total
    prices = {line.id: line.unit_price for line in order.lines}
    parts: list[Money | None] = [
        price.times(wanted.quantity) if (price := prices.get(wanted.line)) is not None else None
        for wanted in getattr(request, "lines", ())
    ]
    if getattr(request, "shipping", False):
        parts.append(order.shipping)
    total: Money | None = None
    for part in parts:
        if part is None:
            return None
        total = part if total is None else total + part
    return total


class Verb(StrEnum):
    REFUSED = "refused"
    AGAIN = "again"
    """Nothing happened: ask again later."""
    LOOK = "look"
    """It may have happened: look it up by key later."""
    PERSON = "person"
    """Only a person can say."""


class Next(Frozen):
    """What follows an outcome, and not before `at` where there is a time to wait for."""

    verb: Verb
    at: datetime | None = None


BACKOFF = tuple(timedelta(seconds=s) for s in (0.5, 1, 2, 5, 15, 30, 60))
"""How long to wait after the first, second … failure; the last one repeats.

No longer than a minute: later actions of the same customer wait behind this one, and a system that
is down is spared by its connection's breaker, whatever the steps want.
"""


def backoff(attempts: int) -> timedelta:
    """How long to wait after `attempts` failures."""
    return BACKOFF[min(max(attempts, 1), len(BACKOFF)) - 1]


def after_failure(
    error: RemoteError,
    *,
    looking: bool,
    now: datetime,
    attempts: int,
    traits: KeyTraits,
    doubt_until: datetime | None = None,
) -> Next:
    """What follows a failed send, or with `looking` a failed look-up.

    A lost answer is looked up, not before `traits.settle` after we gave up on it (`now`): until
    then the remote may still commit it, and "not found" would be no evidence. A native key need not
    wait, since the remote merges a second send; but a refusal of that one ends nothing as long as
    the first may still land, which is `doubt_until`. A look-up that failed says nothing about the
    send before it, whatever the error: it is repeated.
    """
    if isinstance(error, Duplicated):
        return Next(verb=Verb.PERSON)
    wait = backoff(attempts)
    if looking:
        return Next(verb=Verb.LOOK, at=now + max(wait, _asked_to_wait(error)))
    if isinstance(error, Transient):
        return Next(verb=Verb.AGAIN, at=now + max(wait, _asked_to_wait(error)))
    if isinstance(error, Permanent):
        if doubt_until is not None and now < doubt_until:
            return Next(verb=Verb.LOOK, at=max(doubt_until, now + wait))
        return Next(verb=Verb.REFUSED)
    return Next(verb=Verb.LOOK, at=now + (wait if traits.native else max(wait, traits.settle)))


def _asked_to_wait(error: RemoteError) -> timedelta:
    asked = error.retry_after if isinstance(error, Transient) else None
    return asked or timedelta(0)


def look_from(*, sent_at: datetime | None, in_doubt: bool, traits: KeyTraits) -> datetime | None:
    """From when "not found" is evidence that an announced send had no effect.

    None when there is nothing to wait for: never sent, known to have had no effect, or to be merged
    with the next send by the remote.
    """
    if sent_at is None or not in_doubt or traits.native:
        return None
    return sent_at + traits.settle


class Choice(StrEnum):
    """What a person may do with an action as it stands."""

    APPROVE = "approve"
    REJECT = "reject"
    CANCEL = "cancel"
    FINISH = "finish"
    """Try the steps that are left again."""
    UNDO = "undo"
    HAND_OVER = "hand_over"
    """Take it out of the hub's hands: somebody sees to it in the remotes."""
    SETTLE = "settle"
    """Say what became of a step whose outcome is unknown."""


def choices(
    state: ActionState, *, sent: bool, done: bool, is_undo: bool, undone: bool, handed_over: bool
) -> tuple[Choice, ...]:
    """What may be done next.

    `sent` says whether a step is done, under way or in doubt; `done` whether one is done.
    """
    match state:
        case ActionState.AWAITING_APPROVAL:
            return (Choice.APPROVE, Choice.REJECT, Choice.CANCEL)
        case ActionState.QUEUED | ActionState.RUNNING | ActionState.WAITING:
            return () if sent else (Choice.CANCEL,)
        case ActionState.UNKNOWN:
            return (Choice.SETTLE,) if handed_over else (Choice.SETTLE, Choice.HAND_OVER)
        case ActionState.PARTIAL if not undone:
            offered = [Choice.FINISH]
            if done and not is_undo:
                offered.append(Choice.UNDO)
            if not handed_over:
                offered.append(Choice.HAND_OVER)
            return tuple(offered)
        case ActionState.DONE if not undone and not is_undo:
            return (Choice.UNDO,)
    return ()


def state_after(steps: Sequence[StepState], *, independent: bool = False) -> ActionState | None:
    """The action's state that its steps add up to; None while there is work left.

    A refused step ends the action, unless the steps are `independent` of each other: then the rest
    is tried as well.
    """
    if any(s is StepState.UNKNOWN for s in steps):
        return ActionState.UNKNOWN
    left = any(s in (StepState.PLANNED, StepState.SENDING, StepState.WAITING) for s in steps)
    if independent and left:
        return None
    if any(s is StepState.REFUSED for s in steps):
        done = any(s is StepState.DONE for s in steps)
        return ActionState.PARTIAL if done else ActionState.REFUSED
    if all(s is StepState.DONE for s in steps):
        return ActionState.DONE
    if all(s is StepState.CANCELLED for s in steps):
        return ActionState.CANCELLED
    return None


def different(made: Iterable[tuple[str, str | None]]) -> list[str]:
    """Of what was made under one key, as (reference, number), the references that are not one.

    One thing may have two references: Tryton's credit is a complaint until the credit note is
    there. It keeps the number that people call it by, so that the same number is the same thing.
    """
    told: dict[str, str | None] = {}
    for ref, number in made:
        if ref not in told and (number is None or number not in told.values()):
            told[ref] = number
    return sorted(told)


def describe_error(error: RemoteError) -> dict[str, Any]:
    """What is stored and shown of an error: no secrets, no personal data (the errors promise)."""
    return {
        "class": type(error).__name__,
        "system": error.system,
        "operation": error.operation,
        "code": error.code,
        "field": error.field,
        "message": error.message,
    }
