"""Shapes: what a value in a file may look like, as a check with places and as JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from middleware.contract.mapping import paths
from middleware.contract.mapping.document import Block, Node, Scalar, Sequence
from middleware.contract.mapping.issues import Issue, Place, Severity, did_you_mean

Schema = dict[str, Any]


@dataclass(slots=True)
class Report:
    """Collects issues while a file is read."""

    issues: list[Issue] = field(default_factory=list)

    def error(self, code: str, message: str, place: Place) -> bool:
        self.issues.append(Issue(code, message, place))
        return False

    def warning(self, code: str, message: str, place: Place) -> None:
        self.issues.append(Issue(code, message, place, Severity.WARNING))

    @property
    def errors(self) -> int:
        return sum(issue.severity is Severity.ERROR for issue in self.issues)


class Shape(Protocol):
    """What a value may look like."""

    def check(self, node: Node, report: Report) -> bool:
        """Report what is wrong with the node; True when nothing is."""
        ...

    def schema(self) -> Schema:
        """The same as JSON Schema."""
        ...


def _called(node: Node) -> str:
    if isinstance(node, Block):
        return "a block of keys"
    if isinstance(node, Sequence):
        return "a list"
    if node.value is None:
        return "empty"
    if isinstance(node.value, bool):
        return f"the boolean {node.text}"
    if isinstance(node.value, int | float):
        return f"the number {node.text}"
    return f"the text {node.text!r}"


@dataclass(frozen=True, slots=True)
class Words:
    """One of a few words."""

    words: tuple[str, ...]

    def check(self, node: Node, report: Report) -> bool:
        if isinstance(node, Scalar) and node.text in self.words:
            return True
        hint = did_you_mean(node.text, self.words) if isinstance(node, Scalar) else ""
        return report.error(
            "M011",
            f"must be one of {', '.join(self.words)}; it is {_called(node)}{hint}",
            node.place,
        )

    def schema(self) -> Schema:
        # YAML reads an unquoted `null` as nothing; here it is a word.
        return {"enum": [*self.words, *([None] if "null" in self.words else [])]}


@dataclass(frozen=True, slots=True)
class Text:
    """Text; a number or boolean must be quoted."""

    pattern: str = ""
    what: str = "text"

    def check(self, node: Node, report: Report) -> bool:
        if isinstance(node, Scalar) and isinstance(node.value, bool | int | float):
            return report.error(
                "M006", f'YAML reads this as {_called(node)}; write "{node.text}"', node.place
            )
        if not isinstance(node, Scalar) or not isinstance(node.value, str):
            return report.error("M011", f"must be {self.what}; it is {_called(node)}", node.place)
        if self.pattern and not re.fullmatch(self.pattern, node.value):
            return report.error("M011", f"must be {self.what}; it is {_called(node)}", node.place)
        return True

    def schema(self) -> Schema:
        return {"type": "string", **({"pattern": f"^(?:{self.pattern})$"} if self.pattern else {})}


@dataclass(frozen=True, slots=True)
class Flag:
    def check(self, node: Node, report: Report) -> bool:
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return True
        return report.error("M011", f"must be true or false; it is {_called(node)}", node.place)

    def schema(self) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Whole:
    low: int
    high: int

    def check(self, node: Node, report: Report) -> bool:
        if (
            isinstance(node, Scalar)
            and type(node.value) is int
            and self.low <= node.value <= self.high
        ):
            return True
        return report.error(
            "M011",
            f"must be a whole number from {self.low} to {self.high}; it is {_called(node)}",
            node.place,
        )

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True)
class Value:
    """Text, a number or a boolean that goes into a record as it stands."""

    def check(self, node: Node, report: Report) -> bool:
        if not isinstance(node, Scalar):
            return report.error("M011", f"must be one value; it is {_called(node)}", node.place)
        if node.value is None:
            return report.error("M006", 'the value is empty; write "" or leave it out', node.place)
        return True

    def schema(self) -> Schema:
        return {"type": ["string", "number", "boolean"]}


@dataclass(frozen=True, slots=True)
class Number:
    """A positive number, exact: quoted or not."""

    def check(self, node: Node, report: Report) -> bool:
        written = node.text if isinstance(node, Scalar) else ""
        if re.fullmatch(r"\d{1,12}(\.\d{1,12})?", written) and Decimal(written) > 0:
            return True
        return report.error("M011", f"must be a positive number; it is {_called(node)}", node.place)

    def schema(self) -> Schema:
        return {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": r"^\d{1,12}(\.\d{1,12})?$"},
            ]
        }


@dataclass(frozen=True, slots=True)
class Zone:
    def check(self, node: Node, report: Report) -> bool:
        if not Text().check(node, report):
            return False
        assert isinstance(node, Scalar)
        try:
            ZoneInfo(node.text)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return report.error(
                "M011", f"no time zone {node.text!r}; write one such as Europe/Berlin", node.place
            )
        return True

    def schema(self) -> Schema:
        return {"type": "string", "examples": ["UTC", "Europe/Berlin", "America/New_York"]}


@dataclass(frozen=True, slots=True)
class FieldPath:
    """Where a value stands in a record."""

    def check(self, node: Node, report: Report) -> bool:
        if not Text(what="the path of a field").check(node, report):
            return False
        assert isinstance(node, Scalar)
        return check_path(node.text, node.place, report)

    def schema(self) -> Schema:
        return {"type": "string", "minLength": 1}


def check_path(text: str, place: Place, report: Report) -> bool:
    """Report a path that cannot be parsed, or that names an absurd list index."""
    try:
        path = paths.parse(text)
    except paths.PathInvalid as error:
        return report.error("M013", str(error), place)
    for segment, literal in zip(path.segments, path.literal, strict=True):
        if paths.is_index(segment, literal) and len(segment.lstrip("0")) > 2:
            return report.error(
                "M013",
                f"{text!r}: a list index goes up to {paths.MAX_INDEX}; quote a key made of digits",
                place,
            )
    return True


@dataclass(frozen=True, slots=True)
class Many:
    """A list of one shape."""

    item: Shape
    what: str
    low: int = 1

    def check(self, node: Node, report: Report) -> bool:
        if not isinstance(node, Sequence) or len(node.items) < self.low:
            return report.error("M011", f"must be a list of {self.what}", node.place)
        checked = [self.item.check(item, report) for item in node.items]
        return all(checked)

    def schema(self) -> Schema:
        return {"type": "array", "items": self.item.schema(), "minItems": self.low}


_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def template_parts(text: str) -> tuple[str, ...]:
    """Literal text and paths by turns, beginning and ending with text."""
    return tuple(_PLACEHOLDER.split(text))


@dataclass(frozen=True, slots=True)
class Template:
    """Text with `{path}` in it; `words` closes the list of what may stand in the braces."""

    words: tuple[str, ...] = ()

    def check(self, node: Node, report: Report) -> bool:
        if not Text(what="text with {fields}").check(node, report):
            return False
        assert isinstance(node, Scalar)
        parts = template_parts(node.text)
        if any(set(text) & set("{}") for text in parts[::2]):
            return report.error("M011", "a brace without its partner", node.place)
        if self.words:
            for word in parts[1::2]:
                if word not in self.words:
                    hint = did_you_mean(word, self.words)
                    return report.error(
                        "M011",
                        f"{{{word}}} is not one of {', '.join(self.words)}{hint}",
                        node.place,
                    )
            return True
        if len(parts) == 1:
            return report.error("M011", "names no {field}; use const", node.place)
        checked = [check_path(path, node.place, report) for path in parts[1::2]]
        return all(checked)

    def schema(self) -> Schema:
        return {"type": "string", "examples": ["{FirstName} {LastName}"]}


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a block. `doc` is one sentence for the schema and the guide."""

    shape: Shape
    doc: str


