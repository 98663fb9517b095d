"""The gate: agents first and nobody never, one breaker for all replicas, closed means unsent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

import pytest
import sqlmodel
from pydantic import SecretStr

from adapters.memory.remote import Fault
from middleware.contract.capabilities import CheckReport, Connection, Finding
from middleware.contract.errors import (
    Ambiguous,
    Fenced,
    Missing,
    RemoteError,
    Transient,
    Unauthorised,
)
from middleware.contract.mapping import MappingSet
from middleware.domain import turns
from middleware.domain.breaker import State, Thresholds
from middleware.domain.policy import built_in
from middleware.domain.problems import NotFoundError
from middleware.domain.turns import Rate, Urgency
from middleware.flows import correct, gate, lookup
from middleware.flows.gate import Limits
from middleware.flows.hub import Asker, Hub, Options
from middleware.registry import Configured, Registry
from middleware.store.database import Database
from middleware.store.tables import AuditRow
from middleware.understanding import Rules
from tests.flows.conftest import FakeTime, HandRun, Stage

AGENT, WORK, BATCH = Urgency.AGENT, Urgency.WORK, Urgency.BATCH
SOON = timedelta(seconds=20)
REFUSED = Unauthorised("wrong password", code="INVALID_LOGIN")
DOWN = Transient("nobody listens")


class Scripted:
    """An adapter whose every call does what the test's script says, and is counted."""

    system: ClassVar[str] = "scripted"
    script: ClassVar[Callable[[str], Any]] = staticmethod(lambda _: None)
    calls: ClassVar[list[str]] = []

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def open(cls, connection: Connection) -> Scripted:
        return cls(connection.name)

    def close(self) -> None: ...

    def key_traits(self, _operation: str) -> str:
        return "traits"

    def read(self, what: str = "") -> Any:
        Scripted.calls.append(what)
        return Scripted.script(what)

    other = create_case = create_nothing = read

    def check(self) -> CheckReport:
        Scripted.calls.append("check")
        try:
            Scripted.script("check")
        except RemoteError as error:
            return CheckReport(findings=(Finding(name="login", ok=False, detail=error.message),))
        return CheckReport(findings=(Finding(name="login", ok=True),))


def hub_of(
    database: Database, clock: Callable[[], Any], limits: Limits, *, password: str = "old"
) -> Hub:
    connection = Connection(
        name="erp",
        settings={"url": "https://erp.example.com"},
        secrets={"password": SecretStr(password)},
        mappings=MappingSet.empty(),
    )
    return Hub(
        database=database,
        registry=Registry(
            [Configured(adapter="scripted", connection=connection)],
            adapters={"scripted": f"{__name__}:Scripted"},
        ),
        engine=HandRun(clock),  # type: ignore[arg-type]
        understands=Rules(),
        options=Options(limits={"erp": limits}),
        clock=clock,
    )


@dataclass
class Line:
    """A hub with one scripted connection."""

    hub: Hub
    time: FakeTime
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(40))

    def remote(self, urgency: Urgency = AGENT, within: timedelta = SOON) -> Any:
        return self.hub.gate.remote("erp", urgency, within=within)

    def meets(self, *errors: BaseException | None) -> list[str]:
        """Make a call for each; answers how each ended: `ok`, the gate's code, or the error."""
        return [self.meet(error) for error in errors]

    def meet(self, error: BaseException | None, operation: str = "read") -> str:
        def script(_what: str) -> None:
            if error is not None:
                raise error

        Scripted.script = script
        before = len(Scripted.calls)
        try:
            getattr(self.remote(), operation)()
        except Transient as turned:
            return str(turned.code) if len(Scripted.calls) == before else "down"
        except Exception as raised:
            assert len(Scripted.calls) == before + 1
            return type(raised).__name__
        return "ok"

    @property
    def state(self) -> str:
        return self.hub.gate.standing("erp").breaker.state.value

    def pass_(self, seconds: float) -> None:
        self.time.pass_(seconds=seconds)

    def forget_the_row(self) -> None:
        """As if a second had passed since the row was read."""
        self.hub.gate._line("erp")._read_at = None

    @property
    def asking(self) -> int:
        """How many calls wait for their turn."""
        return len(self.hub.gate._line("erp")._asking)

    def told(self) -> list[str]:
        with self.hub.database.read() as uow:
            return [e.type for e in uow.events.since(0, limit=1000)]

    def audited(self) -> list[tuple[str, str]]:
        with self.hub.database.read() as uow:
            rows = uow.session.exec(sqlmodel.select(AuditRow).order_by(AuditRow.id))
            return [(row.action, row.actor) for row in rows if row.subject == "erp"]


