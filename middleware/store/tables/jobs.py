"""Jobs, their runs and receipts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from middleware.store.tables.columns import json, moment


class JobRow(SQLModel, table=True):
    """A scheduled job: when what is to be run. Declared in the configuration."""

    __tablename__ = "job"

    name: str = Field(primary_key=True)
    flow: str
    """sync or resolve."""
    arguments: dict[str, Any] = json()
    schedule: dict[str, Any] | None = json(null=True)
    """None for a job that runs after others and has no times of its own."""
    full: dict[str, Any] | None = json(null=True)
    """When everything is read anew; None means never by itself."""
    after: list[Any] | None = json(null=True)
    """The jobs that must have finished their run of a round before this one begins its own."""
    late_after: float | None = None
    """Seconds after a tick within which its run is expected to be done; None means the usual."""
    paused: bool = False
    last_tick: str | None = None
    """The latest tick that an ordinary run was owed for."""
    last_full: str | None = None
    """The latest tick that a full run was owed for."""
    counts_from: datetime | None = moment(null=True)
    """When it was last resumed: what was due before is not made up for."""
    declared_at: datetime = moment()
    deleted_at: datetime | None = moment(null=True)
    version: int = 1


class RunRow(SQLModel, table=True):
    """One execution of a job, and the proof of what it saw and stored."""

    __tablename__ = "run"
    __table_args__ = (sa.Index("ix_run_job", "job", "id"),)

    id: str = Field(primary_key=True)
    job: str
    tick: str
    state: str
    """held, queued, running, done, failed, or overtaken by another run of the same job."""
    mode: str = "changes"
    """changes, full (everything, then a sweep), or backfill (a window of the past)."""
    wanted: dict[str, Any] | None = json(null=True)
    """What was asked for beside the job's own arguments: since, until, kinds, most_deleted."""
    progress: dict[str, Any] | None = json(null=True)
    """Per kind: where a reading stands that goes by a cursor of its own; see `flows.rereading`."""
    waits: dict[str, Any] | None = json(null=True)
    """Of a run of a round: `for` what it waits, and the runs that it was released `upon`."""
    requested_by: str
    counts: dict[str, Any] = json()
    """Per kind: pages, seen, new, changed, unchanged, deleted, quarantined."""
    windows: dict[str, Any] | None = json(null=True)
    """Per kind: since, until, from, to, content, complete; see `flows.receipts`."""
    error: dict[str, Any] | None = json(null=True)
    queued_at: datetime = moment()
    started_at: datetime | None = moment(null=True)
    finished_at: datetime | None = moment(null=True)


class ReceiptRow(SQLModel, table=True):
    """What a run saw and stored, sealed and chained to the receipt before it. Never changed."""

    __tablename__ = "receipt"
    __table_args__ = (sa.UniqueConstraint("connection", "number"),)

    run_id: str = Field(primary_key=True, foreign_key="run.id")
    job: str = Field(index=True)
    connection: str
    number: int
    """Counts up within the connection, without a gap."""
    body: dict[str, Any] = json()
    digest: str
    """SHA-256 of the body as canonical JSON."""
    previous: str | None = None
    """The digest of the connection's receipt before this one; also in the body."""
    signature: str


class CursorRow(SQLModel, table=True):
    """Where a sync of one kind from one connection stopped; saved with the page it belongs to."""

    __tablename__ = "cursor"

    connection: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    value: str
    as_of: datetime = moment()
    run_id: str
    saved_at: datetime = moment()
    read_by: str | None = None
    """What all that is stored was read by (`Mapping.reads_by`); empty for several, None for nobody
    knows."""
    remote: str | None = None
    """Which system it was read from; None where that can't say, or was not asked yet."""


class AlarmRow(SQLModel, table=True):
    """Something about the jobs that somebody should look at, from when to when."""

    __tablename__ = "alarm"

    type: str = Field(primary_key=True)
    """late, unscheduled, empty or sweep."""
    subject: str = Field(primary_key=True)
    """A job, or `connection:kind`."""
    detail: dict[str, Any] = json()
    raised_at: datetime = moment()
    cleared_at: datetime | None = moment(null=True)
