"""What is usual: the past of keys, read, folded up to now, and kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from middleware.domain import bursts
from middleware.domain.bursts import BUCKETS_AN_HOUR, Key, Past, Season, Track
from middleware.flows.hub import Hub
from middleware.store.database import UnitOfWork

ALL = "all"
"""The key that every complaint counts under: how busy the hub is."""


@dataclass
class Book:
    """What is known of some keys: their buckets, their past before those, and the season."""

    season: Season
    everything: Mapping[int, int]
    tracks: dict[str, Track]
    was: dict[str, int | None]
    """Up to where each past was folded when it was read."""

    @classmethod
    def opened(cls, hub: Hub, uow: UnitOfWork, keys: set[str], *, oldest: int) -> Book:
        """Read keys, and fold their past up to before the longest window that ends at `oldest`."""
        rules = hub.options.incidents.bursts
        until = (oldest - rules.longest + 1) // BUCKETS_AN_HOUR
        pasts = uow.incidents.pasts(sorted({*keys, ALL}))
        was = {key: pasts[key].folded if key in pasts else None for key in {*keys, ALL}}
        wanted = {*keys, ALL}
        # A bucket before what is folded is read again for windows that reach back there.
        back = until * BUCKETS_AN_HOUR - rules.longest
        since = {
            key: min((pasts[key].folded if key in pasts else 0) * BUCKETS_AN_HOUR, back)
            for key in wanted
        }
        counts = uow.incidents.counts(since)
        season = _season(pasts[ALL].season if ALL in pasts else None, counts[ALL], until)
        everything = counts[ALL]
        season.fold(until, everything)
        tracks = {}
        for key in keys - {ALL}:
            row = pasts.get(key)
            past = Past(row.folded, row.count) if row is not None else Past(season.folded - 24 * 70)
            folded = past.fold(until, counts[key], season, rules)
            tracks[key] = Track(counts[key], folded)
        for key in tracks:
            wider = [tracks[w] for w in map(str, bursts.wider_than(Key.parse(key))) if w in tracks]
            if wider:
                tracks[key] = replace(tracks[key], wider=wider[0].past)
        return cls(season, everything, tracks, was)

    def keep(self, uow: UnitOfWork) -> None:
        """Save what was folded."""
        season = self.season
        if self.was[ALL] != season.folded:
            kept = {
                "counts": [round(n, 4) for n in season.counts],
                "seen": [round(n, 4) for n in season.seen],
                "exposure": season.exposure,
                "folded": season.folded,
                "total": season.total,
            }
            values = {"folded": season.folded, "count": season.total, "season": kept}
            uow.incidents.save_past(ALL, self.was[ALL], values)
        for key, track in sorted(self.tracks.items()):
            if self.was[key] != track.past.folded:
                uow.incidents.save_past(
                    key,
                    self.was[key],
                    {"folded": track.past.folded, "count": track.past.count, "season": None},
                )


def _season(kept: Mapping[str, Any] | None, counts: Mapping[int, int], until: int) -> Season:
    if kept is None:
        first = min(counts, default=until * BUCKETS_AN_HOUR) // BUCKETS_AN_HOUR
        return Season(folded=min(first, until))
    return Season(
        folded=kept["folded"],
        counts=list(kept["counts"]),
        seen=list(kept["seen"]),
        exposure=kept["exposure"],
        total=kept["total"],
    )
