"""Saying what a complaint is really about."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from middleware.api import understanding_examples as examples
from middleware.api.answers import answer
from middleware.api.describe import operation
from middleware.api.door import Asking, Route, TheDoor
from middleware.api.routes.complaints import understanding_shown
from middleware.api.schemas import complaints as shown
from middleware.api.schemas import understanding as schemas
from middleware.flows import understood
from middleware.flows.keys import Scope

router = APIRouter(route_class=Route, tags=["complaints"])


@router.post(
    "/v1/complaints/{complaint_id}/understanding",
    response_model=shown.UnderstandingShown,
    **operation(
        Scope.COMPLAINTS_WRITE,
        "malformed-body",
        "body-too-large",
        "not-found",
        "conflict",
        says="What is understood now.",
        example=examples.CORRECTED,
        request={
            "another reason": {"reason": "defective", "agent": "anna"},
            "nothing is wanted": {"intent": "praise", "remedy": "none"},
        },
    ),
)
def correct_understanding(
    complaint_id: str,
    corrected: schemas.UnderstandingCorrected,
    request: Request,
    door: TheDoor,
    asker: Asking,
) -> Response:
    """Say what a complaint is really about: it stands from now on, and the model learns from it.

    What was said last counts, whatever the model makes of later messages. Which order is meant is
    looked for anew. `amends understand --retrain` fits the model to what was said.
    """
    said = corrected.model_dump(exclude={"agent"}, exclude_none=True, mode="json")
    row = understood.correct(
        door.hub,
        complaint_id,
        understood.Corrected(said, corrected.agent),
        version=None,
        asker=asker,
    )
    with door.hub.database.read() as uow:
        arrivals = uow.complaints.arrivals_of(complaint_id)
    return answer(request, understanding_shown(row.understanding, arrivals))
