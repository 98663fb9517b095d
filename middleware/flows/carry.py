"""Carrying actions out: commit the intent ▸ look up ▸ send ▸ settle.

A pass takes the steps in order. Each step's row is its intent journal: it is committed as
`sending` before the call, so that whoever comes next knows that something may be under way.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from middleware.contract.actions import (
    ActionRequest,
    Operation,
    Receipt,
)
from middleware.contract.canonical import Ref
from middleware.contract.capabilities import KeyTraits, ReadsOrders
from middleware.contract.errors import Ambiguous, Duplicated, Missing, RemoteError, Transient
from middleware.domain.actions import (
    ActionState,
    StepState,
    Verb,
    after_failure,
    backoff,
    describe_error,
    different,
    look_from,
)
from middleware.domain.turns import Urgency
from middleware.flows import life, plan
from middleware.flows.engine import LeaseLostError
from middleware.flows.gate import TurnedAway
from middleware.flows.hub import Hub
from middleware.store.actions import StaleStepError
from middleware.store.database import UnitOfWork
from middleware.store.tables import ActionRow, ActionStepRow

log = logging.getLogger(__name__)

BEHIND_ANOTHER = timedelta(seconds=5)
"""How long a pass waits for an earlier action of the customer; its end wakes the next at once."""


@dataclass(frozen=True)
class Sending:
    """One step whose intent is committed: what to call, and whether to look first."""

    step_id: str
    connection: str
    operation: Operation
    key: str
    request: ActionRequest
    look_first: bool
    sent_at: datetime
    attempts: int
    traits: KeyTraits
    action: ActionRow
    steps: list[ActionStepRow]
    """The action and its steps as they were committed with the intent."""


def run(hub: Hub, action_id: str, pass_no: str) -> None:
    """One pass: take the steps in order until all are done or one has to wait."""
    number = int(pass_no)
    following = _announce(hub, action_id, number)
    try:
        while following is not None:
            if isinstance(following, Reading):
                if not _read_anew(hub, action_id, number, following.order):
                    return
                following = _announce(hub, action_id, number)
                continue
            sending = following
            try:
                sent = _send(hub, action_id, number, sending)
            except LeaseLostError:
                _step_back(hub, action_id, number, sending)
                raise
            try:
                following = _settle(hub, number, sending, sent)
            except StaleStepError:
                if isinstance(sent.outcome, Receipt):
                    _belated(hub, action_id, sending, sent.outcome)
                raise
    except StaleStepError:
        log.info("pass overtaken", extra={"action": action_id, "pass": number})


@dataclass(frozen=True)
class Reading:
    """The order must be read anew before anything of the action is sent."""

    order: Ref


def _announce(hub: Hub, action_id: str, number: int) -> Sending | Reading | None:
    """Commit the intent to send the next step; None when this pass has nothing more to do."""
    return hub.database.write(lambda uow: _announced(hub, uow, action_id, number))


def _announced(hub: Hub, uow: UnitOfWork, action_id: str, number: int) -> Sending | Reading | None:
    with uow.written_at_the_end():
        action = uow.actions.get(action_id, lock=True)
        if action is None or action.pass_no != number or ActionState(action.state).ended:
            return None
        now = hub.clock()
        following = _next(hub, uow, action, uow.actions.steps_of(action_id), now)
        if isinstance(following, Sending):
            life.changed(action, now)
            action.due_at = now + hub.options.call_margin
        return following


def _next(
    hub: Hub, uow: UnitOfWork, action: ActionRow, steps: list[ActionStepRow], now: datetime
) -> Sending | Reading | None:
    """Write down the intent to send the next step, in the caller's transaction."""
    over = (StepState.DONE, StepState.REFUSED) if life.is_undo(action) else (StepState.DONE,)
    step = next((s for s in steps if s.state not in over), None)
    if step is None or step.state in (StepState.UNKNOWN, StepState.REFUSED):
        return None
    if now >= action.expires_at:
        _expire(hub, uow, action, steps, step, now)
        return None
    if step.sent_at is None:
        later = _not_yet(uow, action, steps, step, now)
        if later is not None:
            life.owe_pass(hub, uow, action, at=now, delay=later)
            return None
        if step.position == 1:
            ref = _out_of_date(hub, uow, action, now)
            if ref is not None:
                return Reading(ref)
            why = plan.no_longer(hub, uow, action)
            if why is not None:
                _refuse(hub, uow, action, step, why, now)
                return None
    operation = Operation(step.operation)
    try:
        traits = hub.registry.adapter(step.connection).key_traits(operation)
    except RemoteError as error:
        uow.actions.move(step, state=StepState.REFUSED.value, error=describe_error(error))
        life.finish(hub, uow, action, now)
        return None
    closed = hub.gate.turned_away(step.connection)
    if closed is not None:
        _stay(hub, uow, action, step, closed, now)
        return None
    ready = look_from(sent_at=step.sent_at, in_doubt=step.in_doubt, traits=traits)
    if ready is not None and ready > now:
        _wait(hub, uow, action, step, until=ready, now=now)
        return None
    look_first = step.sent_at is not None
    made = step.request or plan.request_of(hub, uow, action, steps, step)
    request = plan.load(operation, made)
    changes: dict[str, Any] = {
        "state": StepState.SENDING.value,
        "request": plan.dump(request),
        "attempts": step.attempts + 1,
    }
    if not look_first:
        changes |= {"sent_at": now, "in_doubt": True}
    uow.actions.move(step, **changes)
    action.state = ActionState.RUNNING.value
    assert step.sent_at is not None
    return Sending(
        step_id=step.id,
        connection=step.connection,
        operation=operation,
        key=step.key,
        request=request,
        look_first=look_first,
        sent_at=step.sent_at,
        attempts=step.attempts,
        traits=traits,
        action=action,
        steps=steps,
    )


