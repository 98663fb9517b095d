"""Prioritise: a complaint's score from all that is known of it, its clocks, and what is due.

`score_in` scores a locked complaint within its caller's transaction: when it was understood, when
somebody answered or its status changed, and when time alone has moved it. What must happen later
stands in rows with a due time (`complaint.rescore_at`, `escalation.due_at`); a clock on every node
looks for them every two seconds and owes one flow, and each row is taken under its complaint's
lock, so that it is taken once whatever is restarted, and late rather than never.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from middleware.contract.canonical import Account, Contact, Kind, Money, Order, Record, Ref
from middleware.domain import sla
from middleware.domain.arrivals import Arrival
from middleware.domain.identity import Basis
from middleware.domain.priority import (
    MILLI,
    Heard,
    Inputs,
    Score,
    Term,
    Voice,
    Worth,
    in_currency,
    score,
    voice_of,
)
from middleware.domain.rulebook import ON_CALL, Facts, RuleBook, ValueRules
from middleware.domain.understanding import Intent, Sentiment, Severity
from middleware.flows import clocks, deliver, lookup, mail, rulebooks
from middleware.flows.hub import Hub
from middleware.flows.rulebooks import InForce
from middleware.resolution.identifiers import CUSTOMER_NUMBER
from middleware.store.database import UnitOfWork
from middleware.store.tables import ArrivalRow, ComplaintRow, EscalationRow, ReachRow

log = logging.getLogger(__name__)

YEAR = timedelta(days=365)
TOLD_FROM = 0.5
"""Points that a score must move by for others to be told."""
AT_ONCE = 200
SOON = timedelta(seconds=1)
PUT_OFF = timedelta(minutes=5)
"""When a complaint is scored anew that could not be scored."""


# --- scoring ------------------------------------------------------------------------------------


def score_in(hub: Hub, uow: UnitOfWork, complaint: ComplaintRow, *, now: datetime) -> Score:
    """Score a locked complaint, keep its clocks in step, and tell others if it moved.

    What another complaint stands for has no clocks: they run for the issue, and end when it is
    answered in any of its conversations.
    """
    current = rulebooks.in_force(hub, uow)
    arrivals, turns = _told(uow, complaint)
    worth = _worth(uow, complaint.person_id, current.document.scoring.value, now)
    _follow(hub, uow, complaint)
    facts = _facts(complaint, worth, current.document)
    kept = clocks.keep(uow, complaint, turns, facts, current, now)
    return _scored(hub, uow, complaint, arrivals, turns, worth, kept, facts, current, now)


def _told(uow: UnitOfWork, complaint: ComplaintRow) -> tuple[list[ArrivalRow], list[sla.Turn]]:
    """What was said of an issue in all its conversations, and what of it clocks go by."""
    if complaint.merged_into is not None:
        return uow.complaints.arrivals_of(complaint.id), []
    issue = uow.complaints.issue_of(complaint)
    arrivals = [arrival for one in issue for arrival in uow.complaints.arrivals_of(one.id)]
    return arrivals, clocks.turns_of(arrivals, complaint.status_changes)


def _follow(hub: Hub, uow: UnitOfWork, complaint: ComplaintRow) -> None:
    """Owe a new score of the complaint that stands for this one's issue, if another does."""
    if complaint.merged_into is None:
        return
    root = uow.complaints.root_of(complaint).id
    name = f"prioritise.one:{root}:{complaint.id}:{complaint.version}"
    hub.engine.enqueue(uow, "prioritise.one", root, name=name)


def _facts(complaint: ComplaintRow, worth: Worth | None, book: RuleBook) -> Facts:
    facts = Facts(
        channel=complaint.network,
        brand=complaint.brand_account,
        tier=worth.tier if worth is not None else None,
        category=understood(complaint, "reason"),
        severity=understood(complaint, "severity"),
        team=complaint.team,
    )
    if complaint.team is None:
        complaint.team = book.team_for(facts)
        facts = facts.model_copy(update={"team": complaint.team})
    return facts


