"""Fixtures prove a mapping, and fail when it does something else."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from middleware.contract.mapping import fixtures
from middleware.contract.mapping.fixtures import FixtureResult, subset
from tests.contract.mapping.sheet import sheet

FILES = Path(__file__).parent / "files" / "mappings"


def run(tmp_path: Path, mapping: str, fixture: str) -> FixtureResult:
    (tmp_path / "a.map.yaml").write_text(mapping)
    (tmp_path / "a.fixtures.yaml").write_text(fixture)
    (result,) = fixtures.test_paths([tmp_path])
    return result


def told(result: FixtureResult) -> list[str]:
    return [str(found) for found in (*result.differences, *result.problems, *result.issues)]


def test_the_files_of_these_tests_pass():
    results = fixtures.test_paths([FILES])
    assert [result.name for result in results] == [
        "damaged item, two lines",
        "Brazilian customer with blank mobile",
    ]
    assert all(result.ok for result in results), [told(r) for r in results]


def test_a_difference_is_told_by_its_path(tmp_path):
    result = run(
        tmp_path,
        sheet("a.b: X\nl: {each: L, fields: {c: C}}\nn: N"),
        "- name: it\n  in: {X: 1, L: [{C: 1}, {C: 2}]}\n"
        "  out: {a: {b: 2}, l: [{c: 1}, {c: 3}], n: 4}\n",
    )
    assert not result.ok
    assert told(result) == [
        "a.b: expected 2, got 1",
        "l.2.c: expected 3, got 2",
        "n: expected 4, got None",
    ]
    assert str(result).splitlines()[0].endswith("a.fixtures.yaml:1:3: FAILED it")


def test_what_a_fixture_does_not_expect_may_be_anything(tmp_path):
    fixture = "- {name: it, in: {X: 1, Y: 2}, out: {b: null, a: 1}}\n"
    assert run(tmp_path, sheet("a: X\nc: Y"), fixture).ok
    result = run(tmp_path, sheet("a: X\nb: Y"), fixture)
    assert told(result) == ["b: expected None, got 2"]


def test_a_refusal_fails_unless_it_is_expected(tmp_path):
    mapping = sheet("a: {from: X, type: integer}\nb: Y")
    result = run(tmp_path, mapping, "- {name: it, in: {X: x}, out: {b: 1}}\n")
    assert [found.split(": ", 1)[1] for found in told(result)] == ["a: not a number"]
    assert run(tmp_path, mapping, "- {name: it, in: {X: x}, refused: [a]}\n").ok
    result = run(tmp_path, mapping, "- {name: it, in: {X: 1}, refused: [a]}\n")
    assert told(result) == ["a: expected 'refused', got 'taken'"]


def test_the_way_back_is_proved_by_back(tmp_path):
    mapping = sheet("a: {from: X, use: [lower]}", direction="both")
    assert run(tmp_path, mapping, "- {name: it, in: {X: A}, out: {a: a}, back: {X: a}}\n").ok
    result = run(tmp_path, mapping, "- {name: it, in: {X: A}, out: {a: a}, back: {X: A}}\n")
    assert told(result) == ["back.X: expected 'A', got 'a'"]
    result = run(tmp_path, sheet("a: X"), "- {name: it, in: {X: A}, out: {}, back: {X: A}}\n")
    assert told(result) == ["back: expected 'direction: both', got 'pull'"]


def test_a_push_is_proved_from_ours_to_theirs(tmp_path):
    mapping = sheet("A.B: {from: x, type: decimal}", direction="push")
    assert run(tmp_path, mapping, "- {name: it, in: {x: 1.5}, out: {A: {B: '1.50'}}}\n").ok


def test_an_answer_is_proved_by_its_result(tmp_path):
    mapping = sheet("a: X", more="response: {id: {from: No, required: true}}\n")
    assert run(tmp_path, mapping, "- {name: it, answer: {No: 7}, result: {id: 7}}\n").ok
    result = run(tmp_path, mapping, "- {name: it, answer: {}, result: {id: 7}}\n")
    assert any("id: a value is required, it is empty" in found for found in told(result))


@pytest.mark.parametrize(
    ("fixture", "issue"),
    [
        ("name: it\n", "1:1: error M011 fixtures are a list"),
        ("- {in: {}, out: {}}\n", "1:3: error M012 key 'name' is missing"),
        ("- {name: it, in: {}, ouut: {}}\n", "1:22: error M001 unknown key 'ouut' (did you mean"),
        ("- {name: it, in: {}}\n", "1:3: error M012 a fixture needs out, refused or result"),
        ("- {name: it, out: {}}\n", "1:14: error M012 out needs in"),
        ("- {name: it, result: {}}\n", "1:14: error M012 result needs answer"),
        ("- {name: it, in: [], out: {}}\n", "1:18: error M011 must be a block of keys"),
        ("- [\n", "2:1: error M000 "),
    ],
)
def test_a_wrong_fixture_file_is_a_failure_with_its_place(tmp_path, fixture, issue):
    result = run(tmp_path, sheet("a: X"), fixture)
    assert not result.ok
    assert any(found.startswith(f"{tmp_path}/a.fixtures.yaml:{issue}") for found in told(result))


def test_a_wrong_mapping_is_a_failure_too(tmp_path):
    result = run(tmp_path, sheet("a: {use: [trim]}"), "- {name: it, in: {}, out: {}}\n")
    assert "M002" in told(result)[0]


def test_a_mapping_without_fixtures_gives_no_result(tmp_path):
    (tmp_path / "a.map.yaml").write_text(sheet("a: X"))
    assert fixtures.test_paths([tmp_path]) == []


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        ("49.90", Decimal("49.9"), True),
        (49.9, Decimal("49.90"), True),
        ("49.91", Decimal("49.9"), False),
        ("x", Decimal(1), False),
        ("2026-11-21", date(2026, 11, 21), True),
        ("2026-11-22", date(2026, 11, 21), False),
        ("2026-11-21T09:00:00+01:00", datetime(2026, 11, 21, 8, tzinfo=UTC), True),
        ("2026-11-21T08:00:00", datetime(2026, 11, 21, 8, tzinfo=UTC), True),
        ("2026-11-21T08:00:01Z", datetime(2026, 11, 21, 8, tzinfo=UTC), False),
        ("soon", datetime(2026, 11, 21, 8, tzinfo=UTC), False),
        (1, True, False),
        (True, 1, False),
        (True, True, True),
        (0, False, False),
        ("1", 1, False),
        ([1, 2], (1, 2), True),
        ([1], [1, 2], False),
        ([], None, False),
        ({"a": 1}, None, False),
        ({}, {"a": 1}, True),
        (None, None, True),
    ],
)
def test_values_compare_by_what_they_are_worth(expected: Any, got: Any, same: bool):
    assert (list(subset(expected, got)) == []) is same
