"""`amends actions`: what became of corrective actions, and what people do with them."""

from __future__ import annotations

import getpass
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from middleware.api.asking import asked_of, wanted_of
from middleware.api.showing import shown_action, shown_preview
from middleware.commands.console import ConfigOption, JsonOption, fail, opened, out, say
from middleware.contract.actions import Operation, UndoRequest
from middleware.contract.canonical import Ref
from middleware.domain.actions import ActionState, Wanted
from middleware.domain.problems import InvalidError
from middleware.flows import correct, plan
from middleware.flows.hub import Asker
from middleware.flows.shown import Shown

commands = typer.Typer(
    help="Corrective actions: what became of them, and what to do with them.",
    no_args_is_help=True,
)

ActionArgument = Annotated[str, typer.Argument(help="The action's id, act_….")]
RoleOption = Annotated[
    str | None, typer.Option("--role", help="The role that the policy asks for.")
]
FileArgument = Annotated[
    Path, typer.Argument(help="JSON as for `POST /v1/actions`; - reads it from standard input.")
]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why, for the record.")]


def me() -> Asker:
    """Whoever sits at this console."""
    return Asker(f"cli:{getpass.getuser()}", route="amends actions")


@commands.command("list")
def list_actions(
    config: ConfigOption = None,
    *,
    state: Annotated[ActionState | None, typer.Option(help="Only these.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: JsonOption = False,
) -> None:
    """List actions, newest first."""
    with opened(config) as application, application.database.read() as uow:
        rows = uow.actions.page(before=None, limit=limit, state=state.value if state else None)
    if as_json:
        shown = [
            {
                "id": row.id,
                "operation": row.kind,
                "state": row.state,
                "order": row.order_ref,
                "requested_by": row.requested_by,
                "created_at": row.created_at.isoformat(),
            }
            for row in rows
        ]
        out.print_json(json.dumps({"actions": shown}))
        return
    table = Table("action", "what", "state", "order", "asked for", "by")
    for row in rows:
        moment = row.created_at.isoformat(timespec="minutes")
        table.add_row(row.id, row.kind, row.state, row.order_ref or "", moment, row.requested_by)
    out.print(table)


@commands.command("show")
def show_action(
    action_id: ActionArgument, config: ConfigOption = None, *, as_json: JsonOption = False
) -> None:
    """Show an action: its steps with keys and receipts, and everything that happened to it."""
    with opened(config) as application:
        tell(application.hub, action_id, as_json=as_json)


@commands.command("preview")
def preview_action(
    file: FileArgument, config: ConfigOption = None, *, as_json: JsonOption = False
) -> None:
    """Show what an action would do in each system. Nothing is written anywhere."""
    asked = _read(file)
    with opened(config) as application:
        made, steps = plan.preview(application.hub, wanted_of(asked), me())
        shown = shown_preview(application.hub, made, steps)
    if as_json:
        out.print_json(shown.model_dump_json())
        return
    worth = f", worth {shown.value.amount} {shown.value.currency}" if shown.value else ""
    say(f"{shown.operation}{worth}")
    for step in shown.steps:
        say(f"  {step.position}. {step.operation} in {step.connection}")
        for effect in step.effects:
            amount = f" ({effect.amount.amount} {effect.amount.currency})" if effect.amount else ""
            say(f"     {effect.what}{amount}{'' if step.exact else ', as the hub works it out'}")
        for warning in step.warnings:
            say(f"     beware: {warning}", style="yellow")
    for part in shown.budget:
        what = f"{part.what} of {f'line {part.line}' if part.line else 'the order'}"
        say(f"  {what}: {part.taken} of {part.whole} taken, {part.wanted} wanted")
    for warning in shown.warnings:
        say(f"  beware: {warning}", style="yellow")
    if shown.needs_approval:
        say(f"  needs an approval: {shown.needs_approval}")


@commands.command("create")
def create_action(
    file: FileArgument,
    key: Annotated[str, typer.Option(help="The same key again is the same action.")],
    config: ConfigOption = None,
    *,
    role: RoleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put something right, by the policy in force. A worker carries it out."""
    asked = _read(file)
    wanted = wanted_of(asked)
    asker = replace(me(), key=key, role=role, body_hash=plan.body_hash(asked.model_dump_json()))
    with opened(config) as application:
        token = asked.preview_token
        seen = Shown(application.hub, token, wanted) if token else None
        action_id, _ = correct.create(application.hub, wanted, asker, shown=seen)
        tell(application.hub, action_id, as_json=as_json)


def _read(file: Path) -> Any:
    """What a file asks for; ends the command with every place that is wrong."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
        return asked_of(json.loads(text))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        fail(f"{file}: {error}")
    except InvalidError as error:
        places = [f"{file}: {one['pointer'] or '/'}: {one['detail']}" for one in error.errors]
        fail("\n".join([f"{file}: {error.detail}", *places]))


@commands.command("approve")
def approve_action(
    action_id: ActionArgument,
    config: ConfigOption = None,
    *,
    role: RoleOption = None,
    reason: ReasonOption = None,
    as_json: JsonOption = False,
) -> None:
    """Approve an action that awaits it."""
    _decide(action_id, config, role, reason, grant=True, as_json=as_json)


@commands.command("reject")
def reject_action(
    action_id: ActionArgument,
    config: ConfigOption = None,
    *,
    role: RoleOption = None,
    reason: ReasonOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reject an action that awaits approval."""
    _decide(action_id, config, role, reason, grant=False, as_json=as_json)


def _decide(
    action_id: str,
    config: Path | None,
    role: str | None,
    reason: str | None,
    *,
    grant: bool,
    as_json: bool,
) -> None:
    with opened(config) as application:
        asker = replace(me(), role=role)
        correct.approve(application.hub, action_id, asker, grant=grant, reason=reason)
        tell(application.hub, action_id, as_json=as_json)


@commands.command("cancel")
def cancel_action(
    action_id: ActionArgument, config: ConfigOption = None, *, as_json: JsonOption = False
) -> None:
    """Call an action off, as long as no remote has anything of it."""
    with opened(config) as application:
        correct.cancel(application.hub, action_id, me())
        tell(application.hub, action_id, as_json=as_json)


@commands.command("undo")
def undo_action(
    action_id: ActionArgument,
    config: ConfigOption = None,
    *,
    key: Annotated[str | None, typer.Option(help="The same key again is the same undo.")] = None,
    note: Annotated[str | None, typer.Option(help="For the conversation; '' means ours.")] = None,
    reason: ReasonOption = None,
    override: Annotated[
        str | None, typer.Option(help="Why, although somebody else has claimed it.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Take a done action back, as far as each remote lets us. A worker carries it out."""
    request = UndoRequest(action=action_id, note=reason)
    wanted = Wanted(operation=Operation.UNDO, request=request, note=note, override=override)
    asker = replace(me(), key=key, body_hash=repr((action_id, note, reason)))
    with opened(config) as application:
        undo_id, _ = correct.create(application.hub, wanted, asker)
        tell(application.hub, undo_id, as_json=as_json)


@commands.command("finish")
def finish_action(
    action_id: ActionArgument,
    config: ConfigOption = None,
    *,
    reason: ReasonOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try the steps again that a partly done action has left. A worker carries them out."""
    with opened(config) as application:
        correct.finish(application.hub, action_id, me(), reason=reason)
        tell(application.hub, action_id, as_json=as_json)


@commands.command("hand-over")
def hand_over_action(
    action_id: ActionArgument,
    config: ConfigOption = None,
    *,
    reason: ReasonOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take an action out of the hub's hands: somebody sees to what is left in the remotes."""
    with opened(config) as application:
        correct.hand_over(application.hub, action_id, me(), reason=reason)
        tell(application.hub, action_id, as_json=as_json)


@commands.command("settle")
def settle_step(
    action_id: ActionArgument,
    step_id: Annotated[str, typer.Argument(help="The step's id, stp_….")],
    reason: Annotated[str, typer.Option("--reason", help="How you know.")],
    config: ConfigOption = None,
    *,
    made: Annotated[str | None, typer.Option(help="connection:kind:id of what it made.")] = None,
    nothing: Annotated[bool, typer.Option("--nothing", help="It made nothing.")] = False,
    number: Annotated[str | None, typer.Option(help="What people call that record.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what became of a step whose outcome is unknown, once somebody has looked."""
    if (made is None) != nothing:
        fail("name the record that it made with --made, or say --nothing")
    try:
        ref = Ref.parse(made) if made is not None else None
    except ValueError as error:
        fail(str(error))
    with opened(config) as application:
        correct.settle(
            application.hub, action_id, step_id, me(), made=ref, number=number, reason=reason
        )
        tell(application.hub, action_id, as_json=as_json)


def tell(hub: Any, action_id: str, *, as_json: bool) -> None:
    """Print an action as the API shows it."""
    shown = shown_action(hub, action_id)
    if as_json:
        out.print_json(shown.model_dump_json())
        return
    worth = f", worth {shown.value.amount} {shown.value.currency}" if shown.value else ""
    say(f"{shown.id}  {shown.operation}  {shown.state}{worth}")
    for step in shown.steps:
        what = f"{step.receipt.number or step.receipt.ref}" if step.receipt else ""
        why = f"{step.error.error}: {step.error.message}" if step.error else ""
        say(
            f"  {step.position}. {step.operation} in {step.connection}: {step.state}"
            f" ({step.id}, key {step.key}, {step.attempts} attempts) {what}{why}".rstrip()
        )
    for moment in shown.timeline:
        detail = ", ".join(f"{name} {value}" for name, value in moment.detail.items())
        say(f"  {moment.at:%Y-%m-%d %H:%M:%S}  {moment.what}  {moment.by or ''}  {detail}".rstrip())
    if shown.choices:
        say(f"  what can be done now: {', '.join(shown.choices)}")
