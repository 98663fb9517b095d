"""The parts that all requests and answers are made of."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from middleware.contract.canonical import Kind, Ref


class Asked(BaseModel):
    """Part of a request: strict types, and a name that is not known is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Shown(BaseModel):
    """Part of an answer: every member is always there, `null` where there is nothing to show."""

    model_config = ConfigDict(extra="forbid", frozen=True)


T = TypeVar("T")


class Page(Shown, Generic[T]):
    """One page of a list."""

    data: list[T]
    next_cursor: str | None
    has_more: bool


# --- in requests -------------------------------------------------------------------------------

_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


def _when(value: Any) -> datetime:
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("must be a time with a time zone, such as 2026-11-21T10:00:00Z")
    try:
        seconds, _, rest = value.partition(".")
        if rest:
            digits = re.match(r"\d+", rest)
            assert digits is not None
            zone = rest[digits.end() :]
            value = f"{seconds}.{digits[0][:6]:0<6}{zone}"
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("there is no such moment") from None


When = Annotated[
    datetime,
    BeforeValidator(_when),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A moment as RFC 3339 writes it; nothing else is taken for one, and none without a zone."""

_DECIMAL = re.compile(r"-?\d{1,15}(\.\d{1,6})?", re.ASCII)


def _decimal(value: Any) -> Decimal:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise ValueError('must be a decimal number in quotes, such as "2" or "12.50"')
    return Decimal(value)


def _positive(value: Decimal) -> Decimal:
    if value <= 0:
        raise ValueError("must be greater than 0")
    return value


Amount = Annotated[
    Decimal,
    BeforeValidator(_decimal),
    AfterValidator(_positive),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^\d{1,15}(\.\d{1,6})?$"},
                {"type": "integer", "minimum": 1, "maximum": 10**15 - 1},
            ]
        }
    ),
]
"""A decimal above zero. Written as text: binary fractions lose cents."""

RefText = Annotated[
    str,
    StringConstraints(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}:(" + "|".join(Kind) + r"):[^\x00-\x1f]{1,200}$"
    ),
    Field(examples=["erp:order:SO-10001"]),
]
"""Where a record lives: `connection:kind:id`."""


def ref(text: str) -> Ref:
    """The reference that a checked text names."""
    return Ref.parse(text)


Short = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Long = Annotated[str, StringConstraints(max_length=10_000)]
HubId = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,4}_[0-9A-Za-z]{1,64}$")]
"""An id of the hub's own, such as `act_019f…`."""
ConnectionName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


# --- in answers --------------------------------------------------------------------------------


class MoneyShown(Shown):
    """An amount as decimal text, and its currency (ISO 4217)."""

    amount: Annotated[str, Field(examples=["12.50"])]
    currency: Annotated[str, Field(examples=["EUR"])]


def number(value: Decimal) -> str:
    """A decimal as text without an exponent."""
    return f"{value:f}"


Moment = Annotated[datetime, WithJsonSchema({"type": "string", "format": "date-time"})]
"""A moment in UTC, RFC 3339 with a `Z`."""

RefShown = Annotated[str, Field(examples=["erp:order:SO-10001"])]
