"""The named steps of `use:`, each with its way back where there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any

Convert = Callable[[Any], Any]


class Refused(Exception):
    """A value that a rule cannot convert; the message holds no part of the value."""


def text(value: Any) -> str:
    """The value as text: numbers as written, booleans as `true` and `false`."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        try:
            return str(value)
        except ValueError:
            raise Refused("the number has too many digits") from None
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    raise Refused(f"text was expected, the value is {_named(value)}")


def _named(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return f"a {type(value).__name__}"


_WORDS = {
    "true": True, "1": True, "yes": True, "y": True, "t": True, "on": True, "x": True,
    "false": False, "0": False, "no": False, "n": False, "f": False, "off": False,
}  # fmt: skip


def boolean(value: Any) -> bool:
    """True or False from a boolean, 0, 1 or one of the usual words; raises Refused."""
    if isinstance(value, bool):
        return value
    if isinstance(value, float) and value in (0.0, 1.0):
        return bool(value)
    known = _WORDS.get(text(value).strip().lower())
    if known is None:
        raise Refused("neither yes nor no (true, 1, yes, y, t, on, x / false, 0, no, n, f, off)")
    return known


class Argument(StrEnum):
    """What a step takes after its name."""

    NONE = "none"
    TEXT = "text"
    WHOLE = "whole"
    SWAP = "swap"
    PAD = "pad"


@dataclass(frozen=True, slots=True)
class Step:
    """`forward(argument)` builds the conversion; `back(argument)` its inverse, where one exists."""

    name: str
    doc: str
    argument: Argument
    forward: Callable[[Any], Convert]
    back: Callable[[Any], Convert] | None = None
    back_doc: str = "no way back"


def _text_step(change: Callable[[str], str]) -> Callable[[Any], Convert]:
    return lambda _: lambda value: change(value if type(value) is str else text(value))


def _same(_: Any) -> Convert:
    return lambda value: value


def _not(_: Any) -> Convert:
    return lambda value: not boolean(value)


def _digits(_: Any) -> Convert:
    return lambda value: "".join(c for c in text(value) if c.isascii() and c.isdigit())


def _strip_prefix(prefix: str) -> Convert:
    return lambda value: text(value).removeprefix(prefix)


def _add_prefix(prefix: str) -> Convert:
    def add(value: Any) -> str:
        written = text(value)
        return written if written.startswith(prefix) else prefix + written

    return add


def _strip_suffix(suffix: str) -> Convert:
    return lambda value: text(value).removesuffix(suffix)


def _add_suffix(suffix: str) -> Convert:
    def add(value: Any) -> str:
        written = text(value)
        return written if written.endswith(suffix) else written + suffix

    return add


def _truncate(length: int) -> Convert:
    return lambda value: text(value)[:length]


def _pad_left(argument: tuple[int, str]) -> Convert:
    length, fill = argument
    return lambda value: text(value).rjust(length, fill)


def _strip_left(argument: tuple[int, str]) -> Convert:
    _, fill = argument

    def strip(value: Any) -> str:
        written = text(value)
        return written.lstrip(fill) or written[-1:]

    return strip


def _replace(argument: tuple[str, str]) -> Convert:
    old, new = argument
    return lambda value: text(value).replace(old, new)


def _split(separator: str) -> Convert:
    return lambda value: [part.strip() for part in text(value).split(separator) if part.strip()]


def _join(separator: str) -> Convert:
    def join(value: Any) -> str:
        values = value if isinstance(value, list | tuple) else [value]
        return separator.join(text(part) for part in values)

    return join


_ALL = (
    Step("trim", "takes white space off both ends", Argument.NONE, _text_step(str.strip), _same,
         "passes through"),
    Step("lower", "small letters", Argument.NONE, _text_step(str.lower), _same, "passes through"),
    Step("upper", "capital letters", Argument.NONE, _text_step(str.upper), _same, "passes through"),
    Step("squeeze", "runs of white space become one space", Argument.NONE,
         _text_step(lambda value: " ".join(value.split())), _same, "passes through"),
    Step("not", "turns yes into no and no into yes", Argument.NONE, _not, _not, "`not` again"),
    Step("digits", "keeps the digits 0-9 only", Argument.NONE, _digits),
    Step("strip_prefix", "takes the text off the front, where it is there", Argument.TEXT,
         _strip_prefix, _add_prefix, "`add_prefix`"),
    Step("add_prefix", "puts the text in front, unless it is there", Argument.TEXT,
         _add_prefix, _strip_prefix, "`strip_prefix`"),
    Step("strip_suffix", "takes the text off the end, where it is there", Argument.TEXT,
         _strip_suffix, _add_suffix, "`add_suffix`"),
    Step("add_suffix", "puts the text at the end, unless it is there", Argument.TEXT,
         _add_suffix, _strip_suffix, "`strip_suffix`"),
    Step("truncate", "keeps the first n characters", Argument.WHOLE, _truncate),
    Step("pad_left", "fills up to n characters from the left: `[10, \"0\"]`", Argument.PAD,
         _pad_left, _strip_left, "`unpad_left`"),
    Step("unpad_left", "takes fill characters off the left: `[10, \"0\"]`", Argument.PAD,
         _strip_left, _pad_left, "`pad_left`"),
    Step("replace", "replaces every occurrence: `[\"-\", \"\"]`", Argument.SWAP, _replace),
    Step("split", "cuts text at a separator into a list", Argument.TEXT, _split, _join, "`join`"),
    Step("join", "joins a list into text with a separator", Argument.TEXT, _join, _split,
         "`split`"),
)  # fmt: skip

STEPS: Mapping[str, Step] = MappingProxyType({step.name: step for step in _ALL})
"""Every step that a mapping may use, by name."""
