"""How soon pile-ons are found in replayed histories, and how often there is a false alarm.

`score` holds what a hub found against the truth of a history, whoever replayed it. `run` replays
histories through the hub's own counting and looking, with each complaint's order and lines as the
history has them; who somebody is and which order is meant is measured elsewhere. Texts are
understood by the shipped model, or by `--rules` alone as where it can't be asked.

`python -m tests.bench.bursts --seeds 1 2 3` prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from middleware.contract.canonical import Order, Ref, Shipment
from middleware.domain.ids import new_id
from middleware.domain.incidents import IncidentRules
from middleware.domain.orders import OrderMatch
from middleware.domain.understanding import Understanding
from middleware.flows import incidents
from middleware.flows.hub import Hub
from middleware.store.database import Database
from middleware.store.tables import ArrivalRow, ComplaintRow
from middleware.understanding import Rules
from middleware.understanding.model import load
from middleware.understanding.trained import Asked, Trained
from tests import databases
from tests.bench import places
from tests.flows.conftest import staged
from tests.histories import Burst, History, history, records_of
from tests.histories.week import WORDS

WARM_UP = timedelta(days=7)
"""The first week is for learning; alarms in it are told apart."""
EVERY = timedelta(minutes=5)
MINE = 0.5
"""The share of an alarm's complaints that must be of one burst for it to be that burst's."""
PLAN = ((), ("sku", "lot"), (WORDS,), ("carrier", "hashtag"), ("topic", WORDS))
"""The bursts of each week."""
TOGETHER = 64
TUNED_ON = (1, 2, 3)
REPORTED_ON = (11, 12, 13, 14)


@dataclass(frozen=True)
class Alarm:
    """An incident as a hub found it; `complaints` are connections and conversations."""

    opened_at: datetime
    name: str
    complaints: frozenset[tuple[str, str]]


def alarms_of(store: Database) -> list[Alarm]:
    """The incidents in a hub's database, oldest first."""
    found = []
    with store.read() as uow:
        for row in reversed(uow.incidents.page(before=None, limit=10_000)):
            members = uow.incidents.members(row.id, limit=100_000)
            rows = uow.incidents.complaints([member.complaint_id for member in members])
            where = frozenset((c.connection, c.conversation) for c in rows.values())
            found.append(Alarm(row.opened_at, row.key, where))
    return found


def score(made: History, alarms: Sequence[Alarm], *, since: datetime | None = None) -> dict:
    """Delays in minutes, false alarms per week, and how well incidents hold their complaints.

    `since` leaves out what was found before; delays count from the burst's onset, and from when the
    fifth customer of it had complained.
    """
    weeks = _weeks(made, since)
    of_conversation: dict[tuple[str, str], str | None] = {}
    for told in made.received:
        place = (told.connection, told.arrival.conversation)
        of_conversation[place] = of_conversation.get(place) or told.burst
    matched: dict[str, list[Alarm]] = {}
    false: list[Alarm] = []
    for alarm in alarms:
        if since is not None and alarm.opened_at < since:
            continue
        counted = Counter(of_conversation.get(place) for place in alarm.complaints)
        best = max(((n, b) for b, n in counted.items() if b is not None), default=(0, None))
        if best[1] is not None and best[0] >= MINE * len(alarm.complaints):
            matched.setdefault(best[1], []).append(alarm)
        else:
            false.append(alarm)
    bursts = [b for b in made.bursts if since is None or b.onset >= since]
    told = [_of_burst(made, burst, matched.get(burst.id, []), of_conversation) for burst in bursts]
    found = [one for one in told if one["delay_min"] is not None]
    return {
        "bursts": len(bursts),
        "found": len(found),
        "missed": [one["kind"] for one in told if one["delay_min"] is None],
        "delay_min_median": _median([one["delay_min"] for one in found]),
        "delay_min_most": max((one["delay_min"] for one in found), default=None),
        "after_fifth_min_median": _median([one["after_fifth_min"] for one in found]),
        "seen_when_found_median": _median([one["seen"] for one in found]),
        "more_than_one_incident": sum(len(matched.get(b.id, [])) > 1 for b in bursts),
        "false_alarms": len(false),
        "false_alarms_per_week": round(len(false) / weeks, 2),
        "false_by": sorted(alarm.name for alarm in false),
        "complaints_precision": _mean([one["precision"] for one in found]),
        "complaints_recall": _mean([one["recall"] for one in found]),
        "by_burst": told,
    }


def _weeks(made: History, since: datetime | None) -> float:
    first = since or made.received[0].received_at
    return max((made.received[-1].received_at - first) / timedelta(weeks=1), 1e-9)


