"""Corrective actions: plan ▸ preview ▸ approve ▸ commit key ▸ send ▸ settle.

An action is planned and stored with its keys in one transaction, which also owes its first pass.
A pass takes the steps in order. Each step's row is its intent journal: it is committed as
`sending` before the call, so that whoever comes next knows that something may be under way.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from middleware.contract.actions import (
    REQUESTS,
    ActionRequest,
    CancellationRequest,
    CaseRequest,
    CreditRequest,
    Effect,
    NoteRequest,
    Operation,
    Preview,
    Receipt,
    ReplacementOrderRequest,
    ReturnRequest,
    WantedLine,
)
from middleware.contract.canonical import Kind, Money, Order, Ref
from middleware.contract.capabilities import KeyTraits, PreviewsActions
from middleware.contract.errors import Ambiguous, NotOffered, RemoteError
from middleware.domain import words
from middleware.domain.actions import (
    ActionState,
    CaseWanted,
    PlannedStep,
    StepState,
    Verb,
    Wanted,
    after_failure,
    backoff,
    describe_error,
    look_from,
    state_after,
    worth,
)
from middleware.domain.ids import new_id, step_key
from middleware.domain.policy import approval_rule
from middleware.domain.problems import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    KeyReusedError,
    NotFoundError,
    NotOfferedError,
)
from middleware.flows import deliver
from middleware.flows.engine import LeaseLostError
from middleware.flows.hub import Hub
from middleware.store.actions import StaleStepError
from middleware.store.database import UnitOfWork
from middleware.store.people import record_of
from middleware.store.tables import ActionRow, ActionStepRow, ComplaintRow

log = logging.getLogger(__name__)


@dataclass
class Plan:
    """What an action will do, worked out against the store without writing anything."""

    wanted: Wanted
    steps: list[PlannedStep]
    wanted_of: list[dict[str, Any]]
    """Per step, what its request is made of when its turn comes."""
    order: Order | None = None
    complaint: ComplaintRow | None = None
    person_id: str | None = None
    value: Money | None = None
    approval: str | None = None
    """The rule that asks for an approval."""
    lines: dict[str, Decimal] = field(default_factory=dict)
    """What it takes of each order line."""
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Asker:
    """Who asks, and under which of their idempotency keys."""

    principal: str
    request_id: str | None = None
    key: str | None = None
    route: str = "POST /v1/actions"
    body_hash: str = ""


# --- plan ------------------------------------------------------------------------------------


def plan(hub: Hub, uow: UnitOfWork, wanted: Wanted, *, lock: bool = False) -> Plan:
    """Work out what an action will do. Raises a ProblemError that says what is in the way.

    `lock` holds the order's row, so that two actions on one order are planned one after another.
    """
    complaint = None
    if wanted.complaint_id is not None:
        complaint = uow.complaints.get(wanted.complaint_id)
        if complaint is None:
            raise NotFoundError(f"there is no complaint {wanted.complaint_id}")
    person_id = wanted.person_id or (complaint.person_id if complaint else None)
    if person_id is not None:
        person = uow.people.person(person_id)
        if person is None:
            raise NotFoundError(f"there is no person {person_id}")
        person_id = person.id

    request = wanted.request
    order_ref = _order_ref(request)
    order = None
    if order_ref is not None:
        stored = uow.records.get(order_ref, lock=lock)
        if stored is None:
            raise NotFoundError(
                f"the hub holds no order {order_ref}; sync the connection, or look it up first"
            )
        assert isinstance(stored.record, Order)
        order = stored.record
    target = _target(hub, wanted.operation, request)
    steps = [PlannedStep(connection=target, operation=wanted.operation)]
    details: list[dict[str, Any]] = [{"request": _dump(_completed(request, order))}]

    made = Plan(
        wanted=wanted,
        steps=steps,
        wanted_of=details,
        order=order,
        complaint=complaint,
        person_id=person_id,
        value=worth(request, order),
    )
    if order is not None and order_ref is not None:
        made.lines = _lines_taken(uow, order_ref, order, request)
    owner_known = order is None or _owns(uow, person_id, order)
    made.approval = approval_rule(
        hub.options.policy, wanted.operation, value=made.value, owner_known=owner_known
    )
    if not owner_known:
        made.warnings.append("the order is not linked to the person who complains")
    if wanted.case is not None and wanted.operation is not Operation.CASE:
        _add_case(hub, uow, made, wanted.case)
    if wanted.note is not None and wanted.operation is not Operation.NOTE:
        _add_note(hub, made, wanted.note)
    return made


def _target(hub: Hub, operation: Operation, request: ActionRequest) -> str:
    """The connection that the main step goes to."""
    match request:
        case CaseRequest():
            target = _case_connection(hub, (request.contact, request.account))
            if target is None:
                raise NotOfferedError("no connection opens cases")
            return target
        case NoteRequest():
            target = request.on.connection
        case _:
            target = request.order.connection
    if not hub.registry.offers(target, operation):
        raise NotOfferedError(f"the connection {target!r} does not offer {operation}")
    return target


def _case_connection(hub: Hub, customers: Iterable[Ref | None]) -> str | None:
    """Where a case is opened: as configured, else where the customer is known, else anywhere."""
    offering = [n for n in hub.registry.names() if hub.registry.offers(n, Operation.CASE)]
    if hub.options.cases_to in offering:
        return hub.options.cases_to
    known = [ref.connection for ref in customers if ref and ref.connection in offering]
    return next(iter([*known, *offering]), None)


def _add_case(hub: Hub, uow: UnitOfWork, made: Plan, case: CaseWanted) -> None:
    customers = _customers(uow, made.person_id)
    connection = _case_connection(hub, customers)
    if connection is None:
        made.warnings.append("no connection opens cases: none is opened")
        return
    made.steps.append(PlannedStep(connection=connection, operation=Operation.CASE))
    made.wanted_of.append({"case": case.model_dump(mode="json")})


def _add_note(hub: Hub, made: Plan, text: str) -> None:
    place = conversation_of(hub, made.complaint)
    if place is None:
        made.warnings.append("the complaint's conversation takes no notes: none is written")
        return
    made.steps.append(PlannedStep(connection=place.connection, operation=Operation.NOTE))
    made.wanted_of.append({"on": str(place), "text": text})


def conversation_of(hub: Hub, complaint: ComplaintRow | None) -> Ref | None:
    """Where notes on a complaint are written, if anywhere."""
    inlet = hub.options.inlets.get(complaint.connection) if complaint else None
    if complaint is None or inlet is None or inlet.notes_to is None:
        return None
    if not hub.registry.offers(inlet.notes_to, Operation.NOTE):
        return None
    return Ref(connection=inlet.notes_to, kind=Kind.CONVERSATION, id=complaint.conversation)


def _order_ref(request: ActionRequest) -> Ref | None:
    return request.order if hasattr(request, "order") else None


def _completed(request: ActionRequest, order: Order | None) -> ActionRequest:
    """The request with what the order knows filled in: its account, its address, its units."""
    if order is None or not isinstance(
        request, ReplacementOrderRequest | ReturnRequest | CreditRequest
    ):
        return request
    units = {line.id: line.unit for line in order.lines}
    changes: dict[str, Any] = {
        "account": request.account or order.account,
        "lines": tuple(
            line.model_copy(update={"unit": line.unit or units.get(line.line)})
            for line in request.lines
        ),
    }
    if isinstance(request, ReplacementOrderRequest):
        changes["ship_to"] = request.ship_to or order.ship_to
    return request.model_copy(update=changes)


def _lines_taken(
    uow: UnitOfWork, order_ref: Ref, order: Order, request: ActionRequest
) -> dict[str, Decimal]:
    """How much of each line the request takes; raises when a line is not there or not enough."""
    if isinstance(request, CancellationRequest | CaseRequest):
        return {}
    wanted: tuple[WantedLine, ...] = getattr(request, "lines", ())
    ordered = {line.id: line for line in order.lines}
    held = uow.actions.held(str(order_ref))
    taken: dict[str, Decimal] = {}
    for index, line in enumerate(wanted):
        pointer = f"/request/lines/{index}"
        if line.line not in ordered:
            raise InvalidError(
                f"the order {order.number or order_ref} has no line {line.line!r}",
                errors=[
                    {
                        "pointer": f"{pointer}/line",
                        "code": "unknown_line",
                        "detail": f"its lines are {', '.join(ordered) or 'none'}",
                    }
                ],
            )
        taken[line.line] = taken.get(line.line, Decimal(0)) + line.quantity
        already, actions = held.get(line.line, (Decimal(0), []))
        left = ordered[line.line].quantity - already
        if taken[line.line] > left:
            if actions:
                raise ConflictError(
                    f"line {line.line} of order {order.number or order_ref} is being put right "
                    f"already by {', '.join(actions)}; {max(left, Decimal(0))} is left of it",
                    actions=actions,
                    line=line.line,
                    left=str(max(left, Decimal(0))),
                )
            raise InvalidError(
                f"line {line.line} was ordered {ordered[line.line].quantity} times",
                errors=[
                    {
                        "pointer": f"{pointer}/quantity",
                        "code": "more_than_ordered",
                        "detail": f"at most {left}",
                    }
                ],
            )
    return taken


def _customers(uow: UnitOfWork, person_id: str | None) -> list[Ref]:
    """The CRM and ERP records that a person is linked to."""
    if person_id is None:
        return []
    refs = [record_of(link) for link in uow.people.links_of_person(person_id)]
    return [ref for ref in refs if ref is not None]


def _owns(uow: UnitOfWork, person_id: str | None, order: Order) -> bool:
    customers = set(_customers(uow, person_id))
    return bool(customers & {ref for ref in (order.account, order.contact) if ref is not None})


# --- preview ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class PreviewedStep:
    step: PlannedStep
    preview: Preview


def preview(hub: Hub, wanted: Wanted) -> tuple[Plan, list[PreviewedStep]]:
    """What an action would do in each system. Nothing is written anywhere.

    The remote is asked where it can simulate; otherwise the effect is worked out here and says so
    (`exact=False`).
    """
    with hub.database.read() as uow:
        made = plan(hub, uow, wanted)
    previews: list[PreviewedStep] = []
    for step, details in zip(made.steps, made.wanted_of, strict=True):
        worked_out = Preview(
            effects=(
                Effect(
                    what=words.effect(step, made.order, details),
                    amount=made.value if not previews else None,
                ),
            )
        )
        if not previews:
            worked_out = _simulated(hub, step, made, worked_out)
        previews.append(PreviewedStep(step, worked_out))
    return made, previews


def _simulated(hub: Hub, step: PlannedStep, made: Plan, otherwise: Preview) -> Preview:
    """What the remote says it would do, if it can simulate and answers in time."""
    adapter = hub.registry.adapter(step.connection)
    if not isinstance(adapter, PreviewsActions):
        return otherwise
    request = _load(step.operation, made.wanted_of[0]["request"])
    limit = hub.options.read_deadline.total_seconds()
    asked = hub.readers.submit(adapter.preview, step.operation, request)
    try:
        return asked.result(timeout=limit)
    except NotOffered:
        return otherwise
    except TimeoutError:
        asked.cancel()
        why = f"no answer within {limit:g} s"
    except RemoteError as error:
        why = error.message
    warning = f"{step.connection} could not simulate it: {why}"
    return otherwise.model_copy(update={"warnings": (*otherwise.warnings, warning)})


# --- create, approve, cancel -----------------------------------------------------------------


def create(hub: Hub, wanted: Wanted, asker: Asker) -> tuple[str, bool]:
    """Accept an action: plan it, commit it with its keys, and owe its first pass.

    Answers the action's id and whether it is new; the same idempotency key with the same body
    answers the first one's. Raises KeyReusedError for another body.
    """
    with hub.database.begin() as uow:
        return create_in(hub, uow, wanted, asker)


def create_in(hub: Hub, uow: UnitOfWork, wanted: Wanted, asker: Asker) -> tuple[str, bool]:
    """The same within a transaction of the caller's."""
    now = hub.clock()
    if asker.key is not None:
        first = uow.keys.take(
            principal=asker.principal,
            route=asker.route,
            key=asker.key,
            body_hash=asker.body_hash,
            at=now,
        )
        if first is not None:
            if first.body_hash != asker.body_hash:
                raise KeyReusedError(
                    "this idempotency key was used with another body; use a new one"
                )
            assert first.answer is not None, "a committed key has its answer"
            return str(first.answer["id"]), False
    made = plan(hub, uow, wanted, lock=True)
    action = ActionRow(
        id=new_id("act"),
        kind=wanted.operation.value,
        state=(ActionState.AWAITING_APPROVAL if made.approval else ActionState.QUEUED).value,
        complaint_id=wanted.complaint_id,
        person_id=made.person_id,
        order_ref=str(made.order.ref) if made.order else None,
        request=wanted.model_dump(mode="json"),
        value=made.value.model_dump(mode="json") if made.value else None,
        requested_by=asker.principal,
        approval={"rule": made.approval} if made.approval else None,
        expires_at=now + hub.options.action_lifetime,
        created_at=now,
        updated_at=now,
    )
    steps = [
        ActionStepRow(
            id=new_id("stp"),
            action_id=action.id,
            position=position,
            connection=step.connection,
            operation=step.operation.value,
            key=step_key(action.id, position, step.operation),
            state=StepState.PLANNED.value,
            wanted=details,
        )
        for position, (step, details) in enumerate(
            zip(made.steps, made.wanted_of, strict=True), start=1
        )
    ]
    uow.actions.add(action, steps)
    if made.order is not None:
        uow.actions.hold(action_id=action.id, order_ref=str(made.order.ref), lines=made.lines)
    if asker.key is not None:
        uow.keys.answer(
            principal=asker.principal,
            route=asker.route,
            key=asker.key,
            status=202,
            answer={"id": action.id},
            location=f"/v1/actions/{action.id}",
        )
    uow.audit.write(
        at=now,
        actor=asker.principal,
        action="action.create",
        subject=action.id,
        request_id=asker.request_id,
        kind=action.kind,
        order=action.order_ref,
        approval=made.approval,
    )
    _tell(hub, uow, "action.requested", action, now)
    if made.approval is None:
        owe_pass(hub, uow, action, at=now)
    return action.id, True


