"""Priority: one score, every term of it shown with its input, its weight and the reason.

The score is the logarithm, to the base of 2, of severity × sentiment × intent × customer value ×
influence × time to breach × repeat contact × growth of reach: additive terms, in points. One more
point is twice as urgent. A term about which nothing is known is 0, neutral, and says so.

What a rule book can't do, because `Scoring.mistakes` refuses it:

- of two complaints alike in all but severity and voice (influence and growth), the one of high or
  critical severity is before the milder one, however loud that is;
- of two alike in all but time and voice, one whose time is up is not behind one with no time used;
- no score is below the floor of its severity plus its points of time, and as time passes none falls
  (`floored` says that the floor decided).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field

from middleware.contract.canonical import Frozen, Instant, Money
from middleware.domain.rulebook import ClockKind, RuleBook, Scoring, ValueRules
from middleware.domain.understanding import Intent, Sentiment, Severity

MILLI = 1000
"""Scores are kept as whole thousandths of a point."""

Count = Annotated[int, Field(ge=0)]


class Worth(Frozen):
    """What CRM and ERP know of a customer. None means that they do not say."""

    tier: str | None = None
    revenue: float | None = None
    """Of a year, in the rule book's currency."""
    revenue_from: str | None = None
    """`account` where a system has the figure, `orders` where it was added up from orders."""
    open_orders: Count | None = None
    years: float | None = None
    """Since the first order that is known."""
    margin: float | None = None
    """As a share of 1."""
    uncounted: tuple[str, ...] = ()
    """Currencies that no rate is given for."""


class Heard(Frozen):
    """What a source told of a message's reach at a time; counts grow, and None is not told."""

    at: Instant
    views: Count | None = None
    engagement: Count | None = None
    """Likes, shares and replies together."""


class Voice(Frozen):
    """How far somebody is heard, as networks and listening tools tell it."""

    followers: Count | None = None
    verified: bool | None = None
    views: Count | None = None
    engagement: Count | None = None
    views_per_hour: float | None = None
    engagement_per_hour: float | None = None


class Pressure(Frozen):
    """The clock that presses most: how much of what was promised is used up."""

    clock: ClockKind
    target: str
    used: Annotated[float, Field(ge=0)]
    """The share of the promised working time; 1 and more is broken."""
    due_at: Instant | None = None
    paused: bool = False


class Inputs(Frozen):
    """All that a score is made of."""

    severity: Severity | None = None
    sentiment: Sentiment | None = None
    intent: Intent | None = None
    worth: Worth | None = None
    """None where nobody knows who it is."""
    voice: Voice = Voice()
    pressure: Pressure | None = None
    """None where nothing was promised, or nothing is waiting."""
    others: Count | None = None
    """Other complaints of the same customer within the window; None where nobody knows who."""
    unanswered: Count = 1
    """Messages since our last answer."""
    raised: Annotated[float, Field(ge=0)] = 0.0
    """Points that escalation steps have added."""


class Term(Frozen):
    """One term of a score."""

    name: str
    input: Mapping[str, Any]
    known: bool
    weight: float
    points: float
    """With the weight in it."""
    why: str


class Score(Frozen):
    """A score, and what it is made of."""

    points: float
    """The sum of the terms, or the floor; rounded to thousandths."""
    terms: tuple[Term, ...]
    floor: float
    floored: bool
    """Whether the floor of its severity decided."""

    @property
    def milli(self) -> int:
        return round(self.points * MILLI)

    def main(self, most: int = 3) -> tuple[Term, ...]:
        """The terms that raise it most."""
        raising = [term for term in self.terms if term.points > 0]
        return tuple(sorted(raising, key=lambda term: -term.points)[:most])


def score(book: RuleBook, inputs: Inputs) -> Score:
    """Score a complaint by a rule book."""
    rules = book.scoring
    terms = tuple(_terms(rules, inputs))
    total = sum(term.points for term in terms)
    severity = inputs.severity or Severity.NORMAL
    time = next(term.points for term in terms if term.name == "time")
    floor = rules.floors[severity] + time
    return Score(
        points=round(max(total, floor), 3),
        terms=terms,
        floor=round(floor, 3),
        floored=total < floor,
    )


