"""The `amends` command."""

from __future__ import annotations

import json
import secrets
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from middleware import __version__
from middleware.app import Application, SchemaBehindError, set_up_logging
from middleware.contract.mapping import MappingInvalid
from middleware.flows.engine import WorkerRunningError
from middleware.settings import Settings, SettingsError, load

app = typer.Typer(
    name="amends",
    help="ERP/CRM integration hub for social customer service.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
db = typer.Typer(help="The database.", no_args_is_help=True)
app.add_typer(db, name="db")

out = Console()
err = Console(stderr=True)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The settings file; default AMENDS_CONFIG or amends.toml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]


def main() -> None:
    """Run the command; what an operator can mend ends in one line, not in a traceback."""
    try:
        app()
    except (SettingsError, SchemaBehindError) as error:
        fail(str(error))
    except MappingInvalid as error:
        fail("\n".join(str(issue) for issue in error.issues))
    except WorkerRunningError:
        fail(
            "another process is working on this database already; SQLite has room for one worker."
            " Stop it, or use PostgreSQL (AMENDS_DATABASE_URL)"
        )


def fail(message: str) -> NoReturn:
    err.print(message, style="red", markup=False, highlight=False)
    sys.exit(1)


def settings_of(config: Path | None) -> Settings:
    settings = load(config)
    set_up_logging(settings.log_level)
    return settings


@contextmanager
def opened(config: Path | None) -> Iterator[Application]:
    """The hub with its database open; no worker."""
    with Application(settings_of(config)) as application:
        application.open()
        yield application


@app.command()
def version() -> None:
    """Say which version this is."""
    out.print(__version__)


@app.command()
def serve(config: ConfigOption = None, *, work: bool = True) -> None:
    """Serve the API, and work off what it accepts (without it: --no-work)."""
    import uvicorn

    with opened(config) as application:
        if work:
            application.start()
        else:
            application.warm()
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


@app.command()
def worker(config: ConfigOption = None) -> None:
    """Work off what the API accepted, without serving it. Any number may run on PostgreSQL."""
    with opened(config) as application:
        application.start()
        stop = threading.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda *_: stop.set())
        err.print("working; stop with Ctrl-C", style="dim")
        stop.wait()


@db.command("upgrade")
def upgrade(config: ConfigOption = None) -> None:
    """Bring the database's tables to what this version needs."""
    with Application(settings_of(config)) as application:
        application.migrate()
    out.print("the database is up to date")
