"""The gate that every call to a remote goes through, a line of it for each connection.

    hub.gate.remote("erp", Urgency.AGENT).find_order("SO-10001")

A call waits for its turn: so many at once, so many a second or minute, agents first. Then it goes
out, unless the connection rests or is stopped. Whoever is turned away gets a Transient with the
code `busy`, `resting` or `stopped` and the reason: nothing was sent. How a call ended decides what
becomes of the line (`middleware.domain.breaker`). Replicas share that through a row for each
connection, read once a second and written when the state changes; turns are each process's own.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from middleware.contract import http
from middleware.contract.actions import Operation
from middleware.contract.capabilities import CheckReport, NamesItsRemote
from middleware.contract.errors import (
    AnotherRemote,
    Fenced,
    NotOffered,
    RemoteError,
    Transient,
)
from middleware.domain import breaker as breakers
from middleware.domain.breaker import Breaker, Call, Cause, Met, State, Thresholds, Why
from middleware.domain.problems import NotFoundError, NotOfferedError
from middleware.domain.turns import Bucket, Places, Rate, Urgency, Waiting, next_turn
from middleware.store.database import UnitOfWork
from middleware.store.tables import ConnectionStateRow

if TYPE_CHECKING:
    from middleware.flows.hub import Asker, Hub

log = logging.getLogger(__name__)

T = TypeVar("T")

READ_EVERY_S = 1.0
"""How old the row may be that a call goes by."""
WITHIN = {
    Urgency.AGENT: timedelta(seconds=3),
    Urgency.WORK: timedelta(seconds=5),
    Urgency.BATCH: timedelta(seconds=60),
}
"""How long a call waits for its turn where the caller does not say."""
BUSY_AGAIN_IN = timedelta(seconds=2)
"""When to ask again after no turn came in time."""

WRITES = frozenset(f"create_{operation}" for operation in Operation)
ASKS_NOBODY = frozenset({"key_traits", "change_kinds", "map_again", "system", "withdrawable"})
"""What an adapter answers by itself; everything else of it is a call."""


@dataclass(frozen=True)
class Limits:
    """What one process may ask of one connection."""

    calls_at_once: int = 8
    rates: tuple[Rate, ...] = ()
    """Every one of them holds."""
    thresholds: Thresholds = field(default_factory=Thresholds)


@dataclass(frozen=True)
class Standing:
    """How a connection stands, as it is shown."""

    breaker: Breaker = field(default_factory=Breaker)
    changed_by: str | None = None
    """`hub`, `configuration`, or who resumed it; None while nothing ever happened."""


class TurnedAway(Transient):
    """The gate let nothing out: it is not known, and not asked, what the remote would say."""


class Gate:
    """The lines of all connections. Threads share it."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._lines: dict[str, _Line] = {}
        self._lock = threading.Lock()

    def remote(
        self,
        connection: str,
        urgency: Urgency,
        *,
        within: timedelta | None = None,
        guard: Callable[[], None] | None = None,
    ) -> Any:
        """The adapter of a connection with the gate before each of its calls.

        `within` is how long a call may wait for its turn. `guard` is called when that has come,
        before a write, and again before each piece of it leaves: see `http.fenced`. Raises what
        `Registry.adapter` raises; each call raises Transient where the gate is closed.
        """
        adapter = self._hub.registry.adapter(connection)
        line = self._line(connection)
        return Remote(line, adapter, urgency, WITHIN[urgency] if within is None else within, guard)

    def check(self, connection: str, *, within: timedelta | None = None) -> CheckReport:
        """Let a person check a connection, also one that rests or is stopped.

        A check that finds all well ends a rest; a stopped connection stays so until it is resumed.
        After a refused login, or a check that found something wrong, the next one has to wait for
        the connection's pause: it may be a login too, and too many of those lock an account.
        """
        adapter = self._hub.registry.adapter(connection)
        waiting = WITHIN[Urgency.AGENT] if within is None else within
        return self._line(connection).check(adapter.check, waiting)

    def turned_away(self, connection: str) -> Transient | None:
        """What a call would be told now instead of being sent; None if it would go out.

        For whoever has something to write down before a call, and need not where none is made.
        """
        return self._line(connection).turned_away()

    def standing(self, connection: str) -> Standing:
        """How a connection stands, read now."""
        with self._hub.database.read() as uow:
            row = uow.connections.state(connection)
        return _standing(row)

    def standings(self, names: Collection[str] | None = None) -> dict[str, Standing]:
        """The same of these connections, or of all, that anything ever happened to."""
        with self._hub.database.read() as uow:
            return {name: _standing(row) for name, row in uow.connections.states(names).items()}

    def resume(self, connection: str, asker: Asker) -> Standing:
        """Let calls out again, because a person says so. Nothing changes for a line that is open.

        After a refused login they go out one at a time until one is answered, and the next refusal
        stops the connection at once. Raises NotFoundError for one that calls nobody.
        """
        if connection not in self._hub.registry.names():
            raise NotFoundError(f"there is no connection {connection!r} that calls a system")
        line = self._line(connection)

        def resume(breaker: Breaker) -> Breaker:
            if breaker.state is State.CLOSED and breaker.ceiling is None:
                return breaker
            return breakers.resumed(
                breaker, now=self._hub.clock(), thresholds=line.limits.thresholds
            )

        line.change(resume, by=asker.principal, request_id=asker.request_id)
        line.checked_at = None
        return self.standing(connection)

    def reconsider(self) -> list[str]:
        """Let calls out again where a connection's configuration has changed since it stopped.

        To be called when the hub begins; answers their names.
        """
        with self._hub.database.read() as uow:
            stopped = {n: r for n, r in uow.connections.states().items() if r.state == "stopped"}
        resumed = []
        for name, row in stopped.items():
            seal = (row.reason or {}).get("configuration")
            if seal is None or name not in self._hub.registry.names():
                continue
            if self._hub.registry.seal(name, seal.partition("$")[0]) != seal:
                line = self._line(name)
                line.change(
                    lambda b, t=line.limits.thresholds: breakers.resumed(  # type: ignore[misc]
                        b, now=self._hub.clock(), thresholds=t
                    ),
                    by="configuration",
                    only_if=row.version,
                )
                resumed.append(name)
        return resumed

    def doubt(self, connection: str) -> None:
        """Have the next call ask first whether the remote is still the one we know."""
        self._line(connection).doubt()

    def accept(self, connection: str, asker: Asker) -> tuple[str | None, str]:
        """Take whoever answers now for the connection's remote; who it was, and who it is.

        Lets calls out again where that had stopped them. What is synced from then on is read anew.
        Raises NotFoundError for a connection that calls nobody, NotOfferedError for a remote that
        says nothing of itself, and RemoteError where it can't be asked.
        """
        if connection not in self._hub.registry.names():
            raise NotFoundError(f"there is no connection {connection!r} that calls a system")
        return self._line(connection).accept(asker)

    def _line(self, connection: str) -> _Line:
        line = self._lines.get(connection)
        if line is None:
            with self._lock:
                limits = self._hub.options.limits.get(connection, Limits())
                line = self._lines.setdefault(connection, _Line(self._hub, connection, limits))
        return line


