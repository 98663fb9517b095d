"""Whatever happens to a sync and under it, the store ends equal to the source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from middleware.app import handlers
from middleware.contract.canonical import Kind
from middleware.flows import lookup, receipts, rereading, sync
from middleware.flows.gate import Limits
from middleware.flows.hub import Hub, Options
from middleware.registry import Registry
from middleware.store.database import Database
from middleware.understanding import Rules
from tests import databases
from tests.flows.conftest import FakeTime, HandRun
from tests.flows.source import LAG, NAME, OVERLAP, Source

EMPTIED = ("receipt", "run", "record", "record_identifier", "cursor", "event", "job", "alarm")
KEYS = st.sampled_from([f"A{n}" for n in range(5)])
VALUES = st.integers(0, 99)
WRITE = st.one_of(
    st.tuples(st.just("put"), KEYS, VALUES),
    st.tuples(st.just("delete"), KEYS),
    # Committed late, within what the overlap allows for.
    st.tuples(st.just("late"), KEYS, VALUES, st.integers(1, int(OVERLAP.total_seconds()) - 30)),
)
# Kills before or after the nth commit, and what is written under the nth page.
RUN = st.tuples(
    st.just("run"),
    st.sampled_from(["changes", "changes", "changes", "full", "backfill"]),
    st.sampled_from(["", "", "before", "after"]),
    st.integers(1, 4),
    st.lists(WRITE, max_size=2),
)
SELDOM = st.sampled_from(
    [
        ("expire",),
        ("throttle", 4),
        ("throttle", 30),
        ("repeat",),
        ("skew", 60),
        ("skew", 3600),
        ("remap",),
    ]
)
# Somebody who writes is looked up between two runs: what the source answers is stored, too.
LOOK = st.tuples(st.just("look"), KEYS)
PASS = st.tuples(st.just("pass"), st.integers(1, 900))
ROUND = st.tuples(
    st.lists(WRITE, min_size=1, max_size=4),
    st.lists(LOOK, max_size=1),
    st.lists(SELDOM, max_size=1),
    st.lists(PASS, max_size=1),
    RUN,
)
BEGIN = [*(("put", f"A{n}", n) for n in range(5)), ("run", "changes", "", 0, [])]
"""Everything is there and has been read; what goes wrong from then on is seen."""


class OneSource(Registry):
    """A registry of the one simulated source."""

    def __init__(self, source: Source) -> None:
        super().__init__(())
        self._source = source

    def adapter(self, connection: str) -> Any:
        return self._source

    def names(self) -> tuple[str, ...]:
        return (NAME,)

    def reads_by(self, connection: str, kind: Kind) -> str | None:
        return f"mapping {self._source.mapped}"


class World:
    """A hub, its source, and the levers that the steps pull."""

    def __init__(self, database: Database, *, tombstones: bool, skew: int = 0) -> None:
        self.time = FakeTime()
        self.engine = HandRun(self.time)
        self.source = Source(clock=self.time, tombstones=tombstones)
        self.source.skew = timedelta(seconds=skew)
        # The breaker has a state machine and tests of its own; here it stays out of the way.
        patient = Limits()
        patient = replace(patient, thresholds=replace(patient.thresholds, failures=1_000_000))
        self.hub = Hub(
            database=database,
            registry=OneSource(self.source),
            engine=self.engine,  # type: ignore[arg-type]
            understands=Rules(),
            options=Options(limits={NAME: patient}),
            clock=self.time,
        )
        self.handlers = handlers(self.hub)
        with database.begin() as uow:
            for table in (
                "run",
                "receipt",
                "record",
                "record_identifier",
                "cursor",
                "event",
                "job",
            ):
                if table != "run":
                    uow.session.execute(sa.text(f"delete from {table}"))
            uow.session.execute(sa.text("delete from run"))
            arguments = {"connection": NAME, "kinds": ["account"], "most_deleted": 1.0}
            spec = {"flow": "sync", "arguments": arguments, "schedule": {"every": 300}}
            uow.jobs.declare({"accounts": spec}, at=self.time.now)

    def step(self, name: str, *given: Any) -> None:
        match name:
            case "put":
                self.source.put(*given)
            case "late":
                key, value, seconds = given
                self.source.put(key, value, commits_after=timedelta(seconds=seconds))
            case "delete":
                self.source.delete(*given)
            case "look":
                self.look(*given)
            case "pass":
                self.time.pass_(seconds=given[0])
            case "skew":
                # A clock that is set back would stamp rows before what was read: sources do not.
                self.source.skew += timedelta(seconds=abs(given[0]))
            case "expire":
                self.source.epoch += 1
            case "throttle":
                self.source.turned_away = given[0]
            case "remap":
                self.source.mapped += 1
            case "repeat":
                self.source.repeats = not self.source.repeats
            case "run":
                self.run(*given)

    def look(self, key: str) -> None:
        """Look a record up as a context does, which is shown what its source says now."""
        if key in self.source.truth():
            ref = self.source._ref(key)
            calls = [(NAME, lambda: [self.source.read_record(ref)])]
            lookup._asked(self.hub, calls, timedelta(minutes=1))

    def run(
        self, mode: str, dies: str = "", nth: int = 0, under: Sequence[tuple[Any, ...]] = ()
    ) -> None:
        self.time.pass_(seconds=LAG.total_seconds() + 1)
        wanted: dict[str, Any] = {}
        if mode == "backfill":
            moment = self.source.now
            window = {"since": moment - timedelta(hours=2), "until": moment}
            wanted = {name: at.isoformat() for name, at in window.items()}
        tick = self.time.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        run_id, _ = sync.owe(
            self.hub, "accounts", tick=tick, requested_by="test", mode=mode, wanted=wanted or None
        )
        pages = 0

        def meanwhile() -> None:
            nonlocal pages
            pages += 1
            if pages == nth:
                for write in under:
                    self.step(*write)

        self.source.before_page = meanwhile
        try:
            with self._mortal(dies, nth):
                self._work()
        except SystemExit:
            self.engine.owed.clear()
            self.handlers["sync"](run_id)  # another worker
            self._work()
        finally:
            self.source.before_page = lambda: None

    def _work(self) -> None:
        while self.engine.owed:
            owed = self.engine.owed.pop(0)
            if owed.flow == "sync":
                self.handlers["sync"](*owed.arguments)

    @contextmanager
    def _mortal(self, dies: str, nth: int) -> Iterator[None]:
        """Whoever stores a page dies before or after the nth one is committed."""
        commits = 0

        def dying(original: Any) -> Any:
            def call(*args: Any) -> Any:
                nonlocal commits
                commits += 1
                if commits == nth and dies == "before":
                    raise SystemExit("killed")
                answer = original(*args)
                if commits == nth and dies == "after":
                    raise SystemExit("killed")
                return answer

            return call

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sync, "_store", dying(sync._store))
            patch.setattr(rereading.Rereading, "_keep", dying(rereading.Rereading._keep))
            yield

    def settle(self) -> None:
        """Nobody writes any more, everything is committed, and the jobs run as they are due."""
        self.source.repeats = False
        self.source.turned_away = 0
        self.time.pass_(seconds=OVERLAP.total_seconds())
        self.source.settle()
        self.time.pass_(seconds=LAG.total_seconds() + 1)
        self.run("changes")
        if not self.source.tombstones:
            self.run("full")

    def stored(self) -> dict[str, int]:
        with self.hub.database.read() as uow:
            ids = uow.records.live_ids(NAME, Kind.ACCOUNT)
            refs = [self.source._ref(id_) for id_ in ids]
            found = [stored.record for stored in uow.records.get_all(refs)]
        return {record.ref.id: int(record.number) for record in found}  # type: ignore[attr-defined]


@pytest.fixture(scope="module", params=databases.BOTH)
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """One database for all examples; each begins by emptying it."""
    folder: Path = tmp_path_factory.mktemp("equal")
    url = databases.migrated(request.param, folder)
    database = Database(url)
    yield database
    database.close()
    databases.drop(url)


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    tombstones=st.booleans(),
    skew=st.sampled_from([0, 0, -3600, 3600]),
    rounds=st.lists(ROUND, min_size=1, max_size=4),
)
def test_the_store_ends_equal_to_the_source(
    shared: Database, tombstones: bool, skew: int, rounds: list[tuple[Any, ...]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sync, "PAGE", 2)
        world = World(shared, tombstones=tombstones, skew=skew)
        steps = [step for *before, run in rounds for step in (*chain(*before), run)]
        for step in (*BEGIN, *steps):
            world.step(*step)
        world.settle()
        assert world.stored() == world.source.truth()
        assert receipts.check(world.hub, NAME).broken is None
        with shared.read() as uow:
            last = uow.jobs.last_of("accounts", states=("done",))
            assert last is not None
            receipt = uow.receipts.of_run(last.id)
        assert receipt is not None
        assert receipt.body["source"]["account"]["agrees"] is True


@pytest.mark.parametrize("tombstones", [True, False])
def test_a_full_run_reads_again_what_changed_while_it_ran(
    shared: Database, tombstones: bool
) -> None:
    """At its end, before any other run: what was read already, and what nobody had seen."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sync, "PAGE", 2)
        world = World(shared, tombstones=tombstones)
        for n in range(6):
            world.source.put(f"A{n}", n)
        world.run("changes")
        writes = [("put", "A0", 90), ("put", "A5", 95), ("put", "A6", 6)]
        world.run("full", nth=2, under=(*writes, ("pass", LAG.total_seconds() + 1)))
        assert world.stored() == world.source.truth()


