"""API keys: made, listed and revoked. A key's secret part is shown once."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from middleware.api import examples, paging
from middleware.api.answers import answer
from middleware.api.describe import operation
from middleware.api.door import Asking, Route, TheDoor
from middleware.api.paging import Cursor, Limit
from middleware.api.schemas import operations as schemas
from middleware.flows import keys
from middleware.flows.keys import Scope
from middleware.store import queries

router = APIRouter(route_class=Route, tags=["keys"])


@router.post(
    "/v1/keys",
    response_model=schemas.KeyMade,
    **operation(
        Scope.ADMIN,
        "malformed-body",
        "body-too-large",
        status=201,
        says="Made. Keep the secret: nobody can show it again.",
        example=examples.KEY_MADE,
        request={
            "helpdesk": {
                "name": "helpdesk panel",
                "scopes": ["complaints:read", "people:read", "actions:create", "actions:read"],
            }
        },
    ),
)
def create_key(asked: schemas.KeyAsked, request: Request, door: TheDoor, asker: Asking) -> Response:
    """Make a key. Its secret part is in this answer and nowhere else."""
    row, secret = keys.make_key(
        door.hub,
        asked.name,
        asked.scopes,
        asked.expires_at,
        role=asked.role,
        by=asker.principal,
        request_id=asker.request_id,
    )
    return answer(request, schemas.KeyMade(key=_shown(row), secret=secret), status=201)


@router.get(
    "/v1/keys",
    response_model=schemas.KeyPage,
    **operation(
        Scope.ADMIN,
        says="One page, oldest first.",
        headers={"Link": 'The next page, `rel="next"`, where there is one.'},
        example=examples.KEY_PAGE,
    ),
)
def list_keys(
    request: Request, door: TheDoor, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List the keys, without their secret parts."""
    here = paging.turn(door.cursors, request, cursor=cursor, limit=limit)
    with door.hub.database.read() as uow:
        rows = queries.keys(uow, after=here.text, limit=here.fetch)
    rows, following = paging.leaf(door.cursors, here, rows, lambda row: [row.id])
    page = schemas.KeyPage(
        data=[_shown(row) for row in rows], next_cursor=following, has_more=following is not None
    )
    return answer(request, page, headers=paging.link_header(request, following))


@router.delete(
    "/v1/keys/{key_id}",
    response_model=None,
    **operation(
        Scope.ADMIN, "not-found", status=204, says="Revoked; a second time changes nothing."
    ),
)
def revoke_key(key_id: str, door: TheDoor, asker: Asking) -> Response:
    """Revoke a key. Other replicas may take it for a few seconds more."""
    keys.revoke_key(door.hub, key_id, by=asker.principal, request_id=asker.request_id)
    door.keyring.forget(key_id)
    return Response(status_code=204)


def _shown(row: queries.ApiKeyRow) -> schemas.KeyShown:
    return schemas.KeyShown(
        id=row.id,
        name=row.name,
        scopes=row.scopes,
        role=row.role,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
