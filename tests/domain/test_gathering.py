"""Whether two complaints are one issue: tables of cases, and what must never happen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.contract.actions import Reason
from middleware.domain.gathering import (
    Band,
    GatheringRules,
    Told,
    best,
    compare,
    keys,
    likeness,
    longest_run,
    shingles,
)

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
RULES = GatheringRules()
TWEET = "@hearth_home my reading lamp arrived broken, I want a new one!"


def told(id_: str = "cmp_1", *, after: timedelta = timedelta(0), **changes: Any) -> Told:
    at = AT + after
    return Told(**{"id": id_, "person": "per_1", "first_at": at, "last_at": at, **changes})


def band(one: Told, other: Told) -> Band:
    assert compare(one, other, RULES).band is compare(other, one, RULES).band
    return compare(one, other, RULES).band


HOUR = timedelta(hours=1)
LAMP = {"goods": frozenset({"LAMP-1"}), "reason": Reason.DAMAGED}
NUMBER = {"numbers": frozenset({"SO1"})}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        # Cross-posted within minutes, and once more with a typo.
        (told(text=TWEET), told("cmp_2", text=TWEET, after=HOUR / 10), Band.AUTO),
        (
            told(text=TWEET),
            told("cmp_2", text=TWEET.replace("broken", "brokn"), after=HOUR, reason=Reason.DAMAGED),
            Band.AUTO,
        ),
        # A direct message after a post: other words, the same trouble with the same order.
        (
            told(text=TWEET, order="erp:order:O1", **LAMP),
            told("cmp_2", text="It is in two", after=HOUR, order="erp:order:O1", **LAMP),
            Band.AUTO,
        ),
        (told(text=TWEET, **LAMP), told("cmp_2", after=HOUR, **LAMP), Band.SUGGESTED),
        (
            told(reason=Reason.LATE, **NUMBER),
            told("cmp_2", reason=Reason.LATE, after=20 * HOUR, **NUMBER),
            Band.AUTO,
        ),
        # Other orders, other goods, another reason: two issues of one person.
        (
            told(text=TWEET, reason=Reason.DAMAGED, **NUMBER),
            told("cmp_2", text=TWEET, reason=Reason.DAMAGED, numbers=frozenset({"SO2"})),
            Band.APART,
        ),
        (
            told(reason=Reason.DAMAGED, **NUMBER),
            told("cmp_2", reason=Reason.BILLING, after=HOUR, **NUMBER),
            Band.APART,
        ),
        (
            told(**LAMP, **NUMBER),
            told("cmp_2", goods=frozenset({"SOFA-1"}), reason=Reason.DAMAGED, **NUMBER),
            Band.SUGGESTED,
        ),
        # Nothing in common but the person.
        (told(text="where is my parcel?"), told("cmp_2", text="the app is down"), Band.APART),
        # Too long ago.
        (told(text=TWEET, **LAMP), told("cmp_2", text=TWEET, after=200 * HOUR, **LAMP), Band.APART),
    ],
)
def test_what_one_person_tells(one: Told, other: Told, expected: Band) -> None:
    assert band(one, other) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        # The same words by somebody else are a campaign, not an issue.
        (told(text=TWEET), told("cmp_2", person="per_2", text=TWEET), Band.APART),
        (told(text=TWEET, person=None), told("cmp_2", person=None, text=TWEET), Band.APART),
        # Nobody knows whether they are one person: at most a person is asked.
        (
            told(text=TWEET, person=None, name="Kim Berg"),
            told("cmp_2", text=TWEET, name="kim  berg"),
            Band.SUGGESTED,
        ),
        (
            told(text=TWEET, person=None, perhaps=frozenset({"crm:contact:1"})),
            told("cmp_2", person=None, text=TWEET, perhaps=frozenset({"crm:contact:1"})),
            Band.SUGGESTED,
        ),
        (
            told(text=TWEET, person=None, name="Kim Berg", **LAMP, **NUMBER),
            told("cmp_2", person="per_2", text=TWEET, name="Kim Berg", **LAMP, **NUMBER),
            Band.SUGGESTED,
        ),
        # Two persons that are known to be two, whatever they are called.
        (
            told(text=TWEET, name="Kim Berg"),
            told("cmp_2", person="per_2", text=TWEET, name="Kim Berg"),
            Band.APART,
        ),
        # The same account is the same author, known or not.
        (
            told(text=TWEET, person=None, identity="idn_1"),
            told("cmp_2", person=None, identity="idn_1", text=TWEET),
            Band.AUTO,
        ),
        # The very same post, heard by two tools.
        (
            told(person=None, urls=frozenset({"https://x.example/1"})),
            told("cmp_2", person=None, urls=frozenset({"https://x.example/1"})),
            Band.AUTO,
        ),
    ],
)
def test_what_others_tell(one: Told, other: Told, expected: Band) -> None:
    assert band(one, other) is expected


_TOLD = st.builds(
    told,
    st.sampled_from(["cmp_1", "cmp_2"]),
    person=st.sampled_from([None, "per_1", "per_2"]),
    identity=st.sampled_from([None, "idn_1", "idn_2"]),
    name=st.sampled_from([None, "Kim", "Kim Berg"]),
    numbers=st.frozensets(st.sampled_from(["SO1", "SO2"])),
    goods=st.frozensets(st.sampled_from(["A", "B"])),
    reason=st.sampled_from([None, *Reason]),
    text=st.sampled_from(["", TWEET, TWEET + " Please.", "Where is my parcel? Nobody answers me."]),
    after=st.timedeltas(timedelta(0), timedelta(days=9)),
)


@given(_TOLD, _TOLD)
def test_of_two_authors_nothing_is_ever_merged(one: Told, other: Told) -> None:
    compared = compare(one, other, RULES)
    both_known = one.person is not None and other.person is not None
    same = (
        one.person == other.person
        if both_known
        else one.identity is not None and one.identity == other.identity
    )
    if compared.band is Band.AUTO:
        assert same
    assert compared.score == compare(other, one, RULES).score
    assert compared.score == pytest.approx(sum(r.points for r in compared.reasons), abs=0.01)


def test_an_issue_that_names_another_order_is_another_issue() -> None:
    """However much one of its complaints looks like it."""
    new = told("cmp_9", text=TWEET, **NUMBER)
    issue = [told("cmp_1", text=TWEET), told("cmp_2", numbers=frozenset({"SO2"}))]
    said = best([compare(new, one, RULES) for one in issue])
    assert said is not None
    assert said.band is Band.APART


def test_a_sentence_within_more_words_is_found() -> None:
    ticket = f"Dear team, as I wrote elsewhere: {TWEET} The order is attached, so is a picture."
    assert longest_run(TWEET, ticket) >= len("my reading lamp arrived broken i want a new one")
    assert longest_run(TWEET, "The reading lamp is fine, the parcel arrived today") == 0


def test_likeness_looks_past_accounts_links_and_case() -> None:
    assert likeness(TWEET, "@pine_outdoor MY reading lamp arrived broken I want a new one") == 1
    assert likeness(TWEET, TWEET + " https://x.example/photo/1") == 1
    assert likeness(TWEET, "My parcel is late and nobody tells me anything") < 0.1
    assert likeness("Help!", "Help!") == 0, "too short to be told again"
    assert shingles("Hi") == frozenset()


def test_near_duplicates_share_a_key_and_others_do_not() -> None:
    def text_keys(text: str) -> set[str]:
        return {key for key in keys(told(text=text)) if key.startswith("text:")}

    near = TWEET.replace("arrived", "arived") + " Please"
    assert likeness(TWEET, near) > 0.6
    assert text_keys(TWEET) & text_keys(near)
    assert not text_keys(TWEET) & text_keys("The checkout of your shop is down since the morning")
    assert text_keys("ok") == set()


def test_suggestions_begin_below_merges() -> None:
    with pytest.raises(ValueError, match="more points than a merge needs"):
        GatheringRules(auto_from=3, suggest_from=4)


def test_two_troubles_with_one_order_are_not_suggested_to_be_one() -> None:
    """The same customer, order and half day, and nothing in common that was said."""
    one = told("a", text="The kettle is scratched all over.", order="erp:order:1")
    other = told("b", text="Nobody picks up your phone, ever!", order="erp:order:1", after=5 * HOUR)
    assert compare(one, other, RULES).band is Band.APART
    assert compare(one, other, RULES).score >= RULES.suggest_from
    # Nor is the same usual reason, days apart, of who knows what.
    late = told("c", text="Where is my parcel", reason=Reason.LATE)
    again = told("d", text="Day nine and nothing came", reason=Reason.LATE, after=24 * HOUR)
    assert compare(late, again, RULES).band is Band.APART


def test_a_turn_of_phrase_is_worth_less_than_a_sentence() -> None:
    def points(shared: str) -> float:
        one = told("a", text=f"{shared}. The lamp came without a bulb inside it")
        other = told("b", text=f"{shared}. Nobody answers my letters to you", after=20 * HOUR)
        return sum(r.points for r in compare(one, other, RULES).reasons if "row" in r.what)

    phrase, sentence = "I took the day off for this", "GLS says delivery tomorrow, every single day"
    assert 0 < points(phrase) < 2 < 4.5 < points(sentence)


def test_a_sentence_told_again_outweighs_a_reason_understood_otherwise() -> None:
    said = "GLS says that it was delivered and nothing came here"
    one = told("a", text=f"{said}", reason=Reason.LATE)
    other = told(
        "b", text=f"Hello, {said}! I want my money back.", reason=Reason.BILLING, after=3 * HOUR
    )
    found = compare(one, other, RULES)
    assert found.score > 0
    assert {r.points for r in found.reasons if "is about" in r.what} == {-1.0}
    other = told("c", text="I want my money back for that.", reason=Reason.BILLING, after=3 * HOUR)
    assert compare(one, other, RULES).band is Band.APART
