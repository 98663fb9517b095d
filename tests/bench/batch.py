"""Resolution in batch against plain Splink: the same records, the same model, in turn.

The records are made and normalised once, before; both sides read the same columns of the same
records, nicknames included, which is checked (`same_records`), with the same comparisons, blocking
rules, training and threshold. Each side is a process of its own, with as many threads and as much
memory for DuckDB; processor time and peak memory are told by the operating system for both alike.

Plain Splink trains, predicts and clusters a table in memory. Ours trains, weighs and connects by
the same Splink, and does more, which is told apart (`more`): the blocking keys that an increment
needs; the likely pairs, kept in the workspace's file; the guards. All of it is within ours and its
ratios; `bare_*_ratio` are those without. What only the hub does, writing the
links into the ledger, has no counterpart: it is measured on fewer records, by link (`ledger`).

Clusters are compared closed at one threshold without guards (`closure`), which is like for like,
and ours as they are (`clusters`), with guards and with what the model lets join.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb

from middleware.contract.canonical import Account, Contact
from middleware.resolution.batch import executor, grouping
from middleware.resolution.batch.clusters import Guards, Member, Pair, components, grouped
from middleware.resolution.batch.columns import columns_of, unique_ids
from middleware.resolution.batch.model import Model, shipped
from middleware.resolution.batch.workspace import Entry, Workspace
from tests.bench import known, places
from tests.bench.records import Crowd

FULL = (10_000, 200_000, 1_000_000)
SHORT = (2_000,)
THRESHOLD = 0.99
CHANGED = 0.01
"""The share of records that is new or changed in an incremental run."""
PAGE = 10_000
THREADS = 2
MEMORY = "2GB"
"""What DuckDB may use, on either side; the rest of a process is Python and Splink."""
LEDGER = 20_000
"""Records that are linked in a store, to see what a link costs."""
FIXED = (0.95, 0.99)
"""Where pairs of the published sets are joined: what Splink's examples cluster at, and the hub's
own. Both, and the guards, were fixed before the sets were looked at with them."""


def run(sizes: tuple[int, ...]) -> dict[str, Any]:
    """All figures; sizes from the smallest to the largest."""
    figures: dict[str, Any] = {"sizes": {}, "sets": {}}
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="amends-batch-") as folder:
            figures["sizes"][str(size)] = one_size(size, Path(folder))
        places.say(f"batch, {size}: {figures['sizes'][str(size)]}")
    for name in ("febrl3", "febrl4", "historical50k"):
        found = sets(name)
        if found is not None:
            figures["sets"][name] = found
            places.say(f"batch, {name}: {found}")
    return figures


def one_size(size: int, folder: Path) -> dict[str, Any]:
    prepared = _child("prepare", size, folder)
    plain = _child("plain", size, folder)
    ours = _child("ours", size, folder)
    later = _child("increment", size, folder)
    ledger = _child("ledger", min(size, LEDGER), folder)
    bare, bare_cpu = (ours[f"work{u}"] - ours["more"][f"all{u}"] for u in ("_s", "_cpu_s"))
    return {
        "normalise_us_per_record": round(prepared["normalised_s"] / size * 1e6, 1),
        "plain": plain,
        "ours": ours,
        "wall_ratio": round(ours["work_s"] / plain["work_s"], 3),
        "cpu_ratio": round(ours["work_cpu_s"] / plain["work_cpu_s"], 3),
        "bare_wall_ratio": round(bare / plain["work_s"], 3),
        "bare_cpu_ratio": round(bare_cpu / plain["work_cpu_s"], 3),
        "cpu_us_per_record": round(ours["work_cpu_s"] / size * 1e6, 1),
        "increment": later,
        "ledger": ledger,
    }


def sets(name: str) -> dict[str, Any] | None:
    """Published data: plain Splink's clusters, ours, and what closure without a guard makes."""
    data = known.read(name)
    if data is None:
        return None
    count = len(data.truth)
    frequencies, exact_u = {}, {}
    for column in data.model.rare_columns:
        frequencies[column] = f"tf_{column}"
        data.connection.execute(f"""CREATE TABLE tf_{column} AS SELECT {column},
            count(*)::DOUBLE / sum(count(*)) OVER () AS tf_{column} FROM input
            WHERE {column} IS NOT NULL GROUP BY {column}""")
        (row,) = data.connection.execute(f"""SELECT sum(n * (n - 1)) / (sum(n) * (sum(n) - 1)) FROM
            (SELECT count(*)::DOUBLE AS n FROM input WHERE {column} IS NOT NULL
            GROUP BY {column})""").fetchall()
        exact_u[column] = row[0]
    from splink import DuckDBAPI

    api = DuckDBAPI(connection=data.connection)
    model = executor.train(api, "input", data.model, records=count, exact_u=exact_u)
    found = executor.predict(
        api, "input", model, records=count, frequencies=frequencies, least=-4.0
    )
    rows = data.connection.execute(
        f"SELECT unique_id_l, unique_id_r, match_weight FROM {found.physical_name}"
    ).fetchall()
    pairs = [Pair(*sorted((str(one), str(other))), weight) for one, other, weight in rows]

    def above(probability: float) -> list[Pair]:
        least = math.log2(probability / (1 - probability))
        return [pair for pair in pairs if pair.weight >= least]

    def closed(probability: float) -> dict[str, float]:
        groups = components((pair.left, pair.right) for pair in above(probability))
        return known.judged(groups, data.truth, data.true_pairs)

    def guarded(probability: float) -> dict[str, float]:
        members = {one: Member(source=source) for one, source in data.sources.items()}
        made = grouped(above(probability), members, Guards())
        return known.judged(made.groups, data.truth, data.true_pairs)

    right = sum(data.truth[p.left] == data.truth[p.right] for p in above(0.1))
    return {
        **{f"splink_{one}": closed(one) for one in FIXED},
        **{f"ours_{one}": guarded(one) for one in FIXED},
        "pairs_0.1_precision": round(right / len(above(0.1)), 4),
        "closure_0.1": closed(0.1),
        "guarded_0.1": guarded(0.1),
    }