def _scored(
    hub: Hub,
    uow: UnitOfWork,
    complaint: ComplaintRow,
    arrivals: Iterable[ArrivalRow],
    turns: list[sla.Turn],
    worth: Worth | None,
    kept: clocks.Kept,
    facts: Facts,
    current: InForce,
    now: datetime,
) -> Score:
    rules = current.document.scoring
    heard = [
        Heard(at=row.at, views=row.views, engagement=row.engagement)
        for row in uow.queue.reach_of(complaint.id)
    ]
    voice = _voice(arrivals, heard, rules.growth.window, now)
    severity, sentiment, intent = (
        understood(complaint, name) for name in ("severity", "sentiment", "intent")
    )
    inputs = Inputs(
        severity=Severity(severity) if severity is not None else None,
        sentiment=Sentiment(sentiment) if sentiment is not None else None,
        intent=Intent(intent) if intent is not None else None,
        worth=worth,
        voice=voice,
        pressure=kept.pressure,
        others=uow.queue.others(complaint, since=now - rules.repeat.window),
        unanswered=sla.waiting(turns),
        raised=kept.raised,
    )
    made = score(current.document, inputs)
    before = complaint.priority if complaint.priority_terms is not None else None
    due_before = complaint.due_at
    complaint.priority = made.milli
    complaint.priority_terms = {
        "version": current.version,
        "at": now.isoformat(),
        "score": made.model_dump(mode="json"),
        "inputs": inputs.model_dump(mode="json"),
        "facts": facts.model_dump(mode="json"),
    }
    complaint.due_at = kept.due_at
    complaint.rescore_at = _next(complaint, kept, voice, heard, rules.growth.window, now)
    if (
        before is None
        or abs(before - made.milli) >= TOLD_FROM * MILLI
        or due_before != complaint.due_at
    ):
        _tell(hub, uow, complaint, made, before, current, now)
    return made


def _voice(
    arrivals: Iterable[ArrivalRow], heard: list[Heard], window: timedelta, now: datetime
) -> Voice:
    """What the customer's latest message says of them, and how far the complaint has gone."""
    authors = [
        a.author or {} for a in arrivals if not a.outgoing and a.deleted_at is None and a.author
    ]
    told = [one for one in authors if one.get("followers") is not None]
    marked = [one for one in authors if one.get("verified") is not None]
    return voice_of(
        followers=told[-1]["followers"] if told else None,
        verified=marked[-1]["verified"] if marked else None,
        reach=heard,
        window=window,
        at=now,
    )


def _next(
    complaint: ComplaintRow,
    kept: clocks.Kept,
    voice: Voice,
    heard: list[Heard],
    window: timedelta,
    now: datetime,
) -> datetime | None:
    """When time alone will have changed the score; None for one that nobody waits for."""
    if complaint.state != "open":
        return None
    moments = [kept.next_at] if kept.next_at is not None else []
    if voice.views_per_hour or voice.engagement_per_hour:
        moments.append(heard[-1].at + window)
    # What is on the very edge of now is looked at once more, not forgotten.
    return max(min(moments), now + SOON) if moments else None


def understood(complaint: ComplaintRow, name: str) -> str | None:
    """One judgement of what was understood; None where it was not."""
    value = ((complaint.understanding or {}).get(name) or {}).get("value")
    return str(value) if value is not None else None


def _tell(
    hub: Hub,
    uow: UnitOfWork,
    complaint: ComplaintRow,
    made: Score,
    before: int | None,
    current: InForce,
    now: datetime,
) -> None:
    deliver.tell(
        hub,
        uow,
        "complaint.prioritised",
        subject=complaint.id,
        data={
            "id": complaint.id,
            "priority": made.points,
            "was": before / MILLI if before is not None else None,
            "reasons": [term.why for term in made.main()],
            "due_at": complaint.due_at.isoformat() if complaint.due_at is not None else None,
            "brand_account": complaint.brand_account,
            "team": complaint.team,
            "on_call": sla.on_call(current.document, now),
            "rulebook_version": current.version,
        },
        at=now,
    )


