"""The file that a resolution works in: a DuckDB database beside the hub's own.

It holds the records' columns, the likely pairs among them and the groups those make. All of it can
be made anew from the hub's store; it is kept so that the next run looks at what changed only. What
is in it is as personal as the store, and is to be kept as the store is kept.

A *frame* is what pairs are weighed in: the number of records, how frequent their values are, and
which values too many bear. A full run makes it, and it stays until the next one, so that an
incremental run weighs a pair as that full run would have, and links do not waver.

Each step is one transaction, and leaves behind what is still to be done (`changed` records,
`touched` groups, `dirty` links), so that a run that dies goes on where it stopped.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from middleware.resolution.batch.columns import FIRST_OF, LISTS, MOST_BEARERS, STOPPED, TEXTS
from middleware.resolution.batch.executor import SCRATCH, Sql
from middleware.resolution.batch.model import Block, Model
from middleware.resolution.batch.scoring import Scorer

if TYPE_CHECKING:
    from splink import DuckDBAPI

ROUND = 6
"""Weights are kept to so many digits: what any two executors agree on."""
LAYOUT = "3"
"""Changes with the tables of the file: one with others is made anew."""
BETWEEN = "\x1f"
"""Stands between scheme and value of a number."""

STORED = {name: "VARCHAR" for name in TEXTS if name not in FIRST_OF} | dict.fromkeys(
    LISTS, "VARCHAR[]"
)


_FIRST = ", ".join(f"{of}[1] AS {name}" for name, of in FIRST_OF.items())
_LISTED = ", ".join(
    f"CASE WHEN k.unique_id IS NULL THEN s.{name} ELSE k.{name} END AS {name}"
    if name in STOPPED
    else f"s.{name}"
    for name in STORED
)


def _compared(source: str) -> str:
    """What pairs of these records are compared by: columns without values that too many bear."""
    return f"""SELECT *, {_FIRST} FROM (SELECT s.unique_id, {_LISTED}
        FROM {source} s LEFT JOIN kept k ON k.unique_id = s.unique_id)"""


class WorkspaceUnusableError(Exception):
    """Another process has the workspace open, or its folder or file is not what it should be."""


def short_of(error: BaseException) -> str | None:
    """`memory` or `disk`, if that is what the workspace's work failed for; Splink wraps it."""
    seen: set[int] = set()
    why: BaseException | None = error
    while why is not None and id(why) not in seen:
        seen.add(id(why))
        if isinstance(why, duckdb.OutOfMemoryException):
            return "memory"
        if "No space left" in str(why):
            return "disk"
        why = why.__cause__ or why.__context__
    return None


@dataclass(frozen=True)
class Entry:
    """A record with its columns, as `put` takes it."""

    ref: str
    content: str
    """The hash of what it says, by which a change is seen."""
    columns: Mapping[str, Any]
    ids: Sequence[tuple[str, str]] = ()
    """Numbers of which a customer has one: scheme and value."""


