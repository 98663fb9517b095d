"""The index of what contacts and accounts look like: keys, profiles, and how common words are.

Whoever looks somebody up asks for a handful of keys and gets the records that bear most of them,
with their profiles; a key that too many bear only says so.
"""

from __future__ import annotations

import sqlite3
import struct
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from itertools import chain, islice, repeat
from typing import Any, NamedTuple
from weakref import WeakSet

import psycopg
import sqlalchemy as sa
from psycopg import pq
from psycopg.adapt import Transformer
from sqlmodel import Session, col, delete

from middleware.domain.likeness import Bearer, Likeness, Looked, Wanted
from middleware.store import bulk
from middleware.store.tables import BlockingKeyRow, LikenessRow
from middleware.store.together import raised

MOST_BEARERS = 12
"""Records that one look-up compares: those with most of the keys, then with the rarest."""

Key = tuple[str, str, str]

_NEXT_NIDS = sa.text(
    "select nextval(pg_get_serial_sequence('likeness', 'nid')) from generate_series(1, :count)"
)


class _Row(NamedTuple):
    """What a row of the index knows of itself."""

    nid: int
    keys: bytes
    names: bytes


class LikenessIndex:
    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, likenesses: Mapping[Key, Likeness | None]) -> None:
        """What these records look like now; with None they look like nothing any more."""
        found = bulk.known(self._session, LikenessRow, ("nid", "keys", "names"), likenesses)
        known = {k: _Row(*row) for k, row in found.items()}
        counted: Counter[int] = Counter()
        self._forget(known.values(), counted)
        there = {k: one for k, one in likenesses.items() if one is not None}
        nids = {k: row.nid for k, row in known.items()}
        _for_each(
            self._session.connection(),
            _RENEW,
            [
                (*_columns(there[k]), nid)
                for k, nid in sorted(nids.items(), key=lambda item: item[1])
                if k in there
            ],
        )
        gone = [nid for k, nid in nids.items() if k not in there]
        if gone:
            self._session.exec(delete(LikenessRow).where(col(LikenessRow.nid).in_(gone)))
        fresh = [k for k in there if k not in nids]
        nids |= zip(fresh, self._new_nids(len(fresh)), strict=True)
        rows = [(nids[k], *k, *_columns(there[k])) for k in fresh]
        bulk.write(self._session, LikenessRow, ("nid", *_KEY, *_LOOKS), rows)
        bearers = chain.from_iterable([repeat(nids[k], len(one.keys)) for k, one in there.items()])
        keys = chain.from_iterable([one.keys for one in there.values()])
        # Roughly in the order of the keys: floats compare in a third of the time.
        borne = sorted(zip(keys, bearers, strict=True), key=_roughly)
        bulk.write(self._session, BlockingKeyRow, ("key", "nid"), borne)
        counted.update(chain.from_iterable([one.names for one in there.values()]))
        self._count_at_the_end(counted)

    def look(self, wanted: Wanted, words: Sequence[int] = ()) -> Looked:
        """The same as `look`, as this transaction sees it; raises what SQLAlchemy would."""
        connection = self._session.connection()
        try:
            return look(connection.connection.driver_connection, wanted, words)
        except connection.dialect.loaded_dbapi.Error as error:
            raise raised(connection, error) from error

    def _new_nids(self, count: int) -> Sequence[int]:
        """Numbers for so many rows, which are given before these are written, not read after."""
        if not count:
            return ()
        connection = self._session.connection()
        if connection.dialect.name == "postgresql":
            return connection.execute(_NEXT_NIDS, {"count": count}).scalars().all()
        # Whoever writes in SQLite writes alone.
        (last,) = connection.exec_driver_sql(_POPULATION).one()
        return range((last or 0) + 1, (last or 0) + 1 + count)

    def _forget(self, rows: Collection[_Row], counted: Counter[int]) -> None:
        """Take away the keys of these rows, which know their own."""
        borne = sorted((key, row.nid) for row in rows for key in _unpacked(row.keys))
        _for_each(self._session.connection(), _TAKE_AWAY, borne)
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
    counts = [(word, n) for word, n in sorted(owed.items()) if n]
    if not counts:
        return
    _for_each(session.connection(), _COUNT, counts)


def _for_each(connection: sa.Connection, statement: _Statement, rows: Sequence[Row]) -> None:
    """Run a statement for each of the rows, in their order; on PostgreSQL all at once."""
    if not rows:
        return
    driver: Any = connection.connection.driver_connection
    try:
        if connection.dialect.name == "postgresql":
            driver.execute(
                statement.postgresql, [list(column) for column in zip(*rows, strict=True)]
            )
        else:
            driver.executemany(statement.sqlite, rows)
    except connection.dialect.loaded_dbapi.Error as error:
        raise raised(connection, error) from error


