"""What is typical of an incident: the words that tell its texts apart, and texts that have them."""

from __future__ import annotations

from middleware.domain.bursts import Key, KeyKind
from middleware.domain.incidents import samples, telling_words, title_of

BEFORE = ["my parcel is late and nobody answers", "where is the parcel, please help"] * 20


def test_words_are_told_that_are_frequent_here_and_not_before() -> None:
    texts = [f"please stop the newsletter, my inbox is full {n}" for n in ("a", "b", "c")]
    texts += ["another newsletter @shop https://x.example/newsletter", "the Newsletter AGAIN"]
    words = telling_words(texts, BEFORE)
    assert words[:2] == ("newsletter", "full")
    assert not {"please", "parcel", "shop", "https", "another"} & set(words)
    assert telling_words(BEFORE[:10], BEFORE) == ()
    assert telling_words([], []) == ()
    assert telling_words(["newsletter"], BEFORE) == (), "one text makes no word usual"


def test_samples_are_different_texts_that_have_the_words() -> None:
    texts = {"1": "newsletter inbox", "2": "Newsletter, inbox!", "3": "newsletter", "4": "late"}
    assert samples(texts, ["newsletter", "inbox"]) == ("1", "3", "4")
    assert samples({}, ["newsletter"]) == ()


def test_a_title_names_no_complaint_where_words_can() -> None:
    near = Key(KeyKind.NEAR, "cmp_1")
    assert title_of(near, ["newsletter", "inbox"]) == "complaints about “newsletter, inbox”"
    assert title_of(near) == "complaints like cmp_1"
    assert title_of(Key(KeyKind.LOT, "L7"), ["newsletter"]) == "lot L7"
