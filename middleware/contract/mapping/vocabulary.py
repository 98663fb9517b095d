"""The closed vocabulary of a mapping file: every key, what it may hold, and what it is for.

One description serves three readers: the checker (every mistake with its place), the JSON Schema
that editors complete from, and the test that holds `docs/mapping.md` complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from middleware.contract.mapping.document import Block, Node, Scalar
from middleware.contract.mapping.issues import Place, did_you_mean
from middleware.contract.mapping.shapes import (
    Either,
    FieldPath,
    Flag,
    Key,
    Keys,
    Many,
    Named,
    Number,
    Open,
    Pair,
    Report,
    Schema,
    Shape,
    Template,
    Text,
    Value,
    Whole,
    Words,
    Zone,
    check_path,
    check_target,
    template_parts,
)
from middleware.contract.mapping.steps import STEPS, Argument
from middleware.contract.mapping.values import TYPES

__all__ = [
    "CONFLICT",
    "DEFINITIONS",
    "DIRECTIONS",
    "FIELD",
    "FILE",
    "FIXTURE",
    "ON_ERROR",
    "OUTCOMES",
    "SOURCES",
    "UNKNOWN_VALUE",
    "VERSION",
    "Either",
    "FieldPath",
    "Flag",
    "Key",
    "Keys",
    "Many",
    "Named",
    "Number",
    "Open",
    "Pair",
    "Ref",
    "Report",
    "Schema",
    "Shape",
    "StepShape",
    "Template",
    "Text",
    "Value",
    "Whole",
    "Words",
    "Zone",
    "check_path",
    "check_target",
    "template_parts",
]

VERSION = 1


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
