"""Paths such as `address.city`, `Lines.0.Sku`, `'currency.code'`, `^.Currency`, `#` and `.`.

A dot nests. A quoted segment is taken as it stands, dots and all. When a path is read, a key that
is spelled like the whole path wins over the walk, so that `currency.code` also reads the flat
answers of systems that name fields that way. Inside `each`, `.` is the element itself, `#` its
number from 1, and every leading `^.` goes one level up.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

Up = tuple[Any, "Up | None", int] | None
"""The enclosing record, what encloses that, and the element's number."""

Getter = Callable[[Any, Up], Any]
Putter = Callable[[dict[str, Any], Any], None]

_SEGMENT = re.compile(r"""'(?P<single>[^']+)'|"(?P<double>[^"]+)"|(?P<bare>[^.'"\s]+)""")


class PathInvalid(ValueError):
    """The text is not a path; the message says why."""


@dataclass(frozen=True, slots=True)
class Path:
    """A parsed path. `ups` counts leading `^`; `special` is `.`, `#` or empty."""

    text: str
    segments: tuple[str, ...]
    literal: tuple[bool, ...]
    ups: int = 0
    special: str = ""

    @property
    def key(self) -> str:
        """The path as the remote spells it: segments joined by dots, no quotes."""
        return ".".join(self.segments)

    def __len__(self) -> int:
        return len(self.segments)


def parse(text: str) -> Path:
    """Read a path; raises PathInvalid."""
    rest, ups = text, 0
    while rest == "^" or rest.startswith("^."):
        ups, rest = ups + 1, rest[2:]
    if rest in (".", "#"):
        return Path(text, (), (), ups, rest)
    if not rest:
        raise PathInvalid("a path is empty" if not text else f"{text!r} names no field")
    segments: list[str] = []
    literal: list[bool] = []
    at = 0
    while True:
        match = _SEGMENT.match(rest, at)
        if match is None:
            raise PathInvalid(f"{text!r} is not a path; segments are words joined by single dots")
        segments.append(match["single"] or match["double"] or match["bare"])
        literal.append(match["bare"] is None)
        at = match.end()
        if at == len(rest):
            return Path(text, tuple(segments), tuple(literal), ups)
        if rest[at] != ".":
            raise PathInvalid(
                f"{text!r} is not a path; quote a segment that holds spaces or quotes"
            )
        at += 1


def _step(value: Any, segment: str, literal: bool) -> Any:
    if isinstance(value, dict):
        if segment in value:
            return value[segment]
        # A list of one arrives as the bare element from many XML readers.
        return value if segment == "0" and not literal else None
    if isinstance(value, list | tuple) and is_index(segment, literal):
        index = int(segment)
        return value[index] if index < len(value) else None
    return None


def getter(path: Path) -> Getter:
    """A function that reads the path from a record; what is not there is None."""
    if path.special == "#":
        ups = path.ups

        def number(_: Any, up: Up) -> Any:
            for _level in range(ups):
                up = up[1] if up else None
            return up[2] if up else None

        return number
    inner = _itself if path.special == "." else _walker(path)
    if not path.ups:
        return inner

    def upwards(record: Any, up: Up) -> Any:
        for _level in range(path.ups):
            if up is None:
                return None
            record, up = up[0], up[1]
        return inner(record, up)

    return upwards


def _itself(record: Any, _: Up) -> Any:
    return record


def _walker(path: Path) -> Getter:
    segments = path.segments
    if len(segments) == 1:
        first = segments[0]
        return lambda record, _: record.get(first) if isinstance(record, dict) else None
    whole = None if any(path.literal) else path.key
    steps = tuple(zip(segments, path.literal, strict=True))

    def walk(record: Any, _: Up) -> Any:
        if whole is not None and isinstance(record, dict) and whole in record:
            return record[whole]
        for segment, literal in steps:
            record = _step(record, segment, literal)
            if record is None:
                return None
        return record

    return walk


def plainly(value: Any) -> Any:
    """An enumeration's value; everything else as it is."""
    return value.value if isinstance(value, Enum) else value


def has(path: Path) -> Callable[[Any, Up], bool]:
    """A function that says whether the record has the path's key at all, even if it holds None."""
    if path.special:
        return lambda record, up: True
    whole = getter(Path("", (), (), path.ups, "."))
    above = Path("", path.segments[:-1], path.literal[:-1], path.ups)
    parent_of = getter(above) if len(path) > 1 else whole
    last, literal = path.segments[-1], path.literal[-1]

    def present(record: Any, up: Up) -> bool:
        outer = whole(record, up)
        if isinstance(outer, dict) and not any(path.literal) and path.key in outer:
            return True
        parent = parent_of(record, up)
        if isinstance(parent, dict):
            return last in parent
        return _step(parent, last, literal) is not None

    return present


def putter(path: Path) -> Putter:
    """A function that sets the path in a dict, making the dicts and lists on the way."""
    segments = path.segments
    last = segments[-1]
    if len(segments) == 1:

        def put_one(out: dict[str, Any], value: Any) -> None:
            out[last] = value

        return put_one
    numbered = tuple(map(is_index, segments, path.literal))
    if not any(numbered[1:]):
        parents = segments[:-1]

        def put_deep(out: dict[str, Any], value: Any) -> None:
            for parent in parents:
                inner = out.get(parent)
                if not isinstance(inner, dict):
                    inner = out[parent] = {}
                out = inner
            out[last] = value

        return put_deep

    makers = tuple(list if number else dict for number in numbered[1:])

    def put_listed(out: dict[str, Any], value: Any) -> None:
        here: Any = out
        for segment, make in zip(segments[:-1], makers, strict=True):
            inner = _slot(here, segment)
            if not isinstance(inner, make):
                inner = make()
                _fill(here, segment, inner)
            here = inner
        _fill(here, last, value)

    return put_listed


def _slot(container: Any, segment: str) -> Any:
    if isinstance(container, dict):
        return container.get(segment)
    index = int(segment)
    return container[index] if index < len(container) else None


def _fill(container: Any, segment: str, value: Any) -> None:
    if isinstance(container, dict):
        container[segment] = value
        return
    index = int(segment)
    container.extend([None] * (index + 1 - len(container)))
    container[index] = value


MAX_INDEX = 99
"""The highest list index that a mapping may name; more is a mistake, and would fill memory."""


def is_index(segment: str, literal: bool) -> bool:
    """Whether a segment names an element of a list."""
    return not literal and segment.isascii() and segment.isdigit()
