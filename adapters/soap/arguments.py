"""What the arguments of a call come to, from what is known when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, tzinfo
from itertools import pairwise
from typing import Any

from adapters.soap.bindings import Argument, Call


class Unquotable(Exception):
    """A value holds characters that the argument's template may not carry."""


def argument_values(call: Call, scope: Mapping[str, Any], zone: tzinfo) -> dict[str, Any]:
    """The call's arguments as nested values; what has no value is left out. Raises Unquotable."""
    out: dict[str, Any] = {}
    for argument in call.arguments:
        value = _argument_value(argument, scope, zone)
        if value is not None:
            put(out, argument.path, value)
    return out


def _argument_value(argument: Argument, scope: Mapping[str, Any], zone: tzinfo) -> Any:
    if argument.const is not None:
        return argument.const
    if argument.texts:
        parts: list[str] = []
        for odd, part in enumerate(argument.texts):
            if odd % 2:
                value = _looked_up(scope, tuple(part.split(".")))
                if value is None:
                    return argument.default
                parts.append(_quoted(_written(argument, value, zone), argument.quote))
            else:
                parts.append(part)
        return "".join(parts)
    value = _looked_up(scope, argument.source)
    if value is None:
        return argument.default
    return _written(argument, value, zone)


def _written(argument: Argument, value: Any, zone: tzinfo) -> Any:
    value = getattr(value, "value", value)
    for step in argument.steps:
        value = step(value)
    if argument.format is not None and isinstance(value, date):
        if isinstance(value, datetime):
            value = value.astimezone(zone)
        return value.strftime(argument.format)
    return value


def _quoted(value: Any, quote: str) -> str:
    if isinstance(value, datetime):
        value = value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    text = str(value)
    if any(ord(c) < 32 for c in text):
        raise Unquotable
    if quote == "backslash":
        return text.replace("\\", "\\\\").replace("'", "\\'").replace('"', '\\"')
    if quote == "doubled":
        if "\\" in text:
            raise Unquotable
        return text.replace("'", "''")
    if set(text) & set("'\"\\`;%*"):
        raise Unquotable
    return text


def _looked_up(scope: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = scope
    for segment in path:
        value = value.get(segment) if isinstance(value, Mapping) else getattr(value, segment, None)
        if value is None or value == "":
            return None
    return value


def put(out: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set a nested value, making dicts, and lists for numbered segments, on the way."""
    here: Any = out
    for segment, following in pairwise(path):
        empty: Any = [] if following.isdecimal() else {}
        if isinstance(here, list):
            here = _slot(here, int(segment), empty)
        else:
            here = here.setdefault(segment, empty)
    last = path[-1]
    if isinstance(here, list):
        _slot(here, int(last), None)
        here[int(last)] = value
    else:
        here[last] = value


def _slot(values: list[Any], index: int, empty: Any) -> Any:
    while len(values) <= index:
        values.append(None)
    if values[index] is None:
        values[index] = empty
    return values[index]
