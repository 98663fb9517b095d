"""The arithmetic of heads, held against the same done another way."""

from __future__ import annotations

import numpy as np
import pytest

from middleware.understanding.features import Vocabulary
from middleware.understanding.heads import (
    Dense,
    Head,
    Regression,
    best_balance,
    best_temperature,
    calibration_error,
    fit,
    macro_f1,
    softmax,
    tempered,
    threshold,
)
from middleware.understanding.model import (
    ModelRefusedError,
    heads_as_bytes,
    heads_from,
)
from tests.understanding.small import small_model

TEXTS = ["the box was crushed", "the box was empty", "", "where is my box", "nothing known: zzqx"]


def test_sparse_products_are_those_of_the_dense_matrix() -> None:
    vocabulary = Vocabulary.of(TEXTS, at_least=2)
    rows = vocabulary.rows(TEXTS)
    dense = np.zeros((len(rows), rows.width), dtype=np.float32)
    for place in range(len(rows)):
        part = slice(rows.starts[place], rows.starts[place + 1])
        dense[place, rows.columns[part]] = rows.values[part]
    assert np.allclose(np.linalg.norm(dense, axis=1), [1, 1, 0, 1, 0], atol=1e-6)
    chance = np.random.default_rng(1)
    right = chance.normal(size=(rows.width, 3)).astype(np.float32)
    left = chance.normal(size=(len(rows), 3)).astype(np.float32)
    assert np.allclose(rows.dot(right), dense @ right, atol=1e-5)
    assert np.allclose(rows.transposed_dot(left), dense.T @ left, atol=1e-5)
    taken = rows.take([3, 0])
    assert np.allclose(taken.dot(right), dense[[3, 0]] @ right, atol=1e-5)


def test_a_fit_is_where_the_slope_ends() -> None:
    chance = np.random.default_rng(2)
    labels = chance.integers(0, 3, size=90)
    features = chance.normal(size=(90, 5)).astype(np.float32)
    features[np.arange(90), labels] += 2
    made = fit(Dense(features), 5, labels, 3, strength=1.0, rounds=500)
    counts = np.bincount(labels)
    share = (90 / (3 * counts))[labels][:, None]
    error = share * (softmax(made.scores(Dense(features))) - np.eye(3)[labels])
    assert np.abs(features.T @ error + made.weights).max() < 0.05
    assert np.abs(error.sum(axis=0)).max() < 0.05
    assert (made.scores(Dense(features)).argmax(1) == labels).mean() > 0.85


def test_a_fit_around_former_weights_stays_near_them() -> None:
    features = np.eye(4, dtype=np.float32)
    former = fit(Dense(features), 4, np.array([0, 0, 1, 1]), 2, strength=10)
    held = fit(Dense(features[:1]), 4, np.array([1]), 2, strength=1e-4, around=former)
    assert np.allclose(held.weights, former.weights, atol=1e-2)
    moved = fit(Dense(features[:1]), 4, np.array([1]), 2, strength=10, around=former)
    assert moved.scores(Dense(features[:1])).argmax() == 1
    assert moved.scores(Dense(features[3:])).argmax() == 1


def test_temperature_mends_what_is_too_sure() -> None:
    chance = np.random.default_rng(3)
    labels = chance.integers(0, 4, size=2000)
    scores = chance.normal(size=(2000, 4)).astype(np.float32)
    scores[np.arange(2000), labels] += 1
    honest = softmax(scores)
    too_sure = tempered(honest, 1 / 3)
    assert calibration_error(too_sure, labels) > 0.15
    assert best_temperature(too_sure, labels) == pytest.approx(3, rel=0.15)
    mended = tempered(too_sure, best_temperature(too_sure, labels))
    assert calibration_error(mended, labels) < 0.04


def test_a_balance_finds_what_a_class_was_held_down_by() -> None:
    chance = np.random.default_rng(4)
    labels = chance.permutation(np.repeat([0, 0, 1, 2], 500))
    scores = chance.normal(size=(2000, 3)).astype(np.float32)
    scores[np.arange(2000), labels] += 1
    held_down = scores + np.log([2, 1, 1]) - [1.5, 0, 0]  # what is honest where half are class 0
    temperature, raised = best_balance(softmax(2 * held_down.astype(np.float32)), labels, 0)
    assert temperature == pytest.approx(2, rel=0.15)
    assert raised == pytest.approx(1.5, abs=0.2)


def test_a_raised_class_gains_in_the_units_of_probabilities() -> None:
    head = Head(
        ("a", "b"),
        Regression(np.eye(2, dtype=np.float32), np.zeros(2, dtype=np.float32)),
        Regression(np.zeros((0, 2), dtype=np.float32), np.zeros(2, dtype=np.float32)),
        temperature=0.5,
    )
    rows = Vocabulary({}, np.zeros(0, np.float32)).rows(["any"])
    even = np.zeros((1, 2), dtype=np.float32)
    assert head.probabilities(even, rows)[0] == pytest.approx([0.5, 0.5])
    odds = head.raised("a", 1.0).probabilities(even, rows)[0]
    assert np.log(odds[0] / odds[1]) == pytest.approx(1.0, abs=1e-5)


def test_a_threshold_keeps_its_promise_or_is_never_reached() -> None:
    sure = np.linspace(0.5, 0.99, 100, dtype=np.float32)
    probabilities = np.stack([sure, 1 - sure], axis=1)
    labels = np.where(np.arange(100) < 50, 1, 0)  # the surer half is right
    edge = threshold(probabilities, labels, precision=0.95)
    right = probabilities.argmax(1) == labels
    assert right[sure >= edge].mean() >= 0.95
    assert 50 < (sure >= edge).sum() <= 52
    assert threshold(probabilities, np.ones(100, dtype=int), precision=0.95) == 1.01


def test_macro_f1_counts_classes_that_occur() -> None:
    assert macro_f1(np.array([0, 0, 1]), np.array([0, 1, 1])) == pytest.approx((2 / 3 + 2 / 3) / 2)


def test_heads_come_back_from_their_bytes() -> None:
    model = small_model()
    data = heads_as_bytes(model.heads)
    again = heads_from(data)
    texts = ["my lamp arrived broken", "lovely, thank you!"]
    embeddings = model.encoder.encode(texts)
    was, now = model.heads.answers(texts, embeddings), again.answers(texts, embeddings)
    for one, other in zip(was, now, strict=True):
        for question, answer in one.items():
            assert other[question].value == answer.value
            assert other[question].probability == pytest.approx(answer.probability, abs=0.01)
    assert heads_as_bytes(again) == data


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 not a zip", b"\x80\x04pickle"])
def test_what_is_no_heads_is_refused(data: bytes) -> None:
    with pytest.raises(ModelRefusedError, match="no heads of a model"):
        heads_from(data)
