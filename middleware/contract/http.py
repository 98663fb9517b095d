"""Bounded HTTP for adapters and for event delivery: nothing here waits or reads without end.

Two flavours: `session` is a `requests.Session`, to be put below zeep and simple-salesforce;
`client` is an `httpx2.Client` for our own calls. Both hold every request to `Limits`, whatever
time-out the caller passes or forgets: making the connection (name, TCP, TLS), each silence, the
whole exchange up to the last byte of the answer, and the answer's size after decompression. Both
ignore proxies, netrc and CA settings of the environment, never retry, and never carry a request
to another host. What they raise, `middleware.contract.wire` understands.

Both ask the `fenced` guard of the running call before each piece that they send, so that a process
that slept between being allowed to write and writing sends nothing.
"""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

import certifi
import httpcore2
import httpx2
import requests
import urllib3
from pydantic import Field
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util import wait_for_read

from middleware.contract.address import AddressRefused, dial
from middleware.contract.canonical import Frozen
from middleware.contract.wire import AnswerTooLarge, RedirectRefused

_IDLE_S = 5.0
"""How long an idle connection is kept. Servers close theirs after 5 s and more; reusing one that
is being closed looks like a lost answer, so we drop it first."""

_MOST_REDIRECTS = 5

_fence: ContextVar[Callable[[], None] | None] = ContextVar("fence", default=None)


@contextmanager
def fenced(guard: Callable[[], None]) -> Iterator[None]:
    """Ask `guard` before anything leaves this thread for a remote; it may raise `Fenced`.

    What was sent by then stays sent: a request that is cut off between its pieces is never whole.
    """
    before = _fence.set(guard)
    try:
        yield
    finally:
        _fence.reset(before)


def _at_the_fence() -> None:
    guard = _fence.get()
    if guard is not None:
        guard()


