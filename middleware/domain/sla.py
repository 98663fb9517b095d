"""SLA clocks: what runs from when to when, what is used of it, and when it is due.

Clocks follow from what was said and from how the conversation stood, and from nothing else, so that
they can be worked out anew at any time:

- *first response* runs from the customer's first message to our first answer;
- *next response* runs from the customer's first message after an answer to the next answer, as
  often as that happens;
- *resolution* runs from the customer's first message until the complaint is closed; reopened, it
  goes on.

All of them stand still while we wait for the customer (status pending), and the resolution while
the complaint is closed. Closing a complaint ends a response clock without an answer; what the
customer writes then begins another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from middleware.contract.canonical import Frozen, Instant
from middleware.domain.calendars import Calendar
from middleware.domain.rulebook import ClockKind, Rota, RuleBook

PENDING = frozenset(
    {
        "pending",
        "hold",
        "on-hold",
        "on hold",
        "on_hold",
        "waiting",
        "waiting on customer",
        "waiting_on_customer",
        "snoozed",
        "pending reminder",
        "pending close",
    }
)
"""Words of helpdesks for a conversation in which the customer is to say something."""

CLOSED = frozenset({"resolved", "closed", "solved"})


class What(StrEnum):
    """What happened in a conversation, as far as clocks go by it."""

    CUSTOMER = "customer"
    US = "us"
    PENDING = "pending"
    OPEN = "open"
    CLOSED = "closed"

    @classmethod
    def of_status(cls, word: str) -> What:
        word = word.strip().lower()
        if word in CLOSED:
            return cls.CLOSED
        return cls.PENDING if word in PENDING else cls.OPEN


class Turn(Frozen):
    at: Instant
    what: What


class Clock(Frozen):
    """One clock: the stretches in which it ran, and how it ended if it did."""

    kind: ClockKind
    number: int = 1
    """Counts the clocks of its kind: next responses, and first ones that closing cut short."""
    runs: tuple[tuple[Instant, Instant | None], ...]
    """From when to when; the last one's end is None while it runs."""
    ended_at: Instant | None = None
    answered: bool = False
    """Whether it ended by what was promised: an answer, or the complaint's end."""

    @property
    def started_at(self) -> datetime:
        return self.runs[0][0]

    @property
    def running(self) -> bool:
        return self.ended_at is None and self.runs[-1][1] is None

    @property
    def paused(self) -> bool:
        return self.ended_at is None and self.runs[-1][1] is not None

    def used(self, calendar: Calendar, at: datetime) -> timedelta:
        """The working time in which it has run until a moment."""
        return sum(
            (calendar.worked(begin, min(end or at, at)) for begin, end in self.runs), timedelta(0)
        )

    def reaches(self, calendar: Calendar, duration: timedelta) -> datetime | None:
        """When it has run for that long, as far as is known now; None while that is not certain.

        The working time is added up over its stretches; in the one where it is reached the calendar
        says when. A clock that ended or is paused before it was reached never reaches it.
        """
        left = duration
        for begin, end in self.runs:
            worked = calendar.worked(begin, end) if end is not None else None
            if worked is None or worked >= left:
                try:
                    return calendar.after(begin, left)
                except ValueError:
                    return None
            left -= worked
        return None


def clocks(turns: Iterable[Turn]) -> tuple[Clock, ...]:
    """The clocks of a conversation, oldest first; none before the customer said something."""
    made: list[Clock] = []
    response: _Running | None = None
    resolution: _Running | None = None
    numbers: Counter[ClockKind] = Counter()
    answered = False
    for turn in sorted(turns, key=lambda t: (t.at, _ORDER[t.what])):
        at = turn.at
        match turn.what:
            case What.CUSTOMER:
                resolution = resolution or _Running(ClockKind.RESOLUTION, 1)
                resolution.go(at)
                if response is None:
                    kind = ClockKind.NEXT_RESPONSE if answered else ClockKind.FIRST_RESPONSE
                    numbers[kind] += 1
                    response = _Running(kind, numbers[kind])
                response.go(at)
            case What.US:
                answered = answered or resolution is not None
                if response is not None:
                    made.append(response.ended(at, answered=True))
                    response = None
            case What.PENDING:
                for clock in (response, resolution):
                    if clock is not None:
                        clock.rest(at)
            case What.OPEN:
                for clock in (response, resolution):
                    if clock is not None:
                        clock.go(at)
            case What.CLOSED:
                if response is not None:
                    made.append(response.ended(at, answered=False))
                    response = None
                if resolution is not None:
                    resolution.rest(at)
                    resolution.closed_at = resolution.closed_at or at
        if turn.what is not What.CLOSED and resolution is not None and turn.what in _REOPENS:
            resolution.closed_at = None
    if response is not None:
        made.append(response.as_it_is())
    if resolution is not None:
        closed = resolution.closed_at
        made.append(
            resolution.ended(closed, answered=True) if closed is not None else resolution.as_it_is()
        )
    return tuple(sorted(made, key=lambda clock: (clock.started_at, clock.kind, clock.number)))


_ORDER = {What.CUSTOMER: 0, What.US: 1, What.OPEN: 2, What.PENDING: 3, What.CLOSED: 4}
"""What happened at one moment is taken in this order."""
_REOPENS = (What.CUSTOMER, What.OPEN)


class _Running:
    """A clock while a conversation is gone through."""

    def __init__(self, kind: ClockKind, number: int) -> None:
        self.kind, self.number = kind, number
        self.runs: list[tuple[datetime, datetime | None]] = []
        self.closed_at: datetime | None = None

    def go(self, at: datetime) -> None:
        if not self.runs or self.runs[-1][1] is not None:
            self.runs.append((at, None))

    def rest(self, at: datetime) -> None:
        begin, end = self.runs[-1]
        if end is None:
            self.runs[-1] = (begin, at)

    def ended(self, at: datetime, *, answered: bool) -> Clock:
        self.rest(at)
        return Clock(
            kind=self.kind,
            number=self.number,
            runs=tuple(self.runs),
            ended_at=at,
            answered=answered,
        )

    def as_it_is(self) -> Clock:
        return Clock(kind=self.kind, number=self.number, runs=tuple(self.runs))


def waiting(turns: Sequence[Turn]) -> int:
    """How many messages of the customer have come since our last answer."""
    said = [t.what for t in sorted(turns, key=lambda t: (t.at, _ORDER[t.what]))]
    last = max((place for place, what in enumerate(said) if what is What.US), default=-1)
    return sum(what is What.CUSTOMER for what in said[last + 1 :])


# --- who is there -------------------------------------------------------------------------------


def on_call(book: RuleBook, at: datetime) -> str | None:
    """Who is on call at a moment; None within the hours of the team, or without a rota.

    Turns are counted on the wall's clock, so that they begin at the same time of day all year.
    """
    rota = book.rota
    if rota is None or book.calendar(rota.hours).is_open(at):
        return None
    return _turn_of(rota, at)


def _turn_of(rota: Rota, at: datetime) -> str:
    wall = at.astimezone(ZoneInfo(rota.zone)).replace(tzinfo=None)
    for swap in rota.swaps:
        if swap.since <= wall < swap.until:
            return swap.who
    return rota.people[((wall - rota.first) // rota.every) % len(rota.people)]
