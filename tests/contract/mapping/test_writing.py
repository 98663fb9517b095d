"""The way out: ours → theirs, by a push file or by a file of both directions."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest

from middleware.contract.actions import Reason, ReplacementOrderRequest, WantedLine
from middleware.contract.canonical import Address, Kind, Money, Ref
from middleware.contract.mapping import Mapping, MappingError
from tests.contract.mapping.sheet import both, pull, push, sheet


class Colour(StrEnum):
    RED = "red"


MOMENT = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)

PUSHES: list[tuple[str, Any, Any]] = [
    ("x", {"x": Colour.RED}, "red"),
    ("{from: x, table: {map: {red: R}}}", {"x": Colour.RED}, "R"),
    ("{from: x}", {"x": (Colour.RED,)}, ["red"]),
    ("{from: x, type: decimal}", {"x": Decimal("1.50")}, Decimal("1.50")),
    ("{from: x, type: decimal, scale: 3, format: text}", {"x": 1}, "1.000"),
    ("{from: x, type: decimal, format: number}", {"x": Decimal("1.50")}, 1.5),
    ("{from: x, type: decimal, format: number}", {"x": Decimal("2.00")}, 2),
    ("{from: x, type: decimal, decimal_comma: true}", {"x": Decimal("1234.50")}, "1234,50"),
    ("{from: x, type: money}", {"x": {"amount": Decimal(5), "currency": "EUR"}}, Decimal(5)),
    ("{from: x, type: money}", {"x": Money(amount=Decimal(5), currency="EUR")}, Decimal(5)),
    ("{from: x, type: money, currency: EUR, format: text}",
     {"x": {"amount": Decimal("5.0"), "currency": "EUR"}}, "5.0"),
    ("{from: x, type: date}", {"x": MOMENT}, date(2026, 11, 22)),
    ("{from: x, type: date, format: text}", {"x": "2026-11-21"}, "2026-11-21"),
    ("{from: x, type: date, format: '%d.%m.%Y'}", {"x": MOMENT}, "22.11.2026"),
    ("{from: x, type: date, format: unix}", {"x": date(1970, 1, 2)}, 86400 - 3600),
    ("{from: x, type: datetime}", {"x": MOMENT}, MOMENT),
    ("{from: x, type: datetime, format: text}", {"x": MOMENT}, "2026-11-21T23:30:00Z"),
    ("{from: x, type: datetime, format: '%H:%M %z'}", {"x": MOMENT}, "00:30 +0100"),
    ("{from: x, type: datetime, format: unix_ms}", {"x": MOMENT}, 1795303800000),
    ("{from: x, type: boolean}", {"x": True}, True),
    ("{from: x, type: string}", {"x": Decimal("1.50")}, "1.50"),
    ("{from: x, clear: true}", {"x": None}, None),
    ("{from: x, use: [trim], clear: true}", {"x": "  "}, None),
    ("{const: R}", {}, "R"),
    ('{template: "{x}/{y.z}"}', {"x": Colour.RED, "y": {"z": 2}}, "red/2"),
    ("{from: x, type: decimal, unit: {from: u, to: g}}", {"x": 2, "u": "kg"}, Decimal(2000)),
    ("{from: x, type: decimal, default: 0, format: text}", {}, "0"),
    ("{from: x, type: phone, region: DE}", {"x": "+493023125100"}, "+493023125100"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "ours", "value"), PUSHES)
def test_a_line_pushes(field, ours, value):
    out = push(f"A: {field}", more="defaults: {timezone: Europe/Berlin}\n").write(ours)
    assert "A" in out
    assert out["A"] == value
    assert type(out["A"]) is type(value)


def test_only_what_is_mapped_and_there_is_sent():
    mapping = push("A: x\nB: {from: y, clear: true}\nC.D: {from: z.w}\nE: {from: e, clear: true}")
    assert mapping.write({"x": None, "y": None, "unmapped": 1, "z": {"w": 2}}) == {
        "B": None,
        "C": {"D": 2},
    }


def test_lists_are_written_by_index():
    mapping = push("L.0.A: x\nL.0.B: y\nL.1: z\n'9': n\n\"'a.b'.c\": m")
    assert mapping.write({"x": 1, "y": 2, "z": 3, "n": 4, "m": 5}) == {
        "L": [{"A": 1, "B": 2}, 3],
        "9": 4,
        "a.b": {"c": 5},
    }
    assert mapping.write({"z": 3}) == {"L": [None, 3]}


def test_only_create_and_required_know_whether_the_record_exists():
    mapping = both(
        """
        a: {from: A, only_create: true}
        b: {from: B, required: true}
        """
    )
    assert mapping.write({"a": 1, "b": 2}) == {"A": 1, "B": 2}
    assert mapping.write({"a": 1, "b": 2}, creating=False) == {"B": 2}
    assert mapping.write({"a": 1}, creating=False) == {}
    for ours, creating in (({"a": 1}, True), ({"b": None}, False)):
        with pytest.raises(MappingError, match="a value is required"):
            mapping.write(ours, creating=creating)
    lines = push("L: {each: l, fields: {A: {from: a, only_create: true}, B: b}}")
    assert lines.write({"l": [{"a": 1, "b": 2}]}, creating=False) == {"L": [{"B": 2}]}


BACK: list[tuple[str, Any, Any]] = [
    # (line, theirs, what reading and writing it gives where it differs)
    ("{from: X}", {"X": "a"}, None),
    ("{from: P.X}", {"P": {"X": "a"}}, None),
    ("{from: X, use: [trim, lower]}", {"X": " A "}, {"X": "a"}),
    ("{from: X, use: [{strip_prefix: ERP-}]}", {"X": "ERP-7"}, None),
    ("{from: X, use: [{strip_suffix: -x}, {add_prefix: c}]}", {"X": "7-x"}, None),
    ('{from: X, use: [{unpad_left: [10, "0"]}]}', {"X": "0000000042"}, None),
    ('{from: X, use: [{pad_left: [4, "0"]}]}', {"X": "42"}, None),
    ("{from: X, use: [not], type: boolean}", {"X": True}, None),
    ('{from: X, use: [{split: ";"}, lower]}', {"X": "a;b"}, None),
    ('{from: X, use: [{join: ";"}]}', {"X": ["a", "b"]}, None),
    ("{from: X, many: true, use: [lower]}", {"X": ["a", "b"]}, None),
    ("{from: X, table: {pairs: {A: a, B: b}}}", {"X": "B"}, None),
    ("{from: X, table: {pairs: {1: a, 2: b}}}", {"X": 2}, None),
    ("{from: X, table: {pairs: {Y: true, N: false}}, type: boolean}", {"X": "N"}, None),
    ("{from: X, table: {map: {A: a}}, unknown_value: keep}", {"X": "Q"}, None),
    ("{from: X, type: integer}", {"X": "12"}, {"X": 12}),
    ("{from: X, type: decimal, format: text}", {"X": "12.50"}, None),
    ("{from: X, type: decimal, decimal_comma: true}", {"X": "1.234,50"}, {"X": "1234,50"}),
    ("{from: X, type: decimal, unit: {is: g, to: kg}}", {"X": Decimal(1500)}, None),
    ("{from: X, type: money, currency: EUR}", {"X": Decimal("1.50")}, None),
    ("{from: X, type: money, currency: {from: C}}", {"X": Decimal(1), "C": "USD"}, None),
    ("{from: X, type: date, format: '%d.%m.%Y'}", {"X": "21.11.2026"}, None),
    ("{from: X, type: datetime, format: unix}", {"X": 1700000000}, None),
    ("{from: X, type: datetime, format: text}", {"X": "2026-11-20T08:00:00Z"}, None),
    ("{from: X, type: email}", {"X": "ana@example.com"}, None),
    ("{from: X, type: phone, region: US}", {"X": "202-555-0143"}, {"X": "+12025550143"}),
    ("{from: X, type: country}", {"X": "de"}, {"X": "DE"}),
    ("{first_of: [X, Y], push_to: X}", {"Y": "a"}, {"X": "a"}),
    ("{all_of: [X, Y], push_to: Y}", {"X": "a", "Y": "b"}, {"Y": "a"}),
    ("{each: L, fields: {b: X, c: {from: Y, type: integer}}}",
     {"L": [{"X": 1, "Y": 2}, {"X": 3}]}, None),
    ("{from: X, direction: pull}", {"X": 1}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("field", "theirs", "written"), BACK)
def test_a_line_of_both_directions_comes_back(field, theirs, written):
    mapping = both(f"a: {field}")
    assert mapping.write(mapping.read(theirs)) == (theirs if written is None else written)


def test_a_field_may_be_pushed_only():
    mapping = both("a: {from: X, direction: push}\nb: Y")
    assert mapping.read({"X": 1, "Y": 2}) == {"b": 2}
    assert mapping.write({"a": 1, "b": 2}) == {"X": 1, "Y": 2}
    assert mapping.remote_fields == ("Y",)


def test_one_remote_field_takes_the_first_of_our_list():
    """A record that was read from one field holds a tuple of one."""
    mapping = both("emails: {from: Email, use: [lower]}")
    assert mapping.write({"emails": ("a@example.com", "b@example.com")}) == {
        "Email": "a@example.com"
    }
    assert mapping.write({"emails": ()}) == {}


def test_two_amounts_share_one_currency_field_only_if_they_agree():
    mapping = both(
        """
        a: {from: A, type: money, currency: {from: C}}
        b: {from: B, type: money, currency: {from: C}}
        """
    )
    euro, dollar = {"amount": 1, "currency": "EUR"}, {"amount": 2, "currency": "USD"}
    assert mapping.write({"a": euro, "b": euro}) == {"A": 1, "C": "EUR", "B": 1}
    with pytest.raises(MappingError, match="one currency"):
        mapping.write({"a": euro, "b": dollar})


@pytest.mark.parametrize("make", [push, both])
def test_an_amount_never_changes_its_currency_silently(make):
    fields = "X: {from: X, type: money, currency: EUR}"
    with pytest.raises(MappingError, match="the remote holds EUR here, the amount is in USD"):
        make(fields).write({"X": {"amount": 1, "currency": "USD"}})


def test_clear_works_inside_lists_too():
    mapping = push(
        "L: {each: l, fields: {A: {from: ., clear: true}, B: {from: ^.b, clear: true}, "
        "C: {from: x.c, clear: true}}}"
    )
    assert mapping.write({"l": [""], "b": None}) == {"L": [{"A": None, "B": None}]}
    assert mapping.write({"l": [{"x": {"c": None}}]})["L"][0]["C"] is None
    assert "C" not in mapping.write({"l": [{"x": None}]})["L"][0]
    quoted = push("""A: {from: "'x.y'", clear: true}\nB: {from: x.y, clear: true}""")
    assert quoted.write({"x.y": None}) == {"A": None, "B": None}
    assert quoted.write({"x": {"y": None}}) == {"B": None}


def test_clear_sends_null_only_for_a_field_that_is_there():
    mapping = both("a: {from: A, clear: true}\nb: {from: B}")
    assert mapping.write({"a": None, "b": None}) == {"A": None}
    assert mapping.write({}) == {}


def test_a_file_does_only_what_its_direction_says():
    with pytest.raises(ValueError, match="only pulls"):
        pull("a: X").write({})
    with pytest.raises(ValueError, match="only pushes"):
        push("A: x").read({})
    assert push("A: x").remote_fields == ()


REPLACEMENT = """
mapping: 1
id: erp.replacement_order
source: {canonical: replacement_order}
target: {operation: Create, soap_action: "urn:x", retries: {limit: 3}}
direction: push
idempotency: {field: Ref, lookup: {operation: Find, arg: ref}}
fields:
  Ref: key
  Reason: {from: reason, table: {map: {damaged: R10}, otherwise: R99}}
  Order: order.id
  City: {from: ship_to.city}
  Line: {each: lines, fields: {Sku: sku, Qty: {from: quantity, type: decimal, format: text}}}
