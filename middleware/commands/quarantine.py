"""`amends quarantine`: what could not be read, with the place and the reason, and a way back."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from middleware.api.routes.quarantine import (
    delivery_shown,
    quarantined_delivery,
    quarantined_record,
    record_shown,
)
from middleware.api.schemas.operations import QuarantinedDelivery, QuarantinedRecord
from middleware.commands.console import (
    ConfigOption,
    JsonOption,
    fail,
    me,
    opened,
    out,
    refusals,
    say,
)
from middleware.contract.canonical import Ref
from middleware.contract.errors import RemoteError
from middleware.contract.mapping import MappingError
from middleware.flows import replay
from middleware.flows.hub import Hub
from middleware.store import queries

commands = typer.Typer(
    help="What could not be read: deliveries and records, with the reason.", no_args_is_help=True
)

ThingArgument = Annotated[
    str, typer.Argument(help="A delivery, inb_…, or a record, connection:kind:id.")
]
DELIVERY = "inb_"


@commands.command("list")
def list_quarantine(
    config: ConfigOption = None,
    *,
    connection: Annotated[str | None, typer.Option(help="Only of this connection.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Of each.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List deliveries that could not be read, the newest first, and records that do not map."""
    with opened(config) as application, application.database.read() as uow:
        deliveries = queries.quarantined_deliveries(
            uow, connection=connection, before=None, limit=limit
        )
        records = queries.quarantined_records(uow, connection=connection, after=None, limit=limit)
    shown = [delivery_shown(row) for row in deliveries]
    refused = [record_shown(row) for row in records]
    if as_json:
        told = {
            "deliveries": [one.model_dump(mode="json") for one in shown],
            "records": [one.model_dump(mode="json") for one in refused],
        }
        out.print_json(json.dumps(told))
        return
    for delivery in shown:
        _tell_delivery(delivery)
    for record in refused:
        _tell_record(record)


@commands.command("show")
def show_quarantined(
    thing: ThingArgument, config: ConfigOption = None, *, as_json: JsonOption = False
) -> None:
    """Show one with what was received, for whoever mends it."""
    with opened(config) as application, refusals(as_json=as_json):
        hub = application.hub
        if not thing.startswith(DELIVERY):
            record = quarantined_record(hub, _ref(thing))
            if as_json:
                out.print_json(record.model_dump_json())
                return
            _tell_record(record)
            out.print_json(json.dumps(record.payload))
            return
        delivery = quarantined_delivery(hub, thing)
    if as_json:
        out.print_json(delivery.model_dump_json())
        return
    _tell_delivery(delivery)
    say(delivery.body)
    if delivery.truncated:
        say("… the rest is in the database", "yellow")


@commands.command("replay")
def replay_quarantined(
    things: Annotated[
        list[str], typer.Argument(help="Deliveries, inb_…, and records, connection:kind:id.")
    ],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Take them again, after what could not read them was mended; ends at the first refusal.

    A worker handles deliveries; a record is read and stored at once.
    """
    with opened(config) as application, refusals(as_json=as_json):
        for thing in things:
            try:
                state = _replayed(application.hub, thing)
            except (MappingError, RemoteError) as error:
                fail(f"{thing} stays in quarantine: {error}")
            if as_json:
                out.print_json(json.dumps({"id": thing, "state": state}))
            else:
                say(f"{thing}: {state}")


def _replayed(hub: Hub, thing: str) -> str:
    if thing.startswith(DELIVERY):
        replay.delivery(hub, thing, me())
        return "queued"
    replay.record(hub, _ref(thing), me())
    return "stored"


def _ref(thing: str) -> Ref:
    try:
        return Ref.parse(thing)
    except ValueError:
        fail(f"{thing!r} is neither a delivery, inb_…, nor a record, connection:kind:id")


def _tell_delivery(shown: QuarantinedDelivery) -> None:
    again = f", replayed {shown.replays} times" if shown.replays else ""
    say(
        f"{shown.id}: {shown.bytes} bytes through {shown.connection},"
        f" {shown.received_at:%Y-%m-%d %H:%M} UTC{again}"
    )
    for problem in shown.problems:
        say(f"  {problem.place or '/'}: {problem.reason}")


def _tell_record(shown: QuarantinedRecord) -> None:
    at = f" ({shown.place})" if shown.place else ""
    field = f"{shown.field}: " if shown.field else ""
    say(f"{shown.ref}, {shown.last_at:%Y-%m-%d %H:%M} UTC: {field}{shown.reason}{at}")
