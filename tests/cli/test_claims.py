"""`amends claims`, run as an operator runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from middleware.app import Application, handlers
from middleware.cli import app
from middleware.domain.claims import Subject
from middleware.flows import claim, receive
from middleware.flows.hub import Asker
from middleware.inlets import Delivery
from middleware.settings import load
from tests.cli.test_commands import CONFIG
from tests.flows.test_receive import event

INLET = """\
[connections.desk.inlet]
source = "generic"
[actions]
note_when_enriched = false
[claims]
lease = "PT2H"
[gathering]
auto_from = 9
"""


def amends(folder: Path, *arguments: str) -> Result:
    """Run in this process: each process of its own would take a second to start."""
    return CliRunner().invoke(app, [*arguments, "--config", str(folder / "amends.toml")])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A hub with two complaints of one stranger, and a claim of somebody else on the first."""
    (tmp_path / "amends.toml").write_text(f"{CONFIG}\n{INLET}")
    with Application(load(tmp_path / "amends.toml")) as application:
        application.open()
        hub = application.hub
        for number, text in (("1", "My lamp arrived broken"), ("2", "The checkout is down")):
            told = event(text, id=f"m-{number}", conversation=f"c-{number}")
            delivery = Delivery(
                method="POST",
                path="/",
                body=json.dumps(told).encode(),
                received_at=hub.clock(),
                headers={"webhook-id": f"msg_{number}"},
            )
            row = receive.row_of(delivery, connection="desk", source="generic", trust="signature")
            with hub.database.begin() as uow:
                uow.inbox.store_once(row)
            handlers(hub)["receive"](row.id)
        with hub.database.read() as uow:
            first = uow.complaints.page(before=None, limit=2)[-1]
        asked = claim.Asked(subject=Subject(complaint=first.id), agent="anna", note="By Friday.")
        claim.take(hub, asked, Asker(principal="key_desk"))
    return tmp_path


def test_claims_are_listed_refused_and_taken_by_force(folder: Path) -> None:
    listed = amends(folder, "claims", "list", "--json")
    assert listed.exit_code == 0, listed.stderr
    (held,) = json.loads(listed.stdout)
    assert (held["holder"], held["note"]) == ("key_desk/anna", "By Friday.")
    refused = amends(folder, "claims", "take", held["subject"])
    assert refused.exit_code == 1
    assert "key_desk/anna has claimed" in refused.stderr
    forced = amends(folder, "claims", "take", held["subject"], "--force", "On the phone.", "--json")
    assert forced.exit_code == 0, forced.stderr
    mine = json.loads(forced.stdout)
    assert mine["holder"].startswith("cli:")
    released = amends(folder, "claims", "release", mine["id"])
    assert "anybody's again" in released.stdout
    assert json.loads(amends(folder, "claims", "list", "--json").stdout) == []
    nonsense = amends(folder, "claims", "take", "the lamp")
    assert nonsense.exit_code == 1
    assert "expected cmp_" in nonsense.stderr
