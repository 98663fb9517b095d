"""What people do with corrective actions: ask for one, approve it, call it off.

An action is planned and stored with its keys in one transaction, which also owes its first pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from middleware.contract.actions import InvitationRequest, NoteRequest, Operation, Receipt
from middleware.contract.canonical import Ref
from middleware.domain import words
from middleware.domain.actions import (
    ActionState,
    Choice,
    StepState,
    Wanted,
    choices,
)
from middleware.domain.approval import Approval
from middleware.domain.claims import ClaimedError
from middleware.domain.ids import new_id, step_key
from middleware.domain.policy import Verdict
from middleware.domain.problems import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    KeyReusedError,
    NotFoundError,
    PolicyRefusedError,
)
from middleware.flows import claim, life, plan, policies
from middleware.flows.hub import Asker, Hub
from middleware.flows.shown import Shown
from middleware.store.database import UnitOfWork
from middleware.store.tables import ActionRow, ActionStepRow, InvitationRow


def create(
    hub: Hub, wanted: Wanted, asker: Asker, *, shown: Shown | None = None
) -> tuple[str, bool]:
    """Accept an action: plan it, commit it with its keys, and owe its first pass.

    Answers the action's id and whether it is new; the same idempotency key with the same body
    answers the first one's. Raises KeyReusedError for another body, and with `shown`, what a
    preview said, OutdatedPreviewError where that is no longer so.
    """
    if shown is not None and _answered(hub, asker):
        shown = None  # a repeat gets the first answer, however the world has changed since
    if shown is not None:
        shown.hold_age()
        if shown.has_effects:
            _, previews = plan.preview(hub, wanted, asker)
            shown.hold_effects(previews)
    try:
        with hub.database.begin() as uow:
            return create_in(hub, uow, wanted, asker, shown=shown)
    except PolicyRefusedError as error:
        policies.note_refusal(hub, error, asker, wanted.operation)
        raise


def _answered(hub: Hub, asker: Asker) -> bool:
    """Whether this idempotency key was used before."""
    if asker.key is None:
        return False
    with hub.database.read() as uow:
        return uow.keys.answered(asker.principal, asker.route, asker.key) is not None


def create_in(
    hub: Hub, uow: UnitOfWork, wanted: Wanted, asker: Asker, *, shown: Shown | None = None
) -> tuple[str, bool]:
    """The same within a transaction of the caller's."""
    now = hub.clock()
    if asker.key is not None:
        first = uow.keys.take(
            principal=asker.principal,
            route=asker.route,
            key=asker.key,
            body_hash=asker.body_hash,
            at=now,
        )
        if first is not None:
            if first.body_hash != asker.body_hash:
                raise KeyReusedError(
                    "this idempotency key was used with another body; use a new one"
                )
            assert first.answer is not None, "a committed key has its answer"
            return str(first.answer["id"]), False
    made = plan.plan(hub, uow, wanted, asker, lock=True)
    if made.claims and wanted.override is None:
        raise ClaimedError(
            made.claims, way_out="Ask them, or say in `override` why it is done all the same."
        )
    if shown is not None:
        shown.hold_facts(made)
    if made.judged is not None:
        policies.hold_to(made.judged)
    verdict = made.judged.verdict if made.judged is not None else Verdict()
    approval = None
    if verdict.stages:
        approval = Approval.begun(
            verdict.stages, rule=made.approval or "", at=now, lifetime=hub.options.action_lifetime
        )
    action = ActionRow(
        id=new_id("act"),
        kind=wanted.operation.value,
        state=(ActionState.AWAITING_APPROVAL if approval else ActionState.QUEUED).value,
        complaint_id=wanted.complaint_id,
        person_id=made.person_id,
        order_ref=str(made.order.ref) if made.order else None,
        request=wanted.model_dump(mode="json"),
        value=made.value.model_dump(mode="json") if made.value else None,
        requested_by=asker.principal,
        role=asker.role,
        customer=made.customer,
        undoes=made.undoes.id if made.undoes else None,
        approval=approval.kept() if approval else None,
        policy=made.judged.kept() if made.judged else None,
        expires_at=(approval and approval.ends_at) or now + hub.options.action_lifetime,
        created_at=now,
        updated_at=now,
    )
    steps = [
        ActionStepRow(
            id=new_id("stp"),
            action_id=action.id,
            position=position,
            connection=step.connection,
            operation=step.operation.value,
            key=step_key(action.id, position, step.operation),
            state=StepState.PLANNED.value,
            wanted=details,
        )
        for position, (step, details) in enumerate(
            zip(made.steps, made.wanted_of, strict=True), start=1
        )
    ]
    uow.actions.add(action, steps)
    if made.undoes is not None:
        made.undoes.undone_by = action.id
        life.changed(made.undoes, now)
    if isinstance(wanted.request, InvitationRequest):
        uow.session.add(
            InvitationRow(
                id=new_id("inv"),
                action_id=action.id,
                complaint_id=wanted.complaint_id,
                person_id=made.person_id,
                expires_at=now + timedelta(hours=wanted.request.valid_hours),
                created_at=now,
            )
        )
    if made.order is not None:
        assert made.budget is not None or not made.takes
        uow.actions.hold(
            action_id=action.id,
            order_ref=str(made.order.ref),
            takes=made.takes,
            currency=made.budget.currency if made.budget else None,
        )
    if asker.key is not None:
        uow.keys.answer(
            principal=asker.principal,
            route=asker.route,
            key=asker.key,
            status=202,
            answer={"id": action.id},
            location=f"/v1/actions/{action.id}",
        )
    uow.audit.write(
        at=now,
        actor=asker.principal,
        action="action.create",
        subject=action.id,
        request_id=asker.request_id,
        kind=action.kind,
        order=action.order_ref,
        approval=made.approval,
    )
    life.tell(hub, uow, "action.requested", action, now)
    if made.claims and wanted.override is not None:
        held = [held.id for held in made.claims]
        claim.overridden(hub, uow, held, reason=wanted.override, action=action.id, asker=asker)
    if approval is None:
        _begin(hub, uow, action, verdict.cool_off, now)
    return action.id, True


