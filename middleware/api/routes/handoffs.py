"""Hand-offs: a complaint frozen for somebody else, opened by its id until it expires."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter, Request
from starlette.responses import Response

from middleware.api import incident_examples as examples
from middleware.api.answers import answer
from middleware.api.describe import operation
from middleware.api.door import Asking, Route, TheDoor
from middleware.api.schemas import drafts as schemas
from middleware.flows import handoff
from middleware.flows.keys import Scope

router = APIRouter(route_class=Route, tags=["handoffs"])


@router.post(
    "/v1/complaints/{complaint_id}/handoffs",
    response_model=schemas.HandoffMadeShown,
    **operation(
        Scope.PEOPLE_READ,
        "malformed-body",
        "body-too-large",
        "not-found",
        status=201,
        says="Frozen, to be opened by its id.",
        headers={"Location": "The hand-off."},
        example=examples.HANDOFF_MADE,
        request={"to a call centre": {"to": "call centre", "reason": "She asks to be called."}},
    ),
)
def make_handoff(
    complaint_id: str,
    asked: schemas.HandoffAsked,
    request: Request,
    door: TheDoor,
    asker: Asking,
) -> Response:
    """Freeze what is known of a complaint for whoever takes over: thread, customer and why, orders,
    promises, open actions, windows of the network, claims."""
    row = handoff.hand_off(
        door.hub,
        complaint_id,
        to=asked.to,
        reason=asked.reason,
        valid_for=timedelta(hours=asked.valid_hours),
        asker=asker,
    )
    shown = schemas.HandoffMadeShown.model_validate(
        {name: getattr(row, name) for name in schemas.HandoffMadeShown.model_fields}
    )
    return answer(request, shown, status=201, headers={"Location": f"/v1/handoffs/{row.id}"})


@router.get(
    "/v1/handoffs/{handoff_id}",
    response_model=schemas.HandoffShown,
    **operation(Scope.PEOPLE_READ, "not-found", "gone", example=examples.HANDOFF),
)
def open_handoff(handoff_id: str, request: Request, door: TheDoor, asker: Asking) -> Response:
    """Open a hand-off: what was known then, and the blocks that are different now.

    Each opening is written into the audit trail. One that has expired is gone (410).
    """
    found = handoff.open_(door.hub, handoff_id, asker)
    names = schemas.HandoffMadeShown.model_fields
    shown = schemas.HandoffShown.model_validate(
        {name: getattr(found.row, name) for name in names}
        | {"packet": found.row.packet, "changed": found.changed}
    )
    return answer(request, shown, headers={"Cache-Control": "no-store"})
