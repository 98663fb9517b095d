"""Call-backs: which times are free, by the hours that are kept and the calls that are agreed."""

from __future__ import annotations

from datetime import datetime

from middleware.contract.actions import CallBackRequest, Operation
from middleware.domain.actions import ActionState
from middleware.domain.slots import LONGEST_AHEAD, Calls, slots
from middleware.flows.hub import Hub
from middleware.store.database import UnitOfWork

AGREED_WITHIN = 2 * LONGEST_AHEAD
"""How long ago a call was agreed at most that is still to come."""


def free(
    hub: Hub, uow: UnitOfWork, now: datetime, *, limit: int
) -> list[tuple[datetime, datetime]]:
    """The next times in which fewer calls are agreed than are made at once."""
    hours = hub.options.call_hours
    return slots(hours, now, limit=limit, agreed=_agreed(uow, now)) if hours.hours else []


def warning(hub: Hub, uow: UnitOfWork, asked: CallBackRequest) -> str | None:
    """What speaks against a call at that time; None where no hours are kept, or it is free."""
    hours = hub.options.call_hours
    if not hours.hours:
        return None
    agreed = _agreed(uow, hub.clock()).within(asked.slot_from, asked.slot_to)
    if agreed < hours.at_once:
        return None
    calls = "1 call is" if agreed == 1 else f"{agreed} calls are"
    return f"{calls} agreed for that time already, and {hours.at_once} made at once"


def _agreed(uow: UnitOfWork, now: datetime) -> Calls:
    """The call-backs that are still to come: agreed, or about to be, and not taken back."""
    rows = uow.actions.of_kind(Operation.CALL_BACK, since=now - AGREED_WITHIN)
    asked = [
        row.request["request"]
        for row in rows
        if not ActionState(row.state).changed_nothing and row.undone_by is None
    ]
    times = [(_moment(one["slot_from"]), _moment(one["slot_to"])) for one in asked]
    return Calls((begin, end) for begin, end in times if end > now)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
