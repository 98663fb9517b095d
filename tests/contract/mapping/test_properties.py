"""What holds for every file and every record, not only for the ones that we thought of."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.contract.canonical import CANONICAL, Kind
from middleware.contract.mapping import (
    AnswerUnreadable,
    Mapping,
    MappingError,
    MappingInvalid,
    MappingSet,
    to_record,
)
from middleware.contract.mapping.lint import lint
from middleware.contract.mapping.preview import preview
from middleware.contract.mapping.steps import STEPS
from middleware.contract.mapping.values import TYPES
from middleware.contract.mapping.vocabulary import FIELD, FILE
from tests.contract.mapping.sheet import both, pull, push
from tests.contract.mapping.test_reading import READS
from tests.contract.mapping.test_writing import PUSHES

FILES = Path(__file__).parent / "files" / "mappings"

Error = TypeVar("Error", bound=Exception)


def refused(kind: type[Error], action: Callable[[Any], object], argument: Any) -> Error | None:
    """The error of this kind that the action raises, or None; any other error fails the test."""
    try:
        action(argument)
    except kind as error:
        return error
    return None


# -- any text as a file ----------------------------------------------------------------------------

WORDS = [
    *FILE.keys, *FIELD.keys, *STEPS, *TYPES, "contact", "X", "Y.Z", "^.X", "#", ".", "'a.b'",
    "a..b", "{X}", "pull", "push", "both", "pairs", "map", "file", "otherwise", "*", "t.csv",
    "../t.csv", "canonical", "object", "operation", "key", "case", "EUR", "DE", "0100", "1.50",
    "null", "~", "true", "&a", "*a", "<<", "!!str", "---", "%YAML 1.1", "%d.%m.%Y", "unix", "%",
    "\t", "'", '"', "[]", "{}", "|", ">", "?", "\u0000", "\ud800", "é", "\u2028", "9" * 50,
]  # fmt: skip

YAML_LIKE = st.lists(
    st.one_of(
        st.sampled_from(WORDS),
        st.sampled_from([": ", ", ", "\n", "\n  ", "\n    ", "{", "}", "[", "]", "- ", " # "]),
        st.text(max_size=5),
    ),
    max_size=60,
).map("".join)


def leaves(strings: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(strings, st.integers(), st.booleans(), st.none(), st.floats())


STRUCTURE = st.recursive(
    leaves(st.sampled_from([w for w in WORDS if w.isprintable()])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from([*FIELD.keys, *FILE.keys, "a", "b.c", "A"]), inner, max_size=4
        ),
    ),
    max_leaves=12,
)


def flow(value: Any) -> str:
    """A value as YAML, strings unquoted now and then so that they are resolved."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow(k)}: {flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str):
        return value if value.isalnum() else "'" + value.replace("'", "''") + "'"
    if value is None:
        return "~"
    return str(value).lower()


