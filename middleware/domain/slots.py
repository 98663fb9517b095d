"""Times at which somebody may be called, out of the hours that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Self

from pydantic import Field, model_validator

from middleware.contract.canonical import Frozen
from middleware.domain.blackouts import Window, span_at, window_of


class CallHours(Frozen):
    """When customers are called: windows as schedules have them, and how calls lie in them."""

    timezone: str = "UTC"
    hours: tuple[dict[str, str], ...] = ()
    """`{days = "mon-fri", from = "09:00", to = "17:00"}`; none means that no times are offered."""
    slot: timedelta = timedelta(minutes=30)
    notice: timedelta = timedelta(hours=1)
    """How long before a call it must be known."""
    ahead: timedelta = timedelta(days=5)
    offered: Annotated[int, Field(ge=1, le=20)] = 3

    @model_validator(mode="after")
    def _make_sense(self) -> Self:
        if not timedelta(minutes=5) <= self.slot <= timedelta(hours=8):
            raise ValueError("a slot is 5 minutes to 8 hours")
        if not timedelta(0) < self.ahead <= timedelta(days=31):
            raise ValueError("times are offered for a month ahead at most")
        self.windows()
        return self

    def windows(self) -> Sequence[Window]:
        """The hours, read; raises ValueError that says what is wrong."""
        return tuple(window_of(stored, timezone=self.timezone) for stored in self.hours)


def slots(hours: CallHours, now: datetime, *, limit: int) -> list[tuple[datetime, datetime]]:
    """The next times that a call fits into, in UTC, each beginning on a full slot."""
    windows = hours.windows()
    if not windows:
        return []
    step = hours.slot
    since = datetime(2024, 1, 1, tzinfo=now.tzinfo)
    begin = since + -(-(now + hours.notice - since) // step) * step
    found: list[tuple[datetime, datetime]] = []
    while begin < now + hours.ahead and len(found) < limit:
        span = span_at(windows, begin)
        if span is not None and begin + step <= span[1]:
            found.append((begin, begin + step))
        begin += step
    return found
