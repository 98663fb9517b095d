"""Fitting the model to labels: who turned out to be whom, and who turned out to be a stranger.

`m` is counted. `u` follows from the weight under which the labels are likeliest when all
candidates of one asker and a stranger compete (a conditional logit, McFadden 1973, by gradient
descent with Adam, Kingma and Ba 2015): comparisons that say the same thing twice then share its
weight, which counting each by itself does not do. What a probability meant is read off people whom
the weights were not fitted to, fold by fold: shares of some askers each, drawn towards a curve of
three parameters (beta calibration, Kull et al. 2017), made to rise by pool-adjacent-violators
(Ayer et al. 1955).
"""

from __future__ import annotations

import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]

ROUNDS = 250
STEP = 0.1
PULL = 5e-5
"""How strongly a weight is drawn to zero where labels say little."""
IRRELEVANT = -16.0
LEAST_POINT = 40
"""Askers that a point of the calibration stands on."""
LEAST_POINTS = 8
"""So many points must a pattern have askers for, to be calibrated by itself."""
FOLDS = 5
"""Into so many parts people fall; what was said of each is by weights fitted to the others."""

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
    who: str = ""
    """The asker, by any name that is always theirs: all that one person said is in one fold."""

    @property
    def fold(self) -> int:
        return zlib.crc32(self.who.encode()) % FOLDS


Row = tuple[tuple[tuple[str, str], float], ...]
"""A candidate's features with their values: levels by one, powers by how far beyond each bend."""

POPULATION = ("population", "")
"""The feature that weighs one: what is as rare as that few others agree is rare among many."""


def fit(
    labels: Iterable[Labelled],
    base: Model,
    *,
    version: str,
    note: str,
    least_point: int = LEAST_POINT,
) -> Model:
    """The model whose levels, powers and calibration fit these labels best.

    `base` gives the prior, the thresholds, and the levels that nobody has labels for. The labels
    are of such askers as the model will meet: what a probability meant is read off them, for each
    pattern of comparisons that has enough, in points that stand on `least_point` askers; ask for
    more where some were asked about several times.
    """
    counted = Counter(labels)
    seen: Counter[tuple[str, str]] = Counter()
    met: Counter[tuple[str, str]] = Counter()
    for one, n in counted.items():
        for place, candidate in enumerate(one.candidates):
            levels = {(a.comparison, a.level) for a in candidate}
            met.update(dict.fromkeys(levels, n))
            if place == one.truth:
                seen.update(dict.fromkeys(levels, n))
    weights = _weights(counted, base, met)
    fitted = Fitted(
        askers=counted.total(),
        pairs=sum(len(one.candidates) * n for one, n in counted.items()),
        population=max((one.population for one in counted), default=0),
        note=note,
    )
    raw = base.model_copy(update={"version": version, "fitted": fitted})
    came: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for model, some in _across(counted, base, raw, seen, met, weights):
        for one, n in some.items():
            for pattern_, said, right in outcomes([one], model):
                came[pattern_] += [(said, right)] * n
    every = [one for some_ in came.values() for one in some_]
    enough = {p: some_ for p, some_ in came.items() if len(some_) >= LEAST_POINTS * least_point}
    found = {
        "calibration": calibration(every, least_point),
        "calibration_by": {p: calibration(some_, least_point) for p, some_ in enough.items()},
    }
    made = _made(raw, base, seen, met, weights)
    return Model.model_validate({**made.model_dump(), **found})


Counted = Mapping[Labelled, int]


def _across(
    counted: Counted,
    base: Model,
    raw: Model,
    seen: Counter[tuple[str, str]],
    met: Counter[tuple[str, str]],
    weights: dict[tuple[str, str], float],
) -> Iterator[tuple[Model, Counted]]:
    """Each fold of people, with a model fitted to the others; all with all if they are one fold."""
    folds = {one.fold for one in counted}
    if len(folds) < FOLDS:
        yield _made(raw, base, seen, met, weights), counted
        return
    for fold in sorted(folds):
        others = {one: n for one, n in counted.items() if one.fold != fold}
        theirs = {one: n for one, n in counted.items() if one.fold == fold}
        yield _made(raw, base, seen, met, _weights(others, base, met)), theirs