class Remote:
    """An adapter behind the gate: it has the adapter's methods, and each waits for its turn."""

    def __init__(
        self,
        line: _Line,
        adapter: Any,
        urgency: Urgency,
        within: timedelta,
        guard: Callable[[], None] | None,
    ) -> None:
        self._line = line
        self._adapter = adapter
        self._urgency = urgency
        self._within = within
        self._guard = guard

    def __getattr__(self, name: str) -> Any:
        theirs = getattr(self._adapter, name)
        if name in ASKS_NOBODY:
            return theirs
        if name == "check":
            raise AttributeError("a check goes through `Gate.check`")
        guard = self._guard if name in WRITES else None

        def call(*arguments: Any, **named: Any) -> Any:
            return self._line.call(
                name, lambda: theirs(*arguments, **named), self._urgency, self._within, guard
            )

        return call


@dataclass
class _Asking:
    """A thread that waits for its turn."""

    waiting: Waiting
    its_turn: bool = False
    look: threading.Event = field(default_factory=threading.Event)
    """Set when there may be something new for it."""


class _Line:
    """One connection's turns in this process, and what it knows of the shared state."""

    def __init__(self, hub: Hub, name: str, limits: Limits) -> None:
        self._hub = hub
        self.name = name
        self.limits = limits
        self.checked_at: datetime | None = None
        """When a person's check last found something wrong."""
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._asking: list[_Asking] = []
        self._places = Places(limits.calls_at_once)
        began = time.monotonic()
        self._buckets = tuple(Bucket.full(rate, began) for rate in limits.rates)
        self._breaker = Breaker()
        self._version = -1
        self._read_at: float | None = None
        self._reading = threading.Lock()
        self._worked: set[str] = set()
        """Operations that were answered before."""
        self._forbidden: set[str] = set()
        """Operations refused while others are let in: they lack a permission, not a login."""
        self._recognised = False
        """Whether this process has asked who the remote is."""
        self._doubted = False
        """Whether the next call is to ask first, also one that only reads."""

    # --- a call ------------------------------------------------------------------------------

    def call(
        self,
        operation: str,
        work: Callable[[], T],
        urgency: Urgency,
        within: timedelta,
        guard: Callable[[], None] | None,
    ) -> T:
        self._refresh()
        self._refuse_if_closed()
        self._take(urgency, within)
        try:
            if self._breaker.state is not State.CLOSED:
                self._set_out()
            if self._doubted or (operation in WRITES and not self._recognised):
                self._recognise(operation)
            return self._listen(operation, work, guard)
        finally:
            self._give_back(urgency)

    def check(self, work: Callable[[], CheckReport], within: timedelta) -> CheckReport:
        self._refresh()
        now = self._hub.clock()
        pause = self.limits.thresholds.pause
        refused = self._breaker.since if self._breaker.refusals else None
        last = max((at for at in (self.checked_at, refused) if at is not None), default=None)
        if last is not None and now < last + pause:
            raise self._transient(
                "busy",
                "the last try was turned down; the next one waits, so that the account is not"
                " locked",
                last + pause - now,
            )
        if self._breaker.state is State.CLOSED:
            self._take(Urgency.AGENT, within)
        else:
            # Nobody else is called meanwhile; calls that still hang must not keep a person waiting.
            with self._lock:
                self._go(Urgency.AGENT)
        try:
            report = self._listen("check", work, None, settles=lambda report: report.ok)
        except RemoteError:
            self.checked_at = now
            raise
        finally:
            self._give_back(Urgency.AGENT)
        self.checked_at = None if report.ok else now
        return report

    def _listen(
        self,
        operation: str,
        work: Callable[[], T],
        guard: Callable[[], None] | None,
        *,
        settles: Callable[[T], bool] = lambda _: True,
    ) -> T:
        """Make the call, and note what it met, where the result `settles` that."""
        began = self._hub.clock()
        try:
            if guard is None:
                result = work()
            else:
                guard()
                with http.fenced(guard):
                    result = work()
        except (Exception, Fenced) as error:
            # A fenced call may have been the one that tries; the next may try at once.
            self._note(operation, error, began)
            raise
        if settles(result):
            self._note(operation, None, began)
        return result

    # --- who answers -------------------------------------------------------------------------

    def doubt(self) -> None:
        self._doubted = True

    def _recognise(self, operation: str) -> None:
        """Ask who the remote is, and stop the line if it is not the one whose records we hold.

        A write that waits for its turn may then wait on; whatever else was asked has failed.
        """
        said = self._said()
        if said is not None:
            now = self._hub.clock()
            with self._hub.database.begin() as uow:
                known = uow.connections.know_remote(self.name, said, at=now)
            if known != said:
                told = (
                    f"{self.name} is another system now: its records are of {known}, and {said}"
                    " answers. Give another system a connection of its own; if it is the same one,"
                    f" moved or restored, say `amends connections accept-remote {self.name}`"
                )
                self.change(lambda breaker: breakers.another(breaker, told, now=now))
                if operation in WRITES:
                    self._refuse_if_closed()
                raise AnotherRemote(
                    f"{told}. Nothing was read or deleted",
                    system=self._hub.registry.adapter_name(self.name),
                    operation=operation,
                    code=Cause.ANOTHER.value,
                )
        self._recognised, self._doubted = True, False

    def _said(self) -> str | None:
        """Who answers, told with the adapter's name, since two may call theirs alike."""
        adapter = self._hub.registry.adapter(self.name)
        if not isinstance(adapter, NamesItsRemote):
            return None
        # Some answer without asking, which says nothing of the line.
        said = self._listen(
            "remote_identity", adapter.remote_identity, None, settles=lambda _: False
        )
        return None if said is None else f"{self._hub.registry.adapter_name(self.name)} {said}"

    def accept(self, asker: Asker) -> tuple[str | None, str]:
        self._refresh()
        why = self._breaker.why
        stopped = why is not None and why.cause is Cause.ANOTHER
        if not stopped:
            self._refuse_if_closed()
        with self._lock:
            self._go(Urgency.AGENT)
        try:
            said = self._said()
        finally:
            self._give_back(Urgency.AGENT)
        if said is None:
            raise NotOfferedError(f"the system behind {self.name!r} does not say who it is")
        now = self._hub.clock()
        with self._hub.database.begin() as uow:
            before = uow.connections.remote(self.name)
            uow.connections.accept_remote(self.name, said, at=now, by=asker.principal)
            uow.audit.write(
                at=now,
                actor=asker.principal,
                action="connection.accept_remote",
                subject=self.name,
                request_id=asker.request_id,
                was=before,
                now=said,
            )
        if stopped:
            self.change(
                lambda breaker: breakers.resumed(
                    breaker, now=now, thresholds=self.limits.thresholds
                ),
                by=asker.principal,
                request_id=asker.request_id,
            )
        return before, said

    def turned_away(self) -> Transient | None:
        self._refresh()
        return self._closed()

    def _refuse_if_closed(self) -> None:
        turned = self._closed()
        if turned is not None:
            raise turned

    def _closed(self) -> Transient | None:
        breaker = self._breaker
        wait = self._wait()
        if wait is None:
            return None
        return self._transient(breaker.state.value, told(breaker), wait)

    def _wait(self) -> timedelta | None:
        """How long nothing goes out; None if calls may."""
        if self._breaker.state is State.CLOSED:
            return None
        return breakers.wait_before(self._breaker, self._hub.clock())

    def _set_out(self) -> None:
        """Go out as the one call that tries, while the others wait; raises if there is one."""
        self._refuse_if_closed()
        claimed = False

        def claim(breaker: Breaker) -> Breaker:
            nonlocal claimed
            now = self._hub.clock()
            claimed = breaker.state is State.RESTING and breakers.wait_before(breaker, now) is None
            return breakers.tries(breaker, now) if claimed else breaker

        self.change(claim)
        if not claimed:
            # Another process was quicker, or it is open again.
            self._refuse_if_closed()

    def _transient(self, code: str, why: str, wait: timedelta) -> Transient:
        return TurnedAway(
            f"{self.name} {why}; nothing was sent",
            retry_after=wait,
            system=self._hub.registry.adapter_name(self.name),
            code=code,
        )

    # --- turns -------------------------------------------------------------------------------

    def _take(self, urgency: Urgency, within: timedelta) -> None:
        """Wait for a place and for what the rates allow; raises Transient when time is up."""
        now = time.monotonic()
        with self._lock:
            if not self._asking and self._fits(urgency, now):
                self._go(urgency)
                return
            asking = _Asking(Waiting(next(self._numbers), urgency, now))
            self._asking.append(asking)
        until = now + within.total_seconds()
        while True:
            with self._lock:
                now = time.monotonic()
                wait = self._hand_out(now)
                if asking.its_turn:
                    return
                if now >= until or self._wait() is not None:
                    self._asking.remove(asking)
                    break
                asking.look.clear()
            asking.look.wait(min(until - now, wait))
        self._refuse_if_closed()
        raise self._transient(
            "busy",
            f"is busy: no turn came within {within.total_seconds():g} s",
            BUSY_AGAIN_IN,
        )

    def _hand_out(self, now: float) -> float:
        """Give places to those whose turn it is; answers after how many seconds to look again."""
        while True:
            places = self._places_now()
            turn = next_turn((one.waiting for one in self._asking), places, now)
            if turn is None:
                # A place becomes free when a call ends, which wakes somebody; patience does not.
                return 0.5
            self._refill(now)
            wait = max(
                (b.wait_for(turn.who.urgency, hurried=turn.hurried) for b in self._buckets),
                default=0.0,
            )
            if wait > 0:
                return wait
            asking = next(one for one in self._asking if one.waiting is turn.who)
            self._asking.remove(asking)
            self._go(turn.who.urgency)
            asking.its_turn = True
            asking.look.set()

    def _fits(self, urgency: Urgency, now: float) -> bool:
        if not self._places_now().room_for(urgency):
            return False
        if self._buckets:
            self._refill(now)
            return all(bucket.wait_for(urgency) <= 0 for bucket in self._buckets)
        return True

    def _places_now(self) -> Places:
        """The places, fewer of them where the system taught us so or was just resumed."""
        breaker = self._breaker
        limit = self.limits.calls_at_once
        if breaker.ceiling is not None:
            limit = min(limit, breaker.ceiling)
        if breaker.refusals or breaker.state is not State.CLOSED:
            limit = 1
        if limit != self._places.limit:
            self._places = replace(self._places, limit=limit)
        return self._places

    def _refill(self, now: float) -> None:
        self._buckets = tuple(bucket.refilled(now) for bucket in self._buckets)

    def _go(self, urgency: Urgency) -> None:
        self._places = self._places.with_one(urgency)
        if self._buckets:
            self._buckets = tuple(bucket.taken() for bucket in self._buckets)

    def _give_back(self, urgency: Urgency) -> None:
        with self._lock:
            self._places = self._places.with_one(urgency, -1)
            if self._asking:
                self._hand_out(time.monotonic())

    # --- the state, and what the replicas know of it -------------------------------------------

    def _note(self, operation: str, error: BaseException | None, began: datetime) -> None:
        """Let what a call met decide about the line."""
        met = breakers.met(error)
        if error is None:
            self._worked.add(operation)
            self._forbidden.discard(operation)
        elif met is Met.REFUSED and operation in self._forbidden:
            met = Met.ANSWER
        breaker = self._breaker
        settled = not (breaker.failures or breaker.refusals)
        if breaker.state is State.CLOSED and met is Met.ANSWER and settled:
            return
        call = Call(
            met,
            began,
            why=self._why(operation, met, error),
            wait=error.retry_after if isinstance(error, Transient) else None,
        )

        def after(breaker: Breaker) -> Breaker:
            return breakers.after(
                breaker, call, now=self._hub.clock(), thresholds=self.limits.thresholds
            )

        with self._lock:
            noted = after(self._breaker)
            if noted == self._breaker:
                return
            if noted.state is State.CLOSED and self._breaker.state is State.CLOSED:
                # Counting is each process's own; only what changes for all is written down.
                self._breaker = noted
                return
        self.change(after)

    def _why(self, operation: str, met: Met, error: BaseException | None) -> Why | None:
        if met in (Met.ANSWER, Met.UNCLEAR) or not isinstance(error, RemoteError):
            return None
        cause = {Met.DOWN: Cause.DOWN, Met.ASKED_TO_WAIT: Cause.THROTTLED}.get(met, Cause.REFUSED)
        return Why(
            cause=cause,
            message=error.message,
            code=error.code,
            operation=operation,
            at_once=self._places.taken,
            worked_before=operation in self._worked,
        )

    def change(
        self,
        made: Callable[[Breaker], Breaker],
        *,
        by: str = "hub",
        request_id: str | None = None,
        only_if: int | None = None,
    ) -> None:
        """Change the state for all replicas, from what it is by now; tell of it and write it down.

        `only_if` is the version that it must still have. When the database is away, this process
        goes by the change alone.
        """
        try:
            self._changed(made, by, request_id, only_if)
        except Exception:
            if by != "hub":
                raise
            log.exception("state of a connection not stored", extra={"connection": self.name})
            with self._lock:
                self._breaker = made(self._breaker)
        self._wake()

    def _changed(
        self,
        made: Callable[[Breaker], Breaker],
        by: str,
        request_id: str | None,
        only_if: int | None,
    ) -> None:
        now = self._hub.clock()
        with self._hub.database.begin() as uow:
            row = uow.connections.locked_state(self.name, at=now)
            mine = row.version == self._version or (row.version == 0 and self._version == -1)
            before = self._breaker if mine else breaker_of(row)
            noted = before if only_if not in (None, row.version) else made(before)
            if noted != before:
                was = breaker_of(row)
                known = bool((row.reason or {}).get("told"))
                stopped = noted.state is State.STOPPED and was.state is not State.STOPPED
                if noted.state is State.CLOSED:
                    news, knows = known, False
                else:
                    news = stopped or (noted.worth_telling and not known)
                    knows = known or news
                self._write(row, noted, by, told=knows)
                if news:
                    self._tell(uow, noted, by, now=now)
                if stopped or by != "hub":
                    uow.audit.write(
                        at=now,
                        actor=by,
                        action="connection.stop" if stopped else "connection.resume",
                        subject=self.name,
                        request_id=request_id,
                        was=was.state.value,
                    )
            version = row.version
        self._adopt(noted, version, by)
        if noted != before:
            log.info(
                "connection state",
                extra={"connection": self.name, "state": noted.state.value, "changed_by": by},
            )

    def _write(self, row: ConnectionStateRow, breaker: Breaker, by: str, *, told: bool) -> None:
        reason = reason_of(breaker)
        if reason is not None and told:
            reason["told"] = True
        if breaker.state is State.STOPPED and reason is not None:
            kept = (row.reason or {}).get("configuration")
            with suppress(NotOffered):
                reason["configuration"] = kept or self._hub.registry.seal(self.name)
        row.state = breaker.state.value
        row.since, row.until = breaker.since, breaker.until
        row.failures, row.reason = breaker.failures, reason
        row.changed_by = by
        row.version += 1

    def _tell(self, uow: UnitOfWork, breaker: Breaker, by: str, *, now: datetime) -> None:
        from middleware.flows import deliver  # which imports the hub, which has this gate

        named = {State.CLOSED: "back", State.RESTING: "resting", State.STOPPED: "stopped"}
        deliver.tell(
            self._hub,
            uow,
            f"connection.{named[breaker.state]}",
            subject=self.name,
            data={
                "connection": self.name,
                "state": breaker.state.value,
                "since": breaker.since.isoformat(),
                "until": breaker.until.isoformat() if breaker.until else None,
                "reason": shown_reason(breaker),
                "changed_by": by,
            },
            at=now,
        )

    def _refresh(self) -> None:
        """Read the row if what is known of it is old; one thread does, the others go on."""
        now = time.monotonic()
        first = self._read_at is None
        if not first and now - (self._read_at or 0.0) < READ_EVERY_S:
            return
        if not self._reading.acquire(blocking=first):
            return
        try:
            if self._read_at is not None and now - self._read_at < READ_EVERY_S:
                return
            with self._hub.database.read() as uow:
                row = uow.connections.state(self.name)
                if first and uow.connections.remote(self.name) is not None:
                    # Settings change while no process runs.
                    self._doubted = True
            if row is not None and row.version > self._version:
                self._adopt(breaker_of(row), row.version, row.changed_by)
                self._wake()
            self._read_at = time.monotonic()
        except Exception:
            # Without its database the hub does nothing anyway; what is known still holds.
            log.warning("state of a connection not read", extra={"connection": self.name})
            self._read_at = time.monotonic()
        finally:
            self._reading.release()

    def _adopt(self, breaker: Breaker, version: int, by: str) -> None:
        """Go by a state that is stored."""
        with self._lock:
            if version < self._version:
                return
            why = self._breaker.why
            if (
                breaker.state is State.CLOSED
                and by == "hub"
                and why is not None
                and why.cause is Cause.REFUSED
                and why.operation is not None
                and not why.worked_before
                and why.operation not in self._worked
            ):
                self._forbidden.add(why.operation)
            if by != "hub" and self._version >= 0:
                self._forbidden.clear()
            if by != "hub":
                self._doubted = True
            self._breaker, self._version = breaker, version

    def _wake(self) -> None:
        """Let everybody who waits look at the new state."""
        with self._lock:
            for asking in self._asking:
                asking.look.set()


