"""`amends claims`: who works on what."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from middleware.commands.console import ConfigOption, JsonOption, fail, me, opened, out, say
from middleware.domain.claims import ClaimedError, Subject
from middleware.flows import claim
from middleware.store.tables import ClaimRow

commands = typer.Typer(help="Who works on what.", no_args_is_help=True)

AgentOption = Annotated[str | None, typer.Option(help="Who works on it, in your own words.")]
MinutesOption = Annotated[int | None, typer.Option(min=1, help="How long; default: configured.")]
ClaimArgument = Annotated[str, typer.Argument(help="As `amends claims list` shows it.")]


@commands.command("list")
def list_claims(
    subject: Annotated[
        str | None,
        typer.Argument(help="cmp_…, per_…, connection:order:id, or that with #line; all without."),
    ] = None,
    config: ConfigOption = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: JsonOption = False,
) -> None:
    """List claims that have not run out, or those that are about one thing in any way."""
    with opened(config) as application:
        hub = application.hub
        if subject is not None:
            rows = claim.about(hub, _subject(subject))
        else:
            with hub.database.read() as uow:
                rows = uow.claims.page(before=None, limit=limit, now=hub.clock())
    if as_json:
        out.print_json(json.dumps([_plain(row) for row in rows]))
        return
    table = Table(Column("id", no_wrap=True), "subject", "holder", "in", "until", "promised")
    for row in rows:
        until = row.expires_at.isoformat(timespec="minutes")
        table.add_row(row.id, row.subject, row.holder, row.tool or "", until, row.note or "")
    out.print(table)


@commands.command("take")
def take_claim(
    subject: Annotated[
        str, typer.Argument(help="cmp_…, per_…, connection:order:id, or that with #line.")
    ],
    config: ConfigOption = None,
    *,
    agent: AgentOption = None,
    minutes: MinutesOption = None,
    note: Annotated[str | None, typer.Option(help="What was promised.")] = None,
    force: Annotated[str | None, typer.Option(help="Why it is taken from its holder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Claim an issue, so that nobody else solves it meanwhile; again to keep it for longer."""
    with opened(config) as application:
        asked = claim.Asked(
            subject=_subject(subject),
            agent=agent,
            tool="cli",
            note=note,
            lease=timedelta(minutes=minutes) if minutes is not None else None,
            force=force,
        )
        try:
            row, _ = claim.take(application.hub, asked, me())
        except ClaimedError as error:
            if as_json:
                out.print_json(json.dumps({"code": error.slug, **error.more}))
            fail(error.detail)
    _tell(row, as_json=as_json)


@commands.command("renew")
def renew_claim(
    claim_id: ClaimArgument,
    config: ConfigOption = None,
    *,
    agent: AgentOption = None,
    minutes: MinutesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a claim for longer, counted from now."""
    lease = timedelta(minutes=minutes) if minutes is not None else None
    with opened(config) as application:
        row = claim.renew(application.hub, claim_id, agent=agent, lease=lease, asker=me())
    _tell(row, as_json=as_json)


@commands.command("release")
def release_claim(
    claim_id: ClaimArgument, config: ConfigOption = None, *, agent: AgentOption = None
) -> None:
    """Give a claim up before its time is over."""
    with opened(config) as application:
        claim.release(application.hub, claim_id, agent=agent, asker=me())
    say(f"{claim_id}: anybody's again")


@commands.command("hand-over")
def hand_over_claim(
    claim_id: ClaimArgument,
    to: Annotated[str, typer.Argument(help="An agent of yours, or `key/agent`.")],
    config: ConfigOption = None,
    *,
    agent: AgentOption = None,
    direct: Annotated[bool, typer.Option("--direct", help="Theirs at once.")] = False,
    note: Annotated[str | None, typer.Option(help="What was promised.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Hand a claim over: at once with --direct, else when they accept it."""
    with opened(config) as application:
        row = claim.hand_over(
            application.hub, claim_id, agent=agent, to=to, direct=direct, note=note, asker=me()
        )
    _tell(row, as_json=as_json)


@commands.command("accept")
def accept_claim(
    claim_id: ClaimArgument,
    config: ConfigOption = None,
    *,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take over a claim that was offered to you."""
    with opened(config) as application:
        row = claim.accept(application.hub, claim_id, agent=agent, asker=me())
    _tell(row, as_json=as_json)


def _subject(text: str) -> Subject:
    try:
        return Subject.parse(text)
    except ValueError as error:
        fail(str(error))


def _tell(row: ClaimRow, *, as_json: bool) -> None:
    if as_json:
        out.print_json(json.dumps(_plain(row)))
        return
    offered = f", offered to {row.offered_to}" if row.offered_to else ""
    until = row.expires_at.isoformat(timespec="minutes")
    say(f"{row.id}: {row.subject} is held by {row.holder} until {until}{offered}")


def _plain(row: ClaimRow) -> dict[str, Any]:
    return {
        **claim.shown(row),
        "note": row.note,
        "version": row.version,
    }
