"""Who may ask, what was asked before, and who works."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlmodel import Field, SQLModel

from middleware.store.tables.columns import json, moment


class IdempotencyRow(SQLModel, table=True):
    """A request under a client's key, and the answer it got, kept for a day."""

    __tablename__ = "idempotency"

    principal: str = Field(primary_key=True)
    route: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    body_hash: str
    status: int | None = None
    """None while the first request still runs."""
    answer: dict[str, Any] | None = json(null=True)
    location: str | None = None
    created_at: datetime = moment(index=True)


class ApiKeyRow(SQLModel, table=True):
    """An API key, of which only a hash is kept."""

    __tablename__ = "api_key"

    id: str = Field(primary_key=True)
    name: str
    secret_hash: str
    scopes: list[Any] = json()
    role: str | None = None
    """What its holder is to the policy: agent, lead, …; None is subject to the limits of all."""
    created_at: datetime = moment()
    expires_at: datetime | None = moment(null=True)
    revoked_at: datetime | None = moment(null=True)
    last_used_at: datetime | None = moment(null=True)


class NodeRow(SQLModel, table=True):
    """A worker's lease: a node that stops renewing it loses its work to the others."""

    __tablename__ = "node"

    id: str = Field(primary_key=True)
    seen_at: datetime = moment()
    started_at: datetime = moment()
