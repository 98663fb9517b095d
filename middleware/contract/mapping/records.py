"""Canonical records from what a mapping read, and back."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from middleware.contract.canonical import CANONICAL, Frozen, Handle, Kind, Record, Ref
from middleware.contract.mapping.issues import MappingError, Problem
from middleware.contract.mapping.mapping import MappedValues

_KINDS = {str(kind): kind for kind in Kind}


def to_record(kind: Kind, *, connection: str, id: str, values: Mapping[str, Any]) -> Record:  # noqa: A002
    """The canonical record from what `Mapping.read` answered; raises MappingError.

    A text or number for a reference becomes a Ref in this connection: of the field's kind
    (`account`, `order`), or `kind:id` where the field is free (`origin`). One value for a list
    becomes a list of one. `handles` may be keyed by network. What the record has no place for
    goes to `extra`, by its dotted path.
    """
    model = CANONICAL.get(kind)
    if model is None:
        raise MappingError([Problem("", f"there is no canonical record of kind {kind}")])
    extra: dict[str, Any] = {}
    shaped = _Shaper(connection, extra).fields(model, values, "")
    shaped.pop("extra", None)
    stated = values.get("extra")
    if isinstance(stated, Mapping):
        extra = {**stated, **extra}
    extra.pop("id", None)
    try:
        return model.model_validate(
            {**shaped, "ref": {"connection": connection, "kind": kind, "id": id}, "extra": extra}
        )
    except ValidationError as error:
        places = values if isinstance(values, MappedValues) else None
        raise MappingError(_problems(error, places)) from None


def _problems(error: ValidationError, values: MappedValues | None) -> list[Problem]:
    """Pydantic's findings, without the values that it was shown."""
    problems: list[Problem] = []
    for found in error.errors(include_url=False, include_context=False):
        # Elements are counted from 1, as in the problems of a mapping.
        loc = [str(part + 1) if isinstance(part, int) else part for part in found["loc"]]
        field = ".".join(loc)
        reason = str(found["msg"])
        place = values.place_of(field) if values is not None else ""
        problems.append(Problem(field, reason, place, found.get("input")))
    return problems


class _Plan(typing.NamedTuple):
    """How one field of a canonical class takes its value."""

    many: bool
    model: type[BaseModel] | None
    text: bool
    by_name: bool


@cache
def _plans(model: type[BaseModel]) -> dict[str, _Plan]:
    hints = typing.get_type_hints(model)
    return {name: _plan(hints[name]) for name in model.model_fields}


def _plan(hint: Any) -> _Plan:
    options = (
        typing.get_args(hint)
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
        else (hint,)
    )
    (kept,) = [option for option in options if option is not type(None)]
    origin = typing.get_origin(kept)
    if origin is tuple:
        inner = _plan(typing.get_args(kept)[0])
        return _Plan(True, inner.model, inner.text, False)
    if origin is dict:
        return _Plan(False, None, True, True)
    if isinstance(kept, type) and issubclass(kept, BaseModel):
        return _Plan(False, kept, False, False)
    return _Plan(False, None, kept is str, False)


class _Shaper:
    """Gives nested values the shapes that canonical classes take; leftovers go to `extra`."""

    def __init__(self, connection: str, extra: dict[str, Any]) -> None:
        self.connection = connection
        self.extra = extra

    def fields(
        self, model: type[BaseModel], values: Mapping[str, Any], prefix: str
    ) -> dict[str, Any]:
        plans = _plans(model)
        out: dict[str, Any] = {}
        for name, value in values.items():
            plan = plans.get(name)
            if plan is None or (not prefix and name == "ref"):
                self._leave(prefix + name, value)
            elif name != "extra":
                shaped = self._value(name, plan, value, prefix + name)
                if shaped is not None:
                    out[name] = shaped
        return out

    def _leave(self, path: str, value: Any) -> None:
        if isinstance(value, dict) and value and not _is_value(value):
            for name, inner in value.items():
                self._leave(f"{path}.{name}", inner)
        elif value is not None:
            self.extra[path] = value

    def _value(self, name: str, plan: _Plan, value: Any, path: str) -> Any:
        if plan.many:
            if plan.model is Handle and isinstance(value, dict):
                return self._handles(value)
            if value is None or value == "":
                return None
            items = value if isinstance(value, list | tuple) else (value,)
            one = plan._replace(many=False)
            made = [
                self._value(name, one, item, f"{path}.{number}")
                for number, item in enumerate(items, start=1)
            ]
            kept = [item for item in made if item is not None]
            return tuple(dict.fromkeys(kept)) if plan.text and _hashable(kept) else tuple(kept)
        if plan.by_name and isinstance(value, dict):
            return {key: _digits(inner) for key, inner in value.items() if inner is not None}
        if plan.model is Ref:
            return self._ref(name, value, path)
        if plan.model is not None and isinstance(value, dict):
            inner = self.fields(plan.model, value, path + ".")
            return inner or None
        return _digits(value) if plan.text else value

    def _ref(self, name: str, value: Any, path: str) -> Any:
        kind: str | None = name if name in _KINDS else None
        if isinstance(value, dict):
            rest = {k: v for k, v in value.items() if k not in ("id", "kind", "connection")}
            for key, inner in rest.items():
                self._leave(f"{path}.{key}", inner)
            if value.get("id") in (None, ""):
                return None
            stated = value.get("kind") or kind or Kind.ORDER
            return {
                "connection": value.get("connection") or self.connection,
                "kind": stated.value if isinstance(stated, Enum) else stated,
                "id": _digits(value["id"]),
            }
        if value is None or value == "":
            return None
        if isinstance(value, Frozen):
            return value
        written = _digits(value)
        if kind is None and isinstance(written, str):
            head, colon, tail = written.partition(":")
            if colon and head in _KINDS:
                return {"connection": self.connection, "kind": head, "id": tail}
        return {"connection": self.connection, "kind": kind or str(Kind.ORDER), "id": written}

    def _handles(self, value: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        if "network" in value:
            return (value,)
        handles: list[dict[str, Any]] = []
        for network, stated in value.items():
            for one in stated if isinstance(stated, list | tuple) else (stated,):
                if isinstance(one, dict):
                    handle = {k: _digits(v) for k, v in one.items()}
                else:
                    handle = {"handle": _digits(one)}
                if any(handle.values()):
                    handles.append({"network": network, **handle})
        return tuple(handles)


def _digits(value: Any) -> Any:
    """Numbers as text, where the canonical field is text: many systems number their ids."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return str(value)
    return value


def _is_value(value: dict[str, Any]) -> bool:
    return set(value) == {"amount", "currency"}


def _hashable(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)
