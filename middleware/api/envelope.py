"""What every answer carries: a request id, safe headers, and never a stack trace."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from middleware.api import problems
from middleware.api.limits import limited
from middleware.domain.ids import new_id
from middleware.domain.problems import ProblemError

log = logging.getLogger(__name__)

SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")

ALWAYS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


class Envelope:
    """The outermost part of the API."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["request_id"] = request_id = _request_id(scope)
        began = time.perf_counter()
        status = 0

        async def dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in ALWAYS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                for name, value in state.get("headers", {}).items():
                    headers[name] = value
            await send(message)

        receive = limited(scope, receive)
        try:
            await self._app(scope, receive, dressed)
        except Exception as error:
            if status:
                raise
            answer = (
                problems.of_error(scope, error)
                if isinstance(error, ProblemError)
                else problems.of_unexpected(scope, error)
            )
            await answer(scope, receive, dressed)
        principal = state.get("principal")
        log.info(
            "request",
            extra={
                "request_id": request_id,
                "method": scope["method"],
                "path": problems.instance_of(scope),
                "status": status,
                "ms": round((time.perf_counter() - began) * 1000, 1),
                "principal": principal.id if principal is not None else None,
            },
        )


def _request_id(scope: Scope) -> str:
    """The caller's own id where it is a sane one, so that both logs name it alike."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if SANE_ID.fullmatch(given) else new_id("req")
