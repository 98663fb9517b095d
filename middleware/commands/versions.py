"""What the commands of documents with versions share: `amends policy` and `amends priority`."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from rich.table import Table

from middleware.commands.console import err, fail, opened, out, say
from middleware.domain.policy_file import Mistake, PolicyUnreadableError
from middleware.flows.hub import Asker
from middleware.flows.versions import Document

D = TypeVar("D")


def show(
    document: Document[D],
    number: int | None,
    config: Path | None,
    *,
    body_of: Callable[[D], dict[str, Any]],
    text_of: Callable[[D], str],
    field: str,
    as_json: bool,
) -> None:
    """Show the version in force, or the one of that number; in JSON its body is in `field`."""
    with opened(config) as application, application.database.read() as uow:
        hub = application.hub
        found = (
            document.in_force(hub, uow) if number is None else document.version(hub, uow, number)
        )
    if as_json:
        shown = {"version": found.version, "source": found.source, "author": found.author}
        out.print_json(json.dumps({**shown, field: body_of(found.document)}))
        return
    since = f" since {found.created_at:%Y-%m-%d %H:%M} UTC" if found.created_at else ""
    say(f"# version {found.version}{since}, by {found.author} ({found.source})")
    sys.stdout.write(text_of(found.document))


def check(
    file: Path,
    read: Callable[[Path], D],
    told: Callable[[D], str],
    *,
    warned: Callable[[D, Path], Sequence[Mistake]] = lambda *_: (),
    as_json: bool,
) -> None:
    """Check a file without putting it in force; the exit status says whether it is right.

    What `warned` finds is told, and is no mistake.
    """
    try:
        document = read(file)
    except PolicyUnreadableError as error:
        _unreadable(error, as_json=as_json)
    warnings = warned(document, file)
    if as_json:
        out.print_json(
            json.dumps({"ok": True, "mistakes": [], "warnings": [_told(w) for w in warnings]})
        )
    else:
        for warning in warnings:
            err.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)
        say(f"{file}: {told(document)}")


def _unreadable(error: PolicyUnreadableError, *, as_json: bool) -> NoReturn:
    if not as_json:
        fail(str(error))
    mistakes = [_told(mistake) for mistake in error.mistakes]
    out.print_json(json.dumps({"ok": False, "mistakes": mistakes}))
    sys.exit(1)


def _told(mistake: Mistake) -> dict[str, str]:
    return {"at": str(mistake.place), "message": mistake.message}


def put(
    document: Document[D],
    file: Path | None,
    back_to: int | None,
    config: Path | None,
    *,
    read: Callable[[Path], D],
    reason: str | None,
) -> int:
    """Put a file, or an earlier version again, in force; answers which version that is now."""
    if (file is None) == (back_to is None):
        fail(f"name a {document.title}, or an earlier version with --back-to")
    new = read(file) if file is not None else None
    asker = Asker(f"cli:{getpass.getuser()}")
    with opened(config) as application:
        hub = application.hub
        if new is not None:
            made = document.put(hub, new, asker=asker, source="cli", reason=reason)
        else:
            assert back_to is not None
            made = document.put_back(hub, back_to, asker=asker, source="cli", reason=reason)
    return made.version


def list_all(document: Document[D], config: Path | None, *, as_json: bool) -> None:
    """List the versions, newest first."""
    with opened(config) as application, application.database.read() as uow:
        rows = document.rows(uow).page(before=None, limit=200)
    if as_json:
        shown = [
            {
                "version": row.version,
                "created_at": row.created_at.isoformat(),
                "source": row.source,
                "author": row.author,
                "reason": row.reason,
            }
            for row in rows
        ]
        out.print_json(json.dumps({"versions": shown}))
        return
    table = Table("version", "since", "from", "by", "why")
    for row in rows:
        moment = row.created_at.isoformat(timespec="minutes")
        table.add_row(str(row.version), moment, row.source, row.author, row.reason or "")
    out.print(table)
