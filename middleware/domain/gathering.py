"""One issue from many arrivals: whether two complaints are the same one, in points with reasons.

Two complaints of one person are held against each other by order, goods, reason, words and time;
the sum decides between three bands: one issue, perhaps, and two. Words alone never make one issue
of what two people wrote: those are at most suggested. The points were set on histories of seeds
that the report does not use (`tests/bench/histories.py`).

Near-duplicates are found through minhash over character shingles (Broder 1997), banded as in
Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, 3.4: two texts that share six tenths of
their shingles share a band with a probability of 0.95, two that share two tenths with 0.09.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Self

from pydantic import Field, model_validator

from middleware.contract.actions import Reason
from middleware.contract.canonical import Frozen, Text
from middleware.domain.orders import Reasoned

SAME_POST = 100.0
SAME_NUMBER = 4.5
OTHER_NUMBER = -20.0
"""Both name an order, and not the same: no sum of the rest makes up for it."""
SAME_ORDER = 2.0
OTHER_ORDER = -6.0
SAME_GOODS = 2.0
OTHER_GOODS = -6.0
SAME_REASON = 3.0
NEAR_REASON = 0.5
OTHER_REASON = -4.0
TOLD_OTHERWISE = -1.0
"""For different reasons where both have a sentence in common: what stands around it made them."""
SAME_WORDS = 9.0
"""For the same text; less in proportion down to none for what any two complaints share."""
LEAST_ALIKE = 0.35
SAME_SENTENCE = 5.5
"""For a run of words that both have, however much stands around it; in full from a sentence on,
less in proportion down to none for a turn of phrase."""
AT_ONCE = 2.0
SOON = 1.0
LATER = -2.0

AUTO = 6.5
SUGGEST = 3.0
CROSS_POSTED = timedelta(minutes=15)
SOON_AFTER = timedelta(hours=12)
LATE_AFTER = timedelta(days=3)

SHINGLE = 4
RUN = 24
"""Characters in a row that are no accident between two texts of one author."""
SENTENCE = 46
"""Characters of a sentence that is about something: turns of phrase are shorter."""
LONGEST_COMPARED = 2000
SHORTEST_ALIKE = 20
"""Characters below which a text says too little to be told again."""
BANDS, ROWS = 12, 3


class Band(StrEnum):
    """What becomes of two complaints."""

    AUTO = "auto"
    SUGGESTED = "suggested"
    APART = "apart"


class GatheringRules(Frozen):
    """What the operator decides about gathering."""

    enabled: bool = True
    window: timedelta = timedelta(days=7)
    """How far apart two complaints may be told and still be one issue."""
    auto_from: float = AUTO
    """From how many points on two complaints of one person are one issue."""
    suggest_from: Annotated[float, Field(gt=0)] = SUGGEST

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.suggest_from > self.auto_from:
            raise ValueError("a person can't be asked from more points than a merge needs")
        return self


class Told(Frozen):
    """What is known of one complaint, as far as it matters here."""

    id: Text
    person: str | None = None
    identity: str | None = None
    name: str | None = None
    """The author's display name."""
    perhaps: frozenset[str] = frozenset()
    """Records that the author may be, where nobody is sure."""
    order: str | None = None
    """The order that is meant, where one stands out."""
    numbers: frozenset[str] = frozenset()
    """Order numbers that the text or the source names."""
    goods: frozenset[str] = frozenset()
    """SKUs and products that the text names."""
    lines: frozenset[str] = frozenset()
    """Lines of `order` that are meant."""
    reason: Reason | None = None
    text: str = ""
    urls: frozenset[str] = frozenset()
    """Addresses of the messages themselves."""
    first_at: datetime
    last_at: datetime


class Compared(Frozen):
    """Two complaints held against each other."""

    other: Text
    score: float
    reasons: tuple[Reasoned, ...]
    band: Band


_NEAR: tuple[frozenset[Reason], ...] = (
    frozenset({Reason.DAMAGED, Reason.DEFECTIVE}),
    frozenset({Reason.LATE, Reason.LOST}),
    frozenset({Reason.MISSING_ITEM, Reason.WRONG_ITEM}),
    frozenset({Reason.LOST, Reason.MISSING_ITEM}),
)
"""Reasons that the same trouble is told as."""