def line(made: Score, due_at: datetime | None) -> str:
    """The score in the note for agents. What time alone changes is left out of its reasons."""
    reasons = [t.why for t in Score.main(made, 4) if t.name not in ("time", "raised")][:3]
    due = f"; due {due_at:%Y-%m-%d %H:%M} UTC" if due_at is not None else ""
    told = f" ({'; '.join(reasons)})" if reasons else ""
    return f"{made.points:.0f}{told}{due}"


# --- what a customer is worth -------------------------------------------------------------------


def _worth(
    uow: UnitOfWork, person_id: str | None, rules: ValueRules, now: datetime
) -> Worth | None:
    """What CRM and ERP know of a person; None where nobody knows who it is.

    Figures that a system keeps come before those that are added up from orders.
    """
    if person_id is None:
        return None
    links = uow.people.links_of_person(person_id)
    if any(link.basis == Basis.PROVISIONAL for link in links):
        return None
    stored = lookup.customers(uow, links)
    records = [one.record for one in stored]
    accounts = [record for record in records if isinstance(record, Account)]
    tier = next((a.tier for a in accounts if a.tier), None)
    revenue, uncounted = in_currency(rules, [a.revenue for a in accounts if a.revenue is not None])
    revenue_from = "account" if revenue is not None else None
    bought = uow.queue.bought([record.ref for record in records], since=now - YEAR)
    if bought is not None and revenue is None:
        revenue, further = in_currency(rules, bought.amounts)
        uncounted = tuple(sorted({*uncounted, *further}))
        revenue_from = "orders" if revenue is not None else None
    years = None
    if bought is not None and bought.first_at is not None:
        years = round(max((now - bought.first_at) / YEAR, 0.0), 2)
    return Worth(
        tier=tier,
        revenue=revenue,
        revenue_from=revenue_from,
        open_orders=bought.open_orders if bought is not None else None,
        years=years,
        margin=_margin(accounts, rules),
        uncounted=uncounted,
    )


def _margin(accounts: Iterable[Account], rules: ValueRules) -> float | None:
    """The best margin that a mapped field says, as a share of 1; None where none can be read."""
    if rules.margin_field is None:
        return None
    found = []
    for account in accounts:
        value: Any = account.extra.get(rules.margin_field)
        if isinstance(value, dict) and "amount" in value:
            value = Money.model_validate(value).amount
        try:
            found.append(float(value))
        except (TypeError, ValueError):
            continue
    return max((n for n in found if -1 <= n <= 1), default=None)


# --- what changes a score between understandings ------------------------------------------------


def heard(hub: Hub, uow: UnitOfWork, complaint: ComplaintRow, *, now: datetime) -> None:
    """Somebody answered, or a conversation stands otherwise: clocks stop, rest or go on.

    What the customer wrote is scored when it is understood.
    """
    if complaint.priority_terms is not None and not complaint.stale:
        score_in(hub, uow, complaint, now=now)


def note_reach(
    uow: UnitOfWork, complaint: ComplaintRow, arrival: Arrival, *, now: datetime
) -> None:
    """Keep what a source tells of a message's reach, and have the complaint scored anew."""
    if arrival.reach is None or not arrival.reach.told:
        return
    uow.queue.note_reach(
        ReachRow(
            complaint_id=complaint.id,
            at=min(arrival.changed_at or now, now),
            source_id=arrival.source_id,
            views=arrival.reach.views,
            engagement=arrival.reach.engagement,
        )
    )
    if complaint.priority_terms is not None:
        complaint.rescore_at = now


