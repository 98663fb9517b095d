"""Corrective actions: previewed, created under a key, approved, cancelled, and shown to the end."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from middleware.api import examples, paging, problems
from middleware.api.answers import answer
from middleware.api.asking import wanted_of
from middleware.api.describe import IdempotencyKey, IfNoneMatch, Prefer, operation
from middleware.api.door import Asking, Door, Route, TheDoor, seconds_to_wait
from middleware.api.paging import Cursor, Limit
from middleware.api.schemas import actions as schemas
from middleware.api.schemas.base import RefText
from middleware.api.showing import listed_action, shown_action, shown_preview
from middleware.contract.actions import Operation, UndoRequest
from middleware.contract.canonical import Ref
from middleware.domain.actions import ActionState, Wanted
from middleware.domain.problems import InvalidError
from middleware.flows import correct, plan
from middleware.flows.hub import Asker
from middleware.flows.keys import Scope
from middleware.flows.shown import Shown

router = APIRouter(route_class=Route, tags=["actions"])

ROUTE = "POST /v1/actions"

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@router.post(
    "/v1/actions/preview",
    response_model=schemas.ActionPreviewShown,
    **operation(
        Scope.ACTIONS_READ,
        "malformed-body",
        "body-too-large",
        "not-found",
        "conflict",
        "not-offered",
        example=examples.ACTION_PREVIEW,
        request={"replacement": examples.ACTION_ASKED},
    ),
)
def preview_action(
    asked: schemas.ActionAsked, request: Request, door: TheDoor, asker: Asking
) -> Response:
    """Show what an action would do in each system. Nothing is written anywhere.

    The remote is asked where it can simulate (`exact`); otherwise the hub works it out and says so.
    """
    wanted = wanted_of(asked)
    planned, steps = plan.preview(door.hub, wanted, asker)
    return answer(request, shown_preview(door.hub, planned, steps))


@router.post(
    "/v1/actions",
    response_model=schemas.ActionShown,
    **operation(
        Scope.ACTIONS_CREATE,
        "malformed-body",
        "body-too-large",
        "not-found",
        "conflict",
        "claimed",
        "policy-refused",
        "evidence-missing",
        "not-offered",
        "idempotency-key-missing",
        "idempotency-key-reused",
        "idempotency-in-progress",
        status=202,
        says="Committed with its keys; carried out next, or waiting for approval.",
        headers={"Location": "The action.", "ETag": "Its version."},
        example=examples.ACTION,
        request={"replacement": examples.ACTION_ASKED},
    ),
)
async def create_action(
    asked: schemas.ActionAsked,
    request: Request,
    door: TheDoor,
    asker: Asking,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Response:
    """Put something right: a replacement order, a return, a credit, a cancellation, a case, a note.

    The action and the keys of its steps are committed before the answer; from then on it ends as
    done, as refused with the remote's reason, or in sight of people, in spite of restarts. The same
    `Idempotency-Key` with the same body answers with the same action.
    """
    wanted = wanted_of(asked)
    seen = Shown(door.hub, asked.preview_token, wanted) if asked.preview_token else None
    return await _create(door, request, asker, wanted, idempotency_key, ROUTE, seen)


async def _create(
    door: Door,
    request: Request,
    asker: Asker,
    wanted: Wanted,
    idempotency_key: str | None,
    route: str,
    seen: Shown | None = None,
) -> Response:
    key = _key(idempotency_key)
    body_hash = hashlib.sha256(await request.body()).hexdigest()
    asker = replace(asker, key=key, route=route, body_hash=body_hash)
    with door.running.only(asker.principal, route, key):
        action_id, _ = await run_sync(partial(correct.create, door.hub, wanted, asker, shown=seen))
    shown = await _settled(door, action_id, seconds_to_wait(request))
    return _action_answer(request, shown, status=202)


@router.get(
    "/v1/actions",
    response_model=schemas.ActionPage,
    **operation(
        Scope.ACTIONS_READ,
        says="One page, newest first.",
        headers={"Link": 'The next page, `rel="next"`, where there is one.'},
        example=examples.ACTION_PAGE,
    ),
)
def list_actions(
    request: Request,
    door: TheDoor,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: Annotated[ActionState | None, Query()] = None,
    person_id: Annotated[str | None, Query(max_length=100)] = None,
    complaint_id: Annotated[str | None, Query(max_length=100)] = None,
    order: Annotated[RefText | None, Query(description="`connection:order:id`")] = None,
) -> Response:
    """List actions, newest first."""
    here = paging.turn(
        door.cursors,
        request,
        cursor=cursor,
        limit=limit,
        state=state,
        person_id=person_id,
        complaint_id=complaint_id,
        order=order,
    )
    with door.hub.database.read() as uow:
        rows = uow.actions.page(
            before=here.text,
            limit=here.fetch,
            state=state.value if state else None,
            person_id=uow.ledger.now(person_id) if person_id is not None else None,
            complaint_id=complaint_id,
            order_ref=order,
        )
    rows, following = paging.leaf(door.cursors, here, rows, lambda row: [row.id])
    page = schemas.ActionPage(
        data=[listed_action(row) for row in rows],
        next_cursor=following,
        has_more=following is not None,
    )
    return answer(request, page, headers=paging.link_header(request, following))


@router.get(
    "/v1/actions/{action_id}",
    response_model=schemas.ActionShown,
    **operation(
        Scope.ACTIONS_READ,
        "not-found",
        headers={"ETag": "Its version."},
        also={304: "What you have is still right."},
        example=examples.ACTION,
    ),
)
async def get_action(
    action_id: str,
    request: Request,
    door: TheDoor,
    if_none_match: IfNoneMatch = None,
    prefer: Prefer = None,
) -> Response:
    """Show an action: steps with keys, attempts, receipts and errors, and what happened to it.

    `Prefer: wait=N` waits until it is settled, N seconds at most.
    """
    shown = await _settled(door, action_id, seconds_to_wait(request))
    return _action_answer(request, shown)


_DECIDED: dict[str, Any] = operation(
    Scope.ACTIONS_APPROVE,
    "malformed-body",
    "body-too-large",
    "not-found",
    "conflict",
    headers={"ETag": "Its new version."},
    example=examples.ACTION,
    request={"reason": {"reason": "Within the goodwill budget."}},
)


@router.post("/v1/actions/{action_id}/approve", response_model=schemas.ActionShown, **_DECIDED)
def approve_action(
    action_id: str, decision: schemas.Decision, request: Request, door: TheDoor, asker: Asking
) -> Response:
    """Approve an action that awaits it. Whoever asked for an action cannot approve it."""
    correct.approve(door.hub, action_id, asker, grant=True, reason=decision.reason)
    return _action_answer(request, shown_action(door.hub, action_id))


@router.post("/v1/actions/{action_id}/reject", response_model=schemas.ActionShown, **_DECIDED)
def reject_action(
    action_id: str, decision: schemas.Decision, request: Request, door: TheDoor, asker: Asking
) -> Response:
    """Reject an action that awaits approval; nothing of it is carried out."""
    correct.approve(door.hub, action_id, asker, grant=False, reason=decision.reason)
    return _action_answer(request, shown_action(door.hub, action_id))


@router.post(
    "/v1/actions/{action_id}/cancel",
    response_model=schemas.ActionShown,
    **operation(
        Scope.ACTIONS_CREATE,
        "not-found",
        "conflict",
        headers={"ETag": "Its new version."},
        example=examples.ACTION,
    ),
)
def cancel_action(action_id: str, request: Request, door: TheDoor, asker: Asking) -> Response:
    """Call an action off, as long as nothing of it was ever sent."""
    correct.cancel(door.hub, action_id, asker)
    return _action_answer(request, shown_action(door.hub, action_id))


@router.post(
    "/v1/actions/{action_id}/undo",
    response_model=schemas.ActionShown,
    **operation(
        Scope.ACTIONS_CREATE,
        "malformed-body",
        "body-too-large",
        "not-found",
        "conflict",
        "claimed",
        "preview-outdated",
        "not-offered",
        "idempotency-key-missing",
        "idempotency-key-reused",
        "idempotency-in-progress",
        status=202,
        says="The undo, an action of its own.",
        headers={"Location": "The undo.", "ETag": "Its version."},
        example=examples.UNDO,
        request={"undo": {"reason": "It turned up after all.", "note": ""}},
    ),
)
async def undo_action(
    action_id: str,
    asked: schemas.UndoWanted,
    request: Request,
    door: TheDoor,
    asker: Asking,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Response:
    """Take a done action back, step by step from the last, as far as each remote lets us.

    Short for an action with the operation `undo`. What can't be taken back stays, and is named by
    the preview of an undo and by each step (`stays`).
    """
    wanted = Wanted(
        operation=Operation.UNDO,
        request=UndoRequest(action=action_id, note=asked.reason),
        note=asked.note,
        override=asked.override,
    )
    route = f"POST /v1/actions/{action_id}/undo"
    return await _create(door, request, asker, wanted, idempotency_key, route)


_TURNED: dict[str, Any] = operation(
    Scope.ACTIONS_CREATE,
    "malformed-body",
    "body-too-large",
    "not-found",
    "conflict",
    headers={"ETag": "Its new version."},
    example=examples.ACTION,
    request={"reason": {"reason": "The warehouse sends it by hand."}},
)


@router.post("/v1/actions/{action_id}/finish", response_model=schemas.ActionShown, **_TURNED)
def finish_action(
    action_id: str, decision: schemas.Decision, request: Request, door: TheDoor, asker: Asking
) -> Response:
    """Try the steps again that a partly done action has left, each looked up before it is sent."""
    correct.finish(door.hub, action_id, asker, reason=decision.reason)
    return _action_answer(request, shown_action(door.hub, action_id))


@router.post("/v1/actions/{action_id}/hand-over", response_model=schemas.ActionShown, **_TURNED)
def hand_over_action(
    action_id: str, decision: schemas.Decision, request: Request, door: TheDoor, asker: Asking
) -> Response:
    """Take an action out of the hub's hands: somebody sees to what is left in the remotes."""
    correct.hand_over(door.hub, action_id, asker, reason=decision.reason)
    return _action_answer(request, shown_action(door.hub, action_id))