class Stopped:
    """The process's own clock, by which turns are given: it stands until a test moves it, so that
    nobody's patience ends, no rate grows back and no row gets old because a machine was busy."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def pass_(self, seconds: float, *lines: Line) -> None:
        """Let time go by; whoever waits in these lines has looked at the clock afterwards."""
        self.now += seconds
        for line in lines:
            turns_of = line.hub.gate._line("erp")
            turns_of._wake()
            until(lambda of=turns_of: not any(a.look.is_set() for a in list(of._asking)))  # type: ignore[misc]


@pytest.fixture(autouse=True)
def moments(monkeypatch: pytest.MonkeyPatch) -> Stopped:
    made = Stopped()
    monkeypatch.setattr(gate, "time", made)
    return made


@pytest.fixture
def make(database: Database) -> Iterator[Callable[..., Line]]:
    Scripted.script = lambda _: None
    Scripted.calls.clear()
    made: list[Line] = []

    def line(time_: FakeTime | None = None, *, password: str = "old", **limits: Any) -> Line:
        clock = time_ or FakeTime()
        hub = hub_of(database, clock, Limits(**limits), password=password)
        made.append(Line(hub, clock))
        return made[-1]

    yield line
    for one in made:
        one.threads.shutdown(wait=True)
        one.hub.readers.shutdown(wait=False)


# --- the breaker behind the gate ----------------------------------------------------------------


def test_failures_in_a_row_close_it_and_a_success_opens_it(make: Callable[..., Line]) -> None:
    line = make(thresholds=Thresholds(failures=3, rest=timedelta(seconds=10)))
    assert line.meets(DOWN, Ambiguous("no answer"), None) == ["down", "Ambiguous", "ok"]
    assert line.meets(DOWN, DOWN, DOWN, None) == ["down", "down", "down", "resting"]
    line.pass_(9)
    assert line.meets(None) == ["resting"]
    line.pass_(1)
    assert line.meets(DOWN, None) == ["down", "resting"]
    line.pass_(20)
    assert line.meets(None, None) == ["ok", "ok"]
    assert line.state == "closed"
    assert line.told() == ["connection.resting", "connection.back"]


def test_whoever_is_turned_away_learns_why_and_until_when(make: Callable[..., Line]) -> None:
    line = make(thresholds=Thresholds(failures=1, rest=timedelta(seconds=10)))
    line.meet(DOWN)
    line.pass_(4)
    with pytest.raises(Transient) as turned:
        line.remote().read()
    assert (turned.value.code, turned.value.retry_after) == ("resting", timedelta(seconds=6))
    foretold = line.hub.gate.turned_away("erp")
    assert foretold is not None
    assert vars(foretold) == vars(turned.value)
    line.pass_(6)
    assert line.hub.gate.turned_away("erp") is None
    line.pass_(-6)
    assert turned.value.message == "erp rests: nobody listens; nothing was sent"
    assert turned.value.system == "scripted"


def test_a_refusal_of_the_request_is_an_answer(make: Callable[..., Line]) -> None:
    line = make(thresholds=Thresholds(failures=2))
    assert line.meets(DOWN, Missing("no"), DOWN, Missing("no"), DOWN) == [
        "down", "Missing", "down", "Missing", "down",
    ]  # fmt: skip
    assert line.state == "closed"


def test_asked_to_wait_the_whole_connection_waits(make: Callable[..., Line]) -> None:
    line = make()
    slow_down = Transient("slow down", retry_after=timedelta(seconds=7))
    assert line.meets(slow_down, None) == ["down", "resting"]
    line.pass_(7)
    assert line.meets(None) == ["ok"]
    assert line.told() == []  # seven seconds are nobody's business


def test_a_wait_that_goes_on_and_on_is_told_once(make: Callable[..., Line]) -> None:
    line = make()
    for _ in range(4):
        line.meet(Transient("slow down", retry_after=timedelta(seconds=50)))
        line.pass_(50)
    assert line.told() == ["connection.resting"]
    assert line.meets(None) == ["ok"]
    assert line.told() == ["connection.resting", "connection.back"]


def test_two_refused_logins_stop_it_until_somebody_resumes_it(make: Callable[..., Line]) -> None:
    line = make(thresholds=Thresholds(pause=timedelta(seconds=30)))
    assert line.meets(REFUSED, REFUSED) == ["Unauthorised", "resting"]
    line.pass_(30)
    assert line.meets(REFUSED, REFUSED) == ["Unauthorised", "stopped"]
    line.pass_(100_000)
    assert line.meets(None) == ["stopped"]
    assert len(Scripted.calls) == 2
    with pytest.raises(Transient, match=r"stopped until somebody resumes it: wrong password"):
        line.remote().read()

    line.hub.gate.resume("erp", Asker("key_admin"))
    assert line.meets(None, None) == ["ok", "ok"]
    assert line.told() == ["connection.resting", "connection.stopped", "connection.back"]
    assert line.audited() == [("connection.stop", "hub"), ("connection.resume", "key_admin")]


def test_after_a_resume_one_call_at_a_time_and_one_refusal_is_enough(
    make: Callable[..., Line],
) -> None:
    line = make()
    line.meet(REFUSED)
    line.pass_(30)
    line.meet(REFUSED)
    line.hub.gate.resume("erp", Asker("key_admin"))
    begun, go_on = threading.Event(), threading.Event()

    def script(_what: str) -> None:
        begun.set()
        go_on.wait(10)
        raise REFUSED

    Scripted.script = script
    first = line.threads.submit(line.remote().read, "first")
    assert begun.wait(10)
    with pytest.raises(Transient, match="busy"):
        line.remote(within=timedelta(0)).read()
    go_on.set()
    with pytest.raises(Unauthorised):
        first.result(10)
    assert line.state == "stopped"
    assert len(Scripted.calls) == 3


def test_logins_refused_together_are_one(make: Callable[..., Line]) -> None:
    """Eight sessions at once over a limit of five must not lock anybody out."""
    line = make(calls_at_once=8)
    all_in = threading.Barrier(8)

    def script(_what: str) -> None:
        all_in.wait(10)
        line.time.pass_(seconds=0.001)
        raise REFUSED

    Scripted.script = script
    calls = [line.threads.submit(line.remote().read) for _ in range(8)]
    assert all(isinstance(call.exception(10), Unauthorised) for call in calls)
    standing = line.hub.gate.standing("erp")
    assert (standing.breaker.state, standing.breaker.refusals) == (State.RESTING, 1)


def test_a_lie_about_the_login_teaches_to_ask_less_at_once(make: Callable[..., Line]) -> None:
    """Refused while eight were under way, let in alone: from then on four go out at once."""
    line = make(calls_at_once=8)
    line.meet(None)
    all_in = threading.Barrier(8)

    def script(_what: str) -> None:
        all_in.wait(10)
        raise REFUSED

    line.pass_(1)
    Scripted.script = script
    for call in [line.threads.submit(line.remote().read) for _ in range(8)]:
        call.exception(10)
    line.pass_(30)
    assert line.meets(None) == ["ok"]
    shown = line.hub.gate.standing("erp").breaker
    assert (shown.state, shown.ceiling) == (State.CLOSED, 4)
    assert "at most 4" in (gate.shown_reason(shown) or {})["message"]
    line.pass_(1)
    assert most_at_once(line, AGENT, calls=12) == 4
    line.hub.gate.resume("erp", Asker("key_admin"))
    assert most_at_once(line, AGENT, calls=12) == 8


def test_a_missing_permission_does_not_stop_what_is_allowed(make: Callable[..., Line]) -> None:
    line = make()
    assert line.meet(REFUSED, "other") == "Unauthorised"
    line.pass_(30)
    assert line.meet(None, "read") == "ok"
    for _ in range(5):
        assert line.meet(REFUSED, "other") == "Unauthorised"
        assert line.meet(None, "read") == "ok"
    assert line.state == "closed"
    # But when what was allowed is refused, it is the login.
    assert line.meet(REFUSED, "read") == "Unauthorised"
    assert line.meet(None, "read") == "resting"


def test_a_mistake_of_ours_neither_closes_nor_opens(make: Callable[..., Line]) -> None:
    line = make(thresholds=Thresholds(failures=1, rest=timedelta(seconds=10)))
    assert line.meets(KeyError(), KeyError()) == ["KeyError", "KeyError"]
    line.meet(DOWN)
    line.pass_(10)
    assert line.meets(KeyError(), DOWN, None) == ["KeyError", "down", "resting"]


@pytest.mark.parametrize("error", [RuntimeError("away"), Fenced("lease lost")])
def test_a_guard_that_refuses_sends_nothing_and_leaves_room_to_try(
    make: Callable[..., Line], error: BaseException
) -> None:
    line = make(thresholds=Thresholds(failures=1, rest=timedelta(seconds=10)))
    line.meet(DOWN)
    line.pass_(10)
    Scripted.calls.clear()
    Scripted.script = lambda _: None

    def guard() -> None:
        raise error

    guarded = line.hub.gate.remote("erp", WORK, guard=guard)
    with pytest.raises(type(error)):
        guarded.create_case()
    assert Scripted.calls == []
    guarded.read("reads are not guarded")
    assert line.state == "closed"


def test_what_asks_nobody_passes_a_closed_gate(make: Callable[..., Line]) -> None:
    line = make(thresholds=Thresholds(failures=1))
    line.meet(DOWN)
    assert line.remote().key_traits("case") == "traits"
    with pytest.raises(AttributeError):
        _ = line.remote().check
    with pytest.raises(AttributeError):
        line.remote().no_such_method()


# --- checks ----------------------------------------------------------------------------------


def test_a_person_may_check_what_rests_and_that_ends_the_rest(make: Callable[..., Line]) -> None:
    line = make(thresholds=Thresholds(failures=1, rest=timedelta(seconds=100)))
    line.meet(DOWN)
    line.pass_(1)
    Scripted.script = lambda _: None
    assert line.hub.gate.check("erp").ok
    assert line.state == "closed"
    assert line.meets(None) == ["ok"]


def test_a_check_that_finds_something_wrong_ends_no_rest(make: Callable[..., Line]) -> None:
    line = make(thresholds=Thresholds(failures=1, rest=timedelta(seconds=100)))
    line.meet(DOWN)
    line.pass_(1)
    assert not line.hub.gate.check("erp").ok
    assert line.state == "resting"


def test_a_check_of_what_is_stopped_proves_and_resumes_nothing(make: Callable[..., Line]) -> None:
    line = make()
    line.meet(REFUSED)
    line.pass_(30)
    line.meet(REFUSED)
    Scripted.script = lambda _: None
    with pytest.raises(Transient, match="so that the account is not locked"):
        line.hub.gate.check("erp")
    line.pass_(30)
    assert line.hub.gate.check("erp").ok
    assert line.state == "stopped"


def test_checks_do_not_lock_an_account(make: Callable[..., Line]) -> None:
    """An adapter reports a refused login as a finding; the next check waits all the same."""
    line = make()

    def script(_what: str) -> None:
        raise REFUSED

    Scripted.script = script
    assert not line.hub.gate.check("erp").ok
    for _ in range(5):
        with pytest.raises(Transient) as turned:
            line.hub.gate.check("erp")
    assert turned.value.retry_after == timedelta(seconds=30)
    assert Scripted.calls == ["check"]
    line.pass_(30)
    assert not line.hub.gate.check("erp").ok


# --- turns -------------------------------------------------------------------------------------


class Busy:
    """Calls that go on until they are let go; says in which order they began."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.began: list[str] = []
        self.most = 0
        self._under_way = 0
        self._lock = threading.Lock()
        self._turns = threading.Semaphore(0)
        self._futures: list[Future[Any]] = []
        Scripted.script = self._call

    def _call(self, what: str) -> None:
        with self._lock:
            self.began.append(what)
            self._under_way += 1
            self.most = max(self.most, self._under_way)
        try:
            assert self._turns.acquire(timeout=20)
        finally:
            with self._lock:
                self._under_way -= 1

    def ask(self, urgency: Urgency, what: str, within: timedelta = SOON) -> Future[Any]:
        """Call from another thread, and wait until it is under way or waits for its turn."""
        asking = self.line.hub.gate._line("erp")
        before = len(self.began) + len(asking._asking)
        future = self.line.threads.submit(self.line.remote(urgency, within).read, what)
        self._futures.append(future)
        until(lambda: len(self.began) + len(asking._asking) > before or future.done())
        return future

    def let_go(self, calls: int = 1) -> None:
        began = len(self.began)
        waiting = len(self.line.hub.gate._line("erp")._asking)
        self._turns.release(calls)
        until(lambda: len(self.began) >= began + min(calls, waiting))

    def finish(self) -> None:
        self._turns.release(1000)
        for future in self._futures:
            future.exception(20)


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.002)


