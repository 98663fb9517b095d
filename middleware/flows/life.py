"""How an action moves on: passes owed, states ended, others told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from middleware.contract.actions import Operation
from middleware.contract.canonical import Ref
from middleware.domain.actions import (
    ActionState,
    StepState,
    Wanted,
    state_after,
)
from middleware.domain.policy import GIVES_VALUE
from middleware.domain.problems import (
    NotFoundError,
)
from middleware.flows import deliver
from middleware.flows.hub import Hub
from middleware.store.database import UnitOfWork
from middleware.store.tables import ActionRow, ActionStepRow


def locked(uow: UnitOfWork, action_id: str) -> ActionRow:
    action = uow.actions.get(action_id, lock=True)
    if action is None:
        raise NotFoundError(f"there is no action {action_id}")
    return action


def owe_pass(
    hub: Hub, uow: UnitOfWork, action: ActionRow, *, at: datetime, delay: timedelta | None = None
) -> None:
    """Owe the next pass; an earlier one that is still about may no longer touch the action."""
    action.pass_no += 1
    action.due_at = at + (delay or timedelta(0)) + hub.options.call_margin
    hub.engine.enqueue(
        uow,
        "correct",
        action.id,
        str(action.pass_no),
        name=f"correct:{action.id}:{action.pass_no}",
        delay=delay,
    )


def finish(
    hub: Hub,
    uow: UnitOfWork,
    action: ActionRow,
    now: datetime,
    steps: Sequence[ActionStepRow] | None = None,
) -> ActionState | None:
    """End the action if its steps (read if not given) add up to an end; answers that state."""
    if steps is None:
        steps = uow.actions.steps_of(action.id)
    state = state_after([StepState(step.state) for step in steps], independent=is_undo(action))
    if state is not None:
        if state in (ActionState.REFUSED, ActionState.PARTIAL):
            cancel_steps(uow, action)
        end(hub, uow, action, state, now, steps)
    return state


def end(
    hub: Hub,
    uow: UnitOfWork,
    action: ActionRow,
    state: ActionState,
    now: datetime,
    steps: Sequence[ActionStepRow] | None = None,
) -> None:
    """End an action in a state, tell of it, and wake who waited for it. Steps as in `finish`."""
    action.state = state.value
    action.due_at = None
    changed(action, now)
    if state.changed_nothing:
        uow.actions.release(action.id, at=now)
    if action.undoes is not None:
        _end_undo(hub, uow, action, state, now)
    tell(hub, uow, f"action.{state.value}", action, now, steps)
    if state in TOLD_IN_A_NOTE and Wanted.model_validate(action.request).note is not None:
        name = f"correct.story:{action.id}:{action.version}"
        hub.engine.enqueue(uow, "correct.story", action.id, state.value, name=name)
    waiting = uow.actions.held_up_by(action)
    if waiting is not None:
        owe_pass(hub, uow, waiting, at=now)


def is_undo(action: ActionRow) -> bool:
    """Whether it takes another one back: then its steps do not depend on each other."""
    return action.undoes is not None


def _end_undo(
    hub: Hub, uow: UnitOfWork, undo: ActionRow, state: ActionState, now: datetime
) -> None:
    """What the end of an undo means for the action that it takes back."""
    assert undo.undoes is not None
    original = locked(uow, undo.undoes)
    if state.changed_nothing:
        original.undone_by = None
        changed(original, now)
        return
    if state not in (ActionState.DONE, ActionState.PARTIAL):
        return
    withdrawn = {
        str(Ref.model_validate(step.request["of"]))
        for step in uow.actions.steps_of(undo.id)
        if step.operation == Operation.WITHDRAWAL
        and step.state == StepState.DONE
        and step.request is not None
    }
    remedies = [
        str(Ref.model_validate(step.receipt["ref"]))
        for step in uow.actions.steps_of(original.id)
        if Operation(step.operation) in GIVES_VALUE and step.receipt is not None
    ]
    invitation = uow.actions.invitation_of(original.id)
    if invitation is not None:
        invitation.revoked_at = now
    if remedies and all(remedy in withdrawn for remedy in remedies):
        uow.actions.release(original.id, at=now)
    changed(original, now)
    tell(hub, uow, "action.undone", original, now)


def cancel_steps(uow: UnitOfWork, action: ActionRow) -> None:
    for step in uow.actions.steps_of(action.id):
        if step.state not in (StepState.DONE, StepState.REFUSED):
            uow.actions.move(step, state=StepState.CANCELLED.value)


def changed(action: ActionRow, now: datetime) -> None:
    action.updated_at = now
    action.version += 1


def tell(
    hub: Hub,
    uow: UnitOfWork,
    type_: str,
    action: ActionRow,
    now: datetime,
    steps: Sequence[ActionStepRow] | None = None,
) -> None:
    if steps is None:
        steps = uow.actions.steps_of(action.id)
    deliver.tell(hub, uow, type_, subject=action.id, data=summary(action, steps), at=now)


TOLD_IN_A_NOTE = frozenset(
    {
        ActionState.REFUSED,
        ActionState.PARTIAL,
        ActionState.UNKNOWN,
        ActionState.REJECTED,
        ActionState.EXPIRED,
    }
)
"""How an action may end without its own note: the conversation gets one that says so."""


def summary(action: ActionRow, steps: Sequence[ActionStepRow]) -> dict[str, Any]:
    """An action in an event: ids, states and numbers, nobody's name."""
    return {
        "id": action.id,
        "kind": action.kind,
        "state": action.state,
        "complaint_id": action.complaint_id,
        "person_id": action.person_id,
        "order": action.order_ref,
        "undoes": action.undoes,
        "undone_by": action.undone_by,
        "steps": [
            {
                "connection": step.connection,
                "operation": step.operation,
                "state": step.state,
                "key": step.key,
                "number": (step.receipt or {}).get("number"),
            }
            for step in steps
        ],
    }