def approve(hub: Hub, action_id: str, asker: Asker, *, grant: bool, reason: str | None) -> None:
    """Grant or deny an action that awaits approval. Whoever asked for it cannot."""
    now = hub.clock()
    with hub.database.begin() as uow:
        action = _locked(uow, action_id)
        if action.state != ActionState.AWAITING_APPROVAL:
            raise ConflictError(f"the action is {action.state}; there is nothing to approve")
        if action.requested_by == asker.principal:
            raise ForbiddenError("whoever asked for an action cannot approve it")
        action.approval = {
            **(action.approval or {}),
            "by": asker.principal,
            "at": now.isoformat(),
            "granted": grant,
            "reason": reason,
        }
        if grant:
            action.state = ActionState.QUEUED.value
            action.expires_at = now + hub.options.action_lifetime
            owe_pass(hub, uow, action, at=now)
        else:
            _cancel_steps(uow, action)
            _end(hub, uow, action, ActionState.REJECTED, now)
        _changed(action, now)
        uow.audit.write(
            at=now,
            actor=asker.principal,
            subject=action.id,
            request_id=asker.request_id,
            action="action.approve" if grant else "action.reject",
            reason=reason,
        )


def cancel(hub: Hub, action_id: str, asker: Asker) -> None:
    """Call an action off, as long as nothing of it was ever sent."""
    now = hub.clock()
    with hub.database.begin() as uow:
        action = _locked(uow, action_id)
        if action.state == ActionState.CANCELLED:
            return
        steps = uow.actions.steps_of(action.id)
        if ActionState(action.state).ended or any(s.sent_at is not None for s in steps):
            raise ConflictError(
                f"the action is {action.state} and was sent already; it can't be called off",
                state=action.state,
            )
        _cancel_steps(uow, action)
        _end(hub, uow, action, ActionState.CANCELLED, now)
        uow.audit.write(
            at=now,
            actor=asker.principal,
            action="action.cancel",
            subject=action.id,
            request_id=asker.request_id,
        )


