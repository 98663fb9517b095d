"""Problem documents (RFC 9457): one shape for every error, whoever raised it."""

from __future__ import annotations

import difflib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from middleware.contract.errors import (
    Ambiguous,
    NotOffered,
    Permanent,
    RemoteError,
    Transient,
)
from middleware.domain.problems import ProblemError
from middleware.store.queries import database_is_away, gave_way

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Slug:
    """One kind of problem: what is always true of it. Its page is `docs/problems/<slug>.md`."""

    status: int
    title: str
    retryable: bool = False


SLUGS: Mapping[str, Slug] = {
    "unauthenticated": Slug(401, "The request names nobody"),
    "forbidden": Slug(403, "The key may not do that"),
    "not-found": Slug(404, "There is no such thing"),
    "method-not-allowed": Slug(405, "This route does not take that method"),
    "gone": Slug(410, "It existed and was removed"),
    "validation": Slug(422, "The request does not fit its form"),
    "malformed-body": Slug(400, "The body cannot be read"),
    "body-too-large": Slug(413, "The body is larger than the limit"),
    "wrong-signature": Slug(401, "The signature does not fit the body"),
    "idempotency-key-missing": Slug(400, "This request needs an Idempotency-Key"),
    "idempotency-key-reused": Slug(422, "This Idempotency-Key was used for another request"),
    "idempotency-in-progress": Slug(409, "The first request with this key is still running", True),
    "conflict": Slug(409, "It contradicts the present state"),
    "claimed": Slug(409, "Somebody else works on it"),
    "policy-refused": Slug(403, "The policy does not allow it"),
    "preview-outdated": Slug(409, "What the preview showed has changed"),
    "evidence-missing": Slug(422, "The policy asks for evidence"),
    "stale-version": Slug(412, "It was changed since you read it"),
    "version-required": Slug(428, "Say which version you read"),
    "unknown-field": Slug(400, "A name in the request is not known"),
    "rate-limited": Slug(429, "Too many requests", True),
    "upstream-unavailable": Slug(502, "A remote system could not be reached", True),
    "upstream-rejected": Slug(422, "A remote system refuses it"),
    "upstream-ambiguous": Slug(502, "It is not known whether it happened"),
    "not-offered": Slug(422, "This connection cannot do that"),
    "unavailable": Slug(503, "The hub itself is not ready", True),
    "unexpected": Slug(500, "The hub made a mistake"),
}

UNAVAILABLE_FOR = 5
"""Seconds after which a hub that was not ready is worth asking again."""


class UnauthenticatedError(ProblemError):
    status = 401
    slug = "unauthenticated"


class MissingKeyError(ProblemError):
    """The route changes other systems and the request has no Idempotency-Key."""

    status = 400
    slug = "idempotency-key-missing"


class VersionRequiredError(ProblemError):
    status = 428
    slug = "version-required"


class UnknownNameError(ProblemError):
    status = 400
    slug = "unknown-field"


class MalformedBodyError(ProblemError):
    status = 400
    slug = "malformed-body"


class BodyTooLargeError(ProblemError):
    status = 413
    slug = "body-too-large"


class WrongSignatureError(ProblemError):
    status = 401
    slug = "wrong-signature"


class RateLimitedError(ProblemError):
    status = 429
    slug = "rate-limited"


class UnavailableError(ProblemError):
    status = 503
    slug = "unavailable"


def busy() -> UnavailableError:
    return UnavailableError(
        "More deliveries are waiting to be stored than can be promised anything.",
        headers={"Retry-After": "1"},
    )


class FieldProblem(BaseModel):
    """One place in the request that is not right."""

    pointer: str
    """A JSON Pointer into the body; `/query/…`, `/path/…` and `/header/…` for the rest."""
    detail: str
    code: str


class Upstream(BaseModel):
    """Which remote had a part in it, and what it said."""

    system: str
    operation: str
    code: str | None
    message: str


