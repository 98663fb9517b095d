"""Alembic's entry: migrates over the connection that `middleware.store.schema` hands in."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context

from middleware.store.tables import TABLES


def ours(
    _object: Any, name: str | None, type_: str, _reflected: bool, _compare_to: Any
) -> bool:
    """The durable engine keeps its tables in the same SQLite file; they are not ours to compare."""
    return type_ != "table" or name in TABLES.tables


def run(connection: sa.Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=TABLES,
        include_object=ours,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            # A migration that waits for a lock blocks everybody behind it: give up soon instead.
            connection.execute(sa.text("set lock_timeout = '5s'"))
        context.run_migrations()


run(context.config.attributes["connection"])
