"""When a job is due: calendars, blackouts, and the same ticks on every node."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from middleware.domain.blackouts import span_at, window_of
from middleware.flows.due import last_due, moment_of, next_due, tick_of, trigger_of

OFFICE = {"days": "mon-fri", "from": "08:00", "to": "18:00"}
NIGHT = {"from": "22:00", "to": "06:00"}
HOLIDAY = {"since": "2026-12-24T18:00", "until": "2026-12-27T00:00"}
HOURLY: dict[str, Any] = {"every": 3600}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def in_office(schedule: dict[str, Any], how: str = "wait", *windows: dict[str, str]) -> Any:
    blackouts = list(windows) or [OFFICE]
    return trigger_of(
        {**schedule, "timezone": "Europe/Berlin", "blackouts": blackouts, "in_blackout": how}
    )


def dues(trigger: Any, after: str, count: int) -> list[str]:
    """The next due times, each asked for as the scheduler asks: with the last one."""
    found: list[datetime] = []
    moment = at(after)
    while len(found) < count:
        due = trigger.get_next_fire_time(found[-1] if found else None, moment)
        assert due is not None
        found.append(due)
        moment = due + timedelta(microseconds=1)
    return [tick_of(due) for due in found]


# 2026-11-20 is a Friday; Berlin is an hour ahead of Greenwich then.


@pytest.mark.parametrize(
    ("schedule", "how", "after", "expected"),
    [
        # Seven is outside in Berlin (6Z), eight to six is not: one tick at the end.
        (HOURLY, "wait", "2026-11-20T05:30Z", ["06:00", "17:00", "18:00"]),
        # The tick at the end itself is due anyway.
        (HOURLY, "skip", "2026-11-20T05:30Z", ["06:00", "17:00", "18:00"]),
        ({"cron": "30 9 * * *"}, "wait", "2026-11-20T05:30Z", ["17:00", "08:30", "08:30"]),
        ({"cron": "30 9 * * *"}, "skip", "2026-11-20T05:30Z", ["08:30", "08:30"]),
        # Asked in the middle of the blackout, the tick that waits is still seen.
        ({"cron": "30 9 * * *"}, "wait", "2026-11-20T12:00Z", ["17:00", "08:30"]),
        # A tick that was due before the blackout does not wait for its end.
        ({"cron": "30 7 * * *"}, "wait", "2026-11-20T12:00Z", ["06:30", "06:30"]),
    ],
)
def test_a_tick_in_a_blackout(
    schedule: dict[str, Any], how: str, after: str, expected: list[str]
) -> None:
    found = dues(in_office(schedule, how), after, len(expected))
    assert [tick[11:16] for tick in found] == expected


def test_a_weekend_is_no_office_hour() -> None:
    found = dues(in_office({"cron": "0 10 * * *"}, "skip"), "2026-11-19T12:00Z", 3)
    assert found == ["2026-11-21T09:00:00Z", "2026-11-22T09:00:00Z", "2026-11-28T09:00:00Z"]


def test_windows_that_touch_are_one_blackout() -> None:
    evening = {"days": "mon-fri", "from": "18:00", "to": "22:00"}
    trigger = in_office({"cron": "0 10 * * *"}, "wait", OFFICE, evening, NIGHT)
    assert dues(trigger, "2026-11-20T06:00Z", 1) == ["2026-11-21T05:00:00Z"]


def test_a_single_blackout_is_in_local_time() -> None:
    trigger = in_office({"cron": "0 3 * * *"}, "wait", HOLIDAY)
    found = dues(trigger, "2026-12-24T00:00Z", 3)
    assert found == ["2026-12-24T02:00:00Z", "2026-12-26T23:00:00Z", "2026-12-27T02:00:00Z"]


def test_a_blackout_keeps_to_the_clock_on_the_wall_when_summer_begins() -> None:
    """22 to 6 in Berlin: 21Z to 5Z in winter, 20Z to 4Z in summer."""
    window = window_of(NIGHT, timezone="Europe/Berlin")
    before, after = at("2026-03-27T23:00Z"), at("2026-03-29T23:00Z")
    assert window.span_at(before) == (at("2026-03-27T21:00Z"), at("2026-03-28T05:00Z"))
    assert window.span_at(after) == (at("2026-03-29T20:00Z"), at("2026-03-30T04:00Z"))


def test_a_blackout_without_an_end_is_refused() -> None:
    always = [window_of({"from": "00:00", "to": "24:00"}, timezone="UTC")]
    with pytest.raises(ValueError, match="lasts over"):
        span_at(always, at("2026-11-20T12:00Z"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"from": "08:00"},
        {"from": "8 o'clock", "to": "18:00"},
        {"from": "08:00", "to": "18:00", "days": "someday"},
        {"from": "08:00", "to": "18:00", "until": "2026-12-24T18:00"},
        {"since": "2026-12-24T18:00", "until": "2026-12-24T17:00"},
        {"since": "soon", "until": "2026-12-24T17:00"},
    ],
)
def test_a_window_that_makes_no_sense_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        window_of(wrong, timezone="UTC")


def test_what_is_always_left_out_is_never_due() -> None:
    trigger = in_office({"cron": "30 10 * * *"}, "skip", {"from": "10:00", "to": "11:00"})
    assert next_due(trigger, at("2026-11-20T00:00Z")) is None


def test_one_that_waits_for_a_blackouts_end_is_due_at_the_end_itself() -> None:
    trigger = in_office({"cron": "30 9 * * *"}, "wait")
    end = at("2026-11-20T17:00Z")
    assert trigger.get_next_fire_time(None, end) == end


@pytest.mark.parametrize("moment", ["2026-11-20T12:00Z", "2026-11-20T20:00Z"])
@pytest.mark.parametrize("how", ["wait", "skip"])
def test_what_no_day_has_is_never_due_whatever_the_blackouts(moment: str, how: str) -> None:
    trigger = in_office({"cron": "0 0 30 2 *"}, how)
    assert next_due(trigger, at(moment)) is None
    assert last_due(trigger, at(moment)) is None


def test_blackouts_are_in_greenwich_where_no_zone_is_named() -> None:
    trigger = trigger_of({"cron": "30 9 * * *", "blackouts": [OFFICE]})
    assert next_due(trigger, at("2026-11-20T12:00Z")) == at("2026-11-20T18:00Z")


def test_a_schedule_goes_on_from_now_when_the_clock_went_back() -> None:
    for schedule in ({"cron": "0 * * * *"}, {"calendar": {"days": 1, "at": "13:00"}}):
        last, now = at("2026-11-21T13:00Z"), at("2026-11-20T12:10Z")
        assert trigger_of(schedule).get_next_fire_time(last, now) == at("2026-11-20T13:00Z")


def test_a_calendar_is_due_at_its_very_moment() -> None:
    trigger = trigger_of({"calendar": {"days": 1, "at": "13:45"}})
    due = at("2026-11-20T13:45Z")
    assert trigger.get_next_fire_time(None, due) == due


def test_a_calendar_counts_from_its_first_day() -> None:
    fortnight = {"calendar": {"weeks": 2, "at": "03:00"}, "timezone": "Europe/Berlin"}
    found = dues(trigger_of(fortnight), "2026-11-20T00:00Z", 2)
    assert found == ["2026-11-30T02:00:00Z", "2026-12-14T02:00:00Z"]
    monthly = {"calendar": {"months": 1, "first": "2026-01-15"}}
    assert dues(trigger_of(monthly), "2026-11-20T00:00Z", 2) == [
        "2026-12-15T00:00:00Z",
        "2027-01-15T00:00:00Z",
    ]
    yearly = {"calendar": {"years": 1, "first": "2026-01-15"}}
    assert dues(trigger_of(yearly), "2026-11-20T00:00Z", 1) == ["2027-01-15T00:00:00Z"]


SCHEDULES = st.one_of(
    st.integers(60, 200_000).map(lambda s: {"every": s}),
    st.sampled_from(
        ["*/10 * * * *", "0 9 * * *", "30 2 * * *", "0 3 * * sun", "15 */6 * * 1-5"]
    ).map(lambda line: {"cron": line}),
    st.integers(1, 20).map(lambda d: {"calendar": {"days": d, "at": "02:30"}}),
)
WINDOWS = st.lists(
    st.sampled_from([OFFICE, NIGHT, HOLIDAY, {"from": "02:00", "to": "03:00"}]), max_size=3
)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC, microsecond=0)
)


@settings(max_examples=60, deadline=None)
@given(
    SCHEDULES,
    WINDOWS,
    st.sampled_from(["wait", "skip"]),
    MOMENTS,
    st.timedeltas(timedelta(0), timedelta(days=3)),
)
def test_every_node_sees_the_same_ticks_outside_blackouts(
    schedule: dict[str, Any],
    windows: list[dict[str, str]],
    how: str,
    moment: datetime,
    later: timedelta,
) -> None:
    """Whenever a node is asked, before or after others, it names no tick that they do not."""
    trigger = trigger_of(
        {**schedule, "timezone": "Europe/Berlin", "blackouts": windows, "in_blackout": how}
    )
    due = next_due(trigger, moment)
    assume(due is not None)
    assert due is not None
    assert due > moment
    assert span_at([window_of(w, timezone="Europe/Berlin") for w in windows], due) is None
    between = min(moment + later, due - timedelta(seconds=1))
    assert next_due(trigger, max(between, moment)) == due
    assert last_due(trigger, due) == due


def test_when_a_tick_was_due() -> None:
    now = at("2026-11-20T12:00Z")
    for tick in (
        "2026-11-20T09:00:00Z",
        "2026-11-20T09:00:00Z/full",
        "2026-11-20T09:00:00Z/full/ab",
    ):
        assert moment_of(tick, otherwise=now) == at("2026-11-20T09:00Z")
    assert moment_of("t1", otherwise=now) == now


# --- when the clocks change -----------------------------------------------------------------------

# In Berlin, 2026-10-25 02:00 to 03:00 comes twice (00:00Z, 01:00Z); 2026-03-29 02:00 to 03:00 is
# missing (01:00Z is 03:00).


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        # Its hours are named: once a day, in the first of the two hours.
        ({"cron": "30 2 * * *"}, "2026-10-24T12:00Z", ["25T00:30", "26T01:30"]),
        ({"cron": "0,30 2 * * *"}, "2026-10-24T12:00Z", ["25T00:00", "25T00:30", "26T01:00"]),
        # Every hour is every hour.
        ({"cron": "15 * * * *"}, "2026-10-24T23:30Z", ["25T00:15", "25T01:15", "25T02:15"]),
        ({"cron": "15 */2 * * *"}, "2026-10-24T23:30Z", ["25T00:15", "25T01:15", "25T03:15"]),
        ({"calendar": {"days": 1, "at": "02:30"}}, "2026-10-24T12:00Z", ["25T00:30", "26T01:30"]),
        # What is missing is as much later.
        ({"cron": "30 2 * * *"}, "2026-03-28T12:00Z", ["29T01:30", "30T00:30"]),
        ({"calendar": {"days": 1, "at": "02:30"}}, "2026-03-28T12:00Z", ["29T01:30", "30T00:30"]),
        ({"cron": "15 * * * *"}, "2026-03-28T23:30Z", ["29T00:15", "29T01:15", "29T02:15"]),
    ],
)
def test_a_schedule_keeps_its_days_and_hours_when_the_clocks_change(
    schedule: dict[str, Any], after: str, expected: list[str]
) -> None:
    trigger = trigger_of({**schedule, "timezone": "Europe/Berlin"})
    assert [due[8:16] for due in dues(trigger, after, len(expected))] == expected


@pytest.mark.parametrize(
    ("window", "begins", "ends"),
    [
        # Both of the hours that are one on the wall.
        ({"from": "02:00", "to": "02:45"}, "2026-10-25T00:00Z", "2026-10-25T01:45Z"),
        ({"from": "23:00", "to": "02:30"}, "2026-10-24T21:00Z", "2026-10-25T01:30Z"),
        ({"from": "01:00", "to": "02:30"}, "2026-03-29T00:00Z", "2026-03-29T01:30Z"),
        ({"from": "01:00", "to": "04:00"}, "2026-10-24T23:00Z", "2026-10-25T03:00Z"),
    ],
)
def test_a_blackout_lasts_while_the_wall_shows_it(
    window: dict[str, str], begins: str, ends: str
) -> None:
    made = window_of(window, timezone="Europe/Berlin")
    assert span_at([made], at(begins)) == (at(begins), at(ends))
    assert span_at([made], at(ends)) is None


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize("line", ["15 * * * *", "*/20 * * * *", "30 1 * * *", "30 2 * * *"])
@pytest.mark.parametrize("blackouts", [[], [{"from": "12:00", "to": "13:00"}]])
def test_a_due_time_follows_the_last_one_all_year(
    zone: str, line: str, blackouts: list[dict[str, str]]
) -> None:
    """Or whoever asks for all until now asks for ever: the clock at its start, a round that waits,
    and the scheduler itself, which asks with what is due last and a moment of its own."""
    trigger = trigger_of({"cron": line, "timezone": zone, "blackouts": blackouts})
    changes = [
        moment
        for hour in range(24 * 365)
        if (moment := at("2026-01-01T00:00Z") + timedelta(hours=hour))
        and _offset(zone, moment) != _offset(zone, moment + timedelta(hours=1))
    ]
    assert len(changes) == 2
    for change in changes:
        end = change + timedelta(hours=6)
        last = next_due(trigger, change - timedelta(hours=6))
        while last is not None and last <= end:
            following = trigger.get_next_fire_time(last, end)
            assert following is not None
            assert following > last
            last = following
        for minutes in range(0, 360, 30):
            now = change + timedelta(minutes=minutes)
            was = last_due(trigger, now)
            assert was is not None
            assert was <= now
            following = next_due(trigger, was)
            assert following is not None
            assert following > now


def _offset(zone: str, moment: datetime) -> timedelta | None:
    return moment.astimezone(ZoneInfo(zone)).utcoffset()