def _not_yet(
    uow: UnitOfWork,
    action: ActionRow,
    steps: list[ActionStepRow],
    step: ActionStepRow,
    now: datetime,
) -> timedelta | None:
    """How long a step that was never sent has to wait: cooling off, or for an earlier action."""
    if action.not_before is not None and now < action.not_before:
        return action.not_before - now
    if any(s.connection == step.connection and s.sent_at is not None for s in steps):
        return None  # it was its turn there when a step before this one was sent
    if uow.actions.before(action, step.connection) is not None:
        return BEHIND_ANOTHER
    return None


def _stay(
    hub: Hub,
    uow: UnitOfWork,
    action: ActionRow,
    step: ActionStepRow,
    closed: Transient,
    now: datetime,
) -> None:
    """Nothing goes out to the step's connection now: come again, and show why until then."""
    uow.actions.move(step, error=describe_error(closed))
    life.changed(action, now)
    delay = max(closed.retry_after or timedelta(0), backoff(1))
    life.owe_pass(hub, uow, action, at=now, delay=delay)


def _out_of_date(hub: Hub, uow: UnitOfWork, action: ActionRow, now: datetime) -> Ref | None:
    """The order, if the action waited so long that it may have changed since it was read."""
    if action.order_ref is None or now - action.created_at < hub.options.recheck_after:
        return None
    ref = Ref.parse(action.order_ref)
    stored = uow.records.get(ref)
    now = uow.jobs.theirs(ref.connection, ref.kind, now)
    if stored is None or now - stored.as_of < hub.options.recheck_after:
        return None
    return ref if hub.registry.offers(ref.connection, ReadsOrders) else None