# They log whole URLs, and URLs hold customers' mail addresses.
for _name in ("httpx2", "httpcore2", "urllib3.connectionpool"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class Limits(Frozen):
    """What one call may take: seconds, and bytes of the decompressed answer."""

    connect_s: Annotated[float, Field(gt=0)] = 5
    """To resolve the name, connect and agree on TLS."""
    total_s: Annotated[float, Field(gt=0)] = 30
    """From the call to the last byte of the answer, redirects included."""
    read_s: Annotated[float, Field(gt=0)] | None = None
    """The longest silence within that; None allows as much as `total_s`."""
    max_bytes: Annotated[int, Field(gt=0)] = 16 * 1024**2


def tls_context(ca_file: str | Path | None = None, *, timed: bool = False) -> ssl.SSLContext:
    """Verify servers against `ca_file`, or without one against the public authorities (certifi).

    Nothing of the environment (SSL_CERT_FILE, REQUESTS_CA_BUNDLE, SSLKEYLOGFILE) has a say, which
    is why this is not `ssl.create_default_context`. Raises FileNotFoundError or ssl.SSLError if
    the file holds no certificates. Reading all the public authorities takes longer than a call, so
    whoever trusts the same file, as it is now, shares a context: do not change it.
    """
    path = Path(ca_file or certifi.where())
    now = path.stat()
    return _context(path, (now.st_mtime_ns, now.st_size), timed)


@lru_cache(maxsize=64)
def _context(path: Path, _changed: tuple[int, int], timed: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=path)
    if timed:
        context.sslsocket_class = _TLSSocket
    return context


# --- requests -------------------------------------------------------------------------------------

_ends: ContextVar[float] = ContextVar("ends")
"""When the running request must be over; read by the connections made or reused for it."""


class _Timed:
    """A socket of which no operation lasts beyond `ends`, however often a byte drips in."""

    ends: float = float("inf")

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        sock = cast("socket.socket", self)
        usual = sock.gettimeout()
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the whole exchange took too long")
        if usual is not None and usual <= left:
            yield
            return
        sock.settimeout(None if left == float("inf") else left)
        try:
            yield
        finally:
            if sock.fileno() >= 0:
                sock.settimeout(usual)

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        with self._in_time():
            return super().recv_into(*args, **kwargs)  # type: ignore[misc,no-any-return]

    def recv(self, *args: Any, **kwargs: Any) -> bytes:
        with self._in_time():
            return super().recv(*args, **kwargs)  # type: ignore[misc,no-any-return]

    def send(self, *args: Any, **kwargs: Any) -> int:
        with self._in_time():
            _at_the_fence()
            return super().send(*args, **kwargs)  # type: ignore[misc,no-any-return]

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        with self._in_time():
            _at_the_fence()
            super().sendall(*args, **kwargs)  # type: ignore[misc]


class _PlainSocket(_Timed, socket.socket):
    pass


class _TLSSocket(_Timed, ssl.SSLSocket):
    pass


class _Dials:
    """What both kinds of urllib3 connection share: how they connect, and when they end."""

    on_premise = True
    _last_used = 0.0

    def _new_conn(self) -> socket.socket:
        connection = cast("HTTPConnection", self)
        limit = connection.timeout if isinstance(connection.timeout, (int, float)) else 5.0
        left = _ends.get(float("inf")) - time.monotonic()
        try:
            made = dial(
                connection._dns_host,
                connection.port,
                within=min(limit, left),
                on_premise=self.on_premise,
            )
        except socket.gaierror as error:
            raise NameResolutionError(connection.host, connection, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(connection, "connect timed out") from error
        except (OSError, AddressRefused) as error:
            raise NewConnectionError(connection, "no connection") from error
        usual = made.gettimeout()
        timed = _PlainSocket(made.family, made.type, made.proto, fileno=made.detach())
        timed.settimeout(usual)
        timed.ends = _ends.get(float("inf"))
        return timed

    def connect(self) -> None:
        connection = cast("HTTPConnection", self)
        try:
            super().connect()  # type: ignore[misc]
        except (OSError, urllib3.exceptions.SSLError) as error:
            # The TLS handshake. urllib3 calls a slow one a read time-out, as if we had sent.
            connection.close()
            if isinstance(error, TimeoutError):
                raise ConnectTimeoutError(connection, "TLS handshake timed out") from error
            raise NewConnectionError(connection, "TLS handshake failed") from error

    def request(self, *args: Any, **kwargs: Any) -> None:
        connection = cast("HTTPConnection", self)
        self._last_used = time.monotonic()
        if connection.sock is not None:
            cast("_Timed", connection.sock).ends = _ends.get(float("inf"))
        super().request(*args, **kwargs)  # type: ignore[misc]

    @property
    def is_connected(self) -> bool:
        idle = time.monotonic() - self._last_used
        return idle < _IDLE_S and bool(super().is_connected)  # type: ignore[misc]


class _PlainConnection(_Dials, HTTPConnection):
    pass


class _TLSConnection(_Dials, HTTPSConnection):
    pass


class _Adapter(HTTPAdapter):
    """Sends one request within its limits, over connections that keep them too."""

    def __init__(self, limits: Limits, context: ssl.SSLContext, *, on_premise: bool) -> None:
        self._limits = limits
        self._context = context
        self._on_premise = on_premise
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)
        shared = {"on_premise": self._on_premise}
        plain = type("_PlainConnection", (_PlainConnection,), shared)
        tls = type("_TLSConnection", (_TLSConnection,), shared)
        self.poolmanager.pool_classes_by_scheme = {
            "http": type("_PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("_TLSPool", (HTTPSConnectionPool,), {"ConnectionCls": tls}),
        }

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave it to the context: neither a caller nor the environment can widen the trust."""

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        return super().build_connection_pool_key_attributes(request, True, cert)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        if isinstance(timeout, urllib3.Timeout):
            timeout = (timeout.connect_timeout, timeout.read_timeout)
        connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
        bounded = (
            _least(self._limits.connect_s, connect),
            _least(self._limits.read_s or self._limits.total_s, read),
        )
        response = super().send(request, stream, bounded, True, cert, None)
        response.raw.stream = _counted(response.raw, self._limits.max_bytes)  # type: ignore[method-assign]
        return response


class _Session(requests.Session):
    def __init__(self, limits: Limits, context: ssl.SSLContext, *, on_premise: bool) -> None:
        super().__init__()
        self._limits = limits
        self.trust_env = False
        self.max_redirects = _MOST_REDIRECTS
        for scheme in ("https://", "http://"):
            self.mount(scheme, _Adapter(limits, context, on_premise=on_premise))

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        follow = kwargs.get("allow_redirects", True)
        ends = min(time.monotonic() + self._limits.total_s, _ends.get(float("inf")))
        before = _ends.set(ends)
        try:
            response = super().send(request, **kwargs)
        finally:
            _ends.reset(before)
        if follow and response.is_redirect:
            response.close()
            raise RedirectRefused(response.status_code)
        return response

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Where to follow to; None for another host, or where a write would turn into a read."""
        target = super().get_redirect_target(resp)
        if target is None or not _same_host(resp.url, requests.compat.urljoin(resp.url, target)):
            return None
        method = resp.request.method or "GET"
        return target if method in ("GET", "HEAD") or resp.status_code in (307, 308) else None


def session(
    limits: Limits, *, ca_file: str | Path | None = None, on_premise: bool = True
) -> requests.Session:
    """A `requests.Session` of which every call is bounded; for use below vendor libraries.

    A caller's own time-outs may shorten the limits and never lengthen them; its `verify` and
    `proxies` have no effect, since trust comes from `ca_file` alone. Redirects are followed on the
    same host where the method stays what it is; any other raises `wire.RedirectRefused`, and an
    answer beyond the limit `wire.AnswerTooLarge`. With `on_premise=False` it connects to public
    addresses only. Threads may share it.
    """
    context = tls_context(ca_file, timed=True)
    return _Session(limits, context, on_premise=on_premise)


def _counted(raw: urllib3.BaseHTTPResponse, most: int) -> Any:
    whole = raw.stream

    def stream(*args: Any, **kwargs: Any) -> Iterator[bytes]:
        seen = 0
        for chunk in whole(*args, **kwargs):
            seen += len(chunk)
            if seen > most:
                raw.close()
                raise AnswerTooLarge(f"more than {most} bytes")
            yield chunk

    return stream


def _least(limit: float, asked: Any) -> float:
    return min(limit, asked) if isinstance(asked, (int, float)) and asked > 0 else limit


def _same_host(here: str, there: str) -> bool:
    """Whether a redirect stays on its host and port, or rises from http to https there."""
    old, new = urlsplit(here), urlsplit(there)
    if old.hostname != new.hostname:
        return False
    ports = {"http": 80, "https": 443}
    if old.scheme == new.scheme:
        standard = ports.get(old.scheme)
        return (old.port or standard) == (new.port or standard)
    return (old.scheme, old.port or 80, new.scheme, new.port or 443) == ("http", 80, "https", 443)


# --- httpx2 ---------------------------------------------------------------------------------------


class _Until(float):
    """A time-out in seconds that remembers when the whole request must be over."""

    ends: float

    def __new__(cls, seconds: float, ends: float) -> _Until:
        made = super().__new__(cls, seconds)
        made.ends = ends
        return made

    @property
    def left(self) -> float:
        return min(float(self), self.ends - time.monotonic())


def _left(timeout: float | None) -> float | None:
    return timeout.left if isinstance(timeout, _Until) else timeout


class _Stream(httpcore2.NetworkStream):
    """A connected socket of httpx2's, no operation of which outlives its request.

    Its exceptions carry what happened as their argument, since httpcore2 drops causes.
    """

    def __init__(self, sock: socket.socket, connect_ends: float) -> None:
        self._sock = sock
        self._connect_ends = connect_ends

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            self._bound(timeout)
            return self._sock.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore2.ReadTimeout(error) from error
        except OSError as error:
            raise httpcore2.ReadError(error) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            rest = memoryview(buffer)
            while rest:
                self._bound(timeout)
                _at_the_fence()
                rest = rest[self._sock.send(rest) :]
        except TimeoutError as error:
            raise httpcore2.WriteTimeout(error) from error
        except OSError as error:
            raise httpcore2.WriteError(error) from error

    def _bound(self, timeout: float | None) -> None:
        left = _left(timeout)
        if left is not None and left <= 0:
            raise TimeoutError("the whole exchange took too long")
        self._sock.settimeout(left)

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        try:
            self._sock.settimeout(max(self._connect_ends - time.monotonic(), 0.001))
            secured = ssl_context.wrap_socket(self._sock, server_hostname=server_hostname)
        except TimeoutError as error:
            self.close()
            raise httpcore2.ConnectTimeout(error) from error
        except OSError as error:
            self.close()
            raise httpcore2.ConnectError(error) from error
        return _Stream(secured, self._connect_ends)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return self._sock.fileno() < 0 or wait_for_read(self._sock, timeout=0.0)
        if info == "ssl_object":
            return getattr(self._sock, "_sslobj", None)
        if info == "client_addr":
            return self._sock.getsockname()
        if info == "server_addr":
            return self._sock.getpeername()
        return self._sock if info == "socket" else None


class _Backend(httpcore2.NetworkBackend):
    def __init__(self, *, on_premise: bool) -> None:
        self._on_premise = on_premise

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore2.NetworkStream:
        within = _left(timeout)
        within = Limits().connect_s if within is None else within
        ends = time.monotonic() + within
        try:
            return _Stream(dial(host, port, within=within, on_premise=self._on_premise), ends)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(error) from error
        except (OSError, AddressRefused) as error:
            raise httpcore2.ConnectError(error) from error


class _Response(httpx2.Response):
    """An answer that raises AnswerTooLarge rather than grow beyond `most` bytes."""

    most: int

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        seen = 0
        for chunk in super().iter_bytes(chunk_size):
            seen += len(chunk)
            if seen > self.most:
                self.close()
                raise AnswerTooLarge(f"more than {self.most} bytes")
            yield chunk


class _Transport(httpx2.HTTPTransport):
    def __init__(self, limits: Limits, context: ssl.SSLContext, *, on_premise: bool) -> None:
        super().__init__(verify=context, trust_env=False)
        self._limits = limits
        self._pool = httpcore2.ConnectionPool(
            ssl_context=context,
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=_IDLE_S,
            retries=0,
            network_backend=_Backend(on_premise=on_premise),
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        plain = super().handle_request(request)
        response = _Response(
            plain.status_code,
            headers=plain.headers,
            stream=plain.stream,
            extensions=plain.extensions,
        )
        response.most = self._limits.max_bytes
        return response


class _Client(httpx2.Client):
    def __init__(self, limits: Limits, *, same_host_redirects: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs, trust_env=False, follow_redirects=False)
        self._limits = limits
        self._same_host_redirects = same_host_redirects

    def send(
        self,
        request: httpx2.Request,
        *,
        stream: bool = False,
        auth: Any = httpx2.USE_CLIENT_DEFAULT,
        follow_redirects: Any = httpx2.USE_CLIENT_DEFAULT,
    ) -> httpx2.Response:
        limits = self._limits
        ends = time.monotonic() + limits.total_s
        asked = request.extensions.get("timeout", {})
        bounds = {
            "connect": limits.connect_s,
            "pool": limits.connect_s,
            "read": limits.read_s or limits.total_s,
            "write": limits.read_s or limits.total_s,
        }
        within = {
            name: _Until(_least(limit, asked.get(name)), ends) for name, limit in bounds.items()
        }
        for _ in range(_MOST_REDIRECTS + 1):
            request.extensions = {**request.extensions, "timeout": within}
            response = super().send(request, stream=stream, auth=auth, follow_redirects=False)
            if not response.has_redirect_location or follow_redirects is False:
                return response
            if not self._same_host_redirects:
                return response
            following = response.next_request
            response.close()
            if (
                following is None
                or following.method != request.method
                or not _same_host(str(request.url), str(following.url))
            ):
                break
            request = following
        raise RedirectRefused(response.status_code)


def client(
    limits: Limits,
    *,
    base_url: str = "",
    headers: Mapping[str, str] | None = None,
    ca_file: str | Path | None = None,
    on_premise: bool = True,
) -> httpx2.Client:
    """An `httpx2.Client` of which every call is bounded.

    A caller's own time-outs may shorten the limits and never lengthen them. Redirects are followed
    on the same host where the method stays what it is; any other raises `wire.RedirectRefused`
    (with `follow_redirects=False` on a call, the redirect is the answer), and an answer beyond the
    limit raises `wire.AnswerTooLarge`. With `on_premise=False` it connects to public addresses
    only. Threads may share it.
    """
    return _Client(
        limits,
        same_host_redirects=True,
        base_url=base_url,
        headers=dict(headers or {}),
        transport=_Transport(limits, tls_context(ca_file), on_premise=on_premise),
    )


def public_client(limits: Limits, *, ca_file: str | Path | None = None) -> httpx2.Client:
    """A bounded client for addresses that strangers chose, such as event receivers.

    It connects only to public addresses, to the very ones that were checked, and follows no
    redirect: a 3xx is the answer. A refused address raises an exception that `wire.classify`
    calls Permanent.
    """
    return _Client(
        limits,
        same_host_redirects=False,
        transport=_Transport(limits, tls_context(ca_file), on_premise=False),
    )
