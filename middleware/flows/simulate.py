"""What another rule book would have made of past complaints: who moves, and which term did it.

Both rule books score each complaint by what was known of it when it was last scored while it was
open, at that moment, with the clocks that each of them would have run. Nothing is written.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from middleware.domain.priority import Inputs, Score, score
from middleware.domain.rulebook import Facts, RuleBook
from middleware.domain.sla import Turn
from middleware.flows import clocks, rulebooks
from middleware.flows.hub import Hub
from middleware.store import queue
from middleware.store.database import UnitOfWork
from middleware.store.tables import ArrivalRow

PAGE = 200
MOST = 20_000
"""Complaints that are simulated at most, the oldest of the time; `complete` says if it was all."""
MOST_SHOWN = 1000


@dataclass(frozen=True)
class Move:
    """One complaint under both rule books. Ranks count from 1, the most urgent."""

    complaint_id: str
    opened_at: datetime
    was: float
    would: float
    was_rank: int
    would_rank: int
    term: str | None
    """The term whose points changed most; `floor` where that decided. None where none changed."""
    by: float
    """By how much it changed."""
    why: str
    """What that term says under the other rule book."""

    @property
    def up(self) -> int:
        """How many places it moves up; negative is down."""
        return self.was_rank - self.would_rank


@dataclass(frozen=True)
class Simulation:
    since: datetime
    until: datetime
    version: int
    """Of the rule book in force, which the other one is held against."""
    complaints: int
    unscored: int
    """Complaints of that time that were never scored."""
    complete: bool
    moved: int
    up: int
    down: int
    top: int
    """How many places the first of the queue are taken for."""
    overlap: int
    """How many are among these under both."""
    terms: dict[str, int]
    """By term: how many complaints' scores it changed most."""
    moves: tuple[Move, ...]
    """Those that move, the farthest first; at most `MOST_SHOWN`."""


@dataclass(frozen=True)
class _Both:
    id: str
    opened_at: datetime
    was: Score
    would: Score


def simulate(
    hub: Hub, book: RuleBook, *, since: datetime, until: datetime, top: int = 50
) -> Simulation:
    """Hold a rule book against the one in force over complaints opened in `since … until`."""
    found: list[_Both] = []
    unscored = 0
    after: tuple[datetime, str] | None = None
    complete = True
    with hub.database.read() as uow:
        current = rulebooks.in_force(hub, uow)
        while True:
            page = queue.scored(uow.session, since=since, until=until, after=after, limit=PAGE)
            if not page:
                break
            after = (page[-1].opened_at, page[-1].id)
            known = [one for one in page if "inputs" in one.kept]
            unscored += len(page) - len(known)
            turns = _turns(uow, [one.id for one in known])
            found += [_both(one, turns.get(one.id, []), current.document, book) for one in known]
            uow.session.expunge_all()
            if len(found) >= MOST:
                complete = False
                break
    was_rank = _ranks({one.id: (one.was, one.opened_at) for one in found})
    would_rank = _ranks({one.id: (one.would, one.opened_at) for one in found})
    moves = [_move(one, was_rank[one.id], would_rank[one.id]) for one in found]
    moved = [move for move in moves if move.up]
    top = min(top, len(found))
    return Simulation(
        since=since,
        until=until,
        version=current.version,
        complaints=len(found),
        unscored=unscored,
        complete=complete,
        moved=len(moved),
        up=sum(move.up > 0 for move in moved),
        down=sum(move.up < 0 for move in moved),
        top=top,
        overlap=sum(was_rank[one.id] <= top and would_rank[one.id] <= top for one in found),
        terms=dict(Counter(m.term for m in moves if m.term is not None).most_common()),
        moves=tuple(
            sorted(moved, key=lambda m: (-abs(m.up), m.would_rank, m.complaint_id))[:MOST_SHOWN]
        ),
    )


def _turns(uow: UnitOfWork, ids: list[str]) -> dict[str, list[Turn]]:
    """What was said in these complaints and how they stood."""
    arrivals: dict[str, list[ArrivalRow]] = {}
    for row in uow.complaints.arrivals_of_all(ids):
        arrivals.setdefault(row.complaint_id, []).append(row)
    changes: dict[str, Any] = uow.complaints.status_changes_of(ids)
    return {id_: clocks.turns_of(arrivals.get(id_, ()), changes.get(id_)) for id_ in ids}


def _both(one: queue.Scored, turns: list[Turn], current: RuleBook, other: RuleBook) -> _Both:
    inputs = Inputs.model_validate(one.kept["inputs"])
    facts = Facts.model_validate(one.kept["facts"])
    at = datetime.fromisoformat(one.kept["at"])

    def by(book: RuleBook) -> Score:
        pressure = clocks.pressure_then(turns, facts, book, at)
        return score(book, inputs.model_copy(update={"pressure": pressure}))

    return _Both(one.id, one.opened_at, by(current), by(other))


def _ranks(scores: dict[str, tuple[Score, datetime]]) -> dict[str, int]:
    """Places as the queue has them: the highest score first, of equal ones the oldest."""
    order = sorted(scores, key=lambda i: (-scores[i][0].milli, scores[i][1], i))
    return {id_: place for place, id_ in enumerate(order, start=1)}


def _move(one: _Both, was_rank: int, would_rank: int) -> Move:
    before = {term.name: term for term in one.was.terms}
    changed = {
        term.name: term.points - (before[term.name].points if term.name in before else 0.0)
        for term in one.would.terms
    }
    name, by = max(changed.items(), key=lambda item: abs(item[1]))
    why = next(term.why for term in one.would.terms if term.name == name)
    if one.was.floored != one.would.floored:
        name, by = "floor", one.would.points - one.was.points
        why = "its severity's floor decides" if one.would.floored else "it is above its floor"
    told = abs(by) > 1e-9
    return Move(
        complaint_id=one.id,
        opened_at=one.opened_at,
        was=one.was.points,
        would=one.would.points,
        was_rank=was_rank,
        would_rank=would_rank,
        term=name if told else None,
        by=round(by, 3),
        why=why if told else "others moved past it",
    )
