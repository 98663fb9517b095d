"""Whom an incident concerns, and what each of them may get.

Everybody who bought the article, the lot or out of the shipment is listed once in the background,
the silent too: that reads all orders. What somebody may get is worked out when it is asked for, by
the same plan, budget and policy that an action would be held to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import islice

from middleware.contract.actions import (
    ActionRequest,
    CancellationRequest,
    CaseRequest,
    CreditRequest,
    Operation,
    Reason,
    ReplacementOrderRequest,
    ReturnRequest,
    WantedLine,
)
from middleware.contract.canonical import Kind, Money, Order, Ref, Shipment
from middleware.domain import incidents as rules_of
from middleware.domain.actions import Wanted
from middleware.domain.budget import Budget
from middleware.domain.bursts import Key, KeyKind
from middleware.domain.policy import Ask, Outcome
from middleware.domain.problems import NotFoundError, ProblemError
from middleware.flows import lookup, plan
from middleware.flows.budget import budget_of
from middleware.flows.hub import Asker, Hub
from middleware.store.database import UnitOfWork
from middleware.store.tables import AffectedRow, IncidentRow

WRITTEN_TOGETHER = 200

OFFERED = frozenset(
    {
        Operation.REPLACEMENT_ORDER,
        Operation.RETURN,
        Operation.CREDIT,
        Operation.CANCELLATION,
        Operation.CASE,
    }
)
"""Remedies that can be worked out for an order without asking its customer anything."""


@dataclass(frozen=True)
class Eligible:
    """What one affected order may get.

    `outcome` is allow, approve (somebody must say yes), evidence (something is missing), or no.
    """

    order: Ref
    number: str | None
    lines: tuple[str, ...]
    complaint_id: str | None
    person_id: str | None
    outcome: str
    why: tuple[str, ...]
    wanted: Wanted | None
    """What would be asked for; None where nothing is left to give."""
    worth: Money | None


def list_affected(hub: Hub, incident_id: str) -> None:
    """List the orders that have the key of an incident, as far as the store knows."""
    rules = hub.options.incidents
    with hub.database.read() as uow:
        row = uow.incidents.get(incident_id)
        if row is None or row.affected_state != "owed":
            return
        keys = [Key.parse(k.key) for k in uow.incidents.keys(incident_id) if k.gives]
        listed, _ = uow.incidents.count_affected(incident_id)
    state = "listed"
    left = rules.most_affected - listed
    wanted = [key for key in keys if key.kind in rules_of.BOUGHT]
    for key in wanted:
        found = islice(_having(hub, key, since=row.onset_at - rules.silent_since), max(left, 0) + 1)
        while batch := list(islice(found, WRITTEN_TOGETHER)):
            if len(batch) > left:
                batch, state = batch[: max(left, 0)], "capped"
            left -= len(batch)
            with hub.database.begin() as uow:
                uow.incidents.add_affected(
                    [
                        {
                            "incident_id": incident_id,
                            "order_ref": str(order.ref),
                            "lines": lines,
                            "why": str(key),
                            "complaint_id": None,
                        }
                        for order, lines in batch
                    ]
                )
    with hub.database.begin() as uow:
        fresh = uow.incidents.get(incident_id, lock=True)
        assert fresh is not None
        if fresh.affected_state == "owed":
            fresh.affected_state = state


def _having(hub: Hub, key: Key, *, since: datetime) -> Iterator[tuple[Order, list[str]]]:
    """The orders that have a key, each once, with the lines that it is about."""
    rules = hub.options.incidents
    value = key.value
    if key.kind is KeyKind.SHIPPED:
        value = key.value.rpartition("/")[0]
    seen: set[Ref] = set()
    with hub.database.read() as uow:
        for kind in (Kind.ORDER, Kind.SHIPMENT):
            earliest = since if kind is Kind.ORDER else None
            parents: list[Ref] = []
            for record in uow.incidents.naming(kind, value, since=earliest):
                if isinstance(record, Shipment) and record.order is not None:
                    sent = record.shipped_at
                    if sent is None or sent >= since:
                        parents.append(record.order)
                elif isinstance(record, Order):
                    parents.append(record.ref)
            fresh = [ref for ref in dict.fromkeys(parents) if ref not in seen]
            seen |= set(fresh)
            orders = [
                stored.record
                for stored in uow.records.get_all(fresh)
                if isinstance(stored.record, Order)
            ]
            shipments: dict[Ref, list[Shipment]] = {}
            for stored in uow.records.of_orders(Kind.SHIPMENT, [order.ref for order in orders]):
                if isinstance(stored.record, Shipment) and stored.record.order is not None:
                    shipments.setdefault(stored.record.order, []).append(stored.record)
            for order in lookup.once(hub, orders, named=lambda o: (o.ref.connection, o.number)):
                lines = rules_of.concerned_lines(key, order, shipments.get(order.ref, []), rules)
                if lines:
                    yield order, lines


def of_incident(
    hub: Hub,
    incident_id: str,
    asker: Asker,
    *,
    operation: Operation | None = None,
    complained: bool | None = None,
    after: str | None = None,
    limit: int = 20,
) -> list[Eligible]:
    """What the affected orders may get, a page by reference: of the operation, or the proposed one.

    Nothing is written, and no remote is asked. Raises NotFoundError.
    """
    with hub.database.read() as uow:
        row = uow.incidents.get(incident_id)
        if row is None:
            raise NotFoundError(f"No incident has the id {incident_id}.")
        affected = uow.incidents.affected(
            incident_id, after=after, limit=limit, complained=complained
        )
        return [_eligible(hub, uow, row, one, operation, asker) for one in affected]


def _eligible(
    hub: Hub,
    uow: UnitOfWork,
    incident: IncidentRow,
    row: AffectedRow,
    operation: Operation | None,
    asker: Asker,
) -> Eligible:
    ref = Ref.parse(row.order_ref)
    stored = uow.records.get(ref)
    order = stored.record if stored is not None else None
    person = _person_of(uow, row, order if isinstance(order, Order) else None)

    def says(
        outcome: str,
        *why: str,
        wanted: Wanted | None = None,
        worth: Money | None = None,
    ) -> Eligible:
        return Eligible(
            order=ref,
            number=order.number if isinstance(order, Order) else None,
            lines=tuple(row.lines),
            complaint_id=row.complaint_id,
            person_id=person,
            outcome=outcome,
            why=why,
            wanted=wanted,
            worth=worth,
        )

    if not isinstance(order, Order):
        return says("no", "the order is gone")
    proposed = incident.proposed or {}
    chosen = operation or (Operation(proposed["operation"]) if proposed else None)
    if chosen is None or chosen not in OFFERED:
        return says("no", "no remedy is proposed that an order alone can be given")
    reason = Reason(proposed["reason"]) if proposed else Reason.OTHER
    request = _request(chosen, order, row.lines, budget_of(uow, order), reason, incident)
    if request is None:
        return says("no", "its lines are put right already, as far as their budget goes")
    wanted = Wanted(
        operation=chosen, request=request, complaint_id=row.complaint_id, person_id=person
    )
    try:
        made = plan.plan(hub, uow, wanted, asker)
    except ProblemError as error:
        return says("no", error.detail)
    assert made.judged is not None, "an agent's plan is judged"
    verdict = made.judged.verdict
    told = [
        str(say) for ask in (Ask.REFUSE, Ask.EVIDENCE, Ask.APPROVE) for say in verdict.asking(ask)
    ]
    outcome = "no" if verdict.outcome is Outcome.REFUSE else verdict.outcome.value
    return says(outcome, *dict.fromkeys(told), *made.warnings, wanted=wanted, worth=made.value)


def _person_of(uow: UnitOfWork, row: AffectedRow, order: Order | None) -> str | None:
    """Whose order it is: of the links of its customer, else whoever complained."""
    refs = [r for r in (order.account, order.contact) if r is not None] if order else []
    owner = min(lookup.person_of(uow, refs).values(), default=None) if refs else None
    if owner is None and row.complaint_id is not None:
        complaint = uow.complaints.get(row.complaint_id)
        owner = complaint.person_id if complaint is not None else None
    person = uow.people.person(owner) if owner is not None else None
    return person.id if person is not None else None


def _request(
    operation: Operation,
    order: Order,
    lines: Sequence[str],
    budget: Budget,
    reason: Reason,
    incident: IncidentRow,
) -> ActionRequest | None:
    """The remedy for what is left of the lines; None where nothing is."""
    what = "returned" if operation is Operation.RETURN else "pieces"
    wanted = tuple(
        WantedLine(line=line.id, sku=line.sku, quantity=left)
        for line in order.lines
        if line.id in lines and line.sku and (left := budget.left(line.id, what) or Decimal(0)) > 0
    )
    match operation:
        case Operation.CASE:
            return CaseRequest(
                subject=f"{incident.title} ({order.number or order.ref.id})"[:255],
                reason=reason,
                order=order.ref,
                order_number=order.number,
            )
        case Operation.CANCELLATION:
            return CancellationRequest(order=order.ref, reason=reason)
        case _ if not wanted:
            return None
        case Operation.REPLACEMENT_ORDER:
            return ReplacementOrderRequest(order=order.ref, lines=wanted, reason=reason)
        case Operation.RETURN:
            return ReturnRequest(order=order.ref, lines=wanted, reason=reason)
        case _:
            return CreditRequest(order=order.ref, lines=wanted, reason=reason)
