"""The response report: what was promised, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from middleware.flows.hub import Hub
from middleware.store.responses import Punctuality, Responses, punctuality, responses


@dataclass(frozen=True)
class ResponseReport:
    groups: tuple[Responses, ...]
    escalations: Punctuality


def response_report(hub: Hub, *, by: str, since: datetime, until: datetime) -> ResponseReport:
    """Response times and rates of the clocks that began in a time, and how late steps were taken.

    `by` is all, channel, brand or team.
    """
    now = hub.clock()
    with hub.database.read() as uow:
        return ResponseReport(
            groups=tuple(responses(uow.session, by=by, since=since, until=until, now=now)),
            escalations=punctuality(uow.session, since=since, until=until, now=now),
        )