@settings(max_examples=150, deadline=None)
@given(YAML_LIKE)
def test_loading_any_text_raises_nothing_but_mapping_invalid(text):
    if invalid := refused(MappingInvalid, Mapping.parse, text):
        assert invalid.issues
        assert all(issue.message and issue.place.file for issue in invalid.issues)


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "mapping": st.just(1),
            "id": st.just("x"),
            "source": st.sampled_from([{"object": "X"}, {"canonical": "case"}]),
            "target": st.sampled_from([{"object": "X"}, {"canonical": "contact"}]),
            "direction": st.sampled_from(["pull", "push", "both"]),
            "fields": st.dictionaries(
                st.sampled_from(["a", "b", "b.c", "d.0.e", "'f.g'", "a..b"]),
                st.one_of(
                    st.just("X"),
                    st.dictionaries(st.sampled_from(list(FIELD.keys)), STRUCTURE, max_size=4),
                ),
                min_size=1,
                max_size=3,
            ),
        },
        optional={name: STRUCTURE for name in FILE.keys if name not in FILE.required},
    )
)
def test_loading_any_structure_raises_nothing_but_mapping_invalid(content):
    text = flow(content)
    if invalid := refused(MappingInvalid, Mapping.parse, text):
        assert invalid.issues
        return
    mapping = Mapping.parse(text)
    lint(mapping)
    assert mapping.remote_fields is not None


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_loading_any_bytes_raises_nothing_but_mapping_invalid(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("any")
    (folder / "a.map.yaml").write_bytes(content)
    if invalid := refused(MappingInvalid, MappingSet.load, folder):
        assert invalid.issues


# -- any record ------------------------------------------------------------------------------------

STRANGE = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", " ", "1e999", "1e-999", "٣", "0001-01-01", "9999-12-31T23:59:59-14:00",
                     "/Date(99999999999999)/", "\x00", "\ud800", "+", "a@b.c", "true", "NaN",
                     "2026-W01-1", "20261301", "1_0", "1,5", "--1"]),
    st.integers(), st.floats(), st.booleans(), st.none(), st.just(10**400),
    st.decimals(), st.just(Decimal("0E+999999")), st.just(Decimal("1E+999999")),
    st.datetimes(), st.datetimes(timezones=st.just(UTC)), st.dates(),
)  # fmt: skip
ANYTHING = st.recursive(
    STRANGE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["X", "Y", "x", "y", "a", "amount", "currency"]), inner,
                        max_size=3),
    ),
    max_leaves=6,
)  # fmt: skip
KEYS = ["X", "Y", "Z", "L", "M", "C", "R", "U", "N", "x", "y", "z", "l", "u"]
RECORD = st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=6)

ALL_READS = pull("\n".join(f"f{n}: {field}" for n, (field, *_) in enumerate(READS)))
ALL_PUSHES = push("\n".join(f"F{n}: {field}" for n, (field, *_) in enumerate(PUSHES)))
ALL_ANSWERS = pull(
    "a: X",
    more="response:\n" + "\n".join(f"  f{n}: {field}" for n, (field, *_) in enumerate(READS[60:])),
)


@settings(max_examples=150, deadline=None)
@given(st.one_of(RECORD, ANYTHING))
def test_reading_anything_raises_nothing_but_mapping_error(record):
    if error := refused(MappingError, ALL_READS.read, record):
        assert all(p.reason and p.place.startswith("text.map.yaml:") for p in error.problems)
    if isinstance(record, dict):
        rows = preview(ALL_READS, record)
        assert {row.target.split(".")[0] for row in rows} == {rule.key for rule in ALL_READS.fields}


@settings(max_examples=100, deadline=None)
@given(st.one_of(RECORD, ANYTHING))
def test_writing_anything_raises_nothing_but_mapping_error(record):
    for creating in (True, False):
        if error := refused(MappingError, partial(ALL_PUSHES.write, creating=creating), record):
            assert error.problems


@settings(max_examples=100, deadline=None)
@given(st.one_of(RECORD, ANYTHING))
def test_reading_any_answer_raises_nothing_but_an_ambiguous_error(answer):
    if error := refused(AnswerUnreadable, ALL_ANSWERS.read_answer, answer):
        assert error.problems


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(list(CANONICAL)), st.data())
def test_building_a_record_of_anything_raises_nothing_but_mapping_error(kind, data):
    names = [*CANONICAL[kind].model_fields, "id", "unknown"]
    inner = st.dictionaries(
        st.sampled_from(["id", "kind", "connection", "x", "network", "handle", "city", "quantity"]),
        ANYTHING,
        max_size=3,
    )
    values = data.draw(
        st.dictionaries(st.sampled_from(names), st.one_of(ANYTHING, inner), max_size=5)
    )
    build = partial(to_record, kind, connection="crm", id="1")
    if error := refused(MappingError, lambda v: build(values=v), values):
        assert error.problems
    else:
        assert build(values=values).ref.kind is Kind(kind)


# -- there and back --------------------------------------------------------------------------------

WORD = st.text("abcdefgäöß0123456789-_", min_size=1, max_size=10)
MOMENT = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=0)
)
AMOUNT = st.decimals(-(10**9), 10**9, places=2, allow_nan=False, allow_infinity=False)

