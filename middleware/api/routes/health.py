"""The hub itself: alive, ready, which version; and the pages that explain its problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import PlainTextResponse, Response

from middleware.api import problems
from middleware.api.answers import answer
from middleware.api.describe import operation
from middleware.api.door import Route, TheDoor
from middleware.api.routes.connections import status_of
from middleware.api.schemas import operations as schemas
from middleware.domain.problems import NotFoundError
from middleware.flows.gate import Standing
from middleware.flows.hub import Hub
from middleware.store import queries

router = APIRouter(route_class=Route, tags=["hub"])

SILENT_FOR = timedelta(seconds=60)
"""A worker that was not heard of for so long is not counted; longer than any lease."""


@router.get(
    "/healthz",
    response_model=schemas.AliveShown,
    **operation(None, example={"status": "ok"}),
)
async def healthz(request: Request) -> Response:
    """Whether the process answers. It asks nobody: use it to decide about restarts."""
    return answer(request, schemas.AliveShown(status="ok"))


_READY: dict[str, Any] = operation(
    None,
    example={
        "status": "degraded",
        "parts": [
            {"name": "database", "ok": True, "detail": "sqlite"},
            {"name": "migrations", "ok": True, "detail": "at head"},
            {"name": "worker", "ok": True, "detail": "there is one"},
            {"name": "connections", "ok": False, "detail": "2 ok, 1 stopped"},
            {"name": "jobs", "ok": False, "detail": "1 late: erp-orders"},
        ],
    },
    says="The hub takes work. `degraded` means that some connections failed their last check, that "
    "no calls go out to them, or that an alarm about the jobs is up.",
)
_READY["responses"][503] = {
    "description": "The hub is not ready; the parts say why.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ReadyShown"}}},
}


@router.get("/readyz", response_model=schemas.ReadyShown, **_READY)
def readyz(request: Request, door: TheDoor) -> Response:
    """Whether the hub can take work: database, migrations, a worker. Use it to route traffic."""
    parts = _parts(door.hub)
    needed = [part for part in parts if part.name not in ("connections", "jobs")]
    ready = all(part.ok for part in needed)
    degraded = any(not part.ok for part in parts)
    status: Any = "not_ready" if not ready else "degraded" if degraded else "ready"
    shown = schemas.ReadyShown(status=status, parts=parts)
    return answer(request, shown, status=200 if ready else 503)


@router.get(
    "/version",
    response_model=schemas.VersionShown,
    **operation(None, example={"version": "0.1.0", "api": "v1"}),
)
async def version(request: Request, door: TheDoor) -> Response:
    """Which version of the hub this is."""
    return answer(request, schemas.VersionShown(version=door.version, api="v1"))


_PAGE: dict[str, Any] = operation(None, "not-found")
_PAGE["responses"][200]["content"] = {
    "text/markdown": {"schema": {"type": "string"}, "example": "# conflict\n\n**409 …**\n"}
}


@router.get("/problems/{slug}", response_class=PlainTextResponse, **_PAGE)
def get_problem(
    slug: Annotated[str, Path(max_length=60, examples=["conflict"])],
) -> Response:
    """What a problem means and what to do about it: the page behind each problem's `type`."""
    page = problems.page_of(slug)
    if page is None:
        raise NotFoundError("There is no such problem.")
    return Response(page, media_type="text/markdown; charset=utf-8")


def _parts(hub: Hub) -> list[schemas.PartShown]:
    part = schemas.PartShown
    try:
        hub.database.ping()
        migrated = queries.migrated(hub.database)
        standings = hub.gate.standings() if migrated else {}
        with hub.database.read() as uow:
            alarms = queries.alarms(uow) if migrated else []
            states = Counter(
                _how_it_is(row, standings.get(row.name, Standing()))
                for row in uow.connections.all()
            )
            worker = hub.engine.working or (
                not hub.database.sqlite and queries.a_worker_is_there(uow, lease=SILENT_FOR)
            )
    except Exception as error:
        if not queries.database_is_away(error):
            raise
        return [part(name="database", ok=False, detail="it does not answer")]
    told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return [
        part(name="database", ok=True, detail="sqlite" if hub.database.sqlite else "postgresql"),
        part(
            name="migrations",
            ok=migrated,
            detail="at head" if migrated else "behind; run `amends db upgrade`",
        ),
        part(
            name="worker",
            ok=worker,
            detail="there is one" if worker else "none; run `amends worker`",
        ),
        part(
            name="connections",
            ok=not any(states[bad] for bad in ("failing", "resting", "stopped")),
            detail=told or "none declared",
        ),
        part(name="jobs", ok=not alarms, detail=_told(alarms) or "no alarm is up"),
    ]


def _told(alarms: Sequence[queries.AlarmRow]) -> str:
    """`2 late: a, b; 1 unscheduled: c`."""
    by_type: dict[str, list[str]] = {}
    for alarm in alarms:
        by_type.setdefault(alarm.type, []).append(alarm.subject)
    return "; ".join(f"{len(who)} {type_}: {', '.join(who)}" for type_, who in by_type.items())


def _how_it_is(row: queries.ConnectionRow, standing: Standing) -> str:
    """stopped or resting where no calls go out for long, else what its last check found."""
    breaker = standing.breaker
    return breaker.state.value if breaker.worth_telling else str(status_of(row))
