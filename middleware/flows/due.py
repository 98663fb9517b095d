"""When a job is due: the triggers of stored schedules, and their ticks.

A stored schedule is `{"every": seconds}`, `{"cron": line}` or `{"calendar": {…}}`, with a
`timezone`, `blackouts` and `in_blackout`. Due times depend on nothing but the schedule, so that
every node names the same ticks.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from middleware.domain.blackouts import Window, span_at, window_of
from middleware.domain.schedules import weekdays_named

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
"""Where intervals are counted from, on every node alike. A Monday."""

LOOKED_BACK = tuple(timedelta(days=d) for d in (1 / 24, 1, 8, 32, 366))
LONGEST_SKIPPED = timedelta(days=400)
"""How long every tick may fall into a blackout before a schedule counts as never due."""

_MOMENT = timedelta(microseconds=1)


def _at_least(previous: datetime | None, now: datetime) -> datetime:
    """From when on the next due time is asked for, in UTC: a moment added to one on the wall in the
    hour that comes twice would lead an hour back."""
    now = now.astimezone(UTC)
    if previous is None or now < previous:
        return now
    return previous.astimezone(UTC) + _MOMENT


class _Cron(BaseTrigger):  # type: ignore[misc]
    """A crontab line on the wall clock of a zone, in UTC.

    In the hour that comes twice a line that names its hours is due in the first one only, and one
    for every hour in both; what is due in the hour that is missing is due as much later.
    """

    def __init__(self, line: str, timezone: str) -> None:
        self._inner = CronTrigger.from_crontab(line, timezone=timezone)
        self._zone = ZoneInfo(timezone)
        self._once = not line.split()[1].startswith("*")

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        at_least = _at_least(previous, now)
        while (found := self._inner.get_next_fire_time(None, at_least)) is not None:
            due: datetime = found.astimezone(UTC)
            if not (self._once and due.astimezone(self._zone).fold):
                return due
            at_least = due + _MOMENT
        return None


class _Calendar(BaseTrigger):  # type: ignore[misc]
    """Every so many days, weeks, months or years at a time of day, in UTC; where that time is
    missing on a day, as much later.

    APScheduler's own trigger leaves such a day out, and answers its first date whenever it is not
    told the last one. It finds the days here, and is told one that lies a little before.
    """

    def __init__(self, inner: CalendarIntervalTrigger, at: time, zone: ZoneInfo) -> None:
        self._inner = inner
        self._at = at
        self._zone = zone
        self._step = timedelta(days=inner.days, weeks=inner.weeks)

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        at_least = _at_least(previous, now)
        day = self._inner.get_next_fire_time(self._before(at_least), at_least)
        while day is not None:
            due = datetime.combine(day.date(), self._at, self._zone).astimezone(UTC)
            if due >= at_least:
                return due
            day = self._inner.get_next_fire_time(day, at_least)
        return None

    def _before(self, moment: datetime) -> date | None:
        """A day that it is due on, two or three before; None where only the first will do."""
        first: date = self._inner.start_date
        if self._inner.months or self._inner.years:
            return None
        steps = (moment.date() - first) // self._step - 2
        return first + steps * self._step if steps > 0 else None


class OutsideBlackouts(BaseTrigger):  # type: ignore[misc]
    """Another trigger's due times; one within a blackout moves to its end, or is left out.

    However many are due within a blackout, at its end there is one.
    """

    def __init__(self, inner: BaseTrigger, windows: tuple[Window, ...], *, skip: bool) -> None:
        self._inner = inner
        self._windows = windows
        self._skip = skip

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        at_least = _at_least(previous, now)
        if not self._skip:
            ended = span_at(self._windows, at_least - _MOMENT)
            if ended is not None:
                first = self._inner.get_next_fire_time(None, ended[0])
                if first is not None and first < ended[1]:
                    return ended[1]
        horizon = at_least + LONGEST_SKIPPED
        while at_least < horizon:
            due: datetime | None = self._inner.get_next_fire_time(None, at_least)
            if due is None:
                return None
            blackout = span_at(self._windows, due)
            if blackout is None:
                return due
            if not self._skip:
                return blackout[1]
            at_least = blackout[1]
        return None


def trigger_of(schedule: dict[str, Any]) -> BaseTrigger:
    """The trigger of a stored schedule. Raises ValueError, and KeyError for an unknown zone."""
    timezone = schedule.get("timezone") or "UTC"
    trigger: BaseTrigger
    if schedule.get("every"):
        trigger = every(timedelta(seconds=float(schedule["every"])))
    elif schedule.get("calendar"):
        trigger = _calendar(schedule["calendar"], timezone)
    else:
        trigger = _Cron(weekdays_named(schedule["cron"]), timezone)
    windows = windows_of(schedule)
    if windows:
        return OutsideBlackouts(trigger, windows, skip=schedule.get("in_blackout") == "skip")
    return trigger


def windows_of(schedule: dict[str, Any]) -> tuple[Window, ...]:
    """The blackouts of a stored schedule."""
    timezone = schedule.get("timezone") or "UTC"
    return tuple(window_of(stored, timezone=timezone) for stored in schedule.get("blackouts") or ())


def every(interval: timedelta) -> IntervalTrigger:
    """Every so many seconds, counted from `EPOCH`."""
    return IntervalTrigger(seconds=int(interval.total_seconds()), start_date=EPOCH, timezone=UTC)


def _calendar(stored: dict[str, Any], timezone: str) -> BaseTrigger:
    first = stored.get("first")
    days = CalendarIntervalTrigger(
        **{name: int(stored.get(name, 0)) for name in ("years", "months", "weeks", "days")},
        start_date=date.fromisoformat(first) if first else EPOCH.date(),
        timezone=UTC,
    )
    return _Calendar(days, time.fromisoformat(stored.get("at", "00:00")), ZoneInfo(timezone))


def next_due(trigger: BaseTrigger, after: datetime) -> datetime | None:
    """The first due time after a moment."""
    due: datetime | None = trigger.get_next_fire_time(None, after + _MOMENT)
    return due


def last_due(trigger: BaseTrigger, now: datetime) -> datetime | None:
    """The last time until `now` that a trigger was due, looking back a year at most."""
    if isinstance(trigger, IntervalTrigger):
        interval: timedelta = trigger.interval
        return EPOCH + (now - EPOCH) // interval * interval
    # What is due seldom is looked for further back; what is due often is found near.
    for back in LOOKED_BACK:
        last: datetime | None = None
        due = trigger.get_next_fire_time(None, now - back)
        while due is not None and due <= now:
            last = due
            due = trigger.get_next_fire_time(due, due + _MOMENT)
        if last is not None:
            return last
    return None


def tick_of(due: datetime) -> str:
    """The name of a tick: its due time in UTC, to the second."""
    return due.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment_of(tick: str, *, otherwise: datetime) -> datetime:
    """When a tick was due; `otherwise` for one that does not say."""
    try:
        return datetime.fromisoformat(tick.partition("/")[0])
    except ValueError:
        return otherwise


def full_tick_of(due: datetime) -> str:
    """The name of a full run's tick, which may be due together with an ordinary one."""
    return f"{tick_of(due)}/full"


def tick_now(now: datetime) -> str:
    """The tick of a run that somebody asks for now, and nobody else's: to the microsecond."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
