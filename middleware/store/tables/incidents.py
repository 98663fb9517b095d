"""Signals, and the incidents that they add up to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from middleware.store.tables.columns import GIVEN, json, moment


class SignalRow(SQLModel, table=True):
    """A complaint seen under one of its keys: what a burst of that key is made of."""

    __tablename__ = "signal"
    __table_args__ = (sa.Index("ix_signal_complaint", "complaint_id"),)

    key: str = Field(primary_key=True)
    """`kind:value`; see `middleware.domain.bursts`."""
    bucket: int = Field(primary_key=True, sa_type=sa.BigInteger, sa_column_kwargs=GIVEN)
    """When it arrived, in buckets."""
    complaint_id: str = Field(primary_key=True, foreign_key="complaint.id")
    who: str
    """The person, else the identity, else the complaint: whom one voice is counted by."""
    reach: int = 0
    """How many follow them."""


class SignalCountRow(SQLModel, table=True):
    """How many complaints a key had in a bucket of time."""

    __tablename__ = "signal_count"
    __table_args__ = (
        sa.Index(
            "ix_signal_count_unread",
            "bucket",
            sqlite_where=sa.text("unread = 1"),
            postgresql_where=sa.text("unread"),
        ),
    )

    key: str = Field(primary_key=True)
    bucket: int = Field(primary_key=True, sa_type=sa.BigInteger, sa_column_kwargs=GIVEN)
    count: int
    unread: bool = True
    """Whether it changed since bursts were last looked for."""


class SignalPastRow(SQLModel, table=True):
    """A key's past, as far as it is folded into its baseline; `all` keeps the week's profile."""

    __tablename__ = "signal_past"

    key: str = Field(primary_key=True)
    folded: int = Field(sa_type=sa.BigInteger)
    """The hour since 1970 up to which it is folded."""
    count: float
    season: dict[str, Any] | None = json(null=True)


class SketchRow(SQLModel, table=True):
    """What a complaint's words look like, where nothing more specific is known of it."""

    __tablename__ = "sketch"
    __table_args__ = (
        sa.Index(
            "ix_sketch_unread",
            "complaint_id",
            sqlite_where=sa.text("leader is null"),
            postgresql_where=sa.text("leader is null"),
        ),
        sa.Index("ix_sketch_leader", "leader", "bucket"),
    )

    complaint_id: str = Field(primary_key=True, foreign_key="complaint.id")
    bucket: int = Field(sa_type=sa.BigInteger)
    who: str
    reach: int = 0
    sketch: bytes
    leader: str | None = None
    """The first complaint that said the same; its own id for that one itself."""


class VectorRow(SQLModel, table=True):
    """Where an encoder puts a complaint's text, where nothing more specific is known of it."""

    __tablename__ = "vector"
    __table_args__ = (
        sa.Index("ix_vector_bucket", "bucket"),
        sa.Index(
            "ix_vector_unread",
            "complaint_id",
            sqlite_where=sa.text("unread = 1"),
            postgresql_where=sa.text("unread"),
        ),
    )

    complaint_id: str = Field(primary_key=True, foreign_key="complaint.id")
    bucket: int = Field(sa_type=sa.BigInteger)
    who: str
    reach: int = 0
    encoder: str
    """Whose vector it is; those of different encoders can't be compared."""
    vector: bytes
    """As `middleware.understanding.nearness` packs it."""
    unread: bool = True
    """Whether it has not been compared with others."""
    centre: bytes | None = None
    """Of a text that a burst is named by: the middle of what was near to it then."""


class IncidentRow(SQLModel, table=True):
    """One pile-on: what complaints have in common, from when on, and what is done about it."""

    __tablename__ = "incident"
    __table_args__ = (
        sa.Index("ix_incident_state", "state", "id"),
        sa.Index("ix_incident_over", "over_at"),
    )

    id: str = Field(primary_key=True)
    state: str
    """open, confirmed, dismissed, closed."""
    key: str
    """What it is named by: the most specific key that covers it."""
    title: str
    onset_at: datetime = moment()
    """Since when it grows faster than usual."""
    opened_at: datetime = moment()
    last_at: datetime = moment()
    """When the last complaint of it arrived."""
    over_at: datetime | None = moment(null=True)
    """Since when it is ordinary again; None while it lasts."""
    found: int
    """Complaints in the window that opened it."""
    expected: float
    surprise: float
    complaints: int = 0
    persons: int = 0
    reach: int = Field(default=0, sa_type=sa.BigInteger)
    growth: int = 0
    """Complaints of the last hour less those of the hour before, when last looked at."""
    told: int = 0
    """How many complaints it had when its growth was last told."""
    proposed: dict[str, Any] | None = json(null=True)
    """The remedy that most of them ask for, and how that was found."""
    typical: dict[str, Any] | None = json(null=True)
    """The words that tell it apart, and the ids of complaints that have most of them."""
    affected_state: str = "owed"
    """Whether everybody affected is listed: owed, listed, or capped."""
    decided_by: str | None = None
    decided_at: datetime | None = moment(null=True)
    reason: str | None = None
    merged_into: str | None = None
    """The incident that it turned out to be a part of."""
    updated_at: datetime = moment()
    version: int = 1


class IncidentKeyRow(SQLModel, table=True):
    """A key that an incident answers for; while it is live, no other incident opens for it."""

    __tablename__ = "incident_key"
    __table_args__ = (
        sa.Index(
            "ux_incident_key_live",
            "key",
            unique=True,
            sqlite_where=sa.text("live = 1"),
            postgresql_where=sa.text("live"),
        ),
        sa.Index("ix_incident_key_key", "key"),
    )

    incident_id: str = Field(primary_key=True, foreign_key="incident.id")
    key: str = Field(primary_key=True)
    gives: bool
    """Whether all its complaints belong to the incident; a wider one is only attached."""
    since: int = Field(sa_type=sa.BigInteger)
    """The bucket from which on."""
    live: bool = True


class IncidentMemberRow(SQLModel, table=True):
    """A complaint of an incident, or one that somebody took out of it."""

    __tablename__ = "incident_member"
    __table_args__ = (
        sa.Index("ix_incident_member_complaint", "complaint_id"),
        sa.Index("ix_incident_member_order", "incident_id", "bucket", "complaint_id"),
    )

    incident_id: str = Field(primary_key=True, foreign_key="incident.id")
    complaint_id: str = Field(primary_key=True, foreign_key="complaint.id")
    bucket: int = Field(sa_type=sa.BigInteger)
    who: str
    reach: int = 0
    put_by: str | None = None
    """Who put it in by hand, or took it out; None where a key did."""
    out: bool = False


class AffectedRow(SQLModel, table=True):
    """An order that an incident concerns, whether or not its customer has complained."""

    __tablename__ = "affected"

    incident_id: str = Field(primary_key=True, foreign_key="incident.id")
    order_ref: str = Field(primary_key=True)
    lines: list[Any] = json()
    """Ids of the lines that are concerned."""
    why: str
    """The key that it has, or `complaint`."""
    complaint_id: str | None = None
    """The complaint about it; None of somebody who is silent."""
