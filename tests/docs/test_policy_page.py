"""The policy page: its examples are policies, and it knows every word there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from middleware.domain.policy import Cap, Condition, InDoubt, Need, Policy, Rule, Scope
from middleware.domain.policy_file import parse_policy

PAGE = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_examples_are_policies(text: str) -> None:
    assert parse_policy(text, "docs/policy.md").rules


def test_every_word_is_explained() -> None:
    words = {name for model in (Policy, Rule, Condition, Cap, Need) for name in model.model_fields}
    words |= {str(word) for word in (*InDoubt, *Scope)}
    explained = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`+[^`]+`+", PAGE))))
    assert words <= explained
