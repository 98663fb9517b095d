"""The score: its terms add up, what is not known is neutral, and no voice buries anybody."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from middleware.contract.canonical import Money
from middleware.domain.policy import PolicyInvalidError
from middleware.domain.policy_file import PolicyUnreadableError
from middleware.domain.priority import (
    Heard,
    Inputs,
    Pressure,
    Score,
    Voice,
    Worth,
    in_currency,
    score,
    told,
    voice_of,
)
from middleware.domain.rulebook import (
    ClockKind,
    GrowthRules,
    InfluenceRules,
    RuleBook,
    Scoring,
    TimeStep,
    ValueRules,
    Weights,
)
from middleware.domain.rulebook_file import (
    body_of,
    full_body_of,
    read_rulebook,
    rulebook_of,
    text_of,
)
from middleware.domain.understanding import Intent, Sentiment, Severity

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SHIPPED = RuleBook()
GRAVITY = [Severity.LOW, Severity.NORMAL, Severity.HIGH, Severity.CRITICAL]

counts = st.none() | st.integers(0, 10**10)
rates = st.none() | st.floats(0, 1e9)
voices = st.builds(
    Voice,
    followers=counts,
    verified=st.none() | st.booleans(),
    views=counts,
    engagement=counts,
    views_per_hour=rates,
    engagement_per_hour=rates,
)
worths = st.none() | st.builds(
    Worth,
    tier=st.none() | st.sampled_from(["gold", "Platinum", "bronze", "titanium"]),
    revenue=st.none() | st.floats(0, 1e9),
    open_orders=st.none() | st.integers(0, 1000),
    years=st.none() | st.floats(0, 60),
    margin=st.none() | st.floats(-1, 1),
)


def pressure(used: float) -> Pressure:
    return Pressure(clock=ClockKind.FIRST_RESPONSE, target="t", used=used)


pressures = st.none() | st.builds(pressure, st.floats(0, 10))
inputs = st.builds(
    Inputs,
    severity=st.none() | st.sampled_from(GRAVITY),
    sentiment=st.none() | st.sampled_from(Sentiment),
    intent=st.none() | st.sampled_from(Intent),
    worth=worths,
    voice=voices,
    pressure=pressures,
    others=st.none() | st.integers(0, 100),
    unanswered=st.integers(0, 100),
    raised=st.floats(0, 5),
)
weights = st.floats(0, 10)


@st.composite
def books(draw: st.DrawFn) -> RuleBook:
    """Rule books of any weights, as far as one may be put in force at all."""
    scoring = {
        "weights": Weights(
            **{name: draw(weights) for name in Weights.model_fields},
        ),
        "severity": dict(
            zip(
                GRAVITY,
                sorted(draw(st.lists(st.floats(-10, 100), min_size=4, max_size=4))),
                strict=True,
            )
        ),
        "floors": dict(
            zip(
                GRAVITY,
                sorted(draw(st.lists(st.floats(-10, 50), min_size=4, max_size=4))),
                strict=True,
            )
        ),
        "influence": InfluenceRules(most=draw(st.floats(0, 5))),
        "growth": GrowthRules(most=draw(st.floats(0, 5))),
        "time": (
            TimeStep(used=0.5, points=draw(st.floats(0, 5))),
            TimeStep(used=1.0, points=draw(st.floats(5, 50))),
        ),
    }
    try:
        return RuleBook(scoring=Scoring(**scoring))
    except PolicyInvalidError:
        assume(False)
        raise


any_book = st.just(SHIPPED) | books()
quick = settings(max_examples=80, deadline=None)


@quick
@given(book=any_book, given_=inputs)
def test_terms_add_up_or_the_floor_decides(book: RuleBook, given_: Inputs) -> None:
    made = score(book, given_)
    total = sum(term.points for term in made.terms)
    assert made.points == pytest.approx(max(total, made.floor), abs=0.002)
    assert made.floored == (total < made.floor) or made.points == pytest.approx(total, abs=0.002)
    for term in made.terms:
        assert term.why
        if not term.known:
            assert term.points == 0
            assert term.why.endswith("counts as neutral")
    assert Score.model_validate(made.model_dump(mode="json")) == made


@quick
@given(book=any_book, alike=inputs, loud=voices, quiet=voices, data=st.data())
def test_a_grave_complaint_is_before_a_milder_one_however_loud(
    book: RuleBook, alike: Inputs, loud: Voice, quiet: Voice, data: st.DataObject
) -> None:
    grave = data.draw(st.sampled_from([Severity.HIGH, Severity.CRITICAL]))
    milder = data.draw(
        st.sampled_from([s for s in GRAVITY if GRAVITY.index(s) < GRAVITY.index(grave)])
    )
    ordinary = alike.model_copy(update={"severity": grave, "voice": quiet})
    famous = alike.model_copy(update={"severity": milder, "voice": loud})
    assert score(book, ordinary).milli > score(book, famous).milli


@quick
@given(book=any_book, alike=inputs, loud=voices, quiet=voices, used=st.floats(1, 10))
def test_whose_time_is_up_is_not_behind_a_fresh_one_however_loud(
    book: RuleBook, alike: Inputs, loud: Voice, quiet: Voice, used: float
) -> None:
    overdue = alike.model_copy(update={"pressure": pressure(used), "voice": quiet})
    fresh = alike.model_copy(update={"pressure": pressure(0), "voice": loud})
    assert score(book, overdue).milli >= score(book, fresh).milli - 1


@quick
@given(book=any_book, given_=inputs, one=st.floats(0, 10), other=st.floats(0, 10))
def test_no_score_falls_as_time_passes_nor_below_the_floor_of_its_severity(
    book: RuleBook, given_: Inputs, one: float, other: float
) -> None:
    sooner, later = sorted((one, other))
    before = score(book, given_.model_copy(update={"pressure": pressure(sooner)}))
    after = score(book, given_.model_copy(update={"pressure": pressure(later)}))
    assert after.milli >= before.milli
    severity = given_.severity or Severity.NORMAL
    for made, used in ((before, sooner), (after, later)):
        floor = book.scoring.floors[severity] + book.scoring.points_of_time(used)
        assert made.points >= floor - 0.001


@quick
@given(given_=inputs, data=st.data())
def test_more_of_anything_never_lowers_a_score(given_: Inputs, data: st.DataObject) -> None:
    more = data.draw(st.integers(1, 10**6))
    voice = given_.voice
    louder = voice.model_copy(update={"followers": (voice.followers or 0) + more})
    again = given_.unanswered + more
    assert score(SHIPPED, given_.model_copy(update={"voice": louder})).milli >= (
        score(SHIPPED, given_).milli
    )
    assert score(SHIPPED, given_.model_copy(update={"unanswered": again})).milli >= (
        score(SHIPPED, given_).milli
    )


def test_nothing_known_is_neutral_and_says_so() -> None:
    made = score(SHIPPED, Inputs())
    assert made.points == 0
    assert not any(term.known for term in made.terms)
    assert {term.name for term in made.terms} == {
        "severity", "sentiment", "intent", "value", "influence", "time", "repeat", "growth"
    }  # fmt: skip


def test_the_terms_say_what_they_went_by() -> None:
    made = score(
        SHIPPED,
        Inputs(
            severity=Severity.HIGH,
            sentiment=Sentiment.NEGATIVE,
            intent=Intent.COMPLAINT,
            worth=Worth(tier="Gold", revenue=7000, revenue_from="orders", open_orders=3, years=3),
            voice=Voice(followers=7000, verified=True, views_per_hour=15_000),
            pressure=pressure(0.8),
            others=1,
            unanswered=3,
            raised=2,
        ),
    )
    points = {term.name: term.points for term in made.terms}
    assert points == {
        "severity": 4.0,
        "sentiment": 1.0,
        "intent": 0.0,
        "value": 1.0 + 0.2 * 3 + 0.25 * 2 + 0.2 * 2,
        "influence": 0.15 * 3 + 0.25,
        "time": 2.0,
        "repeat": 0.75 * 2,
        "growth": 0.3 * 2,
        "raised": 2.0,
    }
    why = {term.name: term.why for term in made.terms}
    assert why["value"] == "tier Gold, 7,000 EUR a year, 3 open orders, 3 years a customer"
    assert why["influence"] == "7,000 followers, verified"
    assert why["time"] == "80% of the time for the first response is used"
    assert why["repeat"] == "1 other complaint in 30 days, wrote 2 more times without an answer"
    assert [term.name for term in made.main()] == ["severity", "value", "time"]
    assert told(made).startswith(f"{made.points:.1f} (severity high; tier Gold")


def test_a_floor_holds_a_friendly_word_about_something_grave() -> None:
    made = score(
        SHIPPED,
        Inputs(severity=Severity.HIGH, sentiment=Sentiment.POSITIVE, intent=Intent.NOISE),
    )
    assert made.floored
    assert made.points == SHIPPED.scoring.floors[Severity.HIGH]


def test_a_tier_that_nobody_priced_counts_for_nothing_and_says_so() -> None:
    (value,) = [
        t for t in score(SHIPPED, Inputs(worth=Worth(tier="titanium"))).terms if t.name == "value"
    ]
    assert value.points == 0
    assert "what tier titanium is worth" in value.why


def test_growth_is_what_was_told_within_the_window() -> None:
    def heard(minutes: int, views: int | None, engagement: int | None = None) -> Heard:
        return Heard(at=NOW - timedelta(minutes=minutes), views=views, engagement=engagement)

    def voice(*reach: Heard) -> Voice:
        window = timedelta(hours=6)
        return voice_of(followers=None, verified=None, reach=reach, window=window, at=NOW)

    grown = voice(heard(600, 5), heard(120, 100), heard(60, None, 7), heard(0, 1100))
    assert (grown.views, grown.views_per_hour) == (1100, 500.0)
    assert (grown.engagement, grown.engagement_per_hour) == (7, None)
    assert voice(heard(30, 100), heard(0, 40)).views_per_hour == 0
    assert voice(heard(0, 100)).views_per_hour is None
    assert voice(heard(900, 100), heard(800, 400)).views_per_hour is None


def test_money_without_a_rate_is_not_counted_and_named() -> None:
    rules = ValueRules(rates={"USD": 0.5})
    amounts = [Money(amount=Decimal("10.50"), currency=c) for c in ("EUR", "USD", "JPY")]
    assert in_currency(rules, amounts) == (15.75, ("JPY",))
    assert in_currency(rules, amounts[2:]) == (None, ("JPY",))


# --- the rule book's file -----------------------------------------------------------------------

LOUDER: Callable[[float], dict[str, object]] = lambda most: {"influence": {"most": most}}  # noqa: E731


@pytest.mark.parametrize(
    ("body", "pointer", "why"),
    [
        ({"scoring": LOUDER(3)}, "/scoring/severity/high", "a louder voice"),
        (
            {"scoring": {"time": [{"used": 1.0, "points": 1.0}]}},
            "/scoring/time",
            "whose time is up would wait behind voices",
        ),
        (
            {"scoring": {"time": [{"used": 1.0, "points": 5}, {"used": 2.0, "points": 4}]}},
            "/scoring/time",
            "never fall",
        ),
        ({"scoring": {"floors": {"high": 1}}}, "/scoring/floors", "low, normal, critical"),
        ({"scoring": {"weights": {"severty": 1}}}, "/scoring/weights/severty", "mean 'severity'"),
        ({"targets": [{"name": "a", "calendar": "x"}]}, "/targets/0/calendar", "no calendar 'x'"),
        ({"targets": [{"name": "a"}, {"name": "a"}]}, "/targets/1/name", "twice"),
        ({"escalations": [{"name": "a"}]}, "/escalations/0", "either `used` or `late`"),
        (
            {"escalations": [{"name": "a", "used": 1, "email": "on_call"}]},
            "/escalations/0",
            "who is on call",
        ),
        (
            {"escalations": [{"name": "a", "used": 1, "email": "ann"}]},
            "/escalations/0/email",
            "neither an address",
        ),
        ({"people": {"ann": "ann"}}, "/people/ann", "not an e-mail address"),
    ],
)
def test_a_wrong_rule_book_says_where_and_why(
    body: dict[str, object], pointer: str, why: str
) -> None:
    with pytest.raises(PolicyUnreadableError) as error:
        rulebook_of(body)
    (wrong, *_) = error.value.mistakes
    assert wrong.pointer == pointer
    assert why in wrong.message


def test_a_file_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    book = rulebook_of(
        {
            "calendars": {"office": {"zone": "Europe/Berlin", "open": {"mon": ["09:00-12:00"]}}},
            "targets": [{"name": "all", "first_response": "30m", "calendar": "office"}],
            "people": {"ann": "ann@example.com"},
            "rota": {"hours": "office", "first": "2026-01-05T09:00:00", "people": ["ann"]},
            "escalations": [{"name": "a", "used": 0.9, "email": ["on_call", "boss@example.com"]}],
        }
    )
    file = tmp_path / "rules.yaml"
    file.write_text(text_of(book))
    assert read_rulebook(file) == book
    assert rulebook_of(body_of(book)) == book
    assert rulebook_of(full_body_of(book)) == book
    assert body_of(SHIPPED) == {}
    file.write_text("targets:\n  - name: all\n    calender: office\n")
    with pytest.raises(PolicyUnreadableError, match=r"rules.yaml:3:5: .*mean 'calendar'"):
        read_rulebook(file)
