"""What a mapping file says, read and checked; every mistake is found before any is reported."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping as Values
from dataclasses import dataclass
from typing import Any

from middleware.contract.actions import Operation
from middleware.contract.mapping import document, tables
from middleware.contract.mapping.document import Block, Node, Scalar, Sequence, plain
from middleware.contract.mapping.fields import Defaults, Direction, FieldRule, Reader
from middleware.contract.mapping.issues import Issue, MappingInvalid, Place, Severity
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
            words[part] if odd % 2 else part
            for odd, part in enumerate(template_parts(self.message))
        )


@dataclass(frozen=True, slots=True)
class Sides:
    """Who is mapped to whom. `object` is empty where the remote side is an operation."""

    canonical: str
    object: str
    operation: str | None
    connection: str | None
    binding: dict[str, Any]
    wsdl_lock: str | None
    ours_is_source: bool
    place: Place
    """Where the remote's object or operation is named."""


@dataclass(frozen=True, slots=True)
class MappingFile:
    """A correct mapping file."""

    path: pathlib.Path
    place: Place
    places: Values[str, Place]
    """Where each top-level key stands."""
    id: str
    title: str
    owner: str
    direction: Direction
    sides: Sides
    match: Match | None
    defaults: Defaults
    fields: tuple[FieldRule, ...]
    answer: tuple[FieldRule, ...]
    ignore: tuple[str, ...]
    idempotency: Idempotency | None
    faults: tuple[FaultRule, ...]
    warnings: tuple[Issue, ...]


def root_of(path: pathlib.Path) -> pathlib.Path:
    """The mappings tree that a file belongs to: the nearest folder above it named `mappings`.

    Without such a folder it is the file's own. Value tables are read from inside it only.
    """
    folder = path.absolute().parent
    for candidate in (folder, *folder.parents):
        if candidate.name == ROOT_NAME:
            return candidate
    return folder


def load(path: pathlib.Path, root: pathlib.Path | None = None) -> MappingFile:
    """Read a file; raises MappingInvalid with every mistake in it."""
    return _build(document.read(path), path, root or root_of(path))


def parse(text: str, path: pathlib.Path) -> MappingFile:
    """Read a file's text as if it stood at `path`; raises MappingInvalid."""
    return _build(document.parse(text, str(path)), path, root_of(path))


def _build(node: Node, path: pathlib.Path, root: pathlib.Path) -> MappingFile:
    if not isinstance(node, Block):
        message = "a mapping file is a block of keys, not a list or a word"
        raise MappingInvalid([Issue("M000", message, node.place)])
    return _Builder(node, path, root).build()


