"""Whose turn it is to call a system: agents before work, work before batches, and nobody never.

A connection lets so many calls out at once, and so many in a second or a minute. Plain data and
pure decisions; times are seconds of a clock that only goes forward.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum


class Urgency(IntEnum):
    """Who waits for a call's answer."""

    AGENT = 0
    """A person looks at the screen."""
    WORK = 1
    """A customer waits: an action's step, an arrival being enriched."""
    BATCH = 2
    """Nobody in particular: syncs, unknown outcomes looked up anew."""


PATIENCE = {Urgency.AGENT: float("inf"), Urgency.WORK: 2.0, Urgency.BATCH: 10.0}
"""Seconds after which the next place is theirs, whoever else waits; one such at a time."""


@dataclass(frozen=True)
class Rate:
    """At most so many calls a second, in bursts of at most a second's worth."""

    per_second: float

    @property
    def burst(self) -> float:
        return max(1.0, self.per_second)


@dataclass(frozen=True)
class Bucket:
    """What is left of a rate: tokens that grow back."""

    rate: Rate
    tokens: float
    at: float

    @classmethod
    def full(cls, rate: Rate, at: float) -> Bucket:
        return cls(rate, rate.burst, at)

    def refilled(self, now: float) -> Bucket:
        grown = self.tokens + max(0.0, now - self.at) * self.rate.per_second
        return replace(self, tokens=min(self.rate.burst, grown), at=now)

    def wait_for(self, urgency: Urgency, *, hurried: bool = False) -> float:
        """Seconds until there is a token for somebody; a batch leaves a quarter of the burst."""
        kept = self.rate.burst / 4 if self.rate.burst >= 4 else 0.0
        needed = 1.0 + (kept if urgency is Urgency.BATCH and not hurried else 0.0)
        # A hair less than needed: what grew back must not be lost to rounding.
        missing = needed - self.tokens - 1e-9
        return max(0.0, missing / self.rate.per_second)

    def taken(self) -> Bucket:
        return replace(self, tokens=self.tokens - 1.0)


@dataclass(frozen=True)
class Waiting:
    """Somebody who waits for a place. `number` grows in order of arrival."""

    number: int
    urgency: Urgency
    since: float

    def hurried(self, now: float) -> bool:
        """Whether their patience is at its end."""
        return now - self.since >= PATIENCE[self.urgency]


@dataclass(frozen=True)
class Places:
    """How many calls may be under way at once, and how many of each urgency are."""

    limit: int
    agent: int = 0
    work: int = 0
    batch: int = 0

    def under_way(self, urgency: Urgency) -> int:
        return (self.agent, self.work, self.batch)[urgency]

    @property
    def taken(self) -> int:
        return self.agent + self.work + self.batch

    @property
    def kept(self) -> int:
        """The places that batches leave free: a quarter, at least one where there are two."""
        return max(1, self.limit // 4) if self.limit > 1 else 0

    def room_for(self, urgency: Urgency, *, hurried: bool = False) -> bool:
        kept = self.kept if urgency is Urgency.BATCH and not hurried else 0
        return self.taken + kept < self.limit

    def with_one(self, urgency: Urgency, more: int = 1) -> Places:
        """One more of an urgency under way, or with `more=-1` one less."""
        name = urgency.name.lower()
        return replace(self, **{name: self.under_way(urgency) + more})


@dataclass(frozen=True)
class Turn:
    """Who goes next, and whether out of turn: with patience at its end."""

    who: Waiting
    hurried: bool = False


def next_turn(waiting: Iterable[Waiting], places: Places, now: float) -> Turn | None:
    """Who goes next; None while there is no place for them.

    The most urgent goes first, then who came first. Whoever has waited beyond patience while none
    of their urgency is under way goes before all: that takes one place from those who keep the
    system busy, and no more.
    """
    crowd = sorted(waiting, key=lambda one: (one.urgency, one.number))
    late = next((w for w in crowd if w.hurried(now) and not places.under_way(w.urgency)), None)
    if late is not None and places.room_for(late.urgency, hurried=True):
        return Turn(late, hurried=True)
    if crowd and places.room_for(crowd[0].urgency):
        return Turn(crowd[0])
    return None
