"""A CRM that speaks Salesforce's REST wire, closely enough for Salesforce's client libraries.

It serves the logins (OAuth 2.0 client credentials, JWT bearer and password; SOAP `login`), and
under `/services/data/vNN.0/` sobjects (create, read, update, delete, upsert by external id,
describe, getUpdated, getDeleted), query, queryAll and their further pages, query jobs of Bulk API
2.0, composite, composite/tree and limits. It enforces what Salesforce enforces and answers in its
codes. Sources: Salesforce's REST API Developer Guide and Object Reference for API 60.0; SOAP API
Developer Guide (`login`).

A `masked` fault of the sandbox server picks one of the lies in `MASKS`. What a test or a demo
needs beside the wire is under `/_sandbox/`: counting rows, ending sessions, duplicate rules.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from http.client import responses
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from middleware.sandbox.crm import bulk, ids, schema, soql
from middleware.sandbox.crm.rows import Row, Rows
from middleware.sandbox.crm.schema import SObject
from middleware.sandbox.crm.soql import Path as FieldPath
from middleware.sandbox.crm.soql import Query, Refused

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

CLIENT_ID = "crm-sandbox-client"
CLIENT_SECRET = "crm-sandbox-secret"
USERNAME = "integration@crm.example.com"
PASSWORD = "crm-sandbox-password"
SECURITY_TOKEN = "crmSandboxToken"
KEY_FIELD = "Amends_Key__c"
"""The external id that the org's administrator made for a hub, on Case, Order and Activity."""

MASKS: Mapping[str, str] = {
    "login_page": "200 with an HTML page, as an SSO proxy answers; nothing happened",
    "maintenance": "503 with an HTML page; nothing happened",
    "session": "401 INVALID_SESSION_ID, and every session is over; nothing happened",
    "unauthorised": "403 INSUFFICIENT_ACCESS; nothing happened",
    "limit": "403 REQUEST_LIMIT_EXCEEDED for the day; nothing happened",
    "busy": "403 REQUEST_LIMIT_EXCEEDED for concurrent requests; nothing happened",
    "lock": "400 UNABLE_TO_LOCK_ROW; nothing happened",
    "timeout": "400 QUERY_TIMEOUT; nothing happened",
    "duplicates": "400 DUPLICATES_DETECTED by a rule that allows saving; nothing happened",
    "duplicate_value": "400 DUPLICATE_VALUE about our external id, or 404 ENTITY_IS_DELETED about "
    "a row that we delete; applied, as if by another",
    "false": "200 with success: false and an error; nothing happened",
    "unknown": "500 UNKNOWN_EXCEPTION; applied all the same",
    "html_after": "200 with an HTML page; applied",
}
"""The lies that a `masked:<name>` fault can ask for."""

_FIRST_VERSION, _LAST_VERSION = 31, 66
_VERSIONED = re.compile(r"/services/data/v(\d\d)\.0(/.*)?")
_LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Login</title></head><body>Log in</body></html>"
_MOST_LOCATORS = 100
_MOST_TREE = 200
_MOST_COMPOSITE = 25
_HALTED = Refused(
    "PROCESSING_HALTED",
    "The transaction was rolled back since another operation in the same transaction failed.",
)


@dataclass(frozen=True)
class Answer:
    """What goes back: a status, JSON or bytes, further headers."""

    status: int
    value: Any = None
    type: str = "application/json;charset=UTF-8"
    headers: tuple[tuple[str, str], ...] = ()

    def body(self) -> bytes:
        if isinstance(self.value, bytes):
            return self.value
        return b"" if self.value is None else json.dumps(self.value, ensure_ascii=False).encode()


@dataclass(frozen=True)
class DuplicateRule:
    """Refuses to create a row whose `field` equals a living row's.

    `allow_save` makes it an alert that a header can overrule.
    """

    object: str
    field: str
    allow_save: bool = True


