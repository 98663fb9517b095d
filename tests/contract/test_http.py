"""Real sockets that misbehave, through requests and through httpx2, as reads and as writes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest

from middleware.contract import http, wire
from middleware.contract.errors import (
    Ambiguous,
    Fenced,
    Forbidden,
    Missing,
    NotOffered,
    Permanent,
    Rejected,
    RemoteError,
    Transient,
    Unauthorised,
)
from middleware.contract.http import Limits
from tests.contract import lines
from tests.contract.lines import Certificates, Line

PATIENT = Limits(connect_s=60, total_s=60, max_bytes=200_000)
"""For lines that answer or break, on machines that are busy."""

HASTY = Limits(connect_s=0.3, total_s=60)
"""For connections that nobody takes."""

SHORT = Limits(connect_s=60, total_s=60, read_s=0.5)
"""For lines that fall silent once they have the request."""

IN_TIME_S = 30
"""Less than a line stays broken, and more than a busy machine takes to notice it."""

SECRET = "canary-8f3b51c07d"


class Caller(Protocol):
    """One library: send a request within limits, hand back status, headers and body."""

    def __call__(self, method: str, url: str) -> tuple[int, dict[str, str], bytes]: ...


_opened: list[Any] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


class Requests:
    def __init__(self, limits: Limits = PATIENT, **options: Any) -> None:
        self.session = http.session(limits, **options)
        _opened.append(self.session)

    def __call__(self, method: str, url: str) -> tuple[int, dict[str, str], bytes]:
        body = None if method == "GET" else b"order=1"
        response = self.session.request(method, url, data=body, params={"token": SECRET})
        return response.status_code, dict(response.headers), response.content


class Httpx:
    def __init__(self, limits: Limits = PATIENT, **options: Any) -> None:
        self.client = http.client(limits, **options)
        _opened.append(self.client)

    def __call__(self, method: str, url: str) -> tuple[int, dict[str, str], bytes]:
        body = None if method == "GET" else b"order=1"
        response = self.client.request(method, url, content=body, params={"token": SECRET})
        return response.status_code, dict(response.headers), response.content


LIBRARIES = [pytest.param(Requests, id="requests"), pytest.param(Httpx, id="httpx2")]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return lines.make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def serve() -> Iterator[Callable[..., Line]]:
    running: list[Line] = []

    def start(behaviour: Any, **options: Any) -> Line:
        running.append(Line(behaviour, **options))
        return running[-1]

    yield start
    for line in running:
        line.stop()


def outcome(call: Caller, method: str, url: str) -> RemoteError | None:
    """What an adapter would raise for this call, and within which time."""
    write = method != "GET"
    begin = time.monotonic()
    try:
        status, headers, _ = call(method, url)
    except Exception as error:
        meant = wire.classify(error, write=write, system="erp", operation="order")
        if SECRET in repr(meant) or time.monotonic() - begin > IN_TIME_S:
            pytest.fail(f"leaked or late: {meant!r}")
        return meant
    return wire.classify_status(status, headers, write=write, system="erp", operation="order")


# behaviour, class on a read, class on a write, requests that the server acted upon
BROKEN = [
    (lines.drop_before, Transient, Ambiguous, 0),
    (lines.drop_after, Transient, Ambiguous, 1),
    (lines.reset_after, Transient, Ambiguous, 1),
    (lines.slow_after, Transient, Ambiguous, 1),
    (lines.drip_head, Transient, Ambiguous, 1),
    (lines.drip_body, Transient, Ambiguous, 1),
    (lines.half_answer, Transient, Ambiguous, 1),
    (lines.garbage, Transient, Ambiguous, 1),
    (lines.two_lengths, Transient, Ambiguous, 1),
    (lines.oversized, Transient, Ambiguous, 1),
    (lines.endless_chunks, Transient, Ambiguous, 1),
    (lines.gzip_bomb, Transient, Ambiguous, 1),
    (lines.broken_gzip, Transient, Ambiguous, 1),
    (lines.huge_head, Transient, Ambiguous, 1),
    (lines.silent, Transient, Ambiguous, 0),
]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("behaviour", "read", "write", "applied"),
    BROKEN,
    ids=[case[0].__name__ for case in BROKEN],
)
def test_a_broken_line(
    serve: Callable[..., Line],
    monkeypatch: pytest.MonkeyPatch,
    library: type[Requests] | type[Httpx],
    method: str,
    behaviour: Any,
    read: type[RemoteError],
    write: type[RemoteError],
    applied: int,
) -> None:
    line = serve(behaviour)
    monkeypatch.setattr(http, "time", lines.Clock(line))
    limits = SHORT if behaviour in (lines.slow_after, lines.silent) else PATIENT
    error = outcome(library(limits), method, line.url)
    assert type(error) is (read if method == "GET" else write)
    assert error is not None
    assert (error.system, error.operation) == ("erp", "order")
    assert line.has_applied(applied)


ANSWERED: list[tuple[int, type[RemoteError] | None, type[RemoteError] | None]] = [
    (200, None, None),
    (204, None, None),
    (400, Rejected, Rejected),
    (401, Unauthorised, Unauthorised),
    (403, Forbidden, Forbidden),
    (404, Missing, Missing),
    (405, Rejected, Rejected),
    (408, Transient, Ambiguous),
    (409, Rejected, Rejected),
    (410, Missing, Missing),
    (412, Rejected, Rejected),
    (422, Rejected, Rejected),
    (425, Transient, Transient),
    (429, Transient, Transient),
    (500, Transient, Ambiguous),
    (501, NotOffered, NotOffered),
    (502, Transient, Ambiguous),
    (503, Transient, Ambiguous),
    (504, Transient, Ambiguous),
    (599, Transient, Ambiguous),
    (799, Transient, Ambiguous),
]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(("status", "read", "write"), ANSWERED)
def test_a_status(
    serve: Callable[..., Line],
    library: type[Requests] | type[Httpx],
    method: str,
    status: int,
    read: type[RemoteError] | None,
    write: type[RemoteError] | None,
) -> None:
    body = b"" if status == 204 else b"{}"
    line = serve(lines.always(lines.answer(status, body)))
    error = outcome(library(PATIENT), method, line.url)
    expected = read if method == "GET" else write
    assert (type(error) if error else None) is expected


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("behaviour", "wait"),
    [
        (lines.always(lines.answer(429, Retry_After="7")), timedelta(seconds=7)),
        (lines.throttle_until(90), timedelta(seconds=90)),
        (lines.throttle_until(-90), timedelta(0)),
        (lines.always(lines.answer(429, Retry_After="99999999999")), wire.LONGEST_WAIT),
        (lines.always(lines.answer(429)), None),
    ],
    ids=["seconds", "date", "past date", "absurd", "absent"],
)
def test_throttled(
    serve: Callable[..., Line],
    library: type[Requests] | type[Httpx],
    behaviour: Any,
    wait: timedelta | None,
) -> None:
    error = outcome(library(PATIENT), "POST", serve(behaviour).url)
    assert type(error) is Transient
    assert error.retry_after == wait


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("method", ["GET", "POST"])
class TestNothingWasSent:
    """Whatever fails before a byte of the request leaves is never Ambiguous."""

    def test_refused(self, library: Any, method: str) -> None:
        error = outcome(library(), method, f"http://127.0.0.1:{lines.unused_port()}/")
        assert type(error) is Transient
        assert "refused" in error.message

    def test_no_such_host(self, library: Any, method: str) -> None:
        error = outcome(library(), method, "http://no-such-host.invalid/")
        assert type(error) is Transient
        assert "resolved" in error.message

    def test_resolver_hangs(
        self, library: Any, method: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        over = threading.Event()
        monkeypatch.setattr("socket.getaddrinfo", lambda *a, **k: over.wait(60))
        error = outcome(library(HASTY), method, "http://slow-dns.example.com/")
        over.set()
        assert type(error) is Transient

    def test_nobody_takes_the_connection(self, library: Any, method: str) -> None:
        with lines.full_backlog() as port:
            error = outcome(library(HASTY), method, f"http://127.0.0.1:{port}/")
        assert type(error) is Transient
        assert "in time" in error.message

    def test_handshake_hangs(self, library: Any, method: str, serve: Callable[..., Line]) -> None:
        line = serve(lines.silent)
        error = outcome(library(HASTY), method, line.url.replace("http:", "https:"))
        assert type(error) is Transient
        assert "nothing was sent" in error.message

    def test_handshake_dropped(self, library: Any, method: str, serve: Callable[..., Line]) -> None:
        line = serve(lines.drop_before)
        error = outcome(library(), method, line.url.replace("http:", "https:"))
        assert type(error) is Transient
        assert "nothing was sent" in error.message

    def test_no_tls_at_the_other_end(
        self, library: Any, method: str, serve: Callable[..., Line]
    ) -> None:
        line = serve(lines.plain_http)
        error = outcome(library(PATIENT), method, line.url.replace("http:", "https:"))
        assert type(error) is Permanent
        assert "TLS" in error.message

    @pytest.mark.parametrize(
        ("which", "says"),
        [("lone", "self-signed"), ("expired", "expired"), ("elsewhere", "another")],
    )
    def test_certificate_refused(
        self,
        library: Any,
        method: str,
        serve: Callable[..., Line],
        certificates: Certificates,
        which: str,
        says: str,
    ) -> None:
        served = certificates.server(getattr(certificates, which))
        line = serve(lines.always(lines.answer()), tls=served)
        error = outcome(library(ca_file=str(certificates.ca)), method, line.url)
        assert type(error) is Permanent
        assert says in error.message
        assert line.applied == []

    def test_authority_unknown(
        self, library: Any, method: str, serve: Callable[..., Line], certificates: Certificates
    ) -> None:
        line = serve(lines.always(lines.answer()), tls=certificates.server(certificates.good))
        error = outcome(library(), method, line.url)
        assert type(error) is Permanent
        assert "ca_file" in error.message
        assert line.applied == []

    @pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "no-scheme", "http://"])
    def test_not_a_url(self, library: Any, method: str, url: str) -> None:
        assert type(outcome(library(), method, url)) is Permanent

    def test_a_token_with_a_line_break(
        self, library: Any, method: str, serve: Callable[..., Line]
    ) -> None:
        line = serve(lines.always(lines.answer()))
        call = library()
        (call.session if library is Requests else call.client).headers["X-Token"] = f"{SECRET}\n"
        error = outcome(call, method, line.url)
        assert type(error) is Permanent
        assert "line breaks" in error.message
        assert line.applied == []

    def test_inside_the_network(
        self, library: Any, method: str, serve: Callable[..., Line]
    ) -> None:
        line = serve(lines.always(lines.answer()))
        error = outcome(library(on_premise=False), method, line.url)
        assert type(error) is Permanent
        assert "on premise" in error.message
        assert line.connections == 0


@pytest.mark.parametrize("library", LIBRARIES)
class TestTrust:
    def test_ca_file(
        self, library: Any, serve: Callable[..., Line], certificates: Certificates
    ) -> None:
        line = serve(lines.always(lines.answer()), tls=certificates.server(certificates.good))
        assert library(PATIENT, ca_file=str(certificates.ca))("POST", line.url)[0] == 200

    def test_environment_has_no_say(
        self,
        library: Any,
        serve: Callable[..., Line],
        certificates: Certificates,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        line = serve(lines.always(lines.answer()), tls=certificates.server(certificates.good))
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login stray password stray\n")
        proxy = f"http://127.0.0.1:{lines.unused_port()}"
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy)
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(name, str(certificates.lone))
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        assert library(PATIENT, ca_file=str(certificates.ca))("POST", line.url)[0] == 200
        assert "authorization" not in line.applied[0].headers
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(name, str(certificates.ca))
        assert type(outcome(library(), "POST", line.url)) is Permanent

    def test_drip_over_tls_ends_in_time(
        self,
        library: Any,
        serve: Callable[..., Line],
        certificates: Certificates,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        line = serve(lines.drip_body, tls=certificates.server(certificates.good))
        monkeypatch.setattr(http, "time", lines.Clock(line))
        error = outcome(library(ca_file=str(certificates.ca)), "POST", line.url)
        assert type(error) is Ambiguous


def test_a_caller_cannot_switch_verification_off(
    serve: Callable[..., Line], certificates: Certificates
) -> None:
    line = serve(lines.always(lines.answer()), tls=certificates.server(certificates.lone))
    session = Requests().session
    session.verify = False
    with pytest.raises(Exception, match="Max retries"):
        session.post(line.url, verify=False)
    assert line.applied == []


@pytest.mark.parametrize("library", LIBRARIES)
class TestKeepAlive:
    def test_connections_are_reused(self, library: Any, serve: Callable[..., Line]) -> None:
        line = serve(lines.always(lines.answer()))
        call = library(PATIENT)
        for _ in range(3):
            call("POST", line.url)
        assert (line.connections, len(line.applied)) == (1, 3)

    def test_closed_while_idle_is_noticed(self, library: Any, serve: Callable[..., Line]) -> None:
        """A connection that the server closed before is not used, so no false 'dropped'."""
        line = serve(lines.close_when_idle)
        call = library(PATIENT)
        for _ in range(3):
            assert outcome(call, "POST", line.url) is None
            assert line.hung_up.acquire(timeout=60)
        assert (line.connections, len(line.applied)) == (3, 3)

    def test_closed_as_we_write_is_ambiguous(
        self, library: Any, serve: Callable[..., Line]
    ) -> None:
        line = serve(lines.stale_keep_alive)
        call = library(PATIENT)
        assert outcome(call, "POST", line.url) is None
        assert type(outcome(call, "POST", line.url)) is Ambiguous
        assert len(line.applied) == 2, "sent once, never again by itself"

    def test_idle_connections_are_dropped(
        self, library: Any, serve: Callable[..., Line], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http, "_IDLE_S", 0.05)
        line = serve(lines.always(lines.answer()))
        call = library(PATIENT)
        call("GET", line.url)
        time.sleep(0.1)
        call("GET", line.url)
        assert line.connections == 2


@pytest.mark.parametrize("library", LIBRARIES)
class TestRedirects:
    def redirecting(self, serve: Any, status: int, to: str) -> Line:
        def behave(line: Line, sock: Any) -> None:
            while request := line.read(sock):
                arrived = request.path.startswith("/there")
                answer = lines.answer() if arrived else lines.answer(status, Location=to)
                sock.sendall(answer)

        line: Line = serve(behave)
        return line

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_reads_follow_on_the_same_host(
        self, library: Any, serve: Callable[..., Line], status: int
    ) -> None:
        line = self.redirecting(serve, status, "/there")
        assert library(PATIENT)("GET", line.url)[0] == 200

    @pytest.mark.parametrize("status", [307, 308])
    def test_writes_follow_where_they_stay_writes(
        self, library: Any, serve: Callable[..., Line], status: int
    ) -> None:
        line = self.redirecting(serve, status, "/there")
        assert library(PATIENT)("POST", line.url)[0] == 200
        assert [(r.method, r.body) for r in line.applied] == [("POST", b"order=1")] * 2

    @pytest.mark.parametrize("status", [301, 302, 303])
    def test_a_write_never_turns_into_a_read(
        self, library: Any, serve: Callable[..., Line], status: int
    ) -> None:
        line = self.redirecting(serve, status, "/there")
        assert type(outcome(library(), "POST", line.url)) is Ambiguous
        assert [r.method for r in line.applied] == ["POST"]

    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize("status", [302, 307])
    def test_another_host_never_hears_of_it(
        self, library: Any, serve: Callable[..., Line], status: int, method: str
    ) -> None:
        other = serve(lines.always(lines.answer()))
        line = self.redirecting(serve, status, other.url)
        error = outcome(library(), method, line.url)
        assert type(error) is (Permanent if method == "GET" else Ambiguous)
        assert other.connections == 0

    def test_loops_end(self, library: Any, serve: Callable[..., Line]) -> None:
        line = self.redirecting(serve, 307, "/thing")
        assert isinstance(outcome(library(), "GET", line.url), RemoteError)
        assert len(line.applied) <= 7


def test_a_caller_may_ask_for_less_time_and_never_for_more(serve: Callable[..., Line]) -> None:
    line = serve(lines.slow_after)
    total = Limits(connect_s=60, total_s=1)
    for limits, asked, least in ((PATIENT, 0.2, 0.1), (total, 60, 0.9), (total, None, 0.9)):
        posts: list[Any] = [Requests(limits).session.post, Httpx(limits).client.post]
        for post in posts:
            begin = time.monotonic()
            with pytest.raises(Exception, match=r"time"):
                post(line.url, timeout=asked)
            assert least < time.monotonic() - begin < IN_TIME_S


def test_connecting_has_its_own_limit(serve: Callable[..., Line]) -> None:
    """Whatever a caller asks for; the handshake hangs here for ever."""
    url = serve(lines.silent).url.replace("http:", "https:")
    posts: list[Any] = [Requests(HASTY).session.post, Httpx(HASTY).client.post]
    for post in posts:
        begin = time.monotonic()
        with pytest.raises(Exception, match=r".") as caught:
            post(url, timeout=60)
        assert time.monotonic() - begin < IN_TIME_S
        error = wire.classify(caught.value, write=True, system="erp", operation="order")
        assert type(error) is Transient


def test_the_deadline_spans_redirects(
    serve: Callable[..., Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_redirect(line: Line, sock: Any) -> None:
        while line.read(sock):
            line.late_s += 40
            sock.sendall(lines.answer(302, Location="/again"))

    for library in (Requests, Httpx):
        line = serve(slow_redirect)
        monkeypatch.setattr(http, "time", lines.Clock(line))
        assert isinstance(outcome(library(), "GET", line.url), RemoteError)
        assert len(line.applied) == 2, "not as long as there are redirects left"


def test_streams_end_in_time_too(
    serve: Callable[..., Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = serve(lines.drip_body)
    monkeypatch.setattr(http, "time", lines.Clock(line))
    begin = time.monotonic()
    with pytest.raises(Exception, match=r"."):
        for _ in Requests().session.get(line.url, stream=True).iter_content(1):
            pass
    line = serve(lines.drip_body)
    monkeypatch.setattr(http, "time", lines.Clock(line))
    with (
        pytest.raises(Exception, match=r"."),
        Httpx().client.stream("GET", line.url) as response,
    ):
        for _ in response.iter_bytes():
            pass
    assert time.monotonic() - begin < IN_TIME_S


def test_public_client_hands_redirects_back(
    serve: Callable[..., Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Event delivery counts a 3xx as a failure; it must see it and go nowhere."""
    monkeypatch.setattr("middleware.contract.address.permit", lambda *a, **k: None)
    other = serve(lines.always(lines.answer()))
    line = serve(lines.always(lines.answer(307, Location=other.url)))
    with http.public_client(PATIENT) as client:
        assert client.post(line.url).status_code == 307
    assert other.connections == 0


