"""One issue from many complaints: merged and split by people, and moved to where it belongs."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from middleware.api import coordination_examples as examples
from middleware.api.answers import answer
from middleware.api.describe import operation
from middleware.api.door import Asking, Route, TheDoor
from middleware.api.routes.complaints import shown_complaint
from middleware.api.schemas import claims as schemas
from middleware.api.schemas.complaints import ComplaintShown
from middleware.flows import gather
from middleware.flows.keys import Scope

router = APIRouter(route_class=Route, tags=["complaints"])

_BODY = ("malformed-body", "body-too-large", "not-found")


@router.post(
    "/v1/complaints/{complaint_id}/merge",
    response_model=ComplaintShown,
    **operation(
        Scope.COMPLAINTS_WRITE,
        *_BODY,
        "conflict",
        says="One issue: this complaint stands for it.",
        example=examples.MERGED,
        request={"merge": {"other_id": examples.OTHER_ID, "reason": "The same broken lamp."}},
    ),
)
def merge_complaints(
    complaint_id: str, asked: schemas.MergeAsked, request: Request, door: TheDoor, asker: Asking
) -> Response:
    """Say that another complaint is the same issue as this one.

    Nothing is rewritten: the other keeps its conversation and says where it was merged into. Where
    one of them was merged before, the complaint that stands for its issue is meant.
    """
    merged = gather.merge(door.hub, complaint_id, asked.other_id, reason=asked.reason, asker=asker)
    return answer(request, shown_complaint(door.hub, merged.main_id), tagged=True)


@router.post(
    "/v1/complaints/{complaint_id}/split",
    response_model=ComplaintShown,
    **operation(
        Scope.COMPLAINTS_WRITE,
        *_BODY,
        "conflict",
        says="An issue of its own.",
        example=examples.SPLIT,
        request={
            "undo a merge": {"reason": "The e-mail is about another lamp."},
            "not the same": {"other_id": examples.OTHER_ID, "reason": "Another lamp."},
        },
    ),
)
def split_complaint(
    complaint_id: str, asked: schemas.SplitAsked, request: Request, door: TheDoor, asker: Asking
) -> Response:
    """Say that a complaint is an issue of its own: undo its merge, or turn a suggestion down.

    What is written in its conversation is its own again, and nothing merges the two by itself
    afterwards.
    """
    gather.split(door.hub, complaint_id, other_id=asked.other_id, reason=asked.reason, asker=asker)
    return answer(request, shown_complaint(door.hub, complaint_id), tagged=True)


@router.post(
    "/v1/complaints/{complaint_id}/move",
    response_model=ComplaintShown,
    **operation(
        Scope.COMPLAINTS_WRITE,
        *_BODY,
        says="It is where it belongs; the conversation says so.",
        example=examples.MOVED,
        request={
            "brand": {
                "brand_account": "hearth_help",
                "reason": "She bought it from the other brand.",
            },
            "team": {"team": "returns", "reason": "It is about a return."},
        },
    ),
)
def move_complaint(
    complaint_id: str, asked: schemas.MoveAsked, request: Request, door: TheDoor, asker: Asking
) -> Response:
    """Hand a complaint to another brand account or team. The trail is kept and shown; claims,
    clocks and corrective actions go along."""
    gather.move(
        door.hub,
        complaint_id,
        account=asked.brand_account,
        team=asked.team,
        reason=asked.reason,
        asker=asker,
    )
    return answer(request, shown_complaint(door.hub, complaint_id), tagged=True)
