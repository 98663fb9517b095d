"""Business calendars: how much working time lies between two moments, and when so much has passed.

A moment is open when the clock on the wall says so: periods are wall-clock times in the calendar's
time zone. Where the clock is put forward, a period within the hour that does not exist is empty;
where it is put back, a period within the hour that happens twice counts twice.

Nothing is stepped through: a year's open intervals are worked out once, with their running total,
and both questions are two look-ups by bisection in it.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Any, Literal, Self, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from middleware.contract.canonical import Frozen

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES = 24 * 60
FARTHEST_YEARS = 50
"""How many years ahead a time is looked for before a calendar counts as never open again."""


def _period(value: Any) -> Any:
    """`09:00-12:30`; until `24:00`. A pair of minutes as it is."""
    if isinstance(value, tuple):
        return value
    found = re.fullmatch(r"(\d\d):(\d\d)-(\d\d):(\d\d)", value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("must be a period such as 09:00-12:30")
    hours = [int(part) for part in found.groups()]
    begin, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
    if hours[1] > 59 or hours[3] > 59 or not 0 <= begin < end <= MINUTES:
        raise ValueError("a period begins before it ends, and ends at 24:00 at the latest")
    return begin, end


def _period_text(period: tuple[int, int]) -> str:
    begin, end = period
    return f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"


Period = Annotated[
    tuple[int, int],
    BeforeValidator(_period, json_schema_input_type=str),
    PlainSerializer(_period_text, return_type=str),
]
"""Minutes after midnight from which and until which it is open."""


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {value!r}") from None
    return value


Zone = Annotated[str, AfterValidator(_zone)]


def _holiday(value: str) -> str:
    """`2026-12-24`, or `12-25` for every year."""
    try:
        date.fromisoformat(value if len(value) > 5 else f"2024-{value}")
    except ValueError:
        raise ValueError("must be a day such as 2026-12-24, or 12-25 for every year") from None
    return value


HolidayDate = Annotated[str, AfterValidator(_holiday)]

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Calendar(Frozen):
    """When a team works: periods by day of the week, and days that are otherwise."""

    zone: Zone = "UTC"
    open: Mapping[Weekday, tuple[Period, ...]] = Field(default_factory=dict)
    """Several periods a day; a day that is not named is closed."""
    holidays: Mapping[HolidayDate, tuple[Period, ...]] = Field(default_factory=dict)
    """Periods of single days in place of their weekday's; none means closed."""

    @model_validator(mode="after")
    def _is_open_sometimes(self) -> Self:
        if not any(self.open.values()):
            raise ValueError("a calendar is open on some day of the week")
        for name, periods in [*self.open.items(), *self.holidays.items()]:
            for one, other in pairwise(sorted(periods)):
                if other[0] < one[1]:
                    told = f"{_period_text(one)} and {_period_text(other)}"
                    raise ValueError(f"the periods of {name} overlap: {told}")
        return self

    def periods(self, day: date) -> tuple[tuple[int, int], ...]:
        """The open periods of a day, as the clock on the wall has them."""
        for name in (day.isoformat(), day.strftime("%m-%d")):
            if name in self.holidays:
                return tuple(sorted(self.holidays[name]))
        return tuple(sorted(self.open.get(DAYS[day.weekday()], ())))  # type: ignore[call-overload]

    def is_open(self, at: datetime) -> bool:
        wall = at.astimezone(ZoneInfo(self.zone))
        second = (wall.hour * 60 + wall.minute) * 60 + wall.second
        return any(begin * 60 <= second < end * 60 for begin, end in self.periods(wall.date()))

    def worked(self, since: datetime, until: datetime) -> timedelta:
        """The open time between two moments; nothing where they are the wrong way round."""
        if until <= since:
            return timedelta(0)
        first, last = since.astimezone(UTC), until.astimezone(UTC)
        total = self._year(last.year).before(last) - self._year(first.year).before(first)
        for year in range(first.year, last.year):
            total += self._year(year).total
        return timedelta(seconds=total)

    def after(self, moment: datetime, duration: timedelta) -> datetime:
        """When so much open time has passed since a moment.

        The first such moment: the end of a period rather than the beginning of the next one. With
        no duration it is the moment itself, open or not. Raises ValueError where the calendar is
        not open for that long within `FARTHEST_YEARS`.
        """
        if duration <= timedelta(0):
            return moment
        start = moment.astimezone(UTC)
        left = duration.total_seconds()
        for number in range(start.year, min(start.year + FARTHEST_YEARS, 9998)):
            year = self._year(number)
            done = year.before(start) if number == start.year else 0.0
            if year.total - done >= left:
                return year.at(done + left)
            left -= year.total - done
        raise ValueError("the calendar is not open for as long as that")

    def _year(self, number: int) -> _Year:
        return _year_of(self._key(), number)

    def _key(self) -> _Key:
        return (
            self.zone,
            tuple((day, tuple(sorted(periods))) for day, periods in sorted(self.open.items())),
            tuple((day, tuple(sorted(periods))) for day, periods in sorted(self.holidays.items())),
        )


