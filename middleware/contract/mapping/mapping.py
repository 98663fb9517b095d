"""One mapping file, read once: `read` turns their record into ours, `write` ours into theirs."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping as Values
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from middleware.contract.actions import Operation
from middleware.contract.mapping import document, paths, tables
from middleware.contract.mapping.compiling import Compiled, Compiler, apply, needed_paths
from middleware.contract.mapping.document import Block, Node, Scalar, Sequence, plain
from middleware.contract.mapping.fields import Defaults, Direction, FieldRule, Reader
from middleware.contract.mapping.issues import (
    AnswerUnreadable,
    MappingError,
    MappingInvalid,
    Place,
    Problem,
    Severity,
)
from middleware.contract.mapping.tables import Table
from middleware.contract.mapping.vocabulary import FILE, Report, template_parts

SUFFIX = ".map.yaml"
ROOT_NAME = "mappings"


@dataclass(frozen=True, slots=True)
class Match:
    """The one identifier by which both sides know a record."""

    theirs: str
    ours: str


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Where our key is stamped. `lookup` is the adapter's own: how a record is found by the key."""

    field: str
    lookup: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FaultRule:
    """What a fault code of the remote means for us."""

    code: str
    outcome: str
    """already_done, dead_letter, retry or reject."""
    message: str
    place: Place

    def text(self, *, code: str, faultstring: str = "") -> str:
        """The message for people, with the fault's code and words."""
        if not self.message:
            return faultstring or code
        words = {"code": code, "faultstring": faultstring}
        return "".join(
            words.get(part, "") if odd % 2 else part
            for odd, part in enumerate(template_parts(self.message))
        )


class MappedValues(dict[str, Any]):
    """What `Mapping.read` answers: a dict that remembers which line each field came from."""

    mapping: Mapping | None = None

    def place_of(self, field: str) -> str:
        """file:line:column of the line that made the field, or of the nearest one above it."""
        return self.mapping.place_of(field) if self.mapping is not None else ""


def root_of(path: pathlib.Path) -> pathlib.Path:
    """The mappings tree that a file belongs to: the nearest folder above it named `mappings`.

    Without such a folder it is the file's own. Value tables are read from inside it only.
    """
    folder = path.resolve().parent
    for candidate in (folder, *folder.parents):
        if candidate.name == ROOT_NAME:
            return candidate
    return folder


