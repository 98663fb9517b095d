"""SLA clocks: what runs when, what stands still, and who is on call."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.domain.calendars import ALWAYS, DAYS, Calendar
from middleware.domain.rulebook import ClockKind, Facts, RuleBook
from middleware.domain.rulebook_file import rulebook_of
from middleware.domain.sla import Clock, Turn, What, clocks, on_call, waiting

T0 = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
FIRST, NEXT, RESOLUTION = ClockKind.FIRST_RESPONSE, ClockKind.NEXT_RESPONSE, ClockKind.RESOLUTION
MINUTE = timedelta(minutes=1)


def turns(text: str) -> list[Turn]:
    """`customer 0, us 30` with minutes after nine."""
    parts = [part.split() for part in text.split(", ")]
    return [Turn(at=T0 + MINUTE * int(minute), what=What(what)) for what, minute in parts]


def seen(text: str) -> list[tuple[str, int, str]]:
    """Each clock: its kind, the minutes it ran until 600, and how it stands."""
    end = T0 + 600 * MINUTE
    return [
        (
            f"{c.kind.value} {c.number}",
            c.used(ALWAYS, end) // MINUTE,
            "running"
            if c.running
            else "paused"
            if c.paused
            else "answered"
            if c.answered
            else "closed",
        )
        for c in clocks(turns(text))
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("us 0", []),
        (
            "customer 0",
            [("first_response 1", 600, "running"), ("resolution 1", 600, "running")],
        ),
        (
            "customer 0, customer 10, us 30",
            [("first_response 1", 30, "answered"), ("resolution 1", 600, "running")],
        ),
        # What we wrote first is no answer to anything.
        (
            "us 0, customer 10, us 30",
            [("first_response 1", 20, "answered"), ("resolution 1", 590, "running")],
        ),
        (
            "customer 0, us 30, customer 100, us 160, customer 200",
            [
                ("first_response 1", 30, "answered"),
                ("resolution 1", 600, "running"),
                ("next_response 1", 60, "answered"),
                ("next_response 2", 400, "running"),
            ],
        ),
        # While we wait for the customer nothing runs; their next word sets it going.
        (
            "customer 0, us 30, pending 40, customer 100",
            [
                ("first_response 1", 30, "answered"),
                ("resolution 1", 540, "running"),
                ("next_response 1", 500, "running"),
            ],
        ),
        (
            "customer 0, pending 40, open 100, us 110",
            [("first_response 1", 50, "answered"), ("resolution 1", 540, "running")],
        ),
        (
            "customer 0, pending 40",
            [("first_response 1", 40, "paused"), ("resolution 1", 40, "paused")],
        ),
        # An answer given while it rests ends the clock with what had run.
        (
            "customer 0, pending 40, us 50",
            [("first_response 1", 40, "answered"), ("resolution 1", 40, "paused")],
        ),
        (
            "customer 0, us 30, closed 60",
            [("first_response 1", 30, "answered"), ("resolution 1", 60, "answered")],
        ),
        # Closed without a word is no response.
        (
            "customer 0, closed 60",
            [("first_response 1", 60, "closed"), ("resolution 1", 60, "answered")],
        ),
        (
            "customer 0, closed 60, customer 100",
            [
                ("first_response 1", 60, "closed"),
                ("first_response 2", 500, "running"),
                ("resolution 1", 560, "running"),
            ],
        ),
        # Reopened by the customer, the resolution goes on.
        (
            "customer 0, us 30, closed 60, customer 100",
            [
                ("first_response 1", 30, "answered"),
                ("resolution 1", 560, "running"),
                ("next_response 1", 500, "running"),
            ],
        ),
        # Told in any order, it is the same.
        (
            "closed 60, us 30, customer 0",
            [("first_response 1", 30, "answered"), ("resolution 1", 60, "answered")],
        ),
    ],
)
def test_what_runs(text: str, expected: list[tuple[str, int, str]]) -> None:
    assert sorted(seen(text)) == sorted(expected)


@pytest.mark.parametrize(
    ("word", "what"),
    [("Pending", What.PENDING), ("on-hold", What.PENDING), ("SOLVED", What.CLOSED),
     ("new", What.OPEN), ("", What.OPEN)],
)  # fmt: skip
def test_words_of_helpdesks(word: str, what: What) -> None:
    assert What.of_status(word) is what


OFFICE = Calendar(zone="Europe/Berlin", open=dict.fromkeys(DAYS[:5], ("09:00-17:00",)))
conversation = st.lists(
    st.builds(
        Turn,
        at=st.integers(0, 5000).map(lambda m: T0 + m * MINUTE),
        what=st.sampled_from(What),
    ),
    max_size=15,
)


@settings(max_examples=80, deadline=None)
@given(said=conversation, promised=st.integers(1, 3000), calendar=st.sampled_from([OFFICE, ALWAYS]))
def test_a_clock_is_due_when_it_has_run_for_what_was_promised(
    said: list[Turn], promised: int, calendar: Calendar
) -> None:
    target = promised * MINUTE
    for clock in clocks(said):
        ends = [end for _, end in clock.runs]
        begins = [begin for begin, _ in clock.runs]
        assert all(end is not None for end in ends[:-1])
        pairs = zip(ends[:-1], begins[1:], strict=True)
        assert all(end <= begin for end, begin in pairs if end is not None)
        assert sum((clock.running, clock.paused, clock.ended_at is not None)) == 1
        due = clock.reaches(calendar, target)
        if due is None:
            assert not clock.running
            assert clock.used(calendar, T0 + timedelta(days=3650)) < target
        else:
            assert abs(clock.used(calendar, due) - target) < timedelta(milliseconds=1)
            assert clock.used(calendar, due - timedelta(seconds=1)) < target


@settings(max_examples=80, deadline=None)
@given(said=conversation)
def test_each_answer_ends_what_waited_for_it(said: list[Turn]) -> None:
    made = clocks(said)
    assert len({(c.kind, c.number) for c in made}) == len(made)
    assert sum(c.kind is FIRST and c.answered for c in made) <= 1
    assert sum(c.kind is RESOLUTION for c in made) <= 1
    open_ = [c for c in made if c.kind is not RESOLUTION and c.ended_at is None]
    assert len(open_) <= 1
    if open_:
        assert waiting(said) > 0


def test_a_promise_in_working_time_skips_the_weekend() -> None:
    friday = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)  # four in Berlin
    clock = Clock(kind=FIRST, runs=((friday, None),))
    assert clock.reaches(OFFICE, timedelta(hours=2)) == datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def test_the_first_target_that_matches_is_the_promise() -> None:
    book = rulebook_of(
        {
            "targets": [
                {"name": "vip", "when": {"tier": ["gold", "platinum"]}, "first_response": "15m"},
                {"name": "damaged", "when": {"category": "damaged", "channel": "X"}},
                {"name": "shop", "when": {"brand": "Ab1"}},
                {"name": "strangers", "when": {"tier": "unknown"}, "first_response": "2h"},
            ]
        }
    )

    def name(**facts: str) -> str | None:
        found = book.target_for(Facts(**facts))
        return found.name if found is not None else None

    assert name(tier="gold", category="damaged", channel="x") == "vip"
    assert name(tier="Gold") == "vip", "a system may write it otherwise"
    assert name(tier="silver", category="damaged", channel="x") == "damaged"
    assert name(tier="silver", brand="Ab1") == "shop"
    assert name(tier="silver", brand="ab1") is None, "an id is no word"
    assert name(tier="silver", category="damaged", channel="email") is None
    assert name(category="late") == "strangers"


def rota(**more: object) -> RuleBook:
    return rulebook_of(
        {
            "calendars": {
                "office": {
                    "zone": "Europe/Berlin",
                    "open": {day: ["09:00-17:00"] for day in DAYS[:5]},
                }
            },
            "people": {name: f"{name}@example.com" for name in ("ann", "ben", "eve")},
            "rota": {
                "zone": "Europe/Berlin",
                "hours": "office",
                "first": "2026-03-23T09:00:00",
                "people": ["ann", "ben"],
                **more,
            },
        }
    )


@pytest.mark.parametrize(
    ("moment", "who"),
    [
        ("2026-03-24T12:00+01:00", None),
        ("2026-03-24T17:00+01:00", "ann"),
        ("2026-03-28T12:00+01:00", "ann"),
        # The clock was put forward on Sunday; the turn still changes at nine on the wall.
        ("2026-03-30T08:59+02:00", "ann"),
        ("2026-03-30T17:00+02:00", "ben"),
        ("2026-04-06T08:59+02:00", "ben"),
        ("2026-04-06T17:00+02:00", "ann"),
        # Before the first turn the order is the same, backwards.
        ("2026-03-22T12:00+01:00", "ben"),
        ("2026-10-26T08:30+01:00", "ann"),
        ("2026-10-26T18:30+01:00", "ben"),
    ],
)
def test_who_is_on_call(moment: str, who: str | None) -> None:
    assert on_call(rota(), datetime.fromisoformat(moment)) == who


def test_somebody_swaps() -> None:
    book = rota(
        swaps=[{"since": "2026-03-28T00:00:00", "until": "2026-03-29T00:00:00", "who": "eve"}]
    )
    assert on_call(book, datetime.fromisoformat("2026-03-28T23:59+01:00")) == "eve"
    assert on_call(book, datetime.fromisoformat("2026-03-29T00:00+01:00")) == "ann"
