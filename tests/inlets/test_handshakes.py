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
