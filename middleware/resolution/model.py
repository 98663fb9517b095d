"""The model of likeness: one file that says what each level is worth, and what a score means.

Fellegi and Sunter (1969): a level that the same person reaches with probability `m` and somebody
else with probability `u` is worth log2(m/u) bits. With `by_rarity`, `u` follows the share of the
records that agree by accident. The prior is odds: one of the N on file wrote it, or with
the rest of the probability a stranger did. Scores compete in a softmax with the stranger at zero,
and a table fitted by isotonic regression says how often such a probability was right.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from middleware.contract.canonical import Frozen
from middleware.resolution.compare import LEVELS, PATTERNS, Agreement

SHIPPED = Path(__file__).with_name("model.json")
BENDS = (1e-5, 3e-4, 3e-3, 3e-2, 0.5)
"""Other records expected to agree by accident, at which the worth of rarity may change its slope.

Below the first nothing gets rarer: there, records are wrong more often than names meet.
"""
_BENDS = tuple(math.log2(bend) for bend in BENDS)
MOST_BITS = 40.0


Power = Annotated[float, Field(ge=0, le=1)]


class Rare(Frozen):
    """How often somebody else is at a level, by how many others are expected there by accident.

    `u` is factor / population at the first of `BENDS`, and from each bend on grows with that power
    of the number expected. Powers are below one: that few others were found although many were
    expected says that fewer were to be expected; and words that go together meet more often than
    their counts say.
    """

    factor: Annotated[float, Field(gt=0, le=1e9)]
    powers: Annotated[tuple[Power, ...], Field(min_length=len(BENDS), max_length=len(BENDS))]


Probability = Annotated[float, Field(gt=0, lt=1)]


class ModelError(ValueError):
    """The model file is wrong; the message says where, and what to do."""


class Level(Frozen):
    """What it means that two things agree so far."""

    level: str
    m: Probability
    """How often the same person is at this level."""
    u: Probability
    """How often somebody else is."""
    by_rarity: Rare | None = None
    """Where set and the others expected by accident are known, this says what `u` is."""
    fitted: bool = True
    """False where nobody had labels for it and a person set it."""


class Comparison(Frozen):
    comparison: str
    levels: Annotated[tuple[Level, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _known(self) -> Self:
        known = LEVELS.get(self.comparison)
        if known is None:
            raise ValueError(f"there is no comparison {self.comparison!r}; there are {[*LEVELS]}")
        given = [level.level for level in self.levels]
        if sorted(given) != sorted(known):
            raise ValueError(f"{self.comparison} needs the levels {[*known]}, each once")
        return self


class Prior(Frozen):
    on_file: Probability
    """How many of those who write are on file at all."""


class Point(Frozen):
    """A probability as the scores say, and how often it was right."""

    said: Annotated[float, Field(ge=0, le=1)]
    right: Annotated[float, Field(ge=0, le=1)]


Points = Annotated[tuple[Point, ...], Field(min_length=2)]


class Thresholds(Frozen):
    link: Probability
    """Calibrated probability from which a link may be made, among the strangers that the rules
    reckon with."""
    review: Probability
    """Calibrated probability from which a person is asked."""
    margin: Annotated[float, Field(ge=0, le=64)]
    """Bits that the best must be ahead of the next."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.review >= self.link:
            raise ValueError("review begins below link")
        return self


class Fitted(Frozen):
    """What it was fitted from."""

    askers: Annotated[int, Field(ge=0)]
    pairs: Annotated[int, Field(ge=0)]
    population: Annotated[int, Field(ge=0)]
    note: str


