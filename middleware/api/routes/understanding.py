"""Saying what a complaint is really about, teaching it to the model, and looking what it does."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from middleware.api import paging
from middleware.api import understanding_examples as examples
from middleware.api.answers import answer
from middleware.api.describe import operation
from middleware.api.door import Asking, Route, TheDoor
from middleware.api.paging import Cursor, Limit
from middleware.api.routes.complaints import understanding_of, understanding_shown
from middleware.api.routes.priority import span
from middleware.api.schemas import complaints as shown
from middleware.api.schemas import understanding as schemas
from middleware.api.schemas.base import When
from middleware.domain.problems import NotFoundError
from middleware.domain.understanding import TrainingState
from middleware.flows import trainings, understood
from middleware.flows.keys import Scope
from middleware.store import queries

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
    looked for anew. `POST /v1/understanding/trainings` fits the model to what was said.
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


@router.get(
    "/v1/understanding",
    response_model=schemas.InUseShown,
    **operation(Scope.COMPLAINTS_READ, example=examples.IN_USE),
)
def get_understanding(request: Request, door: TheDoor) -> Response:
    """Show what texts are judged with: the model, which fit of its heads, and its languages."""
    found = trainings.in_use(door.hub)
    shown = schemas.InUseShown(
        model=found.model,
        heads=found.heads,
        languages=list(found.languages),
        own=[schemas.OwnShown(question=q, decides=d) for q, d in found.own.items()],
        refused=found.refused,
    )
    return answer(request, shown)


@router.post(
    "/v1/understanding/preview",
    response_model=shown.UnderstandingShown,
    **operation(
        Scope.COMPLAINTS_READ,
        "malformed-body",
        "body-too-large",
        "not-found",
        example=examples.PREVIEW,
        request={"a post": {"text": examples.PREVIEW["text"]}},
    ),
)
def preview_understanding(asked: schemas.TextAsked, request: Request, door: TheDoor) -> Response:
    """Show what a text would be taken for. Nothing is kept."""
    with door.hub.database.read() as uow:
        trainings.keep_up(door.hub, uow)
        articles = uow.articles.named_in(asked.text)
    patterns: tuple[str, ...] = ()
    if asked.connection is not None:
        inlet = door.hub.options.inlets.get(asked.connection)
        if inlet is None:
            raise NotFoundError(f"Complaints don't arrive through {asked.connection!r}.")
        patterns = inlet.order_patterns
    found = door.hub.understands.understand(
        asked.text, language=asked.language, products=articles, order_patterns=patterns
    )
    return answer(request, understanding_of(found, asked.text))


@router.post(
    "/v1/understanding/trainings",
    response_model=schemas.TrainingShown,
    **operation(
        Scope.POLICY_WRITE,
        "malformed-body",
        "body-too-large",
        "conflict",
        status=202,
        says="It is owed; one that waits is the same for everybody who asks.",
        headers={"Location": "The training."},
        example=examples.TRAINING_OWED,
        request={"learn": {}, "go back": {"heads": 2}},
    ),
)
def train(asked: schemas.TrainingAsked, request: Request, door: TheDoor, asker: Asking) -> Response:
    """Fit the model's heads to all corrections and your own sentences, or use earlier ones again.

    It takes seconds. What would cost more than 5 of 100 of what the hub was right about before is
    refused, and nothing changes. Complaints that came before keep what was understood of them.
    """
    row = trainings.ask(door.hub, again=asked.heads, asker=asker)
    location = f"/v1/understanding/trainings/{row.id}"
    return answer(request, training_shown(row), status=202, headers={"Location": location})


@router.get(
    "/v1/understanding/trainings",
    response_model=schemas.TrainingPage,
    **operation(Scope.POLICY_READ, example=examples.TRAINING_PAGE),
)
def list_trainings(
    request: Request, door: TheDoor, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List the trainings, newest first: what each learned from, and what it was worth."""
    here = paging.turn(door.cursors, request, cursor=cursor, limit=limit)
    with door.hub.database.read() as uow:
        rows = queries.trainings(uow, before=here.text, limit=here.fetch)
    page, following = paging.leaf(door.cursors, here, rows, lambda row: [row.id])
    shown = schemas.TrainingPage(
        data=[training_shown(row) for row in page],
        next_cursor=following,
        has_more=following is not None,
    )
    return answer(request, shown, headers=paging.link_header(request, following))


@router.get(
    "/v1/understanding/trainings/{training_id}",
    response_model=schemas.TrainingShown,
    **operation(Scope.POLICY_READ, "not-found", example=examples.TRAINING),
)
def get_training(training_id: str, request: Request, door: TheDoor) -> Response:
    """Show one training and what came of it."""
    with door.hub.database.read() as uow:
        row = uow.understandings.training(training_id)
    if row is None:
        raise NotFoundError(f"No training has the id {training_id}.")
    return answer(request, training_shown(row))


@router.get(
    "/v1/understanding/agreement",
    response_model=schemas.AgreementsShown,
    **operation(Scope.COMPLAINTS_READ, example=examples.AGREEMENT),
)
def get_agreement(
    request: Request,
    door: TheDoor,
    since: Annotated[
        When | None, Query(alias="from", description="By default 30 days before `to`.")
    ] = None,
    until: Annotated[When | None, Query(alias="to", description="By default now.")] = None,
) -> Response:
    """Count how often a model in shadow found what was decided, and what people said.

    Counted are the complaints that were opened in that time.
    """
    begin, end = span(door, since, until, "/query/from")
    found = understood.agreement(door.hub, since=begin, until=end)
    return answer(
        request,
        schemas.AgreementsShown(
            since=begin,
            until=end,
            questions=[
                schemas.AgreementShown(
                    question=one.question,
                    asked=one.asked,
                    agreed=one.agreed,
                    corrected=one.corrected,
                    right=one.right,
                    differences=[
                        schemas.DifferingShown(decided=decided, shadow=shadow, times=times)
                        for decided, shadow, times in one.differences
                    ],
                )
                for one in found
            ],
        ),
    )


def training_shown(row: queries.UnderstandingTrainingRow) -> schemas.TrainingShown:
    learned = row.learned_from
    return schemas.TrainingShown(
        id=row.id,
        state=TrainingState(row.state),
        again=row.again,
        heads=row.heads,
        learned_from=schemas.LearnedShown(**learned) if learned else None,
        report={q: schemas.FittedShown(**found) for q, found in (row.report or {}).items()},
        why=row.why,
        asked_by=row.asked_by,
        asked_at=row.asked_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )
