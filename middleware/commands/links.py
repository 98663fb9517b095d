"""`amends people`, its links: whose an account or a record is, and what is not one customer.

What writes asks as the API does, of the same forms and the same flows. With `--preview` it is shown
what would be done, or why it would be refused, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from pydantic_core import to_json

from middleware.api.asking import read
from middleware.api.routes.ledger import (
    cannot_shown,
)
from middleware.api.routes.links import asked_link, explained_shown, link_shown
from middleware.api.schemas import ledger as schemas
from middleware.api.schemas.people import (
    LinkExplained,
    LinkRestored,
    LinkRevoked,
    LinkShown,
    LinkWanted,
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
from middleware.contract.canonical import Ref
from middleware.domain.identity import Basis
from middleware.domain.ledger import checked, is_identity, is_person
from middleware.flows import cannot
from middleware.flows import link as links
from middleware.store import queries

commands = typer.Typer()
apart = typer.Typer(help="Two things that are not one customer.", no_args_is_help=True)
commands.add_typer(apart, name="cannot-links")

ThingArgument = Annotated[str, typer.Argument(help="per_…, idn_…, or connection:contact:id.")]
LinkArgument = Annotated[
    str, typer.Argument(help="The id of a link, lnk_…, as `amends people show` has it.")
]
ReasonOption = Annotated[str, typer.Option(help="Why, for the record.")]
VersionOption = Annotated[
    int | None, typer.Option(min=1, help="Only if it is at this version still.")
]
AsOfOption = Annotated[
    str | None, typer.Option("--as-of", help="Such as 2026-11-20T00:00:00Z; default: now.")
]
NameOption = Annotated[str | None, typer.Option("--name", help="The name of the new person.")]
PreviewOption = Annotated[
    bool, typer.Option("--preview", help="Show what it would do; nothing is written.")
]
WhyOption = Annotated[
    str | None, typer.Option("--reason", help="Why, for the record; not needed to look only.")
]


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
    at = as_of_option(as_of)
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
        printed(shown)
        return
    for one in shown:
        for line in told_link(one):
            say(line)


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
        "reason": reason_of(reason, preview=preview),
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
        printed(shown)
        return
    if not new:
        say("it was there:")
    for line in told_link(shown):
        say(line)


def _tell_link_preview(seen: links.LinkPreview, *, as_json: bool) -> None:
    there = link_shown(seen.link) if seen.link is not None else None
    if as_json:
        printed(
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
    listed("complaints shown under them from then on", seen.complaints)


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
        why = read(LinkRevoked, {"reason": reason_of(reason, preview=preview)}).reason
        row, strength = (
            links.preview_revoke(hub, link_id, version=version)
            if preview
            else links.revoke_link(hub, link_id, version=version, reason=why, asker=me())
        )
    shown: LinkExplained = explained_shown(row, strength)
    if as_json:
        printed(shown)
        return
    for line in told_link(shown.link):
        say(line)
    _strength(shown.done_on_its_strength)


def _strength(shown: StrengthShown) -> None:
    listed("complaints shown with it", shown.complaints)
    listed("orders shown as theirs", shown.orders)
    listed("actions taken", shown.actions)
    listed("notes written", shown.notes)


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
        printed(shown)
        return
    for line in told_link(shown):
        say(line)


def told_link(shown: LinkShown) -> Iterator[str]:
    """A link in lines: whose, since when, by whom, and each piece of evidence."""
    what = shown.identity_id or shown.record
    until = f" to {minute(shown.valid_to)}" if shown.valid_to else ""
    yield (
        f"{shown.id}: {what} is {shown.person_id} from {minute(shown.valid_from)}{until} UTC:"
        f" {shown.basis}, {shown.confidence:.4g}, decided by {shown.decided_by}"
        f" (version {shown.version})"
    )
    for piece in shown.evidence:
        yield f"  {piece.weight:+.1f} bits: {piece.detail} ({piece.kind}, {piece.basis})"
    if shown.revoked_by is not None:
        yield f"  ended by {shown.revoked_by}: {shown.revoked_reason}"


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
            things = uow.ledger.family(uow.ledger.now(whose)) if is_person(whose) else {whose}
            rows = uow.ledger.cannot_links_of(things, ended=history)
    shown = [cannot_shown(row) for row in rows]
    if as_json:
        printed(shown)
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
        printed(shown)
    else:
        say(_apart(shown))


def _apart(shown: schemas.CannotLinkShown) -> str:
    lifted = f"; lifted by {shown.lifted_by}: {shown.lifted_reason}" if shown.lifted_by else ""
    return (
        f"{shown.id}: {shown.one} is not {shown.other}, said {shown.decided_by}: {shown.reason}"
        f" (version {shown.version}){lifted}"
    )


# --- the parts of all ---------------------------------------------------------------------------


def reason_of(reason: str | None, *, preview: bool) -> str:
    """The reason given; one is needed to write."""
    if reason is None and not preview:
        fail("say why with --reason, or look first with --preview")
    return reason if reason is not None else "looked at only"


def as_of_option(as_of: str | None) -> datetime | None:
    """The moment of `--as-of`."""
    return None if as_of is None else moment("--as-of", as_of)


def minute(at: datetime) -> str:
    """A moment as it is told."""
    return f"{at:%Y-%m-%d %H:%M}"


def listed(title: str, ids: Sequence[str]) -> None:
    """Say them in one line, where there are any."""
    if ids:
        say(f"{title}: {', '.join(ids)}")


def printed(shown: Any) -> None:
    """As the API answers it."""
    out.print_json(to_json(shown).decode())
