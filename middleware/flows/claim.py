"""Claims: a tool says that one of its people works on an issue, and the others hear it.

Whoever asks holds the turn of everything the subject is about, so that of two askers one wins. A
claim ends by being given up, by running out (said once, by reconcile or by whoever asks next), or
by force, which its holder is told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from middleware.contract.canonical import Order, Ref
from middleware.domain.actions import ActionState
from middleware.domain.claims import ClaimedError, ClaimKind, Held, Part, Scope, Subject, overlap
from middleware.domain.ids import new_id
from middleware.domain.problems import ForbiddenError, InvalidError, NotFoundError
from middleware.flows import deliver, lookup
from middleware.flows.hub import Asker, Hub
from middleware.store.database import UnitOfWork
from middleware.store.tables import ActionRow, ClaimRow, ComplaintRow

AT_ONCE = 200
ACTIONS_SHOWN = 10


@dataclass(frozen=True)
class Asked:
    """A claim as it is asked for."""

    subject: Subject
    agent: str | None = None
    """Who works on it, in the asker's own words; without it the key holds it."""
    tool: str | None = None
    note: str | None = None
    lease: timedelta | None = None
    force: str | None = None
    """Why it is taken although somebody else holds it."""


def holder_of(asker: Asker, agent: str | None) -> str:
    """Who holds what is claimed so: the principal, and the agent behind a slash."""
    return f"{asker.principal}/{agent}" if agent else asker.principal


# --- taking -----------------------------------------------------------------------------------


def take(hub: Hub, asked: Asked, asker: Asker) -> tuple[ClaimRow, bool]:
    """Take a claim, or renew the holder's own; answers it and whether it is new.

    Raises NotFoundError for a subject that is not there, InvalidError for a lease that is too long,
    and ClaimedError where it overlaps what somebody else holds, unless it is taken by force.
    """
    lease = _lease(hub, asked.lease)
    holder = holder_of(asker, asked.agent)
    now = hub.clock()
    with hub.database.begin() as uow:
        scope = scope_of(uow, asked.subject)
        _take_turns(uow, scope)
        # What it is about may have been found out while we waited for our turn.
        uow.session.expire_all()
        scope = scope_of(uow, asked.subject)
        others = []
        for row in _overlapping(uow, scope, now):
            if row.subject == str(asked.subject) and row.holder == holder:
                _renew(row, now + lease, note=asked.note, tool=asked.tool)
                _tell(hub, uow, "claim.renewed", row, now)
                return row, False
            if row.holder != holder:
                others.append(row)
        if others and asked.force is None:
            raise ClaimedError(
                told(uow, others), way_out="Ask them, or take it by force with a reason."
            )
        lapsed = uow.claims.of_subject(str(asked.subject))
        if lapsed is not None and lapsed.expires_at <= now:
            _end(hub, uow, lapsed, "claim.expired", now, by="hub")
        for row in others:
            assert asked.force is not None
            _end(hub, uow, row, "claim.forced", now, by=holder, reason=asked.force, asker=asker)
        claimed = ClaimRow(
            subject=str(asked.subject),
            id=new_id("clm"),
            kind=asked.subject.kind.value,
            holder=holder,
            principal=asker.principal,
            tool=asked.tool,
            note=asked.note,
            complaint_id=asked.subject.complaint,
            person_id=scope.person,
            order_ref=_order_of(scope),
            taken_at=now,
            expires_at=now + lease,
        )
        uow.claims.add(claimed)
        _tell(hub, uow, "claim.taken", claimed, now, reason=asked.force)
        _note(uow, asker, "claim.take", claimed, now, forced=asked.force)
    return claimed, True


