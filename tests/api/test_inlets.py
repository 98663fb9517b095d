"""Inlets: verified, stored, answered — in that order, and nothing stored that was not verified."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from middleware.api import create_api
from middleware.flows import intake as intakes
from middleware.flows.hub import InletOptions
from middleware.flows.intake import BusyError
from tests.api.conftest import Api, both_databases, event, sent, signed
from tests.api.test_problems import shape
from tests.flows.conftest import Stage


@both_databases
def test_a_delivery_is_stored_and_then_handled(api: Api) -> None:
    answer = api.deliver(event())
    assert answer.status_code == 202
    accepted = answer.json()
    assert accepted["new"] is True
    assert api.inbox() == ["stored"]
    api.stage.run_due()
    shown = api.get(accepted["location"]).json()
    assert (shown["state"], shown["trust"]) == ("handled", "signature")
    assert len(shown["complaints"]) == 1


def test_a_connection_nobody_declared(api: Api) -> None:
    answer = api.deliver(event(), path="/v1/inlets/nobody")
    assert shape(answer)["code"] == "not-found"
    # A connection that only does what others ask takes no deliveries.
    erp = api.stage.names["erp"]
    assert shape(api.deliver(event(), path=f"/v1/inlets/{erp}"))["code"] == "not-found"


def test_a_connection_that_was_removed(api: Api) -> None:
    with api.stage.hub.database.begin() as uow:
        uow.connections.declare({"old": ("inlet:generic", {})}, at=api.stage.time())
    with api.stage.hub.database.begin() as uow:
        uow.connections.declare({}, at=api.stage.time())
    problem = shape(api.deliver(event(), path="/v1/inlets/old"))
    assert (problem["status"], problem["code"]) == (410, "gone")
    assert "2026-11-21" in problem["detail"]


ALTERED: dict[str, Callable[[dict[str, str]], dict[str, str]]] = {
    "another signature": lambda h: h | {"webhook-signature": "v1," + "A" * 44},
    "no signature": lambda h: {k: v for k, v in h.items() if k != "webhook-signature"},
    "no id": lambda h: {k: v for k, v in h.items() if k != "webhook-id"},
    "another id": lambda h: h | {"webhook-id": "msg_2"},
    "another time": lambda h: h | {"webhook-timestamp": str(int(h["webhook-timestamp"]) + 1)},
    "no time": lambda h: {k: v for k, v in h.items() if k != "webhook-timestamp"},
    "garbage": lambda h: h | {"webhook-signature": "v1,\u00e4"},
}


@pytest.mark.parametrize("alter", ALTERED.values(), ids=ALTERED.keys())
def test_a_wrong_signature_stores_nothing(
    api: Api, alter: Callable[[dict[str, str]], dict[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    body = event()
    headers = {k: v.encode() for k, v in alter(signed(api.stage, body)).items()}
    path = f"/v1/inlets/{api.stage.names['desk']}"
    answer = api.client.post(path, content=body, headers=headers)  # type: ignore[arg-type]
    problem = shape(answer)
    assert (problem["status"], problem["code"]) == (401, "wrong-signature")
    detail = "The delivery could not be verified; the log entry of this request says why."
    assert problem["detail"] == detail
    assert api.inbox() == []
    (logged,) = [r for r in caplog.records if r.getMessage() == "signature refused"]
    assert logged.reason  # type: ignore[attr-defined]
    assert logged.request_id == problem["request_id"]  # type: ignore[attr-defined]


def test_an_altered_body_stores_nothing(api: Api) -> None:
    headers = signed(api.stage, event())
    path = f"/v1/inlets/{api.stage.names['desk']}"
    answer = api.client.post(path, content=event("another text"), headers=headers)
    assert answer.status_code == 401
    assert api.inbox() == []


def test_why_a_signature_failed_is_for_the_log_alone(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    body = event()
    made = signed(api.stage, body.strip() + b"\n")
    path = f"/v1/inlets/{api.stage.names['desk']}"
    answer = api.client.post(path, content=body, headers=made)
    assert answer.status_code == 401
    (logged,) = [r for r in caplog.records if r.getMessage() == "signature refused"]
    reason = str(logged.reason)  # type: ignore[attr-defined]
    assert "newline" in reason
    assert "newline" not in answer.text


def test_a_malformed_body_that_is_signed_is_kept(api: Api) -> None:
    answer = api.deliver(b'{"type": ')
    assert answer.status_code == 202
    api.stage.run_due()
    (listed,) = api.get("/v1/quarantine/deliveries").json()["data"]
    assert listed["id"] == answer.json()["delivery_id"]
    assert listed["problems"][0]["place"] == "1:10"
    assert listed["bytes"] == 9


def test_the_same_delivery_again_is_accepted_once(api: Api) -> None:
    body = event()
    first, again = api.deliver(body), api.deliver(body)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json() == first.json() | {"new": False}
    api.stage.time.pass_(minutes=1)
    assert api.deliver(body).status_code == 200
    assert api.inbox() == ["stored"]


def test_the_same_id_with_another_body_is_refused(api: Api) -> None:
    api.deliver(event())
    problem = shape(api.deliver(event("something else")))
    assert (problem["status"], problem["code"]) == (422, "idempotency-key-reused")
    assert api.inbox() == ["stored"]


def test_a_hub_that_is_busy_says_so(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Future[Any]:
        raise BusyError

    monkeypatch.setattr(intakes.Intake, "submit", full)
    answer = api.deliver(event())
    assert shape(answer)["code"] == "unavailable"
    assert answer.headers["retry-after"] == "1"
    assert shape(api.post("/v1/complaints", sent()))["code"] == "unavailable"


def test_what_could_not_be_stored_is_not_accepted(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("disk full")

    monkeypatch.setattr(intakes.Intake, "_store", fail)
    assert api.deliver(event()).status_code == 500
    assert api.inbox() == []


def test_no_secret_reaches_the_inbox(api: Api) -> None:
    headers = {"authorization": "Bearer not-for-the-inbox", "cookie": "a=not-for-the-inbox"}
    answer = api.deliver(event(), headers=headers)
    with api.stage.hub.database.read() as uow:
        row = uow.inbox.get(answer.json()["delivery_id"])
        assert row is not None
        assert "not-for-the-inbox" not in json.dumps(row.headers)
        assert "v1," not in json.dumps(row.headers)


# --- other sources -----------------------------------------------------------------------------


def other(api: Api, name: str, source: str, *values: str) -> TestClient:
    """A client of the API with one more inlet."""
    options = InletOptions(source=source, secrets=tuple(SecretStr(v) for v in values))
    stage: Stage = api.stage.with_options(inlets={**api.stage.hub.options.inlets, name: options})
    app = create_api(stage.hub, api.intake, version="1", requests_per_minute=None)
    return TestClient(app)


def test_metas_handshake(api: Api) -> None:
    with other(api, "insta", "meta", "app-secret", "verify:our-word") as client:
        query = {
            "hub.mode": "subscribe",
            "hub.verify_token": "our-word",
            "hub.challenge": "1158201444",
        }
        answer = client.get("/v1/inlets/insta", params=query)
        assert (answer.status_code, answer.text) == (200, "1158201444")
        assert answer.headers["content-type"].startswith("text/plain")
        wrong = client.get("/v1/inlets/insta", params=query | {"hub.verify_token": "guess"})
        assert shape(wrong)["code"] == "wrong-signature"
        assert shape(client.get("/v1/inlets/insta"))["code"] == "not-found"


def test_metas_deliveries_are_answered_200(api: Api) -> None:
    body = b'{"object": "page", "entry": []}'
    digest = hmac.new(b"app-secret", body, hashlib.sha256).hexdigest()
    headers = {"x-hub-signature-256": f"sha256={digest}"}
    with other(api, "insta", "meta", "app-secret") as client:
        assert client.post("/v1/inlets/insta", content=body, headers=headers).status_code == 200
    assert api.inbox() == ["stored"]


def test_xs_challenge_signs_no_bodies_for_strangers(api: Api) -> None:
    with other(api, "x", "x", "consumer-secret") as client:
        answer = client.get("/v1/inlets/x", params={"crc_token": "challenge-1"})
        made = hmac.new(b"consumer-secret", b"challenge-1", hashlib.sha256).digest()
        assert answer.json() == {"response_token": "sha256=" + base64.b64encode(made).decode()}
        forged = '{"for_user_id": "1", "tweet_create_events": []}'
        refused = client.get("/v1/inlets/x", params={"crc_token": forged})
        assert shape(refused)["code"] == "wrong-signature"
        signature = {"x-twitter-webhooks-signature": answer.json()["response_token"]}
        replayed = client.post("/v1/inlets/x", content=b"challenge-1", headers=signature)
        assert shape(replayed)["code"] == "wrong-signature"
    assert api.inbox() == []


def test_a_token_in_the_path_lets_in_and_is_shown_nowhere(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    body = b'{"freshdesk_webhook": {"ticket_id": 1, "ticket_description": "It broke"}}'
    token, wrong = "right-token-0123456789abcdef", "wrong-token-0123456789abcdef"
    with other(api, "fresh", "freshdesk", f"token:{token}") as client:
        refused = client.post(f"/v1/inlets/fresh/{wrong}", content=body)
        problem = shape(refused)
        assert problem["code"] == "wrong-signature"
        assert problem["instance"] == "/v1/inlets/fresh"
        accepted = client.post(f"/v1/inlets/fresh/{token}", content=body)
        assert accepted.status_code == 202
    shown = api.get(accepted.json()["location"]).json()
    assert shown["trust"] == "token"
    logged = json.dumps(
        [vars(record) for record in caplog.records if "middleware" in record.name], default=str
    )
    assert token not in logged
    assert wrong not in logged


def test_a_large_delivery_is_verified_like_a_small_one(api: Api) -> None:
    body = event("x" * 200_000)
    assert api.deliver(body, message_id="large").status_code == 202
    headers = signed(api.stage, body, "large-2") | {"webhook-signature": "v1," + "A" * 44}
    path = f"/v1/inlets/{api.stage.names['desk']}"
    assert api.client.post(path, content=body, headers=headers).status_code == 401