def test_an_hour_of_throttling_ends_equal(shared: Database) -> None:
    """Runs give up after a while, and the next one goes on from there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sync, "PAGE", 2)
        world = World(shared, tombstones=True)
        for n in range(9):
            world.source.put(f"A{n}", n)
        world.time.pass_(seconds=60)
        began = world.time.now
        failed = 0
        world.source.turned_away = 180
        while world.time.now - began < timedelta(hours=1):
            world.run("changes")
            world.time.pass_(seconds=300)
            with shared.read() as uow:
                failed += uow.jobs.runs_of("accounts", limit=1)[0].state == "failed"
        assert failed >= 5
        world.settle()
        assert world.stored() == world.source.truth()


@pytest.mark.parametrize("skew", [-3600, 0, 3600])
def test_a_look_up_hides_nothing_that_changes_after_it(shared: Database, skew: int) -> None:
    """And shows what changed before it, whatever the source's clock says."""
    world = World(shared, tombstones=True, skew=skew)
    world.source.put("A0", 0)
    world.run("changes")
    world.time.pass_(seconds=300)
    world.source.put("A0", 1)
    world.look("A0")
    assert world.stored() == {"A0": 1}
    with shared.read() as uow:
        found = uow.records.get(world.source._ref("A0"))
    assert found is not None
    assert found.as_of == world.source.now - LAG
    world.time.pass_(seconds=1)
    world.source.put("A0", 2)
    world.settle()
    assert world.stored() == {"A0": 2}
