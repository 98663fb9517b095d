"""Proving to Meta and X that an address is ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime

import pytest

from middleware.inlets import INLETS, Delivery

NOW = datetime(2026, 11, 20, 8, 15, tzinfo=UTC)


def get(query: dict[str, str], method: str = "GET") -> Delivery:
    return Delivery(method, "/v1/inlets/social", b"", NOW, query=query)


def asks(token: str, mode: str = "subscribe") -> dict[str, str]:
    return {"hub.mode": mode, "hub.verify_token": token, "hub.challenge": "1158201444"}


def test_meta_gets_its_challenge_back() -> None:
    answer = INLETS["meta"].handshake(get(asks("word")), ("app-secret", "verify:word"))
    assert answer is not None
    assert (answer.status, answer.content_type, answer.body) == (200, "text/plain", b"1158201444")


@pytest.mark.parametrize(
    ("query", "secrets"),
    [
        (asks("other"), ("verify:word",)),
        (asks(""), ("verify:",)),
        (asks(""), ()),
        (asks("app-secret"), ("app-secret",)),
        (asks("word", mode="unsubscribe"), ("verify:word",)),
    ],
)
def test_meta_is_refused_with_another_word(query: dict[str, str], secrets: tuple[str, ...]) -> None:
    answer = INLETS["meta"].handshake(get(query), secrets)
    assert answer is not None
    assert answer.status == 403
    assert b"1158201444" not in answer.body


def test_x_gets_its_token_signed_with_the_newest_secret() -> None:
    answer = INLETS["x"].handshake(get({"crc_token": "tok"}), ("new", "old", "token:t"))
    assert answer is not None
    expected = base64.b64encode(hmac.new(b"new", b"tok", hashlib.sha256).digest()).decode()
    assert json.loads(answer.body) == {"response_token": f"sha256={expected}"}
    assert (answer.status, answer.content_type) == (200, "application/json")


BODIES = ['{"for_user_id": "1"}', "[]", '"text"', ' \t{"a": 1}', "x{", '\ufeff{"a": 1}']
CHALLENGES = ["tok", "MDBkMzUxYTEtNjM3ZC00ZGQ1LWI0MzItN2MwZDFkYzQ=", "-_.~+/=", "12345", "true", ""]


@pytest.mark.parametrize("body", BODIES)
def test_x_has_nothing_signed_that_could_be_a_delivery(body: str) -> None:
    answer = INLETS["x"].handshake(get({"crc_token": body}), ("s",))
    assert answer is not None
    assert answer.status == 403
    assert b"sha256" not in answer.body


@pytest.mark.parametrize("challenge", CHALLENGES)
def test_what_x_has_signed_is_never_taken_as_a_delivery(challenge: str) -> None:
    answer = INLETS["x"].handshake(get({"crc_token": challenge}), ("s",))
    assert answer is not None
    assert answer.status == 200
    headers = {"x-twitter-webhooks-signature": json.loads(answer.body)["response_token"]}
    replayed = Delivery("POST", "/v1/inlets/x", challenge.encode(), NOW, headers=headers)
    assert not INLETS["x"].verify(replayed, ("s",)).ok


def test_x_without_a_secret_is_told_to_come_back() -> None:
    answer = INLETS["x"].handshake(get({"crc_token": "tok"}), ("token:t",))
    assert answer is not None
    assert answer.status == 503


@pytest.mark.parametrize("source", sorted(INLETS))
def test_ordinary_requests_are_no_handshake(source: str) -> None:
    assert INLETS[source].handshake(get({}), ("s",)) is None
    assert INLETS[source].handshake(get({}, "POST"), ("s",)) is None
    asked = get({**asks("word"), "crc_token": "tok"}, "POST")
    assert INLETS[source].handshake(asked, ("s", "verify:word")) is None


@pytest.mark.parametrize("source", sorted(set(INLETS) - {"meta", "x"}))
def test_the_others_ask_nothing(source: str) -> None:
    asked = get({**asks("word"), "crc_token": "tok"})
    assert INLETS[source].handshake(asked, ("s", "verify:word")) is None