def _begin(
    hub: Hub, uow: UnitOfWork, action: ActionRow, cool_off: timedelta | None, now: datetime
) -> None:
    """Owe an accepted action its first pass, after the cooling-off where there is one."""
    if not uow.actions.steps_of(action.id):
        life.end(hub, uow, action, ActionState.DONE, now)
        return
    action.state = ActionState.QUEUED.value
    action.not_before = now + cool_off if cool_off else None
    action.expires_at = (action.not_before or now) + hub.options.action_lifetime
    life.owe_pass(hub, uow, action, at=now, delay=cool_off)


def approve(hub: Hub, action_id: str, asker: Asker, *, grant: bool, reason: str | None) -> None:
    """Grant or deny the open stage of an action that awaits approval.

    Whoever asked for the action cannot, nor whoever decided an earlier stage, nor somebody of
    another role than the stage names. The action goes on once every stage is granted.
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        action = life.locked(uow, action_id)
        if action.state != ActionState.AWAITING_APPROVAL:
            raise ConflictError(f"the action is {action.state}; there is nothing to approve")
        if action.requested_by == asker.principal:
            raise ForbiddenError("whoever asked for an action cannot approve it")
        approval = Approval.read(action.approval).decided(
            by=asker.principal,
            role=asker.role,
            grant=grant,
            reason=reason,
            at=now,
            lifetime=hub.options.action_lifetime,
        )
        action.approval = approval.kept()
        if approval.ends_at is not None:
            action.expires_at = approval.ends_at
        elif grant:
            _begin(hub, uow, action, cool_off_of(action), now)
        else:
            life.cancel_steps(uow, action)
            life.end(hub, uow, action, ActionState.REJECTED, now)
        life.changed(action, now)
        uow.audit.write(
            at=now,
            actor=asker.principal,
            subject=action.id,
            request_id=asker.request_id,
            action="action.approve" if grant else "action.reject",
            reason=reason,
        )


def cancel(hub: Hub, action_id: str, asker: Asker) -> None:
    """Call an action off, as long as nothing of it was ever sent."""
    now = hub.clock()
    with hub.database.begin() as uow:
        action = life.locked(uow, action_id)
        if action.state == ActionState.CANCELLED:
            return
        steps = uow.actions.steps_of(action.id)
        if ActionState(action.state).ended or under_way(steps):
            raise ConflictError(
                f"the action is {action.state} and was sent already; it can't be called off",
                state=action.state,
            )
        life.cancel_steps(uow, action)
        life.end(hub, uow, action, ActionState.CANCELLED, now)
        uow.audit.write(
            at=now,
            actor=asker.principal,
            action="action.cancel",
            subject=action.id,
            request_id=asker.request_id,
        )


def cool_off_of(action: ActionRow) -> timedelta | None:
    """How long an action waits once it is accepted, by the verdict that it was asked for under."""
    kept = (action.policy or {}).get("verdict")
    return Verdict.model_validate(kept).cool_off if kept else None


def expire_approval(hub: Hub, action_id: str) -> None:
    """Hand a stage that nobody decided in time to its delegates, or end the action."""
    now = hub.clock()
    with hub.database.begin() as uow:
        action = uow.actions.get(action_id, lock=True)
        if action is None or action.state != ActionState.AWAITING_APPROVAL:
            return
        if now < action.expires_at:
            return
        approval = Approval.read(action.approval).lapsed(now)
        if approval is not None and approval.ends_at is not None:
            action.approval = approval.kept()
            action.expires_at = approval.ends_at
            life.changed(action, now)
            uow.audit.write(at=now, actor="hub", action="action.delegate", subject=action.id)
            return
        life.cancel_steps(uow, action)
        life.end(hub, uow, action, ActionState.EXPIRED, now)


def finish(hub: Hub, action_id: str, asker: Asker, *, reason: str | None = None) -> None:
    """Try the steps again that a partly done action has left; those that are done stay done.

    Each keeps its key and is looked up before it is sent again.
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        action = life.locked(uow, action_id)
        _offered(uow, action, Choice.FINISH)
        for step in uow.actions.steps_of(action.id):
            if step.state in (StepState.REFUSED, StepState.CANCELLED):
                state = StepState.PLANNED if step.sent_at is None else StepState.WAITING
                uow.actions.move(step, state=state.value, attempts=0, settled_at=None)
        action.state = ActionState.QUEUED.value
        action.expires_at = now + hub.options.action_lifetime
        action.handed_over = None
        life.changed(action, now)
        life.owe_pass(hub, uow, action, at=now)
        life.tell(hub, uow, "action.resumed", action, now)
        _audit(uow, action, asker, "action.finish", now, reason=reason)


