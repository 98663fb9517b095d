"""The rule book of the queue: what weighs how much, what was promised, and what happens when it
gets late. Data with versions, as the policy is; `domain.priority` and `domain.sla` go by it.

One file for all of it, since a target, its calendar, the steps before it and the points that they
give are changed together, tried together on the past, and named by one version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from middleware.contract.actions import Reason
from middleware.contract.canonical import Currency, Frozen, Text
from middleware.contract.mapping.issues import did_you_mean
from middleware.domain.calendars import ALWAYS, Calendar, Zone
from middleware.domain.channels import MESSAGES
from middleware.domain.policy import Duration, Name, PolicyInvalidError
from middleware.domain.understanding import Intent, Sentiment, Severity

AROUND_THE_CLOCK = "always"
"""The calendar that every rule book has."""

ON_CALL = "on_call"
"""In place of a team or an address: whoever is on call at that moment."""

Weight = Annotated[float, Field(ge=0, le=10)]
Points = Annotated[float, Field(ge=-100, le=100)]
Most = Annotated[float, Field(ge=0, le=100)]
PerDoubling = Annotated[float, Field(ge=0, le=10)]
Scale = Annotated[float, Field(gt=0, le=10**12)]


# --- what weighs how much -----------------------------------------------------------------------


class Weights(Frozen):
    """What each term counts. 0 leaves it out, and what it would say is still shown."""

    severity: Weight = 1.0
    sentiment: Weight = 1.0
    intent: Weight = 1.0
    value: Weight = 1.0
    influence: Weight = 1.0
    time: Weight = 1.0
    repeat: Weight = 1.0
    growth: Weight = 1.0


class ValueRules(Frozen):
    """What a customer is worth: points per tier, and per doubling of the figures."""

    tiers: Mapping[str, Points] = Field(
        default_factory=lambda: {"platinum": 1.5, "gold": 1.0, "silver": 0.5, "bronze": 0.0}
    )
    """By the tier's word in small letters; one that is not listed gives nothing, and says so."""
    currency: Currency = "EUR"
    rates: Mapping[Currency, Scale] = Field(default_factory=dict)
    """What one unit of another currency is worth in `currency`; others are not counted."""
    revenue_scale: Scale = 1000.0
    """Revenue of a year that counts as one doubling."""
    per_revenue_doubling: PerDoubling = 0.2
    per_order_doubling: PerDoubling = 0.25
    """Of open orders."""
    per_years_doubling: PerDoubling = 0.2
    """Of years as a customer."""
    margin_field: str | None = None
    """Which mapped field of an account's `extra` holds its margin, as a share of 1."""
    margin: Points = 1.0
    """What a margin of 100 % gives; less in proportion."""
    most: Most = 2.5


class InfluenceRules(Frozen):
    """How far a voice carries: points per doubling above a scale."""

    followers_scale: Scale = 1000.0
    per_followers_doubling: PerDoubling = 0.15
    views_scale: Scale = 10_000.0
    per_views_doubling: PerDoubling = 0.15
    engagement_scale: Scale = 100.0
    """Likes, shares and replies together."""
    per_engagement_doubling: PerDoubling = 0.15
    verified: Annotated[float, Field(ge=0, le=10)] = 0.25
    most: Most = 2.0


class GrowthRules(Frozen):
    """How fast a post's reach grows now, from what its source told of it within `window`."""

    window: Duration = timedelta(hours=6)
    views_scale: Scale = 5000.0
    """Views in an hour that count as one doubling."""
    engagement_scale: Scale = 50.0
    per_doubling: PerDoubling = 0.3
    most: Most = 1.5


class RepeatRules(Frozen):
    """Somebody who has to ask again."""

    window: Duration = timedelta(days=30)
    """How far back other complaints of the same customer count."""
    per_doubling: PerDoubling = 0.75
    """Of contacts: other complaints, and further messages without an answer."""
    most: Most = 2.0


class TimeStep(Frozen):
    """From this share of the promised time on, that many points."""

    used: Annotated[float, Field(gt=0, le=100)]
    points: Points


