"""What an action will do: planned against the store, previewed against the remotes.

Nothing is written here, neither at home nor anywhere else.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from middleware.contract.actions import (
    REQUESTS,
    ActionRequest,
    CallBackRequest,
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
    StoreCreditRequest,
    Then,
    UndoRequest,
    WithdrawalRequest,
)
from middleware.contract.canonical import Kind, Money, Order, OrderStatus, Ref
from middleware.contract.capabilities import PreviewsActions
from middleware.contract.errors import NotOffered, RemoteError
from middleware.domain import words
from middleware.domain.actions import (
    ActionState,
    CaseWanted,
    PlannedStep,
    StepState,
    Wanted,
    worth,
)
from middleware.domain.budget import WHOLE, Budget, NotInTheOrderError, Take, takes_of
from middleware.domain.claims import Held
from middleware.domain.policy import GIVES_VALUE, HUB, Ask
from middleware.domain.problems import (
    ConflictError,
    InvalidError,
    NotFoundError,
    NotOfferedError,
)
from middleware.domain.turns import Urgency
from middleware.flows import calls, claim, policies
from middleware.flows.budget import budget_of
from middleware.flows.hub import Asker, Hub
from middleware.flows.policies import Judged
from middleware.store.database import UnitOfWork
from middleware.store.people import record_of
from middleware.store.tables import ActionRow, ActionStepRow, ComplaintRow, InvitationRow


@dataclass
class Plan:
    """What an action will do, worked out against the store without writing anything."""

    wanted: Wanted
    steps: list[PlannedStep] = field(default_factory=list)
    wanted_of: list[dict[str, Any]] = field(default_factory=list)
    """Per step, what its request is made of when its turn comes."""
    order: Order | None = None
    complaint: ComplaintRow | None = None
    person_id: str | None = None
    value: Money | None = None
    owner_known: bool = True
    """Whether the order, if there is one, is linked to the person."""
    judged: Judged | None = None
    """What the policy in force says; None for what the hub does by itself."""
    approval: str | None = None
    """The rules that ask for an approval, in words."""
    budget: Budget | None = None
    """The order's budget as it stands before this action."""
    takes: tuple[Take, ...] = ()
    """What it takes of that."""
    undoes: ActionRow | None = None
    """The action that it takes back."""
    claims: tuple[Held, ...] = ()
    """What somebody else has claimed of what it is about."""
    stays: list[str] = field(default_factory=list)
    """Of an undo: what can't be taken back, and why."""
    warnings: list[str] = field(default_factory=list)

    @property
    def customer(self) -> str | None:
        """Whose actions are carried out one after another: the person's, else the account's."""
        if self.judged is not None and self.judged.facts.customer is not None:
            return self.judged.facts.customer
        if self.person_id is not None:
            return self.person_id
        if self.order is not None and self.order.account is not None:
            return str(self.order.account)
        return None

    def add(self, connection: str, operation: Operation, **wanted: Any) -> None:
        self.steps.append(PlannedStep(connection=connection, operation=operation))
        self.wanted_of.append(wanted)


def plan(hub: Hub, uow: UnitOfWork, wanted: Wanted, asker: Asker, *, lock: bool = False) -> Plan:
    """Work out what an action will do. Raises a ProblemError that says what is in the way.

    `lock` holds the order's row, so that two actions on one order are planned one after another,
    and what the policy's caps count.
    """
    made = Plan(wanted)
    if isinstance(wanted.request, UndoRequest):
        _undo(hub, uow, made, wanted.request, lock=lock)
    elif isinstance(wanted.request, InvitationRequest):
        _about(uow, made, wanted)
        _invitation(hub, made, wanted.request)
    else:
        _about(uow, made, wanted)
        _remedy(hub, uow, made, wanted, lock=lock)
    made.owner_known = made.order is None or _owns(uow, made.person_id, made.order)
    if asker.principal != HUB:
        made.judged = policies.judged(hub, uow, made, asker, lock=lock)
        says = made.judged.verdict.asking(Ask.APPROVE)
        made.approval = "; ".join(map(str, says)) or None
        made.claims = _claimed(hub, uow, made, asker)
        made.warnings += [
            f"{held.holder} has claimed {held.subject} until {held.expires_at.isoformat()}"
            for held in made.claims
        ]
    if isinstance(wanted.request, CallBackRequest):
        taken = calls.warning(hub, uow, wanted.request)
        made.warnings += [taken] if taken is not None else []
    if not made.owner_known:
        made.warnings.append("the order is not linked to the person who complains")
    if wanted.case is not None and wanted.operation is not Operation.CASE:
        _add_case(hub, uow, made, wanted.case)
    if wanted.note is not None and wanted.operation is not Operation.NOTE:
        _add_note(hub, made, wanted.note)
    return made