class Model(Frozen):
    format: Literal[2]
    """1 had one slope of rarity, and is to be fitted anew."""
    version: Annotated[str, Field(min_length=1)]
    prior: Prior
    comparisons: tuple[Comparison, ...]
    calibration: Points
    """What a probability meant, whatever was compared."""
    calibration_by: dict[str, Points] = Field(default_factory=dict)
    """The same where there was only so much to compare (`compare.PATTERNS`)."""
    thresholds: Thresholds
    fitted: Fitted

    @model_validator(mode="after")
    def _complete(self) -> Self:
        given = [one.comparison for one in self.comparisons]
        if sorted(given) != sorted(LEVELS):
            raise ValueError(f"comparisons must be {sorted(LEVELS)}, each once")
        for points in (self.calibration, *self.calibration_by.values()):
            for earlier, later in pairwise(points):
                if later.said <= earlier.said or later.right < earlier.right:
                    raise ValueError("calibration rises: `said` always, `right` never falls")
        if unknown := self.calibration_by.keys() - set(PATTERNS):
            raise ValueError(f"there is no pattern {min(unknown)!r}; there are {[*PATTERNS]}")
        return self

    @cached_property
    def _levels(self) -> dict[tuple[str, str], tuple[float, tuple[tuple[float, float], ...]]]:
        """By comparison and level: its bits; with rarity, those at each bend, and the power."""
        return {
            (one.comparison, level.level): (
                _limited(math.log2(level.m / level.u)),
                _at_bends(level),
            )
            for one in self.comparisons
            for level in one.levels
        }

    def bits(self, agreement: Agreement) -> float:
        """What an agreement is worth: +1 doubles the odds."""
        comparison, level, expected, population, _ = agreement
        bits, at_bends = self._levels[comparison, level]
        if expected is None or not at_bends:
            return bits
        log = math.log2(expected) if expected > BENDS[0] else _BENDS[0]
        place = bisect_right(_BENDS, log) - 1
        there, power = at_bends[place]
        return _limited(there - power * (log - _BENDS[place]) + math.log2(population))

    def prior_bits(self, population: int) -> float:
        """The log odds, before anything is compared, that it is this record and not a stranger."""
        on_file = self.prior.on_file
        return math.log2(on_file / (1 - on_file)) - math.log2(max(population, 1))

    def among(self, probability: float, strangers: float) -> float:
        """A calibrated probability where this share of those who write are strangers."""
        return among(probability, strangers=strangers, counted=1 - self.prior.on_file)

    def calibrated(self, probability: float, pattern: str | None = None) -> float:
        """How often such a probability was right, where this pattern was compared."""
        points = self.calibration_by.get(pattern, self.calibration) if pattern else self.calibration
        place = bisect_right(points, probability, key=lambda point: point.said)
        if place == 0:
            return points[0].right
        if place == len(points):
            return points[-1].right
        before, after = points[place - 1], points[place]
        share = (probability - before.said) / (after.said - before.said)
        return before.right + share * (after.right - before.right)


def _limited(bits: float) -> float:
    return bits if -MOST_BITS < bits < MOST_BITS else math.copysign(MOST_BITS, bits)


def _at_bends(level: Level) -> tuple[tuple[float, float], ...]:
    """What a level is worth, but for the population, at each of `BENDS`, and its power there."""
    if level.by_rarity is None:
        return ()
    bits = math.log2(level.m / level.by_rarity.factor)
    found = []
    for (begin, end), power in zip(
        pairwise((*_BENDS, math.inf)), level.by_rarity.powers, strict=True
    ):
        found.append((bits, power))
        bits -= power * (end - begin)
    return tuple(found)


def among(probability: float, *, strangers: float, counted: float) -> float:
    """A probability counted where a share `counted` of those who write were strangers, elsewhere.

    Every wrong answer is taken for a stranger's, which there are so many more of; where there are
    fewer, it stays what it was. Raises ValueError for shares that are not below one.
    """
    if not (0 <= strangers < 1 and 0 < counted < 1):
        raise ValueError("shares of strangers are below one")
    more = strangers / (1 - strangers) * (1 - counted) / counted
    return probability / (probability + max(more, 1.0) * (1 - probability))


def commonness(expected: float) -> list[float]:
    """How far log2 of a number of others reaches beyond each of `BENDS`, up to the next."""
    log = math.log2(max(expected, BENDS[0]))
    return [min(log, end) - begin for begin, end in pairwise((*_BENDS, math.inf)) if log > begin]


def posteriors(scores: Sequence[float]) -> list[float]:
    """How likely each candidate is among all of them and a stranger, from log2 odds.

    A softmax in which the stranger's score is zero.
    """
    top = max((*scores, 0.0))
    weights = [2.0 ** (score - top) for score in scores]
    total = sum(weights) + 2.0**-top
    return [weight / total for weight in weights]


def read_model(path: Path) -> Model:
    """A model from its file. Raises ModelError with the place of every mistake."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path} can't be read: {error.strerror}") from None
    except ValueError as error:
        raise ModelError(f"{path} is no JSON: {error}") from None
    try:
        return Model.model_validate(body)
    except ValidationError as error:
        mistakes = [
            f"{'.'.join(str(part) for part in mistake['loc']) or 'model'}: {mistake['msg']}"
            for mistake in error.errors(include_url=False, include_input=False)
        ]
        raise ModelError("\n".join([f"{path} is no model:", *mistakes])) from None


def write_model(model: Model, path: Path) -> None:
    path.write_text(json.dumps(model.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")


@lru_cache(maxsize=1)
def shipped() -> Model:
    """The model that comes with the package."""
    return read_model(SHIPPED)
