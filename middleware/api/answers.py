"""Answers: bytes made once, with a strong ETag that conditional requests are held against."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import pydantic_core
from fastapi import Request
from starlette.responses import Response

from middleware.api.problems import VersionRequiredError
from middleware.domain.problems import StaleVersionError

_TAG = re.compile(r'(?:W/)?"[^"]*"')


def answer(
    request: Request,
    shown: Any,
    *,
    status: int = 200,
    version: int | None = None,
    tagged: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A JSON answer. With `version` or `tagged` it has an ETag: of the row's version where people
    edit the row, else of the content. A GET whose `If-None-Match` has it is answered 304."""
    body = pydantic_core.to_json(shown)
    sent = dict(headers or {})
    if version is not None or tagged:
        tag = etag(version) if version is not None else _digest(body)
        sent |= {"ETag": tag, "Cache-Control": "private, no-cache"}
        if request.method in ("GET", "HEAD") and _matches(request, tag):
            return Response(status_code=304, headers=sent)
    return Response(body, status_code=status, media_type="application/json", headers=sent)


def etag(version: int) -> str:
    return f'"{version}"'


def _digest(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _matches(request: Request, tag: str) -> bool:
    given = request.headers.get("if-none-match", "")
    return given.strip() == "*" or tag in {t.removeprefix("W/") for t in _TAG.findall(given)}


def hold_to_version(if_match: str | None, version: int) -> None:
    """Raise unless `If-Match` names the version that a row is at.

    428 where it is missing, 412 where it names another one.
    """
    if if_match is None or not if_match.strip():
        raise VersionRequiredError("Send If-Match with the ETag of the version that you read.")
    if if_match.strip() == "*":
        return
    if etag(version) not in _TAG.findall(if_match):
        raise StaleVersionError(
            f"It is at version {version}; If-Match names another one.",
            headers={"ETag": etag(version)},
        )
