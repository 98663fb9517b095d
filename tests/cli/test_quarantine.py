"""`amends quarantine`, run as an operator runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.memory.remote import Remote
from middleware.api.schemas.operations import QuarantinedDeliveryBody, QuarantinedRecord
from middleware.app import Application, handlers
from middleware.contract.canonical import Contact, Kind, Ref
from middleware.contract.capabilities import Quarantined
from middleware.flows import receive
from middleware.inlets import Delivery
from middleware.settings import load
from tests.cli.test_claims import amends
from tests.cli.test_commands import CONFIG
from tests.cli.test_ledger import INLET, refused, told

RECORD = "shop:contact:Q1"


@pytest.fixture
def quarantined(tmp_path: Path) -> tuple[Path, str]:
    """A hub with a delivery and a record that it could not read, and the delivery's id."""
    (tmp_path / "amends.toml").write_text(f"{CONFIG}\n{INLET}")
    with Application(load(tmp_path / "amends.toml")) as application:
        application.open()
        hub = application.hub
        delivery = Delivery(
            method="POST",
            path="/",
            body=b'{"type": ',
            received_at=hub.clock(),
            headers={"webhook-id": "msg_1"},
        )
        row = receive.row_of(delivery, connection="desk", source="generic", trust="signature")
        record = Quarantined(
            kind=Kind.CONTACT,
            id="Q1",
            field="status",
            reason="the table has no entry for this value",
            place="contact.map.yaml:3:5",
            payload={"state": "?"},
        )
        with hub.database.begin() as uow:
            uow.inbox.store_once(row)
            uow.records.quarantine([record], connection="shop", at=hub.clock())
        handlers(hub)["receive"](row.id)
        return tmp_path, row.id


def test_what_could_not_be_read_is_listed_and_shown(quarantined: tuple[Path, str]) -> None:
    folder, delivery = quarantined
    listed = amends(folder, "quarantine", "list").stdout
    assert f"{delivery}: 9 bytes through desk" in listed
    assert f"{RECORD}, " in listed
    assert "status: the table has no entry for this value (contact.map.yaml:3:5)" in listed
    both = told(folder, "quarantine", "list")
    assert ([d["id"] for d in both["deliveries"]], [r["ref"] for r in both["records"]]) == (
        [delivery],
        [RECORD],
    )
    assert told(folder, "quarantine", "list", "--connection", "other") == {
        "deliveries": [],
        "records": [],
    }
    shown = QuarantinedDeliveryBody.model_validate(told(folder, "quarantine", "show", delivery))
    assert shown.body == '{"type": '
    assert '{"type": ' in amends(folder, "quarantine", "show", delivery).stdout
    record = QuarantinedRecord.model_validate(told(folder, "quarantine", "show", RECORD))
    assert record.payload == {"state": "?"}


def test_what_was_mended_is_taken_again(quarantined: tuple[Path, str]) -> None:
    folder, delivery = quarantined
    missing = refused(folder, "quarantine", "replay", RECORD)
    assert RECORD in missing
    assert told(folder, "quarantine", "list")["records"], "it stays where it was"
    ref = Ref.parse(RECORD)
    Remote.named("shop").put(Contact(ref=ref, display_name="Kim Berg"))
    done = amends(folder, "quarantine", "replay", delivery, RECORD)
    assert done.stdout.splitlines() == [f"{delivery}: queued", f"{RECORD}: stored"], done.stderr
    assert told(folder, "quarantine", "list") == {"deliveries": [], "records": []}
    with Application(load(folder / "amends.toml")) as application:
        application.open()
        with application.database.read() as uow:
            assert [row.id for row in uow.inbox.in_state("stored")] == [delivery]
    assert "is stored; only quarantined ones" in refused(folder, "quarantine", "replay", delivery)


def test_what_is_not_there_is_said(quarantined: tuple[Path, str]) -> None:
    folder, _ = quarantined
    assert "No delivery inb_0 is in quarantine" in refused(folder, "quarantine", "show", "inb_0")
    assert "No record shop:contact:X" in refused(folder, "quarantine", "show", "shop:contact:X")
    assert "'what' is neither a delivery" in refused(folder, "quarantine", "show", "what")
    problem = amends(folder, "quarantine", "replay", "inb_0", "--json")
    assert json.loads(problem.stdout)["code"] == "not-found"
