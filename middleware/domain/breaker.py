"""A circuit breaker for a connection, as plain data: whether its system is called at all.

`closed`: calls go through. `resting`: none do until a moment; then one call tries, and its answer
decides. `stopped`: none do until a person resumes it or its configuration changes, since another
refused login might lock the account, or since another system answers than the one we know.

| What a call met | closed | resting, the call that tries |
|---|---|---|
| an answer, also one that says no | failures forgotten | closed |
| unreachable, timed out, outcome unknown | the n-th in a row: rests | rests longer |
| the system asked us to wait | rests for as long as asked | rests for as long as asked, or longer |
| the login was refused | rests for a pause | stopped, from the second in a row on |

Some systems show a limit of theirs, such as too many sessions at once, as a refused login. The
pause and the single call after it tell the two apart: if that call is let in, the credentials are
right, and from then on fewer calls go out at once (`ceiling`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from middleware.contract.errors import (
    Ambiguous,
    Busy,
    Duplicated,
    Forbidden,
    Missing,
    NotOffered,
    Rejected,
    Transient,
    Unauthorised,
)

ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
"""Since when a connection is closed that nothing has ever happened to."""

SHORTEST_WAIT = timedelta(seconds=1)
LONGEST_TRY = timedelta(seconds=35)
"""For how long the call that tries keeps the others out; its process may die meanwhile."""
TRY_AGAIN_IN = timedelta(seconds=2)
"""When to ask again while another call is trying."""
STOPPED_AGAIN_IN = timedelta(minutes=5)
"""When to ask again about a stopped connection: a person must come first."""
QUIET = timedelta(minutes=1)
"""Waits that a system asked for and that are no longer than this are nobody's business."""


@dataclass(frozen=True)
class Thresholds:
    """When a connection rests, for how long, and when it stops."""

    failures: int = 5
    """After how many failures in a row a system counts as down."""
    rest: timedelta = timedelta(seconds=5)
    """The first rest; each that follows without a success is twice as long."""
    longest_rest: timedelta = timedelta(minutes=5)
    refusals: int = 2
    """After how many refused logins in a row the connection stops."""
    pause: timedelta = timedelta(seconds=30)
    """How long after a refused login the next one is tried."""


class State(StrEnum):
    CLOSED = "closed"
    RESTING = "resting"
    STOPPED = "stopped"


class Cause(StrEnum):
    """What makes a connection rest or stop."""

    DOWN = "down"
    THROTTLED = "throttled"
    REFUSED = "refused"
    ANOTHER = "another"
    """Another system answers than the one whose records we hold."""


class Met(StrEnum):
    """What a call met."""

    ANSWER = "answer"
    DOWN = "down"
    ASKED_TO_WAIT = "asked_to_wait"
    REFUSED = "refused"
    UNCLEAR = "unclear"
    """Nothing about the system: a mistake of ours, a mapping that does not fit."""


@dataclass(frozen=True)
class Why:
    """What went wrong, in words that may be stored and shown: no secret, no personal data."""

    cause: Cause
    message: str
    code: str | None = None
    operation: str | None = None
    at_once: int = 1
    """How many calls were under way when it happened."""
    worked_before: bool = False
    """Whether this operation had been answered before, with the same credentials."""


@dataclass(frozen=True)
class Breaker:
    """Whether a connection's system is called, since when, until when, and why not."""

    state: State = State.CLOSED
    since: datetime = ALWAYS
    until: datetime | None = None
    """While resting: when a call may try. None in the other states."""
    why: Why | None = None
    failures: int = 0
    """Failures in a row that mean that the system is down."""
    refusals: int = 0
    """Refused logins in a row. While closed with any, calls go out one at a time."""
    trying: bool = False
    """Whether a call is trying, while resting."""
    ceiling: int | None = None
    """How many calls may be under way at once, where the system taught us; None: as configured."""

    @property
    def worth_telling(self) -> bool:
        """Whether an operator wants to hear that it is in this state."""
        if self.state is State.RESTING and self.why and self.why.cause is Cause.THROTTLED:
            rest = timedelta(0) if self.trying or not self.until else self.until - self.since
            return rest > QUIET
        return self.state is not State.CLOSED


@dataclass(frozen=True)
class Call:
    """What came of one call: what it met, and when it had begun."""

    met: Met
    began: datetime
    why: Why | None = None
    """Where it met anything but an answer."""
    wait: timedelta | None = None
    """How long the system asked us to wait."""


def met(error: BaseException | None) -> Met:
    """What a call met, by how it ended.

    A refusal of what was asked is an answer, and so is a record that is busy: the system is there.
    Any other Transient that says how long to wait is the system's wish; one that does not, like an
    outcome that nobody knows, means that it is down.
    """
    match error:
        case None | Busy() | Rejected() | Missing() | NotOffered() | Duplicated() | Forbidden():
            return Met.ANSWER
        case Unauthorised():
            return Met.REFUSED
        case Transient() if error.retry_after is not None:
            return Met.ASKED_TO_WAIT
        case Transient() | Ambiguous():
            return Met.DOWN
        case _:
            return Met.UNCLEAR


def wait_before(breaker: Breaker, now: datetime) -> timedelta | None:
    """How long nothing may be sent; None if a call may go out now, perhaps as the one that tries.

    While another call tries, and of a stopped connection, it is when to ask again.
    """
    if breaker.state is State.STOPPED:
        return STOPPED_AGAIN_IN
    if breaker.state is State.RESTING and breaker.until is not None and now < breaker.until:
        left = breaker.until - now
        return min(left, TRY_AGAIN_IN) if breaker.trying else left
    return None


