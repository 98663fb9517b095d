"""How a route describes itself: its scope, its example, and the problems it answers with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Header

from middleware.api.door import SCOPE, SECURITY_SCHEME
from middleware.api.problems import MEDIA_TYPE, SLUGS
from middleware.flows.keys import Scope

PROBLEM = {"$ref": "#/components/schemas/Problem"}

OF_EVERY_KEY = ("unauthenticated", "forbidden", "unknown-field", "rate-limited")
OF_EVERY_ROUTE = ("validation", "unexpected", "unavailable")

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=200,
        description='The `ETag` of the version that you read, such as `"3"`. Required.',
        examples=['"3"'],
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="A key of your own for this decision; repeat it when you repeat the request. "
        "Required: 1 to 255 printable ASCII characters.",
        examples=["6f1c9a52-0d0e-4b0c-8c9f-6f8f5b0b7a10"],
    ),
]
Prefer = Annotated[
    str | None,
    Header(
        alias="Prefer",
        max_length=200,
        description="`wait=N` holds the answer back until it is settled, N seconds at most (30).",
        examples=["wait=10"],
    ),
]
IfNoneMatch = Annotated[
    str | None,
    Header(
        alias="If-None-Match",
        max_length=2000,
        description="An `ETag` that you have; the answer is 304 while it is still right.",
    ),
]


def operation(
    scope: Scope | None,
    *slugs: str,
    example: Any = None,
    status: int = 200,
    says: str = "Success.",
    headers: Mapping[str, str] | None = None,
    also: Mapping[int, str] | None = None,
    request: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The arguments of a route: its scope (None for a public one), examples and problems.

    `slugs` are the problems of this route beside those of every one; `headers` those that a
    success carries, with what they say; `also` further statuses without a body; `request` named
    examples of the body.
    """
    all_slugs = [*(OF_EVERY_KEY if scope else ()), *OF_EVERY_ROUTE, *slugs]
    responses: dict[int | str, dict[str, Any]] = problem_responses(all_slugs)
    responses[status] = {"description": says}
    if example is not None:
        responses[status]["content"] = {"application/json": {"example": example}}
    if headers:
        responses[status]["headers"] = {
            name: {"description": meaning, "schema": {"type": "string"}}
            for name, meaning in headers.items()
        }
    for code, meaning in (also or {}).items():
        responses[code] = {"description": meaning}
    extra: dict[str, Any] = {"security": [{SECURITY_SCHEME: []}] if scope else []}
    if scope:
        extra[SCOPE] = scope.value
    if request:
        examples = {name: {"value": value} for name, value in request.items()}
        extra["requestBody"] = {"content": {"application/json": {"examples": examples}}}
    return {"responses": responses, "status_code": status, "openapi_extra": extra}


def problem_responses(slugs: Sequence[str]) -> dict[int | str, dict[str, Any]]:
    """The problems of a route, by status."""
    by_status: dict[int, list[str]] = {}
    for slug in dict.fromkeys(slugs):
        by_status.setdefault(SLUGS[slug].status, []).append(slug)
    return {
        status: {
            "description": "; ".join(
                f"{SLUGS[slug].title} ([{slug}](/problems/{slug}))" for slug in found
            ),
            "content": {MEDIA_TYPE: {"schema": PROBLEM}},
        }
        for status, found in sorted(by_status.items())
    }
