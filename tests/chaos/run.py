"""Kills, faults and an audit: `python -m tests.chaos.run --db both --actions 200 --kills 10`.

The hub runs as its operator runs it, the remotes in another process over real sockets. A client
posts three-step actions while the hub is killed at random; afterwards the remotes' own books are
counted. With two replicas on PostgreSQL one is frozen beyond its lease, and one is killed for good.
The exit status says whether every promise held.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests import databases
from tests.chaos import control
from tests.chaos.audit import Audit, audit
from tests.chaos.client import (
    ENDED,
    Client,
    Posted,
    begin,
    bodies,
    post_all,
    states,
    wait_for_all,
)
from tests.chaos.hubs import Hub, Killer, Times, prepare, until, write_settings
from tests.chaos.remotes import Remotes

WRITES = {
    "drop_before": 0.06,
    "drop_after": 0.10,
    "unavailable": 0.08,
    "hang_after": 0.06,
    "late_commit": 0.06,
    "garbage_after": 0.05,
    "throttle": 0.03,
}
READS = {"unavailable": 0.05, "drop_before": 0.03}
TAKEN_OVER_WITHIN_S = 60.0
PER_KILL_S = 5.0
"""About how long a hub takes to start and be killed again; the client posts for as long."""


@dataclass(frozen=True)
class Wanted:
    """One run."""

    database: str = "sqlite"
    actions: int = 200
    kills: int = 10
    replicas: int = 1
    seed: int = 1
    times: Times = field(default_factory=Times)
    writes: dict[str, float] = field(default_factory=lambda: dict(WRITES))
    control: bool = True

    @property
    def batch(self) -> int:
        """Actions that are under way when a replica is frozen, and when one is killed for good."""
        return max(6, min(30, self.actions // 5)) if self.replicas > 1 else 0


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def run(wanted: Wanted) -> dict[str, Any]:
    """One run on one database; answers its figures."""
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="amends-chaos-")))
        config = folder / "amends.toml"
        hubs = [Hub(config, f"hub-{n}") for n in range(wanted.replicas)]
        needed = wanted.actions + 1
        remotes = Remotes(folder / "remotes", customers=max(12, needed // 4), hub=hubs[0].url)
        stack.callback(remotes.close)
        url = "sqlite:///hub.db"
        if wanted.database != "sqlite":
            url = databases.migrated(wanted.database, folder)
            stack.callback(databases.drop, url)
        write_settings(folder, database_url=url, remotes=remotes.at, times=wanted.times)
        client = Client(hubs, prepare(config))
        stack.callback(client.close)
        for hub in hubs:
            stack.callback(hub.close)
            hub.start()
        for hub in hubs:
            hub.ready()
        figures = _story(wanted, config, url, hubs, remotes, client)
    return figures | {"seconds": round(time.monotonic() - began, 1)}


def _story(
    wanted: Wanted, config: Path, url: str, hubs: list[Hub], remotes: Remotes, client: Client
) -> dict[str, Any]:
    complaints = begin(client, remotes, conversations=min(12, wanted.actions))
    everything = [
        Posted(number, body)
        for number, body in enumerate(bodies(remotes.at.lines, complaints, wanted.actions))
    ]
    batch = wanted.batch
    main = everything[: wanted.actions - 2 * batch]
    to_freeze = everything[len(main) : len(main) + batch]
    to_lose = everything[len(main) + batch :]
    figures: dict[str, Any] = {
        "database": wanted.database,
        "replicas": wanted.replicas,
        "actions": wanted.actions,
    }

    _fail(wanted, remotes)
    say(f"{wanted.database}: {len(main)} actions, {wanted.kills} kills, {wanted.replicas} replica")
    poster = post_all(client, main, over_s=wanted.kills * PER_KILL_S * 0.8, seed=wanted.seed)
    killer = Killer(hubs, kills=wanted.kills, seed=wanted.seed)
    killer.start()
    killer.join()
    if killer.error is not None:
        raise killer.error
    poster.join()
    for hub in hubs:
        hub.ready()
    say(f"{killer.killed} kills; waiting for what is under way")
    known = wait_for_all(client)

    kills, freezes = killer.killed, 0
    if batch:
        _freeze(wanted, url, hubs[0], remotes, client, to_freeze)
        freezes = 1
        known = wait_for_all(client)
        owned, took = _lose(wanted, url, hubs[0], remotes, client, to_lose)
        kills += 1
        figures |= {"takeover_owned": owned, "takeover_s": took}
        say(f"one replica killed for good: its {owned} actions were done after {took} s")
        known = wait_for_all(client)
    faults = remotes.faults()
    found = audit(remotes, everything, known)
    _tell(found)
    figures |= {
        "kills": kills,
        "freezes": freezes,
        "faults": sum(faults.values()),
        "faults_by_kind": dict(sorted(faults.items())),
        "accepted": found.accepted,
        "duplicates": found.duplicates,
        "lost": found.lost,
        "stuck": found.stuck,
        "unknown": found.unknown,
        "states": dict(sorted(found.states.items())),
        "posts": sum(one.tries for one in everything),
        "boot_s": round(statistics.median(s for hub in hubs for s in hub.boots), 2),
    }
    if wanted.control:
        lines = remotes.at.lines[: max(20, wanted.actions // 3)]
        _fail(wanted, remotes)
        conversation = remotes.write(lines[0].customer, "control")
        figures |= {
            "control_actions": len(lines),
            "control_duplicates": control.duplicates(
                config, remotes, lines, conversation, times=wanted.times
            ),
        }
        say(f"the control made {figures['control_duplicates']} duplicates")
    if not found.clean:
        for hub in hubs:
            say(f"--- {hub.name}\n{hub.tail()}")
    return figures


def _fail(wanted: Wanted, remotes: Remotes) -> None:
    remotes.fail(wanted.writes, READS, seed=wanted.seed, seconds=wanted.times.late_s)


def _tell(found: Audit) -> None:
    say(
        f"{found.accepted} accepted: {found.duplicates} duplicates, {found.lost} lost, "
        f"{found.stuck} stuck, {found.unknown} unknown"
    )
    for line in found.details:
        say(f"  {line}")


# --- two replicas ---------------------------------------------------------------------------------


def held(url: str, pid: int) -> list[str]:
    """The actions that a replica has under way, by the engine's rows."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select workflow_uuid from dbos.workflow_status where status = 'PENDING'"
            " and executor_id like %s and workflow_uuid like 'correct:%%'",
            [f"%-{pid}-%"],
        )
        return [str(name).split(":")[1] for (name,) in rows]


