"""Jobs as an operator writes them: what is stored of them, and what is refused, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from middleware.configuration import declared_jobs
from middleware.flows.due import next_due, trigger_of
from middleware.settings import SettingsError, load, resolve

HEAD = """
[connections.shop]
adapter = "memory"
"""
WHOLE = """
[jobs.contacts]
connection = "shop"
kinds = ["contact"]
not_synced = ["product"]
late = "10m"
full = "7d"
most_deleted = 0.1

[jobs.contacts.schedule]
every = "15m"
timezone = "Europe/Berlin"
blackouts = [{ days = "mon-fri", from = "08:00", to = "18:00" }]
in_blackout = "skip"

[jobs.orders]
connection = "shop"
kinds = ["order"]
after = ["contacts"]
count_source = false
full = { cron = "0 3 * * sun", timezone = "Europe/Berlin" }

[jobs.cases]
connection = "shop"
kinds = ["case"]
schedule = { calendar = { weeks = 2, at = "03:00" }, timezone = "Europe/Berlin" }
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "amends.toml"
    path.write_text(HEAD + text)
    return path


def test_a_job_is_stored_as_it_is_written(tmp_path: Path) -> None:
    settings = load(written(tmp_path, WHOLE))
    jobs = declared_jobs(settings)
    assert jobs["contacts"] == {
        "flow": "sync",
        "arguments": {
            "connection": "shop",
            "kinds": ["contact"],
            "most_deleted": 0.1,
            "not_synced": ["product"],
        },
        "schedule": {
            "every": 900.0,
            "timezone": "Europe/Berlin",
            "blackouts": [{"days": "mon-fri", "from": "08:00", "to": "18:00"}],
            "in_blackout": "skip",
        },
        "after": None,
        "full": {"every": 604800.0},
        "late_after": 600.0,
    }
    assert (jobs["orders"]["schedule"], jobs["orders"]["after"]) == (None, ["contacts"])
    assert jobs["orders"]["arguments"]["count_source"] is False
    assert jobs["cases"]["schedule"] == {
        "calendar": {"days": 0, "weeks": 2, "months": 0, "years": 0, "at": "03:00"},
        "timezone": "Europe/Berlin",
    }
    for job in jobs.values():
        for schedule in (job["schedule"], job["full"]):
            if schedule is not None:
                assert next_due(trigger_of(schedule), settings_time()) is not None


def settings_time():  # type: ignore[no-untyped-def]
    from datetime import UTC, datetime

    return datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_a_resolution_after_a_job_that_there_is_not_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, '[jobs.r]\nflow = "resolve"\nafter = ["nobody"]\n')
    with pytest.raises(SettingsError, match=r"jobs\.r\.after: there is no job 'nobody'"):
        load(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "needs a `schedule`, or jobs to run `after`"),
        ('after = ["nobody"]', "there is no job 'nobody'"),
        ('after = ["a"]', "is a circle"),
        ('schedule = { every = "5m", cron = "0 3 * * *" }', "either `every`, `cron` or `calendar`"),
        ('schedule = { calendar = { at = "03:00" } }', "a calendar counts"),
        ("schedule = { calendar = { months = 1, first = 2026-01-31 } }", "1 to 28"),
        ('schedule = { every = "5m", timezone = "Europe/Nowhere" }', "no time zone"),
        (
            'schedule = { every = "5m", blackouts = [{ from = "8", to = "18:00" }] }',
            "no time of day",
        ),
        (
            'schedule = { every = "5m", blackouts = '
            '[{ since = "2026-12-01T00:00", until = "2027-03-01T00:00" }] }',
            "lasts over",
        ),
        (
            'schedule = { every = "5m", blackouts = [{ from = "00:00", to = "24:00" }] }',
            "lasts over",
        ),
        ('schedule = { every = "5m" }\nfull = "5m"', "every hour at most"),
        ('schedule = { every = "5m" }\nmost_deleted = 2', "less than or equal to 1"),
    ],
)
def test_a_job_that_makes_no_sense_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, f'[jobs.a]\nconnection = "shop"\n{text}\n')
    with pytest.raises(SettingsError, match="jobs") as caught:
        load(path)
    assert said in str(caught.value)


def test_a_secret_that_stands_in_the_environment_is_found_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `amends init` writes it: the file refers to a variable, whose name is a setting's too."""
    path = tmp_path / "amends.toml"
    path.write_text('secret_key = "env:AMENDS_SECRET_KEY"\n')
    monkeypatch.setenv("AMENDS_SECRET_KEY", "k" * 43)
    settings = load(path)
    assert settings.secret_key == "env:AMENDS_SECRET_KEY"
    assert resolve(settings.secret_key, folder=tmp_path).get_secret_value() == "k" * 43
    monkeypatch.setenv("AMENDS_SECRET_KEY", "file:key")
    assert load(path).secret_key == "file:key"


def test_a_secret_in_plain_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "amends.toml"
    path.write_text(f'secret_key = "{"k" * 43}"\n')
    with pytest.raises(SettingsError, match="never in plain text") as told:
        load(path)
    assert "kkkk" not in str(told.value)
