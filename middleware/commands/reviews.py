"""`amends reviews`: who is this? The questions that the hub could not decide."""

from __future__ import annotations

import getpass
import json
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from middleware.commands.console import ConfigOption, JsonOption, opened, out, say
from middleware.domain.identity import Candidate
from middleware.flows import reviews
from middleware.flows.hub import Asker
from middleware.store.tables import ClaimRow, ReviewRow

commands = typer.Typer(
    help="Who is this? Questions that the hub could not decide.", no_args_is_help=True
)


@commands.command("list")
def list_reviews(
    config: ConfigOption = None,
    *,
    state: Annotated[str, typer.Option(help="open, answered or settled.")] = "open",
    kind: Annotated[str | None, typer.Option(help="review or audit.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    as_json: JsonOption = False,
) -> None:
    """List questions, the most informative first, with their candidates."""
    with opened(config) as application, application.database.read() as uow:
        rows = uow.reviews.page(state=state, kind=kind, limit=limit)
        claims = uow.ledger.claims([row.id for row in rows], now=application.hub.clock())
    if as_json:
        out.print_json(json.dumps([_plain(row, claims.get(row.id)) for row in rows]))
        return
    table = Table(Column("id", no_wrap=True), "urgency", "kind", "why", "candidates", "held by")
    for row in rows:
        claim = claims.get(row.id)
        table.add_row(
            row.id,
            f"{row.urgency / 1_000_000:.2f}",
            row.kind,
            row.decision["why"],
            "\n".join(_told(place, c) for place, c in enumerate(_candidates(row))),
            claim.holder if claim else "",
        )
    out.print(table)


@commands.command("answer")
def answer_review(
    review_id: Annotated[str, typer.Argument(help="As `amends reviews list` shows it.")],
    said: Annotated[reviews.Said, typer.Argument(help="this, none or unsure.")],
    candidate: Annotated[
        int | None, typer.Argument(help="Of `this`: which one, counted from 0.")
    ] = None,
    config: ConfigOption = None,
    *,
    reason: Annotated[str, typer.Option(help="How you know, for the record.")] = "",
) -> None:
    """Answer a question: the link, the cannot-links and the labels are written together."""
    with opened(config) as application:
        row = reviews.answer(
            application.hub,
            review_id,
            reviews.Answered(said=said, candidate=candidate, reason=reason),
            version=None,
            asker=Asker(f"cli:{getpass.getuser()}"),
        )
    wrote = row.answer or {}
    told = [f"{row.id}: {said.value}"]
    if wrote.get("person"):
        told.append(f"person {wrote['person']}")
    if wrote.get("cannot_links"):
        told.append(f"{len(wrote['cannot_links'])} held apart")
    say("; ".join(told))


def _candidates(row: ReviewRow) -> list[Candidate]:
    return [Candidate.model_validate(c) for c in row.candidates]


def _told(place: int, candidate: Candidate) -> str:
    whom = candidate.person_id or ", ".join(map(str, candidate.refs))
    why = "; ".join(f"{e.detail} ({e.weight:+g})" for e in candidate.evidence)
    return f"{place}: {whom}, {candidate.score:g} bits: {why}"


def _plain(row: ReviewRow, claim: ClaimRow | None) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.kind,
        "state": row.state,
        "urgency": row.urgency / 1_000_000,
        "terms": row.terms,
        "complaint_id": row.complaint_id,
        "identity_id": row.identity_id,
        "why": row.decision["why"],
        "version": row.decision["version"],
        "candidates": row.candidates,
        "held_by": claim.holder if claim else None,
        "answer": row.answer or None,
        "opened_at": row.opened_at.isoformat(),
    }
