"""`amends priority` and `amends report`: the queue, its rule book, and what became of promises."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from middleware.commands import versions
from middleware.commands.console import ConfigOption, JsonOption, fail, opened, out, say
from middleware.domain import sla
from middleware.domain.priority import MILLI
from middleware.domain.rulebook_file import full_body_of, read_rulebook, text_of, warnings_of
from middleware.flows import prioritise, report, rulebooks, simulate
from middleware.flows.rulebooks import RULEBOOK

commands = typer.Typer(help="Which complaint comes first, and why.", no_args_is_help=True)
reports = typer.Typer(help="What was promised, and what became of it.", no_args_is_help=True)

SinceOption = Annotated[datetime | None, typer.Option(help="UTC; default: 30 days before --until.")]
UntilOption = Annotated[datetime | None, typer.Option(help="UTC; default: now.")]


class By(StrEnum):
    """What a report is told apart by."""

    ALL = "all"
    CHANNEL = "channel"
    BRAND = "brand"
    TEAM = "team"


@commands.command("list")
def list_queue(
    config: ConfigOption = None,
    *,
    brand: Annotated[str | None, typer.Option(help="One brand account's.")] = None,
    team: Annotated[str | None, typer.Option(help="One team's.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    as_json: JsonOption = False,
) -> None:
    """List open complaints, the most urgent first, with what makes them so."""
    with opened(config) as application, application.database.read() as uow:
        rows = uow.complaints.queue(after=None, limit=limit, brand=brand, team=team)
    told = [
        {
            "id": row.id,
            "priority": row.priority / MILLI,
            "due_at": row.due_at.isoformat() if row.due_at is not None else None,
            "team": row.team,
            "reasons": [
                f"{term.name} {term.points:+g}: {term.why}"
                for term in prioritise.main_terms(row.priority_terms)
                if term.points
            ],
        }
        for row in rows
    ]
    if as_json:
        out.print_json(json.dumps(told))
        return
    table = Table(Column("id", no_wrap=True), "priority", "due", "team", "why")
    for one, row in zip(told, rows, strict=True):
        due = f"{row.due_at:%Y-%m-%d %H:%M}" if row.due_at is not None else ""
        reasons = one["reasons"]
        assert isinstance(reasons, list)
        table.add_row(
            row.id, f"{row.priority / MILLI:.1f}", due, row.team or "", "\n".join(reasons)
        )
    out.print(table)


@commands.command("show")
def show_rules(
    number: Annotated[int | None, typer.Argument(help="A version; default: in force.")] = None,
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show the rule book in force, or an earlier version, with every figure."""
    versions.show(
        RULEBOOK,
        number,
        config,
        body_of=full_body_of,
        text_of=text_of,
        field="rules",
        as_json=as_json,
    )


@commands.command("check")
def check_rules(
    file: Annotated[Path, typer.Argument(help="A rule book.")], *, as_json: JsonOption = False
) -> None:
    """Check a rule book without putting it in force; mistakes come with file:line:column."""
    versions.check(
        file,
        read_rulebook,
        lambda book: f"{len(book.targets)} targets, {len(book.escalations)} escalation steps",
        warned=warnings_of,
        as_json=as_json,
    )