@router.post(
    "/v1/actions/{action_id}/steps/{step_id}/settle",
    response_model=schemas.ActionShown,
    **operation(
        Scope.ACTIONS_APPROVE,
        "malformed-body",
        "body-too-large",
        "not-found",
        "conflict",
        headers={"ETag": "Its new version."},
        example=examples.ACTION,
        request={
            "made": {
                "made": "erp:order:1077",
                "number": "SO-10077",
                "reason": "Two bear the key; 1078 was cancelled in the ERP.",
            },
            "not_made": {"made": None, "reason": "The ERP's log shows that it was rolled back."},
        },
    ),
)
def settle_step(
    action_id: str,
    step_id: str,
    settlement: schemas.Settlement,
    request: Request,
    door: TheDoor,
    asker: Asking,
) -> Response:
    """Say what became of a step whose outcome is unknown, once somebody has looked.

    With the record that counts, the action goes on. With `null` nothing was made, and what is left
    can be finished or given up.
    """
    correct.settle(
        door.hub,
        action_id,
        step_id,
        asker,
        made=Ref.parse(settlement.made) if settlement.made else None,
        number=settlement.number,
        reason=settlement.reason,
    )
    return _action_answer(request, shown_action(door.hub, action_id))


# --- what is asked -----------------------------------------------------------------------------


def _key(given: str | None) -> str:
    if given is None or not given.strip():
        raise problems.MissingKeyError(
            "Send an Idempotency-Key header; repeat the same one when you repeat the request."
        )
    if not _KEY.fullmatch(given):
        raise InvalidError(
            "The Idempotency-Key is 1 to 255 printable ASCII characters without blanks.",
            errors=[
                {
                    "pointer": "/header/Idempotency-Key",
                    "code": "pattern",
                    "detail": "must be 1 to 255 printable ASCII characters",
                }
            ],
        )
    return given


async def _settled(door: Door, action_id: str, wait: int) -> schemas.ActionShown:
    return await door.until(
        lambda: shown_action(door.hub, action_id), lambda shown: shown.settled, wait
    )


def _action_answer(request: Request, shown: schemas.ActionShown, *, status: int = 200) -> Response:
    headers = {"Location": f"/v1/actions/{shown.id}"} if status == 202 else {}
    wait = seconds_to_wait(request)
    if wait:
        headers["Preference-Applied"] = f"wait={wait}"
    return answer(request, shown, status=status, version=shown.version, headers=headers)