def expire_approval(hub: Hub, action_id: str) -> None:
    """End an action that nobody approved in time."""
    now = hub.clock()
    with hub.database.begin() as uow:
        action = uow.actions.get(action_id, lock=True)
        if action is None or action.state != ActionState.AWAITING_APPROVAL:
            return
        if now < action.expires_at:
            return
        _cancel_steps(uow, action)
        _end(hub, uow, action, ActionState.EXPIRED, now)


def resolve_unknown(
    hub: Hub,
    action_id: str,
    step_id: str,
    *,
    found: Receipt | None,
    absent: bool,
    error: dict[str, Any] | None,
) -> None:
    """Commit what a look-up said of a step whose outcome was not known."""
    now = hub.clock()
    with hub.database.begin() as uow:
        action = uow.actions.get(action_id, lock=True)
        step = next((s for s in uow.actions.steps_of(action_id) if s.id == step_id), None)
        if action is None or step is None or step.state != StepState.UNKNOWN:
            return
        _changed(action, now)
        if found is not None:
            uow.actions.move(
                step,
                state=StepState.DONE.value,
                receipt=found.model_dump(mode="json"),
                in_doubt=False,
                settled_at=now,
                error=None,
            )
            if _finish(hub, uow, action, now) is None:
                action.state = ActionState.QUEUED.value
                action.expires_at = now + hub.options.action_lifetime
                owe_pass(hub, uow, action, at=now)
        elif absent:
            uow.actions.move(step, state=StepState.PLANNED.value, in_doubt=False, settled_at=now)
            _cancel_steps(uow, action)
            done = any(s.state == StepState.DONE for s in uow.actions.steps_of(action_id))
            _end(hub, uow, action, ActionState.PARTIAL if done else ActionState.EXPIRED, now)
        else:
            uow.actions.move(step, error=error or step.error)
        uow.audit.write(
            at=now,
            actor="hub",
            action="step.look_up",
            subject=action_id,
            step=step_id,
            found=found is not None,
            absent=absent,
        )