def _read_anew(hub: Hub, action_id: str, number: int, ref: Ref) -> bool:
    """Read an order from its remote and store it; False when the pass ends here."""
    now = hub.clock()
    try:
        order = hub.gate.remote(ref.connection, Urgency.WORK).read_order(ref)
    except Missing:
        with hub.database.begin() as uow:
            uow.records.delete([ref], as_of=uow.jobs.theirs(ref.connection, ref.kind, now))
        return True
    except RemoteError as error:
        with hub.database.begin() as uow:
            action, step = _next_of(uow, action_id, number)
            uow.actions.move(step, error=describe_error(error), attempts=step.attempts + 1)
            asked = error.retry_after if isinstance(error, Transient) else None
            wait = max(backoff(step.attempts), asked or timedelta(0))
            _wait(hub, uow, action, step, until=now + wait, now=now)
        return False
    with hub.database.begin() as uow:
        as_of = uow.jobs.theirs(ref.connection, ref.kind, now)
        uow.records.store([(order, hub.found_by(order))], as_of=as_of)
    return True


def _next_of(uow: UnitOfWork, action_id: str, number: int) -> tuple[ActionRow, ActionStepRow]:
    """The action and the step that is its next, locked, if it is still this pass's."""
    action = uow.actions.get(action_id, lock=True)
    step = next((s for s in uow.actions.steps_of(action_id) if s.state != StepState.DONE), None)
    if action is None or step is None or action.pass_no != number:
        raise StaleStepError(action_id)
    return action, step


def _refuse(
    hub: Hub, uow: UnitOfWork, action: ActionRow, step: ActionStepRow, why: str, now: datetime
) -> None:
    """End an action that waited until it was no longer right."""
    error = {
        "class": "NoLongerEligible",
        "system": "hub",
        "operation": step.operation,
        "code": None,
        "field": None,
        "message": why,
    }
    uow.actions.move(step, state=StepState.REFUSED.value, error=error, settled_at=now)
    life.finish(hub, uow, action, now)


@dataclass(frozen=True)
class Sent:
    """What came of a send, or of the look-up before it."""

    outcome: Receipt | RemoteError
    looking: bool
    """Whether it is the look-up's outcome: then nothing was sent this time."""


def _send(hub: Hub, action_id: str, number: int, sending: Sending) -> Sent:
    """Look the step up if it was ever sent before, then send it; never raises RemoteError."""
    adapter = hub.gate.remote(sending.connection, Urgency.WORK, guard=hub.engine.guard)
    looking = sending.look_first
    try:
        if looking:
            looked_at = hub.clock()
            found: Receipt | None = getattr(adapter, f"find_{sending.operation}")(
                sending.request, key=sending.key
            )
            if found is not None:
                return Sent(found, looking=True)
            _announce_again(hub, action_id, number, sending, looked_at)
            looking = False
        receipt: Receipt = getattr(adapter, f"create_{sending.operation}")(
            sending.request, key=sending.key
        )
    except RemoteError as error:
        return Sent(error, looking=looking)
    except (LeaseLostError, StaleStepError):
        raise
    except Exception as error:
        # An adapter's own mistake: nobody knows what the remote did.
        log.exception("adapter failed", extra={"action": action_id, "step": sending.step_id})
        doubt = Ambiguous(
            f"the adapter failed with {type(error).__name__}",
            system=sending.connection,
            operation=str(sending.operation),
        )
        return Sent(doubt, looking=looking)
    return Sent(receipt, looking=False)


