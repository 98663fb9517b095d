"""What an action will do: planned against the store, previewed against the remotes.

Nothing is written here, neither at home nor anywhere else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from middleware.contract.actions import (
    REQUESTS,
    ActionRequest,
    CallBackRequest,
    CancellationRequest,
    CaseRequest,
    CreditRequest,
    Effect,
    InvitationRequest,
    NoteRequest,
    Operation,
    Preview,
    Receipt,
    ReplacementOrderRequest,
    ReturnRequest,
    UndoRequest,
    WantedLine,
    WithdrawalRequest,
)
from middleware.contract.canonical import Kind, Money, Order, Ref
from middleware.contract.capabilities import PreviewsActions
from middleware.contract.errors import NotOffered, RemoteError
from middleware.domain import words
from middleware.domain.actions import (
    CaseWanted,
    PlannedStep,
    Wanted,
    worth,
)
from middleware.domain.policy import approval_rule
from middleware.domain.problems import (
    ConflictError,
    InvalidError,
    NotFoundError,
    NotOfferedError,
)
from middleware.flows.hub import Hub
from middleware.store.database import UnitOfWork
from middleware.store.people import record_of
from middleware.store.tables import ActionRow, ActionStepRow, ComplaintRow


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
    details: list[dict[str, Any]] = [{"request": dump(_completed(request, order))}]

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
        case CallBackRequest():
            target = _call_back_connection(hub, (request.contact, request.account))
            if target is None:
                raise NotOfferedError("no connection schedules call-backs")
            return target
        case NoteRequest():
            target = request.on.connection
        case WithdrawalRequest():
            target = request.of.connection
        case InvitationRequest() | UndoRequest():
            raise NotOfferedError(f"no connection offers {operation} by itself")
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


def _call_back_connection(hub: Hub, customers: Iterable[Ref | None]) -> str | None:
    """Where a call-back is put: beside the cases, with the customer, else anywhere."""
    offering = [n for n in hub.registry.names() if hub.registry.offers(n, Operation.CALL_BACK)]
    known = [ref.connection for ref in customers if ref and ref.connection in offering]
    return next((n for n in (hub.options.cases_to, *known, *offering) if n in offering), None)


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
    request = load(step.operation, made.wanted_of[0]["request"])
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


# --- requests of the steps -------------------------------------------------------------------


def request_of(
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
        return dump(NoteRequest(on=Ref.parse(wanted["on"]), text=text))
    complaint = uow.complaints.get(action.complaint_id) if action.complaint_id else None
    customers = [r for r in _customers(uow, action.person_id) if r.connection == step.connection]
    order = Ref.parse(action.order_ref) if action.order_ref else None
    reason = getattr(asked.request, "reason", None)
    case = CaseWanted.model_validate(wanted["case"])
    arrivals = uow.complaints.arrivals_of(complaint.id) if complaint else []
    return dump(
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


def dump(request: ActionRequest) -> dict[str, Any]:
    return request.model_dump(mode="json")


def load(operation: Operation, body: dict[str, Any]) -> Any:
    return REQUESTS[operation].model_validate_json(json.dumps(body))


def body_hash(body: Any) -> str:
    """What tells whether an idempotency key came with the same body again."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()
