"""How an action is shown: over the API, in the command line, and before it is asked for."""

from __future__ import annotations

from typing import Any

from middleware.api.schemas import actions as schemas
from middleware.api.schemas import policy as policies
from middleware.api.schemas.base import MoneyShown, number
from middleware.contract.actions import Operation
from middleware.contract.canonical import Money
from middleware.domain.actions import ActionState, StepState
from middleware.domain.approval import Approval
from middleware.domain.budget import WHOLE, Budget
from middleware.domain.policy import Verdict, duration_text
from middleware.domain.problems import NotFoundError
from middleware.flows import correct, plan, shown
from middleware.flows.hub import Hub
from middleware.flows.plan import Plan, PreviewedStep
from middleware.store import queries


def shown_action(hub: Hub, action_id: str) -> schemas.ActionShown:
    """An action with everything that happened to it; raises NotFoundError."""
    with hub.database.read() as uow:
        row = uow.actions.get(action_id)
        if row is None:
            raise NotFoundError(f"No action has the id {action_id}.")
        steps = uow.actions.steps_of(action_id)
        audit = uow.audit.about(action_id)
        events = queries.events_about(uow, action_id)
        invitation = uow.actions.invitation_of(action_id)
    state = ActionState(row.state)
    timeline = [
        schemas.MomentShown(
            at=entry.at,
            what=entry.action,
            by=entry.actor,
            request_id=entry.request_id,
            step=entry.detail.get("step"),
            detail={k: v for k, v in entry.detail.items() if k != "step" and v is not None},
        )
        for entry in audit
    ]
    timeline += [
        schemas.MomentShown(
            at=event.at, what=event.type, by=None, request_id=None, step=None, detail={}
        )
        for event in events
    ]
    tries = state in (ActionState.QUEUED, ActionState.WAITING) and row.due_at is not None
    return schemas.ActionShown(
        **_common(row),
        settled=state.ended or state in (ActionState.UNKNOWN, ActionState.AWAITING_APPROVAL),
        role=row.role,
        approval=_approval(row.approval),
        policy=_judged(row.policy),
        request=_request(row.request),
        choices=list(correct.choices_of(row, steps)),
        undoes=row.undoes,
        undone_by=row.undone_by,
        invitation=schemas.InvitationShown(
            link=plan.link_of(hub, invitation),
            expires_at=invitation.expires_at,
            revoked_at=invitation.revoked_at,
            used_at=invitation.used_at,
        )
        if invitation
        else None,
        handed_over=schemas.HandedOver.model_validate(row.handed_over, strict=False)
        if row.handed_over
        else None,
        not_before=row.not_before,
        next_try_at=row.due_at - hub.options.call_margin if tries and row.due_at else None,
        steps=[_step(hub, step) for step in steps],
        timeline=sorted(timeline, key=lambda moment: moment.at),
        expires_at=row.expires_at,
        version=row.version,
    )


def listed_action(row: queries.ActionRow) -> schemas.ActionListed:
    return schemas.ActionListed(**_common(row))


