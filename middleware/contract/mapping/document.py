"""YAML 1.2 with the place of every key and value.

The parser's events are turned into nodes here, not by the library's constructors: no tag builds an
object, aliases are counted before they are expanded, keys are unique, and a number keeps the text
it was written as, so that the code `0100` is never mistaken for the number 100.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from middleware.contract.mapping.issues import Issue, MappingInvalid, Place

MAX_BYTES = 1024 * 1024
MAX_NODES = 50_000
MAX_DEPTH = 40

_PLAIN_TAGS = {
    None,
    "tag:yaml.org,2002:str",
    "tag:yaml.org,2002:map",
    "tag:yaml.org,2002:seq",
}
_NULL = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "True", "TRUE"}
_FALSE = {"false", "False", "FALSE"}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value. `value` is str, int, float, bool or None; `text` is what stands in the file."""

    place: Place
    text: str
    value: str | int | float | bool | None

    @property
    def doubtful(self) -> bool:
        """True for an unquoted number or word whose text the YAML value does not keep."""
        if isinstance(self.value, str) or self.value is None:
            return False
        if isinstance(self.value, bool):
            return self.text not in ("true", "false")
        return self.text != str(self.value)


@dataclass(frozen=True, slots=True)
class Sequence:
    place: Place
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    key: Scalar
    node: Node


@dataclass(frozen=True, slots=True)
class Block:
    """A YAML mapping; "block" here, because *mapping* is our word for the whole file."""

    place: Place
    entries: dict[str, Entry] = field(default_factory=dict)

    def get(self, key: str) -> Node | None:
        entry = self.entries.get(key)
        return entry.node if entry else None

    def place_of(self, key: str) -> Place:
        """Where the key stands, or the block itself when it has no such key."""
        entry = self.entries.get(key)
        return entry.key.place if entry else self.place


Node = Scalar | Sequence | Block


def plain(node: Node) -> Any:
    """The node as dicts, lists and scalars; keys are always text."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return {key: plain(entry.node) for key, entry in node.entries.items()}


def scalars(node: Node) -> Iterator[Scalar]:
    """Every scalar below a node, keys included."""
    if isinstance(node, Scalar):
        yield node
    elif isinstance(node, Sequence):
        for item in node.items:
            yield from scalars(item)
    else:
        for entry in node.entries.values():
            yield entry.key
            yield from scalars(entry.node)


def _resolved(text: str) -> str | int | float | bool | None:
    """What an unquoted scalar means in the YAML 1.2 core schema."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if len(text) <= 40 and _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if len(text) <= 40 and _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", "", 1).lower())
    return text


