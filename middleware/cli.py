"""The `amends` command."""

from __future__ import annotations

import json
import signal
import sys
import threading
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from middleware import __version__
from middleware.app import Application, SchemaBehindError, set_up_logging
from middleware.beginning import begin
from middleware.commands import (
    actions,
    claims,
    complaints,
    drafts,
    handoff,
    incidents,
    jobs,
    people,
    policy,
    priority,
    quarantine,
    resolve,
    reviews,
    understand,
)
from middleware.commands.console import (
    ConfigOption,
    JsonOption,
    err,
    fail,
    me,
    opened,
    out,
    say,
    settings_of,
)
from middleware.contract.capabilities import Description
from middleware.contract.errors import RemoteError
from middleware.contract.mapping import MappingInvalid, Severity
from middleware.contract.mapping.fixtures import test_paths
from middleware.contract.mapping.lint import in_order, lint_paths
from middleware.contract.mapping.preview import preview_file
from middleware.contract.mapping.rendering import render
from middleware.contract.mapping.schema import written as schema_text
from middleware.domain.breaker import ALWAYS
from middleware.domain.policy_file import (
    PolicyUnreadableError,
)
from middleware.domain.problems import ProblemError
from middleware.domain.turns import Urgency
from middleware.flows.check import check
from middleware.flows.engine import WorkerRunningError
from middleware.flows.gate import Standing, shown_reason
from middleware.flows.hub import Asker
from middleware.flows.keys import make_key, revoke_key
from middleware.registry import lint_own_files, own_files
from middleware.settings import SettingsError

app = typer.Typer(
    name="amends",
    help="ERP/CRM integration hub for social customer service.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def group(name: str, text: str) -> typer.Typer:
    made = typer.Typer(help=text, no_args_is_help=True)
    app.add_typer(made, name=name)
    return made


db = group("db", "The database.")
keys = group("keys", "API keys.")
connections = group("connections", "The connections to remote systems.")
maps = group("map", "Mapping files.")
app.add_typer(actions.commands, name="actions")
app.add_typer(claims.commands, name="claims")
app.add_typer(complaints.commands, name="complaints")
app.add_typer(drafts.commands, name="drafts")
app.add_typer(handoff.commands, name="handoff")
app.add_typer(incidents.commands, name="incidents")
app.add_typer(people.commands, name="people")
app.add_typer(policy.commands, name="policy")
app.add_typer(priority.commands, name="priority")
app.add_typer(priority.reports, name="report")
app.add_typer(quarantine.commands, name="quarantine")
app.add_typer(resolve.commands, name="resolve")
app.add_typer(reviews.commands, name="reviews")
app.add_typer(jobs.commands, name="jobs")
app.add_typer(jobs.syncs, name="sync")
app.command("understand")(understand.understand)
app.command("train")(understand.train)


def main() -> None:
    """Run the command; what an operator can mend ends in one line, not in a traceback."""
    try:
        app()
    except (SettingsError, SchemaBehindError) as error:
        fail(str(error))
    except ProblemError as error:
        fail(error.detail)
    except RemoteError as error:
        fail(error.message)
    except PolicyUnreadableError as error:
        fail(str(error))
    except MappingInvalid as error:
        fail("\n".join(str(issue) for issue in error.issues))
    except WorkerRunningError:
        fail(
            "another process is working on this database already; SQLite has room for one worker."
            " Stop it, or use PostgreSQL (AMENDS_DATABASE_URL)"
        )


@app.command()
def version() -> None:
    """Say which version this is."""
    out.print(__version__, highlight=False)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write the files.")] = Path(),
    database_url: Annotated[str | None, typer.Option(help="PostgreSQL instead of SQLite.")] = None,
) -> None:
    """Write amends.toml, .env with a fresh key, and a folder for mappings."""
    for written in begin(folder, database_url=database_url):
        state = "written" if written.new else "there already, left as it is"
        say(f"{written.path}: {state}")
    out.print("Next: fill in .env, read it into the environment, and run `amends doctor`.")


@app.command()
def serve(
    config: ConfigOption = None,
    *,
    work: Annotated[bool, typer.Option(help="Also work off what is accepted.")] = True,
) -> None:
    """Serve the API, and work off what it accepts."""
    with opened(config) as application:
        if work:
            application.start()
        else:
            application.warm()
        serve_api(application)


@app.command()
def worker(config: ConfigOption = None) -> None:
    """Work off what the API accepted, without serving it. Any number may run on PostgreSQL."""
    with opened(config) as application:
        stop = threading.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda *_: stop.set())
        application.start()
        err.print("working; stop with Ctrl-C", style="dim")
        stop.wait()