def compare(one: Told, other: Told, rules: GatheringRules) -> Compared:
    """Whether two complaints are one issue, with every reason. Symmetric but for `other`."""
    if one.urls & other.urls:
        same = Reasoned(what="it is the same post", points=SAME_POST)
        return Compared(other=other.id, score=SAME_POST, reasons=(same,), band=Band.AUTO)
    apart = _apart(one, other)
    reasons = [r for r in (*_orders(one, other), *_rest(one, other, apart)) if r is not None]
    score = round(sum(r.points for r in reasons), 2)
    return Compared(
        other=other.id,
        score=score,
        reasons=tuple(reasons),
        band=_band(one, other, score, apart, rules),
    )


def _band(one: Told, other: Told, score: float, apart: timedelta, rules: GatheringRules) -> Band:
    if apart > rules.window or score < rules.suggest_from:
        return Band.APART
    if not _told_alike(one, other):
        return Band.APART
    if _same_author(one, other):
        return Band.AUTO if score >= rules.auto_from else Band.SUGGESTED
    # Of different authors nothing is ever merged: at most they are perhaps one.
    if score >= rules.auto_from and _perhaps_one(one, other):
        return Band.SUGGESTED
    return Band.APART


def _told_alike(one: Told, other: Told) -> bool:
    """Whether anything but who wrote it, what was bought and a usual reason speaks for one issue:
    somebody may well have two troubles with one order, or twice the same."""
    return (
        bool(one.numbers & other.numbers)
        or bool(one.goods & other.goods and one.reason is not None and one.reason == other.reason)
        or longest_run(one.text, other.text) > 0
        or likeness(one.text, other.text) > LEAST_ALIKE
    )


def _same_author(one: Told, other: Told) -> bool:
    if one.person is not None and other.person is not None:
        return one.person == other.person
    return one.identity is not None and one.identity == other.identity


def _perhaps_one(one: Told, other: Told) -> bool:
    if one.person is not None and other.person is not None:
        return False
    if one.numbers & other.numbers or one.perhaps & other.perhaps:
        return True
    names = [folded(told.name) for told in (one, other) if told.name]
    return len(names) == 2 and names[0] == names[1]


def _orders(one: Told, other: Told) -> Iterator[Reasoned | None]:
    if one.numbers and other.numbers:
        if one.numbers & other.numbers:
            yield Reasoned(what="both name the same order", points=SAME_NUMBER)
        else:
            yield Reasoned(what="they name different orders", points=OTHER_NUMBER)
    elif one.order is not None and other.order is not None:
        if one.order == other.order:
            yield Reasoned(what="the same order is meant", points=SAME_ORDER)
        else:
            yield Reasoned(what="different orders are meant", points=OTHER_ORDER)
    if one.goods and other.goods:
        if one.goods & other.goods:
            yield Reasoned(what="both name the same goods", points=SAME_GOODS)
        else:
            yield Reasoned(what="they name different goods", points=OTHER_GOODS)
    elif one.lines and other.lines and one.order == other.order and not one.lines & other.lines:
        yield Reasoned(what="different lines of the order are meant", points=OTHER_GOODS)


def _rest(one: Told, other: Told, apart: timedelta) -> Iterator[Reasoned | None]:
    run = longest_run(one.text, other.text)
    if one.reason is not None and other.reason is not None:
        if one.reason == other.reason:
            if one.reason is not Reason.OTHER:
                yield Reasoned(what=f"both are about {one.reason}", points=SAME_REASON)
        elif any({one.reason, other.reason} <= near for near in _NEAR):
            what = f"{one.reason} and {other.reason} may be the same trouble"
            yield Reasoned(what=what, points=NEAR_REASON)
        else:
            what = f"one is about {one.reason}, the other about {other.reason}"
            points = TOLD_OTHERWISE if run >= SENTENCE else OTHER_REASON
            yield Reasoned(what=what, points=points)
    if run:
        points = SAME_SENTENCE * min(1.0, (run - RUN + 1) / (SENTENCE - RUN + 1))
        yield Reasoned(what=f"{run} characters in a row are the same", points=round(points, 2))
    alike = likeness(one.text, other.text)
    if alike > LEAST_ALIKE:
        points = SAME_WORDS * (alike - LEAST_ALIKE) / (1 - LEAST_ALIKE)
        yield Reasoned(what=f"{alike:.0%} of the words are the same", points=round(points, 2))
    if apart <= CROSS_POSTED:
        yield Reasoned(what="told within a quarter of an hour", points=AT_ONCE)
    elif apart <= SOON_AFTER:
        yield Reasoned(what="told within half a day", points=SOON)
    elif apart > LATE_AFTER:
        yield Reasoned(what=f"told {apart.days} days apart", points=LATER)


