"""The queue: scores with their terms, the rule book, simulations, clocks, and the report."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from middleware.api.schemas.base import Asked, Moment, Page, Shown, When
from middleware.domain.rulebook import ClockKind

RulesBody = Annotated[
    dict[str, Any],
    Field(
        description="Scoring, calendars, targets, teams, people, rota and escalations in the form "
        "of a rule book; see docs/priority.md. What is left out is as shipped.",
        max_length=20,
    ),
]
Number = Annotated[int, Field(ge=0, le=2**31 - 1)]


# --- a score ------------------------------------------------------------------------------------


class TermShown(Shown):
    """One term of a score, in points; it adds to the others."""

    name: str
    """severity, sentiment, intent, value, influence, time, repeat, growth; raised by a step."""
    input: dict[str, Any]
    """What it went by."""
    known: bool
    """False where nothing is known: it counts as neutral."""
    weight: float
    points: float
    """With the weight in it. One point more is twice as urgent."""
    why: str


class ScoreShown(Shown):
    """How urgent a complaint is, and what that is made of."""

    points: float
    terms: list[TermShown]
    floor: float
    """What it does not go below, by its severity and its time."""
    floored: bool
    rulebook_version: int
    at: Moment
    """When it was last scored."""
    next_at: Moment | None
    """When time alone changes it next."""


class ClockShown(Shown):
    """One promise about a complaint."""

    id: str
    kind: ClockKind
    number: int
    """Counts the clocks of its kind."""
    state: str
    """running, paused, answered, closed (ended without what was promised), dropped."""
    target: str
    promised_s: float
    """In working time."""
    used_s: float
    """Working time until it ended, or until it was last looked at."""
    started_at: Moment
    due_at: Moment | None
    ended_at: Moment | None
    rulebook_version: int


class StepShown(Shown):
    """An escalation step of a clock."""

    step: str
    clock_id: str
    state: str
    """due, fired, cancelled."""
    due_at: Moment | None
    fired_at: Moment | None
    late_s: float | None
    """How long after it was due it was taken."""
    detail: dict[str, Any]


# --- the rule book ------------------------------------------------------------------------------


class _RulesOrVersion(Asked):
    rules: RulesBody | None = None
    version: Number | None = None
    """An earlier version instead of a rule book."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.rules is None) == (self.version is None):
            raise ValueError("needs either `rules` or `version`")
        return self


class RulesAsked(_RulesOrVersion):
    """The rule book that is to be in force: a new one, or an earlier version again."""

    reason: Annotated[str, Field(max_length=1000)] | None = None


class SimulationAsked(_RulesOrVersion):
    """A rule book to try on past complaints, and on which."""

    model_config = ConfigDict(populate_by_name=True)

    since: Annotated[When | None, Field(alias="from")] = None
    """Left out: 30 days before `to`."""
    until: Annotated[When | None, Field(alias="to")] = None
    """Left out: now."""
    top: Annotated[int, Field(ge=1, le=10_000)] = 50
    """How many places the first of the queue are taken for."""


class RulesListed(Shown):
    """A version of the rule book."""

    version: int
    """0 is what the configuration says, before any version was stored."""
    source: str
    """file, api or cli."""
    author: str
    reason: str | None
    created_at: Moment | None


class RulesShown(RulesListed):
    """A version of the rule book with all that it says."""

    rules: dict[str, Any]
    warnings: list[WarningShown]
    """What is in force and looks mistyped: conditions with words that nothing is known to bear."""


class WarningShown(Shown):
    """What looks mistyped; it may be right all the same."""

    pointer: str
    """Where in `rules`."""
    detail: str


class RulesPage(Page[RulesListed]):
    """One page of versions, newest first."""


class MoveShown(Shown):
    """A complaint that would stand elsewhere. Ranks count from 1, the most urgent."""

    complaint_id: str
    opened_at: Moment
    was: float
    would: float
    was_rank: int
    would_rank: int
    up: int
    """Places that it moves up; negative is down."""
    term: str | None
    """The term that changed most; `floor` where that decided, `null` where only others moved."""
    by: float
    why: str


class SimulationShown(Shown):
    """What another rule book would have made of past complaints. Nothing was written."""

    since: Moment
    until: Moment
    version: int
    """Of the rule book in force, which the other one was held against."""
    complaints: int
    unscored: int
    complete: bool
    """False where there were more complaints than are simulated in one go."""
    moved: int
    up: int
    down: int
    top: int
    overlap: int
    """How many are among the first `top` under both."""
    terms: dict[str, int]
    """By term: how many complaints' scores it changed most."""
    moves: list[MoveShown]
    """Those that move, the farthest first; 1,000 at most."""


class OnCallShown(Shown):
    """Who is there at a moment."""

    at: Moment
    on_call: str | None
    """`null` within the hours of the team, or without a rota."""
    rulebook_version: int


# --- the report ---------------------------------------------------------------------------------


class ResponsesShown(Shown):
    """The clocks of one kind that began in a time, of one channel, brand or team."""

    kind: ClockKind
    group: str | None
    """Which one; `null` for those without, and for all together."""
    started: int
    answered: int
    answered_share: float
    """Of those that began."""
    within_hour: int
    within_hour_share: float
    """Of those that began."""
    kept: int
    """Answered in time, by the working time of their calendar."""
    breached: int
    median_s: float | None
    """On the wall, of those answered: the nearest rank."""
    p90_s: float | None
    slowest_s: float | None


class StepsTakenShown(Shown):
    """How late the escalation steps of that time were taken."""

    fired: int
    waiting: int
    """Due and not taken yet."""
    median_s: float | None
    p99_s: float | None
    latest_s: float | None


class ResponseReportShown(Shown):
    """Response times and rates against what was promised."""

    since: Moment
    until: Moment
    by: Literal["all", "channel", "brand", "team"]
    groups: list[ResponsesShown]
    escalations: StepsTakenShown