def _locked(uow: UnitOfWork, action_id: str) -> ActionRow:
    action = uow.actions.get(action_id, lock=True)
    if action is None:
        raise NotFoundError(f"there is no action {action_id}")
    return action


# --- send and settle -------------------------------------------------------------------------


@dataclass(frozen=True)
class Sending:
    """One step whose intent is committed: what to call, and whether to look first."""

    step_id: str
    connection: str
    operation: Operation
    key: str
    request: ActionRequest
    look_first: bool
    sent_at: datetime
    attempts: int
    traits: KeyTraits


def run(hub: Hub, action_id: str, pass_no: str) -> None:
    """One pass: take the steps in order until all are done or one has to wait."""
    number = int(pass_no)
    while True:
        sending = _announce(hub, action_id, number)
        if sending is None:
            return
        try:
            try:
                sent = _send(hub, action_id, number, sending)
            except LeaseLostError:
                _step_back(hub, action_id, number, sending)
                raise
            if not _settle(hub, action_id, number, sending, sent):
                return
        except StaleStepError:
            log.info("pass overtaken", extra={"action": action_id, "pass": number})
            return


def _announce(hub: Hub, action_id: str, number: int) -> Sending | None:
    """Commit the intent to send the next step; None when this pass has nothing more to do."""
    now = hub.clock()
    with hub.database.begin() as uow:
        action = uow.actions.get(action_id, lock=True)
        if action is None or action.pass_no != number or ActionState(action.state).ended:
            return None
        steps = uow.actions.steps_of(action_id)
        step = next((s for s in steps if s.state != StepState.DONE), None)
        if step is None or step.state in (StepState.UNKNOWN, StepState.REFUSED):
            return None
        if now >= action.expires_at:
            _expire(hub, uow, action, steps, step, now)
            return None
        operation = Operation(step.operation)
        try:
            traits = hub.registry.adapter(step.connection).key_traits(operation)
        except RemoteError as error:
            uow.actions.move(step, state=StepState.REFUSED.value, error=describe_error(error))
            _finish(hub, uow, action, now)
            return None
        ready = look_from(sent_at=step.sent_at, in_doubt=step.in_doubt, traits=traits)
        if ready is not None and ready > now:
            _wait(hub, uow, action, step, until=ready, now=now)
            return None
        look_first = step.sent_at is not None
        request = _load(operation, step.request or _made(hub, uow, action, steps, step))
        changes: dict[str, Any] = {
            "state": StepState.SENDING.value,
            "request": _dump(request),
            "attempts": step.attempts + 1,
        }
        if not look_first:
            changes |= {"sent_at": now, "in_doubt": True}
        uow.actions.move(step, **changes)
        action.state = ActionState.RUNNING.value
        action.due_at = now + hub.options.call_margin
        _changed(action, now)
        assert step.sent_at is not None
        return Sending(
            step_id=step.id,
            connection=step.connection,
            operation=operation,
            key=step.key,
            request=request,
            look_first=look_first,
            sent_at=step.sent_at,
            attempts=step.attempts,
            traits=traits,
        )