def _claimed(hub: Hub, uow: UnitOfWork, made: Plan, asker: Asker) -> tuple[Held, ...]:
    """What others have claimed of it. A note puts nothing right: anybody may write one."""
    if made.wanted.operation is Operation.NOTE:
        return ()
    request = made.wanted.request
    rows = claim.others_on(
        hub,
        uow,
        principal=asker.principal,
        complaint=made.complaint,
        person_id=made.person_id,
        order=made.order.ref if made.order is not None else None,
        lines=[wanted.line for wanted in getattr(request, "lines", ())],
    )
    return claim.told(uow, rows)


def _about(uow: UnitOfWork, made: Plan, wanted: Wanted) -> None:
    """Which complaint and person it is about."""
    if wanted.complaint_id is not None:
        made.complaint = uow.complaints.get(wanted.complaint_id)
        if made.complaint is None:
            raise NotFoundError(f"there is no complaint {wanted.complaint_id}")
    person_id = wanted.person_id or (made.complaint.person_id if made.complaint else None)
    if person_id is not None:
        person = uow.people.person(person_id)
        if person is None:
            raise NotFoundError(f"there is no person {person_id}")
        made.person_id = person.id


def _remedy(hub: Hub, uow: UnitOfWork, made: Plan, wanted: Wanted, *, lock: bool) -> None:
    request = wanted.request
    if isinstance(request, WithdrawalRequest):
        raise InvalidError("what an action made is taken back by an undo of that action")
    ref: Ref | None = getattr(request, "order", None)
    if ref is not None and not isinstance(request, CaseRequest | CallBackRequest):
        stored = uow.records.get(ref, lock=lock)
        if stored is None or not isinstance(stored.record, Order):
            raise NotFoundError(
                f"the hub holds no order {ref}; sync the connection, or look it up first"
            )
        made.order = stored.record
        made.budget = budget_of(uow, made.order, lock=lock)
    target = _target(hub, wanted.operation, request)
    if isinstance(request, CaseRequest | CallBackRequest):
        completed: ActionRequest = _naming_the_order(uow, request, target)
    else:
        completed = _completed(request, made.order)
    made.add(target, wanted.operation, request=dump(completed))
    made.value = worth(request, made.order)
    beside = _replacement_beside(completed)
    if beside is not None:
        if not hub.registry.offers(target, Operation.REPLACEMENT_ORDER):
            raise NotOfferedError(f"the connection {target!r} makes no replacement orders")
        made.add(target, Operation.REPLACEMENT_ORDER, request=dump(beside))
    if made.budget is not None:
        _draw(made, [request, *([beside] if beside else [])])


def _invitation(hub: Hub, made: Plan, request: InvitationRequest) -> None:
    """The link goes to the agents of the conversation; they hand it on."""
    if hub.options.public_url is None:
        raise NotOfferedError("nobody could follow the link: public_url is not configured")
    if made.complaint is None:
        raise InvalidError(
            "an invitation belongs to a complaint",
            errors=[{"pointer": "/complaint_id", "code": "missing", "detail": "is needed"}],
        )
    place = request.on or conversation_of(hub, made.complaint)
    if place is None or not hub.registry.offers(place.connection, Operation.NOTE):
        raise NotOfferedError("the complaint's conversation takes no notes: nobody gets the link")
    made.add(place.connection, Operation.NOTE, on=str(place), invitation=True)


def link_of(hub: Hub, invitation: InvitationRow) -> str:
    """The signed link of an invitation."""
    return f"{hub.options.public_url}/v1/invitations/{hub.seal.write('invitation', invitation.id)}"


def _naming_the_order(
    uow: UnitOfWork, request: CaseRequest | CallBackRequest, target: str
) -> CaseRequest | CallBackRequest:
    """The request with the order's number; a reference only where its own system reads it."""
    here = request.order is not None and request.order.connection == target
    return request.model_copy(
        update={
            "order": request.order if here else None,
            "order_number": request.order_number or _number_of(uow, request.order),
        }
    )


def _number_of(uow: UnitOfWork, order: Ref | None) -> str | None:
    return uow.records.number_of(order) if order is not None else None


