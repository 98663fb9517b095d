"""What every command prints with, and how it opens the hub."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from middleware.app import Application, set_up_logging
from middleware.settings import Settings, load

out = Console()
err = Console(stderr=True)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The settings file; default AMENDS_CONFIG or amends.toml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]


def say(text: str, style: str | None = None) -> None:
    """Print one line as it is, however wide the terminal."""
    out.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def fail(message: str) -> NoReturn:
    err.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
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
