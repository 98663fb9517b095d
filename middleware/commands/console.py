"""What every command prints with, and how it opens the hub."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from middleware.app import Application, set_up_logging
from middleware.domain.problems import ProblemError
from middleware.flows.hub import Asker
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


def me() -> Asker:
    """Whoever sits at this console."""
    return Asker(f"cli:{getpass.getuser()}")


def moment(name: str, text: str) -> datetime:
    """A moment with its time zone; `name` is the option that it was given as."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{name}: {text!r} is no moment; write 2026-11-20T00:00:00Z")
    if found.tzinfo is None:
        fail(f"{name}: say which time zone, such as {text}Z or {text}+01:00")
    return found.astimezone(UTC)


@contextmanager
def refusals(*, as_json: bool) -> Iterator[None]:
    """End the command where the hub refuses, with every place that is wrong.

    As JSON it is told what the API would answer: the problem's slug, and what is in the way.
    """
    try:
        yield
    except ProblemError as error:
        if as_json:
            told = {"code": error.slug, "detail": error.detail, "errors": error.errors}
            out.print_json(json.dumps({**told, **error.more}))
        places = [f"{one['pointer'].removeprefix('/')}: {one['detail']}" for one in error.errors]
        fail("\n".join([error.detail, *places]))


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