def _terms(rules: Scoring, inputs: Inputs) -> Iterator[Term]:
    weights = rules.weights
    for name, value, table in (
        ("severity", inputs.severity, rules.severity),
        ("sentiment", inputs.sentiment, rules.sentiment),
        ("intent", inputs.intent, rules.intent),
    ):
        yield _term(
            name,
            {"value": value.value if value is not None else None},
            getattr(weights, name),
            table[value] if value is not None else 0.0,  # type: ignore[index]
            known=value is not None,
            why=f"{name} {value.value}" if value is not None else f"no {name} was recognised",
        )
    yield _value(rules.value, weights.value, inputs.worth)
    yield _influence(rules, inputs.voice)
    yield _time(rules, inputs.pressure)
    yield _repeat(rules, inputs)
    yield _growth(rules, inputs.voice)
    if inputs.raised:
        yield _term(
            "raised",
            {"points": inputs.raised},
            1.0,
            inputs.raised,
            why=f"an escalation step added {inputs.raised:g}",
        )


def _term(
    name: str,
    given: Mapping[str, Any],
    weight: float,
    points: float,
    *,
    known: bool = True,
    why: str,
) -> Term:
    said = why if known else f"{why}; counts as neutral"
    return Term(
        name=name,
        input=given,
        known=known,
        weight=weight,
        points=round(weight * points, 4),
        why=said,
    )


def _doublings(figure: float, scale: float = 1.0) -> float:
    """How often 1 must be doubled to get to 1 + figure/scale."""
    return math.log2(1.0 + max(figure, 0.0) / scale)


def _value(rules: ValueRules, weight: float, worth: Worth | None) -> Term:
    """Customer value: parts add up, bounded on both sides."""
    parts: list[tuple[str, float]] = []
    unknown: list[str] = []
    found = worth or Worth()
    if found.tier is None:
        unknown.append("tier")
    elif (tier := found.tier.lower()) in rules.tiers:
        parts.append((f"tier {found.tier}", rules.tiers[tier]))
    else:
        unknown.append(f"what tier {found.tier} is worth")
    for name, figure, scale, each, told in (
        ("revenue", found.revenue, rules.revenue_scale, rules.per_revenue_doubling, ""),
        ("open orders", found.open_orders, 1.0, rules.per_order_doubling, " open orders"),
        ("lifetime", found.years, 1.0, rules.per_years_doubling, " years a customer"),
    ):
        if figure is None:
            unknown.append(name)
        elif figure > 0:
            said = f"{figure:,.0f} {rules.currency} a year" if not told else f"{figure:g}{told}"
            parts.append((said, each * _doublings(figure, scale)))
    if found.margin is not None:
        share = min(max(found.margin, 0.0), 1.0)
        parts.append((f"margin {share:.0%}", rules.margin * share))
    if found.uncounted:
        unknown.append(f"the rate of {', '.join(found.uncounted)}")
    total = sum(points for _, points in parts)
    told = ", ".join(said for said, _ in parts)
    why = told or ("nobody knows who it is" if worth is None else "nothing speaks for a high value")
    known = worth is not None and (bool(parts) or len(unknown) < 4)
    if parts and unknown:
        why += f" (not known: {', '.join(unknown)})"
    elif worth is not None and not known:
        why = f"not known: {', '.join(unknown)}"
    given = found.model_dump(mode="json", exclude_defaults=True)
    return _term(
        "value", given, weight, min(max(total, -rules.most), rules.most), known=known, why=why
    )


def _influence(rules: Scoring, voice: Voice) -> Term:
    by = rules.influence
    parts: list[tuple[str, float]] = []
    for name, figure, scale, each in (
        ("followers", voice.followers, by.followers_scale, by.per_followers_doubling),
        ("views", voice.views, by.views_scale, by.per_views_doubling),
        ("reactions", voice.engagement, by.engagement_scale, by.per_engagement_doubling),
    ):
        if figure is not None:
            parts.append((f"{figure:,} {name}", each * _doublings(figure, scale)))
    if voice.verified:
        parts.append(("verified", by.verified))
    known = bool(parts) or voice.verified is not None
    given = voice.model_dump(
        mode="json",
        include={"followers", "verified", "views", "engagement"},
        exclude_none=True,
    )
    why = ", ".join(said for said, _ in parts) or ("not verified" if known else "no reach was told")
    total = min(sum(points for _, points in parts), by.most)
    return _term("influence", given, rules.weights.influence, total, known=known, why=why)