def test_a_server_that_does_not_read(serve: Callable[..., Line]) -> None:
    """A body larger than the sockets' buffers waits in sending, not in reading."""
    line = serve(lines.silent)
    body = b"x" * 20_000_000
    total = Limits(connect_s=60, total_s=2)
    posts: list[Any] = [
        lambda: Requests(total).session.post(line.url, data=body),
        lambda: Httpx(total).client.post(line.url, content=body),
    ]
    for post in posts:
        begin = time.monotonic()
        with pytest.raises(Exception, match=r".") as caught:
            post()
        assert time.monotonic() - begin < IN_TIME_S
        error = wire.classify(caught.value, write=True, system="erp", operation="order")
        assert type(error) is Ambiguous


def test_one_session_serves_many_threads(serve: Callable[..., Line]) -> None:
    line = serve(lines.always(lines.answer()))
    for library in (Requests, Httpx):
        call = library(PATIENT)
        with ThreadPoolExecutor(8) as threads:
            statuses = list(threads.map(lambda _, c=call: c("POST", line.url)[0], range(64)))
        assert statuses == [200] * 64
    assert len(line.applied) == 128


class Asleep(Fenced):
    """The process slept, and may not write any more."""


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
def test_nothing_leaves_past_the_fence(
    library: Any, secured: bool, serve: Callable[..., Line], certificates: Certificates
) -> None:
    """Whatever was prepared by then: at the first piece, or between the head and the body."""
    tls = {"tls": certificates.server(certificates.good)} if secured else {}
    line = serve(lines.always(lines.answer()), **tls)
    trust = {"ca_file": certificates.ca} if secured else {}
    call = library(PATIENT, **trust)
    asked = 0

    def guard() -> None:
        nonlocal asked
        asked += 1

    with http.fenced(guard):
        assert call("POST", line.url)[0] == 200
    assert asked >= 2
    assert len(line.applied) == 1
    for allowed in range(asked):
        left = allowed

        def refuse() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Asleep

        with (
            pytest.raises(Asleep),
            http.fenced(refuse),
            wire.classifying(write=True, system="erp", operation="order"),
        ):
            call("POST", line.url)
    assert call("POST", line.url)[0] == 200, "the fence stands around its own call only"
    assert len(line.applied) == 2


def test_nothing_is_logged_about_urls(
    serve: Callable[..., Line], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    line = serve(lines.always(lines.answer()))
    for library in (Requests, Httpx):
        library(PATIENT)("POST", line.url)
    assert SECRET not in caplog.text