@dataclass(frozen=True)
class Sent:
    """What came of a send, or of the look-up before it."""

    outcome: Receipt | RemoteError
    looking: bool
    """Whether it is the look-up's outcome: then nothing was sent this time."""


def _send(hub: Hub, action_id: str, number: int, sending: Sending) -> Sent:
    """Look the step up if it was ever sent before, then send it; never raises RemoteError."""
    adapter = hub.registry.adapter(sending.connection)
    looking = sending.look_first
    try:
        if looking:
            found: Receipt | None = getattr(adapter, f"find_{sending.operation}")(
                sending.request, key=sending.key
            )
            if found is not None:
                return Sent(found, looking=True)
            _announce_again(hub, action_id, number, sending)
            looking = False
        hub.engine.guard()
        receipt: Receipt = getattr(adapter, f"create_{sending.operation}")(
            sending.request, key=sending.key
        )
    except RemoteError as error:
        return Sent(error, looking=looking)
    except (LeaseLostError, StaleStepError):
        raise
    except Exception as error:
        # An adapter's own mistake: nobody knows what the remote did.
        log.exception("adapter failed", extra={"action": action_id, "step": sending.step_id})
        doubt = Ambiguous(
            f"the adapter failed with {type(error).__name__}",
            system=sending.connection,
            operation=str(sending.operation),
        )
        return Sent(doubt, looking=looking)
    return Sent(receipt, looking=False)