class Mapping:
    """One mapping file. Build it with `load` or `parse`."""

    def __init__(self, root: Block, path: pathlib.Path, tree: pathlib.Path, report: Report) -> None:
        self.path = path
        self.warnings = ()
        _Builder(self, root, path, tree, report).build()

    id: str
    title: str
    owner: str
    path: pathlib.Path
    place: Place
    direction: Direction
    canonical: str
    """Our record or action, such as `contact` or `replacement_order`."""
    object: str
    """Their object, table or resource; empty for an operation."""
    operation: str | None
    connection: str | None
    """The connection that this file is for; None means every one of its system."""
    binding: dict[str, Any]
    """Further keys of the remote side, for the adapter to interpret."""
    wsdl_lock: str | None
    match: Match | None
    idempotency: Idempotency | None
    defaults: Defaults
    fields: tuple[FieldRule, ...]
    answer_fields: tuple[FieldRule, ...]
    ignore: tuple[str, ...]
    faults: tuple[FaultRule, ...]
    places: Values[str, Place]
    _reading: tuple[Compiled, ...]
    _writing: dict[bool, tuple[Compiled, ...]]
    _answering: tuple[Compiled, ...]

    @classmethod
    def load(cls, path: pathlib.Path, *, root: pathlib.Path | None = None) -> Mapping:
        """Read a file; raises MappingInvalid with every mistake in it.

        `root` is the tree that value tables may be read from, by default `root_of(path)`.
        """
        path = pathlib.Path(path)
        return cls._from(document.read(path), path, root or root_of(path))

    @classmethod
    def parse(cls, text: str, path: pathlib.Path | None = None) -> Mapping:
        """Read a file's text, as if it stood at `path`."""
        path = path or pathlib.Path("text" + SUFFIX)
        return cls._from(document.parse(text, str(path)), path, root_of(path))

    @classmethod
    def _from(cls, node: Node, path: pathlib.Path, root: pathlib.Path) -> Mapping:
        report = Report()
        if not isinstance(node, Block):
            report.error(
                "M000", "a mapping file is a block of keys, not a list or a word", node.place
            )
            raise MappingInvalid(report.issues)
        return cls(node, path, root, report)

    def __repr__(self) -> str:
        return f"Mapping({self.id!r}, {self.direction}, {str(self.path)!r})"

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
        if self.defaults.on_error == "skip_field":
            problems = tuple(p for p in problems if self._must_have(p.field))
        if problems:
            raise MappingError(problems, operation=self.operation or "")
        return values

    def convert(self, theirs: Values[str, Any]) -> tuple[dict[str, Any], tuple[Problem, ...]]:
        """Like `read`, but answers what could be read beside the problems."""
        if not self.pulls:
            raise ValueError(f"{self.id} only pushes; it cannot read")
        problems: list[Problem] = []
        record = self._whole(theirs, problems)
        if problems:
            return MappedValues(), tuple(problems)
        values = MappedValues(apply(self._reading, record, None, problems))
        values.mapping = self
        return values, tuple(problems)

    def write(self, ours: Values[str, Any], *, creating: bool = True) -> dict[str, Any]:
        """Our values in their words, nested by their path; raises MappingError.

        Only mapped fields are sent, and null only where `clear: true` says so. Without `creating`
        the record exists already: `only_create` fields are left out, and a required field is
        missed only if it is there but empty.
        """
        if not self.pushes:
            raise ValueError(f"{self.id} only pulls; it cannot write")
        problems: list[Problem] = []
        out = apply(self._writing[creating], self._whole(ours, problems), None, problems)
        if problems:
            raise MappingError(problems, operation=self.operation or "")
        return out

    def read_answer(self, answer: Values[str, Any]) -> dict[str, Any]:
        """The answer of a write by the `response:` section; raises AnswerUnreadable.

        That is an Ambiguous error: the write was done, so what its answer lacks must be looked up.
        """
        problems: list[Problem] = []
        out = apply(self._answering, self._whole(answer, problems), None, problems)
        if problems:
            raise AnswerUnreadable(problems, operation=self.operation or "")
        return out

    def fault(self, code: str) -> FaultRule | None:
        """What a fault code means: the exact entry, else the longest `prefix*` that fits."""
        best: FaultRule | None = None
        for rule in self.faults:
            if rule.code == code:
                return rule
            fits = rule.code.endswith("*") and code.startswith(rule.code[:-1])
            if fits and (best is None or len(rule.code) > len(best.code)):
                best = rule
        return best

    def place_of(self, field: str) -> str:
        """file:line:column of the line for a target path, or of the nearest one above it."""
        wanted = field.split(".")
        best, found = 0, self.place
        for rule in self.fields:
            segments = list(rule.path.segments)
            common = min(len(segments), len(wanted))
            if segments[:common] == wanted[:common] and common > best:
                best, found = common, rule.where
        return str(found)

    def _whole(self, value: Any, problems: list[Problem]) -> dict[str, Any]:
        """The value as a dict; anything but an object is a problem of the whole record."""
        if type(value) is dict:
            return value
        if isinstance(value, Values):
            return dict(value)
        problems.append(Problem("", "an object was expected", str(self.place), value))
        return {}

    def _must_have(self, field: str) -> bool:
        """Whether the field is required, at its own line or inside a list."""
        rules = self.fields
        for rule in rules:
            if field == rule.key or field.startswith(rule.key + "."):
                return rule.required or rule.origin == "each"
        return True


