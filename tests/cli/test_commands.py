"""The `amends` command, run as an operator runs it."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from middleware.store.database import Database
from tests.cli.running import amends

CONFIG = """\
log_level = "ERROR"
[connections.shop]
adapter = "memory"
[jobs.sync-shop]
connection = "shop"
schedule = { every = "5m" }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "amends.toml").write_text(CONFIG)
    return tmp_path


def test_init_writes_files_once_and_keeps_what_is_there(tmp_path: Path) -> None:
    assert amends(tmp_path, "init", "hub").returncode == 0
    first = (tmp_path / "hub" / ".env").read_text()
    assert "AMENDS_SECRET_KEY=" in first
    assert (tmp_path / "hub" / ".env").stat().st_mode & 0o777 == 0o600
    assert "left as it is" in amends(tmp_path, "init", "hub").stdout
    assert (tmp_path / "hub" / ".env").read_text() == first


def test_doctor_reads_what_init_wrote_and_names_what_is_missing(tmp_path: Path) -> None:
    amends(tmp_path, "init", ".")
    told = amends(tmp_path, "doctor", "--json")
    assert told.returncode == 1
    lines = json.loads(told.stdout)["lines"]
    wrong = {line["what"] for line in lines if line["mark"] == "✗"}
    assert "secret_key" in wrong
    assert "connections.erp.secrets.password" in wrong
    assert any(line["what"] == "mapping erp" and line["mark"] == "✓" for line in lines)


def test_a_key_is_shown_once_and_listed_without_its_secret(folder: Path) -> None:
    made = amends(folder, "keys", "create", "desk", "--scope", "complaints:write")
    key = made.stdout.splitlines()[-1]
    assert key.startswith("amends_live_")
    listed = amends(folder, "keys", "list").stdout
    assert "desk" in listed
    assert key.removeprefix("amends_live_").partition("_")[2] not in listed
    refused = amends(folder, "keys", "create", "desk", "--scope", "everything")
    assert refused.returncode == 1
    assert "the scopes are" in refused.stderr.replace("\n", " ")


