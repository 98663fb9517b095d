"""What the hub writes to people: subjects of cases, notes to agents, lines of a preview."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from middleware.contract.actions import (
    CallBackRequest,
    CancellationRequest,
    CaseRequest,
    CreditRequest,
    InvitationRequest,
    Operation,
    Receipt,
    ReplacementOrderRequest,
    ReturnRequest,
    Speed,
    StoreCreditRequest,
    UndoRequest,
)
from middleware.contract.canonical import Order
from middleware.domain.actions import ActionState, PlannedStep, StepState, Wanted
from middleware.domain.identity import Decision, Outcome
from middleware.domain.orders import OrderMatch
from middleware.domain.understanding import Understanding

NAMES = {
    Operation.REPLACEMENT_ORDER: "replacement order",
    Operation.RETURN: "return",
    Operation.CREDIT: "credit",
    Operation.STORE_CREDIT: "store credit",
    Operation.CANCELLATION: "cancellation",
    Operation.CASE: "case",
    Operation.CALL_BACK: "call-back",
    Operation.NOTE: "note",
    Operation.WITHDRAWAL: "withdrawal",
    Operation.INVITATION: "invitation",
    Operation.UNDO: "undo",
}

LONGEST_SUBJECT = 255


@dataclass(frozen=True)
class Done:
    """A step that is done, for those that come after it."""

    operation: Operation
    connection: str
    receipt: Receipt


def what(wanted: Wanted) -> str:
    """The remedy in a few words: `rush replacement order for 1 × LMP-100`."""
    request = wanted.request
    lines = getattr(request, "lines", ())
    goods = ", ".join(f"{line.quantity.normalize():f} × {line.sku}" for line in lines)
    match request:
        case ReplacementOrderRequest():
            rush = "rush " if request.speed is Speed.RUSH else ""
            return f"{rush}replacement order for {goods}"
        case ReturnRequest():
            return f"return of {goods}"
        case CreditRequest():
            parts = [goods] if goods else []
            parts += ["the shipping"] if request.shipping else []
            of = "all of the order" if request.full else " and ".join(parts)
            return f"credit of {request.amount}" if request.amount else f"credit for {of}"
        case StoreCreditRequest():
            return f"store credit of {request.amount}"
        case CancellationRequest():
            return "cancellation of the order"
        case CaseRequest():
            return f"case: {request.subject}"
        case CallBackRequest():
            return f"call-back: {request.subject}"
        case InvitationRequest():
            return "invitation to a private channel"
        case UndoRequest():
            return f"undo of {request.action}"
        case _:
            return "note"


def case_subject(wanted: Wanted, done: Sequence[Done]) -> str:
    reason = getattr(wanted.request, "reason", None)
    head = f"{str(reason).replace('_', ' ').capitalize()}: " if reason else ""
    numbers = _numbers(done)
    subject = f"{head}{what(wanted)}{f' ({numbers})' if numbers else ''}"
    return subject[:LONGEST_SUBJECT]


def case_description(wanted: Wanted, done: Sequence[Done], *, texts: Sequence[str]) -> str:
    parts = [f"What was done: {what(wanted)}."]
    parts += [f"- {sentence(item)}" for item in done]
    if texts:
        parts += ["", "What the customer wrote:", *[f"> {text}" for text in texts]]
    return "\n".join(parts)


def note(wanted: Wanted, done: Sequence[Done]) -> str:
    """The note that agents find on the conversation when an action is done."""
    lines = [f"Put right: {what(wanted)}."]
    lines += [f"- {sentence(item)}" for item in done if item.operation is not Operation.NOTE]
    return "\n".join(lines)


@dataclass(frozen=True)
class Part:
    """A step as it stands when its action has ended."""

    operation: Operation
    connection: str
    state: StepState
    receipt: Receipt | None = None
    problem: str | None = None


ENDINGS = {
    ActionState.REFUSED: "Not put right, refused",
    ActionState.PARTIAL: "Only partly put right",
    ActionState.UNKNOWN: "Nobody knows whether this was put right",
    ActionState.REJECTED: "Not put right, not approved",
    ActionState.EXPIRED: "Not put right in time",
}


def ended(
    wanted: Wanted, state: ActionState, parts: Sequence[Part], *, rule: str | None = None
) -> str:
    """The note that agents find when an action ended otherwise than it was meant to."""
    lines = [f"{ENDINGS[state]}: {what(wanted)}."]
    if state is ActionState.REJECTED and rule:
        lines.append(f"- {rule}")
    for part in parts:
        if part.operation is Operation.NOTE:
            continue
        if part.receipt is not None:
            lines.append(f"- {sentence(Done(part.operation, part.connection, part.receipt))}")
            continue
        why = f": {part.problem}" if part.problem else ""
        lines.append(f"- {NAMES[part.operation]} in {part.connection}: {part.state}{why}")
    return "\n".join(lines)


def invitation(link: str, *, until: datetime) -> str:
    """The note with a link that agents hand on to the customer."""
    return f"A private channel for the customer, until {until:%Y-%m-%d %H:%M} UTC:\n{link}"


def enriched(
    decision: Decision,
    understanding: Understanding,
    match: OrderMatch | None,
    order: Order | None,
    priority: str | None = None,
) -> str:
    """The note that agents find beside a complaint: who, why, which order, what it is about, and
    how urgent it is."""
    lines = [f"Who: {_who(decision)}"]
    if match is not None and order is not None:
        lines.append(f"Order: {order.number or order.ref.id} ({match.why})")
    elif match is not None:
        lines.append(f"Order: open ({match.why})")
    lines += [f"Beware: {warning}" for warning in (match.warnings if match else ())]
    about = f"{understanding.intent.word}, {understanding.reason.word}"
    lines.append(
        f"About: {about}; sentiment {understanding.sentiment.word},"
        f" severity {understanding.severity.word}, wants {understanding.remedy.word}"
    )
    if priority is not None:
        lines.append(f"Priority: {priority}")
    return "\n".join(lines)


def _who(decision: Decision) -> str:
    candidate = decision.candidate
    if decision.outcome is Outcome.NONE or candidate is None:
        return f"nobody on file ({decision.why})"
    records = ", ".join(f"{ref.connection} {ref.kind} {ref.id}" for ref in candidate.refs)
    doubt = "perhaps " if decision.outcome is Outcome.REVIEW else ""
    return f"{doubt}{records or 'a person known to the hub'} ({decision.why})"


def sentence(item: Done) -> str:
    number = item.receipt.number or item.receipt.ref.id
    return f"{NAMES[item.operation]} {number} in {item.connection} ({item.receipt.status})"


def effect(step: PlannedStep, order: Order | None, details: Mapping[str, Any]) -> str:
    """One line of a preview that was worked out here."""
    name = NAMES[step.operation]
    of = f" for order {order.number or order.ref.id}" if order is not None else ""
    if step.operation is Operation.NOTE:
        return f"write a note on {details.get('on', 'the conversation')}"
    return f"create a {name} in {step.connection}{of}"


def _numbers(done: Sequence[Done]) -> str:
    return ", ".join(item.receipt.number for item in done if item.receipt.number)
