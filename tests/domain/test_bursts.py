"""The detector of bursts: what is expected, how surprising more is, and where it began."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.domain import bursts
from middleware.domain.bursts import (
    BUCKETS_AN_HOUR,
    BurstRules,
    Key,
    KeyKind,
    Past,
    Season,
    Track,
)

RULES = BurstRules()
DAY = 24 * BUCKETS_AN_HOUR
BEGAN = bursts.bucket_of(datetime(2026, 9, 7, tzinfo=UTC))


def poisson(dice: random.Random, mean: float) -> int:
    """A draw by Knuth's product of uniforms; for small means."""
    limit, product, k = math.exp(-mean), dice.random(), 0
    while product > limit:
        product *= dice.random()
        k += 1
    return k


def traffic(seed: int, *, days: int, per_hour: float, swing: float = 0.8) -> dict[int, int]:
    """Complaints by bucket, busy by day and quiet by night."""
    dice = random.Random(seed)
    found = {}
    for bucket in range(BEGAN, BEGAN + days * DAY):
        hour = bucket / BUCKETS_AN_HOUR % 24
        rate = per_hour * (1 + swing * math.sin((hour - 9) / 24 * 2 * math.pi)) / BUCKETS_AN_HOUR
        count = poisson(dice, rate)
        if count:
            found[bucket] = count
    return found