def test_a_sync_is_run_and_told(folder: Path) -> None:
    run = amends(folder, "sync", "run", "sync-shop", "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["state"] == "done"
    ended = json.loads(run.stdout)["run"]
    receipt = json.loads(amends(folder, "sync", "receipt", ended, "--json").stdout)
    assert (receipt["number"], receipt["gaps"], receipt["intact"]) == (1, [], True)
    read = amends(folder, "sync", "receipt", ended)
    assert (read.returncode, "no gaps" in read.stdout, "whole" in read.stdout) == (0, True, True)
    assert "has not ended" in amends(folder, "sync", "receipt", "run_none").stderr
    verified = amends(folder, "sync", "verify")
    assert (verified.returncode, "shop: 1 receipts, whole" in verified.stdout) == (0, True)
    database = Database(f"sqlite:///{folder / 'amends.db'}")
    with database.begin() as uow:
        (row,) = uow.receipts.latest("shop")
        row.body = {**row.body, "gaps": [1]}
    database.close()
    told = amends(folder, "sync", "verify", "shop", "--json")
    assert told.returncode == 1
    assert "was changed" in json.loads(told.stdout)["chains"][0]["broken"]
    changed = amends(folder, "sync", "receipt", ended)
    assert (changed.returncode, "CHANGED since" in changed.stdout) == (1, True)
    assert amends(folder, "sync", "verify", "nothing").returncode == 1
    unknown = amends(folder, "sync", "run", "nothing")
    assert (unknown.returncode, "there is no job" in unknown.stderr) == (1, True)


def test_connections_are_checked(folder: Path) -> None:
    checked = amends(folder, "connections", "check", "--json")
    assert checked.returncode == 0
    assert json.loads(checked.stdout)["shop"]["ok"]


def test_a_stopped_connection_is_listed_and_resumed(folder: Path) -> None:
    (shop,) = json.loads(amends(folder, "connections", "list", "--json").stdout)
    assert (shop["name"], shop["state"], shop["since"]) == ("shop", "closed", None)
    database = Database(f"sqlite:///{folder / 'amends.db'}")
    with database.begin() as uow:
        row = uow.connections.locked_state("shop", at=datetime.now(UTC))
        row.state, row.version = "stopped", 1
        row.reason = {"cause": "refused", "message": "wrong password", "refusals": 2}
    database.close()
    listed = amends(folder, "connections", "list").stdout
    assert "stopped" in listed
    assert "wrong" in listed
    resumed = amends(folder, "connections", "resume", "shop")
    assert resumed.stdout.startswith("shop: closed; resumed after a refused login")
    (shop,) = json.loads(amends(folder, "connections", "list", "--json").stdout)
    assert (shop["state"], shop["changed_by"]) == ("closed", "cli")
    unknown = amends(folder, "connections", "resume", "nobody")
    assert (unknown.returncode, "nobody" in unknown.stderr) == (1, True)


def test_another_system_stops_a_connection_until_it_is_accepted(folder: Path) -> None:
    assert amends(folder, "sync", "run", "sync-shop").returncode == 0
    before, jobs = CONFIG.split("[jobs", 1)
    moved = f'{before}settings = {{ remote = "branch" }}\n[jobs{jobs}'
    (folder / "amends.toml").write_text(moved)
    refused = amends(folder, "sync", "run", "sync-shop")
    assert refused.returncode == 1
    told = " ".join(refused.stderr.split())
    assert "its records are of memory shop, and memory branch answers" in told
    assert "amends connections accept-remote shop" in told
    (shop,) = json.loads(amends(folder, "connections", "list", "--json").stdout)
    assert (shop["state"], shop["reason"]["cause"]) == ("stopped", "another")
    amends(folder, "connections", "resume", "shop")
    assert amends(folder, "sync", "run", "sync-shop").returncode == 1
    accepted = amends(folder, "connections", "accept-remote", "shop")
    assert accepted.stdout == "shop: memory branch, and no longer memory shop\n"
    again = amends(folder, "sync", "run", "sync-shop")
    assert again.returncode == 0, again.stderr
    assert "it is read from another system, and everything was read anew" in again.stdout
    assert amends(folder, "connections", "accept-remote", "nobody").returncode == 1


@pytest.mark.parametrize(
    ("addition", "told"),
    [
        ("[connections.shop.limits]\ncalls_at_once = 0\n", "connections.shop.limits.calls_at_once"),
        ("[connections.shop.limits]\ncalls_an_hour = 9\n", "connections.shop.limits.calls_an_hour"),
        ('[connections.shop.limits]\nrest = "soon"\n', "connections.shop.limits.rest"),
        (
            '[connections.shop.limits]\nrest = "1h"\n',
            "connections.shop.limits: Value error, longest_rest is not shorter than rest",
        ),
        ('[connections.shop.limits]\nlogin_pause = "0s"\n', "login_pause is more than nothing"),
        ("bogus = 1\n", "jobs.sync-shop.bogus"),
        ("[connections.x]\n", "an adapter, an inlet, or both"),
        ('[connections.x]\nadapter="memory"\nsecrets={token="plain"}\n', "env:NAME or file:PATH"),
        ("= 3", "amends.toml"),
    ],
)
def test_a_wrong_configuration_stops_with_its_place_and_no_traceback(
    folder: Path, addition: str, told: str
) -> None:
    (folder / "amends.toml").write_text(CONFIG + addition)
    stopped = amends(folder, "serve")
    assert stopped.returncode == 1
    assert told in stopped.stderr.replace("\n", " ")
    assert "Traceback" not in stopped.stderr


def test_mapping_commands_tell_places_and_exit_codes(tmp_path: Path) -> None:
    tree = tmp_path / "mappings" / "shop"
    tree.mkdir(parents=True)
    (tree / "account.map.yaml").write_text("mapping: 1\nid: shop.account\nfeilds: {}\n")
    linted = amends(tmp_path, "map", "lint")
    assert linted.returncode == 1
    assert "account.map.yaml:3:1: error M001" in linted.stdout
    assert amends(tmp_path, "map", "test").returncode == 1


@pytest.fixture
def erp(tmp_path: Path) -> Path:
    """A folder with the sandbox ERP's mapping files and bindings."""
    shipped = Path(__file__).parents[2] / "mappings" / "sandbox_erp"
    return Path(shutil.copytree(shipped, tmp_path / "mappings" / "erp"))


def test_lint_reads_bindings_beside_mapping_files(erp: Path) -> None:
    bindings, folder = erp / "bindings.yaml", erp.parent.parent
    assert amends(folder, "map", "lint").returncode == 0
    lines = bindings.read_text().splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("find_contacts:"))
    lines[place] = "find_contatcs:"
    bindings.write_text("\n".join(lines) + "\n")
    told = f"bindings.yaml:{place + 1}:1: error M001"
    for given in ([], [str(erp)], [str(bindings)]):
        linted = amends(folder, "map", "lint", *given)
        assert linted.returncode == 1, given
        assert linted.stdout.count(told) == 1, linted.stdout
        assert "did you mean 'find_contacts'" in linted.stdout


