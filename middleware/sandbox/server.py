"""A loopback HTTP server whose faults act at the socket, for the demo, the tests and chaos.

It serves any WSGI application. A scripted fault decides what becomes of one request: whether the
application runs, and what the client sees of it. Every fault is one of two sorts: *not applied*
(the application never ran) or *applied* (it ran to its end, and only the answer went wrong).
"""

from __future__ import annotations

import contextlib
import io
import ipaddress
import json
import random
import select
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

FAULTS: Mapping[str, str] = {
    "drop_before": "not applied; the connection is reset",
    "hang_before": "not applied; silence for `seconds`, then the connection is closed",
    "unavailable": "not applied; 503",
    "throttle": "not applied; 429 with Retry-After: 1",
    "drop_after": "applied; the connection is closed without an answer (`drop_after:reset`: reset)",
    "cut_after": "applied; the connection is closed in the middle of the answer",
    "hang_after": "applied at once; answered after `seconds`",
    "garbage_after": "applied; 200 with a body that is nothing "
    "(`garbage_after:wire`: bytes that are not HTTP)",
    "late_commit": "the connection is reset now; applied `seconds` later",
    "masked": "the application decides: it finds the variant (`masked:<variant>`) in its environ",
}
"""The faults and what each does; `name:variant` picks a variant."""

_VARIANTS: Mapping[str, frozenset[str]] = {
    "drop_after": frozenset({"", "reset"}),
    "garbage_after": frozenset({"", "wire"}),
}

MASKED = "sandbox.masked"
"""The environ key under which an application finds the variant of a `masked` fault."""

_GARBAGE = b"\x1f\x8b\x00<<< {[ not an answer \xff\xfe\x00"
_MAX_BODY = 64 * 1024**2


@dataclass(frozen=True)
class Fault:
    """One fault that a request suffers."""

    name: str
    seconds: float = 0.0

    @property
    def kind(self) -> str:
        return self.name.partition(":")[0]

    @property
    def variant(self) -> str:
        return self.name.partition(":")[2]


def _checked(name: str) -> str:
    kind, _, variant = name.partition(":")
    if kind not in FAULTS:
        raise ValueError(f"no fault is called {name!r}; there are {', '.join(FAULTS)}")
    if kind != "masked" and variant not in _VARIANTS.get(kind, frozenset({""})):
        raise ValueError(f"the fault {kind} has no variant {variant!r}")
    return name


@dataclass
class _Armed:
    fault: Fault
    match: str
    left: int


class _Chances:
    def __init__(
        self, weights: Mapping[str, float], *, match: str, seed: int, seconds: float
    ) -> None:
        if any(weight < 0 for weight in weights.values()) or sum(weights.values()) > 1 + 1e-9:
            raise ValueError("weights are probabilities: none below 0, together at most 1")
        self.match = match
        self._weights = {_checked(name): weight for name, weight in weights.items()}
        self._seconds = seconds
        self._random = random.Random(seed)

    def draw(self) -> Fault | None:
        point = self._random.random()
        for name, weight in self._weights.items():
            if point < weight:
                return Fault(name, self._seconds)
            point -= weight
        return None