def _common(row: queries.ActionRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "operation": row.kind,
        "state": row.state,
        "complaint_id": row.complaint_id,
        "person_id": row.person_id,
        "order": row.order_ref,
        "value": _money(Money.model_validate(row.value)) if row.value else None,
        "requested_by": row.requested_by,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _request(kept: dict[str, Any]) -> dict[str, Any]:
    """What was asked for, references as text."""

    def shown(value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) == {"connection", "kind", "id"}:
                return queries.ref_text(value)
            return {name: shown(part) for name, part in value.items()}
        return [shown(part) for part in value] if isinstance(value, list) else value

    made: dict[str, Any] = shown(kept)
    return made


def _approval(kept: dict[str, Any] | None) -> schemas.ApprovalShown | None:
    if kept is None:
        return None
    approval = Approval.read(kept)
    return schemas.ApprovalShown(
        rule=approval.rule,
        by=approval.by,
        at=approval.at,
        granted=approval.granted,
        reason=approval.reason,
        stages=[
            schemas.SignatureShown(
                role=stage.role,
                delegates=list(stage.delegates),
                opened_at=stage.opened_at,
                ends_at=stage.ends_at,
                delegated_at=stage.delegated_at,
                by=stage.by,
                at=stage.at,
                granted=stage.granted,
                reason=stage.reason,
            )
            for stage in approval.stages
        ],
    )


def _judged(kept: dict[str, Any] | None) -> policies.JudgedShown | None:
    if kept is None:
        return None
    shown = shown_verdict(Verdict.model_validate(kept["verdict"]))
    return policies.JudgedShown(version=kept["version"], **dict(shown))


def shown_verdict(verdict: Verdict) -> policies.VerdictShown:
    return policies.VerdictShown(
        outcome=verdict.outcome,
        stages=[
            policies.StageShown(
                role=stage.role,
                within=duration_text(stage.within) if stage.within else None,
                delegates=list(stage.delegates),
            )
            for stage in verdict.stages
        ],
        missing=list(verdict.missing),
        cool_off=duration_text(verdict.cool_off) if verdict.cool_off else None,
        says=[
            policies.SayShown(rule=say.rule, asks=list(say.asks), why=say.why, because=say.because)
            for say in verdict.says
        ],
    )


def _step(hub: Hub, row: queries.ActionStepRow) -> schemas.StepShown:
    receipt, error = row.receipt, row.error
    done = row.state == StepState.DONE and row.operation != Operation.WITHDRAWAL
    return schemas.StepShown.model_validate(
        {
            "id": row.id,
            "position": row.position,
            "connection": row.connection,
            "operation": row.operation,
            "state": row.state,
            "key": row.key,
            "attempts": row.attempts,
            "in_doubt": row.in_doubt,
            "sent_at": row.sent_at,
            "settled_at": row.settled_at,
            "stays": plan.why_it_stays(hub, row) if done else None,
            "receipt": {
                "ref": queries.ref_text(receipt["ref"]),
                "number": receipt["number"],
                "status": receipt["status"],
                "already_existed": receipt["already_existed"],
                "at": receipt["at"],
                "url": receipt["url"],
            }
            if receipt
            else None,
            "error": {
                "error": error.get("class", "RemoteError"),
                "system": error.get("system") or "",
                "operation": error.get("operation") or "",
                "code": error.get("code"),
                "field": error.get("field"),
                "message": error.get("message") or "",
            }
            if error
            else None,
        }
    )


def _money(money: Money | None) -> MoneyShown | None:
    if money is None:
        return None
    return MoneyShown(amount=number(money.amount), currency=money.currency)


def _budget(plan: Plan) -> list[schemas.BudgetShown]:
    """The parts of the order's budget that an action draws on."""
    if plan.budget is None:
        return []
    wanted = Budget(plan.budget.order, plan.takes)
    shown: list[schemas.BudgetShown] = []
    lines = dict.fromkeys([*(take.line for take in plan.takes), WHOLE])
    for line in lines:
        for what in ("pieces", "returned", "money"):
            whole, (asked, _) = plan.budget.whole(line, what), wanted.taken(line, what)
            if whole is None or not asked:
                continue
            taken, by = plan.budget.taken(line, what)
            shown.append(
                schemas.BudgetShown.model_validate(
                    {
                        "line": line,
                        "what": what,
                        "whole": number(whole),
                        "taken": number(taken),
                        "wanted": number(asked),
                        "left": number(whole - taken - asked),
                        "currency": plan.budget.currency if what == "money" else None,
                        "by": list(by),
                    }
                )
            )
    return shown


def shown_preview(hub: Hub, plan: Plan, steps: list[PreviewedStep]) -> schemas.ActionPreviewShown:
    token, until = shown.token(hub, plan, steps)
    return schemas.ActionPreviewShown(
        operation=plan.wanted.operation,
        order=str(plan.order.ref) if plan.order else None,
        person_id=plan.person_id,
        value=_money(plan.value),
        needs_approval=plan.approval,
        policy=_judged(plan.judged.kept()) if plan.judged else None,
        takes={take.line: number(take.quantity) for take in plan.takes if take.quantity},
        budget=_budget(plan),
        stays=plan.stays,
        steps=[
            schemas.StepPreviewShown(
                position=position,
                connection=previewed.step.connection,
                operation=previewed.step.operation,
                effects=[
                    schemas.EffectShown(what=effect.what, amount=_money(effect.amount))
                    for effect in previewed.preview.effects
                ],
                warnings=list(previewed.preview.warnings),
                exact=previewed.preview.exact,
                payload=dict(previewed.preview.payload),
            )
            for position, previewed in enumerate(steps, start=1)
        ],
        warnings=plan.warnings,
        preview_token=token,
        good_until=until,
    )
