"""Claims, merges and moves: what is asked for and what is shown."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from middleware.api.schemas.base import Asked, HubId, Moment, Page, RefText, Shown
from middleware.contract.actions import Operation
from middleware.domain.actions import ActionState
from middleware.domain.claims import ClaimKind

Agent = Annotated[
    str, StringConstraints(pattern=r"^[^/\x00-\x1f]{1,100}$"), Field(examples=["anna"])
]
"""Who works on it, in the tool's own words; without it the key itself holds the claim."""
Why = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=1000)]
Promised = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


# --- claims -------------------------------------------------------------------------------------


class ClaimAsked(Asked):
    """What is claimed: a complaint, a person, an order, or with `line` one line of it."""

    complaint_id: HubId | None = None
    person_id: HubId | None = None
    order: RefText | None = None
    line: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    """The line's id within `order`."""
    agent: Agent | None = None
    tool: Name | None = None
    """Where the agent works: the helpdesk's connection, or what it calls itself."""
    note: Promised | None = None
    """What was promised to the customer; others are told."""
    minutes: int | None = None
    """How long it lasts; by default half an hour."""
    force: Why | None = None
    """Why it is taken although somebody else holds it; they are told, and it is audited."""


class ClaimRenewed(Asked):
    agent: Agent | None = None
    minutes: int | None = None
    note: Promised | None = None


class ClaimReleased(Asked):
    agent: Agent | None = None


class ClaimHandedOver(Asked):
    """To whom a claim goes."""

    agent: Agent | None = None
    """Who holds it now."""
    to: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]{1,200}$")]
    """An agent of the same key, or `key/agent` of another one."""
    direct: bool = False
    """Whether it is theirs at once; otherwise once they accept it."""
    note: Promised | None = None


class ActionHeld(Shown):
    """A corrective action that is under way."""

    id: str
    kind: Operation
    state: ActionState


class HeldShown(Shown):
    """Who works on it, where, since and until when, and what was promised."""

    id: str
    subject: str
    """A complaint's or person's id, an order's reference, or with `#` a line of it."""
    holder: str
    """The key, and after a `/` the agent."""
    tool: str | None
    taken_at: Moment
    expires_at: Moment
    note: str | None
    actions: list[ActionHeld]


class ClaimShown(HeldShown):
    """A lease on an issue."""

    kind: ClaimKind
    complaint_id: str | None
    person_id: str | None
    order: str | None
    offered_to: str | None
    """Who may accept it."""
    version: int


class ClaimPage(Page[ClaimShown]):
    """One page of claims, newest first."""


# --- one issue ----------------------------------------------------------------------------------


class MergeAsked(Asked):
    """Another complaint that is the same issue."""

    other_id: HubId
    reason: Why


class SplitAsked(Asked):
    """Why a complaint is an issue of its own."""

    other_id: HubId | None = None
    """From which one; by default the one that it was merged into."""
    reason: Why


class MoveAsked(Asked):
    """Where a complaint belongs: another brand account, another team, or both."""

    brand_account: Name | None = None
    team: Name | None = None
    reason: Why