def _under_way(
    wanted: Wanted, url: str, hub: Hub, remotes: Remotes, client: Client, batch: Sequence[Posted]
) -> None:
    """Post a batch while every write takes its time, until this replica has some of it."""
    remotes.slow(wanted.times.total_s * 0.6)
    poster = post_all(client, batch, over_s=0.5, seed=wanted.seed)
    until(lambda: len(held(url, hub.pid)) >= 2, seconds=30, what="work under way", pause=0.02)
    poster.join(0.3)


def _freeze(
    wanted: Wanted, url: str, hub: Hub, remotes: Remotes, client: Client, batch: Sequence[Posted]
) -> None:
    """Freeze a replica beyond its lease, let another take over, and wake it up."""
    _under_way(wanted, url, hub, remotes, client, batch)
    hub.freeze()
    time.sleep(wanted.times.lease_s * 2.5)
    hub.thaw()
    _fail(wanted, remotes)
    say(f"{hub.name} was frozen for {wanted.times.lease_s * 2.5:g} s and woke up")
    _accepted(batch)


def _lose(
    wanted: Wanted, url: str, hub: Hub, remotes: Remotes, client: Client, batch: Sequence[Posted]
) -> tuple[int, float | None]:
    """Kill a replica for good; how many actions it had, and after how long the last was done."""
    _under_way(wanted, url, hub, remotes, client, batch)
    hub.freeze()  # so that what it holds is what it dies with
    owned = set(held(url, hub.pid))
    hub.kill()
    killed = time.monotonic()
    _fail(wanted, remotes)
    _accepted(batch)
    while time.monotonic() - killed < 4 * TAKEN_OVER_WITHIN_S:
        known = states(client)
        if all(known[action_id] in ENDED for action_id in owned):
            return len(owned), round(time.monotonic() - killed, 1)
        time.sleep(0.2)
    return len(owned), None


def _accepted(batch: Sequence[Posted]) -> None:
    until(
        lambda: all(one.action_id or one.refused for one in batch),
        seconds=120,
        what="the batch is accepted",
    )


# --- the command ----------------------------------------------------------------------------------


def broken(figures: dict[str, Any]) -> list[str]:
    """Which promises a run broke."""
    found = [f"{figures[name]} {name}" for name in ("duplicates", "lost", "stuck") if figures[name]]
    if not figures["faults"]:
        found.append("no fault struck: nothing was proved")
    if figures.get("control_duplicates") == 0:
        found.append("the control made no duplicates: nothing was proved")
    if "takeover_s" in figures and not (
        figures["takeover_s"] is not None and figures["takeover_s"] < TAKEN_OVER_WITHIN_S
    ):
        found.append(f"work of a dead replica was taken over after {figures['takeover_s']} s")
    return found


def total(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of several runs as one object."""
    names = (
        *("actions", "accepted", "kills", "freezes", "faults", "duplicates", "lost", "stuck"),
        *("unknown", "control_actions", "control_duplicates", "seconds"),
    )
    summed = {name: sum(figures.get(name, 0) for figures in runs) for name in names}
    takeovers = [figures["takeover_s"] for figures in runs if "takeover_s" in figures]
    return {
        **summed,
        "seconds": round(summed["seconds"], 1),
        "takeover_s": max(takeovers) if takeovers and None not in takeovers else None,
        "promises_broken": [line for figures in runs for line in broken(figures)],
        "runs": list(runs),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.chaos.run", description=__doc__)
    parser.add_argument("--db", choices=[*databases.BOTH, "both"], default="both")
    parser.add_argument("--actions", type=int, default=200)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--replicas", type=int, choices=[1, 2], default=2, help="on PostgreSQL")
    parser.add_argument("--short", action="store_true", help="25 actions and 3 kills")
    parser.add_argument("--seed", type=int, help="of faults and kills; default: another each time")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    asked = parser.parse_args(arguments)
    seed = asked.seed if asked.seed is not None else random.randrange(1_000_000)
    runs = []
    for database in databases.BOTH if asked.db == "both" else (asked.db,):
        wanted = Wanted(
            database=database,
            actions=25 if asked.short else asked.actions,
            kills=3 if asked.short else asked.kills,
            replicas=1 if database == "sqlite" else asked.replicas,
            seed=seed,
        )
        say(f"{database}, seed {seed}")
        runs.append(run(wanted))
    figures = total(runs) | {"seed": seed}
    print(json.dumps(figures) if asked.json else json.dumps(figures, indent=2), flush=True)
    return 1 if figures["promises_broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