THERE_AND_BACK: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "Plain": ("{from: Plain}", WORD),
    "Trimmed": ("{from: Trimmed, use: [trim, lower]}", WORD.map(str.lower)),
    "Prefixed": ("{from: Prefixed, use: [{strip_prefix: ERP-}]}", WORD.map("ERP-{}".format)),
    "Added": ("{from: Added, use: [{add_suffix: .x}]}", WORD),
    "Padded": ('{from: Padded, use: [{unpad_left: [8, "0"]}]}',
               st.integers(0, 10**8 - 1).map("{:08d}".format)),
    "Denied": ("{from: Denied, type: boolean, use: [not]}", st.booleans()),
    "Split": ('{from: Split, use: [{split: ";"}]}', st.lists(WORD, min_size=1).map(";".join)),
    "Listed": ("{from: Listed, many: true}", st.lists(WORD, min_size=1, max_size=4)),
    "Coded": ("{from: Coded, table: {pairs: {A: x, B: y, 3: z}}}", st.sampled_from(["A", "B", 3])),
    "Kept": ("{from: Kept, table: {pairs: {A: x}}, unknown_value: keep}", WORD.filter("x".__ne__)),
    "Whole": ("{from: Whole, type: integer}", st.integers(-(10**18), 10**18)),
    "Exact": ("{from: Exact, type: decimal}", AMOUNT),
    "Written": ("{from: Written, type: decimal, format: text}", AMOUNT.map("{:f}".format)),
    "Comma": ("{from: Comma, type: decimal, decimal_comma: true}",
              AMOUNT.map(lambda amount: f"{amount:f}".replace(".", ","))),
    "Grams": ("{from: Grams, type: decimal, unit: {is: g, to: kg}}", AMOUNT),
    "Price": ("{from: Price, type: money, currency: {from: Currency}}", AMOUNT),
    "Day": ("{from: Day, type: date, format: '%d.%m.%Y'}",
            MOMENT.map(lambda moment: moment.strftime("%d.%m.%Y"))),
    "Moment": ("{from: Moment, type: datetime}", MOMENT),
    "Epoch": ("{from: Epoch, type: datetime, format: unix}",
              MOMENT.map(lambda moment: int(moment.timestamp()))),
    "Uuid": ("{from: Uuid, type: uuid}", st.uuids().map(str)),
    "Land": ("{from: Land, type: country}", st.sampled_from(["DE", "BR", "US"])),
    "First": ("{first_of: [First, Second], push_to: First}", WORD),
    "Lines": ("{each: Lines, fields: {s: Sku, q: {from: Qty.N, type: decimal}}}",
              st.lists(st.fixed_dictionaries({"Sku": WORD, "Qty": st.fixed_dictionaries(
                  {"N": AMOUNT})}), min_size=1, max_size=3)),
}  # fmt: skip
INVERTIBLE = both(
    "\n".join(f"o.{name.lower()}: {line}" for name, (line, _) in THERE_AND_BACK.items())
)


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries(
        {}, optional={name: values for name, (_, values) in THERE_AND_BACK.items()}
    ),
    st.sampled_from(["EUR", "USD", "JPY"]),
)
def test_what_can_be_undone_comes_back_as_it_was(theirs, currency):
    if "Price" in theirs:
        theirs["Currency"] = currency
    written = INVERTIBLE.write(INVERTIBLE.read(theirs))
    assert written == theirs
    assert INVERTIBLE.read(written) == INVERTIBLE.read(theirs)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["FirstName", "Email", "MobilePhone", "Credit_Limit__c", "VIP__c"]),
        st.one_of(st.text(max_size=8), st.integers(0, 99), st.booleans(), st.none()),
    )
)
def test_reading_twice_is_reading_once(theirs):
    """What our words became of a record is stable: written and read again it is the same."""
    mapping = MappingSet.load(FILES).pull("contact")
    record = {"LastName": "Souza", **theirs}
    ours, problems = mapping.convert(record)
    if problems:
        return
    again = mapping.read({**mapping.write(ours), "LastName": "Souza"})
    for field in ("given_name", "emails", "vip"):
        assert again.get(field) == ours.get(field)
    assert not any(isinstance(v, float) and math.isnan(v) for v in ours.values())
