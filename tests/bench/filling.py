"""Fills a migrated database with contacts in bulk: the rows that the store itself would write."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg

from middleware.contract.canonical import Contact
from middleware.resolution.identifiers import identifiers_of
from middleware.resolution.profiles import likeness_of
from middleware.store.likeness import packed
from middleware.store.records import hash_of

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
RECORD = ("connection", "kind", "id", "body", "content_hash", "as_of")
IDENTIFIER = ("scheme", "value", "connection", "kind", "id")
LIKENESS = ("nid", "connection", "kind", "id", "profile", "keys", "names")
AT_ONCE = 50_000

Rows = dict[str, list[tuple[Any, ...]]]


def rows(contacts: Iterable[Contact]) -> Iterator[Rows]:
    """What to insert, table by table, a stretch of contacts at a time; name counts at the end."""
    counted: Counter[int] = Counter()
    made: Rows = {}
    for nid, contact in enumerate(contacts, start=1):
        body = contact.model_dump(mode="json")
        where = (contact.ref.connection, contact.ref.kind.value, contact.ref.id)
        record = (*where, json.dumps(body), hash_of(body), NOW)
        made.setdefault("record", []).append(record)
        for scheme, value in identifiers_of(contact):
            made.setdefault("record_identifier", []).append((scheme, value, *where))
        likeness = likeness_of(contact)
        if likeness is not None:
            row = (nid, *where, likeness.profile, packed(likeness.keys), packed(likeness.names))
            made.setdefault("likeness", []).append(row)
            made.setdefault("blocking_key", []).extend((key, nid) for key in likeness.keys)
            counted.update(likeness.names)
        if nid % AT_ONCE == 0:
            yield made
            made = {}
    yield made
    yield {"name_count": sorted(counted.items())}


COLUMNS = {
    "record": RECORD,
    "record_identifier": IDENTIFIER,
    "likeness": LIKENESS,
    "blocking_key": ("key", "nid"),
    "name_count": ("key", "n"),
}


def fill(url: str, contacts: Iterable[Contact]) -> None:
    """Into SQLite or PostgreSQL, with what its planner wants to know."""
    load = _sqlite if url.startswith("sqlite") else _postgresql
    load(url, rows(contacts))


def _sqlite(url: str, stretches: Iterator[Rows]) -> None:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    connection.executescript(
        "pragma synchronous=off; pragma cache_size=-400000; pragma journal_mode=wal"
    )
    connection.execute("create temp table loose (key integer, nid integer)")
    for stretch in stretches:
        for table, found in stretch.items():
            into, columns = table, COLUMNS[table]
            if table == "blocking_key":
                into = "loose"
            if table == "record":
                found = [(*row[:5], row[5].strftime("%Y-%m-%d %H:%M:%S.%f")) for row in found]
            marks = ", ".join("?" * len(columns))
            connection.executemany(
                f"insert into {into} ({', '.join(columns)}) values ({marks})", found
            )
    # In the order of the key, so that the tree is written once and not over and over.
    connection.execute("insert into blocking_key select key, nid from loose order by key, nid")
    connection.commit()
    connection.execute("drop table loose")
    connection.execute("analyze")
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()


def _postgresql(url: str, stretches: Iterator[Rows]) -> None:
    plain = url.replace("postgresql+psycopg://", "postgresql://", 1)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute("alter table blocking_key drop constraint blocking_key_pkey")
        for stretch in stretches:
            for table, found in stretch.items():
                columns = ", ".join(COLUMNS[table])
                with (
                    connection.cursor() as cursor,
                    cursor.copy(f"copy {table} ({columns}) from stdin") as copy,
                ):
                    for row in found:
                        copy.write_row(row)
        connection.execute("alter table blocking_key add primary key (key, nid)")
        connection.execute(
            "select setval(pg_get_serial_sequence('likeness', 'nid'), max(nid)) from likeness"
        )
        for table in COLUMNS:
            connection.execute(f"vacuum analyze {table}")
