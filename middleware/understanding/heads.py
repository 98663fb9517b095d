"""Heads: what turns the features of a text into the probabilities of its classes.

A head is two multinomial logistic regressions, one on the embedding and one on TF-IDF, whose scores
are averaged (a logarithmic pool of their opinions: Genest & Zidek 1986), made honest by a
temperature. Fitted by L-BFGS (Nocedal & Wright, Numerical Optimization, 2nd ed.,
algorithm 7.4 and 7.5, with backtracking), on numpy alone, so that a hub can refit them on the spot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from middleware.understanding.features import Matrix, Rows

Labels = np.ndarray[Any, np.dtype[np.int64]]


class Features(Protocol):
    """What a regression is fitted on: dense or sparse rows."""

    def __len__(self) -> int: ...
    def dot(self, weights: Matrix) -> Matrix: ...
    def transposed_dot(self, right: Matrix) -> Matrix: ...


@dataclass(frozen=True)
class Dense:
    """Embeddings as features."""

    values: Matrix

    def __len__(self) -> int:
        return len(self.values)

    def dot(self, weights: Matrix) -> Matrix:
        return np.asarray(self.values @ weights, dtype=np.float32)

    def transposed_dot(self, right: Matrix) -> Matrix:
        return np.asarray(self.values.T @ right, dtype=np.float32)


@dataclass(frozen=True)
class Regression:
    """A multinomial logistic regression: `weights` are `(features, classes)`."""

    weights: Matrix
    bias: Matrix

    def scores(self, features: Features) -> Matrix:
        """What a softmax makes probabilities of, `(texts, classes)`."""
        return np.asarray(features.dot(self.weights) + self.bias, dtype=np.float32)


@dataclass(frozen=True)
class Head:
    """One question with its classes."""

    classes: tuple[str, ...]
    on_embedding: Regression
    on_terms: Regression
    """Without any weights the embedding judges alone."""
    temperature: float = 1.0
    auto: float = 1.01
    """The probability from which an answer is right nearly always; above 1: never."""
    suggest: float = 0.5
    """The probability from which an answer is worth showing as the likeliest."""

    def probabilities(self, embeddings: Matrix, rows: Rows) -> Matrix:
        """Calibrated probabilities, `(texts, classes)`."""
        return tempered(self.raw(embeddings, rows), self.temperature)

    def raw(self, embeddings: Matrix, rows: Rows) -> Matrix:
        """Probabilities before the temperature, `(texts, classes)`."""
        scores = self.on_embedding.scores(Dense(embeddings))
        if len(self.on_terms.weights):
            scores = (scores + self.on_terms.scores(rows)) / np.float32(2)
        return softmax(scores)

    def raised(self, which: str, by: float) -> Head:
        """The head with the score of one class raised, in units of its probabilities' logarithm."""
        lift = np.zeros(len(self.classes), dtype=np.float32)
        lift[self.classes.index(which)] = by * self.temperature
        return replace(
            self,
            on_embedding=replace(self.on_embedding, bias=self.on_embedding.bias + lift),
            on_terms=replace(self.on_terms, bias=self.on_terms.bias + lift),
        )


def softmax(scores: Matrix) -> Matrix:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float32)


def tempered(probabilities: Matrix, temperature: float) -> Matrix:
    """Probabilities made sharper (below 1) or flatter (above 1)."""
    logs = np.log(np.clip(probabilities, 1e-7, 1)) / temperature
    return softmax(logs.astype(np.float32))


def fit(
    features: Features,
    width: int,
    labels: Labels,
    classes: int,
    *,
    strength: float,
    weights: Matrix | None = None,
    around: Regression | None = None,
    rounds: int = 120,
) -> Regression:
    """Fit a regression; rarer classes count as much as frequent ones.

    `strength` is scikit-learn's C: the larger, the less the weights are held down. `weights` are
    how much each row counts besides its class; with `around` classes count as they occur, and the
    weights begin there and are held to it instead of to zero.
    """
    counts = np.bincount(labels, minlength=classes)
    share = (len(labels) / (max((counts > 0).sum(), 1) * np.maximum(counts, 1)))[labels]
    first = np.zeros(width * classes + classes, dtype=np.float32)
    if around is not None:
        share = np.ones(len(labels))
        first = np.concatenate([around.weights.ravel(), around.bias]).astype(np.float32)
    centre = first[:-classes].reshape(width, classes)
    if weights is not None:
        share = share * weights
    share = share.astype(np.float32)[:, None]
    target = np.eye(classes, dtype=np.float32)[labels]

    def loss(flat: Matrix) -> tuple[float, Matrix]:
        w, b = flat[:-classes].reshape(width, classes), flat[-classes:]
        p = softmax(features.dot(w) + b)
        cost = -float((share * target * np.log(np.clip(p, 1e-9, 1))).sum())
        error = share * (p - target)
        away = w - centre
        slope = features.transposed_dot(error) + away / np.float32(strength)
        return (
            cost + float((away * away).sum()) / (2 * strength),
            np.concatenate([slope.ravel(), error.sum(axis=0)]),
        )

    flat = _lowest(loss, first, rounds)
    return Regression(flat[:-classes].reshape(width, classes), flat[-classes:])


