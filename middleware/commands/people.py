"""`amends people`: their index, what people said of pairs, and thresholds tried on the past."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from middleware.commands import ledger, links
from middleware.commands.console import ConfigOption, JsonOption, fail, opened, out, say
from middleware.domain.problems import ConflictError
from middleware.flows import provisional
from middleware.flows.index import index_again
from middleware.flows.refit import refit
from middleware.flows.rehearse import Checked, Difference, Rehearsal, rehearse
from middleware.flows.weigh import Weighed
from middleware.flows.why import Side, why
from middleware.resolution.model import ModelError, read_model, write_model

commands = typer.Typer(help="The hub's customers.", no_args_is_help=True)
labels = typer.Typer(help="What people said of pairs.", no_args_is_help=True)
commands.add_typer(labels, name="labels")
commands.add_typer(ledger.commands)
commands.add_typer(links.commands)


@commands.command("index")
def index(config: ConfigOption = None) -> None:
    """Write anew what every stored record is found by: identifiers, and how customers look.

    Needed once after an upgrade that reads them in another way; records stored since are in it.
    """
    with opened(config) as application:
        seen = index_again(application.hub)
    say(f"{seen} records are in the index")


@commands.command("provisional")
def list_provisional(
    config: ConfigOption = None,
    *,
    expired: Annotated[
        bool, typer.Option("--expired", help="Those that expired, in place of those that may.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List provisional persons, accounts of which nobody knows whose they are: next to expire
    first."""
    with opened(config) as application:
        rows = provisional.listed(application.hub, expired=expired, limit=limit)
    told = [
        {
            "id": person.id,
            "network": identity.network,
            "native_id": identity.native_id,
            "last_seen_at": identity.last_seen_at.isoformat(timespec="seconds"),
            "standing": person.standing.value,
            "provisional_until": _moment(person.provisional_until),
            "expired_at": _moment(person.expired_at),
        }
        for person, identity in rows
    ]
    if as_json:
        out.print_json(json.dumps(told))
        return
    table = Table("person", "network", "account", "last seen", "standing", "until", "expired at")
    for one in told:
        table.add_row(*(value or "" for value in one.values()))
    out.print(table)


