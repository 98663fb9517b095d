"""What an incident holds: the complaints that its keys give it, its figures, its name and words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from middleware.domain import bursts, incidents
from middleware.domain.bursts import BUCKETS_AN_HOUR, Key, KeyKind, bucket_of
from middleware.flows import deliver
from middleware.flows.baselines import ALL
from middleware.flows.hub import Hub
from middleware.store.database import UnitOfWork
from middleware.store.tables import ComplaintRow, IncidentRow

AT_ONCE = 2000
"""Complaints that are taken in in one go."""
MOST_COMPARED = 5000
"""Complaints by which two keys are compared."""
WIDE = frozenset({KeyKind.SHIPPED, KeyKind.WAREHOUSE, KeyKind.CARRIER, KeyKind.TOPIC})
"""Kinds that complaints about all sorts of things have: any large burst is one of these, too."""
READ = 100
"""The latest complaints of an incident whose words are looked at, and as many before it."""
UNDERSTOOD = 200
"""The latest complaints by which a remedy is proposed."""


def owe_listing(hub: Hub, uow: UnitOfWork, row: IncidentRow) -> None:
    """Owe the list of everybody whom an incident concerns."""
    row.affected_state = "owed"
    name = f"incidents.affected:{row.id}:{row.version}"
    hub.engine.enqueue(uow, "incidents.affected", row.id, name=name)


def absorb(uow: UnitOfWork, row: IncidentRow, now: datetime) -> bool:
    """Take in the complaints that came under its keys; answers whether there were any."""
    came = False
    while newcomers := uow.incidents.newcomers(row.id, limit=AT_ONCE):
        came = True
        uow.incidents.join(row.id, newcomers, at=now)
        _list_their_orders(uow, row.id, [s.complaint_id for s in newcomers])
    measure(uow, row, now)
    return came


def _list_their_orders(uow: UnitOfWork, incident_id: str, complaints: Sequence[str]) -> None:
    """List the orders that these complaints mean."""
    rows = {}
    for complaint in uow.incidents.complaints(complaints).values():
        if complaint.order_ref is not None:
            rows[complaint.order_ref] = affected_row(incident_id, complaint)
    uow.incidents.add_affected(list(rows.values()))


def affected_row(incident_id: str, complaint: ComplaintRow) -> dict[str, Any]:
    return {
        "incident_id": incident_id,
        "order_ref": complaint.order_ref,
        "lines": list((complaint.order_match or {}).get("chosen_lines") or ()),
        "why": "complaint",
        "complaint_id": complaint.id,
    }


def measure(uow: UnitOfWork, row: IncidentRow, now: datetime) -> None:
    """Bring its figures up to date."""
    figures = uow.incidents.figures(row.id)
    row.complaints, row.persons, row.reach = figures.complaints, figures.persons, figures.reach
    if figures.last is not None:
        row.last_at = bursts.begins(figures.last)
    here = bucket_of(now)
    hour = BUCKETS_AN_HOUR
    row.growth = uow.incidents.arrived(row.id, here - hour + 1, here) - uow.incidents.arrived(
        row.id, here - 2 * hour + 1, here - hour
    )


def proposed(uow: UnitOfWork, incident_id: str) -> dict[str, Any] | None:
    members = uow.incidents.members(incident_id, limit=UNDERSTOOD)
    rows = uow.incidents.complaints([member.complaint_id for member in members])
    proposal = incidents.propose([r.understanding for r in rows.values() if r.understanding])
    return proposal.model_dump(mode="json") if proposal is not None else None


def refresh(uow: UnitOfWork, row: IncidentRow, now: datetime) -> None:
    """Bring its complaints, figures and name up to what its keys are now."""
    uow.session.flush()
    absorb(uow, row, now)
    name_anew(uow, row)
    row.updated_at = now


def name_anew(uow: UnitOfWork, row: IncidentRow) -> None:
    """Call it by the most specific key that covers it: as it grows, the cause shows."""
    members = uow.incidents.member_ids(row.id, since=0, limit=MOST_COMPARED)
    named: dict[Key, int] = {}
    for key in uow.incidents.keys(row.id):
        signals = uow.incidents.signals(
            key.key, key.since, bucket_of(row.last_at), limit=MOST_COMPARED
        )
        parsed = Key.parse(key.key)
        if key.live and (key.gives or parsed.kind not in WIDE):
            named[parsed] = len({s.complaint_id for s in signals} & members)
    if named:
        name = bursts.name_of(named, len(members))
        row.key, row.title = str(name), incidents.title_of(name)
    characterise(uow, row)


def characterise(uow: UnitOfWork, row: IncidentRow) -> None:
    """Say by which words its texts differ from those before it, and which of them have the most."""
    members = uow.incidents.members(row.id, limit=READ)
    texts = uow.vectors.texts_of([member.complaint_id for member in members])
    before = uow.incidents.signals(ALL, 0, bucket_of(row.onset_at) - 1, limit=READ)
    others = uow.vectors.texts_of([signal.complaint_id for signal in before])
    words = incidents.telling_words(list(texts.values()), list(others.values()))
    row.typical = {"words": list(words), "complaints": list(incidents.samples(texts, words))}
    row.title = incidents.title_of(Key.parse(row.key), words)


def tell(hub: Hub, uow: UnitOfWork, type_: str, row: IncidentRow, now: datetime) -> None:
    deliver.tell(
        hub,
        uow,
        type_,
        subject=row.id,
        data={
            "id": row.id,
            "state": row.state,
            "key": row.key,
            "title": row.title,
            "onset_at": row.onset_at.isoformat(),
            "complaints": row.complaints,
            "persons": row.persons,
            "reach": row.reach,
            "growth_per_hour": row.growth,
            "expected": row.expected,
            "proposed": (row.proposed or {}).get("operation"),
        },
        at=now,
    )
