"""Invitations: what a signed link to a private channel is worth, for whoever follows it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from middleware.api import examples
from middleware.api.answers import answer
from middleware.api.describe import operation
from middleware.api.door import Route, TheDoor
from middleware.api.schemas import actions as schemas
from middleware.domain.problems import GoneError, NotFoundError
from middleware.flows.seal import BrokenSealError

router = APIRouter(route_class=Route, tags=["actions"])


@router.get(
    "/v1/invitations/{token}",
    response_model=schemas.InvitationOpen,
    **operation(None, "not-found", "gone", example=examples.INVITATION),
)
def get_invitation(
    token: Annotated[str, Path(max_length=500)], request: Request, door: TheDoor
) -> Response:
    """Say until when an invitation is good. The link is the proof; no key is asked for.

    One that was taken back or has run out is gone (410). Nothing about the customer is told.
    """
    try:
        invitation_id = door.hub.seal.read("invitation", token)
    except BrokenSealError:
        raise NotFoundError("No invitation has this link.") from None
    with door.hub.database.read() as uow:
        found = uow.actions.invitation(invitation_id)
    if found is None:
        raise NotFoundError("No invitation has this link.")
    if found.revoked_at is not None:
        raise GoneError("The invitation was taken back.")
    if found.expires_at <= door.hub.clock():
        raise GoneError("The invitation has run out; ask for a new one.")
    shown = schemas.InvitationOpen(expires_at=found.expires_at)
    return answer(request, shown, headers={"Cache-Control": "no-store"})