def test_lint_compares_bindings_with_the_mapping_files(erp: Path) -> None:
    """An adapter's own code of mistake, in every form that machines read."""
    (erp / "contact.map.yaml").unlink()
    (erp / "contact.fixtures.yaml").unlink()
    folder = erp.parent.parent
    linted = amends(folder, "map", "lint", "--format", "json")
    assert linted.returncode == 1
    found = json.loads(linted.stdout)
    assert {(issue["code"], issue["severity"]) for issue in found} == {("B002", "error")}
    assert all(issue["file"].endswith("bindings.yaml") for issue in found)
    assert all(issue["line"] > 1 for issue in found)
    sarif = json.loads(amends(folder, "map", "lint", "--format", "sarif").stdout)["runs"][0]
    for result in sarif["results"]:
        assert sarif["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == "B002"


def test_lint_leaves_other_files_of_that_kind_alone(erp: Path) -> None:
    (erp / "notes.yaml").write_text("find_contatcs: {}\n")
    assert amends(erp.parent.parent, "map", "lint").returncode == 0


def test_jobs_are_listed_paused_run_whole_and_backfilled(folder: Path) -> None:
    assert amends(folder, "jobs", "pause", "sync-shop").stdout == "sync-shop: paused\n"
    listed = json.loads(amends(folder, "jobs", "list", "--json").stdout)
    (job,) = listed["jobs"]
    assert (job["name"], job["paused"], job["schedule"]) == ("sync-shop", True, "every 300 s")
    assert any("paused" in line for line in amends(folder, "doctor").stdout.splitlines())
    assert amends(folder, "jobs", "resume", "sync-shop").stdout == "sync-shop: resumed\n"
    whole = amends(folder, "sync", "run", "sync-shop", "--full", "--json")
    assert json.loads(whole.stdout)["state"] == "done"
    again = amends(folder, "sync", "backfill", "sync-shop", "--from", "2026-11-20T00:00:00Z")
    assert again.returncode == 0
    modes = [
        run["mode"]
        for run in json.loads(amends(folder, "jobs", "runs", "sync-shop", "--json").stdout)
    ]
    assert modes == ["backfill", "full"]
    wrong = amends(folder, "sync", "backfill", "sync-shop", "--from", "2026-11-20T00:00:00")
    assert wrong.returncode == 1
    assert "which time zone" in wrong.stderr
    assert amends(folder, "jobs", "pause", "nobody").returncode == 1
