"""The policy in force, and what it goes by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from middleware.contract.actions import Operation, ReplacementOrderRequest, Speed
from middleware.contract.canonical import Account, Kind, Order, Ref
from middleware.contract.errors import Permanent
from middleware.domain.identity import Basis
from middleware.domain.policy import (
    Ask,
    Cap,
    Facts,
    Missing,
    Outcome,
    Policy,
    Scope,
    Use,
    Verdict,
    age_of,
    caps_for,
    judge,
)
from middleware.domain.policy_file import body_of, policy_of
from middleware.domain.problems import (
    EvidenceMissingError,
    PolicyRefusedError,
)
from middleware.flows import versions
from middleware.flows.hub import Asker, Hub
from middleware.flows.keys import Scope as KeyScope
from middleware.store.database import UnitOfWork
from middleware.store.people import record_of
from middleware.store.policies import Span
from middleware.store.tables import ActionRow, ComplaintRow

if TYPE_CHECKING:
    from middleware.flows.plan import Plan

InForce = versions.InForce[Policy]

POLICY = versions.Document(
    "policy",
    "policy",
    rows=lambda uow: uow.policies.versions,
    configured=lambda hub: hub.options.policy,
    body_of=body_of,
    read=policy_of,
)

in_force = POLICY.in_force
version = POLICY.version
declare = POLICY.declare
put = POLICY.put
put_back = POLICY.put_back


@dataclass(frozen=True)
class Judged:
    """A verdict, and what it was made of."""

    version: int
    verdict: Verdict
    facts: Facts

    def kept(self) -> dict[str, Any]:
        """What an action keeps of it: ids and figures, no personal data."""
        return {
            "version": self.version,
            "verdict": self.verdict.model_dump(mode="json"),
            "facts": self.facts.model_dump(mode="json", exclude_defaults=True),
        }


def roles_without_keys(hub: Hub, uow: UnitOfWork) -> tuple[str, ...]:
    """The roles whose approval the policy in force asks for, and that no living key has."""
    policy, now = in_force(hub, uow).document, hub.clock()
    rulings = [*(rule.then for rule in policy.rules), *(cap.then for cap in policy.caps)]
    asked = {stage.role for ruling in rulings for stage in ruling.approve}
    held = {
        key.role
        for key in uow.keys.all()
        if key.revoked_at is None
        and (key.expires_at is None or key.expires_at > now)
        and {KeyScope.ACTIONS_APPROVE, KeyScope.ADMIN} & set(key.scopes)
    }
    return tuple(role for role in policy.roles if role in asked - held)


# --- judging an action --------------------------------------------------------------------------


def judged(hub: Hub, uow: UnitOfWork, made: Plan, asker: Asker, *, lock: bool) -> Judged:
    """Hold a plan against the policy in force.

    With `lock`, nobody else counts towards the same caps before this transaction ends, so that
    two requests never share the last of one.
    """
    current = in_force(hub, uow)
    facts = facts_for(hub, uow, made, asker)
    caps = caps_for(current.document, facts)
    if lock and caps:
        uow.policies.take_turns(turn for cap in caps for turn in _turns(cap, facts))
    facts = facts.model_copy(update={"past": past_use(uow, caps, facts)})
    return Judged(current.version, judge(current.document, facts), facts)


def facts_for(hub: Hub, uow: UnitOfWork, made: Plan, asker: Asker) -> Facts:
    """What a policy may go by, of an action that is planned."""
    request, order, complaint = made.wanted.request, made.order, made.complaint
    now = hub.clock()
    own = _records_of(uow, made.person_id)
    customer, also = _customer(uow, made, own)
    step = made.steps[0] if made.steps else None  # an invitation is taken back at home
    return Facts(
        operation=made.wanted.operation,
        role=asker.role,
        principal=asker.principal,
        connection=step.connection if step else "hub",
        brand=complaint.brand_account if complaint else None,
        network=complaint.network if complaint else None,
        tier=_tier(uow, order, own),
        reason=getattr(request, "reason", None),
        value=made.value,
        has_order=order is not None,
        order_age=age_of(order.placed_at, now) if order else None,
        owner_known=made.owner_known,
        rush=isinstance(request, ReplacementOrderRequest) and request.speed is Speed.RUSH,
        repeat_customer=_bought_more(uow, order, own),
        irrevocable=step is not None
        and not _can_be_taken_back(hub, step.connection, step.operation),
        attachments=len(made.wanted.evidence),
        match_confidence=_confidence(complaint, order),
        identity_basis=_basis(uow, complaint, made.person_id),
        customer=customer,
        customer_also=also,
        at=now,
    )


def past_use(
    uow: UnitOfWork, caps: Iterable[Cap], facts: Facts, *, as_of: ActionRow | None = None
) -> tuple[Use, ...]:
    """What was done already within each cap's window before `facts.at`."""
    found = []
    for cap in caps:
        if cap.per is Scope.CUSTOMER and facts.customer is None:
            continue
        span = Span(
            per=cap.per,
            whose=_whose(cap, facts),
            customers=_customers(facts),
            since=facts.at - cap.window,
            as_of=as_of,
        )
        count, sums = uow.policies.used(cap.when, span)
        found.append(Use(cap=cap.name, count=count, sums=sums))
    return tuple(found)


