"""Measures what docs/benchmarks.md claims: `python -m tests.bench.run [bench …]`.

Everything is held against something bare that is measured beside it, in turn; the last line with
`--json` is one object of figures. The exit status says whether the targets were met.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tests import databases
from tests.bench import (
    batch,
    context,
    engine,
    flood,
    histories,
    identity,
    intake,
    places,
    sync,
    understanding,
)

LEAST_INTAKE_RATIO = 0.5
MOST_CONTEXT_RATIO = 2.0
MOST_STEP_RATIO = 5.0
LEAST_SYNC_RATIO = 0.5
MOST_BATCH_RATIO = 1.2
MOST_INCREMENT = 0.1
MOST_BATCH_MIB = 4096
LEAST_MEASURED = 200_000
"""Below so many records what a batch costs is mostly what Splink costs to start."""


def missed(figures: dict[str, Any]) -> list[str]:
    """Which targets were not met."""
    found = []
    for database, measured in figures.get("intake", {}).items():
        if measured["ratio"] < LEAST_INTAKE_RATIO:
            found.append(f"intake on {database}: {measured['ratio']} of the bare insert")
    for database, measured in figures.get("context", {}).items():
        if measured["ratio_p99"] > MOST_CONTEXT_RATIO:
            found.append(f"context on {database}: {measured['ratio_p99']} times the bare reads")
    for database, measured in figures.get("engine", {}).items():
        if measured["ratio"] > MOST_STEP_RATIO:
            found.append(f"engine on {database}: a step costs {measured['ratio']} inserts")
    for database, measured in figures.get("sync", {}).items():
        if measured["ratio_same_rows"] < LEAST_SYNC_RATIO:
            share = measured["ratio_same_rows"]
            found.append(f"sync on {database}: {share} of a raw upsert of the same rows")
    if "understanding" in figures:
        found += understanding.missed(figures["understanding"])
    found += flood.missed(figures.get("flood", {}))
    found += identity.missed(figures.get("identity", {}))
    for size, measured in figures.get("batch", {}).get("sizes", {}).items():
        if int(size) < LEAST_MEASURED:
            continue
        found += [
            f"batch of {size}: {what} {measured[what]} of plain Splink"
            for what in ("wall_ratio", "cpu_ratio")
            if measured[what] > MOST_BATCH_RATIO
        ]
        if measured["increment"]["share_of_full"] > MOST_INCREMENT:
            found.append(f"batch of {size}: an increment costs too much of a full run")
        if measured["increment"]["groups_that_differ"]:
            found.append(f"batch of {size}: an increment ends in other groups than a full run")
        if measured["ours"]["peak_mib"] > MOST_BATCH_MIB:
            found.append(f"batch of {size}: {measured['ours']['peak_mib']} MiB")
    found += histories.missed(figures.get("histories", {}))
    for name, measured in figures.get("batch", {}).get("sets", {}).items():
        found += [
            f"batch of {name}: F1 {measured[f'ours_{one}']['f1']} at {one}"
            for one in batch.FIXED
            if measured[f"ours_{one}"]["f1"] < measured[f"splink_{one}"]["f1"]
        ]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.run", description=__doc__)
    parser.add_argument("what", nargs="*", help="intake, context, …; default: all")
    parser.add_argument("--db", choices=[*databases.BOTH, "both"], default="both")
    parser.add_argument("--short", action="store_true", help="smaller, to see that it runs")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--records", type=int, nargs="+", help="sizes of the batch, from small")
    parser.add_argument("--seeds", type=int, nargs="+", help="of the histories that are gathered")
    parser.add_argument("--held-out", type=Path, help="labelled texts of your own (CSV)")
    asked = parser.parse_args(arguments)
    kinds = databases.BOTH if asked.db == "both" else (asked.db,)
    benches = {
        "intake": partial(intake.run, size=intake.SHORT if asked.short else intake.FULL),
        "context": partial(context.run, size=context.SHORT if asked.short else context.FULL),
        "engine": partial(engine.run, actions=50 if asked.short else 300),
        "sync": partial(sync.run, size=sync.SHORT if asked.short else sync.FULL),
        "identity": partial(identity.run, size=identity.SHORT if asked.short else identity.FULL),
    }
    asked_for = {"flood": partial(flood.run, size=flood.SHORT if asked.short else flood.FULL)}
    alone = {
        "batch": partial(batch.run, asked.records or (batch.SHORT if asked.short else batch.FULL)),
        "understanding": partial(
            understanding.run,
            understanding.SHORT if asked.short else understanding.FULL,
            asked.held_out,
        ),
    }
    weeks = histories.SHORT if asked.short else histories.FULL
    on_sqlite = {
        "histories": partial(
            histories.run, size=replace(weeks, seeds=tuple(asked.seeds or weeks.seeds))
        ),
    }
    every = [*benches, *alone, *on_sqlite]
    if unknown := set(asked.what) - {*every, *asked_for}:
        there = ", ".join([*every, *asked_for])
        parser.error(f"there is no {', '.join(unknown)}; there are {there}")
    began = time.monotonic()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="amends-bench-") as name:
        folder = Path(name)
        figures["machine"] = places.machine(folder)
        for what in asked.what or every:
            if what in alone:
                figures[what] = alone[what]()
                continue
            if what in on_sqlite:
                figures[what] = on_sqlite[what](folder)
                continue
            figures[what] = {}
            for kind in kinds:
                place = folder / f"{what}-{kind}"
                place.mkdir()
                figures[what][kind] = {**benches, **asked_for}[what](kind, place)
    if "identity" in figures:
        figures |= identity.summary(figures["identity"])
    if "understanding" in figures:
        figures |= understanding.summary(figures["understanding"])
    figures["targets_missed"] = missed(figures)
    figures["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(figures) if asked.json else json.dumps(figures, indent=2), flush=True)
    return 1 if figures["targets_missed"] and not asked.short else 0


if __name__ == "__main__":
    sys.exit(main())
