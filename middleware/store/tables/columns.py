"""What the columns of all tables are made of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlmodel import Field


class Moment(sa.types.TypeDecorator[datetime]):
    """An aware time in UTC: `timestamptz` on PostgreSQL, ISO text on SQLite."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a stored time needs a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""A number that the database gives; SQLite gives only what it calls an integer."""

GIVEN = {"autoincrement": False}


def moment(*, null: bool = False, index: bool = False) -> Any:
    return Field(default=None if null else ..., sa_type=Moment, nullable=null, index=index)


def json(*, null: bool = False) -> Any:
    return Field(default=None if null else ..., sa_type=Json, nullable=null)
