"""What is decided of an action without asking anybody."""

from __future__ import annotations

import pytest

from middleware.domain.actions import different


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ([("t:case:1", "SC1"), ("t:case:1", "SC1")], ["t:case:1"]),
        ([("t:invoice:9", "SC1"), ("t:case:1", "SC1")], ["t:invoice:9"]),
        ([("t:case:1", "SC1"), ("t:case:2", "SC2")], ["t:case:1", "t:case:2"]),
        ([("t:note:1", None), ("t:note:2", None)], ["t:note:1", "t:note:2"]),
        ([("t:case:1", "SC1"), ("t:case:2", None)], ["t:case:1", "t:case:2"]),
    ],
)
def test_what_bears_one_number_is_one(made: list[tuple[str, str | None]], told: list[str]) -> None:
    assert different(made) == told
