"""Incidents that turn out to be one pile-on: a keyless one becomes part of another, until somebody
parts them.

What has no key is found by its texts, and at first by a part of them: another part, or the key that
explains it, may have opened an incident of its own before they come to share their complaints. The
keyless one is closed then, and says what it is part of; all that came under its keys is the
other's. Somebody who parts them undoes that, and nothing joins the two again.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime

from middleware.domain import bursts
from middleware.domain.bursts import Key, KeyKind
from middleware.domain.incidents import ENDED, IncidentState
from middleware.domain.problems import ConflictError
from middleware.flows import decide, holding
from middleware.flows.hub import Asker, Hub
from middleware.store.database import UnitOfWork
from middleware.store.tables import IncidentKeyRow, IncidentRow

KEYLESS = frozenset({KeyKind.TEXT, KeyKind.NEAR, KeyKind.TOPIC})
"""Kinds that say how something is told, and not what it is about."""


def join(hub: Hub, now: datetime) -> None:
    """Join the incidents that a look has changed with those that they are one with."""
    with hub.database.read() as uow:
        rows = [row for row in uow.incidents.lasting() if row.state not in ENDED]
        if len(rows) < 2:
            return
        keyless = {row.id for row in rows if _is_keyless(uow, row)}
        pairs = [
            (whole.id, part.id)
            for one, other in itertools.combinations(rows, 2)
            if now in (one.updated_at, other.updated_at)
            for whole, part in [(one, other) if other.id in keyless else (other, one)]
            if part.id in keyless and part.decided_by is None and _are_one(uow, whole, part)
        ]
    gone: set[str] = set()
    for whole_id, part_id in pairs:
        if not {whole_id, part_id} & gone:
            _take_over(hub, whole_id, part_id, now)
            gone.add(part_id)


def _is_keyless(uow: UnitOfWork, row: IncidentRow) -> bool:
    return all(Key.parse(k.key).kind in KEYLESS for k in uow.incidents.keys(row.id) if k.gives)


def _are_one(uow: UnitOfWork, one: IncidentRow, other: IncidentRow) -> bool:
    mine, theirs = (
        uow.incidents.member_ids(row.id, since=0, limit=holding.MOST_COMPARED)
        for row in (one, other)
    )
    return bursts.overlap(mine, theirs) >= bursts.SAME


def _take_over(hub: Hub, whole_id: str, part_id: str, now: datetime) -> None:
    with hub.database.begin() as uow:
        uow.policies.take_turns(["incidents"])
        whole, part = _both(uow, whole_id, part_id)
        if part.decided_by is not None or whole.state in ENDED:
            return
        if whole.over_at is not None or part.over_at is not None:
            return
        known = {key.key for key in uow.incidents.keys(whole_id)}
        theirs = uow.incidents.keys(part_id)
        uow.incidents.let_go(part_id)
        for key in theirs:
            if key.live and key.key not in known:
                uow.incidents.add_key(
                    IncidentKeyRow(
                        incident_id=whole_id, key=key.key, gives=key.gives, since=key.since
                    )
                )
        part.state, part.merged_into = IncidentState.CLOSED.value, whole_id
        part.reason, part.over_at, part.updated_at = "it is part of another incident", now, now
        part.decided_by, part.decided_at = "hub", now
        part.version += 1
        uow.incidents.stand_instead(part_id, whole_id, at=now)
        whole.version += 1
        holding.refresh(uow, whole, now)
        uow.audit.write(
            at=now, actor="hub", action="incident.joined", subject=part_id, whole=whole_id
        )
        holding.tell(hub, uow, "incident.closed", part, now)


def part(
    hub: Hub, incident_id: str, *, reason: str, version: int | None, asker: Asker
) -> IncidentRow:
    """Take an incident out of the one that it was made part of; they are never joined again.

    Raises NotFoundError, StaleVersionError, and ConflictError where it is part of none.
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        uow.policies.take_turns(["incidents"])
        row = decide.known(uow, incident_id, version)
        if row.merged_into is None:
            raise ConflictError("the incident is part of no other one", state=row.state)
        whole, row = _both(uow, row.merged_into, incident_id)
        mine = {key.key for key in uow.incidents.keys(incident_id)}
        uow.incidents.remove_keys(whole.id, mine)
        row.state, row.merged_into, row.over_at = IncidentState.OPEN.value, None, whole.over_at
        row.reason, row.decided_by, row.decided_at = reason, asker.principal, now
        if whole.over_at is None:
            uow.incidents.take_up(incident_id)
        holding.refresh(uow, row, now)
        only = uow.incidents.held_only_by(whole.id, incident_id)
        uow.incidents.leave(whole.id, only)
        uow.incidents.stand_instead(whole.id, incident_id, at=now, only=only)
        if whole.key in mine:
            whole.key = next(key.key for key in uow.incidents.keys(whole.id) if key.gives)
        holding.refresh(uow, whole, now)
        for one in (whole, row):
            one.version += 1
        uow.audit.write(
            at=now,
            actor=asker.principal,
            action="incident.parted",
            subject=incident_id,
            request_id=asker.request_id,
            whole=whole.id,
            reason=reason,
        )
        holding.tell(hub, uow, "incident.opened", row, now)
    return row


def _both(uow: UnitOfWork, *ids: str) -> Sequence[IncidentRow]:
    """The incidents, held in the order of their ids."""
    held = {of: uow.incidents.get(of, lock=True) for of in sorted(ids)}
    found = [row for of in ids if (row := held[of]) is not None]
    assert len(found) == len(ids), "incidents are never deleted"
    return found
