"""A preview shows what becomes of a record, and hides whose it is."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from middleware.contract.mapping import MappingInvalid
from middleware.contract.mapping.preview import MASK, preview, preview_file
from tests.contract.mapping.sheet import pull, push

FILES = Path(__file__).parent / "files" / "mappings"


def test_every_line_has_its_row():
    mapping = pull(
        """
        a: {from: A, use: [trim]}
        b: {first_of: [B, C]}
        c: {template: "{A}-{B}"}
        d: {const: 5}
        e: {from: E, type: integer}
        f: F
        """
    )
    rows = preview(mapping, {"A": " x ", "C": 1, "E": "no"})
    assert [(r.target, r.source, r.before, r.after, r.problem) for r in rows] == [
        ("a", "A", " x ", "x", ""),
        ("b", "B | C", 1, 1, ""),
        ("c", "{A}-{B}", "x-", "x-", ""),
        ("d", "const 5", 5, 5, ""),
        ("e", "E", "no", None, "not a number"),
        ("f", "F", None, None, ""),
    ]
    assert [row.ok for row in rows] == [True, True, True, True, False, True]
    assert rows[4].place == "text.map.yaml:11:13"


def test_lists_are_shown_element_by_element():
    mapping = pull(
        """
        l: {each: L, fields: {n: "#", c: ^.C, q: {from: Q, type: decimal}}}
        m: {each: M, fields: {x: X}}
        w: {each: L, fields: {n: "#"}, when: {present: W}}
        """
    )
    rows = preview(mapping, {"C": "EUR", "L": [{"Q": "1"}, {"Q": "x"}]})
    assert [(row.target, row.after, row.problem) for row in rows] == [
        ("l.1.n", 1, ""),
        ("l.1.c", "EUR", ""),
        ("l.1.q", Decimal(1), ""),
        ("l.2.n", 2, ""),
        ("l.2.c", "EUR", ""),
        ("l.2.q", None, "not a number"),
        ("m", None, ""),
        ("w", None, ""),
    ]


def test_personal_data_is_masked_unless_it_is_asked_for():
    mapping = pull(
        """
        name: {from: N, pii: true}
        none: {from: X, pii: true}
        tier: T
        kids: {each: K, pii: true, fields: {age: A}}
        """
    )
    sample = {"N": "Ana", "T": "gold", "K": [{"A": 7}]}
    assert [(r.target, r.before, r.after, r.masked) for r in preview(mapping, sample)] == [
        ("name", MASK, MASK, True),
        ("none", None, None, True),
        ("tier", "gold", "gold", False),
        ("kids.1.age", MASK, MASK, True),
    ]
    shown = preview(mapping, sample, show_personal=True)
    assert [row.after for row in shown] == ["Ana", None, "gold", 7]
    assert not any(row.masked for row in shown)


def test_a_push_is_previewed_from_our_values():
    (row,) = preview(push("A: {from: x, clear: true}"), {"x": None})
    assert (row.target, row.source, row.after) == ("A", "x", None)


def test_samples_come_from_records_and_files(tmp_path):
    path = FILES / "salesforce" / "contact.map.yaml"
    record = {"LastName": "Souza"}
    (tmp_path / "one.json").write_text(json.dumps(record))
    (tmp_path / "many.json").write_text(json.dumps([record]))
    (tmp_path / "one.yaml").write_text("LastName: Souza\n")
    fixture = path.with_name("contact.fixtures.yaml")
    for sample in (record, fixture, *(tmp_path / n for n in ("one.json", "many.json", "one.yaml"))):
        rows = {row.target: row for row in preview_file(path, sample)}
        assert rows["family_name"].after == "Souza"
        assert rows["family_name"].place.endswith("contact.map.yaml:24:25")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "a.json:1:2: error M000 not JSON"),
        ("a.json", "[1]", "error M000 a sample is one record"),
        ("a.json", "[" * 100_000, "error M000 cannot be read: not JSON"),
        ("a.yaml", "a: [", "a.yaml:1:5: error M000"),
        ("a.yaml", "[]", "error M000 a sample is one record"),
    ],
)
def test_a_sample_that_is_no_record_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(MappingInvalid) as caught:
        preview_file(FILES / "salesforce" / "contact.map.yaml", tmp_path / name)
    assert message in str(caught.value)
    with pytest.raises(MappingInvalid, match="cannot be read"):
        preview_file(FILES / "salesforce" / "contact.map.yaml", tmp_path / "none.json")
