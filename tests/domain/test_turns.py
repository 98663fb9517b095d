"""Whose turn it is, as tables and one property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.domain.turns import (
    PATIENCE,
    Bucket,
    Places,
    Rate,
    Turn,
    Urgency,
    Waiting,
    next_turn,
)

AGENT, WORK, BATCH = Urgency.AGENT, Urgency.WORK, Urgency.BATCH


def waiting(*urgencies: Urgency, since: float = 100.0) -> list[Waiting]:
    return [Waiting(n, urgency, since) for n, urgency in enumerate(urgencies)]


@pytest.mark.parametrize(
    ("crowd", "places", "number"),
    [
        ([], Places(4), None),
        ([BATCH], Places(4), 0),
        ([BATCH, AGENT], Places(4), 1),
        ([BATCH, WORK, AGENT, AGENT], Places(4), 2),
        ([BATCH, WORK, BATCH], Places(4), 1),
        ([AGENT], Places(4, agent=4), None),
        ([BATCH], Places(4, agent=3), None),
        ([BATCH], Places(4, batch=2), 0),
        ([BATCH], Places(4, batch=3), None),
        ([WORK], Places(4, batch=3), 0),
        ([AGENT], Places(4, work=3), 0),
        ([BATCH], Places(8, batch=5), 0),
        ([BATCH], Places(8, batch=6), None),
        ([BATCH], Places(1), 0),
        ([BATCH, AGENT], Places(1), 1),
        ([BATCH], Places(2, batch=1), None),
    ],
)
def test_who_goes_next(crowd: list[Urgency], places: Places, number: int | None) -> None:
    turn = next_turn(waiting(*crowd), places, 100.0)
    assert (turn.who.number if turn else None) == number


LATE = 100.0 + PATIENCE[BATCH]


@pytest.mark.parametrize(
    ("places", "goes"),
    [
        (Places(4, agent=3), True),  # the last place, for once
        (Places(4, agent=4), False),  # nobody is thrown out
        (Places(4, agent=2, batch=1), False),  # one of its kind is under way already
        (Places(1), True),
    ],
)
def test_patience_ends_before_agents_do(places: Places, goes: bool) -> None:
    """While agents keep coming, a batch that waited long enough goes before the next of them."""
    batch = Waiting(0, BATCH, since=100.0)
    agents = [Waiting(n, AGENT, since=LATE) for n in (1, 2)]
    turn = next_turn([*agents, batch], places, LATE)
    assert (turn == Turn(batch, hurried=True)) is goes


@given(
    limit=st.integers(1, 12),
    crowd=st.lists(st.tuples(st.sampled_from(Urgency), st.floats(0, 60)), max_size=20),
    ends=st.lists(st.integers(0, 30), max_size=40),
)
def test_places_are_never_given_twice_and_batches_leave_some(
    limit: int, crowd: list[tuple[Urgency, float]], ends: list[int]
) -> None:
    """Whoever waits and whatever ends, no more than `limit` go out, batches with one to spare."""
    places = Places(limit)
    asking = [Waiting(n, urgency, since) for n, (urgency, since) in enumerate(crowd)]
    now = 60.0
    for end in [*ends, None]:
        while (turn := next_turn(asking, places, now)) is not None:
            asking.remove(turn.who)
            batches = places.batch
            places = places.with_one(turn.who.urgency)
            assert places.taken <= limit
            if turn.who.urgency is BATCH and not (turn.hurried and batches == 0):
                assert places.taken <= limit - places.kept
        under_way = [u for u in Urgency for _ in range(places.under_way(u))]
        if end is not None and under_way:
            places = places.with_one(under_way[end % len(under_way)], -1)
            now += 1


def test_tokens_grow_back() -> None:
    bucket = Bucket.full(Rate(2.0), 0.0)
    for _ in range(2):
        assert bucket.wait_for(AGENT) == 0
        bucket = bucket.taken()
    assert bucket.wait_for(AGENT) == pytest.approx(0.5)
    assert bucket.refilled(0.25).wait_for(AGENT) == pytest.approx(0.25)
    assert bucket.refilled(0.5).wait_for(AGENT) == 0
    assert bucket.refilled(1000).tokens == 2


def test_a_slow_rate_lets_one_out_at_a_time() -> None:
    bucket = Bucket.full(Rate(0.1), 0.0).taken()
    assert bucket.wait_for(BATCH) == pytest.approx(10)
    assert bucket.refilled(10.0).wait_for(BATCH) == 0


def test_a_batch_leaves_agents_a_quarter_of_the_burst() -> None:
    bucket = Bucket(Rate(8.0), 3.0, 0.0)
    assert bucket.wait_for(BATCH) == 0
    bucket = bucket.taken()
    assert bucket.wait_for(AGENT) == bucket.wait_for(WORK) == 0
    assert bucket.wait_for(BATCH) == pytest.approx(1 / 8)
    assert bucket.wait_for(BATCH, hurried=True) == 0
