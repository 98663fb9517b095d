"""The report on histories counts pairs as it says."""

from __future__ import annotations

from tests.bench.histories import _issue_of, pairs
from tests.histories import history


def test_pairs_are_counted_against_the_truth() -> None:
    made = history(8, per_week=400, customers=160)
    truth = _issue_of(made)
    perfect = pairs(made, truth)
    assert perfect["right"] > 10
    assert perfect["wrong"] == perfect["unseen"] == 0
    apart = pairs(made, {place: f"{place}" for place in truth})
    assert apart["unseen"] == perfect["right"]
    assert apart["right"] == apart["wrong"] == 0
    together = pairs(made, dict.fromkeys(truth, "one"))
    assert together["right"] == perfect["right"]
    assert together["wrong"] > 1000 * together["right"]
