"""Runs of resolution from the store to the links: `python -m tests.bench.linking`.

The records are synced into a fresh store page by page, as a run does it; then one run of
resolution, allowed to change as much as it wants, links them. What each of its parts took is told,
and how many links a second the last one wrote.

Then half a record in a hundred changes, and as many are new, and the store is copied with its
workspace: one has a run of what changed, the other a full one. `share_of_full` is what the first
took of the second, and `persons_that_differ` what they don't agree in.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import sqlalchemy as sa
from sqlmodel import col

from middleware.contract.canonical import Account, Contact
from middleware.flows import resolve, sync
from middleware.flows.engine import Engine
from middleware.flows.hub import Hub, Options, ResolveOptions
from middleware.registry import Registry
from middleware.resolution.profiles import found_by
from middleware.store.database import Database
from middleware.store.tables import LinkRow, PersonRow
from middleware.understanding import Rules
from tests import databases
from tests.bench import places
from tests.bench.batch import peak_mib
from tests.bench.records import Crowd

_LINKED = (
    sa.select(
        sa.func.coalesce(col(PersonRow.redirect_to), col(PersonRow.id)),
        col(LinkRow.connection),
        col(LinkRow.kind),
        col(LinkRow.record_id),
    )
    .join(PersonRow, col(PersonRow.id) == col(LinkRow.person_id))
    .where(col(LinkRow.valid_to).is_(None), col(LinkRow.record_id).is_not(None))
)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def run(database: str, folder: Path, records: int) -> dict[str, Any]:
    """Seconds by the clock and of processors of each part, links a second, and what came of it."""
    with places.database(database, folder) as url:
        with _bench(url, folder, records) as bench:
            bench.fill()
            first = bench.run("first")
            bench.change()
        twin = databases.copied(url, folder)
        try:
            (folder / "twin").mkdir()
            shutil.copy(folder / "resolve.duckdb", folder / "twin")
            with _bench(url, folder, records) as bench:
                increment, parts = bench.run("increment"), bench.persons()
            with _bench(twin, folder / "twin", records) as bench:
                full, others = bench.run("full", full=True), bench.persons()
        finally:
            databases.drop(twin)
    links, linked = first["links"]["made"], first["parts"]["link"]
    return {
        "records": records,
        "links": links,
        "persons": first["links"]["persons"],
        "parts": first["parts"],
        "links_per_s": round(links / linked["s"]),
        "links_per_cpu_s": round(links / linked["cpu_s"]),
        "increment": increment,
        "full": full,
        "share_of_full": round(increment["took"]["s"] / full["took"]["s"], 4),
        "cpu_share_of_full": round(increment["took"]["cpu_s"] / full["took"]["cpu_s"], 4),
        "persons_that_differ": len(parts ^ others),
        "peak_mib": peak_mib(),
    }


@contextmanager
def _bench(url: str, folder: Path, records: int) -> Iterator[_Bench]:
    opened = Database(url)
    hub = Hub(
        database=opened,
        registry=Registry(()),
        engine=Engine(opened),
        understands=Rules(),
        options=Options(resolve=ResolveOptions(workspace=folder)),
        clock=lambda: datetime.now(UTC),
    )
    try:
        yield _Bench(hub, records)
    finally:
        hub.engine.stop()
        opened.close()


class _Bench:
    """A hub whose store is filled, and runs of resolution in it."""

    def __init__(self, hub: Hub, records: int) -> None:
        self.hub, self.records, self.crowd = hub, records, Crowd(records)

    def fill(self) -> None:
        crowd = self.crowd.records()
        while page := [record for record, _ in islice(crowd, sync.PAGE)]:
            self._store(page, NOW)
        places.say(f"linking: {self.records} records are stored")
        with self.hub.database.begin() as uow:
            job = {"flow": "resolve", "arguments": {}, "schedule": {"every": 86_400}}
            uow.jobs.declare({"people": job}, at=NOW)

    def change(self) -> None:
        """Change half a hundredth of the records, and add as many."""
        count = max(1, self.records // 200)
        some = islice(self.crowd.records(), 0, None, self.records // count)
        changed = [self.crowd.changed(record) for record, _ in some]
        new = [
            record.model_copy(update={"ref": record.ref.model_copy(update={"id": f"{number}n"})})
            for number, (record, _) in enumerate(islice(Crowd(count, seed=11).records(), count))
        ]
        self._store([*changed, *new], datetime.now(UTC))

    def persons(self) -> set[tuple[str, ...]]:
        """Which records have one person."""
        found: dict[str, list[str]] = defaultdict(list)
        with self.hub.database.read() as uow:
            for person, *key in uow.session.execute(_LINKED):
                found[person].append(":".join(key))
        return {tuple(sorted(refs)) for refs in found.values()}

    def _store(self, records: Sequence[Contact | Account], at: datetime) -> None:
        with self.hub.database.begin() as uow:
            uow.records.store([(one, partial(found_by, one)) for one in records], as_of=at)

    def run(self, tick: str, *, full: bool = False) -> dict[str, Any]:
        """What a run came to; `took` and `parts` are seconds by the clock and of processors."""
        took: dict[str, dict[str, float]] = {}
        parts = {f"_{step}": _timed(f"_{step}", took) for step in resolve.STEPS}
        run_id, _ = sync.owe(
            self.hub,
            "people",
            tick=tick,
            requested_by="bench",
            mode="full" if full else "changes",
            wanted={"allow": 10 * self.records},
        )
        gc.collect()
        gc.freeze()
        began, used = time.perf_counter(), time.process_time()
        with mock.patch.multiple(resolve._Run, **parts):
            resolve.run(self.hub, run_id)
        whole = {
            "s": round(time.perf_counter() - began, 2),
            "cpu_s": round(time.process_time() - used, 2),
        }
        with self.hub.database.read() as uow:
            row = uow.jobs.run(run_id)
            assert row is not None
            assert row.state == "done", row.error
            told = {name: row.counts[name] for name in ("records", "planned", "links", "weigh")}
        places.say(f"linking, {tick}: {whole}, {told}")
        return {**told, "took": whole, "parts": took}


def _timed(name: str, took: dict[str, dict[str, float]]) -> Callable[..., None]:
    """The part of a run, and a note of what it took."""
    part = getattr(resolve._Run, name)

    def measured(self: Any, space: Any) -> None:
        began, used = time.perf_counter(), time.process_time()
        part(self, space)
        took[name.removeprefix("_")] = {
            "s": round(time.perf_counter() - began, 2),
            "cpu_s": round(time.process_time() - used, 2),
        }
        places.say(f"linking, {name}: {took[name.removeprefix('_')]}")

    return measured


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--db", choices=("sqlite", "postgresql"), default="sqlite")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="amends-linking-") as folder:
        print(json.dumps(run(asked.db, Path(folder), asked.records)))


if __name__ == "__main__":
    main()
