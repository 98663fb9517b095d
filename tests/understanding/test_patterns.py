"""Patterns for order numbers: what may be said, and that nothing said can run away."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.understanding.patterns import PatternRefused, order_pattern


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"SO-\d{5}", "about so-10001.", "so-10001"),
        (r"SO-\d{5}", "about SO-100012", None),
        (r"SO-\d{5}", "about XSO-10001", None),
        (r"^\d{3}-\d{7}-\d{7}$", "303-1234567-7654321!", "303-1234567-7654321"),
        (r"(?:W|S)\d{6,8}", "W2291034", "W2291034"),
        (r"(W|S)?\d{6}", "229103", "229103"),
        (r"[A-Z]{2}\d+", "AB123456", "AB123456"),
        (r"\w{3}[-/]\d*", "a1b/", "a1b/"),
        (r"4500\d{6}", "PO 4500017733", "4500017733"),
    ],
)
def test_allowed(pattern: str, text: str, found: str | None) -> None:
    match = order_pattern(pattern).search(text)
    assert (match.group() if match else None) == found


@pytest.mark.parametrize(
    ("pattern", "at"),
    [
        ("", 0),
        ("x" * 201, 0),
        (r"(a+)+", 4),
        (r"(?:a|aa)*", 8),
        (r"((a))", 1),
        (r"a++", 2),
        (r"a{1,99}", 1),
        (r"a{5,2}", 1),
        (r"\d+\d+\d+\d+", 11),
        (r"(?=a)b", 1),
        (r"(?P<n>a)", 1),
        (r"(a)\1", 3),
        (r".*", 0),
        (r"a|b", 1),
        (r"(a", 2),
        (r"a)", 1),
        (r"[^a]", 0),
        (r"[a", 0),
        (r"*a", 0),
        (r"\S", 0),
        (r"\d*", 0),
        (r"a?", 0),
        (r"(^a)", 1),
        ("é", 0),
    ],
)
def test_refused_with_the_place(pattern: str, at: int) -> None:
    with pytest.raises(PatternRefused) as caught:
        order_pattern(pattern)
    assert caught.value.position == at


@given(st.text(alphabet=r"ab\dw[]-(){}?:|+*1,9^$ ", max_size=14), st.text("ab1- ", max_size=40))
def test_any_pattern_is_compiled_or_refused(pattern: str, text: str) -> None:
    try:
        compiled = order_pattern(pattern)
    except PatternRefused:
        return
    for match in compiled.finditer(text):
        assert match.group()


@pytest.mark.parametrize("pattern", [r"\d+\d+\d+X", r"\w+-\w+-\w+Q", r"(?:1|11)?\d+\d+\d{1,32}X"])
@pytest.mark.parametrize("text", ["1" * 100_000, "1" * 31 + " ", "1-", "1 "])
def test_hostile_texts_take_no_longer(pattern: str, text: str) -> None:
    repeated = text * (100_000 // len(text))
    begin = time.process_time()
    list(order_pattern(pattern).finditer(repeated))
    assert time.process_time() - begin < 5
