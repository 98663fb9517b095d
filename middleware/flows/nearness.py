"""Complaints that say the same in other words: which of them are a burst, though no key says so.

A text is held against its neighbours: those whose vectors are near to its own (`NEAR`). A burst is
found as for a key: the neighbours of the last hours against how many such texts there usually were,
which those kept from before say. So a text about what people always complain of has many
neighbours, and expects them. The densest text of a burst names it (the core points of DBSCAN: Ester
and others 1996; found one by one, the densest first, as leaders: Hartigan 1975), and what is near
to that one counts under its key from then on. Nothing is written for texts that are no burst.

A text that rules alone have judged has no vector; such are compared by their letters alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from middleware.domain import bursts
from middleware.domain.bursts import (
    BUCKETS_AN_HOUR,
    BurstRules,
    Key,
    KeyKind,
    Past,
    Reading,
    Track,
)
from middleware.flows.baselines import Book
from middleware.flows.hub import Hub
from middleware.store.database import UnitOfWork
from middleware.store.incidents import Signal
from middleware.store.tables import VectorRow
from middleware.understanding.features import Matrix
from middleware.understanding.nearness import ALIKE, NEAR, cosines, middle, unpacked

AT_ONCE = 2000
"""Texts that are compared in one go; more wait for the next look."""
CHUNK = 200
MOST_IN_WINDOW = 10_000
"""Texts of the last hours that others are compared with, the latest."""
MOST_PAST = 20_000
"""Texts from before that say what is usual, the latest."""
KEPT = timedelta(days=14)
MOST_TRIED = 100
"""Texts of one look that are held against their past, the densest first."""
SAMPLE = 2000
SAME = 0.95
"""From this cosine on two texts have the same neighbours, and one stands for both."""


@dataclass(frozen=True)
class Crowd:
    """Texts that burst, under the key of the densest one; `past` is that key's own, `centre` the
    middle of their vectors."""

    key: Key
    reading: Reading
    onset: int
    signals: tuple[Signal, ...]
    past: Past
    centre: bytes


@dataclass
class Crowds:
    """What a look has found, and the complaints whose texts it looked at."""

    found: list[Crowd] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)


def look(hub: Hub, now: datetime) -> Crowds:
    """Count new texts under the keys that they are near to, and find crowds among the others.

    Nothing is marked as seen: that is for whoever has answered for what was found.
    """
    with hub.database.read() as uow:
        unread = uow.vectors.unread(limit=AT_ONCE)
        if not unread:
            return Crowds()
        old = now - hub.options.incidents.close_after
        leaders = uow.vectors.followed(over_after=old)
        book = Book.opened(hub, uow, set(), oldest=min(row.bucket for row in unread))
    crowds = Crowds(seen=[row.complaint_id for row in unread])
    for encoder in sorted({row.encoder for row in unread}):
        mine = [row for row in unread if row.encoder == encoder]
        rest = _follow(hub, mine, [row for row in leaders if row.encoder == encoder])
        if rest:
            with hub.database.read() as uow:
                room = _Room(uow, encoder, rest, book, hub.options.incidents.bursts)
                crowds.found += room.crowds()
    return crowds


def alike(uow: UnitOfWork, key: Key, *, over_after: datetime) -> set[str]:
    """The keys of other texts that bursts are named by and that are about the same thing as the
    text, or the texts, of a key; however few complaints they share."""
    row = uow.vectors.get(key.value) if key.kind in (KeyKind.NEAR, KeyKind.TEXT) else None
    if row is None:
        return set()
    others = [
        one
        for one in uow.vectors.followed(over_after=over_after)
        if one.encoder == row.encoder and one.complaint_id != key.value
    ]
    near = cosines(
        unpacked([row.centre or row.vector]), unpacked([o.centre or o.vector for o in others])
    )
    return {
        str(Key(KeyKind.NEAR, one.complaint_id))
        for one, cosine in zip(others, near[0].tolist(), strict=True)
        if cosine >= ALIKE
    }


def counted(signals: Iterable[Signal]) -> list[tuple[str, int, int]]:
    """By how much each count changes: key, bucket, and the signals there."""
    sums = Counter((signal.key, signal.bucket) for signal in signals)
    return [(key, bucket, count) for (key, bucket), count in sums.items()]


def _follow(hub: Hub, unread: Sequence[VectorRow], leaders: Sequence[VectorRow]) -> list[VectorRow]:
    """Count texts under the nearest key that they are near to; answers the others."""
    if not leaders:
        return list(unread)
    near = cosines(
        unpacked([row.vector for row in unread]), unpacked([row.vector for row in leaders])
    )
    nearest, follows = near.argmax(axis=1), near.max(axis=1) >= NEAR
    signals = [
        _signal(leaders[which].complaint_id, row)
        for row, which, follow in zip(unread, nearest.tolist(), follows.tolist(), strict=True)
        if follow
    ]
    if signals:
        with hub.database.begin() as uow:
            uow.policies.take_turns(["vectors"])
            fresh = uow.incidents.not_yet(signals)
            uow.incidents.seen(fresh, counted=counted(fresh))
    return [row for row, follow in zip(unread, follows.tolist(), strict=True) if not follow]


def _signal(leader: str, row: Any) -> Signal:
    key = str(Key(KeyKind.NEAR, leader))
    return Signal(key, row.bucket, row.complaint_id, row.who, row.reach)


class _Room:
    """The texts of the last hours, with new ones among them, and those from before."""

    def __init__(
        self,
        uow: UnitOfWork,
        encoder: str,
        unread: Sequence[VectorRow],
        book: Book,
        rules: BurstRules,
    ) -> None:
        first = min(row.bucket for row in unread) - rules.longest + 1
        begins = first // BUCKETS_AN_HOUR * BUCKETS_AN_HOUR
        last = max(row.bucket for row in unread)
        self._book, self._rules, self._new = book, rules, {row.complaint_id for row in unread}
        self._rows = uow.vectors.between(encoder, begins, last, limit=MOST_IN_WINDOW)
        self._vectors = unpacked([row.vector for row in self._rows])
        self._before: Sequence[Any] = ()
        if len(self._rows) >= rules.least_complaints:
            self._before = uow.vectors.between(
                encoder, begins - bursts.buckets(KEPT), begins - 1, limit=MOST_PAST
            )
        self._past = unpacked([row.vector for row in self._before])
        self._days = {row.bucket // (24 * BUCKETS_AN_HOUR) for row in self._before}

    def crowds(self) -> list[Crowd]:
        """The crowds in it, of which none is named by a text that is near to another's."""
        found: list[Crowd] = []
        settled: list[tuple[Matrix, float]] = []
        tried = 0
        for place in self._dense():
            vector = self._vectors[place]
            if any(float(one @ vector) >= limit for one, limit in settled):
                continue
            crowd = self._crowd(place)
            found += [crowd] if crowd is not None else []
            settled.append((vector, NEAR if crowd is not None else SAME))
            tried += 1
            if tried == MOST_TRIED:
                break
        return found

    def _dense(self) -> list[int]:
        """New texts with enough neighbours, those first that have the most beyond what a sample
        of those before had."""
        new = [place for place, row in enumerate(self._rows) if row.complaint_id in self._new]
        step = max(len(self._past) // SAMPLE, 1)
        sample = self._past[::step]
        ranked: list[tuple[float, int]] = []
        for part in range(0, len(new), CHUNK):
            places = new[part : part + CHUNK]
            some = self._vectors[places]
            counts = (cosines(some, self._vectors) >= NEAR).sum(axis=1)
            shares = (cosines(some, sample) >= NEAR).sum(axis=1) / max(len(sample), 1)
            usual = shares * len(self._rows)
            scores = (counts - usual) / np.sqrt(usual + 1)
            ranked += [
                (-score, place)
                for score, count, place in zip(
                    scores.tolist(), counts.tolist(), places, strict=True
                )
                if count >= self._rules.least_complaints
            ]
        return [place for _, place in sorted(ranked)]

    def _crowd(self, place: int) -> Crowd | None:
        """The neighbours of a text, if they are a burst of enough people."""
        rules, season = self._rules, self._book.season
        near = self._near(place, self._vectors, self._rows)
        before = self._near(place, self._past, self._before)
        past, limited = bursts.of_sample(
            Counter(row.bucket for row in before), self._days, season, rules
        )
        track = Track(Counter(row.bucket for row in near), past)
        ends = sorted({row.bucket for row in near if row.complaint_id in self._new})
        reading = bursts.burst(track, limited, self._book.everything, ends=ends, rules=rules)
        if reading is None:
            return None
        onset = bursts.onset(track, reading, rules=rules)
        leader = self._rows[place].complaint_id
        signals = [_signal(leader, r) for r in near if r.bucket >= min(onset, reading.first)]
        people = {s.who for s in signals if reading.first <= s.bucket <= reading.last}
        if len(people) < rules.least_persons:
            return None
        key = Key(KeyKind.NEAR, leader)
        own = past.scaled(limited, season)
        centre = middle(unpacked([r.vector for r in near]))
        return Crowd(key, reading, onset, tuple(signals), own, centre)

    def _near(self, place: int, vectors: Matrix, rows: Sequence[Any]) -> list[Any]:
        """The rows whose texts are near to that of a place in the room."""
        near = cosines(self._vectors[place : place + 1], vectors)[0] >= NEAR
        return [rows[n] for n in np.flatnonzero(near).tolist()]
