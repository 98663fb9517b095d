"""A server of raw sockets that misbehaves in one chosen way, for the tests of the wire."""

from __future__ import annotations

import contextlib
import gzip
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Line:
    """One listening server. `applied` are the requests it read whole and acted upon."""

    behaviour: Callable[[Line, socket.socket], None]
    tls: ssl.SSLContext | None = None
    applied: list[Request] = field(default_factory=list)
    connections: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)
    late_s: float = 0.0
    """By how much the wire's clock is ahead meanwhile, where a test goes by a `Clock`."""
    hung_up: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Released for each connection that was closed at this end."""

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/thing"

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(accepted,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, accepted: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self.tls is not None:
                accepted = self.tls.wrap_socket(accepted, server_side=True)
            self._open.add(accepted)
            self.behaviour(self, accepted)
        self._open.discard(accepted)
        with contextlib.suppress(OSError):
            accepted.close()
        self.hung_up.release()

    def stop(self) -> None:
        """Hang up. Each thread closes its own socket: closing it here would free its number for
        the next connection, which OpenSSL would then read from in the thread's stead. The same
        holds for the listener: whoever is about to accept would accept for the next line."""
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(60)
        self._listener.close()
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(2)

    def read(self, sock: socket.socket) -> Request | None:
        """One whole request, applied; None when the client has hung up."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = sock.recv(65536)
            if not more:
                return None
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in rest)}
        while len(body) < int(headers.get("content-length", 0)):
            more = sock.recv(65536)
            if not more:
                return None
            body += more
        request = Request(method, path, headers, body)
        self.applied.append(request)
        return request

    def has_applied(self, requests: int) -> bool:
        """Whether it has read so many: what was sent is read soon, though the client has left."""
        end = time.monotonic() + (60 if requests else 0)
        while len(self.applied) < requests and time.monotonic() < end:
            time.sleep(0.01)
        return len(self.applied) == requests

    def pause(self, seconds: float) -> None:
        self.stopping.wait(seconds)


def answer(status: int = 200, body: bytes = b"{}", **headers: str) -> bytes:
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body


