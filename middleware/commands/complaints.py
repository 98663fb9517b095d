"""`amends complaints`: what is known of one, what it is really about, merges and moves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

import typer

from middleware.api.routes.complaints import shown_complaint
from middleware.api.schemas.complaints import ComplaintShown, UnderstandingShown
from middleware.commands.console import ConfigOption, JsonOption, fail, me, opened, out, say
from middleware.domain.problems import InvalidError
from middleware.flows import gather, understood
from middleware.store.tables import ComplaintMergeRow

commands = typer.Typer(
    help="What is known of a complaint, what it is about, and which are one issue.",
    no_args_is_help=True,
)

ReasonOption = Annotated[str, typer.Option(help="Why, for the record.")]
ComplaintArgument = Annotated[str, typer.Argument(help="The id of a complaint, `cmp_…`.")]

QUESTIONS = ("intent", "sentiment", "reason", "remedy")


@commands.command("show")
def show_complaint(
    complaint_id: ComplaintArgument, config: ConfigOption = None, *, as_json: JsonOption = False
) -> None:
    """Show all that is known of a complaint, each with its reason."""
    with opened(config) as application:
        shown = shown_complaint(application.hub, complaint_id)
    if as_json:
        out.print_json(shown.model_dump_json())
        return
    for line in _told(shown):
        say(line)


def _told(shown: ComplaintShown) -> Iterator[str]:
    where = ", ".join(x for x in (shown.network, shown.brand_account, shown.team) if x)
    into = f", merged into {shown.merged_into}" if shown.merged_into else ""
    part = f", part of {shown.incident_id}" if shown.incident_id else ""
    yield f"{shown.id}: {shown.state} ({where}){into}{part}"
    for arrival in shown.arrivals:
        ours = "a note" if arrival.internal else "a machine of ours" if arrival.automatic else "we"
        who = ours if arrival.outgoing else arrival.handle or arrival.display_name or "somebody"
        text = "(deleted)" if arrival.deleted_at else arrival.text
        at = arrival.posted_at or arrival.received_at
        yield f"  {at:%Y-%m-%d %H:%M}  {who}: {text}"
    if shown.understanding is not None:
        yield from _understood(shown.understanding)
    if shown.resolution is not None:
        yield f"who: {shown.resolution.outcome}, {shown.resolution.why}; {shown.person_id or '?'}"
    if shown.order_match is not None:
        yield f"order: {shown.order_match.chosen or 'unknown'}; {shown.order_match.why}"
        for line in shown.order_match.lines:
            why = ", ".join(f"{one.what} {one.points:+g}" for one in line.reasons)
            yield f"  {line.order} line {line.line} {line.sku or ''} {line.score:g}: {why}"
    if shown.priority is not None:
        due = f", due {shown.due_at:%Y-%m-%d %H:%M} UTC" if shown.due_at else ""
        yield f"priority {shown.priority.points:g}{due}"
        for term in shown.priority.terms:
            yield f"  {term.points:+g} {term.name}: {term.why}"
    for clock in shown.clocks:
        until = f", due {clock.due_at:%Y-%m-%d %H:%M} UTC" if clock.due_at else ""
        yield f"clock {clock.kind.value}: {clock.state}, promised by {clock.target}{until}"
    for step in shown.escalations:
        yield f"step {step.step}: {step.state}"
    for held in shown.claims:
        note = f": {held.note}" if held.note else ""
        yield f"claimed by {held.holder} until {held.expires_at:%Y-%m-%d %H:%M} UTC{note}"
    for merge in shown.merges:
        why = merge.reason or ", ".join(f"{one.what} {one.points:+g}" for one in merge.reasons)
        yield f"{merge.state}: {merge.other_id} and {merge.main_id} ({why})"
    for move in shown.moves:
        yield f"moved to {move.to_account or move.to_team} by {move.moved_by}: {move.reason}"
    for action in shown.actions:
        yield f"action {action}"
    for question in shown.questions:
        yield f"question {question}"


def _understood(shown: UnderstandingShown) -> Iterator[str]:
    yield f"understood by {shown.by}{' (degraded)' if shown.degraded else ''}"
    for name in (*QUESTIONS, "severity", "language"):
        judged = getattr(shown, name)
        band = f" {judged.band}" if judged.band else ""
        shares = ", ".join(f"{a.value} {a.probability:.2f}" for a in judged.alternatives)
        words = ", ".join(f"“{shown.text[s.start : s.end]}”" for s in judged.evidence)
        yield f"  {name}: {judged.value}{band}" + "".join(f"; {x}" for x in (shares, words) if x)
    for cue in shown.cues:
        yield f"  cue {cue.kind}: “{shown.text[cue.start : cue.end]}”"
    for entity in shown.entities:
        yield f"  {entity.type} {entity.value}: {entity.why}"


@commands.command("correct")
def correct_complaint(
    complaint_id: ComplaintArgument,
    config: ConfigOption = None,
    *,
    intent: Annotated[str | None, typer.Option(help="Why they wrote.")] = None,
    sentiment: Annotated[str | None, typer.Option(help="In which tone.")] = None,
    reason: Annotated[str | None, typer.Option(help="What is wrong.")] = None,
    remedy: Annotated[str | None, typer.Option(help="What they want; `none` for nothing.")] = None,
    agent: Annotated[str | None, typer.Option(help="Who says so.")] = None,
) -> None:
    """Say what a complaint is really about; the model learns from it when it is retrained."""
    given = zip(QUESTIONS, (intent, sentiment, reason, remedy), strict=True)
    said = {question: value for question, value in given if value is not None}
    with opened(config) as application:
        try:
            row = understood.correct(
                application.hub,
                complaint_id,
                understood.Corrected(said, agent),
                version=None,
                asker=me(),
            )
        except InvalidError as error:
            wrong = [f"--{one['pointer'][1:]} {one['detail']}" for one in error.errors]
            fail("; ".join([error.detail, *wrong]))
    is_now = row.understanding or {}
    say(f"{row.id}: " + ", ".join(f"{q} {is_now[q]['value'] or 'none'}" for q in said))


@commands.command("merge")
def merge_complaints(
    complaint_id: ComplaintArgument,
    other_id: Annotated[str, typer.Argument(help="The one that is the same issue.")],
    config: ConfigOption = None,
    *,
    reason: ReasonOption,
    as_json: JsonOption = False,
) -> None:
    """Say that another complaint is the same issue as this one. It can be taken back."""
    with opened(config) as application:
        row = gather.merge(application.hub, complaint_id, other_id, reason=reason, asker=me())
    _tell_merge(row, as_json=as_json)


@commands.command("split")
def split_complaint(
    complaint_id: ComplaintArgument,
    other_id: Annotated[
        str | None, typer.Argument(help="From which one; by default what it was merged into.")
    ] = None,
    config: ConfigOption = None,
    *,
    reason: ReasonOption,
    as_json: JsonOption = False,
) -> None:
    """Say that a complaint is an issue of its own; nothing merges the two by itself again."""
    with opened(config) as application:
        row = gather.split(
            application.hub, complaint_id, other_id=other_id, reason=reason, asker=me()
        )
    _tell_merge(row, as_json=as_json)


@commands.command("move")
def move_complaint(
    complaint_id: ComplaintArgument,
    config: ConfigOption = None,
    *,
    account: Annotated[str | None, typer.Option(help="The brand account it belongs to.")] = None,
    team: Annotated[str | None, typer.Option(help="The team that looks after it.")] = None,
    reason: ReasonOption,
) -> None:
    """Hand a complaint to another brand account or team; the conversation says so."""
    with opened(config) as application:
        row = gather.move(
            application.hub, complaint_id, account=account, team=team, reason=reason, asker=me()
        )
    where = ", ".join(x for x in (row.to_account, row.to_team) if x)
    say(f"{complaint_id}: moved to {where}")


def _tell_merge(row: ComplaintMergeRow, *, as_json: bool) -> None:
    if as_json:
        plain = {"id": row.id, "main_id": row.main_id, "other_id": row.other_id}
        out.print_json(json.dumps({**plain, "state": row.state}))
        return
    join = "merged into" if row.state == "merged" else "held apart from"
    say(f"{row.other_id}: {join} {row.main_id} ({row.id})")
