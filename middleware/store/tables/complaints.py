"""Complaints, what was said in them, and how they hang together."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from middleware.store.tables.columns import json, moment


class ComplaintRow(SQLModel, table=True):
    """One customer issue from one or more arrivals."""

    __tablename__ = "complaint"
    __table_args__ = (
        sa.UniqueConstraint("connection", "conversation"),
        sa.Index("ix_complaint_person", "person_id", "id"),
        sa.Index("ix_complaint_state", "state", "id"),
        sa.Index("ix_complaint_queue", "state", "priority", "id"),
        sa.Index("ix_complaint_brand_queue", "brand_account", "state", "priority", "id"),
        sa.Index("ix_complaint_team_queue", "team", "state", "priority", "id"),
        sa.Index("ix_complaint_rescore", "rescore_at"),
        sa.Index("ix_complaint_due", "due_at"),
        sa.Index("ix_complaint_opened", "opened_at"),
    )

    id: str = Field(primary_key=True)
    connection: str
    conversation: str
    """The source's thread or ticket: arrivals of one conversation are one issue."""
    network: str
    brand_account: str | None = None
    state: str
    """open, closed, deleted."""
    identity_id: str | None = Field(default=None, foreign_key="identity.id", index=True)
    person_id: str | None = Field(default=None, foreign_key="person.id")
    resolution: dict[str, Any] | None = json(null=True)
    """The last decision about who this is: outcome, candidates, reasons."""
    understanding: dict[str, Any] | None = json(null=True)
    order_match: dict[str, Any] | None = json(null=True)
    """Which order is meant: ranking with reasons, and the choice where there is one."""
    order_ref: str | None = None
    incident_id: str | None = Field(default=None, index=True)
    """The incident that it is part of; of several the first."""
    stale: bool = False
    """Whether arrivals have changed since it was last understood."""
    priority: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """Its score in thousandths of a point; the highest is to be dealt with first."""
    priority_terms: dict[str, Any] | None = json(null=True)
    """What the score is made of: version, at, score, inputs; see `flows.prioritise`."""
    due_at: datetime | None = moment(null=True)
    """When the first of its running clocks is due."""
    rescore_at: datetime | None = moment(null=True)
    """When its score is made anew, because time alone changes it or a rule book has changed."""
    team: str | None = None
    """Who looks after it, as a rule, an escalation or a person said."""
    status_changes: list[Any] | None = json(null=True)
    """How the conversation stood, by its source: pairs of a time and that source's word."""
    merged_into: str | None = Field(default=None, index=True)
    """The complaint that this one is the same issue as; that one may be merged further."""
    opened_at: datetime = moment()
    updated_at: datetime = moment()
    version: int = 1


class UnderstandingLabelRow(SQLModel, table=True):
    """What somebody says a complaint is really about. The text stays with its arrivals."""

    __tablename__ = "understanding_label"
    __table_args__ = (sa.Index("ix_understanding_label_complaint", "complaint_id", "id"),)

    id: str = Field(primary_key=True)
    complaint_id: str = Field(foreign_key="complaint.id")
    question: str
    """intent, sentiment, reason, remedy."""
    value: str
    was: str
    """What had been understood, `unknown` where nothing was."""
    judged_by: str
    said_by: str
    said_at: datetime = moment()


class UnderstandingHeadsRow(SQLModel, table=True):
    """Heads of the model that were fitted to labels; the newest of a model are in use."""

    __tablename__ = "understanding_heads"

    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    model: str
    """The model they belong to, by its hash: heads say nothing to another encoder."""
    data: bytes
    report: dict[str, Any] = json()
    """What they were fitted to, and how right they and the former ones were."""
    made_by: str
    made_at: datetime = moment()


class UnderstandingTrainingRow(SQLModel, table=True):
    """One fitting of the heads that somebody asked for, and what came of it."""

    __tablename__ = "understanding_training"
    __table_args__ = (sa.Index("ix_understanding_training_state", "state", "id"),)

    id: str = Field(primary_key=True)
    state: str
    """queued, running, done, refused or failed."""
    again: int | None = None
    """The heads that are to be used again instead of fitted; 0 for those the model came with."""
    asked_by: str
    asked_at: datetime = moment()
    started_at: datetime | None = moment(null=True)
    ended_at: datetime | None = moment(null=True)
    heads: int | None = None
    """The number of the heads that came of it."""
    learned_from: dict[str, Any] | None = json(null=True)
    """How many `corrections` and `sentences`, and how many were `left_out`."""
    report: dict[str, Any] | None = json(null=True)
    why: str | None = None
    """Why nothing came of it."""