def rescore(hub: Hub, complaint_id: str) -> None:
    """Score a complaint anew, in a transaction of its own."""
    now = hub.clock()
    with hub.database.begin() as uow:
        complaint = uow.complaints.get(complaint_id, lock=True)
        if complaint is None:
            return
        if complaint.understanding is None:
            complaint.rescore_at = None  # it is scored when it is understood
            return
        score_in(hub, uow, complaint, now=now)


def owe_accounts(hub: Hub, uow: UnitOfWork, records: Iterable[Record], *, name: str) -> None:
    """Owe a look at whose accounts and orders these are, since tier, revenue or open orders may be
    different now; in the transaction that stores them, which waits for nothing of it."""
    told = [str(record.ref) for record in records if isinstance(record, Account | Order)]
    if told:
        name = f"prioritise.accounts:{name}"
        hub.engine.enqueue(uow, "prioritise.accounts", *told, name=name)


def accounts_changed(hub: Hub, *told: str) -> None:
    """Have the open complaints scored anew whose persons these accounts, or the owners of these
    orders, belong to: by a link, or one step away, through a contact of theirs or the customer
    number that both bear."""
    with hub.database.read() as uow:
        if not uow.queue.open_after(None, limit=1):
            return
        records = [one.record for one in uow.records.get_all(map(Ref.parse, told))]
        owners = [r for order in records if isinstance(order, Order) for r in owners_of(order)]
        records += [one.record for one in uow.records.get_all(owners)]
        refs = [record.ref for record in records if not isinstance(record, Order)]
        # What a contact bought counts for whoever has its account.
        refs += [r.account for r in records if isinstance(r, Contact) and r.account is not None]
        numbers = {record.number for record in records if isinstance(record, Account)} - {None}
        bearing = uow.records.bearing((f"external:{CUSTOMER_NUMBER}", str(n)) for n in numbers)
        accounts = [ref for ref in dict.fromkeys(refs) if ref.kind is Kind.ACCOUNT]
        theirs = dict.fromkeys([*refs, *uow.queue.contacts_of(accounts), *bearing])
        found = uow.queue.open_of(list(theirs))
    for first in range(0, len(found), AT_ONCE):
        with hub.database.begin() as uow:
            uow.queue.rescore_at(found[first : first + AT_ONCE], hub.clock())


def owners_of(order: Order) -> list[Ref]:
    return [ref for ref in (order.account, order.contact) if ref is not None]


def run_all(hub: Hub, version: str) -> None:
    """Have every open complaint scored under a new rule book. May be repeated."""
    last: str | None = None
    while True:
        with hub.database.begin() as uow:
            found = uow.queue.open_after(last, limit=AT_ONCE)
            if found:
                uow.queue.rescore_at(found, hub.clock())
        if not found:
            return
        last = found[-1]


# --- what is due --------------------------------------------------------------------------------


def owe(hub: Hub, tick: str) -> None:
    """Owe a look at what is due, if anything is; once for a tick on any number of nodes."""
    now = hub.clock()
    with hub.database.read() as uow:
        due = uow.queue.due_steps(now, limit=1) or uow.queue.due_scores(now, limit=1)
    if due:
        with hub.database.begin() as uow:
            hub.engine.enqueue(uow, "prioritise", tick, name=f"prioritise:{tick}")


def run(hub: Hub, tick: str) -> None:
    """Take the escalation steps that are due, then make the scores anew that are."""
    seen: set[str] = set()
    while not hub.engine.stopping:
        now = hub.clock()
        with hub.database.read() as uow:
            found = uow.queue.due_steps(now, limit=AT_ONCE)
        steps = [(step, complaint) for step, complaint in found if step not in seen]
        if not steps:
            break
        for step_id, complaint_id in steps:
            seen.add(step_id)
            try:
                fire(hub, step_id, complaint_id)
            except Exception:
                # The row stays due: the next tick takes it up.
                log.exception("escalation step not taken", extra={"step": step_id})
    while not hub.engine.stopping:
        with hub.database.read() as uow:
            due = uow.queue.due_scores(hub.clock(), limit=AT_ONCE)
        fresh = [complaint for complaint in due if complaint not in seen]
        if not fresh:
            return
        for complaint_id in fresh:
            seen.add(complaint_id)
            try:
                rescore(hub, complaint_id)
            except Exception:
                log.exception("complaint not scored", extra={"complaint": complaint_id})
                with hub.database.begin() as uow:
                    uow.queue.put_off(complaint_id, hub.clock() + PUT_OFF)


