"""The breaker, as tables: what calls met, and what becomes of the connection."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from middleware.contract.errors import (
    Ambiguous,
    Busy,
    Duplicated,
    Forbidden,
    Missing,
    NotOffered,
    Permanent,
    Rejected,
    Transient,
    Unauthorised,
)
from middleware.domain import breaker as breakers
from middleware.domain.breaker import Breaker, Call, Cause, Met, State, Thresholds, Why

START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
THRESHOLDS = Thresholds(
    failures=3,
    rest=timedelta(seconds=10),
    longest_rest=timedelta(seconds=60),
    refusals=2,
    pause=timedelta(seconds=30),
)

ANSWER, DOWN, REFUSED, UNCLEAR = Met.ANSWER, Met.DOWN, Met.REFUSED, Met.UNCLEAR
CAUSES = {Met.DOWN: Cause.DOWN, Met.ASKED_TO_WAIT: Cause.THROTTLED, Met.REFUSED: Cause.REFUSED}


def second(n: float) -> datetime:
    return START + timedelta(seconds=n)


def wait(seconds: float) -> tuple[Met, float]:
    """A 429 that says for how long."""
    return Met.ASKED_TO_WAIT, seconds


def why(met: Met, **more: object) -> Why | None:
    return Why(cause=CAUSES[met], message=met.value, **more) if met in CAUSES else None  # type: ignore[arg-type]


def play(
    *events: tuple[float, Met | tuple[Met, float]],
    breaker: Breaker | None = None,
    thresholds: Thresholds = THRESHOLDS,
    **more: object,
) -> Breaker:
    """Calls that begin and end at a second each; one that may not go out is a mistake here."""
    breaker = breaker or Breaker()
    for at, event in events:
        now = second(at)
        met, asked = event if isinstance(event, tuple) else (event, None)
        assert breakers.wait_before(breaker, now) is None, f"nothing may go out at {at}"
        if breaker.state is not State.CLOSED:
            breaker = breakers.tries(breaker, now)
        call = Call(
            met,
            now,
            why=why(met, **more),
            wait=timedelta(seconds=asked) if asked is not None else None,
        )
        breaker = breakers.after(breaker, call, now=now, thresholds=thresholds)
    return breaker


def told(breaker: Breaker) -> tuple[str, float | None]:
    """The state, and the second until which it rests."""
    until = (breaker.until - START).total_seconds() if breaker.until else None
    return breaker.state.value, until


@pytest.mark.parametrize(
    ("events", "state"),
    [
        pytest.param([], ("closed", None), id="nothing happened"),
        pytest.param([(0, DOWN), (1, DOWN)], ("closed", None), id="two failures are not three"),
        pytest.param([(0, DOWN), (1, DOWN), (2, DOWN)], ("resting", 12), id="three are"),
        pytest.param(
            [(0, DOWN), (1, DOWN), (2, ANSWER), (3, DOWN), (4, DOWN)],
            ("closed", None),
            id="in a row",
        ),
        pytest.param(
            [(0, DOWN), (1, UNCLEAR), (2, DOWN), (3, UNCLEAR), (4, DOWN)],
            ("resting", 14),
            id="a mistake of ours says nothing",
        ),
        pytest.param(
            [(0, DOWN), (1, DOWN), (2, DOWN), (12, ANSWER)], ("closed", None), id="it is back"
        ),
        pytest.param(
            [(0, DOWN), (1, DOWN), (2, DOWN), (12, DOWN)], ("resting", 32), id="twice as long"
        ),
        pytest.param(
            [(0, DOWN), (1, DOWN), (2, DOWN), (12, DOWN), (32, DOWN)],
            ("resting", 72),
            id="and again",
        ),
        pytest.param(
            [(0, DOWN), (1, DOWN), (2, DOWN), (12, DOWN), (32, DOWN), (72, DOWN), (132, DOWN)],
            ("resting", 192),
            id="but not for ever",
        ),
        pytest.param(
            [(0, DOWN), (1, DOWN), (2, DOWN), (12, ANSWER), (13, DOWN), (14, DOWN)],
            ("closed", None),
            id="a success forgets them all",
        ),
        pytest.param(
            [(0, DOWN), (1, DOWN), (2, DOWN), (12, UNCLEAR)],
            ("resting", 12),
            id="a try that shows nothing leaves room for the next",
        ),
        pytest.param([(0, wait(20))], ("resting", 20), id="asked to wait"),
        pytest.param([(0, wait(0))], ("resting", 1), id="a wait of nothing is one second"),
        pytest.param([(0, wait(20)), (20, ANSWER)], ("closed", None), id="waited"),
        pytest.param([(0, wait(20)), (20, wait(5))], ("resting", 25), id="asked again"),
        pytest.param(
            [(0, wait(1)), (1, wait(1)), (4, wait(1)), (9, wait(1)), (19, wait(1))],
            ("resting", 39),
            id="who asks on and on is left alone longer",
        ),
        pytest.param(
            [(0, wait(1)), (1, ANSWER), (2, wait(1)), (3, ANSWER), (4, wait(1))],
            ("resting", 5),
            id="but not for asking now and then",
        ),
        pytest.param(
            [(0, DOWN), (1, DOWN), (2, DOWN), (12, wait(50))],
            ("resting", 62),
            id="back, and asks to wait",
        ),
        pytest.param([(0, REFUSED)], ("resting", 30), id="a refused login pauses"),
        pytest.param([(0, REFUSED), (30, REFUSED)], ("stopped", None), id="a second one stops"),
        pytest.param([(0, REFUSED), (30, ANSWER)], ("closed", None), id="it was a lie"),
        pytest.param(
            [(0, REFUSED), (30, ANSWER), (31, REFUSED)],
            ("resting", 61),
            id="and the next counts from one",
        ),
        pytest.param(
            [(0, REFUSED), (30, DOWN), (40, REFUSED)],
            ("stopped", None),
            id="being down in between does not make it right",
        ),
        pytest.param(
            [(0, DOWN), (1, DOWN), (2, DOWN), (12, REFUSED)],
            ("resting", 42),
            id="back, with another password",
        ),
    ],
)
def test_what_becomes_of_it(
    events: list[tuple[float, Met | tuple[Met, float]]], state: tuple[str, float | None]
) -> None:
    assert told(play(*events)) == state


@pytest.mark.parametrize(
    ("error", "met"),
    [
        (None, Met.ANSWER),
        (Rejected("no"), Met.ANSWER),
        (Missing("not there"), Met.ANSWER),
        (NotOffered("no such thing"), Met.ANSWER),
        (Duplicated("twice"), Met.ANSWER),
        (Forbidden("not you"), Met.ANSWER),
        (Busy("somebody holds the row", retry_after=timedelta(seconds=60)), Met.ANSWER),
        (Transient("nobody listens"), Met.DOWN),
        (Transient("later", retry_after=timedelta(seconds=3)), Met.ASKED_TO_WAIT),
        (Ambiguous("no answer came"), Met.DOWN),
        (Unauthorised("who are you?"), Met.REFUSED),
        (Permanent("the mapping is wrong"), Met.UNCLEAR),
        (KeyError("ours"), Met.UNCLEAR),
    ],
)
def test_what_a_call_met(error: BaseException | None, met: Met) -> None:
    assert breakers.met(error) is met


def test_of_calls_under_way_together_the_first_failure_counts() -> None:
    """Eight logins refused at once are one, or nobody would be left to try."""
    breaker = play((0, REFUSED))
    for _ in range(7):
        late = Call(REFUSED, second(-1), why=why(REFUSED))
        breaker = breakers.after(breaker, late, now=second(1), thresholds=THRESHOLDS)
    assert told(breaker) == ("resting", 30)
    assert breaker.refusals == 1


@pytest.mark.parametrize("met", [ANSWER, DOWN, REFUSED, UNCLEAR])
def test_what_had_begun_before_neither_ends_nor_shortens_a_rest(met: Met) -> None:
    breaker = play((0, wait(60)))
    late = Call(met, second(-5), why=why(met))
    after = breakers.after(breaker, late, now=second(1), thresholds=THRESHOLDS)
    assert told(after) == ("resting", 60)


def test_a_late_refusal_makes_a_rest_a_pause() -> None:
    breaker = play((0, wait(5)))
    late = Call(REFUSED, second(-5), why=why(REFUSED))
    after = breakers.after(breaker, late, now=second(1), thresholds=THRESHOLDS)
    assert (told(after), after.refusals) == (("resting", 31), 1)
    assert told(play((31, REFUSED), breaker=after)) == ("stopped", None)


def test_a_late_wish_to_wait_longer_is_heard() -> None:
    breaker = play((0, wait(5)))
    late = Call(Met.ASKED_TO_WAIT, second(-1), wait=timedelta(seconds=50))
    after = breakers.after(breaker, late, now=second(1), thresholds=THRESHOLDS)
    assert told(after) == ("resting", 51)


def test_an_old_failure_does_not_count_against_what_is_back() -> None:
    back = play((0, DOWN), (1, DOWN), (2, DOWN), (12, ANSWER), (13, DOWN), (14, DOWN))
    late = Call(DOWN, second(1), why=why(DOWN))
    assert breakers.after(back, late, now=second(15), thresholds=THRESHOLDS) is back


def test_one_call_tries_and_the_others_wait() -> None:
    resting = play((0, DOWN), (1, DOWN), (2, DOWN))
    assert breakers.wait_before(resting, second(11)) == timedelta(seconds=1)
    assert breakers.wait_before(resting, second(12)) is None
    trying = breakers.tries(resting, second(12))
    assert breakers.wait_before(trying, second(13)) == breakers.TRY_AGAIN_IN
    # Whoever tried may have died.
    assert breakers.wait_before(trying, second(12) + breakers.LONGEST_TRY) is None


@pytest.mark.parametrize("met", list(Met))
def test_nothing_but_a_person_starts_what_is_stopped(met: Met) -> None:
    stopped = play((0, REFUSED), (30, REFUSED))
    call = Call(met, second(100), why=why(met), wait=timedelta(seconds=1))
    assert breakers.after(stopped, call, now=second(100), thresholds=THRESHOLDS) == stopped
    assert breakers.wait_before(stopped, second(10_000_000)) == breakers.STOPPED_AGAIN_IN


def test_after_a_person_resumed_it_the_next_refusal_stops_it_at_once() -> None:
    stopped = play((0, REFUSED), (30, REFUSED))
    resumed = breakers.resumed(stopped, now=second(100), thresholds=THRESHOLDS)
    assert told(resumed) == ("closed", None)
    assert told(play((101, REFUSED), breaker=resumed)) == ("stopped", None)
    let_in = play((101, ANSWER), breaker=resumed)
    assert told(play((102, REFUSED), breaker=let_in)) == ("resting", 132)


def test_resuming_what_was_down_is_no_probation() -> None:
    resting = play((0, DOWN), (1, DOWN), (2, DOWN))
    resumed = breakers.resumed(resting, now=second(3), thresholds=THRESHOLDS)
    assert (told(resumed), resumed.refusals, resumed.failures) == (("closed", None), 0, 0)


def test_one_refusal_may_be_enough() -> None:
    strict = Thresholds(refusals=1)
    assert told(play((0, REFUSED), thresholds=strict)) == ("stopped", None)
    resting = play((0, wait(5)), thresholds=strict)
    late = Call(REFUSED, second(-1), why=why(REFUSED))
    stopped = breakers.after(resting, late, now=second(1), thresholds=strict)
    assert told(stopped) == ("stopped", None)


@pytest.mark.parametrize(
    ("at_once", "worked_before", "ceiling"),
    [(8, True, 4), (3, True, 1), (2, True, 1), (1, True, None), (8, False, None)],
)
def test_a_lie_teaches_how_many_at_once_are_too_many(
    at_once: int, worked_before: bool, ceiling: int | None
) -> None:
    """Refused with eight under way, let in alone: it was not the password."""
    taught = play((0, REFUSED), (30, ANSWER), at_once=at_once, worked_before=worked_before)
    assert (told(taught), taught.ceiling) == (("closed", None), ceiling)
    resumed = breakers.resumed(taught, now=second(40), thresholds=THRESHOLDS)
    assert resumed.ceiling is None


@pytest.mark.parametrize(
    ("events", "worth"),
    [
        ([], False),
        ([(0, wait(20))], False),
        ([(0, wait(600))], True),
        ([(0, DOWN), (1, DOWN), (2, DOWN)], True),
        ([(0, REFUSED)], True),
        ([(0, REFUSED), (30, REFUSED)], True),
    ],
)
def test_a_short_wait_is_nobodys_business(
    events: list[tuple[float, Met | tuple[Met, float]]], worth: bool
) -> None:
    assert play(*events).worth_telling is worth
