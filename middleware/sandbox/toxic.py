"""A proxy that stands before a real system and does to its requests what a bad day does.

It knows the faults of `server.py` and takes them the same way; what it adds is an upstream. With
it a system that nobody can tell to commit and then drop the line, such as a real Tryton, is put
through the same faults as the sandbox's own servers.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.client import responses
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from middleware.sandbox.server import MASKED, SandboxServer, _Request

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

Label = Callable[[str, str, Mapping[str, str], bytes], str]
"""From a request's method, target, headers (by their names in lower case) and body to the text
that a fault's `match` looks into."""

_HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"),
        *("upgrade", "content-length", "host", "expect"),
    }
)


@dataclass(frozen=True)
class Lie:
    """An answer that the proxy gives in the system's name, for the fault `masked:<name>`."""

    status: int
    body: bytes | Callable[[bytes], bytes]
    """What is answered, or how it is made from the request's body."""
    content_type: str = "text/html; charset=utf-8"
    applied: bool = False
    """Whether the system gets the request first."""


class Toxic(SandboxServer):
    """A threaded loopback proxy for one upstream, such as `http://127.0.0.1:8000`.

    Faults are armed on `.faults`, or over `POST /_sandbox/faults`. `match` is sought in what
    `label` makes of a request; without one, in `METHOD /path?query` and the whole body.
    """

    def __init__(
        self,
        upstream: str,
        *,
        label: Label | None = None,
        lies: Mapping[str, Lie] | None = None,
        timeout: float = 60.0,
        port: int = 0,
        tls: bool = False,
    ) -> None:
        super().__init__(_Forward(upstream, dict(lies or {}), timeout), port=port, tls=tls)
        self._label = label or _everything

    def _line(self, request: _Request) -> str:
        headers = {name.lower(): value for name, value in request.headers}
        return self._label(request.method, request.target, headers, request.body)


def _everything(method: str, target: str, headers: Mapping[str, str], body: bytes) -> str:
    return f"{method} {target} {body.decode(errors='replace')}"


class _Forward:
    """The WSGI application that passes a request on and its answer back, byte for byte."""

    def __init__(self, upstream: str, lies: Mapping[str, Lie], timeout: float) -> None:
        parts = urlsplit(upstream)
        if parts.scheme != "http" or parts.hostname is None or parts.path not in ("", "/"):
            raise ValueError(f"the upstream is http://host:port, not {upstream!r}")
        self._host, self._port = parts.hostname, parts.port or 80
        self._lies = lies
        self._timeout = timeout

    def __call__(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"].read()
        name = environ.get(MASKED)
        lie = None if name is None else self._lies[name]
        if lie is None or lie.applied:
            try:
                status, headers, answer = self._pass_on(environ, body)
            except (OSError, http.client.HTTPException):
                status, headers, answer = 502, [], b"the system behind the proxy gave no answer"
        if lie is not None:
            status, headers = lie.status, [("Content-Type", lie.content_type)]
            answer = lie.body(body) if callable(lie.body) else lie.body
        start(f"{status} {responses.get(status, '')}", headers)
        return [answer]

    def _pass_on(
        self, environ: Mapping[str, Any], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = {
            name[5:].replace("_", "-"): value
            for name, value in environ.items()
            if name.startswith("HTTP_") and name[5:].replace("_", "-").lower() not in _HOP_BY_HOP
        }
        if environ.get("CONTENT_TYPE"):
            headers["Content-Type"] = environ["CONTENT_TYPE"]
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            connection.request(environ["REQUEST_METHOD"], environ["RAW_URI"], body, headers)
            answer = connection.getresponse()
            kept = [(k, v) for k, v in answer.getheaders() if k.lower() not in _HOP_BY_HOP]
            return answer.status, kept, answer.read()
        finally:
            connection.close()
