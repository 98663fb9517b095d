"""Bodies from strangers: what is refused, where, and how fast."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.inlets import MalformedBody, parse_json

REFUSED = {
    "empty": (b"", "1:1", "Expecting value"),
    "broken": (b'{"a": 1,\n "b" 2}', "2:6", "delimiter"),
    "trailing": (b'{"a": 1} x', "1:10", "Extra data"),
    "not utf-8": (b'{"a":\n "\xff"}', "2:3", "not UTF-8"),
    "utf-16": ('{"a":1}'.encode("utf-16"), "1:1", "not UTF-8"),
    "duplicate": (b'{"a": 1, "b": [{"c": 1,\n  "c": 2}]}', "2:3", 'the key "c" stands twice'),
    "duplicate, escaped": (b'{"a": 1, "\\u0061": 2}', "1:10", 'the key "a" stands twice'),
    "same key elsewhere, then twice": (b'[{"a":{"a":1}},{"a":1,"a":1}]', "1:23", "stands twice"),
    "nan": (b'{"a": [1, NaN]}', "1:11", "NaN"),
    "infinity": (b'{"a":\n\n-Infinity}', "3:1", "-Infinity"),
    "too large a float": (b"[1, 1e999]", "1:5", "too large"),
    "too long a number": (b"[" + b"9" * 401 + b"]", "1:2", "more than 400 digits"),
    "too long a fraction": (b"[0." + b"1" * 401 + b"]", "1:2", "more than 400 digits"),
    "deep": (b"[" * 65 + b"]" * 65, "1:65", "nested deeper than 64"),
    "deep objects": (b'{"a":' * 70 + b"1" + b"}" * 70, "1:321", "nested deeper"),
    "very deep": (b"[" * 1_000_000, "1:65", "nested deeper"),
    "unfinished string": (b'{"a": "' + b"x" * 1000, "1:7", "Unterminated"),
    "large": (b" " * 101, "1:1", "at most 100"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_place(name: str) -> None:
    body, place, reason = REFUSED[name]
    with pytest.raises(MalformedBody) as caught:
        parse_json(body, max_bytes=100 if name == "large" else 5 * 1024**2)
    assert caught.value.place == place
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'"[[[{{{"', "[[[{{{"),
        (b'{"a": "\\"[{", "b": []}', {"a": '"[{', "b": []}),
        (b"[" * 64 + b"]" * 64, json.loads("[" * 64 + "]" * 64)),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'{"cut \\ud83d": ["half \\ude00", "nul \\u0000"]}', {"cut �": ["half �", "nul �"]}),
        (b"1e308", 1e308),
        (b"null", None),
    ],
)
def test_read(body: bytes, value: object) -> None:
    assert parse_json(body) == value


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), inner
        )
    ),
    max_leaves=20,
)


@given(JSON, st.booleans())
def test_reads_what_json_writes(value: object, escaped: bool) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=escaped).encode()) == value


def refusal(body: bytes) -> tuple[int, int]:
    """Where a body is refused; far behind its end where it is read."""
    try:
        parse_json(body)
    except MalformedBody as error:
        return error.line, error.column
    return (len(body) + 2, 1)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    assert (1, 1) <= refusal(body) <= (len(body) + 2, 1)


@given(st.text(alphabet='{}[]",:\\ \n19.eEaNu0-+tf', max_size=60))
def test_anything_like_json_is_read_or_refused(text: str) -> None:
    assert (1, 1) <= refusal(text.encode()) <= (len(text) + 2, 1)


HOSTILE = {
    "quotes": b'["' + b'\\"' * 2_000_000 + b'"]',
    "open strings": b'"' * 3_000_000,
    "brackets": b"[]" * 1_000_000,
    "duplicate at the end": b'{"x":[' + b'"aaaaaaaa",' * 300_000 + b'1],"a":1,"a":1}',
    "backslashes": b'"' + b"\\" * 3_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies_take_no_longer(name: str) -> None:
    begin = time.process_time()
    with contextlib.suppress(MalformedBody):
        parse_json(HOSTILE[name])
    assert time.process_time() - begin < 4