class Workspace:
    """One open workspace, for one model. For one thread; `close` it."""

    def __init__(
        self,
        path: Path | None,
        model: Model,
        *,
        stamp: str = "",
        memory: str = "2GB",
        threads: int | None = None,
    ) -> None:
        """Open the file, or make it; None means one in memory.

        What another model or `stamp` made is thrown away. `memory` is what DuckDB may take before
        it spills to files beside the workspace. Raises WorkspaceUnusableError.
        """
        unknown = set(model.columns) - {*TEXTS, *LISTS}
        if unknown:
            raise ValueError(
                f"the model {model.name!r} compares {', '.join(sorted(unknown))}, which records do"
                f" not have; there are {', '.join((*TEXTS, *LISTS))}"
            )
        self.model = model
        config: dict[str, Any] = {"memory_limit": memory, "preserve_insertion_order": False}
        if threads:
            config["threads"] = threads
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = duckdb.connect(str(path or ":memory:"), config=config)
        except (duckdb.IOException, OSError) as error:
            raise WorkspaceUnusableError(f"{path} can't be opened: {error}") from None
        self._prepare(f"{LAYOUT}/{model.fingerprint}/{stamp}")

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def api(self) -> Iterator[DuckDBAPI]:
        """The workspace as Splink reads it; what Splink makes meanwhile is in `SCRATCH`.

        That is a database in memory, which spills as the workspace does: tables in the file would
        be compressed and written, for nobody to read again. `compared` is a table there, since
        Splink reads its input for each side of each of its queries.
        """
        from splink import DuckDBAPI

        own = self._connection.cursor()
        (here,) = self.all("SELECT current_database()")[0]
        own.execute(f"ATTACH ':memory:' AS {SCRATCH}")
        own.execute(f"CREATE TABLE {SCRATCH}.compared AS FROM compared")
        own.execute(f"SET search_path = '{SCRATCH}.main,\"{here}\".main'")
        try:
            yield DuckDBAPI(connection=own)
        finally:
            own.close()
            self.do(f"DETACH {SCRATCH}")

    # --- records ------------------------------------------------------------------------------

    def look_through(self) -> None:
        """Begin to compare all records with what the store holds: `see` them, then `compare`."""
        self.do("CREATE OR REPLACE TEMP TABLE seen (ref VARCHAR, content VARCHAR)")

    def see(self, source: str, ids: str, contents: str) -> None:
        """Note records of a source (`connection:kind`): JSON arrays of their ids and contents."""
        self.do(
            """INSERT INTO seen SELECT $source || ':' || unnest(from_json($ids, '["VARCHAR"]')),
                unnest(from_json($contents, '["VARCHAR"]'))""",
            source=source,
            ids=ids,
            contents=contents,
        )

    def look_at(self, contents: Mapping[str, str]) -> None:
        """Compare these records alone with what the store holds: hash by reference."""
        self.look_through()
        self.do(
            "INSERT INTO seen SELECT unnest($refs), unnest($contents)",
            refs=list(contents),
            contents=list(contents.values()),
        )

    def compare(self, among: Sequence[str] | None = None) -> tuple[int, list[str]]:
        """How many of the records that were seen are new here or have changed, see `stale`; and
        the records here, or those of them `among` these, that were not seen."""
        self.do("""CREATE OR REPLACE TEMP TABLE stale AS
            SELECT row_number() OVER (ORDER BY ref) AS place, ref, content
            FROM seen ANTI JOIN record USING (ref, content)""")
        if among is None:
            gone = self.all("SELECT ref FROM record ANTI JOIN seen USING (ref)")
        else:
            query = """SELECT ref FROM record ANTI JOIN seen USING (ref)
                WHERE ref IN (SELECT unnest($among))"""
            gone = self.all(query, among=list(among))
        return self.one("SELECT count(*) FROM stale"), [row[0] for row in gone]

    def stale(self, *, at_once: int) -> Iterator[dict[str, str]]:
        """The records that are new here or have changed, some at a time: content by reference."""
        for start in range(1, self.one("SELECT count(*) FROM stale") + 1, at_once):
            query = "SELECT ref, content FROM stale WHERE place >= $start AND place < $end"
            yield dict(self.all(query, start=start, end=start + at_once))

    def put(self, entries: Sequence[Entry], gone: Iterable[str] = ()) -> None:
        """Take in new and changed records, and let go of those that are gone."""
        rows: list[dict[str, Any]] = [
            {
                "ref": entry.ref,
                "content": entry.content,
                "uids": [f"{scheme}{BETWEEN}{value}" for scheme, value in entry.ids],
                **{name: entry.columns[name] for name in STORED},
            }
            for entry in entries
        ]
        types = {"ref": "VARCHAR", "content": "VARCHAR", "uids": "VARCHAR[]"} | STORED
        with self.transaction():
            self.fill("arriving", [*rows, *({"ref": ref} for ref in gone)], types)
            arrival = self.one("SELECT nextval('arrival')")
            self.do("""CREATE OR REPLACE TEMP TABLE known AS
                SELECT r.unique_id, r.ref FROM record r SEMI JOIN arriving USING (ref)""")
            self.do(f"INSERT INTO changed SELECT unique_id, {arrival} FROM known")
            self.do("DELETE FROM record WHERE unique_id IN (SELECT unique_id FROM known)")
            self.do(f"""CREATE OR REPLACE TEMP TABLE numbered AS
                SELECT coalesce(k.unique_id, nextval('record_number')) AS unique_id,
                    {arrival} AS arrival, a.ref, a.content, a.uids, {", ".join(STORED)}
                FROM arriving a LEFT JOIN known k ON a.ref = k.ref WHERE a.content IS NOT NULL""")
            self.do("INSERT INTO record FROM numbered")
            self.do("""INSERT INTO changed SELECT unique_id, arrival
                FROM numbered ANTI JOIN known USING (ref)""")

    @property
    def count(self) -> int:
        return int(self.one("SELECT count(*) FROM record"))

    @property
    def changed(self) -> int:
        """How many records' pairs are to be looked for anew."""
        return int(self.one("SELECT count(DISTINCT unique_id) FROM changed"))

    @property
    def framed(self) -> int:
        """Of how many records the frame was made; 0 while there is none."""
        return int(self.said("records") or 0)

    def numbers(self, refs: Iterable[str]) -> dict[str, int]:
        """The records' numbers in the workspace, by reference."""
        query = "SELECT ref, unique_id FROM record WHERE ref IN (SELECT unnest($refs))"
        return dict(self.all(query, refs=list(refs)))

    # --- the frame ----------------------------------------------------------------------------

    def frame(self) -> None:
        """Make the frame anew, of all the records; `scored` is False until their pairs are in."""
        with self.transaction():
            self.do('DELETE FROM "stop"')
            for column in STOPPED:
                self.do(f"""INSERT INTO "stop" SELECT '{column}', value FROM
                    (SELECT unnest({column}) AS value FROM record)
                    GROUP BY value HAVING count(*) > {MOST_BEARERS}""")
            self.do("DELETE FROM kept")
            self._keep("record")
            self._key_all()
            for column, level in self.model.rare_columns.items():
                seen, of_them = float(level.seen), level.seen * (level.u or 0)
                self.do(f"""CREATE OR REPLACE TABLE tf_{column} AS
                    SELECT {column}, (count(*) + {of_them})
                        / (sum(count(*)) OVER () + {seen}) AS tf_{column}
                    FROM compared WHERE {column} IS NOT NULL GROUP BY {column}""")
            self.do("DELETE FROM changed")
            self.say("records", str(self.count))
            self.say("scored", "")

    def refresh(self) -> None:
        """Take the changed records into the frame that there is; all pairs are to be found anew."""
        with self.transaction():
            self._take_changed()
            self.say("scored", "")

    @property
    def frequencies(self) -> dict[str, str]:
        """The tables of how frequent values are, by column."""
        return {column: f"tf_{column}" for column in self.model.rare_columns}

    def exact_u(self) -> dict[str, float]:
        """How often two random records have the same value, by column, counted exactly."""
        found = {}
        for column in self.model.rare_columns:
            same, bearers = self.all(
                f"""SELECT sum(n * (n - 1)), sum(n) FROM (SELECT count(*)::DOUBLE AS n FROM compared
                    WHERE {column} IS NOT NULL GROUP BY {column})"""
            )[0]
            found[column] = same / (bearers * (bearers - 1)) if bearers and bearers > 1 else 0.0
        return found

    def scorer(self, rows: Iterable[Mapping[str, Any]]) -> Scorer:
        """The model in this frame, for pairs that one of these records is part of."""
        shares, made = {}, list(rows)
        for column in self.model.rare_columns:
            query = f"""SELECT {column}, tf_{column} FROM tf_{column}
                WHERE {column} IN (SELECT unnest($values::VARCHAR[]))"""
            values = {row[column] for row in made} - {None}
            shares[column] = dict(self.all(query, values=list(values)))
        return Scorer(self.model, records=self.framed, frequencies=shares)

    # --- pairs --------------------------------------------------------------------------------

    @property
    def scored(self) -> bool:
        """Whether the frame's pairs are in."""
        return self.said("scored") == "yes"

    def take_edges(self, pairs: str, compared: str = "compared") -> None:
        """Take in what scored all blocked pairs: a table of unique_id_l, unique_id_r, match_weight.

        `compared` is what their columns are read of. All groups are to be made anew.
        """
        with self.transaction():
            self.do("DELETE FROM edge")
            self.do(f"""CREATE OR REPLACE TEMP TABLE found AS SELECT unique_id_l AS l,
                unique_id_r AS r, round(match_weight, {ROUND}) AS weight FROM {pairs}""")
            self._take_found(compared)
            # Those that are gone since leave their groups.
            self.do("INSERT INTO touched SELECT unique_id FROM record")
            self.do("INSERT INTO touched SELECT unique_id FROM member")
            self.say("scored", "yes")

    def score_changed(self, *, least: float) -> int:
        """Find the changed records' pairs, in the frame that there is, by the model's own SQL.

        Keeps those of at least so many bits; answers how many pairs were compared.
        """
        with self.transaction():
            self._take_changed()
            self.do("""CREATE OR REPLACE TEMP TABLE candidate AS SELECT DISTINCT
                least(a.unique_id, b.unique_id) AS l, greatest(a.unique_id, b.unique_id) AS r
                FROM fresh_key a JOIN block_key b USING (key) WHERE a.unique_id <> b.unique_id""")
            self._score_candidates(least)
            self.do("INSERT INTO edge FROM found")
            self.do("INSERT INTO touched SELECT unnest([l, r]) FROM found")
        return int(self.one("SELECT count(*) FROM candidate"))

    def _take_changed(self) -> None:
        """Make `fresh` of the changed records: as they are now, and without pairs."""
        self.do("CREATE OR REPLACE TEMP TABLE fresh AS SELECT DISTINCT unique_id FROM changed")
        for side, other in (("l", "r"), ("r", "l")):
            self.do(f"INSERT INTO touched SELECT {other} FROM edge WHERE {side} IN (FROM fresh)")
        self.do("INSERT INTO touched FROM fresh")
        self.do("DELETE FROM edge WHERE l IN (FROM fresh) OR r IN (FROM fresh)")
        self.do("DELETE FROM kept WHERE unique_id IN (FROM fresh)")
        # What arrived last stands at the end of the table: the rest of it is not read.
        first = self.one("SELECT coalesce(min(arrival), 0) FROM changed")
        self.do(f"""CREATE OR REPLACE TEMP TABLE fresh_record AS
            FROM record SEMI JOIN fresh USING (unique_id) WHERE arrival >= {first}""")
        self._keep("fresh_record")
        self.do(f"CREATE OR REPLACE TEMP TABLE fresh_compared AS {_compared('fresh_record')}")
        self.do(f"CREATE OR REPLACE TEMP TABLE fresh_key AS {self._keys('fresh_compared')}")
        if self.said("keyed") == duckdb.__version__:
            self.do("DELETE FROM block_key WHERE unique_id IN (FROM fresh)")
            self.do("INSERT INTO block_key FROM fresh_key")
        else:
            self._key_all()
        self.do("DELETE FROM changed")

    def rows(self, numbers: Iterable[int]) -> dict[int, dict[str, Any]]:
        """The columns of records by their numbers, as pairs are compared by."""
        cursor = self._connection.execute(
            "FROM compared WHERE unique_id IN (SELECT unnest($numbers))", {"numbers": list(numbers)}
        )
        names = [column[0] for column in cursor.description or ()]
        return {row[0]: dict(zip(names, row, strict=True)) for row in cursor.fetchall()}

    def _score_candidates(self, least: float) -> None:
        """Fill `found` with those of `candidate` that weigh enough, and whether they may join."""
        names, rare = self.model.compared_columns, self.model.rare_columns
        self.do(f"""CREATE OR REPLACE TEMP TABLE side AS SELECT unique_id, {", ".join(names)}
            FROM compared WHERE unique_id IN (SELECT unnest([l, r]) FROM candidate)""")
        for name in rare:
            self.do(f"""CREATE OR REPLACE TEMP TABLE side_{name} AS
                FROM tf_{name} SEMI JOIN side USING ({name})""")
        sql = Sql("duckdb")
        joins = sql.condition(self.model.joins) if self.model.joins else "true"
        columns = [f'{s}."{name}" AS "{name}_{s}"' for name in names for s in "lr"]
        columns += [f'"tf_{name}"' for name in rare]
        shares = " ".join(f"LEFT JOIN side_{n} ON side_{n}.{n} = l.{n}" for n in rare)
        self.do(
            # Materialised, since a filter on the weight would work it out once more.
            f"""CREATE OR REPLACE TEMP TABLE found AS
            WITH pair AS (SELECT c.l AS one, c.r AS other, {", ".join(columns)}
                FROM candidate c JOIN side l ON l.unique_id = c.l
                JOIN side r ON r.unique_id = c.r {shares}),
            weighed AS MATERIALIZED (
                SELECT *, {sql.weight(self.model, self.framed)} AS weight FROM pair)
            SELECT one AS l, other AS r, round(weight, {ROUND}) AS weight,
                coalesce({joins}, false) AS joins
            FROM weighed WHERE weight >= $least""",
            least=least,
        )

    def _take_found(self, compared: str) -> None:
        """Make edges of `found`, with whether the model lets them join."""
        joins = Sql("duckdb").condition(self.model.joins) if self.model.joins else "true"
        sides = [f'{side}."{name}" AS "{name}_{side}"' for name in self._joining for side in "lr"]
        self.do(f"""INSERT INTO edge SELECT e_l, e_r, weight, coalesce({joins}, false) FROM (
            SELECT f.l AS e_l, f.r AS e_r, f.weight {"".join(f", {one}" for one in sides)}
            FROM found f JOIN {compared} l ON l.unique_id = f.l
            JOIN {compared} r ON r.unique_id = f.r)""")

    @property
    def _joining(self) -> list[str]:
        return sorted(set(self.model.joins.columns())) if self.model.joins else []

    def _key_all(self) -> None:
        """Make every record's blocking keys anew."""
        self.do(f"CREATE OR REPLACE TABLE block_key AS {self._keys('compared')}")
        self.say("keyed", duckdb.__version__)

    def _keys(self, source: str) -> str:
        """The blocking keys of these records, by what they are compared by: hashes of 64 bits, as
        DuckDB's version makes them. What shares one by chance is told apart when it is weighed."""
        return " UNION ALL ".join(
            self._keys_of(number, block, source) for number, block in enumerate(self.model.blocks)
        )

    def _keys_of(self, number: int, block: Block, source: str) -> str:
        keys = [
            f"unnest({one.column})"
            if one.each
            else f"substr({one.column}, 1, {one.letters})"
            if one.letters
            else one.column
            for one in block
        ]
        named = [f"k{place}" for place in range(len(keys))]
        made = ", ".join(f"{key} AS {name}" for key, name in zip(keys, named, strict=True))
        return f"""SELECT hash({number}, {", ".join(named)}) AS key, unique_id
            FROM (SELECT unique_id, {made} FROM {source})
            WHERE {" AND ".join(f"{name} IS NOT NULL" for name in named)}"""

    def _keep(self, source: str) -> None:
        """Note what is left of these records' lists without values that too many bear."""
        borne = " UNION ".join(
            f"""SELECT unique_id FROM (SELECT unique_id, unnest({column}) AS value FROM {source})
                WHERE value IN (SELECT value FROM "stop" WHERE of_column = '{column}')"""
            for column in STOPPED
        )
        self.do(f"""CREATE OR REPLACE TEMP TABLE bearing AS
            FROM {source} WHERE unique_id IN ({borne})""")
        left = " ".join(
            f"""LEFT JOIN (
                SELECT unique_id, list(value ORDER BY place) AS {column}
                FROM (SELECT unique_id, unnest({column}) AS value,
                    generate_subscripts({column}, 1) AS place FROM bearing)
                WHERE value NOT IN (SELECT value FROM "stop" WHERE of_column = '{column}')
                GROUP BY unique_id
            ) b_{column} USING (unique_id)"""
            for column in STOPPED
        )
        columns = ", ".join(f"b_{column}.{column}" for column in STOPPED)
        self.do(f"INSERT INTO kept SELECT unique_id, {columns} FROM bearing {left}")

    # --- the file -----------------------------------------------------------------------------

    def do(self, statement: str, **given: Any) -> None:
        self._connection.execute(statement, given or None).fetchall()

    def all(self, query: str, **given: Any) -> list[Any]:
        # DuckDB refuses other work on a connection while an answer is unread.
        return self._connection.execute(query, given or None).fetchall()

    def one(self, query: str, **given: Any) -> Any:
        return self.all(query, **given)[0][0]

    def fill(self, table: str, rows: Iterable[Mapping[str, Any]], types: Mapping[str, str]) -> None:
        """Make a temporary table of these rows; what a row lacks is null."""
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row) + "\n")
            file.flush()
            columns = ", ".join(f"'{name}': '{kind}'" for name, kind in types.items())
            self.do(
                f"CREATE OR REPLACE TEMP TABLE {table} AS FROM read_json($file, "
                f"format='newline_delimited', columns={{{columns}}})",
                file=file.name,
            )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.do("BEGIN")
        try:
            yield
        except BaseException:
            with suppress(duckdb.Error):  # it may be over: what it failed for is to be told
                self._connection.rollback()
            raise
        self.do("COMMIT")

    def said(self, name: str) -> str | None:
        """What was noted under a name."""
        rows = self.all("SELECT value FROM said WHERE name = $n", n=name)
        return rows[0][0] if rows else None

    def say(self, name: str, value: str) -> None:
        """Note something under a name, in place of what was."""
        self.do("DELETE FROM said WHERE name = $n", n=name)
        self.do("INSERT INTO said VALUES ($n, $v)", n=name, v=value)

    def _prepare(self, stamp: str) -> None:
        self.do("CREATE TABLE IF NOT EXISTS said (name VARCHAR, value VARCHAR)")
        if self.said("stamp") == stamp:
            return
        with self.transaction():
            self.do("DROP VIEW IF EXISTS compared")
            for (name,) in self.all("SELECT table_name FROM duckdb_tables() WHERE NOT temporary"):
                self.do(f'DROP TABLE "{name}"')
            self.do("CREATE OR REPLACE SEQUENCE record_number")
            self.do("CREATE OR REPLACE SEQUENCE arrival")
            columns = ", ".join(f"{name} {kind}" for name, kind in STORED.items())
            for table in (
                "said (name VARCHAR, value VARCHAR)",
                f"""record (unique_id BIGINT, arrival BIGINT, ref VARCHAR, content VARCHAR,
                    uids VARCHAR[], {columns})""",
                "changed (unique_id BIGINT, arrival BIGINT)",
                '"stop" (of_column VARCHAR, value VARCHAR)',
                f"kept (unique_id BIGINT, {', '.join(f'{name} VARCHAR[]' for name in STOPPED)})",
                "block_key (key UBIGINT, unique_id BIGINT)",
                "edge (l BIGINT, r BIGINT, weight DOUBLE, joins BOOLEAN)",
                "touched (unique_id BIGINT)",
                "member (unique_id BIGINT, number BIGINT)",
                "refused (l BIGINT, r BIGINT, weight DOUBLE, why VARCHAR)",
                "dirty (unique_id BIGINT)",
                "apart (one VARCHAR, other VARCHAR)",
                "held (one VARCHAR, other VARCHAR)",
            ):
                self.do(f"CREATE TABLE {table}")
            self.do(f"CREATE VIEW compared AS {_compared('record')}")
            for column in self.model.rare_columns:
                self.do(f"CREATE TABLE tf_{column} ({column} VARCHAR, tf_{column} DOUBLE)")
            self.say("stamp", stamp)
