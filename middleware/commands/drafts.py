"""`amends drafts`: replies that rest on facts, checks of texts, and times for calls."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from middleware.api.routes.drafts import check_shown, draft_shown, drafts_shown, slots_shown
from middleware.api.schemas.drafts import CautionShown, DraftShown, Where, WindowShown
from middleware.commands.console import ConfigOption, JsonOption, fail, opened, out, say
from middleware.domain.problems import InvalidError
from middleware.flows import draft

commands = typer.Typer(
    help="Replies that rest on facts, and what speaks against a text.", no_args_is_help=True
)

ChannelOption = Annotated[Where | None, typer.Option(help="Default: each that the network has.")]
LanguageOption = Annotated[str | None, typer.Option(help="Such as de; default: the complaint's.")]
ActionOption = Annotated[str | None, typer.Option(help="Which action it tells of.")]


@commands.command("reply")
def draft_reply(
    complaint_id: Annotated[str, typer.Argument(help="The complaint that is answered.")],
    config: ConfigOption = None,
    *,
    channel: ChannelOption = None,
    language: LanguageOption = None,
    action: ActionOption = None,
    call_back: Annotated[
        bool, typer.Option("--call-back", help="Offer times for a call in private.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Draft replies to a complaint from facts alone. Nothing is sent."""
    with opened(config) as application:
        try:
            made = draft.of_complaint(
                application.hub,
                complaint_id,
                action_id=action,
                public=None if channel is None else channel == "public",
                language=language,
                offer_calls=call_back,
            )
        except InvalidError as error:
            fail(error.detail)
    shown = drafts_shown(made)
    if as_json:
        out.print_json(shown.model_dump_json())
        return
    say(f"{shown.advice.channel} is advised: {shown.advice.why}")
    for one in shown.drafts:
        _tell(one)


@commands.command("incident")
def draft_incident_reply(
    incident_id: Annotated[str, typer.Argument(help="As `amends incidents list` shows it.")],
    config: ConfigOption = None,
    *,
    network: Annotated[str, typer.Option(help="Where it is posted.")] = "x",
    language: Annotated[str, typer.Option(help="Such as de.")] = "en",
    as_json: JsonOption = False,
) -> None:
    """Draft one public reply for an incident; nothing in it is one customer's."""
    with opened(config) as application:
        try:
            made = draft.of_incident(
                application.hub, incident_id, network=network, language=language
            )
        except InvalidError as error:
            fail(error.detail)
    shown = draft_shown(made)
    if as_json:
        out.print_json(shown.model_dump_json())
        return
    _tell(shown)


@commands.command("check")
def check_text(
    text: Annotated[str, typer.Argument(help="What is to be sent; - reads standard input.")],
    channel: Annotated[Where, typer.Argument(help="Who can read it.")],
    config: ConfigOption = None,
    *,
    complaint: Annotated[str | None, typer.Option(help="The complaint that is answered.")] = None,
    network: Annotated[str | None, typer.Option(help="Without a complaint: where.")] = None,
    language: LanguageOption = None,
    action: ActionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what speaks against sending a text; ends with 1 where it should not be sent."""
    with opened(config) as application:
        try:
            found = draft.check(
                application.hub,
                sys.stdin.read().strip() if text == "-" else text,
                public=channel == "public",
                complaint_id=complaint,
                network=network,
                language=language,
                action_id=action,
            )
        except InvalidError as error:
            fail(error.detail)
    shown = check_shown(found)
    if as_json:
        out.print_json(shown.model_dump_json())
    else:
        said = "may be sent" if shown.may_be_sent else "should not be sent like this"
        say(f"{said}: {_room(shown.length, shown.limit, shown.window)}")
        _warn(shown.warnings)
    if not shown.may_be_sent:
        raise typer.Exit(1)


@commands.command("slots")
def list_slots(
    config: ConfigOption = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 10,
    as_json: JsonOption = False,
) -> None:
    """List the next times that are free for a call."""
    with opened(config) as application:
        shown = slots_shown(application.hub, limit=limit)
    if as_json:
        out.print_json(json.dumps(shown.model_dump(mode="json")))
        return
    if not shown.data:
        say("no times are free; hours are kept in [call_hours]")
    for one in shown.data:
        say(f"{one.slot_from:%Y-%m-%dT%H:%M:%SZ} {one.slot_to:%Y-%m-%dT%H:%M:%SZ}")


def _tell(shown: DraftShown) -> None:
    say(f"{shown.channel}, {shown.language}, {_room(shown.length, shown.limit, shown.window)}:")
    say(f"  {shown.text}")
    for fact in shown.facts:
        say(f"  {fact.name}: {fact.value} ({fact.source})")
    _warn(shown.warnings)


def _room(length: int, limit: int, window: WindowShown) -> str:
    until = f", by {window.way} until {window.until:%Y-%m-%d %H:%M} UTC" if window.until else ""
    return f"{length} of {limit}{until if window.open else ', too late'}"


def _warn(warnings: list[CautionShown]) -> None:
    for one in warnings:
        say(f"  {'✗' if one.blocks else '!'} {one.code}: {one.detail}")