def _of_burst(
    made: History,
    burst: Burst,
    alarms: Sequence[Alarm],
    of_conversation: Mapping[tuple[str, str], str | None],
) -> dict[str, Any]:
    theirs = [r for r in made.received if r.burst == burst.id and r.telling != "answer"]
    firsts: dict[str, datetime] = {}
    for told in theirs:
        firsts.setdefault(made.issues[told.issue].customer, told.received_at)
    fifth = sorted(firsts.values())[4] if len(firsts) > 4 else None
    first = min(alarms, key=lambda alarm: alarm.opened_at, default=None)
    places_ = {place for place, b in of_conversation.items() if b == burst.id}
    held = {place for alarm in alarms for place in alarm.complaints}
    return {
        "kind": burst.kind,
        "customers": len(firsts),
        "named": sorted({alarm.name for alarm in alarms}),
        "delay_min": _minutes(first, burst.onset),
        "after_fifth_min": _minutes(first, fifth) if fifth else None,
        "seen": sum(at <= first.opened_at for at in firsts.values()) if first else None,
        "precision": round(len(held & places_) / len(held), 3) if held else 0.0,
        "recall": round(len(held & places_) / len(places_), 3) if places_ else 0.0,
    }


def _minutes(alarm: Alarm | None, since: datetime) -> float | None:
    return round((alarm.opened_at - since).total_seconds() / 60, 1) if alarm is not None else None


def _median(found: Sequence[Any]) -> float | None:
    known = [one for one in found if one is not None]
    return round(statistics.median(known), 1) if known else None


def _mean(found: Sequence[float]) -> float | None:
    return round(statistics.mean(found), 3) if found else None


# --- replaying ------------------------------------------------------------------------------------


@dataclass
class Replay:
    """A hub whose clock follows a history."""

    hub: Hub
    now: datetime

    def __call__(self) -> datetime:
        return self.now


@contextmanager
def replayed(
    made: History, folder: Path, rules: IncidentRules, understands: Trained | Rules
) -> Iterator[Database]:
    """A database through which a history went, arrival by arrival, looked at every five minutes."""
    database = Database(databases.migrated("sqlite", folder))
    sa.event.listen(
        database.engine,
        "connect",
        lambda connection, _: connection.execute("pragma synchronous=off"),
    )
    try:
        with staged(database) as stage:
            options = replace(stage.hub.options, incidents=rules)
            hub = replace(
                stage.hub, options=options, clock=stage.time, understands=Read(made, understands)
            )
            _replay(hub, made, lambda now: setattr(stage.time, "now", now))
        yield database
    finally:
        database.close()


class Read(Rules):
    """An `Understands` that has read all of a history beforehand, which is faster together."""

    def __init__(self, made: History, understands: Trained | Rules) -> None:
        self._understands = understands
        asked: dict[tuple[str, str | None], Asked] = {}
        told: dict[tuple[str, str], list[str]] = {}
        for one in made.received:
            if one.telling != "answer" and isinstance(understands, Trained):
                texts = told.setdefault((one.connection, one.arrival.conversation), [])
                texts.append(one.arrival.text)
                text, language = "\n".join(texts), one.arrival.language
                asked[text, language] = Asked(text, language)
        self._known: dict[tuple[str, str | None], Understanding] = {}
        # Those of like length together.
        keys = sorted(asked, key=lambda key: len(key[0]))
        for group in (keys[at : at + TOGETHER] for at in range(0, len(keys), TOGETHER)):
            assert isinstance(understands, Trained)
            made_of = understands.understand_all([asked[key] for key in group])
            self._known.update(zip(group, made_of, strict=True))

    def understand(self, text: str, *, language: str | None = None, **given: Any) -> Understanding:
        known = self._known.get((text, language))
        return known or self._understands.understand(text, language=language, **given)