def _replacement_beside(request: ActionRequest) -> ReplacementOrderRequest | None:
    """The replacement that goes out beside a return, where that is what the customer gets."""
    if not isinstance(request, ReturnRequest) or request.then is not Then.REPLACEMENT:
        return None
    return ReplacementOrderRequest(
        order=request.order,
        account=request.account,
        lines=request.lines,
        reason=request.reason,
        note=request.note,
    )


def _draw(made: Plan, requests: Sequence[ActionRequest]) -> None:
    """Take what the requests need of the budget; raises when a line is not there or not enough."""
    assert made.budget is not None
    order = made.budget.order
    called = f"order {order.number or order.ref}"
    try:
        made.takes = tuple(take for request in requests for take in takes_of(request, order))
    except NotInTheOrderError as wrong:
        raise InvalidError(
            f"the {called} does not have that: {wrong.detail}",
            errors=[{"pointer": wrong.pointer, "code": wrong.code, "detail": wrong.detail}],
        ) from None
    over = made.budget.exceeded(made.takes)
    if over is None:
        if any(take.amount for take in made.takes) and made.budget.left(WHOLE, "money") is None:
            made.warnings.append(f"what the {called} cost is not known: nothing limits the amount")
        return
    of = f"line {over.line} of {called}" if over.line else called
    unit = made.budget.currency if over.what == "money" else "pieces"
    left = f"{over.left.normalize():f}"
    if over.taken:
        raise ConflictError(
            f"{of} is being put right already by {', '.join(over.by)};"
            f" {left} {unit} of it is left, {over.wanted.normalize():f} wanted",
            actions=[by for by in over.by if by.startswith("act_")],
            by=list(over.by),
            line=over.line,
            left=left,
        )
    raise InvalidError(
        f"{of} never had so much",
        errors=[
            {
                "pointer": _place(made.wanted.request, over.line),
                "code": "more_than_ordered",
                "detail": f"at most {left} {unit}",
            }
        ],
    )


def _place(request: ActionRequest, line: str) -> str:
    """Where in the request too much of a line is asked for."""
    for index, wanted in enumerate(getattr(request, "lines", ())):
        if wanted.line == line:
            return f"/request/lines/{index}/quantity"
    return "/request/amount"


def _undo(hub: Hub, uow: UnitOfWork, made: Plan, request: UndoRequest, *, lock: bool) -> None:
    """Withdraw the done steps of an action, the last first, as far as their remotes offer it."""
    action = uow.actions.get(request.action, lock=lock)
    if action is None:
        raise NotFoundError(f"there is no action {request.action}")
    if action.kind == Operation.UNDO:
        raise InvalidError("an undo is not undone; ask for the remedy again")
    if action.undone_by is not None:
        raise ConflictError(
            f"the action is being taken back already by {action.undone_by}",
            actions=[action.undone_by],
        )
    if ActionState(action.state) not in (ActionState.DONE, ActionState.PARTIAL):
        raise ConflictError(
            f"the action is {action.state}; what is done can be undone, what was never sent can be"
            " called off",
            state=action.state,
        )
    made.undoes = action
    made.person_id = action.person_id
    made.complaint = uow.complaints.get(action.complaint_id) if action.complaint_id else None
    made.value = Money.model_validate(action.value) if action.value else None
    if action.order_ref is not None:
        stored = uow.records.get(Ref.parse(action.order_ref))
        made.order = stored.record if stored and isinstance(stored.record, Order) else None
    for step in reversed(uow.actions.steps_of(action.id)):
        if step.state != StepState.DONE or step.receipt is None:
            continue
        why = why_it_stays(hub, step)
        if why is not None:
            made.stays.append(f"{step.operation} in {step.connection}: {why}")
            continue
        receipt = Receipt.model_validate(step.receipt)
        withdrawal = WithdrawalRequest(
            of=receipt.ref,
            made_by=Operation(step.operation),
            made_under=step.key,
            note=request.note,
        )
        made.add(step.connection, Operation.WITHDRAWAL, request=dump(withdrawal))
    if action.kind == Operation.INVITATION:
        made.stays.clear()  # the note stays, but its link leads nowhere
    elif not made.steps:
        raise NotOfferedError(f"nothing of it can be taken back ({'; '.join(made.stays)})")
    made.warnings += [f"stays as it is: {stays}" for stays in made.stays]


