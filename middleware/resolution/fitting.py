"""Fitting the model to labels: who turned out to be whom, and who turned out to be a stranger.

`m` is counted. `u` follows from the weight under which the labels are likeliest when all
candidates of one asker and a stranger compete (a conditional logit, McFadden 1973, by gradient
descent with Adam, Kingma and Ba 2015): comparisons that say the same thing twice then share its
weight, which counting each by itself does not do. The calibration is isotonic regression by
pool-adjacent-violators (Ayer et al. 1955) on the probabilities of the fitted model.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from middleware.resolution.compare import LEVELS, Agreement, pattern
from middleware.resolution.model import (
    BENDS,
    Comparison,
    Fitted,
    Level,
    Model,
    Point,
    Rare,
    commonness,
    posteriors,
)

ROUNDS = 250
STEP = 0.1
PULL = 5e-5
"""How strongly a weight is drawn to zero where labels say little."""
IRRELEVANT = -16.0
LEAST_POINT = 40
"""Askers that a point of the calibration stands on."""
LEAST_POINTS = 8
"""So many points must a pattern have askers for, to be calibrated by itself."""

BY_RARITY: dict[str, str] = {
    "same": "whole",
    "within": "whole",
    "joined": "whole",
    "short": "whole",
    "misspelt": "whole",
    "initial": "part",
    "single": "part",
    "family": "part",
    "given": "part",
}
"""The levels of the name whose worth follows rarity, and which of them share a power."""


@dataclass(frozen=True)
class Labelled:
    """One asker with everybody who was compared, and who of them it was."""

    population: int
    candidates: tuple[tuple[Agreement, ...], ...]
    truth: int | None
    """Which candidate; None for a stranger, or somebody whom blocking did not find."""


Row = tuple[tuple[tuple[str, str], float], ...]
"""A candidate's features with their values: levels by one, powers by how far beyond each bend."""

POPULATION = ("population", "")
"""The feature that weighs one: what is as rare as that few others agree is rare among many."""


def fit(
    labels: Sequence[Labelled],
    base: Model,
    *,
    version: str,
    note: str,
    typical: Sequence[Labelled] | None = None,
    least_point: int = LEAST_POINT,
) -> Model:
    """The model whose levels, powers and calibration fit these labels best.

    `base` gives the prior, the thresholds, and the levels that nobody has labels for. `typical`
    are labels of such askers as the model will meet, by default all of them: what a probability
    meant is read off them, for each pattern of comparisons that has enough, in points that stand
    on `least_point` askers; more where some were asked about several times.
    """
    seen = Counter(
        (a.comparison, a.level)
        for one in labels
        if one.truth is not None
        for a in one.candidates[one.truth]
    )
    met: Counter[tuple[str, str]] = Counter()
    for one in labels:
        for candidate in one.candidates:
            met.update({(a.comparison, a.level) for a in candidate})
    weights = _weights(labels, base, met)
    comparisons = tuple(
        _comparison(name, levels, base, seen, met, weights) for name, levels in LEVELS.items()
    )
    fitted = Fitted(
        askers=len(labels),
        pairs=sum(len(one.candidates) for one in labels),
        population=max((one.population for one in labels), default=0),
        note=note,
    )
    raw = base.model_copy(update={"comparisons": comparisons, "version": version, "fitted": fitted})
    uncalibrated = Model.model_validate(raw.model_dump())
    came = defaultdict(list)
    for pattern_, said, right in outcomes(typical or labels, uncalibrated):
        came[pattern_].append((said, right))
    every = [one for some in came.values() for one in some]
    enough = {p: some for p, some in came.items() if len(some) >= LEAST_POINTS * least_point}
    found = {
        "calibration": calibration(every, least_point),
        "calibration_by": {p: calibration(some, least_point) for p, some in enough.items()},
    }
    return Model.model_validate({**raw.model_dump(), **found})


def outcomes(labels: Iterable[Labelled], model: Model) -> list[tuple[str, float, bool]]:
    """Of each asker with candidates: the best one's pattern, probability, and if it was right."""
    found = []
    for one in labels:
        if not one.candidates:
            continue
        prior = model.prior_bits(one.population)
        scores = [prior + sum(map(model.bits, c)) for c in one.candidates]
        best = max(range(len(scores)), key=scores.__getitem__)
        found.append((pattern(one.candidates[best]), posteriors(scores)[best], best == one.truth))
    return found


def calibration(
    seen: Iterable[tuple[float, bool]], least_point: int = LEAST_POINT
) -> tuple[Point, ...]:
    """What a probability meant, from what came of it: rising, at points with enough askers."""
    alike: dict[float, list[bool]] = defaultdict(list)
    for probability, was_right in seen:
        alike[probability].append(was_right)
    blocks: list[list[float]] = []  # sum of what was said, how many were right, how many
    some = [0.0, 0.0, 0.0]
    for said, came in sorted(alike.items()):
        some = [some[0] + said * len(came), some[1] + sum(came), some[2] + len(came)]
        if some[2] < least_point:
            continue  # the last few, the surest, are left as the block before them
        blocks.append(some)
        some = [0.0, 0.0, 0.0]
        while len(blocks) > 1 and _share(blocks[-2]) >= _share(blocks[-1]):
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    points = [Point(said=0.0, right=0.0)]
    for total, right, count in blocks:
        at = round(total / count, 9)
        if points[-1].said < at < 1:
            # Nobody is ever quite sure from a few askers.
            smoothed = (right + 0.05) / (count + 0.1)
            points.append(Point(said=at, right=round(max(points[-1].right, smoothed), 6)))
    points.append(Point(said=1.0, right=points[-1].right))
    return tuple(points)