def most_at_once(line: Line, urgency: Urgency, *, calls: int) -> int:
    busy = Busy(line)
    for n in range(calls):
        busy.ask(urgency, str(n))
    busy.finish()
    return busy.most


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_no_more_calls_at_once_than_allowed(make: Callable[..., Line], at_once: int) -> None:
    assert most_at_once(make(calls_at_once=at_once), AGENT, calls=12) == at_once


def test_batches_leave_a_place_for_agents(make: Callable[..., Line]) -> None:
    busy = Busy(make(calls_at_once=4))
    for n in range(6):
        busy.ask(BATCH, f"batch {n}")
    assert busy.began == ["batch 0", "batch 1", "batch 2"]
    busy.ask(AGENT, "agent")
    assert busy.began[-1] == "agent"
    busy.finish()


def test_agents_who_wait_go_before_batches_that_waited_longer(make: Callable[..., Line]) -> None:
    busy = Busy(make(calls_at_once=2))
    for n in range(2):
        busy.ask(AGENT, f"first {n}")
    for n in range(3):
        busy.ask(BATCH, f"batch {n}")
    busy.ask(WORK, "work")
    for n in range(3):
        busy.ask(AGENT, f"agent {n}")
    for _ in range(4):
        busy.let_go()
    assert busy.began == ["first 0", "first 1", "agent 0", "agent 1", "agent 2", "work"]
    busy.finish()
    assert busy.began[6:] == ["batch 0", "batch 1", "batch 2"]