class Problem(BaseModel):
    """What every error of the API looks like (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    retryable: bool
    request_id: str
    errors: list[FieldProblem] = []
    upstream: Upstream | None = None


def problem(
    scope: Scope,
    slug: str,
    detail: str,
    *,
    status: int | None = None,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """A problem document as an answer."""
    kind = SLUGS[slug]
    body: dict[str, Any] = {
        **(more or {}),
        "type": f"/problems/{slug}",
        "title": kind.title,
        "status": status or kind.status,
        "detail": detail,
        "instance": instance_of(scope),
        "code": slug,
        "retryable": kind.retryable,
        "request_id": scope.get("state", {}).get("request_id", ""),
    }
    if errors:
        body["errors"] = [dict(error) for error in errors]
    return Response(
        json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"),
        status_code=body["status"],
        media_type=MEDIA_TYPE,
        headers=dict(headers or {}),
    )


_INLET = re.compile(r"^(/v1/inlets/[^/]+)/.*", re.DOTALL)


def instance_of(scope: Scope) -> str:
    """The path that was asked, without the token that may be the last part of an inlet's."""
    path = str(scope.get("path", ""))
    return _INLET.sub(r"\1", path)[:500]


def of_error(scope: Scope, error: ProblemError) -> Response:
    headers = dict(error.more.get("headers", {}))
    more = {name: value for name, value in error.more.items() if name != "headers"}
    if error.status == 401 and error.slug == "unauthenticated":
        headers.setdefault("WWW-Authenticate", "Bearer")
    if error.slug == "idempotency-in-progress":
        headers.setdefault("Retry-After", "1")
    return problem(
        scope,
        error.slug,
        error.detail,
        status=error.status,
        errors=error.errors,
        headers=headers,
        more=more,
    )


def of_remote(scope: Scope, error: RemoteError) -> Response:
    """What a remote's failure looks like to whoever needed its answer."""
    headers = {}
    match error:
        case Transient():
            slug = "upstream-unavailable"
            if error.retry_after is not None:
                headers["Retry-After"] = str(max(1, round(error.retry_after.total_seconds())))
        case NotOffered():
            slug = "not-offered"
        case Permanent():
            slug = "upstream-rejected"
        case Ambiguous():
            slug = "upstream-ambiguous"
        case _:
            slug = "upstream-unavailable"
    upstream = {
        "system": error.system,
        "operation": error.operation,
        "code": error.code,
        "message": error.message,
    }
    errors = []
    if error.field:
        pointer = "/" + error.field.strip("/").replace(".", "/")
        errors.append({"pointer": pointer, "detail": error.message, "code": error.code or "remote"})
    return problem(
        scope, slug, error.message, errors=errors, headers=headers, more={"upstream": upstream}
    )


def of_unexpected(scope: Scope, error: BaseException) -> Response:
    """A mistake of ours: the log knows it by the request id, the answer says nothing of it."""
    request_id = scope.get("state", {}).get("request_id")
    if gave_way(error):
        log.warning("gave way to another change", extra={"request_id": request_id})
        return problem(
            scope,
            "unavailable",
            "Somebody changed the same at the same moment. Send it again.",
            headers={"Retry-After": "1"},
        )
    if database_is_away(error):
        log.error("database away", extra={"request_id": request_id, "error": type(error).__name__})
        return problem(
            scope,
            "unavailable",
            "The database does not answer.",
            headers={"Retry-After": str(UNAVAILABLE_FOR)},
        )
    log.error("request failed", extra={"request_id": request_id}, exc_info=error)
    return problem(scope, "unexpected", "The hub's log has more under this request id.")


# --- what does not fit its form ----------------------------------------------------------------


def of_validation(scope: Scope, error: RequestValidationError, body_type: Any = None) -> Response:
    """Every place that is wrong, by JSON Pointer; 400 where all of it is unknown names."""
    errors = [_field_problem(item, error.body, body_type) for item in error.errors()]
    unknown = [item for item in errors if item["code"] == "unknown"]
    if errors and len(unknown) == len(errors):
        names = ", ".join(sorted({item["pointer"].rpartition("/")[2] for item in unknown}))
        hint = unknown[0]["detail"].partition(";")[2] if len(unknown) == 1 else ""
        detail = f"Not known here: {names};{hint}" if hint else f"Not known here: {names}."
        return problem(scope, "unknown-field", detail, errors=errors)
    many = f"{len(errors)} places of the request are" if len(errors) != 1 else "1 place is"
    return problem(scope, "validation", f"{many} not valid.", errors=errors)


def field_problems(
    errors: Iterable[Mapping[str, Any]], value: Any, type_: Any, *, prefix: str = ""
) -> list[dict[str, str]]:
    """Pydantic's errors about one value as places with reasons."""
    found = []
    for item in errors:
        made = _field_problem({**item, "loc": ("body", *item["loc"])}, value, type_)
        found.append({**made, "pointer": prefix + made["pointer"]})
    return found


