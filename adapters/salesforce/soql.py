"""SOQL put together from parts, so that no value can change the shape of a query.

Values become literals here and nowhere else; names are checked; conditions carry their own
parentheses. Escapes: SOQL and SOSL Reference, "Quoted String Escape Sequences".
"""

# ruff: noqa: S608 - putting queries together safely is what this module is for

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

Value = str | bool | int | Decimal | datetime | date | None

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*){0,5}", re.ASCII)
_ESCAPES = str.maketrans(
    {
        "\\": r"\\",
        "'": r"\'",
        "\n": r"\n",
        "\r": r"\r",
        "\t": r"\t",
        "\b": r"\b",
        "\f": r"\f",
    }
)


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition; only the functions of this module make one."""

    text: str

    def __and__(self, other: Clause) -> Clause:
        return Clause(f"({self.text} AND {other.text})")

    def __or__(self, other: Clause) -> Clause:
        return Clause(f"({self.text} OR {other.text})")


def literal(value: Value) -> str:
    """A value as it stands in a query. Times must have a zone; raises ValueError otherwise."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError("a number in a query is finite")
        return f"{value:f}"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a time in a query needs a zone")
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return f"'{_escaped(value)}'"


def _escaped(text: str) -> str:
    return "".join(map(_visible, text.translate(_ESCAPES)))


def _visible(character: str) -> str:
    """Control characters, separators and lone surrogates as `\\uXXXX`; the rest as it is."""
    if character == " " or character.isprintable() or ord(character) > 0xFFFF:
        return character
    return f"\\u{ord(character):04x}"


def name(text: str) -> str:
    """A field, object or path such as `Account.Name`; raises ValueError for anything else."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is not the name of a field or object")
    return text


def compare(path: str, operator: str, value: Value) -> Clause:
    """`path operator value`; the operator is one of =, !=, <, <=, >, >=."""
    if operator not in ("=", "!=", "<", "<=", ">", ">="):
        raise ValueError(f"{operator!r} is not an operator")
    return Clause(f"{name(path)} {operator} {literal(value)}")


def equal(path: str, value: Value) -> Clause:
    return compare(path, "=", value)


def among(path: str, values: Iterable[Value]) -> Clause:
    """`path IN (…)`; raises ValueError for no values, which SOQL cannot say."""
    listed = ", ".join(literal(value) for value in dict.fromkeys(values))
    if not listed:
        raise ValueError("IN needs at least one value")
    return Clause(f"{name(path)} IN ({listed})")


def any_of(clauses: Sequence[Clause]) -> Clause:
    """True where one of them is; raises ValueError for none."""
    return _joined(clauses, " OR ")


def all_of(clauses: Sequence[Clause]) -> Clause:
    """True where all of them are; raises ValueError for none."""
    return _joined(clauses, " AND ")


def _joined(clauses: Sequence[Clause], word: str) -> Clause:
    if not clauses:
        raise ValueError("a condition needs at least one part")
    if len(clauses) == 1:
        return clauses[0]
    return Clause(f"({word.join(clause.text for clause in clauses)})")


@dataclass(frozen=True, slots=True)
class Children:
    """A subquery: the columns of a child relationship's living rows.

    `queryAll` answers deleted children too, so they are left out by name.
    """

    relationship: str
    columns: tuple[str, ...]

    @property
    def text(self) -> str:
        columns = ", ".join(map(name, self.columns))
        return (
            f"(SELECT {columns} FROM {name(self.relationship)} WHERE IsDeleted = false ORDER BY Id)"
        )


def select(
    columns: Iterable[str],
    sobject: str,
    where: Clause | None = None,
    *,
    children: Iterable[Children] = (),
    order: Sequence[str] = (),
    limit: int | None = None,
) -> str:
    """A whole query. `order` are names, with `-` before one that descends, nulls last."""
    wanted = [*map(name, dict.fromkeys(columns)), *(child.text for child in children)]
    query = f"SELECT {', '.join(wanted)} FROM {name(sobject)}"
    if where is not None:
        query += f" WHERE {where.text}"
    if order:
        ordered = (
            f"{name(o[1:])} DESC NULLS LAST" if o.startswith("-") else f"{name(o)} ASC"
            for o in order
        )
        query += f" ORDER BY {', '.join(ordered)}"
    if limit is not None:
        query += f" LIMIT {int(limit)}"
    return query


def count(sobject: str) -> str:
    """A query that counts an object's living rows."""
    return f"SELECT COUNT() FROM {name(sobject)}"
