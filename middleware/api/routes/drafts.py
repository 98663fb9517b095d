"""Reply drafts that rest on facts, checks of texts that people write, and times for calls."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from middleware.api import incident_examples as examples
from middleware.api.answers import answer
from middleware.api.describe import operation
from middleware.api.door import Route, TheDoor
from middleware.api.examples import COMPLAINT_ID
from middleware.api.schemas import drafts as schemas
from middleware.domain.channels import Open
from middleware.domain.drafts import Caution, Draft
from middleware.flows import calls, draft
from middleware.flows.hub import Hub
from middleware.flows.keys import Scope

router = APIRouter(route_class=Route, tags=["drafts"])

_BODY = ("malformed-body", "body-too-large")


@router.post(
    "/v1/complaints/{complaint_id}/drafts",
    response_model=schemas.DraftsShown,
    **operation(
        Scope.PEOPLE_READ,
        *_BODY,
        "not-found",
        example=examples.DRAFTS,
        request={
            "whatever fits": {},
            "in private, with times for a call": {"channel": "private", "call_back": True},
        },
    ),
)
def draft_reply(
    complaint_id: str, asked: schemas.DraftAsked, request: Request, door: TheDoor
) -> Response:
    """Draft replies to a complaint from facts alone: each sentence names those it rests on, and
    one whose fact is missing is left out.

    Nothing is stored or sent. A signed link stands in a private draft when an `invitation` was
    asked for with `POST /v1/actions`.
    """
    made = draft.of_complaint(
        door.hub,
        complaint_id,
        action_id=asked.action_id,
        public=None if asked.channel is None else asked.channel == "public",
        language=asked.language,
        offer_calls=asked.call_back,
    )
    return answer(request, drafts_shown(made), headers={"Cache-Control": "no-store"})


@router.post(
    "/v1/incidents/{incident_id}/drafts",
    response_model=schemas.DraftShown,
    **operation(
        Scope.COMPLAINTS_READ,
        *_BODY,
        "not-found",
        example=examples.DRAFT_PUBLIC,
        request={"on X": {"network": "x", "language": "en"}},
    ),
)
def draft_incident_reply(
    incident_id: str, asked: schemas.IncidentDraftAsked, request: Request, door: TheDoor
) -> Response:
    """Draft one public reply for an incident. That several are concerned is said once somebody has
    confirmed it; nothing of one customer is."""
    made = draft.of_incident(door.hub, incident_id, network=asked.network, language=asked.language)
    return answer(request, draft_shown(made))


@router.post(
    "/v1/drafts/check",
    response_model=schemas.DraftCheckShown,
    **operation(
        Scope.PEOPLE_READ,
        *_BODY,
        "not-found",
        example=examples.DRAFT_CHECK,
        request={
            "a public text": {
                "text": "Sorry! Your order SO-10001 will be replaced tomorrow.",
                "channel": "public",
                "complaint_id": COMPLAINT_ID,
            }
        },
    ),
)
def check_draft(asked: schemas.DraftChecked, request: Request, door: TheDoor) -> Response:
    """Check a text before it is sent: its length, the network's window, personal data in public,
    and promises that no fact stands behind. The text is not kept."""
    found = draft.check(
        door.hub,
        asked.text,
        public=asked.channel == "public",
        complaint_id=asked.complaint_id,
        network=asked.network,
        language=asked.language,
        action_id=asked.action_id,
    )
    return answer(request, check_shown(found), headers={"Cache-Control": "no-store"})


@router.get(
    "/v1/call-back-slots",
    response_model=schemas.SlotsShown,
    **operation(Scope.ACTIONS_READ, example=examples.SLOTS),
)
def list_call_back_slots(
    request: Request,
    door: TheDoor,
    limit: Annotated[int, Query(ge=1, le=100, description="How many times at most.")] = 10,
) -> Response:
    """List the next times for a call, by `call_hours` of the configuration, without those in which
    as many calls are agreed as can be made at once.

    `slot_from` and `slot_to` go into a `call_back` of `POST /v1/actions`.
    """
    return answer(request, slots_shown(door.hub, limit=limit))


# --- as JSON, over the API and in the command line -----------------------------------------------


def drafts_shown(made: draft.Drafts) -> schemas.DraftsShown:
    return schemas.DraftsShown(
        advice=schemas.AdviceShown(channel=made.advice.channel, why=made.advice.why),
        drafts=[draft_shown(one) for one in made.drafts],
    )


def check_shown(found: draft.Checked) -> schemas.DraftCheckShown:
    return schemas.DraftCheckShown(
        may_be_sent=found.may_be_sent,
        length=found.length,
        limit=found.limit,
        window=_window(found.window),
        warnings=[_caution(one) for one in found.cautions],
    )


def slots_shown(hub: Hub, *, limit: int) -> schemas.SlotsShown:
    with hub.database.read() as uow:
        found = calls.free(hub, uow, hub.clock(), limit=limit)
    return schemas.SlotsShown(
        data=[schemas.SlotShown(slot_from=begin, slot_to=end) for begin, end in found],
        timezone=hub.options.call_hours.timezone,
    )


def draft_shown(one: Draft) -> schemas.DraftShown:
    plain: dict[str, Any] = one.model_dump(mode="python")
    plain["window"] = _window(one.window)
    return schemas.DraftShown.model_validate(
        {name: list(v) if isinstance(v, tuple) else v for name, v in plain.items()}
        | {"sentences": [{**s, "facts": list(s["facts"])} for s in plain["sentences"]]}
    )


def _window(one: Open) -> schemas.WindowShown:
    return schemas.WindowShown(open=one.open, way=one.way, until=one.until, once=one.once)


def _caution(one: Caution) -> schemas.CautionShown:
    return schemas.CautionShown(code=one.code, detail=one.detail, blocks=one.blocks)
