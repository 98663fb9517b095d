"""The OpenAPI 3.1 document: what FastAPI knows of the routes, and what only we know."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import Response

from middleware.api import webhooks
from middleware.api.answers import answer
from middleware.api.door import SCOPE, SECURITY_SCHEME
from middleware.api.problems import MEDIA_TYPE, Problem
from middleware.api.schemas.complaints import ComplaintSent
from middleware.flows.keys import PREFIX

DESCRIPTION = """\
The hub links what somebody wrote in public, or in a helpdesk, to the CRM contact and ERP account
that they are, shows their orders beside it, and puts things right exactly once.

- **Errors** are problem documents (RFC 9457); `type` is a page that says what to do.
- **Lists** go by cursor: pass `next_cursor` back, or follow `Link: rel="next"`.
- **Actions** need an `Idempotency-Key`; the same key with the same body is the same action.
- **Links** are changed under `If-Match`; most single things have an `ETag`.
- **Times** are RFC 3339 in UTC, **amounts** decimal text beside a currency, **records** of remote
  systems `connection:kind:id`.
- Names that are not known are refused, in bodies and in queries.
"""

TAGS = {
    "complaints": "What somebody wrote, what it means, who it is, and which order is meant.",
    "inlets": "Where helpdesks, networks and listening tools deliver, each verified its own way.",
    "people": "The hub's own customers, and who somebody may be.",
    "links": "Reversible assertions that a person is an identity or a record.",
    "claims": "Who works on what, so that two teams do not solve the same issue twice.",
    "reviews": "Questions about who somebody is, for people to answer; every answer is a label.",
    "context": "Person, orders, cases, actions and claims in one answer.",
    "actions": "Putting things right: replacement orders, returns, credits, cancellations, cases.",
    "policy": "Which remedies go through, who must approve them, and what evidence they need.",
    "priority": "How urgent complaints are and why, what was promised, and what became of it.",
    "incidents": "Pile-ons: many complaints with one cause, and what each customer may get.",
    "drafts": "Replies made of facts, checks of what people write, and times for calls.",
    "handoffs": "A complaint frozen for whoever takes over.",
    "connections": "The remotes: what they can do, and how they are.",
    "jobs": "Scheduled syncs and the receipts of their runs.",
    "quarantine": "What could not be read or mapped, ready to be replayed.",
    "events": "What the hub tells others, to read in order.",
    "keys": "API keys.",
    "hub": "The hub itself.",
    "webhooks": "What the hub delivers to endpoints, signed by Standard Webhooks.",
}

REF = "#/components/schemas/{model}"

BESIDE: tuple[type[BaseModel], ...] = (Problem, ComplaintSent)
"""Models that answers and requests name without FastAPI seeing them."""


def install(app: FastAPI, routes: Sequence[APIRoute], *, servers: Sequence[str]) -> None:
    """Make the app describe itself, and serve the description at `/openapi.json`."""
    webhooks.install(app)
    addresses = [{"url": url.rstrip("/"), "description": "This hub"} for url in servers]

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            here = [{"url": "/", "description": "The hub that serves this document"}]
            app.openapi_schema = _document(app, routes, addresses or here)
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]

    async def serve(request: Request) -> Response:
        return answer(request, described(), tagged=True)

    app.add_route("/openapi.json", serve, include_in_schema=False)


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of an app that `create_api` made."""
    return app.openapi()


def written(document: dict[str, Any]) -> str:
    """The document as it is kept in `openapi/openapi.json`."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _document(
    app: FastAPI, routes: Sequence[APIRoute], servers: list[dict[str, Any]]
) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version="3.1.0",
        summary="Who is complaining, what they bought, and how to put it right exactly once.",
        description=DESCRIPTION,
        routes=app.routes,
        webhooks=app.webhooks.routes,
        tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        servers=servers,
        contact={"name": "Whoever runs this hub"},
        license_info={"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        separate_input_output_schemas=False,
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    _, beside = models_json_schema([(model, "validation") for model in BESIDE], ref_template=REF)
    for name, schema in beside["$defs"].items():
        schemas.setdefault(name, schema)
    components["schemas"] = dict(sorted(schemas.items()))
    components["securitySchemes"] = {
        SECURITY_SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": f"{PREFIX}<id>_<secret>",
            "description": "An API key. Each operation names the scope that it needs.",
        }
    }
    for route in routes:
        for method in route.methods or ():
            operation = document["paths"][_path(route)][method.lower()]
            _complete(operation, route)
            _tidy(operation)
    return document


def _path(route: APIRoute) -> str:
    return route.path_format


def _complete(operation: dict[str, Any], route: APIRoute) -> None:
    """Put back what FastAPI leaves out: members of examples that are `null`."""
    described = route.openapi_extra or {}
    if SCOPE in described:
        operation["description"] += f"\n\nNeeds the scope `{described[SCOPE]}`."
    for status, response in route.responses.items():
        for media, content in response.get("content", {}).items():
            if "example" in content:
                operation["responses"][str(status)]["content"][media]["example"] = content[
                    "example"
                ]
    for media, content in described.get("requestBody", {}).get("content", {}).items():
        if "examples" in content:
            operation["requestBody"]["content"][media]["examples"] = content["examples"]


def _tidy(operation: dict[str, Any]) -> None:
    """Leave out what FastAPI says of answers that have no JSON body."""
    for status, response in operation["responses"].items():
        content = response.get("content", {})
        own = set(content) - {"application/json"}
        if own and content.get("application/json", {}).get("schema") == {}:
            del content["application/json"]
        if MEDIA_TYPE in content and status != "503":
            content.pop("application/json", None)
        if status in ("304", "204"):
            response.pop("content", None)
