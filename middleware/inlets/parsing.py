"""Reading JSON from strangers: bounded, without duplicate keys, and with the place of a mistake."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

MAX_BYTES = 5 * 1024**2
MAX_DEPTH = 64
"""Levels of nesting; must stay far below Python's recursion limit."""
MAX_DIGITS = 400
"""Digits of a number. Longer ones make some parsers slow and no vendor sends them."""

_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_TOKEN = re.compile(r'\s*+("(?:[^"\\]|\\.)*+"|[\[\]{},:]|[^\s\[\]{},:"]++)', re.DOTALL)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class MalformedBody(ValueError):
    """The body is not JSON that we read. `place` is `line:column`, counted from 1."""

    def __init__(self, reason: str, *, line: int = 1, column: int = 1) -> None:
        super().__init__(f"{line}:{column}: {reason}")
        self.reason = reason
        self.line = line
        self.column = column

    @property
    def place(self) -> str:
        return f"{self.line}:{self.column}"


class _RefusedError(ValueError):
    pass


def parse_json(body: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Any:
    """Read a body as JSON (RFC 8259, UTF-8) or raise `MalformedBody` with the place.

    Refused beside broken syntax: more than `max_bytes`, nesting over `max_depth`, the same key
    twice in one object, NaN and infinities, numbers of more than 400 digits. Characters that
    databases refuse (NUL, halves of surrogate pairs, as left by vendors that cut an emoji in two)
    become U+FFFD.
    """
    if len(body) > max_bytes:
        raise MalformedBody(f"the body has {len(body)} bytes; at most {max_bytes} are read")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = body[: error.start].decode("utf-8", "replace")
        raise _malformed(
            f"not UTF-8: byte 0x{body[error.start]:02x}", before, len(before)
        ) from None
    if text.count("[") + text.count("{") > max_depth:
        _refuse_depth(text, max_depth)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_float,
        )
    except json.JSONDecodeError as error:
        raise MalformedBody(error.msg, line=error.lineno, column=error.colno) from None
    except _RefusedError:
        _place_refused(text)
    if "\\u" in text or "\x00" in text:
        value = _storable(value)
    return value


def _malformed(reason: str, text: str, position: int) -> MalformedBody:
    line = text.count("\n", 0, position) + 1
    column = position - (text.rfind("\n", 0, position) + 1) + 1
    return MalformedBody(reason, line=line, column=column)


def _refuse_depth(text: str, max_depth: int) -> None:
    depth = 0
    for match in _STRUCTURE.finditer(text):
        mark = match.group()
        if mark in "[{":
            depth += 1
            if depth > max_depth:
                raise _malformed(f"nested deeper than {max_depth}", text, match.start())
        elif mark in "]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RefusedError
    return found


def _constant(_: str) -> NoReturn:
    raise _RefusedError


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _RefusedError
    return int(digits)


def _float(digits: str) -> float:
    if len(digits) > MAX_DIGITS:
        raise _RefusedError
    number = float(digits)
    if math.isinf(number):
        raise _RefusedError
    return number


def _place_refused(text: str) -> NoReturn:
    """Walk the tokens of a text that is JSON but holds what we refuse, to say where."""
    keys: list[set[str] | None] = []  # one entry a container; None for an array
    expects_key = False
    for match in _TOKEN.finditer(text):
        mark, start = match.group(1), match.start(1)
        if mark == "{":
            keys.append(set())
            expects_key = True
        elif mark == "[":
            keys.append(None)
            expects_key = False
        elif mark in ("}", "]"):
            keys.pop()
            expects_key = False
        elif mark == ",":
            expects_key = bool(keys) and keys[-1] is not None
        elif mark == ":":
            expects_key = False
        elif mark.startswith('"'):
            seen = keys[-1] if keys else None
            if expects_key and seen is not None:
                key = json.loads(mark)
                if key in seen:
                    raise _malformed(
                        f"the key {_short(key)} stands twice in one object", text, start
                    )
                seen.add(key)
        elif mark in ("NaN", "Infinity", "-Infinity"):
            raise _malformed(f"{mark} is not JSON", text, start)
        elif len(mark) > MAX_DIGITS:
            raise _malformed(f"a number of more than {MAX_DIGITS} digits", text, start)
        elif mark[0] in "-0123456789" and math.isinf(float(mark)):
            raise _malformed("a number too large to hold", text, start)
    raise MalformedBody("holds a value that is not read")  # unreachable while both walks agree


def _short(key: str) -> str:
    return json.dumps(key if len(key) <= 40 else key[:40] + "…", ensure_ascii=False)


def storable(text: str) -> str:
    """The text with characters that databases refuse replaced by U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {storable(key): _storable(item) for key, item in value.items()}
    return value
