"""A sync into the store, against a raw bulk upsert of the same rows.

Both write the same records, page by page, each page in a transaction that lasts: the raw one gets
the finished rows, with their JSON and identifiers, and does nothing but hand them to the driver's
fastest way in (`executemany` on SQLite; on PostgreSQL COPY into a temporary table and one
INSERT ... ON CONFLICT). The sync is `middleware.flows.sync` storing pages as it does in a run: it
makes JSON, hash and identifiers of each record, compares with what is stored, moves its cursor and
keeps its run's counts. The two take turns, so that what disturbs one disturbs both. Making the
records themselves is neither's time.

A sync also puts contacts into the index of likenesses, of which that raw upsert writes nothing: its
share is told, and the ratio without it. A second raw upsert gets the index's finished rows, too, so
that it writes the very rows that the sync writes (`ratio_same_rows`). Processor time is told beside
the clock's, which says little on a machine that others use.

The finished rows are made in another process, so that none of what a sync works out is known to it
beforehand.
"""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg

from middleware.app import spare_the_collector
from middleware.contract.canonical import Kind, Record
from middleware.contract.capabilities import Page
from middleware.flows import sync
from middleware.flows.engine import Engine
from middleware.flows.hub import Hub, Options
from middleware.registry import Registry
from middleware.resolution import profiles
from middleware.resolution.identifiers import identifiers_of
from middleware.store import likeness
from middleware.store.database import Database
from middleware.store.records import columns_of, hash_of
from middleware.store.tables import RunRow
from middleware.understanding import Rules
from tests.bench import context, places

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
COLUMNS = (
    "connection", "kind", "id", "number", "account_id", "contact_id", "order_id", "sorted_at",
    "body", "content_hash", "as_of", "deleted_at", "seen_by",
)  # fmt: skip
KEY = ("connection", "kind", "id")


@dataclass(frozen=True)
class Size:
    records: int


FULL = Size(1_000_000)
SHORT = Size(20_000)


