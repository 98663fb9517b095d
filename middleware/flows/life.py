"""How an action moves on: passes owed, states ended, others told."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from middleware.domain.actions import (
    ActionState,
    StepState,
    state_after,
)
from middleware.domain.problems import (
    NotFoundError,
)
from middleware.flows import deliver
from middleware.flows.hub import Hub
from middleware.store.database import UnitOfWork
from middleware.store.tables import ActionRow


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


def finish(hub: Hub, uow: UnitOfWork, action: ActionRow, now: datetime) -> ActionState | None:
    """End the action if its steps add up to an end; answers that state."""
    state = state_after([StepState(s.state) for s in uow.actions.steps_of(action.id)])
    if state is not None:
        if state in (ActionState.REFUSED, ActionState.PARTIAL):
            cancel_steps(uow, action)
        end(hub, uow, action, state, now)
    return state


def end(hub: Hub, uow: UnitOfWork, action: ActionRow, state: ActionState, now: datetime) -> None:
    action.state = state.value
    action.due_at = None
    changed(action, now)
    if state.changed_nothing:
        uow.actions.release(action.id, at=now)
    tell(hub, uow, f"action.{state.value}", action, now)


def cancel_steps(uow: UnitOfWork, action: ActionRow) -> None:
    for step in uow.actions.steps_of(action.id):
        if step.state not in (StepState.DONE, StepState.REFUSED):
            uow.actions.move(step, state=StepState.CANCELLED.value)


def changed(action: ActionRow, now: datetime) -> None:
    action.updated_at = now
    action.version += 1


def tell(hub: Hub, uow: UnitOfWork, type_: str, action: ActionRow, now: datetime) -> None:
    deliver.tell(hub, uow, type_, subject=action.id, data=summary(uow, action), at=now)


def summary(uow: UnitOfWork, action: ActionRow) -> dict[str, Any]:
    """An action in an event: ids, states and numbers, nobody's name."""
    return {
        "id": action.id,
        "kind": action.kind,
        "state": action.state,
        "complaint_id": action.complaint_id,
        "person_id": action.person_id,
        "order": action.order_ref,
        "steps": [
            {
                "connection": step.connection,
                "operation": step.operation,
                "state": step.state,
                "key": step.key,
                "number": (step.receipt or {}).get("number"),
            }
            for step in uow.actions.steps_of(action.id)
        ],
    }