def no_longer(hub: Hub, uow: UnitOfWork, action: ActionRow) -> str | None:
    """Why an action that had to wait is no longer right; None when it still is.

    Looked at once more before anything of it is sent, if it waited longer than `recheck_after`.
    """
    if action.order_ref is None or hub.clock() - action.created_at < hub.options.recheck_after:
        return None
    stored = uow.records.get(Ref.parse(action.order_ref), lock=True)
    if stored is None or not isinstance(stored.record, Order):
        return "the order is gone"
    order = stored.record
    if action.kind == Operation.CANCELLATION:
        over = (OrderStatus.SHIPPED, OrderStatus.DELIVERED)
        return f"the order is {order.status} meanwhile" if order.status in over else None
    if order.status is OrderStatus.CANCELLED and Operation(action.kind) in GIVES_VALUE:
        return "the order is cancelled meanwhile"
    budget = budget_of(uow, order, lock=True)
    own = [take for take in budget.takes if take.by == action.id]
    others = Budget(order, tuple(take for take in budget.takes if take.by != action.id))
    over_ = others.exceeded(own)
    if over_ is None:
        return None
    return f"it was put right meanwhile by {', '.join(over_.by)}"


def why_it_stays(hub: Hub, step: ActionStepRow) -> str | None:
    """Why what a step made can't be taken back; None when its remote offers to."""
    operation = Operation(step.operation)
    match operation:
        case Operation.NOTE:
            return "a note that was read can't be unread"
        case Operation.CANCELLATION:
            return "a cancelled order is ordered again, not revived"
        case _ if not hub.registry.offers(step.connection, Operation.WITHDRAWAL):
            return f"{step.connection} takes nothing back"
        case _ if operation not in hub.registry.adapter(step.connection).withdrawable:
            return f"{step.connection} does not take a {operation} back"
    return None


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
        case InvitationRequest() | UndoRequest() | WithdrawalRequest():
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
    made.add(connection, Operation.CASE, case=case.model_dump(mode="json"))


def _add_note(hub: Hub, made: Plan, text: str) -> None:
    place = conversation_of(hub, made.complaint)
    if place is None:
        made.warnings.append("the complaint's conversation takes no notes: none is written")
        return
    made.add(place.connection, Operation.NOTE, on=str(place), text=text)


def conversation_of(hub: Hub, complaint: ComplaintRow | None) -> Ref | None:
    """Where notes on a complaint are written, if anywhere."""
    inlet = hub.options.inlets.get(complaint.connection) if complaint else None
    if complaint is None or inlet is None or inlet.notes_to is None:
        return None
    if not hub.registry.offers(inlet.notes_to, Operation.NOTE):
        return None
    return Ref(connection=inlet.notes_to, kind=Kind.CONVERSATION, id=complaint.conversation)


def _completed(request: ActionRequest, order: Order | None) -> ActionRequest:
    """The request with what the order knows filled in: its account, its address, its units."""
    if order is None or not isinstance(
        request, ReplacementOrderRequest | ReturnRequest | CreditRequest | StoreCreditRequest
    ):
        return request
    units = {line.id: line.unit for line in order.lines}
    changes: dict[str, Any] = {"account": request.account or order.account}
    if isinstance(request, StoreCreditRequest):
        changes["contact"] = request.contact or order.contact
    else:
        changes["lines"] = tuple(
            line.model_copy(update={"unit": line.unit or units.get(line.line)})
            for line in request.lines
        )
    if isinstance(request, ReplacementOrderRequest):
        changes["ship_to"] = request.ship_to or order.ship_to
    return request.model_copy(update=changes)


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


def preview(hub: Hub, wanted: Wanted, asker: Asker) -> tuple[Plan, list[PreviewedStep]]:
    """What an action would do in each system. Nothing is written anywhere.

    Each remote is asked what it, or its adapter, can say of its step, all at once; otherwise the
    effect is worked out here and says so (`exact=False`). What a step says of those before it,
    such as the number of an order, is not known yet and left out.
    """
    with hub.database.read() as uow:
        made = plan(hub, uow, wanted, asker)
        requests = [
            _foreseen(hub, uow, made, step, details)
            for step, details in zip(made.steps, made.wanted_of, strict=True)
        ]
    limit = hub.options.read_deadline.total_seconds()
    ends = time.monotonic() + limit
    asked = [_ask(hub, step, request) for step, request in zip(made.steps, requests, strict=True)]
    previews: list[PreviewedStep] = []
    for step, details, answer in zip(made.steps, made.wanted_of, asked, strict=True):
        effect = Effect(
            what=words.effect(step, made.order, details),
            amount=made.value if not previews else None,
        )
        said = Preview(effects=(effect,))
        if answer is not None:
            said = _answered(step, answer, said, limit=limit, ends=ends)
        previews.append(PreviewedStep(step, said))
    return made, previews


