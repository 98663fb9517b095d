"""The description: complete, valid, kept beside the code, and its examples are true."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from middleware.api import exported
from middleware.api.openapi import TAGS
from middleware.api.problems import SLUGS
from middleware.api.webhooks import EVENTS
from middleware.flows.keys import Scope
from tests.api.conftest import Api, both_databases

KEPT = Path(__file__).parents[2] / "openapi" / "openapi.json"

DOCUMENT: dict[str, Any] = json.loads(exported())


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation
    for type_, methods in DOCUMENT["webhooks"].items():
        yield f"WEBHOOK {type_}", methods["post"]


OPERATIONS = list(operations())
NAMES = [name for name, _ in OPERATIONS]


def test_the_kept_description_is_this_ones() -> None:
    assert KEPT.read_text() == exported(), "run: amends openapi --output openapi/openapi.json"


def test_the_description_is_valid() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    validate(DOCUMENT)


def test_operations_have_stable_names() -> None:
    ids = [operation["operationId"] for _, operation in OPERATIONS]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", one) for one in ids if not one.startswith("on_"))


@pytest.mark.parametrize(("name", "operation"), OPERATIONS, ids=NAMES)
def test_each_operation_says_what_it_is(name: str, operation: dict[str, Any]) -> None:
    assert len(operation["description"]) > 20
    assert operation["summary"]
    assert len(operation["tags"]) == 1
    assert operation["tags"][0] in TAGS
    if name.startswith("WEBHOOK"):
        return
    if operation["security"]:
        assert operation["x-scope"] in set(Scope)
        assert operation["x-scope"] in operation["description"]
        assert {"401", "403", "429"} <= set(operation["responses"])
    assert {"422", "500", "503"} <= set(operation["responses"])
    for status, response in operation["responses"].items():
        if status[0] in "45" and not (status == "503" and "/readyz" in name):
            assert set(response["content"]) == {"application/problem+json"}
            for slug in re.findall(r"\[([a-z-]+)\]\(/problems/\1\)", response["description"]):
                assert SLUGS[slug].status == int(status)


def examples() -> Iterator[Any]:
    for name, operation in OPERATIONS:
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        for label, example in body.get("examples", {}).items():
            yield pytest.param(body["schema"], example["value"], id=f"{name} asks {label}")
        for status, response in operation["responses"].items():
            content = response.get("content", {}).get("application/json", {})
            if "example" in content:
                yield pytest.param(content["schema"], content["example"], id=f"{name} {status}")


@pytest.mark.parametrize(("schema", "example"), list(examples()))
def test_each_example_fits_its_schema(schema: dict[str, Any], example: Any) -> None:
    whole = {**schema, "components": DOCUMENT["components"]}
    Draft202012Validator(whole).validate(example)


def test_every_json_answer_and_body_has_an_example() -> None:
    lacking = []
    for name, operation in OPERATIONS:
        if name.startswith("WEBHOOK") or "/inlets/" in name:
            continue
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        if body and not body.get("examples"):
            lacking.append(f"{name} asks")
        for status, response in operation["responses"].items():
            content = response.get("content", {}).get("application/json", {})
            if content and "example" not in content and status != "503":
                lacking.append(f"{name} {status}")
    assert lacking == []


def test_answers_have_no_defaults() -> None:
    """A member is always there: whoever reads an answer need not guess."""
    found = set()
    for name, operation in OPERATIONS:
        for status, response in operation["responses"].items():
            if status[0] == "2":
                schema = response.get("content", {}).get("application/json", {}).get("schema", {})
                found |= {(name, place) for place in defaults(schema, set())}
    assert found == set()


def defaults(schema: Any, seen: set[str], place: str = "") -> Iterator[str]:
    if isinstance(schema, list):
        for part in schema:
            yield from defaults(part, seen, place)
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        model = schema["$ref"].rpartition("/")[2]
        if model not in seen:
            seen.add(model)
            yield from defaults(DOCUMENT["components"]["schemas"][model], seen, model)
    if "default" in schema:
        yield place
    if "properties" in schema and set(schema.get("required", ())) != set(schema["properties"]):
        yield f"{place} {sorted(set(schema['properties']) - set(schema.get('required', ())))}"
    for key, part in schema.items():
        if key != "example":
            yield from defaults(part, seen, place)


def test_the_description_is_served(api: Api) -> None:
    answer = api.client.get("/openapi.json")
    served = answer.json()
    assert served["info"]["version"] == "1.2.3"
    assert served["paths"] == DOCUMENT["paths"]
    again = api.client.get("/openapi.json", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


@both_databases
def test_events_are_as_they_are_described(api: Api) -> None:
    """Whatever the flows tell is one of the documented events, and holds what is documented."""
    complaint = api.send_in(author={"emails": ["kim@example.com"]})
    api.deliver(b"nonsense")
    body = {
        "operation": "replacement_order",
        "complaint_id": complaint,
        "request": {
            "order": str(api.stage.order.ref),
            "lines": [{"line": "1", "sku": "LMP-100", "quantity": "1"}],
        },
    }
    api.post("/v1/actions", body, headers={"idempotency-key": "k"})
    api.stage.run_all()
    feed = api.get("/v1/events").json()["data"]
    assert {e["type"] for e in feed} >= {
        "complaint.enriched",
        "identity.linked",
        "inbox.quarantined",
        "action.done",
    }
    for told in feed:
        data, _ = EVENTS[told["type"]]
        data.model_validate(told["data"])