@dataclass(frozen=True)
class _Call:
    method: str
    path: str
    parts: tuple[str, ...]
    """The path's parts below the version, percent-decoded one by one."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    version: str
    url: str
    masked: str | None

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            raise Refused(
                "JSON_PARSER_ERROR", "Unexpected character or end of input at [line:1, column:1]"
            ) from None

    def fields(self) -> dict[str, Any]:
        value = self.json()
        if not isinstance(value, dict):
            raise Refused("JSON_PARSER_ERROR", "The HTTP entity body must be one JSON object")
        return value


class Crm:
    """The org: a WSGI application to be served by `SandboxServer(crm, tls=True)`.

    `state_path` is a SQLite file that keeps rows and sessions over a kill. `batch` is the page
    size of queries, `daily_limit` the API requests it answers before REQUEST_LIMIT_EXCEEDED.
    `jwt_public_key` (PEM) is what JWT logins are checked against.
    """

    def __init__(
        self,
        *,
        state_path: Path | None = None,
        batch: int = 2000,
        daily_limit: int = 100_000,
        jwt_public_key: bytes | None = None,
    ) -> None:
        self.ahead = timedelta(0)
        """How far the org's clock is ahead of this machine's."""
        self.rows = Rows(self.now, state_path)
        self.batch = batch
        self.daily_limit = daily_limit
        self.used = 0
        self.rules: list[DuplicateRule] = []
        self.jobs = bulk.Jobs()
        self._jwt_key = jwt_public_key
        # A token that another process can check: sessions outlive a kill, as the org's do.
        self._secret = CLIENT_SECRET.encode()
        self._sessions_from = 0.0
        self._locators: OrderedDict[str, tuple[Query, list[Row], str]] = OrderedDict()
        self._lock = threading.Lock()
        self._org = ids.make("00D", 1)
        if self.rows.empty:
            with self.rows.transaction():
                self.seed("Organization", Name="Sandbox", IsSandbox=True)
                self.seed("User", Username=USERNAME, Name="Integration User")
                self.seed("Pricebook2", Name="Standard Price Book", IsActive=True, IsStandard=True)

    def now(self) -> datetime:
        """The org's time."""
        return datetime.now(UTC) + self.ahead

    def close(self) -> None:
        """Give back the file."""
        self.rows.close()

    # For seeds and tests in the same process.

    def seed(self, name: str, **values: Any) -> str:
        """Insert a row, also with values that only the system sets; its id."""
        sobject = schema.OBJECTS[name.lower()]
        return str(self.rows.create(sobject, values, trusted=True)["Id"])

    def touch(self, name: str, key: str, **values: Any) -> None:
        """Change a row as somebody else in the org would."""
        self.rows.update(schema.OBJECTS[name.lower()], key, values, trusted=True)

    def delete(self, name: str, key: str) -> None:
        """Put a row into the recycle bin as somebody else in the org would."""
        self.rows.delete(schema.OBJECTS[name.lower()], key)

    def count(
        self, name: str, field: str, value: str | None = None, *, contains: str | None = None
    ) -> int:
        """Living rows whose field has this value exactly, or contains this text."""
        return sum(
            1
            for row in self.rows.all(name)
            if not row["IsDeleted"]
            and row.get(field) is not None
            and (value is None or row[field] == value)
            and (contains is None or contains in str(row[field]))
        )

    def end_sessions(self) -> None:
        """Make every session that was given out invalid."""
        self._sessions_from = time.time()

    # WSGI.

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer = self._answer(environ)
        body = answer.body()
        headers = [
            ("Date", format_datetime(self.now(), usegmt=True)),
            ("Sforce-Limit-Info", f"api-usage={self.used}/{self.daily_limit}"),
            *answer.headers,
        ]
        if answer.status != 204:
            headers.append(("Content-Type", answer.type))
        start_response(f"{answer.status} {responses[answer.status]}", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _answer(self, environ: WSGIEnvironment) -> Answer:
        raw = str(environ.get("RAW_URI") or environ["PATH_INFO"]).partition("?")[0]
        versioned = _VERSIONED.fullmatch(raw)
        below = (versioned.group(2) or "") if versioned else raw
        call = _Call(
            method=environ["REQUEST_METHOD"],
            path=raw,
            parts=tuple(unquote(part) for part in below.split("/") if part),
            query={
                name: values[-1]
                for name, values in parse_qs(
                    environ.get("QUERY_STRING", ""), keep_blank_values=True
                ).items()
            },
            headers={
                key[5:].replace("_", "-").lower(): value
                for key, value in environ.items()
                if key.startswith("HTTP_")
            },
            body=environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)),
            version=f"{versioned.group(1)}.0" if versioned else "",
            url=f"{environ['wsgi.url_scheme']}://{environ['HTTP_HOST']}",
            masked=environ.get("sandbox.masked"),
        )
        try:
            if call.masked is not None:
                return self._masked(call)
            return self._route(call)
        except Refused as refusal:
            return _refusal(refusal)

    def _route(self, call: _Call) -> Answer:
        if call.parts[:1] == ("_sandbox",):
            return self._control(call)
        if call.path == "/services/oauth2/token":
            return self._token(call)
        if call.path.startswith("/services/Soap/u/"):
            return self._soap_login(call)
        if call.path.rstrip("/") == "/services/data":
            return Answer(
                200,
                [
                    {"label": f"API {n}.0", "url": f"/services/data/v{n}.0", "version": f"{n}.0"}
                    for n in range(_FIRST_VERSION, _LAST_VERSION + 1)
                ],
            )
        if not call.version or not _FIRST_VERSION <= int(call.version[:2]) <= _LAST_VERSION:
            raise Refused("NOT_FOUND", "The requested resource does not exist", status=404)
        self._admit(call)
        resource, *rest = call.parts or ("",)
        match resource:
            case "sobjects":
                return self._sobjects(call, rest)
            case "query" | "queryAll":
                return self._query(call, rest, deleted=resource == "queryAll")
            case "composite" if rest[:1] == ["tree"] and len(rest) == 2:
                return self._tree(call, rest[1])
            case "composite" if not rest and call.method == "POST":
                return self._composite(call)
            case "jobs" if rest[:1] == ["query"] and len(rest) <= 3:
                return self._job(call, rest[1:])
            case "limits":
                left = self.daily_limit - self.used
                return Answer(
                    200, {"DailyApiRequests": {"Max": self.daily_limit, "Remaining": left}}
                )
            case "":
                base = f"/services/data/v{call.version}"
                return Answer(
                    200,
                    {
                        name: f"{base}/{name}"
                        for name in ("sobjects", "query", "queryAll", "limits")
                    },
                )
        raise Refused("NOT_FOUND", "The requested resource does not exist", status=404)

    # Logins.

    def _admit(self, call: _Call) -> None:
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        if scheme not in ("Bearer", "OAuth") or not self._valid(token):
            raise Refused("INVALID_SESSION_ID", "Session expired or invalid", status=401)
        with self._lock:
            if self.used >= self.daily_limit:
                raise Refused("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", status=403)
            self.used += 1

    def new_session(self) -> str:
        """A valid session id."""
        body = f"{time.time():.6f}.{secrets.token_hex(8)}"
        return f"{self._org[:15]}!{body}.{self._sign(body)}"

    def _sign(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), "sha256").hexdigest()[:32]

    def _valid(self, token: str) -> bool:
        org, _, rest = token.partition("!")
        body, _, signature = rest.rpartition(".")
        return (
            org == self._org[:15]
            and hmac.compare_digest(signature, self._sign(body))
            and float(body.rpartition(".")[0]) > self._sessions_from
        )

    def _token(self, call: _Call) -> Answer:
        if call.method != "POST":
            return Answer(
                405, {"error": "invalid_request", "error_description": "must use HTTP POST"}
            )
        form = {name: values[-1] for name, values in parse_qs(call.body.decode()).items()}
        scheme, _, credentials = call.headers.get("authorization", "").partition(" ")
        if scheme == "Basic":
            name, _, secret = base64.b64decode(credentials).decode().partition(":")
            form |= {"client_id": name, "client_secret": secret}
        grant = form.get("grant_type", "")
        if grant == "urn:ietf:params:oauth:grant-type:jwt-bearer":
            problem = self._jwt_problem(form.get("assertion", ""), call.url)
        elif grant not in ("client_credentials", "password"):
            problem = ("unsupported_grant_type", "grant type not supported")
        elif form.get("client_id") != CLIENT_ID:
            problem = ("invalid_client_id", "client identifier invalid")
        elif form.get("client_secret") != CLIENT_SECRET:
            problem = ("invalid_client", "invalid client credentials")
        elif grant == "password" and (
            form.get("username") != USERNAME
            or form.get("password") not in (PASSWORD, PASSWORD + SECURITY_TOKEN)
        ):
            problem = ("invalid_grant", "authentication failure")
        else:
            problem = None
        if problem:
            return Answer(400, {"error": problem[0], "error_description": problem[1]})
        return Answer(
            200,
            {
                "access_token": self.new_session(),
                "instance_url": call.url,
                "id": f"{call.url}/id/{self._org}/{self.rows.user}",
                "token_type": "Bearer",
                "issued_at": f"{time.time() * 1000:.0f}",
                "signature": "sandbox",
            },
        )

    def _jwt_problem(self, assertion: str, url: str) -> tuple[str, str] | None:
        invalid = ("invalid_grant", "invalid assertion")
        if self._jwt_key is None:
            return ("invalid_grant", "user hasn't approved this consumer")
        try:
            head, claims, signature = assertion.split(".")
            key = serialization.load_pem_public_key(self._jwt_key)
            assert isinstance(key, rsa.RSAPublicKey)
            key.verify(
                _unpadded(signature),
                f"{head}.{claims}".encode(),
                padding.PKCS1v15(),
                hashes.SHA256(),
            )
            said = json.loads(_unpadded(claims))
            expires = float(said["exp"])
        except (ValueError, KeyError, TypeError, InvalidSignature):
            return invalid
        if said.get("iss") != CLIENT_ID or said.get("sub") != USERNAME:
            return invalid
        known = ("https://login.salesforce.com", "https://test.salesforce.com", url)
        if said.get("aud") not in known:
            return ("invalid_grant", "audience is invalid")
        if not time.time() < expires < time.time() + 300:
            return ("invalid_grant", "expired authorization code")
        return None

    def _soap_login(self, call: _Call) -> Answer:
        xml = "text/xml;charset=UTF-8"
        if b"<!DOCTYPE" in call.body:
            return Answer(500, _soap_fault("INVALID_SOAP", "no DTDs"), xml)
        try:
            said = {
                element.tag.rpartition("}")[2]: element.text or ""
                for element in ElementTree.fromstring(call.body).iter()  # noqa: S314 - no DTD here
            }
        except ElementTree.ParseError:
            return Answer(500, _soap_fault("INVALID_SOAP", "not well-formed"), xml)
        passwords = [PASSWORD + SECURITY_TOKEN]
        if said.get("organizationId"):
            passwords.append(PASSWORD)
        if said.get("username") != USERNAME or said.get("password") not in passwords:
            return Answer(
                500,
                _soap_fault(
                    "INVALID_LOGIN",
                    "INVALID_LOGIN: Invalid username, password, security token; or locked out.",
                ),
                xml,
            )
        version = call.path.rpartition("/")[2]
        result = f"""<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"
 xmlns="urn:partner.soap.sforce.com"><soapenv:Body><loginResponse><result>
<passwordExpired>false</passwordExpired><sandbox>true</sandbox>
<serverUrl>{call.url}/services/Soap/u/{escape(version)}/{self._org}</serverUrl>
<sessionId>{self.new_session()}</sessionId><userId>{self.rows.user}</userId>
</result></loginResponse></soapenv:Body></soapenv:Envelope>"""
        return Answer(200, result.encode(), xml)

    # Rows.

    def _sobjects(self, call: _Call, rest: list[str]) -> Answer:
        if not rest:
            return Answer(
                200,
                {
                    "encoding": "UTF-8",
                    "maxBatchSize": 200,
                    "sobjects": [o.summary(call.version) for o in schema.OBJECTS.values()],
                },
            )
        sobject = schema.find(rest[0])
        if sobject is None:
            raise Refused("NOT_FOUND", "The requested resource does not exist", status=404)
        match (call.method, rest[1:]):
            case ("GET", []):
                return Answer(200, {"objectDescribe": sobject.summary(call.version),
                                    "recentItems": []})  # fmt: skip
            case ("POST", []):
                return self._create(call, sobject)
            case ("GET", ["describe"]):
                return Answer(200, sobject.describe(call.version))
            case ("GET", ["deleted" | "updated" as what]):
                return self._replicated(call, sobject, what)
            case ("GET", [key]):
                return Answer(200, self._read(call, sobject, self.rows.living(sobject, key)))
            case ("PATCH", [key]):
                self._writable(sobject)
                with self.rows.transaction():
                    if not self._unmodified(call, self.rows.living(sobject, key)):
                        return Answer(412)
                    self.rows.update(sobject, ids.read(key) or key, call.fields())
                return Answer(204)
            case ("DELETE", [key]):
                self._writable(sobject)
                self.rows.delete(sobject, ids.read(key) or key)
                return Answer(204)
            case ("GET" | "PATCH" | "DELETE", [field, value]):
                return self._by_external_id(call, sobject, field, value)
            case (_, [] | [_] | [_, _]):
                raise Refused(
                    "METHOD_NOT_ALLOWED",
                    f"HTTP Method '{call.method}' not allowed. Allowed are HEAD,GET,PATCH,DELETE",
                    status=405,
                )
        raise Refused("NOT_FOUND", "The requested resource does not exist", status=404)

    def _unmodified(self, call: _Call, row: Row) -> bool:
        """Whether the row is as the caller saw it, by whole seconds ("Conditional Requests")."""
        said = call.headers.get("if-unmodified-since")
        if said is None:
            return True
        try:
            since = parsedate_to_datetime(said)
        except ValueError:
            raise Refused("INVALID_HEADER", "the header is not a date") from None
        changed = datetime.fromisoformat(row["LastModifiedDate"]).replace(microsecond=0)
        return changed <= since

    def _writable(self, sobject: SObject) -> None:
        if not sobject.writable:
            raise Refused(
                "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
                f"entity type cannot be inserted or changed: {sobject.name}",
            )

    def _create(self, call: _Call, sobject: SObject) -> Answer:
        self._writable(sobject)
        with self.rows.transaction():
            values = call.fields()
            self._judge_duplicates(call, sobject, values)
            row = self.rows.create(sobject, values)
        return Answer(201, {"id": row["Id"], "success": True, "errors": []}, headers=(
            ("Location", f"/services/data/v{call.version}/sobjects/{sobject.name}/{row['Id']}"),
        ))  # fmt: skip

    def _by_external_id(self, call: _Call, sobject: SObject, field: str, value: str) -> Answer:
        column = sobject.field(field)
        if column is None or not (column.external_id or column.type == "id") or not value:
            raise Refused(
                "NOT_FOUND",
                f"Provided external ID field does not exist or is not accessible: {field}",
                status=404,
            )
        with self.rows.transaction():
            found = self.rows.by(sobject.name, column.name, value)
            if len(found) > 1:
                base = f"/services/data/v{call.version}/sobjects/{sobject.name}"
                return Answer(300, [f"{base}/{row['Id']}" for row in found])
            if call.method == "PATCH":
                return self._upsert(call, sobject, column, value, found[0] if found else None)
            if not found:
                raise Refused("NOT_FOUND", "The requested resource does not exist", status=404)
            if call.method == "DELETE":
                self._writable(sobject)
                self.rows.delete(sobject, found[0]["Id"])
                return Answer(204)
            return Answer(200, self._read(call, sobject, found[0]))

    def _upsert(
        self, call: _Call, sobject: SObject, column: schema.Field, value: str, found: Row | None
    ) -> Answer:
        self._writable(sobject)
        values = call.fields()
        if any(name.lower() in (column.name.lower(), "id") for name in values):
            raise Refused(
                "INVALID_FIELD",
                f"The {column.name} field should not be specified in the sobject data.",
                column.name,
            )
        told = {"created": found is None} if float(call.version) >= 46 else {}
        if found is not None:
            row = self.rows.update(sobject, found["Id"], values)
            if not told:
                return Answer(204)
            return Answer(200, {"id": row["Id"], "success": True, "errors": [], **told})
        if column.type == "id":
            raise Refused("NOT_FOUND", "The requested resource does not exist", status=404)
        values = {**values, column.name: value}
        self._judge_duplicates(call, sobject, values)
        row = self.rows.create(sobject, values)
        return Answer(201, {"id": row["Id"], "success": True, "errors": [], **told})

    def _judge_duplicates(self, call: _Call, sobject: SObject, values: Mapping[str, Any]) -> None:
        said = call.headers.get("sforce-duplicate-rule-header", "").replace(" ", "").lower()
        for rule in self.rules:
            if rule.object.lower() != sobject.name.lower():
                continue
            value = next((v for k, v in values.items() if k.lower() == rule.field.lower()), None)
            if value is None or (rule.allow_save and "allowsave=true" in said):
                continue
            matches = self.rows.by(sobject.name, rule.field, str(value))
            if matches:
                raise _duplicates_detected(sobject, rule.allow_save, matches)

    def _read(self, call: _Call, sobject: SObject, row: Row) -> dict[str, Any]:
        names = [name.strip() for name in call.query.get("fields", "").split(",") if name.strip()]
        fields = []
        for name in names:
            field = sobject.field(name)
            if field is None:
                raise Refused(
                    "INVALID_FIELD",
                    f"\n{name}\n ^\nERROR at Row:1:Column:1\nNo such column '{name}' on entity "
                    f"'{sobject.name}'.",
                )
            fields.append(field)
        shown = fields or list(sobject.fields.values())
        return {
            "attributes": _attributes(call, sobject, row),
            **{field.name: row[field.name] for field in shown},
        }

    def _replicated(self, call: _Call, sobject: SObject, what: str) -> Answer:
        try:
            start, end = (
                datetime.fromisoformat(call.query[name].replace(" ", "+"))
                for name in ("start", "end")
            )
        except (KeyError, ValueError):
            raise Refused("INVALID_REPLICATION_DATE", "start and end must be dates") from None
        if end - start < timedelta(minutes=1):
            raise Refused(
                "INVALID_REPLICATION_DATE", "startDate should be more than a minute before endDate"
            )
        if start < self.now() - timedelta(days=30):
            raise Refused(
                "INVALID_REPLICATION_DATE", "startDate before org replication enabled date"
            )
        low, high = soql.instant(start), soql.instant(end)
        deleted = what == "deleted"
        hits = [
            row
            for row in self.rows.all(sobject.name)
            if row["IsDeleted"] is deleted and low <= row["SystemModstamp"] < high
        ]
        covered = {"latestDateCovered": soql.instant(min(end, self.now()))}
        if not deleted:
            return Answer(200, {"ids": [row["Id"] for row in hits], **covered})
        gone = [{"deletedDate": row["SystemModstamp"], "id": row["Id"]} for row in hits]
        earliest = soql.instant(self.now() - timedelta(days=15))
        return Answer(200, {"deletedRecords": gone, "earliestDateAvailable": earliest, **covered})

    # Queries.

    def _query(self, call: _Call, rest: list[str], *, deleted: bool) -> Answer:
        if call.method != "GET":
            raise Refused("METHOD_NOT_ALLOWED", "HTTP Method not allowed. Allowed are HEAD,GET",
                          status=405)  # fmt: skip
        name = "queryAll" if deleted else "query"
        if rest:
            return self._more(call, name, rest[0])
        if "q" not in call.query:
            raise Refused("MALFORMED_QUERY", "A query string has to be specified")
        with self.rows.lock:
            query = soql.parse(call.query["q"])
            found = soql.run(query, self.rows.all, self.rows.get, deleted=deleted)
            if query.counts:
                return Answer(200, {"totalSize": len(found), "done": True, "records": []})
            return Answer(200, self._page(call, name, query, found, 0, deleted=deleted))

    def _job(self, call: _Call, rest: list[str]) -> Answer:
        """A query job of Bulk API 2.0."""

        def told(job: bulk.Job) -> Answer:
            return Answer(200, bulk.shown(job, user=self.rows.user, version=call.version))

        def run(query: Query, deleted: bool) -> list[Row]:
            found = soql.run(query, self.rows.all, self.rows.get, deleted=deleted)
            return [dict(row) for row in found]

        match call.method, rest:
            case "POST", []:
                with self.rows.lock:
                    return told(self.jobs.create(call.fields(), run, soql.instant(self.now())))
            case "GET", [key]:
                return told(self.jobs.look(key))
            case "GET", [key, "results"]:
                with self.rows.lock:
                    body, locator, count = self.jobs.results(key, call.query, self.rows.get)
                headers = (("Sforce-Locator", locator), ("Sforce-NumberOfRecords", str(count)))
                return Answer(200, body, "text/csv; charset=UTF-8", headers)
            case "PATCH", [key] if call.fields().get("state") == "Aborted":
                return told(self.jobs.abort(key))
            case "DELETE", [key]:
                self.jobs.delete(key)
                return Answer(204)
        raise Refused("METHOD_NOT_ALLOWED", "HTTP Method not allowed", status=405)

    def _page(
        self, call: _Call, name: str, query: Query, found: list[Row], start: int, *, deleted: bool
    ) -> dict[str, Any]:
        part = found[start : start + self._batch_of(call)]
        page: dict[str, Any] = {
            "totalSize": len(found),
            "done": start + len(part) >= len(found),
            "records": [self._shown(call, name, query, row, deleted=deleted) for row in part],
        }
        if not page["done"]:
            serial = ids.make("0r8", 1 + len(found) + secrets.randbelow(10**9))
            with self._lock:
                self._locators[serial] = (query, found, name)
                while len(self._locators) > _MOST_LOCATORS:
                    self._locators.popitem(last=False)
            page["nextRecordsUrl"] = (
                f"/services/data/v{call.version}/{name}/{serial}-{start + len(part)}"
            )
        return page

    def _batch_of(self, call: _Call) -> int:
        said = re.search(r"batchSize=(\d+)", call.headers.get("sforce-query-options", ""))
        if said and 200 <= int(said.group(1)) <= 2000:
            return min(self.batch, int(said.group(1)))
        return self.batch

    def _more(self, call: _Call, name: str, locator: str) -> Answer:
        serial, _, start = locator.rpartition("-")
        with self._lock:
            kept = self._locators.get(serial)
        if kept is None or not start.isdigit() or kept[2] != name:
            raise Refused("INVALID_QUERY_LOCATOR", "invalid query locator")
        query, found, _ = kept
        with self.rows.lock:
            return Answer(
                200,
                self._page(call, name, query, found, int(start), deleted=name == "queryAll"),
            )

    def _shown(
        self, call: _Call, name: str, query: Query, row: Row, *, deleted: bool
    ) -> dict[str, Any]:
        shown: dict[str, Any] = {"attributes": _attributes(call, query.sobject, row)}
        for column in query.columns:
            if isinstance(column, FieldPath):
                self._place(call, shown, column, row)
                continue
            relationship, inner = column
            child = query.sobject.children[relationship.lower()]
            found = soql.run(
                inner, self._hanging(child.field, row["Id"]), self.rows.get, deleted=deleted
            )
            shown[relationship] = (
                self._page(call, name, inner, found, 0, deleted=deleted) if found else None
            )
        return shown

    def _hanging(self, field: str, key: str) -> soql.Source:
        return lambda name: [row for row in self.rows.all(name) if row[field] == key]

    def _place(self, call: _Call, shown: dict[str, Any], path: FieldPath, row: Row) -> None:
        here, source = shown, row
        for lookup in path.lookups:
            name = lookup.relationship or ""
            key = source.get(lookup.name)
            target = schema.OBJECTS[lookup.refers_to[0].lower()]
            parent = None if key is None else self.rows.get(target.name, key)
            if parent is None:
                here.setdefault(name, None)
                return
            if here.get(name) is None:
                here[name] = {"attributes": _attributes(call, target, parent)}
            here, source = here[name], parent
        here[path.field.name] = source[path.field.name]

    # Trees.

    def _tree(self, call: _Call, name: str) -> Answer:
        """Create records with their children in one transaction: all of them or none."""
        sobject = schema.find(name)
        if sobject is None:
            raise Refused("NOT_FOUND", "The requested resource does not exist", status=404)
        if call.method != "POST":
            raise Refused("METHOD_NOT_ALLOWED", "Allowed are POST", status=405)
        records = call.fields().get("records")
        if not isinstance(records, list) or not records:
            raise Refused("INVALID_INPUT", "Include at least one record.")
        results: list[dict[str, str]] = []
        try:
            with self.rows.transaction():
                for record in records:
                    self._plant(call, sobject, record, None, results)
        except _TreeRefused as refused:
            refusal = refused.refusal
            error = {"statusCode": refusal.code, "message": refusal.message,
                     "fields": list(refusal.fields), **refusal.extra}  # fmt: skip
            return Answer(
                400,
                {
                    "hasErrors": True,
                    "results": [{"referenceId": refused.reference, "errors": [error]}],
                },
            )
        return Answer(201, {"hasErrors": False, "results": results})

    def _plant(
        self,
        call: _Call,
        sobject: SObject,
        record: Any,
        above: tuple[str, str] | None,
        results: list[dict[str, str]],
    ) -> None:
        attributes = record.get("attributes") if isinstance(record, dict) else None
        if not isinstance(attributes, dict) or "referenceId" not in attributes:
            raise Refused("INVALID_INPUT", "Include a reference ID for each record in the request.")
        reference = str(attributes["referenceId"])
        if any(result["referenceId"] == reference for result in results):
            raise Refused("INVALID_INPUT", f"Duplicate ReferenceId provided in the request: "
                          f"{reference}")  # fmt: skip
        if str(attributes.get("type", "")).lower() != sobject.name.lower():
            raise Refused("INVALID_INPUT", "Each record must name its type; all roots share one.")
        if len(results) >= _MOST_TREE:
            raise Refused("INVALID_INPUT", "Include 200 or fewer records in the request.")
        values, below = {}, []
        for name, value in record.items():
            child = sobject.children.get(name.lower())
            if child is not None and isinstance(value, dict):
                below.append((child, value.get("records") or []))
            elif name != "attributes":
                values[name] = value
        if above is not None:
            values[above[0]] = above[1]
        try:
            self._writable(sobject)
            self._judge_duplicates(call, sobject, values)
            row = self.rows.create(sobject, values)
        except Refused as refusal:
            raise _TreeRefused(reference, refusal) from refusal
        results.append({"referenceId": reference, "id": row["Id"]})
        for child, records in below:
            for hanging in records:
                target = schema.OBJECTS[child.object.lower()]
                self._plant(call, target, hanging, (child.field, row["Id"]), results)

    # Composites.

    def _composite(self, call: _Call) -> Answer:
        """Several requests about rows, one after another; with `allOrNone` one transaction."""
        said = call.fields()
        steps, together = said.get("compositeRequest"), said.get("allOrNone") is True
        if not isinstance(steps, list) or not 1 <= len(steps) <= _MOST_COMPOSITE:
            raise Refused("INVALID_INPUT", f"Include 1 to {_MOST_COMPOSITE} subrequests.")
        answers: list[Answer] = []
        try:
            with self.rows.transaction():
                for step in steps:
                    answers.append(self._step(call, step))
                    _halt(together and answers[-1].status >= 400)
        except _Halted:
            halted, refused = Answer(400, [_HALTED.body()]), len(answers) - 1
            answers = [answers[-1] if n == refused else halted for n in range(len(steps))]
        return _composed([str(step["referenceId"]) for step in steps], answers)

    def _step(self, call: _Call, step: Any) -> Answer:
        try:
            url, method, _ = step["url"], step["method"], step["referenceId"]
            found = _VERSIONED.fullmatch(url)
            parts = [unquote(part) for part in (found.group(2) if found else "").split("/") if part]
        except (KeyError, TypeError):
            raise Refused(
                "INVALID_INPUT", "A subrequest has a method, a url and a referenceId."
            ) from None
        if parts[:1] != ["sobjects"]:
            raise Refused("INVALID_INPUT", "The sandbox composes requests about sobjects only.")
        own = {name.lower(): str(value) for name, value in (step.get("httpHeaders") or {}).items()}
        inner = replace(
            call,
            method=method,
            path=url,
            parts=tuple(parts),
            headers={**call.headers, **own},
            body=json.dumps(step.get("body")).encode(),
            query={},
        )
        try:
            return self._sobjects(inner, parts[1:])
        except Refused as refusal:
            return _refusal(refusal)

    # Lies.

    def _masked(self, call: _Call) -> Answer:
        html = "text/html;charset=UTF-8"
        refusals: Mapping[str, Callable[[], Refused]] = {
            "session": lambda: Refused(
                "INVALID_SESSION_ID", "Session expired or invalid", status=401
            ),
            "unauthorised": lambda: Refused(
                "INSUFFICIENT_ACCESS",
                "insufficient access rights on object id",
                status=403,
            ),
            "limit": lambda: Refused(
                "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", status=403
            ),
            "busy": lambda: Refused(
                "REQUEST_LIMIT_EXCEEDED",
                "ConcurrentRequests (Concurrent API Requests) Limit exceeded.",
                status=403,
            ),
            "lock": lambda: Refused(
                "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record"
            ),
            "timeout": lambda: Refused(
                "QUERY_TIMEOUT", "Your query request was running for too long."
            ),
            "duplicates": lambda: _duplicates_detected(schema.OBJECTS["case"], True, []),
        }
        match call.masked:
            case "login_page":
                return Answer(200, _LOGIN_PAGE, html)
            case "maintenance":
                return Answer(503, b"<html><body>Down for maintenance</body></html>", html)
            case "false":
                error = {"statusCode": "FIELD_CUSTOM_VALIDATION_EXCEPTION",
                         "message": "A case needs a contact.", "fields": []}  # fmt: skip
                if call.parts[:2] == ("composite", "tree"):
                    result = {"referenceId": "order", "errors": [error]}
                    return Answer(200, {"hasErrors": True, "results": [result]})
                return Answer(200, {"id": None, "success": False, "errors": [error]})
            case "html_after":
                self._route(call)
                return Answer(200, _LOGIN_PAGE, html)
            case "unknown":
                self._route(call)
                raise Refused(
                    "UNKNOWN_EXCEPTION",
                    "An unexpected error occurred. Please include this ErrorId if you contact "
                    "support: 1234567890-12345 (-1234567890)",
                    status=500,
                )
            case "duplicate_value":
                return self._as_if_beaten(call)
            case str() as name if name in refusals:
                if name == "session":
                    self.end_sessions()
                raise refusals[name]()
        raise Refused("UNKNOWN_EXCEPTION", f"the sandbox knows no mask {call.masked!r}", status=500)

    def _as_if_beaten(self, call: _Call) -> Answer:
        """Do the write, then answer as if another request had done it a moment before."""
        answer = self._route(call)
        if answer.status not in (200, 201):
            return answer
        if "compositeResponse" in answer.value:
            gone = Refused("ENTITY_IS_DELETED", "entity is deleted", status=404)
            halted = Answer(400, [_HALTED.body()])
            references = [step["referenceId"] for step in answer.value["compositeResponse"]]
            answers = [Answer(404, [gone.body()]), *[halted] * (len(references) - 1)]
            return _composed(references, answers)
        results = answer.value.get("results") or [answer.value]
        refusal = Refused(
            "DUPLICATE_VALUE",
            f"duplicate value found: {KEY_FIELD} duplicates value on record with id: "
            f"{results[0]['id'][:15]}",
        )
        if "results" not in answer.value:
            raise refusal
        error = {"statusCode": refusal.code, "message": refusal.message, "fields": []}
        reference = results[0]["referenceId"]
        return Answer(
            400, {"hasErrors": True, "results": [{"referenceId": reference, "errors": [error]}]}
        )

    # For other processes.

    def _control(self, call: _Call) -> Answer:
        match (call.method, call.parts[1:]):
            case ("GET", ("rows",)):
                name, field = call.query.get("object", ""), call.query.get("field", "")
                sobject = schema.find(name)
                column = sobject.field(field) if sobject else None
                if sobject is None or column is None:
                    return Answer(404, {"error": "name an object and one of its fields"})
                value, part = call.query.get("value"), call.query.get("contains")
                count = self.count(sobject.name, column.name, value, contains=part)
                if value is not None or part is not None:
                    return Answer(200, {"count": count})
                counts: dict[str, int] = {}
                for row in self.rows.all(sobject.name):
                    if not row["IsDeleted"] and row[column.name] is not None:
                        text = str(row[column.name])
                        counts[text] = counts.get(text, 0) + 1
                return Answer(200, {"count": count, "counts": counts})
            case ("POST", ("sessions",)):
                self.end_sessions()
                return Answer(204)
            case ("POST", ("duplicate_rules",)):
                said = call.json()
                self.rules = [DuplicateRule(**rule) for rule in said]
                return Answer(200, {"rules": len(self.rules)})
        return Answer(404, {"error": "rows, sessions or duplicate_rules"})


