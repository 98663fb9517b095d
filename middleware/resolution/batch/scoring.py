"""The model scored in process, pair by pair: what Splink computes in SQL, to 1e-6 bits.

Three things decide whether both agree, and are the same in both (see `executor`): levels that
training never saw have numbers of their own in the model, where Splink would put in defaults;
thresholds are compared with the whole similarity, since rapidfuzz's `score_cutoff` answers 0 for
some pairs just above it; and columns hold ASCII, since DuckDB compares bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rapidfuzz.distance import DamerauLevenshtein, JaroWinkler, Levenshtein

from middleware.resolution.batch.model import Model, Near, Predicate

Row = Mapping[str, Any]
"""A normalised record: column to text, whole number, list of texts, or None."""
Frequencies = Mapping[str, Mapping[str, float]]
"""Of each column whose values' frequency counts: value to its share of the records that have one.
A value that is missing has no adjustment, as in Splink."""

SLACK = 1e-9
"""A similarity that is a threshold's up to rounding reaches it."""

Holds = Callable[[Row, Row], bool]


@dataclass(frozen=True)
class Part:
    """What one comparison contributes."""

    comparison: str
    level: int | None
    """Which of its levels held, from 0; None where a record lacks what is compared."""
    bits: float


@dataclass(frozen=True)
class _Level:
    holds: Holds | None
    bits: float
    column: str | None
    log2_u: float
    rare: float


class Scorer:
    """A model made ready for one set of records: their number and their values' frequencies."""

    def __init__(self, model: Model, *, records: int, frequencies: Frequencies) -> None:
        self.prior_bits = model.prior_bits(records)
        self._frequencies = frequencies
        self._joins = _compiled(model.joins) if model.joins else None
        self._comparisons: list[tuple[str, tuple[str, ...], tuple[_Level, ...]]] = [
            (
                comparison.name,
                comparison.needs,
                tuple(
                    _Level(
                        holds=_compiled(level.when) if level.when else None,
                        bits=level.bits,
                        column=level.when.equal[0] if level.rare and level.when else None,
                        log2_u=math.log2(level.u or 1),
                        rare=level.rare,
                    )
                    for level in comparison.levels
                ),
            )
            for comparison in model.comparisons
        ]

    def weight(self, left: Row, right: Row) -> float:
        """Bits for, or with a minus against, the two being one customer."""
        # As `parts` adds up, without a list of them: an increment weighs thousands of pairs.
        weight = 0.0
        for _, needs, levels in self._comparisons:
            for column in needs:
                if left[column] is None or right[column] is None:
                    break
            else:
                for level in levels:
                    if level.holds is None or level.holds(left, right):
                        weight += level.bits
                        if level.column is not None:
                            weight += self._rarity(level, left)
                        break
        return self.prior_bits + weight

    def joins(self, left: Row, right: Row) -> bool:
        """Whether the model lets such a pair join two records at all."""
        return self._joins is None or self._joins(left, right)

    def parts(self, left: Row, right: Row) -> list[Part]:
        """What each comparison contributes; with the prior they add up to the weight."""
        found = []
        for name, needs, levels in self._comparisons:
            if any(left[column] is None or right[column] is None for column in needs):
                found.append(Part(name, None, 0.0))
                continue
            for number, level in enumerate(levels):
                if level.holds is None or level.holds(left, right):
                    found.append(Part(name, number, level.bits + self._rarity(level, left)))
                    break
        return found

    def _rarity(self, level: _Level, left: Row) -> float:
        if level.column is None:
            return 0.0
        share = self._frequencies.get(level.column, {}).get(left[level.column])
        return 0.0 if share is None else level.rare * (level.log2_u - math.log2(share))


def _compiled(predicate: Predicate) -> Holds:
    """The predicate as a function of two rows."""
    match predicate:
        case Predicate(equal=columns) if columns:
            return lambda a, b: all(a[c] is not None and a[c] == b[c] for c in columns)
        case Predicate(swapped=(str(first), str(second))):
            return lambda a, b: (
                a[first] is not None
                and a[second] is not None
                and a[first] == b[second]
                and a[second] == b[first]
            )
        case Predicate(share=str(column)):
            return lambda a, b: not set(a[column] or ()).isdisjoint(b[column] or ())
        case Predicate(jaro_winkler=alike) if alike:
            column, least = alike.column, alike.at_least - SLACK
            similarity = JaroWinkler.similarity
            return lambda a, b: _both(a, b, column) and similarity(a[column], b[column]) >= least
        case Predicate(damerau_levenshtein=near) if near:
            return _edits(near, DamerauLevenshtein.distance)
        case Predicate(levenshtein=near) if near:
            return _edits(near, Levenshtein.distance)
        case Predicate(within=near) if near:
            return _edits(near, lambda x, y: abs(x - y))
        case Predicate(begins=str(name)):
            return lambda a, b: (
                _both(a, b, name) and (a[name].startswith(b[name]) or b[name].startswith(a[name]))
            )
        case Predicate(all=parts) if parts:
            every = [_compiled(part) for part in parts]
            return lambda a, b: all(holds(a, b) for holds in every)
        case Predicate(any=parts):
            some = [_compiled(part) for part in parts]
            return lambda a, b: any(holds(a, b) for holds in some)
    raise AssertionError(predicate)


def _both(left: Row, right: Row, column: str) -> bool:
    return left[column] is not None and right[column] is not None


def _edits(near: Near, distance: Callable[[Any, Any], int]) -> Holds:
    column, most = near.column, near.at_most
    return lambda a, b: _both(a, b, column) and distance(a[column], b[column]) <= most