def _step_back(hub: Hub, action_id: str, number: int, sending: Sending) -> None:
    """Leave a step to a later pass: this node lost its lease, and sends nothing more.

    Another node may be sending it under this very pass, so that it stays in doubt; that pass is
    overtaken, and what it did is found by its key.
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        action, _, step = _mine(uow, action_id, number, sending.step_id)
        ready = look_from(sent_at=step.sent_at, in_doubt=step.in_doubt, traits=sending.traits)
        again = now + backoff(step.attempts)
        _wait(hub, uow, action, step, until=max(ready or again, again), now=now)


def _announce_again(
    hub: Hub, action_id: str, number: int, sending: Sending, looked_at: datetime
) -> None:
    """Commit a new intent after a look-up that found nothing of the last one."""
    with hub.database.begin() as uow:
        _, _, step = _mine(uow, action_id, number, sending.step_id)
        doubt = step.doubt_until
        if sending.traits.native and step.in_doubt and step.sent_at is not None:
            doubt = _later(doubt, step.sent_at + sending.traits.settle)
        if doubt is not None and doubt <= looked_at:
            doubt = None  # nothing was there, and nothing can come any more
        uow.actions.move(step, sent_at=hub.clock(), in_doubt=True, doubt_until=doubt)


def _later(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else max(one, other)


def _settle(hub: Hub, number: int, sending: Sending, sent: Sent) -> Sending | Reading | None:
    """Commit the outcome, and with it the intent of the step that follows, if one does.

    Raises StaleStepError when another pass took the step over; it finds what we did by its key.
    """
    return hub.database.write(lambda uow: _settled(hub, uow, number, sending, sent))


def _settled(
    hub: Hub, uow: UnitOfWork, number: int, sending: Sending, sent: Sent
) -> Sending | Reading | None:
    now = hub.clock()
    with uow.written_at_the_end():
        action, steps, step = _settling(hub, uow, number, sending, now)
        _note_down(uow, action, step, sent, now)
        if isinstance(sent.outcome, Receipt):
            uow.actions.move(
                step,
                state=StepState.DONE.value,
                receipt=sent.outcome.model_dump(mode="json"),
                in_doubt=False,
                settled_at=now,
                error=None,
            )
            if step.attempts > 1:
                _count(hub, uow, action, step, now)
            if life.finish(hub, uow, action, now, steps) is not None:
                return None
            return _next(hub, uow, action, steps, now)
        lost = not sent.looking and isinstance(sent.outcome, Ambiguous)
        doubt = step.doubt_until
        if lost and sending.traits.native:
            doubt = _later(doubt, now + sending.traits.settle)
        follows = after_failure(
            sent.outcome,
            looking=sent.looking,
            now=now,
            attempts=step.attempts,
            traits=sending.traits,
            doubt_until=doubt,
        )
        in_doubt = step.in_doubt if sent.looking else lost
        error = describe_error(sent.outcome)
        if follows.at is not None:
            uow.actions.move(step, error=error, in_doubt=in_doubt, doubt_until=doubt)
            _wait(hub, uow, action, step, until=follows.at, now=now)
        else:
            state = StepState.UNKNOWN if follows.verb is Verb.PERSON else StepState.REFUSED
            uow.actions.move(
                step, state=state.value, error=error, in_doubt=in_doubt, settled_at=now
            )
            ended = life.finish(hub, uow, action, now, steps)
            if ended is None and state is StepState.REFUSED:
                return _next(hub, uow, action, steps, now)
        return None


def _note_down(
    uow: UnitOfWork, action: ActionRow, step: ActionStepRow, sent: Sent, now: datetime
) -> None:
    """One entry in the action's history for each answer, or silence, of a remote."""
    receipt = sent.outcome if isinstance(sent.outcome, Receipt) else None
    error = sent.outcome if isinstance(sent.outcome, RemoteError) else None
    if isinstance(error, TurnedAway):
        what = "step.turned_away"
    else:
        what = "step.looked_up" if sent.looking else "step.sent"
    uow.audit.write(
        at=now,
        actor="hub",
        action=what,
        subject=action.id,
        step=step.id,
        connection=step.connection,
        operation=step.operation,
        attempt=step.attempts,
        outcome=type(error).__name__ if error else "existed" if sent.looking else "done",
        ref=str(receipt.ref) if receipt else None,
        number=receipt.number if receipt else None,
        code=error.code if error else None,
    )


def _belated(hub: Hub, action_id: str, sending: Sending, receipt: Receipt) -> None:
    """Write down what a pass made, or found, after another pass had taken its step over."""
    now = hub.clock()
    with hub.database.begin() as uow:
        action = life.locked(uow, action_id)
        step = next(s for s in uow.actions.steps_of(action_id) if s.id == sending.step_id)
        uow.audit.write(
            at=now,
            actor="hub",
            action="step.belated",
            subject=action_id,
            step=step.id,
            connection=step.connection,
            operation=step.operation,
            attempt=sending.attempts,
            outcome="done",
            ref=str(receipt.ref),
            number=receipt.number,
        )
        _count(hub, uow, action, step, now)