def test_a_batch_is_not_kept_waiting_for_ever(make: Callable[..., Line], moments: Stopped) -> None:
    """Agents come faster than places become free; the batch waited long enough and goes."""
    busy = Busy(make(calls_at_once=2))
    for n in range(2):
        busy.ask(AGENT, f"first {n}")
    busy.ask(BATCH, "batch")
    for n in range(6):
        busy.ask(AGENT, f"agent {n}")
    busy.let_go()
    assert busy.began[-1] == "agent 0"
    moments.pass_(turns.PATIENCE[BATCH])
    busy.let_go()
    assert busy.began[-1] == "batch"
    busy.let_go()
    assert busy.began[-1] == "agent 1"
    busy.finish()


@pytest.mark.parametrize("urgency", list(Urgency))
def test_whoever_waits_too_long_is_told_that_it_is_busy(
    make: Callable[..., Line], urgency: Urgency, moments: Stopped
) -> None:
    line = make(calls_at_once=1)
    busy = Busy(line)
    busy.ask(AGENT, "long")
    waits = busy.ask(urgency, "short", timedelta(seconds=0.5))
    moments.pass_(0.25, line)
    assert not waits.done()
    moments.pass_(0.25, line)
    turned = waits.exception(20)
    assert isinstance(turned, Transient)
    assert "erp is busy: no turn came within 0.5 s" in turned.message
    assert (turned.code, turned.retry_after) == ("busy", gate.BUSY_AGAIN_IN)
    assert busy.began == ["long"]
    busy.finish()
    assert line.meets(None) == ["ok"]  # its place in the queue is gone