def hand_over(hub: Hub, action_id: str, asker: Asker, *, reason: str | None) -> None:
    """Take an action out of the hub's hands: a person sees to what is left in the remotes."""
    now = hub.clock()
    with hub.database.begin() as uow:
        action = life.locked(uow, action_id)
        _offered(uow, action, Choice.HAND_OVER)
        action.handed_over = {"by": asker.principal, "at": now.isoformat(), "reason": reason}
        life.changed(action, now)
        life.tell(hub, uow, "action.handed_over", action, now)
        _audit(uow, action, asker, "action.hand_over", now, reason=reason)


def settle(
    hub: Hub,
    action_id: str,
    step_id: str,
    asker: Asker,
    *,
    made: Ref | None,
    number: str | None,
    reason: str,
) -> None:
    """Say what became of a step whose outcome is unknown: which record it made, or none (`made`).

    What a person says counts like a look-up. Should it be wrong, nothing is made twice: a step that
    was ever sent is looked up by its key before it is sent again.
    """
    now = hub.clock()
    with hub.database.begin() as uow:
        action = life.locked(uow, action_id)
        step = next((s for s in uow.actions.steps_of(action_id) if s.id == step_id), None)
        if step is None:
            raise NotFoundError(f"the action has no step {step_id}")
        if step.state != StepState.UNKNOWN:
            raise ConflictError(f"the step is {step.state}; only an unknown one can be settled")
        if made is not None and made.connection != step.connection:
            raise InvalidError(
                f"the step went to {step.connection!r}",
                errors=[
                    {
                        "pointer": "/made",
                        "code": "other_connection",
                        "detail": f"must be a record of {step.connection}",
                    }
                ],
            )
        found = None
        if made is not None:
            found = Receipt(
                ref=made, key=step.key, number=number, status="settled_by_person", at=now
            )
        _audit(
            uow,
            action,
            asker,
            "step.settle",
            now,
            step=step.id,
            made=str(made) if made else None,
            reason=reason,
        )
        _resolve(hub, uow, action, step, found=found, now=now)