class _Composer:
    """Builds nodes from events; every refusal names its place."""

    def __init__(self, text: str, file: str) -> None:
        self._file = file
        self._events = iter(YAML(typ="safe", pure=True).parse(text))
        self._anchors: dict[str, Node] = {}
        self._sizes: dict[int, int] = {}
        self._nodes = 0

    def _place(self, event: Any) -> Place:
        return Place(self._file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _refuse(self, event: Any, message: str) -> MappingInvalid:
        return MappingInvalid([Issue("M000", message, self._place(event))])

    def _count(self, nodes: int, event: Any) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise self._refuse(event, f"more than {MAX_NODES} values, aliases counted in full")

    def document(self) -> Node:
        root: Node | None = None
        for event in self._events:
            if isinstance(event, StreamStartEvent | StreamEndEvent | DocumentEndEvent):
                continue
            if isinstance(event, DocumentStartEvent):
                if root is not None:
                    raise self._refuse(event, "a second document; a file holds one")
                if event.version not in (None, (1, 2)):
                    raise self._refuse(event, "the file must be YAML 1.2; leave %YAML out")
                continue
            root = self._node(event, 0)
        if root is None:
            raise MappingInvalid([Issue("M000", "the file is empty", Place(self._file, 1, 1))])
        return root

    def _node(self, event: Any, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self._refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, AliasEvent):
            if event.anchor not in self._anchors:
                raise self._refuse(event, f"no anchor &{event.anchor} before this alias")
            node = self._anchors[event.anchor]
            self._count(self._sizes[id(node)], event)
            return node
        before = self._nodes
        self._count(1, event)
        if event.tag not in _PLAIN_TAGS:
            raise self._refuse(event, f"tag {event.tag} is not allowed; write plain YAML")
        if isinstance(event, ScalarEvent):
            node = self._scalar(event)
        elif isinstance(event, SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(following := next(self._events), SequenceEndEvent):
                items.append(self._node(following, depth + 1))
            node = Sequence(self._place(event), tuple(items))
        else:
            node = self._block(event, depth)
        if event.anchor:
            self._anchors[event.anchor] = node
            self._sizes[id(node)] = self._nodes - before
        return node

    def _scalar(self, event: Any) -> Scalar:
        is_plain = event.style is None and event.implicit[0]
        value = _resolved(event.value) if is_plain else event.value
        return Scalar(self._place(event), event.value, value)

    def _block(self, event: MappingStartEvent, depth: int) -> Block:
        block = Block(self._place(event))
        while not isinstance(key_event := next(self._events), MappingEndEvent):
            key = self._node(key_event, depth + 1)
            if not isinstance(key, Scalar):
                raise self._refuse(key_event, "a key must be a word, not a list or a block")
            if key.text == "<<" and key_event.style is None:
                raise self._refuse(key_event, "merge keys (<<) are not part of YAML 1.2")
            if key.text in block.entries:
                first = block.entries[key.text].key.place
                raise self._refuse(
                    key_event, f"key {key.text!r} stands already in line {first.line}"
                )
            block.entries[key.text] = Entry(key, self._node(next(self._events), depth + 1))
        return block


def parse(text: str, file: str) -> Node:
    """Read one YAML document; raises MappingInvalid with the place for anything else."""
    if len(text) > MAX_BYTES:
        raise MappingInvalid([Issue("M000", f"larger than {MAX_BYTES} bytes", Place(file, 1, 1))])
    try:
        return _Composer(text, file).document()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = (error.problem or error.context or "not YAML").strip()
        if "\\t" in message:
            message = "a tab; YAML indents with spaces"
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 1, 1)
        raise MappingInvalid([Issue("M000", message, place)]) from error
    except MappingInvalid:
        raise
    except (
        YAMLError,
        ArithmeticError,
        AssertionError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        # The library lets some broken input through to Python's own errors (a character beyond
        # Unicode, for one), or gives a position without a line.
        message, place = _unplaced(error, text, file)
        raise MappingInvalid([Issue("M000", message, place)]) from error


def _unplaced(error: Exception, text: str, file: str) -> tuple[str, Place]:
    position = getattr(error, "position", None)
    reason = getattr(error, "reason", None) or "not YAML"
    if not isinstance(position, int):
        return str(reason), Place(file, 1, 1)
    before = text[:position]
    column = position - (before.rfind("\n") + 1) + 1
    return str(reason), Place(file, before.count("\n") + 1, column)


def read(path: Path, file: str | None = None) -> Node:
    """Read one YAML file; `file` is the name that issues give it."""
    name = file or str(path)
    try:
        if path.exists() and not path.is_file():
            raise MappingInvalid([Issue("M000", "not a file", Place(name))])
        if path.stat().st_size > MAX_BYTES:
            raise MappingInvalid(
                [Issue("M000", f"larger than {MAX_BYTES} bytes", Place(name, 1, 1))]
            )
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"not UTF-8 (byte {error.start})"
        raise MappingInvalid([Issue("M000", message, Place(name, 1, 1))]) from error
    except OSError as error:
        raise MappingInvalid(
            [Issue("M000", f"cannot be read: {error.strerror}", Place(name))]
        ) from error
    return parse(text, name)
