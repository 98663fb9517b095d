"""Tryton's wire: JSON-RPC in a session, one call, one verdict.

Sources: trytond 8.2, `protocols/dispatcher.py` (sessions, transactions, what is caught),
`protocols/jsonrpc.py` (values, the shape of errors), `exceptions.py`, `ir/message.xml` (texts).
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import quote

from middleware.contract.errors import (
    Ambiguous,
    Busy,
    Forbidden,
    Missing,
    NotOffered,
    Rejected,
    RemoteError,
    Transient,
    Unauthorised,
)
from middleware.contract.http import Limits, client
from middleware.contract.wire import classify_status, classifying

SYSTEM = "tryton"


class Warned(Rejected):
    """Tryton asks a person to agree first; nothing was done. `name` is the warning's full name."""

    def __init__(self, message: str, *, name: str, operation: str) -> None:
        super().__init__(message, system=SYSTEM, operation=operation, code="UserWarning")
        self.name = name

    @property
    def topic(self) -> str:
        """The name without the digest of the records that it is about."""
        return self.name.partition(".")[2] or self.name


@dataclass(frozen=True)
class Rule:
    """What an error inside a 200 means. Tryton raises inside the transaction, then rolls back."""

    kind: str
    """UserError, UserWarning …: the error's first element; `*` is the text of any exception."""
    text: re.Pattern[str]
    """Sought in its message; a group `field` names the field that was refused."""
    error: type[RemoteError]
    message: str
    reads_only: bool = False


def _rule(kind: str, text: str, error: type[RemoteError], message: str, **more: Any) -> Rule:
    return Rule(kind, re.compile(text, re.DOTALL), error, message, **more)


RULES: tuple[Rule, ...] = (
    _rule("ConcurrencyException", "", Busy, "somebody changed the record in the meantime"),
    _rule(
        "LoginException",
        "",
        Unauthorised,
        "Tryton wants more than a password; give the hub's user a login by password alone",
    ),
    _rule(
        "UserError",
        r"^You are not allowed to|^Calling button .* is not allowed",
        Forbidden,
        "the hub's user lacks a permission",
    ),
    _rule("UserError", r"that don't exist\.?$", Missing, "the record does not exist in Tryton"),
    _rule(
        "UserError",
        r'^A value is required for field "(?P<field>[^"]+)"',
        Rejected,
        "Tryton requires a value",
    ),
    _rule(
        "UserError",
        r'^The (time )?value ".*" for field "(?P<field>[^"]+)"',
        Rejected,
        "Tryton refuses a value",
    ),
    _rule(
        "UserError",
        r'^The number of digits in the value ".*" for field "(?P<field>[^"]+)"',
        Rejected,
        "Tryton refuses the number of digits of a value",
    ),
    _rule("UserError", r'^You can not call "', Rejected, "the record's state does not allow that"),
    _rule("UserError", "", Rejected, "Tryton refuses"),
    # A KeyError: no such model, or no such field. On a write nobody knows whose key was missing.
    _rule(
        "*",
        r"^'(?P<field>[\w.]+)'$",
        NotOffered,
        "Tryton knows no such model or field; its module may not be activated",
        reads_only=True,
    ),
)

ROLLED_BACK = re.compile(
    r"database (table )?is locked|could not serialize access|deadlock detected|"
    r"could not obtain lock",
    re.IGNORECASE,
)
"""What a 503 quotes when the database itself undid the transaction, retries included."""

Domain = Sequence[Any]
Row = dict[str, Any]


