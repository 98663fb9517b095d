"""`amends incidents`: pile-ons, and what each customer may get."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from middleware.api.routes.incidents import shown_incident
from middleware.commands.console import ConfigOption, JsonOption, me, opened, out, say
from middleware.contract.actions import Operation
from middleware.flows import decide, eligibility, joined
from middleware.store.tables import IncidentRow

commands = typer.Typer(
    help="Many complaints with one cause, and what each customer may get.", no_args_is_help=True
)

IncidentArgument = Annotated[str, typer.Argument(help="As `amends incidents list` shows it.")]
ReasonOption = Annotated[str, typer.Option(help="Why, for the record.")]


@commands.command("list")
def list_incidents(
    config: ConfigOption = None,
    *,
    state: Annotated[
        str | None, typer.Option(help="open, confirmed, dismissed or closed; default all.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    as_json: JsonOption = False,
) -> None:
    """List incidents, the newest first."""
    with opened(config) as application, application.database.read() as uow:
        rows = uow.incidents.page(before=None, limit=limit, states=[state] if state else [])
    if as_json:
        out.print_json(json.dumps([_plain(row) for row in rows]))
        return
    table = Table(
        Column("id", no_wrap=True), "state", "what", "since", "complaints", "people", "reach",
        "growth/h", "proposed",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row.id,
            row.state,
            row.title,
            f"{row.onset_at:%Y-%m-%d %H:%M}",
            str(row.complaints),
            str(row.persons),
            str(row.reach),
            f"{row.growth:+d}",
            (row.proposed or {}).get("operation", ""),
        )
    out.print(table)


@commands.command("show")
def show_incident(
    incident_id: IncidentArgument, config: ConfigOption = None, *, as_json: JsonOption = False
) -> None:
    """Show an incident: since when, how large, its keys and words, and whom it concerns."""
    with opened(config) as application:
        shown = shown_incident(application.hub, incident_id)
    if as_json:
        out.print_json(shown.model_dump_json())
        return
    over = f", ordinary since {shown.over_at:%Y-%m-%d %H:%M}" if shown.over_at else ""
    into = f", part of {shown.merged_into}" if shown.merged_into else ""
    say(f"{shown.id}: {shown.title}, {shown.state}{into}")
    say(
        f"  since {shown.onset_at:%Y-%m-%d %H:%M} UTC{over}: {shown.complaints} complaints by"
        f" {shown.persons} people, reach {shown.reach}, {shown.growth_per_hour:+d} an hour"
    )
    say(f"  {shown.found} in the window that opened it, {shown.expected:.1f} expected")
    for key in shown.keys:
        say(f"  {key.key}{'' if key.gives else ' (attached)'}")
    if shown.words:
        say(f"  words: {', '.join(shown.words)}")
    for sample in shown.samples:
        say(f"  {sample.complaint_id}: {sample.text}")
    say(f"  {shown.affected} orders, {shown.silent} without a complaint ({shown.affected_state})")
    if shown.proposed is not None:
        say(f"  proposed: {shown.proposed.operation}, {shown.proposed.why}")


@commands.command("eligible")
def eligible(
    incident_id: IncidentArgument,
    config: ConfigOption = None,
    *,
    remedy: Annotated[
        Operation | None, typer.Option(help="What would be given; default what is proposed.")
    ] = None,
    silent: Annotated[bool, typer.Option(help="Only those who have not complained.")] = False,
    after: Annotated[str | None, typer.Option(help="The order to go on after.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: JsonOption = False,
) -> None:
    """Say what each affected customer may get, by budget and policy. Nothing is written."""
    with opened(config) as application:
        found = eligibility.of_incident(
            application.hub,
            incident_id,
            me(),
            operation=remedy,
            complained=False if silent else None,
            after=after,
            limit=limit,
        )
    if as_json:
        rows = [
            {
                "order": str(one.order),
                "number": one.number,
                "lines": list(one.lines),
                "complaint_id": one.complaint_id,
                "person_id": one.person_id,
                "outcome": one.outcome,
                "why": list(one.why),
                "worth": str(one.worth) if one.worth is not None else None,
            }
            for one in found
        ]
        out.print_json(json.dumps(rows))
        return
    table = Table(Column("order", no_wrap=True), "complained", "outcome", "worth", "why")
    for one in found:
        table.add_row(
            one.number or str(one.order),
            "yes" if one.complaint_id else "no",
            one.outcome,
            str(one.worth) if one.worth is not None else "",
            "; ".join(one.why),
        )
    out.print(table)


@commands.command("confirm")
def confirm(
    incident_id: IncidentArgument,
    config: ConfigOption = None,
    *,
    remedy: Annotated[Operation | None, typer.Option(help="What customers are to get.")] = None,
    reason: ReasonOption = "",
) -> None:
    """Say that it is one."""
    with opened(config) as application:
        row = decide.confirm(
            application.hub,
            incident_id,
            reason=reason or None,
            operation=remedy,
            version=None,
            asker=me(),
        )
    say(f"{row.id}: {row.state}")


@commands.command("dismiss")
def dismiss(
    incident_id: IncidentArgument,
    reason: Annotated[str, typer.Argument(help="Why it is none.")],
    config: ConfigOption = None,
) -> None:
    """Say that it is none; it does not open again for the same burst."""
    with opened(config) as application:
        row = decide.dismiss(application.hub, incident_id, reason=reason, version=None, asker=me())
    say(f"{row.id}: {row.state}")


@commands.command("close")
def close(
    incident_id: IncidentArgument,
    reason: Annotated[str, typer.Argument(help="Why it is over.")],
    config: ConfigOption = None,
) -> None:
    """Say that it is dealt with."""
    with opened(config) as application:
        row = decide.close(application.hub, incident_id, reason=reason, version=None, asker=me())
    say(f"{row.id}: {row.state}")


@commands.command("part")
def part(
    incident_id: IncidentArgument,
    reason: Annotated[str, typer.Argument(help="Why it is not the same.")],
    config: ConfigOption = None,
) -> None:
    """Take it out of the incident that it was found to be a part of."""
    with opened(config) as application:
        row = joined.part(application.hub, incident_id, reason=reason, version=None, asker=me())
    say(f"{row.id}: {row.state}, {row.complaints} complaints")


@commands.command("put")
def put(
    incident_id: IncidentArgument,
    complaint_id: Annotated[str, typer.Argument(help="The complaint.")],
    config: ConfigOption = None,
    *,
    remove: Annotated[bool, typer.Option("--out", help="Take it out instead.")] = False,
    reason: ReasonOption = "",
) -> None:
    """Make a complaint part of an incident, or take it out."""
    with opened(config) as application:
        change = decide.put_out if remove else decide.put_in
        row = change(application.hub, incident_id, complaint_id, reason=reason, asker=me())
    say(f"{row.id}: {row.complaints} complaints")


def _plain(row: IncidentRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "state": row.state,
        "key": row.key,
        "title": row.title,
        "onset_at": row.onset_at.isoformat(),
        "over_at": row.over_at.isoformat() if row.over_at else None,
        "complaints": row.complaints,
        "persons": row.persons,
        "reach": row.reach,
        "growth_per_hour": row.growth,
        "proposed": row.proposed,
    }
