"""Fixtures: a remote record and what must become of it, beside the mapping that they prove."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from middleware.contract.mapping import document
from middleware.contract.mapping.document import Block, Sequence, plain
from middleware.contract.mapping.fields import Direction
from middleware.contract.mapping.issues import (
    AnswerUnreadable,
    Issue,
    MappingError,
    MappingInvalid,
    Place,
    Problem,
)
from middleware.contract.mapping.lint import find_files, fixtures_of
from middleware.contract.mapping.mapping import Mapping
from middleware.contract.mapping.vocabulary import FIXTURE, Report


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that is not what the fixture says. `got` None also stands for a missing field."""

    path: str
    expected: Any
    got: Any

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected!r}, got {self.got!r}"


@dataclass(frozen=True, slots=True)
class FixtureResult:
    """How one fixture went. A broken file counts as one failed fixture, with its issues."""

    mapping: pathlib.Path
    name: str
    place: Place
    differences: tuple[Difference, ...] = ()
    problems: tuple[Problem, ...] = ()
    issues: tuple[Issue, ...] = ()

    @property
    def ok(self) -> bool:
        return not (self.differences or self.problems or self.issues)

    def __str__(self) -> str:
        if self.ok:
            return f"{self.place}: ok {self.name}"
        lines = [f"{self.place}: FAILED {self.name}"]
        lines += [f"  {found}" for found in (*self.differences, *self.problems, *self.issues)]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Fixture:
    """One entry of a fixture file; `given` and `expected` are its `in` and `out`."""

    name: str
    place: Place
    given: dict[str, Any]
    expected: dict[str, Any] | None = None
    back: dict[str, Any] | None = None
    answer: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    refused: tuple[str, ...] = ()
    """Fields that the mapping must refuse."""


def read_fixtures(path: pathlib.Path) -> tuple[Fixture, ...]:
    """The fixtures of a file; raises MappingInvalid with the places of its mistakes."""
    root = document.read(path)
    report = Report()
    if not isinstance(root, Sequence):
        report.error("M011", "fixtures are a list: - name: …", root.place)
        raise MappingInvalid(report.issues)
    fixtures: list[Fixture] = []
    for item in root.items:
        if FIXTURE.check(item, report) and isinstance(item, Block):
            fixture = _fixture(item, report)
            fixtures.append(fixture)
    if report.issues:
        raise MappingInvalid(report.issues)
    return tuple(fixtures)


def _fixture(block: Block, report: Report) -> Fixture:
    values: dict[str, Any] = plain(block)
    for one, other in (("out", "in"), ("back", "in"), ("refused", "in"), ("result", "answer"),
                       ("answer", "result")):  # fmt: skip
        if one in values and other not in values:
            report.error("M012", f"{one} needs {other}", block.place_of(one))
    if not {"out", "refused", "result"} & set(values):
        report.error("M012", "a fixture needs out, refused or result", block.place)
    return Fixture(
        name=values["name"],
        place=block.place,
        given=values.get("in") or {},
        expected=values.get("out"),
        back=values.get("back"),
        answer=values.get("answer"),
        result=values.get("result"),
        refused=tuple(values.get("refused") or ()),
    )


def test_paths(given: Iterable[pathlib.Path]) -> list[FixtureResult]:
    """Run the fixtures of every mapping at, or below, the paths. Nothing is raised."""
    results: list[FixtureResult] = []
    for path in find_files(given):
        beside = fixtures_of(path)
        try:
            mapping = Mapping.load(path)
            fixtures = read_fixtures(beside) if beside.is_file() else ()
        except MappingInvalid as invalid:
            place = invalid.issues[0].place
            results.append(FixtureResult(path, "the file", place, issues=invalid.issues))
            continue
        results.extend(run(mapping, fixture) for fixture in fixtures)
    return results


test_paths.__test__ = False  # type: ignore[attr-defined]  # pytest must not take it for a test


def run(mapping: Mapping, fixture: Fixture) -> FixtureResult:
    """One fixture through its mapping."""
    differences: list[Difference] = []
    problems: list[Problem] = []
    is_push = mapping.direction is Direction.PUSH
    if fixture.expected is not None or fixture.refused:
        out, refused = _tried(mapping.write if is_push else mapping.read, fixture.given)
        surprising = [p for p in refused if p.field not in fixture.refused]
        problems.extend(surprising)
        missed = set(fixture.refused) - {p.field for p in refused}
        differences.extend(Difference(f, "refused", "taken") for f in sorted(missed))
        if fixture.expected is not None and not refused:
            differences.extend(subset(fixture.expected, out))
    if fixture.back is not None:
        if mapping.direction is not Direction.BOTH:
            differences.append(Difference("back", "direction: both", str(mapping.direction)))
        elif not problems:
            read, _ = mapping.convert(fixture.given)
            out, refused = _tried(mapping.write, read)
            problems.extend(refused)
            if not refused:
                differences.extend(subset(fixture.back, out, "back"))
    if fixture.answer is not None and fixture.result is not None:
        out, refused = _tried(mapping.read_answer, fixture.answer)
        problems.extend(refused)
        if not refused:
            differences.extend(subset(fixture.result, out, "result"))
    return FixtureResult(
        mapping.path, fixture.name, fixture.place, tuple(differences), tuple(problems)
    )


def _tried(
    convert: Callable[[dict[str, Any]], dict[str, Any]], given: dict[str, Any]
) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    try:
        return convert(given), ()
    except (MappingError, AnswerUnreadable) as error:
        return {}, error.problems


def subset(expected: Any, got: Any, path: str = "") -> Iterator[Difference]:
    """Where `got` differs from what is expected of it; what is not expected may be anything.

    Values compare by what they are worth: "49.90" equals Decimal("49.9"), and a moment equals the
    same moment in another zone. An expected null means that the field is absent.
    """
    if isinstance(expected, dict) and isinstance(got, dict):
        for key, value in expected.items():
            yield from subset(value, got.get(key), f"{path}.{key}" if path else key)
        return
    if isinstance(expected, list) and isinstance(got, list | tuple):
        if len(expected) != len(got):
            yield Difference(path, f"{len(expected)} elements", f"{len(got)} elements")
        for number, (wanted, had) in enumerate(zip(expected, got, strict=False), start=1):
            yield from subset(wanted, had, f"{path}.{number}")
        return
    if not _equal(expected, got):
        yield Difference(path, expected, got)


def _equal(expected: Any, got: Any) -> bool:
    if isinstance(expected, bool) or isinstance(got, bool):
        return expected is got
    if isinstance(got, Decimal) and isinstance(expected, str | int | float):
        try:
            return Decimal(str(expected)) == got
        except InvalidOperation:
            return False
    if isinstance(got, date) and isinstance(expected, str):
        return _same_time(expected, got)
    return bool(expected == got)


def _same_time(expected: str, got: date) -> bool:
    try:
        if not isinstance(got, datetime):
            return date.fromisoformat(expected) == got
        moment = datetime.fromisoformat(expected)
    except ValueError:
        return False
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) == got
