"""What each word of the vocabulary does to a remote's value."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from middleware.contract.errors import Ambiguous, Permanent
from middleware.contract.mapping import AnswerUnreadable, MappingError
from middleware.contract.mapping.steps import STEPS
from middleware.contract.mapping.values import TYPES
from tests.contract.mapping.sheet import pull


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type]


READS: list[tuple[str, Any, Any]] = [
    # source
    ("X", {"X": 1}, 1),
    ("X", {}, None),
    ("X", {"X": None}, None),
    ("X", {"X": ""}, None),
    ("X", {"X": 0}, 0),
    ("X", {"X": False}, False),
    ("X", {"X": []}, None),
    ("X.Y.Z", {"X": {"Y": {"Z": 1}}}, 1),
    ("X.Y.Z", {"X": {"Y": 5}}, None),
    ("X.Y", {"X.Y": 1, "X": {"Y": 2}}, 1),
    ("\"'X.Y'\"", {"X": {"Y": 2}}, None),
    ("\"'X.Y'.Z\"", {"X.Y": {"Z": 3}}, 3),
    ("\"'party.'.name\"", {"party.": {"name": "A"}}, "A"),
    ("X.1.Y", {"X": [{"Y": 1}, {"Y": 2}]}, 2),
    ("X.7.Y", {"X": [{"Y": 1}]}, None),
    ("X.0.Y", {"X": {"Y": 1}}, 1),
    ("X.Y", {"X": [{"Y": 1}]}, None),
    ("\"X.'0'.Y\"", {"X": {"Y": 1}}, None),
    ("\"X.'0'\"", {"X": {"0": 1}}, 1),
    ("\"X.'0'\"", {"X": [1]}, None),
    ("{first_of: [X, Y]}", {"X": " ", "Y": "b"}, "b"),
    ("{first_of: [X, Y]}", {"X": 0, "Y": 1}, 0),
    ("{first_of: [X, Y]}", {}, None),
    ("{all_of: [X, Y, Z]}", {"X": "a", "Y": None, "Z": "c"}, ["a", "c"]),
    ("{all_of: [X, Y], use: [trim]}", {"X": "a", "Y": "  "}, ["a"]),
    ("{all_of: [X, Y]}", {"X": ["a", "b"], "Y": "c"}, ["a", "b", "c"]),
    ("{all_of: [X, Y]}", {}, None),
    ('{template: "{X} {Y}"}', {"X": " Ana ", "Y": None}, "Ana"),
    ('{template: "{X}-{Y}"}', {"X": 1, "Y": True}, "1-true"),
    ('{template: "no {X} no"}', {"X": ""}, None),
    ("{const: 7}", {}, 7),
    ("{const: true}", {}, True),
    ('{const: ""}', {}, ""),
    ("{each: L, fields: {b: X}}", {"L": [{"X": 1}, {"X": 2}]}, [{"b": 1}, {"b": 2}]),
    ("{each: L, fields: {b: X}}", {"L": {"X": 1}}, [{"b": 1}]),
    ("{each: L, fields: {b: X}}", {"L": []}, None),
    ("{each: L, fields: {b: X}}", {}, None),
    ("{each: L, fields: {b: .}}", {"L": ["x", "y"]}, [{"b": "x"}, {"b": "y"}]),
    ('{each: L, fields: {b: "#"}}', {"L": [{}, {}]}, [{"b": 1}, {"b": 2}]),
    ("{each: L, fields: {b: ^.C}}", {"C": "EUR", "L": [{}]}, [{"b": "EUR"}]),
    ('{each: L, fields: {m: {each: M, fields: {a: ^.X, b: ^.^.C, c: "^.#"}}}}',
     {"C": 1, "L": [{"X": 2, "M": [{}]}]}, [{"m": [{"a": 2, "b": 1, "c": 1}]}]),
    # steps
    ("{from: X, use: [trim]}", {"X": "  a b  "}, "a b"),
    ("{from: X, use: [trim]}", {"X": "   "}, None),
    ("{from: X, use: [squeeze]}", {"X": " a \n  b "}, "a b"),
    ("{from: X, use: [lower]}", {"X": "ÄB"}, "äb"),
    ("{from: X, use: [upper]}", {"X": "ab"}, "AB"),
    ("{from: X, use: [not]}", {"X": "yes"}, False),
    ("{from: X, use: [digits]}", {"X": "(030) 23125-1٣"}, "030231251"),
    ("{from: X, use: [{strip_prefix: ERP-}]}", {"X": "ERP-7"}, "7"),
    ("{from: X, use: [{strip_prefix: ERP-}]}", {"X": "7"}, "7"),
    ("{from: X, use: [{strip_prefix: ERP-}]}", {"X": "ERP-"}, None),
    ("{from: X, use: [{add_prefix: ERP-}]}", {"X": 7}, "ERP-7"),
    ("{from: X, use: [{add_prefix: ERP-}]}", {"X": "ERP-7"}, "ERP-7"),
    ("{from: X, use: [{strip_suffix: '.0'}]}", {"X": 7.0}, "7"),
    ("{from: X, use: [{add_suffix: .pdf}]}", {"X": "a"}, "a.pdf"),
    ("{from: X, use: [{truncate: 3}]}", {"X": "abcdef"}, "abc"),
    ('{from: X, use: [{pad_left: [5, "0"]}]}', {"X": 42}, "00042"),
    ('{from: X, use: [{unpad_left: [5, "0"]}]}', {"X": "00042"}, "42"),
    ('{from: X, use: [{unpad_left: [5, "0"]}]}', {"X": "00000"}, "0"),
    ('{from: X, use: [{replace: ["-", ""]}]}', {"X": "a-b-c"}, "abc"),
    ('{from: X, use: [{split: ";"}, lower]}', {"X": "A; B;;C"}, ["a", "b", "c"]),
    ('{from: X, use: [{split: ";"}]}', {"X": ["a;b", "c"]}, ["a", "b", "c"]),
    ('{from: X, use: [upper, {join: "-"}, {add_prefix: x}]}', {"X": ["a", "b"]}, "xA-B"),
    ('{from: X, use: [{join: "-"}]}', {"X": 5}, "5"),
    ("{from: X, use: [trim, lower]}", {"X": [" A ", None, "", " b"]}, ["a", "b"]),
    # tables
    ("{from: X, table: {map: {A: a, B: a}}}", {"X": "B"}, "a"),
    ("{from: X, table: {map: {1: a}}}", {"X": 1}, "a"),
    ("{from: X, table: {map: {1: a}}}", {"X": 1.0}, "a"),
    ("{from: X, table: {map: {1: a}}}", {"X": Decimal("1.00")}, "a"),
    ("{from: X, table: {map: {true: a}}}", {"X": True}, "a"),
    ('{from: X, table: {map: {"0100": a}}}', {"X": "0100"}, "a"),
    ("{from: X, table: {map: {A: 10}}}", {"X": "A"}, 10),
    ('{from: X, table: {map: {A: a, "*": z}}}', {"X": "Q"}, "z"),
    ("{from: X, table: {map: {A: a}, otherwise: z}}", {"X": "Q"}, "z"),
    ("{from: X, table: {map: {A: a}}, unknown_value: keep}", {"X": "Q"}, "Q"),
    ("{from: X, table: {map: {A: a}}, unknown_value: null}", {"X": "Q"}, None),
    ("{from: X, table: {map: {A: a}}, default: d}", {"X": ""}, "d"),
    ('{from: X, table: {map: {"-": ""}, otherwise: o}, default: d}', {"X": "-"}, "d"),
    ("{from: X, table: {map: {A: a}}}", {"X": ["A", "A"]}, ["a", "a"]),
    # types
    ("{from: X, type: string}", {"X": 12}, "12"),
    ("{from: X, type: string}", {"X": True}, "true"),
    ("{from: X, type: integer}", {"X": "12"}, 12),
    ("{from: X, type: integer}", {"X": 12.0}, 12),
    ("{from: X, type: decimal}", {"X": "49.90"}, Decimal("49.90")),
    ("{from: X, type: decimal}", {"X": 0.1}, Decimal("0.1")),
    ("{from: X, type: decimal}", {"X": " -1e3 "}, Decimal(-1000)),
    ("{from: X, type: decimal}", {"X": "1 234.5"}, Decimal("1234.5")),
    ("{from: X, type: decimal, scale: 2}", {"X": "0.125"}, Decimal("0.13")),
    ("{from: X, type: decimal, scale: 0}", {"X": 2.5}, Decimal(3)),
    ("{from: X, type: decimal, decimal_comma: true}", {"X": "1.234,50"}, Decimal("1234.50")),
    ("{from: X, type: decimal, decimal_comma: true}", {"X": "12"}, Decimal(12)),
    ("{from: X, type: decimal, decimal_comma: true}", {"X": 1.5}, Decimal("1.5")),
    ("{from: X, type: decimal, unit: {is: g, to: kg}}", {"X": 1500}, Decimal("1.5")),
    ("{from: X, type: decimal, unit: {from: U, to: kg}}", {"X": 2, "U": "t"}, Decimal(2000)),
    ("{from: X, type: decimal, unit: {from: U, to: kg}}", {"X": 2}, Decimal(2)),
    ("{from: X, type: integer, unit: {from: U, to: piece, factors: {box: 12}}}",
     {"X": "2", "U": "box"}, 24),
    ("{from: X, type: money, currency: EUR}", {"X": "9.9"},
     {"amount": Decimal("9.9"), "currency": "EUR"}),
    ("{from: X, type: money, currency: {from: C, default: EUR}}", {"X": 1, "C": "brl"},
     {"amount": Decimal(1), "currency": "BRL"}),
    ("{from: X, type: money, currency: {from: C, default: EUR}}", {"X": 1, "C": ""},
     {"amount": Decimal(1), "currency": "EUR"}),
    ("{from: X, type: money}", {"X": {"amount": "1", "currency": "USD"}},
     {"amount": Decimal(1), "currency": "USD"}),
    ("{from: X, type: money, currency: EUR, default: 0}", {},
     {"amount": Decimal(0), "currency": "EUR"}),
    ("{from: X, type: money, currency: {from: C}, default: 0}", {"C": "eur"},
     {"amount": Decimal(0), "currency": "EUR"}),
    ("{from: X, type: boolean}", {"X": "Y"}, True),
    ("{from: X, type: boolean}", {"X": 0}, False),
    ("{from: X, type: boolean, default: false}", {}, False),
    ("{from: X, type: date}", {"X": "1988-02-29"}, date(1988, 2, 29)),
    ("{from: X, type: date}", {"X": "20260102"}, date(2026, 1, 2)),
    ("{from: X, type: date, format: '%d.%m.%Y'}", {"X": "21.11.2026"}, date(2026, 11, 21)),
    ("{from: X, type: datetime}", {"X": "2026-11-20T08:00:00.000+0000"}, at(2026, 11, 20, 8)),
    ("{from: X, type: datetime}", {"X": "2026-11-20T08:00:00Z"}, at(2026, 11, 20, 8)),
    ("{from: X, type: datetime}", {"X": "2026-11-20 08:00:00+02:00"}, at(2026, 11, 20, 6)),
    ("{from: X, type: datetime}", {"X": "2026-11-20"}, at(2026, 11, 20)),
    ("{from: X, type: datetime}", {"X": datetime(2026, 1, 1)}, at(2026, 1, 1)),
    ("{from: X, type: datetime, format: unix}", {"X": 1}, at(1970, 1, 1, 0, 0, 1)),
    ("{from: X, type: datetime, format: unix_ms}", {"X": "1500"}, at(1970, 1, 1, 0, 0, 1, 500000)),
    ("{from: X, type: datetime, format: '%d/%m/%y %H:%M %z'}", {"X": "01/02/26 10:00 +0100"},
     at(2026, 2, 1, 9)),
    ("{from: X, type: datetime}", {"X": "/Date(1000)/"}, at(1970, 1, 1, 0, 0, 1)),
    ("{from: X, type: email}", {"X": " Ana@Example.com "}, "Ana@Example.com"),
    ("{from: X, type: email, unknown_value: null}", {"X": "n/a"}, None),
    ("{from: X, type: email, unknown_value: keep}", {"X": "n/a"}, "n/a"),
    ("{from: X, type: phone, region: DE}", {"X": "030 23125 100"}, "+493023125100"),
    ("{from: X, type: phone}", {"X": "+1 202 555 0143"}, "+12025550143"),
    ("{from: X, type: phone}", {"X": "0043 see reception"}, "0043 see reception"),
    ("{from: X, type: phone}", {"X": "030 23125 100"}, "030 23125 100"),
    ("{from: X, type: phone, unknown_value: null}", {"X": "none"}, None),
    ("{from: X, type: phone, region: {from: R, default: DE}}", {"X": "202-555-0143", "R": "us"},
     "+12025550143"),
    ("{all_of: [X, Y], type: phone, region: DE}", {"X": "030 23125 100", "Y": "030 23125 101"},
     ["+493023125100", "+493023125101"]),
    ("{from: X, type: country}", {"X": "de "}, "DE"),
    ("{from: X, type: currency}", {"X": "eur"}, "EUR"),
    ("{from: X, type: uuid}", {"X": "{6F9619FF-8B86-D011-B42D-00CF4FC964FF}"},
     "6f9619ff-8b86-d011-b42d-00cf4fc964ff"),
    ("{from: X, use: [trim], table: {map: {A: '1.5'}}, type: decimal}", {"X": " A "},
     Decimal("1.5")),
    # the rest
    ("{from: X, default: d}", {"X": " "}, " "),
    ("{from: X, use: [trim], default: d}", {"X": " "}, "d"),
    ("{from: X, many: true}", {"X": "a"}, ["a"]),
    ("{from: X, many: true}", {"X": ["a", "b"]}, ["a", "b"]),
    ("{from: X, when: {present: Y}}", {"X": 1, "Y": 0}, 1),
    ("{from: X, when: {present: Y}}", {"X": 1, "Y": ""}, None),
    ("{from: X, when: {absent: Y}}", {"X": 1}, 1),
    ("{from: X, when: {absent: Y}}", {"X": 1, "Y": 1}, None),
    ("{from: X, when: {from: Y, is: 2}}", {"X": 1, "Y": "2"}, 1),
    ("{from: X, when: {from: Y, is: 2}}", {"X": 1}, None),
    ("{from: X, when: {from: Y, is_not: 2}}", {"X": 1}, 1),
    ("{from: X, when: {from: Y, is_not: 2}}", {"X": 1, "Y": 2}, None),
    ("{from: X, when: {from: Y, in: [a, b]}}", {"X": 1, "Y": "b"}, 1),
    ("{from: X, when: {from: Y, not_in: [a, b]}}", {"X": 1, "Y": "b"}, None),
    ("{from: X, when: {from: Y, in: [true]}}", {"X": 1, "Y": True}, 1),
    ("{from: X, when: [{present: Y}, {present: Z}]}", {"X": 1, "Y": 1}, None),
    ("{from: X, required: true, when: {present: Y}}", {}, None),
    ("{from: X, max_length: 3}", {"X": "abc"}, "abc"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "theirs", "value"), READS)
def test_a_line_reads(field, theirs, value):
    mapping = pull(f"a: {field}")
    found = mapping.read(theirs).get("a")
    assert found == value
    assert type(found) is type(value)


REFUSALS: list[tuple[str, Any, str]] = [
    ("{from: X, required: true}", {"X": ""}, "a value is required"),
    ("{from: X, use: [trim], required: true}", {"X": "  "}, "a value is required"),
    ("{from: X, max_length: 3}", {"X": "abcd"}, "4 characters, the limit is 3"),
    ("{from: X, table: {map: {A: a, B: b}}}", {"X": "Q"}, "'Q' is not in the table; known: A, B"),
    ("{from: X, table: {map: {A: a}}, pii: true}", {"X": "Q"}, "the value is not in the table"),
    ("{from: X, table: {map: {A: a}}}", {"X": {}}, "text was expected, the value is an object"),
    ("{from: X, use: [trim]}", {"X": {"a": 1}}, "text was expected, the value is an object"),
    ('{template: "{X}"}', {"X": []}, "text was expected, the value is a list"),
    ("{from: X, type: integer}", {"X": "1.5"}, "not a whole number"),
    ("{from: X, type: integer}", {"X": True}, "a number was expected"),
    ("{from: X, type: integer}", {"X": 10**5000}, "too many digits"),
    ("{from: X, type: decimal}", {"X": "1,50"}, "not a number; for 1.234,50 set decimal_comma"),
    ("{from: X, type: decimal}", {"X": float("nan")}, "not a finite number"),
    ("{from: X, type: decimal}", {"X": "1e999"}, "too large"),
    ("{from: X, type: decimal}", {"X": "٣"}, "not a number"),
    ("{from: X, type: decimal, decimal_comma: true}", {"X": "12.5"}, "not a number with a decimal"),
    ("{from: X, type: decimal, unit: {from: U, to: kg}}", {"X": 1, "U": "l"}, "no conversion from"),
    ("{from: X, type: money}", {"X": 1}, "an amount without a currency"),
    ("{from: X, type: money, default: 0}", {}, "an amount without a currency"),
    ("{from: X, type: money, currency: {from: C}}", {"X": 1, "C": "Euro"}, "not a three-letter"),
    ("{from: X, type: boolean}", {"X": "maybe"}, "neither yes nor no"),
    ("{from: X, type: date}", {"X": "21.11.2026"}, "not a date or time; give its format"),
    ("{from: X, type: date}", {"X": "2026-02-30"}, "not a date or time"),
    ("{from: X, type: datetime}", {"X": 1763712000}, "not a date or time; give its format"),
    ("{from: X, type: datetime, format: '%d.%m.%Y'}", {"X": "2026-11-21"}, "not in the format"),
    ("{from: X, type: datetime, format: unix}", {"X": "9" * 30}, "beyond the years"),
    ("{from: X, type: datetime}", {"X": "0001-01-01T00:00:00+14:00"}, "beyond the years"),
    ("{from: X, type: email}", {"X": "ana at example.com"}, "not an e-mail address"),
    ("{from: X, type: email}", {"X": "ana@example.com, bo@example.com"}, "not an e-mail address"),
    ("{from: X, type: phone, unknown_value: error}", {"X": "none"}, "not a phone number; set its"),
    ("{from: X, type: country}", {"X": "Germany"}, "not a two-letter country code"),
    ("{from: X, type: country}", {"X": "XX"}, "not a two-letter country code"),
    ("{from: X, type: uuid}", {"X": "42"}, "not a UUID"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "theirs", "reason"), REFUSALS)
def test_a_line_refuses_with_its_reason_and_place(field, theirs, reason):
    mapping = pull(f"a: {field}")
    with pytest.raises(MappingError) as caught:
        mapping.read(theirs)
    (problem,) = caught.value.problems
    assert problem.field == "a"
    assert problem.reason.startswith(reason) or reason in problem.reason
    assert problem.place.startswith("text.map.yaml:7:")
    assert "template" in field or problem.value is theirs.get("X")


def test_no_refusal_repeats_the_value():
    """Reasons are stored and shown; only codes of tables may stand in them."""
    for field, _, _ in REFUSALS:
        if "table" in field:
            continue
        for value in ("Zacharias Zufall", {"Zacharias": 1}):
            record = {"X": value, "U": "Zacharias", "C": "Zacharias"}
            _, problems = pull(f"a: {field}").convert(record)
            assert "Zacharias" not in repr(problems) + str(MappingError(problems))


def test_the_tables_of_cases_use_every_type_and_step():
    lines = " ".join(field for field, *_ in READS)
    assert [name for name in TYPES if f"type: {name}" not in lines] == []
    assert [name for name in STEPS if name not in lines] == []


def test_all_problems_of_a_record_are_told_at_once():
    mapping = pull(
        """
        a: {from: A, type: integer}
        b: {from: B, required: true}
        c: C
        d: {each: L, fields: {e: {from: E, type: date}}}
        """
    )
    with pytest.raises(MappingError) as caught:
        mapping.read({"A": "x", "C": 1, "L": [{"E": "2026-01-01"}, {"E": "soon"}]})
    assert [(p.field, p.place) for p in caught.value.problems] == [
        ("a", "text.map.yaml:7:13"),
        ("b", "text.map.yaml:8:13"),
        ("d.2.e", "text.map.yaml:10:35"),
    ]
    assert isinstance(caught.value, Permanent)
    assert caught.value.field == "a"
    assert caught.value.operation == ""
    values, problems = mapping.convert({"A": "x", "B": 2, "C": 1})
    assert values == {"b": 2, "c": 1}
    assert [p.field for p in problems] == ["a"]


@pytest.mark.parametrize("record", [None, [], "text", 7])
def test_what_is_no_object_is_refused(record):
    with pytest.raises(MappingError, match="an object was expected"):
        pull("a: X").read(record)


def test_skip_field_leaves_out_what_may_be_missing_only():
    mapping = pull(
        """
        a: {from: A, type: integer}
        b: {from: B, type: integer, required: true}
        d: {each: L, fields: {e: {from: E, type: integer}}}
        """,
        more="defaults: {on_error: skip_field}\n",
    )
    assert mapping.read({"A": "x", "B": 1}) == {"b": 1}
    with pytest.raises(MappingError) as caught:
        mapping.read({"A": "x", "B": "x"})
    assert [p.field for p in caught.value.problems] == ["b"]
    with pytest.raises(MappingError):
        mapping.read({"B": 1, "L": [{"E": "x"}]})


def test_naive_times_and_days_are_in_the_files_zone():
    berlin = "defaults: {timezone: Europe/Berlin}\n"
    moment = pull("a: {from: X, type: datetime}", more=berlin)
    assert moment.read({"X": "2026-07-01T00:30:00"}) == {"a": at(2026, 6, 30, 22, 30)}
    assert moment.read({"X": "2026-07-01"}) == {"a": at(2026, 6, 30, 22)}
    day = pull("a: {from: X, type: date}", more=berlin)
    assert day.read({"X": "2026-06-30T22:30:00Z"}) == {"a": date(2026, 7, 1)}


def test_defaults_hold_for_all_fields_that_do_not_say_otherwise():
    mapping = pull(
        """
        n: {from: N, type: decimal}
        m: {from: M, type: money}
        p: {from: P, type: phone}
        t: {from: T, table: {map: {A: a}}}
        """,
        more="defaults: {decimal_comma: true, currency: CHF, region: CH, unknown_value: keep}\n",
    )
    assert mapping.read({"N": "1,5", "M": "2,5", "P": "044 668 18 00", "T": "Z"}) == {
        "n": Decimal("1.5"),
        "m": {"amount": Decimal("2.5"), "currency": "CHF"},
        "p": "+41446681800",
        "t": "Z",
    }


def test_the_fields_that_a_pull_needs_are_listed_once_in_order():
    mapping = pull(
        """
        a: {first_of: [X, Y.Z]}
        b: {template: "{X} {W}"}
        c: {from: M, type: money, currency: {from: C}}
        d: {from: P, type: phone, region: {from: R}}
        e: {from: Q, type: decimal, unit: {from: U, to: kg}}
        f: {const: 1, when: {from: S, is: 1}}
        g: {each: L, fields: {n: "#", s: Sku, c: ^.C, h: ^.H, t: {each: T, fields: {v: .}}}}
        h: {from: "'k.l'"}
        """,
        more="match: {source: Id, target: external_ids.x}\n",
    )
    assert mapping.remote_fields == (
        "Id", "X", "Y.Z", "W", "M", "C", "P", "R", "Q", "U", "S", "L", "L.Sku", "H", "L.T", "k.l",
    )  # fmt: skip


def test_an_answer_that_does_not_fit_is_ambiguous_because_the_write_was_done():
    mapping = pull("a: X", more="response: {id: {from: OrderNo, required: true}, at: Made}\n")
    assert mapping.read_answer({"OrderNo": 7}) == {"id": 7}
    with pytest.raises(AnswerUnreadable) as caught:
        mapping.read_answer({"Made": 1})
    assert isinstance(caught.value, Ambiguous)
    assert not isinstance(caught.value, Permanent)
    assert caught.value.problems[0].place == "text.map.yaml:8:23"
    with pytest.raises(AnswerUnreadable):
        mapping.read_answer([])  # type: ignore[arg-type]


def test_faults_are_found_exactly_and_then_by_the_longest_beginning():
    mapping = pull(
        "a: X",
        more="""
        faults:
          Client.Duplicate: {outcome: already_done}
          Client.*: {outcome: dead_letter, message: "ERP says {code}: {faultstring}"}
          Client.Stock.*: {outcome: reject}
          "*": {outcome: retry}
        """,
    )
    outcomes = {
        code: rule.outcome if (rule := mapping.fault(code)) else None
        for code in ("Client.Duplicate", "Client.Duplicate.2", "Client.Stock.Out", "Server")
    }
    assert outcomes == {
        "Client.Duplicate": "already_done",
        "Client.Duplicate.2": "dead_letter",
        "Client.Stock.Out": "reject",
        "Server": "retry",
    }
    rule = mapping.fault("Client.X")
    assert rule is not None
    assert rule.text(code="Client.X", faultstring="{code}?") == "ERP says Client.X: {code}?"
    assert mapping.fault("Client.Duplicate").text(code="c") == "c"  # type: ignore[union-attr]
    assert pull("a: X").fault("Server") is None
