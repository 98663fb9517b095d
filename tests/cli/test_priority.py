"""`amends priority` and `amends report`, run as an operator runs them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.test_commands import CONFIG, amends

RULES = """\
targets:
  - {name: all, first_response: 30m}
escalations:
  - {name: late, used: 1.0, email: anna@example.com}
"""


def test_the_rule_book_is_checked_simulated_and_reported_on(tmp_path: Path) -> None:
    (tmp_path / "amends.toml").write_text(f'{CONFIG}\n[priority]\nfile = "rules.yaml"\n')
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "wrong.yaml").write_text(RULES.replace("used:", "usd:"))
    wrong = amends(tmp_path, "priority", "check", "wrong.yaml")
    assert wrong.returncode == 1
    assert "wrong.yaml:4:18: there is no 'usd' here (did you mean 'used'?)" in wrong.stderr

    shown = json.loads(amends(tmp_path, "priority", "show", "--json").stdout)
    assert (shown["version"], shown["source"]) == (1, "file")
    tried = amends(tmp_path, "priority", "simulate", "--rules", "rules.yaml")
    assert tried.stdout == (
        "0 complaints, 0 move (0 up, 0 down); 0 of the first 0 stay among them\n"
    )
    told = json.loads(amends(tmp_path, "report", "response", "--by", "team", "--json").stdout)
    assert (told["by"], told["groups"], told["escalations"]["fired"]) == ("team", [], 0)


def test_a_wrong_rule_book_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "amends.toml").write_text(f'{CONFIG}\n[priority]\nfile = "rules.yaml"\n')
    (tmp_path / "rules.yaml").write_text("scoring: {influence: {most: 9}}\n")
    told = amends(tmp_path, "priority", "list")
    assert told.returncode == 1
    assert "the rule book is wrong:" in told.stderr
    assert "a louder voice" in told.stderr


def test_words_that_match_nothing_are_warned_of(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(
        "targets:\n"
        "  - name: vip\n"
        "    when: {tier: glod, category: [Damaged, brokn, unknown], channel: Instagramm}\n"
        "    first_response: 30m\n"
        "  - {name: shop, when: {channel: shop-chat, team: nights}, first_response: 1h}\n"
    )
    told = amends(tmp_path, "priority", "check", "rules.yaml")
    assert told.returncode == 0
    assert told.stdout == "rules.yaml: 2 targets, 0 escalation steps\n"
    assert told.stderr.splitlines() == [
        "warning: rules.yaml:3:24: no reason is called 'brokn'",
        "warning: rules.yaml:3:12: `scoring.value.tiers` has no 'glod' (did you mean 'gold'?)",
        "warning: rules.yaml:3:61: no network of a known source is called 'Instagramm'"
        " (did you mean 'instagram'?)",
        "warning: rules.yaml:5:45: no rule gives complaints to 'nights'",
    ]
    shown = json.loads(amends(tmp_path, "priority", "check", "rules.yaml", "--json").stdout)
    assert (shown["ok"], len(shown["warnings"])) == (True, 4)