def _share(block: Sequence[float]) -> float:
    return block[1] / block[2]


# --- weights ---------------------------------------------------------------------------------


def _row(agreements: Iterable[Agreement]) -> Row:
    found: list[tuple[tuple[str, str], float]] = []
    for one in agreements:
        found.append(((one.comparison, one.level), 1.0))
        group = BY_RARITY.get(one.level) if one.comparison == "name" else None
        if group and one.expected is not None:
            found.append((POPULATION, math.log2(one.population)))
            for bend, length in enumerate(commonness(one.expected)):
                found.append(((f"power {bend}", group), -length))
    return tuple(found)


def _start(base: Model) -> dict[tuple[str, str], float]:
    found = {POPULATION: 1.0}
    for comparison in base.comparisons:
        for level in comparison.levels:
            key = (comparison.comparison, level.level)
            found[key] = math.log2(level.m / level.u)
            if level.by_rarity is not None:
                found[key] = math.log2(level.m / level.by_rarity.factor)
                group = BY_RARITY.get(level.level, "")
                for bend, power in enumerate(level.by_rarity.powers):
                    found[f"power {bend}", group] = power
    return found


def _weights(
    labels: Sequence[Labelled], base: Model, met: Counter[tuple[str, str]]
) -> dict[tuple[str, str], float]:
    weights = _start(base)
    fixed = {
        (c.comparison, level.level)
        for c in base.comparisons
        for level in c.levels
        if not level.fitted and not met[c.comparison, level.level]
    } | {POPULATION}
    problems = _problems(labels, base)
    mean: dict[tuple[str, str], float] = defaultdict(float)
    square: dict[tuple[str, str], float] = defaultdict(float)
    for turn in range(1, ROUNDS + 1):
        gradient = _gradient(problems, weights)
        for feature, slope in gradient.items():
            if feature in fixed:
                continue
            powers = feature[0].startswith("power")
            slope += PULL * weights[feature] * (0 if powers else 1)
            mean[feature] = 0.9 * mean[feature] + 0.1 * slope
            square[feature] = 0.999 * square[feature] + 0.001 * slope * slope
            upward = mean[feature] / (1 - 0.9**turn)
            size = math.sqrt(square[feature] / (1 - 0.999**turn)) + 1e-9
            rate = STEP * (0.1 if powers else 1) * (1 - turn / (ROUNDS + 1))
            weights[feature] -= rate * upward / size
            if powers:
                weights[feature] = min(max(weights[feature], 0.0), 1.0)
    return weights


Problem = tuple[float, tuple[Row, ...], int | None]


def _problems(labels: Sequence[Labelled], base: Model) -> list[Problem]:
    """Each asker with the candidates that could matter."""
    found = []
    for one in labels:
        prior = base.prior_bits(one.population)
        rows: list[Row] = []
        truth = None
        for place, candidate in enumerate(one.candidates):
            if place == one.truth:
                truth = len(rows)
            elif prior + sum(map(base.bits, candidate)) < IRRELEVANT:
                continue
            rows.append(_row(candidate))
        if rows:
            found.append((prior, tuple(rows), truth))
    return found


def _gradient(
    problems: Sequence[Problem], weights: dict[tuple[str, str], float]
) -> dict[tuple[str, str], float]:
    """Of the mean negative log-likelihood, by feature."""
    found: dict[tuple[str, str], float] = defaultdict(float)
    share = 1 / max(len(problems), 1)
    for prior, rows, truth in problems:
        scores = [prior + sum(weights[f] * x for f, x in row) for row in rows]
        for place, (row, probability) in enumerate(zip(rows, posteriors(scores), strict=True)):
            off = probability - (place == truth)
            if abs(off) > 1e-7:
                for feature, x in row:
                    found[feature] += share * off * x
    return found


def _comparison(
    name: str,
    levels: Sequence[str],
    base: Model,
    seen: Counter[tuple[str, str]],
    met: Counter[tuple[str, str]],
    weights: dict[tuple[str, str], float],
) -> Comparison:
    """Levels with counted `m`, and the `u` that gives the fitted weight."""
    before = next(c for c in base.comparisons if c.comparison == name)
    given = {level.level: level for level in before.levels}
    total = sum(seen[name, level] for level in levels)
    found = []
    for level in levels:
        if not met[name, level]:
            found.append(given[level])
            continue
        m = _inside((seen[name, level] + 0.5) / (total + 0.5 * len(levels)))
        weight = weights[name, level]
        group = BY_RARITY.get(level) if name == "name" else None
        if group is None:
            u = _inside(m / 2**weight)
            found.append(Level(level=level, m=m, u=u))
            continue
        powers = tuple(round(weights[f"power {bend}", group], 6) for bend in range(len(BENDS)))
        rare = Rare(factor=round(m / 2**weight, 12), powers=powers)
        # Where nobody counted, as of a name that one other is expected to have among a million.
        beyond = sum(p * length for p, length in zip(powers, commonness(1.0), strict=True))
        u = _inside(rare.factor * 2**beyond / 1e6)
        found.append(Level(level=level, m=m, u=u, by_rarity=rare))
    return Comparison(comparison=name, levels=tuple(found))


def _inside(share: float) -> float:
    return round(min(max(share, 1e-9), 0.999999), 12)