class Scoring(Frozen):
    """How the score is made: additive points, each the logarithm of a factor to the base of 2."""

    weights: Weights = Weights()
    severity: Mapping[Severity, Points] = Field(
        default_factory=lambda: {
            Severity.LOW: -1.0,
            Severity.NORMAL: 0.0,
            Severity.HIGH: 4.0,
            Severity.CRITICAL: 8.0,
        }
    )
    sentiment: Mapping[Sentiment, Points] = Field(
        default_factory=lambda: {
            Sentiment.POSITIVE: -1.0,
            Sentiment.NEUTRAL: 0.0,
            Sentiment.NEGATIVE: 1.0,
        }
    )
    intent: Mapping[Intent, Points] = Field(
        default_factory=lambda: {
            Intent.COMPLAINT: 0.0,
            Intent.QUESTION: -0.5,
            Intent.PRAISE: -2.0,
            Intent.NOISE: -3.0,
        }
    )
    value: ValueRules = ValueRules()
    influence: InfluenceRules = InfluenceRules()
    growth: GrowthRules = GrowthRules()
    repeat: RepeatRules = RepeatRules()
    time: tuple[TimeStep, ...] = (
        TimeStep(used=0.5, points=1.0),
        TimeStep(used=0.75, points=2.0),
        TimeStep(used=0.9, points=3.0),
        TimeStep(used=1.0, points=4.0),
        TimeStep(used=2.0, points=5.0),
    )
    floors: Mapping[Severity, Points] = Field(
        default_factory=lambda: {
            Severity.LOW: -2.0,
            Severity.NORMAL: -2.0,
            Severity.HIGH: 3.0,
            Severity.CRITICAL: 7.0,
        }
    )
    """What the score does not go below, whoever wrote; the points of time come on top."""

    def mistakes(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """What would let somebody's voice bury an ordinary customer, and what is not in order."""
        for name, table in (("severity", self.severity), ("floors", self.floors)):
            missing = [one.value for one in Severity if one not in table]
            if missing:
                yield (name,), f"says nothing of {', '.join(missing)}"
                return
        for name, words, table_ in (
            ("sentiment", Sentiment, self.sentiment),
            ("intent", Intent, self.intent),
        ):
            gone = [one.value for one in words if one not in table_]
            if gone:
                yield (name,), f"says nothing of {', '.join(gone)}"
        if any(later.used <= one.used for one, later in pairwise(self.time)):
            yield ("time",), "steps are listed by `used`, the smallest first"
        if any(later.points < one.points for one, later in pairwise(self.time)) or any(
            step.points < 0 for step in self.time
        ):
            yield ("time",), "points never fall as time passes"
        loud = self.most_of_voice
        weight = self.weights.severity
        for lower, higher in (
            (Severity.LOW, Severity.NORMAL),
            (Severity.NORMAL, Severity.HIGH),
            (Severity.HIGH, Severity.CRITICAL),
        ):
            gap = weight * (self.severity[higher] - self.severity[lower])
            if gap < 0:
                yield ("severity", higher.value), f"is not less than {lower.value}"
            grave = higher in (Severity.HIGH, Severity.CRITICAL)
            if grave and gap < loud + SMALLEST_LEAD:
                yield (
                    ("severity", higher.value),
                    f"is only {gap:g} points above {lower.value}, and influence and growth together"
                    f" give up to {loud:g}: an ordinary customer's {higher.value} complaint would"
                    " come after a milder one of a louder voice",
                )
            if self.floors[higher] < self.floors[lower] + (SMALLEST_LEAD if grave else 0):
                yield ("floors", higher.value), f"must be above that of {lower.value}"
        if self.points_of_time(1.0) < loud:
            yield (
                ("time",),
                f"a promise that is broken gives {self.points_of_time(1.0):g} points, and influence"
                f" and growth together up to {loud:g}: whose time is up would wait behind voices",
            )

    @property
    def most_of_voice(self) -> float:
        """What influence and growth give at the very most, together."""
        weights = self.weights
        return weights.influence * self.influence.most + weights.growth * self.growth.most

    def points_of_time(self, used: float) -> float:
        """Weighted points for a share of the promised time that has passed."""
        reached = [step.points for step in self.time if used >= step.used - SLACK]
        return self.weights.time * (reached[-1] if reached else 0.0)


SLACK = 1e-6
"""Shares of time are told apart by more than this: times are kept to the microsecond."""

SMALLEST_LEAD = 0.01
"""Points by which what must come first is ahead at least: ten times what scores are rounded to."""


# --- what was promised --------------------------------------------------------------------------


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Words = Annotated[tuple[Text, ...] | None, BeforeValidator(_listed)]


class When(Frozen):
    """Which complaints; what is left out is any."""

    channel: Words = None
    """The network: x, instagram, email, …"""
    brand: Words = None
    """The brand's account, by the network's id."""
    tier: Words = None
    category: Words = None
    """The reason that was understood, such as damaged; `unknown` where none was."""
    severity: Words = None
    team: Words = None

    def matches(self, facts: Facts) -> bool:
        return all(
            wanted is None or _word(name, getattr(facts, name)) in {_word(name, w) for w in wanted}
            for name, wanted in ((name, getattr(self, name)) for name in type(self).model_fields)
        )


def _word(name: str, value: str | None) -> str:
    """A fact as rules compare it: words however they are capitalised, a brand's id as it is."""
    word = value or "unknown"
    return word if name == "brand" else word.lower()


class Facts(Frozen):
    """What rules of a rule book go by."""

    channel: str | None = None
    brand: str | None = None
    tier: str | None = None
    category: str | None = None
    severity: str | None = None
    team: str | None = None


class ClockKind(StrEnum):
    FIRST_RESPONSE = "first_response"
    NEXT_RESPONSE = "next_response"
    RESOLUTION = "resolution"


class Target(Frozen):
    """What is promised to some complaints, in the working time of a calendar."""

    name: Name
    when: When = When()
    first_response: Duration | None = None
    next_response: Duration | None = None
    resolution: Duration | None = None
    calendar: Name = AROUND_THE_CLOCK

    def of(self, kind: ClockKind) -> timedelta | None:
        found: timedelta | None = getattr(self, kind.value)
        return found


class TeamRule(Frozen):
    """Whose the complaints are that match, as long as nobody has moved them."""

    when: When = When()
    team: Name


class Swap(Frozen):
    """Somebody else is on call from then until then, by the rota's clock on the wall."""

    since: datetime
    until: datetime
    who: Name

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since.tzinfo is not None or self.until.tzinfo is not None:
            raise ValueError("times of a rota are local: leave the zone out")
        if self.since >= self.until:
            raise ValueError("a swap begins before it ends")
        return self


class Rota(Frozen):
    """Who is on call outside the hours of a calendar; people take turns of equal length."""

    zone: Zone = "UTC"
    hours: Name
    """The calendar within which the team itself is there, and nobody is on call."""
    first: datetime
    """When the first one's first turn begins, by the clock on the wall."""
    every: Duration = timedelta(days=7)
    people: Annotated[tuple[Name, ...], Field(min_length=1)]
    swaps: tuple[Swap, ...] = ()

    @model_validator(mode="after")
    def _local(self) -> Self:
        if self.first.tzinfo is not None:
            raise ValueError("times of a rota are local: leave the zone out")
        return self


class Escalation(Frozen):
    """What happens when a share of a promised time has passed, or so much more than all of it."""

    name: Name
    clock: ClockKind = ClockKind.FIRST_RESPONSE
    used: Annotated[float, Field(gt=0, le=100)] | None = None
    """The share of the promised time; 1 is the moment it is due."""
    late: Duration | None = None
    """How long after it was due, in working time."""
    when: When = When()
    assign: Name | None = None
    """The team that it goes to; `on_call` means whoever is."""
    add: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Points on its priority for as long as this clock runs."""
    email: Annotated[tuple[Text, ...], BeforeValidator(_listed)] = ()
    """Addresses, people of this rule book, or `on_call`. The event is told in any case."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.used is None) == (self.late is None):
            raise ValueError("needs either `used` or `late`")
        return self

    def share(self, target: timedelta) -> timedelta:
        """How much working time has passed when it is due."""
        return target * self.used if self.used is not None else target + (self.late or timedelta(0))


# --- the book -----------------------------------------------------------------------------------


class RuleBook(Frozen):
    """All of it. What is left out is as the shipped rule book has it."""

    scoring: Scoring = Scoring()
    calendars: Mapping[Name, Calendar] = Field(default_factory=dict)
    targets: tuple[Target, ...] = (
        Target(
            name="within-the-hour",
            first_response=timedelta(hours=1),
            next_response=timedelta(hours=4),
            resolution=timedelta(days=3),
        ),
    )
    """The first that matches is what is promised; with none, nothing is."""
    teams: tuple[TeamRule, ...] = ()
    people: Mapping[Name, str] = Field(default_factory=dict)
    """E-mail addresses by name."""
    rota: Rota | None = None
    escalations: tuple[Escalation, ...] = ()

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        mistakes = [(("scoring", *path), why) for path, why in self.scoring.mistakes()]
        mistakes += self._mistakes()
        if mistakes:
            raise PolicyInvalidError(mistakes)
        return self

    def _mistakes(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        known = {*self.calendars, AROUND_THE_CLOCK}
        if AROUND_THE_CLOCK in self.calendars:
            yield ("calendars", AROUND_THE_CLOCK), "is there already, and is around the clock"
        for place, target in enumerate(self.targets):
            if target.calendar not in known:
                yield ("targets", place, "calendar"), f"there is no calendar {target.calendar!r}"
        yield from _twice("targets", [target.name for target in self.targets])
        yield from _twice("escalations", [step.name for step in self.escalations])
        if self.rota is not None:
            if self.rota.hours not in known:
                yield ("rota", "hours"), f"there is no calendar {self.rota.hours!r}"
            for who in [*self.rota.people, *(swap.who for swap in self.rota.swaps)]:
                if who not in self.people:
                    yield ("rota", "people"), f"{who!r} is not among `people`"
        for place, step in enumerate(self.escalations):
            if ON_CALL in (step.assign, *step.email) and self.rota is None:
                yield ("escalations", place), "there is no `rota` to say who is on call"
            for address in step.email:
                if address != ON_CALL and address not in self.people and not _address(address):
                    yield (
                        ("escalations", place, "email"),
                        f"{address!r} is neither an address nor one of `people`",
                    )
        for name, address in self.people.items():
            if not _address(address):
                yield ("people", name), f"{address!r} is not an e-mail address"

    def warnings(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Words of conditions that nothing is known to bear: the rule may never match.

        Only what is in this book is known here: a source may send other networks, and people may
        move complaints to other teams.
        """
        teams = {rule.team for rule in self.teams} | {
            step.assign for step in self.escalations if step.assign not in (None, ON_CALL)
        }
        known: dict[str, tuple[set[str], str]] = {
            "category": ({reason.value for reason in Reason}, "no reason is called"),
            "severity": ({severity.value for severity in Severity}, "no severity is called"),
            "tier": (set(self.scoring.value.tiers), "`scoring.value.tiers` has no"),
            "team": ({str(team) for team in teams}, "no rule gives complaints to"),
        }
        for listed in ("targets", "teams", "escalations"):
            for place, rule in enumerate(getattr(self, listed)):
                for name, (words, why) in known.items():
                    there = {_word(name, word) for word in words}
                    for said in getattr(rule.when, name) or ():
                        if _word(name, said) not in (there | {_word(name, None)}):
                            hint = did_you_mean(said.lower(), sorted(there))
                            yield (listed, place, "when", name), f"{why} {said!r}{hint}"
                for said in rule.when.channel or ():
                    hint = did_you_mean(said.lower(), sorted(MESSAGES))
                    if said.lower() not in MESSAGES and hint:
                        at = (listed, place, "when", "channel")
                        yield at, f"no network of a known source is called {said!r}{hint}"

    def calendar(self, name: str) -> Calendar:
        return ALWAYS if name == AROUND_THE_CLOCK else self.calendars[name]

    def target_for(self, facts: Facts) -> Target | None:
        return next((target for target in self.targets if target.when.matches(facts)), None)

    def team_for(self, facts: Facts) -> str | None:
        return next((rule.team for rule in self.teams if rule.when.matches(facts)), None)

    def steps_for(self, kind: ClockKind, facts: Facts) -> list[Escalation]:
        return [s for s in self.escalations if s.clock is kind and s.when.matches(facts)]

    def escalation(self, name: str) -> Escalation | None:
        return next((step for step in self.escalations if step.name == name), None)


def _address(text: str) -> bool:
    local, at, domain = text.partition("@")
    return bool(local and at and domain) and not any(c.isspace() or c in ",;<>" for c in text)


def _twice(where: str, names: Sequence[str]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for place, name in enumerate(names):
        if name in names[:place]:
            yield (where, place, "name"), f"{name!r} is there twice"