def learnt(counts: dict[int, int], everything: dict[int, int], *, until: int) -> tuple:
    season = Season(folded=BEGAN // BUCKETS_AN_HOUR)
    season.fold(until // BUCKETS_AN_HOUR, everything)
    past = Past(BEGAN // BUCKETS_AN_HOUR).fold(until // BUCKETS_AN_HOUR, counts, season, RULES)
    return season, Track(counts, past)


# --- how surprising -----------------------------------------------------------------------------


def test_the_tail_is_that_of_the_negative_binomial() -> None:
    shape, mean = 4.0, 2.5

    def pmf(k: int) -> float:
        share = mean / (shape + mean)
        return math.exp(
            math.lgamma(k + shape)
            - math.lgamma(k + 1)
            - math.lgamma(shape)
            + shape * math.log(1 - share)
            + k * math.log(share)
        )

    for found in (3, 7, 20):
        tail = 1 - sum(pmf(k) for k in range(found))
        said = bursts.surprise(found, mean, sure=shape, variation=0.05)
        assert said == pytest.approx(-math.log10(tail), rel=1e-6)


@given(st.integers(1, 400), st.floats(0.001, 200), st.floats(0.5, 1000), st.floats(0.05, 2))
def test_more_is_never_less_surprising(
    found: int, expected: float, sure: float, variation: float
) -> None:
    one = bursts.surprise(found, expected, sure=sure, variation=variation)
    more = bursts.surprise(found + 1, expected, sure=sure, variation=variation)
    assert 0 <= one <= more + 1e-9
    assert bursts.surprise(found, expected * 2, sure=sure, variation=variation) <= one + 1e-9


@given(st.integers(5, 200), st.floats(0.01, 20), st.floats(0.6, 100))
def test_who_knows_less_is_less_surprised(found: int, expected: float, sure: float) -> None:
    little = bursts.surprise(found, expected, sure=sure / 2, variation=0.05)
    much = bursts.surprise(found, expected, sure=sure, variation=0.05)
    if found > 2 * expected:
        assert little <= much + 1e-9


# --- ordinary weeks and bursts -------------------------------------------------------------------


def reading_of(counts: dict[int, int], everything: dict[int, int], last: int):
    season, track = learnt(counts, everything, until=last - RULES.longest)
    return bursts.burst(track, season, everything, ends=[last], rules=RULES), season, track


@pytest.mark.parametrize("per_hour", [0.05, 0.5, 4.0, 40.0])
def test_an_ordinary_week_is_no_burst(per_hour: float) -> None:
    counts = traffic(3, days=21, per_hour=per_hour)
    everything = {b: counts.get(b, 0) + n for b, n in traffic(4, days=21, per_hour=30).items()}
    alarms = 0
    for day in range(14, 21):
        season, track = learnt(counts, everything, until=BEGAN + day * DAY - RULES.longest)
        ends = range(BEGAN + day * DAY, BEGAN + (day + 1) * DAY, 3)
        alarms += bursts.burst(track, season, everything, ends=ends, rules=RULES) is not None
    assert alarms == 0


@pytest.mark.parametrize("per_hour", [0.05, 0.5, 4.0])
@settings(deadline=None)
@given(seed=st.integers(0, 30))
def test_ten_times_the_usual_for_an_hour_is_found(per_hour: float, seed: int) -> None:
    counts = traffic(seed, days=15, per_hour=per_hour)
    everything = {b: counts.get(b, 0) + n for b, n in traffic(99, days=15, per_hour=30).items()}
    last = BEGAN + 14 * DAY + 12 * BUCKETS_AN_HOUR
    extra = max(12, round(10 * per_hour * 1.8))
    for n in range(extra):
        counts[last - n % BUCKETS_AN_HOUR] = counts.get(last - n % BUCKETS_AN_HOUR, 0) + 1
    found, _, _ = reading_of(counts, everything, last)
    assert found is not None
    assert found.ratio >= RULES.least_ratio


def test_what_lifts_everything_is_no_burst_of_one_key() -> None:
    counts = traffic(5, days=15, per_hour=3)
    everything = traffic(6, days=15, per_hour=40)
    last = BEGAN + 14 * DAY + 12 * BUCKETS_AN_HOUR
    for bucket in range(last - 11, last + 1):
        counts[bucket] = counts.get(bucket, 0) + 3
    alone, _, _ = reading_of(counts, everything, last)
    assert alone is not None
    lifted = dict(everything)
    for bucket in range(last - 71, last + 1):
        lifted[bucket] = lifted.get(bucket, 0) * 6
    together, _, _ = reading_of(counts, lifted, last)
    assert together is None


def test_a_days_parcels_are_held_against_what_is_usual_for_their_sender() -> None:
    sender = traffic(12, days=15, per_hour=4)
    everything = traffic(13, days=15, per_hour=40)
    last = BEGAN + 14 * DAY + 12 * BUCKETS_AN_HOUR
    season, warehouse = learnt(sender, everything, until=last - RULES.longest)
    day = {last - 6 * n: 1 for n in range(12)}
    track = Track(day, Past(BEGAN // BUCKETS_AN_HOUR))

    def found(track: Track) -> bool:
        return bursts.burst(track, season, everything, ends=[last], rules=RULES) is not None

    assert found(track)
    assert not found(replace(track, wider=warehouse.past))
    piled = {last - n: 6 for n in range(12)}
    assert found(replace(track, counts=piled, wider=warehouse.past))
    key = Key(KeyKind.SHIPPED, "Venlo/2026-11-21")
    assert Key(KeyKind.WAREHOUSE, "Venlo") in bursts.wider_than(key)
    assert bursts.wider_than(Key(KeyKind.SKU, "x")) == ()


def test_a_hub_that_has_seen_nothing_is_not_easily_alarmed() -> None:
    def found(count: int) -> bool:
        last = BEGAN + 2
        counts = {last: count}
        track, season = Track(counts, Past(BEGAN // 12)), Season(folded=BEGAN // 12)
        return bursts.burst(track, season, counts, ends=[last], rules=RULES) is not None

    assert not found(8)
    assert found(200)


def test_a_burst_does_not_become_what_is_expected() -> None:
    counts = traffic(7, days=15, per_hour=0.5)
    everything = traffic(8, days=15, per_hour=30)
    season, before = learnt(counts, everything, until=BEGAN + 14 * DAY)
    piled = {**counts, **{BEGAN + 13 * DAY + n: 20 for n in range(3 * BUCKETS_AN_HOUR)}}
    _, after = learnt(piled, everything, until=BEGAN + 14 * DAY)
    assert after.past.count < before.past.count + 3 * bursts.ordinary(2, RULES.variation)
    assert season.exposure > 100


@given(st.lists(st.integers(0, 14 * 24 - 1), max_size=60), st.integers(1, 13))
def test_folding_in_steps_is_folding_at_once(hours: list[int], cut: int) -> None:
    """Up to what is cut off, which goes by what was known by then."""
    counts = {BEGAN + hour * BUCKETS_AN_HOUR: 1 for hour in hours}
    season = Season(folded=BEGAN // BUCKETS_AN_HOUR)
    end = BEGAN // BUCKETS_AN_HOUR + 14 * 24
    season.fold(end, counts)
    start = Past(BEGAN // BUCKETS_AN_HOUR)
    once = start.fold(end, counts, season, RULES)
    steps = start.fold(end - cut * 24, counts, season, RULES).fold(end, counts, season, RULES)
    assert steps.count == pytest.approx(once.count)
    assert steps.folded == once.folded == end


def test_the_week_has_its_busy_hours() -> None:
    season = Season(folded=BEGAN // BUCKETS_AN_HOUR)
    season.fold(BEGAN // BUCKETS_AN_HOUR + 28 * 24, traffic(9, days=28, per_hour=30))
    midnight = BEGAN // BUCKETS_AN_HOUR
    assert season.weight(midnight + 15) > 1.5
    assert season.weight(midnight + 3) < 0.5
    assert sum(season.weight(midnight + h) for h in range(168)) / 168 == pytest.approx(1, abs=0.05)


def test_the_onset_is_where_it_begins_to_rise() -> None:
    counts = {BEGAN: 1}
    everything = traffic(10, days=15, per_hour=30)
    last = BEGAN + 14 * DAY
    rise = last - 18
    for bucket in range(rise, last + 1):
        counts[bucket] = 2
    found, _, track = reading_of(counts, everything, last)
    assert found is not None
    assert abs(bursts.onset(track, found, rules=RULES) - rise) <= 1


def test_it_is_over_when_an_hour_is_ordinary_again() -> None:
    everything = traffic(11, days=15, per_hour=30)
    last = BEGAN + 14 * DAY
    counts = {last - n: 3 for n in range(6)}
    season, track = learnt(counts, everything, until=last - RULES.longest)

    def over(now: int) -> bool:
        return bursts.is_over(track, season, everything, now=now, rules=RULES)

    assert not over(last + 1)
    assert not over(last + 6)
    assert over(last + BUCKETS_AN_HOUR + 1)


# --- keys -----------------------------------------------------------------------------------------


def test_the_most_specific_key_that_covers_half_gives_the_name() -> None:
    lot, sku, topic = (Key(k, "x") for k in (KeyKind.LOT, KeyKind.SKU, KeyKind.TOPIC))
    assert bursts.name_of({topic: 10, sku: 9, lot: 6}, 10) == lot
    assert bursts.name_of({topic: 10, sku: 9, lot: 3}, 10) == sku
    assert Key.parse(str(Key(KeyKind.SHIPPED, "Venlo/2026-11-21"))).value == "Venlo/2026-11-21"


def test_keys_of_the_same_complaints_are_one_and_wider_ones_give_none() -> None:
    lot = {f"c{n}" for n in range(10)}
    topic = lot | {f"t{n}" for n in range(30)}
    assert bursts.overlap(lot, topic) == 1
    assert bursts.is_part_of(lot, topic)
    assert not bursts.is_part_of(topic, lot)
    assert bursts.overlap(lot, {"z"}) == bursts.overlap(set(), lot) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"windows": (timedelta(minutes=7),)},
        {"windows": ()},
        {"ends_below": 9.0},
        {"least_persons": 1},
        {"quiet": timedelta(seconds=10)},
    ],
)
def test_rules_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"."):
        BurstRules(**wrong)


def test_a_past_that_is_folded_in_one_go_is_as_large_as_one_folded_by_and_by() -> None:
    """Its first hours are held against what was known then, not cut off as bursts of a key that
    had been silent for weeks."""
    counts = traffic(5, days=14, per_hour=40)
    season = Season(folded=BEGAN // BUCKETS_AN_HOUR)
    until = (BEGAN + 14 * DAY) // BUCKETS_AN_HOUR
    by_and_by = Past(BEGAN // BUCKETS_AN_HOUR)
    for hour in range(BEGAN // BUCKETS_AN_HOUR, until):
        season.fold(hour + 1, counts)
        by_and_by = by_and_by.fold(hour + 1, counts, season, RULES)
    at_once = Past(BEGAN // BUCKETS_AN_HOUR).fold(until, counts, season, RULES)
    assert at_once.count == pytest.approx(by_and_by.count, rel=0.15)
    assert bursts.rate_of(at_once.count, season) == pytest.approx(40, rel=0.2)


def test_what_is_kept_of_a_past_is_held_against_the_hours_that_are_kept() -> None:
    season = quiet_season()
    days = [season.folded // 24 - back for back in (1, 2)]
    counts = {day * 24 * BUCKETS_AN_HOUR: 6 for day in days}
    past, limited = bursts.of_sample(counts, days, season, BurstRules())
    assert 20 < limited.exposure < 49
    assert limited.exposure < season.exposure
    assert limited.total / limited.exposure == pytest.approx(season.total / season.exposure)
    rate = bursts.rate_of(past.count, limited)
    assert rate == pytest.approx(12 / 48, rel=0.3)
    scaled = past.scaled(limited, season)
    assert bursts.rate_of(scaled.count, season) == pytest.approx(rate)
    nothing, unknown = bursts.of_sample({}, [], season, BurstRules())
    assert (nothing.count, unknown.exposure) == (0, 0)


def quiet_season() -> Season:
    """Four weeks of one complaint an hour."""
    now = 24 * 7 * 3000
    season = Season(folded=now - 28 * 24)
    season.fold(now, {h * BUCKETS_AN_HOUR: 1 for h in range(now - 28 * 24, now)})
    return season