def test_whoever_waits_when_it_closes_is_turned_away_at_once(make: Callable[..., Line]) -> None:
    """One call hangs on and keeps its place; another one learns that the system is down."""
    line = make(calls_at_once=2, thresholds=Thresholds(failures=1, rest=timedelta(seconds=60)))
    fail, end, begun = threading.Event(), threading.Event(), threading.Semaphore(0)

    def script(what: str) -> None:
        begun.release()
        (end if what == "hangs" else fail).wait(20)
        raise DOWN

    Scripted.script = script
    hanging = line.threads.submit(line.remote().read, "hangs")
    first = line.threads.submit(line.remote().read)
    assert begun.acquire(timeout=10)
    assert begun.acquire(timeout=10)
    waiting = [line.threads.submit(line.remote(AGENT, timedelta(seconds=30)).read) for _ in "abc"]
    until(lambda: line.asking == 3)
    fail.set()
    assert isinstance(first.exception(10), Transient)
    for call in waiting:
        turned = call.exception(5)
        assert isinstance(turned, Transient)
        assert turned.code == "resting"
    assert len(Scripted.calls) == 2
    end.set()
    hanging.exception(10)


def test_one_call_tries_while_the_others_are_turned_away(make: Callable[..., Line]) -> None:
    line = make(thresholds=Thresholds(failures=1, rest=timedelta(seconds=10)))
    line.meet(DOWN)
    line.pass_(10)
    Scripted.calls.clear()
    busy = Busy(line)
    trying = busy.ask(AGENT, "tries")
    until(lambda: busy.began == ["tries"])
    for _ in range(3):
        with pytest.raises(Transient, match="rests while one call tries") as turned:
            line.remote().read()
        assert turned.value.retry_after == timedelta(seconds=2)
    busy.finish()
    assert trying.exception(10) is None
    assert Scripted.calls == ["tries"]
    assert line.state == "closed"


