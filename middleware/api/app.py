"""The API put together over a hub."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from middleware import __version__
from middleware.api import openapi, problems
from middleware.api.auth import Keyring
from middleware.api.door import Door
from middleware.api.envelope import Envelope
from middleware.api.limits import Limiter, Rate
from middleware.api.routes import (
    actions,
    arrivals,
    claims,
    complaints,
    connections,
    context,
    drafts,
    events,
    gathering,
    handoffs,
    health,
    incidents,
    inlets,
    invitations,
    jobs,
    keys,
    ledger,
    links,
    people,
    policy,
    priority,
    quarantine,
    reviews,
    understanding,
)
from middleware.flows.hub import Hub
from middleware.flows.intake import Intake

ROUTERS = (
    inlets.router,
    arrivals.router,
    complaints.router,
    gathering.router,
    claims.router,
    ledger.router,
    people.router,
    links.router,
    reviews.router,
    understanding.router,
    context.router,
    actions.router,
    policy.router,
    priority.router,
    incidents.router,
    drafts.router,
    handoffs.router,
    invitations.router,
    connections.router,
    jobs.router,
    quarantine.router,
    events.router,
    keys.router,
    health.router,
)


def create_api(
    hub: Hub,
    intake: Intake,
    *,
    version: str,
    requests_per_minute: int | None = 1200,
    deliveries_per_minute: int | None = None,
    servers: Sequence[str] = (),
) -> FastAPI:
    """The REST API over a hub.

    The limits are for each API key and for
    each connection that delivers, in each process; None means none. `servers` are the addresses
    that others reach the hub by.
    """
    keyring = Keyring(hub)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        keyring.close()

    app = FastAPI(
        title="Amends",
        version=version,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,
        lifespan=lifespan,
    )
    app.state.door = Door(
        hub=hub,
        intake=intake,
        version=version,
        keyring=keyring,
        limiter=_limiter(requests_per_minute),
        inlet_limiter=_limiter(deliveries_per_minute),
    )
    for router in ROUTERS:
        app.include_router(router)
    problems.install(app)
    openapi.install(app, routes(), servers=servers)
    app.add_middleware(Envelope)
    return app


def routes() -> list[APIRoute]:
    """Every route of the API that has a place in its description."""
    return [r for router in ROUTERS for r in router.routes if isinstance(r, APIRoute)]


def _limiter(per_minute: int | None) -> Limiter | None:
    return None if per_minute is None else Limiter(Rate(per_minute, 60))


def exported(version: str = __version__) -> str:
    """The API's description as it is kept in `openapi/openapi.json`; it needs no hub."""
    nobody: Any = None
    return openapi.written(openapi.openapi_document(create_api(nobody, nobody, version=version)))