def _time(rules: Scoring, pressure: Pressure | None) -> Term:
    weight = rules.weights.time
    if pressure is None:
        return _term("time", {}, weight, 0.0, known=False, why="no promised time is running")
    points = rules.points_of_time(pressure.used) / weight if weight else 0.0
    what = pressure.clock.value.replace("_", " ")
    used = f"{pressure.used:.0%} of the time for the {what} is used"
    why = f"the {what} is overdue: {used}" if pressure.used >= 1 else used
    if pressure.paused:
        why += ", and it is paused"
    given = {**pressure.model_dump(mode="json"), "used": round(pressure.used, 4)}
    return _term("time", given, weight, points, why=why)


def _repeat(rules: Scoring, inputs: Inputs) -> Term:
    by = rules.repeat
    further = max(inputs.unanswered - 1, 0)
    contacts = (inputs.others or 0) + further
    points = min(by.per_doubling * _doublings(contacts), by.most)
    parts = []
    if inputs.others:
        plural = "s" if inputs.others > 1 else ""
        parts.append(f"{inputs.others} other complaint{plural} in {by.window.days or 1} days")
    if further:
        parts.append(f"wrote {further} more time{'s' if further > 1 else ''} without an answer")
    known = inputs.others is not None or further > 0
    why = ", ".join(parts) or ("the first contact" if known else "nobody knows who it is")
    given = {"others": inputs.others, "unanswered": inputs.unanswered}
    return _term("repeat", given, rules.weights.repeat, points, known=known, why=why)


def _growth(rules: Scoring, voice: Voice) -> Term:
    by = rules.growth
    parts: list[tuple[str, float]] = []
    for name, figure, scale in (
        ("views", voice.views_per_hour, by.views_scale),
        ("reactions", voice.engagement_per_hour, by.engagement_scale),
    ):
        if figure is not None:
            parts.append((f"{figure:,.0f} more {name} an hour", _doublings(figure, scale)))
    known = bool(parts)
    points = min(by.per_doubling * sum(p for _, p in parts), by.most)
    given = voice.model_dump(
        mode="json", include={"views_per_hour", "engagement_per_hour"}, exclude_none=True
    )
    why = ", ".join(said for said, _ in parts) or "no growth of reach was told"
    return _term("growth", given, rules.weights.growth, points, known=known, why=why)


# --- what the inputs are made of ----------------------------------------------------------------


def voice_of(
    *,
    followers: int | None,
    verified: bool | None,
    reach: Sequence[Heard],
    window: timedelta,
    at: datetime,
) -> Voice:
    """A voice, from what was told of its message's reach, oldest first.

    Growth is what the counts rose by between the first and the last that were told within the
    window, in an hour; a count that was told once says nothing of growth, and one that fell (a
    network corrects itself) did not grow. Less than a minute apart is too little to tell.
    """

    def latest(name: str) -> int | None:
        return next((n for r in reversed(reach) if (n := getattr(r, name)) is not None), None)

    def per_hour(name: str) -> float | None:
        told = [r for r in reach if at - window <= r.at <= at and getattr(r, name) is not None]
        if len(told) < 2 or told[-1].at - told[0].at < timedelta(minutes=1):
            return None
        hours = (told[-1].at - told[0].at) / timedelta(hours=1)
        grown: int = max(getattr(told[-1], name) - getattr(told[0], name), 0)
        return round(grown / hours, 2)

    return Voice(
        followers=followers,
        verified=verified,
        views=latest("views"),
        engagement=latest("engagement"),
        views_per_hour=per_hour("views"),
        engagement_per_hour=per_hour("engagement"),
    )


def in_currency(
    rules: ValueRules, amounts: Sequence[Money]
) -> tuple[float | None, tuple[str, ...]]:
    """Amounts added up in the rule book's currency, and the currencies that have no rate.

    None where no amount could be counted. A score goes by magnitudes, so it is not exact.
    """
    total, unknown = Decimal(0), set[str]()
    counted = False
    for money in amounts:
        rate = 1.0 if money.currency == rules.currency else rules.rates.get(money.currency)
        if rate is None:
            unknown.add(money.currency)
            continue
        total += money.amount * Decimal(str(rate))
        counted = True
    return (round(float(total), 2) if counted else None), tuple(sorted(unknown))


def told(score_: Score) -> str:
    """The score in a line for people: the points, and the main reasons."""
    reasons = "; ".join(term.why for term in score_.main()) or "nothing raises it"
    floor = "; not lower, because of its severity" if score_.floored else ""
    return f"{score_.points:.1f} ({reasons}{floor})"
