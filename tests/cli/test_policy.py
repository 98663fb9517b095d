"""`amends policy`, run as an operator runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import amends
from tests.cli.test_commands import CONFIG

POLICY = """\
roles: [agent, lead]
rules:
  - name: big
    when: {operations: [credit], over: {EUR: 200}}
    then: {approve: lead}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "amends.toml").write_text(f'{CONFIG}\n[policy]\nfile = "policy.yaml"\n')
    (tmp_path / "policy.yaml").write_text(POLICY)
    return tmp_path


def test_a_file_is_checked_with_line_and_column(folder: Path) -> None:
    good = amends(folder, "policy", "check", "policy.yaml")
    assert (good.returncode, good.stdout) == (0, "policy.yaml: 1 rules, 0 caps\n")
    (folder / "wrong.yaml").write_text(POLICY.replace("over:", "ovr:"))
    wrong = amends(folder, "policy", "check", "wrong.yaml")
    assert wrong.returncode == 1
    assert "wrong.yaml:4:34: there is no 'ovr' here (did you mean 'over'?)" in wrong.stderr
    told = json.loads(amends(folder, "policy", "check", "wrong.yaml", "--json").stdout)
    assert told["mistakes"][0]["at"] == "wrong.yaml:4:34"


def test_the_file_is_the_first_version_and_others_are_put_and_put_back(folder: Path) -> None:
    first = json.loads(amends(folder, "policy", "show", "--json").stdout)
    assert (first["version"], first["source"]) == (1, "file")
    assert first["policy"]["rules"][0]["name"] == "big"
    (folder / "other.yaml").write_text("rules: []\n")
    put = amends(folder, "policy", "put", "other.yaml", "--reason", "a quiet week")
    assert put.stdout == "version 2 is in force\n"
    assert amends(folder, "policy", "put", "--back-to", "1").stdout == "version 3 is in force\n"
    listed = json.loads(amends(folder, "policy", "versions", "--json").stdout)["versions"]
    assert [(row["version"], row["source"]) for row in listed] == [
        (3, "cli"),
        (2, "cli"),
        (1, "file"),
    ]
    assert listed[1]["reason"] == "a quiet week"
    shown = amends(folder, "policy", "show").stdout
    assert shown.startswith("# version 3 since ")
    (folder / "again.yaml").write_text(shown)
    assert amends(folder, "policy", "check", "again.yaml").returncode == 0


def test_a_backtest_of_nothing_says_so(folder: Path) -> None:
    told = amends(folder, "policy", "backtest", "policy.yaml", "--from", "2026-01-01", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["judged"] == 0


def test_a_wrong_file_keeps_the_hub_from_starting(folder: Path) -> None:
    (folder / "policy.yaml").write_text("rules: 3\n")
    refused = amends(folder, "policy", "show")
    assert refused.returncode == 1
    assert "policy.yaml:1:1" in refused.stderr


def test_a_file_and_the_settings_do_not_mix(folder: Path) -> None:
    with (folder / "amends.toml").open("a") as file:
        file.write("approval_of_strangers = false\n")
    refused = amends(folder, "policy", "show")
    assert refused.returncode == 1
    assert "write approval_of_strangers as rules of it" in refused.stderr


def test_the_doctor_finds_roles_that_nobody_has(folder: Path) -> None:
    def lines() -> list[tuple[str, str]]:
        told = json.loads(amends(folder, "doctor", "--json").stdout)["lines"]
        return [(line["mark"], line["what"]) for line in told if "policy" in line["what"]]

    assert lines() == []
    amends(folder, "policy", "show")
    assert lines() == [("✓", "policy"), ("!", "policy role lead")]
    amends(folder, "keys", "create", "x", "--scope", "actions:read", "--role", "lead")
    assert ("!", "policy role lead") in lines()
    amends(folder, "keys", "create", "boss", "--scope", "actions:approve", "--role", "lead")
    assert lines() == [("✓", "policy")]


def test_a_key_has_a_role(folder: Path) -> None:
    made = amends(folder, "keys", "create", "boss", "--scope", "actions:approve", "--role", "lead")
    assert "role lead" in made.stdout
    assert "lead" in amends(folder, "keys", "list").stdout
    wrong = amends(folder, "keys", "create", "x", "--scope", "admin", "--role", "Team Lead")
    assert wrong.returncode == 1
