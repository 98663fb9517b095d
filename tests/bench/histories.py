"""Replayed histories: is what is told twice seen, what piles up found, and what is due on time?

Gathering: seeded weeks (`tests.histories`) go through the hub's own flows. Pairs of arrivals are
held against the truth: a pair is right if both are one issue and ended in one. Pairs within one
conversation are left out, since the source itself says that they belong together. The points of
`middleware.domain.gathering` were set on seeds from 100 on; the report uses others.

Pile-ons: see `tests.bench.bursts`. Punctuality: escalation steps that fall due while the hub that
takes them is killed and started again, see `tests.flows.punctual`.

Every part of the report is one of `SECTIONS`.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from middleware.store.tables import ComplaintRow
from tests.bench import bursts, places
from tests.flows import punctual
from tests.histories import History, history
from tests.histories.replay import Replay, replay


@dataclass(frozen=True)
class Size:
    seeds: tuple[int, ...]
    per_week: int
    customers: int
    """As many for an arrival as in a whole week of 5,000: how often somebody has two issues."""
    bursts: tuple[int, ...]
    """Seeds of the weeks with pile-ons; their rules were set on others."""
    steps: int
    """Escalation steps."""
    over: timedelta
    """In which they fall due."""


FULL = Size(
    seeds=(1, 2, 3),
    per_week=1500,
    customers=600,
    bursts=(13, 14),
    steps=100,
    over=timedelta(seconds=20),
)
SHORT = Size(
    seeds=(1,),
    per_week=150,
    customers=60,
    bursts=(13,),
    steps=20,
    over=timedelta(seconds=5),
)

LEAST_PRECISION = 0.99
LEAST_RECALL = 0.8

Place = tuple[str, str]
"""Connection and conversation."""


def run(folder: Path, size: Size) -> dict[str, Any]:
    """Every section's figures, by its name."""
    return {name: section(folder, size) for name, section in SECTIONS.items()}


def missed(figures: Mapping[str, Any]) -> list[str]:
    """Which targets were not met."""
    found = [
        f"histories: {one['twice']} steps taken twice on {database}"
        for database, one in figures.get("punctuality", {}).items()
        if one["twice"]
    ]
    gathered = figures.get("gathering")
    if gathered is None:
        return found
    for name, least in (("precision", LEAST_PRECISION), ("recall", LEAST_RECALL)):
        if gathered[name] is None or gathered[name] < least:
            found.append(f"histories: {name} of merged pairs {gathered[name]}")
    return found


# --- gathering ----------------------------------------------------------------------------------


def gathering(folder: Path, size: Size) -> dict[str, Any]:
    """Duplicate merges: precision and recall on pairs of arrivals, and recall by way of telling."""
    counts: Counter[str] = Counter()
    ways: dict[str, Counter[str]] = defaultdict(Counter)
    seconds, fed = 0.0, 0
    for seed in size.seeds:
        made = history(seed, per_week=size.per_week, customers=size.customers)
        with replay(folder, made.company) as stage:
            began = time.monotonic()
            stage.feed(made.received)
            seconds += time.monotonic() - began
            fed += len(made.received)
            roots, suggested = _ended_in(stage)
        counts.update(pairs(made, roots))
        counts.update(_suggestions(made, suggested))
        for way, found in _by_way(made, roots).items():
            ways[way].update(found)
        places.say(f"histories: seed {seed}, {len(made.received)} arrivals, {dict(counts)}")
    right, wrong, unseen = counts["right"], counts["wrong"], counts["unseen"]
    return {
        "seeds": list(size.seeds),
        "arrivals": fed,
        "pairs_of_one_issue": right + unseen,
        "precision": _share(right, right + wrong),
        "recall": _share(right, right + unseen),
        "wrong_pairs": wrong,
        "recall_by_telling": {
            way: _share(found["found"], found["told"]) for way, found in sorted(ways.items())
        },
        "suggested": {"right": counts["suggested right"], "wrong": counts["suggested wrong"]},
        "ms_per_arrival": round(1000 * seconds / max(fed, 1), 1),
    }