def _lowest(
    loss: Callable[[Matrix], tuple[float, Matrix]], at: Matrix, rounds: int, memory: int = 8
) -> Matrix:
    cost, slope = loss(at)
    past: list[tuple[Matrix, Matrix, float]] = []
    for _ in range(rounds):
        way = -_two_loop(slope, past)
        descent = float(way @ slope)
        if descent >= -1e-9 * max(1.0, abs(cost)):
            break
        step = 1.0 if past else min(1.0, 1.0 / float(np.abs(slope).sum() + 1e-9))
        for _ in range(25):
            tried = (at + np.float32(step) * way).astype(np.float32)
            tried_cost, tried_slope = loss(tried)
            if tried_cost <= cost + 1e-4 * step * descent:
                break
            step *= 0.5
        else:
            break
        s, y = tried - at, tried_slope - slope
        curvature = float(s @ y)
        if curvature > 1e-10:
            past = [*past[-(memory - 1) :], (s, y, 1.0 / curvature)]
        done = cost - tried_cost < 1e-6 * max(1.0, abs(cost))
        at, cost, slope = tried, tried_cost, tried_slope
        if done:
            break
    return at


def _two_loop(slope: Matrix, past: Sequence[tuple[Matrix, Matrix, float]]) -> Matrix:
    q = slope.copy()
    alphas = []
    for s, y, rho in reversed(past):
        alpha = rho * float(s @ q)
        alphas.append(alpha)
        q -= np.float32(alpha) * y
    if past:
        s, y, rho = past[-1]
        q *= np.float32(1.0 / (rho * float(y @ y)))
    for (s, y, rho), alpha in zip(past, reversed(alphas), strict=True):
        q += np.float32(alpha - rho * float(y @ q)) * s
    return q


def best_temperature(raw: Matrix, labels: Labels) -> float:
    """The temperature under which the right answers were the least surprising."""
    tried = np.geomspace(0.25, 4.0, 81)
    losses = [
        -float(np.log(tempered(raw, t)[np.arange(len(labels)), labels] + 1e-9).mean())
        for t in tried
    ]
    return round(float(tried[int(np.argmin(losses))]), 4)


def best_balance(raw: Matrix, labels: Labels, which: int) -> tuple[float, float]:
    """The temperature, and by how much to raise the score of one class, for the least surprise.

    Rows are weighed so that this class is right in half of them. The raise is in units of the
    logarithm of tempered probabilities.
    """
    share = float((labels == which).mean())
    weights = np.where(labels == which, 0.5 / share, 0.5 / (1 - share)) if 0 < share < 1 else 1.0
    logs = np.log(np.clip(raw, 1e-7, 1))
    rows = np.arange(len(labels))

    def surprise(temperature: float, raised: float) -> float:
        scores = logs / np.float32(temperature)
        scores[:, which] += np.float32(raised)
        return -float(
            (weights * np.log(softmax(scores.astype(np.float32))[rows, labels] + 1e-9)).mean()
        )

    return min(
        (
            (round(float(t), 4), round(float(r), 2))
            for t in np.geomspace(0.4, 2.5, 41)
            for r in np.arange(-1, 2.01, 0.05)
        ),
        key=lambda both: surprise(*both),
    )


def threshold(
    probabilities: Matrix, labels: Labels, *, precision: float, at_least: int = 30
) -> float:
    """The lowest probability from which on answers were right with this precision; 1.01 if none."""
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    order = np.argsort(-sure)
    running = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero((running >= precision) & (np.arange(len(order)) >= at_least - 1))
    return round(float(sure[order][good[-1]]), 4) if len(good) else 1.01


def calibration_error(probabilities: Matrix, labels: Labels, bins: int = 10) -> float:
    """Expected calibration error over bins of equal width (Guo et al. 2017)."""
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    places = np.minimum((sure * bins).astype(int), bins - 1)
    gaps = [
        abs(float(right[places == b].mean()) - float(sure[places == b].mean()))
        * float((places == b).mean())
        for b in range(bins)
        if (places == b).any()
    ]
    return float(sum(gaps))


def macro_f1(predicted: Labels, labels: Labels) -> float:
    """The mean F1 of the classes that occur in the labels."""
    scores = []
    for c in np.unique(labels):
        hit = float(((predicted == c) & (labels == c)).sum())
        scores.append(2 * hit / max(float((predicted == c).sum() + (labels == c).sum()), 1.0))
    return float(np.mean(scores))