class _Builder:
    def __init__(self, root: Block, path: pathlib.Path, tree: pathlib.Path) -> None:
        self.root = root
        self.path = path
        self.tree = tree
        self.report = Report()

    def build(self) -> MappingFile:
        root, report = self.root, self.report
        FILE.check(root, report)
        self._doubtful()
        defaults, direction = self._defaults(), self._direction()
        named = self._tables()
        reader = Reader(report, defaults, named, self.path.parent, self.tree)
        answer = reader.rules(root.get("response"), Direction.PULL, inverted=False)
        reader.pushing = direction is Direction.PUSH
        fields = reader.rules(root.get("fields"), direction, inverted=direction is Direction.BOTH)
        sides, idempotency = self._sides(direction), self._idempotency()
        faults = self._faults()
        if sides is not None:
            self._key(direction, sides, idempotency, fields)
        if report.errors or sides is None:
            raise MappingInvalid(_once(report.issues, Severity.ERROR))
        return MappingFile(
            path=self.path,
            place=root.place,
            places={name: entry.key.place for name, entry in root.entries.items()},
            id=_text(root, "id"),
            title=_text(root, "title"),
            owner=_text(root, "owner"),
            direction=direction,
            sides=sides,
            match=self._match(sides),
            defaults=defaults,
            fields=fields,
            answer=answer,
            ignore=self._ignore(),
            idempotency=idempotency,
            faults=faults,
            warnings=tuple(_once(report.issues, Severity.WARNING)),
        )

    def _doubtful(self) -> None:
        told = {issue.place for issue in self.report.issues if issue.code == "M006"}
        for scalar in document.scalars(self.root):
            if scalar.doubtful and scalar.place not in told:
                self.report.error(
                    "M006",
                    f"YAML reads the unquoted {scalar.text} as {scalar.value!r}; "
                    f'write "{scalar.text}"',
                    scalar.place,
                )

    def _defaults(self) -> Defaults:
        node = self.root.get("defaults")
        shape = FILE.keys["defaults"].shape
        if not isinstance(node, Block) or not shape.check(node, Report()):
            return Defaults()
        stated: dict[str, Any] = {
            name: entry.node.value if isinstance(entry.node.value, bool) else entry.node.text
            for name, entry in node.entries.items()
            if isinstance(entry.node, Scalar)
        }
        return Defaults(**stated)

    def _direction(self) -> Direction:
        """The file's direction; where it is wrong, which is reported, the least demanding one."""
        stated = _text(self.root, "direction")
        return Direction(stated) if stated in set(Direction) else Direction.PULL

    def _tables(self) -> dict[str, Table | None]:
        node = self.root.get("tables")
        if not isinstance(node, Block):
            return {}
        shape = FILE.keys["tables"].shape
        out: dict[str, Table | None] = {}
        for name, entry in node.entries.items():
            fine = shape.check(Block(node.place, {name: entry}), Report())
            out[name] = (
                tables.from_block(name, entry.node, self.path.parent, self.tree, self.report)
                if fine and isinstance(entry.node, Block)
                else None
            )
        return out

    def _sides(self, direction: Direction) -> Sides | None:
        """Which side is ours; exactly one names a canonical record."""
        source, target = self.root.get("source"), self.root.get("target")
        if not isinstance(source, Block) or not isinstance(target, Block):
            return None
        ours_is_source = "canonical" in source.entries
        if ours_is_source is ("canonical" in target.entries):
            self.report.error(
                "M012",
                "exactly one of source and target names our record: canonical: contact",
                self.root.place_of("target"),
            )
            return None
        ours, theirs = (source, target) if ours_is_source else (target, source)
        if ours_is_source is not (direction is Direction.PUSH):
            self.report.error(
                "M012",
                f"with direction: {direction} the canonical record is the "
                f"{'target' if ours_is_source else 'source'}",
                self.root.place_of("direction"),
            )
        for key in ours.entries:
            if key != "canonical":
                self.report.error(
                    "M001", f"{key!r} belongs to the remote's side", ours.place_of(key)
                )
        named = [key for key in ("operation", "object") if key in theirs.entries]
        if not named:
            self.report.error("M012", "the remote's side needs object or operation", theirs.place)
            return None
        own_keys = {"connection", "object", "operation", "wsdl_lock"}
        return Sides(
            canonical=_text(ours, "canonical"),
            object=_text(theirs, "object"),
            operation=_text(theirs, "operation") or None,
            connection=_text(theirs, "connection") or None,
            binding={
                name: plain(entry.node)
                for name, entry in theirs.entries.items()
                if name not in own_keys
            },
            wsdl_lock=_text(theirs, "wsdl_lock") or None,
            ours_is_source=ours_is_source,
            place=theirs.entries[named[0]].node.place,
        )

    def _match(self, sides: Sides) -> Match | None:
        node = self.root.get("match")
        if not isinstance(node, Block):
            return None
        source, target = _text(node, "source"), _text(node, "target")
        return Match(target, source) if sides.ours_is_source else Match(source, target)

    def _ignore(self) -> tuple[str, ...]:
        node = self.root.get("ignore")
        items = node.items if isinstance(node, Sequence) else ()
        return tuple(item.text for item in items if isinstance(item, Scalar))

    def _faults(self) -> tuple[FaultRule, ...]:
        node = self.root.get("faults")
        if not isinstance(node, Block):
            return ()
        rules: list[FaultRule] = []
        for code, entry in node.entries.items():
            if "*" in code[:-1]:
                self.report.error("M011", f"{code!r}: * stands only at the end", entry.key.place)
            if isinstance(entry.node, Block):
                outcome, message = _text(entry.node, "outcome"), _text(entry.node, "message")
                rules.append(FaultRule(code, outcome, message, entry.key.place))
        return tuple(rules)

    def _idempotency(self) -> Idempotency | None:
        node = self.root.get("idempotency")
        if not isinstance(node, Block):
            return None
        lookup = node.get("lookup")
        return Idempotency(_text(node, "field"), plain(lookup) if lookup is not None else {})

    def _key(
        self,
        direction: Direction,
        sides: Sides,
        idempotency: Idempotency | None,
        fields: tuple[FieldRule, ...],
    ) -> None:
        """M008: no write without a key that arrives whole and can be looked up."""
        if direction is not Direction.PUSH:
            return
        if idempotency is None:
            if sides.canonical in set(Operation) and "match" not in self.root.entries:
                self.report.error(
                    "M008",
                    f"a {sides.canonical} is a write; say where our key goes with "
                    "idempotency: {field: …}, so that it is never done twice",
                    self.root.place_of("fields"),
                )
            return
        for rule in fields:
            if rule.path.text != idempotency.field:
                continue
            if not any(_is_key(path.key) for path in rule.sources):
                self.report.error(
                    "M008", f"{rule.key!r} bears our key, so it must be made from key", rule.where
                )
            for use in rule.uses:
                if use.step.name in _CUTTING:
                    message = f"step {use.step.name} would change our key; it must arrive whole"
                    self.report.error("M008", message, use.place)
            if rule.when or rule.only_create:
                name = "when" if rule.when else "only_create"
                message = f"{name} could leave our key out; it must always be sent"
                self.report.error("M008", message, rule.places[name])


def _is_key(path: str) -> bool:
    """`key`, or what an adapter derives from it where the remote's field is short: `short_key`."""
    return path == "key" or path.endswith("_key")


_CUTTING = ("truncate", "digits", "lower", "upper", "replace", "split")


def _text(block: Block, key: str) -> str:
    node = block.get(key)
    return node.text if isinstance(node, Scalar) else ""


def _once(issues: list[Issue], severity: Severity) -> list[Issue]:
    """Each issue once: a mistake may be met by its shape and again by its meaning."""
    return list(dict.fromkeys(issue for issue in issues if issue.severity is severity))
