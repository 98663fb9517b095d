"""`amends people`, the ledger: who somebody is, merged, split, and undone.

What writes asks as the API does, of the same forms and the same flows. With `--preview` it is shown
what would be done, or why it would be refused, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer
from pydantic_core import to_json

from middleware.api.asking import read
from middleware.api.routes.ledger import (
    asked_split,
    change_shown,
    preview_shown,
    shown_changes,
)
from middleware.api.routes.people import shown_person, shown_resolved
from middleware.api.schemas import ledger as schemas
from middleware.api.schemas.people import (
    ClueAsked,
    PersonShown,
)
from middleware.commands.console import (
    ConfigOption,
    JsonOption,
    me,
    opened,
    out,
    refusals,
    say,
)
from middleware.commands.links import (
    AsOfOption,
    NameOption,
    PreviewOption,
    WhyOption,
    as_of_option,
    listed,
    minute,
    printed,
    reason_of,
    told_link,
)
from middleware.commands.reviews import told_candidate
from middleware.domain.ledger import checked, is_identity
from middleware.flows import merge

commands = typer.Typer()

PersonArgument = Annotated[str, typer.Argument(help="The id of a person, per_….")]
TokenOption = Annotated[
    str | None,
    typer.Option("--preview-token", help="Of --preview --json: only if the same would move still."),
]


# --- what is known ------------------------------------------------------------------------------


@commands.command("show")
def show_person(
    person_id: PersonArgument,
    config: ConfigOption = None,
    *,
    as_of: AsOfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who a person is, now or at a moment: accounts, records, links, complaints, actions."""
    at = as_of_option(as_of)
    with opened(config) as application, refusals(as_json=as_json):
        shown = shown_person(application.hub, person_id, at)
    if as_json:
        out.print_json(to_json(shown).decode())
        return
    for line in _person(PersonShown.model_validate(shown)):
        say(line)


def _person(shown: PersonShown) -> Iterator[str]:
    if shown.redirected_from is not None:
        yield f"{shown.redirected_from} was merged into {shown.id}"
    then = f", as of {minute(shown.as_of)} UTC" if shown.as_of else ""
    until = f" until {minute(shown.provisional_until)} UTC" if shown.provisional_until else ""
    yield f"{shown.id}: {shown.display_name or 'nameless'}, {shown.standing}{until}{then}"
    for one in shown.golden:
        others = f"; others say {', '.join(o.value for o in one.others)}" if one.others else ""
        yield f"  {one.field} {one.value} ({one.source}: {one.why}{others})"
    for identity in shown.identities:
        called = ", ".join(f"@{one.handle}" for one in identity.handles if one.valid_to is None)
        yield f"{identity.id}: {identity.network} {identity.native_id} {called}".rstrip()
    for record in shown.records:
        yield f"{record.ref}: {record.name or ''} as of {minute(record.as_of)} UTC"
    for link in shown.links:
        yield from told_link(link)
    for complaint in shown.complaints:
        about = f" about {complaint.order}" if complaint.order else ""
        yield f"{complaint.id}: {complaint.state} since {minute(complaint.opened_at)} UTC{about}"
    for action in shown.actions:
        about = f" for {action.order}" if action.order else ""
        yield f"{action.id}: {action.kind}, {action.state}{about}"


