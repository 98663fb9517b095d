"""Whatever is sent, the answer is one of the documented ones: never a 5xx, never half a thing."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from anyio.to_thread import run_sync
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from middleware.api import exported
from middleware.api.door import Door
from middleware.contract.canonical import Handle, Kind
from middleware.contract.capabilities import Quarantined
from tests.api.conftest import Api

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]


schema = schemathesis.openapi.from_dict(json.loads(exported()))


@pytest.fixture
def real(api: Api) -> dict[str, str]:
    """Ids that exist, by the names that paths use for them."""
    names = api.stage.names
    with api.stage.hub.database.begin() as uow:
        uow.connections.declare({n: ("memory", {}) for n in names.values()}, at=api.stage.time())
        uow.jobs.declare(
            {
                names["erp"]: {
                    "flow": "sync",
                    "arguments": {"connection": names["erp"]},
                    "schedule": {"every": 300.0},
                }
            },
            at=api.stage.time(),
        )
        broken = Quarantined(kind=Kind.ORDER, id="O1", field="status", reason="why")
        uow.records.quarantine([broken], connection=names["erp"], at=api.stage.time())
    complaint = api.send_in(author={"emails": ["kim@example.com"]})
    shown = api.get(f"/v1/complaints/{complaint}").json()
    delivery = api.deliver(b"nonsense").json()["delivery_id"]
    body = {
        "operation": "cancellation",
        "complaint_id": complaint,
        "request": {"order": str(api.stage.order.ref)},
    }
    action = api.post("/v1/actions", body, headers={"idempotency-key": "k"}).json()["id"]
    run = api.post(f"/v1/jobs/{names['erp']}/runs").json()["id"]
    api.stage.run_all()
    (link,) = api.get(f"/v1/links?identity_id={shown['identity_id']}").json()["data"]
    nobody = api.put(
        "/v1/links",
        {"identity": {"network": "x", "native_id": "1"}, "reason": "said so", "display_name": "N"},
    ).json()
    apart = api.put(
        "/v1/cannot-links",
        {"one": nobody["identity_id"], "other": str(api.stage.contact.ref), "reason": "no way"},
    ).json()
    twin = api.put(
        "/v1/links",
        {"identity": {"network": "x", "native_id": "2"}, "reason": "said so", "display_name": "T"},
    ).json()
    merged = api.post(
        f"/v1/people/{nobody['person_id']}/merge",
        {"other_id": twin["person_id"], "reason": "the same"},
    ).json()
    contact = api.stage.contact
    ref, bears = contact.ref.model_copy(update={"id": "C9"}), (Handle(network="x", handle="lenaf"),)
    api.stage.store(contact.model_copy(update={"ref": ref, "handles": bears, "emails": ()}))
    author = {"native_id": "9", "handle": "lenaf"}
    api.send_in("Where is my lamp?", id="m-9", conversation="c-9", author=author)
    (review,) = api.get("/v1/reviews?kind=review").json()["data"]
    return {
        "cannot_link_id": apart["id"],
        "change_id": merged["id"],
        "review_id": review["id"],
        "complaint_id": complaint,
        "person_id": shown["person_id"],
        "link_id": link["id"],
        "action_id": action,
        "delivery_id": delivery,
        "run_id": run,
        "name": names["erp"],
        "connection": names["erp"],
        "kind": "order",
        "record_id": "O1",
        "source_id": "m-1",
        "slug": "conflict",
        "key_id": "key_none",
    }


@pytest.fixture
def turns() -> Iterator[bool]:
    return itertools.cycle((True, False))


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a minute of nothing is right, and too long for twenty examples."""

    async def once(door: Door, look: Any, done: Any, seconds: int) -> Any:
        return await run_sync(look)

    monkeypatch.setattr(Door, "until", once)


@schema.parametrize()
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
def test_any_request(case: Any, api: Api, real: dict[str, str], turns: Iterator[bool]) -> None:
    """Requests as described and not as described; every other one is about what is there."""
    if next(turns):
        given = case.path_parameters or {}
        case.path_parameters = {name: real.get(name, value) for name, value in given.items()}
    answer = case.call(app=api.app, headers={"Authorization": f"Bearer {api.key()}"})
    case.validate_response(answer, checks=CHECKS)
