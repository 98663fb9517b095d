"""Business calendars against a clock that looks at every minute, over changes of the clock too."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from middleware.domain.calendars import ALWAYS, DAYS, Calendar

MINUTE = timedelta(minutes=1)

WEEKDAYS = dict.fromkeys(DAYS[:5], ("09:00-12:00", "13:00-17:30"))
OFFICE = Calendar(
    zone="Europe/Berlin",
    open=WEEKDAYS,
    holidays={"12-25": (), "2026-12-24": ("09:00-12:00",)},
)
NIGHT = Calendar(zone="Europe/Berlin", open=dict.fromkeys(DAYS, ("00:00-03:30", "22:00-24:00")))
SANTIAGO = Calendar(zone="America/Santiago", open=dict.fromkeys(DAYS, ("00:00-01:30",)))
"""Its clock is put forward at midnight, so that one day a year begins at one."""
KATHMANDU = Calendar(zone="Asia/Kathmandu", open={"sun": ("10:15-19:45",)})
APIA = Calendar(zone="Pacific/Apia", open=dict.fromkeys(DAYS, ("08:00-12:00",)))
"""It had no 30 December 2011."""
LORD_HOWE = Calendar(zone="Australia/Lord_Howe", open=dict.fromkeys(DAYS, ("01:00-03:00",)))
"""Its clock is put forward by half an hour."""


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@cache
def open_minutes(calendar_name: str, since: datetime, until: datetime) -> tuple[datetime, ...]:
    """The minutes in which a calendar is open, by looking at the wall's clock in each."""
    calendar: Calendar = globals()[calendar_name]
    zone = ZoneInfo(calendar.zone)
    found, moment = [], since
    while moment < until:
        wall = moment.astimezone(zone)
        minute = wall.hour * 60 + wall.minute
        if any(begin <= minute < end for begin, end in calendar.periods(wall.date())):
            found.append(moment)
        moment += MINUTE
    return tuple(found)


STRETCHES = [
    pytest.param("OFFICE", "2026-12-22T00:00Z", 6, id="Christmas"),
    pytest.param("OFFICE", "2026-12-30T00:00Z", 6, id="into the next year"),
    pytest.param("NIGHT", "2026-03-28T00:00Z", 3, id="Berlin forward"),
    pytest.param("NIGHT", "2026-10-24T00:00Z", 3, id="Berlin back"),
    pytest.param("SANTIAGO", "2026-09-05T00:00Z", 3, id="forward at midnight"),
    pytest.param("SANTIAGO", "2026-04-03T00:00Z", 3, id="back at midnight"),
    pytest.param("KATHMANDU", "2026-11-20T00:00Z", 5, id="a quarter of an hour"),
    pytest.param("APIA", "2011-12-28T00:00Z", 5, id="a day that was not"),
    pytest.param("LORD_HOWE", "2026-10-03T00:00Z", 3, id="half an hour forward"),
    pytest.param("LORD_HOWE", "2026-04-04T00:00Z", 3, id="half an hour back"),
]


@pytest.mark.parametrize(("name", "since", "days"), STRETCHES)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_the_working_time_is_that_of_the_wall(
    name: str, since: str, days: int, data: st.DataObject
) -> None:
    calendar: Calendar = globals()[name]
    first, last = at(since), at(since) + timedelta(days=days)
    minutes = open_minutes(name, first, last)
    begin = first + MINUTE * data.draw(st.integers(0, days * 1440 - 1))
    end = begin + MINUTE * data.draw(st.integers(0, (last - begin) // MINUTE))
    worked = sum(begin <= m < end for m in minutes) * MINUTE
    assert calendar.worked(begin, end) == worked
    assert calendar.is_open(begin) == (begin in minutes)
    # So much of it has passed at the end of the last of these minutes.
    left = [m for m in minutes if m >= begin]
    if left:
        n = data.draw(st.integers(1, len(left)))
        assert calendar.after(begin, n * MINUTE) == left[n - 1] + MINUTE


@settings(max_examples=100, deadline=None)
@given(
    begin=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    one=st.timedeltas(timedelta(seconds=1), timedelta(days=40)),
    other=st.timedeltas(timedelta(seconds=1), timedelta(days=40)),
    calendar=st.sampled_from([OFFICE, NIGHT, SANTIAGO, KATHMANDU, ALWAYS]),
)
def test_both_questions_answer_each_other(
    begin: datetime, one: timedelta, other: timedelta, calendar: Calendar
) -> None:
    middle = calendar.after(begin, one)
    tick = timedelta(microseconds=2)
    assert abs(calendar.worked(begin, middle) - one) < tick
    # It is the first such moment.
    assert calendar.worked(begin, middle - timedelta(seconds=1)) < one
    end = calendar.after(middle, other)
    assert abs(calendar.worked(begin, end) - one - other) < tick
    assert abs(calendar.after(begin, one + other) - end) < tick


def test_a_day_has_as_many_hours_as_the_clock_says() -> None:
    whole = Calendar(zone="Europe/Berlin", open=dict.fromkeys(DAYS, ("00:00-24:00",)))

    def length(day: str) -> timedelta:
        first = datetime.fromisoformat(day)
        zone = ZoneInfo("Europe/Berlin")
        begin, end = (d.replace(tzinfo=zone) for d in (first, first + timedelta(days=1)))
        return whole.worked(begin.astimezone(UTC), end.astimezone(UTC))

    assert length("2026-03-29") == timedelta(hours=23)
    assert length("2026-10-25") == timedelta(hours=25)
    assert length("2026-10-26") == timedelta(hours=24)


def test_the_end_of_a_period_comes_before_the_beginning_of_the_next() -> None:
    friday = at("2026-11-20T15:30+01:00")
    assert OFFICE.after(friday, timedelta(hours=2)) == at("2026-11-20T17:30+01:00")
    assert OFFICE.after(friday, timedelta(hours=2, minutes=1)) == at("2026-11-23T09:01+01:00")
    assert OFFICE.after(friday, timedelta(0)) == friday
    assert OFFICE.worked(friday, at("2026-11-23T09:00+01:00")) == timedelta(hours=2)
    assert OFFICE.worked(friday, friday - timedelta(days=1)) == timedelta(0)


def test_a_single_holiday_and_one_of_every_year() -> None:
    assert OFFICE.periods(date(2026, 12, 24)) == ((540, 720),)
    assert OFFICE.periods(date(2026, 12, 25)) == ()
    assert OFFICE.periods(date(2030, 12, 25)) == ()
    assert OFFICE.periods(date(2027, 12, 24)) == ((540, 720), (780, 1050))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"open": {}}, "open on some day"),
        ({"open": {"mon": ["12:00-09:00"]}}, "begins before it ends"),
        ({"open": {"mon": ["09:00-25:00"]}}, "24:00 at the latest"),
        ({"open": {"mon": ["9-12"]}}, "such as 09:00-12:30"),
        ({"open": {"mon": ["09:00-12:00", "11:00-13:00"]}}, "overlap"),
        ({"open": {"mon": ["09:00-12:00"]}, "zone": "Europe/Atlantis"}, "no time zone"),
        ({"open": {"mon": ["09:00-12:00"]}, "holidays": {"31-12": []}}, "such as 2026-12-24"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Calendar.model_validate(wrong)


def test_a_calendar_that_is_hardly_ever_open_does_not_go_on_for_ever() -> None:
    leap = Calendar(open={"mon": ("00:00-00:01",)})
    with pytest.raises(ValueError, match="not open for as long"):
        leap.after(at("2026-01-01T00:00Z"), timedelta(days=30))
