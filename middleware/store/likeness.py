"""The index of what contacts and accounts look like: keys, profiles, and how common words are.

Whoever looks somebody up asks for a handful of keys and gets every record that bears one, with
its profile; a key that too many bear only says so. Two statements, whatever the number of keys.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, delete

from middleware.contract.canonical import Kind, Ref
from middleware.domain.likeness import Bearer, Likeness, Looked, Wanted
from middleware.store.tables import BlockingKeyRow, LikenessRow, NameCountRow
from middleware.store.together import raised

MOST_BEARERS = 24
"""Records that one look-up compares: those with most of the keys, then by the most telling key."""

Key = tuple[str, str, str]

_BY_RECORD = (col(LikenessRow.connection), col(LikenessRow.kind), col(LikenessRow.id))


class LikenessIndex:
    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, likenesses: Mapping[Key, Likeness | None]) -> None:
        """What these records look like now; with None they look like nothing any more."""
        known = self._known(likenesses)
        counted: Counter[int] = Counter()
        self._forget(known.values(), counted)
        there = {k: one for k, one in likenesses.items() if one is not None}
        fresh = [
            {"connection": c, "kind": kind, "id": id_, **_columns(there[c, kind, id_])}
            for c, kind, id_ in there
            if (c, kind, id_) not in known
        ]
        connection = self._session.connection()
        for row in known.values():
            one = there.get((row.connection, row.kind, row.id))
            if one is not None:
                connection.execute(
                    sa.update(LikenessRow).where(col(LikenessRow.nid) == row.nid),
                    _columns(one),
                )
        if fresh:
            connection.execute(sa.insert(LikenessRow), fresh)
        gone = [row.nid for k, row in known.items() if k not in there]
        if gone:
            self._session.exec(delete(LikenessRow).where(col(LikenessRow.nid).in_(gone)))
        numbers = {k: row.nid for k, row in self._known(there).items()}
        rows = [{"key": key, "nid": numbers[k]} for k, one in there.items() for key in one.keys]
        if rows:
            rows.sort(key=lambda row: (row["key"], row["nid"]))
            connection.execute(sa.insert(BlockingKeyRow), rows)
        for one in there.values():
            counted.update(one.names)
        self._count_at_the_end(counted)

    def look(self, wanted: Wanted, words: Sequence[int] = ()) -> Looked:
        """Who bears any of the keys, and how many have each of the words in their name."""
        on_postgresql = self._session.get_bind().dialect.name == "postgresql"
        ask = self._ask_postgresql if on_postgresql else self._ask_sqlite
        borne: dict[int, list[int]] = {}
        names: dict[int, int] = {}
        population = 0
        for what, key, value in ask(wanted, words):
            if what == 0:
                borne.setdefault(key, []).append(value)
            elif what == 1:
                names[key] = value
            else:
                population = value or 0
        chosen: dict[int, set[int]] = {}
        for key, cap in wanted:
            numbers = borne.get(key, ())
            if len(numbers) <= cap:
                for number in numbers:
                    chosen.setdefault(number, set()).add(key)
        if len(chosen) > MOST_BEARERS:
            best = sorted(chosen, key=lambda number: -len(chosen[number]))[:MOST_BEARERS]
            chosen = {number: chosen[number] for number in best}
        return Looked(
            population=population,
            bearers=tuple(self._bearers(chosen, on_postgresql)),
            counts={key: len(numbers) for key, numbers in borne.items()},
            names=names,
        )

    def _ask_sqlite(self, wanted: Wanted, words: Sequence[int]) -> Iterable[Any]:
        values: list[int] = []
        for key, cap in wanted:
            values += (key, cap + 1)
        return self._rows(_sqlite_keys(len(wanted), len(words)), (*values, *words))

    def _ask_postgresql(self, wanted: Wanted, words: Sequence[int]) -> Iterable[Any]:
        values = {
            "keys": [key for key, _ in wanted],
            "caps": [cap + 1 for _, cap in wanted],
            "words": list(words),
        }
        return self._rows(_POSTGRESQL_KEYS, values)

    def _rows(self, statement: str, values: Any) -> list[Any]:
        """Asked of the driver itself: these rows are many, small, and wanted at once."""
        connection = self._session.connection()
        driver: Any = connection.connection.driver_connection
        try:
            rows: list[Any] = driver.execute(statement, values).fetchall()
        except connection.dialect.loaded_dbapi.Error as error:
            raise raised(connection, error) from error
        return rows

    def _bearers(self, chosen: Mapping[int, set[int]], on_postgresql: bool) -> Iterable[Bearer]:
        if not chosen:
            return
        if on_postgresql:
            rows = self._rows(_POSTGRESQL_PROFILES, {"nids": list(chosen)})
        else:
            size = 1 << (len(chosen) - 1).bit_length()
            values = (*chosen, *(-1 for _ in range(size - len(chosen))))
            rows = self._rows(_sqlite_profiles(size), values)
        for nid, connection, kind, id_, profile in rows:
            yield Bearer(_ref(connection, kind, id_), profile, frozenset(chosen[nid]))

    def _known(self, keys: Iterable[Key]) -> dict[Key, Any]:
        groups: dict[tuple[str, str], list[str]] = {}
        for connection, kind, id_ in keys:
            groups.setdefault((connection, kind), []).append(id_)
        found: dict[Key, Any] = {}
        for (connection, kind), ids in groups.items():
            query = sa.select(
                col(LikenessRow.nid), *_BY_RECORD, col(LikenessRow.keys), col(LikenessRow.names)
            ).where(
                col(LikenessRow.connection) == connection,
                col(LikenessRow.kind) == kind,
                col(LikenessRow.id).in_(ids),
            )
            for row in self._session.connection().execute(query):
                found[row.connection, row.kind, row.id] = row
        return found

    def _forget(self, rows: Iterable[Any], counted: Counter[int]) -> None:
        """Take away the keys of these rows, which know their own."""
        borne = [{"k": key, "n": row.nid} for row in rows for key in _unpacked(row.keys)]
        if borne:
            self._session.connection().execute(
                sa.delete(BlockingKeyRow).where(
                    col(BlockingKeyRow.key) == sa.bindparam("k"),
                    col(BlockingKeyRow.nid) == sa.bindparam("n"),
                ),
                borne,
            )
        for row in rows:
            counted.subtract(_unpacked(row.names))

    def _count_at_the_end(self, counted: Counter[int]) -> None:
        """Add to the counts right before the commit, in order of the key.

        Many transactions count the same words. Holding them shortly, and all in the same order,
        keeps two syncs from waiting for each other in a circle.
        """
        owed: Counter[int] | None = self._session.info.get(_OWED)
        if owed is None:
            owed = self._session.info[_OWED] = Counter()
            sa.event.listen(self._session, "before_commit", _write_counts, once=True)
        for word, n in counted.items():
            owed[word] += n


_OWED = "amends_name_counts"


def _write_counts(session: Session) -> None:
    owed: Counter[int] = session.info.pop(_OWED, Counter())
    rows = [{"key": word, "n": n} for word, n in sorted(owed.items()) if n]
    if not rows:
        return
    dialect = session.get_bind().dialect.name
    insert = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(NameCountRow)
    session.connection().execute(
        insert.on_conflict_do_update(
            index_elements=["key"], set_={"n": NameCountRow.n + insert.excluded.n}
        ),
        rows,
    )


def _columns(one: Likeness) -> dict[str, Any]:
    return {"profile": one.profile, "keys": packed(one.keys), "names": packed(one.names)}


def packed(keys: Sequence[int]) -> bytes:
    """Keys as a row knows its own: eight bytes each."""
    return struct.pack(f"<{len(keys)}q", *keys)


def _unpacked(keys: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(keys) // 8}q", keys)


@lru_cache(maxsize=65536)
def _ref(connection: str, kind: str, id_: str) -> Ref:
    return Ref(connection=connection, kind=Kind(kind), id=id_)


_POPULATION = "select 2, 0, max(nid) from likeness"

_POSTGRESQL_KEYS = (
    "select 0, q.key, b.nid from unnest(%(keys)s::bigint[], %(caps)s::int[]) as q(key, cap) "
    "cross join lateral "
    "(select nid from blocking_key where key = q.key limit q.cap) as b "
    "union all select 1, key, n from name_count where key = any(%(words)s::bigint[]) "
    "union all select 2, 0, max(nid) from likeness"
)
_POSTGRESQL_PROFILES = (
    "select nid, connection, kind, id, profile from likeness where nid = any(%(nids)s::bigint[])"
)


@lru_cache(maxsize=512)
def _sqlite_keys(keys: int, words: int) -> str:
    one = "select * from (select 0, key, nid from blocking_key where key = ? limit ?)"
    asked = [one] * keys
    if words:
        marks = ", ".join("?" * words)
        asked.append(f"select 1, key, n from name_count where key in ({marks})")  # noqa: S608
    return " union all ".join((*asked, _POPULATION))


@lru_cache(maxsize=64)
def _sqlite_profiles(size: int) -> str:
    marks = ", ".join("?" * size)
    return f"select nid, connection, kind, id, profile from likeness where nid in ({marks})"  # noqa: S608
