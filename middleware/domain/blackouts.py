"""Blackout windows: when scheduled work must not begin, in the zone that people live in.

A window is either a part of certain days (`days`, `from`, `to`; past midnight where `to` is not
later than `from`), or one stretch from one moment to another (`since`, `until`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from middleware.domain.schedules import DAYS, weekdays_named

LONGEST = timedelta(days=60)
"""A blackout that would last longer is taken for a mistake."""


@dataclass(frozen=True)
class Daily:
    """A part of certain days; `days` are 0 for Sunday to 6."""

    begins: time
    ends: time
    days: frozenset[int]
    timezone: str

    def span_at(self, moment: datetime) -> tuple[datetime, datetime] | None:
        zone = ZoneInfo(self.timezone)
        today = moment.astimezone(zone).date()
        # One that began the day before may still last.
        for day in (today - timedelta(days=1), today):
            if day.isoweekday() % 7 not in self.days:
                continue
            begin, end = self._on(day, zone)
            if begin <= moment < end:
                return begin, end
        return None

    def _on(self, day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
        last = day if self.ends > self.begins else day + timedelta(days=1)
        begin = datetime.combine(day, self.begins, zone).astimezone(UTC)
        end = datetime.combine(last, self.ends, zone)
        # An hour that comes twice is in it twice, and what is missing ends it as much later.
        return begin, max(end.astimezone(UTC), end.replace(fold=1).astimezone(UTC))


@dataclass(frozen=True)
class Once:
    """One stretch of time."""

    since: datetime
    until: datetime

    def span_at(self, moment: datetime) -> tuple[datetime, datetime] | None:
        return (self.since, self.until) if self.since <= moment < self.until else None


Window = Daily | Once


def span_at(windows: Sequence[Window], moment: datetime) -> tuple[datetime, datetime] | None:
    """The whole blackout around a moment, windows that touch taken together; None outside.

    Raises ValueError where it would last longer than `LONGEST`.
    """
    found = next((span for w in windows if (span := w.span_at(moment)) is not None), None)
    if found is None:
        return None
    begin, end = found
    grown = True
    while grown:
        grown = False
        for window in windows:
            # The moment before the beginning, and the end itself, may lie in another window.
            for edge in (begin - timedelta(microseconds=1), end):
                other = window.span_at(edge)
                if other is not None and (other[0] < begin or other[1] > end):
                    begin, end = min(begin, other[0]), max(end, other[1])
                    grown = True
        if end - begin > LONGEST:
            raise ValueError(
                f"the blackout around {moment:%Y-%m-%d} lasts over {LONGEST.days} days"
            )
    return begin, end


def window_of(stored: dict[str, str], *, timezone: str) -> Window:
    """A window as it is written in a schedule. Raises ValueError that says what is wrong."""
    if "since" in stored or "until" in stored:
        if set(stored) != {"since", "until"}:
            raise ValueError("a single blackout has `since` and `until`, and nothing else")
        since, until = (_moment(stored[name], timezone) for name in ("since", "until"))
        if until <= since:
            raise ValueError("a blackout ends after it begins")
        return Once(since, until)
    if not {"from", "to"} <= set(stored) <= {"from", "to", "days"}:
        raise ValueError("a daily blackout has `from` and `to`, and may have `days`")
    named = weekdays_named(f"* * * * {stored.get('days', '*')}").split()[4]
    days = range(7) if named == "*" else (DAYS.index(day) for day in named.split(","))
    return Daily(
        begins=_time(stored["from"]),
        ends=_time(stored["to"]),
        days=frozenset(days),
        timezone=timezone,
    )


def _time(text: str) -> time:
    try:
        return time() if text == "24:00" else time.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time of day; write 08:00 or 22:30") from None


def _moment(text: str, timezone: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no moment; write 2026-12-24T18:00") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(timezone))
    return moment.astimezone(UTC)
