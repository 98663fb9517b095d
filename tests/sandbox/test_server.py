"""The sandbox's faults do at the socket what their names say."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from middleware.sandbox.server import FAULTS, MASKED, FaultScript, SandboxServer
from tests.flows.node import until


class Ledger:
    """A WSGI application that writes every body into a list and answers with its length."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self.environs: list[dict[str, Any]] = []

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        self.environs.append(environ)
        body = environ["wsgi.input"].read()
        if environ["REQUEST_METHOD"] == "POST":
            self.entries.append(body)
        if environ["PATH_INFO"] == "/empty":
            start_response("204 No Content", [])
            return []
        if environ["PATH_INFO"] == "/crash":
            raise RuntimeError("broken application")
        answer = json.dumps(
            {"entries": len(self.entries), "masked": environ.get(MASKED), "pad": "x" * 4000}
        )
        start_response("201 Created", [("Content-Type", "application/json"), ("X-App", "ledger")])
        return [answer[:10].encode(), answer[10:].encode()]


@pytest.fixture(params=[False, True], ids=["http", "https"])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[SandboxServer, Ledger]]:
    ledger = Ledger()
    with SandboxServer(ledger, tls=request.param) as server:
        yield server, ledger
    assert server.errors == []


def call(
    server: SandboxServer, path: str = "/write", *, timeout: float = 60, **kwargs: Any
) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        session.verify = server.ca_file or True
        return session.request(
            kwargs.pop("method", "POST"), server.url + path, timeout=timeout, **kwargs
        )


def connected(server: SandboxServer) -> socket.socket:
    split = urlsplit(server.url)
    plain = socket.create_connection((split.hostname, split.port), timeout=60)
    if not server.ca_file:
        return plain
    context = ssl.create_default_context(cafile=server.ca_file)
    return context.wrap_socket(plain, server_hostname=split.hostname)


def raw_exchange(server: SandboxServer, request: bytes) -> bytes:
    """Everything the server sends back until the connection ends."""
    with connected(server) as connection:
        connection.sendall(request)
        received = b""
        while part := connection.recv(65536):
            received += part
        return received


def is_reset(server: SandboxServer, request: bytes) -> bool:
    """Whether the connection ends with a reset instead of an end.

    Read below TLS, because Python's ssl takes a reset for an end.
    """
    with (
        connected(server) as connection,
        socket.socket(fileno=os.dup(connection.fileno())) as below,
    ):
        below.settimeout(60)
        connection.sendall(request)
        try:
            while below.recv(65536):
                pass
        except ConnectionResetError:
            return True
        return False


POST = b"POST /write HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"


def test_answers_and_keeps_the_connection(served: tuple[SandboxServer, Ledger]) -> None:
    server, ledger = served
    split = urlsplit(server.url)
    if server.ca_file:
        context = ssl.create_default_context(cafile=server.ca_file)
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            split.hostname or "", split.port, context=context, timeout=60
        )
    else:
        connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=60)
    with_socket = []
    for number in range(3):
        connection.request("POST", f"/write?n={number}", body=b"one")
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["entries"]) == (201, number + 1)
        assert answer.headers["X-App"] == "ledger"
        with_socket.append(connection.sock)
    assert len({id(sock) for sock in with_socket}) == 1
    connection.request("GET", "/empty")
    answer = connection.getresponse()
    assert (answer.status, answer.read(), answer.headers.get("Content-Length")) == (204, b"", None)
    connection.request("POST", "/write", body=iter([b"ch", b"unked"]), encode_chunked=True)
    assert connection.getresponse().read()
    assert ledger.entries[-1] == b"chunked"
    connection.close()
    assert server.stats["requests"] == 5


def test_environ_is_wsgi(served: tuple[SandboxServer, Ledger]) -> None:
    server, ledger = served
    call(server, "/a%2Fb/%C3%A9?q=%27x%27", headers={"SOAPAction": '"Do"'}, data="text")
    environ = ledger.environs[-1]
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/a/b/é"
    assert environ["RAW_URI"] == "/a%2Fb/%C3%A9?q=%27x%27"
    assert environ["QUERY_STRING"] == "q=%27x%27"
    assert environ["HTTP_SOAPACTION"] == '"Do"'
    assert environ["CONTENT_LENGTH"] == "4"
    assert environ["wsgi.url_scheme"] == server.url.partition(":")[0]
    assert server.lines[-1] == "POST /a%2Fb/%C3%A9?q=%27x%27 Do"


def test_drop_before_resets_and_never_applies(served: tuple[SandboxServer, Ledger]) -> None:
    server, ledger = served
    server.faults.arm("drop_before", times=2)
    assert is_reset(server, POST)
    with pytest.raises(requests.ConnectionError):
        call(server, data="x")
    assert ledger.entries == []
    assert call(server, data="y").json()["entries"] == 1
    assert server.stats["faults"] == {"drop_before": 2}


