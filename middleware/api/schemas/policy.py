"""The policy: shown, put, and tried on the past."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from middleware.api.schemas.base import Asked, Moment, MoneyShown, Page, Shown, When
from middleware.contract.actions import Operation
from middleware.domain.policy import Ask, Missing, Outcome

PolicyBody = Annotated[
    dict[str, Any],
    Field(
        description="Roles, rules and caps in the form of a policy file; see docs/policy.md.",
        max_length=20,
    ),
]
Number = Annotated[int, Field(ge=0, le=2**31 - 1)]


class _PolicyOrVersion(Asked):
    policy: PolicyBody | None = None
    version: Number | None = None
    """An earlier version instead of a policy."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.policy is None) == (self.version is None):
            raise ValueError("needs either `policy` or `version`")
        return self


class PolicyAsked(_PolicyOrVersion):
    """The policy that is to be in force: a new one, or an earlier version again."""

    reason: Annotated[str, Field(max_length=1000)] | None = None


class BacktestAsked(_PolicyOrVersion):
    """A policy to try on the past, and on which part of it."""

    model_config = ConfigDict(populate_by_name=True)

    since: Annotated[When | None, Field(alias="from")] = None
    """Left out: 30 days before `to`."""
    until: Annotated[When | None, Field(alias="to")] = None
    """Left out: now."""


class PolicyListed(Shown):
    """A version of the policy."""

    version: int
    """0 is what the configuration says, before any version was stored."""
    source: str
    """file, api or cli."""
    author: str
    reason: str | None
    created_at: Moment | None


class PolicyShown(PolicyListed):
    """A version of the policy with all that it says."""

    policy: dict[str, Any]


class PolicyPage(Page[PolicyListed]):
    """One page of versions, newest first."""


class StageShown(Shown):
    """One approval that is wanted."""

    role: str | None
    """`null` means anyone who may approve."""
    within: str | None
    delegates: list[str]


class SayShown(Shown):
    """What one rule or cap had to say, by its name."""

    rule: str
    asks: list[Ask]
    why: str
    """The figures that it went by."""
    because: str | None
    """The company's own words for it."""


class VerdictShown(Shown):
    """What the policy says; the strictest rule decides."""

    outcome: Outcome
    stages: list[StageShown]
    missing: list[Missing]
    cool_off: str | None
    says: list[SayShown]


class JudgedShown(VerdictShown):
    """What the policy said to an action when it was asked for, or says now to one that is not."""

    version: int
    """Of the policy."""


class DifferenceShown(Shown):
    """An action that the other policy would have treated differently."""

    action_id: str
    created_at: Moment
    operation: Operation
    value: MoneyShown | None
    version: int
    """Of the policy that it was accepted under."""
    was: VerdictShown
    would: VerdictShown


class TallyShown(Shown):
    """How many actions came to an outcome, and what they were worth together."""

    outcome: Outcome
    was: int
    would: int
    was_worth: list[MoneyShown]
    would_be_worth: list[MoneyShown]


class BacktestShown(Shown):
    """What a policy would have said to past actions. Nothing was written.

    One answer judges 1,000 actions at most, oldest first; `next_cursor` goes on from there.
    """

    since: Moment
    until: Moment
    judged: int
    without_facts: int
    """Actions that no policy judged, such as the hub's own notes."""
    differing: int
    outcomes: list[TallyShown]
    differences: list[DifferenceShown]
    complete: bool
    """Whether this answer reaches the end of the time; otherwise ask again with `next_cursor`."""
    next_cursor: str | None