@dataclass(frozen=True, slots=True)
class Keys:
    """A block with known keys; `open` blocks may hold others, which adapters interpret."""

    keys: Mapping[str, Key]
    required: tuple[str, ...] = ()
    open: bool = False
    one_of: tuple[str, ...] = ()
    """Keys of which exactly one stands here; checked where the message can say more."""

    def check(self, node: Node, report: Report) -> bool:
        if not isinstance(node, Block):
            return report.error(
                "M011", f"must be a block of keys; it is {_called(node)}", node.place
            )
        fine = True
        for name, entry in node.entries.items():
            known = self.keys.get(name)
            if known is not None:
                fine &= known.shape.check(entry.node, report)
            elif not self.open:
                hint = did_you_mean(name, self.keys)
                fine = report.error("M001", f"unknown key {name!r}{hint}", entry.key.place)
        for name in self.required:
            if name not in node.entries:
                fine = report.error("M012", f"key {name!r} is missing", node.place)
        return fine

    def schema(self) -> Schema:
        return {
            "type": "object",
            "properties": {
                name: {"description": key.doc, **key.shape.schema()}
                for name, key in self.keys.items()
            },
            **({"required": list(self.required)} if self.required else {}),
            **({} if self.open else {"additionalProperties": False}),
            **({"oneOf": [{"required": [name]} for name in self.one_of]} if self.one_of else {}),
        }


