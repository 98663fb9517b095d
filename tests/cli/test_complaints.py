"""`amends complaints` and `amends drafts`, run as an operator runs them."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from middleware.api.schemas.complaints import ComplaintShown
from middleware.api.schemas.drafts import DraftCheckShown, DraftsShown, SlotsShown
from middleware.app import Application
from middleware.domain.problems import ConflictError, NotFoundError
from middleware.settings import load
from tests.cli.test_claims import amends, folder

__all__ = ["folder"]


@pytest.fixture
def ids(folder: Path) -> tuple[str, str]:
    """The complaint about a lamp, which is claimed, and the one about a checkout."""
    with Application(load(folder / "amends.toml")) as application:
        application.open()
        with application.hub.database.read() as uow:
            second, first = uow.complaints.page(before=None, limit=2)
    return first.id, second.id


def test_complaints_are_merged_split_and_moved(folder: Path, ids: tuple[str, str]) -> None:
    first, second = ids
    with Application(load(folder / "amends.toml")) as application:
        application.open()
        assert application.hub.options.claims.lease.total_seconds() == 7200
        assert application.hub.options.gathering.auto_from == 9
    merged = amends(folder, "complaints", "merge", first, second, "--reason", "One call.")
    assert f"{second}: merged into {first}" in merged.stdout, merged.stderr
    again = amends(folder, "complaints", "merge", first, second, "--reason", "One call.")
    assert isinstance(again.exception, ConflictError)
    assert "one issue already" in str(again.exception)
    split = amends(folder, "complaints", "split", second, "--reason", "Two calls.")
    assert f"{second}: held apart from {first}" in split.stdout, split.stderr
    moved = amends(folder, "complaints", "move", first, "--team", "web", "--reason", "Theirs.")
    assert "moved to web" in moved.stdout, moved.stderr


def test_a_complaint_is_shown_with_its_reasons_and_corrected(
    folder: Path, ids: tuple[str, str]
) -> None:
    first, second = ids
    told = amends(folder, "complaints", "show", first)
    assert told.exit_code == 0, told.stderr
    lines = told.stdout.splitlines()
    assert lines[0].startswith(f"{first}: open (x")
    assert any(line.endswith(": My lamp arrived broken") for line in lines)
    (reason,) = [line for line in lines if line.startswith("  reason: damaged")]
    assert "“arrived broken”" in reason
    assert any(line.startswith("  +") and "sentiment negative" in line for line in lines)
    assert any(line.startswith("clock first_response: ") for line in lines)
    assert any("claimed by key_desk/anna" in line and "By Friday." in line for line in lines)

    said = amends(folder, "complaints", "correct", first, "--reason", "defective",
                  "--remedy", "none", "--agent", "anna")  # fmt: skip
    assert said.stdout == f"{first}: reason defective, remedy none\n", said.stderr
    shown = json.loads(amends(folder, "complaints", "show", first, "--json").stdout)
    understood = ComplaintShown.model_validate(shown).understanding
    assert understood is not None
    assert (understood.reason.value, understood.remedy.value) == ("defective", "unknown")
    assert understood.by.endswith("corrected")

    wrong = amends(folder, "complaints", "correct", first, "--reason", "brokn")
    assert wrong.exit_code == 1
    assert "--reason must be one of " in wrong.stderr.replace("\n", " ")
    assert amends(folder, "complaints", "correct", second).exit_code == 1
    assert isinstance(amends(folder, "complaints", "show", "cmp_no").exception, NotFoundError)


def test_a_reply_is_drafted_and_a_text_checked(folder: Path, ids: tuple[str, str]) -> None:
    first, _ = ids
    with (folder / "amends.toml").open("a") as file:
        file.write(
            '[call_hours]\ntimezone = "UTC"\n'
            'hours = [{ days = "mon-sun", from = "00:00", to = "00:00" }]\n'
        )
    replied = amends(folder, "drafts", "reply", first, "--call-back", "--json")
    assert replied.exit_code == 0, replied.exception or replied.stderr
    drafted = DraftsShown.model_validate_json(replied.stdout)
    (private,) = drafted.drafts
    times = SlotsShown.model_validate_json(
        amends(folder, "drafts", "slots", "--limit", "3", "--json").stdout
    )
    assert len(times.data) == 3
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:[03]0–\d\d:[03]0", private.text)
    told = amends(folder, "drafts", "reply", first, "--language", "de").stdout
    assert told.startswith("private is advised: ")
    assert "private, de, " in told
    assert amends(folder, "drafts", "reply", first, "--channel", "public").exit_code == 1
    (line,) = amends(folder, "drafts", "slots", "--limit", "1").stdout.splitlines()
    begin, end = map(datetime.fromisoformat, line.split())
    assert end - begin == timedelta(minutes=30)

    promise = "We will refund you 50 EUR tomorrow."
    checked = amends(folder, "drafts", "check", promise, "private", "--complaint", first)
    assert checked.exit_code == 1
    assert "✗ promise: " in checked.stdout
    fine = amends(folder, "drafts", "check", "So sorry!", "public", "--network", "x", "--json")
    assert fine.exit_code == 0, fine.stderr
    assert DraftCheckShown.model_validate_json(fine.stdout).limit == 280
    nowhere = amends(folder, "drafts", "check", "So sorry!", "public")
    assert nowhere.exit_code == 1
    assert "Name the network" in nowhere.stderr