def test_a_rate_holds_whoever_asks(make: Callable[..., Line], moments: Stopped) -> None:
    line = make(rates=(Rate(20.0),))
    Scripted.script = lambda _: None
    calls = [line.threads.submit(line.remote(AGENT).read) for _ in range(20)]
    for call in calls:
        call.result(20)
    # Twenty at once, the others as their tokens grow back; batches leave a quarter of them.
    waiting = [line.threads.submit(line.remote(urgency).read) for urgency in [AGENT, BATCH] * 5]
    until(lambda: line.asking == 10)
    moments.pass_(0.25, line)
    until(lambda: len(Scripted.calls) == 25)
    assert (line.asking, sum(call.done() for call in waiting)) == (5, 5)
    moments.pass_(0.25, line)
    assert (line.asking, len(Scripted.calls)) == (5, 25)
    moments.pass_(0.25, line)
    until(lambda: line.asking == 0)
    for call in waiting:
        call.result(20)


def test_whoever_is_turned_away_uses_nothing_up(make: Callable[..., Line]) -> None:
    line = make(rates=(Rate(3.0),), thresholds=Thresholds(failures=1, rest=timedelta(seconds=9)))
    assert line.meets(DOWN, None, None, None) == ["down", "resting", "resting", "resting"]
    line.pass_(9)
    Scripted.script = lambda _: None
    for _ in range(2):
        line.remote(within=timedelta(0)).read()