class FaultScript:
    """Which requests suffer what: armed faults first, in order, then chances.

    `match` is a substring of `METHOD /path?query SOAPAction`, as sent or percent-decoded; the
    empty one matches every request. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[_Armed] = []
        self._chances: list[_Chances] = []
        self._fired: Counter[str] = Counter()

    def arm(self, fault: str, *, match: str = "", times: int = 1, seconds: float = 0.0) -> None:
        """Let the next `times` matching requests suffer `fault`."""
        if times < 1 or seconds < 0:
            raise ValueError("times is at least 1 and seconds is not negative")
        with self._lock:
            self._armed.append(_Armed(Fault(_checked(fault), seconds), match, times))

    def chances(
        self,
        weights: Mapping[str, float],
        *,
        match: str = "",
        seed: int,
        seconds: float = 0.0,
    ) -> None:
        """Let each matching request suffer one of the faults with its probability."""
        rule = _Chances(weights, match=match, seed=seed, seconds=seconds)
        with self._lock:
            self._chances.append(rule)

    def clear(self) -> None:
        """Forget all that is armed and all chances; counters stay."""
        with self._lock:
            self._armed.clear()
            self._chances.clear()

    def next(self, line: str) -> Fault | None:
        """The fault that the request on this line suffers, taken from the script."""
        lines = (line, unquote(line))
        with self._lock:
            fault = self._take(lines)
            if fault is not None:
                self._fired[fault.name] += 1
            return fault

    def _take(self, lines: tuple[str, str]) -> Fault | None:
        for armed in self._armed:
            if any(armed.match in line for line in lines):
                armed.left -= 1
                if not armed.left:
                    self._armed.remove(armed)
                return armed.fault
        for rule in self._chances:
            if any(rule.match in line for line in lines):
                return rule.draw()
        return None

    @property
    def fired(self) -> dict[str, int]:
        """How often each fault has happened."""
        with self._lock:
            return dict(self._fired)

    @property
    def armed(self) -> int:
        """How many armed faults have not happened yet."""
        with self._lock:
            return sum(armed.left for armed in self._armed)


@dataclass(frozen=True)
class _Request:
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    peer: str

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")

    @property
    def line(self) -> str:
        action = self.header("soapaction").strip().strip('"')
        return f"{self.method} {self.target} {action}".rstrip()


@dataclass(frozen=True)
class _Answer:
    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def _json(status: int, value: object, *headers: tuple[str, str]) -> _Answer:
    return _Answer(
        f"{status} {responses[status]}",
        (("Content-Type", "application/json"), *headers),
        json.dumps(value).encode(),
    )


class SandboxServer:
    """Serves one WSGI application on loopback, threaded, with keep-alive and scripted faults.

    With `tls` it speaks https under a certificate authority made for it, whose certificate lies
    at `ca_file`; `tls_dir` keeps both across restarts. Other processes control it over
    `POST /_sandbox/faults` with `{"arm": {…}}`, `{"chances": {…}}` or `{"clear": true}` and read
    `GET /_sandbox/stats`; no path under `/_sandbox/` suffers faults.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: bool = False,
        tls_dir: Path | None = None,
    ) -> None:
        self.app = app
        self.host = host
        self.faults = FaultScript()
        self.ca_file: str | None = None
        self.errors: list[str] = []
        """Tracebacks of applications that raised; a test should find it empty."""
        self.lines: deque[str] = deque(maxlen=1000)
        """The last requests, as `METHOD /path?query SOAPAction`."""
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._late: dict[threading.Thread, threading.Event] = {}
        """Late commits, and what makes each happen before it is due."""
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._own_tls: tempfile.TemporaryDirectory[str] | None = None
        context = None
        if tls:
            if tls_dir is None:
                self._own_tls = tempfile.TemporaryDirectory(prefix="sandbox-tls-")
                tls_dir = Path(self._own_tls.name)
            ca, chain = _certificates(tls_dir, host)
            self.ca_file = str(ca)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(chain)
        self._http = _Http((host, port), self, context)
        self.port: int = self._http.server_address[1]

    @property
    def url(self) -> str:
        scheme = "https" if self.ca_file else "http"
        return f"{scheme}://{self.host}:{self.port}"

    @property
    def stats(self) -> dict[str, Any]:
        """Requests seen, times the application ran, faults by name, late commits still to come."""
        with self._lock:
            counts, pending, errors = dict(self._counts), len(self._late), len(self.errors)
        return {
            "requests": counts.get("requests", 0),
            "applied": counts.get("applied", 0),
            "faults": self.faults.fired,
            "armed": self.faults.armed,
            "pending": pending,
            "errors": errors,
        }

    def start(self) -> Self:
        """Serve from a thread of its own; returns at once."""
        if self._thread is not None:
            raise RuntimeError("this server was already started; make another one")
        self._thread = threading.Thread(
            target=self._http.serve_forever,
            kwargs={"poll_interval": 0.05},
            name=f"sandbox:{self.port}",
            daemon=True,
        )
        self._thread.start()
        return self

    def serve(self) -> None:
        """Serve in this thread until another one calls `stop`."""
        self._thread = threading.current_thread()
        self._http.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        """Close the port and every connection; late commits that are not due yet never happen."""
        self._stopping.set()
        with self._lock:
            late = dict(self._late)
        for due in late.values():
            due.set()
        if self._thread is not None:
            self._http.shutdown()
            if self._thread is not threading.current_thread():
                self._thread.join()
        self._http.server_close()
        self._http.close_connections()
        for waiting in late:
            waiting.join(5)
        if self._own_tls is not None:
            self._own_tls.cleanup()
            self._own_tls = None

    def settle(self, timeout: float = 30.0, *, now: bool = False) -> bool:
        """Wait until no late commit is pending, or let each happen `now`, before it is due; False
        when the time ran out first."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            with self._lock:
                late = dict(self._late)
            if not late:
                return True
            if now:
                for due in late.values():
                    due.set()
            next(iter(late)).join(0.05)
        return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # What the handler asks of us.

    def _control(self, request: _Request) -> _Answer | None:
        """The answer to a control request, or None when the request is the application's."""
        if request.path == "/_sandbox/stats":
            return _json(200, self.stats)
        if request.path != "/_sandbox/faults":
            return None
        if request.method != "POST":
            return _json(405, {"error": "POST it"}, ("Allow", "POST"))
        try:
            asked = json.loads(request.body)
            for name in asked:
                if name == "clear":
                    self.faults.clear()
                elif name == "arm":
                    self.faults.arm(**asked[name])
                elif name == "chances":
                    self.faults.chances(**asked[name])
                else:
                    raise ValueError(f"{name!r} is none of arm, chances, clear")  # noqa: TRY301
        except (ValueError, TypeError, KeyError) as error:
            return _json(400, {"error": str(error)})
        return _json(200, self.stats)

    def _line(self, request: _Request) -> str:
        """What the fault script's `match` looks into, and `lines` keeps."""
        return request.line

    def _count(self, request: _Request) -> None:
        with self._lock:
            self._counts["requests"] += 1
            self.lines.append(self._line(request))

    def _run(self, request: _Request, masked: str | None = None) -> _Answer:
        """Run the application to its end and keep its answer."""
        with self._lock:
            self._counts["applied"] += 1
        begun: list[tuple[str, tuple[tuple[str, str], ...]]] = []
        written = io.BytesIO()

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: object = None, /
        ) -> Callable[[bytes], object]:
            begun[:] = [(status, tuple(headers))]
            return written.write

        try:
            parts: Iterable[bytes] = self.app(self._environ(request, masked), start_response)
            try:
                for part in parts:
                    written.write(part)
            finally:
                close = getattr(parts, "close", None)
                if close is not None:
                    close()
            status, headers = begun[0]
        except Exception:  # an application's crash is an answer too
            with self._lock:
                self.errors.append(traceback.format_exc())
            return _json(500, {"error": "the sandbox's application raised; see server.errors"})
        return _Answer(status, headers, written.getvalue())

    def _run_later(self, request: _Request, seconds: float) -> None:
        due = threading.Event()

        def apply() -> None:
            due.wait(seconds)
            try:
                if not self._stopping.is_set():
                    self._run(request)
            finally:
                with self._lock:
                    self._late.pop(waiting, None)

        waiting = threading.Thread(target=apply, daemon=True)
        with self._lock:
            self._late[waiting] = due
        waiting.start()

    def _environ(self, request: _Request, masked: str | None) -> dict[str, Any]:
        path, _, query = request.target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            # WSGI wants bytes in a str; the raw path keeps an escaped slash distinguishable.
            "PATH_INFO": unquote(path, encoding="latin-1"),
            "RAW_URI": request.target,
            "QUERY_STRING": query,
            "CONTENT_TYPE": request.header("content-type"),
            "CONTENT_LENGTH": str(len(request.body)),
            "SERVER_NAME": self.host,
            "SERVER_PORT": str(self.port),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": request.peer,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https" if self.ca_file else "http",
            "wsgi.input": io.BytesIO(request.body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in request.headers:
            key = "HTTP_" + name.upper().replace("-", "_")
            if key not in ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"):
                environ[key] = f"{environ[key]},{value}" if key in environ else value
        if masked is not None:
            environ[MASKED] = masked
        return environ


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self, address: tuple[str, int], sandbox: SandboxServer, context: ssl.SSLContext | None
    ) -> None:
        self.sandbox = sandbox
        self._context = context
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer would look up the host's name, which may wait on a resolver.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = self.socket.accept()
        if self._context is not None:
            # The handshake happens in the connection's own thread.
            connection = self._context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        with self._open_lock:
            self._open.add(connection)
        return connection, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        if isinstance(request, ssl.SSLSocket):
            try:
                request.settimeout(10)
                request.do_handshake()
                request.settimeout(None)
            except OSError:
                return
        super().finish_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)
        self.close_request(request)

    def close_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            with self.sandbox._lock:
                self.sandbox.errors.append(traceback.format_exc())

    def close_connections(self) -> None:
        with self._open_lock:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Dropped(Exception):
    pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Http

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError, _Dropped):
            super().handle()

    def __getattr__(self, name: str) -> Callable[[], None]:
        # http.server asks for do_GET, do_PATCH and so on: every method is the application's.
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: the server counts instead."""

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._chunked()
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= _MAX_BODY:
            raise ValueError(f"a body of {length} bytes is too large for the sandbox")
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionError("the client went away in the middle of its request")
        return body

    def _chunked(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _serve(self) -> None:
        sandbox = self.server.sandbox
        try:
            body = self._body()
        except ValueError as error:
            self.close_connection = True
            self._send(_json(400, {"error": str(error)}))
            return
        request = _Request(
            self.command, self.path, tuple(self.headers.items()), body, self.client_address[0]
        )
        if request.path.startswith("/_sandbox/"):
            self._send(sandbox._control(request) or sandbox._run(request))
            return
        sandbox._count(request)
        fault = sandbox.faults.next(sandbox._line(request))
        if fault is None:
            self._send(sandbox._run(request))
        else:
            self._suffer(fault, request)

    def _suffer(self, fault: Fault, request: _Request) -> None:
        sandbox = self.server.sandbox
        match fault.kind:
            case "drop_before":
                self._drop(reset=True)
            case "late_commit":
                sandbox._run_later(request, fault.seconds)
                self._drop(reset=True)
            case "hang_before":
                self._wait(fault.seconds)
                self._drop()
            case "unavailable":
                self._send(_json(503, {"error": "the sandbox is unavailable"}))
            case "throttle":
                self._send(_json(429, {"error": "too many requests"}, ("Retry-After", "1")))
            case "masked":
                self._send(sandbox._run(request, fault.variant))
            case "drop_after":
                sandbox._run(request)
                self._drop(reset=fault.variant == "reset")
            case "cut_after":
                answer = sandbox._run(request)
                self._send(answer, cut=True)
                self._drop()
            case "hang_after":
                answer = sandbox._run(request)
                self._wait(fault.seconds)
                self._send(answer)
            case "garbage_after":
                answer = sandbox._run(request)
                if fault.variant == "wire":
                    self.connection.sendall(_GARBAGE * 4)
                    self._drop()
                else:
                    kept = tuple(h for h in answer.headers if h[0].lower() == "content-type")
                    self._send(_Answer("200 OK", kept, _GARBAGE))

    def _wait(self, seconds: float) -> None:
        """Wait, but not longer than the client or the server lives."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.server.sandbox._stopping.wait(min(left, 0.05)):
                self._drop()
            if self._client_left():
                return

    def _client_left(self) -> bool:
        if isinstance(self.connection, ssl.SSLSocket):
            return False  # a TLS socket cannot be peeked into
        ready, _, _ = select.select([self.connection], [], [], 0)
        return bool(ready) and not self.connection.recv(1, socket.MSG_PEEK)

    def _drop(self, *, reset: bool = False) -> NoReturn:
        """Close the connection now: with a reset, or as if the process had ended."""
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
        for part in (self.rfile, self.wfile):
            with contextlib.suppress(OSError):
                part.close()
        # The fd closes with its last holder; only then does the reset go out.
        self.connection.close()
        raise _Dropped

    def finish(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().finish()

    def _send(self, answer: _Answer, *, cut: bool = False) -> None:
        status = answer.status if answer.status[3:] else f"{answer.status} "
        code = int(status[:3])
        bare = self.command == "HEAD" or code in (204, 304) or code < 200
        head = [f"HTTP/1.1 {status}"]
        head += [f"{k}: {v}" for k, v in answer.headers if k.lower() != "content-length"]
        if code not in (204, 304) and code >= 200:
            head.append(f"Content-Length: {len(answer.body)}")
        if self.close_connection:
            head.append("Connection: close")
        raw = ("\r\n".join(head) + "\r\n\r\n").encode("latin-1")
        body = b"" if bare else answer.body
        if cut:
            raw, body = (raw, body[: len(body) // 2]) if body else (raw[: len(raw) // 2], b"")
        self.connection.sendall(raw + body)


def _certificates(directory: Path, host: str) -> tuple[Path, Path]:
    """The certificate authority's file and the server's key and chain, made when absent."""
    directory.mkdir(parents=True, exist_ok=True)
    ca_path, chain_path = directory / "ca.pem", directory / "server.pem"
    if ca_path.exists() and chain_path.exists():
        return ca_path, chain_path
    now = datetime.now(UTC)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Sandbox CA")])
    ca = (
        x509.CertificateBuilder()
        .subject_name(ca_name)
        .issuer_name(ca_name)
        .public_key(ca_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                crl_sign=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    addresses = {"127.0.0.1", "::1"}
    try:
        addresses.add(str(ipaddress.ip_address(host)))
    except ValueError:
        names.append(x509.DNSName(host))
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in sorted(addresses)]
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sandbox")]))
        .issuer_name(ca_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()),
            critical=False,
        )
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain_path.touch(mode=0o600)
    chain_path.write_bytes(private + leaf.public_bytes(pem))
    ca_path.write_bytes(ca.public_bytes(pem))
    return ca_path, chain_path
