"""`amends handoff`: a complaint frozen for somebody else."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Annotated

import typer

from middleware.commands.console import ConfigOption, me, opened, out, say
from middleware.flows import handoff

commands = typer.Typer(help="A complaint frozen for somebody else.", no_args_is_help=True)


@commands.command("make")
def make(
    complaint_id: Annotated[str, typer.Argument(help="The complaint.")],
    to: Annotated[str, typer.Argument(help="Who takes over.")],
    reason: Annotated[str, typer.Argument(help="Why.")],
    config: ConfigOption = None,
    *,
    hours: Annotated[int, typer.Option(min=1, max=720, help="How long it can be opened.")] = 72,
) -> None:
    """Freeze what is known of a complaint."""
    with opened(config) as application:
        row = handoff.hand_off(
            application.hub,
            complaint_id,
            to=to,
            reason=reason,
            valid_for=timedelta(hours=hours),
            asker=me(),
        )
    say(f"{row.id} until {row.expires_at:%Y-%m-%d %H:%M} UTC")


@commands.command("open")
def open_(
    handoff_id: Annotated[str, typer.Argument(help="As `amends handoff make` said.")],
    config: ConfigOption = None,
) -> None:
    """Print a hand-off as JSON: what was known then, and what is different now."""
    with opened(config) as application:
        found = handoff.open_(application.hub, handoff_id, me())
    row = found.row
    out.print_json(
        json.dumps(
            {
                "id": row.id,
                "complaint_id": row.complaint_id,
                "to": row.to,
                "reason": row.reason,
                "made_by": row.made_by,
                "made_at": row.made_at.isoformat(),
                "expires_at": row.expires_at.isoformat(),
                "packet": row.packet,
                "changed": found.changed,
            }
        )
    )
