"""Salesforce's wire, through simple-salesforce: one call, one verdict."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, TypeVar, cast
from urllib.parse import quote

import jwt
from simple_salesforce.api import Salesforce, SFType
from simple_salesforce.bulk2 import Operation as BulkOperation
from simple_salesforce.bulk2 import SFBulk2Handler
from simple_salesforce.exceptions import (
    SalesforceAuthenticationFailed,
    SalesforceError,
    SalesforceMoreThanOneRecord,
)
from simple_salesforce.login import SalesforceLogin, token_login
from simple_salesforce.util import exception_handler

from adapters.salesforce.bulk import OtherColumnsError, rows_of
from adapters.salesforce.settings import SalesforceSettings, Secrets
from middleware.contract.errors import (
    Ambiguous,
    Busy,
    Duplicated,
    Forbidden,
    Missing,
    NotOffered,
    Permanent,
    Rejected,
    RemoteError,
    Transient,
    Unauthorised,
)
from middleware.contract.http import session
from middleware.contract.wire import classify, classify_status

SYSTEM = "salesforce"


@dataclass(frozen=True)
class Rule:
    """What one of Salesforce's error codes means."""

    error: type[RemoteError]
    message: str
    quoted: bool = False
    """Whether Salesforce's own words follow: where an administrator of the org wrote them."""
    retry_after: timedelta | None = None


_SCHEMA = "the mapping and the org do not fit together; `amends connections check` says where"
_VALUE = "Salesforce refuses a value"
_ACCESS = "the hub's user lacks a permission in Salesforce"

RULES: Mapping[str, Rule] = {
    # Nothing happened, later it may.
    "UNABLE_TO_LOCK_ROW": Rule(Busy, "somebody else holds the row at the moment"),
    "SERVER_UNAVAILABLE": Rule(Transient, "Salesforce has no free server at the moment"),
    "QUERY_TIMEOUT": Rule(Transient, "the query ran for too long"),
    "OPERATION_TOO_LARGE": Rule(Permanent, "the query touches more rows than Salesforce allows"),
    "API_CURRENTLY_DISABLED": Rule(Transient, "the org's API is switched off for maintenance"),
    "REQUEST_LIMIT_EXCEEDED": Rule(
        Transient,
        "the org has used up its API requests of the last 24 hours",
        retry_after=timedelta(minutes=15),
    ),
    # The session or its user.
    "INVALID_SESSION_ID": Rule(Unauthorised, "the session is over, and logging in did not help"),
    "INSUFFICIENT_ACCESS": Rule(Forbidden, _ACCESS),
    "INSUFFICIENT_ACCESS_OR_READONLY": Rule(Forbidden, _ACCESS),
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": Rule(Forbidden, _ACCESS),
    "INVALID_FIELD_FOR_INSERT_UPDATE": Rule(
        Forbidden, "the hub's user may not write a field, or it is read-only"
    ),
    "API_DISABLED_FOR_ORG": Rule(Unauthorised, "the hub's user or org may not use the API"),
    "FUNCTIONALITY_NOT_ENABLED": Rule(NotOffered, "the org has not enabled that"),
    # The record.
    "NOT_FOUND": Rule(Missing, "the record does not exist in Salesforce"),
    "ENTITY_IS_DELETED": Rule(Missing, "the record was deleted in Salesforce"),
    "INVALID_CROSS_REFERENCE_KEY": Rule(
        Rejected, "a record that is referred to does not exist, or the hub's user may not see it"
    ),
    # The request.
    "REQUIRED_FIELD_MISSING": Rule(Rejected, "a field that Salesforce requires is empty"),
    "STRING_TOO_LONG": Rule(Rejected, "a text is longer than its field"),
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": Rule(
        Rejected, "a value is not in the field's picklist; add it to the mapping's table"
    ),
    "INVALID_EMAIL_ADDRESS": Rule(Rejected, "an e-mail address is not one"),
    "NUMBER_OUTSIDE_VALID_RANGE": Rule(Rejected, "a number is outside its field's range"),
    "FIELD_INTEGRITY_EXCEPTION": Rule(Rejected, "values do not fit each other or the org's rules"),
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": Rule(
        Rejected, "a validation rule of the org refuses it", quoted=True
    ),
    # A trigger or flow raised: its transaction was rolled back.
    "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY": Rule(
        Rejected, "automation of the org (a trigger or flow) refuses it"
    ),
    "FAILED_ACTIVATION": Rule(Rejected, "the order cannot be in that status"),
    "DELETE_FAILED": Rule(Rejected, "Salesforce refuses to delete it"),
    "MALFORMED_ID": Rule(Rejected, "an id is not one of the object's"),
    "JSON_PARSER_ERROR": Rule(Rejected, "a value has the wrong type for its field"),
    "DUPLICATE_VALUE": Rule(Rejected, "a field that must be unique has this value already"),
    "DUPLICATE_EXTERNAL_ID": Rule(Duplicated, "several records bear the same external id"),
    "DUPLICATES_DETECTED": Rule(
        Rejected,
        "a duplicate rule of the org holds it to be a duplicate; merge them there, change the "
        "rule, or set allow_duplicates where the rule only warns",
    ),
    "STORAGE_LIMIT_EXCEEDED": Rule(Permanent, "the org's storage is full"),
    "INVALID_FIELD": Rule(NotOffered, _SCHEMA),
    "INVALID_TYPE": Rule(NotOffered, _SCHEMA),
    "MALFORMED_QUERY": Rule(NotOffered, _SCHEMA),
    "INVALID_QUERY_FILTER_OPERATOR": Rule(Rejected, "an id is not one of the object's"),
    "INVALID_QUERY_LOCATOR": Rule(Transient, "the query's further pages are gone; ask it again"),
    "INVALID_REPLICATION_DATE": Rule(Rejected, "the period is too short or too long ago"),
    "METHOD_NOT_ALLOWED": Rule(NotOffered, "the API version does not offer that"),
}
"""Salesforce's status codes ("Status Codes and Error Responses", REST API Developer Guide;
"Core Data Types Used in API Calls", StatusCode). All of them come after a rollback. What is not
here is judged by its HTTP status: on a write, 5xx is ambiguous."""

