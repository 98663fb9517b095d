"""SLA clocks of a complaint, kept in step with what was said: rows for what runs and what is due.

Clocks are worked out from the arrivals and the stored changes of status each time, never counted
up, so that a late message, an edit or a merge leaves no wrong figure behind. A clock that ended
keeps the promise that it ran under; one that runs goes by the rule book in force.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from middleware.domain.calendars import Calendar
from middleware.domain.ids import new_id
from middleware.domain.priority import Pressure
from middleware.domain.rulebook import SLACK, ClockKind, Facts, RuleBook, Target
from middleware.domain.sla import Clock, Turn, What, clocks
from middleware.flows.rulebooks import InForce
from middleware.store.database import UnitOfWork
from middleware.store.tables import ArrivalRow, ComplaintRow, EscalationRow, SlaClockRow

STATUSES_KEPT = 200
LIVE = ("running", "paused")


@dataclass
class Kept:
    """The clocks of a complaint as they stand, and what follows from them for its score."""

    rows: list[SlaClockRow] = field(default_factory=list)
    steps: list[EscalationRow] = field(default_factory=list)
    pressure: Pressure | None = None
    next_at: datetime | None = None
    """When time alone changes the score next."""

    @property
    def due_at(self) -> datetime | None:
        return min((r.due_at for r in self.rows if r.state == "running" and r.due_at), default=None)

    @property
    def raised(self) -> float:
        """Points of the steps that were taken, as long as their clocks run."""
        live = {row.id for row in self.rows if row.state in LIVE}
        return sum(s.points for s in self.steps if s.state == "fired" and s.clock_id in live)


def turns_of(arrivals: Iterable[ArrivalRow], changes: Iterable[Any] | None) -> list[Turn]:
    """What was said and how it stood, for clocks. A message counts from when it was written; a note
    among colleagues is no answer, nor is what a machine writes."""
    turns = [
        Turn(
            at=min(a.posted_at or a.received_at, a.received_at),
            what=What.US if a.outgoing else What.CUSTOMER,
        )
        for a in arrivals
        if a.deleted_at is None and not a.internal and not a.automatic
    ]
    turns += [
        Turn(at=datetime.fromisoformat(at), what=What.of_status(word)) for at, word in changes or ()
    ]
    return turns


def note_status(complaint: ComplaintRow, word: str, at: datetime) -> None:
    """Keep how a conversation stands since then, by its source."""
    changes = [*(complaint.status_changes or ()), [at.isoformat(), word]]
    complaint.status_changes = changes[-STATUSES_KEPT:]


def keep(
    uow: UnitOfWork,
    complaint: ComplaintRow,
    turns: Sequence[Turn],
    facts: Facts,
    current: InForce,
    now: datetime,
) -> Kept:
    """Bring the rows of a locked complaint in step; answers them."""
    book = current.document
    rows = {(row.kind, row.number): row for row in uow.queue.clocks_of(complaint.id)}
    steps = uow.queue.steps_of(complaint.id) if rows else []
    target = book.target_for(facts)
    found = clocks(turns) if complaint.state != "deleted" else ()
    kept = Kept(steps=steps)
    added: list[SlaClockRow | EscalationRow] = []
    live: set[tuple[str, int]] = set()
    for clock in found:
        key = (clock.kind.value, clock.number)
        row = rows.get(key)
        promised = target.of(clock.kind) if target is not None else None
        if row is not None and clock.ended_at is not None and row.ended_at == clock.ended_at:
            live.add(key)
            kept.rows.append(row)
            continue
        if target is None or promised is None:
            continue
        live.add(key)
        calendar = book.calendar(target.calendar)
        if row is None:
            row = _new(complaint, clock, target)
            added.append(row)
        _bring(row, clock, target, promised, calendar, current.version, facts, now)
        kept.rows.append(row)
        if row.state in LIVE:
            _press(kept, book, clock, row, promised, calendar, target, now)
            added += _plan(book, facts, kept, clock, row, promised, calendar)
    for key, row in rows.items():
        if key not in live and row.state in LIVE:
            row.state, row.due_at, row.ended_at = "dropped", None, now
    alive = {row.id for row in kept.rows if row.state in LIVE}
    for step in steps:
        if step.state == "due" and step.clock_id not in alive:
            step.state = "cancelled"
    if added:
        uow.queue.add(added)
    return kept


def _new(complaint: ComplaintRow, clock: Clock, target: Target) -> SlaClockRow:
    return SlaClockRow(
        id=new_id("clk"),
        complaint_id=complaint.id,
        kind=clock.kind.value,
        number=clock.number,
        state="running",
        target=target.name,
        version=0,
        promised_s=0.0,
        used_s=0.0,
        started_at=clock.started_at,
        channel=complaint.network,
    )


def _bring(
    row: SlaClockRow,
    clock: Clock,
    target: Target,
    promised: timedelta,
    calendar: Calendar,
    version: int,
    facts: Facts,
    now: datetime,
) -> None:
    ended = clock.ended_at
    row.state = (
        ("answered" if clock.answered else "closed")
        if ended is not None
        else ("paused" if clock.paused else "running")
    )
    row.target, row.version, row.promised_s = target.name, version, promised.total_seconds()
    row.started_at, row.ended_at = clock.started_at, ended
    row.used_s = clock.used(calendar, ended or now).total_seconds()
    row.due_at = clock.reaches(calendar, promised)
    row.elapsed_s = (ended - clock.started_at).total_seconds() if ended is not None else None
    row.brand, row.tier, row.category = facts.brand, facts.tier, facts.category
    row.team = facts.team


def _press(
    kept: Kept,
    book: RuleBook,
    clock: Clock,
    row: SlaClockRow,
    promised: timedelta,
    calendar: Calendar,
    target: Target,
    now: datetime,
) -> None:
    """Let this clock press if it presses most, and note when it will press harder."""
    pressure = pressure_of(clock, target, promised, calendar, now)
    if kept.pressure is None or pressure.used > kept.pressure.used:
        kept.pressure = pressure
    if row.state != "running":
        return
    for step in book.scoring.time:
        if pressure.used < step.used - SLACK:
            at = clock.reaches(calendar, promised * step.used)
            if at is not None:
                kept.next_at = at if kept.next_at is None else min(kept.next_at, at)
            return


def pressure_of(
    clock: Clock, target: Target, promised: timedelta, calendar: Calendar, at: datetime
) -> Pressure:
    """How much a clock presses at a moment."""
    return Pressure(
        clock=clock.kind,
        target=target.name,
        used=clock.used(calendar, at) / promised,
        due_at=clock.reaches(calendar, promised),
        paused=clock.paused,
    )


def _plan(
    book: RuleBook,
    facts: Facts,
    kept: Kept,
    clock: Clock,
    row: SlaClockRow,
    promised: timedelta,
    calendar: Calendar,
) -> list[EscalationRow]:
    """The steps of a running clock, due when the rule book says; those that are new."""
    known = {step.step: step for step in kept.steps if step.clock_id == row.id}
    wanted = {step.name: step for step in book.steps_for(ClockKind(row.kind), facts)}
    added = []
    for name, rule in wanted.items():
        due = clock.reaches(calendar, rule.share(promised)) if not clock.paused else None
        step = known.get(name)
        if step is None:
            step = EscalationRow(
                id=new_id("esc"),
                clock_id=row.id,
                complaint_id=row.complaint_id,
                step=name,
                state="due",
                due_at=due,
            )
            added.append(step)
            kept.steps.append(step)
        elif step.state != "fired":
            step.state, step.due_at = "due", due
    for name, step in known.items():
        if name not in wanted and step.state == "due":
            step.state = "cancelled"
    return added


def pressure_then(
    turns: Sequence[Turn], facts: Facts, book: RuleBook, at: datetime
) -> Pressure | None:
    """The clock that pressed most at a moment of the past; nothing is stored."""
    target = book.target_for(facts)
    if target is None:
        return None
    calendar = book.calendar(target.calendar)
    found: list[Pressure] = []
    for clock in clocks([turn for turn in turns if turn.at <= at]):
        promised = target.of(clock.kind)
        if promised is not None and clock.ended_at is None:
            found.append(pressure_of(clock, target, promised, calendar, at))
    return max(found, key=lambda one: one.used, default=None)