def breaker_of(row: ConnectionStateRow) -> Breaker:
    """The state as it was stored."""
    reason: Mapping[str, Any] = row.reason or {}
    why = None
    if reason.get("cause"):
        why = Why(
            cause=Cause(reason["cause"]),
            message=reason["message"],
            code=reason.get("code"),
            operation=reason.get("operation"),
            at_once=reason.get("at_once", 1),
            worked_before=reason.get("worked_before", False),
        )
    return Breaker(
        state=State(row.state),
        since=row.since,
        until=row.until,
        why=why,
        failures=row.failures,
        refusals=reason.get("refusals", 0),
        trying=reason.get("trying", False),
        ceiling=reason.get("ceiling"),
    )


def reason_of(breaker: Breaker) -> dict[str, Any] | None:
    """What the row says beside its columns, empty parts left out."""
    said: dict[str, Any] = {
        "refusals": breaker.refusals or None,
        "trying": breaker.trying or None,
        "ceiling": breaker.ceiling,
    }
    if breaker.why is not None:
        said |= {
            "cause": breaker.why.cause.value,
            "message": breaker.why.message,
            "code": breaker.why.code,
            "operation": breaker.why.operation,
            "at_once": breaker.why.at_once,
            "worked_before": breaker.why.worked_before,
        }
    return {name: value for name, value in said.items() if value is not None} or None


