"""Documents of which every version is kept. The highest one is in force; rows are never updated."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlmodel import Field, SQLModel

from middleware.store.tables.columns import json, moment


class VersionRow(SQLModel):
    """A version of a document: what all such tables have."""

    version: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    body: dict[str, Any] = json()
    body_hash: str
    source: str
    """file, api or cli."""
    author: str
    reason: str | None = None
    created_at: datetime = moment()


class PolicyRow(VersionRow, table=True):
    """A version of the policy."""

    __tablename__ = "policy"


class RulebookRow(VersionRow, table=True):
    """A version of the rule book."""

    __tablename__ = "rulebook"