ALWAYS = Calendar(open=dict.fromkeys(DAYS, ((0, MINUTES),)))
"""Around the clock, every day."""

_Periods = tuple[tuple[str, tuple[tuple[int, int], ...]], ...]
_Key = tuple[str, _Periods, _Periods]


@dataclass(frozen=True)
class _Year:
    """The open intervals of a year in UTC, as Unix seconds, and the open time before each."""

    begins: tuple[float, ...]
    ends: tuple[float, ...]
    sums: tuple[float, ...]
    """`sums[n]` is the open time of the first n intervals; one more than there are intervals."""

    @property
    def total(self) -> float:
        return self.sums[-1]

    def before(self, moment: datetime) -> float:
        """The open time of this year before a moment in it."""
        second = moment.timestamp()
        place = bisect_right(self.begins, second)
        if place == 0:
            return 0.0
        over = max(self.ends[place - 1] - second, 0.0)
        return self.sums[place] - over

    def at(self, worked: float) -> datetime:
        """When so much of the year's open time has passed, more than none."""
        place = bisect_left(self.sums, worked)
        return datetime.fromtimestamp(self.ends[place - 1] - (self.sums[place] - worked), UTC)


@lru_cache(maxsize=512)
def _year_of(key: _Key, number: int) -> _Year:
    zone_name, days, special = key
    calendar = Calendar.model_construct(
        zone=zone_name,
        open=cast("dict[Weekday, tuple[Period, ...]]", dict(days)),
        holidays=dict(special),
    )
    first = datetime(number, 1, 1, tzinfo=UTC)
    last = datetime(number + 1, 1, 1, tzinfo=UTC)
    intervals: list[list[float]] = []
    for begin, end, offset in _constant(ZoneInfo(zone_name), first, last):
        day = (begin + offset).date()
        while True:
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC) - offset
            if midnight >= end:
                break
            for opens, closes in calendar.periods(day):
                since = max(midnight + timedelta(minutes=opens), begin)
                until = min(midnight + timedelta(minutes=closes), end)
                if since >= until:
                    continue
                if intervals and intervals[-1][1] == since.timestamp():
                    intervals[-1][1] = until.timestamp()
                else:
                    intervals.append([since.timestamp(), until.timestamp()])
            day += timedelta(days=1)
    sums = [0.0]
    for begun, ended in intervals:
        sums.append(sums[-1] + ended - begun)
    return _Year(tuple(i[0] for i in intervals), tuple(i[1] for i in intervals), tuple(sums))


def _constant(
    zone: tzinfo, first: datetime, last: datetime
) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """The stretches between two moments in which a zone keeps its offset, with that offset.

    Changes are found between midnights in UTC; no zone has changed there and back within a day.
    """
    begin, here = first, _offset(zone, first)
    day = first
    while day < last:
        following = min(day + timedelta(days=1), last)
        if _offset(zone, following) != here:
            low, high = day, following
            while high - low > timedelta(seconds=1):
                middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
                if _offset(zone, middle) == here:
                    low = middle
                else:
                    high = middle
            yield begin, high, here
            begin, here = high, _offset(zone, following)
        day = following
    if begin < last:
        yield begin, last, here


def _offset(zone: tzinfo, moment: datetime) -> timedelta:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None
    return offset
