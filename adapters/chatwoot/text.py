"""A note's text on its way through Chatwoot: as written, marked with its key, and not too long.

Chatwoot stores what Liquid makes of an outgoing message (`app/models/concerns/liquidable.rb`) and
shows what markdown-it makes of that (`app/javascript/shared/helpers/MessageFormatter.js`: no HTML,
a line break stays one). A note of ours is plain text that quotes customers, so what either would
take for its own is escaped, and nothing else: the text is also read unrendered, in notifications.
The key stands at the end as a marker (docs/glossary.md#marker).
"""

from __future__ import annotations

import re

_MARKER = re.compile(r"\[amends:([A-Za-z0-9_-]+)\]\s*\Z")

_ALWAYS = frozenset("\\`*[<|")
_BLOCK = re.compile(
    r"(?P<digits>\d{1,9})(?=[.)](\s|$))"  # 1. and 1) begin a list
    r"|(?P<mark>\#{1,6}(?=\s|$)|[-+](?=\s|$)|>|-(?=-)|=(?==*\s*$)|~(?=~~))"
)
_ENTITY = re.compile(r"&(#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]*);")
_INDENT = "\N{NO-BREAK SPACE}"


def as_written(text: str) -> tuple[str, ...]:
    """The text in pieces that render to it; a piece is never to be cut in two."""
    pieces: list[str] = []
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "\ufffd").split("\n")
    for number, line in enumerate(lines):
        if number:
            pieces.append("\n")
        pieces += _line(line.rstrip())
    return tuple(pieces)


def _line(line: str) -> list[str]:
    body = line.lstrip(" \t")
    # Four spaces would begin a code block, and fewer would vanish.
    pieces = [_INDENT] * len(line[: len(line) - len(body)].expandtabs(4))
    start = 0
    if block := _BLOCK.match(body):
        if digits := block["digits"]:
            pieces.append(f"{digits}\\{body[len(digits)]}")
            start = len(digits) + 1
        else:
            pieces.append(f"\\{body[0]}")
            start = 1
    pieces += [_escaped(body, at) for at in range(start, len(body))]
    return pieces


def _escaped(line: str, at: int) -> str:
    sign = line[at]
    before, after = line[at - 1 : at] if at else "", line[at + 1 : at + 2]
    special = (
        sign in _ALWAYS
        or (sign in "{%" and before == "{")  # Liquid: the pair is parted
        or (sign == "_" and not (before.isalnum() and after.isalnum()))
        or (sign == "~" and "~" in (before, after))
        or (sign == "&" and _ENTITY.match(line, at) is not None)
    )
    return f"\\{sign}" if special else sign


def shortened(text: str, room: int) -> str:
    """The text as Chatwoot must get it, in at most `room` characters; a cut says how much is gone.

    `room` is at least 100.
    """
    pieces = as_written(text)
    if sum(map(len, pieces)) <= room:
        return "".join(pieces)
    ending = "\n\n(shortened: {} of {} characters are missing)"
    left = room - len(ending) - 2 * len(str(len(text)))
    kept = 0
    while left >= len(pieces[kept]):
        left -= len(pieces[kept])
        kept += 1
    return "".join(pieces[:kept]).rstrip() + ending.format(len(pieces) - kept, len(pieces))


def marker(key: str) -> str:
    """What a note ends with."""
    return f"[amends:{key}]"


def key_of(content: str | None) -> str | None:
    """The key that a note ends with; a marker anywhere else is somebody quoting one."""
    found = _MARKER.search(content or "")
    return found[1] if found else None
