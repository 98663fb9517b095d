"""`amends policy`: which remedies go through, and who must approve them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from middleware.commands import versions
from middleware.commands.console import ConfigOption, JsonOption, opened, out, say
from middleware.domain.policy import Outcome, Verdict
from middleware.domain.policy_file import (
    body_of,
    read_policy,
    text_of,
)
from middleware.flows.backtest import Backtest, backtest
from middleware.flows.policies import POLICY

commands = typer.Typer(
    help="Which remedies go through, and who must approve them.", no_args_is_help=True
)


@commands.command("show")
def show_policy(
    number: Annotated[int | None, typer.Argument(help="A version; default: in force.")] = None,
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show the policy in force, or an earlier version."""
    versions.show(
        POLICY, number, config, body_of=body_of, text_of=text_of, field="policy", as_json=as_json
    )


@commands.command("check")
def check_policy(
    file: Annotated[Path, typer.Argument(help="A policy file.")], *, as_json: JsonOption = False
) -> None:
    """Check a policy file without putting it in force; mistakes come with file:line:column."""
    versions.check(
        file,
        read_policy,
        lambda policy: f"{len(policy.rules)} rules, {len(policy.caps)} caps",
        as_json=as_json,
    )


@commands.command("put")
def put_policy(
    file: Annotated[Path | None, typer.Argument(help="A policy file.")] = None,
    config: ConfigOption = None,
    *,
    back_to: Annotated[int | None, typer.Option(help="An earlier version instead.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
) -> None:
    """Put a policy in force as a new version, or with --back-to an earlier one again."""
    version = versions.put(POLICY, file, back_to, config, read=read_policy, reason=reason)
    say(f"version {version} is in force")


@commands.command("versions")
def list_policies(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """List the versions of the policy, newest first."""
    versions.list_all(POLICY, config, as_json=as_json)


@commands.command("backtest")
def backtest_policy(
    file: Annotated[Path, typer.Argument(help="A policy file.")],
    config: ConfigOption = None,
    *,
    since: Annotated[
        datetime | None, typer.Option("--from", help="UTC; default: 30 days before --to.")
    ] = None,
    until: Annotated[datetime | None, typer.Option("--to", help="UTC; default: now.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a policy would have said to past actions. Nothing is written."""
    policy = read_policy(file)
    found: list[Backtest] = []
    with opened(config) as application:
        to = until.replace(tzinfo=UTC) if until else application.hub.clock()
        begin_at = since.replace(tzinfo=UTC) if since else to - timedelta(days=30)
        after = None
        while not found or after is not None:
            part = backtest(application.hub, policy, since=begin_at, until=to, after=after)
            found.append(part)
            after = part.after
    differences = [difference for part in found for difference in part.differences]
    judged = sum(part.judged for part in found)
    totals = {
        outcome: (
            sum(part.was[outcome].count for part in found),
            sum(part.would[outcome].count for part in found),
        )
        for outcome in Outcome
    }
    if as_json:
        shown = [
            {
                "action": difference.action_id,
                "at": difference.created_at.isoformat(),
                "operation": difference.operation,
                "value": str(difference.value) if difference.value else None,
                "was": told_verdict(difference.was),
                "would": told_verdict(difference.would),
            }
            for difference in differences
        ]
        outcomes = {name: {"was": was, "would": would} for name, (was, would) in totals.items()}
        told = {"judged": judged, "differing": len(shown), "outcomes": outcomes}
        out.print_json(json.dumps({**told, "differences": shown}))
        return
    table = Table("action", "asked for", "what", "worth", "was", "would be")
    for difference in differences:
        table.add_row(
            difference.action_id,
            difference.created_at.isoformat(timespec="minutes"),
            difference.operation,
            str(difference.value or ""),
            difference.was.outcome,
            f"{difference.would.outcome}: {'; '.join(map(str, difference.would.says))}",
        )
    if differences:
        out.print(table)
    changes = ", ".join(f"{name} {was} → {would}" for name, (was, would) in totals.items())
    say(f"{judged} actions judged, {len(differences)} differ ({changes})")


def told_verdict(verdict: Verdict) -> dict[str, Any]:
    return {"outcome": verdict.outcome, "rules": [word.rule for word in verdict.says]}
