"""Incidents and call hours as an operator writes them: read, and refused with their place."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from middleware.configuration import options_of
from middleware.domain.bursts import BurstRules
from middleware.domain.incidents import IncidentRules
from middleware.domain.slots import CallHours
from middleware.settings import SettingsError, load

WHOLE = """
[incidents]
windows = ["30m", "2h"]
least_complaints = 9
surprise = 5
quiet = "2h"
silent_since = "30d"
lot_fields = ["charge"]

[call_hours]
timezone = "Europe/Berlin"
hours = [{ days = "mon-fri", from = "09:00", to = "17:00" }]
slot = "15m"
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "amends.toml"
    file.write_text(text)
    return file


def test_what_is_left_out_is_as_the_rules_have_it(tmp_path: Path) -> None:
    options = options_of(load(written(tmp_path, "")))
    assert options.incidents == IncidentRules()
    assert options.incidents.bursts == BurstRules()
    assert options.call_hours == CallHours()


def test_what_is_written_is_what_the_flows_get(tmp_path: Path) -> None:
    options = options_of(load(written(tmp_path, WHOLE)))
    rules = options.incidents
    assert rules.bursts.windows == (timedelta(minutes=30), timedelta(hours=2))
    assert (rules.bursts.least_complaints, rules.bursts.surprise) == (9, 5)
    assert rules.silent_since == timedelta(days=30)
    assert rules.lot_fields == ("charge",)
    assert options.call_hours.slot == timedelta(minutes=15)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[incidents]\nwindows = ["7m"]', "incidents.bursts: .*steps of 5 minutes"),
        ("[incidents]\nends_below = 9", "incidents.bursts: .*less than surprise"),
        ("[incidents]\nleast_persons = 1", "incidents.least_persons: "),
        ("[incidents]\nlots = 1", "incidents.lots: "),
        ('[call_hours]\ntimezone = "Mars/Base"', "call_hours: .*no time zone 'Mars/Base'"),
        ('[call_hours]\nhours = [{ days = "someday" }]', "call_hours: "),
        ('[call_hours]\nslot = "1m"', "call_hours: .*5 minutes to 8 hours"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SettingsError, match=f"(?s){told}"):
        load(written(tmp_path, text))