class _Statement(NamedTuple):
    """The same for one row in SQLite, and for columns of rows in PostgreSQL."""

    sqlite: str
    postgresql: str


_COUNT = _Statement(
    "insert into name_count (key, n) values (?, ?)"
    " on conflict (key) do update set n = name_count.n + excluded.n",
    "insert into name_count (key, n)"
    " select * from unnest(%s::bigint[], %s::bigint[]) as owed(key, n) order by key"
    " on conflict (key) do update set n = name_count.n + excluded.n",
)
_TAKE_AWAY = _Statement(
    "delete from blocking_key where key = ? and nid = ?",
    "delete from blocking_key using unnest(%s::bigint[], %s::bigint[]) as gone(key, nid)"
    " where blocking_key.key = gone.key and blocking_key.nid = gone.nid",
)
_RENEW = _Statement(
    "update likeness set profile = ?, keys = ?, names = ? where nid = ?",
    "update likeness set profile = now.profile, keys = now.keys, names = now.names"
    " from unnest(%s::text[], %s::bytea[], %s::bytea[], %s::bigint[])"
    " as now(profile, keys, names, nid) where likeness.nid = now.nid",
)


Row = tuple[Any, ...]
_KEY = ("connection", "kind", "id")
_LOOKS = ("profile", "keys", "names")


def _columns(one: Likeness) -> tuple[str, bytes, bytes]:
    return one.profile, packed(one.keys), packed(one.names)


def _roughly(borne: tuple[int, int]) -> float:
    return float(borne[0])


def packed(keys: Sequence[int]) -> bytes:
    """Keys as a row knows its own: eight bytes each."""
    return struct.pack(f"<{len(keys)}q", *keys)


