"""Statements that were made once, past what SQLAlchemy does for each that is made anew.

Several reads are asked together: on PostgreSQL they cross the line once, not one by one. Writes
that every step of every action makes go to the driver as they are.

Rows answer to their columns' names. Times are in UTC: the connections of this store ask for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import psycopg
import sqlalchemy as sa
from psycopg.rows import namedtuple_row
from sqlalchemy.dialects import postgresql

Processors = tuple[tuple[str, Callable[[Any], Any]], ...]
Among = Callable[[Any], sa.ColumnElement[bool]]


def for_each_database(build: Callable[[Among], Any]) -> dict[str, Any]:
    """A statement for each database; `build` is given how to say that a column is among `ids`.

    One array for PostgreSQL and one list in JSON for SQLite, so that the text stays the same
    however many there are: the server keeps its plan, and nothing is compiled anew.
    """
    array: sa.BindParameter[Any] = sa.bindparam("ids", type_=postgresql.ARRAY(sa.String()))
    listed = sa.func.json_each(sa.bindparam("ids", type_=_Listed())).table_valued("value")
    return {
        "postgresql": build(lambda column: column == sa.any_(array)),
        "sqlite": build(lambda column: column.in_(sa.select(listed.c.value))),
    }


class _Listed(sa.types.TypeDecorator[Sequence[str]]):
    """Texts as one JSON array."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: Sequence[str] | None, dialect: sa.Dialect) -> str:
        return json.dumps(list(value or ()))


class Asked(NamedTuple):
    """A statement that was made once, and its values for this time."""

    statement: Any
    values: Mapping[str, Any]


def together(connection: sa.Connection, asked: Sequence[Asked]) -> list[list[Any]]:
    """The rows of each statement, in the order asked, all seen in the connection's transaction."""
    if not asked:
        return []
    if connection.dialect.name != "postgresql":
        return [list(connection.execute(one.statement, dict(one.values))) for one in asked]
    driver: Any = connection.connection.driver_connection
    cursors = []
    try:
        with driver.pipeline():
            for one in asked:
                text, constants = _compiled(one.statement, connection.dialect)
                cursor = driver.cursor(row_factory=namedtuple_row)
                cursor.execute(text, {**constants, **one.values})
                cursors.append(cursor)
            return [cursor.fetchall() for cursor in cursors]
    except psycopg.Error as error:
        raise raised(connection, error) from error


def plainly(connection: sa.Connection, asked: Sequence[Asked]) -> list[list[tuple[Any, ...]]]:
    """The same of statements whose columns are plain: rows as the driver gives them.

    Texts and numbers are what they are; a time is what `moment_of` reads, JSON is to be cast to
    text by the statement.
    """
    driver: Any = connection.connection.driver_connection
    made = [(*_written(one.statement, connection.dialect, ()), one.values) for one in asked]
    try:
        if connection.dialect.name != "postgresql":
            return [
                driver.execute(text, _sent(order, constants, processors, values)).fetchall()
                for text, order, constants, processors, values in made
            ]
        with driver.pipeline() if len(made) > 1 else nullcontext():
            cursors = [
                driver.execute(text, _sent(order, constants, processors, values))
                for text, order, constants, processors, values in made
            ]
            return [cursor.fetchall() for cursor in cursors]
    except connection.dialect.loaded_dbapi.Error as error:
        raise raised(connection, error) from error


def moment_of(value: Any) -> datetime:
    """A time as the driver gives it: text in SQLite, aware in PostgreSQL; aware, in UTC."""
    found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def write(connection: sa.Connection, statement: Any, values: Mapping[str, Any]) -> int:
    """Run an insert or an update of ours; answers how many rows it touched.

    `values` are its columns and its bound parameters, as SQLAlchemy would take them.
    """
    text, order, constants, processors = _written(statement, connection.dialect, tuple(values))
    driver: Any = connection.connection.driver_connection
    try:
        cursor = driver.execute(text, _sent(order, constants, processors, values))
    except connection.dialect.loaded_dbapi.Error as error:
        raise raised(connection, error) from error
    return int(cursor.rowcount)


def write_together(connection: sa.Connection, asked: Sequence[Asked]) -> None:
    """Run statements as `write` does, in this order; on PostgreSQL they cross the line once."""
    driver: Any = connection.connection.driver_connection
    pipeline = driver.pipeline if connection.dialect.name == "postgresql" else nullcontext
    try:
        with pipeline():
            for statement, values in asked:
                text, order, constants, processors = _written(
                    statement, connection.dialect, tuple(values)
                )
                driver.execute(text, _sent(order, constants, processors, values))
    except connection.dialect.loaded_dbapi.Error as error:
        raise raised(connection, error) from error


def _sent(
    order: tuple[str, ...] | None,
    constants: Mapping[str, Any],
    processors: Processors,
    values: Mapping[str, Any],
) -> Any:
    """Values as the driver takes them."""
    sent = {**constants, **values}
    for name, process in processors:
        sent[name] = process(sent[name])
    return sent if order is None else [sent[name] for name in order]


def raised(connection: sa.Connection, error: Exception) -> sa.exc.DBAPIError:
    """A driver's error as SQLAlchemy would have raised it.

    Whoever tells a lost database from a wrong statement looks for that.
    """
    lost = connection.dialect.is_disconnect(error, connection.connection.driver_connection, None)  # type: ignore[arg-type]
    if lost:
        connection.invalidate(error)
    made = sa.exc.DBAPIError.instance(
        None,
        None,
        error,
        connection.dialect.loaded_dbapi.Error,
        connection_invalidated=lost,
        dialect=connection.dialect,
    )
    assert isinstance(made, sa.exc.DBAPIError)
    return made


@lru_cache(maxsize=256)
def _compiled(statement: Any, dialect: sa.Dialect) -> tuple[str, dict[str, Any]]:
    """The statement as the driver takes it, and the values that are part of it."""
    compiled = statement.compile(dialect=dialect)
    return str(compiled), {k: v for k, v in compiled.params.items() if v is not None}


@lru_cache(maxsize=256)
def _written(
    statement: Any, dialect: sa.Dialect, columns: tuple[str, ...]
) -> tuple[str, tuple[str, ...] | None, dict[str, Any], Processors]:
    """The statement as the driver takes it, the order of its values where they have no names,
    the values that are part of it, and what makes a value fit its column."""
    compiled = statement.compile(dialect=dialect, column_keys=list(columns) or None)
    order = tuple(compiled.positiontup) if compiled.positional else None
    constants = {k: v for k, v in compiled.params.items() if v is not None}
    processors = tuple((k, p) for k, p in compiled._bind_processors.items())
    return str(compiled), order, constants, processors