def test_nobody_overtakes_who_waits_for_the_rate(
    make: Callable[..., Line], moments: Stopped
) -> None:
    line = make(rates=(Rate(4.0),))
    Scripted.script = lambda _: None
    for _ in range(4):
        line.remote().read("burst")
    first = line.threads.submit(line.remote().read, "first")
    until(lambda: line.asking == 1)
    for _ in range(3):
        with pytest.raises(Transient):
            line.remote(within=timedelta(0)).read("later")
    moments.pass_(0.25)
    with pytest.raises(Transient):
        line.remote(within=timedelta(0)).read("later")
    first.result(20)
    assert Scripted.calls[4:] == ["first"]


@pytest.mark.parametrize("rates", [(Rate(1000.0), Rate(4.0)), (Rate(4.0), Rate(1000.0))])
def test_of_two_rates_both_hold(
    make: Callable[..., Line], moments: Stopped, rates: tuple[Rate, ...]
) -> None:
    line = make(rates=rates)
    Scripted.script = lambda _: None
    for _ in range(4):
        line.remote().read()
    waiting = [line.threads.submit(line.remote().read) for _ in range(2)]
    until(lambda: line.asking == 2)
    for left in (1, 0):
        moments.pass_(0.125, line)
        assert line.asking == left + 1
        moments.pass_(0.125, line)
        until(lambda n=left: line.asking == n)  # type: ignore[misc]
    for call in waiting:
        call.result(20)


# --- replicas ----------------------------------------------------------------------------------


def test_what_one_replica_learns_all_go_by(make: Callable[..., Line], moments: Stopped) -> None:
    one = make()
    other = make(one.time)
    assert other.meets(None) == ["ok"]
    assert one.meets(REFUSED) == ["Unauthorised"]
    one.pass_(30)
    assert one.meets(REFUSED) == ["Unauthorised"]
    assert other.meets(None) == ["ok"], "the row is read once a second"
    moments.pass_(gate.READ_EVERY_S)
    assert one.meets(None) == other.meets(None) == ["stopped"]
    other.hub.gate.resume("erp", Asker("key_admin"))
    assert one.meets(None) == ["stopped"]
    moments.pass_(gate.READ_EVERY_S)
    assert one.meets(None) == ["ok"]
    assert one.told() == ["connection.resting", "connection.stopped", "connection.back"]


def test_of_two_replicas_one_tries(make: Callable[..., Line]) -> None:
    one = make(thresholds=Thresholds(failures=1, rest=timedelta(seconds=10)))
    other = make(one.time)
    one.meet(DOWN)
    other.forget_the_row()
    assert other.meets(None) == ["resting"]
    one.pass_(10)
    Scripted.calls.clear()
    busy = Busy(one)
    busy.ask(AGENT, "tries")
    until(lambda: busy.began == ["tries"])
    with pytest.raises(Transient, match="rests while one call tries"):
        other.remote().read("does not")  # it has not even read the row again
    busy.finish()
    assert busy.began == ["tries"]
    other.forget_the_row()
    assert other.meets(None) == ["ok"]


def test_two_replicas_that_learn_at_once_agree(make: Callable[..., Line]) -> None:
    """Both meet a second refusal together: one row, one event, one state."""
    one = make()
    other = make(one.time)
    together = threading.Barrier(2)

    def script(_what: str) -> None:
        together.wait(10)
        raise REFUSED

    Scripted.script = script
    calls = [one.threads.submit(line.remote().read) for line in (one, other)]
    assert all(isinstance(call.exception(10), Unauthorised) for call in calls)
    standing = one.hub.gate.standing("erp")
    # The time stands still here, so the second of them is a later one: stopped, and not twice.
    assert standing.breaker.state in (State.RESTING, State.STOPPED)
    assert len([e for e in one.told() if e == "connection.stopped"]) <= 1
    for line in (one, other):
        line.forget_the_row()
        assert line.meets(None) == [standing.breaker.state.value]


