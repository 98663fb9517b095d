"""Alembic's entry: migrates over the connection that `middleware.store.schema` hands in."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context
from sqlmodel import AutoString

from middleware.store.tables import TABLES, Moment


def ours(_object: Any, name: str | None, type_: str, _reflected: bool, _compare_to: Any) -> bool:
    """The durable engine keeps its tables in the same SQLite file; they are not ours to compare."""
    return type_ != "table" or name in TABLES.tables


def rendered(type_: str, thing: Any, _context: Any) -> str | bool:
    """Our column types as what they are in the database: a migration outlives the code's names."""
    if type_ != "type":
        return False
    if isinstance(thing, Moment):
        return "sa.DateTime(timezone=True)"
    if isinstance(thing, AutoString):
        return "sa.String()"
    if isinstance(thing, sa.JSON):
        return 'sa.JSON().with_variant(postgresql.JSONB(), "postgresql")'
    return False


def run(connection: sa.Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=TABLES,
        include_object=ours,
        render_item=rendered,
        render_as_batch=True,
        compare_type=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            # A migration that waits for a lock blocks everybody behind it: give up soon instead.
            connection.execute(sa.text("set lock_timeout = '5s'"))
        context.run_migrations()


run(context.config.attributes["connection"])
