"""A first resolution of everything in a store: `python -m tests.bench.linking --records 1000000`.

The records are synced into a fresh store page by page, as a run does it; then one run of
resolution, allowed to change as much as it wants, links them. What each of its parts took is told,
and how many links a second the last one wrote.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

from middleware.flows import resolve, sync
from middleware.flows.engine import Engine
from middleware.flows.hub import Hub, Options, ResolveOptions
from middleware.registry import Registry
from middleware.resolution.profiles import found_by
from middleware.store.database import Database
from middleware.understanding import Rules
from tests.bench import places
from tests.bench.batch import peak_mib
from tests.bench.records import Crowd

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def run(database: str, folder: Path, records: int) -> dict[str, Any]:
    """Seconds by the clock and of processors of each part, links a second, and what came of it."""
    with places.database(database, folder) as url:
        opened = Database(url)
        hub = Hub(
            database=opened,
            registry=Registry(()),
            engine=Engine(opened),
            understands=Rules(),
            options=Options(resolve=ResolveOptions(workspace=folder)),
            clock=lambda: datetime.now(UTC),
        )
        crowd = Crowd(records).records()
        while page := [record for record, _ in islice(crowd, sync.PAGE)]:
            with opened.begin() as uow:
                uow.records.store([(one, partial(found_by, one)) for one in page], as_of=NOW)
        places.say(f"linking, {database}: {records} records are stored")
        with opened.begin() as uow:
            job = {"flow": "resolve", "arguments": {}, "schedule": {"every": 86_400}}
            uow.jobs.declare({"people": job}, at=NOW)
        took: dict[str, dict[str, float]] = {}
        parts = {f"_{step}": _timed(f"_{step}", took) for step in resolve.STEPS}
        run_id, _ = sync.owe(
            hub, "people", tick="t1", requested_by="bench", wanted={"allow": 10 * records}
        )
        with mock.patch.multiple(resolve._Run, **parts):
            resolve.run(hub, run_id)
        with opened.read() as uow:
            row = uow.jobs.run(run_id)
            assert row is not None
            assert row.state == "done", row.error
            counts = row.counts
        hub.engine.stop()
        opened.close()
    made = counts["links"]["made"]
    return {
        "records": records,
        "links": made,
        "persons": counts["links"]["persons"],
        "parts": took,
        "links_per_s": round(made / took["link"]["s"]),
        "links_per_cpu_s": round(made / took["link"]["cpu_s"]),
        "peak_mib": peak_mib(),
    }


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
