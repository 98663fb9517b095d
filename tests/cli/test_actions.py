"""`amends actions`: what became of an action, and what people at a console do with it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from middleware.app import Application
from middleware.cli import app
from middleware.contract.actions import CaseRequest, Operation
from middleware.contract.canonical import Kind, Ref
from middleware.domain.actions import Wanted
from middleware.domain.problems import ConflictError
from middleware.settings import load
from middleware.store.tables import ActionRow, ActionStepRow
from tests.cli.test_commands import CONFIG

NOW = datetime.now(UTC)


class Console:
    def __init__(self, folder: Path) -> None:
        self.config = folder / "amends.toml"
        self.config.write_text(CONFIG)

    def __call__(self, *arguments: str) -> dict[str, Any]:
        """Run a command with --json; answers the object."""
        command = [*arguments, "--config", str(self.config), "--json"]
        result = CliRunner().invoke(app, ["actions", *command], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        told: dict[str, Any] = json.loads(result.output)
        return told

    def store(self, state: str, step: str, **changes: Any) -> str:
        """An action with one step, as the flows would have left it."""
        action_id = f"act_{state}"
        shop = Ref(connection="shop", kind=Kind.CASE, id="7")
        wanted = Wanted(operation=Operation.CASE, request=CaseRequest(subject="Late"))
        key = f"am-{state:0<32}"[:35]
        receipt = {"ref": shop.model_dump(mode="json"), "key": key, "number": "C-7"}
        receipt |= {"status": "new", "already_existed": False, "at": None, "url": None}
        with Application(load(self.config)) as application:
            application.open()
            with application.database.begin() as uow:
                uow.actions.add(
                    ActionRow(
                        id=action_id,
                        kind="case",
                        state=state,
                        request=wanted.model_dump(mode="json"),
                        requested_by="key_agent",
                        expires_at=NOW + timedelta(hours=1),
                        created_at=NOW,
                        updated_at=NOW,
                    ),
                    [
                        ActionStepRow(
                            id=f"stp_{state}",
                            action_id=action_id,
                            position=1,
                            connection="shop",
                            operation="case",
                            key=key,
                            state=step,
                            wanted={"request": wanted.request.model_dump(mode="json")},
                            request=wanted.request.model_dump(mode="json"),
                            sent_at=NOW if step != "planned" else None,
                            receipt=receipt if step == "done" else None,
                            **changes,
                        )
                    ],
                )
        return action_id


@pytest.fixture
def console(tmp_path: Path) -> Console:
    return Console(tmp_path)


def test_actions_are_listed_and_shown(console: Console) -> None:
    done = console.store("done", "done")
    console.store("unknown", "unknown", in_doubt=True)
    assert [a["id"] for a in console("list", "--state", "done")["actions"]] == [done]
    assert len(console("list")["actions"]) == 2
    shown = console("show", done)
    assert shown["choices"] == ["undo"]
    assert shown["steps"][0]["receipt"]["number"] == "C-7"
    plain = CliRunner().invoke(app, ["actions", "show", done, "--config", str(console.config)])
    assert "1. case in shop: done" in plain.output
    assert "what can be done now: undo" in plain.output


def test_an_action_is_undone_once_under_a_key(console: Console) -> None:
    done = console.store("done", "done")
    undo = console("undo", done, "--key", "mine", "--reason", "it turned up")
    assert (undo["state"], undo["undoes"]) == ("queued", done)
    assert console("undo", done, "--key", "mine", "--reason", "it turned up")["id"] == undo["id"]
    with pytest.raises(ConflictError):
        console("undo", done, "--key", "other")
    assert console("cancel", undo["id"])["state"] == "cancelled"
    assert console("show", done)["choices"] == ["undo"]


def test_an_unknown_step_is_settled_with_what_it_made_or_nothing(console: Console) -> None:
    unknown = console.store("unknown", "unknown", in_doubt=True)
    arguments = ["actions", "settle", unknown, "stp_unknown", "--reason", "I looked"]
    neither = CliRunner().invoke(app, [*arguments, "--config", str(console.config)])
    assert neither.exit_code == 1
    settled = console(
        *arguments[1:], "--made", "shop:case:9", "--number", "C-9", "--reason", "I looked"
    )
    assert settled["state"] == "done"
    assert settled["steps"][0]["receipt"]["number"] == "C-9"
    (entry,) = [m for m in settled["timeline"] if m["what"] == "step.settle"]
    assert entry["by"].startswith("cli:")
    assert entry["detail"]["reason"] == "I looked"


def test_a_partial_action_is_handed_over_and_finished(console: Console) -> None:
    partial = console.store("partial", "refused")
    assert console("show", partial)["choices"] == ["finish", "hand_over"]
    assert console("hand-over", partial, "--reason", "by phone")["handed_over"]["by"]
    finished = console("finish", partial)
    assert (finished["state"], finished["handed_over"]) == ("queued", None)


def test_approval_is_by_role(console: Console) -> None:
    waiting = console.store("awaiting_approval", "planned")
    rejected = console("reject", waiting, "--reason", "too much")
    assert rejected["state"] == "rejected"
    assert rejected["approval"]["reason"] == "too much"


def test_an_action_is_previewed_and_created_from_a_file(console: Console, tmp_path: Path) -> None:
    asked = {
        "operation": "case",
        "request": {"subject": "Late again", "account": "shop:account:A1"},
    }
    file = tmp_path / "case.json"
    file.write_text(json.dumps(asked))
    shown = console("preview", str(file))
    assert [step["operation"] for step in shown["steps"]] == ["case"]
    assert console("list")["actions"] == []
    file.write_text(json.dumps({**asked, "preview_token": shown["preview_token"]}))
    made = console("create", str(file), "--key", "mine")
    assert (made["operation"], made["state"]) == ("case", "queued")
    assert made["request"]["request"]["subject"] == "Late again"
    assert console("create", str(file), "--key", "mine")["id"] == made["id"]
    plain = CliRunner().invoke(
        app,
        ["actions", "preview", "-", "--config", str(console.config)],
        input=json.dumps(asked),
    )
    assert "1. case in shop" in plain.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"operation": "case", "request": {}}', ": /request/subject: "),
        ('{"operation": "case", "request": {"subject": "x"}, "nots": 1}', ": /nots: "),
        ('{"operation": "gift", "request": {}}', ": /operation: "),
        ('{"operation": "case", "request": {"subject": "x", "order": "7"}}', "/request/order: "),
        ("[]", "case.json: /: "),
        ("{", "case.json: "),
    ],
)
def test_a_file_that_cannot_be_is_refused_with_the_place(
    console: Console, tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "case.json"
    file.write_text(text)
    result = CliRunner().invoke(
        app, ["actions", "create", str(file), "--key", "k", "--config", str(console.config)]
    )
    assert result.exit_code == 1
    assert said in result.output
    assert "Traceback" not in result.output
