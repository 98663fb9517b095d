"""`amends people`: what the hub knows its customers by."""

from __future__ import annotations

import typer

from middleware.commands.console import ConfigOption, opened, say
from middleware.flows.index import index_again

commands = typer.Typer(help="What the hub knows its customers by.", no_args_is_help=True)


@commands.callback()
def _commands() -> None:
    """Keeps a single command a command of its own name."""


@commands.command("index")
def index(config: ConfigOption = None) -> None:
    """Put every stored contact and account into the index of likenesses anew.

    Needed once after an upgrade from a version without one; records stored since are in it.
    """
    with opened(config) as application:
        seen = index_again(application.hub)
    say(f"{seen} contacts and accounts are in the index")
