"""Chatwoot's wire: one call, one verdict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from middleware.contract.errors import (
    Ambiguous,
    Busy,
    Forbidden,
    Permanent,
    Rejected,
    RemoteError,
    Transient,
    Unauthorised,
)
from middleware.contract.http import Limits, client
from middleware.contract.wire import classify_status, classifying

SYSTEM = "chatwoot"


@dataclass(frozen=True)
class Rule:
    """What an answer of Chatwoot's means, where that differs from what its status says."""

    status: int
    text: re.Pattern[str]
    """Sought in the body's `error`, `errors` or `message`."""
    error: type[RemoteError]
    message: str
    quoted: bool = False
    """Whether Chatwoot's own text is added: only where it is one of its own sentences."""
    retry_after: timedelta | None = None


def _rule(status: int, text: str, error: type[RemoteError], message: str, **more: Any) -> Rule:
    return Rule(status, re.compile(text, re.IGNORECASE), error, message, **more)


RULES: tuple[Rule, ...] = (
    _rule(
        401,
        r"authorized to access this account",
        Unauthorised,
        "the token's user is not a member of this account; invite the user, or correct account_id",
    ),
    _rule(
        401,
        r"not authorized for bots",
        Unauthorised,
        "the token belongs to an agent bot, which may not read; use the token of a user",
    ),
    _rule(
        401,
        r"authorized to do this",
        Forbidden,
        "the token's user lacks the permission; make the user an agent of the conversation's inbox",
    ),
    _rule(
        401,
        r"sign in or sign up",
        Unauthorised,
        "no token arrived; a proxy may drop the header api_access_token for its underscores "
        "(nginx: underscores_in_headers on)",
    ),
    _rule(401, r"", Unauthorised, "the token is wrong or was revoked"),
    # A limit of messages per minute and conversation, said as a validation error.
    _rule(
        422,
        r"Too many messages",
        Busy,
        "the conversation has had its messages for this minute",
        retry_after=timedelta(seconds=60),
    ),
    # Said before anything is stored. Every other 422 on a write may come from a callback after
    # the message was committed: the controller answers 422 to any exception.
    _rule(422, r"^Validation failed: ", Rejected, "Chatwoot refuses the content", quoted=True),
    _rule(422, r"is not a valid message_type", Rejected, "Chatwoot refuses the kind of message"),
    _rule(422, r"only allowed in Api inboxes", Rejected, "Chatwoot refuses the kind of message"),
    _rule(422, r"contains null byte", Rejected, "Chatwoot refuses a null byte in the content"),
    _rule(422, r"^Specify search string", Rejected, "nothing was given to search for"),
)


class Wire:
    """Calls one account of one Chatwoot; raises only the three errors."""

    def __init__(self, url: str, token: str, limits: Limits, *, ca_file: Path | None) -> None:
        self._http = client(
            limits,
            base_url=url,
            headers={"api_access_token": token, "Accept": "application/json"},
            ca_file=ca_file,
        )

    def get(
        self,
        path: str,
        query: Mapping[str, str | int] | None = None,
        *,
        operation: str,
        follow: bool = True,
    ) -> dict[str, Any]:
        """The JSON object at `path`; with `follow=False` a redirect is a Permanent error."""
        with classifying(write=False, system=SYSTEM, operation=operation):
            answer = self._http.get(path, params=dict(query or {}), follow_redirects=follow)
            return _read(
                answer.status_code, answer.headers, answer, write=False, operation=operation
            )

    def post(self, path: str, body: Mapping[str, Any], *, operation: str) -> dict[str, Any]:
        """The JSON object that a write is answered with."""
        with classifying(write=True, system=SYSTEM, operation=operation):
            answer = self._http.post(path, json=dict(body))
            return _read(
                answer.status_code, answer.headers, answer, write=True, operation=operation
            )

    def close(self) -> None:
        self._http.close()


def _read(
    status: int, headers: Mapping[str, str], answer: Any, *, write: bool, operation: str
) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if 200 <= status < 300 and isinstance(body, dict):
        return body
    raise verdict(status, headers, body, write=write, operation=operation)


def verdict(
    status: int, headers: Mapping[str, str], body: object, *, write: bool, operation: str
) -> RemoteError:
    """What an answer that is not a plain success means for the next step."""
    said = _said(body)
    for rule in RULES:
        if rule.status == status and said is not None and rule.text.search(said):
            message = f"{rule.message}: {_tidy(said)}" if rule.quoted else rule.message
            if issubclass(rule.error, Transient):
                return rule.error(
                    message, retry_after=rule.retry_after, system=SYSTEM, operation=operation
                )
            return rule.error(message, system=SYSTEM, operation=operation)
    if status == 422 and write and not (isinstance(body, dict) and "attributes" in body):
        return Ambiguous(
            "Chatwoot answered 422 with an error that it also gives after storing a message",
            system=SYSTEM,
            operation=operation,
        )
    known = classify_status(status, headers, write=write, system=SYSTEM, operation=operation)
    if known is not None:
        return known
    if 300 <= status < 400 and not write:
        return Permanent(
            f"Chatwoot redirects (status {status}); set url to the address that it redirects to",
            system=SYSTEM,
            operation=operation,
        )
    strange = "the answer is not what Chatwoot sends; a login page or a proxy may stand before it"
    return (Ambiguous if write else Transient)(strange, system=SYSTEM, operation=operation)


def _said(body: object) -> str | None:
    """The sentence in an error's body; None where the body is not one of Chatwoot's."""
    if not isinstance(body, dict):
        return None
    for name in ("error", "message", "errors"):
        value = body.get(name)
        if isinstance(value, list):
            value = " ".join(str(part) for part in value)
        if isinstance(value, str):
            return value
    return None


def _tidy(text: str) -> str:
    return " ".join(text.split())[:200]