def _count(
    hub: Hub, uow: UnitOfWork, action: ActionRow, step: ActionStepRow, now: datetime
) -> None:
    """Say so where a step that two passes sent has made two records in a remote.

    The fence leaves next to no room for it. Should it happen, people must hear of it from us.
    """
    if step.receipt is None:
        return
    uow.session.flush()
    settled = (str(Ref.model_validate(step.receipt["ref"])), step.receipt.get("number"))
    belated = [
        (entry.detail["ref"], entry.detail["number"])
        for entry in uow.audit.about(action.id)
        if entry.action == "step.belated" and entry.detail["step"] == step.id
    ]
    made = different([settled, *belated])
    if len(made) < 2:
        return
    error = Duplicated(
        f"made {len(made)} times: {', '.join(made)}; keep one and take the others back in"
        f" {step.connection}",
        system=step.connection,
        operation=step.operation,
    )
    log.error("a step was made twice", extra={"action": action.id, "step": step.id})
    uow.actions.move(step, error=describe_error(error))
    uow.audit.write(
        at=now,
        actor="hub",
        action="step.duplicated",
        subject=action.id,
        step=step.id,
        connection=step.connection,
        operation=step.operation,
        refs=made,
    )
    life.changed(action, now)
    life.tell(hub, uow, "action.duplicated", action, now)


def _settling(
    hub: Hub, uow: UnitOfWork, number: int, sending: Sending, now: datetime
) -> tuple[ActionRow, list[ActionStepRow], ActionStepRow]:
    """As `_mine`, changed; nothing is read where it is as this pass has left it."""
    action, due_at = sending.action, now + hub.options.call_margin
    # After a look-up the intent was committed once more.
    if not sending.look_first and uow.actions.claim(action, updated_at=now, due_at=due_at):
        step = next(s for s in sending.steps if s.id == sending.step_id)
        return action, sending.steps, step
    action, steps, step = _mine(uow, action.id, number, sending.step_id)
    action.due_at = due_at
    life.changed(action, now)
    return action, steps, step


def _mine(
    uow: UnitOfWork, action_id: str, number: int, step_id: str
) -> tuple[ActionRow, list[ActionStepRow], ActionStepRow]:
    """The action, its steps and the step, locked, if still this pass's; else StaleStepError."""
    action = uow.actions.get(action_id, lock=True)
    steps = uow.actions.steps_of(action_id)
    step = next((s for s in steps if s.id == step_id), None)
    if action is None or step is None or action.pass_no != number:
        raise StaleStepError(step_id)
    if step.state != StepState.SENDING:
        raise StaleStepError(step_id)
    return action, steps, step


def _wait(
    hub: Hub,
    uow: UnitOfWork,
    action: ActionRow,
    step: ActionStepRow,
    *,
    until: datetime,
    now: datetime,
) -> None:
    """End this pass and owe one at `until`, or at once when that is over."""
    uow.actions.move(step, state=StepState.WAITING.value)
    if action.state != ActionState.WAITING:
        action.state = ActionState.WAITING.value
        life.tell(hub, uow, "action.waiting", action, now)
    life.changed(action, now)
    life.owe_pass(hub, uow, action, at=now, delay=max(until - now, timedelta(0)))


def _expire(
    hub: Hub,
    uow: UnitOfWork,
    action: ActionRow,
    steps: list[ActionStepRow],
    step: ActionStepRow,
    now: datetime,
) -> None:
    """Stop trying: in doubt it is unknown, otherwise nothing more will be sent."""
    if step.in_doubt or (step.doubt_until is not None and now < step.doubt_until):
        uow.actions.move(step, state=StepState.UNKNOWN.value)
        life.end(hub, uow, action, ActionState.UNKNOWN, now)
        return
    life.cancel_steps(uow, action)
    done = any(s.state == StepState.DONE for s in steps)
    life.end(hub, uow, action, ActionState.PARTIAL if done else ActionState.EXPIRED, now)
