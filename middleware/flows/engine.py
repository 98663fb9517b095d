"""The durable engine: a queue that shares our transactions, and the leases of its workers.

DBOS runs what is enqueued here; it is used as queue, timer and recovery. What has been done is
written in our own rows (an action's steps, a sync's cursor), never in the engine's checkpoints:
a flow may therefore be run again from its beginning at any time, on any node, by any version.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, NamedTuple

from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer, EnqueueOptions

from middleware.contract.errors import Fenced
from middleware.store.database import LONGEST_SILENCE_S, Database, UnitOfWork

log = logging.getLogger(__name__)

APPLICATION = "amends"
VERSION = "1"
"""Pinned: the engine hands work only to nodes of the same version, and ours can do each other's.

It changes only with the form of what is enqueued. What another release has owed is then owed anew
in this one's name, once nobody of that release takes it up; see `Engine._adopt`.
"""


class Queue(NamedTuple):
    """One queue: how many of its flows a node runs at a time, and how patiently it is asked.

    Asking costs processor time also when nothing is owed: somebody waits for an action, nobody for
    the beginning of a sync.
    """

    width: int
    ahead: int = 0
    """How many more a node takes on, so that the next can begin at once when one has ended, and not
    only when the queue is asked again. Their order is settled then."""
    polls: float = 1
    """Asked every so many polls. Each asking fills it up once: its width, what is taken ahead and
    this bound how many flows a second it begins."""


QUEUES = {
    "receive": Queue(8),
    "correct": Queue(16, ahead=32, polls=0.8),
    "gather": Queue(2, polls=4),
    "deliver": Queue(8, polls=2),
    "prioritise": Queue(2, polls=4),
    "sync": Queue(2, polls=4),
    "resolve": Queue(1, polls=4),
    "reconcile": Queue(1, polls=4),
    "incidents": Queue(2, polls=8),
    "train": Queue(1, polls=8),
}

MOST_ADOPTED = 1000
"""How many flows of another release are looked at in one go."""

GUARDED_SHARE = 0.6
"""The share of its lease in which a node may still begin a write that is not repeatable."""


class LeaseLostError(Fenced):
    """This node may have lost its lease: another one may be doing its work already."""


class WorkerRunningError(Exception):
    """Another process is this database's worker; SQLite has room for one. Use PostgreSQL."""


_handlers: dict[str, Callable[..., None]] = {}
_run = threading.local()
"""What this thread's run began with: `lease`, the number of the lease it was begun under."""


@DBOS.workflow(name="flow", max_recovery_attempts=1000)
def _flow(name: str, arguments: list[str]) -> str:
    """Run one flow. Its failure is logged and left to the reconcile flow, which starts it anew."""
    try:
        _handlers[name](*arguments)
    except LeaseLostError:
        log.warning("flow stopped: lease lost", extra={"flow": name, "arguments": arguments})
        return "lease lost"
    except Exception:
        log.exception("flow failed", extra={"flow": name, "arguments": arguments})
        return "failed"
    return "done"


