"""How large, and how often."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from middleware.api import create_api
from middleware.api.limits import API_BODY, INLET_BODY, Limiter, Rate
from middleware.flows import keys
from tests.api.conftest import Api, event, signed
from tests.api.test_problems import shape


def parts(size: int, *, of: int = 65_536) -> Iterator[bytes]:
    """A body in pieces, without a length to go by."""
    while size > 0:
        yield b" " * min(size, of)
        size -= of


def test_a_body_over_the_limit_is_refused_by_its_length(api: Api) -> None:
    headers = {"content-type": "application/json"}
    answer = api.call("POST", "/v1/complaints", content=b" " * (API_BODY + 1), headers=headers)
    problem = shape(answer)
    assert (problem["status"], problem["code"]) == (413, "body-too-large")
    assert answer.headers["connection"] == "close"


def test_a_body_over_the_limit_is_refused_while_it_is_read(api: Api) -> None:
    headers = {"content-type": "application/json"}
    answer = api.call("POST", "/v1/complaints", content=parts(API_BODY + 1), headers=headers)
    assert shape(answer)["code"] == "body-too-large"


def test_a_length_that_lies_does_not_help(api: Api) -> None:
    headers = {"content-type": "application/json", "content-length": "2"}
    answer = api.call("POST", "/v1/complaints", content=parts(API_BODY + 1), headers=headers)
    assert shape(answer)["code"] == "body-too-large"


def test_a_body_at_the_limit_is_read(api: Api) -> None:
    headers = {"content-type": "application/json"}
    answer = api.call("POST", "/v1/complaints", content=parts(API_BODY), headers=headers)
    assert shape(answer)["code"] == "malformed-body"


def test_inlets_take_more_and_not_everything(api: Api) -> None:
    body = event("x" * (API_BODY + 1))
    assert api.deliver(body).status_code == 202
    path = f"/v1/inlets/{api.stage.names['desk']}"
    for content in (b" " * (INLET_BODY + 1), parts(INLET_BODY + 1)):
        answer = api.client.post(path, content=content, headers=signed(api.stage, b""))
        assert shape(answer)["code"] == "body-too-large"
    assert api.inbox() == ["stored"]


def test_who_is_not_known_is_told_so_before_the_size_counts(api: Api) -> None:
    large = b" " * (INLET_BODY + 1)
    assert api.client.post("/v1/complaints", content=large).status_code == 401
    assert api.client.post("/v1/inlets/nobody", content=large).status_code == 404


def test_a_key_may_ask_so_often(api: Api) -> None:
    app = create_api(api.stage.hub, api.intake, version="1", requests_per_minute=3)
    _, one = keys.make_key(api.stage.hub, "one", ["jobs:read"])
    _, two = keys.make_key(api.stage.hub, "two", ["jobs:read"])
    with TestClient(app) as client:

        def ask(key: str, path: str = "/v1/jobs") -> tuple[int, str]:
            answer = client.get(path, headers={"Authorization": f"Bearer {key}"})
            assert answer.headers["ratelimit-policy"] == '"default";q=3;w=60'
            if answer.status_code == 429:
                assert shape(answer)["code"] == "rate-limited"
                assert 1 <= int(answer.headers["retry-after"]) <= 20
            return answer.status_code, answer.headers["ratelimit"]

        assert ask(one)[0] == 200
        # What is refused for another reason counts too.
        assert ask(one, "/v1/keys")[0] == 403
        status, left = ask(one)
        assert status == 200
        assert re.fullmatch(r'"default";r=0;t=\d+', left)
        assert ask(one)[0] == 429
        assert ask(two)[0] == 200
        assert "ratelimit" not in client.get("/healthz").headers


def test_deliveries_are_limited_where_the_operator_wants_it(api: Api) -> None:
    app = create_api(
        api.stage.hub,
        api.intake,
        version="1",
        requests_per_minute=None,
        deliveries_per_minute=1,
    )
    path = f"/v1/inlets/{api.stage.names['desk']}"
    body = event()
    with TestClient(app) as client:
        headers = signed(api.stage, body)
        assert client.post(path, content=body, headers=headers).status_code == 202
        assert shape(client.post(path, content=body, headers=headers))["code"] == "rate-limited"
    for _ in range(3):
        assert api.deliver(body).status_code == 200


def test_a_bucket_fills_again() -> None:
    now = 1000.0
    limiter = Limiter(Rate(2, 10), clock=lambda: now)
    assert [limiter.take("a").granted for _ in range(3)] == [True, True, False]
    refused = limiter.take("a")
    assert (refused.left, refused.full_in, refused.next_in) == (0, 10, 5)
    now += 5
    assert limiter.take("a").granted
    assert not limiter.take("a").granted
    now += 1000
    allowed = limiter.take("a")
    assert (allowed.granted, allowed.left) == (True, 1)


def test_full_buckets_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limiter, "MOST", 3)
    now = 1000.0
    limiter = Limiter(Rate(2, 10), clock=lambda: now)
    for caller in "abc":
        limiter.take(caller)
    now += 100
    limiter.take("d")
    assert set(limiter._buckets) == {"d"}