def _field_problem(item: Mapping[str, Any], body: Any, body_type: Any) -> dict[str, str]:
    place, *loc = item["loc"] or ("body",)
    kind = str(item["type"])
    context = item.get("ctx") or {}
    if place != "body":
        name = "/".join(escaped(part) for part in loc)
        return {
            "pointer": f"/{place}/{name}",
            "detail": _words(kind, item["msg"], context),
            "code": kind,
        }
    path = _path(loc, body, missing=kind in ("missing", "extra_forbidden"))
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        path.append(str(context.get("discriminator", "")).strip("'"))
    pointer = "".join(f"/{escaped(part)}" for part in path)
    if kind == "extra_forbidden":
        detail = near(path[-1], _names(body_type, path[:-1]))
        return {"pointer": pointer, "detail": detail, "code": "unknown"}
    return {"pointer": pointer, "detail": _words(kind, item["msg"], context), "code": kind}


def near(name: str, known: Iterable[str]) -> str:
    """Why a name is refused, with the nearest one that exists."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"unknown; did you mean {found[0]}?" if found else "unknown"


def _words(kind: str, message: str, context: Mapping[str, Any]) -> str:
    """Pydantic's reason without what was sent: that may be anybody's data."""
    if kind == "missing":
        return "is required"
    if kind == "union_tag_invalid":
        return f"must be one of {context.get('expected_tags')}"
    if kind == "union_tag_not_found":
        return "is required"
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = message.replace("Input should be", "must be").replace("should have", "must have")
    return message[:1].lower() + message[1:]


def _path(loc: Sequence[Any], body: Any, *, missing: bool) -> list[str]:
    """The steps of a place that exist in the body; pydantic adds the tags of unions to them."""
    value, path = body, []
    for index, step in enumerate(loc):
        member = isinstance(value, dict) and step in value
        item = isinstance(value, list) and isinstance(step, int) and step < len(value)
        if member or item:
            value = value[step]
            path.append(str(step))
        elif missing and index == len(loc) - 1:
            path.append(str(step))
    return path


def escaped(part: Any) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")


def _names(type_: Any, path: Sequence[str]) -> list[str]:
    """The names that fields may have at a place of a body."""
    here = list(_models(type_))
    for step in path:
        below = [m.model_fields[step].annotation for m in here if step in m.model_fields]
        if not step.isdigit():
            here = [model for annotation in below for model in _models(annotation)]
    return [name for model in here for name in model.model_fields]


def _models(type_: Any) -> Iterator[type[BaseModel]]:
    if isinstance(type_, type) and issubclass(type_, BaseModel):
        yield type_
    elif get_origin(type_) is not None:
        for argument in get_args(type_):
            yield from _models(argument)


# --- the handlers ------------------------------------------------------------------------------


def install(app: FastAPI) -> None:
    """Give every error of an app the shape of a problem document."""

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return of_error(request.scope, error)

    async def on_remote(request: Request, error: Exception) -> Response:
        assert isinstance(error, RemoteError)
        return of_remote(request.scope, error)

    async def on_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        field = getattr(request.scope.get("route"), "body_field", None)
        body_type = field.field_info.annotation if field is not None else None
        return of_validation(request.scope, error, body_type)

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers or {})
        match error.status_code:
            case 404:
                return problem(request.scope, "not-found", "There is no such route.")
            case 405:
                detail = "The header Allow says which methods this route takes."
                return problem(request.scope, "method-not-allowed", detail, headers=headers)
            case _:
                return problem(request.scope, "malformed-body", "The request cannot be read.")

    app.add_exception_handler(ProblemError, on_problem)
    app.add_exception_handler(RemoteError, on_remote)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)


def page_of(slug: str) -> str | None:
    """The page of a problem: that of the documentation where it is at hand, else its title."""
    kind = SLUGS.get(slug)
    if kind is None:
        return None
    for folder in _folders():
        page = folder / f"{slug}.md"
        if page.is_file():
            return page.read_text(encoding="utf-8")
    return f"# {slug}\n\n**{kind.status} {kind.title}.**\n"


def _folders() -> tuple[Path, ...]:
    """Where the pages are: in the installed package, or beside it in a checkout."""
    here = Path(__file__).resolve()
    return here.parent / "problems", here.parents[2] / "docs" / "problems"