@commands.command("put")
def put_rules(
    file: Annotated[Path | None, typer.Argument(help="A rule book.")] = None,
    config: ConfigOption = None,
    *,
    back_to: Annotated[int | None, typer.Option(help="An earlier version instead.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
) -> None:
    """Put a rule book in force as a new version, or with --back-to an earlier one again."""
    version = versions.put(RULEBOOK, file, back_to, config, read=read_rulebook, reason=reason)
    say(f"version {version} is in force; open complaints are scored anew")


@commands.command("versions")
def list_rules(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """List the versions of the rule book, newest first."""
    versions.list_all(RULEBOOK, config, as_json=as_json)


@commands.command("simulate")
def simulate_rules(
    rules: Annotated[Path, typer.Option(help="A rule book.")],
    config: ConfigOption = None,
    *,
    since: SinceOption = None,
    until: UntilOption = None,
    top: Annotated[int, typer.Option(min=1, max=10_000, help="The first of the queue.")] = 50,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Moves that are shown.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show which past complaints would move under another rule book. Nothing is written."""
    book = read_rulebook(rules)
    with opened(config) as application:
        begin, end = _span(since, until, application.hub.clock())
        found = simulate.simulate(application.hub, book, since=begin, until=end, top=top)
    if as_json:
        told = {**asdict(found), "moves": [{**asdict(m), "up": m.up} for m in found.moves]}
        out.print_json(json.dumps(told, default=lambda moment: moment.isoformat()))
        return
    table = Table(Column("complaint", no_wrap=True), "place", "score", "by", "why")
    for move in found.moves[:limit]:
        table.add_row(
            move.complaint_id,
            f"{move.was_rank} → {move.would_rank}",
            f"{move.was:.1f} → {move.would:.1f}",
            f"{move.term} {move.by:+.2f}" if move.term else "",
            move.why,
        )
    if found.moves:
        out.print(table)
    say(
        f"{found.complaints} complaints, {found.moved} move ({found.up} up, {found.down} down);"
        f" {found.overlap} of the first {found.top} stay among them"
    )
    if not found.complete:
        say("there were more complaints than are simulated in one go; take a shorter time", "red")


@commands.command("on-call")
def show_on_call(
    config: ConfigOption = None,
    *,
    at: Annotated[datetime | None, typer.Option(help="UTC; default: now.")] = None,
) -> None:
    """Say who is on call, outside the hours of the team."""
    with opened(config) as application, application.database.read() as uow:
        book = rulebooks.in_force(application.hub, uow).document
        moment = at.replace(tzinfo=UTC) if at is not None else application.hub.clock()
    who = sla.on_call(book, moment)
    say(who or ("the team itself is there" if book.rota is not None else "there is no rota"))


@reports.command("response")
def report_response(
    config: ConfigOption = None,
    *,
    by: Annotated[By, typer.Option(help="What it is told apart by.")] = By.ALL,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
) -> None:
    """Report response times and rates against what was promised."""
    with opened(config) as application:
        begin, end = _span(since, until, application.hub.clock())
        found = report.response_report(application.hub, by=by.value, since=begin, until=end)
    if as_json:
        told = {
            "since": begin.isoformat(),
            "until": end.isoformat(),
            "by": by.value,
            "groups": [asdict(one) for one in found.groups],
            "escalations": asdict(found.escalations),
        }
        out.print_json(json.dumps(told))
        return
    table = Table(
        "clock", by.value, "began", "answered", "in 1 h", "kept", "breached", "p50", "p90"
    )
    for one in found.groups:
        table.add_row(
            one.kind,
            one.group or "",
            str(one.started),
            f"{one.answered} ({one.answered / one.started:.0%})",
            f"{one.within_hour} ({one.within_hour / one.started:.0%})",
            str(one.kept),
            str(one.breached),
            _minutes(one.median_s),
            _minutes(one.p90_s),
        )
    out.print(table)
    steps = found.escalations
    if steps.fired or steps.waiting:
        latest = f", the latest {steps.latest_s:.1f} s late" if steps.latest_s is not None else ""
        say(f"{steps.fired} escalation steps taken{latest}; {steps.waiting} due and not taken")


def _minutes(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / 60:.1f} min"


def _span(
    since: datetime | None, until: datetime | None, now: datetime
) -> tuple[datetime, datetime]:
    end = until.replace(tzinfo=UTC) if until is not None else now
    begin = since.replace(tzinfo=UTC) if since is not None else end - timedelta(days=30)
    if begin >= end:
        fail("the time ends before it begins")
    return begin, end
