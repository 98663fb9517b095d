"""Times at which somebody may be called, out of the hours that are kept."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Self

from pydantic import Field, model_validator

from middleware.contract.canonical import Frozen
from middleware.domain.blackouts import Window, window_of

LONGEST_AHEAD = timedelta(days=31)


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
    at_once: Annotated[int, Field(ge=1, le=10_000)] = 1
    """How many customers can be called at the same time."""

    @model_validator(mode="after")
    def _make_sense(self) -> Self:
        if not timedelta(minutes=5) <= self.slot <= timedelta(hours=8):
            raise ValueError("a slot is 5 minutes to 8 hours")
        if not timedelta(0) < self.ahead <= LONGEST_AHEAD:
            raise ValueError("times are offered for a month ahead at most")
        self.windows()
        return self

    def windows(self) -> Sequence[Window]:
        """The hours, read; raises ValueError that says what is wrong."""
        return tuple(window_of(stored, timezone=self.timezone) for stored in self.hours)


class Calls:
    """The times for which calls are agreed."""

    def __init__(self, times: Iterable[tuple[datetime, datetime]] = ()) -> None:
        known = list(times)
        self._begins = sorted(begin for begin, _ in known)
        self._ends = sorted(end for _, end in known)

    def within(self, begin: datetime, end: datetime) -> int:
        """How many calls overlap a time."""
        return bisect_left(self._begins, end) - bisect_right(self._ends, begin)


NONE_AGREED = Calls()


def slots(
    hours: CallHours, now: datetime, *, limit: int, agreed: Calls = NONE_AGREED
) -> list[tuple[datetime, datetime]]:
    """The next times that a call fits into, in UTC, each beginning on a full slot; those in which
    as many calls are agreed as can be made at once are left out."""
    windows = hours.windows()
    if not windows:
        return []
    step = hours.slot
    since = datetime(2024, 1, 1, tzinfo=now.tzinfo)
    begin = since + -(-(now + hours.notice - since) // step) * step
    found: list[tuple[datetime, datetime]] = []
    while begin < now + hours.ahead and len(found) < limit:
        end = begin + step
        if agreed.within(begin, end) < hours.at_once and _kept(windows, begin, end):
            found.append((begin, end))
        begin += step
    return found


def _kept(windows: Sequence[Window], begin: datetime, end: datetime) -> bool:
    """Whether the hours hold all of a time, in one window or in several that touch."""
    reached = begin
    while reached < end:
        spans = [span for window in windows if (span := window.span_at(reached)) is not None]
        if not spans:
            return False
        reached = max(until for _, until in spans)
    return True
