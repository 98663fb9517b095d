"""Remote systems, and what came from them before it was understood."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from middleware.store.tables.columns import json, moment


class ConnectionRow(SQLModel, table=True):
    """A connection as last declared in the configuration; deleted ones stay, to answer 410."""

    __tablename__ = "connection"

    name: str = Field(primary_key=True)
    adapter: str
    """The adapter's name, or `inlet:<source>` for one that only receives."""
    settings: dict[str, Any] = json()
    declared_at: datetime = moment()
    deleted_at: datetime | None = moment(null=True)
    health: dict[str, Any] | None = json(null=True)
    """The last check: its findings and when."""


class ConnectionStateRow(SQLModel, table=True):
    """Whether a connection is called at all; all replicas go by it. No row means `closed`."""

    __tablename__ = "connection_state"

    connection: str = Field(primary_key=True)
    state: str
    """closed (calls go through), resting (none until `until`), stopped (none until resumed)."""
    since: datetime = moment()
    until: datetime | None = moment(null=True)
    reason: dict[str, Any] | None = json(null=True)
    """What went wrong: message, code, operation; no secret, no personal data."""
    failures: int = 0
    """Failures in a row that mean that the system is down."""
    changed_by: str
    """`hub`, or who resumed it."""
    version: int = 1


class ConnectionRemoteRow(SQLModel, table=True):
    """Which system a connection's records are of; no row where none ever said."""

    __tablename__ = "connection_remote"

    connection: str = Field(primary_key=True)
    identity: str
    """The adapter, and what it says of its remote."""
    since: datetime = moment()
    known_by: str
    """`hub`, or who accepted it."""


class InboxRow(SQLModel, table=True):
    """An arrival's delivery, stored once and raw before anything is done with it."""

    __tablename__ = "inbox"
    __table_args__ = (
        sa.UniqueConstraint("connection", "message_id"),
        sa.Index("ix_inbox_state", "state", "received_at"),
    )

    id: str = Field(primary_key=True)
    connection: str
    message_id: str
    """The source's id of the delivery or message: what makes it the same one twice."""
    body_hash: str
    headers: dict[str, Any] = json()
    """Headers worth keeping; never credentials or signatures."""
    body: bytes
    trust: str
    """How we know who sent it: signature, token, api_key."""
    state: str
    """stored, handled, quarantined, ignored."""
    problem: dict[str, Any] | None = json(null=True)
    """Of a quarantined one: place and reason."""
    received_at: datetime = moment()
    handled_at: datetime | None = moment(null=True)
    replays: int = 0


class QuarantineRow(SQLModel, table=True):
    """A remote record that could not be mapped, kept with place and reason until it can."""

    __tablename__ = "quarantine"

    connection: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    field: str
    reason: str
    place: str
    payload: dict[str, Any] = json()
    first_at: datetime = moment()
    last_at: datetime = moment()