# --- the children --------------------------------------------------------------------------------


def _child(what: str, size: int, folder: Path) -> dict[str, Any]:
    """Run one part in a process of its own; its figures, with its own processor time and memory."""
    with (folder / "told").open("w+") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.batch", what, str(size), str(folder)],
            stdout=told,
            env={**os.environ, "PYTHONPATH": str(places.ROOT)},
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        told.seek(0)
        text = told.read()
    if process.returncode:
        raise RuntimeError(f"{what} of {size} ended with {process.returncode}")
    figures: dict[str, Any] = json.loads(text.splitlines()[-1])
    return {**figures, "peak_mib": round(used.ru_maxrss / 1024)}


def timed(parts: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """Do these in order; how long each took, by the clock and of processors, and all together.

    What the process began with is spared the collector, as in the hub once it has started.
    """
    gc.collect()
    gc.freeze()
    took, cpu, began = {}, time.process_time(), time.perf_counter()
    for name, part in parts.items():
        start, used = time.perf_counter(), time.process_time()
        part()
        took[f"{name}_s"] = round(time.perf_counter() - start, 2)
        took[f"{name}_cpu_s"] = round(time.process_time() - used, 2)
    work = time.perf_counter() - began
    return {
        **took,
        "work_s": round(work, 2),
        "work_cpu_s": round(time.process_time() - cpu, 2),
    }


def _entry(record: Contact | Account, content: str = "1") -> Entry:
    ids = unique_ids(record, ("customer_number",))
    return Entry(str(record.ref), content, columns_of(record), ids)


@contextmanager
def watched(parts: Mapping[str, tuple[Any, str]]) -> Iterator[dict[str, Any]]:
    """How long each of these functions, by owner and name, takes in all, and all together."""
    took: dict[str, Any] = dict.fromkeys((f"{one}{u}" for one in parts for u in UNITS), 0.0)

    def measured(name: str, part: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any) -> Any:
            began, used = time.perf_counter(), time.process_time()
            try:
                return part(*given)
            finally:
                took[f"{name}_s"] += time.perf_counter() - began
                took[f"{name}_cpu_s"] += time.process_time() - used

        return run

    with ExitStack() as patched:
        for name, (owner, part) in parts.items():
            made = measured(name, getattr(owner, part))
            patched.enter_context(mock.patch.object(owner, part, made))
        yield took
    for unit in UNITS:
        took[f"all{unit}"] = sum(took[f"{one}{unit}"] for one in parts)
    took |= {name: round(value, 2) for name, value in took.items()}


UNITS = ("_s", "_cpu_s")


def prepare(size: int, folder: Path) -> dict[str, Any]:
    """The records in a workspace without a frame, and as it will compare them, for Splink."""
    space, normalised = Workspace(folder / "ours.duckdb", shipped()), 0.0
    truth: dict[str, int] = {}
    records = Crowd(size).records()
    while page := list(islice(records, PAGE)):
        cpu = time.process_time()
        entries = [_entry(record) for record, _ in page]
        normalised += time.process_time() - cpu
        truth |= {str(record.ref): customer for record, customer in page}
        space.put(entries)
    space.close()
    shutil.copy(folder / "ours.duckdb", folder / "framed.duckdb")
    framed = Workspace(folder / "framed.duckdb", shipped())
    framed.frame()
    framed.do(f"COPY compared TO '{folder / 'records.parquet'}' (FORMAT parquet)")
    framed.close()
    (folder / "framed.duckdb").unlink()
    (folder / "truth.json").write_text(json.dumps(truth))
    return {"normalised_s": normalised}


def plain(size: int, folder: Path) -> dict[str, Any]:
    """Splink as its documentation has it: train, predict, cluster."""
    from splink import DuckDBAPI

    config = {"threads": THREADS, "memory_limit": MEMORY, "temp_directory": str(folder / "spilled")}
    connection = duckdb.connect(config=config)
    connection.execute(f"CREATE TABLE input AS FROM read_parquet('{folder / 'records.parquet'}')")
    model = shipped()
    made: dict[str, Any] = {}
    least = round(model.weight_of(THRESHOLD), 6)

    def load() -> None:
        made["api"] = DuckDBAPI(connection=connection)
        made["linker"] = executor.linker(made["api"], "input", model, records=size, trained=False)

    def train() -> None:
        executor.estimate(made["linker"], model, "duckdb", seed=1)

    def predict() -> None:
        with executor.quiet():
            made["pairs"] = made["linker"].inference.predict(
                threshold_match_probability=0.5, warning_mode="never"
            )

    def cluster() -> None:
        with executor.quiet():
            made["clusters"] = made["linker"].clustering.cluster_pairwise_predictions_at_threshold(
                made["pairs"], threshold_match_weight=least
            )

    figures = timed({"load": load, "train": train, "predict": predict, "cluster": cluster})
    (pairs,) = connection.execute(f"SELECT count(*) FROM {made['pairs'].physical_name}").fetchall()
    rows = connection.execute(
        f"SELECT list(unique_id::VARCHAR) FROM {made['clusters'].physical_name} GROUP BY cluster_id"
    ).fetchall()
    space = Workspace(folder / "ours.duckdb", model)
    refs = {str(number): ref for ref, number in space.all("SELECT ref, unique_id FROM record")}
    space.close()
    truth = json.loads((folder / "truth.json").read_text())
    groups = [[refs[one] for one in row[0]] for row in rows if len(row[0]) > 1]
    judged = known.judged(groups, truth, _true_pairs(truth))
    return {**figures, "pairs": pairs[0], "closure": judged}


def ours(size: int, folder: Path) -> dict[str, Any]:
    """The workspace's own way, training included."""
    space = Workspace(folder / "ours.duckdb", shipped(), memory=MEMORY, threads=THREADS)
    rules = grouping.Rules(least=round(shipped().weight_of(THRESHOLD), 6))

    def train() -> None:
        # What was learned is used here only: the file stays of the model that it was made with.
        space.model = executor.learn(space)

    more = {
        "keys": (Workspace, "_key_all"),
        "keep": (Workspace, "take_edges"),
        "guard": (grouping, "_guard"),
    }
    with watched(more) as took:
        figures = timed(
            {
                "frame": space.frame,
                "train": train,
                "weigh": lambda: executor.weigh(space, least=0.0),
                "group": lambda: grouping.regroup(space, rules),
            }
        )
    space.do(f"CREATE TEMP VIEW given AS FROM read_parquet('{folder / 'records.parquet'}')")
    differ = space.one("""SELECT count(*) FROM ((FROM given EXCEPT ALL FROM compared)
        UNION ALL (FROM compared EXCEPT ALL FROM given))""")
    pairs = space.one("SELECT count(*) FROM edge")
    refs = dict(space.all("SELECT unique_id, ref FROM record"))
    likely = space.all("SELECT l, r FROM edge WHERE weight >= $least", least=rules.least)
    closed = [[refs[one] for one in group] for group in components(likely)]
    truth = json.loads((folder / "truth.json").read_text())
    groups = _groups(space)
    (folder / "model.json").write_text(space.model.model_dump_json())
    space.close()
    return {
        **figures,
        "more": took,
        "same_records": differ == 0,
        "pairs": pairs,
        "closure": known.judged(closed, truth, _true_pairs(truth)),
        "clusters": known.judged(groups, truth, _true_pairs(truth)),
    }


def increment(size: int, folder: Path) -> dict[str, Any]:
    """New and changed records against the rest, and then all of it anew: the same groups."""

    def opened() -> Workspace:
        made = Workspace(folder / "ours.duckdb", shipped(), memory=MEMORY, threads=THREADS)
        made.model = Model.model_validate_json((folder / "model.json").read_text())
        return made

    space = opened()
    rules = grouping.Rules(least=round(shipped().weight_of(THRESHOLD), 6))
    grouping.settled(space, [row[0] for row in space.all("FROM dirty")])
    count = int(size * CHANGED)
    crowd = Crowd(size)
    every = max(1, 2 * size // count)
    entries = [_entry(crowd.changed(r), "2") for r, _ in islice(crowd.records(), 0, None, every)]
    new = [_entry(record) for record, _ in Crowd(count - len(entries), seed=11).records()]
    entries += [Entry(f"{one.ref}n", "1", one.columns, one.ids) for one in new]
    made: dict[str, Any] = {}
    figures = timed(
        {
            "put": lambda: space.put(entries),
            "weigh": lambda: made.update(compared=space.score_changed(least=0.0)),
            "group": lambda: grouping.regroup(space, rules),
        }
    )
    after = {tuple(group) for group in _groups(space)}
    # A run opens the file anew: neither of the two finds in memory what another has read.
    space.close()
    space = opened()
    full = timed(
        {
            "refresh": space.refresh,
            "weigh": lambda: executor.weigh(space, least=0.0),
            "group": lambda: grouping.regroup(space, rules),
        }
    )
    again = {tuple(group) for group in _groups(space)}
    space.close()
    return {
        **figures,
        "changed": len(entries),
        "compared": made["compared"],
        "full": full,
        "share_of_full": round(figures["work_s"] / full["work_s"], 4),
        "cpu_share_of_full": round(figures["work_cpu_s"] / full["work_cpu_s"], 4),
        "groups": len(again),
        "groups_that_differ": len(after ^ again),
    }


def ledger(size: int, folder: Path) -> dict[str, Any]:
    """What a run's last part costs, by link: links, evidence, audit, in a store on SQLite."""
    from tests.bench import linking

    told = linking.run("sqlite", folder, size)
    link = told["parts"]["link"]
    return {
        "records": size,
        "links": told["links"],
        "us_per_link": round(link["s"] / told["links"] * 1e6),
        "cpu_us_per_link": round(link["cpu_s"] / told["links"] * 1e6),
    }


def peak_mib() -> int:
    """The most memory that this process has had."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _groups(space: Workspace) -> list[list[str]]:
    return [
        row[0]
        for row in space.all(
            """SELECT list(ref ORDER BY ref) FROM record JOIN member USING (unique_id)
            GROUP BY number"""
        )
    ]


def _true_pairs(truth: dict[str, Any]) -> int:
    return sum(n * (n - 1) // 2 for n in Counter(truth.values()).values())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["prepare", "plain", "ours", "increment", "ledger"])
    parser.add_argument("size", type=int)
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    print(json.dumps(globals()[asked.what](asked.size, asked.folder)), flush=True)


if __name__ == "__main__":
    main()
