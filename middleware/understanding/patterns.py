r"""Patterns for order numbers, in a part of the regular expressions that cannot run away.

An admin describes what the company's order numbers look like, and strangers choose the texts that
the description runs over. So a pattern is a sequence of letters, digits, `\d`, `\w`, `[…]`, `?`,
`{m}`, `{m,n}`, `+`, `*` and one level of `(…|…)`, and nothing else: `SO-\d{5}`,
`\d{3}-\d{7}-\d{7}`, `(?:W|S)\d{6,8}`. Repetitions end at 32, at most three of them vary, and a
match begins and ends at the edge of a word: any text is searched in linear time.
"""

from __future__ import annotations

import re
from functools import lru_cache

MAX_LENGTH = 200
MAX_REPEAT = 32
MAX_VARYING = 3

_PIECE = re.compile(
    r"""
      (?P<anchor>\^|\$|\\b)
    | (?P<open>\(\?:|\()
    | (?P<close>\))
    | (?P<or>\|)
    | (?P<atom>\\d|\\w|\\[-./#_ ]|[A-Za-z0-9\-/#_\ ]|\[(?:\\[dw\-\]]|[A-Za-z0-9\-/#_.])+\])
    | (?P<repeat>\?|\+|\*|\{(?P<low>\d{1,3})(?P<comma>,(?P<high>\d{0,3}))?\})
    """,
    re.VERBOSE,
)


class PatternRefused(ValueError):
    """The pattern is not one that can be searched for safely; the message says where and why."""

    def __init__(self, pattern: str, position: int, reason: str) -> None:
        super().__init__(f"{pattern!r} at {position + 1}: {reason}")
        self.position = position
        self.reason = reason


@lru_cache(maxsize=256)
def order_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a pattern for order numbers; raises `PatternRefused`. Case does not count."""
    if not pattern or len(pattern) > MAX_LENGTH:
        raise PatternRefused(pattern[:40], 0, f"1 to {MAX_LENGTH} characters are needed")
    made: list[str] = []
    position = varying = 0
    depth = 0
    repeatable = group_closed = False
    while position < len(pattern):
        match = _PIECE.match(pattern, position)
        if match is None:
            raise PatternRefused(pattern, position, f"{pattern[position]!r} cannot stand here")
        text = match.group()
        if match["anchor"]:
            if depth:
                raise PatternRefused(pattern, position, "anchors stand outside of groups")
            repeatable = False  # words' edges are added at the end, so anchors say nothing new
        elif match["open"]:
            if depth:
                raise PatternRefused(pattern, position, "groups do not nest")
            depth = 1
            made.append("(?:")
            repeatable = False
        elif match["close"]:
            if not depth:
                raise PatternRefused(pattern, position, "a bracket is closed that was not opened")
            depth = 0
            made.append(")")
            repeatable = group_closed = True
        elif match["or"]:
            if not depth:
                raise PatternRefused(pattern, position, "alternatives stand in brackets")
            made.append("|")
            repeatable = False
        elif match["repeat"]:
            if not repeatable:
                raise PatternRefused(pattern, position, "nothing here can be repeated")
            low, high = _bounds(match)
            if group_closed and text != "?":
                raise PatternRefused(pattern, position, "only ? may follow a group")
            if high > MAX_REPEAT or low > high:
                raise PatternRefused(pattern, position, f"at most {MAX_REPEAT} repetitions")
            varying += low != high and text != "?"
            if varying > MAX_VARYING:
                raise PatternRefused(pattern, position, f"more than {MAX_VARYING} vary in length")
            made.append(f"{{{low},{high}}}")
            repeatable = False
        else:
            made.append(_atom(text))
            repeatable = True
        if not match["close"]:
            group_closed = False
        position = match.end()
    if depth:
        raise PatternRefused(pattern, len(pattern), "a bracket is not closed")
    compiled = re.compile(rf"(?<![A-Za-z0-9])(?:{''.join(made)})(?![A-Za-z0-9])", re.IGNORECASE)
    if compiled.search("") or compiled.fullmatch(""):
        raise PatternRefused(pattern, 0, "it matches an empty text")
    return compiled


def _bounds(match: re.Match[str]) -> tuple[int, int]:
    text = match["repeat"]
    if text in "?+*":
        return (1 if text == "+" else 0), (1 if text == "?" else MAX_REPEAT)
    low = int(match["low"])
    if match["comma"] is None:
        return low, low
    return low, int(match["high"]) if match["high"] else MAX_REPEAT


def _atom(text: str) -> str:
    if text == r"\d":
        return "[0-9]"
    if text == r"\w":
        return "[A-Za-z0-9]"
    if text.startswith("["):
        return text.replace(r"\w", "A-Za-z0-9").replace(r"\d", "0-9")
    return re.escape(text.removeprefix("\\"))
