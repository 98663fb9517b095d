"""Inlets: where sources deliver. Verified over the raw bytes, stored, then answered 2xx."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from middleware.api import examples, problems
from middleware.api.answers import answer
from middleware.api.describe import operation
from middleware.api.door import Door, Route, TheDoor, door_of
from middleware.api.schemas.complaints import AcceptedShown
from middleware.domain.problems import KeyReusedError, NotFoundError
from middleware.flows import arrive
from middleware.flows.intake import BusyError
from middleware.inlets import Delivery

log = logging.getLogger(__name__)

LARGE = 64 * 1024
"""Bodies above this are verified and read in a thread: they would hold the event loop up."""

WANT_200 = frozenset(("meta", "x"))
"""Sources whose documentation asks for exactly 200; the others take any 2xx."""


class InletRoute(Route):
    """A route that is called as it is: nothing of it needs FastAPI's dependencies.

    Their solving costs a sixth of what taking a delivery costs. Any query is taken: it may be part
    of a source's handshake.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint = self.endpoint

        async def handler(request: Request) -> Response:
            if "\x00" in request.scope["path"]:
                raise NotFoundError("There is no such thing: the path holds a NUL.")
            answer: Response = await endpoint(
                **request.path_params, request=request, door=door_of(request)
            )
            return answer

        return handler


router = APIRouter(route_class=InletRoute, tags=["inlets"])

ConnectionPath = Annotated[str, Path(max_length=63, examples=["helpdesk"])]
TokenPath = Annotated[
    str, Path(max_length=200, description="A secret of ours, for sources that cannot sign.")
]

_HANDSHAKE: dict[str, Any] = operation(
    None,
    "not-found",
    "gone",
    "wrong-signature",
    "rate-limited",
    says="What the source wants to hear: a challenge, or JSON with a signed token.",
)
_HANDSHAKE["responses"][200]["content"] = {
    "text/plain": {"schema": {"type": "string"}, "example": "1158201444"},
    "application/json": {"schema": {"type": "object"}},
}
_DELIVERY: dict[str, Any] = operation(
    None,
    "not-found",
    "gone",
    "body-too-large",
    "wrong-signature",
    "idempotency-key-reused",
    "rate-limited",
    status=202,
    says="Verified and stored; its handling is owed.",
    example=examples.ACCEPTED,
)
_DELIVERY["responses"][200] = {
    "description": "Stored before, or a source that wants exactly 200.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/AcceptedShown"}}},
}
_DELIVERY["openapi_extra"]["requestBody"] = {
    "description": "Whatever the source sends; at most 5 MiB.",
    "required": True,
    "content": {"application/json": {"schema": {}}, "text/plain": {"schema": {"type": "string"}}},
}


@router.get("/v1/inlets/{connection}", **_HANDSHAKE)
async def handshake(connection: ConnectionPath, request: Request, door: TheDoor) -> Response:
    """Answer a source that asks whether this address is ours (Meta, X)."""
    return await _handshake(connection, request, door)


@router.get("/v1/inlets/{connection}/{token}", **_HANDSHAKE)
async def handshake_with_token(
    connection: ConnectionPath, token: TokenPath, request: Request, door: TheDoor
) -> Response:
    """Answer a source that asks whether this address is ours, at an address with a token."""
    return await _handshake(connection, request, door)


@router.post("/v1/inlets/{connection}", response_model=AcceptedShown, **_DELIVERY)
async def deliver(connection: ConnectionPath, request: Request, door: TheDoor) -> Response:
    """Take a delivery of a source.

    Unknown connections are answered 404, removed ones 410, bodies over the limit 413, wrong
    signatures 401 with nothing stored. Everything else is stored first and read later: a malformed
    body with the right signature is accepted, and waits in quarantine.
    """
    return await _deliver(connection, request, door)


@router.post("/v1/inlets/{connection}/{token}", response_model=AcceptedShown, **_DELIVERY)
async def deliver_with_token(
    connection: ConnectionPath, token: TokenPath, request: Request, door: TheDoor
) -> Response:
    """Take a delivery of a source that cannot sign, at an address with a token."""
    return await _deliver(connection, request, door)


async def _handshake(connection: str, request: Request, door: Door) -> Response:
    inlet, options = await _inlet(connection, door)
    asked = arrive.handshake(inlet, options, _delivery(request, door, b""))
    if asked is None:
        raise NotFoundError("This inlet has no handshake, or the request is none.")
    if asked.status >= 400:
        log.warning(
            "handshake refused",
            extra={"connection": connection, "request_id": request.state.request_id},
        )
        raise problems.WrongSignatureError("The handshake could not be verified.")
    return Response(asked.body, status_code=asked.status, media_type=asked.content_type)


async def _deliver(connection: str, request: Request, door: Door) -> Response:
    inlet, options = await _inlet(connection, door)
    _count(connection, request, door)
    body = await request.body()
    delivery = _delivery(request, door, body)
    if len(body) > LARGE:
        verdict = await run_sync(arrive.verify, inlet, options, delivery)
    else:
        verdict = arrive.verify(inlet, options, delivery)
    if not verdict.ok:
        # The reason tells a stranger how to come closer; it is for the operator alone.
        log.warning(
            "signature refused",
            extra={
                "connection": connection,
                "reason": verdict.reason,
                "request_id": request.state.request_id,
            },
        )
        raise problems.WrongSignatureError(
            "The delivery could not be verified; the log entry of this request says why."
        )
    if verdict.secret:
        log.info(
            "an older secret is still in use",
            extra={"connection": connection, "position": verdict.secret},
        )

    def submitted() -> Any:
        return arrive.hand_in(
            door.intake, delivery, connection=connection, source=options.source, verdict=verdict
        )

    try:
        future = await run_sync(submitted) if len(body) > LARGE else submitted()
    except BusyError:
        raise problems.busy() from None
    accepted = await asyncio.wrap_future(future)
    if not accepted.same_body:
        raise KeyReusedError(
            "This message id was delivered before with another body; this one was not stored."
        )
    shown = AcceptedShown(
        delivery_id=accepted.inbox_id,
        new=accepted.new,
        location=f"/v1/deliveries/{accepted.inbox_id}",
    )
    status = 202 if accepted.new and options.source not in WANT_200 else 200
    return answer(request, shown, status=status)


async def _inlet(connection: str, door: Door) -> Any:
    if connection in door.hub.options.inlets:
        return arrive.inlet_of(door.hub, connection)
    return await run_sync(arrive.inlet_of, door.hub, connection)


def _count(connection: str, request: Request, door: Door) -> None:
    if door.inlet_limiter is None:
        return
    allowance = door.inlet_limiter.take(connection)
    request.state.headers = allowance.headers()
    if not allowance.granted:
        raise problems.RateLimitedError("This connection delivers faster than is allowed.")


def _delivery(request: Request, door: Door, body: bytes) -> Delivery:
    return Delivery(
        method=request.method,
        path=request.scope["path"],
        body=body,
        received_at=door.hub.clock(),
        query=dict(request.query_params),
        headers=dict(request.headers),
    )
