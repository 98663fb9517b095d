"""The closed vocabulary of a mapping file: every key, what it may hold, and what it is for.

One description serves three readers: the checker (every mistake with its place), the JSON Schema
that editors complete from, and the table in `docs/mapping.md`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from middleware.contract.mapping import paths
from middleware.contract.mapping.document import Block, Node, Scalar, Sequence
from middleware.contract.mapping.issues import Issue, Place, Severity, did_you_mean
from middleware.contract.mapping.steps import STEPS, Argument
from middleware.contract.mapping.values import TYPES

VERSION = 1

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
class Ref:
    """A shape that is defined once and may contain itself."""

    name: str

    def check(self, node: Node, report: Report) -> bool:
        return DEFINITIONS[self.name].check(node, report)

    def schema(self) -> Schema:
        return {"$ref": f"#/$defs/{self.name}"}


@dataclass(frozen=True, slots=True)
class StepShape:
    """`trim`, or `{pad_left: [10, "0"]}`."""

    def check(self, node: Node, report: Report) -> bool:
        if isinstance(node, Scalar):
            step = STEPS.get(node.text)
            if step is None:
                return self._unknown(node.text, node.place, report)
            if step.argument is not Argument.NONE:
                return report.error(
                    "M003", f"step {step.name!r} needs a value: {_usage(step.name)}", node.place
                )
            return True
        if not isinstance(node, Block) or len(node.entries) != 1:
            return report.error("M003", "a step is one word, or one word: value", node.place)
        ((name, entry),) = node.entries.items()
        if name not in STEPS:
            return self._unknown(name, entry.key.place, report)
        shape = _ARGUMENTS[STEPS[name].argument]
        if shape is None:
            return report.error("M003", f"step {name!r} takes no value", entry.key.place)
        return shape.check(entry.node, report)

    @staticmethod
    def _unknown(name: str, place: Place, report: Report) -> bool:
        return report.error("M003", f"unknown step {name!r}{did_you_mean(name, STEPS)}", place)

    def schema(self) -> Schema:
        options: list[Schema] = [
            {"enum": [s.name for s in STEPS.values() if s.argument is Argument.NONE]}
        ]
        options.extend(
            {
                "type": "object",
                "properties": {step.name: {"description": step.doc, **shape.schema()}},
                "required": [step.name],
                "additionalProperties": False,
            }
            for step in STEPS.values()
            if (shape := _ARGUMENTS[step.argument]) is not None
        )
        return {"anyOf": options}


def _usage(name: str) -> str:
    return {
        Argument.TEXT: f"{{{name}: text}}",
        Argument.WHOLE: f"{{{name}: 40}}",
        Argument.SWAP: f'{{{name}: ["old", "new"]}}',
        Argument.PAD: f'{{{name}: [10, "0"]}}',
        Argument.NONE: name,
    }[STEPS[name].argument]


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


_ARGUMENTS: Mapping[Argument, Shape | None] = {
    Argument.NONE: None,
    Argument.TEXT: Text(r"[\s\S]+"),
    Argument.WHOLE: Whole(1, 100_000),
    Argument.SWAP: Pair(Text(r"[\s\S]+"), Text(), '["old", "new"]'),
    Argument.PAD: Pair(Whole(1, 200), Text(r"[\s\S]", "one character"), '[10, "0"]'),
}

UNKNOWN_VALUE = ("error", "keep", "null")
CONFLICT = ("source", "target", "newest", "non_null", "review")
ON_ERROR = ("quarantine", "skip_field", "fail_job", "fail_action")
DIRECTIONS = ("pull", "push", "both")
OUTCOMES = ("already_done", "dead_letter", "retry", "reject")

SOURCES = ("from", "first_of", "all_of", "template", "const", "each")
"""Keys of a field that say where its value comes from; a field has exactly one."""

_FALLBACK = Keys(
    {
        "from": Key(FieldPath(), "the field that holds it"),
        "default": Key(Text(), "what it is where that field is empty"),
    }
)

_TABLE = Keys(
    {
        "pairs": Key(Named(Value(), "codes"), "theirs: ours, one to one, good for both ways"),
        "map": Key(Named(Value(), "codes"), "source: target; several may share a target"),
        "file": Key(
            Text(r"[^\\:*?\"<>|]+\.csv", "the path of a .csv file"),
            "a CSV file with the columns source and target, relative to this file",
        ),
        "otherwise": Key(Value(), "the target for every value that has no entry"),
    },
    one_of=("pairs", "map", "file"),
)

_CONDITION = Keys(
    {
        "present": Key(FieldPath(), "the field holds something"),
        "absent": Key(FieldPath(), "the field is empty"),
        "from": Key(FieldPath(), "the field that is compared"),
        "is": Key(Value(), "it equals this"),
        "is_not": Key(Value(), "it differs from this, or is empty"),
        "in": Key(Many(Value(), "values"), "it is one of these"),
        "not_in": Key(Many(Value(), "values"), "it is none of these"),
    }
)

FIELD = Keys(
    {
        "from": Key(FieldPath(), "the field that the value comes from"),
        "first_of": Key(Many(FieldPath(), "paths"), "the first of these fields that is not empty"),
        "all_of": Key(Many(FieldPath(), "paths"), "all of these fields that are not empty, a list"),
        "template": Key(Template(), "text put together from {fields}"),
        "const": Key(Value(), "the same value always"),
        "each": Key(FieldPath(), "the list whose elements are mapped by `fields`"),
        "fields": Key(Ref("fields"), "the fields of each element"),
        "push_to": Key(FieldPath(), "with first_of and all_of: the field that a push writes"),
        "use": Key(Many(StepShape(), "steps"), "named steps, applied from left to right"),
        "table": Key(
            Either(Text(what="a table's name"), _TABLE, what="a table's name, or a table"),
            "the value table that translates codes",
        ),
        "type": Key(Words(tuple(TYPES)), "what the value is"),
        "scale": Key(Whole(0, 12), "decimal places of a decimal or money; rounds half up"),
        "currency": Key(
            Either(
                Text("[A-Z]{3}", "a code such as EUR"), _FALLBACK, what="a code, or from/default"
            ),
            "the currency of money",
        ),
        "region": Key(
            Either(
                Text("[A-Z]{2}", "a code such as DE"), _FALLBACK, what="a code, or from/default"
            ),
            "the country that a phone number without prefix is in",
        ),
        "format": Key(
            Text(r"[\s\S]+"),
            "a date's form (%d.%m.%Y, unix, unix_ms), or text/number for what is written",
        ),
        "unit": Key(
            Keys(
                {
                    "from": Key(FieldPath(), "the field that holds the unit"),
                    "is": Key(Text(), "the unit that it always has"),
                    "to": Key(Text(), "the unit that it is converted to"),
                    "factors": Key(Named(Number(), "factors"), "how many `to` one of each unit is"),
                },
                required=("to",),
            ),
            "converts a quantity from one unit to another",
        ),
        "default": Key(Value(), "the value where the source is empty; not translated again"),
        "required": Key(Flag(), "an empty value is a problem"),
        "max_length": Key(Whole(1, 1_000_000), "a longer value is a problem"),
        "many": Key(Flag(), "the field holds a list, in both systems"),
        "when": Key(
            Either(
                None, _CONDITION, Many(_CONDITION, "conditions"), "a condition, or a list of them"
            ),
            "the field is left out unless this holds; of a list, all",
        ),
        "only_create": Key(Flag(), "sent when a record is made, not when it is changed"),
        "clear": Key(Flag(), "an empty value empties the remote field; otherwise it is not sent"),
        "direction": Key(Words(DIRECTIONS), "narrows the file's direction"),
        "conflict": Key(Words(CONFLICT), "who wins when both sides changed"),
        "unknown_value": Key(Words(UNKNOWN_VALUE), "what happens to a value without table entry"),
        "pii": Key(Flag(), "personal data: masked in previews and logs"),
        "decimal_comma": Key(Flag(), "numbers are written 1.234,50"),
    },
    one_of=SOURCES,
)

_SIDE = Keys(
    {
        "canonical": Key(Text("[a-z][a-z0-9_]*", "a name such as contact"), "our record or action"),
        "connection": Key(
            Text(), "the connection that this file is for; without it, for every one"
        ),
        "object": Key(Text(), "their object, table or resource"),
        "operation": Key(Text(), "their operation"),
        "wsdl_lock": Key(
            Text("sha256:[0-9a-f]{64}", "sha256: and 64 hex digits"),
            "the hash of the WSDL that the file was written against",
        ),
    },
    open=True,
)

FILE = Keys(
    {
        "mapping": Key(Whole(VERSION, VERSION), "the version of the file format"),
        "id": Key(
            Text("[a-z0-9][a-z0-9_.-]*", "a name such as salesforce.contact"), "its own name"
        ),
        "title": Key(Text(), "what it maps, in words"),
        "owner": Key(Text(), "who answers when a record is refused"),
        "source": Key(_SIDE, "where values come from"),
        "target": Key(_SIDE, "where values go; the names of `fields` are this side's"),
        "direction": Key(Words(DIRECTIONS), "pull: theirs to ours; push: ours to theirs; both"),
        "match": Key(
            Keys(
                {
                    "source": Key(FieldPath(), "the identifier on the source's side"),
                    "target": Key(FieldPath(), "the identifier on the target's side"),
                },
                required=("source", "target"),
            ),
            "the one identifier by which both sides know the record",
        ),
        "defaults": Key(
            Keys(
                {
                    "on_error": Key(Words(ON_ERROR), "what happens to a record with a problem"),
                    "unknown_value": Key(Words(UNKNOWN_VALUE), "for every table of the file"),
                    "conflict": Key(Words(CONFLICT), "for every field of the file"),
                    "timezone": Key(Zone(), "of times without an offset, and of days"),
                    "decimal_comma": Key(Flag(), "numbers are written 1.234,50"),
                    "region": Key(Text("[A-Z]{2}", "a code such as DE"), "for every phone number"),
                    "currency": Key(Text("[A-Z]{3}", "a code such as EUR"), "for all money"),
                }
            ),
            "what holds for all fields that do not say otherwise",
        ),
        "tables": Key(Named(_TABLE, "tables"), "value tables, by name"),
        "fields": Key(Ref("fields"), "target: source, one line per field"),
        "ignore": Key(
            Many(Text(what="a field, * for any letters"), "remote fields"),
            "remote fields that are left out on purpose",
        ),
        "idempotency": Key(
            Keys(
                {
                    "field": Key(FieldPath(), "their field that bears our key"),
                    "lookup": Key(Keys({}, open=True), "how the adapter finds a record by the key"),
                },
                required=("field",),
            ),
            "where our key is stamped, and how it is found again",
        ),
        "response": Key(Ref("fields"), "ours: theirs, for the answer of an operation"),
        "faults": Key(
            Named(
                Keys(
                    {
                        "outcome": Key(Words(OUTCOMES), "what the fault means for us"),
                        "message": Key(Template(("code", "faultstring")), "what people are shown"),
                    },
                    required=("outcome",),
                ),
                "fault codes",
            ),
            "the remote's fault codes, exact or with * at the end",
        ),
    },
    required=("mapping", "id", "source", "target", "direction", "fields"),
)

FIXTURE = Keys(
    {
        "name": Key(Text(), "what the fixture shows"),
        "origin": Key(Text(), "where the record comes from: captured, documented, constructed"),
        "in": Key(Keys({}, open=True), "a record: theirs for a pull, ours for a push"),
        "out": Key(Keys({}, open=True), "what it must become; fields left out may be anything"),
        "back": Key(Keys({}, open=True), "what `out` becomes on the way back, of a file of both"),
        "refused": Key(Many(FieldPath(), "paths"), "the fields that must be refused"),
        "answer": Key(Keys({}, open=True), "an answer of the operation"),
        "result": Key(Keys({}, open=True), "what `response:` must make of the answer"),
    },
    required=("name",),
)

DEFINITIONS: Mapping[str, Shape] = {
    "fields": Named(
        Either(FieldPath(), FIELD, what="a path, or a block of keys"), "fields", paths=True
    ),
}


def key_docs(keys: Keys) -> Iterable[tuple[str, str]]:
    """Every key of a block with its sentence."""
    return ((name, key.doc) for name, key in keys.keys.items())