def test_drop_after_applies_and_says_nothing(served: tuple[SandboxServer, Ledger]) -> None:
    server, ledger = served
    server.faults.arm("drop_after")
    assert raw_exchange(server, POST) == b""
    assert ledger.entries == [b"hello"]
    server.faults.arm("drop_after:reset")
    assert is_reset(server, POST)
    server.faults.arm("drop_after")
    assert not is_reset(server, POST)
    assert ledger.entries == [b"hello"] * 3
    server.faults.arm("drop_after")
    with pytest.raises(requests.ConnectionError):
        call(server, data="third")
    assert ledger.entries[-1] == b"third"


def test_cut_after_applies_and_breaks_off(served: tuple[SandboxServer, Ledger]) -> None:
    server, ledger = served
    server.faults.arm("cut_after")
    received = raw_exchange(server, POST)
    assert received.startswith(b"HTTP/1.1 201 Created\r\n")
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
    assert 0 < len(body) < length
    assert ledger.entries == [b"hello"]
    server.faults.arm("cut_after")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):  # urllib3's IncompleteRead
        call(server, data="again")


def test_refusals_are_not_applied(served: tuple[SandboxServer, Ledger]) -> None:
    server, ledger = served
    server.faults.arm("unavailable")
    server.faults.arm("throttle")
    assert call(server, data="x").status_code == 503
    throttled = call(server, data="x")
    assert (throttled.status_code, throttled.headers["Retry-After"]) == (429, "1")
    assert ledger.entries == []


def test_hang_before_is_silent_and_never_applies(served: tuple[SandboxServer, Ledger]) -> None:
    server, ledger = served
    server.faults.arm("hang_before", seconds=60)
    with pytest.raises(requests.ReadTimeout):
        call(server, data="x", timeout=(60, 0.15))
    server.faults.arm("hang_before", seconds=0.2)
    begun = time.monotonic()
    assert raw_exchange(server, POST) == b""
    assert time.monotonic() - begun >= 0.2
    assert ledger.entries == []


def test_hang_after_applies_at_once_and_answers_late(
    served: tuple[SandboxServer, Ledger],
) -> None:
    server, ledger = served
    server.faults.arm("hang_after", seconds=60)
    with pytest.raises(requests.ReadTimeout):
        call(server, data="x", timeout=(60, 0.2))
    until(lambda: ledger.entries == [b"x"])
    server.faults.arm("hang_after", seconds=0.2)
    begun = time.monotonic()
    assert call(server, data="y").status_code == 201
    assert time.monotonic() - begun >= 0.2


def test_garbage_after_applies(served: tuple[SandboxServer, Ledger]) -> None:
    server, ledger = served
    server.faults.arm("garbage_after")
    answer = call(server, data="x")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    with pytest.raises(ValueError):
        answer.json()
    server.faults.arm("garbage_after:wire")
    with pytest.raises(requests.ConnectionError):
        call(server, data="y")
    assert ledger.entries == [b"x", b"y"]


def test_late_commit_drops_now_and_applies_later(served: tuple[SandboxServer, Ledger]) -> None:
    server, ledger = served
    server.faults.arm("late_commit", seconds=600)
    with pytest.raises(requests.ConnectionError):
        call(server, data="late")
    assert ledger.entries == []
    assert server.stats["pending"] == 1
    assert not server.settle(0.1)
    assert ledger.entries == []
    assert server.settle(60, now=True)
    assert ledger.entries == [b"late"]
    assert server.stats["pending"] == 0
    server.faults.arm("late_commit", seconds=0.1)
    with pytest.raises(requests.ConnectionError):
        call(server, data="soon")
    assert server.settle(60)
    assert ledger.entries[-1] == b"soon"


def test_a_stopped_server_applies_nothing_late() -> None:
    ledger = Ledger()
    with SandboxServer(ledger) as server:
        server.faults.arm("late_commit", seconds=600)
        with pytest.raises(requests.ConnectionError):
            call(server, data="late")
        (late,) = server._late
    late.join(60)
    assert ledger.entries == []


def test_masked_is_the_applications_business(served: tuple[SandboxServer, Ledger]) -> None:
    server, _ = served
    server.faults.arm("masked:login_page")
    assert call(server).json()["masked"] == "login_page"
    assert call(server).json()["masked"] is None


