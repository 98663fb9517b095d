"""No value changes the shape of a query, and every value arrives as it was."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.salesforce import soql, spelling
from middleware.sandbox.crm import soql as sandbox

LITERAL = re.compile(r"'(?:[^'\\]|\\.)*'", re.DOTALL)
"""A quoted string as the SOQL reference defines it, written down a second time."""

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()), max_size=60)
NASTY = st.sampled_from(
    ["'", "\\", "\\'", "' OR Name != '", "x' OR 'x' = 'x", "\\\\'", "'--", "%", "_", "\n", "\r",
     "\u2028", "\x00", "\ud800", "') OR (Id != null", "😀", "\u00a0", '"']
)  # fmt: skip
TEXTS = st.lists(ANY_TEXT | NASTY, max_size=4).map("".join)


def query(value: soql.Value) -> str:
    return soql.select(
        ("Id",), "Contact", soql.equal("LastName", value) & soql.among("Email", [value, "x"])
    )


@given(TEXTS)
@example("x' OR Id != null OR LastName = '")
@example("\\")
@example("\\' OR Id != null")
def test_text_cannot_change_the_shape(text: str) -> None:
    built = query(text)
    assert LITERAL.sub("?", built) == LITERAL.sub("?", query("plain"))
    assert all(c.isprintable() for c in built if ord(c) <= 0xFFFF)
    built.encode()
    sandbox.parse(built)


@given(TEXTS)
@example("O'Neil")
@example("\ud800")
def test_text_arrives_as_it_was(text: str) -> None:
    """A row with exactly this text is found, as Salesforce compares: without case."""
    parsed = sandbox.parse(soql.select(("Id",), "Contact", soql.equal("LastName", text)))
    row: dict[str, Any] = {"Id": "1", "IsDeleted": False, "LastName": text or None}
    other = {**row, "LastName": text + "x"}
    found = sandbox.run(parsed, lambda _: [row, other], lambda *_: None)
    assert found == [row]


@given(TEXTS)
def test_only_names_are_names(text: str) -> None:
    if re.fullmatch(r"[A-Za-z]\w*(\.[A-Za-z]\w*)*", text, re.ASCII) and text.count(".") < 6:
        assert soql.name(text) == text
    else:
        with pytest.raises(ValueError):
            soql.name(text)


@pytest.mark.parametrize(
    "build",
    [
        lambda: soql.equal("Name = 'x' OR Name", "x"),
        lambda: soql.compare("Name", "LIKE", "x"),
        lambda: soql.among("Name) OR (Id", ["x"]),
        lambda: soql.select(("Id, Name",), "Contact"),
        lambda: soql.select(("Id",), "Contact WHERE Id != null"),
        lambda: soql.select(("Id",), "Contact", order=("Id LIMIT 1",)),
        lambda: soql.select(("Id",), "Contact", limit="1 ALL ROWS"),  # type: ignore[arg-type]
        lambda: soql.Children("Orders) FROM", ("Id",)).text,
        lambda: soql.Children("Orders", ("Id FROM",)).text,
        lambda: soql.among("Name", []),
        lambda: soql.any_of([]),
        lambda: soql.literal(datetime(2026, 1, 1)),
        lambda: soql.literal(Decimal("NaN")),
        lambda: soql.name("a.b.c.d.e.f.g"),
        lambda: soql.name("Näme"),
        lambda: soql.name("Name\n"),
    ],
)
def test_what_is_no_part_of_a_query_is_refused(build: Any) -> None:
    with pytest.raises(ValueError):
        build()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (12, "12"),
        (Decimal("1E+3"), "1000"),
        (Decimal("0.10"), "0.10"),
        (date(2026, 11, 20), "2026-11-20"),
        (datetime(2026, 11, 20, 9, 0, 0, 1500, timezone(timedelta(hours=1))),
         "2026-11-20T08:00:00.001Z"),
        ("it's", r"'it\'s'"),
        ("back\\slash", r"'back\\slash'"),
        ("a\nb\tc\x07", r"'a\nb\tc\u0007'"),
        ("München 😀", "'München 😀'"),
    ],
)  # fmt: skip
def test_literals(value: soql.Value, expected: str) -> None:
    assert soql.literal(value) == expected


@given(
    st.one_of(
        st.integers(),
        st.decimals(allow_nan=False, allow_infinity=False),
        st.booleans(),
        st.dates(),
        st.datetimes(timezones=st.just(UTC)),
        st.none(),
    )
)
def test_values_that_are_no_text_stand_bare(value: soql.Value) -> None:
    assert re.fullmatch(r"null|true|false|[-+]?[\d.]+|[\d:TZ.-]+", soql.literal(value))


def test_a_whole_query() -> None:
    built = soql.select(
        ("Id", "Account.Name", "Id"),
        "Order",
        soql.equal("AccountId", "1") | (soql.equal("Status", "x") & soql.equal("Name", None)),
        children=[soql.Children("OrderItems", ("Id", "Quantity"))],
        order=("-EffectiveDate", "Id"),
        limit=5,
    )
    assert built == (
        "SELECT Id, Account.Name, (SELECT Id, Quantity FROM OrderItems WHERE IsDeleted = false "
        "ORDER BY Id) FROM Order WHERE (AccountId = '1' OR (Status = 'x' AND Name = null)) "
        "ORDER BY EffectiveDate DESC NULLS LAST, Id ASC LIMIT 5"
    )


@pytest.mark.parametrize(
    ("number", "spelt"),
    [
        ("+12025550147", {"(202) 555-0147", "202-555-0147", "2025550147", "+1 202-555-0147",
                          "1-202-555-0147", "202.555.0147", "12025550147", "+12025550147"}),
        ("+493023125331", {"030 23125331", "03023125331", "+49 30 23125331", "+49-30-23125331",
                           "00493023125331", "030/23125331", "030-23125331"}),
        ("not a number", {"not a number"}),
    ],
)  # fmt: skip
def test_spellings_of_a_number(number: str, spelt: set[str]) -> None:
    assert spelt <= set(spelling.phones(number))


@given(st.text(max_size=30))
def test_spellings_always_hold_the_number_itself(number: str) -> None:
    assert number in spelling.phones(number)


def test_handles_compare_without_at_and_case() -> None:
    assert spelling.handles(" @Maria ") == ("Maria", "@Maria")
    assert spelling.handles("@") == ()
    assert spelling.same_handle("@Maria", "maria")
    assert not spelling.same_handle("maria", "maria2")
    assert not spelling.same_handle(None, None)