"""


def test_a_request_is_pushed_as_pydantic_dumps_it():
    request = ReplacementOrderRequest(
        order=Ref(connection="erp", kind=Kind.ORDER, id="SO-1"),
        lines=(WantedLine(line="1", sku="A", quantity=Decimal("2.50")),),
        reason=Reason.DAMAGED,
        ship_to=Address(city="Berlin"),
    )
    mapping = Mapping.parse(REPLACEMENT)
    assert mapping.write({**request.model_dump(mode="python"), "key": "am-12345678"}) == {
        "Ref": "am-12345678",
        "Reason": "R10",
        "Order": "SO-1",
        "City": "Berlin",
        "Line": [{"Sku": "A", "Qty": "2.50"}],
    }


def test_a_request_that_cannot_be_mapped_is_refused_before_anything_is_sent():
    with pytest.raises(MappingError) as caught:
        Mapping.parse(REPLACEMENT).write({"lines": [{"quantity": "some"}]})
    assert caught.value.operation == "Create"
    assert [problem.field for problem in caught.value.problems] == ["Line.1.Qty"]


def test_a_mapping_tells_its_sides():
    mapping = Mapping.parse(REPLACEMENT)
    assert (mapping.canonical, mapping.operation, mapping.object) == (
        "replacement_order", "Create", "",
    )  # fmt: skip
    assert mapping.binding == {"soap_action": "urn:x", "retries": {"limit": 3}}
    assert mapping.idempotency is not None
    assert mapping.idempotency.field == "Ref"
    assert mapping.idempotency.lookup == {"operation": "Find", "arg": "ref"}
    other = Mapping.parse(sheet("a: X", more="match: {source: Id, target: external_ids.x}\n"))
    assert other.match is not None
    assert (other.match.theirs, other.match.ours) == ("Id", "external_ids.x")