@dataclass(frozen=True, slots=True)
class Named:
    """A block whose keys are the file's own names."""

    item: Shape
    what: str
    paths: bool = False
    low: int = 1

    def check(self, node: Node, report: Report) -> bool:
        if not isinstance(node, Block) or len(node.entries) < self.low:
            return report.error(
                "M011", f"must be a block of {self.what}; it is {_called(node)}", node.place
            )
        fine = True
        for name, entry in node.entries.items():
            if self.paths:
                fine &= check_target(name, entry.key.place, report)
            fine &= self.item.check(entry.node, report)
        return fine

    def schema(self) -> Schema:
        return {
            "type": "object",
            "additionalProperties": self.item.schema(),
            "minProperties": self.low,
        }


def check_target(text: str, place: Place, report: Report) -> bool:
    """A path that is written to: no `^`, `.` or `#`."""
    if not check_path(text, place, report):
        return False
    path = paths.parse(text)
    if path.ups or path.special:
        return report.error("M013", f"{text!r} can be read, not written", place)
    return True


@dataclass(frozen=True, slots=True)
class Either:
    """One shape for a single value, another for a block, another for a list."""

    one: Shape | None = None
    block: Shape | None = None
    many: Shape | None = None
    what: str = ""

    def check(self, node: Node, report: Report) -> bool:
        shape = (
            self.block if isinstance(node, Block)
            else self.many if isinstance(node, Sequence)
            else self.one
        )  # fmt: skip
        if shape is None:
            return report.error("M011", f"must be {self.what}; it is {_called(node)}", node.place)
        return shape.check(node, report)

    def schema(self) -> Schema:
        return {"anyOf": [s.schema() for s in (self.one, self.block, self.many) if s is not None]}


@dataclass(frozen=True, slots=True)
class Open:
    """Anything; an adapter interprets it."""

    def check(self, node: Node, report: Report) -> bool:
        return True

    def schema(self) -> Schema:
        return {}


@dataclass(frozen=True, slots=True)
class Pair:
    """A list of exactly two: each its own shape."""

    first: Shape
    second: Shape
    example: str

    def check(self, node: Node, report: Report) -> bool:
        if not isinstance(node, Sequence) or len(node.items) != 2:
            return report.error("M011", f"must be two values: {self.example}", node.place)
        first = self.first.check(node.items[0], report)
        return self.second.check(node.items[1], report) and first

    def schema(self) -> Schema:
        return {
            "type": "array",
            "prefixItems": [self.first.schema(), self.second.schema()],
            "minItems": 2,
            "maxItems": 2,
        }