def _step_back(hub: Hub, action_id: str, number: int, sending: Sending) -> None:
    """Leave a step to a later pass: this node lost its lease and sent nothing.

    Another node may be sending it under this very pass, so that it stays in doubt; that pass is
    overtaken, and what it did is found by its key.
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        action, step = _mine(uow, action_id, number, sending.step_id)
        ready = look_from(sent_at=step.sent_at, in_doubt=step.in_doubt, traits=sending.traits)
        again = now + backoff(step.attempts)
        _wait(hub, uow, action, step, until=max(ready or again, again), now=now)


def _announce_again(hub: Hub, action_id: str, number: int, sending: Sending) -> None:
    """Commit a new intent after a look-up that proved the last one void."""
    with hub.database.begin() as uow:
        _action, step = _mine(uow, action_id, number, sending.step_id)
        uow.actions.move(step, sent_at=hub.clock(), in_doubt=True)


def _settle(hub: Hub, action_id: str, number: int, sending: Sending, sent: Sent) -> bool:
    """Commit the outcome; True when the pass goes on with the next step.

    Raises StaleStepError when another pass took the step over; it finds what we did by its key.
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        action, step = _mine(uow, action_id, number, sending.step_id)
        if isinstance(sent.outcome, Receipt):
            uow.actions.move(
                step,
                state=StepState.DONE.value,
                receipt=sent.outcome.model_dump(mode="json"),
                in_doubt=False,
                settled_at=now,
                error=None,
            )
            _changed(action, now)
            return _finish(hub, uow, action, now) is None
        assert step.sent_at is not None
        follows = after_failure(
            sent.outcome,
            looking=sent.looking,
            now=now,
            sent_at=step.sent_at,
            attempts=step.attempts,
            traits=sending.traits,
        )
        in_doubt = step.in_doubt if sent.looking else isinstance(sent.outcome, Ambiguous)
        error = describe_error(sent.outcome)
        if follows.at is not None:
            uow.actions.move(step, error=error, in_doubt=in_doubt)
            _wait(hub, uow, action, step, until=follows.at, now=now)
        else:
            state = StepState.UNKNOWN if follows.verb is Verb.PERSON else StepState.REFUSED
            uow.actions.move(
                step, state=state.value, error=error, in_doubt=in_doubt, settled_at=now
            )
            _finish(hub, uow, action, now)
        return False


