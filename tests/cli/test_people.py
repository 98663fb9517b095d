"""`amends people` and `amends reviews`, run as an operator runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from middleware.app import Application, handlers
from middleware.contract.canonical import Contact, Handle, Kind, Ref
from middleware.flows import receive
from middleware.inlets import Delivery
from middleware.resolution.identifiers import identifiers_of
from middleware.resolution.model import shipped, write_model
from middleware.settings import load
from tests.cli.running import amends
from tests.cli.test_commands import CONFIG
from tests.flows.test_receive import event

INLET = """\
[connections.desk.inlet]
source = "generic"
[actions]
note_when_enriched = false
[links]
link_from = 18
"""


def take_in(folder: Path, *contacts: Contact) -> None:
    """Put contacts on file, and handle a complaint that comes in."""
    with Application(load(folder / "amends.toml")) as application:
        application.open()
        hub = application.hub
        delivery = Delivery(
            method="POST",
            path="/",
            body=json.dumps(event()).encode(),
            received_at=hub.clock(),
            headers={"webhook-id": "msg_1"},
        )
        row = receive.row_of(delivery, connection="desk", source="generic", trust="signature")
        with hub.database.begin() as uow:
            records = [(one, identifiers_of(one)) for one in contacts]
            uow.records.store(records, as_of=hub.clock())
            uow.inbox.store_once(row)
        handlers(hub)["receive"](row.id)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A hub with one question open: an account whose handle alone is on file."""
    (tmp_path / "amends.toml").write_text(f"{CONFIG}\n{INLET}")
    kim = Contact(
        ref=Ref(connection="shop", kind=Kind.CONTACT, id="C1"),
        display_name="Kim Berg",
        handles=(Handle(network="x", handle="kimberg"),),
    )
    take_in(tmp_path, kim)
    return tmp_path


def test_provisional_persons_are_listed(folder: Path) -> None:
    (one,) = json.loads(amends(folder, "people", "provisional", "--json").stdout)
    assert (one["network"], one["native_id"], one["standing"]) == ("x", "77", "provisional")
    assert one["provisional_until"] > one["last_seen_at"]
    assert json.loads(amends(folder, "people", "provisional", "--expired", "--json").stdout) == []
    assert amends(folder, "people", "provisional").stdout.count("per_") == 1


def test_a_pair_is_explained(folder: Path) -> None:
    (review,) = json.loads(amends(folder, "reviews", "list", "--json").stdout)
    pair = (review["identity_id"], "shop:contact:C1")
    told = json.loads(amends(folder, "people", "why", *pair, "--json").stdout)
    assert (told["together"], told["other"]["person"]) == (False, None)
    assert told["one"]["links"][0]["basis"] == "provisional"
    assert told["score"] == sum(piece["weight"] for piece in told["evidence"]) > 0
    read = amends(folder, "people", "why", *pair).stdout
    assert f"{pair[1]}: nobody's; 0 links ended" in read
    assert f"{told['evidence'][0]['weight']:+.1f} bits: " in read
    assert "a link needs 18 bits" in read
    amends(folder, "reviews", "answer", review["id"], "none", "--reason", "Her sister.")
    apart = json.loads(amends(folder, "people", "why", *pair, "--json").stdout)
    assert apart["cannot_links"][0]["reason"] == "Her sister."
    assert "held apart by " in amends(folder, "people", "why", *pair).stdout
    nobody = amends(folder, "people", "why", pair[0], "shop:contact:C9")
    assert (nobody.returncode, "holds no record" in nobody.stderr) == (1, True)


def test_a_question_is_listed_answered_and_becomes_a_label(folder: Path) -> None:
    listed = amends(folder, "reviews", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    (review,) = json.loads(listed.stdout)
    assert review["candidates"][0]["evidence"][0]["kind"] == "handle"
    tried = json.loads(amends(folder, "people", "backtest", "--link-from", "9", "--json").stdout)
    assert (tried["decided"], tried["reviews"], tried["links"]) == (1, 1, [])
    write_model(shipped().model_copy(update={"version": "other"}), folder / "other.json")
    with_model = amends(folder, "people", "backtest", "--model", "other.json", "--json")
    assert json.loads(with_model.stdout)["decided"] == 1, with_model.stderr
    no_model = amends(folder, "people", "backtest", "--model", "amends.toml")
    assert no_model.returncode == 1
    assert "is no JSON" in no_model.stderr
    wrong = amends(folder, "reviews", "answer", review["id"], "this", "4")
    assert wrong.returncode == 1
    assert "which candidate" in wrong.stderr
    said = amends(folder, "reviews", "answer", review["id"], "this", "0", "--reason", "she called")
    assert said.returncode == 0, said.stderr
    assert "person per_" in said.stdout
    assert json.loads(amends(folder, "reviews", "list", "--json").stdout) == []
    exported = amends(folder, "people", "labels", "export").stdout
    labels = [json.loads(line) for line in exported.splitlines()]
    assert [(one["other"], one["verdict"], one["source"]) for one in labels] == [
        ("shop:contact:C1", "same", "review")
    ]
    assert "Kim" not in exported, "a label holds references only"
    assert "kimberg" not in exported
    few = amends(folder, "people", "refit", "likeness.json", "--version", "ours-1")
    assert few.returncode == 1
    assert "said of 1 authors" in few.stderr
    assert not (folder / "likeness.json").exists()


def test_the_thresholds_of_the_settings_are_a_version(folder: Path) -> None:
    (version,) = json.loads(amends(folder, "people", "versions", "--json").stdout)
    assert version["current"]
    assert version["rules"]["link_from"] == 18
    text = (folder / "amends.toml").read_text()
    (folder / "amends.toml").write_text(text.replace("link_from = 18", "link_from = 20"))
    versions = json.loads(amends(folder, "people", "versions", "--json").stdout)
    assert [one["current"] for one in versions] == [False, True]
    (review,) = json.loads(amends(folder, "reviews", "list", "--json").stdout)
    assert review["version_decided"] == version["version"], "it was decided under the old one"


def test_a_country_that_has_no_telephones_is_refused(tmp_path: Path) -> None:
    (tmp_path / "amends.toml").write_text(f'phone_regions = ["de", "UK"]\n{CONFIG}')
    refused = amends(tmp_path, "people", "versions")
    assert refused.returncode == 1
    assert "phone_regions.1" in refused.stderr
    assert "GB for the United Kingdom" in refused.stderr


@pytest.mark.parametrize(
    ("links", "told"),
    [
        ("review_from = 20", "review_from is not more than link_from"),
        ('duplicate_free = ["nowhere"]', "there is no connection 'nowhere'"),
        ('survivorship = { email = ["nowhere"] }', "there is no connection 'nowhere'"),
        ('survivorship = { emial = ["crm"] }', "links.survivorship.emial: there is no such field"),
        ("audit_share = 2", "less than or equal to 1"),
        (
            'blocked = { phones = ["030 23125"] }',
            "links.blocked: '030 23125' is not a phone number",
        ),
        ('blocked = { name = ["n/a"] }', "links.blocked.name"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, links: str, told: str) -> None:
    (tmp_path / "amends.toml").write_text(f"{CONFIG}\n[links]\n{links}\n")
    refused = amends(tmp_path, "people", "versions")
    assert refused.returncode == 1
    assert told in refused.stderr
