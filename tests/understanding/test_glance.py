"""The first glance: danger is seen in a raw body, and the rest is not made more of than it is."""

from __future__ import annotations

import json

import pytest

from middleware.understanding.glance import MOST_BYTES, Haste, haste


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("It started smoking and caught fire", Haste.DANGER),
        ("My daughter is in hospital because of your toy", Haste.DANGER),
        ("Der Toaster hat Funken geschlagen, das ist gefährlich!", Haste.DANGER),
        ("Line one\nSmoke everywhere", Haste.DANGER),
        ("no smoke, all fine", Haste.USUAL),
        ("I will go to the police", Haste.HIGH),
        ("My kettle is late", Haste.USUAL),
        ("", Haste.USUAL),
    ],
)
def test_the_words_say_how_much_haste(text: str, level: Haste) -> None:
    assert haste(json.dumps({"data": {"text": text}}).encode()) is level
    assert haste(json.dumps({"data": {"text": text}}, ensure_ascii=False).encode()) is level


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", b"{", b'"\\ud800"', b"\\u12", b""])
def test_whatever_is_no_text_is_looked_at_without_harm(body: bytes) -> None:
    assert haste(body) is Haste.USUAL


def test_a_long_body_is_glanced_at_from_its_beginning() -> None:
    assert haste(b"fire " + b"x" * MOST_BYTES) is Haste.DANGER
    assert haste(b"x" * MOST_BYTES + b" fire") is Haste.USUAL