def _mine(
    uow: UnitOfWork, action_id: str, number: int, step_id: str
) -> tuple[ActionRow, ActionStepRow]:
    """The action and step, locked, if they are still this pass's; else StaleStepError."""
    action = uow.actions.get(action_id, lock=True)
    step = next((s for s in uow.actions.steps_of(action_id) if s.id == step_id), None)
    if action is None or step is None or action.pass_no != number:
        raise StaleStepError(step_id)
    if step.state != StepState.SENDING:
        raise StaleStepError(step_id)
    return action, step


def owe_pass(
    hub: Hub, uow: UnitOfWork, action: ActionRow, *, at: datetime, delay: timedelta | None = None
) -> None:
    """Owe the next pass; an earlier one that is still about may no longer touch the action."""
    action.pass_no += 1
    action.due_at = at + (delay or timedelta(0)) + hub.options.call_margin
    hub.engine.enqueue(
        uow,
        "correct",
        action.id,
        str(action.pass_no),
        name=f"correct:{action.id}:{action.pass_no}",
        delay=delay,
    )


def _wait(
    hub: Hub,
    uow: UnitOfWork,
    action: ActionRow,
    step: ActionStepRow,
    *,
    until: datetime,
    now: datetime,
) -> None:
    """End this pass and owe one at `until`, or at once when that is over."""
    uow.actions.move(step, state=StepState.WAITING.value)
    if action.state != ActionState.WAITING:
        action.state = ActionState.WAITING.value
        _tell(hub, uow, "action.waiting", action, now)
    _changed(action, now)
    owe_pass(hub, uow, action, at=now, delay=max(until - now, timedelta(0)))


def _finish(hub: Hub, uow: UnitOfWork, action: ActionRow, now: datetime) -> ActionState | None:
    """End the action if its steps add up to an end; answers that state."""
    state = state_after([StepState(s.state) for s in uow.actions.steps_of(action.id)])
    if state is not None:
        if state in (ActionState.REFUSED, ActionState.PARTIAL):
            _cancel_steps(uow, action)
        _end(hub, uow, action, state, now)
    return state


def _end(hub: Hub, uow: UnitOfWork, action: ActionRow, state: ActionState, now: datetime) -> None:
    action.state = state.value
    action.due_at = None
    _changed(action, now)
    if state.changed_nothing:
        uow.actions.release(action.id, at=now)
    _tell(hub, uow, f"action.{state.value}", action, now)


