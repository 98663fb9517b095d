"""The generator of histories: the same for a seed, and as true to life as it says."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import pytest

from tests.histories import history, records_of
from tests.histories.week import BURSTS


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    one, again, other = (history(s, per_week=300, customers=200) for s in (4, 4, 5))
    assert one.as_bytes() == again.as_bytes()
    assert one.company == again.company
    assert one.as_bytes() != other.as_bytes()


def test_an_issue_is_one_customers_and_a_conversation_is_one_issue() -> None:
    made = history(1, per_week=2000)
    of_conversation = defaultdict(set)
    for told in made.received:
        of_conversation[(told.connection, told.arrival.conversation)].add(told.issue)
        customer = next(
            c for c in made.company.customers if c.number == made.issues[told.issue].customer
        )
        if told.telling != "answer":
            assert told.arrival.author.display_name == customer.name
    assert all(len(issues) == 1 for issues in of_conversation.values())


def test_the_same_issue_is_told_in_every_way() -> None:
    tellings = Counter(told.telling for told in history(2, per_week=5000).received)
    for way in ("same_post", "cross_post", "near_duplicate", "dm", "ticket", "wrong_brand"):
        assert tellings[way] > 20, way


def test_a_week_has_its_size_its_days_and_its_nights() -> None:
    made = history(3, per_week=5000, bursts=[()])
    assert 5000 <= len(made.received) < 5020
    assert made.bursts == ()
    hours = Counter(told.arrival.posted_at.hour for told in made.received if told.arrival.posted_at)
    assert hours[19] > 4 * hours[3]


@pytest.mark.parametrize("kind", BURSTS)
def test_a_burst_rises_above_the_rest_and_ends(kind: str) -> None:
    made = history(6, per_week=1500, bursts=[(kind,)])
    (burst,) = made.bursts
    told = [r for r in made.received if r.burst == burst.id and r.telling == "first"]
    assert len(told) >= 40
    assert all(burst.onset <= r.received_at for r in told)
    assert max(r.received_at for r in told) < burst.end.replace(microsecond=0) + (
        burst.end - burst.peak
    )
    assert (burst.key is None) == (kind == "topic")
    orders = {order.number: order for order in made.company.orders}
    for r in told:
        order = orders.get(made.issues[r.issue].order or "")
        if kind == "carrier":
            assert order is not None
            assert order.carrier == burst.key
        if kind == "lot":
            assert order is not None
            assert burst.key in {line.lot for line in order.lines}


def test_source_ids_are_unique_and_records_hang_together() -> None:
    made = history(7, per_week=800, customers=300)
    ids = [(r.connection, r.arrival.source_id) for r in made.received]
    assert len(ids) == len(set(ids))
    refs = [record.ref for record in records_of(made.company)]
    assert len(refs) == len(set(refs))
    received = [r.received_at for r in made.received]
    assert all(a <= b for a, b in itertools.pairwise(received))


def test_unknown_bursts_are_refused() -> None:
    with pytest.raises(ValueError, match="there is no burst by weather"):
        history(1, bursts=[("weather",)])
    with pytest.raises(ValueError, match="0 entries for 1 weeks"):
        history(1, bursts=[])
