"""How punctual escalation steps are while hubs are killed and restarted.

`python -m tests.flows.punctual --steps 200 --over 20 --kills 3 [--database postgresql]` measures;
the tests, and whoever reports on replayed histories, call `punctuality`. The nodes are whole hubs
in processes of their own: worker, clock and all; they end by SIGKILL.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlmodel import col, func, select

from middleware.app import Application
from middleware.domain.ids import new_id
from middleware.domain.rulebook_file import rulebook_of
from middleware.flows import prioritise, rulebooks
from middleware.flows.hub import Asker
from middleware.settings import Settings
from middleware.store.responses import punctuality as lateness
from middleware.store.tables import ArrivalRow, ComplaintRow, EscalationRow, EventRow
from tests import databases

ROOT = Path(__file__).parents[2]
PROMISED = timedelta(minutes=1)
RULES = {
    "targets": [{"name": "minute", "first_response": "1m"}],
    "escalations": [{"name": "time-is-up", "used": 1.0, "assign": "leads", "add": 1.0}],
}


@dataclass(frozen=True)
class Punctual:
    """What became of the steps. Lateness in seconds, from when a step was due to when the
    transaction began that took it; `downtime_s` is how long no node lived meanwhile."""

    steps: int
    fired: int
    told: int
    """Events: one for each step that was taken."""
    twice: int
    """Steps that were told of more than once."""
    kills: int
    downtime_s: float
    median_s: float | None
    p99_s: float | None
    latest_s: float | None


def punctuality(
    url: str,
    *,
    steps: int,
    over: timedelta,
    kills: int,
    nodes: int = 1,
    seconds: float = 120,
) -> Punctual:
    """Make `steps` complaints whose steps are due spread over a time, let hubs take them while they
    are killed, and say how late each was.

    `url` is a migrated database; more than one node at a time needs PostgreSQL. When none is left
    after a kill, one is started again, which takes it some seconds. Raises AssertionError where
    not all is taken `seconds` after the last was due.
    """
    application = Application(Settings(database_url=url, lease=timedelta(seconds=3)))
    hub = application.hub
    begun: list[subprocess.Popen[bytes]] = []
    down = 0.0
    try:
        rulebooks.put(hub, rulebook_of(RULES), asker=Asker("test"), source="api", reason=None)
        begun = [_node(url) for _ in range(nodes)]
        for node in begun:
            _ready(node)
        for _ in range(steps):
            _complaint(application, datetime.now(UTC) + timedelta(days=1))
        first = _spread(application, over)
        last = first + over
        killed = 0
        end = time.monotonic() + seconds + over.total_seconds()
        while (fired := _fired(application)) < steps:
            if time.monotonic() > end:
                raise AssertionError(f"{fired} of {steps} steps were taken")
            if killed < kills and fired >= steps * (killed + 1) // (kills + 1):
                _end(begun.pop(0))
                killed += 1
                if not begun:
                    since = time.monotonic()
                    begun.append(_node(url))
                    _ready(begun[0])
                    down += time.monotonic() - since
            time.sleep(0.02)
        with hub.database.read() as uow:
            late = lateness(
                uow.session,
                since=first - timedelta(seconds=5),
                until=last + timedelta(seconds=5),
                now=datetime.now(UTC),
            )
            told = uow.session.exec(
                select(EventRow.subject, func.count())
                .where(EventRow.type == "complaint.escalated")
                .group_by(EventRow.subject)
            ).all()
    finally:
        for node in begun:
            _end(node)
        application.close()
    return Punctual(
        steps=steps,
        fired=late.fired,
        told=sum(n for _, n in told),
        twice=sum(n > 1 for _, n in told),
        kills=killed,
        downtime_s=round(down, 2),
        median_s=late.median_s,
        p99_s=late.p99_s,
        latest_s=late.latest_s,
    )


def _complaint(application: Application, due: datetime) -> None:
    """A complaint that was written so long ago that its step is due then."""
    hub = application.hub
    at = due - PROMISED
    row = ComplaintRow(
        id=new_id("cmp"),
        connection="api",
        conversation=new_id("cnv"),
        network="x",
        state="open",
        understanding={"severity": {"value": "normal"}},
        opened_at=at,
        updated_at=at,
    )
    with hub.database.begin() as uow:
        uow.complaints.add(row)
        uow.complaints.add_arrival(
            ArrivalRow(
                id=new_id("arr"),
                complaint_id=row.id,
                connection="api",
                source_id=new_id("msg"),
                text="My lamp is broken",
                posted_at=at,
                received_at=at,
            )
        )
        prioritise.score_in(hub, uow, row, now=hub.clock())


def _spread(application: Application, over: timedelta) -> datetime:
    """Have the steps due from a second from now on, all at once, so that making them takes as long
    as it takes; answers when the first is due."""
    with application.database.begin() as uow:
        steps = uow.session.exec(select(EscalationRow)).all()
        complaints = {row.id: row for row in uow.session.exec(select(ComplaintRow))}
        arrivals = {row.complaint_id: row for row in uow.session.exec(select(ArrivalRow))}
        first = datetime.now(UTC) + timedelta(seconds=1)
        for n, step in enumerate(steps):
            step.due_at = first + over * n / len(steps)
            written = arrivals[step.complaint_id]
            written.posted_at = written.received_at = step.due_at - PROMISED
            complaints[step.complaint_id].rescore_at = None
    return first


def _fired(application: Application) -> int:
    with application.database.read() as uow:
        query = select(func.count()).where(col(EscalationRow.state) == "fired")
        return int(uow.session.exec(query).one())


def _node(url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.flows.punctual", "--node", url],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def _end(node: subprocess.Popen[bytes]) -> None:
    """End it as a power cut does."""
    node.kill()
    node.wait()
    for pipe in (node.stdin, node.stdout):
        assert pipe is not None
        pipe.close()


def _ready(node: subprocess.Popen[bytes]) -> None:
    assert node.stdout is not None
    assert node.stdout.readline() == b"ready\n", "the node did not start"


def _be_a_node(url: str) -> None:
    application = Application(Settings(database_url=url, lease=timedelta(seconds=3)))
    application.open()
    application.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()  # until whoever started us is gone
    application.close()


@contextmanager
def migrated(kind: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        url = databases.migrated(kind, Path(folder))
        yield url
        databases.drop(url)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--node", metavar="URL")
    asked.add_argument("--steps", type=int, default=200)
    asked.add_argument("--over", type=float, default=20.0, help="seconds")
    asked.add_argument("--kills", type=int, default=0)
    asked.add_argument("--nodes", type=int, default=1)
    asked.add_argument("--database", choices=databases.BOTH, default="sqlite")
    given = asked.parse_args()
    if given.node:
        _be_a_node(given.node)
        return
    with migrated(given.database) as url:
        found = punctuality(
            url,
            steps=given.steps,
            over=timedelta(seconds=given.over),
            kills=given.kills,
            nodes=given.nodes,
        )
    sys.stdout.write(json.dumps({"database": given.database, **asdict(found)}) + "\n")


if __name__ == "__main__":
    main()