def reset(sock: socket.socket) -> None:
    """Close with RST, as a crashing process or a firewall does."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


# --- behaviours -----------------------------------------------------------------------------------


def always(data: bytes) -> Callable[[Line, socket.socket], None]:
    """Answer every request on the connection with these bytes."""

    def behave(line: Line, sock: socket.socket) -> None:
        while line.read(sock):
            sock.sendall(data)

    return behave


def drop_before(line: Line, sock: socket.socket) -> None:
    """Hang up on the first byte, before the request was read."""
    sock.recv(1)
    reset(sock)


def drop_after(line: Line, sock: socket.socket) -> None:
    line.read(sock)
    sock.shutdown(socket.SHUT_RDWR)


def reset_after(line: Line, sock: socket.socket) -> None:
    line.read(sock)
    reset(sock)


def slow_after(line: Line, sock: socket.socket) -> None:
    line.read(sock)
    line.pause(60)


def two_lengths(line: Line, sock: socket.socket) -> None:
    line.read(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}")
    line.pause(0.2)


def drip_head(line: Line, sock: socket.socket) -> None:
    line.read(sock)
    for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 10_000:
        sock.sendall(bytes([byte]))
        line.late_s = 3600
        line.pause(0.05)


def drip_body(line: Line, sock: socket.socket) -> None:
    line.read(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
    for _ in range(10_000):
        sock.sendall(b"x")
        line.late_s = 3600
        line.pause(0.05)


def half_answer(line: Line, sock: socket.socket) -> None:
    line.read(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}")


def garbage(line: Line, sock: socket.socket) -> None:
    line.read(sock)
    sock.sendall(b"\x15\x03\x01\x00\x02\x02 this is no HTTP\r\n\r\n")


def oversized(line: Line, sock: socket.socket) -> None:
    line.read(sock)
    sock.sendall(answer(body=b"x" * 300_000))


def endless_chunks(line: Line, sock: socket.socket) -> None:
    line.read(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        sock.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")


def gzip_bomb(line: Line, sock: socket.socket) -> None:
    line.read(sock)
    sock.sendall(answer(body=gzip.compress(b"\0" * 50_000_000), Content_Encoding="gzip"))


def broken_gzip(line: Line, sock: socket.socket) -> None:
    line.read(sock)
    sock.sendall(answer(body=b"this is not gzip", Content_Encoding="gzip"))


def huge_head(line: Line, sock: socket.socket) -> None:
    line.read(sock)
    with contextlib.suppress(OSError):
        sock.sendall(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 2_000_000)


def stale_keep_alive(line: Line, sock: socket.socket) -> None:
    """Answer once, promise to stay, and reset the moment the next request arrives."""
    line.read(sock)
    sock.sendall(answer(Connection="keep-alive"))
    line.read(sock)
    reset(sock)


def close_when_idle(line: Line, sock: socket.socket) -> None:
    """Answer once, promise to stay, and hang up at once, as a server whose patience is over."""
    line.read(sock)
    sock.sendall(answer(Connection="keep-alive"))


def silent(line: Line, sock: socket.socket) -> None:
    """Take the connection and never say a word; below TLS, a handshake that hangs."""
    line.pause(60)


def plain_http(line: Line, sock: socket.socket) -> None:
    """Answer a TLS hello the way a plain web server does."""
    sock.recv(65536)
    sock.sendall(answer(400, Connection="close"))


def throttle_until(seconds: float) -> Callable[[Line, socket.socket], None]:
    now = datetime.now(UTC)
    return always(
        answer(
            429,
            Date=format_datetime(now, usegmt=True),
            Retry_After=format_datetime(now + timedelta(seconds=seconds), usegmt=True),
        )
    )


# --- time -----------------------------------------------------------------------------------------


class Clock:
    """The wire's clock, which a line puts forward: once it drips, an hour is over, so that the time
    for the whole exchange is up on any machine, and not a moment before."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def monotonic(self) -> float:
        return time.monotonic() + self._line.late_s


# --- addresses that do not answer -----------------------------------------------------------------


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """A port that takes no connection: its queue is full, so that the kernel drops every SYN."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = []
    for _ in range(8):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(listener.getsockname())
        waiting.append(sock)
    time.sleep(0.05)
    try:
        yield listener.getsockname()[1]
    finally:
        for sock in waiting:
            sock.close()
        listener.close()


# --- certificates ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificates:
    """`ca` signed `good`, `expired` and `elsewhere`; `lone` is self-signed."""

    ca: Path
    good: Path
    expired: Path
    elsewhere: Path
    lone: Path

    def server(self, path: Path) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def make_certificates(folder: Path) -> Certificates:
    now = datetime.now(UTC)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test Authority")])

    def write(name: str, pem: bytes, key: ec.EllipticCurvePrivateKey) -> Path:
        path = folder / f"{name}.pem"
        path.write_bytes(
            pem
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return path

    def make(name: str, host: str, *, until: datetime = now + timedelta(days=1)) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        alone = name == "lone"
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        try:
            general: x509.GeneralName = x509.IPAddress(ip_address(host))
        except ValueError:
            general = x509.DNSName(host)
        signer = key if alone else ca_key
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if alone else ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(until)
            .add_extension(x509.SubjectAlternativeName([general]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
                critical=False,
            )
            .sign(signer, hashes.SHA256())
        )
        return write(name, built.public_bytes(serialization.Encoding.PEM), key)

    ca = (
        x509.CertificateBuilder()
        .subject_name(ca_name)
        .issuer_name(ca_name)
        .public_key(ca_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    return Certificates(
        ca=write("ca", ca.public_bytes(serialization.Encoding.PEM), ca_key),
        good=make("good", "127.0.0.1"),
        expired=make("expired", "127.0.0.1", until=now - timedelta(days=1)),
        elsewhere=make("elsewhere", "erp.example.com"),
        lone=make("lone", "127.0.0.1"),
    )