_BUSY = Rule(
    Transient, "too many of the org's API requests run at once", retry_after=timedelta(seconds=10)
)

_LOGIN_RULES: Mapping[str, Rule] = {
    "invalid_grant": Rule(
        Unauthorised, "Salesforce refuses the login: the user, its password or token, or the JWT"
    ),
    "invalid_client": Rule(Unauthorised, "the consumer secret is wrong"),
    "invalid_client_id": Rule(Unauthorised, "Salesforce does not know the consumer key"),
    "inactive_user": Rule(Unauthorised, "the hub's user is inactive"),
    "inactive_org": Rule(Unauthorised, "the org is locked or closed"),
    "rate_limit_exceeded": Rule(
        Transient, "too many logins in a short time", retry_after=timedelta(minutes=5)
    ),
    "unsupported_grant_type": Rule(Unauthorised, "the connected app does not allow this login"),
    "invalid_request": Rule(Unauthorised, "the connected app does not allow this login"),
    "unauthorized_client": Rule(Unauthorised, "the connected app does not allow this login"),
    "unknown_error": Rule(Transient, "Salesforce's login failed inside"),
    "INVALID_LOGIN": Rule(
        Unauthorised, "the username, password or security token is wrong, or the user is locked"
    ),
    "LOGIN_MUST_USE_SECURITY_TOKEN": Rule(Unauthorised, "the security token is missing or old"),
    "PASSWORD_LOCKOUT": Rule(Unauthorised, "the hub's user is locked out"),
    "LOGIN_RATE_EXCEEDED": Rule(
        Transient, "too many logins in the last hour", retry_after=timedelta(minutes=15)
    ),
    "SERVER_UNAVAILABLE": Rule(Transient, "Salesforce has no free server at the moment"),
    "UNKNOWN_EXCEPTION": Rule(Transient, "Salesforce's login failed inside"),
}
"""OAuth errors ("OAuth 2.0 Authorization Errors") and ExceptionCodes of SOAP `login`."""

_UNKNOWN_LOGIN = Rule(Unauthorised, "Salesforce refuses the login")

_FIELD_OF_DUPLICATE = re.compile(r"duplicate value found: (\w+) ")
_PERSONAL = re.compile(r"[^\s@]+@[^\s@]+|\+?\d[\d\s()/-]{6,}\d")
_ID = re.compile(r"[0-9A-Za-z]{15}([0-9A-Za-z]{3})?", re.ASCII)

_MOST_PAGES = 500

T = TypeVar("T")