@commands.command("why")
def explain(
    one: Annotated[str, typer.Argument(help="per_…, idn_…, or connection:contact:id.")],
    other: Annotated[str, typer.Argument(help="Another one.")],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Explain why two things are one customer to the hub, or why not.

    Whose each is and by which link, the evidence as it is now, people's words, and what is needed.
    """
    with opened(config) as application:
        found = why(application.hub, one, other)
    if as_json:
        told = {
            "says": found.says,
            "together": found.together,
            "one": _side(found.one),
            "other": _side(found.other),
            "cannot_links": [
                {"id": row.id, "reason": row.reason, "by": row.decided_by}
                for row in found.cannot_links
            ],
            "evidence": [piece.model_dump(mode="json") for piece in found.evidence],
            "score": found.score,
            "decision": found.decision.why if found.decision is not None else None,
            "weighed": _weighed(found.weighed),
            "rules": found.rules,
        }
        out.print_json(json.dumps(told))
        return
    say(found.says)
    for side in (found.one, found.other):
        say(_told_of(side))
    for piece in found.evidence:
        say(f"  {piece.weight:+.1f} bits: {piece.detail} ({piece.kind}, {piece.basis})")
    for row in found.cannot_links:
        say(f"  held apart by {row.decided_by} ({row.id}): {row.reason}")
    if found.weighed is not None:
        return
    say(
        f"a link needs {found.rules['link_from']:g} bits and {found.rules['margin']:g} ahead of "
        f"the next, a question {found.rules['review_from']:g} (version {found.rules['version']})"
    )


def _weighed(found: Weighed | None) -> dict[str, object] | None:
    if found is None:
        return None
    return {
        "one": str(found.one),
        "other": str(found.other),
        "bits": found.bits,
        "probability": found.probability,
        "joins_from": found.joins_from,
        "against": found.against,
    }


def _side(side: Side) -> dict[str, object]:
    return {
        "thing": side.thing,
        "person": side.person_id,
        "links": [
            {
                "id": link.id,
                "person": link.person_id,
                "basis": link.basis,
                "by": link.decided_by,
                "from": _moment(link.valid_from),
                "to": _moment(link.valid_to),
                "ended_because": link.revoked_reason,
            }
            for link in (*((side.link,) if side.link is not None else ()), *side.ended)
        ],
    }


def _told_of(side: Side) -> str:
    """Whose one side is, and by which link."""
    if side.person_id is None:
        held = "nobody's"
    elif side.link is None:
        held = f"the person {side.person_id}"
    else:
        since = side.link.valid_from.isoformat(timespec="seconds")
        held = (
            f"{side.person_id}'s since {since} by {side.link.id}: "
            f"{side.link.basis}, decided by {side.link.decided_by}"
        )
    return f"{side.thing}: {held}; {len(side.ended)} links ended"


def _moment(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at is not None else None


@labels.command("export")
def export_labels(config: ConfigOption = None) -> None:
    """Write every label as one JSON object a line: ids, verdict, evidence in bits; nobody's name.

    `one` and `other` are identities, persons and records; what they bear is to be looked up.
    """
    with opened(config) as application:
        after = None
        while True:
            with application.database.read() as uow:
                rows = uow.ledger.labels(after=after)
            for row in rows:
                told = {
                    "id": row.id,
                    "one": row.one,
                    "other": row.other,
                    "verdict": row.verdict,
                    "implied": row.implied,
                    "source": row.source,
                    "evidence": row.evidence,
                    "score": row.score,
                    "decided_under": row.decided_under,
                    "subject": row.subject,
                    "by": row.labelled_by,
                    "at": row.labelled_at.isoformat(),
                }
                sys.stdout.write(json.dumps(told) + "\n")
            if not rows:
                return
            after = rows[-1].id


@commands.command("versions")
def list_versions(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """List the versions of model and thresholds that decided, oldest first."""
    with opened(config) as application:
        with application.database.read() as uow:
            rows = uow.ledger.versions()
        current = application.hub.options.auto_link.version
    if as_json:
        told = [
            {
                "version": row.version,
                "since": row.first_at.isoformat(),
                "current": row.version == current,
                **row.body,
            }
            for row in rows
        ]
        out.print_json(json.dumps(told))
        return
    table = Table("version", "first used", "thresholds", "")
    for row in rows:
        rules = ", ".join(f"{name} {value}" for name, value in row.body["rules"].items())
        mark = "in force" if row.version == current else ""
        table.add_row(row.version, row.first_at.isoformat(timespec="minutes"), rules, mark)
    out.print(table)


@commands.command("refit")
def refit_model(
    output: Annotated[Path, typer.Argument(help="Where the new model file goes.")],
    config: ConfigOption = None,
    *,
    version: Annotated[str, typer.Option(help="What decisions made under it will name.")],
    as_json: JsonOption = False,
) -> None:
    """Fit the model of likeness to what people answered, and write it to a file.

    The hub goes on with the model that it has, until `[links] model` names the file. A fifth of the
    authors is kept apart; what both models make of them is told.
    """
    with opened(config) as application:
        try:
            found = refit(application.hub, version=version)
        except ConflictError as error:
            fail(str(error))
    write_model(found.model, output)
    if as_json:
        out.print_json(json.dumps({k: v for k, v in asdict(found).items() if k != "model"}))
        return
    say(
        f"{output}: fitted to {found.on_file} authors on file and {found.strangers} strangers; of "
        f"{found.before.authors} others it would link {found.after.links}, {found.after.wrong} of "
        f"them wrongly, at {found.after.loss:.3f} bits of surprise each; the model in force "
        f"{found.before.links}, {found.before.wrong} and {found.before.loss:.3f}"
    )


@commands.command("backtest")
def backtest(
    config: ConfigOption = None,
    *,
    link_from: Annotated[float | None, typer.Option(help="Bits that a link needs.")] = None,
    margin: Annotated[float | None, typer.Option(help="Bits ahead of the next.")] = None,
    review_from: Annotated[float | None, typer.Option(help="Bits from which to ask.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="A model of likeness that is not in force yet.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what other thresholds, or another model, would link and unlink.

    Thresholds are tried on the decisions as they are stored. With a model every author is looked
    up anew in what the store holds, once for the model in force and once for the other. Nothing is
    written. Where people said who somebody is, both are held against their word.
    """
    tried = {"link_from": link_from, "margin": margin, "review_from": review_from}
    changes: dict[str, object] = {name: value for name, value in tried.items() if value is not None}
    found: list[Rehearsal] = []
    other = None
    if model is not None:
        try:
            other = read_model(model)
        except ModelError as error:
            fail(str(error))
        changes["likeness"] = other.version
    with opened(config) as application:
        rules = application.hub.options.auto_link.model_copy(update=changes)
        if rules.review_from > rules.link_from:
            fail("a person can't be asked from more bits than a link needs")
        while not found or found[-1].after is not None:
            after = found[-1].after if found else None
            found.append(rehearse(application.hub, rules, model=other, after=after))
    links = [one for part in found for one in part.links]
    unlinks = [one for part in found for one in part.unlinks]
    was, would = (_sum([getattr(part, name) for part in found]) for name in ("was", "would"))
    decided = sum(part.decided for part in found)
    if as_json:
        told = {
            "version": rules.version,
            "decided": decided,
            "reviews": sum(part.reviews for part in found),
            "links": [_plain(one) for one in links],
            "unlinks": [_plain(one) for one in unlinks],
            "was": _counted(was),
            "would": _counted(would),
        }
        out.print_json(json.dumps(told))
        return
    table = Table("complaint", "was", "would be", "whom", "why", "people said")
    for one in (*links, *unlinks):
        table.add_row(
            one.complaint_id, one.was, one.would, ", ".join(one.things), one.why, one.said or ""
        )
    if links or unlinks:
        out.print(table)
    say(
        f"{decided} decisions: {len(links)} would be linked, {len(unlinks)} unlinked; of the links "
        f"that people spoke of, {was.right} right and {was.wrong} wrong now, {would.right} and "
        f"{would.wrong} then"
    )


def _sum(tallies: list[Checked]) -> Checked:
    return Checked(
        links=sum(one.links for one in tallies),
        right=sum(one.right for one in tallies),
        wrong=sum(one.wrong for one in tallies),
    )


def _counted(tally: Checked) -> dict[str, float | None]:
    return {
        "links": tally.links,
        "right": tally.right,
        "wrong": tally.wrong,
        "precision": tally.precision,
    }


def _plain(one: Difference) -> dict[str, object]:
    return {
        "complaint": one.complaint_id,
        "identity": one.identity_id,
        "was": one.was,
        "would": one.would,
        "things": list(one.things),
        "why": one.why,
        "said": one.said,
        "decided_under": one.version,
    }