def _apart(one: Told, other: Told) -> timedelta:
    """The time between the end of one telling and the beginning of the other."""
    gap = max(one.first_at - other.last_at, other.first_at - one.last_at)
    return max(gap, timedelta(0))


def best(group: Iterable[Compared]) -> Compared | None:
    """What the complaints of one issue say together of another: the surest says it, unless any of
    them names something else."""
    found = list(group)
    if not found:
        return None
    against = [c for c in found if any(r.points <= OTHER_NUMBER for r in c.reasons)]
    if against:
        return against[0].model_copy(update={"band": Band.APART})
    return max(found, key=lambda c: (c.band is Band.AUTO, c.band is Band.SUGGESTED, c.score))


# --- texts --------------------------------------------------------------------------------------

_ADDRESSED = re.compile(r"https?://\S+|@\w+")
_NOT_WORDS = re.compile(r"[\W_]+")


def folded(text: str) -> str:
    """A text for comparing: without links, accounts, accents, case and punctuation."""
    plain = unicodedata.normalize("NFKD", _ADDRESSED.sub(" ", text[:LONGEST_COMPARED]).casefold())
    return _NOT_WORDS.sub(" ", "".join(c for c in plain if not unicodedata.combining(c))).strip()


@lru_cache(maxsize=1024)
def shingles(text: str) -> frozenset[str]:
    """The runs of characters of a folded text; none for one too short to be told again."""
    plain = folded(text)
    if len(plain) < SHORTEST_ALIKE:
        return frozenset()
    return frozenset(plain[n : n + SHINGLE] for n in range(len(plain) - SHINGLE + 1))


def likeness(one: str, other: str) -> float:
    """The share of shingles that two texts have in common (Jaccard), 0 to 1."""
    mine, theirs = shingles(one), shingles(other)
    if not mine or not theirs:
        return 0.0
    shared = len(mine & theirs)
    return shared / (len(mine) + len(theirs) - shared)


def longest_run(one: str, other: str) -> int:
    """How many characters the longest run has that two folded texts share; 0 below `RUN`."""
    mine, theirs = folded(one), folded(other)
    parts = {mine[n : n + RUN] for n in range(len(mine) - RUN + 1)}
    longest, run = 0, 0
    for n in range(len(theirs) - RUN + 1):
        run = run + 1 if theirs[n : n + RUN] in parts else 0
        longest = max(longest, run)
    return longest + RUN - 1 if longest else 0


def keys(told: Told) -> list[str]:
    """What a complaint is found by from others of the same issue, whoever wrote them."""
    found = [f"url:{_digest(url)}" for url in sorted(told.urls)]
    found += [f"order:{_digest(number)}" for number in sorted(told.numbers)]
    signature = _signature(shingles(told.text))
    for band in range(BANDS if signature else 0):
        rows = signature[band * ROWS : (band + 1) * ROWS]
        found.append(f"text:{band}:{_digest('.'.join(map(str, rows)))}")
    return found


_PRIME = (1 << 61) - 1
_HASHES = tuple(
    (
        int.from_bytes(hashlib.sha256(f"a{n}".encode()).digest()[:7], "big") | 1,
        int.from_bytes(hashlib.sha256(f"b{n}".encode()).digest()[:7], "big"),
    )
    for n in range(BANDS * ROWS)
)


def _signature(parts: frozenset[str]) -> list[int]:
    if not parts:
        return []
    hashed = [zlib.crc32(part.encode()) for part in parts]
    return [min((a * h + b) % _PRIME for h in hashed) for a, b in _HASHES]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