def pairs(made: History, roots: Mapping[Place, str]) -> Counter[str]:
    """Pairs of incoming arrivals in different conversations: right, wrong and unseen."""
    counts: Counter[str] = Counter()
    sizes = Counter(_place(r) for r in made.received if r.telling != "answer")
    issues = _issue_of(made)
    by_issue: dict[str, list[Place]] = defaultdict(list)
    by_root: dict[str, list[Place]] = defaultdict(list)
    for place in sizes:
        by_issue[issues[place]].append(place)
        by_root[roots[place]].append(place)
    for together in by_issue.values():
        for one, other in itertools.combinations(together, 2):
            same = roots[one] == roots[other]
            counts["right" if same else "unseen"] += sizes[one] * sizes[other]
    for together in by_root.values():
        for one, other in itertools.combinations(together, 2):
            if issues[one] != issues[other]:
                counts["wrong"] += sizes[one] * sizes[other]
    return counts


def _place(received: Any) -> Place:
    return received.connection, received.arrival.conversation


def _issue_of(made: History) -> dict[Place, str]:
    return {_place(r): r.issue for r in made.received}


def _ended_in(stage: Replay) -> tuple[dict[Place, str], list[tuple[Place, Place]]]:
    """Which complaint stands for each conversation's issue; and what was suggested to be one."""
    rows: dict[str, ComplaintRow] = {}
    with stage.hub.database.read() as uow:
        before: str | None = None
        while page := uow.complaints.page(before=before, limit=500):
            rows |= {row.id: row for row in page}
            before = page[-1].id
        roots = {
            (r.connection, r.conversation): uow.complaints.root_of(r).id for r in rows.values()
        }
        suggested = [m for m in uow.gathering.of(list(rows)) if m.state == "suggested"]
    places_of = {row.id: (row.connection, row.conversation) for row in rows.values()}
    return roots, [(places_of[m.main_id], places_of[m.other_id]) for m in suggested]


def _suggestions(made: History, suggested: Sequence[tuple[Place, Place]]) -> Counter[str]:
    issues = _issue_of(made)
    return Counter(
        "suggested right" if issues[one] == issues[other] else "suggested wrong"
        for one, other in suggested
    )


def _by_way(made: History, roots: Mapping[Place, str]) -> dict[str, Counter[str]]:
    """For each way of telling again: how often, and how often it ended with the first telling."""
    first: dict[str, Place] = {}
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for r in sorted(made.received, key=lambda r: r.telling != "first"):
        if r.telling == "first":
            first[r.issue] = _place(r)
        elif r.telling not in ("answer", "follow_up"):
            found[r.telling]["told"] += 1
            found[r.telling]["found"] += roots[_place(r)] == roots[first[r.issue]]
    return found


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


# --- pile-ons, punctuality ----------------------------------------------------------------------


def pile_ons(_folder: Path, size: Size) -> dict[str, Any]:
    """How soon bursts are found, false alarms a week, and the complaints in what was found."""
    return bursts.run(size.bursts, per_week=size.per_week)


def punctuality(_folder: Path, size: Size) -> dict[str, Any]:
    """Lateness of escalation steps by database: a hub killed twice on SQLite, of two one once."""
    found = {}
    for database, kills, nodes in (("sqlite", 2, 1), ("postgresql", 1, 2)):
        with punctual.migrated(database) as url:
            made = punctual.punctuality(
                url, steps=size.steps, over=size.over, kills=kills, nodes=nodes
            )
        found[database] = asdict(made)
        places.say(f"punctuality, {database}: {found[database]}")
    return found


SECTIONS: dict[str, Callable[[Path, Size], dict[str, Any]]] = {
    "gathering": gathering,
    "pile_ons": pile_ons,
    "punctuality": punctuality,
}
"""The parts of the report: what each measures, by its name."""
