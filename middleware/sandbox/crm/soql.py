"""SOQL as Salesforce reads it: parsed, checked against the schema, and run over rows.

The subset: SELECT of fields, parent paths, COUNT() and one level of child subqueries; WHERE with
=, !=, <>, <, <=, >, >=, LIKE, IN, NOT IN, AND, OR, NOT and parentheses; ORDER BY, LIMIT, OFFSET,
ALL ROWS. As there, AND and OR do not mix without parentheses, text compares without case, a
datetime stands unquoted, and everything unknown is refused with Salesforce's codes.
"""

from __future__ import annotations

import operator as operators
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, NoReturn

from middleware.sandbox.crm import ids, schema
from middleware.sandbox.crm.schema import Field, SObject

Row = Mapping[str, Any]
Source = Callable[[str], Iterable[Row]]
"""All rows of an object, deleted ones too."""


class Refused(Exception):
    """What Salesforce answers instead: a status and one error."""

    def __init__(
        self,
        code: str,
        message: str,
        *fields: str,
        status: int = 400,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fields = fields
        self.status = status
        self.extra = extra or {}

    def body(self) -> dict[str, Any]:
        """The error as it stands in an answer."""
        error: dict[str, Any] = {**self.extra, "message": self.message, "errorCode": self.code}
        if self.fields:
            error["fields"] = list(self.fields)
        return error


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    value: Any
    at: int


_TOKENS = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<string>'(?:[^'\\\n\r]|\\.)*')
  | (?P<datetime>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))
  | (?P<date>\d{4}-\d\d-\d\d)
  | (?P<number>[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
  | (?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
  | (?P<operator><=|>=|!=|<>|=|<|>)
  | (?P<mark>[(),])
    """,
    re.VERBOSE | re.ASCII,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\"}
_ESCAPES |= {"N": "\n", "R": "\r", "T": "\t", "B": "\b", "F": "\f"}
_RESERVED = frozenset(
    {
        *("and", "asc", "desc", "excludes", "first", "from", "group", "having", "in", "includes"),
        *("last", "like", "limit", "not", "null", "nulls", "or", "order", "select", "using"),
        *("where", "with", "true", "false"),
    }
)


def _malformed(message: str) -> NoReturn:
    raise Refused("MALFORMED_QUERY", message)


def _tokens(text: str) -> list[_Token]:
    found, at = [], 0
    while at < len(text):
        match = _TOKENS.match(text, at)
        if match is None:
            if text[at] == "'":
                _malformed("unterminated string literal or a line break inside one")
            _malformed(f"line 1:{at} no viable alternative at character '{text[at]}'")
        kind = match.lastgroup or ""
        if kind != "space":
            found.append(_Token(kind, match.group(), _value(kind, match.group()), at))
        at = match.end()
    return found


def _value(kind: str, text: str) -> Any:
    if kind == "string":
        return _Quoted(text[1:-1])
    if kind == "number":
        return float(text)
    try:
        if kind == "datetime":
            return datetime.fromisoformat(text).astimezone(UTC)
        if kind == "date":
            return date.fromisoformat(text)
    except ValueError:
        _malformed(f"{text} is not a valid {kind}")
    return text


@dataclass(frozen=True)
class _Quoted:
    """A string literal, still with its escapes: LIKE reads them in its own way."""

    raw: str

    def plain(self) -> str:
        return "".join(character for character, _ in self._parts())

    def pattern(self) -> re.Pattern[str]:
        signs = {"%": ".*", "_": "."}
        parts = [
            signs[character] if bare and character in signs else re.escape(character)
            for character, bare in self._parts(like=True)
        ]
        return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)

    def _parts(self, *, like: bool = False) -> list[tuple[str, bool]]:
        """Characters, and whether each stood there without a backslash."""
        found, at = [], 0
        while at < len(self.raw):
            if self.raw[at] != "\\":
                found.append((self.raw[at], True))
                at += 1
                continue
            sign = self.raw[at + 1]
            if sign in "uU" and re.fullmatch("[0-9a-fA-F]{4}", self.raw[at + 2 : at + 6]):
                found.append((chr(int(self.raw[at + 2 : at + 6], 16)), False))
                at += 6
            elif sign in _ESCAPES or (like and sign in "%_"):
                found.append((_ESCAPES.get(sign, sign), False))
                at += 2
            else:
                _malformed(f"Illegal escape sequence \\{sign} in a string literal")
        return found


@dataclass(frozen=True)
class Path:
    """A field, or a parent's field behind lookups: `Account.Owner.Name`."""

    text: str
    lookups: tuple[Field, ...]
    field: Field

    def read(self, row: Row, rows: Callable[[str, str], Row | None]) -> Any:
        """The value in this row; None behind an empty lookup."""
        for lookup in self.lookups:
            target = _parent(row, lookup, rows)
            if target is None:
                return None
            row = target
        return row.get(self.field.name)


def _parent(row: Row, lookup: Field, rows: Callable[[str, str], Row | None]) -> Row | None:
    key = row.get(lookup.name)
    return None if key is None else rows(lookup.refers_to[0], key)


Condition = Callable[[Row, Callable[[str, str], Row | None]], bool]


@dataclass
class Query:
    """A checked query. `columns` holds paths and subqueries in the order they were asked for."""

    sobject: SObject
    columns: list[Path | tuple[str, Query]] = field(default_factory=list)
    counts: bool = False
    where: Condition | None = None
    order: list[tuple[Path, bool, bool]] = field(default_factory=list)
    limit: int | None = None
    offset: int = 0
    all_rows: bool = False
    filters_deleted: bool = False


def parse(text: str) -> Query:
    """Read and check a query; raises Refused as Salesforce would."""
    if len(text) > 100_000:
        raise Refused("QUERY_TOO_COMPLICATED", "the query is longer than 100,000 characters")
    parser = _Parser(text)
    query = parser.query(None)
    if parser.more:
        parser.unexpected()
    return query


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._all = _tokens(text)
        self._at = 0

    @property
    def more(self) -> bool:
        return self._at < len(self._all)

    def unexpected(self) -> NoReturn:
        if not self.more:
            _malformed("unexpected token: '<EOF>'")
        _malformed(f"unexpected token: '{self._all[self._at].text}'")

    def _peek(self, text: str, ahead: int = 0) -> bool:
        at = self._at + ahead
        return at < len(self._all) and (
            self._all[at].kind != "string" and self._all[at].text.lower() == text
        )

    def _take(self, text: str) -> bool:
        if self._peek(text):
            self._at += 1
            return True
        return False

    def _need(self, text: str) -> None:
        if not self._take(text):
            self.unexpected()

    def _kind(self, *kinds: str) -> _Token:
        if not self.more or self._all[self._at].kind not in kinds:
            self.unexpected()
        self._at += 1
        return self._all[self._at - 1]

    def _name(self) -> _Token:
        token = self._kind("name")
        if token.text.lower() in _RESERVED:
            self._at -= 1
            self.unexpected()
        return token

    def query(self, parent: SObject | None) -> Query:
        self._need("select")
        start = self._at
        self._skip_columns()
        self._need("from")
        source = self._kind("name")  # Order is an object, although a reserved word
        if parent is None:
            sobject = schema.find(source.text)
            if sobject is None or not sobject.queryable:
                raise Refused(
                    "INVALID_TYPE",
                    f"\nSELECT\n ^\nERROR at Row:1:Column:{source.at}\nsObject type "
                    f"'{source.text}' is not supported. If you are attempting to use a custom "
                    "object, be sure to append the '__c' after the entity name.",
                )
        else:
            child = parent.children.get(source.text.lower())
            if child is None:
                raise Refused(
                    "INVALID_TYPE",
                    f"Didn't understand relationship '{source.text}' in FROM part of query call. "
                    "If you are attempting to use a custom relationship, be sure to append the "
                    "'__r' after the custom relationship name.",
                )
            sobject = schema.OBJECTS[child.object.lower()]
        query = Query(sobject)
        end, self._at = self._at, start
        self._columns(query, nested=parent is not None)
        self._at = end
        self._rest(query)
        return query

    def _skip_columns(self) -> None:
        """Step over the columns, which can only be checked once FROM is known."""
        depth = 0
        while self.more and not (depth == 0 and self._peek("from")):
            depth += self._peek("(") - self._peek(")")
            if depth < 0:
                self.unexpected()
            self._at += 1

    def _columns(self, query: Query, *, nested: bool) -> None:
        if self._peek("count") and self._peek("(", 1) and self._peek(")", 2):
            self._at += 3
            query.counts = True
            if not self._peek("from"):
                self.unexpected()
            return
        seen: set[str] = set()
        while True:
            if self._peek("("):
                if nested:
                    self.unexpected()
                self._at += 1
                start = self._at
                inner = self.query(query.sobject)
                self._need(")")
                name = next(
                    self._all[at + 1].text
                    for at in range(start, self._at)
                    if self._all[at].text.lower() == "from"
                )
                query.columns.append((query.sobject.children[name.lower()].name, inner))
            else:
                path = self._path(query.sobject, self._name())
                if path.text.lower() in seen:
                    raise Refused("INVALID_FIELD", f"duplicate field selected: {path.text}")
                seen.add(path.text.lower())
                query.columns.append(path)
            if not self._take(","):
                break
        if not self._peek("from"):
            self.unexpected()

    def _path(self, sobject: SObject, token: _Token) -> Path:
        *parents, last = token.text.split(".")
        here = sobject
        if parents and parents[0].lower() == sobject.name.lower() and len(parents) == 1:
            parents = []  # SELECT Contact.Email FROM Contact
        lookups: list[Field] = []
        if len(parents) > 5:
            raise Refused("INVALID_FIELD", "a relationship path has at most 5 levels")
        for name in parents:
            lookup = here.reference(name)
            if lookup is None:
                raise Refused(
                    "INVALID_FIELD",
                    self._place(token) + f"Didn't understand relationship '{name}' in field path. "
                    "If you are attempting to use a custom relationship, be sure to append the "
                    "'__r' after the custom relationship name. Please reference your WSDL or the "
                    "describe call for the appropriate names.",
                )
            lookups.append(lookup)
            here = schema.OBJECTS[lookup.refers_to[0].lower()]
        found = here.field(last)
        if found is None:
            raise Refused(
                "INVALID_FIELD",
                self._place(token) + f"No such column '{last}' on entity '{here.name}'. If you are "
                "attempting to use a custom field, be sure to append the '__c' after the custom "
                "field name. Please reference your WSDL or the describe call for the appropriate "
                "names.",
            )
        named = [lookup.relationship or "" for lookup in lookups]
        return Path(".".join([*named, found.name]), tuple(lookups), found)

    def _place(self, token: _Token) -> str:
        shown = self._text[max(0, token.at - 20) : token.at + len(token.text) + 20]
        return f"\n{shown}\n ^\nERROR at Row:1:Column:{token.at + 1}\n"

    def _rest(self, query: Query) -> None:
        if self.more and self._all[self._at].kind == "name":
            alias = self._all[self._at].text.lower()
            if alias not in _RESERVED | {"all", "offset", "for"}:
                self.unexpected()
        if self._take("where"):
            query.where = self._or_and(query)
        if self._take("order"):
            self._need("by")
            while True:
                path = self._path(query.sobject, self._name())
                if not path.field.filterable:
                    raise Refused(
                        "INVALID_FIELD", f"field '{path.text}' can not be sorted in a query call"
                    )
                descending = not self._take("asc") and self._take("desc")
                nulls_last = False
                if self._take("nulls"):
                    nulls_last = self._take("last")
                    if not nulls_last:
                        self._need("first")
                query.order.append((path, descending, nulls_last))
                if not self._take(","):
                    break
        if self._take("limit"):
            query.limit = self._whole()
        if self._take("offset"):
            query.offset = self._whole()
            if query.offset > 2000:
                raise Refused("NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000")
        if self._take("all"):
            self._need("rows")
            query.all_rows = True

    def _whole(self) -> int:
        token = self._kind("number")
        if not token.text.isdigit():
            self._at -= 1
            self.unexpected()
        return int(token.text)

    def _or_and(self, query: Query) -> Condition:
        """Conditions joined by AND, or by OR; both together need parentheses."""
        first = self._one(query)
        for word, among in (("and", all), ("or", any)):
            if self._peek(word):
                parts = [first]
                while self._take(word):
                    parts.append(self._one(query))
                return _joined(parts, among)
        return first

    def _one(self, query: Query) -> Condition:
        if self._take("not"):
            inner = self._one(query)
            return lambda row, rows: not inner(row, rows)
        if self._take("("):
            inner = self._or_and(query)
            self._need(")")
            return inner
        return self._comparison(query)

    def _comparison(self, query: Query) -> Condition:
        token = self._name()
        path = self._path(query.sobject, token)
        if path.field.name == "IsDeleted" and not path.lookups:
            query.filters_deleted = True
        if not path.field.filterable:
            raise Refused(
                "INVALID_FIELD",
                self._place(token) + f"field '{path.text}' can not be filtered in a query call",
            )
        negated = self._peek("not") and self._peek("in", 1)
        if negated or self._peek("in"):
            self._at += 2 if negated else 1
            return self._among(path, negated=negated)
        if self._take("like"):
            if path.field.type not in schema.TEXT_TYPES - {"id", "reference"}:
                raise Refused(
                    "INVALID_FIELD", f"invalid operator on {path.field.type} field '{path.text}'"
                )
            pattern = self._kind("string").value.pattern()
            return lambda row, rows: (
                (value := path.read(row, rows)) is not None and bool(pattern.fullmatch(value))
            )
        operator = self._kind("operator").text
        wanted = self._literal(path)
        return _compared(path, operator, wanted)

    def _among(self, path: Path, *, negated: bool) -> Condition:
        self._need("(")
        wanted = {_folded(self._literal(path))}
        while self._take(","):
            wanted.add(_folded(self._literal(path)))
        self._need(")")
        return lambda row, rows: (_folded(path.read(row, rows)) in wanted) is not negated

    def _literal(self, path: Path) -> Any:
        if self._take("null"):
            return None
        kind = path.field.type
        if not self.more:
            self.unexpected()
        token = self._all[self._at]
        if kind == "boolean" and token.text.lower() in ("true", "false"):
            self._at += 1
            return token.text.lower() == "true"
        wanted = {
            "boolean": (), "double": ("number",), "currency": ("number",), "int": ("number",),
            "date": ("date",), "datetime": ("datetime", "date"),
        }.get(kind, ("string",))  # fmt: skip
        if token.kind in ("name", "mark", "operator"):
            self.unexpected()
        if token.kind not in wanted:
            quoted = "should be" if kind in schema.TEXT_TYPES else "should not be"
            raise Refused(
                "INVALID_FIELD",
                self._place(token) + f"value of filter criterion for field '{path.text}' must be "
                f"of type {kind} and {quoted} enclosed in quotes",
            )
        self._at += 1
        return self._converted(path, token)

    def _converted(self, path: Path, token: _Token) -> Any:
        kind = path.field.type
        if token.kind == "string":
            text = token.value.plain()
            if kind in ("id", "reference") and text:
                key = ids.read(text)
                if key is None:
                    raise Refused(
                        "INVALID_QUERY_FILTER_OPERATOR",
                        self._place(token) + f"invalid ID field: {text}",
                    )
                return key
            return text or None  # Salesforce stores an empty text as null
        if kind == "datetime":
            moment = token.value
            if token.kind == "date":
                moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
            return instant(moment.replace(microsecond=0))
        return token.value.isoformat() if kind == "date" else token.value


def instant(moment: datetime) -> str:
    """A moment as Salesforce writes it; sorts as text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def _joined(parts: list[Condition], among: Callable[[Iterable[bool]], bool]) -> Condition:
    return lambda row, rows: among(part(row, rows) for part in parts)


def _folded(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


def _compared(path: Path, operator: str, wanted: Any) -> Condition:
    exact = path.field.type in ("id", "reference")
    fold: Callable[[Any], Any] = (lambda value: value) if exact else _folded
    wanted = fold(wanted)
    if operator == "=":
        return lambda row, rows: fold(path.read(row, rows)) == wanted
    if operator in ("!=", "<>"):
        return lambda row, rows: fold(path.read(row, rows)) != wanted
    compare: Callable[[Any, Any], bool] = {
        "<": operators.lt,
        "<=": operators.le,
        ">": operators.gt,
        ">=": operators.ge,
    }[operator]
    return lambda row, rows: (
        (value := path.read(row, rows)) is not None
        and wanted is not None
        and compare(fold(value), wanted)
    )


def run(
    query: Query,
    source: Source,
    rows: Callable[[str, str], Row | None],
    *,
    deleted: bool = False,
) -> list[Row]:
    """The matching rows, ordered and cut; `deleted` as in queryAll."""
    deleted = deleted or query.all_rows
    found = [
        row
        for row in source(query.sobject.name)
        if (deleted or not row["IsDeleted"]) and (query.where is None or query.where(row, rows))
    ]
    for path, descending, nulls_last in reversed(query.order):
        found.sort(key=_sort_key(path, rows), reverse=descending)
        empty = [row for row in found if path.read(row, rows) is None]
        full = [row for row in found if path.read(row, rows) is not None]
        found = full + empty if nulls_last else empty + full
    end = None if query.limit is None else query.offset + query.limit
    return found[query.offset : end]


def _sort_key(path: Path, rows: Callable[[str, str], Row | None]) -> Callable[[Row], Any]:
    exact = path.field.type in ("id", "reference")

    def key(row: Row) -> Any:
        value = path.read(row, rows)
        if value is None:
            return (0, "")
        return (1, value if exact else _folded(value))

    return key
