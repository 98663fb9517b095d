"""Bursts: more complaints about one thing than its own past explains.

Each key (an article, a lot, a carrier, a word with a hash …) is held against its own baseline. The
baseline is a Poisson rate with a gamma-distributed belief about it, which forgets exponentially
(the Poisson-gamma model of Harvey and Fernandes 1989), times the profile of the hours of the week
of all complaints together, times how much busier than usual everything else is just now. What a
window holds is then held against the negative binomial that this model predicts; its tail is the
surprise. That is the Bayesian detector of Höhle and Riebler 2005 (`algo.bayes` of R's
`surveillance`) with a variance of its own beside it: rates differ from day to day by more than
Poisson has it (Farrington and others 1996). Windows of several lengths see steep and slow bursts.

Pure: counts in, a reading out. Times are numbers of buckets of `BUCKET` since 1970 in UTC.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, NamedTuple, Self

from pydantic import Field, model_validator

from middleware.contract.canonical import Frozen

BUCKET = timedelta(minutes=5)
BUCKETS_AN_HOUR = 12
HOURS_A_WEEK = 168

FORGETS_KEY = 0.5 ** (1 / (14 * 24))
"""What an hour leaves of a key's past: half after 14 days."""
FORGETS_WEEK = 0.5 ** (1 / 4)
"""What a week leaves of the hours of the week: half after four."""
PRIOR_COUNT, PRIOR_HOURS = 0.5, 0.25
"""What is believed of a key before anything was seen: two an hour, and not at all sure."""
SHRINKS = 8.0
"""Complaints by which an hour of the week must speak before its own profile outweighs the day's."""
MOST_RISE = 6.0
"""How far a general rise can lift what is expected; beyond it each key alarms for itself."""
TAIL_ENDS = 1e-12


class KeyKind(StrEnum):
    """What complaints can have in common, the most specific first."""

    LOT = "lot"
    SKU = "sku"
    SHIPPED = "shipped"
    """A warehouse or carrier and the day on which it shipped."""
    WAREHOUSE = "warehouse"
    CARRIER = "carrier"
    HASHTAG = "hashtag"
    TEXT = "text"
    """Words that are nearly the same, where nothing else is known."""
    NEAR = "near"
    """The same thing in other words: texts near to that of the complaint that it names."""
    TOPIC = "topic"
    """The reason, such as `late`."""

    @property
    def rank(self) -> int:
        return list(KeyKind).index(self)


class Key(NamedTuple):
    """One thing that complaints can have in common."""

    kind: KeyKind
    value: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"

    @classmethod
    def parse(cls, text: str) -> Key:
        kind, _, value = text.partition(":")
        return cls(KeyKind(kind), value)


class BurstRules(Frozen):
    """When a key counts as bursting, and when that is over."""

    windows: Annotated[tuple[timedelta, ...], Field(min_length=1, max_length=6)] = (
        timedelta(minutes=15),
        timedelta(hours=1),
        timedelta(hours=3),
        timedelta(hours=6),
    )
    least_complaints: Annotated[int, Field(ge=2)] = 5
    """So many complaints in a window at least."""
    least_persons: Annotated[int, Field(ge=2)] = 5
    """By so many different people: one angry customer is no burst."""
    least_ratio: Annotated[float, Field(gt=1)] = 3.0
    """So many times what was expected at least."""
    surprise: Annotated[float, Field(gt=0, le=50)] = 6.0
    """How improbable it must be, as zeros after the point: 6 means one window in a million."""
    ends_below: Annotated[float, Field(ge=0)] = 2.0
    """Below this surprise the last hour is ordinary again."""
    quiet: timedelta = timedelta(hours=1)
    """For how long it must be ordinary before the burst is over."""
    variation: Annotated[float, Field(ge=0.05, le=2)] = 0.3
    """By how much an ordinary rate differs from day to day: a standard deviation, as a share."""

    @model_validator(mode="after")
    def _make_sense(self) -> Self:
        for window in (*self.windows, self.quiet):
            if not BUCKET <= window <= timedelta(days=2) or window % BUCKET:
                raise ValueError("a window is 5 minutes to 2 days, in steps of 5 minutes")
        if self.ends_below >= self.surprise:
            raise ValueError("ends_below is less than surprise, or a burst would end at once")
        return self

    @property
    def longest(self) -> int:
        """The longest window in buckets."""
        return max(buckets(window) for window in self.windows)


def buckets(duration: timedelta) -> int:
    return duration // BUCKET


def bucket_of(moment: datetime) -> int:
    """The bucket that a moment falls into."""
    return math.floor(moment.timestamp() / BUCKET.total_seconds())