def fire(hub: Hub, step_id: str, complaint_id: str) -> bool:
    """Take one step if it is still due; answers whether it was taken here.

    Under the complaint's lock its clocks are worked out anew first: an answer that has come
    meanwhile, or a rule book that knows the step no more, cancels it.
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        complaint = uow.complaints.get(complaint_id, lock=True)
        step = uow.queue.step(step_id)
        if complaint is None or step is None or step.state != "due":
            return False
        current = rulebooks.in_force(hub, uow)
        arrivals, turns = _told(uow, complaint)
        worth = _worth(uow, complaint.person_id, current.document.scoring.value, now)
        facts = _facts(complaint, worth, current.document)
        kept = clocks.keep(uow, complaint, turns, facts, current, now)
        taken = step.state == "due" and step.due_at is not None and step.due_at <= now
        if taken:
            _take(hub, uow, complaint, step, kept, current, now)
        _scored(hub, uow, complaint, arrivals, turns, worth, kept, facts, current, now)
    return taken


def _take(
    hub: Hub,
    uow: UnitOfWork,
    complaint: ComplaintRow,
    step: EscalationRow,
    kept: clocks.Kept,
    current: InForce,
    now: datetime,
) -> None:
    book = current.document
    rule = book.escalation(step.step)
    assert rule is not None, "what the rule book knows no more was cancelled"
    assert step.due_at is not None
    clock = next(row for row in kept.rows if row.id == step.clock_id)
    caller = sla.on_call(book, now)
    was = complaint.team
    if rule.assign is not None:
        complaint.team = caller or was if rule.assign == ON_CALL else rule.assign
        for row in kept.rows:
            if row.state in clocks.LIVE:
                row.team = complaint.team
    addresses = [
        book.people.get(name, name)
        for named in rule.email
        if (name := caller if named == ON_CALL else named) is not None
    ]
    mailed = mail.endpoints_for(hub, addresses)
    step.state, step.fired_at, step.points = "fired", now, rule.add
    step.late_s = (now - step.due_at).total_seconds()
    step.detail = {
        "assigned": complaint.team if complaint.team != was else None,
        "on_call": caller,
        "mailed": len(mailed),
        "not_mailed": len(set(addresses)) - len(mailed),
    }
    deliver.tell(
        hub,
        uow,
        "complaint.escalated",
        subject=complaint.id,
        data={
            "id": complaint.id,
            "step": step.step,
            "clock": clock.kind,
            "target": clock.target,
            "due_at": clock.due_at.isoformat() if clock.due_at is not None else None,
            "step_due_at": step.due_at.isoformat(),
            "late_s": round(step.late_s, 3),
            "team": complaint.team,
            "was_team": was,
            "on_call": caller,
            "raised": rule.add,
            "rulebook_version": current.version,
        },
        at=now,
        also=mailed,
    )
    uow.audit.write(
        at=now,
        actor="hub",
        action="complaint.escalate",
        subject=complaint.id,
        step=step.step,
        clock=clock.kind,
        late_s=round(step.late_s, 3),
        team=complaint.team,
        was_team=was,
        mailed=len(mailed),
    )


def main_terms(kept: dict[str, Any] | None) -> list[Term]:
    """The terms of a stored score."""
    terms = ((kept or {}).get("score") or {}).get("terms") or ()
    return [Term.model_validate(term) for term in terms]