def resolve_unknown(
    hub: Hub,
    action_id: str,
    step_id: str,
    *,
    found: Receipt | None,
    absent: bool,
    error: dict[str, Any] | None,
) -> None:
    """Commit what a look-up said of a step whose outcome was not known."""
    now = hub.clock()
    with hub.database.begin() as uow:
        action = uow.actions.get(action_id, lock=True)
        step = next((s for s in uow.actions.steps_of(action_id) if s.id == step_id), None)
        if action is None or step is None or step.state != StepState.UNKNOWN:
            return
        if found is not None or absent:
            _resolve(hub, uow, action, step, found=found, now=now)
        else:
            uow.actions.move(step, error=error or step.error)
            life.changed(action, now)
        uow.audit.write(
            at=now,
            actor="hub",
            action="step.look_up",
            subject=action_id,
            step=step_id,
            found=found is not None,
            absent=absent,
        )


def _resolve(
    hub: Hub,
    uow: UnitOfWork,
    action: ActionRow,
    step: ActionStepRow,
    *,
    found: Receipt | None,
    now: datetime,
) -> None:
    """An unknown step is known: done, and the action goes on; or not, and it ends here."""
    life.changed(action, now)
    if found is not None:
        uow.actions.move(
            step,
            state=StepState.DONE.value,
            receipt=found.model_dump(mode="json"),
            in_doubt=False,
            settled_at=now,
            error=None,
        )
        if life.finish(hub, uow, action, now) is None:
            action.state = ActionState.QUEUED.value
            action.expires_at = now + hub.options.action_lifetime
            life.owe_pass(hub, uow, action, at=now)
        return
    uow.actions.move(step, state=StepState.CANCELLED.value, in_doubt=False, settled_at=now)
    life.cancel_steps(uow, action)
    done = any(s.state == StepState.DONE for s in uow.actions.steps_of(action.id))
    life.end(hub, uow, action, ActionState.PARTIAL if done else ActionState.EXPIRED, now)


def tell_story(hub: Hub, action_id: str, state: str) -> None:
    """Write into the conversation how an action ended whose own note was never written."""
    with hub.database.begin() as uow:
        action = uow.actions.get(action_id)
        if action is None or action.complaint_id is None or action.state != state:
            return
        steps = uow.actions.steps_of(action_id)
        if any(s.operation == Operation.NOTE and s.state == StepState.DONE for s in steps):
            return
        complaint = uow.complaints.get(action.complaint_id)
        place = plan.conversation_of(hub, complaint)
        if place is None:
            return
        text = words.ended(
            Wanted.model_validate(action.request),
            ActionState(state),
            [
                words.Part(
                    Operation(s.operation),
                    s.connection,
                    StepState(s.state),
                    Receipt.model_validate(s.receipt) if s.receipt else None,
                    (s.error or {}).get("message"),
                )
                for s in steps
            ],
            rule=(action.approval or {}).get("reason"),
        )
        create_in(
            hub,
            uow,
            Wanted(
                operation=Operation.NOTE,
                request=NoteRequest(on=place, text=text),
                complaint_id=action.complaint_id,
                person_id=action.person_id,
            ),
            Asker("hub", key=f"story:{action_id}:{state}", route="story"),
        )


def under_way(steps: Sequence[ActionStepRow]) -> bool:
    """Whether a remote has, or may have, something of it. A send that was refused left nothing."""
    moving = (StepState.DONE, StepState.SENDING, StepState.UNKNOWN)
    return any(
        step.in_doubt or step.state in moving or (step.doubt_until and not step.settled_at)
        for step in steps
    )


def choices_of(action: ActionRow, steps: Sequence[ActionStepRow]) -> tuple[Choice, ...]:
    """What a person may do with an action now."""
    return choices(
        ActionState(action.state),
        sent=under_way(steps),
        done=any(step.state == StepState.DONE for step in steps),
        is_undo=life.is_undo(action),
        undone=action.undone_by is not None,
        handed_over=action.handed_over is not None,
    )


def _offered(uow: UnitOfWork, action: ActionRow, choice: Choice) -> None:
    offered = choices_of(action, uow.actions.steps_of(action.id))
    if choice not in offered:
        others = ", ".join(offered) or "nothing"
        raise ConflictError(
            f"the action is {action.state}; what can be done with it now: {others}",
            state=action.state,
            choices=[str(offer) for offer in offered],
        )


def _audit(
    uow: UnitOfWork, action: ActionRow, asker: Asker, what: str, now: datetime, **detail: Any
) -> None:
    uow.audit.write(
        at=now,
        actor=asker.principal,
        action=what,
        subject=action.id,
        request_id=asker.request_id,
        **detail,
    )