def _expire(
    hub: Hub,
    uow: UnitOfWork,
    action: ActionRow,
    steps: list[ActionStepRow],
    step: ActionStepRow,
    now: datetime,
) -> None:
    """Stop trying: in doubt it is unknown, otherwise nothing more will be sent."""
    if step.in_doubt:
        uow.actions.move(step, state=StepState.UNKNOWN.value)
        _end(hub, uow, action, ActionState.UNKNOWN, now)
        return
    _cancel_steps(uow, action)
    done = any(s.state == StepState.DONE for s in steps)
    _end(hub, uow, action, ActionState.PARTIAL if done else ActionState.EXPIRED, now)


def _cancel_steps(uow: UnitOfWork, action: ActionRow) -> None:
    for step in uow.actions.steps_of(action.id):
        if step.state not in (StepState.DONE, StepState.REFUSED):
            uow.actions.move(step, state=StepState.CANCELLED.value)


def _changed(action: ActionRow, now: datetime) -> None:
    action.updated_at = now
    action.version += 1


def _tell(hub: Hub, uow: UnitOfWork, type_: str, action: ActionRow, now: datetime) -> None:
    deliver.tell(hub, uow, type_, subject=action.id, data=summary(uow, action), at=now)


def summary(uow: UnitOfWork, action: ActionRow) -> dict[str, Any]:
    """An action in an event: ids, states and numbers, nobody's name."""
    return {
        "id": action.id,
        "kind": action.kind,
        "state": action.state,
        "complaint_id": action.complaint_id,
        "person_id": action.person_id,
        "order": action.order_ref,
        "steps": [
            {
                "connection": step.connection,
                "operation": step.operation,
                "state": step.state,
                "key": step.key,
                "number": (step.receipt or {}).get("number"),
            }
            for step in uow.actions.steps_of(action.id)
        ],
    }


# --- requests of the steps -------------------------------------------------------------------


def _made(
    hub: Hub, uow: UnitOfWork, action: ActionRow, steps: list[ActionStepRow], step: ActionStepRow
) -> dict[str, Any]:
    """The canonical request of a step, made when its turn comes and never changed after."""
    wanted = step.wanted
    if "request" in wanted:
        return dict(wanted["request"])
    done = [
        words.Done(Operation(s.operation), s.connection, Receipt.model_validate(s.receipt))
        for s in steps
        if s.receipt is not None
    ]
    asked = Wanted.model_validate(action.request)
    if "on" in wanted:
        text = wanted["text"] or words.note(asked, done)
        return _dump(NoteRequest(on=Ref.parse(wanted["on"]), text=text))
    complaint = uow.complaints.get(action.complaint_id) if action.complaint_id else None
    customers = [r for r in _customers(uow, action.person_id) if r.connection == step.connection]
    order = Ref.parse(action.order_ref) if action.order_ref else None
    reason = getattr(asked.request, "reason", None)
    case = CaseWanted.model_validate(wanted["case"])
    arrivals = uow.complaints.arrivals_of(complaint.id) if complaint else []
    return _dump(
        CaseRequest(
            subject=case.subject or words.case_subject(asked, done),
            description=case.description
            or words.case_description(
                asked, done, texts=[a.text for a in arrivals if not a.outgoing]
            ),
            priority=case.priority,
            contact=next((r for r in customers if r.kind is Kind.CONTACT), None),
            account=next((r for r in customers if r.kind is Kind.ACCOUNT), None),
            order=order if order and order.connection == step.connection else None,
            origin=complaint.network if complaint else None,
            **({"reason": reason} if reason is not None else {}),
        )
    )


def _dump(request: ActionRequest) -> dict[str, Any]:
    return request.model_dump(mode="json")


def _load(operation: Operation, body: dict[str, Any]) -> Any:
    return REQUESTS[operation].model_validate_json(json.dumps(body))


def body_hash(body: Any) -> str:
    """What tells whether an idempotency key came with the same body again."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()