def _replay(hub: Hub, made: History, tell: Callable[[datetime], None]) -> None:
    orders: dict[str, Order] = {}
    shipments: dict[Ref, list[Shipment]] = {}
    for record in records_of(made.company):
        if isinstance(record, Order) and record.number:
            orders[record.number] = record
        elif isinstance(record, Shipment) and record.order:
            shipments.setdefault(record.order, []).append(record)
    complaints: dict[tuple[str, str], ComplaintRow] = {}
    texts: dict[str, list[ArrivalRow]] = {}
    incoming = [told for told in made.received if told.telling != "answer"]
    place = 0
    now = incoming[0].received_at
    while place < len(incoming):
        now = max(now + EVERY, incoming[place].received_at)
        tell(now)
        with hub.database.begin() as uow:
            while place < len(incoming) and incoming[place].received_at <= now:
                told = incoming[place]
                place += 1
                issue = made.issues[told.issue]
                where = (told.connection, told.arrival.conversation)
                if where not in complaints:
                    complaints[where] = ComplaintRow(
                        id=new_id("cmp"),
                        connection=where[0],
                        conversation=where[1],
                        network=told.network,
                        state="open",
                        opened_at=told.received_at,
                        updated_at=told.received_at,
                    )
                    uow.complaints.add(complaints[where])
                complaint = complaints[where]
                texts.setdefault(complaint.id, []).append(
                    ArrivalRow(
                        id=new_id("arr"),
                        complaint_id=complaint.id,
                        connection=where[0],
                        source_id=told.arrival.source_id,
                        author=told.arrival.author.model_dump(mode="json"),
                        text=told.arrival.text,
                        received_at=told.received_at,
                    )
                )
                order = orders.get(issue.order or "")
                text = "\n".join(a.text for a in texts[complaint.id])
                understanding = hub.understands.understand(text, language=told.arrival.language)
                match = None
                if order is not None:
                    lines = (issue.line,) if issue.line else tuple(x.id for x in order.lines)
                    match = OrderMatch(chosen=order.ref, why="the history", chosen_lines=lines)
                counted = complaint.model_copy(update={"identity_id": f"c:{issue.customer}"})
                incidents.count_in(
                    hub,
                    uow,
                    counted,
                    texts[complaint.id],
                    understanding,
                    match,
                    order,
                    shipments.get(order.ref, []) if order is not None else [],
                )
        incidents.run(hub, "replay")
    for _ in range(12):
        now += timedelta(hours=4)
        tell(now)
        incidents.run(hub, "replay")


def run(
    seeds: Sequence[int],
    *,
    per_week: int = 1500,
    plan: Sequence[Sequence[str]] = PLAN,
    rules: IncidentRules | None = None,
    by_rules: bool = False,
) -> dict[str, Any]:
    """Replay a history for each seed; figures of each, and over all.

    `by_rules` leaves the model out: nothing has a vector then.
    """
    found: dict[str, Any] = {}
    understands = Rules() if by_rules else Trained(load(), Rules())
    for seed in seeds:
        made = history(seed, weeks=len(plan), per_week=per_week, bursts=plan)
        since = made.received[0].received_at + WARM_UP
        with (
            tempfile.TemporaryDirectory(prefix="amends-bursts-") as name,
            replayed(made, Path(name), rules or IncidentRules(), understands) as store,
        ):
            alarms = alarms_of(store)
        found[str(seed)] = score(made, alarms, since=since)
        early = [alarm for alarm in alarms if alarm.opened_at < since]
        found[str(seed)]["alarms_while_learning"] = len(early)
        places.say(f"bursts, seed {seed}: {json.dumps(found[str(seed)])}")
    every = list(found.values())
    delays = [b["delay_min"] for one in every for b in one["by_burst"]]
    return {
        "seeds": list(seeds),
        "per_week": per_week,
        "weeks": len(plan) - 1,
        "by": "rules" if by_rules else "model",
        "bursts": sum(one["bursts"] for one in every),
        "found": sum(one["found"] for one in every),
        "delay_min_median": _median(delays),
        "after_fifth_min_median": _median(
            [b["after_fifth_min"] for one in every for b in one["by_burst"]]
        ),
        "false_alarms_per_week": round(
            statistics.mean(one["false_alarms_per_week"] for one in every), 2
        ),
        "complaints_precision": _mean(
            [b["precision"] for one in every for b in one["by_burst"] if b["precision"]]
        ),
        "complaints_recall": _mean(
            [b["recall"] for one in every for b in one["by_burst"] if b["recall"]]
        ),
        "by_kind": _by_kind([b for one in every for b in one["by_burst"]]),
        "by_seed": found,
    }


def _by_kind(bursts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    kinds = sorted({burst["kind"] for burst in bursts})
    of = {kind: [burst for burst in bursts if burst["kind"] == kind] for kind in kinds}
    return {
        kind: {
            "bursts": len(theirs),
            "found": sum(burst["delay_min"] is not None for burst in theirs),
            "delay_min_median": _median([burst["delay_min"] for burst in theirs]),
            "after_fifth_min_median": _median([burst["after_fifth_min"] for burst in theirs]),
            "complaints_precision": _mean([b["precision"] for b in theirs if b["precision"]]),
            "complaints_recall": _mean([b["recall"] for b in theirs if b["recall"]]),
        }
        for kind, theirs in of.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.bursts", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(REPORTED_ON))
    parser.add_argument("--per-week", type=int, default=1500)
    parser.add_argument("--quiet", type=int, help="so many quiet weeks instead of bursts")
    parser.add_argument("--rules", action="store_true", help="without the model")
    asked = parser.parse_args(arguments)
    plan: Sequence[Sequence[str]] | None = [()] * (asked.quiet + 1) if asked.quiet else None
    figures = run(asked.seeds, per_week=asked.per_week, plan=plan or PLAN, by_rules=asked.rules)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