def hold_to(judgement: Judged) -> None:
    """Raise unless the action may be accepted, now or after an approval."""
    verdict = judgement.verdict
    if verdict.outcome is Outcome.REFUSE:
        says = verdict.asking(Ask.REFUSE)
        raise PolicyRefusedError(
            "The policy does not allow it: " + "; ".join(map(str, says)),
            policy_version=judgement.version,
            rules=[{"rule": say.rule, "why": say.why} for say in says],
        )
    if verdict.outcome is Outcome.EVIDENCE:
        says = verdict.asking(Ask.EVIDENCE)
        raise EvidenceMissingError(
            "The policy asks for evidence: " + "; ".join(map(str, says)),
            errors=[
                {"pointer": _WHERE[missing], "code": missing.value, "detail": _WHAT[missing]}
                for missing in verdict.missing
            ],
            policy_version=judgement.version,
            rules=[{"rule": say.rule, "why": say.why} for say in says],
        )


_WHERE = {
    Missing.ATTACHMENT: "/evidence",
    Missing.MATCH_CONFIDENCE: "/request/order",
    Missing.IDENTITY_BASIS: "/complaint_id",
}
_WHAT = {
    Missing.ATTACHMENT: "name the address of a photo or document",
    Missing.MATCH_CONFIDENCE: "it is not sure enough that the complaint means this order",
    Missing.IDENTITY_BASIS: "it is not sure enough who wrote; have the link confirmed",
}


def note_refusal(hub: Hub, error: PolicyRefusedError, asker: Asker, operation: Operation) -> None:
    """Write down that the policy refused somebody, whose own transaction left nothing behind."""
    with hub.database.begin() as uow:
        uow.audit.write(
            at=hub.clock(),
            actor=asker.principal,
            action="policy.refuse",
            subject=f"policy:{error.more['policy_version']}",
            request_id=asker.request_id,
            operation=operation.value,
            rules=[said["rule"] for said in error.more["rules"]],
        )


def _turns(cap: Cap, facts: Facts) -> Iterable[str]:
    if cap.per is Scope.CUSTOMER:
        return [f"cap customer {key}" for key in _customers(facts)]
    return [f"cap {cap.per} {_whose(cap, facts) or ''}"]


def _whose(cap: Cap, facts: Facts) -> str | None:
    match cap.per:
        case Scope.AGENT:
            return facts.principal
        case Scope.ROLE:
            return facts.role
        case Scope.BRAND:
            return facts.brand
        case Scope.CUSTOMER | Scope.DOMAIN:
            return None


def _customers(facts: Facts) -> list[str]:
    return [key for key in (facts.customer, *facts.customer_also) if key is not None]


def _records_of(uow: UnitOfWork, person_id: str | None) -> list[Ref]:
    if person_id is None:
        return []
    refs = [record_of(link) for link in uow.people.links_of_person(person_id)]
    return [ref for ref in refs if ref is not None]


def _customer(uow: UnitOfWork, made: Plan, own: list[Ref]) -> tuple[str | None, tuple[str, ...]]:
    """Whose remedy it is, and what else that customer's actions may be kept under.

    Somebody who asks for a stranger's order does not use up their own limits but its owner's.
    """
    request, order = made.wanted.request, made.order
    holder = order if order is not None else request
    refs = [ref for name in ("account", "contact") if (ref := getattr(holder, name, None))]
    person_id = made.person_id
    if order is not None and not made.owner_known:
        owners = {link.person_id for link in uow.people.links_of_records(refs)}
        person = uow.people.person(min(owners)) if owners else None
        person_id = person.id if person else None
        own = _records_of(uow, person_id)
    keys = [person_id] if person_id is not None else []
    keys += [str(ref) for ref in (*refs, *own)]
    keys = list(dict.fromkeys(keys))
    return (keys[0], tuple(keys[1:])) if keys else (None, ())


def _tier(uow: UnitOfWork, order: Order | None, own: list[Ref]) -> str | None:
    """The customer's tier: that of the order's account, else of another account of theirs."""
    refs = [order.account] if order is not None and order.account is not None else []
    refs += [ref for ref in own if ref.kind is Kind.ACCOUNT and ref not in refs]
    held = {stored.record.ref: stored.record for stored in uow.records.get_all(refs)}
    tiers = [record.tier for ref in refs if isinstance(record := held.get(ref), Account)]
    return next((tier for tier in tiers if tier), None)


def _bought_more(uow: UnitOfWork, order: Order | None, own: list[Ref]) -> bool:
    """Whether the customer has another order than this one, or any where there is none."""
    refs = [ref for ref in (order.account, order.contact) if ref is not None] if order else own
    found = {stored.record.ref for stored in uow.records.orders_of(refs, limit=2)}
    return bool(found - ({order.ref} if order else set()))


def _can_be_taken_back(hub: Hub, connection: str, operation: Operation) -> bool:
    try:
        adapter = hub.registry.adapter(connection)
    except Permanent:
        return False
    return operation in getattr(adapter, "withdrawable", frozenset())


def _confidence(complaint: ComplaintRow | None, order: Order | None) -> float | None:
    """How sure the hub is that the complaint means this order; None where it chose another."""
    match = complaint.order_match if complaint is not None else None
    if match is None or order is None or match.get("chosen") is None:
        return None
    if Ref.model_validate(match["chosen"]) != order.ref:
        return None
    return float(match["confidence"])


def _basis(uow: UnitOfWork, complaint: ComplaintRow | None, person_id: str | None) -> Basis | None:
    """Why the hub holds that the account that wrote is this person."""
    if complaint is None or complaint.identity_id is None or person_id is None:
        return None
    for link in uow.people.links_of_identity(complaint.identity_id):
        person = uow.people.person(link.person_id)
        if person is not None and person.id == person_id:
            return Basis(link.basis)
    return None