@commands.command("resolve")
def resolve_person(
    config: ConfigOption = None,
    *,
    network: Annotated[str, typer.Option(help="Whose --handle and --native-id are.")] = "unknown",
    handle: Annotated[str | None, typer.Option(help="What the account is called.")] = None,
    native_id: Annotated[str | None, typer.Option(help="The network's own id of it.")] = None,
    name: Annotated[str | None, typer.Option(help="The display name.")] = None,
    location: Annotated[str | None, typer.Option(help="As the profile has it.")] = None,
    email: Annotated[list[str] | None, typer.Option(help="May be given several times.")] = None,
    phone: Annotated[list[str] | None, typer.Option(help="May be given several times.")] = None,
    order: Annotated[list[str] | None, typer.Option(help="The number of an order.")] = None,
    postcode: Annotated[list[str] | None, typer.Option(help="A postal code of theirs.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Find out who somebody may be, by what is known about them. Nothing is linked."""
    body = {
        "network": network,
        "handle": handle,
        "native_id": native_id,
        "name": name,
        "location": location,
        "emails": email or [],
        "phones": phone or [],
        "order_numbers": order or [],
        "postcodes": postcode or [],
    }
    with opened(config) as application, refusals(as_json=as_json):
        shown = shown_resolved(application.hub, read(ClueAsked, body))
    if as_json:
        printed(shown)
        return
    found = shown.resolution
    say(f"{found.outcome}: {found.why}")
    for place, candidate in enumerate(found.candidates):
        say(f"  {told_candidate(place, candidate)}")
    for source in found.sources:
        if source.why:
            say(f"{source.connection}: {source.status}, {source.why}", "yellow")


@commands.command("changes")
def list_changes(
    person_id: PersonArgument, config: ConfigOption = None, *, as_json: JsonOption = False
) -> None:
    """List the merges and splits that a person was part of, with the ids to undo them by."""
    with opened(config) as application, refusals(as_json=as_json):
        shown = shown_changes(application.hub, person_id)
    if as_json:
        printed(shown)
        return
    for one in shown:
        undone = f", undone by {one.undone_by}" if one.undone_by else ""
        undoes = f" of {one.undoes}" if one.undoes else ""
        say(
            f"{one.id}: {one.kind}{undoes}, {one.person_id} and {one.other_id},"
            f" {minute(one.made_at)} UTC by {one.made_by}: {one.reason}{undone}"
        )


# --- merge, split, undo -------------------------------------------------------------------------


@commands.command("merge")
def merge_people(
    person_id: Annotated[str, typer.Argument(help="The person who stays, per_….")],
    other_id: Annotated[str, typer.Argument(help="The one whose id leads there from then on.")],
    config: ConfigOption = None,
    *,
    reason: WhyOption = None,
    preview_token: TokenOption = None,
    preview: PreviewOption = False,
    as_json: JsonOption = False,
) -> None:
    """Merge a person into another one. Nothing is lost; `undo` moves exactly that back."""
    why = reason_of(reason, preview=preview)
    with opened(config) as application, refusals(as_json=as_json):
        hub = application.hub
        body = {"other_id": other_id, "reason": why, "preview_token": preview_token}
        asked = read(schemas.MergeWanted, body)
        if preview:
            seen = merge.preview_merge(hub, person_id, asked.other_id)
            _tell_preview(preview_shown(seen), as_json=as_json)
            return
        row = merge.merge(
            hub,
            person_id,
            asked.other_id,
            reason=asked.reason,
            asker=me(),
            token=asked.preview_token,
        )
    _tell_change(change_shown(row), as_json=as_json)


@commands.command("split")
def split_person(
    person_id: PersonArgument,
    things: Annotated[
        list[str], typer.Argument(help="What leaves: idn_… or connection:contact:id of theirs.")
    ],
    config: ConfigOption = None,
    *,
    complaint: Annotated[
        list[str] | None,
        typer.Option(help="Beside those that the accounts wrote; may be given several times."),
    ] = None,
    name: NameOption = None,
    reason: WhyOption = None,
    preview_token: TokenOption = None,
    preview: PreviewOption = False,
    as_json: JsonOption = False,
) -> None:
    """Move accounts and records of a person to a new one, and hold the two apart."""
    why = reason_of(reason, preview=preview)
    with opened(config) as application, refusals(as_json=as_json):
        hub = application.hub
        leaving = [checked(thing, "/things") for thing in things]
        body = {
            "identities": [thing for thing in leaving if is_identity(thing)],
            "records": [thing for thing in leaving if not is_identity(thing)],
            "complaints": complaint or [],
            "display_name": name,
            "reason": why,
            "preview_token": preview_token,
        }
        asked = read(schemas.SplitWanted, body)
        if preview:
            seen = merge.preview_split(hub, person_id, asked_split(asked))
            _tell_preview(preview_shown(seen), as_json=as_json)
            return
        row = merge.split(
            hub,
            person_id,
            asked_split(asked),
            reason=asked.reason,
            asker=me(),
            token=asked.preview_token,
        )
    _tell_change(change_shown(row), as_json=as_json)


@commands.command("undo")
def undo_change(
    change_id: Annotated[str, typer.Argument(help="chg_…, as `amends people changes` has it.")],
    config: ConfigOption = None,
    *,
    reason: WhyOption = None,
    preview: PreviewOption = False,
    as_json: JsonOption = False,
) -> None:
    """Undo a merge or a split: what it moved goes back, and what came to it since goes along."""
    with opened(config) as application, refusals(as_json=as_json):
        hub = application.hub
        why = read(schemas.ChangeUndone, {"reason": reason_of(reason, preview=preview)}).reason
        made = (
            merge.preview_undo(hub, change_id, asker=me())
            if preview
            else merge.undo(hub, change_id, reason=why, asker=me())
        )
    shown = change_shown(made.change, made.left_out)
    if preview and as_json:
        kept = {"kind", "undoes", "person_id", "other_id", *asdict(merge.Moves()), "left_out"}
        out.print_json(shown.model_dump_json(include=kept))
        return
    _tell_change(shown, as_json=as_json, preview=preview)


def _tell_preview(shown: schemas.ChangePreviewShown, *, as_json: bool) -> None:
    """Print what would move; the exit status says whether it would be refused."""
    if as_json:
        printed(shown)
    else:
        whom = f"{shown.other_id} into {shown.person_id}" if shown.other_id else shown.person_id
        say(f"{shown.kind} {whom}: preview token {shown.preview_token}")
        for what, ids in shown.moves.model_dump().items():
            listed(f"{what.replace('_', ' ')} that would move", ids)
        for conflict in shown.conflicts:
            say(f"it would be refused ({conflict.kind}): {conflict.detail}", "red")
    if shown.conflicts:
        raise typer.Exit(1)


def _tell_change(shown: schemas.ChangeShown, *, as_json: bool, preview: bool = False) -> None:
    if as_json:
        printed(shown)
        return
    undoes = f" of {shown.undoes}" if shown.undoes else ""
    told = f"{shown.kind}{undoes}, {shown.person_id} and {shown.other_id}"
    say(f"it would be: {told}" if preview else f"{shown.id}: {told}")
    for what in ("identities", "records", "complaints", "actions"):
        listed(f"{what} that {'would move' if preview else 'moved'}", getattr(shown, what))
    listed("left out, unlinked since", shown.left_out)
