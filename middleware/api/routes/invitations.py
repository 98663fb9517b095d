"""Invitations: what a signed link to a private channel is worth, for whoever follows it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from middleware.api import coordination_examples, examples, problems
from middleware.api.answers import answer
from middleware.api.describe import operation
from middleware.api.door import Door, Route, TheDoor
from middleware.api.schemas import actions as schemas
from middleware.flows import invite

router = APIRouter(route_class=Route, tags=["actions"])

Token = Annotated[str, Path(max_length=500)]
_PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


@router.get(
    "/v1/invitations/{token}",
    response_model=schemas.InvitationOpen,
    **operation(None, "rate-limited", "not-found", "gone", example=examples.INVITATION),
)
def get_invitation(token: Token, request: Request, door: TheDoor) -> Response:
    """Say until when an invitation is good. The link is the proof; no key is asked for.

    One that was used, was taken back or has run out is gone (410). Nothing about the customer is
    told, and nothing is used up: what opens links beforehand does no harm.
    """
    _count(request, door)
    found = invite.look(door.hub, token)
    shown = schemas.InvitationOpen(expires_at=found.expires_at)
    return answer(request, shown, headers=_PRIVATE)


@router.post(
    "/v1/invitations/{token}",
    response_model=schemas.InvitationFollowed,
    **operation(
        None,
        "rate-limited",
        "not-found",
        "gone",
        example=coordination_examples.INVITATION_FOLLOWED,
    ),
)
def follow_invitation(token: Token, request: Request, door: TheDoor) -> Response:
    """Follow an invitation: use its link up, and see what its customer may see.

    It is good for one use; a second one is gone (410), as is one that was taken back or has run
    out. The page under the link asks for this when its visitor presses a button.
    """
    _count(request, door)
    found = invite.follow(door.hub, token, request_id=request.state.request_id)
    understood = (found.complaint.understanding or {}).get("language") or {}
    shown = schemas.InvitationFollowed(
        complaint_id=found.complaint.id,
        network=found.complaint.network,
        brand_account=found.complaint.brand_account,
        language=understood.get("value"),
        messages=[
            schemas.MessageFollowed(
                ours=one.outgoing, text=one.text, at=one.posted_at or one.received_at
            )
            for one in found.messages
        ],
        promises=[
            schemas.PromiseFollowed.model_validate(
                {name: one[name] for name in schemas.PromiseFollowed.model_fields}
            )
            for one in found.promises
        ],
        used_at=found.invitation.used_at,
    )
    return answer(request, shown, headers=_PRIVATE)


def _count(request: Request, door: Door) -> None:
    """Count a request without a key under the address that it comes from."""
    if door.limiter is None:
        return
    address = request.client.host if request.client is not None else "nowhere"
    allowance = door.limiter.take(f"address:{address}")
    request.state.headers = allowance.headers()
    if not allowance.granted:
        raise problems.RateLimitedError(
            f"{allowance.rate.quota} requests in {allowance.rate.window} seconds are allowed."
        )
