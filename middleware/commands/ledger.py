"""`amends people`, the ledger: who somebody is, said by links, and how that is changed and undone.

What writes asks as the API does, of the same forms and the same flows. With `--preview` it is shown
what would be done, or why it would be refused, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer
from pydantic_core import to_json

from middleware.api.asking import read
from middleware.api.routes.ledger import (
    asked_split,
    cannot_shown,
    change_shown,
    preview_shown,
    shown_changes,
)
from middleware.api.routes.links import asked_link, explained_shown, link_shown
from middleware.api.routes.people import shown_person, shown_resolved
from middleware.api.schemas import ledger as schemas
from middleware.api.schemas.people import (
    ClueAsked,
    LinkExplained,
    LinkRestored,
    LinkRevoked,
    LinkShown,
    LinkWanted,
    PersonShown,
    StrengthShown,
)
from middleware.commands.console import (
    ConfigOption,
    JsonOption,
    fail,
    me,
    moment,
    opened,
    out,
    refusals,
    say,
)
from middleware.commands.reviews import told_candidate
from middleware.contract.canonical import Ref
from middleware.domain.identity import Basis
from middleware.domain.ledger import checked, is_identity, is_person
from middleware.flows import cannot, merge
from middleware.flows import link as links
from middleware.store import queries

commands = typer.Typer()
apart = typer.Typer(help="Two things that are not one customer.", no_args_is_help=True)
commands.add_typer(apart, name="cannot-links")

PersonArgument = Annotated[str, typer.Argument(help="The id of a person, per_….")]
ThingArgument = Annotated[str, typer.Argument(help="per_…, idn_…, or connection:contact:id.")]
LinkArgument = Annotated[
    str, typer.Argument(help="The id of a link, lnk_…, as `amends people show` has it.")
]
ReasonOption = Annotated[str, typer.Option(help="Why, for the record.")]
WhyOption = Annotated[
    str | None, typer.Option("--reason", help="Why, for the record; not needed to look only.")
]
PreviewOption = Annotated[
    bool, typer.Option("--preview", help="Show what it would do; nothing is written.")
]
AsOfOption = Annotated[
    str | None, typer.Option("--as-of", help="Such as 2026-11-20T00:00:00Z; default: now.")
]
VersionOption = Annotated[
    int | None, typer.Option(min=1, help="Only if it is at this version still.")
]
TokenOption = Annotated[
    str | None,
    typer.Option("--preview-token", help="Of --preview --json: only if the same would move still."),
]
NameOption = Annotated[str | None, typer.Option("--name", help="The name of the new person.")]


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
    at = _at(as_of)
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
    then = f", as of {_minute(shown.as_of)} UTC" if shown.as_of else ""
    until = f" until {_minute(shown.provisional_until)} UTC" if shown.provisional_until else ""
    yield f"{shown.id}: {shown.display_name or 'nameless'}, {shown.standing}{until}{then}"
    for one in shown.golden:
        others = f"; others say {', '.join(o.value for o in one.others)}" if one.others else ""
        yield f"  {one.field} {one.value} ({one.source}: {one.why}{others})"
    for identity in shown.identities:
        called = ", ".join(f"@{one.handle}" for one in identity.handles if one.valid_to is None)
        yield f"{identity.id}: {identity.network} {identity.native_id} {called}".rstrip()
    for record in shown.records:
        yield f"{record.ref}: {record.name or ''} as of {_minute(record.as_of)} UTC"
    for link in shown.links:
        yield from _link(link)
    for complaint in shown.complaints:
        about = f" about {complaint.order}" if complaint.order else ""
        yield f"{complaint.id}: {complaint.state} since {_minute(complaint.opened_at)} UTC{about}"
    for action in shown.actions:
        about = f" for {action.order}" if action.order else ""
        yield f"{action.id}: {action.kind}, {action.state}{about}"


def _link(shown: LinkShown) -> Iterator[str]:
    what = shown.identity_id or shown.record
    until = f" to {_minute(shown.valid_to)}" if shown.valid_to else ""
    yield (
        f"{shown.id}: {what} is {shown.person_id} from {_minute(shown.valid_from)}{until} UTC:"
        f" {shown.basis}, {shown.confidence:.4g}, decided by {shown.decided_by}"
        f" (version {shown.version})"
    )
    for piece in shown.evidence:
        yield f"  {piece.weight:+.1f} bits: {piece.detail} ({piece.kind}, {piece.basis})"
    if shown.revoked_by is not None:
        yield f"  ended by {shown.revoked_by}: {shown.revoked_reason}"


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
    }
    with opened(config) as application, refusals(as_json=as_json):
        shown = shown_resolved(application.hub, read(ClueAsked, body))
    if as_json:
        _print(shown)
        return
    found = shown.resolution
    say(f"{found.outcome}: {found.why}")
    for place, candidate in enumerate(found.candidates):
        say(f"  {told_candidate(place, candidate)}")
    for source in found.sources:
        if source.why:
            say(f"{source.connection}: {source.status}, {source.why}", "yellow")


@commands.command("links")
def list_links(
    thing: ThingArgument,
    config: ConfigOption = None,
    *,
    as_of: AsOfOption = None,
    history: Annotated[bool, typer.Option("--history", help="Ended ones too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: JsonOption = False,
) -> None:
    """List the links of a person, an account or a record, oldest first: whose it is, or was."""
    at = _at(as_of)
    with opened(config) as application, refusals(as_json=as_json):
        whose = checked(thing, "/thing")
        with application.database.read() as uow:
            rows = queries.links(
                uow,
                persons=queries.persons_of(uow, whose, as_of=at, history=history)
                if is_person(whose)
                else None,
                identity_id=whose if is_identity(whose) else None,
                record=None if is_person(whose) or is_identity(whose) else Ref.parse(whose),
                as_of=at,
                history=history,
                limit=limit,
            )
    shown = [link_shown(row) for row in rows]
    if as_json:
        _print(shown)
        return
    for one in shown:
        for line in _link(one):
            say(line)


@commands.command("changes")
def list_changes(
    person_id: PersonArgument, config: ConfigOption = None, *, as_json: JsonOption = False
) -> None:
    """List the merges and splits that a person was part of, with the ids to undo them by."""
    with opened(config) as application, refusals(as_json=as_json):
        shown = shown_changes(application.hub, person_id)
    if as_json:
        _print(shown)
        return
    for one in shown:
        undone = f", undone by {one.undone_by}" if one.undone_by else ""
        undoes = f" of {one.undoes}" if one.undoes else ""
        say(
            f"{one.id}: {one.kind}{undoes}, {one.person_id} and {one.other_id},"
            f" {_minute(one.made_at)} UTC by {one.made_by}: {one.reason}{undone}"
        )


# --- links --------------------------------------------------------------------------------------


@commands.command("link")
def link_thing(
    person: Annotated[
        str, typer.Argument(help="per_…, or `new` for somebody whom the hub does not have.")
    ],
    thing: Annotated[
        str, typer.Argument(help="idn_…, connection:contact:id, or with --network its id there.")
    ],
    config: ConfigOption = None,
    *,
    reason: WhyOption = None,
    network: Annotated[
        str | None, typer.Option(help="The network of an account that the hub never saw.")
    ] = None,
    basis: Annotated[Basis, typer.Option(help="How you know.")] = Basis.AGENT,
    name: NameOption = None,
    although_revoked: Annotated[
        bool,
        typer.Option("--although-revoked", help="You know that somebody took the two apart."),
    ] = False,
    preview: PreviewOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say that a person is an account on a network, or a record, on your word."""
    body: dict[str, Any] = {
        "person_id": None if person == "new" else person,
        "display_name": name,
        "basis": basis,
        "reason": _why(reason, preview=preview),
        "although_revoked": although_revoked,
    }
    with opened(config) as application, refusals(as_json=as_json):
        hub = application.hub
        if network is not None:
            body["identity"] = {"network": network, "native_id": thing}
        else:
            whose = checked(thing, "/thing")
            body["identity_id" if is_identity(whose) else "record"] = whose
        asked = asked_link(read(LinkWanted, body))
        if preview:
            _tell_link_preview(links.preview_link(hub, asked, me()), as_json=as_json)
            return
        link_id, new = links.put_link(hub, asked, me())
        with application.database.read() as uow:
            row = uow.people.link(link_id)
        assert row is not None, "a link that was put is there"
    shown = link_shown(row)
    if as_json:
        _print(shown)
        return
    if not new:
        say("it was there:")
    for line in _link(shown):
        say(line)


