"""Limits: how large a body may be, and how many requests a key may make."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from middleware.api.problems import BodyTooLargeError

API_BODY = 1024**2
INLET_BODY = 5 * 1024**2
INLETS = "/v1/inlets/"


def limit_of(path: str) -> int:
    """How many bytes of body a route takes."""
    return INLET_BODY if path.startswith(INLETS) else API_BODY


def limited(scope: Scope, receive: Receive) -> Receive:
    """Receive a body up to the route's limit; raises BodyTooLargeError while reading.

    Nothing is refused before somebody asks for the body, so that who is not known is told so
    first. Bytes are counted, whatever `Content-Length` says.
    """
    limit = limit_of(scope["path"])
    declared = Headers(scope=scope).get("content-length", "")
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        if declared.isdecimal() and int(declared[:20]) > limit:
            raise _too_large(limit)
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > limit:
                raise _too_large(limit)
        return message

    return counted


def _too_large(limit: int) -> BodyTooLargeError:
    # The rest of the body is not read: the connection can't be used for another request.
    return BodyTooLargeError(
        f"The body has more than {limit} bytes.", headers={"Connection": "close"}
    )


@dataclass(frozen=True)
class Rate:
    """So many requests in so many seconds."""

    quota: int
    window: int = 60

    @property
    def per_second(self) -> float:
        return self.quota / self.window


@dataclass(frozen=True)
class Allowance:
    """What is left after one request."""

    rate: Rate
    granted: bool
    left: int
    full_in: int
    """Seconds until the whole quota is there again."""
    next_in: int
    """Seconds until one more request is granted; 0 while some are left."""

    def headers(self) -> dict[str, str]:
        """As draft-ietf-httpapi-ratelimit-headers writes them."""
        headers = {
            "RateLimit-Policy": f'"default";q={self.rate.quota};w={self.rate.window}',
            "RateLimit": f'"default";r={self.left};t={self.full_in}',
        }
        if not self.granted:
            headers["Retry-After"] = str(self.next_in)
        return headers


class Limiter:
    """One token bucket for each caller, in this process."""

    MOST = 50_000

    def __init__(self, rate: Rate, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, caller: str) -> Allowance:
        """Count one request."""
        now = self._clock()
        with self._lock:
            tokens, at = self._buckets.get(caller, (float(self.rate.quota), now))
            tokens = min(self.rate.quota, tokens + (now - at) * self.rate.per_second)
            granted = tokens >= 1
            if granted:
                tokens -= 1
            if len(self._buckets) >= self.MOST:
                self._forget_full(now)
            self._buckets[caller] = (tokens, now)
        return Allowance(
            rate=self.rate,
            granted=granted,
            left=math.floor(tokens),
            full_in=math.ceil((self.rate.quota - tokens) / self.rate.per_second),
            next_in=max(1, math.ceil((1 - tokens) / self.rate.per_second)) if tokens < 1 else 0,
        )

    def _forget_full(self, now: float) -> None:
        self._buckets = {
            caller: (tokens, at)
            for caller, (tokens, at) in self._buckets.items()
            if tokens + (now - at) * self.rate.per_second < self.rate.quota
        }