def told(breaker: Breaker) -> str:
    """Why nothing goes out, to follow the connection's name."""
    why = breaker.why.message if breaker.why else "nobody knows why"
    if breaker.state is State.STOPPED and breaker.why and breaker.why.cause is Cause.ANOTHER:
        return f"is stopped: {why}"
    if breaker.state is State.STOPPED:
        return (
            f"is stopped until somebody resumes it: {why}. Another refused login might lock the"
            " account"
        )
    if breaker.trying:
        return f"rests while one call tries whether it is back: {why}"
    return f"rests: {why}"


def shown_reason(breaker: Breaker) -> dict[str, Any] | None:
    """Why a connection is as it is, for people and events; None while all is as configured."""
    if breaker.state is State.CLOSED:
        if breaker.refusals:
            text = "resumed after a refused login: one call goes out at a time until one is let in"
        elif breaker.ceiling is not None:
            text = (
                f"a login was refused while several calls were under way, and let in when there was"
                f" one; at most {breaker.ceiling} go out at once until somebody resumes it. Set"
                " `calls_at_once` to what the system allows"
            )
        else:
            return None
        return {"cause": Cause.REFUSED.value, "message": text, "code": None, "operation": None}
    if breaker.why is None:
        return None
    why = breaker.why
    return {
        "cause": why.cause.value,
        "message": why.message,
        "code": why.code,
        "operation": why.operation,
    }


def _standing(row: ConnectionStateRow | None) -> Standing:
    return Standing() if row is None else Standing(breaker_of(row), row.changed_by)