def test_a_changed_configuration_starts_it_again(make: Callable[..., Line]) -> None:
    line = make()
    line.meet(REFUSED)
    line.pass_(30)
    line.meet(REFUSED)
    assert line.state == "stopped"
    assert make(line.time).hub.gate.reconsider() == []
    assert line.state == "stopped"
    restarted = make(line.time, password="new")
    assert restarted.hub.gate.reconsider() == ["erp"]
    assert restarted.meets(None) == ["ok"]
    assert line.audited()[-1] == ("connection.resume", "configuration")
    with line.hub.database.read() as uow:
        row = uow.connections.state("erp")
    assert row is not None
    assert row.changed_by == "configuration"


def test_what_is_stored_gives_no_secret_away(make: Callable[..., Line]) -> None:
    line = make(password="hunter2")
    line.meet(REFUSED)
    line.pass_(30)
    line.meet(REFUSED)
    with line.hub.database.read() as uow:
        row = uow.connections.state("erp")
    assert row is not None
    assert "hunter2" not in str(row.reason)
    standing = line.hub.gate.standing("erp")
    assert "configuration" not in (gate.shown_reason(standing.breaker) or {})


def test_a_database_that_is_away_leaves_the_gate_working(
    make: Callable[..., Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = make(thresholds=Thresholds(failures=1, rest=timedelta(seconds=10)))
    line.meet(None)

    def away(*_: object) -> Any:
        raise OSError("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(Database, "begin", away)
        patched.setattr(Database, "read", away)
        line.forget_the_row()
        assert line.meets(DOWN, None) == ["down", "resting"]
        line.pass_(10)
        assert line.meets(None, None) == ["ok", "ok"]


def test_only_what_calls_somebody_can_be_resumed(make: Callable[..., Line]) -> None:
    line = make()
    with pytest.raises(NotFoundError):
        line.hub.gate.resume("nobody", Asker("key_admin"))
    assert line.hub.gate.resume("erp", Asker("key_admin")).breaker.state is State.CLOSED
    assert line.audited() == []  # it was open


# --- the flows -----------------------------------------------------------------------------------


def test_a_look_up_names_the_source_that_rests(known: Stage) -> None:
    erp = known.names["erp"]
    stage = known.with_options(limits={erp: Limits(thresholds=Thresholds(failures=1))})
    stage.erp.script.arm(Fault.DOWN)
    lookup.find_orders(stage.hub, ["SO-4711"])
    calls = stage.erp.calls.total()
    found = lookup.find_orders(stage.hub, ["SO-4711"])
    status = {source.connection: source.status for source in found.sources}
    assert status == {
        erp: "failed",
        known.names["crm"]: "complete",
        known.names["desk"]: "complete",
    }
    (source,) = [s for s in found.sources if s.connection == erp]
    assert (source.why or "").startswith(f"{erp} rests: ")
    assert stage.erp.calls.total() == calls


def test_an_action_waits_for_a_stopped_connection_and_goes_on(known: Stage, asker: Asker) -> None:
    erp = known.names["erp"]
    stage = known.with_options(
        limits={erp: Limits(thresholds=Thresholds(refusals=1))},
        policy=built_in(approval_of_strangers=False),
    )
    stage.erp.script.arm(Fault.DENIED)
    lookup.find_orders(stage.hub, ["SO-4711"])
    assert stage.hub.gate.standing(erp).breaker.state is State.STOPPED
    action_id, _ = correct.create(stage.hub, stage.wanted(case=None), asker)
    stage.run_due()
    assert stage.state(action_id) == "queued", "nothing was sent, and it can be called off"
    with stage.hub.database.read() as uow:
        (step,) = uow.actions.steps_of(action_id)
    assert step.sent_at is None
    assert (step.error or {})["code"] == "stopped"
    stage.hub.gate.resume(erp, asker)
    stage.run_all(hours=1)
    assert stage.state(action_id) == "done"
