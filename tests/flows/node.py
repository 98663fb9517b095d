"""A worker in a process of its own, for tests that kill, freeze and restart it.

`python -m tests.flows.node URL DIARY VERSION`. What its flows do is written to the diary, one JSON
object a line; the flow `correct` waits for the file `DIARY.go`, so that it can be caught at work.
VERSION is that of the release which it stands for.

Leases here are so long that no busy machine lets one run out, and nodes look at each other often;
`lapse` is what makes a lease run out, and `Diary.slept` what a frozen node's clock says afterwards.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from sqlmodel import select

from middleware.flows import engine as engine_module
from middleware.flows.engine import VERSION, Engine, LeaseLostError, WorkerRunningError
from middleware.store.database import Database
from middleware.store.tables import NodeRow

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
LEASE = timedelta(seconds=60)
EVERY = timedelta(seconds=0.25)
"""How often a node renews its lease and looks at the others."""
REFUSED = 3
"""The exit status of a node that was refused because another one works on its database."""


def main(url: str, diary: str, version: str) -> int:
    engine_module.VERSION = version
    awake = engine_module._boottime
    slept = Path(f"{diary}.slept.{os.getpid()}")
    engine_module._boottime = lambda: awake() + (3600 if slept.exists() else 0)
    database = Database(url)
    engine = Engine(database, lease=LEASE)
    engine._every = EVERY
    lock = threading.Lock()

    def write(what: str, *arguments: str) -> None:
        line = {"what": what, "pid": os.getpid(), "arguments": arguments, "at": time.time()}
        with lock, Path(diary).open("a") as file:
            file.write(json.dumps(line) + "\n")

    def wait_and_guard(*arguments: str) -> None:
        write("began", *arguments)
        while not Path(f"{diary}.go").exists():
            time.sleep(0.02)
        try:
            engine.guard()
        except LeaseLostError:
            write("refused", *arguments)
            raise
        write("ended", *arguments)

    try:
        engine.work({"receive": lambda *a: write("ran", *a), "correct": wait_and_guard})
    except WorkerRunningError:
        return REFUSED
    write("ready")
    sys.stdin.read()  # until whoever started us closes it
    engine.stop(grace=timedelta(0))
    database.close()
    return 0


@dataclass
class Line:
    what: str
    pid: int
    arguments: list[str]
    at: float


class Diary:
    """What the nodes of one test have written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self, what: str = "", *, pid: int | None = None) -> list[Line]:
        text = self.path.read_text() if self.path.exists() else ""
        lines = [Line(**json.loads(line)) for line in text.splitlines()]
        return [li for li in lines if what in ("", li.what) and pid in (None, li.pid)]

    def wait(
        self, what: str, *, pid: int | None = None, count: int = 1, seconds: float = 60
    ) -> list[Line]:
        """Wait until that many such lines are there; fails with what is there instead."""
        return until(
            lambda: lines if len(lines := self.lines(what, pid=pid)) >= count else None,
            seconds=seconds,
            otherwise=lambda: f"no {what!r} of {pid}: {self.lines()}",
        )

    def let_go(self) -> None:
        Path(f"{self.path}.go").touch()

    def slept(self, pid: int) -> None:
        """From now on this node finds that it was asleep for an hour."""
        Path(f"{self.path}.slept.{pid}").touch()


def lapse(database: Database, pid: int | None = None) -> None:
    """As if the node of this process had been silent for an hour, and for that long nobody had
    begun what is owed. On SQLite there are no leases."""
    if database.sqlite:
        return
    with database.begin() as uow:
        for row in uow.session.exec(select(NodeRow)):
            if f"-{pid}-" in row.id:
                row.seen_at -= timedelta(hours=1)
        owed = "update dbos.workflow_status set updated_at = updated_at - 3600000"
        uow.session.execute(sa.text(f"{owed} where status in ('ENQUEUED', 'DELAYED')"))


def until(
    look: Callable[[], T | None],
    *,
    seconds: float = 60,
    otherwise: Callable[[], str] = lambda: "",
) -> T:
    """Look until something comes of it, and answer that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if seen := look():
            return seen
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s; {otherwise()}")


class Node:
    """A node process: started, and ended with the test whatever happens."""

    def __init__(self, url: str, diary: Diary, *, version: str = VERSION) -> None:
        arguments = [url, str(diary.path), version]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.flows.node", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
        )
        self.pid = self._process.pid

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut does."""
        self._process.kill()
        self._process.wait()
        self._close()

    def status(self) -> int:
        """Wait for its end."""
        return self._process.wait(timeout=60)

    def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        self._close()
        if self._process.poll() is None:
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.kill()

    def _close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
