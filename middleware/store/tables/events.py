"""What others are told, and what is kept on record."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from middleware.store.tables.columns import json, moment


class EventRow(SQLModel, table=True):
    """What we tell others. `seq` grows in commit order."""

    __tablename__ = "event"

    seq: int | None = Field(
        default=None,
        sa_column=sa.Column(
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
    )
    id: str = Field(unique=True)
    """`msg_…`: the webhook-id of Standard Webhooks."""
    type: str = Field(index=True)
    subject: str = Field(index=True)
    """The id of what it is about."""
    data: dict[str, Any] = json()
    at: datetime = moment()


class DeliveryRow(SQLModel, table=True):
    """One event on its way to one endpoint."""

    __tablename__ = "delivery"
    __table_args__ = (
        sa.UniqueConstraint("event_id", "endpoint"),
        sa.Index("ix_delivery_due", "state", "due_at"),
    )

    id: str = Field(primary_key=True)
    event_id: str = Field(foreign_key="event.id")
    endpoint: str
    state: str
    """waiting, delivered, failed."""
    attempts: int = 0
    due_at: datetime | None = moment(null=True)
    last_status: int | None = None
    last_error: str | None = None
    in_doubt: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """E-mails that were handed to a server whose answer is not known."""
    created_at: datetime = moment()
    finished_at: datetime | None = moment(null=True)


class EndpointRow(SQLModel, table=True):
    """Where events are delivered. Declared in the configuration; its secret is not here."""

    __tablename__ = "endpoint"

    name: str = Field(primary_key=True)
    url: str
    types: list[Any] = json()
    enabled: bool = True
    disabled_reason: str | None = None
    failing_since: datetime | None = moment(null=True)
    declared_at: datetime = moment()
    deleted_at: datetime | None = moment(null=True)


class AuditRow(SQLModel, table=True):
    """Who did what to what, written with the change itself. Rows are never updated."""

    __tablename__ = "audit"
    __table_args__ = (sa.Index("ix_audit_subject", "subject", "id"),)

    id: str = Field(primary_key=True)
    at: datetime = moment()
    actor: str
    action: str
    subject: str
    request_id: str | None = None
    detail: dict[str, Any] = json()
    """Ids and figures only: no personal data, no secrets."""
