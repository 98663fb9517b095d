"""The life of a corrective action: its states, its steps, and what follows each outcome.

An action is `awaiting_approval`, then `queued`, `running`, and perhaps `waiting` for a remote;
it ends as `done`, `refused` (nothing happened), `partial` (some steps did, a later one was
refused), `unknown` (a step's outcome can't be found out by looking), `rejected` (not approved),
`expired` or `cancelled`.

A step is `planned`; `sending` from the moment its intent is committed; then `done`, `refused`,
or `unknown`. A step that may be tried again is `waiting`; `cancelled` ones were never sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from middleware.contract.actions import (
    CancellationRequest,
    CaseRequest,
    CreditRequest,
    NoteRequest,
    Operation,
    Receipt,
    ReplacementOrderRequest,
    ReturnRequest,
)
from middleware.contract.canonical import Frozen, Money, Order
from middleware.contract.capabilities import KeyTraits
from middleware.contract.errors import (
    Ambiguous,
    Duplicated,
    Permanent,
    RemoteError,
    Transient,
)


class ActionKind(StrEnum):
    REPLACEMENT_ORDER = "replacement_order"
    RETURN = "return"
    CREDIT = "credit"
    CANCELLATION = "cancellation"
    CASE = "case"
    NOTE = "note"


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
    """The case that is opened beside an action; unset parts are filled from the complaint."""

    subject: str | None = None
    description: str | None = None
    priority: Annotated[str, Field(pattern="^(low|normal|high|urgent)$")] = "normal"


class ActionRequestBody(Frozen):
    """What an agent asks for: exactly one of the remedies, and what is to go with it."""

    replacement_order: ReplacementOrderRequest | None = None
    return_: Annotated[ReturnRequest | None, Field(alias="return")] = None
    credit: CreditRequest | None = None
    cancellation: CancellationRequest | None = None
    case: CaseRequest | None = None
    note: NoteRequest | None = None


class PlannedStep(Frozen):
    """One write that an action will make: which operation on which connection."""

    connection: str
    operation: Operation


def worth(request: Frozen, order: Order | None) -> Money | None:
    """What a remedy is worth at the original order's prices; None where they are not known."""
    if isinstance(request, CreditRequest) and request.amount is not None:
        return request.amount
    lines = getattr(request, "lines", ())
    if order is None:
        return None
    if isinstance(request, CancellationRequest):
        return order.total
    prices = {line.id: line.unit_price for line in order.lines}
    total: Money | None = None
    for wanted in lines:
        price = prices.get(wanted.line)
        if price is None:
            return None
        part = price.times(wanted.quantity)
        total = part if total is None else total + part
    return total


class Verb(StrEnum):
    DONE = "done"
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


BACKOFF = tuple(timedelta(seconds=s) for s in (0.5, 1, 2, 5, 15, 30, 60, 120, 300))
"""How long to wait after the first, second … failure; the last one repeats."""


def backoff(attempts: int) -> timedelta:
    """How long to wait after `attempts` failures."""
    return BACKOFF[min(max(attempts, 1), len(BACKOFF)) - 1]


def after_send(
    outcome: Receipt | RemoteError,
    *,
    now: datetime,
    sent_at: datetime,
    attempts: int,
    traits: KeyTraits,
) -> Next:
    """What follows a send (or the look-up that replaced it).

    A lost answer is looked up, not before `traits.settle` after the send: until then the remote
    may still commit it, and "not found" would be no evidence. A remote with a native key may be
    asked again at once.
    """
    match outcome:
        case Receipt():
            return Next(verb=Verb.DONE)
        case Duplicated():
            return Next(verb=Verb.PERSON)
        case Ambiguous():
            wait = backoff(attempts)
            if not traits.native:
                wait = max(wait, sent_at + traits.settle - now)
            return Next(verb=Verb.LOOK, at=now + wait)
        case Transient():
            wait = max(backoff(attempts), outcome.retry_after or timedelta(0))
            return Next(verb=Verb.AGAIN, at=now + wait)
        case Permanent():
            return Next(verb=Verb.REFUSED)
        case _:
            return Next(verb=Verb.LOOK, at=now + max(backoff(attempts), traits.settle))


def must_look_first(*, sent_at: datetime | None) -> bool:
    """Whether a send was ever announced, so that its effect may exist already."""
    return sent_at is not None


def may_look(*, sent_at: datetime, now: datetime, traits: KeyTraits) -> datetime | None:
    """None when "not found" would be evidence by now, else the time from which it is."""
    ready = sent_at + traits.settle
    return None if traits.native or now >= ready else ready


def state_after(steps: Sequence[StepState]) -> ActionState | None:
    """The action's state that its steps add up to; None while there is work left."""
    if any(s is StepState.UNKNOWN for s in steps):
        return ActionState.UNKNOWN
    if any(s is StepState.REFUSED for s in steps):
        done = any(s is StepState.DONE for s in steps)
        return ActionState.PARTIAL if done else ActionState.REFUSED
    if all(s is StepState.DONE for s in steps):
        return ActionState.DONE
    if all(s is StepState.CANCELLED for s in steps):
        return ActionState.CANCELLED
    return None


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