class ArrivalRow(SQLModel, table=True):
    """One message of a complaint, as last edited at its source."""

    __tablename__ = "arrival"
    __table_args__ = (
        sa.UniqueConstraint("connection", "source_id"),
        sa.Index("ix_arrival_complaint", "complaint_id", "id"),
    )

    id: str = Field(primary_key=True)
    complaint_id: str = Field(foreign_key="complaint.id")
    inbox_id: str | None = Field(default=None, foreign_key="inbox.id")
    connection: str
    source_id: str
    brand_account: str | None = None
    """Which account of the company it was written to."""
    outgoing: bool = False
    internal: bool = False
    """Whether only our own people read it: a note is no answer, and nothing for the customer."""
    automatic: bool = False
    """Whether a machine wrote it for us: no answer either, though the customer reads it."""
    direct: bool | None = None
    """Whether only the company could read it; None where its source did not say."""
    author: dict[str, Any] | None = json(null=True)
    text: str
    language: str | None = None
    url: str | None = None
    posted_at: datetime | None = moment(null=True)
    edited_at: datetime | None = moment(null=True)
    deleted_at: datetime | None = moment(null=True)
    received_at: datetime = moment()


class HandoffRow(SQLModel, table=True):
    """A complaint as it stood when it was handed to somebody else, readable until it expires."""

    __tablename__ = "handoff"
    __table_args__ = (sa.Index("ix_handoff_complaint", "complaint_id", "id"),)

    id: str = Field(primary_key=True)
    complaint_id: str = Field(foreign_key="complaint.id")
    to: str
    reason: str
    packet: dict[str, Any] = json()
    made_by: str
    made_at: datetime = moment()
    expires_at: datetime = moment()


class ClaimRow(SQLModel, table=True):
    """A lease: on a customer issue, so that two teams do not solve it twice, or on a question."""

    __tablename__ = "claim"
    __table_args__ = (
        sa.Index("ix_claim_complaint", "complaint_id"),
        sa.Index("ix_claim_person", "person_id"),
        sa.Index("ix_claim_order", "order_ref"),
        sa.Index("ix_claim_expires", "expires_at"),
    )

    subject: str = Field(primary_key=True)
    """What is claimed, as `domain.claims.Subject` writes it; of a question, its id."""
    id: str | None = Field(default=None, unique=True)
    """None for the lease on a question."""
    kind: str = "review"
    """complaint, person, order, line; review for a question."""
    holder: str
    """The principal, and after a `/` the agent."""
    principal: str | None = None
    tool: str | None = None
    """Where the holder works: a connection, or what the tool calls itself."""
    note: str | None = None
    """What was promised, in the holder's words."""
    complaint_id: str | None = None
    person_id: str | None = None
    order_ref: str | None = None
    """Of a complaint: person and order as last understood; claims are found by these."""
    offered_to: str | None = None
    """The holder that it is to be handed over to, once they accept."""
    taken_at: datetime = moment()
    expires_at: datetime = moment()
    version: int = 1


class ComplaintMergeRow(SQLModel, table=True):
    """Two complaints that are one issue, or were, or may be.

    No foreign keys here nor in `complaint.merged_into`: checking one would wait for whoever works
    on the other complaint, who may wait for us.
    """

    __tablename__ = "complaint_merge"
    __table_args__ = (
        sa.Index("ix_complaint_merge_main", "main_id", "id"),
        sa.Index("ix_complaint_merge_other", "other_id", "id"),
    )

    id: str = Field(primary_key=True)
    main_id: str
    other_id: str
    """The one that was merged into the main one."""
    state: str
    """merged, suggested, split (a person's word: never again by itself), settled (a suggestion that
    somebody followed)."""
    decided_by: str
    score: float | None = None
    """Points of likeness; None where a person decided."""
    reasons: list[Any] = json()
    """What spoke for it and against: what and points. No text of anybody."""
    reason: str | None = None
    """A person's words."""
    at: datetime = moment()
    ended_by: str | None = None
    ended_reason: str | None = None
    ended_at: datetime | None = moment(null=True)


class GatheringKeyRow(SQLModel, table=True):
    """What complaints of one issue have in common: found by it without reading them all."""

    __tablename__ = "gathering_key"
    __table_args__ = (
        sa.Index("ix_gathering_key_complaint", "complaint_id"),
        sa.Index("ix_gathering_key_at", "at"),
    )

    key: str = Field(primary_key=True)
    """`url:`, `order:` and `text:` with a hash of it."""
    complaint_id: str = Field(primary_key=True)
    at: datetime = moment()


class ComplaintMoveRow(SQLModel, table=True):
    """A complaint that was handed to another brand account or team."""

    __tablename__ = "complaint_move"
    __table_args__ = (sa.Index("ix_complaint_move_complaint", "complaint_id", "id"),)

    id: str = Field(primary_key=True)
    complaint_id: str
    from_account: str | None = None
    to_account: str | None = None
    from_team: str | None = None
    to_team: str | None = None
    reason: str
    moved_by: str
    moved_at: datetime = moment()
