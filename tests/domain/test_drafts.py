"""Drafts: sentences rest on facts, public ones hold nothing personal, and texts are checked."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.domain.channels import (
    AFTER_COMMENT,
    ANYWHERE_ELSE,
    MESSAGES,
    PUBLIC,
    Channel,
    still_open,
    weighted,
)
from middleware.domain.draft_texts import PARTS, PROMISES, REASONS, TEXTS
from middleware.domain.drafts import Fact, advise, compose, limits, personal_in, promises_in
from middleware.domain.slots import CallHours, Calls, slots

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
TEMPLATES = [template for part in PARTS for template in part]
PERSONAL = {
    "name": "Kim Berg",
    "order_number": "SO-10001",
    "item": "Lumen lamp",
    "action_number": "SO-20002",
    "action_amount": "49.90 EUR",
    "tracking": "JD0146000034",
    "link": "https://hub.example.com/v1/invitations/abc",
    "link_until": "2026-11-24 12:00",
    "deliver_by": "2026-11-25",
    "planned_for": "2026-11-23",
    "call_from": "2026-11-23 09:00",
    "call_to": "2026-11-23 09:30",
    "done_replacement_order": "accepted",
}
OPEN = {"reason": "damaged", "direct_messages": "x", "incident": "lot L77", "carrier": "DHL"}


def facts(*names: str) -> list[Fact]:
    known = {**PERSONAL, **OPEN}
    return [
        Fact(name=n, value=known.get(n, n), source="test", personal=n not in OPEN) for n in names
    ]


def made(*names: str, public: bool = False, language: str = "en", channel: Channel | None = None):
    return compose(
        facts(*names),
        public=public,
        language=language,
        channel=channel or (PUBLIC["x"] if public else ANYWHERE_ELSE),
        last_wrote=NOW,
        now=NOW,
    )


@pytest.mark.parametrize("language", TEXTS)
def test_every_language_has_every_sentence_with_the_same_facts(language: str) -> None:
    assert set(TEXTS[language]) == {template.name for template in TEMPLATES}
    for template in TEMPLATES:
        used = {f for _, f, _, _ in string.Formatter().parse(TEXTS[language][template.name]) if f}
        assert used <= set(template.needs), template.name
    assert set(REASONS[language]) == set(REASONS["en"])
    assert language in PROMISES


def test_a_sentence_names_its_facts_and_one_without_is_left_out() -> None:
    draft = made("name", "reason", "order_number", "done_replacement_order", "action_number")
    assert "SO-20002" in draft.text
    assert [s.facts for s in draft.sentences] == [
        ("name",),
        ("reason",),
        ("order_number",),
        ("done_replacement_order", "action_number"),
    ]
    without = made("name", "reason", "order_number", "action_number")
    assert "SO-20002" not in without.text


def test_what_is_under_way_is_never_told_as_done() -> None:
    draft = made("under_way", "action_number", "deliver_by")
    assert "not confirmed" in draft.text
    assert "SO-20002" not in draft.text


@given(
    st.sets(st.sampled_from([*PERSONAL, *OPEN, "under_way", "slots"])), st.sampled_from([*TEXTS])
)
def test_a_public_draft_never_holds_anything_personal(names: set[str], language: str) -> None:
    draft = made(*names, public=True, language=language)
    for name in names & set(PERSONAL):
        assert PERSONAL[name] not in draft.text
    assert not [c for c in draft.warnings if c.code == "personal_data"]
    rests_on = {name for sentence in draft.sentences for name in sentence.facts}
    assert rests_on <= names & set(OPEN)


@given(st.sets(st.sampled_from([*PERSONAL, *OPEN])))
def test_a_draft_keeps_the_limit_or_says_that_it_does_not(names: set[str]) -> None:
    short = Channel(longest=120)
    draft = made(*names, channel=short)
    assert draft.length <= 120 or any(c.code == "too_long" for c in draft.warnings)
    assert draft.length == short.length(draft.text)


def test_a_language_without_sentences_is_english_and_says_so() -> None:
    draft = made("reason", language="nl")
    assert draft.language == "en"
    assert [c.code for c in draft.warnings] == ["language"]


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("abc", 3),
        ("https://example.com/a-very-long-address-indeed", 23),
        ("日本", 4),
        ("see https://a.io now", 4 + 23 + 4),
    ],
)
def test_x_counts_links_and_wide_letters_its_own_way(text: str, length: int) -> None:
    assert weighted(text) == length


def test_windows_close_as_the_networks_say() -> None:
    whatsapp, facebook = MESSAGES["whatsapp"], MESSAGES["facebook"]
    day = NOW - timedelta(hours=25)
    assert not still_open(whatsapp, last_wrote=day, now=NOW).open
    by_person = still_open(facebook, last_wrote=day, now=NOW)
    assert by_person.open
    assert "HUMAN_AGENT" in (by_person.way or "")
    comment = AFTER_COMMENT["instagram"]
    assert still_open(comment, last_wrote=NOW - timedelta(days=6), now=NOW).once
    closed = still_open(comment, last_wrote=NOW - timedelta(days=8), now=NOW)
    assert [c.code for c in limits("hi", comment, closed, NOW)] == ["window_closed"]
    soon = still_open(whatsapp, last_wrote=NOW - timedelta(hours=23), now=NOW)
    assert [c.code for c in limits("hi", whatsapp, soon, NOW)] == ["window_closing"]


def test_a_public_text_with_the_customers_number_is_stopped() -> None:
    known = facts("order_number", "name", "reason")
    found = personal_in("Your order so 10001 is on its way", known, ())
    assert [c.detail for c in found] == ["it tells everybody the customer's order_number"]
    assert personal_in("It arrived damaged, sorry", known, ()) == []


@pytest.mark.parametrize(
    ("text", "language", "stopped"),
    [
        ("We will send it tomorrow.", "en", True),
        ("Sorry about that. Tell us more?", "en", False),
        ("Wir erstatten das Geld.", "de", True),
        ("Le enviaremos otro mañana.", "es", True),
        ("Nous vous rembourserons.", "fr", True),
    ],
)
def test_a_promise_without_a_fact_is_stopped(text: str, language: str, stopped: bool) -> None:
    assert bool(promises_in(text, facts("order_number"), language=language)) == stopped


def test_a_promise_needs_the_figures_of_a_fact() -> None:
    known = facts("done_credit", "action_amount")
    assert promises_in("We will refund 49.90 EUR.", known, language="en") == []
    (caution,) = promises_in("We will refund 59.90 EUR.", known, language="en")
    assert "59.90" in caution.detail


def test_where_to_answer_says_why() -> None:
    opened = still_open(MESSAGES["x"], last_wrote=NOW, now=NOW)
    shut = still_open(MESSAGES["whatsapp"], last_wrote=NOW - timedelta(days=9), now=NOW)

    def channel(**more: object) -> str:
        asked = {"wrote_in_public": True, "public": True, "private": opened, "personal": True}
        return advise(**{**asked, **more}).channel  # type: ignore[arg-type]

    assert channel() == "private"
    assert channel(personal=False) == "public"
    assert channel(private=shut) == "public"
    assert channel(wrote_in_public=False, personal=False) == "private"


def test_times_for_calls_lie_in_the_hours_and_after_the_notice() -> None:
    hours = CallHours(
        timezone="Europe/Berlin", hours=({"days": "mon-fri", "from": "09:00", "to": "10:00"},)
    )
    saturday = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    found = slots(hours, saturday, limit=3)
    assert [begin.isoformat() for begin, _ in found] == [
        "2026-11-23T08:00:00+00:00",
        "2026-11-23T08:30:00+00:00",
        "2026-11-24T08:00:00+00:00",
    ]
    late = slots(hours, datetime(2026, 11, 23, 7, 45, tzinfo=UTC), limit=1)
    assert late[0][0] > datetime(2026, 11, 23, 8, 45, tzinfo=UTC)
    assert slots(CallHours(), saturday, limit=3) == []


def test_whoever_answers_around_the_clock_has_times_at_midnight_too() -> None:
    always = CallHours(hours=({"from": "00:00", "to": "24:00"},), slot=timedelta(hours=8))
    found = slots(always, datetime(2026, 11, 21, 12, 0, tzinfo=UTC), limit=99)
    assert len(found) == 15
    assert all(one[1] == other[0] for one, other in pairwise(found))
    halves = ({"from": "08:00", "to": "12:15"}, {"from": "12:15", "to": "13:00"})
    early = datetime(2026, 11, 21, 7, 0, tzinfo=UTC)
    begins = [one[0] - early for one in slots(CallHours(hours=halves), early, limit=10)]
    expected = [timedelta(minutes=60 + 30 * n) for n in range(10)]
    assert begins == expected, "windows that touch are one"


def test_times_are_offered_as_often_as_calls_are_made_at_once() -> None:
    monday = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    daily = ({"days": "mon-fri", "from": "10:00", "to": "11:00"},)

    def free(agreed: list[tuple[int, int]], at_once: int = 1) -> list[int]:
        """The minutes after ten that are free on that day."""
        ten = monday + timedelta(hours=1)
        calls = Calls((ten + timedelta(minutes=a), ten + timedelta(minutes=b)) for a, b in agreed)
        hours = CallHours(hours=daily, at_once=at_once, ahead=timedelta(hours=9))
        return [(begin - ten) // timedelta(minutes=1) for begin, _ in
                slots(hours, monday, limit=9, agreed=calls)]  # fmt: skip

    assert free([]) == [0, 30]
    assert free([(0, 30)]) == [30]
    assert free([(-30, 0), (60, 90)]) == [0, 30], "what touches does not overlap"
    assert free([(15, 45)]) == []
    assert free([(15, 45)], 2) == [0, 30]
    assert free([(0, 30), (15, 45)], 2) == [30]