def _tell_link_preview(seen: links.LinkPreview, *, as_json: bool) -> None:
    there = link_shown(seen.link) if seen.link is not None else None
    if as_json:
        _print(
            {
                "person_id": seen.person_id,
                "link": there,
                "complaints": seen.complaints,
                "leads": seen.leads,
            }
        )
        return
    if there is not None:
        say(f"it is {there.person_id} already, by {there.id}")
        return
    say(f"it would be {seen.person_id or 'a new person'}")
    if seen.leads is not None:
        say(f"{seen.leads}, who is provisional, would lead there")
    _list("complaints shown under them from then on", seen.complaints)


@commands.command("unlink")
def unlink(
    link_id: LinkArgument,
    config: ConfigOption = None,
    *,
    reason: WhyOption = None,
    version: VersionOption = None,
    preview: PreviewOption = False,
    as_json: JsonOption = False,
) -> None:
    """End a link that was wrong, and say what was shown, done and written on its strength.

    Nothing of that is undone by itself. The two are held apart from then on; `restore` takes the
    ending back.
    """
    with opened(config) as application, refusals(as_json=as_json):
        hub = application.hub
        why = read(LinkRevoked, {"reason": _why(reason, preview=preview)}).reason
        row, strength = (
            links.preview_revoke(hub, link_id, version=version)
            if preview
            else links.revoke_link(hub, link_id, version=version, reason=why, asker=me())
        )
    shown: LinkExplained = explained_shown(row, strength)
    if as_json:
        _print(shown)
        return
    for line in _link(shown.link):
        say(line)
    _strength(shown.done_on_its_strength)


