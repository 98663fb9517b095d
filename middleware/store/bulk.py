"""Many rows in one statement, as fast as the driver takes and gives them.

SQLAlchemy converts each value of each row in Python, and psycopg sends each row of an
`executemany` as a message of its own. Here SQLite's driver gets the tuples as they are, and
PostgreSQL a COPY: what may be there already goes through a temporary table.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlmodel import Session, SQLModel

from middleware.store.tables import Moment
from middleware.store.together import raised

Row = tuple[Any, ...]
Key = tuple[str, str, str]
"""Connection, kind and id."""

AT_ONCE = 1000
"""Ids that one statement asks SQLite for."""


def known(
    session: Session, table: type[SQLModel], columns: tuple[str, ...], keys: Iterable[Key]
) -> dict[Key, Row]:
    """What the rows of these keys hold in these columns, as the driver gives it; see `moment_of`.

    The table has the columns `connection`, `kind` and `id`.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for connection_name, kind, id_ in keys:
        groups.setdefault((connection_name, kind), []).append(id_)
    connection = session.connection()
    driver: Any = connection.connection.driver_connection
    found: dict[Key, Row] = {}
    try:
        for (name, kind), ids in groups.items():
            if connection.dialect.name == "postgresql":
                text = _select(table, columns, 0)
                rows = driver.execute(text, (ids, name, kind)).fetchall()
                found |= {(name, kind, row[0]): row[1:] for row in rows}
                continue
            for start in range(0, len(ids), AT_ONCE):
                part = ids[start : start + AT_ONCE]
                asked = driver.execute(_select(table, columns, len(part)), (name, kind, *part))
                found |= {(name, kind, row[0]): row[1:] for row in asked.fetchall()}
    except driver_errors(connection) as error:
        raise raised(connection, error) from error
    return found


def write(
    session: Session,
    table: type[SQLModel],
    columns: tuple[str, ...],
    rows: Sequence[Row],
    *,
    key: tuple[str, ...] = (),
    likely_new: bool = False,
) -> None:
    """Insert rows; with a `key`, overwrite those that are there already.

    `likely_new` says that a moment ago none was there: they are tried without looking first.
    Values are in the order of `columns`: times aware, JSON as its text. No two rows of one call
    have the same key.
    """
    if not rows:
        return
    connection = session.connection()
    driver: Any = connection.connection.driver_connection
    try:
        cursor = driver.cursor()
        if connection.dialect.name == "postgresql":
            if not (likely_new and _copied_as_new(cursor, table, columns, rows)):
                _copy(cursor, table, columns, rows, key)
        else:
            cursor.executemany(_insert(table, columns, key), _converted(rows, table, columns))
        cursor.close()
    except driver_errors(connection) as error:
        raise raised(connection, error) from error


@contextmanager
def uncollected() -> Iterator[None]:
    """Leave the collector of cycles alone meanwhile.

    A page's rows are in no cycle, and it went through them all several times while they were made
    and written: a tenth of a sync. It is the whole process's, so that this is for one page.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def driver_errors(connection: sa.Connection) -> type[Exception]:
    """The base of what the database's driver raises."""
    found: type[Exception] = connection.dialect.loaded_dbapi.Error
    return found


def _copied_as_new(
    cursor: Any, table: type[SQLModel], columns: tuple[str, ...], rows: Sequence[Row]
) -> bool:
    """Copy rows straight into the table; False, and nothing is changed, where one is there."""
    cursor.execute("savepoint bulk")
    try:
        _copy(cursor, table, columns, rows, ())
    except psycopg.errors.UniqueViolation:
        cursor.execute("rollback to savepoint bulk")
        return False
    cursor.execute("release savepoint bulk")
    return True


def _copy(
    cursor: Any,
    table: type[SQLModel],
    columns: tuple[str, ...],
    rows: Sequence[Row],
    key: tuple[str, ...],
) -> None:
    into = f"bulk_{table.__tablename__}" if key else str(table.__tablename__)
    if key:
        cursor.execute(
            f'create temporary table if not exists "{into}"'
            f' (like "{table.__tablename__}") on commit delete rows'
        )
    with cursor.copy(f'copy "{into}" ({_listed(columns)}) from stdin') as copy:
        for row in rows:
            copy.write_row(row)
    if key:
        # In the order of the key, so that two writers never wait for each other in a circle.
        source = f'select {_listed(columns)} from "{into}" order by {_listed(key)}'  # noqa: S608
        cursor.execute(_insert(table, columns, key, source))
        cursor.execute(f'truncate "{into}"')


@lru_cache(maxsize=64)
def _insert(
    table: type[SQLModel], columns: tuple[str, ...], key: tuple[str, ...], source: str = ""
) -> str:
    """The statement; its names are those of our own tables."""
    source = source or f"values ({', '.join('?' * len(columns))})"
    text = f'insert into "{table.__tablename__}" ({_listed(columns)}) {source}'
    if key:
        changed = ", ".join(f'"{n}" = excluded."{n}"' for n in columns if n not in key)
        text += f" on conflict ({_listed(key)}) do update set {changed}"
    return text


@lru_cache(maxsize=64)
def _select(table: type[SQLModel], columns: tuple[str, ...], count: int) -> str:
    """The statement for so many ids in SQLite, or with 0 for a list of them in PostgreSQL.

    PostgreSQL looks each up by the key, whatever it believes: of a table that it has not analyzed
    since a first load began, it would read all of the kind for every page, and compare each with
    each of the list. `offset 0` keeps it from making a join of its own choice.
    """
    if not count:
        one = (
            f'select "id", {_listed(columns)} from "{table.__tablename__}"'  # noqa: S608
            ' where "connection" = %s and "kind" = %s and "id" = asked.id offset 0'
        )
        return (
            f"select found.* from unnest(%s::text[]) as asked(id) cross join lateral ({one}) found"  # noqa: S608
        )
    return (
        f'select "id", {_listed(columns)} from "{table.__tablename__}"'  # noqa: S608
        f' where "connection" = ? and "kind" = ? and "id" in ({", ".join("?" * count)})'
    )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names)


@lru_cache(maxsize=64)
def _moments(table: type[SQLModel], columns: tuple[str, ...]) -> tuple[int, ...]:
    """Which of the columns hold times."""
    types = table.__table__.columns  # type: ignore[attr-defined]
    return tuple(n for n, name in enumerate(columns) if isinstance(types[name].type, Moment))


@lru_cache(maxsize=1024)
def _written(moment: datetime) -> str:
    """A time as SQLAlchemy writes it into SQLite."""
    if moment.tzinfo is None:
        raise ValueError("a stored time needs a time zone")
    utc = moment.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat(sep=" ", timespec="microseconds")


def _converted(
    rows: Sequence[Row], table: type[SQLModel], columns: tuple[str, ...]
) -> Iterable[Row]:
    moments = _moments(table, columns)
    if not moments:
        return rows
    turned: list[Iterable[Any]] = [*zip(*rows, strict=True)]
    for place in moments:
        turned[place] = [None if value is None else _written(value) for value in turned[place]]
    return zip(*turned, strict=True)