@app.command()
def demo(
    *,
    erp: Annotated[str, typer.Option(help="soap, or tryton: a real ERP, built here.")] = "soap",
    once: Annotated[bool, typer.Option("--once", help="Run the story and exit.")] = False,
    as_json: JsonOption = False,
    listen: Annotated[str, typer.Option(help="Where the API is served.")] = "127.0.0.1:8080",
) -> None:
    """The main job on embedded defaults: from a complaint to a replacement order and a case."""
    from middleware.demo.story import run

    sys.exit(run(erp=erp, once=once, as_json=as_json, listen=listen, out=out))


@app.command()
def doctor(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Say what is wrong with this installation, and how to mend it."""
    from middleware.doctor import examine

    set_up_logging("ERROR")
    lines = []
    for line in examine(config):
        lines.append(line)
        if not as_json:
            style = {"✓": "green", "!": "yellow", "✗": "red"}[line.mark]
            remedy = f"  → {line.remedy}" if line.remedy and line.mark != "✓" else ""
            told = f"{line.mark} {line.what}{': ' if line.detail else ''}{line.detail}{remedy}"
            say(told, style)
    broken = sum(line.mark == "✗" for line in lines)
    if as_json:
        out.print_json(json.dumps({"ok": not broken, "lines": [asdict(line) for line in lines]}))
    sys.exit(1 if broken else 0)


@app.command("openapi")
def describe_api(
    output: Annotated[Path | None, typer.Option(help="A file; default: standard output.")] = None,
) -> None:
    """Write the API's description (OpenAPI 3.1)."""
    from middleware.api import exported

    text = exported()
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text)


@db.command("upgrade")
def upgrade(config: ConfigOption = None) -> None:
    """Bring the database's tables to what this version needs."""
    with Application(settings_of(config)) as application:
        application.migrate()
    out.print("the database is up to date")


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Who will use it.")],
    scope: Annotated[list[str], typer.Option(help="May be given several times.")],
    config: ConfigOption = None,
    days: Annotated[int | None, typer.Option(help="How long it is valid.")] = None,
    role: Annotated[str | None, typer.Option(help="What its holder is to the policy.")] = None,
) -> None:
    """Make an API key. It is shown this once."""
    with opened(config) as application:
        expires = application.hub.clock() + timedelta(days=days) if days else None
        row, key = make_key(application.hub, name, scope, expires, role=role)
    held = f"{', '.join(row.scopes)}{f'; role {row.role}' if row.role else ''}"
    say(f"{row.id} ({held}); the key, shown this once:")
    sys.stdout.write(key + "\n")


@keys.command("list")
def list_keys(config: ConfigOption = None) -> None:
    """List the API keys, without what is secret of them."""
    table = Table(
        Column("id", no_wrap=True), "name", "scopes", "role", "expires", "revoked", "last used"
    )
    with opened(config) as application, application.database.read() as uow:
        for row in uow.keys.all():
            table.add_row(
                row.id,
                row.name,
                " ".join(row.scopes),
                row.role or "",
                *(
                    moment.isoformat(timespec="minutes") if moment else ""
                    for moment in (row.expires_at, row.revoked_at, row.last_used_at)
                ),
            )
    out.print(table)


@keys.command("revoke")
def end_key(
    key_id: Annotated[str, typer.Argument(help="As `amends keys list` shows it.")],
    config: ConfigOption = None,
) -> None:
    """End an API key."""
    with opened(config) as application:
        revoke_key(application.hub, key_id)
    say(f"{key_id} is revoked")