def _strength(shown: StrengthShown) -> None:
    _list("complaints shown with it", shown.complaints)
    _list("orders shown as theirs", shown.orders)
    _list("actions taken", shown.actions)
    _list("notes written", shown.notes)


@commands.command("restore")
def restore(
    link_id: LinkArgument,
    config: ConfigOption = None,
    *,
    reason: ReasonOption,
    as_json: JsonOption = False,
) -> None:
    """Take the ending of a link back: it holds again, with the evidence it had, under a new id."""
    with opened(config) as application, refusals(as_json=as_json):
        why = read(LinkRestored, {"reason": reason}).reason
        row = links.restore_link(application.hub, link_id, reason=why, asker=me())
    shown = link_shown(row)
    if as_json:
        _print(shown)
        return
    for line in _link(shown):
        say(line)


# --- cannot-links -------------------------------------------------------------------------------


@apart.command("list")
def list_cannot_links(
    thing: ThingArgument,
    config: ConfigOption = None,
    *,
    history: Annotated[bool, typer.Option("--history", help="Lifted ones too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List what somebody said that a thing is not, oldest first."""
    with opened(config) as application, refusals(as_json=as_json):
        whose = checked(thing, "/thing")
        with application.database.read() as uow:
            things = uow.ledger.family(whose) if is_person(whose) else {whose}
            rows = uow.ledger.cannot_links_of(things, ended=history)
    shown = [cannot_shown(row) for row in rows]
    if as_json:
        _print(shown)
        return
    for one in shown:
        say(_apart(one))


@apart.command("put")
def put_cannot_link(
    one: ThingArgument,
    other: Annotated[str, typer.Argument(help="Another one.")],
    config: ConfigOption = None,
    *,
    reason: ReasonOption,
    as_json: JsonOption = False,
) -> None:
    """Hold two things apart: nothing automatic links them from now on."""
    with opened(config) as application, refusals(as_json=as_json):
        body = {"one": one, "other": other, "reason": reason}
        asked = read(schemas.CannotLinkWanted, body)
        row, _ = cannot.put(
            application.hub, asked.one, asked.other, reason=asked.reason, asker=me()
        )
    _tell_apart(cannot_shown(row), as_json=as_json)


@apart.command("lift")
def lift_cannot_link(
    cannot_link_id: Annotated[str, typer.Argument(help="cnl_…, as `list` has it.")],
    config: ConfigOption = None,
    *,
    reason: ReasonOption,
    version: VersionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let two things be one customer again. Nothing is linked by this; it may be, from now on."""
    with opened(config) as application, refusals(as_json=as_json):
        why = read(schemas.CannotLinkLifted, {"reason": reason}).reason
        row = cannot.lift(application.hub, cannot_link_id, version=version, reason=why, asker=me())
    _tell_apart(cannot_shown(row), as_json=as_json)


def _tell_apart(shown: schemas.CannotLinkShown, *, as_json: bool) -> None:
    if as_json:
        _print(shown)
    else:
        say(_apart(shown))


def _apart(shown: schemas.CannotLinkShown) -> str:
    lifted = f"; lifted by {shown.lifted_by}: {shown.lifted_reason}" if shown.lifted_by else ""
    return (
        f"{shown.id}: {shown.one} is not {shown.other}, said {shown.decided_by}: {shown.reason}"
        f" (version {shown.version}){lifted}"
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
    why = _why(reason, preview=preview)
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
    why = _why(reason, preview=preview)
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
        why = read(schemas.ChangeUndone, {"reason": _why(reason, preview=preview)}).reason
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
        _print(shown)
    else:
        whom = f"{shown.other_id} into {shown.person_id}" if shown.other_id else shown.person_id
        say(f"{shown.kind} {whom}: preview token {shown.preview_token}")
        for what, ids in shown.moves.model_dump().items():
            _list(f"{what.replace('_', ' ')} that would move", ids)
        for conflict in shown.conflicts:
            say(f"it would be refused ({conflict.kind}): {conflict.detail}", "red")
    if shown.conflicts:
        raise typer.Exit(1)


def _tell_change(shown: schemas.ChangeShown, *, as_json: bool, preview: bool = False) -> None:
    if as_json:
        _print(shown)
        return
    undoes = f" of {shown.undoes}" if shown.undoes else ""
    told = f"{shown.kind}{undoes}, {shown.person_id} and {shown.other_id}"
    say(f"it would be: {told}" if preview else f"{shown.id}: {told}")
    for what in ("identities", "records", "complaints", "actions"):
        _list(f"{what} that {'would move' if preview else 'moved'}", getattr(shown, what))
    _list("left out, unlinked since", shown.left_out)


# --- the parts of all ---------------------------------------------------------------------------


def _why(reason: str | None, *, preview: bool) -> str:
    if reason is None and not preview:
        fail("say why with --reason, or look first with --preview")
    return reason if reason is not None else "looked at only"


def _at(as_of: str | None) -> datetime | None:
    return None if as_of is None else moment("--as-of", as_of)


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"


def _list(title: str, ids: Sequence[str]) -> None:
    if ids:
        say(f"{title}: {', '.join(ids)}")


def _print(shown: Any) -> None:
    """As the API answers it."""
    out.print_json(to_json(shown).decode())
