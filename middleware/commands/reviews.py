"""`amends reviews`: who is this? The questions that the hub could not decide."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Column, Table

from middleware.api.asking import read
from middleware.api.routes.reviews import claim_shown, review_shown, shown_review
from middleware.api.schemas.complaints import CandidateShown
from middleware.api.schemas.ledger import ReviewAnswered, ReviewClaimed, ReviewShown
from middleware.commands.console import (
    ConfigOption,
    JsonOption,
    me,
    opened,
    out,
    refusals,
    say,
)
from middleware.flows import reviews

commands = typer.Typer(
    help="Who is this? Questions that the hub could not decide.", no_args_is_help=True
)

ReviewArgument = Annotated[str, typer.Argument(help="As `amends reviews list` shows it.")]
AgentOption = Annotated[str | None, typer.Option(help="Who looks at it, in your own words.")]


@commands.command("list")
def list_reviews(
    config: ConfigOption = None,
    *,
    state: Annotated[str, typer.Option(help="open, answered or settled.")] = "open",
    kind: Annotated[str | None, typer.Option(help="review, audit or contradiction.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    as_json: JsonOption = False,
) -> None:
    """List questions, the most informative first, with their candidates."""
    with opened(config) as application, application.database.read() as uow:
        rows = uow.reviews.page(state=state, kind=kind, limit=limit)
        claims = uow.ledger.claims([row.id for row in rows], now=application.hub.clock())
    shown = [review_shown(row, claims.get(row.id)) for row in rows]
    if as_json:
        out.print_json(json.dumps([one.model_dump(mode="json") for one in shown]))
        return
    table = Table(Column("id", no_wrap=True), "urgency", "kind", "why", "candidates", "held by")
    for one in shown:
        table.add_row(
            one.id,
            f"{one.urgency:.2f}",
            one.kind,
            one.why,
            "\n".join(told_candidate(place, c) for place, c in enumerate(one.candidates)),
            one.claimed_by or "",
        )
    out.print(table)


@commands.command("show")
def show_review(
    review_id: ReviewArgument, config: ConfigOption = None, *, as_json: JsonOption = False
) -> None:
    """Show a question with its candidates, who holds it, and the answer where there is one."""
    with opened(config) as application, refusals(as_json=as_json):
        shown = shown_review(application.hub, review_id)
    _tell(shown, as_json=as_json)


@commands.command("claim")
def claim_review(
    review_id: ReviewArgument,
    config: ConfigOption = None,
    *,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a question for ten minutes, so that nobody else answers it meanwhile; again to keep it
    for longer."""
    with opened(config) as application, refusals(as_json=as_json):
        asked = read(ReviewClaimed, {"agent": agent})
        row = reviews.claim(application.hub, review_id, agent=asked.agent, asker=me())
    shown = claim_shown(row)
    if as_json:
        out.print_json(shown.model_dump_json())
        return
    say(f"{shown.id}: held by {shown.holder} until {shown.expires_at:%Y-%m-%d %H:%M} UTC")


@commands.command("release")
def release_review(
    review_id: ReviewArgument,
    config: ConfigOption = None,
    *,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a question back before its time is over."""
    with opened(config) as application, refusals(as_json=as_json):
        asked = read(ReviewClaimed, {"agent": agent})
        reviews.release(application.hub, review_id, agent=asked.agent, asker=me())
        shown = shown_review(application.hub, review_id)
    if as_json:
        out.print_json(shown.model_dump_json())
        return
    say(f"{review_id}: anybody's again")


@commands.command("answer")
def answer_review(
    review_id: ReviewArgument,
    said: Annotated[reviews.Said, typer.Argument(help="this, none or unsure.")],
    candidate: Annotated[
        int | None, typer.Argument(help="Of `this`: which one, counted from 0.")
    ] = None,
    config: ConfigOption = None,
    *,
    reason: Annotated[str, typer.Option(help="How you know, for the record.")] = "",
    agent: AgentOption = None,
    version: Annotated[
        int | None, typer.Option(min=1, help="Only if it is at this version still.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a question: the link, the cannot-links and the labels are written together."""
    with opened(config) as application, refusals(as_json=as_json):
        body = {"said": said, "candidate": candidate, "reason": reason, "agent": agent}
        asked = read(ReviewAnswered, body)
        reviews.answer(
            application.hub,
            review_id,
            reviews.Answered(
                said=asked.said, candidate=asked.candidate, reason=asked.reason, agent=asked.agent
            ),
            version=version,
            asker=me(),
        )
        shown = shown_review(application.hub, review_id)
    if as_json:
        out.print_json(shown.model_dump_json())
        return
    wrote = shown.answer
    assert wrote is not None, "it was answered"
    told = [f"{shown.id}: {said.value}"]
    if wrote.person:
        told.append(f"person {wrote.person}")
    if wrote.cannot_links:
        told.append(f"{len(wrote.cannot_links)} held apart")
    say("; ".join(told))


def _tell(shown: ReviewShown, *, as_json: bool) -> None:
    if as_json:
        out.print_json(shown.model_dump_json())
        return
    held = (
        f", held by {shown.claimed_by} until {shown.claimed_until:%Y-%m-%d %H:%M} UTC"
        if shown.claimed_until
        else ""
    )
    say(f"{shown.id}: {shown.kind}, {shown.state}{held} (version {shown.version})")
    say(f"  {shown.complaint_id} by {shown.identity_id or 'an account without an id'}: {shown.why}")
    for place, candidate in enumerate(shown.candidates):
        say(f"  {told_candidate(place, candidate)}")
    if shown.answer is not None:
        why = f": {shown.answer.reason}" if shown.answer.reason else ""
        say(f"  {shown.answered_by} said {shown.answer.said}{why}")


def told_candidate(place: int, candidate: CandidateShown) -> str:
    """Who it may be, and what speaks for it."""
    whom = candidate.person_id or ", ".join(candidate.refs)
    why = "; ".join(f"{e.detail} ({e.weight:+g})" for e in candidate.evidence)
    return f"{place}: {whom}, {candidate.score:g} bits: {why}"