def _made(
    raw: Model,
    base: Model,
    seen: Counter[tuple[str, str]],
    met: Counter[tuple[str, str]],
    weights: dict[tuple[str, str], float],
) -> Model:
    comparisons = tuple(
        _comparison(name, levels, base, seen, met, weights) for name, levels in LEVELS.items()
    )
    made = raw.model_copy(update={"comparisons": comparisons})
    return Model.model_validate(made.model_dump())


def outcomes(labels: Iterable[Labelled], model: Model) -> list[tuple[str, float, float]]:
    """Of each asker with candidates: the best one's pattern, probability, and if it was right.

    Of equals any may be taken for the best: if it was one of them, that is right by its share.
    """
    found = []
    for one in labels:
        if not one.candidates:
            continue
        prior = model.prior_bits(one.population)
        scores = [prior + sum(map(model.bits, c)) for c in one.candidates]
        top = max(scores)
        best = [place for place, score in enumerate(scores) if score == top]
        right = (one.truth in best) / len(best)
        found.append((pattern(one.candidates[best[0]]), posteriors(scores)[best[0]], right))
    return found


def calibration(
    seen: Iterable[tuple[float, float]], least_point: int = LEAST_POINT
) -> tuple[Point, ...]:
    """What a probability meant, from what came of it: rising, at points with enough askers.

    The share that was right at a point counts as much as the curve through all of them does: where
    few are wrong, whether it was one or two is chance.
    """
    pairs = sorted(seen)
    said = np.array([probability for probability, _ in pairs])
    right = np.array([was_right for _, was_right in pairs], dtype=float)
    if not pairs:
        return Point(said=0.0, right=0.0), Point(said=1.0, right=0.0)
    curve = _curve(said, right)
    blocks: list[list[float]] = []  # sums of what was said and of what is believed, how many
    places = np.unique(np.searchsorted(said, said))  # where another probability begins
    begin = 0
    for end in (*places[1:], len(said)):
        if end - begin < least_point:
            continue
        if len(said) - end < least_point:
            end = len(said)  # the last few, the surest, are left to those before them
        count = end - begin
        believed = (right[begin:end].sum() + curve[begin:end].sum()) / 2
        blocks.append([float(said[begin:end].sum()), float(believed), count])
        begin = end
        while len(blocks) > 1 and _share(blocks[-2]) >= _share(blocks[-1]):
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
        if end == len(said):
            break
    points = [Point(said=0.0, right=0.0)]
    for total, believed, count in blocks:
        at = round(total / count, 9)
        if points[-1].said < at < 1:
            # Nobody is ever quite sure from a few askers.
            smoothed = (believed + 0.05) / (count + 0.1)
            points.append(Point(said=at, right=round(max(points[-1].right, smoothed), 6)))
    points.append(Point(said=1.0, right=points[-1].right))
    return tuple(points)


def _share(block: Sequence[float]) -> float:
    return block[1] / block[2]


def _curve(said: Numbers, right: Numbers) -> Numbers:
    """How often each was right by the likeliest curve a*log(p) - b*log(1-p) + c of log odds.

    By Newton's method (iteratively reweighted least squares), drawn a little towards a = b = 1,
    c = 0, where what is said is what is meant.
    """
    p = np.clip(said, 1e-7, 1 - 1e-7)
    features = np.column_stack([np.log(p), -np.log1p(-p), np.ones(len(p))])
    meant = np.array([1.0, 1.0, 0.0])
    line = meant.copy()
    for _ in range(50):
        odds = features @ line
        guess = 1 / (1 + np.exp(-np.clip(odds, -30, 30)))
        slope = features.T @ (right - guess) - (line - meant)
        bend = (features * (guess * (1 - guess))[:, None]).T @ features + np.eye(3)
        step = np.linalg.solve(bend, slope)
        line = line + np.clip(step, -1, 1)
        line[:2] = np.maximum(line[:2], 0.0)  # or it would fall
        if np.abs(step).max() < 1e-6:
            break
    found: Numbers = 1 / (1 + np.exp(-np.clip(features @ line, -30, 30)))
    return found


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
            if level.by_rarity is not None and comparison.comparison == "name":
                found[key] = math.log2(level.m / level.by_rarity.factor)
                for bend, power in enumerate(level.by_rarity.powers):
                    found[f"power {bend}", BY_RARITY[level.level]] = power
    return found