class _TreeRefused(Exception):
    def __init__(self, reference: str, refusal: Refused) -> None:
        super().__init__(reference)
        self.reference = reference
        self.refusal = refusal


class _Halted(Exception):
    """Rolls a composite's transaction back."""


def _halt(wanted: bool) -> None:
    if wanted:
        raise _Halted


def _composed(references: list[str], answers: list[Answer]) -> Answer:
    return Answer(
        200,
        {
            "compositeResponse": [
                {
                    "body": answer.value,
                    "httpHeaders": dict(answer.headers),
                    "httpStatusCode": answer.status,
                    "referenceId": reference,
                }
                for reference, answer in zip(references, answers, strict=True)
            ]
        },
    )


def _refusal(refusal: Refused) -> Answer:
    return Answer(refusal.status, [refusal.body()])


def _attributes(call: _Call, sobject: SObject, row: Row) -> dict[str, str]:
    url = f"/services/data/v{call.version}/sobjects/{sobject.name}/{row['Id']}"
    return {"type": sobject.name, "url": url}


def _duplicates_detected(sobject: SObject, allow_save: bool, matches: list[Row]) -> Refused:
    result = {
        "allowSave": allow_save,
        "duplicateRule": f"Standard_{sobject.name}_Duplicate_Rule",
        "duplicateRuleEntityType": sobject.name,
        "errorMessage": "Use one of these records?",
        "matchResults": [
            {
                "entityType": sobject.name,
                "errors": [],
                "matchEngine": "ExactMatchEngine",
                "matchRecords": [
                    {
                        "additionalInformation": [],
                        "fieldDiffs": [],
                        "matchConfidence": 100.0,
                        "record": {"attributes": {"type": sobject.name}, "Id": row["Id"]},
                    }
                    for row in matches
                ],
                "rule": f"Standard_{sobject.name}_Match_Rule",
                "size": len(matches),
                "success": True,
            }
        ],
    }
    # The REST API really spells it so.
    return Refused(
        "DUPLICATES_DETECTED", "Use one of these records?", extra={"duplicateResut": result}
    )


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _soap_fault(code: str, message: str) -> bytes:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"
 xmlns:sf="urn:fault.partner.soap.sforce.com"><soapenv:Body><soapenv:Fault>
<faultcode>{code}</faultcode><faultstring>{escape(message)}</faultstring><detail>
<sf:LoginFault><sf:exceptionCode>{code}</sf:exceptionCode>
<sf:exceptionMessage>{escape(message)}</sf:exceptionMessage></sf:LoginFault></detail>
</soapenv:Fault></soapenv:Body></soapenv:Envelope>""".encode()