def tries(breaker: Breaker, now: datetime) -> Breaker:
    """The breaker of a connection whose rest is over, once one call has set out to try."""
    return replace(breaker, trying=True, until=now + LONGEST_TRY)


def after(breaker: Breaker, call: Call, *, now: datetime, thresholds: Thresholds) -> Breaker:
    """The breaker after a call has ended.

    A call that had begun before the present state says nothing about it: of calls that were under
    way together, the first to fail counts, and an answer to an old one ends no rest.
    """
    match breaker.state:
        case State.STOPPED:
            return breaker
        case State.CLOSED:
            if call.began < breaker.since:
                return breaker
            return _closed(breaker, call, now, thresholds)
        case State.RESTING:
            if call.began <= breaker.since:
                return _late(breaker, call, now, thresholds)
            return _tried(breaker, call, now, thresholds)


def another(breaker: Breaker, message: str, *, now: datetime) -> Breaker:
    """The breaker once another system answers than the one whose records we hold."""
    why = Why(cause=Cause.ANOTHER, message=message, operation="remote_identity")
    return replace(
        breaker, state=State.STOPPED, since=now, until=None, trying=False, refusals=0, why=why
    )


def resumed(breaker: Breaker, *, now: datetime, thresholds: Thresholds) -> Breaker:
    """The breaker after a person said that calls may go out again.

    After a refused login the person's word counts for one: the next refusal stops it at once.
    """
    careful = max(0, thresholds.refusals - 1) if breaker.refusals else 0
    return Breaker(since=now, refusals=careful)


def _closed(breaker: Breaker, call: Call, now: datetime, thresholds: Thresholds) -> Breaker:
    match call.met:
        case Met.ANSWER:
            if breaker.failures or breaker.refusals:
                return replace(breaker, failures=0, refusals=0)
            return breaker
        case Met.DOWN:
            counted = replace(breaker, failures=breaker.failures + 1)
            if counted.failures < thresholds.failures:
                return counted
            return _resting(counted, call, now, now + _rest(counted.failures, thresholds))
        case Met.ASKED_TO_WAIT:
            return _resting(breaker, call, now, now + _asked(call))
        case Met.REFUSED:
            return _refused(breaker, call, now, thresholds)
        case Met.UNCLEAR:
            return breaker


def _tried(breaker: Breaker, call: Call, now: datetime, thresholds: Thresholds) -> Breaker:
    """After the call that tried."""
    match call.met:
        case Met.ANSWER:
            return Breaker(since=now, ceiling=_ceiling(breaker))
        case Met.DOWN | Met.ASKED_TO_WAIT:
            failures = breaker.failures + 1
            # One that answers, if only to ask for time, is not left alone like one that is down.
            least = 0 if call.met is Met.DOWN else 1 - thresholds.failures
            wait = max(_rest(failures, thresholds, least=least), _asked(call))
            return replace(
                breaker,
                failures=failures,
                until=now + wait,
                trying=False,
                # That the login was refused stays the reason until one is let in.
                why=breaker.why if breaker.refusals else call.why,
            )
        case Met.REFUSED:
            return _refused(breaker, call, now, thresholds)
        case Met.UNCLEAR:
            return replace(breaker, until=now, trying=False)


def _late(breaker: Breaker, call: Call, now: datetime, thresholds: Thresholds) -> Breaker:
    """After a call that had begun before this rest: it may make it longer, and not shorter."""
    until = breaker.until or now
    if call.met is Met.ASKED_TO_WAIT and not breaker.trying:
        return replace(breaker, until=max(until, now + _asked(call)))
    if call.met is Met.REFUSED and not breaker.refusals:
        if thresholds.refusals <= 1:
            return _refused(breaker, call, now, thresholds)
        return replace(breaker, refusals=1, until=max(until, now + thresholds.pause), why=call.why)
    return breaker


def _refused(breaker: Breaker, call: Call, now: datetime, thresholds: Thresholds) -> Breaker:
    refusals = breaker.refusals + 1
    if refusals >= thresholds.refusals:
        return replace(
            breaker,
            state=State.STOPPED,
            since=now,
            until=None,
            trying=False,
            refusals=refusals,
            why=call.why,
        )
    return replace(_resting(breaker, call, now, now + thresholds.pause), refusals=refusals)


def _resting(breaker: Breaker, call: Call, now: datetime, until: datetime) -> Breaker:
    return replace(breaker, state=State.RESTING, since=now, until=until, why=call.why, trying=False)


def _ceiling(breaker: Breaker) -> int | None:
    """How many calls at once the system bears, by what ended this rest."""
    why = breaker.why
    if why is None or why.cause is not Cause.REFUSED or not why.worked_before or why.at_once < 2:
        return breaker.ceiling
    return max(1, why.at_once // 2)


def _rest(failures: int, thresholds: Thresholds, *, least: int = 0) -> timedelta:
    over = min(max(failures - thresholds.failures, least), 30)
    return min(thresholds.longest_rest, thresholds.rest * 2.0**over)


def _asked(call: Call) -> timedelta:
    return max(call.wait, SHORTEST_WAIT) if call.wait is not None else timedelta(0)