def begins(bucket: int) -> datetime:
    """When a bucket begins."""
    return datetime.fromtimestamp(bucket * BUCKET.total_seconds(), UTC)


# --- what is expected -----------------------------------------------------------------------------


@dataclass
class Season:
    """The profile of the week: how busy each of its 168 hours is, of all complaints together.

    `folded` is the hour up to which complaints are counted in it; `exposure` how many ordinary
    hours the hub has counted for, forgotten at the pace of the keys.
    """

    folded: int
    counts: list[float] = field(default_factory=lambda: [0.0] * HOURS_A_WEEK)
    seen: list[float] = field(default_factory=lambda: [0.0] * HOURS_A_WEEK)
    exposure: float = 0.0
    total: float = 0.0
    """All complaints, forgotten at the pace of the keys."""

    def weight(self, hour: int) -> float:
        """How busy an hour is, as a multiple of the average one.

        An hour of the week that was seen seldom takes after the same hour of other days.
        """
        hours = sum(self.seen)
        everything = sum(self.counts)
        if not hours or not everything:
            return 1.0
        mean = everything / hours
        slot = hour % HOURS_A_WEEK
        same = range(slot % 24, HOURS_A_WEEK, 24)
        of_day = (sum(self.counts[h] for h in same) + SHRINKS) / (
            sum(self.seen[h] for h in same) * mean + SHRINKS
        )
        return (self.counts[slot] + SHRINKS * of_day) / (self.seen[slot] * mean + SHRINKS)

    def exposure_at(self, hour: int) -> float:
        """The ordinary hours that an earlier hour looked back on, as many as it had by then: a past
        that is folded in one go is held against what was known at the time."""
        since = max(self.folded - hour, 0)
        kept = FORGETS_KEY**since
        return max((self.exposure - (1 - kept) / (1 - FORGETS_KEY)) / kept, 0.0)

    def fold(self, until: int, counts: Mapping[int, int]) -> None:
        """Count the hours before `until` in; `counts` has the complaints of each bucket."""
        hourly = by_hour(counts)
        for hour in range(self.folded, until):
            weight = self.weight(hour)
            slot, count = hour % HOURS_A_WEEK, hourly.get(hour, 0)
            if self.seen[slot] > 1:
                # Nor does one pile-on make the hour of the week a busy one.
                count = min(count, round(ordinary(self.counts[slot] / self.seen[slot], 0.5)))
            self.counts[slot] = self.counts[slot] * FORGETS_WEEK + count
            self.seen[slot] = self.seen[slot] * FORGETS_WEEK + 1
            self.exposure = self.exposure * FORGETS_KEY + weight
            self.total = self.total * FORGETS_KEY + count
        self.folded = max(self.folded, until)

    def ordinary_hours(self, last: int, window: int) -> float:
        """How many ordinary hours the window of buckets up to `last` is worth."""
        spans: dict[int, int] = {}
        for bucket in range(last - window + 1, last + 1):
            spans[bucket // BUCKETS_AN_HOUR] = spans.get(bucket // BUCKETS_AN_HOUR, 0) + 1
        return sum(self.weight(hour) * n for hour, n in spans.items()) / BUCKETS_AN_HOUR

    def over(self, hours: float) -> Season:
        """The same, as if only so many of the ordinary hours had been counted for."""
        share = min(hours / self.exposure, 1.0) if self.exposure else 0.0
        return replace(self, exposure=self.exposure * share, total=self.total * share)


@dataclass(frozen=True)
class Past:
    """A key's past: its complaints, discounted, as they stood at the hour `folded`."""

    folded: int
    count: float = 0.0

    def at(self, hour: int) -> float:
        """The same at a later hour, nothing having been added."""
        return float(self.count * FORGETS_KEY ** max(hour - self.folded, 0))

    def fold(
        self, until: int, counts: Mapping[int, int], season: Season, rules: BurstRules
    ) -> Past:
        """Count the hours before `until` in. What exceeds an ordinary hour by far is cut off, so
        that a burst does not become what is expected."""
        count, hour = self.count, self.folded
        for busy, found in sorted(by_hour(counts).items()):
            if not hour <= busy < until:
                continue
            count *= FORGETS_KEY ** (busy - hour)
            rate = (count + PRIOR_COUNT) / (season.exposure_at(busy) + PRIOR_HOURS)
            expected = rate * season.weight(busy)
            count += min(found, ordinary(expected, rules.variation))
            hour = busy
        return Past(until, count * FORGETS_KEY ** max(until - hour, 0)) if until > hour else self

    def scaled(self, to_this: Season, season: Season) -> Past:
        """The same rate, held against another season than it was counted for."""
        rate = rate_of(self.count, to_this)
        return Past(self.folded, max(rate * (season.exposure + PRIOR_HOURS) - PRIOR_COUNT, 0.0))


def ordinary(expected: float, variation: float) -> float:
    """The most that an ordinary hour may bring: the mean and three standard deviations."""
    return expected + 3 * math.sqrt(expected + (variation * expected) ** 2) + 2


def rate_of(count: float, season: Season) -> float:
    """Complaints of a key in an ordinary hour, as far as its past says."""
    return (count + PRIOR_COUNT) / (season.exposure + PRIOR_HOURS)


def of_sample(
    counts: Mapping[int, int], days: Iterable[int], season: Season, rules: BurstRules
) -> tuple[Past, Season]:
    """The past of what was not counted while it happened, from what is kept of it; and the season
    to hold it against, which is worth no more hours than that.

    `counts` are what is kept by bucket, `days` those since 1970 of which anything at all is kept.
    """
    hours = 0.0
    for day in set(days):
        end = min((day + 1) * 24, season.folded)
        hours += sum(FORGETS_KEY ** (season.folded - hour) for hour in range(day * 24, end))
    limited = season.over(hours)
    first = min((bucket // BUCKETS_AN_HOUR for bucket in counts), default=season.folded)
    return Past(min(first, season.folded)).fold(season.folded, counts, limited, rules), limited


def by_hour(counts: Mapping[int, int]) -> dict[int, int]:
    hourly: dict[int, int] = {}
    for bucket, count in counts.items():
        hourly[bucket // BUCKETS_AN_HOUR] = hourly.get(bucket // BUCKETS_AN_HOUR, 0) + count
    return hourly


# --- how surprising it is -------------------------------------------------------------------------


def surprise(found: int, expected: float, *, sure: float, variation: float) -> float:
    """Zeros after the point of the probability of so many or more.

    Negative binomial with the mean `expected`: the rate is gamma-distributed, as sure as `sure`
    complaints make it, and never surer than its ordinary variation allows.
    """
    if found <= expected or found <= 0:
        return 0.0
    shape = min(sure, 1 / variation**2)
    # P(N = k) = Γ(k+r) / (k! Γ(r)) · (r/(r+m))^r · (m/(r+m))^k, summed from `found` on.
    share = expected / (shape + expected)
    log_first = (
        math.lgamma(found + shape)
        - math.lgamma(found + 1)
        - math.lgamma(shape)
        + shape * math.log(shape / (shape + expected))
        + found * math.log(share)
    )
    term = total = 1.0
    k = found
    while term > TAIL_ENDS * total:
        term *= share * (k + shape) / (k + 1)
        total += term
        k += 1
    return max(-(log_first + math.log(total)) / math.log(10), 0.0)


class Reading(Frozen):
    """What a window of a key holds, and how that compares with what was expected."""

    last: int
    """The window's last bucket."""
    window: int
    """Its length in buckets."""
    found: int
    expected: float
    surprise: float

    @property
    def ratio(self) -> float:
        return self.found / self.expected if self.expected else math.inf

    @property
    def first(self) -> int:
        return self.last - self.window + 1


@dataclass(frozen=True)
class Track:
    """What there is to read of one key: its buckets and its past before them."""

    counts: Mapping[int, int]
    past: Past
    wider: Past | None = None
    """The past of what it is a new part of, such as the warehouse of a day's parcels: each day's
    key is new, and some complaints about each day are nothing new."""

    def count(self, hour: int) -> float:
        """Its past complaints, discounted to an hour."""
        own = self.past.at(hour)
        return own if self.wider is None else max(own, PART * self.wider.at(hour))


PART = 0.5
"""The share of what is usual for a sender that may be about the parcels of one day."""


def wider_than(key: Key) -> tuple[Key, ...]:
    """The lasting keys that a key is a part of, of which one is there."""
    if key.kind is not KeyKind.SHIPPED:
        return ()
    sender = key.value.rpartition("/")[0]
    return Key(KeyKind.WAREHOUSE, sender), Key(KeyKind.CARRIER, sender)


def rise(
    season: Season, everything: Mapping[int, int], own: Mapping[int, int], last: int, window: int
) -> float:
    """How much busier than usual all else is: what lifts every key does not speak for one."""
    others = within(everything, last, window) - within(own, last, window)
    expected = season.total / season.exposure if season.exposure else 0.0
    usual = expected * season.ordinary_hours(last, window)
    return min(max((others + SHRINKS) / (usual + SHRINKS), 1.0), MOST_RISE)


def within(counts: Mapping[int, int], last: int, window: int) -> int:
    return sum(counts.get(bucket, 0) for bucket in range(last - window + 1, last + 1))


def read(
    track: Track,
    season: Season,
    everything: Mapping[int, int],
    *,
    last: int,
    window: int,
    rules: BurstRules,
) -> Reading:
    """What the window that ends with the bucket `last` holds of a key."""
    found = within(track.counts, last, window)
    hour = (last - window + 1) // BUCKETS_AN_HOUR
    count = track.count(hour)
    lifted = rise(season, everything, track.counts, last, window)
    expected = rate_of(count, season) * season.ordinary_hours(last, window) * lifted
    return Reading(
        last=last,
        window=window,
        found=found,
        expected=expected,
        surprise=surprise(found, expected, sure=count + PRIOR_COUNT, variation=rules.variation),
    )


def burst(
    track: Track,
    season: Season,
    everything: Mapping[int, int],
    *,
    ends: Iterable[int],
    rules: BurstRules,
) -> Reading | None:
    """The first window that is a burst but for the number of people in it; None if none is.

    `ends` are the buckets that windows may end with, in order. Of windows that end together the
    most surprising one is answered.
    """
    for last in ends:
        passed = [
            reading
            for window in rules.windows
            if within(track.counts, last, buckets(window)) >= rules.least_complaints
            and passes(
                reading := read(
                    track, season, everything, last=last, window=buckets(window), rules=rules
                ),
                rules,
            )
        ]
        if passed:
            return max(passed, key=lambda reading: reading.surprise)
    return None


def passes(reading: Reading, rules: BurstRules) -> bool:
    return (
        reading.found >= rules.least_complaints
        and reading.ratio >= rules.least_ratio
        and reading.surprise >= rules.surprise
    )


def is_over(
    track: Track, season: Season, everything: Mapping[int, int], *, now: int, rules: BurstRules
) -> bool:
    """Whether the last complete `quiet` time was ordinary."""
    reading = read(
        track, season, everything, last=now - 1, window=buckets(rules.quiet), rules=rules
    )
    return reading.surprise < rules.ends_below


def onset(track: Track, reading: Reading, *, rules: BurstRules) -> int:
    """The bucket in which a burst began.

    The last rise of a cumulative sum of counts over a reference between what is expected and
    `least_ratio` times that (Lucas 1985), looked for from the longest window back.
    """
    a_bucket = reading.expected / reading.window
    ratio = max(rules.least_ratio, reading.ratio / 2)
    reference = a_bucket * (ratio - 1) / math.log(ratio)
    total, began = 0.0, reading.first
    for bucket in range(reading.last - max(rules.longest, reading.window) + 1, reading.last + 1):
        if total <= 0:
            total, began = 0.0, bucket
        total += track.counts.get(bucket, 0) - reference
    while began < reading.last and not track.counts.get(began):
        began += 1
    return began


# --- which keys are one incident ------------------------------------------------------------------

SAME = 0.5
"""The part of the smaller one's complaints that two keys share when they tell of one thing."""


SAME_NEAR = 0.25
"""The same where one of them is a text: what is near to it is only a part of what says the same,
and two such parts share next to nothing by accident."""


def least_shared(key: Key, kinds: set[KeyKind]) -> float:
    """The part of the smaller one's complaints that a key shares with an incident which it tells of
    too; `kinds` are those of the incident's own keys."""
    return SAME_NEAR if key.kind is KeyKind.NEAR or kinds == {KeyKind.NEAR} else SAME


def overlap(one: set[str], other: set[str]) -> float:
    """The overlap coefficient (Szymkiewicz-Simpson) of two sets of complaints."""
    smaller = min(len(one), len(other))
    return len(one & other) / smaller if smaller else 0.0


def is_part_of(one: set[str], whole: set[str]) -> bool:
    """Whether a key is no wider than what it is attached to: then all its complaints belong to it.

    A reason that many complaints have besides is wider, and only attached.
    """
    return len(one & whole) >= SAME * len(one)


def name_of(keys: Mapping[Key, int], total: int) -> Key:
    """The most specific key that at least half of an incident's complaints have."""
    covering = [key for key, count in keys.items() if count >= SAME * total] or list(keys)
    return min(covering, key=lambda key: (key.kind.rank, -keys[key], key.value))


def growth(moments: Sequence[datetime], now: datetime) -> int:
    """How many more complaints came in the last hour than in the hour before it."""
    hour = timedelta(hours=1)
    latest = sum(now - hour < moment <= now for moment in moments)
    before = sum(now - 2 * hour < moment <= now - hour for moment in moments)
    return latest - before