def _unpacked(keys: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(keys) // 8}q", keys)


# --- looking up ------------------------------------------------------------------------------


def look(driver: Any, wanted: Wanted, words: Sequence[int]) -> Looked:
    """Who bears any of the keys, and how many have each of the words in their name.

    Asked of the driver's own connection (sqlite3 or psycopg), in statements whose text never
    changes: what is asked thousands of times a minute is neither built nor compiled anew. One view
    of the index, whether or not the connection is within a transaction. Raises what the driver
    does.
    """
    ask = _ask_sqlite if isinstance(driver, sqlite3.Connection) else _ask_postgresql
    return ask(driver, wanted, words)


def _ask_sqlite(driver: Any, wanted: Wanted, words: Sequence[int]) -> Looked:
    """A statement for some keys, and one for the records: all texts are few and stay prepared."""
    execute = driver.cursor().execute
    alone = not driver.in_transaction
    if alone:
        execute("begin")
    try:
        counts: dict[int, int] = {}
        borne: dict[int, list[int]] = {}
        for begin in range(0, len(wanted), KEYS_AT_ONCE):
            some = wanted[begin : begin + KEYS_AT_ONCE]
            values = [value for key, cap in some for value in (cap, key, cap + 1)]
            for place, n, nids in execute(_BEARERS[len(some)], values).fetchall():
                if n:
                    key, _ = some[place]
                    counts[key] = n
                    if nids is not None:
                        borne[key] = [*map(int, nids.split(","))]
        chosen = foremost(borne)
        found = execute(_PROFILES[len(chosen)], chosen).fetchall() if chosen else ()
        names = dict(execute(_counts(len(words)), words).fetchall())
    finally:
        if alone:
            execute("rollback")
    population = names.pop(None) or 0
    return Looked(population, tuple(map(Bearer._make, found)), counts, names)


def foremost(bearers: Mapping[int, Sequence[int]]) -> list[int]:
    """The records to compare of those that bear a key; all keys are of use.

    Those with most of the keys; of equals the rarer key, the more telling, the newer record. Keys
    come as they are asked for, the most telling first.
    """
    times = Counter(chain.from_iterable(bearers.values()))
    if len(times) <= MOST_BEARERS:
        return [*times]
    place = {key: (len(nids), n) for n, (key, nids) in enumerate(bearers.items())}
    borne: dict[int, list[tuple[int, int]]] = {nid: [] for nid, n in times.items() if n > 1}
    for key, nids in bearers.items():
        for nid in nids:
            if nid in borne:
                borne[nid].append(place[key])
    several = [(-len(keys), min(keys)[0], keys[0][1], -nid) for nid, keys in borne.items()]
    several.sort()
    chosen = [-nid for *_, nid in several[:MOST_BEARERS]]
    # Most have one key. These need no comparing with each other: a key's come one after another.
    for key in sorted(bearers, key=place.__getitem__):
        left = MOST_BEARERS - len(chosen)
        if left <= 0:
            break
        alone = (nid for nid in sorted(bearers[key], reverse=True) if times[nid] == 1)
        chosen.extend(islice(alone, left))
    return chosen


def _marks(count: int) -> str:
    return ", ".join("?" * count)


@cache
def _counts(words: int) -> str:
    """How many the index holds, then how many have each of so many words in their name."""
    named = f"select key, n from name_count where key in ({_marks(words)})"  # noqa: S608
    return " union all ".join(("select null, max(nid) from likeness", named))


KEYS_AT_ONCE = 8
_BEARERS = [
    " union all ".join(
        f"select {place}, count(*), case when count(*) <= ? then group_concat(nid) end"  # noqa: S608
        " from (select nid from blocking_key where key = ? limit ?)"
        for place in range(n)
    )
    for n in range(KEYS_AT_ONCE + 1)
]
_PROFILES = [
    f"select connection, kind, id, profile from likeness where nid in ({_marks(n)})"  # noqa: S608
    for n in range(MOST_BEARERS + 1)
]
_POPULATION = "select max(nid) from likeness"


def _ask_postgresql(driver: Any, wanted: Wanted, words: Sequence[int]) -> Looked:
    """All of it in one statement and one row: the line is crossed once, and little is unpacked."""
    values = (_array(key for key, _ in wanted), _array(cap for _, cap in wanted), _array(words))
    if driver.autocommit:
        row = _past_the_cursor(driver, values)
    else:
        row = driver.execute(_ALL.text, values, prepare=True, binary=True).fetchone()
    population, keys, bearing, named, counted, *bearers = row
    return Looked(
        population=population or 0,
        bearers=tuple(map(Bearer, *bearers)) if bearers[0] else (),
        counts=dict(zip(keys or (), bearing or (), strict=True)),
        names=dict(zip(named or (), counted or (), strict=True)),
    )


def _past_the_cursor(driver: Any, values: Sequence[str]) -> tuple[Any, ...]:
    """The statement's row, asked of libpq itself: a cursor takes as long as all the rest of it.

    Only where no transaction is to be begun, which would be the cursor's to do.
    """
    line = driver.pgconn
    if driver not in _prepared:
        _checked(line.prepare(_ALL.name, _ALL.numbered), driver)
        _prepared.add(driver)
    texts = [value.encode() for value in values]
    result = line.exec_prepared(_ALL.name, texts, result_format=pq.Format.BINARY)
    reader = Transformer(driver)
    reader.set_pgresult(_checked(result, driver))
    row: tuple[Any, ...] = reader.load_row(0, tuple)
    return row


_prepared: WeakSet[Any] = WeakSet()
"""The connections that know the statement."""


def _checked(result: Any, driver: Any) -> Any:
    """What libpq answered; raises psycopg's error where that is one."""
    if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
        raise psycopg.errors.error_from_result(result, encoding=driver.info.encoding)
    return result


def _array(numbers: Iterable[int]) -> str:
    """As the server reads an array: the driver would look at each number's type."""
    return f"{{{','.join(map(str, numbers))}}}"


class _Prepared(NamedTuple):
    """A statement as a cursor takes it, and as libpq does."""

    name: bytes
    text: str

    @property
    def numbered(self) -> bytes:
        """With `$1` for the first value and so on."""
        first, *others = self.text.split("%s")
        return "".join((first, *(f"${n}{part}" for n, part in enumerate(others, 1)))).encode()


_ALL = _Prepared(
    b"amends_look",
    f"""
with borne as materialized (
  select asked.key, asked.cap, asked.place, found.nids, cardinality(found.nids) as n
  from unnest(%s::bigint[], %s::int[]) with ordinality as asked(key, cap, place)
  cross join lateral (
    select array(select nid from blocking_key where key = asked.key limit asked.cap + 1) as nids
  ) as found
), foremost as materialized (
  select one.nid
  from borne cross join lateral unnest(borne.nids) as one(nid)
  where borne.n <= borne.cap
  group by one.nid order by count(*) desc, min(borne.n), min(borne.place), one.nid desc
  limit {MOST_BEARERS}
)
select (select max(nid) from likeness), of_keys.*, of_words.*, bearers.*
from (select array_agg(key), array_agg(n) from borne where n > 0) as of_keys,
     (select array_agg(key), array_agg(n) from name_count
      where key = any(%s::bigint[])) as of_words,
     (select array_agg(connection), array_agg(kind), array_agg(id), array_agg(profile)
      from foremost join likeness using (nid)) as bearers
""",  # noqa: S608
)