def _weights(
    counted: Counted, base: Model, met: Counter[tuple[str, str]]
) -> dict[tuple[str, str], float]:
    begin = _start(base)
    features = list(begin)
    problem = _problem(counted, base, {feature: n for n, feature in enumerate(features)})
    unmet = {
        (c.comparison, level.level)
        for c in base.comparisons
        for level in c.levels
        if not level.fitted and not met[c.comparison, level.level]
    }
    free = np.array([f not in unmet and f != POPULATION for f in features])
    powers = np.array([f[0].startswith("power") for f in features])
    weights = np.array([begin[f] for f in features])
    mean, square = np.zeros(len(features)), np.zeros(len(features))
    for turn in range(1, ROUNDS + 1):
        slope = (_gradient(problem, weights) + PULL * weights * ~powers) * free
        mean = 0.9 * mean + 0.1 * slope
        square = 0.999 * square + 0.001 * slope * slope
        upward = mean / (1 - 0.9**turn)
        size = np.sqrt(square / (1 - 0.999**turn)) + 1e-9
        rate = STEP * np.where(powers, 0.1, 1.0) * (1 - turn / (ROUNDS + 1))
        weights = weights - rate * upward / size
        weights[powers] = np.clip(weights[powers], 0.0, 1.0)
    return {feature: float(weight) for feature, weight in zip(features, weights, strict=True)}


class _Problem(NamedTuple):
    """All askers with the candidates that could matter, flat: arrays of entries, rows, askers."""

    row: Places
    """Of each entry (a candidate's feature): which candidate."""
    feature: Places
    value: Numbers
    asker: Places
    """Of each candidate, in order."""
    truth: Numbers
    """Of each candidate: 1 if it was them."""
    prior: Numbers
    """Of each asker, bits."""
    times: Numbers
    """Of each asker: how often they were met."""


def _problem(counted: Counted, base: Model, number: Mapping[tuple[str, str], int]) -> _Problem:
    row: list[int] = []
    feature: list[int] = []
    value: list[float] = []
    asker: list[int] = []
    truth: list[bool] = []
    priors: list[float] = []
    for one in counted:
        prior = base.prior_bits(one.population)
        for place, candidate in enumerate(one.candidates):
            theirs = place == one.truth
            if not theirs and prior + sum(map(base.bits, candidate)) < IRRELEVANT:
                continue
            for name, x in _row(candidate):
                row.append(len(asker))
                feature.append(number[name])
                value.append(x)
            asker.append(len(priors))
            truth.append(theirs)
        priors.append(prior)
    return _Problem(
        np.array(row, dtype=np.int64),
        np.array(feature, dtype=np.int64),
        np.array(value),
        np.array(asker, dtype=np.int64),
        np.array(truth, dtype=float),
        np.array(priors),
        np.array([*counted.values()], dtype=float),
    )


def _gradient(problem: _Problem, weights: Numbers) -> Numbers:
    """Of the mean negative log-likelihood, by feature."""
    asker, prior = problem.asker, problem.prior
    worth = weights[problem.feature] * problem.value
    scores = prior[asker] + np.bincount(problem.row, worth, minlength=len(asker))
    top = np.zeros(len(prior))  # the stranger's
    np.maximum.at(top, asker, scores)
    odds = np.exp2(scores - top[asker])
    total = np.bincount(asker, odds, minlength=len(prior)) + np.exp2(-top)
    off = (odds / total[asker] - problem.truth) * problem.times[asker]
    entries = off[problem.row] * problem.value
    found = np.bincount(problem.feature, entries, minlength=len(weights)).astype(np.float64)
    share: Numbers = found / max(problem.times.sum(), 1.0)
    return share


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
