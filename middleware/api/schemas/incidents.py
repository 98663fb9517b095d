"""Incidents as requests ask for them and answers show them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from middleware.api.schemas.base import (
    Asked,
    HubId,
    Moment,
    MoneyShown,
    Page,
    RefShown,
    Short,
    Shown,
)
from middleware.api.schemas.complaints import ComplaintListed
from middleware.contract.actions import Operation


class ProposalShown(Shown):
    """One remedy for everybody, and how it was found."""

    operation: str
    reason: str
    why: str
    of: int
    """How many complaints were looked at."""


class IncidentShown(Shown):
    """One pile-on: what complaints have in common, since when, and how large it is."""

    id: Annotated[str, Field(examples=["inc_019c9d6f3a5e7c41b1d0a2f4c6e88b01"])]
    state: Annotated[str, Field(description="open, confirmed, dismissed, closed")]
    key: Annotated[str, Field(examples=["lot:L77"])]
    """What it is named by: the most specific key that covers it."""
    title: str
    onset_at: Moment
    """Since when there are more complaints than usual."""
    opened_at: Moment
    last_at: Moment
    """When the last of its complaints arrived, to five minutes."""
    over_at: Moment | None
    """Since when it is ordinary again."""
    found: int
    """Complaints in the window that opened it."""
    expected: float
    """How many the key's own past would have had there."""
    surprise: float
    """How improbable that was, as zeros after the point."""
    complaints: int
    persons: int
    reach: int
    """How many follow those who complain."""
    growth_per_hour: int
    """Complaints of the last hour less those of the hour before, when last looked at."""
    proposed: ProposalShown | None
    decided_by: str | None
    decided_at: Moment | None
    reason: str | None
    merged_into: str | None
    """The incident that it turned out to be a part of; its complaints are in that one, too."""
    updated_at: Moment
    version: int


class IncidentKeyShown(Shown):
    """A key that bursts together with an incident."""

    key: str
    gives: bool
    """Whether all its complaints belong to the incident; a wider one is only attached."""
    since: Moment


class SampleShown(Shown):
    """What somebody wrote in one of an incident's complaints."""

    complaint_id: str
    text: str


class IncidentDetailShown(IncidentShown):
    """An incident with its keys, what is typical of it, and whom it concerns."""

    keys: list[IncidentKeyShown]
    words: list[str]
    """What its texts say more often than those before it, the most telling first."""
    samples: list[SampleShown]
    """Up to three complaints that say the most of that, as far as they are not deleted."""
    affected: int
    """Orders that it concerns."""
    silent: int
    """Those of them of which nobody has complained."""
    affected_state: str
    """owed (they are being listed), listed, or capped (there are more)."""


class IncidentPage(Page[IncidentShown]):
    """One page of incidents, newest first."""


class IncidentMemberShown(Shown):
    """A complaint of an incident."""

    complaint: ComplaintListed
    reach: int
    put_by: str | None
    """Who put it in by hand; `null` where a key did."""


class IncidentMemberPage(Page[IncidentMemberShown]):
    """One page of an incident's complaints, newest first."""


class EligibleShown(Shown):
    """What one affected order may get."""

    order: RefShown
    number: str | None
    lines: list[str]
    complaint_id: str | None
    """The complaint about it; `null` of a customer who is silent."""
    person_id: str | None
    outcome: Annotated[str, Field(description="allow, approve, evidence, no")]
    why: list[str]
    """Rules and reasons, by name."""
    action: dict[str, Any] | None
    """The body for `POST /v1/actions` that gives it; `null` where there is nothing to give."""
    worth: MoneyShown | None


class EligibilityPage(Page[EligibleShown]):
    """One page of affected orders, by reference."""


class IncidentConfirmed(Asked):
    """That it is one, and which remedy its customers are to get."""

    operation: Literal["replacement_order", "return", "credit", "cancellation", "case"] | None = (
        None
    )
    reason: Short | None = None

    @property
    def chosen(self) -> Operation | None:
        return Operation(self.operation) if self.operation else None


class IncidentEnded(Asked):
    """Why it is none, or is over."""

    reason: Short


class IncidentComplaint(Asked):
    """A complaint that belongs to it, and how that is known."""

    complaint_id: HubId
    reason: Short