class _Unreadable(Exception):
    """An answer that is not what Salesforce's documentation says; caught in this module."""


@dataclass(frozen=True)
class _Seen:
    """What the last answer of this thread looked like; simple-salesforce hides it."""

    status: int
    headers: Mapping[str, str]
    is_page: bool


class Client:
    """Calls one org as one user; raises only the three errors."""

    def __init__(self, settings: SalesforceSettings, secrets: Secrets) -> None:
        self._settings = settings
        self._secrets = secrets
        self._http = session(settings.limits, ca_file=settings.ca_file)
        self._http.hooks["response"].append(self._note)
        self._lock = threading.Lock()
        self._org: Salesforce | None = None
        self._seen = threading.local()
        self._clock: tuple[datetime, float] | None = None

    def close(self) -> None:
        self._http.close()

    # Reads.

    def query(
        self, soql: str, *, operation: str, deleted: bool = False, children: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """All rows of a query; child relationships become plain lists, complete ones."""

        def ask(org: Salesforce) -> list[dict[str, Any]]:
            page = org.query(soql, include_deleted=deleted)
            return list(self._rows(org, page, children))

        return self._ask(ask, write=False, operation=operation)

    def count(self, soql: str, *, operation: str) -> int:
        """How many rows a `SELECT COUNT()` finds."""

        def ask(org: Salesforce) -> int:
            return int(org.query(soql)["totalSize"])

        return self._ask(ask, write=False, operation=operation)

    # Query jobs of Bulk API 2.0. Beginning one twice leaves an idle job behind, and nothing else.

    def begin_job(self, sobject: str, soql: str, *, operation: str) -> str:
        """Begin a query job; its id."""

        def ask(org: Salesforce) -> str:
            made = _bulk_of(org, sobject).create_job(BulkOperation.query, query=soql)
            return _id(made["id"])

        return self._ask(ask, write=False, operation=operation)

    def job_state(self, sobject: str, job: str, *, operation: str) -> str:
        """UploadComplete, InProgress, JobComplete, Failed or Aborted; raises Missing."""

        def ask(org: Salesforce) -> str:
            return str(_bulk_of(org, sobject).get_job(_id(job), is_query=True)["state"])

        return self._ask(ask, write=False, operation=operation)

    def job_results(
        self, sobject: str, job: str, types: Mapping[str, str], locator: str, *, limit: int
    ) -> tuple[list[dict[str, Any]], str]:
        """The rows of one part, and the locator of the next; empty after the last. Raises Missing
        where the part is gone, or has other columns than these."""
        operation = "changed_since"

        def ask(org: Salesforce) -> tuple[list[dict[str, Any]], str] | None:
            part = _bulk_of(org, sobject).get_query_results(_id(job), locator, limit)
            try:
                return rows_of(part["records"], types), str(part["locator"])
            except OtherColumnsError:
                return None

        try:
            found = self._ask(ask, write=False, operation=operation)
        except Transient as error:
            if error.code != "INVALID_QUERY_LOCATOR":
                raise
            found = None
        if found is None:
            what = "the job's results no longer are what its cursor names"
            raise Missing(what, system=SYSTEM, operation=operation)
        return found

    def describe(self, sobject: str) -> dict[str, Any] | None:
        """An object's description; None when the org has no such object, or hides it."""

        def ask(org: Salesforce) -> dict[str, Any]:
            answer = _type_of(org, sobject).describe()
            if not isinstance(answer, dict) or not isinstance(answer.get("fields"), list):
                raise _Unreadable
            return answer

        try:
            return self._ask(ask, write=False, operation="describe")
        except Missing:
            return None

    def requests_left(self) -> tuple[int, int]:
        """API requests left today, and how many there are."""

        def ask(org: Salesforce) -> tuple[int, int]:
            daily = org.limits()["DailyApiRequests"]
            return int(daily["Remaining"]), int(daily["Max"])

        return self._ask(ask, write=False, operation="check")

    def log_in(self) -> None:
        """Log in, unless a session is there."""
        with self._lock:
            if self._org is None:
                self._org = self._logged_in("check")

    def url_of(self, key: str) -> str | None:
        """Where people see a record."""
        return f"https://{self._org.sf_instance}/{key}" if self._org is not None else None

    def now(self, *, fresh: bool = False) -> datetime:
        """The org's time, from the Date of its last answer, or of a fresh one."""
        if fresh or self._clock is None:
            self._ask(self._versions, write=False, operation="clock")
        if self._clock is None:
            raise Transient("Salesforce's answers bear no Date", system=SYSTEM, operation="clock")
        moment, at = self._clock
        return moment + timedelta(seconds=time.monotonic() - at)

    def _versions(self, org: Salesforce) -> None:
        """Ask for the API's versions, which needs no session and counts against no limit."""
        answer = org.session.get(f"https://{org.sf_instance}/services/data/")
        if answer.status_code >= 300:
            exception_handler(answer)
        if not isinstance(answer.json(), list):
            raise _Unreadable

    # Writes.

    def create(self, sobject: str, values: Mapping[str, Any], *, operation: str) -> str:
        """Insert a record; its id."""

        def ask(org: Salesforce) -> str:
            answer = _type_of(org, sobject).create(wire(values), headers=self._advice())
            return self._made(answer)

        return self._ask(ask, write=True, operation=operation)

    def upsert(
        self, sobject: str, field: str, key: str, values: Mapping[str, Any], *, operation: str
    ) -> str:
        """Insert a record under an external id, or overwrite the one that bears it; its id."""

        def ask(org: Salesforce) -> str:
            answer = _type_of(org, sobject).upsert(
                f"{field}/{quote(key, safe='')}",
                wire(values),
                raw_response=True,
                headers=self._advice(),
            )
            return self._made(answer.json())

        return self._ask(ask, write=True, operation=operation)

    def update(
        self,
        sobject: str,
        key: str,
        values: Mapping[str, Any],
        *,
        unmodified_since: datetime,
        operation: str,
    ) -> None:
        """Change a record, unless somebody else changed it since: then Transient, and no change.

        Salesforce compares LastModifiedDate, by whole seconds (If-Unmodified-Since, "Conditional
        Request Headers", REST API Developer Guide; it answers 412).
        """
        since = format_datetime(unmodified_since.astimezone(UTC), usegmt=True)
        headers = {**self._advice(), "If-Unmodified-Since": since}

        def ask(org: Salesforce) -> None:
            answer = _type_of(org, sobject).update(
                key, wire(values), raw_response=True, headers=headers
            )
            if answer.status_code != 204:
                raise _Unreadable

        self._ask(ask, write=True, operation=operation)

    def discard(
        self,
        sobject: str,
        key: str,
        values: Mapping[str, Any],
        *,
        unmodified_since: datetime,
        operation: str,
    ) -> None:
        """Change a record and put it into the recycle bin, unless somebody else changed it since.

        A deletion takes no condition, so the change before it bears it, in one transaction with it
        (Composite resource, `allOrNone`; subrequests have headers of their own). Raises Missing
        where the record lies in the recycle bin already.
        """
        since = format_datetime(unmodified_since.astimezone(UTC), usegmt=True)
        url = f"/services/data/v{self._settings.api_version}/sobjects/{sobject}/{key}"
        steps = [
            {
                "method": "PATCH",
                "url": url,
                "referenceId": "mark",
                "body": wire(values),
                "httpHeaders": {**self._advice(), "If-Unmodified-Since": since},
            },
            {"method": "DELETE", "url": url, "referenceId": "discard"},
        ]

        def ask(org: Salesforce) -> None:
            answer = org.restful(
                "composite",
                method="POST",
                data=json.dumps({"allOrNone": True, "compositeRequest": steps}),
            )
            results = answer["compositeResponse"] if isinstance(answer, dict) else None
            if not isinstance(results, list) or len(results) != len(steps):
                raise _Unreadable
            if all(result["httpStatusCode"] == 204 for result in results):
                return
            for result in results:
                errors = _errors_of(result["body"] or [])
                if any(error.get("errorCode") == "PROCESSING_HALTED" for error in errors):
                    continue  # another step's fault
                if result["httpStatusCode"] >= 400:
                    raise _Refused(errors, result["httpStatusCode"])
            raise _Unreadable

        self._ask(ask, write=True, operation=operation)

    def plant(
        self,
        sobject: str,
        values: Mapping[str, Any],
        children: Mapping[str, tuple[str, Sequence[Mapping[str, Any]]]],
        *,
        operation: str,
    ) -> str:
        """Insert a record with its children in one transaction; the record's id.

        `children` are the rows of each child relationship, with their object's name. Salesforce
        makes all of them or none (sObject Tree resource).
        """
        root: dict[str, Any] = {"attributes": {"type": sobject, "referenceId": "root"}}
        root |= wire(values)
        for relationship, (child, rows) in children.items():
            root[relationship] = {
                "records": [
                    {"attributes": {"type": child, "referenceId": f"{relationship}{n}"}, **wire(r)}
                    for n, r in enumerate(rows)
                ]
            }

        def ask(org: Salesforce) -> str:
            answer = org.restful(
                f"composite/tree/{sobject}",
                method="POST",
                data=json.dumps({"records": [root]}),
                headers=self._advice(),
            )
            if not isinstance(answer, dict):
                raise _Unreadable
            if answer.get("hasErrors"):
                raise _Refused(_errors_of(answer))
            for result in answer.get("results") or ():
                if result.get("referenceId") == "root":
                    return _id(result.get("id"))
            raise _Unreadable

        return self._ask(ask, write=True, operation=operation)

    def _advice(self) -> dict[str, str]:
        allow = str(self._settings.allow_duplicates).lower()
        return {"Sforce-Duplicate-Rule-Header": f"allowSave={allow}"}

    def _made(self, answer: Any) -> str:
        if not isinstance(answer, dict):
            raise _Unreadable
        if answer.get("success") is False and _listed(answer, "errors"):
            raise _Refused(_errors_of(answer))
        if answer.get("success") is not True:
            raise _Unreadable
        return _id(answer.get("id"))

    # The one way to ask.

    def _ask(self, ask: Callable[[Salesforce], T], *, write: bool, operation: str) -> T:
        """Ask once; once more after a new login when the session turned out to be over.

        Salesforce checks the session before anything else, so INVALID_SESSION_ID on a write means
        that nothing happened.
        """
        with self._lock:
            org = self._org = self._org or self._logged_in(operation)
        for attempt in ("first", "second"):
            try:
                return self._judged(ask, org, write=write, operation=operation)
            except Unauthorised as refusal:
                over = refusal.code == "INVALID_SESSION_ID" and self._settings.login != "token"
                if attempt == "second" or not over:
                    raise
                org = self._again(org, operation)
        raise AssertionError("unreachable")

    def _again(self, over: Salesforce, operation: str) -> Salesforce:
        with self._lock:
            if self._org is over or self._org is None:  # otherwise another thread was faster
                self._org = None
                self._org = self._logged_in(operation)
            return self._org

    def _judged(
        self, ask: Callable[[Salesforce], T], org: Salesforce, *, write: bool, operation: str
    ) -> T:
        """Run a call and turn whatever it raises into a verdict, without its text: that may hold
        personal data."""
        self._seen.last = None
        try:
            return ask(org)
        except _Refused as refused:
            verdict = self._verdict(
                refused.errors, refused.status, write=write, operation=operation
            )
        except SalesforceMoreThanOneRecord:
            verdict = Duplicated(
                "several records bear the same external id", system=SYSTEM, operation=operation
            )
        except SalesforceError as error:
            errors = _errors_of(error.content)
            verdict = self._verdict(errors, error.status, write=write, operation=operation)
        except (_Unreadable, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            verdict = self._unread(error, write=write, operation=operation)
        except Exception as error:
            verdict = classify(error, write=write, system=SYSTEM, operation=operation)
        raise verdict from None

    def _unread(self, error: Exception, *, write: bool, operation: str) -> RemoteError:
        """What an answer means that is no JSON, or not the JSON it should be."""
        seen = self._last()
        if seen is None:
            # No answer came, so this is not about one.
            return classify(error, write=write, system=SYSTEM, operation=operation)
        what = (
            "a web page came instead of data, such as a login or maintenance page"
            if seen.is_page
            else "the answer was not understood"
        )
        if write:
            return Ambiguous(
                f"{what}; whether the write was carried out is not known",
                system=SYSTEM,
                operation=operation,
            )
        return Transient(what, system=SYSTEM, operation=operation)

    def _verdict(
        self, errors: list[dict[str, Any]], status: int, *, write: bool, operation: str
    ) -> RemoteError:
        first = errors[0] if errors else {}
        code, said = _text(first.get("errorCode")), _text(first.get("message")) or ""
        fields = first.get("fields")
        field = ", ".join(map(str, fields)) if isinstance(fields, list) and fields else None
        if code == "DUPLICATE_VALUE" and (named := _FIELD_OF_DUPLICATE.match(said)):
            field = named.group(1)
        if status == 412:
            return Transient(
                "somebody changed the record at that moment; look at it again",
                system=SYSTEM,
                operation=operation,
                code="412",
            )
        rule = RULES.get(code or "")
        if code == "REQUEST_LIMIT_EXCEEDED" and "Concurrent" in said:
            rule = _BUSY
        if code == "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY" and "UNABLE_TO_LOCK_ROW" in said:
            rule = RULES["UNABLE_TO_LOCK_ROW"]
        if rule is None or (status >= 500 and write and code != "SERVER_UNAVAILABLE"):
            seen = self._last()
            judged = classify_status(
                status if status >= 400 else 500,
                seen.headers if seen else {},
                write=write,
                system=SYSTEM,
                operation=operation,
                code=code,
                field=field,
            )
            assert judged is not None
            return judged
        message = f"{rule.message} ({field})" if field else rule.message
        if rule.quoted and said:
            message = f"{message}: {_PERSONAL.sub('…', said)[:300]}"
        if issubclass(rule.error, Transient):
            return rule.error(
                message,
                retry_after=rule.retry_after,
                system=SYSTEM,
                operation=operation,
                code=code,
                field=field,
            )
        return rule.error(message, system=SYSTEM, operation=operation, code=code, field=field)

    def _rows(
        self, org: Salesforce, page: Any, children: Sequence[str]
    ) -> Iterator[dict[str, Any]]:
        for _ in range(_MOST_PAGES):
            if not isinstance(page, dict) or not isinstance(page.get("records"), list):
                raise _Unreadable
            for row in page["records"]:
                if not isinstance(row, dict):
                    raise _Unreadable
                row.pop("attributes", None)
                for child in children:
                    inner = row.get(child)
                    row[child] = [] if inner is None else list(self._rows(org, inner, ()))
                yield row
            if page.get("done", True):
                return
            following = page["nextRecordsUrl"]
            if not following.startswith("/services/data/"):
                raise _Unreadable  # it becomes part of an address that our token goes to
            page = org.query_more(following, identifier_is_url=True)
        raise Permanent(
            f"a query has more than {_MOST_PAGES} pages", system=SYSTEM, operation="query"
        )

    def _note(self, response: Any, *args: Any, **kwargs: Any) -> None:
        kind = response.headers.get("Content-Type", "")
        self._seen.last = _Seen(
            response.status_code, response.headers, kind.startswith("text/html")
        )
        try:
            moment = parsedate_to_datetime(response.headers.get("Date", ""))
        except (TypeError, ValueError):
            return
        moment = moment.replace(tzinfo=moment.tzinfo or UTC)
        self._clock = (moment, time.monotonic())

    def _last(self) -> _Seen | None:
        return cast("_Seen | None", getattr(self._seen, "last", None))

    # Logging in. Nothing of the operation was sent yet: its errors are never ambiguous.

    def _logged_in(self, operation: str) -> Salesforce:
        self._seen.last = None
        settings = self._settings
        try:
            token, instance = self._token()
            return Salesforce(
                session_id=_token(token),
                instance=instance,
                session=self._http,
                version=settings.api_version,
                parse_float=Decimal,
                object_pairs_hook=dict,
            )
        except SalesforceAuthenticationFailed as error:
            verdict = self._login_verdict(error, operation)
        except (_Unreadable, ValueError, TypeError, KeyError, AttributeError) as error:
            verdict = self._unread(error, write=False, operation=operation)
        except Exception as error:
            verdict = classify(error, write=False, system=SYSTEM, operation=operation)
        raise verdict from None

    def _token(self) -> tuple[str, str]:
        """A session id and the host it is for."""
        settings, secrets = self._settings, self._secrets
        if settings.login == "token":
            return secrets.of("access_token"), settings.url.removeprefix("https://")
        if settings.login == "password":
            # `scratch_url` is how simple-salesforce takes a whole address.
            return SalesforceLogin(
                username=settings.username,
                password=secrets.of("password"),
                security_token=secrets.of("security_token"),
                scratch_url=settings.url,
                session=self._http,
                sf_version=settings.api_version,
            )
        if settings.login == "jwt":
            form = {
                "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                "assertion": self._assertion(),
            }
        else:
            form = {
                "grant_type": "client_credentials",
                "client_id": secrets.of("consumer_key"),
                "client_secret": secrets.of("consumer_secret"),
            }
        # token_login takes a whole address, where SalesforceLogin knows salesforce.com only.
        token, instance = token_login(
            f"{settings.url}/services/oauth2/token",
            form,
            domain="",
            consumer_key="",
            headers=None,
            proxies=None,
            session=self._http,
        )
        return token, instance

    def _assertion(self) -> str:
        settings = self._settings
        sandbox = ".sandbox." in settings.url or settings.url.startswith("https://test.")
        audience = settings.audience or (
            "https://test.salesforce.com" if sandbox else "https://login.salesforce.com"
        )
        try:
            return jwt.encode(
                {
                    "iss": self._secrets.of("consumer_key"),
                    "sub": settings.username,
                    "aud": audience,
                    "exp": int(time.time()) + 180,
                },
                self._secrets.of("private_key"),
                algorithm="RS256",
            )
        except (jwt.PyJWTError, ValueError, TypeError):
            raise Unauthorised(
                "the secret private_key is no RSA key in PEM form", system=SYSTEM
            ) from None

    def _login_verdict(self, error: SalesforceAuthenticationFailed, operation: str) -> RemoteError:
        seen = self._last()
        if isinstance(error.code, int) and error.code < 400:
            # simple-salesforce puts the status there when the answer was not JSON.
            return self._unread(error, write=False, operation=operation)
        code = str(error.code) if error.code is not None else None
        rule = _LOGIN_RULES.get(code or "")
        if rule is None and seen is not None and (seen.status >= 500 or seen.status == 429):
            # A SOAP fault is a 500 too, but then its code was in the table.
            judged = classify_status(
                seen.status, seen.headers, write=False, system=SYSTEM, operation=operation
            )
            assert judged is not None
            return judged
        rule = rule or _UNKNOWN_LOGIN
        code = code if code and re.fullmatch(r"\w{1,60}", code) else None
        if issubclass(rule.error, Transient):
            return rule.error(
                rule.message,
                retry_after=rule.retry_after,
                system=SYSTEM,
                operation=operation,
                code=code,
            )
        return rule.error(rule.message, system=SYSTEM, operation=operation, code=code)


class _Refused(Exception):
    """A refusal inside an answer that says 2xx."""

    def __init__(self, errors: list[dict[str, Any]], status: int = 400) -> None:
        super().__init__("refused")
        self.errors = errors
        self.status = status


def _type_of(org: Salesforce, sobject: str) -> SFType:
    """The object's resource; getattr would take `bulk` and `session` for something else."""
    return SFType(
        sobject,
        org.session_id,
        org.sf_instance,
        sf_version=org.sf_version,
        session=org.session,
        salesforce=org,
        object_pairs_hook=dict,
    )


def _bulk_of(org: Salesforce, sobject: str) -> Any:
    """simple-salesforce's calls of Bulk API 2.0, below its loop that sleeps and asks again."""
    bulk = SFBulk2Handler(org.session_id, org.bulk2_url, session=org.session)
    return getattr(bulk, sobject)._client


def _errors_of(content: Any) -> list[dict[str, Any]]:
    """Errors in any of the shapes they have: a list, a tree's results, one save result."""
    if isinstance(content, (bytes, str)):
        return []
    if isinstance(content, dict):
        if isinstance(content.get("results"), list):
            inner = [e for result in content["results"] for e in _listed(result, "errors")]
        else:
            inner = _listed(content, "errors") or [content]
        return [{"errorCode": e.get("statusCode"), **e} for e in inner]
    return [error for error in content if isinstance(error, dict)] if content else []


def _listed(value: Any, name: str) -> list[dict[str, Any]]:
    found = value.get(name) if isinstance(value, dict) else None
    return [e for e in found if isinstance(e, dict)] if isinstance(found, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def is_id(text: str) -> bool:
    """Whether this can be a record's id; only such a text may become part of an address."""
    return _ID.fullmatch(text) is not None


def _token(value: Any) -> str:
    if not (isinstance(value, str) and value.isascii() and value.isprintable() and value):
        raise _Unreadable
    return value


def _id(value: Any) -> str:
    if not isinstance(value, str) or not is_id(value):
        raise _Unreadable
    return value


def wire(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON takes them; Salesforce's numbers are doubles."""
    return {name: _wired(value) for name, value in values.items()}


def _wired(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value