class Client:
    """One user's session with one database; raises only the three errors. Threads may share it."""

    def __init__(
        self,
        url: str,
        database: str,
        user: str,
        password: str,
        limits: Limits,
        *,
        ca_file: Path | None = None,
        accept_warnings: Iterable[str] = ("*",),
    ) -> None:
        self.user = user
        self._password = password
        self._path = f"/{quote(database, safe='')}/rpc/"
        self._accept_warnings = tuple(accept_warnings)
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._session: _Session | None = None
        self._fields: dict[str, dict[str, Row]] = {}
        self._http = client(
            limits,
            base_url=url,
            # Tryton labels answers above 1,400 characters gzip whether or not they are, unless the
            # client asked for gzip (protocols/jsonrpc.py, `response`).
            headers={"Accept": "application/json", "Accept-Encoding": "gzip"},
            ca_file=ca_file,
        )

    # What the adapter calls.

    def search_read(
        self,
        model: str,
        domain: Domain,
        fields: Iterable[str],
        *,
        operation: str,
        order: Sequence[tuple[str, str]] = (("id", "ASC"),),
        limit: int | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> list[Row]:
        """Rows as nested dicts: `party.code` is read as `{"party": {"id": …, "code": …}}`."""
        rows = self.call(
            f"model.{model}.search_read",
            list(domain),
            0,
            limit,
            [list(by) for by in order],
            sorted(set(fields)),
            operation=operation,
            context=context,
        )
        return [unfolded(row) for row in _list(rows, operation)]

    def search_count(
        self,
        model: str,
        domain: Domain,
        *,
        operation: str,
        context: Mapping[str, Any] | None = None,
    ) -> int:
        """How many rows a domain finds."""
        count = self.call(
            f"model.{model}.search_count", list(domain), operation=operation, context=context
        )
        if not isinstance(count, int):
            raise Transient("the answer was not understood", system=SYSTEM, operation=operation)
        return count

    def read(
        self,
        model: str,
        ids: Sequence[int],
        fields: Iterable[str],
        *,
        operation: str,
        inactive: bool = False,
        context: Mapping[str, Any] | None = None,
    ) -> list[Row]:
        """The rows with these ids that exist, in the order of the ids.

        Without `inactive`, deactivated rows are left out, and so are deactivated rows inside
        theirs, such as an old address.
        """
        if not ids:
            return []
        rows = self.search_read(
            model,
            [["id", "in", list(ids)]],
            fields,
            operation=operation,
            context={**(context or {}), **({"active_test": False} if inactive else {})},
        )
        found = {row["id"]: row for row in rows}
        return [found[id_] for id_ in ids if id_ in found]

    def create(
        self, model: str, values: Mapping[str, Any], *, operation: str, key: str | None = None
    ) -> int:
        """Make one record, with what is nested in it, in one transaction."""
        made = self._agreeing(f"model.{model}.create", [dict(values)], operation=operation, key=key)
        if not (isinstance(made, list) and len(made) == 1 and isinstance(made[0], int)):
            raise _unreadable(write=True, operation=operation)
        return made[0]

    def press(
        self,
        model: str,
        button: str,
        id_: int,
        *,
        operation: str,
        key: str | None = None,
        seen: str | None = None,
    ) -> None:
        """Press a button of one record.

        With `seen`, a `_timestamp` that was read, only if nobody has changed the record since.
        """
        context = {"_timestamp": {f"{model},{id_}": seen}} if seen is not None else None
        method = f"model.{model}.{button}"
        self._agreeing(method, [id_], operation=operation, key=key, context=context)

    def delete(self, model: str, id_: int, *, operation: str, key: str | None = None) -> None:
        self._agreeing(f"model.{model}.delete", [id_], operation=operation, key=key)

    def fields(self, model: str, *, operation: str) -> dict[str, Row]:
        """What Tryton says about a model's fields, asked once."""
        if model not in self._fields:
            answer = self.call(f"model.{model}.fields_get", [], operation=operation)
            if not isinstance(answer, dict):
                raise _unreadable(write=False, operation=operation)
            self._fields[model] = answer
        return self._fields[model]

    def call(
        self,
        method: str,
        *params: Any,
        operation: str,
        write: bool = False,
        key: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a method with the user's context; logs in when there is no session.

        A session that has ended is refused before Tryton looks at the call, so the call is made
        once more in a new one, a write like a read. `key` goes along as `Idempotency-Key`: Tryton
        ignores it, and the access logs before it tell which action of the hub a call was for.
        """
        for last in (False, True):
            session = self._entered(operation)
            try:
                return self._in(
                    session, method, params, context, write=write, key=key, operation=operation
                )
            except _SessionEnded:
                self._forget(session)
                if last:
                    raise _turned_out(operation) from None
        raise AssertionError("unreachable")

    def log_in(self, *, operation: str) -> Mapping[str, Any]:
        """The user's context: company, language, groups; logs in where there is no session."""
        return self._entered(operation).context

    def version(self, *, operation: str) -> str:
        """The series, such as 8.2; needs no login."""
        return str(self._post("/rpc/", "common.server.version", [], operation=operation)[0])

    def now(self, *, operation: str) -> datetime:
        """The server's clock, by the Date of an answer; whole seconds, rounded down."""
        _, headers = self._post("/rpc/", "common.server.version", [], operation=operation)
        try:
            return parsedate_to_datetime(headers["date"]).astimezone(UTC)
        except (KeyError, TypeError, ValueError):
            return datetime.now(UTC).replace(microsecond=0)

    def close(self) -> None:
        """Log out, so that Tryton does not keep the session for a month, and close the sockets."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            with suppress(RemoteError, _SessionEnded):
                self._post(self._path, "common.db.logout", [], session=session, operation="logout")
        self._http.close()

    # How it is done.

    def _agreeing(
        self,
        method: str,
        *params: Any,
        operation: str,
        key: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Any:
        """A write that answers Tryton's warnings with *yes*, where the settings say so.

        A warning undoes the transaction. The agreement is a record of its own that the next try
        uses up, so each is given once, and a warning that comes back is a refusal.
        """
        agreed: set[str] = set()
        while True:
            try:
                return self.call(
                    method, *params, operation=operation, write=True, key=key, context=context
                )
            except Warned as warning:
                accepted = any(
                    fnmatchcase(warning.topic, pattern) for pattern in self._accept_warnings
                )
                if not accepted or warning.name in agreed:
                    raise
                agreed.add(warning.name)
                self._agree(warning.name, operation)

    def _agree(self, name: str, operation: str) -> None:
        """Asked for twice it does no harm, so it is no write in the hub's sense."""
        try:
            self.call("model.res.user.warning.skip", name, False, operation=operation)
        except NotOffered:  # before 7.0 a client made the record itself
            record = {"user": self._entered(operation).uid, "name": name, "always": False}
            self.call("model.res.user.warning.create", [record], operation=operation)

    def _in(
        self,
        session: _Session,
        method: str,
        params: Sequence[Any],
        context: Mapping[str, Any] | None,
        *,
        operation: str,
        write: bool = False,
        key: str | None = None,
    ) -> Any:
        params = [*params, {**session.context, **(context or {})}]
        answer, _ = self._post(
            self._path,
            method,
            params,
            session=session,
            write=write,
            key=key,
            operation=operation,
        )
        return answer

    def _entered(self, operation: str) -> _Session:
        with self._lock:
            if self._session is None:
                self._session = self._login(operation)
            return self._session

    def _forget(self, session: _Session) -> None:
        with self._lock:
            if self._session is session:
                self._session = None

    def _login(self, operation: str) -> _Session:
        try:
            answer, _ = self._post(
                self._path,
                "common.db.login",
                [self.user, {"password": self._password}, "en"],
                operation=operation,
            )
        except NotOffered as error:
            if error.code != "*":
                raise
            raise Transient(
                "Tryton has not loaded its database yet; start it with -d and the database's name",
                system=SYSTEM,
                operation=operation,
            ) from None
        match answer:
            case [int(uid), str(token), *_]:
                proof = base64.b64encode(f"{self.user}:{uid}:{token}".encode()).decode()
            case _:
                raise _unreadable(write=False, operation=operation)
        bare = _Session(uid, proof, {})
        try:
            context = self._in(
                bare, "model.res.user.get_preferences", [True], None, operation=operation
            )
        except _SessionEnded:
            raise _turned_out(operation) from None
        if not isinstance(context, dict):
            raise _unreadable(write=False, operation=operation)
        return _Session(uid, proof, context)

    def _post(
        self,
        path: str,
        method: str,
        params: Sequence[Any],
        *,
        operation: str,
        session: _Session | None = None,
        write: bool = False,
        key: str | None = None,
    ) -> tuple[Any, Mapping[str, str]]:
        id_ = next(self._ids)
        headers = {"Content-Type": "application/json"}
        if session is not None:
            headers["Authorization"] = f"Session {session.proof}"
        if key is not None:
            headers["Idempotency-Key"] = key
        body = json.dumps({"id": id_, "method": method, "params": list(params)}, default=encoded)
        with classifying(write=write, system=SYSTEM, operation=operation):
            answer = self._http.post(path, content=body.encode(), headers=headers)
            status, got = answer.status_code, answer.content
        if status == 401 and session is not None:
            raise _SessionEnded
        return (
            result_of(status, answer.headers, got, id_, write=write, operation=operation),
            answer.headers,
        )


class _SessionEnded(Exception):
    """A 401: Tryton looks at the session before it looks at the call."""


@dataclass(frozen=True)
class _Session:
    uid: int
    proof: str
    context: Mapping[str, Any]


# What an answer means.


def result_of(
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    id_: int,
    *,
    write: bool,
    operation: str,
) -> Any:
    """The result in an answer; raises what the answer means otherwise."""
    if status != 200:
        raise _refusal(status, headers, content, write=write, operation=operation)
    try:
        body = json.loads(content, object_hook=decoded)
    except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError):
        raise _unreadable(write=write, operation=operation) from None
    # Exactly these keys: a login page, a proxy's JSON or a late answer to another call has others.
    if isinstance(body, dict) and body.get("id") == id_:
        if body.keys() == {"id", "result"}:
            return body["result"]
        if body.keys() == {"id", "error"}:
            raise verdict(body["error"], write=write, operation=operation)
    raise _unreadable(write=write, operation=operation)


def verdict(error: object, *, write: bool, operation: str) -> RemoteError:
    """What the `error` of a 200 means."""
    kind, name, text = _parts(error)
    if kind == "UserWarning":
        return Warned(f"Tryton warns: {_without_values(text)}", name=name, operation=operation)
    for rule in RULES:
        found = rule.text.search(text) if rule.kind == kind else None
        if found is None or (write and rule.reads_only):
            continue
        message = f"{rule.message}: {said}" if (said := _said(rule, text)) else rule.message
        return rule.error(
            message,
            system=SYSTEM,
            operation=operation,
            code=kind,
            field=found.groupdict().get("field"),
        )
    if write:
        return Ambiguous(
            "Tryton answered with an error of its own; whether the write was carried out is not "
            "known",
            system=SYSTEM,
            operation=operation,
            code=kind,
        )
    return Transient(
        "Tryton answered with an error of its own", system=SYSTEM, operation=operation, code=kind
    )


def _parts(error: object) -> tuple[str, str, str]:
    """Kind, name of a warning, and message; kind `*` for the text of any other exception."""
    if not isinstance(error, list) or not error or not isinstance(error[0], str):
        return "*", "", ""
    kind, *rest = error
    detail = rest[0] if rest else ""
    if kind == "ConcurrencyException":
        return kind, "", str(detail)
    if kind in ("UserError", "UserWarning", "LoginException") and isinstance(detail, list):
        texts = [part if isinstance(part, str) else "" for part in (*detail, "", "")]
        return (kind, "", texts[0]) if kind == "UserError" else (kind, texts[0], texts[1])
    return "*", "", kind


def _said(rule: Rule, text: str) -> str:
    """Tryton's own words, where they tell more than the rule."""
    if rule.kind != "UserError" or "field" in rule.text.groupindex or rule.error is Missing:
        return ""
    if issubclass(rule.error, Unauthorised):
        named = _FORBIDDEN.search(text)
        return named["what"] if named else ""
    return _without_values(text)


_FORBIDDEN = re.compile(r'\b(?:access|of|on|the|wizard|report) "(?P<what>[^"]+)"')
"""The model, field, wizard or report that a permission is about; never the record."""
_QUOTED = re.compile(r'"[^"]*"|“[^”]*”|„[^“”]*[“”]|«[^»]*»')


def _without_values(text: str) -> str:
    """One line in which what Tryton quotes is left out: names of people are among it."""
    return " ".join(_QUOTED.sub("…", text.partition("\n")[0]).split())[:300]


def _turned_out(operation: str) -> Unauthorised:
    return Unauthorised(
        "Tryton ends the session right after the login; is the user still active?",
        system=SYSTEM,
        operation=operation,
    )


def _refusal(
    status: int, headers: Mapping[str, str], content: bytes, *, write: bool, operation: str
) -> RemoteError:
    if status == 401:
        return Unauthorised(
            "Tryton refuses the login; the user or the password is wrong, or the user inactive",
            system=SYSTEM,
            operation=operation,
            code="401",
        )
    if status == 403:
        return NotOffered(
            "Tryton offers no such method; it is of another version, or a module is missing",
            system=SYSTEM,
            operation=operation,
            code="403",
        )
    if status == 404:
        return Missing(
            "there is no Tryton at this address, or it has no database of this name",
            system=SYSTEM,
            operation=operation,
            code="404",
        )
    if status == 503 and ROLLED_BACK.search(content[:20_000].decode(errors="replace")):
        return Transient(
            "Tryton's database was busy and undid the call", system=SYSTEM, operation=operation
        )
    known = classify_status(status, headers, write=write, system=SYSTEM, operation=operation)
    return known or _unreadable(write=write, operation=operation)


def _unreadable(*, write: bool, operation: str) -> RemoteError:
    return (Ambiguous if write else Transient)(
        "the answer is not what Tryton sends; a login page or a proxy may stand before it",
        system=SYSTEM,
        operation=operation,
    )


def _list(rows: object, operation: str) -> list[Row]:
    if isinstance(rows, list) and all(isinstance(row, dict) and "id" in row for row in rows):
        return rows
    raise _unreadable(write=False, operation=operation)


# Values.


def encoded(value: object) -> dict[str, Any]:
    """A value that JSON has no word for, as Tryton writes it. Moments are UTC without saying so."""
    if isinstance(value, Decimal):
        return {"__class__": "Decimal", "decimal": f"{value:f}"}
    if isinstance(value, datetime):
        moment = value.astimezone(UTC)
        parts = ("year", "month", "day", "hour", "minute", "second", "microsecond")
        return {"__class__": "datetime"} | {part: getattr(moment, part) for part in parts}
    if isinstance(value, date):
        return {"__class__": "date", "year": value.year, "month": value.month, "day": value.day}
    raise TypeError(f"Tryton's wire has no form for a {type(value).__name__}")


def decoded(value: Row) -> Any:
    """The value behind a `__class__`; every other object as it is."""
    match value.get("__class__"):
        case "Decimal":
            return Decimal(value["decimal"])
        case "date":
            return date(value["year"], value["month"], value["day"])
        case "datetime":
            return datetime(
                *(value["year"], value["month"], value["day"]),
                hour=value["hour"],
                minute=value["minute"],
                second=value["second"],
                microsecond=value["microsecond"],
                tzinfo=UTC,
            )
        case "time":
            return time(value["hour"], value["minute"], value["second"], value["microsecond"])
        case "timedelta":
            return timedelta(seconds=value["seconds"])
        case "bytes":
            return base64.b64decode(value["base64"])
    return value


def unfolded(row: Row) -> Row:
    """`{"party": 7, "party.": {"code": …}}` as `{"party": {"id": 7, "code": …}}`, all the way."""
    out: Row = {}
    for name, value in row.items():
        if name.endswith("."):
            if isinstance(value, list):
                out[name[:-1]] = [unfolded(inner) for inner in value]
            else:
                out[name[:-1]] = unfolded(value) if isinstance(value, dict) else None
        elif f"{name}." not in row:
            out[name] = value
    return out