def _foreseen(
    hub: Hub, uow: UnitOfWork, made: Plan, step: PlannedStep, details: Mapping[str, Any]
) -> ActionRequest | None:
    """A step's request as far as it is known beforehand; None if it is made with the action."""
    if "request" in details:
        request: ActionRequest = load(step.operation, details["request"])
        return request
    if details.get("invitation"):
        return None
    return _told(
        hub,
        uow,
        details,
        connection=step.connection,
        asked=made.wanted,
        done=(),
        complaint_id=made.complaint.id if made.complaint else None,
        person_id=made.person_id,
        order=made.order.ref if made.order else None,
    )


def _ask(hub: Hub, step: PlannedStep, request: ActionRequest | None) -> Future[Preview] | None:
    """Have the step's adapter say what it would do; None where it says nothing."""
    if request is None or not hub.registry.offers(step.connection, PreviewsActions):
        return None
    remote = hub.gate.remote(step.connection, Urgency.AGENT, within=hub.options.read_deadline)
    return hub.readers.submit(remote.preview, step.operation, request)


def _answered(
    step: PlannedStep, asked: Future[Preview], otherwise: Preview, *, limit: float, ends: float
) -> Preview:
    """What came of the asking, in time."""
    try:
        return asked.result(timeout=max(ends - time.monotonic(), 0))
    except NotOffered:
        return otherwise
    except TimeoutError:
        asked.cancel()
        why = f"no answer within {limit:g} s"
    except RemoteError as error:
        why = error.message
    warning = f"{step.connection} could not simulate it: {why}"
    return otherwise.model_copy(update={"warnings": (*otherwise.warnings, warning)})


def request_of(
    hub: Hub, uow: UnitOfWork, action: ActionRow, steps: list[ActionStepRow], step: ActionStepRow
) -> dict[str, Any]:
    """The canonical request of a step, made when its turn comes and never changed after."""
    wanted = step.wanted
    if "request" in wanted:
        return dict(wanted["request"])
    if wanted.get("invitation"):
        invitation = uow.actions.invitation_of(action.id)
        assert invitation is not None, "an invitation is made with its action"
        link = link_of(hub, invitation)
        said = words.invitation(link, until=invitation.expires_at)
        return dump(NoteRequest(on=Ref.parse(wanted["on"]), text=said))
    done = [
        words.Done(Operation(s.operation), s.connection, Receipt.model_validate(s.receipt))
        for s in steps
        if s.receipt is not None
    ]
    return dump(
        _told(
            hub,
            uow,
            wanted,
            connection=step.connection,
            asked=Wanted.model_validate(action.request),
            done=done,
            complaint_id=action.complaint_id,
            person_id=action.person_id,
            order=Ref.parse(action.order_ref) if action.order_ref else None,
        )
    )


def _told(
    hub: Hub,
    uow: UnitOfWork,
    wanted: Mapping[str, Any],
    *,
    connection: str,
    asked: Wanted,
    done: Sequence[words.Done],
    complaint_id: str | None,
    person_id: str | None,
    order: Ref | None,
) -> NoteRequest | CaseRequest:
    """The note or the case that tells what was done."""
    if "on" in wanted:
        text = wanted["text"] or words.note(asked, done)
        return NoteRequest(on=Ref.parse(wanted["on"]), text=text)
    complaint = uow.complaints.get(complaint_id) if complaint_id else None
    customers = [r for r in _customers(uow, person_id) if r.connection == connection]
    reason = getattr(asked.request, "reason", None)
    case = CaseWanted.model_validate(wanted["case"])
    arrivals = uow.complaints.arrivals_of(complaint.id) if complaint else []
    return CaseRequest(
        subject=case.subject or words.case_subject(asked, done),
        description=case.description
        or words.case_description(asked, done, texts=[a.text for a in arrivals if not a.outgoing]),
        priority=case.priority,
        contact=next((r for r in customers if r.kind is Kind.CONTACT), None),
        account=next((r for r in customers if r.kind is Kind.ACCOUNT), None),
        order=order if order and order.connection == connection else None,
        order_number=_number_of(uow, order),
        origin=complaint.network if complaint else None,
        **({"reason": reason} if reason is not None else {}),
    )


def dump(request: ActionRequest) -> dict[str, Any]:
    return request.model_dump(mode="json")


def load(operation: Operation, body: dict[str, Any]) -> Any:
    return REQUESTS[operation].model_validate_json(json.dumps(body))


def body_hash(body: Any) -> str:
    """What tells whether an idempotency key came with the same body again."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()
