"""One mapping file, ready for use: `read` turns theirs into ours, `write` ours into theirs."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping as Values
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

from middleware.contract.mapping import digest, file, paths
from middleware.contract.mapping.compiling import Compiled, Compiler, apply, needed_paths
from middleware.contract.mapping.fields import Direction, FieldRule
from middleware.contract.mapping.file import SUFFIX, FaultRule, Idempotency, MappingFile, Match
from middleware.contract.mapping.issues import AnswerUnreadable, MappingError, Place, Problem
from middleware.contract.mapping.undoing import Undoer


class MappedValues(dict[str, Any]):
    """What `Mapping.read` answers: a dict that remembers which line each field came from."""

    mapping: Mapping | None = None

    def place_of(self, field: str) -> str:
        """file:line:column of the line that made the field, or of the nearest one above it."""
        return self.mapping.place_of(field) if self.mapping is not None else ""


class Mapping:
    """A mapping file as functions. Immutable, and safe to share between threads."""

    def __init__(self, content: MappingFile) -> None:
        self.file = content
        zone, unknown = ZoneInfo(content.defaults.timezone), content.defaults.unknown_value
        pulling = Compiler(zone=zone, unknown_value=unknown)
        pushing = Compiler(zone=zone, unknown_value=unknown, pushing=True)
        self.answering: tuple[Compiled, ...] = pulling.forward(content.answer)
        self.reading: tuple[Compiled, ...] = ()
        self.creating: tuple[Compiled, ...] = ()
        self.changing: tuple[Compiled, ...] = ()
        if content.direction is Direction.PUSH:
            self.creating = pushing.forward(content.fields, creating=True)
            self.changing = pushing.forward(content.fields, creating=False)
            return
        self.reading = pulling.forward(content.fields)
        if content.direction is Direction.BOTH:
            undoing = Undoer(zone=zone, unknown_value=unknown)
            self.creating = undoing.plan(content.fields, creating=True)
            self.changing = undoing.plan(content.fields, creating=False)

    @classmethod
    def load(cls, path: pathlib.Path, *, root: pathlib.Path | None = None) -> Mapping:
        """Read a file; raises MappingInvalid with every mistake in it.

        `root` is the tree that value tables may be read from: by default the nearest folder above
        the file that is named `mappings`.
        """
        return cls(file.load(pathlib.Path(path), root))

    @classmethod
    def parse(cls, text: str, path: pathlib.Path | None = None) -> Mapping:
        """Read a file's text, as if it stood at `path`; raises MappingInvalid."""
        return cls(file.parse(text, path or pathlib.Path("text" + SUFFIX)))

    def __repr__(self) -> str:
        return f"Mapping({self.id!r}, {self.direction}, {str(self.path)!r})"

    @property
    def id(self) -> str:
        return self.file.id

    @cached_property
    def reads_by(self) -> str:
        """What it reads records by: another one makes other records of what the remote has."""
        return digest.reading(self.file)

    @property
    def title(self) -> str:
        return self.file.title

    @property
    def owner(self) -> str:
        """Who answers when a record is refused."""
        return self.file.owner

    @property
    def path(self) -> pathlib.Path:
        return self.file.path

    @property
    def direction(self) -> Direction:
        return self.file.direction

    @property
    def canonical(self) -> str:
        """Our record or action, such as `contact` or `replacement_order`."""
        return self.file.sides.canonical

    @property
    def object(self) -> str:
        """Their object, table or resource; empty for an operation."""
        return self.file.sides.object

    @property
    def operation(self) -> str | None:
        return self.file.sides.operation

    @property
    def connection(self) -> str | None:
        """The connection that this file is for; None means every one of its system."""
        return self.file.sides.connection

    @property
    def binding(self) -> dict[str, Any]:
        """Further keys of the remote's side, for the adapter to interpret."""
        return self.file.sides.binding

    @property
    def wsdl_lock(self) -> str | None:
        """The hash of the WSDL that the file was written against, as `sha256:…`."""
        return self.file.sides.wsdl_lock

    @property
    def match(self) -> Match | None:
        """The identifier by which both sides know a record."""
        return self.file.match

    @property
    def idempotency(self) -> Idempotency | None:
        """Where our key is stamped, and how it is found again."""
        return self.file.idempotency

    @property
    def fields(self) -> tuple[FieldRule, ...]:
        return self.file.fields

    @property
    def on_error(self) -> str:
        """What a problem leads to: quarantine, skip_field, fail_job or fail_action."""
        return self.file.defaults.on_error

    @property
    def pulls(self) -> bool:
        return self.direction.pulls

    @property
    def pushes(self) -> bool:
        return self.direction.pushes

    @property
    def remote_fields(self) -> tuple[str, ...]:
        """Their paths that a pull needs, each once, in the order of the file."""
        if not self.pulls:
            return ()
        first = (paths.parse(self.match.theirs).key,) if self.match else ()
        return tuple(dict.fromkeys((*first, *needed_paths(self.fields))))

    def read(self, theirs: Values[str, Any]) -> dict[str, Any]:
        """Their record in our words, nested by canonical path; raises MappingError.

        Empty fields are left out. With `on_error: skip_field` a refused field is left out too,
        unless it is required. Not for the answer of a write: that is `read_answer`.
        """
        values, problems = self.convert(theirs)
        if problems and self.on_error == "skip_field":
            problems = tuple(p for p in problems if self._indispensable(p.field))
        if problems:
            raise MappingError(problems, operation=self.operation or "")
        return values

    def convert(self, theirs: Values[str, Any]) -> tuple[dict[str, Any], tuple[Problem, ...]]:
        """Like `read`, but answers what could be read beside all problems."""
        if not self.pulls:
            raise ValueError(f"{self.id} only pushes; it cannot read")
        problems: list[Problem] = []
        record = self._whole(theirs, problems)
        values = (
            MappedValues()
            if problems
            else MappedValues(apply(self.reading, record, None, problems))
        )
        values.mapping = self
        return values, tuple(problems)

    def write(self, ours: Values[str, Any], *, creating: bool = True) -> dict[str, Any]:
        """Our values in their words, nested by their path; raises MappingError.

        Only mapped fields are sent, and null only where `clear: true` says so. Dates, times and
        decimals stay Python values unless a `format` makes them text. Without `creating` the
        record exists already: `only_create` fields are left out, and in a file of both directions
        a required field is missed only if it is there but empty.
        """
        if not self.pushes:
            raise ValueError(f"{self.id} only pulls; it cannot write")
        problems: list[Problem] = []
        record = self._whole(ours, problems)
        if not problems:
            record = apply(self.creating if creating else self.changing, record, None, problems)
        if problems:
            raise MappingError(problems, operation=self.operation or "")
        return record

    def read_answer(self, answer: Values[str, Any]) -> dict[str, Any]:
        """The answer of a write, by the `response:` section; raises AnswerUnreadable.

        That is an Ambiguous error: the write was done, so what its answer lacks must be looked up.
        """
        problems: list[Problem] = []
        out = apply(self.answering, self._whole(answer, problems), None, problems)
        if problems:
            raise AnswerUnreadable(problems, operation=self.operation or "")
        return out

    def fault(self, code: str) -> FaultRule | None:
        """What a fault code means: the exact entry, else the longest `prefix*` that fits."""
        best: FaultRule | None = None
        for rule in self.file.faults:
            if rule.code == code:
                return rule
            fits = rule.code.endswith("*") and code.startswith(rule.code[:-1])
            if fits and (best is None or len(rule.code) > len(best.code)):
                best = rule
        return best

    def place_of(self, field: str) -> str:
        """file:line:column of the line for a target path, or of the nearest one above it."""
        return str(_nearest(self.fields, field.split("."), self.file.place))

    def _whole(self, value: Any, problems: list[Problem]) -> dict[str, Any]:
        """The value as a dict; anything but an object is a problem of the whole record."""
        if type(value) is dict:
            return value
        if isinstance(value, Values):
            return dict(value)
        problems.append(Problem("", "an object was expected", str(self.file.place), value))
        return {}

    def _indispensable(self, field: str) -> bool:
        """Whether a record without the field is wrong: it is required, or a line would be lost."""
        for rule in self.fields:
            if field == rule.key or field.startswith(rule.key + "."):
                return rule.required or rule.origin == "each"
        return True


def _nearest(rules: tuple[FieldRule, ...], wanted: list[str], place: Place) -> Place:
    """The place of the rule whose path shares the longest beginning with what is wanted."""
    best = 0
    for rule in rules:
        segments = list(rule.path.segments)
        common = min(len(segments), len(wanted))
        if segments[:common] != wanted[:common] or common <= best:
            continue
        best, place = common, rule.where
        rest = wanted[common:]
        if rule.origin == "each" and rest and rest[0].isdigit():
            place = _nearest(rule.fields, rest[1:], place)
    return place