class _Builder:
    """Fills a Mapping from its checked document; raises MappingInvalid with all issues."""

    def __init__(
        self,
        mapping: Mapping,
        root: Block,
        path: pathlib.Path,
        tree: pathlib.Path,
        report: Report,
    ) -> None:
        self.mapping, self.root, self.path, self.tree, self.report = (
            mapping, root, path, tree, report,
        )  # fmt: skip

    def build(self) -> None:
        root, report = self.root, self.report
        FILE.check(root, report)
        self._doubtful(root)
        defaults = self._defaults()
        direction = self._direction()
        named = self._tables()
        reader = Reader(report, defaults, named, self.path.resolve().parent, self.tree)
        fields: tuple[FieldRule, ...] = ()
        if direction is not None:
            fields = reader.rules(
                root.get("fields"), direction, inverted=direction is Direction.BOTH
            )
        answer = reader.rules(root.get("response"), Direction.PULL, inverted=False)
        mapping = self.mapping
        self._sides()
        mapping.faults = self._faults()
        mapping.idempotency = self._idempotency()
        mapping.fields, mapping.answer_fields, mapping.defaults = fields, answer, defaults
        if direction is not None:
            mapping.direction = direction
            self._key(direction)
        if report.errors:
            raise MappingInvalid(_once(report))
        self._names()
        self._compile(direction or Direction.PULL)

    def _doubtful(self, root: Block) -> None:
        for scalar in document.scalars(root):
            if scalar.doubtful:
                self.report.error(
                    "M006",
                    f"YAML reads the unquoted {scalar.text} as {scalar.value!r}; "
                    f'write "{scalar.text}"',
                    scalar.place,
                )

    def _defaults(self) -> Defaults:
        node = self.root.get("defaults")
        known = Defaults.__dataclass_fields__
        if not isinstance(node, Block):
            return Defaults()
        stated: dict[str, Any] = {
            name: entry.node.value if isinstance(entry.node.value, bool) else entry.node.text
            for name, entry in node.entries.items()
            if name in known and isinstance(entry.node, Scalar)
        }
        return Defaults(**stated)

    def _direction(self) -> Direction | None:
        node = self.root.get("direction")
        if isinstance(node, Scalar) and node.text in set(Direction):
            return Direction(node.text)
        return None

    def _tables(self) -> dict[str, Table | None]:
        node = self.root.get("tables")
        if not isinstance(node, Block):
            return {}
        out: dict[str, Table | None] = {}
        shape = FILE.keys["tables"].shape
        for name, entry in node.entries.items():
            fine = shape.check(Block(node.place, {name: entry}), Report())
            out[name] = (
                tables.from_block(name, entry.node, self.path.parent, self.tree, self.report)
                if fine and isinstance(entry.node, Block)
                else None
            )
        return out

    def _sides(self) -> None:
        """Which side is ours; exactly one names a canonical record."""
        source, target = self.root.get("source"), self.root.get("target")
        direction = self._direction()
        if not isinstance(source, Block) or not isinstance(target, Block):
            return
        ours = [side for side in (source, target) if "canonical" in side.entries]
        if len(ours) != 1:
            self.report.error(
                "M012",
                "exactly one of source and target names our record: canonical: contact",
                self.root.place_of("target"),
            )
            return
        (own,) = ours
        theirs = target if own is source else source
        if direction is not None:
            expected = source if direction is Direction.PUSH else target
            if own is not expected:
                self.report.error(
                    "M012",
                    f"with direction: {direction} the canonical record is the "
                    f"{'source' if direction is Direction.PUSH else 'target'}",
                    self.root.place_of("direction"),
                )
        if not {"object", "operation"} & set(theirs.entries):
            self.report.error("M012", "the remote side needs object or operation", theirs.place)
        for key in own.entries:
            if key != "canonical":
                self.report.error(
                    "M001", f"{key!r} belongs to the remote side, not beside canonical",
                    own.place_of(key),
                )  # fmt: skip
        self.mapping.canonical = _text(own, "canonical")
        self.mapping.object = _text(theirs, "object")
        self.mapping.operation = _text(theirs, "operation") or None
        self.mapping.connection = _text(theirs, "connection") or None
        self.mapping.wsdl_lock = _text(theirs, "wsdl_lock") or None
        own_keys = {"connection", "object", "operation", "canonical"}
        self.mapping.binding = {
            name: plain(entry.node)
            for name, entry in theirs.entries.items()
            if name not in own_keys
        }
        self._own_side_is_source = own is source

    def _faults(self) -> tuple[FaultRule, ...]:
        node = self.root.get("faults")
        if not isinstance(node, Block):
            return ()
        rules: list[FaultRule] = []
        for code, entry in node.entries.items():
            if "*" in code[:-1]:
                self.report.error("M011", f"{code!r}: * stands only at the end", entry.key.place)
            if isinstance(entry.node, Block):
                rules.append(
                    FaultRule(
                        code,
                        _text(entry.node, "outcome"),
                        _text(entry.node, "message"),
                        entry.key.place,
                    )
                )
        return tuple(rules)

    def _idempotency(self) -> Idempotency | None:
        node = self.root.get("idempotency")
        if not isinstance(node, Block):
            return None
        lookup = node.get("lookup")
        return Idempotency(_text(node, "field"), plain(lookup) if isinstance(lookup, Block) else {})

    def _key(self, direction: Direction) -> None:
        """M008: no write without a key that can be looked up."""
        mapping = self.mapping
        canonical = getattr(mapping, "canonical", "")
        is_write = direction is Direction.PUSH and canonical in set(Operation)
        if is_write and mapping.idempotency is None and self.root.get("match") is None:
            self.report.error(
                "M008",
                f"a {canonical} is a write; say with idempotency: {{field: …}} where our key goes, "
                "so that it is never done twice",
                self.root.place_of("fields"),
            )
        if mapping.idempotency is None or direction is not Direction.PUSH:
            return
        for rule in mapping.fields:
            if rule.path.text != mapping.idempotency.field:
                continue
            if not any(path.key == "key" or path.key.endswith("_key") for path in rule.sources):
                self.report.error(
                    "M008", f"{rule.key!r} bears our key, so it must be made from `key`", rule.where
                )
            for use in rule.uses:
                if use.step.name in ("truncate", "digits"):
                    self.report.error(
                        "M008", f"step {use.step.name} would cut our key; it must arrive whole",
                        use.place,
                    )  # fmt: skip

    def _names(self) -> None:
        mapping, root = self.mapping, self.root
        mapping.id = _text(root, "id")
        mapping.title = _text(root, "title")
        mapping.owner = _text(root, "owner")
        mapping.place = root.place
        ignored = root.get("ignore")
        mapping.ignore = (
            tuple(i.text for i in ignored.items if isinstance(i, Scalar))
            if isinstance(ignored, Sequence)
            else ()
        )
        mapping.places = {name: entry.key.place for name, entry in root.entries.items()}
        match = root.get("match")
        mapping.match = None
        if isinstance(match, Block):
            ours, theirs = (
                ("source", "target") if self._own_side_is_source else ("target", "source")
            )
            mapping.match = Match(theirs=_text(match, theirs), ours=_text(match, ours))

    def _compile(self, direction: Direction) -> None:
        mapping = self.mapping
        zone, unknown = ZoneInfo(mapping.defaults.timezone), mapping.defaults.unknown_value
        reading = Compiler(zone=zone, unknown_value=unknown)
        pushing = Compiler(zone=zone, unknown_value=unknown, pushing=True)
        mapping._reading, mapping._writing = (), {True: (), False: ()}
        mapping._answering = reading.forward(mapping.answer_fields)
        if direction is Direction.PUSH:
            mapping._writing = {
                creating: pushing.forward(mapping.fields, creating=creating)
                for creating in (True, False)
            }
            return
        mapping._reading = reading.forward(r for r in mapping.fields if r.direction.pulls)
        if direction is Direction.BOTH:
            mapping._writing = {
                creating: reading.back(mapping.fields, creating=creating)
                for creating in (True, False)
            }


def _text(block: Block, key: str) -> str:
    node = block.get(key)
    return node.text if isinstance(node, Scalar) else ""


def _once(report: Report) -> list[Any]:
    """The errors, each once: a mistake may be met by its shape and by its meaning."""
    kept: dict[Any, Any] = {}
    for issue in report.issues:
        if issue.severity is Severity.ERROR:
            kept.setdefault((issue.place, issue.code, issue.message), issue)
    return list(kept.values())
