"""Kills, faults and an audit: `python -m tests.chaos.run --db both --actions 2000 --kills 50`.

The hub runs as its operator runs it, the remotes in another process over real sockets. A client
posts three-step actions, and people take some back, finish some and ask for some again, while the
hub is killed at random, the remotes fail, lie, refuse and lose their clocks, the lines to them
break, and PostgreSQL crashes; afterwards the remotes' own books are counted. With two replicas on
PostgreSQL one is frozen beyond its lease, and one is killed for good. The exit status says whether
every promise held.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from middleware.store.database import Database
from tests import databases
from tests.chaos import control
from tests.chaos.audit import Audit, audit
from tests.chaos.client import (
    ENDED,
    Client,
    People,
    Posted,
    begin,
    details,
    plans,
    post_all,
    say,
    states,
    wait_for_all,
)
from tests.chaos.hubs import ROOT, Hub, Killer, Times, prepare, until, write_settings
from tests.chaos.remotes import GONE, SCARCE, Remotes

WRITES = {
    "drop_before": 0.05,
    "drop_after": 0.06,
    "drop_after:reset": 0.04,
    "cut_after": 0.03,
    "unavailable": 0.06,
    "hang_before": 0.02,
    "hang_after": 0.04,
    "late_commit": 0.06,
    "garbage_after": 0.03,
    "garbage_after:wire": 0.02,
    "throttle": 0.02,
}
READS = {"unavailable": 0.05, "drop_before": 0.03}
TAKEN_OVER_WITHIN_S = 60.0
WEATHER_S = 4.0
"""How often the clocks of the remotes jump, and the scarce product comes in or goes out."""
HOURS = 6
"""How far the clocks jump, ahead and back."""
CONTROLS = 100
"""How many actions the control makes, at most."""
LOOKS = 50
"""How often the harness looks for a moment in which the replica that is to die has work."""
BOOT_S = 4.0
"""About how long a hub takes to start; the client posts for as long as there are kills."""


@dataclass(frozen=True)
class Wanted:
    """One run."""

    database: str = "sqlite"
    actions: int = 200
    kills: int = 10
    replicas: int = 1
    crashes: int = 0
    """How often the database crashes; on PostgreSQL."""
    erp: str = "sandbox"
    """Or `tryton`, a real one."""
    lives_s: float = 2.5
    """For how long a hub serves, at most, before it is killed."""
    seed: int = 1
    times: Times = field(default_factory=Times)
    writes: dict[str, float] = field(default_factory=lambda: dict(WRITES))
    control: bool = True

    @property
    def batch(self) -> int:
        """Actions that are under way when a replica is frozen, and when one is killed for good."""
        return max(6, min(30, self.actions // 5)) if self.replicas > 1 else 0


class Weather(threading.Thread):
    """What goes on outside meanwhile: clocks jump, goods are sold out and come in again."""

    def __init__(self, remotes: Remotes, *, seed: int) -> None:
        super().__init__(name="weather", daemon=True)
        self._remotes = remotes
        self._dice = random.Random(seed)
        self._over = threading.Event()
        remotes.stock(GONE, 0)
        self.start()

    def run(self) -> None:
        while not self._over.wait(WEATHER_S):
            self._remotes.jump(self._dice.uniform(-HOURS, HOURS) * 3600)
            if self._dice.random() < 0.5:
                self._remotes.stock(SCARCE, 0)
            else:
                self._remotes.stock(SCARCE)

    def clear(self) -> None:
        """Goods are there again, and the clocks are right."""
        self._over.set()
        self.join()
        self._remotes.jump(0)
        self._remotes.stock(SCARCE)


def run(wanted: Wanted) -> dict[str, Any]:
    """One run on one database; answers its figures."""
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="amends-chaos-")))
        config = folder / "amends.toml"
        hubs = [Hub(config, f"hub-{n}") for n in range(wanted.replicas)]
        remotes = _remotes(wanted, folder / "remotes", hubs[0].url)
        stack.callback(remotes.close)
        url, server = "sqlite:///hub.db", None
        if wanted.database != "sqlite":
            server = databases.Server()
            stack.callback(server.close)
            url = server.migrated()
        write_settings(folder, database_url=url, remotes=remotes.at, times=wanted.times)
        client = Client(hubs, prepare(config))
        stack.callback(client.close)
        for hub in hubs:
            stack.callback(hub.close)
            hub.start()
        for hub in hubs:
            hub.ready()
        try:
            figures = _story(wanted, config, url, hubs, remotes, client, server)
        except Exception:
            for hub in hubs:
                say(f"--- {hub.name}\n{hub.tail()}")
            raise
    return figures | {"seconds": round(time.monotonic() - began, 1)}


def _remotes(wanted: Wanted, folder: Path, hub: str) -> Remotes:
    if wanted.erp == "tryton":
        from tests.chaos.tryton import TrytonRemotes  # which is asked for where Tryton is installed

        return TrytonRemotes(folder, hub=hub, seed=wanted.seed)
    customers = max(12, (wanted.actions + 1) // 4)
    return Remotes(folder, customers=customers, hub=hub, seed=wanted.seed)


def _story(
    wanted: Wanted,
    config: Path,
    url: str,
    hubs: list[Hub],
    remotes: Remotes,
    client: Client,
    server: databases.Server | None,
) -> dict[str, Any]:
    complaints = begin(client, remotes, conversations=min(12, wanted.actions))
    everything = plans(remotes.at.lines, complaints, wanted.actions, seed=wanted.seed)
    batch = wanted.batch
    main = everything[: wanted.actions - 2 * batch]
    to_freeze = everything[len(main) : len(main) + batch]
    to_lose = everything[len(main) + batch :]
    figures: dict[str, Any] = {
        "database": wanted.database,
        "erp": wanted.erp,
        "replicas": wanted.replicas,
    }

    _fail(wanted, remotes)
    weather = Weather(remotes, seed=wanted.seed)
    remotes.wires.break_down()
    say(f"{wanted.database}: {len(main)} actions, {wanted.kills} kills, {wanted.replicas} replica")
    poster = post_all(
        client, main, over_s=wanted.kills * (BOOT_S + wanted.lives_s / 2), seed=wanted.seed
    )
    people = People(client, everything, given_up=GONE)
    people.start()
    killer = Killer(
        hubs,
        kills=wanted.kills,
        seed=wanted.seed,
        lives_s=wanted.lives_s,
        crash=server.crash if server else None,
        crashes=wanted.crashes,
    )
    killer.start()
    killer.join()
    if killer.error is not None:
        raise killer.error
    poster.join()
    for hub in hubs:
        hub.ready()
    weather.clear()
    say(f"{killer.killed} kills; waiting for what is under way")
    known = wait_for_all(client, people, recover=remotes.recover)

    kills, freezes = killer.killed, 0
    if batch:
        remotes.wires.mend()
        figures |= {"takeover_owned": 0, "takeover_s": None}
        try:
            _freeze(wanted, url, hubs, remotes, client, to_freeze)
            freezes = 1
            known = wait_for_all(client, people, recover=remotes.recover)
            owned, took = _lose(wanted, url, hubs, remotes, client, to_lose)
            kills += 1
            figures |= {"takeover_owned": owned, "takeover_s": took}
            say(f"one replica killed for good: its {owned} actions were done after {took} s")
        except RuntimeError as error:
            # Whatever became of the replica, what was accepted is counted.
            say(f"no takeover: {error}; {hubs[0].name} is {hubs[0].standing}")
            say(hubs[0].tail())
            _fail(wanted, remotes)
        known = wait_for_all(client, people, recover=remotes.recover)
    people.stop()
    faults = remotes.faults()
    remotes.wires.mend()
    found = audit(remotes, everything, details(client, list(known)))
    _tell(found)
    figures |= {
        "actions": len(known),
        "kills": kills,
        "freezes": freezes,
        "crashes": server.crashes if server else 0,
        "faults": sum(faults.values()),
        "faults_by_kind": dict(sorted(faults.items())),
        "accepted": found.accepted,
        "duplicates": found.duplicates,
        "lost": found.lost,
        "stuck": found.stuck,
        "unknown": found.unknown,
        "undone": found.undone,
        "refused": found.refused,
        "finished": people.finished,
        "resumed": people.resumed,
        "rests": rests(url, config.parent),
        "states": dict(sorted(found.states.items())),
        "sandbox_errors": remotes.errors(),
        "posts": sum(one.tries for one in everything),
        "ended_by_themselves": sum(hub.ended for hub in hubs),
        "boot_s": round(statistics.median(s for hub in hubs for s in hub.boots), 2),
    }
    if wanted.control:
        figures |= _control(wanted, config, remotes)
        say(f"the control made {figures['control_duplicates']} duplicates")
    if not found.clean:
        for hub in hubs:
            say(f"--- {hub.name}\n{hub.tail()}")
    return figures


def _control(wanted: Wanted, config: Path, remotes: Remotes) -> dict[str, int]:
    """What a client without look-ups makes of the same remotes and faults."""
    count = min(CONTROLS, max(15, wanted.actions // 3))
    if wanted.erp == "tryton":
        from tests.chaos.tryton import TrytonRemotes, naive

        assert isinstance(remotes, TrytonRemotes)
        made = naive(remotes, count, seed=wanted.seed)
        return {"control_actions": count, "control_duplicates": made}
    lines = remotes.at.lines[:count]
    _fail(wanted, remotes, lies=False)
    remotes.stock(GONE)
    conversation = remotes.write(lines[0].customer, "control")
    made = control.duplicates(config, remotes, lines, conversation, times=wanted.times)
    return {"control_actions": len(lines), "control_duplicates": made}


def rests(url: str, folder: Path) -> int:
    """How often the gate closed or opened a connection."""
    database = Database(f"sqlite:///{folder / 'hub.db'}" if url.startswith("sqlite") else url)
    try:
        with database.read() as uow:
            return sum(row.version for row in uow.connections.states().values())
    finally:
        database.close()


def _fail(wanted: Wanted, remotes: Remotes, *, lies: bool = True) -> None:
    remotes.fail(wanted.writes, READS, seed=wanted.seed, seconds=wanted.times.late_s, lies=lies)


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
    wanted: Wanted,
    url: str,
    hub: Hub,
    others: Sequence[Hub],
    remotes: Remotes,
    client: Client,
    batch: Sequence[Posted],
) -> None:
    """Post a batch while every write takes its time, until this replica has some of it.

    The others are held still meanwhile: they might take all of it.
    """
    remotes.slow(wanted.times.total_s * 0.6)
    for other in others:
        other.freeze()
    poster = post_all(client, batch, over_s=0.5, seed=wanted.seed)
    try:
        until(lambda: len(held(url, hub.pid)) >= 2, seconds=30, what="work under way", pause=0.02)
        patience = 0.3
    except RuntimeError:
        patience = 60  # whatever becomes of this, what is accepted is counted
        raise
    finally:
        for other in others:
            other.thaw()
        poster.join(patience)


def _freeze(
    wanted: Wanted,
    url: str,
    hubs: Sequence[Hub],
    remotes: Remotes,
    client: Client,
    batch: Sequence[Posted],
) -> None:
    """Freeze a replica beyond its lease, let another take over, and wake it up."""
    hub, *others = hubs
    _under_way(wanted, url, hub, others, remotes, client, batch)
    hub.freeze()
    time.sleep(wanted.times.lease_s * 2.5)
    hub.thaw()
    _fail(wanted, remotes)
    say(f"{hub.name} was frozen for {wanted.times.lease_s * 2.5:g} s and woke up")
    _accepted(batch)


def _lose(
    wanted: Wanted,
    url: str,
    hubs: Sequence[Hub],
    remotes: Remotes,
    client: Client,
    batch: Sequence[Posted],
) -> tuple[int, float | None]:
    """Kill a replica for good; how many actions it had, and after how long the last was done."""
    hub, *others = hubs
    _under_way(wanted, url, hub, others, remotes, client, batch)
    for _ in range(LOOKS):
        hub.freeze()  # so that what it holds is what it dies with
        owned = set(held(url, hub.pid))
        if owned:
            break
        hub.thaw()
        time.sleep(0.1)
    hub.kill()
    killed = time.monotonic()
    remotes.calm()  # what is measured is the taking over, not how often a send is unlucky
    _accepted(batch)
    told = killed
    while time.monotonic() - killed < 4 * TAKEN_OVER_WITHIN_S:
        known = states(client)
        left = [action_id for action_id in owned if known[action_id] not in ENDED]
        if not left:
            return len(owned), round(time.monotonic() - killed, 1)
        if time.monotonic() - told > TAKEN_OVER_WITHIN_S / 3:
            told = time.monotonic()
            for action in details(client, left).values():
                say(f"  {action['id']} {action['state']}: {_where(action)}")
        time.sleep(0.2)
    return len(owned), None


def _where(action: dict[str, Any]) -> str:
    """How far an action has come, and what holds it up."""
    return ", ".join(
        f"{step['operation']} {step['state']} {step['attempts']}x"
        + (f" ({step['error']['message']})" if step["error"] else "")
        for step in action["steps"]
    )


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
    if figures["sandbox_errors"]:
        found.append(f"the sandbox itself raised {figures['sandbox_errors']} times")
    if not figures["faults"]:
        found.append("no fault struck: nothing was proved")
    if figures.get("control_duplicates") == 0:
        found.append("the control made no duplicates: nothing was proved")
    if figures.get("takeover_owned") == 0:
        found.append("the replica that was killed for good had nothing: nothing was proved")
    if "takeover_s" in figures and not (
        figures["takeover_s"] is not None and figures["takeover_s"] < TAKEN_OVER_WITHIN_S
    ):
        found.append(f"work of a dead replica was taken over after {figures['takeover_s']} s")
    return found


def total(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of several runs as one object."""
    names = (
        *("actions", "accepted", "kills", "freezes", "crashes", "faults"),
        *("duplicates", "lost", "stuck", "unknown", "undone", "refused", "rests"),
        *("control_actions", "control_duplicates", "seconds"),
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


LIVES_S = 5.0
"""In full, a hub gets something done between two kills."""
SHORT, TRYTON = 25, 40
"""How many actions a short run has, and one against Tryton, which takes its time."""


def _wanted(asked: argparse.Namespace, seed: int) -> Iterator[Wanted]:
    """The runs that were asked for."""
    actions = min(asked.actions, SHORT) if asked.short else asked.actions
    kills = min(asked.kills, 3) if asked.short else asked.kills
    if asked.erp in ("sandbox", "both"):
        for database in databases.BOTH if asked.db == "both" else (asked.db,):
            say(f"{database}, seed {seed}")
            yield Wanted(
                database=database,
                actions=actions,
                kills=kills,
                crashes=min(asked.crashes, 1) if asked.short else asked.crashes,
                lives_s=2.5 if asked.short else LIVES_S,
                replicas=1 if database == "sqlite" else asked.replicas,
                seed=seed,
            )
    if asked.erp in ("tryton", "both"):
        database = "sqlite" if asked.db == "both" else asked.db
        say(f"{database} and Tryton, seed {seed}")
        yield Wanted(
            database=database,
            erp="tryton",
            actions=min(actions, 10 if asked.short else TRYTON),
            kills=min(kills, 2 if asked.short else 8),
            seed=seed,
        )


STORIES, LONG = 150, 50
"""How many stories of the state machine a full run tells, and of how many steps each."""


def machine() -> list[str]:
    """Let the state machine look for what no schedule of ours thought of; what it found broken."""
    say(f"the state machine, {STORIES} stories of {LONG} steps")
    longer = {"AMENDS_MACHINE_EXAMPLES": str(STORIES), "AMENDS_MACHINE_STEPS": str(LONG)}
    command = ["-m", "pytest", "-q", "-n", "2", "tests/flows/test_machine.py", "--timeout", "7200"]
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | longer,
        stdout=sys.stderr,
        check=False,
    )
    return [] if ended.returncode == 0 else ["the state machine failed; its story is above"]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.chaos.run", description=__doc__)
    parser.add_argument("--db", choices=[*databases.BOTH, "both"], default="both")
    parser.add_argument("--actions", type=int, default=2000, help="on each database")
    parser.add_argument("--kills", type=int, default=50, help="on each database")
    parser.add_argument("--crashes", type=int, default=5, help="of PostgreSQL")
    parser.add_argument("--erp", choices=["sandbox", "tryton", "both"], default="both")
    parser.add_argument("--replicas", type=int, choices=[1, 2], default=2, help="on PostgreSQL")
    parser.add_argument("--short", action="store_true", help="25 actions and 3 kills")
    parser.add_argument("--seed", type=int, help="of faults and kills; default: another each time")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    asked = parser.parse_args(arguments)
    seed = asked.seed if asked.seed is not None else random.randrange(1_000_000)
    runs = [run(wanted) for wanted in _wanted(asked, seed)]
    figures = total(runs) | {"seed": seed}
    if asked.erp == "both" and not asked.short:
        figures["promises_broken"] += machine()
    print(json.dumps(figures) if asked.json else json.dumps(figures, indent=2), flush=True)
    return 1 if figures["promises_broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