def run(database: str, folder: Path, size: Size) -> dict[str, Any]:
    """Rows a second of both, new and unchanged, the ratios, and the course of memory."""
    spare_the_collector()
    with (
        places.database(database, folder) as ours,
        places.database(database, folder) as theirs,
        places.database(database, folder) as all_of_theirs,
        _raw(theirs) as raw,
        _raw(all_of_theirs) as raw_all,
        _synced(ours) as synced,
        _index_share() as share,
        # What a sync makes of a record must not lie in its caches already.
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as elsewhere,
    ):
        pages = size.records // sync.PAGE
        taken = {"raw": 0.0, "sync": 0.0, "raw_all": 0.0}
        used = dict(taken)
        numbered = 0
        memory: list[int] = []
        for number in range(pages):
            records = list(_records(number))
            finished = elsewhere.submit(_finished, number, numbered).result()
            numbered += len(finished.index.rows)
            turns = {
                "raw": partial(raw, finished.rows, finished.identifiers),
                "sync": partial(synced, records),
                "raw_all": partial(raw_all, finished.rows, finished.identifiers, finished.index),
            }
            for name in turns if number % 4 < 2 else reversed(turns):  # each kind of page in both
                began, before = time.perf_counter(), time.thread_time()
                turns[name]()
                taken[name] += time.perf_counter() - began
                used[name] += time.thread_time() - before
            if number % max(1, pages // 10) == 0 or number == pages - 1:
                memory.append(_resident_mib())
                places.say(
                    f"sync, {database}: {(number + 1) * sync.PAGE} records, {memory[-1]} MiB"
                )
        indexing = share.taken
        again = min(pages, 50)
        unchanged = 0.0
        for number in range(again):
            records = list(_records(number))
            began = time.perf_counter()
            synced(records)
            unchanged += time.perf_counter() - began
    total = pages * sync.PAGE
    return {
        "records": total,
        "raw_per_s": round(total / taken["raw"]),
        "sync_per_s": round(total / taken["sync"]),
        "ratio": round(taken["raw"] / taken["sync"], 2),
        "cpu_ratio": round(used["raw"] / used["sync"], 2),
        "ratio_same_rows": round(taken["raw_all"] / taken["sync"], 2),
        "cpu_ratio_same_rows": round(used["raw_all"] / used["sync"], 2),
        "raw_cpu_us": round(used["raw"] / total * 1e6, 1),
        "raw_all_cpu_us": round(used["raw_all"] / total * 1e6, 1),
        "sync_cpu_us": round(used["sync"] / total * 1e6, 1),
        "index_share": round(indexing / taken["sync"], 2),
        "ratio_without_index": round(taken["raw"] / (taken["sync"] - indexing), 2),
        "unchanged_per_s": round(again * sync.PAGE / unchanged),
        "memory_mib": memory,
        "memory_grown_mib": memory[-1] - memory[len(memory) // 5],
    }


def _records(page: int) -> Iterator[Record]:
    """A page of what a shop has: customers, and the orders that they made."""
    first = page * sync.PAGE
    for number in range(first, first + sync.PAGE):
        if page % 2:
            yield context.order(number, number, NOW)
        else:
            phone = f"+1{2_025_000_000 + number}"  # one that a plan allows, as most are
            yield context.contact(number).model_copy(update={"phones": (phone,)})


def _row(record: Record) -> tuple[Any, ...]:
    body = record.model_dump(mode="json")
    columns = columns_of(record)
    return (
        record.ref.connection,
        record.ref.kind.value,
        record.ref.id,
        *(columns[name] for name in COLUMNS[3:8]),
        json.dumps(body),
        hash_of(body),
        NOW,
        None,
        None,
    )


@dataclass(frozen=True)
class Index:
    """The rows that the index of likenesses has of a page."""

    rows: list[tuple[Any, ...]]
    keys: list[tuple[int, int]]
    counts: list[tuple[int, int]]


@dataclass(frozen=True)
class Finished:
    """A page as rows that need only be written."""

    rows: list[tuple[Any, ...]]
    identifiers: list[tuple[Any, ...]]
    index: Index


INDEXED = ("nid", *KEY, "profile", "keys", "names")


def _finished(page: int, numbered: int) -> Finished:
    records = list(_records(page))
    rows = [_row(record) for record in records]
    identifiers = [
        (scheme, value, *row[:3])
        for record, row in zip(records, rows, strict=True)
        for scheme, value in identifiers_of(record)
    ]
    looks, keys, counts = [], [], Counter[int]()
    for record, row in zip(records, rows, strict=True):
        one = profiles.likeness_of(record)
        if one is not None:
            nid = numbered + len(looks) + 1
            packed = likeness.packed(one.keys), likeness.packed(one.names)
            looks.append((nid, *row[:3], one.profile, *packed))
            keys += [(key, nid) for key in one.keys]
            counts.update(one.names)
    return Finished(rows, identifiers, Index(looks, sorted(keys), sorted(counts.items())))


@dataclass
class Share:
    """What the index of likenesses has taken: seconds by the clock."""

    taken: float = 0.0


@contextmanager
def _index_share() -> Iterator[Share]:
    """Measure what makes likenesses, and what writes them and the counts of names."""
    share = Share()

    def measured(part: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any) -> Any:
            # Not of the processor: to ask for that, once a record, would be a part of the answer.
            began = time.perf_counter()
            try:
                return part(*given)
            finally:
                share.taken += time.perf_counter() - began

        return run

    with (
        mock.patch.object(profiles, "likeness_of", measured(profiles.likeness_of)),
        mock.patch.object(likeness.LikenessIndex, "put", measured(likeness.LikenessIndex.put)),
        mock.patch.object(likeness, "_write_counts", measured(likeness._write_counts)),
    ):
        yield share


@contextmanager
def _synced(url: str) -> Iterator[Any]:
    """What stores a page as a run does."""
    database = Database(url)
    hub = Hub(
        database=database,
        registry=Registry(()),
        engine=Engine(database),
        understands=Rules(),
        options=Options(),
    )
    with database.begin() as uow:
        uow.jobs.add_run(
            RunRow(
                id="run_bench",
                job="bench",
                tick="t",
                state="running",
                requested_by="bench",
                counts={},
                queued_at=NOW,
            )
        )
    cursors: dict[Kind, str | None] = {}

    def store(records: list[Record]) -> None:
        kind = records[0].ref.kind
        before = cursors.get(kind)
        after = str(int(before or 0) + 1)
        page = Page(records=tuple(records), cursor=after, more=True, as_of=NOW)
        sync._store(hub, "run_bench", records[0].ref.connection, kind, before, page)
        cursors[kind] = after

    yield store
    hub.engine.stop()
    database.close()


@contextmanager
def _raw(url: str) -> Iterator[Any]:
    """What hands finished rows to the driver."""
    listed = ", ".join(COLUMNS)
    changed = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name not in KEY)
    upsert = f"on conflict ({', '.join(KEY)}) do update set {changed}"
    borne = "record_identifier (scheme, value, connection, kind, id)"
    if url.startswith("sqlite"):
        lite = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            lite.execute(f"pragma {pragma}")
        marks = ", ".join("?" * len(COLUMNS))

        def write(
            rows: list[tuple[Any, ...]],
            identifiers: list[tuple[Any, ...]],
            index: Index | None = None,
        ) -> None:
            lite.execute("begin immediate")
            texts = [tuple(str(v) if isinstance(v, datetime) else v for v in row) for row in rows]
            lite.executemany(f"insert into record ({listed}) values ({marks}) {upsert}", texts)
            lite.executemany(f"insert into {borne} values (?, ?, ?, ?, ?)", identifiers)
            if index is not None:
                into = f"likeness ({', '.join(INDEXED)})"
                lite.executemany(f"insert into {into} values (?, ?, ?, ?, ?, ?, ?)", index.rows)
                lite.executemany("insert into blocking_key values (?, ?)", index.keys)
                lite.executemany(likeness._COUNT.sqlite, index.counts)
            lite.execute("commit")

        yield write
        lite.close()
        return
    server = psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://", 1))
    server.execute("create temporary table raw_rows (like record) on commit delete rows")
    server.commit()

    def copy(
        rows: list[tuple[Any, ...]],
        identifiers: list[tuple[Any, ...]],
        index: Index | None = None,
    ) -> None:
        def put(cursor: psycopg.Cursor[Any], table: str, rows: Iterable[tuple[Any, ...]]) -> None:
            with cursor.copy(f"copy {table} from stdin") as into:
                for row in rows:
                    into.write_row(row)

        with server.cursor() as cursor:
            put(cursor, f"raw_rows ({listed})", rows)
            cursor.execute(f"insert into record ({listed}) select {listed} from raw_rows {upsert}")
            put(cursor, borne, identifiers)
            if index is not None:
                put(cursor, f"likeness ({', '.join(INDEXED)})", index.rows)
                put(cursor, "blocking_key (key, nid)", index.keys)
                if index.counts:
                    columns = [list(column) for column in zip(*index.counts, strict=True)]
                    cursor.execute(likeness._COUNT.postgresql, columns)
        server.commit()

    yield copy
    server.close()


def _resident_mib() -> int:
    """What this process holds; pages of the mapped database are the system's to take back."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) // 1024
    return 0
