"""Schedules as operators write them: five fields of a crontab."""

from __future__ import annotations

import re

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

_PART = re.compile(
    r"(?P<first>\*|[0-7]|[a-z]{3})(?:-(?P<last>[0-7]|[a-z]{3}))?(?:/(?P<step>[1-7]))?",
    re.IGNORECASE,
)


def weekdays_named(cron: str) -> str:
    """The crontab line with its weekdays by name: 0 and 7 are Sunday, as in every crontab.

    Schedulers disagree about numbers (APScheduler 3 counts from Monday), and agree about names.
    Raises ValueError that says what is wrong.
    """
    fields = cron.split()
    if len(fields) != 5:
        raise ValueError(f"a cron line has five fields, {cron!r} has {len(fields)}")
    if fields[4] != "*":
        days = sorted({day for part in fields[4].split(",") for day in _days(part)})
        fields[4] = "*" if len(days) == 7 else ",".join(DAYS[day] for day in days)
    return " ".join(fields)


def _days(part: str) -> list[int]:
    found = _PART.fullmatch(part)
    if found is None:
        raise ValueError(f"{part!r} is no weekday: write 0 to 7, mon to sun, a-b, or */n")
    step = int(found["step"] or 1)
    if found["first"] == "*":
        return list(range(0, 7, step))
    first = _day(found["first"])
    if found["last"] is None:
        # With a step, an open range: 1/2 is 1-6/2.
        return list(range(first, 7, step)) if found["step"] else [first % 7]
    last = _day(found["last"])
    if last < first:
        last += 7  # fri-mon
    return [day % 7 for day in range(first, last + 1, step)]


def _day(text: str) -> int:
    """0 to 7; Sunday by name is 0."""
    if text.isdigit():
        return int(text)
    if text.lower() not in DAYS:
        raise ValueError(f"{text!r} is no weekday: write 0 to 7, or mon to sun")
    return DAYS.index(text.lower())
