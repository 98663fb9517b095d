"""What every route works with, and the route itself: who asks, how often, and for what."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, TypeVar

from anyio.to_thread import run_sync
from fastapi import Depends, Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from middleware.api import problems
from middleware.api.auth import Keyring, permit
from middleware.api.limits import Limiter
from middleware.api.paging import Cursors
from middleware.domain.problems import (
    InvalidError,
    KeyInUseError,
    NotFoundError,
    ProblemError,
)
from middleware.flows.hub import Asker, Hub
from middleware.flows.intake import Intake
from middleware.flows.keys import Scope
from middleware.inlets import MalformedBody, parse_json

SECURITY_SCHEME = "api_key"
SCOPE = "x-scope"
"""Where a route's description names the scope that it needs."""

LONGEST_WAIT = 30
MOST_WAITERS = 200
"""Requests that may wait for something to happen at a time; further ones are answered at once."""

T = TypeVar("T")


@dataclass
class Door:
    """The hub behind the API, and what the API keeps of its own."""

    hub: Hub
    intake: Intake
    version: str
    keyring: Keyring
    limiter: Limiter | None
    inlet_limiter: Limiter | None
    running: Running = field(default_factory=lambda: Running())
    waiters: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_WAITERS))

    @property
    def cursors(self) -> Cursors:
        return Cursors(self.hub.seal)

    async def until(self, look: Callable[[], T], done: Callable[[T], bool], seconds: int) -> T:
        """Look until it is done or the time is over; answers what was seen last."""
        seen = await run_sync(look)
        if seconds <= 0 or self.waiters.locked():
            return seen
        deadline = time.monotonic() + min(seconds, LONGEST_WAIT)
        pause = 0.05
        async with self.waiters:
            while not done(seen) and (left := deadline - time.monotonic()) > 0:
                await asyncio.sleep(min(pause, left))
                pause = min(pause * 1.5, 0.5)
                seen = await run_sync(look)
        return seen


class Running:
    """Requests under an idempotency key that are being answered by this process right now."""

    def __init__(self) -> None:
        self._keys: set[tuple[str, str, str]] = set()
        self._lock = threading.Lock()

    @contextmanager
    def only(self, principal: str, route: str, key: str) -> Iterator[None]:
        """Raise KeyInUseError while another request under the same key is under way."""
        mine = (principal, route, key)
        with self._lock:
            if mine in self._keys:
                raise KeyInUseError("The first request with this key is not answered yet.")
            self._keys.add(mine)
        try:
            yield
        finally:
            with self._lock:
                self._keys.discard(mine)


def door_of(request: Request) -> Door:
    door: Door = request.app.state.door
    return door


# Coroutines, because FastAPI would call plain functions in a thread, which costs more than they do.


async def _door(request: Request) -> Door:
    return door_of(request)


async def _asker(request: Request) -> Asker:
    principal = request.state.principal
    return Asker(principal=principal.id, request_id=request.state.request_id, role=principal.role)


TheDoor = Annotated[Door, Depends(_door)]
Asking = Annotated[Asker, Depends(_asker)]


def deadline_of(milliseconds: int | None) -> timedelta | None:
    """How long remotes may take; None leaves it to the operator. Zero is next to nothing."""
    if milliseconds is None:
        return None
    return max(timedelta(milliseconds=milliseconds), timedelta.resolution)


_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,4})\"?(?=$|[,;\s])", re.IGNORECASE)


def seconds_to_wait(request: Request) -> int:
    """What `Prefer: wait=N` (RFC 7240) asks for, at most half a minute."""
    found = _WAIT.search(request.headers.get("prefer", ""))
    return min(int(found[1]), LONGEST_WAIT) if found else 0


class _JsonRequest(Request):
    """A request whose JSON is read as strangers' JSON: bounded, no key twice, no NUL."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            body = await self.body()
            try:
                self._json = parse_json(body)
            except MalformedBody as error:
                raise problems.MalformedBodyError(
                    f"The body is not JSON: {error.reason}, at line {error.line}, "
                    f"column {error.column}.",
                    errors=[
                        {
                            "pointer": "",
                            "detail": f"line {error.line}, column {error.column}: {error.reason}",
                            "code": "json",
                        }
                    ],
                ) from None
        return self._json


class Route(APIRoute):
    """A route that knows who may use it and which names it takes.

    In order: the caller is recognised, counted, and permitted; unknown query parameters are
    refused; the body is read within its limit and parsed. Only then FastAPI sees the request.
    """

    @property
    def scope(self) -> Scope | None:
        """The scope that a key needs; None for a public route."""
        described = self.openapi_extra or {}
        if not described["security"]:
            return None
        return Scope(described[SCOPE])

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        scope = self.scope
        names = {field.alias for field in self.dependant.query_params}
        takes_body = self.body_field is not None

        async def handler(request: Request) -> Response:
            request = _JsonRequest(request.scope, request.receive)
            if "\x00" in request.scope["path"]:
                raise NotFoundError("There is no such thing: the path holds a NUL.")
            if scope is not None:
                await _admit(request, scope)
            _refuse_unknown(request, names)
            if takes_body:
                await _read(request)
            try:
                return await answer(request)
            except HTTPException as error:
                # FastAPI wraps what is raised while it reads the body.
                if isinstance(error.__cause__, ProblemError):
                    raise error.__cause__ from None
                raise

        return handler


async def _admit(request: Request, scope: Scope) -> None:
    door = door_of(request)
    principal = await door.keyring.recognise(request.headers.get("authorization"))
    request.state.principal = principal
    if door.limiter is not None:
        allowance = door.limiter.take(principal.id)
        request.state.headers = allowance.headers()
        if not allowance.granted:
            rate = allowance.rate
            raise problems.RateLimitedError(
                f"{rate.quota} requests in {rate.window} seconds are allowed for this key."
            )
    permit(principal, scope)


def _refuse_unknown(request: Request, names: set[str]) -> None:
    given = request.query_params
    unknown = sorted(set(given) - names)
    if unknown:
        raise problems.UnknownNameError(
            f"This route has no query parameter {', '.join(unknown)[:200]}.",
            errors=[
                {
                    "pointer": f"/query/{problems.escaped(name)[:100]}",
                    "code": "unknown",
                    "detail": problems.near(name, names),
                }
                for name in unknown[:20]
            ],
        )
    for name, value in given.multi_items():
        if "\x00" in value:
            raise InvalidError(
                "A query parameter holds a NUL.",
                errors=[{"pointer": f"/query/{name}", "code": "nul", "detail": "must hold no NUL"}],
            )


async def _read(request: Request) -> None:
    body = await request.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and kind != "application/json" and not kind.endswith("+json"):
        raise problems.MalformedBodyError(
            "Send Content-Type: application/json and a JSON object in UTF-8."
        )
    if body:
        await request.json()
