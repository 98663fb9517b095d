"""The proxy passes requests on unchanged and lets the chosen ones suffer."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import requests

from middleware.sandbox.server import SandboxServer
from middleware.sandbox.toxic import Lie, Toxic


class Upstream:
    """Keeps every body it gets, and answers with what it saw."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def __call__(self, environ: Any, start: Any) -> list[bytes]:
        body = environ["wsgi.input"].read()
        self.bodies.append(body)
        seen = {
            "method": environ["REQUEST_METHOD"],
            "target": environ["RAW_URI"],
            "authorization": environ.get("HTTP_AUTHORIZATION"),
            "type": environ.get("CONTENT_TYPE"),
            "body": body.decode(),
        }
        packed = gzip.compress(json.dumps(seen).encode())
        start("201 Created", [("Content-Type", "application/json"), ("Content-Encoding", "gzip")])
        return [packed]


@pytest.fixture
def upstream() -> Iterator[tuple[SandboxServer, Upstream]]:
    app = Upstream()
    with SandboxServer(app) as server:
        yield server, app


def post(url: str, body: str, **headers: str) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.post(url, data=body.encode(), headers=headers, timeout=5)


def test_everything_passes_through_unchanged(upstream: tuple[SandboxServer, Upstream]) -> None:
    server, _ = upstream
    with Toxic(server.url) as toxic:
        answer = post(
            f"{toxic.url}/erp/rpc/?a=%2F",
            '{"method": "read"}',
            **{"Authorization": "Session abc", "Content-Type": "application/json"},
        )
    assert answer.status_code == 201
    assert answer.json() == {
        "method": "POST",
        "target": "/erp/rpc/?a=%2F",
        "authorization": "Session abc",
        "type": "application/json",
        "body": '{"method": "read"}',
    }


@pytest.mark.parametrize(
    ("fault", "applied"),
    [("drop_before", 0), ("drop_after", 1), ("unavailable", 0), ("throttle", 0)],
)
def test_a_fault_strikes_the_request_whose_body_matches(
    upstream: tuple[SandboxServer, Upstream], fault: str, applied: int
) -> None:
    server, app = upstream
    with Toxic(server.url) as toxic:
        toxic.faults.arm(fault, match="sale.create")
        assert post(toxic.url, "sale.read").status_code == 201
        try:
            status: int | None = post(toxic.url, "sale.create").status_code
        except requests.ConnectionError:
            status = None
        assert status in {"unavailable": (503,), "throttle": (429,)}.get(fault, (None,))
        assert [b for b in app.bodies if b == b"sale.create"] == [b"sale.create"] * applied
        assert post(toxic.url, "sale.create").status_code == 201


def test_a_label_says_what_a_fault_matches(upstream: tuple[SandboxServer, Upstream]) -> None:
    server, _ = upstream

    def label(method: str, target: str, headers: Mapping[str, str], body: bytes) -> str:
        assert int(headers["content-length"]) == len(body)
        return "WRITE" if b"create" in body else "READ"

    with Toxic(server.url, label=label) as toxic:
        toxic.faults.arm("unavailable", match="WRITE")
        assert post(toxic.url, "read").status_code == 201
        assert post(toxic.url, "create").status_code == 503
        assert list(toxic.lines) == ["READ", "WRITE"]


def test_a_lie_is_told_with_or_without_the_work_done(
    upstream: tuple[SandboxServer, Upstream],
) -> None:
    server, app = upstream
    lies = {
        "login_page": Lie(200, b"<html>please log in</html>"),
        "error": Lie(200, lambda body: b"error about " + body, "text/plain", applied=True),
    }
    with Toxic(server.url, lies=lies) as toxic:
        toxic.faults.arm("masked:login_page")
        toxic.faults.arm("masked:error")
        assert post(toxic.url, "one").text == "<html>please log in</html>"
        assert app.bodies == []
        assert post(toxic.url, "two").text == "error about two"
        assert app.bodies == [b"two"]


def test_an_upstream_that_is_gone_is_a_bad_gateway(
    upstream: tuple[SandboxServer, Upstream],
) -> None:
    server, _ = upstream
    with Toxic(server.url) as toxic:
        server.stop()
        assert post(toxic.url, "x").status_code == 502
        assert toxic.errors == []


def test_an_upstream_is_a_plain_address() -> None:
    with pytest.raises(ValueError, match="http://host:port"):
        Toxic("https://example.com/path")
