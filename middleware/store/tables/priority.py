"""The rule book, reach, clocks and escalation steps."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from middleware.store.tables.columns import Moment, json, moment


class ReachRow(SQLModel, table=True):
    """What a source told of a message's reach at a time."""

    __tablename__ = "reach"

    complaint_id: str = Field(primary_key=True, foreign_key="complaint.id")
    at: datetime = Field(sa_type=Moment, primary_key=True)
    source_id: str = Field(primary_key=True)
    views: int | None = Field(default=None, sa_type=sa.BigInteger)
    engagement: int | None = Field(default=None, sa_type=sa.BigInteger)
    """Likes, shares and replies together."""


class SlaClockRow(SQLModel, table=True):
    """One promise about one complaint: what ran, until when, and whether it was kept."""

    __tablename__ = "sla_clock"
    __table_args__ = (
        sa.UniqueConstraint("complaint_id", "kind", "number"),
        sa.Index("ix_sla_clock_started", "started_at"),
    )

    id: str = Field(primary_key=True)
    complaint_id: str = Field(foreign_key="complaint.id")
    kind: str
    """first_response, next_response, resolution."""
    number: int
    state: str
    """running, paused, answered, closed (ended without what was promised), dropped (what it was
    about is gone)."""
    target: str
    """Its name in the rule book."""
    version: int
    """Of the rule book that it runs under."""
    promised_s: float
    """In working time."""
    used_s: float
    """Working time until it ended; while it runs, until it was last looked at."""
    started_at: datetime = moment()
    due_at: datetime | None = moment(null=True)
    """None while it is paused."""
    ended_at: datetime | None = moment(null=True)
    elapsed_s: float | None = None
    """Time on the wall from its start to its end."""
    channel: str
    brand: str | None = None
    team: str | None = None
    tier: str | None = None
    category: str | None = None


class EscalationRow(SQLModel, table=True):
    """A step that is taken when a clock has run for so long; the row sees to it that it is once."""

    __tablename__ = "escalation"
    __table_args__ = (
        sa.UniqueConstraint("clock_id", "step"),
        sa.Index("ix_escalation_due", "state", "due_at"),
        sa.Index("ix_escalation_complaint", "complaint_id"),
    )

    id: str = Field(primary_key=True)
    clock_id: str = Field(foreign_key="sla_clock.id")
    complaint_id: str = Field(foreign_key="complaint.id")
    step: str
    state: str
    """due, fired, cancelled."""
    due_at: datetime | None = moment(null=True)
    """None while its clock is paused."""
    fired_at: datetime | None = moment(null=True)
    late_s: float | None = None
    """How long after it was due it was taken."""
    points: float = 0.0
    """What it adds to the score while its clock runs."""
    detail: dict[str, Any] | None = json(null=True)
    """What was done: assigned, on_call, mailed (how many)."""