def test_match_and_times(served: tuple[SandboxServer, Ledger]) -> None:
    server, _ = served
    server.faults.arm("unavailable", match="POST /two", times=2)
    server.faults.arm("throttle", match="CreateOrder")
    server.faults.arm("throttle", match="SELECT Id FROM")
    statuses = [call(server, path).status_code for path in ("/one", "/two", "/two", "/two")]
    assert statuses == [201, 503, 503, 201]
    assert call(server, headers={"SOAPAction": '"CreateOrder"'}).status_code == 429
    assert call(server, "/query?q=SELECT%20Id%20FROM%20Case").status_code == 429
    assert call(server, "/query?q=SELECT%20Id%20FROM%20Case").status_code == 201


def test_chances_are_seeded() -> None:
    def drawn(seed: int) -> list[str]:
        script = FaultScript()
        script.chances({"drop_after": 0.3, "unavailable": 0.2}, match="POST", seed=seed)
        faults = [script.next("POST /x") for _ in range(400)]
        assert script.next("GET /x") is None
        return [fault.name if fault else "" for fault in faults]

    first = drawn(1)
    assert first == drawn(1)
    assert first != drawn(2)
    assert 80 < first.count("drop_after") < 160
    assert 50 < first.count("unavailable") < 115


@pytest.mark.parametrize(
    "arm",
    [
        lambda script: script.arm("drop_sideways"),
        lambda script: script.arm("throttle:softly"),
        lambda script: script.arm("throttle", times=0),
        lambda script: script.chances({"throttle": 0.7, "drop_after": 0.7}, seed=1),
        lambda script: script.chances({"drop_sideways": 0.1}, seed=1),
    ],
)
def test_a_wrong_script_is_refused(arm: Any) -> None:
    with pytest.raises(ValueError):
        arm(FaultScript())


def test_control_over_http(served: tuple[SandboxServer, Ledger]) -> None:
    server, ledger = served
    armed = call(
        server, "/_sandbox/faults", json={"arm": {"fault": "unavailable", "match": "POST /write"}}
    )
    assert armed.json()["armed"] == 1
    assert call(server, data="x").status_code == 503
    call(server, "/_sandbox/faults", json={"chances": {"weights": {"throttle": 1.0}, "seed": 3}})
    assert call(server, data="x").status_code == 429
    call(server, "/_sandbox/faults", json={"clear": True})
    assert call(server, data="x").status_code == 201
    stats = call(server, "/_sandbox/stats", method="GET").json()
    assert stats == {
        "requests": 3,
        "applied": 1,
        "faults": {"unavailable": 1, "throttle": 1},
        "armed": 0,
        "pending": 0,
        "errors": 0,
    }
    assert ledger.entries == [b"x"]
    for wrong in ({"arm": {"fault": "no"}}, {"arm": {"zeal": 1}}, {"burn": 1}, {"arm": 3}):
        assert call(server, "/_sandbox/faults", json=wrong).status_code == 400
    assert call(server, "/_sandbox/faults", method="GET").status_code == 405


def test_faults_spare_the_sandboxs_own_paths(served: tuple[SandboxServer, Ledger]) -> None:
    server, _ = served
    server.faults.chances({"unavailable": 1.0}, seed=1)
    assert call(server, "/_sandbox/rows").status_code == 201
    assert call(server, "/write").status_code == 503


def test_a_crashing_application_is_noticed() -> None:
    with SandboxServer(Ledger()) as server:
        assert call(server, "/crash").status_code == 500
        assert "broken application" in server.errors[0]


def test_many_connections_at_once(served: tuple[SandboxServer, Ledger]) -> None:
    server, ledger = served
    threads = [threading.Thread(target=call, args=(server,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.entries) == 20


def test_an_unknown_authority_is_refused_and_kept_ones_last(tmp_path: Path) -> None:
    with SandboxServer(Ledger(), tls=True, tls_dir=tmp_path) as server:
        with requests.Session() as session:
            session.trust_env = False
            with pytest.raises(requests.exceptions.SSLError):
                session.get(server.url, timeout=60)
        first = Path(server.ca_file or "").read_bytes()
        port = server.port
    with SandboxServer(Ledger(), tls=True, tls_dir=tmp_path, port=port) as server:
        assert Path(server.ca_file or "").read_bytes() == first
        assert call(server).status_code == 201


def test_stop_closes_the_port_and_open_connections() -> None:
    with SandboxServer(Ledger()) as server:
        server.faults.arm("hang_after", seconds=600)
        failed: list[Exception] = []

        def ask() -> None:
            try:
                call(server)
            except requests.ConnectionError as error:
                failed.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        while not server.stats["applied"]:
            time.sleep(0.01)
    thread.join(60)
    assert not thread.is_alive()
    assert len(failed) == 1
    with pytest.raises(requests.ConnectionError):
        call(server)


def test_every_fault_is_documented_and_known() -> None:
    script = FaultScript()
    for name, effect in FAULTS.items():
        assert effect
        script.arm(name)
    assert script.armed == len(FAULTS)