@connections.command("check")
def check_connections(
    name: Annotated[list[str] | None, typer.Argument(help="Which ones; default: all.")] = None,
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Prove credentials and permissions of the connections, without touching anything."""
    found: dict[str, Any] = {}
    with opened(config) as application:
        declared = list(application.settings.connections)
        for wanted in name or declared:
            with err.status(f"asking {wanted} …"):
                found[wanted] = check(application.hub, wanted)
            if not as_json:
                show_check(wanted, found[wanted])
    if as_json:
        out.print_json(json.dumps(found))
    sys.exit(0 if all(health["ok"] for health in found.values()) else 1)


def show_check(name: str, health: dict[str, Any]) -> None:
    out.print(f"{name} ({health['took_ms']} ms)", style="bold", highlight=False)
    for finding in health["findings"]:
        mark, style = ("✓", "green") if finding["ok"] else ("✗", "red")
        remedy = f"  → {finding['remedy']}" if finding["remedy"] and not finding["ok"] else ""
        told = f"  {mark} {finding['name']} {finding['detail']}{remedy}"
        say(told, style)


@connections.command("list")
def list_connections(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """List the connections, and whether calls go out to them."""
    table = Table(Column("name", no_wrap=True), "adapter", "calls", "since", "until", "why")
    shown = []
    with opened(config) as application:
        standings = application.hub.gate.standings()
        with application.database.read() as uow:
            rows = uow.connections.all()
        for row in rows:
            standing = standings.get(row.name, Standing())
            breaker, reason = standing.breaker, shown_reason(standing.breaker)
            since = None if breaker.since == ALWAYS else breaker.since
            shown.append(
                {
                    "name": row.name,
                    "adapter": row.adapter,
                    "state": breaker.state.value,
                    "since": since.isoformat() if since else None,
                    "until": breaker.until.isoformat() if breaker.until else None,
                    "reason": reason,
                    "changed_by": standing.changed_by,
                }
            )
            table.add_row(
                row.name,
                row.adapter,
                breaker.state.value,
                *(m.isoformat(timespec="seconds") if m else "" for m in (since, breaker.until)),
                reason["message"] if reason else "",
            )
    if as_json:
        out.print_json(json.dumps(shown))
    else:
        out.print(table)


@connections.command("resume")
def resume_connection(
    name: Annotated[str, typer.Argument(help="One that is stopped or rests.")],
    config: ConfigOption = None,
) -> None:
    """Let calls out to a connection again; mend its credentials first."""
    with opened(config) as application:
        standing = application.hub.gate.resume(name, Asker(principal="cli"))
    reason = shown_reason(standing.breaker)
    why = f"; {reason['message']}" if reason else ""
    say(f"{name}: {standing.breaker.state.value}{why}")


@connections.command("accept-remote")
def accept_remote(
    name: Annotated[str, typer.Argument(help="One that another system answers for.")],
    config: ConfigOption = None,
) -> None:
    """Take the system that answers now for the connection's own, moved or restored.

    Its records are read anew. Give a system of somebody else a connection of its own instead: the
    ids of two may be the same.
    """
    with opened(config) as application:
        before, now = application.hub.gate.accept(name, me())
    say(f"{name}: {now}" if before in (None, now) else f"{name}: {now}, and no longer {before}")


PathsArgument = Annotated[
    list[Path] | None, typer.Argument(help="Files or folders; default: mappings.")
]


@maps.command("lint")
def lint_maps(
    paths: PathsArgument = None,
    *,
    form: Annotated[str, typer.Option("--format", help="text, json, github or sarif.")] = "text",
    connection: Annotated[
        str | None, typer.Option(help="Compare with what this remote has.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Check mapping files, and the adapters' own files beside them, such as bindings.yaml.

    With --connection also against what the remote says of itself.
    """
    description: Description | None = None
    if connection is not None:
        with opened(config) as application, err.status(f"asking {connection} …"):
            description = application.hub.gate.remote(connection, Urgency.BATCH).describe()
    given = paths or [Path("mappings")]
    own = own_files(given)
    found = lint_paths([path for path in given if path not in own], description)
    issues = in_order([*found, *lint_own_files(own)])
    sys.stdout.write(render(issues, form))
    sys.exit(1 if any(issue.severity is Severity.ERROR for issue in issues) else 0)


@maps.command("test")
def run_fixtures(paths: PathsArgument = None) -> None:
    """Run the fixtures beside mapping files."""
    results = test_paths(paths or [Path("mappings")])
    for result in results:
        say(str(result), None if result.ok else "red")
    failed = sum(not result.ok for result in results)
    say(f"{len(results) - failed} passed, {failed} failed")
    sys.exit(1 if failed or not results else 0)


@maps.command("preview")
def preview_map(
    path: Annotated[Path, typer.Argument(help="A mapping file.")],
    sample: Annotated[Path, typer.Option(help="A JSON or YAML file with one record.")],
    *,
    show_personal: Annotated[bool, typer.Option(help="Show fields marked pii.")] = False,
) -> None:
    """Show what a mapping makes of a record, field by field. Nothing is written anywhere."""
    table = Table("", "to", "from", "before", "after")
    rows = preview_file(path, sample, show_personal=show_personal)
    for row in rows:
        hidden = "(personal)"
        before = hidden if row.masked else repr(row.before)
        after = f"{row.problem} ({row.place})" if row.problem else repr(row.after)
        table.add_row(
            "✓" if row.ok else "✗",
            row.target,
            row.source,
            before,
            hidden if row.masked and row.ok else after,
        )
    out.print(table)
    sys.exit(0 if all(row.ok for row in rows) else 1)


@maps.command("schema")
def map_schema(
    output: Annotated[Path | None, typer.Option(help="A file; default: standard output.")] = None,
) -> None:
    """Write the JSON Schema of mapping files, for editors."""
    text = schema_text()
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text)


def serve_api(application: Application) -> None:
    """Serve until a signal says stop."""
    import uvicorn

    host, _, port = application.settings.listen.rpartition(":")
    uvicorn.run(
        application.api(),
        host=host or "127.0.0.1",
        port=int(port),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