def _lease(hub: Hub, asked: timedelta | None) -> timedelta:
    options = hub.options.claims
    lease = options.lease if asked is None else asked
    if not timedelta(0) < lease <= options.longest:
        most = int(options.longest.total_seconds() // 60)
        raise InvalidError(
            f"A claim lasts between 1 and {most} minutes.",
            errors=[
                {"pointer": "/minutes", "code": "lease", "detail": f"must be between 1 and {most}"}
            ],
        )
    return lease


def scope_of(uow: UnitOfWork, subject: Subject) -> Scope:
    """What a claim on it is about today. Raises NotFoundError."""
    if subject.complaint is not None:
        complaint = uow.complaints.get(subject.complaint)
        if complaint is None:
            raise NotFoundError(f"No complaint has the id {subject.complaint}.")
        return of_complaint(uow, complaint)
    if subject.person is not None:
        person = uow.people.person(subject.person)
        if person is None:
            raise NotFoundError(f"No person has the id {subject.person}.")
        return Scope(person=person.id, everything=True)
    assert subject.order is not None
    stored = uow.records.get(subject.order)
    if stored is None or not isinstance(stored.record, Order):
        raise NotFoundError(
            f"the hub holds no order {subject.order}; sync the connection, or look it up first"
        )
    order = stored.record
    if subject.line is not None and subject.line not in {line.id for line in order.lines}:
        raise NotFoundError(f"order {order.number or order.ref} has no line {subject.line}")
    return Scope(
        person=_owner(uow, order), parts=(Part(order=str(subject.order), line=subject.line),)
    )


def of_complaint(uow: UnitOfWork, complaint: ComplaintRow) -> Scope:
    """What a complaint is about, together with all that are the same issue."""
    rows = uow.complaints.issue_of(complaint)
    parts: list[Part] = []
    for row in rows:
        if row.order_ref is None:
            continue
        lines = (row.order_match or {}).get("chosen_lines") or [None]
        parts += [Part(order=row.order_ref, line=line) for line in lines]
    persons = [row.person_id for row in rows if row.person_id is not None]
    person = uow.people.person(persons[0]) if persons else None
    return Scope(
        complaints=frozenset(row.id for row in rows),
        person=person.id if person is not None else None,
        parts=tuple(dict.fromkeys(parts)),
    )


def _owner(uow: UnitOfWork, order: Order) -> str | None:
    refs = [ref for ref in (order.account, order.contact) if ref is not None]
    found = min(lookup.person_of(uow, refs).values(), default=None)
    person = uow.people.person(found) if found is not None else None
    return person.id if person is not None else None


def _order_of(scope: Scope) -> str | None:
    return min((part.order for part in scope.parts), default=None)


def _take_turns(uow: UnitOfWork, scope: Scope) -> None:
    """Of two claims that overlap, one waits for the other: they share one of these."""
    names = [*scope.complaints, *(part.order for part in scope.parts)]
    if scope.person is not None:
        names.append(scope.person)
    uow.policies.take_turns(f"claim {name}" for name in names)


def _overlapping(uow: UnitOfWork, scope: Scope, now: datetime) -> list[ClaimRow]:
    """The claims that are about the same issue, oldest first."""
    persons: Collection[str] = ()
    if scope.person is not None:
        persons = uow.ledger.family(scope.person)
    near = uow.claims.near(
        complaints=scope.complaints,
        persons=persons,
        orders={part.order for part in scope.parts},
        now=now,
    )
    return [row for row in near if overlap(scope, _scope(uow, row))]


def _scope(uow: UnitOfWork, row: ClaimRow) -> Scope:
    try:
        return scope_of(uow, Subject.parse(row.subject))
    except NotFoundError:
        # What was claimed is gone; its name still says what it was.
        return Scope(
            complaints=frozenset([row.complaint_id] if row.complaint_id else ()),
            person=row.person_id,
            everything=row.kind == ClaimKind.PERSON,
        )


# --- asking who --------------------------------------------------------------------------------


def others_on(
    hub: Hub,
    uow: UnitOfWork,
    *,
    principal: str,
    complaint: ComplaintRow | None,
    person_id: str | None,
    order: Ref | None,
    lines: Iterable[str] = (),
) -> list[ClaimRow]:
    """What other principals have claimed of what a corrective action is about."""
    scope = of_complaint(uow, complaint) if complaint is not None else Scope()
    parts = scope.parts
    if order is not None:
        parts = tuple(Part(order=str(order), line=line) for line in lines) or (
            Part(order=str(order)),
        )
    scope = scope.model_copy(update={"parts": parts, "person": person_id or scope.person})
    rows = _overlapping(uow, scope, hub.clock())
    return [row for row in rows if row.principal != principal]


def claims_on(hub: Hub, uow: UnitOfWork, complaint: ComplaintRow) -> list[ClaimRow]:
    """The claims that are about a complaint in any way, oldest first."""
    return _overlapping(uow, of_complaint(uow, complaint), hub.clock())


def about(hub: Hub, subject: Subject) -> list[ClaimRow]:
    """The claims that are about something in any way, oldest first. Raises NotFoundError."""
    with hub.database.read() as uow:
        return _overlapping(uow, scope_of(uow, subject), hub.clock())


def told(uow: UnitOfWork, rows: Iterable[ClaimRow]) -> tuple[Held, ...]:
    """Claims as others hear of them, with the corrective actions that are under way."""
    return tuple(
        Held(
            id=row.id or row.subject,
            subject=row.subject,
            holder=row.holder,
            tool=row.tool,
            taken_at=row.taken_at,
            expires_at=row.expires_at,
            note=row.note,
            actions=tuple(
                {"id": action.id, "kind": action.kind, "state": action.state}
                for action in promised(uow, row)
            ),
        )
        for row in rows
    )


def promised(uow: UnitOfWork, row: ClaimRow) -> list[ActionRow]:
    """The corrective actions for what is claimed that have not ended, newest first."""
    found: dict[str, ActionRow] = {}
    asked: list[dict[str, str]] = []
    if row.kind == ClaimKind.COMPLAINT and row.complaint_id is not None:
        complaint = uow.complaints.get(row.complaint_id)
        issue = uow.complaints.issue_of(complaint) if complaint is not None else []
        asked = [{"complaint_id": one.id} for one in issue]
    elif row.kind == ClaimKind.PERSON and row.person_id is not None:
        asked = [{"person_id": row.person_id}]
    elif row.order_ref is not None:
        asked = [{"order_ref": row.order_ref}]
    for about in asked:
        for action in uow.actions.page(before=None, limit=ACTIONS_SHOWN, **about):
            if not ActionState(action.state).ended and action.requested_by != "hub":
                found[action.id] = action
    return sorted(found.values(), key=lambda action: action.id, reverse=True)[:ACTIONS_SHOWN]


# --- what the holder may do ---------------------------------------------------------------------


def renew(
    hub: Hub,
    claim_id: str,
    *,
    agent: str | None,
    lease: timedelta | None = None,
    note: str | None = None,
    asker: Asker,
) -> ClaimRow:
    """Keep a claim for longer, from now. Raises NotFoundError, ForbiddenError, InvalidError."""
    until = _lease(hub, lease)
    now = hub.clock()
    with hub.database.begin() as uow:
        row = _own(uow, claim_id, agent, asker, now)
        _renew(row, now + until, note=note)
        _tell(hub, uow, "claim.renewed", row, now)
    return row


def release(hub: Hub, claim_id: str, *, agent: str | None, asker: Asker) -> None:
    """Give a claim up. Raises NotFoundError, ForbiddenError."""
    now = hub.clock()
    with hub.database.begin() as uow:
        row = _own(uow, claim_id, agent, asker, now)
        _end(hub, uow, row, "claim.released", now, by=row.holder, asker=asker)


def hand_over(
    hub: Hub,
    claim_id: str,
    *,
    agent: str | None,
    to: str,
    direct: bool,
    note: str | None,
    asker: Asker,
) -> ClaimRow:
    """Hand a claim over to another holder: at once with `direct`, else once they accept it.

    `to` is an agent of the same principal, or `principal/agent`. Until an offer is accepted the
    claim stays where it is. Raises NotFoundError, ForbiddenError, InvalidError.
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        row = _own(uow, claim_id, agent, asker, now)
        taker = to if "/" in to or to.startswith(("key_", "cli:")) else f"{asker.principal}/{to}"
        if taker == row.holder:
            raise InvalidError(
                "It is theirs already.",
                errors=[{"pointer": "/to", "code": "same", "detail": "holds it already"}],
            )
        if note is not None:
            row.note = note
        if direct:
            _give(hub, uow, row, taker, now, asker=asker)
        else:
            row.offered_to = taker
            row.version += 1
            _tell(hub, uow, "claim.offered", row, now)
            _note(uow, asker, "claim.offer", row, now, to=taker)
    return row


def accept(hub: Hub, claim_id: str, *, agent: str | None, asker: Asker) -> ClaimRow:
    """Take over a claim that was offered. Raises NotFoundError, ForbiddenError."""
    now = hub.clock()
    with hub.database.begin() as uow:
        row = _live(uow, claim_id, now)
        taker = holder_of(asker, agent)
        if row.offered_to != taker:
            raise ForbiddenError(f"the claim was not offered to {taker}")
        _give(hub, uow, row, taker, now, asker=asker)
    return row


def _give(
    hub: Hub, uow: UnitOfWork, row: ClaimRow, taker: str, now: datetime, *, asker: Asker
) -> None:
    giver = row.holder
    row.holder, row.offered_to = taker, None
    row.principal = taker.partition("/")[0]
    _renew(row, max(row.expires_at, now + hub.options.claims.lease))
    _tell(hub, uow, "claim.handed_over", row, now, previous=giver)
    _note(uow, asker, "claim.hand_over", row, now, previous=giver)


def _live(uow: UnitOfWork, claim_id: str, now: datetime) -> ClaimRow:
    row = uow.claims.get(claim_id, lock=True)
    if row is None or row.expires_at <= now:
        raise NotFoundError(f"No claim has the id {claim_id}; it was given up or has run out.")
    return row


def _own(
    uow: UnitOfWork, claim_id: str, agent: str | None, asker: Asker, now: datetime
) -> ClaimRow:
    row = _live(uow, claim_id, now)
    if row.holder != holder_of(asker, agent):
        raise ForbiddenError(f"the claim is held by {row.holder}; it can be taken by force")
    return row


def _renew(
    row: ClaimRow, until: datetime, *, note: str | None = None, tool: str | None = None
) -> None:
    row.expires_at = until
    row.note = row.note if note is None else note
    row.tool = row.tool if tool is None else tool
    row.version += 1


# --- the end of claims --------------------------------------------------------------------------


def expire(hub: Hub) -> int:
    """Say of claims whose time is over that it is; answers of how many."""
    now = hub.clock()
    with hub.database.read() as uow:
        over = [row.id for row in uow.claims.run_out(by=now, limit=AT_ONCE)]
    ended = 0
    for claim_id in over:
        with hub.database.begin() as uow:
            row = uow.claims.get(claim_id, lock=True) if claim_id is not None else None
            if row is not None and row.expires_at <= now:
                _end(hub, uow, row, "claim.expired", now, by="hub")
                ended += 1
    return ended


def _end(
    hub: Hub,
    uow: UnitOfWork,
    row: ClaimRow,
    type_: str,
    now: datetime,
    *,
    by: str,
    reason: str | None = None,
    asker: Asker | None = None,
) -> None:
    uow.claims.drop(row)
    _tell(hub, uow, type_, row, now, by=by, reason=reason)
    _note(uow, asker, type_, row, now, by=by, reason=reason)


def overridden(
    hub: Hub, uow: UnitOfWork, ids: Iterable[str], *, reason: str, action: str, asker: Asker
) -> None:
    """Tell holders that somebody acted on what they have claimed, and why."""
    now = hub.clock()
    for claim_id in ids:
        row = uow.claims.get(claim_id)
        if row is None:
            continue
        _tell(hub, uow, "claim.overridden", row, now, by=asker.principal, reason=reason)
        _note(uow, asker, "claim.override", row, now, corrective=action, reason=reason)


def _tell(
    hub: Hub,
    uow: UnitOfWork,
    type_: str,
    row: ClaimRow,
    now: datetime,
    *,
    by: str | None = None,
    reason: str | None = None,
    previous: str | None = None,
) -> None:
    deliver.tell(
        hub,
        uow,
        type_,
        subject=row.id or row.subject,
        data={**shown(row), "by": by, "reason": reason, "previous": previous},
        at=now,
    )


def shown(row: ClaimRow) -> dict[str, Any]:
    """A claim as events tell of it: ids and holders, no words of anybody."""
    return {
        "id": row.id,
        "subject": row.subject,
        "kind": row.kind,
        "holder": row.holder,
        "offered_to": row.offered_to,
        "tool": row.tool,
        "complaint_id": row.complaint_id,
        "person_id": row.person_id,
        "order": row.order_ref,
        "taken_at": row.taken_at.isoformat(),
        "expires_at": row.expires_at.isoformat(),
    }


def _note(
    uow: UnitOfWork, asker: Asker | None, action: str, row: ClaimRow, now: datetime, **more: Any
) -> None:
    uow.audit.write(
        at=now,
        actor=asker.principal if asker is not None else "hub",
        action=action,
        subject=row.id or row.subject,
        request_id=asker.request_id if asker is not None else None,
        claimed=row.subject,
        holder=row.holder,
        **more,
    )