class Engine:
    """Enqueues flows, and on a worker runs them.

    `lease` is how long a silent node keeps its work (PostgreSQL); `poll` how often the queues
    that somebody waits for are asked for work.
    """

    def __init__(
        self,
        database: Database,
        *,
        lease: timedelta = timedelta(seconds=15),
        poll: timedelta = timedelta(milliseconds=250),
    ) -> None:
        self._database = database
        self._lease = lease
        self._every = lease / 3
        """How often our lease is renewed and those of the others are looked at."""
        self._poll = poll
        self._client: DBOSClient | None = None
        self._lock: IO[str] | None = None
        self._stopping = threading.Event()
        self._heart: threading.Thread | None = None
        self._deadline: float | None = None
        self._others: set[str] = set()
        """Versions of other releases that were met in this database."""
        self._held = 0
        """Which lease in a row this is: another one begins when a beat comes too late."""
        self.node = "" if database.sqlite else _node_name()
        self.working = False

    @staticmethod
    def migrate(database: Database) -> None:
        """Create or update the engine's own tables."""
        DBOS.migrate(_plain(database))

    def enqueue(
        self,
        uow: UnitOfWork,
        flow: str,
        *arguments: str,
        name: str,
        delay: timedelta | None = None,
        priority: int = 0,
    ) -> None:
        """Owe a run of a flow, in the caller's transaction. The same `name` is owed once.

        Of what waits in a queue the lowest `priority` is begun first, and of equal ones the oldest.
        """
        options: EnqueueOptions = {
            "workflow_name": "flow",
            "queue_name": _queue_of(flow),
            "workflow_id": name,
            "app_version": VERSION,
        }
        if priority:
            options["priority"] = priority
        if delay is not None and delay > timedelta(0):
            options["delay_seconds"] = delay.total_seconds()
        self._ready().enqueue_in_transaction(uow.session, options, flow, list(arguments))

    def work(self, handlers: dict[str, Callable[..., None]]) -> None:
        """Become a worker: take over what a former one left, then run what is owed.

        Raises ValueError for a flow of no queue: nobody would ever run it.
        """
        homeless = sorted(name for name in handlers if _queue_of(name) not in QUEUES)
        if homeless:
            raise ValueError(f"flows without a queue: {', '.join(homeless)}")
        if self._database.sqlite:
            self._lock = _only_worker(self._database)
            self.node = "local"
        else:
            self._beat()
        _handlers.clear()
        rooms = {name: threading.Semaphore(queue.width) for name, queue in QUEUES.items()}
        for name, handler in handlers.items():
            _handlers[name] = self._under_lease(handler, rooms[_queue_of(name)])
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": _plain(self._database),
            "executor_id": self.node,
            "application_version": VERSION,
            "serializer": DBOSPortableJSONSerializer(),
            "run_migrations": False,
            "log_level": "ERROR",
            "console_log_level": "ERROR",
        }
        if self._database.sqlite:
            # The engine's writers take turns with ours; see `Database`.
            config["system_database_engine"] = self._database.engine
        else:
            config["sys_db_idle_transaction_timeout_sec"] = LONGEST_SILENCE_S
            config["sys_db_pool_size"] = sum(queue.width for queue in QUEUES.values()) // 2
        DBOS(config=config)
        DBOS.launch()
        for name, queue in QUEUES.items():
            DBOS.register_queue(
                name,
                worker_concurrency=queue.width + queue.ahead,
                polling_interval_sec=self._poll.total_seconds() * queue.polls,
            )
        self.working = True
        self._heart = threading.Thread(target=self._keep_alive, name="lease", daemon=True)
        self._heart.start()

    @property
    def stopping(self) -> bool:
        """Whether this worker is to stop: a long flow owes what is left of it, and ends."""
        return self._stopping.is_set()

    def rest(self, duration: timedelta) -> None:
        """Wait within a flow; not longer than until this worker is to stop."""
        self._stopping.wait(duration.total_seconds())

    def guard(self) -> None:
        """Raise LeaseLostError when this node may no longer begin a write.

        To be called last before anything of a remote write is sent: see `http.fenced`.
        The clock counts time asleep, so a frozen node that wakes up is stopped here. It stays
        stopped when its lease is renewed before it gets here: what ran when the lease was lost
        may have been handed to another node meanwhile.
        """
        if self._deadline is None:
            return
        if _boottime() > self._deadline or getattr(_run, "lease", self._held) != self._held:
            raise LeaseLostError(self.node)

    def stop(self, *, grace: timedelta = timedelta(seconds=10)) -> None:
        """Stop working; what is unfinished is taken over by others, or at the next start."""
        self._stopping.set()
        if self.working:
            DBOS.destroy(workflow_completion_timeout_sec=int(grace.total_seconds()))
            self.working = False
            if not self._database.sqlite:
                with self._database.begin() as uow:
                    uow.nodes.leave(self.node)
        if self._heart is not None:
            # It may be talking to the database, which whoever stops us closes next.
            self._heart.join(timeout=grace.total_seconds() + 1)
            self._heart = None
        if self._client is not None:
            self._client.destroy()
            self._client = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def pending(self, name: str) -> bool:
        """Whether a run under this name, or one that begins with it, is still owed or under way."""
        found = self._ready().list_workflows(
            workflow_id_prefix=name,
            status=["ENQUEUED", "DELAYED", "PENDING"],
            limit=1,
            load_input=False,
            load_output=False,
        )
        return bool(found)

    def oldest(self, queue: str) -> datetime | None:
        """When the oldest run was owed that still waits in a queue; None where none waits."""
        found = self._ready().list_workflows(
            queue_name=queue,
            status="ENQUEUED",
            limit=1,
            load_input=False,
            load_output=False,
        )
        made = next((workflow.created_at for workflow in found), None)
        return datetime.fromtimestamp(made / 1000, UTC) if made is not None else None

    def tidy(self, *, older_than: timedelta, limit: int = 1000) -> int:
        """Delete the engine's rows of flows that ended long ago; answers how many."""
        before = time.strftime(
            "%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - older_than.total_seconds())
        )
        ended = self._ready().list_workflows(
            status=["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"],
            completed_before=before,
            limit=limit,
            load_input=False,
            load_output=False,
        )
        self._ready().delete_workflows([workflow.workflow_id for workflow in ended])
        return len(ended)

    def _ready(self) -> DBOSClient:
        if self._client is None:
            self._client = DBOSClient(
                system_database_engine=self._database.engine,
                serializer=DBOSPortableJSONSerializer(),
                application_name=APPLICATION,
                # It is first needed inside a transaction of ours: it must not open another one.
                lazy=True,
                retry_connection_errors=False,
            )
        return self._client

    def _keep_alive(self) -> None:
        """Take over from lost nodes and other releases, and renew our lease, while we live."""
        first = True
        while True:
            try:
                if not self._database.sqlite:
                    self._take_over()
                self._adopt(look_around=first)
                first = False
                if self._stopping.wait(self._every.total_seconds()):
                    return
                if not self._database.sqlite:
                    self._beat()
            except Exception:
                # The database may be away for a while; the guard stops our writes meanwhile.
                log.exception("lease not renewed")
                if self._stopping.wait(self._every.total_seconds()):
                    return

    def _under_lease(
        self, handler: Callable[..., None], room: threading.Semaphore
    ) -> Callable[..., None]:
        """The handler, with a note of the lease that each of its runs was taken on under."""

        def run(*arguments: str) -> None:
            _run.lease = self._held
            try:
                with room:
                    handler(*arguments)
            finally:
                del _run.lease

        return run

    def _beat(self) -> None:
        before = _boottime()
        with self._database.begin() as uow:
            uow.nodes.beat(self.node)
        if self._deadline is not None and before > self._deadline:
            # Counted before the deadline moves: in between, `guard` refuses for either reason.
            self._held += 1
        self._deadline = before + self._lease.total_seconds() * GUARDED_SHARE

    def _take_over(self) -> None:
        with self._database.read() as uow:
            alive = uow.nodes.alive(lease=self._lease)
        running = self._ready().list_workflows(
            status="PENDING", app_version=VERSION, load_input=False, load_output=False
        )
        orphans = [w.workflow_id for w in running if w.executor_id not in alive]
        if orphans:
            log.warning("taking over work of lost nodes", extra={"count": len(orphans)})
            self._ready().resume_workflows(orphans)

    def _adopt(self, *, look_around: bool = False) -> None:
        """Owe anew, in this release's name, what another release has owed and nobody carries.

        The engine would leave that lying for ever: it hands work to nodes of the same version
        only. A flow is adopted when its node is lost, or when it has been due for a lease without
        being begun, so that nodes of that release, while they are being replaced, keep their own;
        on SQLite there is no other worker, and it is adopted at once. Whatever a flow did before,
        our own rows know, so that it may begin again; see the module's first words.

        To `look_around` is to look at all that is owed, whatever its version: once, at the start.
        """
        client = self._ready()
        versions = None if look_around else self._other_versions()
        if versions == []:
            return
        owed = client.list_workflows(
            status=["ENQUEUED", "DELAYED", "PENDING"],
            app_version=versions,
            limit=MOST_ADOPTED,
            load_output=False,
        )
        self._others |= {w.app_version for w in owed if w.app_version not in (None, VERSION)}
        late = (time.time() - self._lease.total_seconds()) * 1000
        alive: set[str] = set()
        if not self._database.sqlite:
            with self._database.read() as uow:
                alive = uow.nodes.alive(lease=self._lease)
        adopted: list[str] = []
        with self._database.begin() as uow:
            for workflow in owed:
                if workflow.app_version not in self._others or workflow.status == "DELAYED":
                    continue
                if workflow.status == "PENDING":
                    waits = workflow.executor_id in alive
                else:
                    waits = not self._database.sqlite and (workflow.updated_at or 0) > late
                if waits:
                    continue
                what = _flow_of(workflow)
                if what is None:
                    log.error("flow of another release", extra={"name": workflow.workflow_id})
                    continue
                flow, arguments = what
                # The same name for whoever else adopts it, or does it again after a crash here.
                name = f"{workflow.workflow_id}@{VERSION}"
                self.enqueue(uow, flow, *arguments, name=name, priority=workflow.priority or 0)
                adopted.append(workflow.workflow_id)
        if adopted:
            log.warning("adopted work of another release", extra={"count": len(adopted)})
            client.cancel_workflows(adopted)

    def _other_versions(self) -> list[str]:
        """The versions that have worked here, or that something was owed in."""
        known = {v["version_name"] for v in self._ready().list_application_versions()}
        self._others |= known - {VERSION}
        return sorted(self._others)


def _queue_of(flow: str) -> str:
    return flow.split(".")[0]


def _flow_of(workflow: Any) -> tuple[str, list[str]] | None:
    """Which flow a workflow of the engine's stands for, and with what; None if we don't know it."""
    match workflow.name, workflow.input:
        case "flow", {"args": [str(flow), [*arguments]]} if flow in _handlers:
            return flow, [str(argument) for argument in arguments]
    return None


def _only_worker(database: Database) -> IO[str]:
    """Hold the lock that makes this process the database's only worker."""
    assert database.path is not None, "a worker needs a database file"
    lock = Path(f"{database.path}.lock").open("w")  # noqa: SIM115 - held for as long as we work
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise WorkerRunningError from None
    return lock


def _plain(database: Database) -> str:
    """The URL as the engine wants it, without our driver's name."""
    return database.url.replace("postgresql+psycopg://", "postgresql://", 1)


def _node_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def _boottime() -> float:
    clock: Any = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(clock) if clock is not None else time.monotonic()
