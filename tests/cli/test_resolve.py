"""`amends resolve`, run as an operator runs it, and what its settings refuse."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from middleware.resolution.identifiers import identifiers_of
from middleware.settings import SettingsError, load
from middleware.store.database import Database
from tests.bench.records import Crowd
from tests.cli.running import amends

CONFIG = """\
log_level = "ERROR"
[connections.shop]
adapter = "memory"
[jobs.people]
flow = "resolve"
schedule = { every = "1d" }
[resolve]
most_changes = 10
"""


def test_a_run_stops_is_looked_at_and_allowed(tmp_path: Path) -> None:
    (tmp_path / "amends.toml").write_text(CONFIG)
    assert amends(tmp_path, "keys", "list").returncode == 0
    database = Database(f"sqlite:///{tmp_path / 'amends.db'}")
    with database.begin() as uow:
        records = [record for record, _ in Crowd(120).records()]
        uow.records.store([(r, identifiers_of(r)) for r in records], as_of=datetime.now(UTC))
    database.close()
    stopped = amends(tmp_path, "resolve", "run", "--json")
    told = json.loads(stopped.stdout)
    assert (stopped.returncode, told["state"]) == (1, "stopped")
    assert told["error"]["allowed"] == 10
    changes = told["error"]["changes"]
    report = json.loads(amends(tmp_path, "resolve", "report", told["run"], "--json").stdout)
    assert report["counts"]["planned"]["made"] == changes
    assert report["changes"][0]["change"] == "made"
    allowed = amends(tmp_path, "resolve", "run", "--allow-changes", str(changes))
    assert allowed.returncode == 0, allowed.stderr
    assert f"{changes} made" in allowed.stdout
    database = Database(f"sqlite:///{tmp_path / 'amends.db'}")
    with database.read() as uow:
        row = uow.jobs.get("people")
        assert row is not None
        assert row.last_tick is not None
        # Or nothing that is due is ever later than it.
        assert datetime.now(UTC) - datetime.fromisoformat(row.last_tick) < timedelta(minutes=5)
    database.close()
    assert amends(tmp_path, "jobs", "list").returncode == 0
    shown = amends(tmp_path, "jobs", "runs", "people")
    assert f"links: {changes} made, 0 moved, 0 ended" in shown.stdout, shown.stderr
    assert (tmp_path / ".amends" / "resolve.duckdb").exists()
    other = amends(tmp_path, "sync", "run", "people")
    assert other.returncode == 1
    assert "amends resolve run" in other.stderr.replace("\n", " ")


MISTAKES = [
    ('[jobs.people]\nflow = "resolve"\nconnection = "shop"', "of all connections"),
    ("[jobs.people]\nflow = 'sync'", "name the connection"),
    ("[resolve]\nthreshold = 0.6\nreview_from = 0.9", "review_from"),
    ('[resolve]\nmemory = "plenty"', "memory"),
    ('[resolve]\nengine = "abacus"', "engine"),
]


@pytest.mark.parametrize(("text", "told"), MISTAKES)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, text: str, told: str) -> None:
    schedule = '\nschedule = { every = "1d" }\n' if "jobs" in text else "\n"
    file = tmp_path / "amends.toml"
    file.write_text(f'[connections.shop]\nadapter = "memory"\n{text}{schedule}')
    with pytest.raises(SettingsError, match=told):
        load(file)
