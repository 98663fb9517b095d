"""`amends incidents` and `amends handoff`, run as an operator runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from middleware.app import Application, handlers
from middleware.domain import bursts
from middleware.domain.problems import ConflictError, GoneError, NotFoundError
from middleware.flows import baselines
from middleware.resolution.profiles import found_by
from middleware.settings import load
from tests.cli.test_claims import amends
from tests.flows import piled

CONFIG = """\
log_level = "ERROR"
[connections.erp]
adapter = "memory"
[connections.desk.inlet]
source = "generic"
[understanding]
rules_only = true
[actions]
note_when_enriched = false
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A hub with a pile-on: seven of eight who bought a kettle say that it came broken."""
    (tmp_path / "amends.toml").write_text(CONFIG)
    with Application(load(tmp_path / "amends.toml")) as application:
        application.open()
        hub = application.hub
        now = hub.clock()
        records = [record for n in range(8) for record in piled.customer(n, now)]
        hour = bursts.bucket_of(now) // bursts.BUCKETS_AN_HOUR - 6
        with hub.database.begin() as uow:
            uow.records.store([(r, found_by(r)) for r in records], as_of=now)
            baselines.Book(piled.quiet(hour), {}, {}, {baselines.ALL: None}).keep(uow)
        for n in range(7):
            row = piled.delivery(n, now)
            with hub.database.begin() as uow:
                uow.inbox.store_once(row)
            handlers(hub)["receive"](row.id)
        handlers(hub)["incidents"]("tick")
        with hub.database.read() as uow:
            (row,) = uow.incidents.page(before=None, limit=2)
        handlers(hub)["incidents.affected"](row.id)
    return tmp_path


def listed(folder: Path, *arguments: str) -> list[dict]:
    told = amends(folder, "incidents", *arguments, "--json")
    assert told.exit_code == 0, told.stderr
    return list(json.loads(told.stdout))


def test_an_incident_is_listed_decided_and_closed(folder: Path) -> None:
    (row,) = listed(folder, "list")
    assert (row["state"], row["key"], row["complaints"], row["persons"]) == (
        "open", f"sku:{piled.SKU}", 7, 7,
    )  # fmt: skip
    assert "kettle" not in json.dumps(row).lower(), "nobody's words"
    table = amends(folder, "incidents", "list", "--state", "open").stdout
    assert row["id"] in table
    assert listed(folder, "list", "--state", "closed") == []

    complained = listed(folder, "eligible", row["id"])
    assert len(complained) == 8
    assert {one["outcome"] for one in complained if one["complaint_id"]} == {"allow"}
    assert {one["worth"] for one in complained} == {"30.00 EUR"}
    (silent,) = listed(folder, "eligible", row["id"], "--silent")
    assert silent["complaint_id"] is None
    first, *rest = listed(folder, "eligible", row["id"], "--limit", "3")
    after = listed(folder, "eligible", row["id"], "--after", rest[-1]["order"])
    assert first["order"] not in {one["order"] for one in after}
    assert len(after) == 5
    refund = listed(folder, "eligible", row["id"], "--remedy", "credit", "--limit", "1")
    assert refund[0]["order"] == first["order"]

    shown = amends(folder, "incidents", "show", row["id"])
    assert shown.stdout.splitlines()[0] == f"{row['id']}: {row['title']}, open", shown.stderr
    assert f"  sku:{piled.SKU}\n" in shown.stdout
    assert "8 orders, 1 without a complaint (listed)" in shown.stdout
    whole = json.loads(amends(folder, "incidents", "show", row["id"], "--json").stdout)
    assert (whole["complaints"], whole["silent"], whole["version"] >= 1) == (7, 1, True)
    assert "several" not in amends(folder, "drafts", "incident", row["id"]).stdout

    said = amends(folder, "incidents", "confirm", row["id"], "--remedy", "credit")
    assert said.stdout.strip() == f"{row['id']}: confirmed", said.stderr
    (confirmed,) = listed(folder, "list", "--state", "confirmed")
    assert confirmed["proposed"]["operation"] == "credit"
    reply = amends(folder, "drafts", "incident", row["id"], "--language", "de", "--json")
    assert json.loads(reply.stdout)["language"] == "de", reply.stderr
    nowhere = amends(folder, "drafts", "incident", row["id"], "--network", "email")
    assert nowhere.exit_code == 1
    said = amends(folder, "incidents", "close", row["id"], "The supplier knows.")
    assert said.stdout.strip() == f"{row['id']}: closed", said.stderr
    again = amends(folder, "incidents", "dismiss", row["id"], "It is none.")
    assert isinstance(again.exception, ConflictError)
    nobody = amends(folder, "incidents", "confirm", "inc_none")
    assert isinstance(nobody.exception, NotFoundError)


def test_a_complaint_is_taken_out_and_put_in_and_an_incident_dismissed(folder: Path) -> None:
    (row,) = listed(folder, "list")
    with Application(load(folder / "amends.toml")) as application:
        application.open()
        with application.hub.database.read() as uow:
            complaint = uow.complaints.page(before=None, limit=1)[0].id
    out = amends(folder, "incidents", "put", row["id"], complaint, "--out", "--reason", "Other.")
    assert out.stdout.strip() == f"{row['id']}: 6 complaints", out.stderr
    back = amends(folder, "incidents", "put", row["id"], complaint)
    assert back.stdout.strip() == f"{row['id']}: 7 complaints", back.stderr
    dismissed = amends(folder, "incidents", "dismiss", row["id"], "A film of somebody's.")
    assert dismissed.stdout.strip() == f"{row['id']}: dismissed", dismissed.stderr


def test_a_handoff_is_made_and_opened_until_it_expires(folder: Path) -> None:
    with Application(load(folder / "amends.toml")) as application:
        application.open()
        with application.hub.database.read() as uow:
            complaint = uow.complaints.page(before=None, limit=1)[0].id
    made = amends(folder, "handoff", "make", complaint, "call centre", "Asks for a call.",
                  "--hours", "1")  # fmt: skip
    assert made.exit_code == 0, made.stderr
    handoff = made.stdout.split()[0]
    packet = json.loads(amends(folder, "handoff", "open", handoff).stdout)
    assert (packet["complaint_id"], packet["to"]) == (complaint, "call centre")
    assert packet["made_by"].startswith("cli:")
    assert packet["packet"]["orders"][0]["number"].startswith("SO-")
    assert "incident_id" in packet["packet"]["complaint"]
    assert packet["changed"] == {}
    assert isinstance(amends(folder, "handoff", "open", "hnd_none").exception, NotFoundError)
    with Application(load(folder / "amends.toml")) as application:
        application.open()
        with application.hub.database.begin() as uow:
            row = uow.incidents.handoff(handoff)
            assert row is not None
            row.expires_at = row.made_at
    assert isinstance(amends(folder, "handoff", "open", handoff).exception, GoneError)
